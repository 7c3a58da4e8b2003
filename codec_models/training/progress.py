"""One line that tells how a training goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping


class Progress:
    """Overwrites its line on a terminal; elsewhere a line every half minute."""

    def __init__(self, shown: bool = True) -> None:
        self._shown = shown
        self._terminal = sys.stderr.isatty()
        self._every = 1.0 if self._terminal else 30.0
        self._next = 0.0
        self._open = False

    @property
    def due(self) -> bool:
        return self._shown and time.monotonic() >= self._next

    def show(self, text: str) -> None:
        """A line that the next one may replace."""
        if not self.due:
            return
        self._next = time.monotonic() + self._every
        shown, end = (f"\r{text:<100}", "") if self._terminal else (text, "\n")
        print(shown, end=end, file=sys.stderr, flush=True)
        self._open = self._terminal

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._shown:
            print("\n" + text if self._open else text, file=sys.stderr, flush=True)
            self._open = False


def training_line(step: int, speed: float, left: float, rate: float, side: int, terms: Mapping[str, float]) -> str:
    """speed in samples a second, left in seconds."""
    shown = " ".join(f"{name} {value:.4f}" for name, value in terms.items())
    return f"step {step}  {side} px  {speed:.0f} samples/s  {left / 60:.1f} min left  lr {rate:.1e}  {shown}"
