from __future__ import annotations

import os
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from safetensors.torch import save_file

from codec_models.bitstream.face import FaceTick, area_8x8
from codec_models.bitstream.hints import Hints
from codec_models.bitstream.still import IdentityStill
from codec_models.engines import graphs
from codec_models.engines.torch_engine import torch_network
from codec_models.errors import UserError
from codec_models.held_hints import HELD_HINTS
from codec_models.hint_measure import HINTS
from codec_models.landmark_head import StillLandmarks
from codec_models.landmarks import POINTS, hints_of
from codec_models.mel import LogMel, normalised
from codec_models.network import MAX_STILLS, NetworkReconstructor
from codec_models.teeth import Teeth
from codec_models.upsampler import Upsampler, UpsamplerConfig, load_upsampler

pytestmark = pytest.mark.unit

TINY = UpsamplerConfig(width=2, visual=4, visual_blocks=1, audio=8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file({k: v.half() for k, v in Upsampler(TINY).state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def teeth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    model = Teeth()
    torch.nn.init.normal_(model.out.weight, std=0.1)
    path = tmp_path_factory.mktemp("weights") / "teeth.safetensors"
    save_file(model.state_dict(), path)
    return path


def still(seed: int = 0, points: bool = True) -> IdentityStill:
    rng = np.random.default_rng(seed)
    picture = np.kron(rng.integers(40, 210, (16, 16, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    face = (StillLandmarks(8).mean.detach().numpy() + 1) / 2
    return IdentityStill(picture, face if points else None)


def clip(count: int, seed: int = 1) -> list[tuple[FaceTick, NDArray[np.int16] | None]]:
    """Ticks with frames, hints and voice, some of each missing."""
    rng = np.random.default_rng(seed)
    out: list[tuple[FaceTick, NDArray[np.int16] | None]] = []
    for k in range(count):
        picture = None if k % 4 == 2 else rng.integers(30, 220, (8, 8, 3)).astype(np.uint8)
        head = (0.5 + 0.01 * (k % 8), 0.5, -1.6, 0.02 * (k % 6), 0.1, -0.05)
        hints = None if k % 5 == 3 else Hints(0.02 * (k % 7), 0.5, 0.1, 0.01 * (k % 9), 0.1, -0.1, *head)
        voice = None if k % 6 == 4 else rng.integers(-8000, 8000, 1920).astype(np.int16)
        out.append((FaceTick(picture, hints), voice))
    return out


def run(model: NetworkReconstructor, ticks: list[tuple[FaceTick, NDArray[np.int16] | None]]) -> NDArray[np.uint8]:
    return np.stack([model.tick(*t) for t in ticks])


def test_streaming_equals_the_whole_clip(weights: Path) -> None:
    ticks, s = clip(14), still()
    streaming = torch_network(weights, TINY, bfloat16=False, teeth=False)
    streaming.set_identity(s)
    shown = run(streaming, ticks)

    frames: list[NDArray[np.uint8]] = []
    for face, _ in ticks:
        frames.append(frames[-1] if face.picture is None else face.picture)
    hints = [np.zeros(HINTS)]
    for face, _ in ticks:
        hints.append(hints[-1] if face.hints is None else np.array(astuple(face.hints)))
    mel = LogMel()
    rows = [np.full((12, 80), -7.0)] + [mel.push(np.zeros(1920, np.int16) if v is None else v) for _, v in ticks]
    spectrum = np.concatenate(rows)
    window = np.stack([np.stack([frames[max(0, k + j)] for j in range(-4, 1)]) for k in range(len(ticks))])
    low = torch.from_numpy(window.transpose(0, 1, 4, 2, 3)).float() / 127.5 - 1
    mels = np.stack([normalised(spectrum[4 * k : 4 * k + 16].T) for k in range(len(ticks))])
    has = torch.tensor([[1.0, v is not None] for _, v in ticks])
    network = load_upsampler(weights, TINY)
    picture = torch.from_numpy(s.picture.transpose(2, 0, 1))[None, None].float() / 127.5 - 1
    small = torch.from_numpy(area_8x8(s.picture).transpose(2, 0, 1))[None, None].float() / 127.5 - 1
    assert s.points is not None
    n = len(ticks)
    with torch.no_grad():
        identity = network.encode_stills(picture, small, torch.from_numpy(s.points)[None, None] * 2 - 1)
        identity = type(identity)(*(t.expand(n, *t.shape[1:]) for t in identity.tensors()))
        whole = network(
            identity, low, torch.from_numpy(mels), torch.tensor(np.stack(hints[1:]), dtype=torch.float32), has
        )
    expected = (whole.picture.permute(0, 2, 3, 1) * 127.5 + 127.5).clamp(0, 255).numpy()
    assert np.abs(shown - expected).max() < 0.52


def test_reduced_precision_is_said_and_draws_nearly_the_same(weights: Path) -> None:
    shown = {}
    for bfloat16 in (False, True, None):
        model = torch_network(weights, TINY, bfloat16=bfloat16, teeth=False)
        model.set_identity(still())
        shown[model.backend] = run(model, clip(5)).astype(int)
    # left open, it is one of the two
    assert list(shown) == ["torch fp32", "torch bf16"]
    apart = np.abs(shown["torch fp32"] - shown["torch bf16"])
    assert 0 < apart.mean() < 2


def test_the_future_changes_nothing(weights: Path) -> None:
    a, b = clip(8), clip(5) + clip(3, seed=9)
    pictures = []
    for ticks in (a, b):
        model = torch_network(weights, TINY, teeth=False)
        model.set_identity(still())
        pictures.append(run(model, ticks))
    assert np.array_equal(pictures[0][:5], pictures[1][:5])
    assert not np.array_equal(pictures[0][5:], pictures[1][5:])


def test_reset_forgets_the_stream_but_not_the_still(weights: Path) -> None:
    model = torch_network(weights, TINY, teeth=False)
    model.set_identity(still())
    first = run(model, clip(6))
    model.reset()
    assert np.array_equal(run(model, clip(6)), first)


def test_before_the_still_the_enlarged_frame_and_before_a_frame_the_still(weights: Path) -> None:
    model = torch_network(weights, TINY, teeth=False)
    assert model.tick(FaceTick(None, None), None).shape == (256, 256, 3)
    frame = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    picture = model.tick(FaceTick(frame, None), None)
    assert picture.dtype == np.uint8 and np.abs(picture.astype(int) - (200, 100, 50)).max() <= 1
    model.reset()
    model.set_identity(still())
    assert np.array_equal(model.tick(FaceTick(None, None), None), still().picture)


def test_a_still_without_landmarks_is_drawn(weights: Path) -> None:
    model = torch_network(weights, TINY, teeth=False)
    model.set_identity(still(points=False))
    low = area_8x8(still().picture)
    picture = model.tick(FaceTick(low, None), None)
    assert np.abs(area_8x8(picture).astype(int) - low).mean() < 12


def test_hints_hold_for_a_while_only(weights: Path) -> None:
    model = torch_network(weights, TINY, teeth=False)
    model.set_identity(still())
    frame = np.full((8, 8, 3), 120, np.uint8)
    first = model.tick(FaceTick(frame, Hints(0.4, 0.6, 0.1, 0.1, 0, 0, 0.55, 0.5, -1.6, 0, 0, 0)), None)
    held = [model.tick(FaceTick(None, None), None) for _ in range(HELD_HINTS + 1)]
    assert all(np.array_equal(h, first) for h in held[:-1])
    assert not np.array_equal(held[-1], first)


def test_the_nearest_still_is_used(weights: Path) -> None:
    frame = FaceTick(area_8x8(still(3).picture), None)
    alone = torch_network(weights, TINY, teeth=False)
    alone.set_identity(still(3))
    several = torch_network(weights, TINY, teeth=False)
    for seed in range(MAX_STILLS + 2):
        several.set_identity(still(seed))
    assert np.array_equal(several.tick(frame, None), alone.tick(frame, None))
    both = torch_network(weights, TINY, stills=2, teeth=False)
    both.set_identity(still(3))
    one = both.tick(frame, None)
    both.set_identity(still(4))
    both.reset()
    assert np.array_equal(one, alone.tick(frame, None)) and not np.array_equal(both.tick(frame, None), one)


def test_a_still_that_comes_again_counts_once(weights: Path) -> None:
    frame = FaceTick(area_8x8(still(3).picture), None)
    pictures = []
    for again in (1, 3):
        model = torch_network(weights, TINY, stills=2, teeth=False)
        for seed in [3] * again + [4]:
            model.set_identity(still(seed))
        pictures.append(model.tick(frame, None))
    assert np.array_equal(pictures[0], pictures[1])


def drawn_with(weights: Path, one: IdentityStill, ticks: list[FaceTick]) -> NDArray[np.uint8]:
    """What one still alone gives."""
    model = torch_network(weights, TINY, teeth=False)
    model.set_identity(one)
    return run(model, [(tick, None) for tick in ticks])


def test_another_still_must_be_clearly_nearer(weights: Path) -> None:
    a, b = still(3), still(4)
    from_a, from_b = area_8x8(a.picture).astype(float), area_8x8(b.picture).astype(float)
    # from one still's own frame to the other's and back, in steps of a tenth of the way
    way = [0.1 * k for k in range(11)]
    ticks = [FaceTick((from_a + (from_b - from_a) * t).round().astype(np.uint8), None) for t in [*way, *way[::-1]]]
    model = torch_network(weights, TINY, teeth=False)
    model.set_identity(a)
    model.set_identity(b)
    shown = run(model, [(tick, None) for tick in ticks])
    with_a, with_b = (drawn_with(weights, s, ticks) for s in (a, b))
    which = [
        "a" if np.array_equal(x, y) else "b" if np.array_equal(x, z) else "?"
        for x, y, z in zip(shown, with_a, with_b, strict=True)
    ]
    # the distance is square: at six tenths of the way 0.16 against 0.36 is below the limit, half way nothing is; then
    # one fades into the other for three ticks
    assert "".join(which) == "aaaaaa???bb" + "bbbbbb???aa"


def test_the_turn_of_the_head_counts_where_hints_tell_it(weights: Path) -> None:
    straight, other = still(3), still(4)
    assert straight.points is not None
    marks = straight.points.copy()
    marks[POINTS.index(1), 0] += 0.15  # the tip of the nose
    turned = IdentityStill(other.picture, marks)
    # a little nearer to the first in 8x8
    low = (area_8x8(straight.picture) * 0.55 + area_8x8(turned.picture) * 0.45).round().astype(np.uint8)
    for points, expected in ((None, straight), (straight.points, straight), (marks, turned)):
        tick = FaceTick(low, None if points is None else hints_of(points))
        model = torch_network(weights, TINY, teeth=False)
        model.set_identity(turned)
        model.set_identity(straight)
        assert np.array_equal(run(model, [(tick, None)]), drawn_with(weights, expected, [tick]))


@pytest.mark.slow
def test_memory_does_not_grow(weights: Path) -> None:
    model = torch_network(weights, TINY, teeth=False)
    ticks = clip(25)

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    sizes = []
    for k in range(20):
        model.set_identity(still(k))
        run(model, ticks)
        sizes.append(resident())
    # the stills that are kept, up to eight, are in by the tenth
    assert sizes[-1] - sizes[9] < 16, f"resident MB after every 25 ticks: {sizes}"


@pytest.mark.parametrize("kind", ["missing", "text", "lacks", "unknown", "shape", "integers", "infinite"])
def test_other_weights_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "w.safetensors"
    state = Upsampler(TINY).state_dict()
    name = "decoder.join32.weight"
    if kind == "text":
        path.write_text("not weights")
    elif kind == "lacks":
        del state[name]
    elif kind == "unknown":
        state["surplus"] = torch.zeros(1)
    elif kind == "shape":
        state[name] = torch.zeros(3)
    elif kind == "integers":
        state[name] = torch.zeros(state[name].shape, dtype=torch.int32)
    elif kind == "infinite":
        state[name] = torch.full(state[name].shape, float("nan"))
    if kind not in ("missing", "text"):
        save_file(state, path)
    with pytest.raises(UserError) as caught:
        torch_network(path, TINY)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(Upsampler(TINY).state_dict(), path)
    with pytest.raises(UserError):
        torch_network(path, TINY)


def test_the_teeth_stage_changes_the_mouth_alone(weights: Path, teeth: Path) -> None:
    plain = torch_network(weights, TINY, teeth=False)
    restoring = torch_network(weights, TINY, teeth=teeth)
    assert restoring.backend == plain.backend + " + teeth" and restoring.teeth is not None and plain.teeth is None
    for model in (plain, restoring):
        model.set_identity(still())
    for tick in clip(4):
        expected, drawn = plain.tick(*tick), restoring.draw(*tick)
        assert drawn is not None and np.array_equal(restoring.engine.shown(drawn.upsampled), expected)
        changed = (restoring.engine.shown(drawn.picture) != expected).any(2)
        rows, columns = changed.any(1).nonzero()[0], changed.any(0).nonzero()[0]
        mouth = (drawn.points[0, :40].mean(0).numpy() + 1) * 128
        assert changed.mean() > 0.01 and len(range(rows[0], rows[-1])) < 96 > len(range(columns[0], columns[-1]))
        assert rows[0] < mouth[1] < rows[-1] and columns[0] < mouth[0] < columns[-1]


def test_streams_with_teeth_are_the_same_again_after_a_reset(weights: Path, teeth: Path) -> None:
    model = torch_network(weights, TINY, teeth=teeth)
    model.set_identity(still())
    first = run(model, clip(6))
    model.reset()
    assert np.array_equal(run(model, clip(6)), first)
    fresh = torch_network(weights, TINY, teeth=teeth)
    fresh.set_identity(still())
    assert np.array_equal(run(fresh, clip(6)), first)


def test_the_teeth_come_from_a_still_with_landmarks_that_is_kept(weights: Path, teeth: Path) -> None:
    model = torch_network(weights, TINY, teeth=teeth)
    assert model.teeth is not None
    model.set_identity(still(1, points=False))
    assert model.teeth.reference is None
    assert model.tick(FaceTick(area_8x8(still(1).picture), None), None).shape == (256, 256, 3)
    shown = []
    for seed in range(2, 2 + MAX_STILLS):
        model.set_identity(still(seed))
        assert model.teeth.reference is not None
        shown.append(model.teeth.reference.shown)
    assert shown == sorted(shown)
    for seed in range(50, 50 + MAX_STILLS):
        model.set_identity(still(seed, points=False))
    assert model.teeth.reference is None


def test_teeth_weights_must_be_there(weights: Path, teeth: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = teeth.with_name("none.safetensors")
    with pytest.raises(UserError, match=r"none\.safetensors"):
        torch_network(weights, TINY, teeth=missing)
    monkeypatch.setattr(graphs, "TEETH_WEIGHTS", missing)
    with pytest.raises(UserError, match=r"none\.safetensors"):
        torch_network(weights, TINY)
    monkeypatch.setattr(graphs, "TEETH_WEIGHTS", teeth)
    for model in (torch_network(weights, TINY), torch_network(weights, TINY, teeth=True)):
        assert model.backend.endswith("+ teeth")
