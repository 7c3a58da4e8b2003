"""The one place that reaches into aiortc and aioice. Pinned to aiortc 1.16; `tests/signaling/test_aiortc_hook.py` says
what broke when they change.

What aiortc does not offer and a call of 20 kb/s needs:

- a codec of our own, `audio/pinhole` 48000/1, whose payload is a tick packet (`codec_models.bitstream.packet`);
- packets that leave the receive path as they come: aiortc's audio jitter buffer holds four of them back and freezes
  on a loss. Ours hands each to a callback at once, without a thread, a queue or an order;
- fewer bytes: SRTP_AES128_CM_SHA1_32 first (a tag of 4 bytes instead of 10 or 16), no RTP header extensions, RTCP
  every 5 s (RFC 3550, section 6.2) instead of every second, no retransmission;
- every UDP datagram counted, at aioice's sockets;
- loopback candidates, which aioice leaves out, so that a call on one machine needs no network;
- 100 to 300 kb/s for the video that browsers are shown, instead of 250 to 1500;
- bounds on what a hostile peer can make us store.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aioice.ice
import aioice.turn
import aiortc
import aiortc.codecs
import aiortc.codecs.vpx
import aiortc.rtcrtpreceiver
import aiortc.rtcrtpsender
from aiortc import RTCDataChannel, RTCPeerConnection, RTCRtpTransceiver
from aiortc.codecs.base import Encoder
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtcdtlstransport import SRTPProtectionProfile
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcsctptransport import RTCSctpCapabilities
from aiortc.rtp import RtpPacket
from pylibsrtp import Policy

from codec_models.bitstream.timing import SAMPLE_RATE

from .wire import WireCounter

AIORTC_VERSION = "1.16."
MIME_TYPE = "audio/pinhole"
PAYLOAD_TYPE = 110
RTCP_INTERVAL_S = 5.0
"""Least mean time between RTCP reports of one member (RFC 3550, section 6.2)."""
QUEUED_PACKETS = 8
"""Packets that wait to be sent; with more the oldest is dropped."""
VIDEO_BITRATE, MIN_VIDEO_BITRATE = 300_000, 100_000
"""Bits a second of the VP8 that browsers are shown: at most, and at least where a link carries no more."""
QUEUED_DATAGRAMS = 512
MAX_STREAMS = 8
MAX_CHUNKS = 256
MAX_GAPS = 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Payload:
    """data: the RTP payload; timestamp: in units of 1/48000 s, any integer."""

    data: bytes
    timestamp: int


class TickTrack(MediaStreamTrack):
    """A track of ready RTP payloads. `push` never blocks."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._payloads: deque[Payload] = deque(maxlen=QUEUED_PACKETS)
        self._ready = asyncio.Event()

    def push(self, data: bytes, timestamp: int) -> None:
        self._payloads.append(Payload(data, timestamp))
        self._ready.set()

    async def recv(self) -> Any:
        while not self._payloads:
            if self.readyState != "live":
                raise MediaStreamError
            self._ready.clear()
            await self._ready.wait()
        return self._payloads.popleft()

    def stop(self) -> None:
        super().stop()
        self._ready.set()


class TickEncoder(Encoder):
    """Takes payloads as they are: `_run_rtp` packs whatever is not an `av` frame."""

    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        raise TypeError("a tick track carries payloads, not frames")

    def pack(self, packet: Any) -> tuple[list[bytes], int]:
        return [packet.data], packet.timestamp & 0xFFFFFFFF


class PassThrough:
    """Stands where aiortc's jitter buffer is: each packet goes to `tap` and none to a decoder."""

    def __init__(self, tap: Callable[[RtpPacket], None]) -> None:
        self._tap = tap

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        self._tap(packet)
        return False, None


@dataclass(frozen=True, slots=True)
class _Gathering:
    wire: WireCounter
    loopback: bool


_gathering: contextvars.ContextVar[_Gathering | None] = contextvars.ContextVar("pinhole_gathering", default=None)


@contextmanager
def gathering(wire: WireCounter, loopback: bool) -> Iterator[None]:
    """ICE sockets that are opened inside count on `wire`; `loopback` adds loopback candidates to the others."""
    token = _gathering.set(_Gathering(wire, loopback))
    try:
        yield
    finally:
        _gathering.reset(token)


class _CountedTurn(aioice.turn.TurnClientUdpProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = _gathering.get()
        self._wire = found.wire if found else None

    def _send(self, data: bytes) -> None:
        if self._wire:
            self._wire.sent(data)
        super()._send(data)

    def datagram_received(self, data: bytes | str, addr: tuple[str, int]) -> None:
        if self._wire:
            self._wire.received(data)
        super().datagram_received(data, addr)


class _CountedStun(aioice.ice.StunProtocol):
    def __init__(self, receiver: aioice.ice.Connection) -> None:
        super().__init__(receiver)
        found = _gathering.get()
        self._wire = found.wire if found else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # What goes through a TURN relay over UDP is counted at the relay's own socket, with its framing.
        if isinstance(getattr(transport, "_TurnTransport__inner_protocol", None), _CountedTurn):
            self._wire = None
        super().connection_made(transport)

    async def send_data(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._wire:
            self._wire.sent(data)
        await super().send_data(data, addr)

    def send_stun(self, message: Any, addr: tuple[str, int]) -> None:
        if self._wire:
            self._wire.sent(bytes(message))
        super().send_stun(message, addr)

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        if self._wire:
            self._wire.received(data)
        if self.receiver._queue.qsize() >= QUEUED_DATAGRAMS:
            return
        try:
            super().datagram_received(data, addr)
        except Exception as e:  # anybody can send to this socket; nothing has been authenticated yet
            logger.debug("datagram from %s ignored: %r", addr, e)


_host_addresses = aioice.ice.get_host_addresses


def _usable_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    addresses = [a for a in _host_addresses(use_ipv4, use_ipv6) if not a.startswith(("127.", "169.254."))]
    found = _gathering.get()
    if not addresses or (found and found.loopback):
        addresses.insert(0, "127.0.0.1")
    return addresses


_stock_get_encoder = aiortc.codecs.get_encoder


def _get_encoder(codec: RTCRtpCodecParameters) -> Encoder:
    return TickEncoder() if codec.mimeType.lower() == MIME_TYPE else _stock_get_encoder(codec)


def _rtcp_random() -> float:
    # aiortc sleeps for 0.5 + random() seconds between reports; this makes it 0.5 to 1.5 times the interval.
    return RTCP_INTERVAL_S * (0.5 + random.random()) - 0.5


def install() -> None:
    """Register the codec and the hooks; before any peer connection exists. May be called again."""
    if not aiortc.__version__.startswith(AIORTC_VERSION):
        raise RuntimeError(f"aiortc {aiortc.__version__} is installed, this program needs {AIORTC_VERSION}*")
    if any(codec.mimeType == MIME_TYPE for codec in aiortc.codecs.CODECS["audio"]):
        return
    aiortc.codecs.CODECS["audio"].append(
        RTCRtpCodecParameters(mimeType=MIME_TYPE, clockRate=SAMPLE_RATE, channels=1, payloadType=PAYLOAD_TYPE)
    )
    aiortc.rtcrtpsender.get_encoder = _get_encoder  # type: ignore[attr-defined]
    slow = SimpleNamespace(random=_rtcp_random)
    for module in (aiortc.rtcrtpsender, aiortc.rtcrtpreceiver):
        module.random = slow  # type: ignore[attr-defined]
    aioice.ice.StunProtocol = _CountedStun  # type: ignore[misc]
    aioice.turn.TurnClientUdpProtocol = _CountedTurn  # type: ignore[misc]
    aioice.ice.get_host_addresses = _usable_addresses
    vpx = aiortc.codecs.vpx
    vpx.MIN_BITRATE, vpx.DEFAULT_BITRATE, vpx.MAX_BITRATE = MIN_VIDEO_BITRATE, VIDEO_BITRATE, VIDEO_BITRATE
    for name in ("aiortc", "aioice"):
        # Their warnings carry tracebacks and would reach stderr where nobody set logging up.
        logging.getLogger(name).addHandler(logging.NullHandler())


SRTP_AES128_CM_SHA1_32 = SRTPProtectionProfile(
    libsrtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    openssl_profile=b"SRTP_AES128_CM_SHA1_32",
    key_length=16,
    salt_length=14,
)
"""RFC 5764, section 4.1.2, which aiortc leaves out. A forged packet passes with probability 2^-32 and spoils one tick;
six bytes less in every packet are 1.2 kb/s. RTCP keeps the tag of 10 bytes."""


def prefer_ticks(transceiver: RTCRtpTransceiver, mime_type: str = MIME_TYPE) -> None:
    """Offer and accept the tick codec, or another for voice, and no other."""
    capabilities = aiortc.codecs.get_capabilities("audio").codecs
    transceiver.setCodecPreferences([c for c in capabilities if c.mimeType.lower() == mime_type])


def prepare(pc: RTCPeerConnection, transceiver: RTCRtpTransceiver, tap: Callable[[RtpPacket], None] | None) -> None:
    """Fit one peer connection with our SRTP profile, receive path and bounds; its data channel must exist already.

    transceiver: of the voice. tap: gets each RTP packet of the peer's one announced SSRC and the negotiated payload
    type, on the event loop.
    """
    dtls = transceiver.receiver.transport
    dtls._srtp_profiles = [SRTP_AES128_CM_SHA1_32, *dtls._srtp_profiles[::-1]]
    if tap is not None:
        setattr(transceiver.receiver, "_RTCRtpReceiver__jitter_buffer", PassThrough(tap))  # noqa: B010
    _bound_sources(dtls._rtp_router)
    _no_retransmission(transceiver.sender)
    _bound_sctp(pc.sctp)


def stop_decoder(transceiver: RTCRtpTransceiver) -> None:
    """End the receiver's decoder thread, which has nothing to do and would hold up the end of the program."""
    transceiver.receiver._handle_disconnect()


def unsent_bytes(channel: RTCDataChannel) -> int:
    """Bytes of messages that have not been put on the wire yet; `bufferedAmount` leaves out what SCTP holds."""
    return int(channel.bufferedAmount) + sum(len(chunk.user_data) for chunk in channel.transport._outbound_queue)


def _bound_sources(router: Any) -> None:
    stock = router.route_rtp

    def route_rtp(packet: RtpPacket) -> Any:
        # The stock router learns every SSRC that it sees; one is all that a call has.
        if not router.ssrc_table:
            return stock(packet)
        receiver = router.ssrc_table.get(packet.ssrc)
        return receiver if receiver in router.payload_type_table.get(packet.payload_type, ()) else None

    router.route_rtp = route_rtp


def _no_retransmission(sender: Any) -> None:
    async def ignore(sequence_number: int) -> None:
        return None

    sender._retransmit = ignore


def _bound_sctp(sctp: Any) -> None:
    from .control import MAX_MESSAGE_BYTES

    handle, send = sctp._handle_data, sctp._send_chunk

    async def handle_data(data: bytes) -> None:
        # ConnectionError closes the transport in order; anything else would end it with a traceback.
        try:
            await handle(data)
        except ConnectionError:
            raise
        except Exception as e:
            raise ConnectionError("malformed SCTP from the peer") from e
        streams = sctp._inbound_streams.values()
        if len(streams) > MAX_STREAMS or sum(len(s.reassembly) for s in streams) > MAX_CHUNKS:
            raise ConnectionError("the peer sends messages without an end")
        if len(sctp._sack_misordered) > MAX_GAPS:
            raise ConnectionError("the peer leaves gaps in its messages")

    async def send_chunk(chunk: Any) -> None:
        # Timers and flushes run in tasks that nobody waits for; the connection's own state tells of the failure.
        try:
            await send(chunk)
        except ConnectionError:
            logger.debug("SCTP chunk not sent, the transport is closed")

    sctp._handle_data = handle_data
    sctp._send_chunk = send_chunk
    sctp.getCapabilities = lambda: RTCSctpCapabilities(maxMessageSize=MAX_MESSAGE_BYTES)


def quiet_background_errors(loop: asyncio.AbstractEventLoop) -> None:
    """Log, instead of printing, what a hostile peer makes aiortc's own background tasks raise."""
    earlier = loop.get_exception_handler()
    if getattr(earlier, "pinhole", False):
        return

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        source = context.get("future") or context.get("task")
        code = getattr(source.get_coro(), "cr_code", None) if isinstance(source, asyncio.Task) else None
        if code is not None and any(f"/{p}/" in code.co_filename.replace("\\", "/") for p in ("aiortc", "aioice")):
            logger.debug("%s in %s: %r", context.get("message"), code.co_qualname, context.get("exception"))
        elif earlier is not None:
            earlier(loop, context)
        else:
            loop.default_exception_handler(context)

    handler.pinhole = True  # type: ignore[attr-defined]
    loop.set_exception_handler(handler)
