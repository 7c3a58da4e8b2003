"""Runs the reconstruction in a thread of its own and hands each picture on; skips to the newest tick when slow."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from codec_models.bitstream.face import FaceTick
from codec_models.bitstream.still import IdentityStill
from codec_models.bitstream.timing import TICK_MS
from codec_models.reconstruction import Reconstructor

from .playout import PlayedTick
from .report import Shown
from .trace import ReceiverTrace

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """stream, index: the tick it belongs to. picture: (256, 256, 3) uint8 RGB; low: (8, 8, 3) uint8 RGB or None."""

    stream: int
    index: int
    picture: NDArray[np.uint8]
    low: NDArray[np.uint8] | None


class PictureSink(Protocol):
    """Where pictures go. Called in the renderer's thread; must not wait for anything."""

    def picture(self, shown: ShownPicture) -> None: ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    """voice_at: see `Renderer.submit`."""

    tick: PlayedTick
    voice_at: float | None


class Renderer:
    """submit() never blocks. Voice does not pass through here, so a slow reconstruction cannot disturb it.

    A reconstruction that looks ahead gives in each tick the picture of `delay` ticks before. Index, 8x8 picture and
    times of that tick go with it.
    """

    _CATCH_UP = 0.03
    """Seconds of drawing that may wait behind a tick; more, and that is skipped: it would take long to catch up."""
    _LAST_PICTURE = 0.6
    """Seconds that the picture in hand may take at the end."""
    _MOST_DELAY = 16
    """Ticks of which one may be waited for."""

    def __init__(
        self,
        reconstructor: Reconstructor,
        sinks: Sequence[PictureSink],
        shown: Shown,
        warn: Callable[[str], None] = lambda line: None,
        trace: ReceiverTrace | None = None,
    ) -> None:
        self.reconstructor = reconstructor
        self._sinks = tuple(sinks)
        self._shown = shown
        self._warn = warn
        self._trace = trace
        self._ready = threading.Condition()
        self._ticks: deque[_Waiting] = deque(maxlen=64)
        self._still: IdentityStill | None = None
        self._fps: int | None = None
        self._stopping = self._giving_up = False
        self._stream: int | None = None
        self._last: NDArray[np.uint8] | None = None
        self._taken: deque[_Waiting] = deque(maxlen=self._MOST_DELAY + 1)
        self._newest_shown: int | None = None
        self._restarted = False
        self._cost = 0.02
        self._thread = threading.Thread(target=self._run, name="reconstruction", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def drawing_s(self) -> float:
        """How long a picture takes at the moment, in seconds."""
        return self._cost

    @property
    def delay_s(self) -> float:
        """How far the pictures lag behind the ticks because the reconstruction looks ahead, in seconds."""
        return self.reconstructor.delay * TICK_MS / 1000

    def submit(self, tick: PlayedTick, voice_at: float | None) -> None:
        """voice_at: when the voice of the picture's own instant is handed over, in `time.monotonic` seconds."""
        with self._ready:
            self._ticks.append(_Waiting(tick, voice_at))
            self._ready.notify()

    def set_identity(self, still: IdentityStill) -> None:
        """A still to use from the next picture on; only the newest one that waits is used."""
        with self._ready:
            self._still = still
            self._ready.notify()

    def set_fps(self, fps: int) -> None:
        """8x8 frames a second, as the sender has told."""
        with self._ready:
            self._fps = fps

    def stop(self, timeout: float = 0.8) -> None:
        """Draw what waits, then end; what is left after `timeout` seconds is dropped.

        A thread that is inside a runtime's C++ when the interpreter ends makes the whole process abort.
        """
        with self._ready:
            self._stopping = True
            self._ready.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if self._thread.is_alive():
            with self._ready:
                self._giving_up = True
                self._ticks.clear()
            self._thread.join(self._LAST_PICTURE)

    def _run(self) -> None:
        while True:
            with self._ready:
                while not (self._ticks or self._still or self._stopping):
                    self._ready.wait()
                if self._stopping and not self._ticks:
                    break
                still, self._still = self._still, None
                ticks = self._next()
                fps = self._fps
            if still is not None:
                self._guard("the identity still", lambda still=still: self.reconstructor.set_identity(still))  # type: ignore[misc]
            if fps is not None:
                self.reconstructor.fps = fps
            for waiting in ticks[:-1]:
                self._shown.skipped += 1
                self._enter(waiting)
                tick = waiting.tick
                self._guard("a tick", lambda tick=tick: self.reconstructor.take(tick.face, _voice(tick)))  # type: ignore[misc]
            if ticks:
                self._draw(ticks[-1])
        self._flush()

    def _next(self) -> list[_Waiting]:
        """What waits, oldest first: the last one is to be drawn, there is no time to draw those before it."""
        taken: list[_Waiting] = []
        while self._ticks and (not taken or len(self._ticks) >= max(1, self._CATCH_UP / self._cost)):
            taken.append(self._ticks.popleft())
        return taken

    def _enter(self, waiting: _Waiting) -> None:
        """The reconstruction is about to get this tick."""
        if waiting.tick.stream != self._stream:
            self._stream = waiting.tick.stream
            self._restarted = True
            self._taken.clear()
            self._newest_shown = None
            self._guard("a restart", self.reconstructor.reset)
        self._taken.append(waiting)

    def _draw(self, waiting: _Waiting) -> None:
        self._enter(waiting)
        tick = waiting.tick
        began = time.monotonic()
        picture = self._guard("a tick", lambda: self.reconstructor.tick(tick.face, _voice(tick)))
        self._cost += 0.2 * (max(time.monotonic() - began, 0.001) - self._cost)
        delay = self.reconstructor.delay
        if delay < len(self._taken):
            self._show(self._taken[-1 - delay], picture, began)

    def _flush(self) -> None:
        """At the end nothing comes after the last ticks any more; what is drawn without it is for the recording."""
        delay = min(self.reconstructor.delay, len(self._taken))
        for waiting in list(self._taken)[len(self._taken) - delay :]:
            if self._giving_up:
                return
            picture = self._guard("the end", lambda: self.reconstructor.tick(FaceTick(None, None), None))
            self._show(waiting, picture, None)

    def _show(self, waiting: _Waiting, picture: NDArray[np.uint8] | None, began: float | None) -> None:
        """Hand the picture of a tick on. None: nothing could be drawn, so the last one holds.

        began: when drawing began, None where the picture's time is not to be counted.
        """
        spent = self.reconstructor.spent if picture is not None else {}
        if picture is None:
            picture = self._last
        tick = waiting.tick
        # Where the delay grows, ticks that have been shown come again.
        if picture is None or (self._newest_shown is not None and tick.index <= self._newest_shown):
            return
        self._last, self._newest_shown = picture, tick.index
        if began is not None:
            captured = tick.captured if tick.face.picture is not None else None
            now = time.monotonic()
            self._shown.add(now, captured, waiting.voice_at, self._restarted)
            self._restarted = False
            if self._trace is not None:
                self._trace.shown(tick, began, spent, now)
        shown = ShownPicture(tick.stream, tick.index, picture, tick.low)
        for sink in self._sinks:
            self._guard("a display", lambda sink=sink: sink.picture(shown))  # type: ignore[misc]

    def _guard(self, what: str, action: Callable[[], T]) -> T | None:
        """One failing tick must not end the call: say so and go on."""
        try:
            return action()
        except Exception as e:
            self._warn(f"reconstruction: {what} failed ({type(e).__name__}: {e})")
            return None


def _voice(tick: PlayedTick) -> NDArray[np.int16] | None:
    return tick.voice if tick.heard else None
