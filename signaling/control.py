"""Messages of the reliable data channel "control".

Format, version 1
-----------------
One data channel message holds one control message, all integers big endian::

    head  u8   bits 7-4 version (1), bits 3-0 type
    body       by type:
      1 Still       u16 number, then 1 .. 32768 bytes of `codec_models.bitstream.still`
      2 NeedStill   empty
      3 Refresh     empty
      4 Hello       u8 fps (5 or 25; 0: the camera is off until the next Hello), u8 profile (0 full, 1 lean),
                    u8 hints (0 or 1), u8 packet_ms (40 or 80), then the name, UTF-8, at most 128 bytes
      5 Statistics  a JSON object (RFC 8259), UTF-8, at most 512 bytes, at most 32 keys, of numbers and strings
      6 Bye         the reason, UTF-8, at most 200 bytes

Texts hold printable characters only, so they can be shown in a terminal as they are.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

from codec_models.bitstream.errors import BitstreamError

VERSION = 1
MAX_STILL_BYTES = 32_768
MAX_NAME_BYTES = 128
MAX_STATISTICS_BYTES = 512
MAX_STATISTICS_KEYS = 32
MAX_REASON_BYTES = 200
MAX_MESSAGE_BYTES = 3 + MAX_STILL_BYTES

_STILL, _NEED_STILL, _REFRESH, _HELLO, _STATISTICS, _BYE = range(1, 7)
_FPS = (0, 5, 25)
_PROFILES = ("full", "lean")
_PACKET_MS = (40, 80)
_INT_LIMIT = 1 << 63


@dataclass(frozen=True, slots=True)
class Still:
    """An identity still. number: counts the stills of a call, modulo 65536; data: `encode_still` bytes."""

    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class NeedStill:
    """The receiver has no still that it can use: send the current one."""


@dataclass(frozen=True, slots=True)
class Refresh:
    """The receiver's face decoder lost its reference: make the next face frame independent."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The sender's first message, and its word on any change: what its stream is like. fps: 8x8 frames a second, 0
    while the camera is off; packet_ms: 40 or 80, the voice and video in a packet.
    """

    fps: int
    profile: str
    hints: bool
    packet_ms: int
    name: str


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures of one side for the other's report or display."""

    values: dict[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bye:
    """The last message of a side that leaves on purpose."""

    reason: str


ControlMessage = Still | NeedStill | Refresh | Hello | Statistics | Bye


def encode_control(message: ControlMessage) -> bytes:
    """Serialise a message. Raises ValueError where a field is out of the format's range."""
    match message:
        case Still(number, data):
            kind, body = _STILL, (number & 0xFFFF).to_bytes(2, "big") + data
        case NeedStill():
            kind, body = _NEED_STILL, b""
        case Refresh():
            kind, body = _REFRESH, b""
        case Hello(fps, profile, hints, packet_ms, name):
            if fps not in _FPS or profile not in _PROFILES or packet_ms not in _PACKET_MS:
                raise ValueError(f"a Hello with fps {fps}, profile {profile!r} and packets of {packet_ms} ms")
            kind, body = _HELLO, bytes((fps, _PROFILES.index(profile), bool(hints), packet_ms)) + name.encode()
        case Statistics(values):
            kind, body = _STATISTICS, json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()
        case Bye(reason):
            kind, body = _BYE, reason.encode()
    data = bytes((VERSION << 4 | kind,)) + body
    try:
        decode_control(data)
    except BitstreamError as e:
        raise ValueError(f"{type(message).__name__}: {e}") from None
    return data


def decode_control(data: bytes) -> ControlMessage:
    """Parse one data channel message. Raises BitstreamError on what `encode_control` would not have written."""
    if not 1 <= len(data) <= MAX_MESSAGE_BYTES:
        raise BitstreamError(f"a control message of {len(data)} bytes")
    version, kind, body = data[0] >> 4, data[0] & 15, data[1:]
    if version != VERSION:
        raise BitstreamError(f"control message version {version}, this program speaks {VERSION}")
    if kind == _STILL:
        if len(body) < 3:
            raise BitstreamError("a still without data")
        return Still(int.from_bytes(body[:2], "big"), bytes(body[2:]))
    if kind in (_NEED_STILL, _REFRESH):
        if body:
            raise BitstreamError("a request with bytes after its end")
        return NeedStill() if kind == _NEED_STILL else Refresh()
    if kind == _HELLO:
        return _hello(body)
    if kind == _STATISTICS:
        return Statistics(_statistics(body))
    if kind == _BYE:
        return Bye(_text(body, MAX_REASON_BYTES))
    raise BitstreamError(f"unknown control message type {kind}")


def _text(data: bytes, limit: int) -> str:
    if len(data) > limit:
        raise BitstreamError(f"a text of {len(data)} bytes, at most {limit} are allowed")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise BitstreamError("a text that is not UTF-8") from None
    if not text.isprintable():
        raise BitstreamError("a text with characters that cannot be printed")
    return text


def _hello(body: bytes) -> Hello:
    if len(body) < 4:
        raise BitstreamError("a Hello that is cut short")
    fps, profile, hints, packet_ms = body[:4]
    if fps not in _FPS or profile >= len(_PROFILES) or hints > 1 or packet_ms not in _PACKET_MS:
        raise BitstreamError("a Hello with a value out of range")
    return Hello(fps, _PROFILES[profile], bool(hints), packet_ms, _text(body[4:], MAX_NAME_BYTES))


def _statistics(body: bytes) -> dict[str, float | int | str]:
    try:
        values: Any = json.loads(_text(body, MAX_STATISTICS_BYTES))
    except (ValueError, RecursionError) as e:
        raise e if isinstance(e, BitstreamError) else BitstreamError("statistics that are not JSON") from None
    if not isinstance(values, dict) or len(values) > MAX_STATISTICS_KEYS:
        raise BitstreamError(f"statistics that are not an object of at most {MAX_STATISTICS_KEYS} keys")
    for key, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not key.isprintable() or not (number or isinstance(value, str)):
            raise BitstreamError("statistics hold only numbers and printable texts")
        if isinstance(value, str) and not value.isprintable():
            raise BitstreamError("statistics hold only numbers and printable texts")
        if isinstance(value, float) and not math.isfinite(value):
            raise BitstreamError("statistics with a number that is not finite")
        if isinstance(value, int) and not -_INT_LIMIT <= value < _INT_LIMIT:
            raise BitstreamError("statistics with a number of more than 64 bits")
    return values
