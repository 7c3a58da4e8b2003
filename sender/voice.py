"""Voice to Opus: one mono 48 kHz frame of 40 ms a tick (RFC 6716), through FFmpeg's libopus."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from codec_models.bitstream.packet import MAX_OPUS_BYTES
from codec_models.bitstream.timing import SAMPLE_RATE, SAMPLES_PER_TICK, TICK_MS
from codec_models.errors import UserError

MIN_KBPS, MAX_KBPS = 6, 64


class VoiceEncoder:
    """Opus, application voip, variable bit rate, no in-band FEC.

    kbps: nominal rate, 6..64 (UserError outside). With pauses, speech comes out at 80 to 98 % of it on average (a
    test holds it to that); single packets reach 1.7 times the mean.
    """

    def __init__(self, kbps: float = 12) -> None:
        if not MIN_KBPS <= kbps <= MAX_KBPS:
            raise UserError(f"voice at {kbps:g} kb/s is out of range: choose {MIN_KBPS} to {MAX_KBPS} kb/s")
        self.kbps = kbps
        self._codec = _codec(kbps)
        self._samples = 0

    def encode(self, voice: NDArray[np.int16]) -> bytes:
        """(1920,) int16 -> one Opus packet of 40 ms."""
        if voice.shape != (SAMPLES_PER_TICK,) or voice.dtype != np.int16:
            raise ValueError(f"a tick of voice is ({SAMPLES_PER_TICK},) int16, not {voice.shape} {voice.dtype}")
        frame = AudioFrame.from_ndarray(voice[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.time_base = Fraction(1, SAMPLE_RATE)
        frame.pts = self._samples
        self._samples += SAMPLES_PER_TICK
        packets = self._codec.encode(frame)
        # the wrapper returns one packet for every frame that has the codec's own size
        data = b"".join(bytes(p) for p in packets)
        return data if len(data) <= MAX_OPUS_BYTES else b""


def _codec(kbps: float) -> AudioCodecContext:
    codec = av.CodecContext.create("libopus", "w")
    assert isinstance(codec, AudioCodecContext)
    codec.sample_rate = SAMPLE_RATE
    codec.layout = "mono"
    codec.format = "s16"
    codec.time_base = Fraction(1, SAMPLE_RATE)
    codec.bit_rate = round(1000 * kbps)
    codec.options = {
        "application": "voip",
        "frame_duration": str(TICK_MS),
        "vbr": "on",
        "compression_level": "10",
    }
    codec.open()
    return codec
