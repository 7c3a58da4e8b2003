"""One peer connection of a call: the tick stream and the control channel, from offer to close."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCRtpTransceiver, RTCSessionDescription
from aiortc.exceptions import InvalidStateError
from aiortc.rtcconfiguration import RTCBundlePolicy
from aiortc.rtp import RtpPacket
from aiortc.sdp import candidate_from_sdp

from codec_models.bitstream.errors import BitstreamError

from . import aiortc_hook
from .control import ControlMessage, decode_control, encode_control
from .description import MAX_CANDIDATES, DescriptionError, check_description, trickled
from .ratelimit import TokenBucket
from .unwrap import Unwrapper
from .wire import WireCounter

MAX_BUFFERED_BYTES = 65_536
"""`send_control` refuses while more than this waits to be sent."""
MAX_PAYLOAD_BYTES = 1200
"""Of an RTP packet: what passes any path without being fragmented."""
MAX_PACKETS_PER_SECOND = 200
MAX_MESSAGES_PER_SECOND = 20
MAX_MESSAGE_BURST = 60
CLOSE_SECONDS = 2.0

logger = logging.getLogger(__name__)


class Flow(Enum):
    """TICKS: face and voice in one RTP packet. VOICE and FACES: those of a browser, Opus in RTP packets and tick
    messages on a data channel (`browser_peer.py`).
    """

    TICKS = "ticks"
    VOICE = "voice"
    FACES = "faces"


@dataclass(frozen=True, slots=True)
class ReceivedPacket:
    """A packet as it came in.

    timestamp: of RTP, in units of 1/48000 s from a random origin, unwrapped; goes up through a stream, less where
    reordered; 0 for FACES.
    sequence: RTP sequence number, unwrapped; 0 for FACES.
    payload: as the peer sent it, not parsed.
    arrival: time.monotonic() seconds.
    """

    timestamp: int
    sequence: int
    payload: bytes
    arrival: float
    flow: Flow = Flow.TICKS


@dataclass(frozen=True, slots=True)
class PeerEvents:
    """Callbacks of a peer, on the event loop. closed is called once, with the reason, and never after `close`."""

    opened: Callable[[], None]
    closed: Callable[[str], None]
    packet: Callable[[ReceivedPacket], None]
    control: Callable[[ControlMessage], None]


@contextlib.contextmanager
def _garbled() -> Iterator[None]:
    try:
        yield
    except DescriptionError:
        raise
    except Exception as e:  # aiortc's parser raises whatever the text makes it stumble over
        raise DescriptionError(f"the other side's session description cannot be used ({type(e).__name__})") from e


class Peer:
    """A peer connection that sends ticks (role "sender") or receives them (role "receiver")."""

    _FLOW = Flow.TICKS

    def __init__(
        self,
        role: str,
        events: PeerEvents,
        wire: WireCounter,
        ice_servers: Sequence[RTCIceServer] = (),
        loopback: bool = False,
    ) -> None:
        aiortc_hook.install()
        aiortc_hook.quiet_background_errors(asyncio.get_running_loop())
        self._events = events
        self._wire = wire
        self._loopback = loopback
        self._opened = self._closed = False
        self._trickled = 0
        self._sequence, self._timestamp = Unwrapper(16), Unwrapper(32)
        self._packets = TokenBucket(MAX_PACKETS_PER_SECOND, MAX_PACKETS_PER_SECOND)
        self._messages = TokenBucket(MAX_MESSAGES_PER_SECOND, MAX_MESSAGE_BURST)
        self._track = aiortc_hook.TickTrack() if role == "sender" else None
        self._pc = RTCPeerConnection(RTCConfiguration(list(ice_servers), bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._transceiver = self._add_media()
        self._channel = self._pc.createDataChannel("control", negotiated=True, id=0)
        self._channel.on("open", self._on_open)
        self._channel.on("close", lambda: self._on_closed("the other side closed the connection"))
        self._channel.on("message", self._on_message)
        self._pc.on("connectionstatechange", self._on_state)
        self._prepare()

    def _add_media(self) -> RTCRtpTransceiver:
        """Add what is sent and received besides messages -> the transceiver of the voice."""
        direction = "sendonly" if self._track is not None else "recvonly"
        return self._pc.addTransceiver(self._track or "audio", direction=direction)

    def _prepare(self) -> None:
        """Fit the connection with our hooks; its data channels are there."""
        aiortc_hook.prefer_ticks(self._transceiver)
        aiortc_hook.prepare(self._pc, self._transceiver, self._on_packet if self._track is None else None)

    @property
    def connected(self) -> bool:
        """True while packets and messages can be sent."""
        return self._opened and not self._closed

    async def offer(self) -> str:
        """Gather candidates and return the SDP offer."""
        with aiortc_hook.gathering(self._wire, self._loopback):
            await self._pc.setLocalDescription(await self._pc.createOffer())
        return check_description(self._pc.localDescription.sdp)

    async def answer(self, offer: str) -> str:
        """Take the peer's SDP offer and return the answer. Raises DescriptionError."""
        with _garbled(), aiortc_hook.gathering(self._wire, self._loopback):
            await self._pc.setRemoteDescription(RTCSessionDescription(check_description(offer), "offer"))
            await self._pc.setLocalDescription(await self._pc.createAnswer())
        return check_description(self._pc.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        """Take the peer's SDP answer. Raises DescriptionError."""
        with _garbled():
            await self._pc.setRemoteDescription(RTCSessionDescription(check_description(answer), "answer"))

    async def add_candidates(self, fragment: str) -> bool:
        """Take ICE candidates that the peer trickles -> whether they are all. Raises DescriptionError."""
        candidates, complete = trickled(fragment)
        with _garbled():
            for text in candidates[: MAX_CANDIDATES - self._trickled]:
                candidate = candidate_from_sdp(text)
                candidate.sdpMLineIndex = 0  # everything is bundled with the first stream
                await self._pc.addIceCandidate(candidate)
            self._trickled += len(candidates)
            complete = complete or self._trickled >= MAX_CANDIDATES
            if complete:
                await self._pc.addIceCandidate(None)
        return complete

    def send(self, payload: bytes, timestamp: int) -> None:
        """Send one RTP packet. Never blocks; dropped when not connected or too large for a datagram."""
        if self.connected and self._track is not None and len(payload) <= MAX_PAYLOAD_BYTES:
            self._track.push(payload, timestamp)

    def send_control(self, message: ControlMessage) -> bool:
        """Send a control message. False when not connected or too much is buffered. Raises ValueError (its fields)."""
        data = encode_control(message)
        if not self.connected or self._channel.bufferedAmount > MAX_BUFFERED_BYTES:
            return False
        try:
            self._channel.send(data)
        except (InvalidStateError, ValueError):
            return False
        return True

    @property
    def buffered(self) -> int:
        """Bytes of control messages that wait to be sent."""
        return aiortc_hook.unsent_bytes(self._channel)

    async def close(self) -> None:
        """Close the connection within two seconds. No callback is called any more."""
        self._closed = True
        if self._track is not None:
            self._track.stop()
        closing = asyncio.ensure_future(self._pc.close())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(closing), CLOSE_SECONDS)

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        # An error in a callback is its author's; raised from here it would end the connection instead.
        try:
            callback(*args)
        except Exception as e:
            asyncio.get_running_loop().call_exception_handler({"message": "error in a call's event", "exception": e})

    def _on_open(self) -> None:
        if not self._opened and not self._closed:
            self._opened = True
            aiortc_hook.stop_decoder(self._transceiver)
            self._call(self._events.opened)

    def _on_closed(self, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._call(self._events.closed, reason)

    def _on_state(self) -> None:
        state = self._pc.connectionState
        if state == "failed":
            self._on_closed("the connection failed" if self._opened else "no connection could be made")
        elif state == "closed":
            self._on_closed("the other side closed the connection")

    def _on_packet(self, packet: RtpPacket) -> None:
        now = time.monotonic()
        # A late packet of a closed connection must not be taken for one of the next.
        if not self.connected or len(packet.payload) > MAX_PAYLOAD_BYTES or not self._packets.take(now):
            return
        timestamp, sequence = self._timestamp(packet.timestamp), self._sequence(packet.sequence_number)
        self._voice(ReceivedPacket(timestamp, sequence, packet.payload, now, self._FLOW))

    def _voice(self, packet: ReceivedPacket) -> None:
        """A packet of the audio stream."""
        self._call(self._events.packet, packet)

    def _on_message(self, data: Any) -> None:
        if self._closed or not isinstance(data, bytes):
            return
        if not self._messages.take(time.monotonic()):
            logger.debug("the peer sends too many control messages, one is dropped")
            return
        try:
            message = decode_control(data)
        except BitstreamError as e:
            logger.debug("control message ignored: %s", e)
            return
        self._call(self._events.control, message)
