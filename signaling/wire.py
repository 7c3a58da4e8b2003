"""What a call costs: every UDP datagram that its ICE sockets send and receive."""

from __future__ import annotations

from dataclasses import dataclass

DATAGRAM_OVERHEAD = 28
"""Bytes of an IPv4 header without options (RFC 791) and a UDP header (RFC 768)."""


@dataclass(slots=True)
class WireCounter:
    """Datagrams of one call, with STUN, DTLS, SRTP, SRTCP and SCTP; bytes include 28 a datagram for IPv4 and UDP.

    A relay over TCP is counted as if its payload went in datagrams of its own.
    """

    sent_bytes: int = 0
    sent_packets: int = 0
    received_bytes: int = 0
    received_packets: int = 0

    def sent(self, size: int) -> None:
        """Count a datagram of `size` payload bytes that was sent."""
        self.sent_bytes += size + DATAGRAM_OVERHEAD
        self.sent_packets += 1

    def received(self, size: int) -> None:
        """Count a datagram of `size` payload bytes that came in."""
        self.received_bytes += size + DATAGRAM_OVERHEAD
        self.received_packets += 1
