"""Opus packets (RFC 6716, section 3) without a decoder: how long one is, and two made into one.

A browser may send voice in packets of 20 ms where a tick holds 40.
"""

from __future__ import annotations

from .errors import BitstreamError
from .packet import MAX_OPUS_BYTES
from .timing import SAMPLE_RATE

_SILK_MS, _CELT_MS = (10, 20, 40, 60), (2.5, 5, 10, 20)


def samples(data: bytes) -> int:
    """Length of a packet at 48 kHz. Raises BitstreamError on one that is empty or says that it is over 120 ms long."""
    if not 1 <= len(data) <= 4 * MAX_OPUS_BYTES:
        raise BitstreamError(f"an Opus packet of {len(data)} bytes")
    config, code = data[0] >> 3, data[0] & 3
    if config < 12:
        ms: float = _SILK_MS[config & 3]
    elif config < 16:
        ms = (10, 20)[config & 1]
    else:
        ms = _CELT_MS[config & 3]
    count = (1, 2, 2)[code] if code < 3 else data[1] & 63 if len(data) > 1 else 0
    if not 0 < count * ms <= 120:
        raise BitstreamError("an Opus packet that lasts longer than 120 ms, or not at all")
    return int(count * ms * SAMPLE_RATE // 1000)


def joined(first: bytes, second: bytes) -> bytes | None:
    """One packet of two frames (codes 1 and 2) of two packets of one frame each; None where they cannot be joined: they
    are of different configurations, or not single frames.
    """
    if not first or not second or first[0] != second[0] or first[0] & 3:
        return None
    toc, a, b = first[0], first[1:], second[1:]
    if max(len(a), len(b)) > MAX_OPUS_BYTES:
        return None
    if len(a) == len(b):
        return bytes([toc | 1]) + a + b
    size = bytes([len(a)]) if len(a) < 252 else bytes([252 + len(a) % 4, (len(a) - 252) // 4])
    return bytes([toc | 2]) + size + a + b
