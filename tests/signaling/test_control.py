from __future__ import annotations

import random

import pytest

from codec_models.bitstream.errors import BitstreamError
from signaling.control import (
    MAX_MESSAGE_BYTES,
    MAX_STILL_BYTES,
    Bye,
    ControlMessage,
    Hello,
    NeedStill,
    Refresh,
    Statistics,
    Still,
    decode_control,
    encode_control,
)

pytestmark = pytest.mark.unit

MESSAGES: list[ControlMessage] = [
    Still(3, b"picture"),
    Still(65535, bytes(MAX_STILL_BYTES)),
    NeedStill(),
    Refresh(),
    Hello(25, "full", True, 40, "Ada"),
    Hello(5, "lean", False, 80, ""),
    Statistics({"fps": 24.9, "ticks_lost": 3, "device": "cpu"}),
    Statistics({}),
    Bye("the camera is gone"),
    Bye(""),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_round_trip(message: ControlMessage) -> None:
    assert decode_control(encode_control(message)) == message


@pytest.mark.parametrize(
    ("message", "data"),
    [
        (Still(258, b"\xaa\xbb"), "110102aabb"),
        (NeedStill(), "12"),
        (Refresh(), "13"),
        (Hello(25, "lean", True, 80, "é"), "1419010150c3a9"),
        (Statistics({"a": 1, "b": "x"}), "15" + b'{"a":1,"b":"x"}'.hex()),
        (Bye("ok"), "166f6b"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_golden_vectors(message: ControlMessage, data: str) -> None:
    assert encode_control(message).hex() == data
    assert decode_control(bytes.fromhex(data)) == message


def test_number_of_a_still_wraps() -> None:
    assert decode_control(encode_control(Still(65536 + 7, b"x"))) == Still(7, b"x")


@pytest.mark.parametrize(
    "message",
    [
        Still(1, b""),
        Still(1, bytes(MAX_STILL_BYTES + 1)),
        Hello(30, "full", True, 40, ""),
        Hello(25, "half", True, 40, ""),
        Hello(25, "full", True, 60, ""),
        Hello(25, "full", True, 40, "x" * 129),
        Hello(25, "full", True, 40, "\x1b[2J"),
        Statistics({"x": float("nan")}),
        Statistics({"x": float("inf")}),
        Statistics({"x": 1 << 63}),
        Statistics({"x": "y" * 600}),
        Statistics({f"k{i}": 1 for i in range(33)}),
        Statistics({"x": True}),
        Bye("x" * 201),
        Bye("line\nbreak"),
    ],
    ids=str,
)
def test_encode_refuses_what_is_out_of_range(message: ControlMessage) -> None:
    with pytest.raises(ValueError):
        encode_control(message)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x10",
        b"\x1f",
        b"\x22",
        b"\x11\x00\x01",
        b"\x12\x00",
        b"\x14\x19\x00\x01",
        b"\x14\x19\x02\x01\x28",
        b"\x14\x19\x00\x02\x28",
        b"\x15",
        b"\x15[]",
        b'\x15{"a":null}',
        b'\x15{"a":[1]}',
        b'\x15{"a":NaN}',
        b'\x15{"a":1e999}',
        b'\x15{"a":' + b"9" * 400 + b"}",
        b'\x15{"a":"\\u001b"}',
        b'\x15{"\\n":1}',
        b"\x15" + b"[" * 512,
        b'\x15{"a":' * 1 + b'{"a":' * 100,
        b"\x16\xff\xfe",
        bytes(MAX_MESSAGE_BYTES + 1),
        b"\x11" + bytes(MAX_MESSAGE_BYTES),
    ],
    ids=lambda d: d[:12].hex() or "empty",
)
def test_decode_refuses(data: bytes) -> None:
    with pytest.raises(BitstreamError):
        decode_control(data)


def check(data: bytes) -> None:
    """Bytes decode to a message that encodes again, or raise BitstreamError; nothing else."""
    try:
        message = decode_control(data)
    except BitstreamError:
        return
    assert decode_control(encode_control(message)) == message


def test_fuzz_random_bytes() -> None:
    rng = random.Random(2)
    for _ in range(20_000):
        data = rng.randbytes(rng.randrange(40))
        check(data)
        check(bytes([0x10 | rng.randrange(16)]) + data)


def test_fuzz_truncation_and_bit_flips() -> None:
    rng = random.Random(3)
    for message in MESSAGES:
        data = encode_control(message)[:600]
        for cut in range(len(data)):
            check(data[:cut])
        for _ in range(500):
            flipped = bytearray(data)
            for _ in range(rng.randint(1, 4)):
                flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            check(bytes(flipped))
