"""One receiving call: joins the room, plays ticks out on the event loop, and ends with everything written."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiortc import RTCIceServer

from codec_models.bitstream.face import area_8x8
from codec_models.bitstream.still import IdentityStill
from codec_models.bitstream.timing import TICK_MS
from codec_models.errors import UserError
from codec_models.reconstruction import Reconstructor
from signaling.call import Flow, Place, ReceivedPacket, ReceivingCall
from signaling.control import Bye, ControlMessage, Hello, Refresh, Statistics, Still
from signaling.tokens import load_tokens

from .display import Window
from .incoming_stills import IncomingStills
from .links import link, show_page
from .live_figures import LiveFigures
from .lossylink import simulated
from .playout import PlayedTick, Playout
from .recorder import Recorder
from .renderer import PictureSink, Renderer
from .report import Shown, live_line, summary, write_report
from .requests import Requests
from .screen import Screen
from .still_check import StillCheck
from .terminal import Terminal
from .trace import ReceiverTrace
from .viewers import Viewers, for_browsers, pong


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """seconds: from the first tick, None until the sender leaves. wait: for the first tick, None without a limit.

    stay: go on when the sender leaves. report: where the JSON report goes. lookahead, teeth: how the reconstruction was
    made, for the report: received 8x8 frames that a picture waits for at 5 fps (what that came to in this call stands
    beside it, in ms), and whether teeth are to be restored. page: the role, viewer or sender, for which a browser on
    this machine is opened; None: links are told only.
    """

    place: Place
    ice_servers: Sequence[RTCIceServer] = ()
    seconds: float | None = None
    wait: float | None = None
    stay: bool = False
    report: Path | None = None
    lookahead: int = 0
    teeth: bool = True
    page: str | None = None


_TICK = TICK_MS / 1000


class Session:
    """The callbacks of the call (`CallEvents`) and the life around them.

    A browser that sends here is shown what this session draws, its own face, or, where `pair_with` has been called,
    what the other session draws.
    """

    _STEP = 0.1
    _HELD_UP = 0.02
    _MOST_WAIT = 0.06
    """Seconds that the voice waits for its picture at most."""
    _MOST_EARLY = 0.02
    """Seconds before its voice's time that a tick's picture may be begun."""
    _MOST_LEAD = 0.03
    """No picture is begun so early that it leads its voice by more than this. It belongs to that voice's end, so one
    that is drawn in no time leads by a tick, begun early or not."""

    def __init__(
        self,
        config: SessionConfig,
        reconstructor: Reconstructor,
        terminal: Terminal,
        window: Window | None = None,
        recorder: Recorder | None = None,
        trace: ReceiverTrace | None = None,
    ) -> None:
        self.config = config
        self.terminal = terminal
        self._window, self._recorder, self._trace = window, recorder, trace
        self.screen = Screen()
        self._other: Session | None = None
        self._viewers: Viewers | None = None
        self._playout = Playout(time.time() - time.monotonic())
        self._shown = Shown()
        sinks: list[PictureSink] = [sink for sink in (self.screen, window, recorder) if sink is not None]
        self._renderer = Renderer(reconstructor, sinks, self._shown, self._warn_from_thread, trace)
        self._requests = Requests()
        self._still_check = StillCheck()
        self._call: ReceivingCall | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._catching_up = False
        self._voices: deque[PlayedTick] = deque()
        self._stop = asyncio.Event()
        self._first: float | None = None
        self._ended: float | None = None
        self._new_peer = False
        self._hello: Hello | None = None
        self._left: float | None = None
        self._state = "Waiting for the sender"
        self._live = False
        self._stills = IncomingStills(self._still_came)
        self._live_figures = LiveFigures(self._playout, self._shown, self._received_bytes)

    @property
    def received(self) -> bool:
        """Whether anything of a call has come."""
        return self._first is not None

    def pair_with(self, other: Session) -> None:
        """The two directions of one call: who sends in the one is shown the other. Before `run`."""
        self._other, other._other = other, self

    def interrupt(self) -> None:
        """End the call now; `run` then returns."""
        self._stop.set()

    async def run(self) -> None:
        """From joining to the end. Raises UserError, with whatever was received written."""
        self._loop = asyncio.get_running_loop()
        shown = (self._other or self).screen
        self._call = call = ReceivingCall(
            self.config.place,
            simulated(self),
            self.config.ice_servers,
            show=lambda down: shown.attach(down, lows=self._other is not None),
            hide=shown.detach,
        )
        self._renderer.start()
        if self._recorder is not None:
            self._recorder.start()
        try:
            await call.join()
            await self._announce(call)
            await self._until_end()
        finally:
            await self._finish(call)

    async def _until_end(self) -> None:
        started = time.monotonic()
        next_second = started
        while not self._stop.is_set():
            now = time.monotonic()
            if self._over(now, started):
                return
            self._ask(now)
            if now >= next_second:
                next_second = max(next_second + 1, now)
                self._every_second(now)
            if self._window is not None:
                self._window.refresh()
                if self._window.closed:
                    return
            pause = 0.02 if self._window is not None else self._STEP
            if self._first is not None and self.config.seconds is not None:
                pause = max(0.001, min(pause, self._first + self.config.seconds - now))
            try:
                async with asyncio.timeout(pause):
                    await self._stop.wait()
            except TimeoutError:
                pass

    def _over(self, now: float, started: float) -> bool:
        config = self.config
        if self._first is None:
            if config.wait is not None and now - started >= config.wait:
                raise UserError(
                    f"no sender came to room {config.place.room} within {config.wait:g} s: "
                    f"start one with `sender --signaling {config.place.url} --room {config.place.room}`"
                )
            return False
        if config.seconds is not None and now - self._first >= config.seconds:
            return True
        # Play out what is still in the buffer, which is less than half a second.
        return self._left is not None and (now - self._left > 1.0 or not len(self._playout.buffer))

    # The callbacks of the call, all on the event loop.

    def connected(self) -> None:
        self._left = None
        self._state, self._live, self._hello = "Connected", True, None
        self._requests.connected(time.monotonic())
        self.terminal.say("connected to the sender")

    def disconnected(self, reason: str) -> None:
        self._new_peer = True
        self._live = False
        self._state = "Waiting for the sender to come back"
        self._requests.disconnected()
        if self._left is None:
            self.terminal.say(f"the connection is down ({reason}), waiting for the sender to come back")

    def packet(self, packet: ReceivedPacket) -> None:
        if self._new_peer:
            self._new_peer = False
            self._playout.reconnected()
        if not self._take(packet):
            count = self._playout.traffic.garbage_packets
            self.terminal.warn(
                f"{count} packets so far were no Pinhole ticks and were dropped", "garbage", packet.arrival
            )
            return
        self._arm()

    def _take(self, packet: ReceivedPacket) -> bool:
        match packet.flow:
            case Flow.TICKS:
                return self._playout.packet(packet.timestamp, packet.payload, packet.arrival)
            case Flow.VOICE:
                return self._playout.voice_packet(packet.timestamp, packet.payload, packet.arrival)
            case Flow.FACES:
                return self._playout.face_message(packet.payload, packet.arrival)

    def control(self, message: ControlMessage) -> None:
        match message:
            case Still(_, data):
                self._stills.add(data)
            case Hello() if message != self._hello:
                self._greet(message)
            case Statistics() if self._call is not None:
                pong(self._call, message)
            case Bye(reason):
                self.terminal.say(f"the sender left{f' ({reason})' if reason else ''}")
                self._state, self._live = "The sender has left", False
                if not self.config.stay:
                    self._left = time.monotonic()

    def _greet(self, hello: Hello) -> None:
        self._hello = hello
        self._playout.expect(hello.fps, hello.hints)
        name = hello.name or "the sender"
        if hello.fps == 0:
            self.terminal.say(f"{name} has switched the camera off")
            return
        self._renderer.set_fps(hello.fps)
        told = f"{hello.fps} face frames a second, {hello.profile} colour, {'with' if hello.hints else 'no'} hints"
        self.terminal.say(f"{name} sends {told}, {hello.packet_ms} ms packets")

    # Playing out.

    def _arm(self) -> None:
        assert self._loop is not None
        if self._catching_up:
            return
        wanted = self._renderer.drawing_s - (_TICK - self._MOST_LEAD)
        self._playout.early = min(max(0.0, wanted), self._MOST_EARLY)
        due = self._playout.due
        if self._timer is not None:
            if due is not None and self._timer.when() == due:
                return
            self._timer.cancel()
        # The loop's clock is time.monotonic(), which stamps the arrivals too.
        self._timer = None if due is None else self._loop.call_at(due, self._play)

    def _play(self) -> None:
        due, now, self._timer = self._playout.due, time.monotonic(), None
        if due is not None and now - due > self._HELD_UP and not self._catching_up:
            # The loop was held up, so packets wait in the socket: take them first, or they would count as late.
            self._catching_up = True
            self._timer = self._loop.call_at(now + 0.005, self._play) if self._loop is not None else None
            return
        self._catching_up = False
        ticks = self._playout.step(max(now, due or 0.0))
        decoded = time.monotonic()
        for tick in ticks:
            self._hand_over(tick, now, decoded)
        if self._playout.needs_refresh:
            self._ask(now)
        self._arm()

    def _hand_over(self, tick: PlayedTick, now: float, decoded: float) -> None:
        """now: when it left the jitter buffer."""
        if self._first is None:
            self._first = now
            self._live_figures.take(now)
        if self._recorder is not None:
            self._recorder.voice(tick.stream, tick.index, tick.voice)
        # The picture belongs to the end of its voice, so that waits only where drawing takes longer than a tick, and
        # for a look-ahead.
        wait = min(max(0.0, self._renderer.drawing_s - _TICK), self._MOST_WAIT) + self._renderer.delay_s
        voice_at = max(decoded, tick.due) + wait
        if self._loop is not None:
            self._voices.append(tick)
            self._loop.call_at(voice_at, self._hand_voice_over)
        if self._trace is not None:
            self._trace.played(tick, now, decoded, voice_at)
        self._renderer.submit(tick, voice_at + _TICK)
        if tick.face.picture is not None and self._still_check.picture(tick.face.picture):
            self.terminal.warn("the identity still does not look like the picture, asking for another", "still", now)
            self._requests.still(now, False)

    def _hand_voice_over(self) -> None:
        """The oldest that waits: where the wait has become shorter, a later one's time comes before it."""
        self.screen.voice(self._voices.popleft().live)

    def _still_came(self, still: IdentityStill | None, data: bytes, why_not: str) -> None:
        now = time.monotonic()
        self._requests.still(now, still is not None)
        if still is None:
            self.terminal.warn(f"a corrupt identity still ({why_not}), asking for another", "still", now)
            return
        self._playout.traffic.identities += 1
        self._playout.traffic.identity_bytes += len(data)
        self._still_check.still(area_8x8(still.picture))
        self._renderer.set_identity(still)

    def _ask(self, now: float) -> None:
        for request in self._requests.due(now, self._live and self._playout.needs_refresh):
            sent = self._call is not None and self._call.send_control(request)
            if sent and isinstance(request, Refresh):
                self._playout.refresh_sent()

    # Figures.

    def _every_second(self, now: float) -> None:
        if self._first is not None:
            self._live_figures.take(now)
        if self._viewers is not None:
            self._viewers.every_second()
        if self._call is None:
            return
        if self._call.with_browser:
            view = "loop" if self._other is None else "other"
            self._call.send_control((self._other or self).for_browsers(view))
        figures = self._figures()
        if self._first is None or not self._live:
            return
        self.terminal.live(live_line(figures), now)
        wanted = ("fps", "latency_ms", "lost", "concealed", "loss_percent")
        told = {k: round(v, 1) for k, v in figures.items() if k in wanted and v is not None}
        if not self._call.with_browser and self._requests.statistics_due(now, figures["loss_percent"] or 0.0):
            self._call.send_control(Statistics(told))

    def for_browsers(self, view: str) -> Statistics:
        """What a browser is told every second of the pictures that it sees. view: loop, other or viewer."""
        sent = {} if self._hello is None else {"sent_fps": self._hello.fps, "hints": self._hello.hints}
        figures = {**self._figures(), **sent, "state": self._state, "live": self._live}
        return for_browsers(figures, view, self._other is not None)

    def _received_bytes(self) -> int:
        return self._call.wire.received_bytes if self._call is not None else 0

    def _figures(self) -> dict[str, Any]:
        return {**self._live_figures.now(), **self._engine()}

    def _engine(self) -> dict[str, str]:
        reconstructor = self._renderer.reconstructor
        return {"backend": reconstructor.backend, "device": reconstructor.device}

    def report(self) -> dict[str, Any]:
        """The report of the call so far."""
        end = self._ended or time.monotonic()
        seconds = end - self._first if self._first is not None else 0.0
        assert self._call is not None
        counters = self._playout.counters
        figures = summary(seconds, counters, self._playout.traffic, self._shown, self._call.wire, self._engine())
        looking_ahead = {"lookahead": self.config.lookahead, "lookahead_ms": round(1000 * self._renderer.delay_s)}
        # not what was asked for: a reconstruction without the network restores none
        return figures | looking_ahead | {"teeth": "teeth" in figures["backend"]}

    # The end.

    async def _finish(self, call: ReceivingCall) -> None:
        self._ended = time.monotonic()
        if self._timer is not None:
            self._timer.cancel()
        self._stills.cancel()
        self.terminal.close()
        self._state, self._live = "The call has ended", False
        writing = asyncio.create_task(asyncio.to_thread(self._stop_threads))
        why = "the receiver ends the call"
        ending = [call.leave(why), *([self._viewers.leave(why)] if self._viewers is not None else [])]
        await asyncio.gather(writing, *ending, return_exceptions=True)
        if self._window is not None:
            self._window.close()
        if self.config.report is not None and self.received:
            write_report(self.config.report, self.report())

    def _stop_threads(self) -> None:
        self._renderer.stop()
        if self._recorder is not None:
            self._recorder.stop()
        if self._trace is not None:
            self._trace.close()

    async def _announce(self, call: ReceivingCall) -> None:
        """Say how others get in, and let browsers watch where this side may."""
        place, say = self.config.place, self.terminal.say
        tokens = call.room_tokens or load_tokens(place.url, place.room)
        if call.room_tokens is not None and (token := tokens.get(f"{place.direction}/sender")):
            say(f"room {place.room} is open; a sender on another machine joins with --token {token}")
        if address := link(place, "sender", tokens):
            say(f"a browser sends at {address}")
        if self._other is None and (address := link(place, "viewer", tokens)):
            own = dataclasses.replace(place, token=place.token or tokens.get(f"{place.direction}/receiver"))
            viewers = Viewers(own, self.config.ice_servers, self.screen, lambda: self.for_browsers("viewer"))
            if await viewers.join():
                self._viewers = viewers
                say(f"a browser watches at {address}")
        if self.config.page is not None:
            show_page(link(place, self.config.page, tokens), self.terminal)
        say(f"waiting for the sender in room {place.room}")

    def _warn_from_thread(self, text: str) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self.terminal.warn(text, text.split(":")[0], time.monotonic()))
