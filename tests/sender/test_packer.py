from __future__ import annotations

import pytest

from codec_models.bitstream.packet import TickPacket, pack, unpack
from sender.packer import AdaptiveRedundancy, TickPacker

pytestmark = pytest.mark.unit

START = 1_700_000_000_000.0


def feed(packer: TickPacker, ticks: list[int], shift: float = 0.0) -> list[tuple[TickPacket, int]]:
    out = []
    for tick in ticks:
        out += packer.add(tick, f"f{tick}".encode(), f"o{tick}".encode(), START + 40 * tick + shift)
    for packet, _ in out:
        assert unpack(pack(packet)) == packet
    return out


def test_one_tick_a_packet_with_the_face_before() -> None:
    out = feed(TickPacker(1, 1), [0, 1, 2])
    assert [first for _, first in out] == [0, 1, 2]
    assert [p.faces for p, _ in out] == [(b"f0",), (b"f1",), (b"f2",)]
    assert [p.opus for p, _ in out] == [(b"o0",), (b"o1",), (b"o2",)]
    assert [p.redundant for p, _ in out] == [(), (b"f0",), (b"f1",)]


def test_two_ticks_a_packet_with_the_two_faces_before() -> None:
    out = feed(TickPacker(2, 2), [4, 5, 6, 7, 8, 9])
    assert [first for _, first in out] == [4, 6, 8]
    assert [p.faces for p, _ in out] == [(b"f4", b"f5"), (b"f6", b"f7"), (b"f8", b"f9")]
    assert [p.redundant for p, _ in out] == [(), (b"f4", b"f5"), (b"f6", b"f7")]


def test_no_redundancy() -> None:
    assert all(p.redundant == () for p, _ in feed(TickPacker(1, 0), [0, 1, 2]))


def test_a_gap_ends_the_redundant_faces_and_the_waiting_packet() -> None:
    assert [p.redundant for p, _ in feed(TickPacker(1, 2), [0, 1, 5, 6])] == [(), (b"f0",), (), (b"f5",)]
    packer = TickPacker(2, 1)
    out = feed(packer, [0, 1, 2, 9, 10])
    assert [(first, len(p.faces)) for p, first in out] == [(0, 2), (2, 1), (9, 2)]
    assert packer.flush() == []


def test_the_last_half_is_flushed() -> None:
    packer = TickPacker(2, 2)
    feed(packer, [0, 1, 2])
    ((packet, first),) = packer.flush()
    assert first == 2 and packet.faces == (b"f2",) and packet.redundant == (b"f0", b"f1")


def test_the_clock_comes_first_then_every_sixteenth() -> None:
    out = feed(TickPacker(1, 1), list(range(40)))
    assert [first for p, first in out if p.clock_ms is not None] == [0, 16, 32]
    assert all(p.clock_ms in (None, int(START + 40 * first) & 0xFFFF) for p, first in out)


def test_the_clock_comes_when_it_moves_and_when_asked() -> None:
    packer = TickPacker(1, 1)
    feed(packer, [0, 1])
    assert feed(packer, [2], shift=1.5)[0][0].clock_ms is None
    assert feed(packer, [3], shift=2.5)[0][0].clock_ms == int(START + 120 + 2.5) & 0xFFFF
    assert feed(packer, [4], shift=2.5)[0][0].clock_ms is None
    packer.resend_clock()
    assert feed(packer, [5], shift=2.5)[0][0].clock_ms is not None


@pytest.mark.parametrize(("size", "redundant"), [(0, 1), (3, 1), (1, 4), (1, -1)])
def test_out_of_range(size: int, redundant: int) -> None:
    with pytest.raises(ValueError):
        TickPacker(size, redundant)


def test_redundancy_may_change() -> None:
    packer = TickPacker(1, 1)
    feed(packer, [0, 1])
    packer.redundant = 0
    assert feed(packer, [2])[0][0].redundant == ()
    packer.redundant = 2
    assert feed(packer, [3])[0][0].redundant == (b"f1", b"f2")


def test_redundancy_follows_the_loss() -> None:
    adaptive = AdaptiveRedundancy(2)
    assert adaptive.at(0) == 2  # nothing known yet
    for second in range(1, 10):
        adaptive.reported(second, 0.0)
    assert adaptive.at(3.5) == 2 and adaptive.at(9.5) == 0
    adaptive.reported(10, 4.0)
    assert adaptive.at(10) == 2
    for second in range(11, 40):
        adaptive.reported(second, 0.0)
        assert adaptive.at(second) == (2 if second < 25 else 0)
    assert adaptive.at(58) == 2  # the receiver has fallen silent
    adaptive.reported(47, 0.0)
    assert adaptive.at(47) == 0
    adaptive.restart()
    assert adaptive.at(47) == 2
    adaptive.reported(48, float("nan"))
    assert adaptive.at(60) == 2
