"""Annex B byte streams of H.264 and H.265: taking the encoder's banner (an SEI message) out of the count.

x264 and x265 write their name, version and settings into the first picture as user data, up to 1.5 kB that no call
would send. It tells the exact version and settings; it does not belong in the rate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_START = re.compile(b"\x00{2,}\x01")
USER_DATA_UNREGISTERED = 5
_SEI_TYPES = {"h264": (6,), "hevc": (39,)}


def units(data: bytes) -> Iterator[tuple[bytes, int]]:
    """NAL units of an Annex B stream: (unit without start code, bytes with its start code)."""
    starts = list(_START.finditer(data))
    for k, match in enumerate(starts):
        end = starts[k + 1].start() if k + 1 < len(starts) else len(data)
        yield data[match.end() : end], end - match.start()


def banner_bytes(data: bytes, codec: str) -> int:
    """Bytes of SEI user data in a packet; codec is h264 or hevc."""
    return sum(size for unit, size in units(data) if _is_banner(unit, codec))


def banner_text(data: bytes, codec: str) -> str:
    """The readable part of the first SEI user data (after its 16-byte UUID), or an empty string."""
    for unit, _ in units(data):
        if _is_banner(unit, codec):
            head = 1 if codec == "h264" else 2
            body = unit[head + 1 :]
            while body[:1] == b"\xff":
                body = body[1:]
            return body[1 + 16 :].split(b"\x00")[0].decode("ascii", "replace")
    return ""


def _is_banner(unit: bytes, codec: str) -> bool:
    if len(unit) < 3:
        return False
    if codec == "h264":
        return unit[0] & 31 in _SEI_TYPES[codec] and unit[1] == USER_DATA_UNREGISTERED
    return unit[0] >> 1 & 63 in _SEI_TYPES[codec] and unit[2] == USER_DATA_UNREGISTERED
