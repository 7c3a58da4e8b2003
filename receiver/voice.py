"""Voice of one stream: Opus decoding, concealment of lost ticks and the time scaling that the jitter buffer asks for.

FFmpeg's Opus wrapper does not offer the codec's own loss concealment, so a lost tick is filled with the last pitch
period of what was heard, repeated and faded out within 70 ms, in the manner of ITU-T G.711 appendix I. When the voice
returns it is cross-faded with that continuation, so that neither seam clicks.
"""

from __future__ import annotations

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from codec_models.bitstream.packet import MAX_OPUS_BYTES
from codec_models.bitstream.timing import SAMPLE_RATE, SAMPLES_PER_TICK

Samples = NDArray[np.int16]


class OpusDecoder:
    """Decodes the Opus frames of one stream in order, 48 kHz mono."""

    def __init__(self) -> None:
        self._codec = self._open()

    @staticmethod
    def _open() -> av.AudioCodecContext:
        codec = av.AudioCodecContext.create("libopus", "r")
        assert isinstance(codec, av.AudioCodecContext)
        codec.sample_rate = SAMPLE_RATE
        codec.layout = "mono"
        codec.open()
        return codec

    def decode(self, data: bytes) -> Samples | None:
        """Opus bytes of one tick -> (1920,) samples, or None where they are not one tick of Opus."""
        # An empty packet would mean the end of the stream to FFmpeg, which then refuses everything after it.
        if not 0 < len(data) <= MAX_OPUS_BYTES:
            return None
        try:
            frames = self._codec.decode(av.Packet(data))
        except (FFmpegError, ValueError):
            self._codec = self._open()
            return None
        if len(frames) != 1 or frames[0].samples != SAMPLES_PER_TICK:
            return None
        return np.ascontiguousarray(frames[0].to_ndarray().reshape(-1), np.int16)


class Concealer:
    """Joins the ticks of a voice without steps, whether they are there, missing, shortened, lengthened or skipped."""

    _SHORTEST, _LONGEST = 120, 800
    """Pitch periods that are looked for: 400 Hz down to 60 Hz."""
    _MATCH = 960
    _CROSSFADE = 480
    _HOLD, _SILENT = 480, 3360
    """The concealment is at full level for 10 ms and gone after 70 ms."""
    _SETTLE = 96.0

    def __init__(self) -> None:
        self._history = np.zeros(self._MATCH + 2 * self._LONGEST, np.float32)
        self._last_input = 0.0
        self._cycle: NDArray[np.float32] | None = None
        self._elapsed = 0
        self._step = 0.0
        self._level = 1.0

    def next(self, voice: Samples | None, samples: int = SAMPLES_PER_TICK) -> Samples:
        """The next tick as `samples` samples. voice: (n,) int16, None when it is missing. 0 samples skip the tick."""
        if samples <= 0:
            self._begin()
            return np.zeros(0, np.int16)
        if voice is None or not len(voice):
            self._begin()
            out = self._continue(samples)
        else:
            out = self._scale(voice.astype(np.float32), samples)
            if self._cycle is not None:
                n = min(self._CROSSFADE, samples)
                rise = np.sin(np.linspace(0, np.pi / 2, n, endpoint=False, dtype=np.float32)) ** 2
                out[:n] = rise * out[:n] + (1 - rise) * self._continue(n)
                self._cycle = None
            self._last_input = float(voice[-1])
        keep = len(self._history)
        self._history = np.concatenate([self._history, out])[-keep:]
        return np.asarray(np.clip(np.rint(out), -32768, 32767), np.int16)

    def _scale(self, voice: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
        """Linear resampling that ends on the last sample, so that the next tick follows without a step."""
        if samples == len(voice):
            return voice
        at = np.arange(1, samples + 1) * (len(voice) / samples)
        first = voice[0] if self._cycle is not None else self._last_input
        return np.asarray(np.interp(at, np.arange(len(voice) + 1), np.concatenate([[first], voice])), np.float32)

    def _begin(self) -> None:
        if self._cycle is not None:
            return
        past = self._history
        period, likeness = self._pitch(past)
        cycle = past[-period:].copy()
        blend = period // 4
        rise = np.linspace(0, 1, blend, dtype=np.float32)
        cycle[-blend:] = (1 - rise) * cycle[-blend:] + rise * past[-period - blend : -period]
        self._cycle, self._elapsed = cycle, 0
        self._step = float(past[-1] - past[-period - 1])
        self._level = 1.0 if likeness > 0.4 else 0.6  # Repeated noise buzzes: keep it lower.

    def _continue(self, samples: int) -> NDArray[np.float32]:
        assert self._cycle is not None
        n = np.arange(self._elapsed, self._elapsed + samples)
        self._elapsed += samples
        fade = np.clip((n - self._HOLD) / (self._SILENT - self._HOLD), 0, 1)
        settle = np.exp(-n / self._SETTLE)
        level = np.cos(fade * np.pi / 2) ** 2 * (self._level + (1 - self._level) * settle)
        return np.asarray((self._cycle[n % len(self._cycle)] + self._step * settle) * level, np.float32)

    def _pitch(self, past: NDArray[np.float32]) -> tuple[int, float]:
        """Pitch period in samples and the normalised correlation there (0 to 1)."""
        span = past[-self._MATCH - self._LONGEST :]
        template = span[-self._MATCH :]
        energy = float(template @ template)
        if energy < self._MATCH:
            return self._LONGEST, 0.0
        # lags[k] compares the template with the span that starts k samples in: a lag of LONGEST - k.
        lags = np.correlate(span[: -self._SHORTEST], template, "valid")
        power = np.convolve(np.square(span[: -self._SHORTEST]), np.ones(self._MATCH, np.float32), "valid")
        likeness = lags / np.sqrt(np.maximum(power, 1.0) * energy)
        # The shortest of the good lags: a multiple of the period fits as well and sounds more like an echo.
        best = int(np.flatnonzero(likeness >= 0.95 * likeness.max())[-1]) if likeness.max() > 0 else 0
        return self._LONGEST - best, float(max(likeness[best], 0.0))
