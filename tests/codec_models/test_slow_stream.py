from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from safetensors.torch import save_file

from codec_models.bitstream.face import FaceTick
from codec_models.bitstream.hints import Hints
from codec_models.engines.torch_engine import TorchEngine
from codec_models.held_hints import HELD_HINTS
from codec_models.interpolation import HINTS, Interpolation, load_interpolation
from codec_models.slow_stream import _EASE, SlowStream

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    model = Interpolation()
    torch.nn.init.normal_(model.change.weight, std=0.05)
    path = tmp_path_factory.mktemp("weights") / "interpolation.safetensors"
    save_file(model.state_dict(), path)
    return path


def stream_of(weights: Path, lookahead: int, fps: int | None = None) -> SlowStream:
    return SlowStream(TorchEngine(interpolation=weights), lookahead, fps)


def hints_at(k: int) -> Hints:
    return Hints(0.02 * (k % 7), 0.5, 0.1, 0.1, 0.0, 0.0, 0.5 + 0.005 * (k % 11), 0.5, -1.6, 0.01 * (k % 5), 0.0, 0.0)


def picture_at(k: int) -> NDArray[np.uint8]:
    """Goes its way slowly, so that 8 bits do not matter."""
    x = np.arange(8)[None, :, None] * 20 + np.arange(8)[:, None, None] * 5 + np.arange(3) * 10
    return np.asarray(x + k % 60, np.uint8)


def ticks(count: int, every: int = 5, lost: tuple[int, ...] = (), hints: bool = True) -> list[FaceTick]:
    return [
        FaceTick(picture_at(k) if k % every == 0 and k not in lost else None, hints_at(k) if hints else None)
        for k in range(count)
    ]


def run(stream: SlowStream, given: list[FaceTick]) -> list[FaceTick | None]:
    return [stream.push(face) for face in given]


def same(a: FaceTick | None, b: NDArray[np.uint8]) -> bool:
    return a is not None and a.picture is not None and np.array_equal(a.picture, b)


def directly(weights: Path, upto: int, asked: int, lost: tuple[int, ...] = ()) -> NDArray[np.float32]:
    """Tick `asked` from the frames that have come by tick `upto`, all computed anew."""
    model = load_interpolation(weights)
    known = [k for k in range(0, upto + 1, 5) if k not in lost][-5:]
    times = [known[0] - 5 * k for k in range(5 - len(known), 0, -1)] + known
    known = [known[0]] * (5 - len(known)) + known
    raw = torch.stack([torch.from_numpy(picture_at(k).astype(np.float32)) for k in known])
    told = torch.tensor([[list(vars_of(k)) for k in known]])
    with torch.inference_mode():
        keys = model.encode(
            (raw.permute(0, 3, 1, 2) / 127.5 - 1)[None], torch.tensor([times]).float(), told, torch.ones(1, 5)
        )
        now = torch.tensor([[list(vars_of(asked))]])
        made = model.at(keys, torch.tensor([[float(asked)]]), now, torch.ones(1, 1))[0, 0]
    return np.asarray(((made + 1) * 127.5).clamp(0, 255).permute(1, 2, 0).numpy(), np.float32)


def level(frame: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(frame.clip(0, 255).round(), np.uint8)


def eased(weights: Path, k: int, lost: tuple[int, ...]) -> NDArray[np.uint8]:
    """Tick k without look-ahead: what is left of the step from the prediction to the newest frame is still in it."""
    frame = directly(weights, k, k, lost)
    come = [t for t in range(0, k + 1, 5) if t not in lost]
    newest = come[-1]
    if len(come) > 1 and k - newest < len(_EASE):
        step = directly(weights, newest - 1, newest, lost) - directly(weights, newest, newest, lost)
        frame = frame + step * _EASE[k - newest]
    return level(frame)


def vars_of(k: int) -> tuple[float, ...]:
    h = hints_at(k)
    return tuple(getattr(h, name) for name in h.__dataclass_fields__)


def test_a_stream_at_25_fps_passes_untouched_and_undelayed(weights: Path) -> None:
    for told in (25, None):
        stream = stream_of(weights, 1, told)
        given = ticks(30, every=1, lost=(7, 8, 9, 15))
        assert all(a is b for a, b in zip(run(stream, given), given, strict=True))
        assert stream.delay == 0


@pytest.mark.parametrize("lost", [(), (20,), (15, 20)])
def test_without_look_ahead_streaming_and_whole_clip_give_the_same_numbers(
    weights: Path, lost: tuple[int, ...]
) -> None:
    stream = stream_of(weights, 0, fps=5)
    for k, out in enumerate(run(stream, ticks(43, lost=lost))):
        assert same(out, eased(weights, k, lost)), k
    assert stream.delay == 0


@pytest.mark.parametrize("lost", [(), (20,)])
def test_with_look_ahead_every_tick_comes_five_ticks_later_and_knows_the_next_frame(
    weights: Path, lost: tuple[int, ...]
) -> None:
    stream = stream_of(weights, 1, fps=5)
    out = run(stream, ticks(43, lost=lost))
    assert stream.delay == 5 and out[:5] == [None] * 5
    for k in range(5, 43):
        face = out[k]
        assert same(face, level(directly(weights, k, k - 5, lost))), k
        assert face is not None and face.hints == hints_at(k - 5)


def test_the_window_form_is_the_same_network(weights: Path) -> None:
    stream = stream_of(weights, 1, fps=5)
    out = run(stream, ticks(25))
    frames = np.stack([picture_at(k) for k in range(0, 25, 5)])
    hints = np.array([vars_of(k) for k in range(25)], np.float32)
    whole = stream.window(frames, hints)
    assert whole.shape == (25, 8, 8, 3)
    # the last interval that look-ahead 1 has seen by then saw the same five frames
    for k in range(15, 20):
        assert same(out[k + 5], whole[k].round().astype(np.uint8))
    assert not np.allclose(whole, stream.window(frames))


def test_what_is_not_told_is_found_out(weights: Path) -> None:
    stream = stream_of(weights, 0)
    out = run(stream, ticks(15))
    assert stream.slow and [k for k, face in enumerate(out) if face is None or face.picture is None] == [1, 2, 3, 4]
    stream.reset()
    run(stream, ticks(15, every=1))
    assert not stream.slow


def test_a_frame_that_comes_late_keeps_its_place(weights: Path) -> None:
    on_time, late = (stream_of(weights, 0, fps=5) for _ in range(2))
    given = ticks(30)
    wanted = run(on_time, given)
    given[21] = FaceTick(given[20].picture, given[21].hints)
    given[20] = FaceTick(None, given[20].hints)
    got = run(late, given)
    # the step that came late is eased later too; after that all is as if it had come on time
    for k in (20 + len(_EASE) + 1, 24, *range(25 + len(_EASE), 30)):
        face = wanted[k]
        assert face is not None and face.picture is not None and same(got[k], face.picture), k


def test_a_new_rhythm_is_taken_after_a_while(weights: Path) -> None:
    stream = stream_of(weights, 0, fps=5)
    run(stream, ticks(30))
    shifted = [FaceTick(picture_at(k) if k % 5 == 2 else None, hints_at(k)) for k in range(30, 70)]
    run(stream, shifted)
    assert [f.time % 5 for f in stream._frames][-1] == 2


def test_hints_hold_for_half_a_second(weights: Path) -> None:
    count = 12 + HELD_HINTS + 6
    given = ticks(count)
    silent = [FaceTick(f.picture, f.hints if k < 12 else None) for k, f in enumerate(given)]
    held = [FaceTick(f.picture, f.hints if k < 12 else given[11].hints) for k, f in enumerate(given)]
    a, b = (
        run(stream_of(weights, 0, fps=5), silent),
        run(stream_of(weights, 0, fps=5), held),
    )

    def equal(k: int) -> bool:
        x, y = a[k], b[k]
        return x is not None and y is not None and y.picture is not None and same(x, y.picture)

    assert all(equal(k) for k in range(12, 12 + HELD_HINTS))
    assert not equal(count - 1)


def test_a_stream_without_frames_or_hints_is_no_trouble(weights: Path) -> None:
    stream = stream_of(weights, 0, fps=5)
    assert all(face is not None and face.picture is None for face in run(stream, [FaceTick(None, None)] * 8))
    out = run(stream, ticks(20, hints=False))
    assert all(face is not None and face.picture is not None for face in out)
    with pytest.raises(ValueError, match="0 or 1"):
        stream_of(weights, 2)


def test_reset_forgets(weights: Path) -> None:
    a, b = (
        stream_of(weights, 1, fps=5),
        stream_of(weights, 1, fps=5),
    )
    run(a, ticks(33))
    a.reset()
    for x, y in zip(run(a, ticks(20)), run(b, ticks(20)), strict=True):
        assert (x is None) == (y is None)
        assert x is None or y is None or (y.picture is not None and same(x, y.picture))


assert len(vars_of(0)) == HINTS
