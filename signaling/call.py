"""The two ends of a call: join a room, keep a peer connection up, pass packets and messages on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from aiortc import RTCIceServer

from codec_models.bitstream.packet import TickPacket, pack
from codec_models.bitstream.timing import SAMPLES_PER_TICK
from codec_models.errors import UserError

from .browser_peer import BrowserPeer
from .client import Place, Refused, SignalingClient, Unreachable, is_loopback
from .control import MAX_REASON_BYTES, Bye, ControlMessage
from .description import END_OF_CANDIDATES, DescriptionError, of_a_browser
from .down import Down
from .joining import join_room
from .peer import Flow, Peer, PeerEvents, ReceivedPacket
from .wire import WireCounter

__all__ = ["CallEvents", "Flow", "Place", "ReceivedPacket", "ReceivingCall", "SendingCall", "WireCounter"]

CONNECT_SECONDS = 15.0
"""From the answer to an open control channel; then it is tried anew."""
SILENCE_SECONDS = 10.0
"""Without any datagram for so long the connection is given up; ICE consent alone sends one every 6 s (RFC 7675)."""
OFFER_SECONDS = 45.0
"""An offer with addresses from STUN or TURN is made anew after so long: the addresses expire."""
LEAVE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 5.0
REFUSED_PAUSE_SECONDS = 30.0
"""Between two tries to get back into a room that is gone or taken; the server counts each as a wrong token."""
POLL_PAUSE_SECONDS = 0.05
"""Between two requests that wait, should a server answer them at once."""

logger = logging.getLogger(__name__)
_OTHERS = {"sender": "receiver", "receiver": "sender", "screen": "viewer"}


class CallEvents(Protocol):
    """Callbacks of a call, all on the event loop; they must be quick."""

    def connected(self) -> None:
        """A (new) peer connection is up and the control channel open."""

    def disconnected(self, reason: str) -> None:
        """It is down; the call goes on trying by itself."""

    def packet(self, packet: ReceivedPacket) -> None:
        """A packet came in (receiver only)."""

    def control(self, message: ControlMessage) -> None:
        """A control message came in."""


class _Lost(Exception):
    """The peer connection is over; the text is the reason."""


class _Call(ABC):
    """What both ends share. The subclass negotiates; `_keep_up` runs until the call is left."""

    role: str

    def __init__(self, place: Place, events: CallEvents, ice_servers: Sequence[RTCIceServer] = ()) -> None:
        self.wire = WireCounter()
        self.room_tokens: dict[str, str] | None = None
        self.status = "not joined"
        """One line for the user: what the call does now, or why the last try to connect failed."""
        self._events = events
        self._place = place
        self._own_servers = list(ice_servers)
        self._servers = self._own_servers
        self._peer: Peer | None = None
        self._up = self._leaving = False
        self._client: SignalingClient
        self._lost: asyncio.Future[str]
        self._opened: asyncio.Event
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """True while the peer connection is up."""
        return self._up and self._peer is not None and self._peer.connected

    async def join(self) -> None:
        """Take the place in the room, opening the room if need be, and start to connect. Raises UserError."""
        self._client = SignalingClient(self._place, self.role)
        try:
            await self._take_place()
        except BaseException:
            await self._client.close()
            raise
        self.status = f"waiting for a {_OTHERS[self.role]}"
        self._task = asyncio.create_task(self._keep_up())

    async def leave(self, reason: str = "") -> None:
        """Say Bye, free the place and close everything, within a second. May be called twice."""
        task, self._task = self._task, None
        if task is None:
            return
        self._leaving = True
        end = time.monotonic() + LEAVE_SECONDS
        peer = self._peer
        if peer is not None and self.connected:
            cut = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
            peer.send_control(Bye("".join(c if c.isprintable() else " " for c in cut)))
            while peer.buffered and peer.connected and time.monotonic() < end - LEAVE_SECONDS / 2:
                await asyncio.sleep(0.01)
        task.cancel()
        freed = asyncio.create_task(self._client.leave())
        _, late = await asyncio.wait({task, freed}, timeout=max(0.1, end - time.monotonic()))
        for unfinished in late:
            unfinished.cancel()
        await asyncio.gather(task, freed, return_exceptions=True)
        await self._client.close()

    def send_control(self, message: ControlMessage) -> bool:
        """Send a message reliably and in order. False when not connected or too much is buffered.

        Raises ValueError where a field is out of range.
        """
        return self._peer.send_control(message) if self._peer is not None and self._up else False

    async def _take_place(self) -> None:
        servers, tokens = await join_room(self._client)
        self.room_tokens = tokens or self.room_tokens
        self._servers = self._own_servers + servers

    async def _keep_up(self) -> None:
        pause = 0.0
        try:
            while True:
                try:
                    await self._one_connection()
                    pause = POLL_PAUSE_SECONDS
                except _Lost as e:
                    logger.info("connection over: %s", e)
                    pause = 0.0 if self._up else min(MAX_PAUSE_SECONDS, pause * 2 + 0.1)
                    self._down(str(e))
                except (UserError, DescriptionError, OSError) as e:
                    logger.info("no connection yet: %s", e)
                    pause = min(MAX_PAUSE_SECONDS, pause * 2 + 0.2)
                    self._down(str(e))
                    if isinstance(e, Refused) and e.status in (401, 403, 404, 409) and not await self._join_again():
                        pause = REFUSED_PAUSE_SECONDS
                except Exception as e:  # the call must not end without a word
                    context = {"message": "error while connecting", "exception": e}
                    asyncio.get_running_loop().call_exception_handler(context)
                    pause = MAX_PAUSE_SECONDS
                    self._down(f"an error of this program ({type(e).__name__})")
                finally:
                    await self._close_peer()
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))
        finally:
            self._up = False

    async def _join_again(self) -> bool:
        # The server was restarted, or took us for gone. Whoever opens the room again keeps its tokens for the others.
        try:
            await self._take_place()
        except UserError as e:
            self.status = str(e)
            return False
        return True

    @abstractmethod
    async def _one_connection(self) -> None:
        """Negotiate one connection and stay until it is over. Raises _Lost, UserError, DescriptionError."""

    def _make_peer(self, offer: str | None, *args: Any) -> Peer:
        """A peer for who made the offer; None: for one that we shall make."""
        return Peer(*args)

    def _new_peer(self, offer: str | None = None) -> Peer:
        self._lost = lost = asyncio.get_running_loop().create_future()
        self._opened = done = asyncio.Event()

        def opened() -> None:
            self._up = True
            self.status = "connected"
            done.set()
            self._events.connected()

        def closed(reason: str) -> None:
            if not lost.done():
                lost.set_result(reason)

        def control(message: ControlMessage) -> None:
            if isinstance(message, Bye):
                closed(f"the other side left: {message.reason}" if message.reason else "the other side left")
            self._events.control(message)

        self._peer = self._make_peer(
            offer,
            self.role,
            PeerEvents(opened, closed, self._events.packet, control),
            self.wire,
            self._servers,
            is_loopback(self._place.url),
        )
        return self._peer

    async def _until_open(self, session: str, description: str) -> None:
        """Wait for the connection with a peer of that description. Raises _Lost."""
        opened = asyncio.create_task(self._opened.wait())
        trickle = None if END_OF_CANDIDATES in description else asyncio.create_task(self._trickle(session))
        try:
            futures: set[asyncio.Future[Any]] = {opened, self._lost}
            await asyncio.wait(futures, timeout=CONNECT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
            if trickle is not None:
                trickle.cancel()
        if self._lost.done():
            raise _Lost(self._lost.result())
        if not self._opened.is_set():
            raise _Lost(f"no connection within {CONNECT_SECONDS:.0f} s")

    async def _trickle(self, session: str) -> None:
        """Pass on the candidates that the other side finds after its description."""
        known = 0
        while self._peer is not None:
            try:
                found = await self._client.candidates(session, known)
                if found is not None:
                    known = found[1]
                    if await self._peer.add_candidates(found[0]):
                        return
            except DescriptionError as e:
                logger.info("candidates ignored: %s", e)
            except Unreachable:
                await asyncio.sleep(1.0)
            except Refused:
                return
            await asyncio.sleep(POLL_PAUSE_SECONDS)

    async def _until_lost(self) -> None:
        """Watch the open connection. Raises _Lost when it is over."""
        heard, since = self.wire.received_packets, time.monotonic()
        while True:
            await asyncio.wait({self._lost}, timeout=1.0)
            if self._lost.done():
                raise _Lost(self._lost.result())
            if self.wire.received_packets != heard:
                heard, since = self.wire.received_packets, time.monotonic()
            elif time.monotonic() - since > SILENCE_SECONDS:
                raise _Lost(f"nothing has come from the other side for {SILENCE_SECONDS:.0f} s")

    def _down(self, reason: str) -> None:
        self.status = reason
        if self._up:
            self._up = False
            if not self._leaving:
                self._events.disconnected(reason)

    async def _close_peer(self) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            await asyncio.shield(peer.close())


class SendingCall(_Call):
    """The sender's end: offers, sends ticks."""

    role = "sender"

    def send(self, packet: TickPacket, tick: int) -> None:
        """Send one packet whose first tick is number `tick`. Never blocks; dropped when not connected."""
        if self._peer is not None and self._up:
            self._peer.send(pack(packet), tick * SAMPLES_PER_TICK)

    async def _one_connection(self) -> None:
        peer = self._new_peer()
        offer = await peer.offer()
        made = time.monotonic()
        while (answered := await self._client.offer(offer)) is None:
            if self._servers and time.monotonic() - made > OFFER_SECONDS:
                return
            await asyncio.sleep(POLL_PAUSE_SECONDS)
        session, answer = answered
        await peer.accept(answer)
        await self._until_open(session, answer)
        watch = asyncio.create_task(self._watch(session))
        try:
            await self._until_lost()
        finally:
            watch.cancel()

    async def _watch(self, session: str) -> None:
        """Give the connection up when the receiver wants another. The call outlives a server that goes away."""
        lost = self._lost
        while True:
            try:
                if await self._client.ended(session):
                    break
            except Unreachable:
                await asyncio.sleep(1.0)
            except Refused:
                return
        # The receiver may just have said Bye, which has the better reason.
        await asyncio.sleep(0.1)
        if not lost.done():
            lost.set_result("the other side starts anew")


class ReceivingCall(_Call):
    """The receiver's end: answers, gets packets.

    role: "receiver", or "screen" for its other place, which answers who only watches. show, hide: called for every
    browser that has been answered and what it shall be shown goes there, and when it has gone.
    """

    def __init__(
        self,
        place: Place,
        events: CallEvents,
        ice_servers: Sequence[RTCIceServer] = (),
        role: str = "receiver",
        show: Callable[[Down], None] = lambda down: None,
        hide: Callable[[Down], None] = lambda down: None,
    ) -> None:
        self.role = role
        super().__init__(place, events, ice_servers)
        self._show, self._hide = show, hide
        self._browser: Down | None = None

    @property
    def with_browser(self) -> bool:
        """Whether the other side is a browser."""
        return self.connected and isinstance(self._peer, BrowserPeer)

    def _make_peer(self, offer: str | None, *args: Any) -> Peer:
        if offer is None or not of_a_browser(offer):
            return Peer(*args)
        self._browser = Down()
        self._show(self._browser)
        return BrowserPeer(self._browser, *args)

    async def _close_peer(self) -> None:
        browser, self._browser = self._browser, None
        if browser is not None:
            self._hide(browser)
        await super()._close_peer()

    async def _one_connection(self) -> None:
        offered = await self._client.next_offer()
        while offered is not None:
            offered = await self._receive(*offered)

    async def _receive(self, session: str, offer: str) -> tuple[str, str] | None:
        """One session to its end -> the next offer, if that is what ended it. Raises _Lost."""
        peer = self._new_peer(offer)
        try:
            await self._client.answer(session, await peer.answer(offer))
            await self._until_open(session, offer)
        except (_Lost, DescriptionError):
            await self._end(session)
            raise
        watch = asyncio.create_task(self._next_offer())
        lost = asyncio.create_task(self._until_lost())
        try:
            await asyncio.wait({watch, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not watch.done():
                await lost
            self._down("the other side starts anew")
            return watch.result()
        except _Lost:
            await self._end(session)
            raise
        finally:
            watch.cancel()
            lost.cancel()
            await self._close_peer()

    async def _next_offer(self) -> tuple[str, str] | None:
        while True:
            try:
                offered = await self._client.next_offer()
                if offered is not None:
                    return offered
            except Unreachable:
                await asyncio.sleep(1.0)
            except Refused:
                await asyncio.Event().wait()

    async def _end(self, session: str) -> None:
        with contextlib.suppress(UserError, TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._client.end(session)
