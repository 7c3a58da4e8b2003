"""What a call costs: every UDP datagram that its ICE sockets send and receive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from codec_models.bitstream.timing import kbps

DATAGRAM_OVERHEAD = 28
"""Bytes of an IPv4 header without options (RFC 791) and a UDP header (RFC 768)."""


KINDS = ("stun", "dtls", "rtp", "rtcp", "turn", "other")
"""What a datagram may be; dtls: the handshake and the data channels, turn: a relay's channels with what they carry."""
_FIRST_BYTES = ((0, 3, "stun"), (20, 63, "dtls"), (64, 79, "turn"), (128, 191, "rtp"))


def kind(datagram: bytes | str) -> str:
    """One of `KINDS`, by its first byte (RFC 7983), RTCP by its second (RFC 5761 section 4)."""
    if len(datagram) < 2 or isinstance(datagram, str):
        return "other"
    found = next((name for low, high, name in _FIRST_BYTES if low <= datagram[0] <= high), "other")
    return "rtcp" if found == "rtp" and 192 <= datagram[1] <= 223 else found


@dataclass(slots=True)
class WireCounter:
    """Datagrams of one call, with STUN, DTLS, SRTP, SRTCP and SCTP; bytes include 28 a datagram for IPv4 and UDP.

    A relay over TCP is counted as if its payload went in datagrams of its own. The parts are the bytes by kind.
    """

    sent_bytes: int = 0
    sent_packets: int = 0
    received_bytes: int = 0
    received_packets: int = 0
    sent_parts: Counter[str] = field(default_factory=Counter)
    received_parts: Counter[str] = field(default_factory=Counter)

    def sent(self, datagram: bytes | str) -> None:
        """Count a datagram that was sent, by its payload."""
        size = len(datagram) + DATAGRAM_OVERHEAD
        self.sent_bytes += size
        self.sent_packets += 1
        self.sent_parts[kind(datagram)] += size

    def received(self, datagram: bytes | str) -> None:
        """Count a datagram that came in, by its payload."""
        size = len(datagram) + DATAGRAM_OVERHEAD
        self.received_bytes += size
        self.received_packets += 1
        self.received_parts[kind(datagram)] += size

    def rates(self, seconds: float) -> dict[str, float]:
        """kb/s sent and received over so many seconds, rounded."""
        return {
            "sent": round(kbps(self.sent_bytes, seconds), 3),
            "received": round(kbps(self.received_bytes, seconds), 3),
        }


def part_rates(parts: Mapping[str, int], seconds: float) -> dict[str, float]:
    """kb/s of each kind that there was, the largest first, rounded."""
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    return {name: round(kbps(size, seconds), 3) for name, size in ordered if size}
