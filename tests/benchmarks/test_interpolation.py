"""The interpolation benchmark; an untrained network whose change is nothing stands in for the trained one, for what it
gives is known: the linear mixture of both neighbours, or the last frame where there is none after.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
from safetensors.torch import save_file

from benchmarks import interpolation
from benchmarks.clips import Clip
from benchmarks.interpolation import (
    BASELINES,
    CODECS,
    TRUTH,
    cubic,
    hold,
    linear,
    linear_window,
    live,
    pooled_psnr,
    receive,
    run,
    windows,
)
from benchmarks.ours import code_faces
from codec_models.bitstream.face import FaceConfig
from codec_models.engines.torch_engine import TorchEngine
from codec_models.errors import UserError
from codec_models.interpolation import Interpolation
from codec_models.landmarks import POINTS
from codec_models.slow_stream import _EASE, SlowStream

pytestmark = pytest.mark.unit


def make_clip(count: int = 62) -> Clip:
    """A smooth scene that swings to the side and grows brighter; its face is found in all frames but the first two."""
    y, x = np.mgrid[0:256, 0:256] / 256
    frames = []
    for k in range(count):
        place = 0.5 + 0.15 * np.sin(k / 6)
        blob = 60 + 120 * np.exp(-((x - place) ** 2 + (y - 0.5) ** 2) / 0.05) + k / 3
        frames.append(np.stack([blob, 0.8 * blob, 255 - blob], -1).astype(np.uint8))
    points = np.random.default_rng(1).uniform(0.3, 0.7, (len(POINTS), 2)).astype(np.float32)
    every = np.repeat(points[None], count, 0)
    every[:2] = np.nan
    return Clip("swing.mp4", np.stack(frames), np.zeros((count, 1920), np.int16), every)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that adds nothing to the linear mixture."""
    torch.manual_seed(0)
    network = Interpolation()
    torch.nn.init.zeros_(network.change.weight)
    torch.nn.init.zeros_(network.change.bias)
    path = tmp_path_factory.mktemp("weights") / "plain.safetensors"
    save_file(network.state_dict(), path)
    return path


def column(values: list[float]) -> NDArray[np.float32]:
    return np.array(values, np.float32)[:, None, None, None] * np.ones((1, 8, 8, 3), np.float32)


def test_baselines_on_numbers() -> None:
    keys, ticks = np.array([0, 5, 15]), np.arange(18)
    given = column([0, 10, 30])
    assert hold(keys, given, ticks)[:, 0, 0, 0].tolist() == [0] * 5 + [10] * 10 + [30] * 3
    straight = [*np.arange(0, 31, 2), 30, 30]
    assert linear(keys, given, ticks)[:, 0, 0, 0] == pytest.approx(straight)
    # A straight line has the slope of its neighbours also where a frame is lost.
    assert cubic(keys, given, ticks)[:, 0, 0, 0] == pytest.approx(straight, abs=1e-5)


def test_linear_in_windows_knows_nothing_of_the_next_window() -> None:
    keys = np.arange(0, 51, 5)
    given = np.broadcast_to(keys[:, None, None, None], (11, 8, 8, 3)).astype(np.float32)
    made = linear_window(keys, given, np.arange(50))[:, 0, 0, 0]
    held = np.minimum(np.arange(50) % 25, 20) + np.arange(50) // 25 * 25
    assert made == pytest.approx(held)


def test_cubic_follows_a_parabola_that_linear_cuts() -> None:
    keys, ticks = np.arange(0, 30, 5), np.arange(5, 21)
    truth = column([0.1 * t * t for t in ticks])
    given = column([0.1 * t * t for t in keys])
    assert cubic(keys, given, ticks) == pytest.approx(truth, abs=1e-3)
    assert np.abs(linear(keys, given, ticks) - truth).max() > 0.5


def test_what_is_received_is_what_the_codec_sends() -> None:
    clip = make_clip()
    received = receive(clip)
    coded = code_faces(clip, FaceConfig(fps=5))
    assert received.keys.tolist() == list(range(0, 62, 5)) == coded.coded
    assert (received.pictures == coded.decoded()).all()
    assert received.compared == 50 and receive(make_clip(55)).compared == 50
    assert receive(make_clip(50)).compared == 46  # the last frame came at tick 45
    assert received.ticks[1].hints is None and received.ticks[2].hints is not None
    assert np.abs(received.truth - coded.originals).max() <= 0.5


def test_lost_frames_take_their_ticks_with_them_and_the_next_one_is_whole() -> None:
    clip = make_clip(125)
    received, again = receive(clip, 0.4, seed=2), receive(clip, 0.4, seed=2)
    lost = sorted(set(range(0, 125, 5)) - set(received.keys.tolist()))
    assert received.keys[0] == 0 and 4 <= len(lost) <= 16
    assert again.keys.tolist() == received.keys.tolist() != receive(clip, 0.4, seed=3).keys.tolist()
    for k in lost:
        assert all(t.hints is None and not t.clean for t in received.ticks[k : k + 5])
    # Refreshed, so as near to the truth as any.
    assert pooled_psnr(received.truth[received.keys], received.pictures.astype(np.float32)) > 38


def test_every_form_is_aligned_with_the_ticks(plain: Path) -> None:
    received = receive(make_clip())
    ticks = np.arange(len(received.ticks))
    given = received.pictures.astype(np.float32)
    straight, held = linear(received.keys, given, ticks), hold(received.keys, given, ticks)
    ahead, spent = live(SlowStream(TorchEngine(interpolation=plain), 1), received.ticks)
    assert len(spent) == 67 and ahead.shape == (62, 8, 8, 3)
    assert np.abs(ahead[:61] - straight[:61]).max() <= 0.51
    causal, spent = live(SlowStream(TorchEngine(interpolation=plain), 0), received.ticks)
    eased = held.copy()
    for k in range(5, 62):
        if k % 5 < len(_EASE):  # what is left of the step to the frame that has come
            eased[k] += _EASE[k % 5] * (held[k - k % 5 - 1] - held[k])
    assert len(spent) == 62 and np.abs(causal - eased).max() <= 0.51
    whole, spent = windows(SlowStream(TorchEngine(interpolation=plain), 0), received.ticks)
    assert len(spent) == 2 and whole.shape == (50, 8, 8, 3)
    for start in (0, 25):
        assert np.abs(whole[start : start + 21] - straight[start : start + 21]).max() <= 0.01
        # After its last frame a window knows no other.
        assert np.abs(whole[start + 21 : start + 25] - held[start + 21 : start + 25]).max() <= 0.01


def test_hints_reach_the_network_or_not(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received = receive(make_clip())
    pushed, given = [], []

    class Noting(SlowStream):
        def push(self, face: Any) -> Any:
            pushed.append(face.hints is not None)
            return super().push(face)

        def window(self, frames: Any, hints: Any = None) -> Any:
            given.append(hints)
            return super().window(frames, hints)

    streams = {k: Noting(TorchEngine(interpolation=plain), k) for k in (0, 1)}
    given.clear()  # of the first use
    for codec in ("ours-live-0", "ours-live-1", "ours-window"):
        frames, cost = run(codec, received, streams.__getitem__)
        assert frames.shape == (50, 8, 8, 3) and 0 < cost["p50_ms"] <= cost["p95_ms"]
        assert (frames == np.floor(frames)).all()
    assert sum(pushed) == 2 * 60
    # None are known yet in the first window, whose first two ticks have no face.
    assert given[0] is None and given[1].shape == (25, 12)
    pushed.clear()
    given.clear()
    for codec in ("ours-live-0-nohints", "ours-live-1-nohints", "ours-window-nohints"):
        run(codec, received, streams.__getitem__)
    assert not any(pushed) and given == [None, None]


def test_windows_repeat_the_frame_before_a_lost_one(plain: Path) -> None:
    received = receive(make_clip(125), 0.4, seed=2)
    frames, _ = windows(SlowStream(TorchEngine(interpolation=plain), 0), received.ticks)
    lost = next(k for k in range(5, 125, 5) if k not in received.keys)
    before = received.keys[received.keys < lost][-1]
    picture = received.ticks[before].picture
    assert picture is not None and np.abs(frames[lost] - picture).max() <= 0.01


def test_table_and_json(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interpolation, "load_clip", lambda source, limit: make_clip())
    out = tmp_path / "i.json"
    assert interpolation.main(["--weights", str(plain), "--json", str(out)]) == 0
    written = json.loads(out.read_text())
    mean = written["mean"]
    assert set(mean) == {*CODECS, TRUTH} and len(written["rows"]) == len(CODECS) + 1
    assert mean["linear"]["over_linear"] == 0 and mean["hold"]["over_linear"] < -1
    assert mean["ours-live-1"]["psnr"] == pytest.approx(mean["linear"]["psnr"], abs=0.05)
    # an untrained one holds, and eases the step to the next frame
    assert mean["hold"]["psnr"] - 1 < mean["ours-live-0"]["psnr"] < mean["hold"]["psnr"]
    assert mean["ours-live-0"]["beat_5hz"] < mean["hold"]["beat_5hz"] - 5
    assert mean["hold"]["beat_5hz"] > mean[TRUTH]["beat_5hz"] + 10
    assert mean["hold"]["psnr"] < mean["hold"]["psnr_all"]
    assert written["settings"]["loss"] == 0 and written["settings"]["parameters"] > 100_000
    assert "over linear" in capsys.readouterr().out
    arguments = ["--weights", str(plain), "--json", str(out), "--loss", "0.5", "--codecs", "linear,ours-live-1"]
    assert interpolation.main(arguments) == 0
    lossy = json.loads(out.read_text())
    assert lossy["settings"]["loss"] == 0.5 and lossy["mean"]["linear"]["psnr"] < mean["linear"]["psnr"] - 3
    assert "50 % of the frames lost" in capsys.readouterr().out


def test_baselines_need_no_weights(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(interpolation, "load_clip", lambda source, limit: make_clip())
    assert interpolation.main(["--codecs", ",".join(BASELINES), "--weights", "nowhere"]) == 0
    assert "parameters" not in capsys.readouterr().out


def test_bad_arguments_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpolation, "load_clip", lambda source, limit: make_clip(20))
    for arguments, words in (
        (["--loss", "1"], "no probability"),
        (["--codecs", "cubical"], "no codec called cubical"),
        (["nowhere.mp4"], r"no file at nowhere\.mp4"),
        (["--codecs", "hold"], "at least 25"),
        (["--weights", "nowhere.safetensors"], "no trained weights"),
    ):
        with pytest.raises(UserError, match=words):
            interpolation.main(arguments)
