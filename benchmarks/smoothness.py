"""Whether motion is even, or beats with the rhythm of frames that come five times a second.

From a sequence of frames at 25 fps, motion a tick is d(t), the mean absolute difference of two consecutive frames, in
levels of 0 to 255. Frames that are held for five ticks, or that jump a little whenever a received one corrects what was
guessed, put power into d at 5 Hz and its harmonic 10 Hz. People move by fits and starts, which is far more power at low
frequencies and carries the beat's own power away into side bands; so d is first divided by its mean over the five ticks
around, which knows nothing of a rhythm of five ticks. The power spectrum of that is Welch's: Hann windows of 2 s that
overlap by half, each less its own mean, their power averaged; a shorter sequence is one window of whole fifths of a
second. `beat_5hz` is the mean power at 5 and 10 Hz over the mean power of all other frequencies but the bins beside
these two, into which the Hann window leaks, in dB: about 0 for motion without a rhythm, 30 to 55 for held ones.
Recordings may beat by themselves (their own coding has a rhythm), so the figure of the true frames belongs beside it.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from codec_models.bitstream.timing import TICKS_PER_SECOND
from codec_models.errors import UserError

BEATS_HZ = (5, 10)
DEFINITION = (
    "power at 5 and 10 Hz over the mean of the other frequencies, dB, of the frame differences (mean absolute, 25 Hz), "
    "each over the mean of the five around it; Welch, Hann windows of 2 s, half overlapping, less their mean"
)
MIN_FRAMES = 20
"""With less, nothing but 5 and 10 Hz and their neighbours would be in the spectrum."""
_WINDOW = 2 * TICKS_PER_SECOND
_PERIOD = 5
_STILL = 0.01
"""Levels: less motion than this, far below what eight bits round away, counts as none."""
_NOISE = 0.01
"""Standard deviation of the white noise that is added to both powers, as a share of the motion: it makes steady motion
(no power at all) 0 dB and keeps the figure finite."""

Frames = NDArray[Any]


def differences(frames: Frames) -> NDArray[np.float64]:
    """(N, h, w, 3) frames, integer or float, 0 to 255 -> (N - 1,) mean absolute difference of consecutive ones."""
    return np.array([np.abs(b.astype(np.float32) - a).mean() for a, b in pairwise(frames)], np.float64)


def recorded_motion(path: Path) -> NDArray[np.float64]:
    """As `differences`, of a video file on the clock of its ticks: a tick without a picture holds the one before, so
    its difference is 0 and the next one's is larger, as on the screen. Raises UserError where it cannot be read.
    """
    motion: list[float] = []
    last, at = None, 0
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            for frame in container.decode(video=0):
                picture = frame.to_ndarray(format="rgb24").astype(np.float32)
                tick = round(float(frame.time or 0.0) * TICKS_PER_SECOND)
                if last is not None:
                    motion += [0.0] * (tick - at - 1)
                    motion.append(float(np.abs(picture - last).mean()))
                last, at = picture, tick
    except (av.error.FFmpegError, IndexError, OSError) as e:
        raise UserError(f"{path} cannot be read as video ({e}): choose a media file") from e
    return np.array(motion, np.float64)


def evened(motion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frame differences (n,) -> (n - 4,): each over the mean of the five around it, about 1; 0 where nothing moves."""
    around = np.convolve(motion, np.ones(_PERIOD) / _PERIOD, "valid")
    margin = _PERIOD // 2
    return np.asarray(motion[margin:-margin] / (around + _STILL), np.float64)


def spectrum(signal: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Welch's power spectrum of a signal (n,) at 25 Hz -> frequencies in Hz, power in units^2 a bin, without 0 Hz.

    White noise of variance v has the power v in every bin. n: at least 15.
    """
    # 5 and 10 Hz are the centres of bins where a window is a whole number of fifths of a second
    size = min(_WINDOW, len(signal) - len(signal) % _PERIOD)
    window = np.hanning(size + 1)[:-1]
    starts = range(0, len(signal) - size + 1, max(size // 2, 1))
    parts = np.stack([signal[k : k + size] for k in starts])
    parts = (parts - parts @ window[:, None] / window.sum()) * window
    power = (np.abs(np.fft.rfft(parts, axis=1)) ** 2).mean(0) / (window**2).sum()
    return np.asarray(np.fft.rfftfreq(size, 1 / TICKS_PER_SECOND)[1:], np.float64), power[1:]


def beat_of(motion: NDArray[np.float64]) -> float:
    """`beat_5hz` of frame differences (n,), in dB. Raises ValueError where there are too few."""
    if len(motion) < MIN_FRAMES - 1:
        raise ValueError(f"{len(motion) + 1} frames tell nothing of a rhythm: at least {MIN_FRAMES}")
    frequencies, power = spectrum(evened(motion))
    width = frequencies[0]
    apart = np.min([np.abs(frequencies - beat) for beat in BEATS_HZ], axis=0)
    beats, rest = apart < width / 2, apart > 1.5 * width
    floor = _NOISE**2
    return 10 * math.log10((power[beats].mean() + floor) / (power[rest].mean() + floor))


def beat_or_none(motion: NDArray[np.float64]) -> float | None:
    """As `beat_of`, and None where there are too few: of a call that ended early."""
    return beat_of(motion) if len(motion) >= MIN_FRAMES - 1 else None


def beat_5hz(frames: Frames) -> float:
    """`beat_5hz` of frames (N, h, w, 3), integer or float, 0 to 255, at 25 fps, in dB. Raises ValueError below
    `MIN_FRAMES`.
    """
    return beat_of(differences(frames))
