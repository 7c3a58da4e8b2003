from __future__ import annotations

import contextlib

import numpy as np
import pytest

from codec_models.bitstream.errors import BitstreamError
from codec_models.bitstream.packet import MAX_PACKET_BYTES, TickPacket, pack, unpack

pytestmark = pytest.mark.unit

GOLDEN = [
    (TickPacket((b"\x11\x22",), (b"opus",)), "400211226f707573"),
    (TickPacket((b"",), (b"",), (b"\x01",), 0x1234), "4c1234000101"),
    (TickPacket((b"a", b"bc"), (b"x", b"yz"), (b"r", b""), 65535), "74ffff01610262630172000178797a"),
]


@pytest.mark.parametrize(("packet", "wire"), GOLDEN)
def test_golden_vectors(packet: TickPacket, wire: str) -> None:
    assert pack(packet).hex() == wire
    assert unpack(bytes.fromhex(wire)) == packet


def test_random_packets_come_back() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        n = int(rng.integers(1, 3))
        packet = TickPacket(
            tuple(rng.bytes(int(rng.integers(0, 256))) for _ in range(n)),
            tuple(rng.bytes(int(rng.integers(0, 1276))) for _ in range(n)),
            tuple(rng.bytes(int(rng.integers(0, 40))) for _ in range(int(rng.integers(0, 4)))),
            None if rng.random() < 0.5 else int(rng.integers(0, 65536)),
        )
        assert unpack(pack(packet)) == packet


def test_garbage_raises_one_error() -> None:
    rng = np.random.default_rng(1)
    good = pack(TickPacket((b"abc", b"de"), (b"o" * 60, b"p" * 60), (b"f",), 7))
    for k in range(2000):
        data = bytearray(good)
        if k % 3 == 0:
            data = bytearray(rng.bytes(int(rng.integers(0, 200))))
        elif k % 3 == 1:
            data = data[: int(rng.integers(0, len(data)))]
        else:
            data[int(rng.integers(0, len(data)))] ^= 1 << int(rng.integers(0, 8))
        with contextlib.suppress(BitstreamError):
            assert pack(unpack(bytes(data))) == bytes(data)


def test_limits() -> None:
    with pytest.raises(BitstreamError):
        unpack(b"\x40" + bytes(MAX_PACKET_BYTES))
    with pytest.raises(BitstreamError):
        unpack(b"")
    with pytest.raises(ValueError):
        pack(TickPacket((bytes(256),), (b"",)))
    with pytest.raises(ValueError):
        pack(TickPacket((b"",), ()))
