"""One receiving call: joins the room, plays ticks out on the event loop, and ends with everything written."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiortc import RTCIceServer

from codec_models.bitstream.errors import BitstreamError
from codec_models.bitstream.face import area_8x8
from codec_models.bitstream.still import IdentityStill, decode_still
from codec_models.bitstream.timing import TICK_MS, face_bpp, kbps
from codec_models.errors import UserError
from codec_models.reconstruction import Reconstructor
from signaling.call import Place, ReceivedPacket, ReceivingCall
from signaling.control import Bye, ControlMessage, Hello, Refresh, Statistics, Still

from .display import Window
from .lossylink import simulated
from .page import Page
from .playout import PlayedTick, Playout
from .recorder import Recorder
from .renderer import PictureSink, Renderer
from .report import Shown, live_line, summary, write_report
from .requests import Requests
from .still_check import StillCheck
from .terminal import Terminal
from .trace import ReceiverTrace


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """seconds: from the first tick, None until the sender leaves. wait: for the first tick, None without a limit.

    stay: go on when the sender leaves. report: where the JSON report goes. lookahead, teeth: how the reconstruction was
    made, for the report: received 8x8 frames that a picture waits for at 5 fps (what that came to in this call stands
    beside it, in ms), and whether teeth are to be restored.
    """

    place: Place
    ice_servers: Sequence[RTCIceServer] = ()
    seconds: float | None = None
    wait: float | None = None
    stay: bool = False
    report: Path | None = None
    lookahead: int = 0
    teeth: bool = True


@dataclass(frozen=True, slots=True)
class _Snapshot:
    time: float
    face_bytes: int
    opus_bytes: int
    wire_bytes: int
    frames: int
    lost: int
    played: int


_TICK = TICK_MS / 1000


class Session:
    """The callbacks of the call (`CallEvents`) and the life around them."""

    _STEP = 0.1
    _HELD_UP = 0.02
    _MOST_WAIT = 0.06
    """Seconds that the voice waits for its picture at most."""
    _MOST_EARLY = 0.02
    """Seconds before its voice's time that a tick's picture may be begun."""
    _MOST_LEAD = 0.03
    """No picture is begun so early that it leads its voice by more than this. It belongs to that voice's end, so one
    that is drawn in no time leads by a tick, begun early or not."""
    _WINDOW = 3
    """Seconds that the live figures look back."""

    def __init__(
        self,
        config: SessionConfig,
        reconstructor: Reconstructor,
        terminal: Terminal,
        page: Page | None = None,
        window: Window | None = None,
        recorder: Recorder | None = None,
        trace: ReceiverTrace | None = None,
    ) -> None:
        self.config = config
        self.terminal = terminal
        self._page, self._window, self._recorder, self._trace = page, window, recorder, trace
        self._playout = Playout(time.time() - time.monotonic())
        self._shown = Shown()
        sinks: list[PictureSink] = [sink for sink in (page, window, recorder) if sink is not None]
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
        self._greeted = False
        self._left: float | None = None
        self._state = "Waiting for the sender"
        self._live = False
        self._still: Still | None = None
        self._decoding: asyncio.Task[None] | None = None
        self._snapshots: deque[_Snapshot] = deque(maxlen=self._WINDOW + 1)

    @property
    def received(self) -> bool:
        """Whether anything of a call has come."""
        return self._first is not None

    def interrupt(self) -> None:
        """End the call now; `run` then returns."""
        self._stop.set()

    async def run(self) -> None:
        """From joining to the end. Raises UserError, with whatever was received written."""
        self._loop = asyncio.get_running_loop()
        self._call = call = ReceivingCall(self.config.place, simulated(self), self.config.ice_servers)
        if self._page is not None:
            await self._page.start()
            self._publish(time.monotonic())
        self._renderer.start()
        if self._recorder is not None:
            self._recorder.start()
        try:
            await call.join()
            self._announce(call.room_tokens)
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
        self._state, self._live, self._greeted = "Connected", True, False
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
        if not self._playout.packet(packet.timestamp, packet.payload, packet.arrival):
            count = self._playout.traffic.garbage_packets
            self.terminal.warn(
                f"{count} packets so far were no Pinhole ticks and were dropped", "garbage", packet.arrival
            )
            return
        self._arm()

    def control(self, message: ControlMessage) -> None:
        match message:
            case Still():
                self._still = message
                if self._decoding is None or self._decoding.done():
                    self._decoding = asyncio.ensure_future(self._decode_stills())
            case Hello(fps, profile, hints, packet_ms, name) if not self._greeted:
                self._greeted = True
                self._renderer.set_fps(fps)
                told = f"{fps} face frames a second, {profile} colour, {'with' if hints else 'no'} hints"
                self.terminal.say(f"{name or 'the sender'} sends {told}, {packet_ms} ms packets")
            case Bye(reason):
                self.terminal.say(f"the sender left{f' ({reason})' if reason else ''}")
                self._state, self._live = "The sender has left", False
                if not self.config.stay:
                    self._left = time.monotonic()

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
            self._take_snapshot(now)
        if self._recorder is not None:
            self._recorder.voice(tick.stream, tick.index, tick.voice)
        # The picture belongs to the end of its voice, so that waits only where drawing takes longer than a tick, and
        # for a look-ahead.
        wait = min(max(0.0, self._renderer.drawing_s - _TICK), self._MOST_WAIT) + self._renderer.delay_s
        voice_at = max(decoded, tick.due) + wait
        if self._page is not None and self._loop is not None:
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
        tick = self._voices.popleft()
        if self._page is not None:
            self._page.voice(tick.stream, tick.index, tick.live)

    async def _decode_stills(self) -> None:
        """One at a time, in a thread; of several that wait only the newest counts."""
        while self._still is not None:
            message, self._still = self._still, None
            try:
                still: IdentityStill | None = await asyncio.to_thread(decode_still, message.data)
            except BitstreamError as e:
                still = None
                self.terminal.warn(f"a corrupt identity still ({e}), asking for another", "still", time.monotonic())
            self._requests.still(time.monotonic(), still is not None)
            if still is not None:
                self._playout.traffic.identities += 1
                self._playout.traffic.identity_bytes += len(message.data)
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
            self._take_snapshot(now)
        self._publish(now)
        if self._first is None or self._call is None:
            return
        figures = self._figures()
        if self._live:
            self.terminal.live(live_line(figures), now)
            wanted = ("fps", "latency_ms", "lost", "concealed", "loss_percent")
            told = {k: round(v, 1) for k, v in figures.items() if k in wanted and v is not None}
            if self._requests.statistics_due(now, figures["loss_percent"] or 0.0):
                self._call.send_control(Statistics(told))

    def _take_snapshot(self, now: float) -> None:
        traffic, counters = self._playout.traffic, self._playout.counters
        wire = self._call.wire.received_bytes if self._call is not None else 0
        frames, lost, played = self._shown.frames, counters["ticks_lost"], counters["ticks_played"]
        self._snapshots.append(_Snapshot(now, traffic.face_bytes, traffic.opus_bytes, wire, frames, lost, played))

    def _figures(self) -> dict[str, Any]:
        """The figures of the last seconds, and the counts since the start."""
        new, old = self._snapshots[-1], self._snapshots[0]
        span = new.time - old.time
        face = kbps(new.face_bytes - old.face_bytes, span)
        played = new.played - old.played
        counters = self._playout.counters
        return {
            "fps": (new.frames - old.frames) / span if span > 0 else 0.0,
            "face_kbps": face,
            "audio_kbps": kbps(new.opus_bytes - old.opus_bytes, span),
            "wire_kbps": kbps(new.wire_bytes - old.wire_bytes, span),
            "bpp": face_bpp(face),
            "latency_ms": self._shown.recent_latency,
            "lost": counters["ticks_lost"],
            "concealed": counters["ticks_concealed"],
            "loss_percent": 100 * max(0, new.lost - old.lost) / played if played else 0.0,
            **self._engine(),
        }

    def _publish(self, now: float) -> None:
        if self._page is None:
            return
        figures = self._figures() if self._first is not None else self._engine()
        self._page.figures({**figures, "state": self._state, "live": self._live, "ended": self._ended is not None})

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
        if self._decoding is not None:
            self._decoding.cancel()
        self.terminal.close()
        self._state, self._live = "The call has ended", False
        if self._page is not None and self._snapshots:
            self._publish(self._ended)
        writing = asyncio.create_task(asyncio.to_thread(self._stop_threads))
        ending = [call.leave("the receiver ends the call"), *([self._page.stop()] if self._page is not None else [])]
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

    def _announce(self, tokens: dict[str, str] | None) -> None:
        place = self.config.place
        if tokens is not None and (token := tokens.get(f"{place.direction}/sender")):
            self.terminal.say(f"room {place.room} is open; a sender on another machine joins with --token {token}")
        self.terminal.say(f"waiting for the sender in room {place.room}")

    def _warn_from_thread(self, text: str) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self.terminal.warn(text, text.split(":")[0], time.monotonic()))
