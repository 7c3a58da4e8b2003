"""Voice to Opus, mono at 48 kHz (RFC 6716), through FFmpeg's libopus: one frame of 40 ms a tick on the way to a
receiver, frames of 20 ms on the way from there to a browser."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from .bitstream.packet import MAX_OPUS_BYTES
from .bitstream.timing import SAMPLE_RATE, TICK_MS
from .errors import UserError

MIN_KBPS, MAX_KBPS = 6, 64


class VoiceEncoder:
    """Opus, application voip, variable bit rate, no in-band FEC.

    kbps: nominal rate, 6..64 (UserError outside). With pauses, speech comes out at 80 to 98 % of it on average (a
    test holds it to that); single packets reach 1.7 times the mean. frame_ms: length of a frame, 20 or 40.
    """

    def __init__(self, kbps: float = 12, frame_ms: int = TICK_MS) -> None:
        if not MIN_KBPS <= kbps <= MAX_KBPS:
            raise UserError(f"voice at {kbps:g} kb/s is out of range: choose {MIN_KBPS} to {MAX_KBPS} kb/s")
        self.kbps = kbps
        self.frame = SAMPLE_RATE * frame_ms // 1000
        """Samples that `encode` takes."""
        self._codec = _codec(kbps, frame_ms)
        self._samples = 0

    def encode(self, voice: NDArray[np.int16]) -> bytes:
        """(frame,) int16 -> one Opus packet."""
        if voice.shape != (self.frame,) or voice.dtype != np.int16:
            raise ValueError(f"a frame of voice is ({self.frame},) int16, not {voice.shape} {voice.dtype}")
        frame = AudioFrame.from_ndarray(voice[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.time_base = Fraction(1, SAMPLE_RATE)
        frame.pts = self._samples
        self._samples += self.frame
        packets = self._codec.encode(frame)
        # the wrapper returns one packet for every frame that has the codec's own size
        data = b"".join(bytes(p) for p in packets)
        return data if len(data) <= MAX_OPUS_BYTES else b""


def _codec(kbps: float, frame_ms: int) -> AudioCodecContext:
    codec = av.CodecContext.create("libopus", "w")
    assert isinstance(codec, AudioCodecContext)
    codec.sample_rate = SAMPLE_RATE
    codec.layout = "mono"
    codec.format = "s16"
    codec.time_base = Fraction(1, SAMPLE_RATE)
    codec.bit_rate = round(1000 * kbps)
    codec.options = {
        "application": "voip",
        "frame_duration": str(frame_ms),
        "vbr": "on",
        "compression_level": "10",
    }
    codec.thread_count = 1  # libopus has no use for the threads that FFmpeg would start
    codec.open()
    return codec
