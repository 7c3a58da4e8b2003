"""A browser's voice packet that carries tick messages along, so that a call costs one row of packets instead of two.

Format, version 1
-----------------
The payload of the RTP packet, integers big endian::

    count     u8                  number of tick messages, 0 to 3
    messages  count times u16 length, then that many bytes: u32 tick number, then a tick packet of one tick without
              voice (`packet.py`), as on the data channel "ticks"
    voice     to the end: the Opus packet

An encoded transform (W3C, "WebRTC Encoded Transform") puts it together in the browser, which goes on calling it Opus;
its offer says so by the line `a=pinhole-voice-frame:1`. SCTP, DTLS, UDP and IP then carry one packet a tick, not two.
"""

from __future__ import annotations

from .errors import BitstreamError

MAX_MESSAGES = 3
ATTRIBUTE = "a=pinhole-voice-frame:1"


def pack_voice_frame(messages: tuple[bytes, ...], opus: bytes) -> bytes:
    """Serialise. Raises ValueError on more than three messages or one beyond 65535 bytes."""
    if len(messages) > MAX_MESSAGES or any(len(m) > 0xFFFF for m in messages):
        raise ValueError("a voice frame carries at most 3 tick messages of at most 65535 bytes")
    parts = [bytes([len(messages)])]
    for message in messages:
        parts += [len(message).to_bytes(2, "big"), message]
    return b"".join([*parts, opus])


def unpack_voice_frame(data: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """The messages and the Opus packet, neither of them parsed. Raises BitstreamError."""
    if not data or data[0] > MAX_MESSAGES:
        raise BitstreamError("a voice frame with more messages than the format has")
    messages, at = [], 1
    for _ in range(data[0]):
        size = int.from_bytes(data[at : at + 2], "big")
        at += 2
        if at + size > len(data):
            raise BitstreamError("a voice frame that is cut short")
        messages.append(data[at : at + size])
        at += size
    return tuple(messages), data[at:]
