from __future__ import annotations

import contextlib
import random

import pytest

from codec_models.bitstream.errors import BitstreamError
from codec_models.bitstream.voice_frame import pack_voice_frame, unpack_voice_frame

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("messages", [(), (b"abc",), (b"", b"x" * 300), (b"1", b"22", b"333")])
@pytest.mark.parametrize("opus", [b"", b"\x50\x00\x00\x00"])
def test_there_and_back(messages: tuple[bytes, ...], opus: bytes) -> None:
    data = pack_voice_frame(messages, opus)
    assert len(data) == 1 + sum(2 + len(m) for m in messages) + len(opus)
    assert unpack_voice_frame(data) == (messages, opus)


def test_bytes() -> None:
    assert pack_voice_frame((b"abc",), b"\x50") == bytes.fromhex("01 0003 616263 50")


def test_what_is_none_is_told() -> None:
    for bad in (b"", b"\x04", b"\xff", b"\x01", b"\x01\x00", b"\x01\x00\x05abc", b"\x02\x00\x01a\x00"):
        with pytest.raises(BitstreamError):
            unpack_voice_frame(bad)
    with pytest.raises(ValueError, match="at most 3"):
        pack_voice_frame((b"",) * 4, b"")
    rng = random.Random(1)
    for _ in range(3000):
        with contextlib.suppress(BitstreamError):
            unpack_voice_frame(bytes([rng.randrange(5)]) + rng.randbytes(rng.randrange(40)))
