"""Where the H.264 call reaches into aiortc: times are taken at its own encoder, transport, jitter buffer and decoder.

Nothing that costs time or changes what is sent is touched, but for the two variants that are asked for by name: an
encoder at a fixed CRF (`Rate.LOWEST`), and a jitter buffer that does not wait for the next picture (`NoWait`).
"""

from __future__ import annotations

import asyncio
import fractions
import random
import struct
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import aiortc
import aiortc.rtcrtpreceiver
import aiortc.rtcrtpsender
import av
from aiortc import RTCRtpReceiver, RTCRtpSender, RTCRtpTransceiver
from aiortc.codecs.h264 import MAX_FRAME_RATE, H264Decoder, H264Encoder
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtp import RtpPacket, is_rtcp
from av.video.frame import PictureType

from codec_models.errors import UserError
from signaling import aiortc_hook

from .timeline import STEP, Timeline

MIME_TYPE = "video/h264"
LOWEST_CRF = 51
"""The coarsest quantiser that x264 has."""
_WRAP = 0xFFFFFFFF


class Rate(StrEnum):
    """default: as aiortc encodes, 1 Mb/s, adapted to what the receiver says. lowest: the same encoder at CRF 51."""

    DEFAULT = "default"
    LOWEST = "lowest"


class Buffering(StrEnum):
    """stock: as aiortc does. nowait: a picture leaves with its last packet."""

    STOCK = "stock"
    NOWAIT = "nowait"


def check_h264() -> None:
    """Raises UserError where PyAV cannot encode H.264 or aiortc is another version."""
    if not aiortc.__version__.startswith(aiortc_hook.AIORTC_VERSION):
        wanted = aiortc_hook.AIORTC_VERSION
        raise UserError(f"aiortc {aiortc.__version__} is installed, the H.264 call is measured with {wanted}*")
    try:
        av.codec.Codec("libx264", "w")
        av.codec.Codec("h264", "r")
    except (av.error.FFmpegError, ValueError):
        raise UserError("this PyAV has no libx264, so there is no H.264 to compare with: pip install av") from None


def install_sockets() -> None:
    """Datagrams are counted and loopback candidates found as in our own call; the rest of aiortc stays as it is."""
    aiortc_hook.install()
    for module in (aiortc.rtcrtpsender, aiortc.rtcrtpreceiver):
        module.random = random  # type: ignore[attr-defined]  # RTCP reports as often as aiortc sends them


def prefer(transceiver: RTCRtpTransceiver, *mime_types: str) -> None:
    """Offer and accept these codecs (lower case) and no others."""
    capabilities = RTCRtpSender.getCapabilities(transceiver.kind)
    assert capabilities is not None
    transceiver.setCodecPreferences([c for c in capabilities.codecs if c.mimeType.lower() in mime_types])


class TimedEncoder(H264Encoder):
    """aiortc's own, with its times taken. `frame.pts` counts in RTP timestamps from 0."""

    def __init__(self, tap: SenderTap) -> None:
        super().__init__()
        self._tap = tap

    def _encode_frame(self, frame: av.VideoFrame, force_keyframe: bool) -> Iterator[bytes]:
        packages = list(super()._encode_frame(frame, force_keyframe))
        self._tap.encoded = time.monotonic()
        yield from packages

    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        self._tap.encoding = time.monotonic()
        payloads, timestamp = super().encode(frame, force_keyframe)
        self._tap.current, self._tap.payloads = frame.pts, [len(p) for p in payloads]
        return payloads, timestamp


class LowestEncoder(TimedEncoder):
    """As aiortc's, but at CRF 51 in place of a bit rate: x264 then spends what it cannot save."""

    def _encode_frame(self, frame: av.VideoFrame, force_keyframe: bool) -> Iterator[bytes]:
        if self.codec is None:
            self.codec = lowest_codec(frame.width, frame.height)
        frame.pict_type = PictureType.I if force_keyframe else PictureType.NONE
        data = b"".join(bytes(package) for package in self.codec.encode(frame))
        self._tap.encoded = time.monotonic()
        yield from self._split_bitstream(data)


def lowest_codec(width: int, height: int) -> Any:
    """aiortc's settings (`H264Encoder._encode_frame`) with CRF 51; one slice a picture, for each costs a header."""
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height = width, height
    codec.pix_fmt = "yuv420p"
    codec.framerate = fractions.Fraction(MAX_FRAME_RATE, 1)
    codec.time_base = fractions.Fraction(1, MAX_FRAME_RATE)
    codec.thread_count = 1
    codec.options = {"level": "31", "tune": "zerolatency", "crf": str(LOWEST_CRF)}
    codec.profile = "Baseline"
    return codec


class SenderTap:
    """Joins what the source, the encoder and the transport know of a picture.

    aiortc takes a picture, encodes it and sends its packets before it takes the next one, so that the packets of a
    new RTP timestamp are those of the picture that was encoded last.
    """

    def __init__(self, timeline: Timeline) -> None:
        self.encoding = self.encoded = 0.0
        self.current: int | None = None
        self.payloads: list[int] = []
        self.origin: int | None = None
        """RTP timestamp of picture 0, which aiortc draws at random."""
        self.gone = asyncio.Event()
        """Set from when packets of the newest picture leave."""
        self._timeline = timeline
        self._source: dict[int, dict[str, float | int]] = {}

    def source(self, tick: int, **times: float) -> None:
        """Picture number `tick` of the source is about to be given to the track."""
        self.gone.clear()
        self._source[tick] = {"tick": tick, **times}
        self._source.pop(tick - 100, None)

    def install(self, rate: Rate) -> None:
        """Before the connection starts: aiortc's own encoder, timed, or the one at the lowest rate."""
        stock = aiortc.rtcrtpsender.get_encoder  # type: ignore[attr-defined]
        kind = LowestEncoder if rate is Rate.LOWEST else TimedEncoder

        def get_encoder(codec: Any) -> Any:
            return kind(self) if codec.mimeType.lower() == MIME_TYPE else stock(codec)

        aiortc.rtcrtpsender.get_encoder = get_encoder  # type: ignore[attr-defined]

    def watch(self, sender: RTCRtpSender) -> None:
        """Take the time of every packet that leaves."""
        transport: Any = sender.transport
        send, ssrc = transport._send_rtp, sender._ssrc

        async def timed(data: bytes) -> None:
            if not is_rtcp(data) and len(data) >= 12:
                timestamp, source = struct.unpack_from("!LL", data, 4)
                if source == ssrc:
                    self._leaves(timestamp)
            await send(data)

        transport._send_rtp = timed

    def _leaves(self, timestamp: int) -> None:
        now = time.monotonic()
        if self.current is not None:
            line = self._source.get(self.current // STEP, {})
            figures = {"bytes": sum(self.payloads), "packets": len(self.payloads)}
            self._timeline.mark(timestamp, **line, encoding=self.encoding, encoded=self.encoded, **figures)
            self.origin = (timestamp - self.current) & _WRAP
            self.current = None
            self.gone.set()
        self._timeline.mark(timestamp, sent=now)


class TimedBuffer(JitterBuffer):
    """aiortc's own jitter buffer for video, with its times taken."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__(capacity=512, is_video=True)
        self._timeline = timeline
        self.first: int | None = None
        """RTP timestamp of the first picture that left, which aiortc takes for 0 from then on."""

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        now = time.monotonic()
        if not self._timeline.has(packet.timestamp, "left"):  # what is sent again may come too late
            if not self._timeline.has(packet.timestamp, "arrived_first"):
                self._timeline.mark(packet.timestamp, arrived_first=now)
            self._timeline.mark(packet.timestamp, arrived=now)
        wanted, frame = self._take(packet)
        if frame is not None:
            if self.first is None:
                self.first = frame.timestamp
            self._timeline.mark(frame.timestamp, left=time.monotonic())
        return wanted, frame

    def _take(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        return super().add(packet)


class NoWaitBuffer(TimedBuffer):
    """As aiortc's, but a picture leaves when its packets up to the one with the marker bit are there.

    The marker is set on the last packet of a picture (RFC 6184, section 5.1); aiortc waits for the next picture.
    """

    def _take(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        wanted, frame = super()._take(packet)
        return wanted, frame or self._complete()

    def _complete(self) -> JitterFrame | None:
        data, timestamp = [], None
        if self._origin is None:
            return None
        for count in range(self.capacity):
            packet = self._packets[(self._origin + count) % self.capacity]
            if packet is None or timestamp not in (None, packet.timestamp):
                return None
            timestamp = packet.timestamp
            data.append(packet._data)  # type: ignore[attr-defined]
            if packet.marker:
                self.remove(count + 1)
                return JitterFrame(b"".join(data), packet.timestamp)
        return None


class TimedDecoder(H264Decoder):
    """aiortc's own, with its times taken."""

    def __init__(self, tap: ReceiverTap) -> None:
        super().__init__()
        self._tap = tap

    def decode(self, encoded_frame: JitterFrame) -> list[Any]:
        began = time.monotonic()
        frames = super().decode(encoded_frame)
        ended = time.monotonic()
        self._tap.mark(encoded_frame.timestamp, decoding=began)
        for frame in frames:
            if frame.pts is not None:
                self._tap.mark(frame.pts, decoded=ended)
        return frames


class ReceiverTap:
    """Times of the receiving side."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._buffer: TimedBuffer | None = None

    def install(self) -> None:
        """Before the connection starts: aiortc's own decoder, timed."""
        stock = aiortc.rtcrtpreceiver.get_decoder  # type: ignore[attr-defined]

        def get_decoder(codec: Any) -> Any:
            return TimedDecoder(self) if codec.mimeType.lower() == MIME_TYPE else stock(codec)

        aiortc.rtcrtpreceiver.get_decoder = get_decoder  # type: ignore[attr-defined]

    def watch(self, receiver: RTCRtpReceiver, buffering: Buffering) -> None:
        """Before the first packet: aiortc's own jitter buffer, timed, or the one that does not wait."""
        kind = NoWaitBuffer if buffering is Buffering.NOWAIT else TimedBuffer
        self._buffer = kind(self._timeline)
        setattr(receiver, "_RTCRtpReceiver__jitter_buffer", self._buffer)  # noqa: B010

    def timestamp(self, pts: int) -> int:
        """The RTP timestamp of a picture that aiortc numbers from the first one."""
        first = self._buffer.first if self._buffer is not None else None
        return (pts + (first or 0)) & _WRAP

    def mark(self, pts: int, **times: float) -> None:
        """Note times of a picture."""
        self._timeline.mark(self.timestamp(pts), **times)
