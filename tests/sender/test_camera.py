from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from codec_models.errors import UserError
from sender import camera
from sender.camera import CameraSource, VoiceBuffer

pytestmark = pytest.mark.unit


def run(clock: float, ticks: int = 15000) -> tuple[VoiceBuffer, int, int]:
    """A microphone whose clock is off by a factor, in 10 ms pieces -> buffer, most and least samples held at the end
    of a tick in the last half."""
    buffer, owed, held = VoiceBuffer(), 0.0, []
    ramp = 0
    for tick in range(ticks):
        for _ in range(4):
            owed += 480 * clock
            n = int(owed)
            owed -= n
            buffer.put((np.arange(ramp, ramp + n) % 20000).astype(np.int16))
            ramp += n
        assert buffer.take().shape == (1920,)
        if tick > ticks // 2:
            held.append(len(buffer))
    return buffer, max(held), min(held)


@pytest.mark.parametrize("clock", [0.9995, 1.0, 1.0005, 1.1])
def test_drift_does_not_accumulate(clock: float) -> None:
    buffer, most, _ = run(clock)
    assert most <= 3 * 1920
    lost = 15000 * 1920 * abs(clock - 1)
    assert buffer.dropped <= (clock > 1) * lost * 1.01 + 4000
    assert buffer.inserted <= (clock < 1) * lost * 4 + 3 * 1920


def test_the_voice_comes_out_as_it_went_in() -> None:
    buffer = VoiceBuffer()
    samples = np.arange(1920 * 6, dtype=np.int16)
    out = []
    for k in range(6):
        buffer.put(samples[k * 1920 : (k + 1) * 1920])
        out.append(buffer.take())
    joined = np.concatenate(out)
    start = 1920  # one tick is kept in hand
    assert not joined[:start].any()
    assert np.array_equal(joined[start + 96 :], samples[96 : joined.size - start])


def test_a_silent_device_gives_silence_and_nothing_grows() -> None:
    buffer = VoiceBuffer()
    assert not any(buffer.take().any() for _ in range(100))
    buffer.put(np.ones(10_000_000, np.int16))
    assert len(buffer) <= 3 * 1920


def test_running_dry_fades_out() -> None:
    buffer = VoiceBuffer()
    buffer.put(np.full(2 * 1920 + 900, 10000, np.int16))
    out = np.concatenate([buffer.take() for _ in range(4)]).astype(int)
    assert np.abs(np.diff(out)).max() < 400


def test_an_absent_camera_is_one_plain_line() -> None:
    with pytest.raises(UserError, match="no camera number 97"):
        CameraSource(97)


class Counting:
    """A camera whose n-th picture, one every 10 ms, has level n."""

    def __init__(self) -> None:
        self.taken = 0

    def read(self) -> tuple[bool, NDArray[np.uint8]]:
        time.sleep(0.01)
        self.taken += 1
        return True, np.full((8, 8, 3), self.taken % 256, np.uint8)

    def release(self) -> None: ...


def test_a_tick_carries_the_picture_that_is_newest_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    device: Any = Counting()
    monkeypatch.setattr(camera, "_open_camera", lambda number: device)
    monkeypatch.setattr(camera, "_open_microphone", lambda: None)
    source = CameraSource(0, on_warning=lambda line: None)
    try:
        for tick, _ in zip(source, range(8), strict=False):
            newest = device.taken
            assert tick.picture is not None and newest - int(tick.picture[0, 0, 0]) <= 2  # a tick is four of them
    finally:
        source.close()
