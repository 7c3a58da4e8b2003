"""Counters that wrap on the wire, made to run on for ever."""

from __future__ import annotations


class Unwrapper:
    """Extends the `bits` low bits of a counter to a full integer (as RFC 3711, section 3.3.1, does for the index).

    The first value stands for itself. Each later one is taken within half a turn of the highest one so far, so a
    reordered packet comes out lower, even below zero just after the start, and never a turn too high.
    """

    def __init__(self, bits: int) -> None:
        self._turn = 1 << bits
        self._highest: int | None = None

    def __call__(self, value: int) -> int:
        """value: 0 .. 2**bits - 1 -> the extended value."""
        if self._highest is None:
            self._highest = value
            return value
        half = self._turn >> 1
        extended = self._highest + (value - self._highest + half) % self._turn - half
        self._highest = max(self._highest, extended)
        return extended
