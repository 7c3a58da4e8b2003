"""Counting what a call costs."""

from __future__ import annotations

import pytest

from signaling.wire import DATAGRAM_OVERHEAD, KINDS, WireCounter, kind, part_rates

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        (0x00, 0x01, "stun"),  # a binding request
        (0x01, 0x01, "stun"),  # its answer
        (22, 254, "dtls"),  # a handshake
        (23, 254, "dtls"),  # data channels
        (0x40, 0x00, "turn"),  # channel 0x4000
        (0x80, 111, "rtp"),
        (0x90, 0xEF, "rtp"),  # payload type 111 with the marker
        (0x80, 200, "rtcp"),  # a sender report
        (0x8F, 205, "rtcp"),  # feedback
        (16, 0, "other"),
        (255, 255, "other"),
    ],
)
def test_datagrams_are_told_apart(first: int, second: int, name: str) -> None:
    assert kind(bytes([first, second, 0, 0])) == name and name in KINDS


def test_whatever_comes_is_counted() -> None:
    wire = WireCounter()
    for datagram in (b"", b"\x80", bytes([0x80, 111]) + bytes(98), "text", bytes([22, 254]) + bytes(48)):
        wire.received(datagram)
    wire.sent(bytes(20))
    assert (wire.received_packets, wire.received_bytes) == (5, 0 + 1 + 100 + 4 + 50 + 5 * DATAGRAM_OVERHEAD)
    assert wire.received_parts == {"rtp": 128, "dtls": 78, "other": 5 + 3 * DATAGRAM_OVERHEAD}
    assert wire.sent_parts == {"stun": 48} and wire.rates(2.0) == {"sent": 0.192, "received": 1.18}


def test_parts_of_the_rate() -> None:
    assert list(part_rates({"stun": 125, "rtp": 2500, "turn": 0}, 2.0).items()) == [("rtp", 10.0), ("stun", 0.5)]
    assert part_rates({"rtp": 5}, 0.0) == {"rtp": 0.0}
