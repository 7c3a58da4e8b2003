"""Range coder: symbols of known probability to bytes and back, exactly, in 32-bit integers.

Frequencies are integers that add up to 2^15. The coder keeps an interval [low, low + range); a symbol with cumulative
frequency c and frequency f narrows it to low + (range >> 15) * c, (range >> 15) * f; when range falls below 2^24 the
interval is scaled by 256 (Martin, "Range encoding", 1979). The finished code is the shortest byte string that, followed
by zeros for ever, lies in the interval: the decoder reads zeros after the last byte, so no bit is spent on the end.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import log2

from .errors import BitstreamError

TOTAL_BITS = 15
TOTAL = 1 << TOTAL_BITS
_TOP = 1 << 32
_RENORM = 1 << 24
_MAX_GOLOMB_BITS = 12


class RangeEncoder:
    """Collects symbols; `finish` gives the bytes."""

    def __init__(self) -> None:
        self._low = 0  # of unbounded width, so that a carry needs no care: a tick is a few hundred bits
        self._range = _TOP - 1
        self._shifts = 0

    @property
    def bits(self) -> float:
        """What the symbols so far cost."""
        return 8 * self._shifts + 32 - log2(self._range)

    def encode(self, cumulative: int, frequency: int) -> None:
        r = self._range >> TOTAL_BITS
        self._low += r * cumulative
        self._range = r * frequency
        while self._range < _RENORM:
            self._low <<= 8
            self._range <<= 8
            self._shifts += 1

    def encode_bit(self, bit: int, one: int) -> None:
        """A bit whose probability of being 1 is one / 2^15."""
        self.encode(0, one) if bit else self.encode(one, TOTAL - one)

    def encode_uniform(self, value: int, bits: int) -> None:
        """A number of up to 15 bits, all values equally likely."""
        self.encode(value << (TOTAL_BITS - bits), 1 << (TOTAL_BITS - bits))

    def encode_golomb(self, value: int) -> None:
        """Exponential Golomb code of order 0 for rare large values, 0 <= value < 2^12 - 1."""
        size = (value + 1).bit_length()
        for _ in range(size - 1):
            self.encode_uniform(1, 1)
        self.encode_uniform(0, 1)
        if size > 1:
            self.encode_uniform(value + 1 - (1 << (size - 1)), size - 1)

    def finish(self) -> bytes:
        """The shortest bytes in the interval, at least one."""
        width = 4 + self._shifts
        last = self._low + self._range - 1
        for n in range(1, width + 1):
            unit = 1 << 8 * (width - n)
            code = (self._low + unit - 1) // unit
            if code * unit <= last:
                return code.to_bytes(n, "big")
        raise AssertionError("the interval is never empty")


class RangeDecoder:
    """Reads symbols from bytes; past the end it reads zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 4
        self._difference = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
        self._range = _TOP - 1

    @property
    def bits(self) -> float:
        """What the symbols so far cost."""
        return 8 * self._at - log2(self._range)

    def _position(self) -> tuple[int, int]:
        r = self._range >> TOTAL_BITS
        return r, min(self._difference // r, TOTAL - 1)

    def _take(self, r: int, cumulative: int, frequency: int) -> None:
        self._difference -= r * cumulative
        self._range = r * frequency
        while self._range < _RENORM:
            byte = self._data[self._at] if self._at < len(self._data) else 0
            self._difference = self._difference << 8 | byte
            self._range <<= 8
            self._at += 1

    def decode(self, cumulative: Sequence[int]) -> int:
        """Index of the symbol; cumulative has one entry per symbol and 2^15 at the end."""
        r, value = self._position()
        symbol = bisect_right(cumulative, value) - 1
        self._take(r, cumulative[symbol], cumulative[symbol + 1] - cumulative[symbol])
        return symbol

    def decode_bit(self, one: int) -> int:
        r, value = self._position()
        if value < one:
            self._take(r, 0, one)
            return 1
        self._take(r, one, TOTAL - one)
        return 0

    def decode_uniform(self, bits: int) -> int:
        r, value = self._position()
        value >>= TOTAL_BITS - bits
        self._take(r, value << (TOTAL_BITS - bits), 1 << (TOTAL_BITS - bits))
        return value

    def decode_golomb(self) -> int:
        """Raises BitstreamError when the value would not fit 12 bits."""
        size = 1
        while self.decode_uniform(1):
            size += 1
            if size > _MAX_GOLOMB_BITS:
                raise BitstreamError("a value is out of range")
        return (1 << (size - 1)) - 1 + (self.decode_uniform(size - 1) if size > 1 else 0)

    def finish(self) -> None:
        """Raises BitstreamError when bytes are left over that no encoder would have written."""
        if len(self._data) > self._at or (len(self._data) > 1 and self._data[-1] == 0):
            raise BitstreamError("bytes are left over after the last symbol")


class SymbolTable:
    """Static frequencies of the integers -reach to reach, with an escape at either end for what lies beyond."""

    def __init__(self, frequencies: Sequence[int]) -> None:
        """frequencies: 2 reach + 3 positive integers that add up to 2^15."""
        if len(frequencies) % 2 == 0 or min(frequencies) < 1 or sum(frequencies) != TOTAL:
            raise ValueError("frequencies must be positive, odd in number, and add up to 2^15")
        self.reach = len(frequencies) // 2 - 1
        self._cumulative = [0, *accumulate(frequencies)]

    def encode(self, value: int, coder: RangeEncoder) -> None:
        """|value| at most reach + 4095."""
        edge = self.reach + 1
        index = min(max(value, -edge), edge) + edge
        coder.encode(self._cumulative[index], self._cumulative[index + 1] - self._cumulative[index])
        if abs(value) > self.reach:
            coder.encode_golomb(abs(value) - edge)

    def decode(self, coder: RangeDecoder) -> int:
        """Raises BitstreamError when the value is beyond what `encode` takes."""
        edge = self.reach + 1
        value = coder.decode(self._cumulative) - edge
        if value == -edge:
            return value - coder.decode_golomb()
        return value + coder.decode_golomb() if value == edge else value
