"""The 5 Hz beat of frame differences, on signals whose spectrum is known."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.smoothness import (
    MIN_FRAMES,
    beat_5hz,
    beat_of,
    beat_or_none,
    differences,
    evened,
    recorded_motion,
    spectrum,
)
from codec_models.errors import UserError

pytestmark = pytest.mark.unit


def ramp(count: int, hold: int = 1) -> NDArray[np.float32]:
    """(count, 8, 8, 3): all pixels grow by a level a tick; held for `hold` ticks."""
    level = np.arange(count) // hold * hold
    return np.broadcast_to(level[:, None, None, None], (count, 8, 8, 3)).astype(np.float32)


def test_differences_are_mean_and_absolute_and_bytes_do_not_wrap() -> None:
    frames = np.zeros((3, 2, 2, 3), np.uint8)
    frames[1, 0] = 200
    assert differences(frames).tolist() == [100.0, 100.0]
    assert differences(ramp(6, hold=5)).tolist() == [0, 0, 0, 0, 5]


def test_still_and_steady_pictures_do_not_beat() -> None:
    assert beat_5hz(ramp(120)) == pytest.approx(0, abs=0.01)
    assert beat_5hz(np.full((120, 8, 8, 3), 90, np.uint8)) == pytest.approx(0, abs=0.01)


def test_held_pictures_beat_and_others_rhythms_do_not() -> None:
    assert beat_5hz(ramp(120, hold=5)) > 40
    # every third picture new: 8.3 Hz
    assert beat_5hz(ramp(120, hold=3)) < -10


def test_motion_by_fits_and_starts_beats_only_where_it_is_held() -> None:
    rng = np.random.default_rng(3)
    wave = np.convolve(rng.normal(size=1000), np.ones(8) / 8, "same") * (1 + np.sin(np.arange(1000) / 12))
    path = np.cumsum(wave) * 20
    frames = np.broadcast_to(path[:, None, None, None], (1000, 8, 8, 3))
    free = beat_5hz(frames)
    held = beat_5hz(frames[np.arange(1000) // 5 * 5])
    line = np.interp(np.arange(996), np.arange(0, 1000, 5), path[::5])
    linear = beat_5hz(np.broadcast_to(line[:, None, None, None], (996, 8, 8, 3)))
    assert free < 3 and linear < 3 and held > 30


def test_a_jump_in_every_fifth_tick_shows_at_its_size() -> None:
    noise = np.abs(np.random.default_rng(4).normal(1, 0.1, 2000))
    jumps = np.arange(2000) % 5 == 0
    small, large = (beat_of(noise * (1 + size * jumps)) for size in (0.1, 0.4))
    assert 3 < small < large - 8


def test_the_mean_around_is_blind_to_a_rhythm_of_five_ticks() -> None:
    rhythm = np.array([3.0, 1, 1, 0, 0] * 10)
    assert evened(rhythm) == pytest.approx(rhythm[2:-2], rel=0.02)
    assert evened(100 * rhythm) == pytest.approx(rhythm[2:-2], rel=0.001)
    assert (evened(np.zeros(30)) == 0).all()


def test_a_wave_of_known_amplitude_has_its_known_power() -> None:
    n, noise, amplitude = 20_000, 0.05, 0.02
    t = np.arange(n) / 25
    white = np.random.default_rng(1).normal(1, noise, n)
    frequencies, power = spectrum(white)
    assert power.mean() == pytest.approx(noise**2, rel=0.05)
    # A sine puts a^2 / 4 times (sum of the window)^2 / (sum of its square) = 50 / 1.5 into its bin.
    wave = white + amplitude * np.sin(2 * np.pi * 5 * t)
    _, power = spectrum(wave)
    at = int(np.argmin(np.abs(frequencies - 5)))
    assert power[at] == pytest.approx(noise**2 + amplitude**2 / 4 * 50 / 1.5, rel=0.1)
    # The mean around takes 5 and 10 Hz from the noise as little as from the wave; the rest loses some to it.
    alone, with_5, with_7 = beat_of(white), beat_of(wave), beat_of(white + amplitude * np.sin(2 * np.pi * 7 * t))
    wanted = 10 * np.log10(1 + amplitude**2 / 8 * 50 / 1.5 / (noise**2 + 1e-4))
    assert with_5 - alone == pytest.approx(wanted, abs=0.5)
    assert abs(alone) < 1.5 and with_7 < alone + 0.2


def test_a_recording_is_measured_on_its_own_clock(tmp_path: Path) -> None:
    path, given = tmp_path / "call.mp4", {0: 40, 1: 60, 2: 80, 5: 140, 6: 160}
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "1"})
        video.width = video.height = 64
        for k, level in given.items():
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    # Nothing new at ticks 3 and 4.
    assert recorded_motion(path) == pytest.approx([20, 20, 0, 0, 60, 20], abs=3)
    (tmp_path / "no.mp4").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read as video"):
        recorded_motion(tmp_path / "no.mp4")


def test_short_sequences_are_one_window_and_too_short_ones_are_refused() -> None:
    assert beat_5hz(ramp(MIN_FRAMES, hold=5)) > 20
    assert len(spectrum(np.arange(19.0))[0]) == 7  # 15 values
    assert beat_or_none(np.zeros(MIN_FRAMES - 2)) is None and beat_or_none(np.zeros(MIN_FRAMES - 1)) == 0
    with pytest.raises(ValueError, match="at least 20"):
        beat_5hz(ramp(MIN_FRAMES - 1))
