"""A progress bar for long work: one redrawn line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

_WIDTH = 24
_ERASE = "\x1b[K"
"""To the end of the line: a longer line of another bar may stand there."""
_PLAIN_EVERY_S = 15.0
_REDRAW_EVERY_S = 0.1


class Progress:
    """`with Progress(total, "encoding") as bar: bar.step("h264-crf23")`. Writes to stderr only."""

    def __init__(self, total: int, title: str, stream: TextIO | None = None) -> None:
        self._total = max(total, 1)
        self._title = title
        self._stream = stream if stream is not None else sys.stderr
        self._done = 0
        self._start = time.monotonic()
        self._last = -1e9
        self._drawn = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._stream.isatty() and self._drawn:
            self._stream.write("\r" + _ERASE)
            self._stream.flush()

    def now(self, what: str) -> None:
        """Say what is being done without counting it as done."""
        self._draw(what)

    def step(self, what: str = "", count: int = 1) -> None:
        """`count` more of the total are done; `what` comes behind the bar."""
        self._done = min(self._done + count, self._total)
        self._draw(what, self._done == self._total)

    def _draw(self, what: str, always: bool = False) -> None:
        now = time.monotonic()
        terminal = self._stream.isatty()
        if not always and now - self._last < (_REDRAW_EVERY_S if terminal else _PLAIN_EVERY_S):
            return
        self._last = now
        share = self._done / self._total
        if not terminal:
            self._stream.write(f"{self._title}: {self._done} of {self._total} {what}".rstrip() + "\n")
        else:
            bar = "#" * round(_WIDTH * share)
            left = self._left(now)
            line = f"{self._title} [{bar:.<{_WIDTH}}] {100 * share:3.0f} %{left}  {what}"[:110]
            self._stream.write("\r" + line + _ERASE)
            self._drawn = True
        self._stream.flush()

    def _left(self, now: float) -> str:
        if not self._done or self._done == self._total:
            return ""
        seconds = (now - self._start) / self._done * (self._total - self._done)
        return f"  {seconds / 60:.0f} min left" if seconds > 90 else f"  {seconds:.0f} s left"
