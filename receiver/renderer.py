"""Runs the reconstruction in a thread of its own and hands each picture on; skips to the newest tick when slow."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from codec_models.bitstream.still import IdentityStill
from codec_models.reconstruction import Reconstructor

from .playout import PlayedTick
from .report import Shown

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


class Renderer:
    """submit() never blocks. Voice does not pass through here, so a slow reconstruction cannot disturb it."""

    _CATCH_UP = 0.04
    """Seconds of drawing that may wait; more, and the older ticks are skipped (two may wait in any case)."""

    def __init__(
        self,
        reconstructor: Reconstructor,
        sinks: Sequence[PictureSink],
        shown: Shown,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.reconstructor = reconstructor
        self._sinks = tuple(sinks)
        self._shown = shown
        self._warn = warn
        self._ready = threading.Condition()
        self._ticks: deque[tuple[PlayedTick, float | None]] = deque(maxlen=64)
        self._still: IdentityStill | None = None
        self._stopping = False
        self._stream: int | None = None
        self._last: NDArray[np.uint8] | None = None
        self._cost = 0.02
        self._thread = threading.Thread(target=self._run, name="reconstruction", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def drawing_s(self) -> float:
        """How long a picture takes at the moment, in seconds."""
        return self._cost

    def submit(self, tick: PlayedTick, voice_at: float | None) -> None:
        """voice_at: when the tick's voice is handed over, in `time.monotonic` seconds."""
        with self._ready:
            self._ticks.append((tick, voice_at))
            self._ready.notify()

    def set_identity(self, still: IdentityStill) -> None:
        """A still to use from the next picture on; only the newest one that waits is used."""
        with self._ready:
            self._still = still
            self._ready.notify()

    def stop(self, timeout: float = 0.5) -> None:
        """Draw what waits, then end."""
        with self._ready:
            self._stopping = True
            self._ready.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._ready:
                while not (self._ticks or self._still or self._stopping):
                    self._ready.wait()
                if self._stopping and not self._ticks:
                    return
                still, self._still = self._still, None
                item = self._newest()
            if still is not None:
                self._guard("the identity still", lambda still=still: self.reconstructor.set_identity(still))  # type: ignore[misc]
            if item is not None:
                self._draw(*item)

    def _newest(self) -> tuple[PlayedTick, float | None, float | None] | None:
        """The tick to draw, when its voice was played and when its picture was taken (None: it is an older one)."""
        if not self._ticks:
            return None
        tick, voice_at = self._ticks.popleft()
        captured = tick.captured if tick.face.picture is not None else None
        while len(self._ticks) >= max(2, self._CATCH_UP / self._cost):
            self._shown.skipped += 1
            before, (tick, voice_at) = tick, self._ticks.popleft()
            if tick.face.picture is not None or tick.stream != before.stream:
                captured = tick.captured if tick.face.picture is not None else None
            else:
                # At 5 fps the skipped tick may have been the only one with a picture.
                tick = dataclasses.replace(tick, face=dataclasses.replace(tick.face, picture=before.face.picture))
                captured = None
        return tick, voice_at, captured

    def _draw(self, tick: PlayedTick, voice_at: float | None, captured: float | None) -> None:
        restart = tick.stream != self._stream
        if restart:
            self._stream = tick.stream
            self._guard("a restart", self.reconstructor.reset)
        began = time.monotonic()
        picture = self._guard("a tick", lambda: self.reconstructor.tick(tick.face, tick.voice if tick.heard else None))
        self._cost += 0.2 * (max(time.monotonic() - began, 0.001) - self._cost)
        if picture is None:
            picture = self._last
        if picture is None:
            return
        self._last = picture
        self._shown.add(time.monotonic(), captured, voice_at, restart)
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
