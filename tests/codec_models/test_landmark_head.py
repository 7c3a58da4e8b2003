from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from codec_models.hint_measure import FACE, HEAD, HINTS, head_of, in_head, measured, normalised, placed
from codec_models.landmark_head import CONDITIONS, HintMotion, LandmarkHead, StillLandmarks
from codec_models.landmarks import POINTS, hints_of
from codec_models.upsampler import hint_condition

pytestmark = pytest.mark.unit


def face() -> torch.Tensor:
    """Average landmarks (110, 2) in [-1, 1]."""
    return StillLandmarks(8).mean.detach().clone()


def copied(points: torch.Tensor, angle: float, scale: float = 1.0, shift: tuple[float, float] = (0, 0)) -> torch.Tensor:
    """Landmarks (..., 110, 2) in [-1, 1], turned clockwise in the picture and scaled about its middle, then shifted."""
    c, s = np.cos(angle), np.sin(angle)
    return scale * points @ torch.tensor([[c, s], [-s, c]], dtype=torch.float32) + torch.tensor(shift)


def faces(count: int, seed: int = 0) -> torch.Tensor:
    """Plausible faces (count, 110, 2): no two of one shape, place, size or turn."""
    g = torch.Generator().manual_seed(seed)
    usual = torch.tensor([0.25, 0.15, 0.05, 0.05, 0.2, 0.1, 0.15, 0.15, 0.2, 0.3, 0.4, 0.2])
    change = (torch.rand(count, HINTS, generator=g) * 2 - 1) * usual
    shapes = face() + 0.01 * torch.randn(count, 110, 2, generator=g)
    return HintMotion()(shapes, change).detach()


def test_measured_hints_are_those_of_the_sender() -> None:
    points = torch.cat([faces(40), copied(faces(5, 1), 1.2), copied(faces(5, 2), -0.9, 0.5, (0.6, -0.4))])
    theirs = torch.tensor([astuple(hints_of(((one + 1) / 2).numpy())) for one in points])
    assert theirs.shape == (50, HINTS) and bool((theirs.std(0) > 0.01).all()), "the faces differ in every hint"
    assert torch.allclose(measured(points), theirs, atol=1e-4)
    assert torch.allclose(measured(points.view(5, 10, 110, 2)).flatten(0, 1), theirs, atol=1e-4)


def test_the_head_is_taken_off_and_put_on_again() -> None:
    points = faces(20)
    head = head_of(points)
    assert torch.equal(head, measured(points)[:, HEAD])
    shape = in_head(points, head)
    assert torch.allclose(placed(shape, head), points, atol=1e-6)
    # on its own, a face is upright, in the middle, of size one, and the same wherever it was
    upright = torch.tensor([0.5, 0.5, float(np.log(0.5)), 0.0]).expand(20, 4)
    assert torch.allclose(head_of(shape), upright, atol=1e-5)
    elsewhere = copied(points, 0.4, 0.7, (0.3, -0.2))
    assert torch.allclose(in_head(elsewhere, head_of(elsewhere)), shape, atol=1e-5)


def test_normalised_hints_are_about_one() -> None:
    least = [0.0, 0.34, 0.01, 0.01, -0.19, -0.12, 0.34, 0.34, -1.74, -0.33, -0.41, -0.19]
    most = [0.28, 0.67, 0.14, 0.14, 0.26, 0.09, 0.68, 0.68, -1.39, 0.27, 0.5, 0.27]
    extremes = normalised(torch.tensor([least, most]))
    assert float(extremes.abs().max()) < 1.1
    assert bool((extremes[1] - extremes[0] > 0.5).all()), "every hint has room to say something"


def test_gradient_of_a_closed_mouth_is_finite() -> None:
    points = face()
    points[POINTS.index(13)] = points[POINTS.index(14)]
    points.requires_grad_()
    measured(points).sum().backward()  # type: ignore[no-untyped-call]
    assert points.grad is not None and bool(torch.isfinite(points.grad).all())


def test_landmarks_in_one_place_give_numbers() -> None:
    points = torch.zeros(110, 2, requires_grad=True)
    hints = measured(points)[HEAD]
    assert bool(torch.isfinite(hints).all())
    hints[:3].sum().backward()  # type: ignore[no-untyped-call]
    assert points.grad is not None and bool(torch.isfinite(points.grad).all())


@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_moved_landmarks_show_the_hints(angle: float) -> None:
    start = copied(face(), angle)
    change = torch.tensor([0.25, -0.05, -0.05, -0.06, 0.1, 0.05, 0.05, -0.04, 0.1, -0.2, 0.2, -0.1])
    moved = HintMotion()(start, change).detach()
    got = measured(moved) - measured(start)
    assert torch.allclose(got, change, atol=0.03)


@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_an_opening_mouth_moves_little_else(angle: float) -> None:
    start = copied(face(), angle)
    change = torch.tensor([0.25, -0.05, -0.05, -0.06, 0.1, 0.05, *[0.0] * 6])
    step = (HintMotion()(start, change) - start).detach()
    still_parts = [POINTS.index(mesh) for mesh in (33, 263, 168, 10)]
    assert float(step[still_parts].abs().max()) < 0.02, "eye corners, nose and forehead stay"
    lower, upper = step[POINTS.index(14)], step[POINTS.index(13)]
    down = torch.tensor([-np.sin(angle), np.cos(angle)], dtype=torch.float32)
    assert float((lower - upper) @ down) > 0.1, "the jaw opens downwards"
    assert float(lower.norm()) > 1.5 * float(upper.norm()), "and the lower lip does most of it"


@pytest.mark.parametrize("angle, scale, shift", [(0.0, 1.0, (0.2, -0.1)), (0.0, 0.7, (0, 0)), (0.35, 1.2, (-0.1, 0.3))])
def test_a_head_that_moves_as_a_whole_is_placed_exactly(angle: float, scale: float, shift: tuple[float, float]) -> None:
    first = faces(6)
    second = copied(first, angle, scale, shift)
    change = measured(second) - measured(first)
    assert float(change[:, FACE].abs().max()) < 1e-4, "such a motion changes nothing in the face"
    assert torch.allclose(HintMotion()(first, change), second, atol=1e-4)


def test_no_change_moves_nothing() -> None:
    start = faces(6)
    assert torch.allclose(HintMotion()(start, torch.zeros(6, HINTS)), start, atol=1e-6)


def head_and_inputs(stills: int = 3, batch: int = 2) -> tuple[LandmarkHead, dict[str, torch.Tensor]]:
    """A head and what it takes, hints given and voice given."""
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(1)
    points = faces(batch * stills).view(batch, stills, 110, 2)
    hints, has = measured(faces(batch, 3)), torch.ones(batch, 2)
    change, condition = hint_condition(hints, has, measured(points))
    return LandmarkHead(5).eval(), {
        "low": torch.rand(batch, 5, 3, 8, 8, generator=g) * 2 - 1,
        "still_low": torch.rand(batch, stills, 3, 8, 8, generator=g) * 2 - 1,
        "still_points": points,
        "mel": torch.rand(batch, 80, 16, generator=g) * 2 - 1,
        "change": change,
        "condition": condition,
    }


def test_every_still_has_an_answer_of_its_own() -> None:
    head, inputs = head_and_inputs()
    with torch.no_grad():
        points = head(**inputs)
        assert points.shape == (2, 3, 110, 2) and points.dtype == torch.float32
        for k in range(3):
            own = {n: v[:, k : k + 1] if n not in ("low", "mel") else v for n, v in inputs.items()}
            assert torch.allclose(head(**own)[:, 0], points[:, k], atol=1e-5)
        for b in range(2):
            assert torch.allclose(head(**{n: v[b : b + 1] for n, v in inputs.items()})[0], points[b], atol=1e-5)


def test_what_the_head_sees_moves_its_answer() -> None:
    head, inputs = head_and_inputs()
    with torch.no_grad():
        points = head(**inputs)
        for name in ("low", "still_low", "still_points", "mel", "condition"):
            changed = head(**inputs | {name: inputs[name] * 0.5})
            assert float((changed - points).abs().max()) > 1e-5, name
        # so do the still's own colours, where nothing has changed against them
        brighter = {name: inputs[name] + 0.5 for name in ("low", "still_low")}
        assert float((head(**inputs | brighter) - points).abs().max()) > 1e-5
        # the very first frame of the window counts too
        other = inputs["low"].clone()
        other[:, 0] += 0.5
        assert float((head(**inputs | {"low": other}) - points).abs().max()) > 1e-5


def test_the_flag_silences_the_voice() -> None:
    head, inputs = head_and_inputs()
    silent = inputs | {"condition": inputs["condition"].clone()}
    silent["condition"][..., -1] = 0
    with torch.no_grad():
        assert torch.equal(head(**silent), head(**silent | {"mel": -silent["mel"]}))
        assert not torch.equal(head(**inputs), head(**inputs | {"mel": -inputs["mel"]}))


def test_hints_become_a_condition_and_missing_ones_say_nothing() -> None:
    head, inputs = head_and_inputs()
    points = inputs["still_points"]
    one, other = measured(faces(2, 3)), measured(faces(2, 4))
    own = measured(points)
    change, condition = hint_condition(one, torch.tensor([[1.0, 0.0]]).expand(2, 2), own)
    assert torch.equal(change, one[:, None] - own) and condition.shape == (2, 3, CONDITIONS)
    assert torch.equal(condition[..., HINTS:-2], normalised(one)[:, None].expand(2, 3, HINTS))
    assert condition[..., -2:].unique(dim=1).tolist() == [[[1.0, 0.0]]] * 2
    missing = torch.tensor([[0.0, 1.0]]).expand(2, 2)
    a, b = hint_condition(one, missing, own), hint_condition(other, missing, own)
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    assert not a[0].any() and not a[1][..., :-1].any() and bool((a[1][..., -1] == 1).all())
    with torch.no_grad():
        start = head.motion(points, a[0])
    assert torch.allclose(start, points, atol=1e-6), "without hints the still's landmarks are where it starts"


def test_a_fresh_head_stays_near_what_the_hints_say() -> None:
    head, inputs = head_and_inputs()
    with torch.no_grad():
        apart = head(**inputs) - head.motion(inputs["still_points"], inputs["change"])
    assert 0 < float(apart.abs().max()) < 0.1


def test_gradient_reaches_every_parameter_of_the_head() -> None:
    head, inputs = head_and_inputs()
    head.train()(**inputs).square().mean().backward()
    for name, p in head.named_parameters():
        assert p.grad is not None and float(p.grad.abs().max()) > 0, name
