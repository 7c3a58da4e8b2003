"""One call on the sender's side: ticks paced by the wall clock, identity stills, control messages, the report."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from codec_models.bitstream.packet import TickPacket
from codec_models.bitstream.still import MAX_BYTES, IdentityStill, encode_still
from codec_models.bitstream.timing import TICK_MS
from codec_models.errors import UserError
from signaling.call import CallEvents, ReceivedPacket
from signaling.control import Bye, ControlMessage, Hello, NeedStill, Refresh, Statistics, Still
from signaling.wire import WireCounter

from .packer import AdaptiveRedundancy, TickPacker
from .pipeline import EncodedTick, Pipeline, PulledTick
from .report import LiveLine, SenderReport
from .still_policy import StillPolicy
from .trace import SenderTrace, TickTimes

_TICK = TICK_MS / 1000
_LONG_TICKS = 50
"""After a longer stall (a laptop that slept) a file goes on where it was."""
_CROSSING_S = 0.5
"""A request for a still this soon after one was sent has crossed it on the way."""
_RESEND_S = 8.0
"""Between two older stills for a receiver that has joined anew."""
_REFRESH_S = 0.2
_LEAVING_S = 0.003
"""So long the next tick of a file is not read, until the packet is out: decoding would hold the event loop up."""


class Call(Protocol):
    """What the session needs of `signaling.call.SendingCall`."""

    @property
    def wire(self) -> WireCounter: ...
    @property
    def connected(self) -> bool: ...
    async def join(self) -> None: ...
    def send(self, packet: TickPacket, tick: int) -> None: ...
    def send_control(self, message: ControlMessage) -> bool: ...
    async def leave(self, reason: str = "") -> None: ...


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """hello: what the stream is like. redundant: faces repeated in each packet; None: as many as the packet has ticks,
    while the link loses packets. seconds: end so long after the first tick; None: at the source's end.
    linger: seconds between the last tick and leaving, for it to be played.
    late_ticks: from so many ticks behind the wall clock on, ticks are skipped.
    """

    hello: Hello
    redundant: int | None = None
    seconds: float | None = None
    linger: float = 0.3
    max_still_bytes: int = MAX_BYTES
    late_ticks: int = 5


class Printer(Protocol):
    """Where lines for the user go."""

    def say(self, text: str) -> None: ...
    def live(self, text: str, time: float) -> None: ...


class SenderSession:
    """Runs one call; `stop` ends it in order. make_call gets this session's events."""

    def __init__(
        self,
        config: SessionConfig,
        pipeline: Pipeline,
        live: bool,
        make_call: Callable[[CallEvents], Call],
        printer: Printer,
        trace: SenderTrace | None = None,
    ) -> None:
        self.report = SenderReport()
        self.failure: str | None = None
        self._config = config
        self._pipeline = pipeline
        self._live = live
        self._printer = printer
        self._trace = trace
        self._call = make_call(self)
        ticks = config.hello.packet_ms // TICK_MS
        self._adaptive = AdaptiveRedundancy(ticks) if config.redundant is None else None
        self._packer = TickPacker(ticks, ticks if config.redundant is None else config.redundant)
        self._policy = StillPolicy()
        self._stills: dict[int, bytes] = {}
        self._outbox: list[tuple[float, int]] = []  # when a still is due, and its number
        self._last_still = float("-inf")
        self._last_refresh = float("-inf")
        self._told: dict[str, float | int | str] = {}  # the receiver's latest figures
        self._first_connection = asyncio.Event()
        self._stop = asyncio.Event()
        self._encoding: set[asyncio.Task[None]] = set()
        self._worker = ThreadPoolExecutor(1, "sender")

    @property
    def wire(self) -> WireCounter:
        """Counters of the call's datagrams."""
        return self._call.wire

    def stop(self) -> None:
        """End the call soon; for signal handlers."""
        self._stop.set()

    async def run(self) -> None:
        """Join, send until the source, the time or `stop` ends it, leave. Raises UserError."""
        tasks: list[asyncio.Task[None]] = []
        reason = "the sender has ended"
        try:
            if await self._unless_stopped(self._call.join()):
                self._printer.say("waiting for the receiver")
                await self._unless_stopped(self._first_connection.wait())
            if not self._stop.is_set():
                tasks = [asyncio.create_task(self._send_stills()), asyncio.create_task(self._show())]
                await self._send_ticks()
                for packet, tick in self._packer.flush():
                    self._send(packet, tick)
                await self._unless_stopped(asyncio.sleep(self._config.linger))
        except UserError as e:
            self.failure = reason = str(e)
            raise
        finally:
            for task in (*tasks, *self._encoding):
                task.cancel()
            self._worker.shutdown(wait=False, cancel_futures=True)
            await asyncio.to_thread(self._pipeline.close)
            await self._call.leave(reason)
            if self._trace is not None:
                await asyncio.to_thread(self._trace.close)

    # Ticks

    async def _send_ticks(self) -> None:
        loop = asyncio.get_running_loop()
        start = time.monotonic()
        tick: int | None = None  # on the wire
        shift = 0  # its lead over the source's
        while not self._stop.is_set():
            if self._config.seconds is not None and time.monotonic() - start >= self._config.seconds:
                return
            pulled = loop.run_in_executor(self._worker, self._first_pull if tick is None else self._pipeline.pull)
            if not await self._unless_stopped(pulled):
                return
            got = pulled.result()
            if got is None:
                return
            if tick is None:
                # a camera's tick comes at its end, a file's is there before its time begins
                start = time.monotonic() - ((got.index + 1) * _TICK if self._live else 0.0)
            tick = got.index + shift
            made = loop.run_in_executor(self._worker, self._encode, got, start + (tick + 1) * _TICK)
            if not await self._unless_stopped(made):
                return
            self._tick(made.result(), tick, start)
            if not self._live:
                await asyncio.sleep(_LEAVING_S)
            behind = int((time.monotonic() - start) / _TICK) - (tick + 1)
            if self._live or behind < self._config.late_ticks:
                continue
            self.report.skipped += behind
            if behind > _LONG_TICKS:
                shift += behind
                self._pipeline.refresh()
                continue
            skipped = loop.run_in_executor(self._worker, self._pipeline.skip, behind)
            if not await self._unless_stopped(skipped) or not skipped.result():
                return

    def _first_pull(self) -> PulledTick | None:
        """On the worker's thread: opens a file and warms everything up."""
        pulled = self._pipeline.pull()
        if pulled is not None and not self._live:
            self._pipeline.warm_up(pulled)
        return pulled

    def _encode(self, pulled: PulledTick, end: float) -> EncodedTick:
        """On the worker's thread. end: of the tick, when its picture is taken and its voice complete."""
        if not self._live:
            # as a camera and a microphone would have it; a thread sleeps more exactly than the event loop
            time.sleep(max(0.0, end - time.monotonic()))
        return self._pipeline.encode(pulled)

    def _tick(self, encoded: EncodedTick, tick: int, start: float) -> None:
        """Pack and send a tick, and see whether its picture is worth a still."""
        now = time.monotonic()
        if self._trace is not None:
            times = encoded.began, encoded.cropped, encoded.encoded
            self._trace.tick(tick, TickTimes(encoded.pictured, start + (tick + 1) * _TICK, *times))
        captured = time.time() - (now - start - tick * _TICK)
        self.report.tick(now, encoded.face, encoded.opus, encoded.pictured, encoded.hint_bits)
        if self._adaptive is not None:
            self._packer.redundant = self._adaptive.at(now)
        for packet, first in self._packer.add(tick, encoded.face, encoded.opus, captured * 1000):
            self._send(packet, first)
        if encoded.view is not None and encoded.still is not None:
            number = self._policy.decide(now, encoded.view)
            if number is not None:
                task = asyncio.create_task(self._make_still(number, encoded.still))
                self._encoding.add(task)
                task.add_done_callback(self._encoding.discard)

    def _send(self, packet: TickPacket, tick: int) -> None:
        self.report.packets += 1
        self._call.send(packet, tick)
        if self._trace is not None:
            self._trace.sent(packet, tick, time.monotonic())

    # Stills

    async def _make_still(self, number: int, still: IdentityStill) -> None:
        data = await asyncio.to_thread(encode_still, still, self._config.max_still_bytes)
        self._stills[number] = data
        self._outbox = [(0.0, number), *(o for o in self._outbox if o[1] != number)]

    async def _send_stills(self) -> None:
        """Stills that are due, one at a time, whenever the control channel takes them."""
        while True:
            await asyncio.sleep(0.05)
            now = time.monotonic()
            due = next((o for o in self._outbox if o[0] <= now), None)
            if due is None or not self._call.connected:
                continue
            data = self._stills[due[1]]
            if self._call.send_control(Still(due[1], data)):
                self._outbox.remove(due)
                self._last_still = now
                self.report.identities += 1
                self.report.identity_bytes += len(data)

    # Events of the call

    def connected(self) -> None:
        """A receiver is there: tell it what comes, and what its predecessor already had."""
        self._call.send_control(self._config.hello)
        self._packer.resend_clock()
        if self._adaptive is not None:
            self._adaptive.restart()
        if self._first_connection.is_set():
            self._printer.say("the receiver is back")
            self._pipeline.refresh()
            self._resend_stills()
        else:
            self._printer.say("connected")
        self._first_connection.set()

    def disconnected(self, reason: str) -> None:
        """The call goes on trying."""
        self._printer.say(f"connection lost ({reason}), waiting for the receiver")

    def packet(self, packet: ReceivedPacket) -> None:
        """A sender gets none."""

    def control(self, message: ControlMessage) -> None:
        """Requests of the receiver."""
        now = time.monotonic()
        match message:
            case Refresh():
                if now - self._last_refresh >= _REFRESH_S:
                    self._last_refresh = now
                    self.report.refreshes += 1
                    self._pipeline.refresh()
            case NeedStill():
                on_its_way = bool(self._encoding or self._outbox) or now - self._last_still < _CROSSING_S
                if not on_its_way:
                    self._policy.request()
            case Statistics(values):
                self._told = values
                loss = values.get("loss_percent")
                if self._adaptive is not None and isinstance(loss, int | float):
                    self._adaptive.reported(now, loss)
            case Bye():
                self._printer.say("the receiver has left")

    def _resend_stills(self) -> None:
        best = self._policy.best
        numbers = sorted(self._stills, key=lambda n: n != best)
        now = time.monotonic()
        self._outbox = [(now + k * _RESEND_S, n) for k, n in enumerate(numbers)]

    # Waiting

    async def _unless_stopped(self, what: Any) -> bool:
        """Wait for `what`; False when the call was stopped first. Passes on what `what` raises."""
        waited = asyncio.ensure_future(what)
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({waited, stop}, return_when=asyncio.FIRST_COMPLETED)
            if waited.done():
                waited.result()
                return True
            return False
        finally:
            stop.cancel()
            if not waited.done():
                waited.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)

    async def _show(self) -> None:
        line = LiveLine()
        line.start(time.monotonic(), self.report, self._call.wire)
        while True:
            await asyncio.sleep(1)
            now = time.monotonic()
            text = line.text(now, self.report, self._call.wire)
            told, self._told = self._told, {}
            for name, unit in (("latency_ms", "ms"), ("loss_percent", "%")):
                value = told.get(name)
                if isinstance(value, int | float):
                    text += f"  {name.split('_')[0]} {value:.0f} {unit}"
            self._printer.live(text, now)
