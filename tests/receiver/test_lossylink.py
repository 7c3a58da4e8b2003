"""The simulated bad network."""

from __future__ import annotations

import pytest

from codec_models.errors import UserError
from receiver.lossylink import VARIABLE, LossyLink, simulated
from signaling.call import ReceivedPacket
from signaling.control import Bye, ControlMessage

pytestmark = pytest.mark.unit


class Heard:
    def __init__(self) -> None:
        self.sequences: list[int] = []
        self.other: list[object] = []

    def connected(self) -> None:
        self.other.append("connected")

    def disconnected(self, reason: str) -> None:
        self.other.append(reason)

    def packet(self, packet: ReceivedPacket) -> None:
        self.sequences.append(packet.sequence)

    def control(self, message: ControlMessage) -> None:
        self.other.append(message)


def feed(share: float, count: int = 5000) -> tuple[Heard, LossyLink]:
    heard = Heard()
    link = LossyLink(heard, share)
    for k in range(count):
        link.packet(ReceivedPacket(k * 1920, k, b"", 0.0))
    return heard, link


def test_drops_the_asked_share_and_always_the_same_packets() -> None:
    heard, link = feed(0.1)
    assert 0.08 < link.dropped / 5000 < 0.12
    assert link.passed == len(heard.sequences) == 5000 - link.dropped
    assert heard.sequences == feed(0.1)[0].sequences
    assert heard.sequences == sorted(heard.sequences)


def test_no_loss_passes_all() -> None:
    assert len(feed(0.0)[0].sequences) == 5000


def test_everything_but_packets_passes() -> None:
    heard = Heard()
    link = LossyLink(heard, 0.99)
    link.connected()
    link.disconnected("why")
    link.control(Bye("over"))
    assert heard.other == ["connected", "why", Bye("over")]


def test_the_environment_asks_for_it() -> None:
    heard = Heard()
    assert simulated(heard, {}) is heard
    assert simulated(heard, {VARIABLE: ""}) is heard
    assert isinstance(simulated(heard, {VARIABLE: "0.2"}), LossyLink)
    for bad in ("much", "1", "-0.1", "nan"):
        with pytest.raises(UserError, match=VARIABLE):
            simulated(heard, {VARIABLE: bad})
