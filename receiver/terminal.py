"""What the receiver prints: lines, and one live line that stays in place on a terminal."""

from __future__ import annotations

import sys
from typing import TextIO


class Terminal:
    """`time` arguments are seconds of one clock. redraws: the live line stays in place where the output is a terminal;
    not where several write to the same one.
    """

    _PLAIN_EVERY = 5.0
    """Seconds between live lines where the output is no terminal."""
    _SAME_EVERY = 5.0
    """Seconds between two warnings about the same thing."""

    def __init__(
        self, out: TextIO | None = None, err: TextIO | None = None, name: str = "receiver", redraws: bool = True
    ) -> None:
        self._out, self._err, self._name = out or sys.stdout, err or sys.stderr, name
        self._redraws = redraws
        self._live = False
        self._last_live = float("-inf")
        self._warned: dict[str, float] = {}

    def say(self, text: str) -> None:
        self._write(self._out, f"{self._name}: {text}")

    def warn(self, text: str, topic: str | None = None, time: float = 0.0) -> None:
        """A line on stderr; one with a topic is left out when the last one on it is less than 5 s old."""
        if topic is not None:
            if time - self._warned.get(topic, float("-inf")) < self._SAME_EVERY:
                return
            self._warned[topic] = time
        self._write(self._err, f"{self._name}: warning: {text}")

    def live(self, text: str, time: float) -> None:
        """The live line: rewritten in place on a terminal, a plain line every few seconds elsewhere."""
        if self._redraws and self._out.isatty():
            self._out.write(f"\r{self._name}: {text}\x1b[K")
            self._out.flush()
            self._live = True
        elif time - self._last_live >= self._PLAIN_EVERY:
            self._last_live = time
            self._write(self._out, f"{self._name}: {text}")

    def close(self) -> None:
        """End the live line."""
        if self._live:
            self._live = False
            self._out.write("\n")
            self._out.flush()

    def _write(self, stream: TextIO, line: str) -> None:
        self.close()
        try:
            stream.write(line + "\n")
            stream.flush()
        except BrokenPipeError:
            return  # Whoever read our output is gone; the call goes on.
