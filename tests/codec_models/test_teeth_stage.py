"""The teeth stage: what it changes, when its gate shuts, and that a stream is a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from safetensors.torch import save_file
from torch import Tensor

from codec_models.engines.torch_engine import TorchEngine
from codec_models.errors import UserError
from codec_models.hint_measure import measured
from codec_models.landmark_head import StillLandmarks
from codec_models.landmarks import LIPS, POINTS
from codec_models.mouth import MOUTH, cut, feather, lip_distance, mouth_corner
from codec_models.precision import has_bfloat16
from codec_models.teeth import Teeth, TeethConfig
from codec_models.teeth_gate import GateConfig, redness
from codec_models.teeth_stage import TeethStage

pytestmark = pytest.mark.unit

TINY = TeethConfig(width=8, middle=8, deep=8)
_INNER = [POINTS.index(m) for m in LIPS[20:]]
_EYES = [POINTS.index(m) for m in (33, 263)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = Teeth(TINY)
    torch.nn.init.normal_(model.out.weight, std=0.1)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(model.state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def face(x: float = 0.0, y: float = 0.0, size: float = 1.0, opening: float = 0.1) -> Tensor:
    """Landmarks (1, 110, 2) of an average face, moved and resized about the middle of its mouth, which is open."""
    points = StillLandmarks(8).mean.detach()[None].clone()
    upper, lower = (points[:, POINTS.index(m)] for m in (13, 14))
    eyes = (points[:, _EYES[0]] - points[:, _EYES[1]]).norm()
    centre = (upper + lower)[:, None] / 2
    points[:, _INNER] = (points[:, _INNER] - centre) * torch.tensor([1.0, opening * eyes / (upper - lower).norm()])
    points[:, _INNER] += centre
    middle = points[:, : len(LIPS)].mean(1, keepdim=True)
    return (points - middle) * size + middle + torch.tensor([x, y])


def turned(yaw: float) -> Tensor:
    """The average face with its nose moved aside, by about `yaw` in the units of the hint."""
    points = face().clone()
    spread = (points - points.mean(1, keepdim=True)).square().sum(2).mean().sqrt()
    points[:, POINTS.index(1), 0] += yaw * spread
    return points


def picture(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, 256, 256, generator=generator) * 1.6 - 0.8


def painted(lips: tuple[float, float, float], skin: tuple[float, float, float] = (0.2, 0.0, -0.1)) -> Tensor:
    """The average face's lips in one colour, all else in another, both in [-1, 1]."""
    corner = mouth_corner(face())
    outer, inner = lip_distance(face(), corner)[0]
    x, y = corner[0].tolist()
    out = torch.tensor(skin)[None, :, None, None].repeat(1, 1, 256, 256)
    out[0, :, y : y + MOUTH, x : x + MOUTH][:, (outer < 0) & (inner > 0)] = torch.tensor(lips)[:, None]
    return out


def fresh(weights: Path, config: TeethConfig = TINY, bfloat16: bool = False) -> TeethStage:
    return TeethStage(TorchEngine(teeth=weights, teeth_config=config, bfloat16=bfloat16))


def stage(weights: Path, bfloat16: bool = False) -> TeethStage:
    made = fresh(weights, bfloat16=bfloat16)
    made.use([made.remember(picture(9), face())])
    return made


def test_only_the_mouth_changes(weights: Path) -> None:
    before, points = picture(), face(0.01, -0.02)
    kept = before.clone()
    after = stage(weights).restore(before, points)
    assert after.shape == before.shape and after.dtype == torch.float32 and torch.equal(before, kept)
    corner = mouth_corner(points)
    x, y = corner[0].tolist()
    share = torch.zeros(1, 1, 256, 256)
    share[..., y : y + MOUTH, x : x + MOUTH] = feather(points, corner)
    assert torch.equal((after != before).any(1, keepdim=True) & (share == 0), torch.zeros_like(share, dtype=torch.bool))
    assert ((after - before).abs().amax(1, keepdim=True) > 0)[share > 0.5].float().mean() > 0.99


def test_streaming_is_the_same_again_after_a_reset(weights: Path) -> None:
    ticks = [(picture(k), turned(0.03 * k)) for k in range(20)]
    one = stage(weights)
    first = [one.restore(*t) for t in ticks]
    one.reset()
    assert one.gate is None and one.reference is not None
    again = [one.restore(*t) for t in ticks]
    other = stage(weights)
    fresh = [other.restore(*t) for t in ticks]
    for a, b, c in zip(first, again, fresh, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)


def test_a_tick_depends_on_earlier_ones_only_through_the_gate(weights: Path) -> None:
    one, other = stage(weights), stage(weights)
    for k in range(3):
        one.restore(picture(k), face(0.02 * k))
    assert torch.equal(one.restore(picture(7), face()), other.restore(picture(7), face()))


def test_the_gate_falls_and_rises_in_steps(weights: Path) -> None:
    config = GateConfig()
    one, before = stage(weights), picture()
    full = one.restore(before, face()) - before
    assert one.gate is not None and one.gate.item() == 1
    seen = []
    for points in [turned(0.9)] * 10 + [face()] * 10:
        after = one.restore(before, points)
        seen.append(one.gate.item())
    assert torch.equal(after, before + full) and seen[9] == 0 and seen[-1] == 1
    steps = torch.tensor([1.0, *seen]).diff().abs()
    assert steps.max() <= config.step + 1e-6 and (steps > 0).sum() == 16


def test_a_stream_may_begin_shut(weights: Path) -> None:
    one, before = stage(weights), picture()
    assert torch.equal(one.restore(before, turned(0.9)), before) and one.gate is not None and one.gate.item() == 0
    one.restore(before, face())
    assert one.gate.item() == pytest.approx(GateConfig().step)


def test_what_shuts_the_gate() -> None:
    gate = GateConfig()
    opened = [face(), face(0.1, 0.05), face(size=1.3), turned(0.2), turned(-0.2)]
    width = (face()[0, : len(LIPS), 0].amax() - face()[0, : len(LIPS), 0].amin()).item() * 128
    shut = {
        "a profile": turned(0.8),
        "the other profile": turned(-0.8),
        "far away": face(size=8 / width),
        "very near": face(size=95 / width),
        "leaving at the bottom": face(y=1 - face()[0, : len(LIPS), 1].amax().item() + 0.01),
        "leaving at the left": face(x=-1 - face()[0, : len(LIPS), 0].amin().item() - 0.01),
        "no number": face() * torch.nan,
        "one infinite": torch.cat([face()[:, :-1], torch.full((1, 1, 2), torch.inf)], 1),
        "one far off": torch.cat([face()[:, :-1], torch.full((1, 1, 2), 1e6)], 1),
        "one point": torch.zeros(1, 110, 2),
    }
    assert [gate.target(points).item() for points in opened] == [1] * len(opened)
    for what, points in shut.items():
        assert gate.target(points).item() == 0, what
    both = gate.target(torch.cat([face(), turned(0.8)]))
    assert both.tolist() == [1, 0]
    # as far as the hint of a turned head says
    halfway = next(points for yaw in torch.linspace(0, 1, 200) if 0 < gate.target(points := turned(yaw.item())) <= 0.5)
    assert measured(halfway)[0, 10].item() == pytest.approx(sum(gate.yaw) / 2, abs=0.01)
    between = [gate.target(turned(yaw)).item() for yaw in torch.linspace(0, 0.8, 60).tolist()]
    assert between == sorted(between, reverse=True) and sum(0 < g < 1 for g in between) > 5


def test_a_closed_mouth_is_restored_by_half() -> None:
    gate = GateConfig()
    values = [gate.target(face(opening=opening)).item() for opening in (0.0, gate.closed[1], 0.05, gate.closed[0], 0.3)]
    assert values == pytest.approx([gate.least, gate.least, 0.75, 1, 1], abs=0.01)
    assert gate.target(torch.cat([face(opening=0.0), turned(0.8)])).tolist() == [gate.least, 0]
    points = face(opening=0.05)
    assert measured(points)[0, 0].item() == pytest.approx(0.05, abs=1e-4)


def test_a_hand_over_the_mouth_shuts_the_gate(weights: Path) -> None:
    lips, skin = (0.3, -0.4, -0.3), (0.2, 0.0, -0.1)
    cases = {
        "the same lips": (painted(lips), 1),
        "in half the light": ((painted(lips) + 1) / 2 - 1, 1),
        "nearly as red": (painted((0.25, -0.3, -0.3)), 1),
        "redder": (painted((0.5, -0.6, -0.3)), 1),
        "skin": (painted(skin), 0),
        "a dark thing": (painted((-0.9, -0.9, -0.9), (-0.9, -0.9, -0.9)), 0),
    }
    for what, (drawn, gate) in cases.items():
        one = fresh(weights)
        one.use([one.remember(painted(lips), face())])
        one.restore(drawn, face())
        assert one.gate is not None and one.gate.item() == gate, what
    # lips without a colour tell nothing, and neither does a missing reference
    one = fresh(weights)
    one.restore(painted(skin), face())
    assert one.gate is not None and one.gate.item() == 1
    one.reset()
    one.use([one.remember(painted(skin), face())])
    one.restore(painted(skin), face())
    assert one.gate.item() == 1


def test_a_head_turned_away_from_the_reference_shuts_the_gate(weights: Path) -> None:
    one, drawn = fresh(weights), picture()
    for still, now, gate in ((0.0, 0.1, 1), (0.0, 0.4, 0), (0.2, -0.25, 0), (0.25, 0.3, 1), (-0.3, -0.3, 1)):
        one.reset()
        one.use([])
        one.use([one.remember(drawn, turned(still))])
        one.restore(drawn, turned(now))
        assert one.gate is not None and one.gate.item() == gate, (still, now)
        one.use([])
        one.reset()
        one.restore(drawn, turned(0.3))
        assert one.gate.item() == 1, "without a reference there is nothing to be turned from"


def test_redness_is_that_of_lips_over_skin() -> None:
    drawn = painted((0.2, -0.6, 0.0), (0.0, 0.0, 0.0))
    corner = mouth_corner(face())
    crop = cut(drawn, corner)
    value = redness(crop, lip_distance(face(), corner)).item()
    assert value == pytest.approx(0.4 / (3 * ((crop + 1) / 2).mean().item()), rel=1e-4)


@pytest.mark.parametrize("kind", ["nan", "infinite", "one point", "far"])
def test_landmarks_that_are_no_face_leave_the_picture_finite(weights: Path, kind: str) -> None:
    bad = {
        "nan": face() * torch.nan,
        "infinite": face() * torch.inf,
        "one point": torch.zeros(1, 110, 2),
        "far": face() * 1e20,
    }[kind]
    one, before = stage(weights), picture()
    one.restore(before, face())
    # the gate is still half open
    assert torch.isfinite(one.restore(before, bad)).all() and one.gate is not None and 0 < one.gate.item() < 1
    reference = one.remember(before, bad)
    assert torch.isfinite(reference.memory).all() and reference.shown == 0


def test_the_reference_is_the_still_that_shows_teeth_best(weights: Path) -> None:
    def still(grey: float, opening: float) -> tuple[Tensor, Tensor]:
        return torch.full((1, 3, 256, 256), grey), face(opening=opening)

    one = fresh(weights)
    closed, dark, bright = (one.remember(*still(*s)) for s in ((0.8, 0.01), (-0.8, 0.2), (0.8, 0.2)))
    aside = one.remember(still(0.8, 0.2)[0], turned(0.9))
    assert bright.shown > 3 * max(dark.shown, closed.shown) and min(dark.shown, closed.shown) >= 0 == aside.shown
    for references in ([closed, bright, dark, aside], [bright], [dark, closed]):
        one.use(references)
        assert one.reference is max(references, key=lambda r: r.shown)
    one.use([])
    assert one.reference is None
    # one that is hardly better does not take its place, one that is much better does
    less = replace(dark, shown=0.9 * bright.shown)
    one.use([less])
    one.use([less, bright])
    assert one.reference is less
    one.use([bright])
    assert one.reference is bright


def test_the_reference_counts_and_may_be_missing(weights: Path) -> None:
    one = fresh(weights)
    pictures = [one.restore(picture(), face())]
    for seed in (1, 2):
        one.use([one.remember(picture(seed), face())])
        pictures.append(one.restore(picture(), face()))
    assert all(torch.isfinite(p).all() for p in pictures)
    assert not torch.equal(pictures[0], pictures[1]) and not torch.equal(pictures[1], pictures[2])


def test_reduced_precision_draws_nearly_the_same(weights: Path) -> None:
    before = picture()
    full, reduced = (stage(weights, bfloat16=b).restore(before, face()) for b in (False, True))
    change = (full - before).abs().mean()
    assert reduced.dtype == torch.float32 and 0 < (full - reduced).abs().mean() < 0.05 * change


def test_hardware_without_bfloat16_is_not_guessed() -> None:
    assert has_bfloat16("cpu") in (True, False) and not has_bfloat16("meta")


def test_weights_that_cannot_be_used_are_refused(tmp_path: Path, weights: Path) -> None:
    for path, config in ((tmp_path / "none.safetensors", TINY), (weights, TeethConfig())):
        with pytest.raises(UserError) as caught:
            fresh(path, config).restore(picture(), face())
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
