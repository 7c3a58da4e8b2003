"""A connection with a browser, which sends voice as Opus and faces on a data channel, and is shown video.

The data channel "ticks" (id 1, unordered, no retransmission) carries one message a tick to us: u32 big endian tick
number, then a tick packet (`codec_models.bitstream.packet`) of one tick without voice; and one every second picture
from us, unless the browser sees itself: u32 tick, then the 8x8 RGB picture it was drawn from (192 bytes). What goes
over "control" is as between our own ends. A browser that can puts its tick messages into its voice packets
(`codec_models.bitstream.voice_frame`).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from aiortc import RTCIceServer, RTCRtpTransceiver
from aiortc.exceptions import InvalidStateError

from codec_models.bitstream.errors import BitstreamError
from codec_models.bitstream.voice_frame import ATTRIBUTE, unpack_voice_frame

from . import aiortc_hook
from .description import for_a_browser
from .down import Down
from .peer import Flow, Peer, PeerEvents, ReceivedPacket
from .wire import WireCounter

VOICE_KBPS = 16
"""What a browser is told to send. Its encoder falls below what words need at less."""
MAX_FACE_MESSAGE = 4 + 1100
_MOST_WAITING = 2000
"""Bytes of 8x8 pictures that may wait to be sent; a newer one is better than a late one."""


class BrowserPeer(Peer):
    """Answers browsers. down: what it shows them; role: "receiver" where they send, "screen" where they only watch."""

    _FLOW = Flow.VOICE
    _framed = False
    """Whether voice packets carry tick messages."""

    def __init__(
        self,
        down: Down,
        role: str,
        events: PeerEvents,
        wire: WireCounter,
        ice_servers: Sequence[RTCIceServer] = (),
        loopback: bool = False,
    ) -> None:
        self._role, self._down = role, down
        super().__init__(role, events, wire, ice_servers, loopback)
        self._ticks = self._pc.createDataChannel("ticks", negotiated=True, id=1, ordered=False, maxRetransmits=0)
        self._ticks.on("message", self._on_face)
        self._down.send_low = self._send_low

    def _add_media(self) -> RTCRtpTransceiver:
        direction = "sendrecv" if self._role == "receiver" else "sendonly"
        voice = self._pc.addTransceiver(self._down.voice, direction=direction)
        self._pc.addTransceiver(self._down.video, direction="sendonly")
        return voice

    def _prepare(self) -> None:
        aiortc_hook.prefer_ticks(self._transceiver, "audio/opus")
        aiortc_hook.prepare(self._pc, self._transceiver, self._on_packet if self._role == "receiver" else None)

    async def answer(self, offer: str) -> str:
        """Take the browser's SDP offer and return the answer. Raises DescriptionError."""
        self._framed = ATTRIBUTE in offer.splitlines()
        return for_a_browser(await super().answer(offer), VOICE_KBPS)

    async def close(self) -> None:
        """Close the connection within two seconds. No callback is called any more."""
        self._down.close()
        await super().close()

    def _send_low(self, message: bytes) -> None:
        if self.connected and self._ticks.readyState == "open" and self._ticks.bufferedAmount < _MOST_WAITING:
            try:
                self._ticks.send(message)
            except (InvalidStateError, ValueError):
                return

    def _voice(self, packet: ReceivedPacket) -> None:
        if not self._framed:
            super()._voice(packet)
            return
        try:
            messages, opus = unpack_voice_frame(packet.payload)
        except BitstreamError:
            messages, opus = (b"",), b""  # for the count of what is no packet of ours
        for message in messages:
            self._call(self._events.packet, ReceivedPacket(0, 0, message, packet.arrival, Flow.FACES))
        if opus:
            super()._voice(dataclasses.replace(packet, payload=opus))

    def _on_face(self, data: Any) -> None:
        now = time.monotonic()
        if not self.connected or self._role != "receiver" or not isinstance(data, bytes):
            return
        if len(data) <= MAX_FACE_MESSAGE and self._packets.take(now):
            self._call(self._events.packet, ReceivedPacket(0, 0, data, now, Flow.FACES))
