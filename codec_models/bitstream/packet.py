"""Tick packing: the RTP payload that carries one or two ticks of face and voice.

Format, version 1
-----------------
All integers are big endian. One payload carries `n` = 1 or 2 consecutive ticks and up to three redundant ones::

    head      u8      bits 7-6 version (1), bit 5 n - 1, bits 4-3 number of redundant faces r,
                      bit 2 clock present, bits 1-0 zero
    clock     u16     only if the clock bit is set: capture time of the first tick's start, milliseconds modulo 65536
    faces     n times u8 length, then that many bytes: the face and hint bytes of the tick (`face.py`)
    redundant r times u8 length, then that many bytes: faces of the ticks just before, the newest last
    voice     if n = 2: length of the first tick's Opus frame as in RFC 6716, section 3.2.1 (one byte up to 251, or two,
              a and b, for a + 4 b), then the frame; then, to the end of the payload, Opus of the last tick

A face of length 0 means that the tick has none (5 fps, or the camera is off); Opus of length 0 means no voice in
that tick. The voice of a tick begins at its start; its picture and hints are those of its end, 40 ms later, so that a
tick leaves as soon as its voice is complete. Which tick it is follows from the RTP timestamp, which counts 1920 units
of 1/48000 s a tick, so the payload need not repeat it. The clock comes with the first packet of a stream, then every
sixteenth, and whenever the capture clock moves by more than 2 ms against the RTP timestamp: two bytes saved in all
other packets are 0.4 kb/s.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import BitstreamError

VERSION = 1
MAX_FACE_BYTES = 255
MAX_OPUS_BYTES = 1275
"""The longest Opus frame (RFC 6716, section 3.4)."""
MAX_PACKET_BYTES = 3 + 5 * (1 + MAX_FACE_BYTES) + 2 + 2 * MAX_OPUS_BYTES
MAX_REDUNDANT = 3


@dataclass(frozen=True, slots=True)
class TickPacket:
    """What one RTP packet carries.

    faces: one entry a tick (1 or 2 ticks, oldest first), b"" where the tick has no face frame.
    opus: as many entries as faces, b"" where the tick has no voice.
    redundant: faces of the ticks just before the first one, oldest first.
    clock_ms: capture time of the first tick's start in milliseconds modulo 65536, or None when it goes without saying.
    """

    faces: tuple[bytes, ...]
    opus: tuple[bytes, ...]
    redundant: tuple[bytes, ...] = ()
    clock_ms: int | None = None


def pack(packet: TickPacket) -> bytes:
    """Serialise a packet. Raises ValueError where a field is out of the format's range."""
    n = len(packet.faces)
    if n not in (1, 2) or len(packet.opus) != n or len(packet.redundant) > MAX_REDUNDANT:
        raise ValueError("a packet holds 1 or 2 ticks, each with its voice, and at most 3 redundant faces")
    clock = packet.clock_ms
    out = bytearray([VERSION << 6 | (n - 1) << 5 | len(packet.redundant) << 3 | (clock is not None) << 2])
    if clock is not None:
        out += (clock & 0xFFFF).to_bytes(2, "big")
    for face in packet.faces + packet.redundant:
        if len(face) > MAX_FACE_BYTES:
            raise ValueError(f"a face is at most {MAX_FACE_BYTES} bytes, not {len(face)}")
        out.append(len(face))
        out += face
    if any(len(o) > MAX_OPUS_BYTES for o in packet.opus):
        raise ValueError(f"an Opus frame is at most {MAX_OPUS_BYTES} bytes")
    for opus in packet.opus[:-1]:
        size = len(opus)
        out += bytes([size]) if size < 252 else bytes([252 + size % 4, (size - 252) // 4])
        out += opus
    return bytes(out + packet.opus[-1])


def unpack(data: bytes) -> TickPacket:
    """Parse a payload. Raises BitstreamError on anything that `pack` would not have written."""
    if not 1 <= len(data) <= MAX_PACKET_BYTES:
        raise BitstreamError(f"a tick packet of {len(data)} bytes")
    head = data[0]
    if head >> 6 != VERSION:
        raise BitstreamError(f"tick packet version {head >> 6}, this program speaks {VERSION}")
    if head & 3:
        raise BitstreamError("reserved bits are set")
    n, r = (head >> 5 & 1) + 1, head >> 3 & 3
    at = 1

    def take(size: int) -> bytes:
        nonlocal at
        if at + size > len(data):
            raise BitstreamError("tick packet is cut short")
        at += size
        return data[at - size : at]

    clock = int.from_bytes(take(2), "big") if head & 4 else None
    faces = [take(take(1)[0]) for _ in range(n + r)]
    opus = []
    if n == 2:
        size = take(1)[0]
        opus.append(take(size if size < 252 else size + 4 * take(1)[0]))
    opus.append(take(len(data) - at))
    if any(len(o) > MAX_OPUS_BYTES for o in opus):
        raise BitstreamError("an Opus frame is longer than RFC 6716 allows")
    return TickPacket(tuple(faces[:n]), tuple(opus), tuple(faces[n:]), clock)
