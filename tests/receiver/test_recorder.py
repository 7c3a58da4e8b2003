from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from codec_models.errors import UserError
from receiver.recorder import Recorder, open_recorder, whole_fragments
from receiver.renderer import ShownPicture

pytestmark = pytest.mark.unit


def tone(level: int) -> NDArray[np.int16]:
    return np.asarray(level * np.sin(np.arange(1920) * 2 * np.pi * 500 / 48000), np.int16)


def shown(index: int, brightness: int, stream: int = 1) -> ShownPicture:
    return ShownPicture(stream, index, np.full((256, 256, 3), brightness, np.uint8), None)


def add(recorder: Recorder, index: int, on: bool, stream: int = 1, beep: bool = True) -> None:
    """on: the flash; its beep begins where it does, at the end of the tick."""
    recorder.voice(stream, index, tone(8000 if beep else 0))
    while recorder._waiting_pictures > 4:
        time.sleep(0.001)
    recorder.picture(shown(index, 220 if on else 20, stream))


def read(path: Path) -> tuple[list[tuple[float, float]], NDArray[np.float64], float]:
    """[(time of a picture, brightness)], samples, time of the first sample."""
    pictures, parts, start = [], [], None
    with av.open(str(path)) as container:
        for frame in container.decode():
            if isinstance(frame, av.VideoFrame):
                pictures.append((float(frame.time or 0), float(frame.to_ndarray(format="rgb24").mean())))
            elif isinstance(frame, av.AudioFrame):
                start = float(frame.time or 0) if start is None else start
                parts.append(frame.to_ndarray().reshape(-1))
    return pictures, np.concatenate(parts).astype(float), start or 0.0


def test_picture_and_voice_are_in_sync(tmp_path: Path) -> None:
    path = tmp_path / "call.mp4"
    recorder = Recorder(path)
    recorder.start()
    for k in range(100):
        add(recorder, 5000 + k, on=(k + 1) % 25 < 5, beep=k % 25 < 5)
    recorder.stop()
    pictures, samples, start = read(path)
    assert len(pictures) == 101  # the first one stands from the beginning
    assert abs(len(samples) / 48000 - 4) < 0.1
    flashes = [t for (t, b), (_, a) in zip(pictures[1:], pictures, strict=False) if b > 120 > a]
    loud = np.abs(samples).reshape(-1)
    level = np.convolve(loud, np.ones(240) / 240, "same") > 0.05
    beeps = np.flatnonzero(level[1:] & ~level[:-1]) / 48000 + start
    beeps = beeps[beeps > 0.5]
    assert len(flashes) == 4 and len(beeps) == 3  # the last flash is that of the very end
    # The tick whose picture is the first with light is the last one that is silent: they meet where it ends.
    assert np.abs(np.array(flashes[:3]) - beeps).max() < 0.01
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (audio.codec_context.sample_rate, audio.codec_context.layout.name) == (48000, "mono")


def test_gaps_are_filled_and_jumps_are_not(tmp_path: Path) -> None:
    path = tmp_path / "call.mp4"
    recorder = Recorder(path)
    recorder.start()
    for k in range(25):
        add(recorder, k, on=True)
    for k in range(50, 75):  # One second is missing.
        add(recorder, k, on=True)
    for k in range(10**9, 10**9 + 25):  # The sender restarted ...
        add(recorder, k, on=True, stream=2)
    for k in range(25):  # ... and again, with lower indices.
        add(recorder, k, on=True, stream=3)
    recorder.picture(shown(10**9 + 26, 0, stream=2))  # A picture that comes too late.
    recorder.stop()
    pictures, samples, _ = read(path)
    assert abs(len(samples) / 48000 - 5) < 0.1
    assert len(pictures) == 101 and abs(pictures[-1][0] - 5) < 0.05
    silent = np.abs(samples.reshape(-1)[: 5 * 48000 // 480 * 480].reshape(-1, 480)).max(1) < 0.01
    assert 85 < silent.sum() < 110
    assert np.diff([t for t, _ in pictures]).max() < 1.1


def test_keyframes_come_every_second_also_where_pictures_are_missing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "call.mp4")
    recorder.start()
    for k in range(200):
        recorder.voice(1, k, tone(0))
        if k % 5 == 0:
            recorder.picture(shown(k, k))
        while recorder._queue:
            time.sleep(0.001)
    recorder.stop()
    with av.open(str(recorder.path)) as container:
        times = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.pts is not None and p.is_keyframe]
    assert len(times) == 8 and max(np.diff(times)) < 1.08


CHILD = """
import sys, time, numpy as np
from pathlib import Path
from receiver.recorder import Recorder
from receiver.renderer import ShownPicture
recorder = Recorder(Path(sys.argv[1]))
recorder.start()
for k in range(10_000):
    recorder.voice(1, k, np.full(1920, 1000, np.int16))
    recorder.picture(ShownPicture(1, k, np.random.default_rng(k).integers(0, 255, (256, 256, 3), np.uint8), None))
    time.sleep(0.004)
    if k == 130:
        print("now", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_recording_stays_playable(tmp_path: Path) -> None:
    path = tmp_path / "call.mp4"
    root = Path(__file__).parents[2]
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, cwd=root)
    try:
        assert child.stdout is not None and child.stdout.readline() == b"now\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    pictures, samples, _ = read(path)
    assert len(pictures) >= 50
    assert len(samples) >= 48000 * 2


def test_disk_full_stops_the_recording_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, lines, written = tmp_path / "call.mp4", [], 0

    class Full:
        """A disk with room for 30 kB; the write that reaches its end is done in part."""

        def __init__(self, file: object) -> None:
            self.file = file

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

        def write(self, data: memoryview) -> int:
            nonlocal written
            if written >= 30_000:
                raise OSError(28, os.strerror(28))
            data = data[: 30_000 - written]
            written += len(data)
            return int(self.file.write(data))  # type: ignore[attr-defined]

    real = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda self, *a, **k: Full(real(self, *a, **k)) if k.get("buffering") == 0 else real(self, *a, **k),
    )
    recorder = Recorder(path, lines.append)
    recorder.start()
    rng = np.random.default_rng(1)
    for k in range(150):
        recorder.voice(1, k, rng.integers(-2000, 2000, 1920).astype(np.int16))
        recorder.picture(shown(k, k))
        while recorder._queue:
            time.sleep(0.001)
    recorder.stop()
    assert len(lines) == 1 and "No space left" in lines[0] and str(path) in lines[0]
    assert path.stat().st_size == whole_fragments(path) <= 30_000
    pictures, samples, _ = read(path)
    assert len(pictures) >= 25 and len(samples) >= 40_000


def test_slow_encoding_drops_pictures_and_keeps_the_voice(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "call.mp4")
    for k in range(200):  # Not started yet: everything waits.
        recorder.voice(1, k, tone(4000))
        recorder.picture(shown(k, k))
    assert len(recorder._queue) == 200 + recorder._MAX_PICTURES
    recorder.start()
    recorder.stop(10)
    assert recorder.dropped == 200 - recorder._MAX_PICTURES
    pictures, samples, _ = read(recorder.path)
    assert len(pictures) == recorder._MAX_PICTURES + 1
    assert pictures[0][0] == 0 and pictures[1][0] > 7  # the first that there is stands for those before it
    assert abs(len(samples) / 48000 - 8) < 0.1
    for k in range(5000):
        recorder.voice(1, k, tone(0))
    assert len(recorder._queue) <= recorder._MAX_VOICE


def test_an_older_file_survives_a_call_that_never_comes(tmp_path: Path) -> None:
    path = tmp_path / "call.mp4"
    path.write_bytes(b"precious")
    recorder = Recorder(path)
    recorder.start()
    recorder.stop()
    assert path.read_bytes() == b"precious"
    fresh = Recorder(tmp_path / "none.mp4")
    fresh.start()
    fresh.stop()
    assert not fresh.path.exists()


@pytest.mark.parametrize("name", ["missing/call.mp4", "folder.mp4", "call.avi"])
def test_unwritable_path_is_told_before_the_call(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match=name.split("/")[-1]):
        open_recorder(str(tmp_path / name), print)
    assert open_recorder(None, print) is None
