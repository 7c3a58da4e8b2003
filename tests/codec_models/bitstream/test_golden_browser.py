"""Golden vectors of what a browser says and hears: written by Python, checked here and by the page's own coder
(tests/signaling/browser/test_coder.py). Written anew, after a change of format or prior that is meant, with
PINHOLE_WRITE_GOLDEN=1."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codec_models.bitstream.errors import BitstreamError
from codec_models.bitstream.face import FaceConfig, FaceDecoder, FaceEncoder, FaceTick, area_8x8
from codec_models.bitstream.hints import Hints
from codec_models.bitstream.packet import TickPacket, pack, unpack
from codec_models.bitstream.still import _pack_points
from signaling.control import (
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

GOLDEN = Path(__file__).with_name("golden_browser.json")


def picture(t: int, kind: str = "moving") -> np.ndarray:
    """8x8 RGB from integers only: a bright blob with a dark spot below, wandering over a gradient; or noise."""
    y, x, c = np.mgrid[:8, :8, :3]
    if kind == "noise":
        return ((((y * 131 + x * 37 + c * 11 + t * 53) * 2654435761 >> 13) & 1) * 255).astype(np.uint8)
    dy, dx = abs(t % 16 - 8), abs(3 * t % 24 - 12)
    far = (16 * y - 44 - 2 * dy) ** 2 + (16 * x - 50 - 2 * dx) ** 2
    mouth = (y == 5) & (x >= 3) & (x <= 4)
    luma = 40 + 8 * x + np.clip(150 - far // 20, 0, 150) - 9 * (t % 5) * mouth
    return np.asarray(np.clip(luma * (10 - 2 * c) // 10, 0, 255), np.uint8)


def hints(t: int) -> Hints:
    face = (0.021 * (t % 9), 0.51, 0.12 if t % 11 else 0.015, 0.13, 0.0625 * (t % 3), -0.09 * (t % 2))
    return Hints(
        *face, 0.5 + 0.009 * (t % 7), 0.53, -1.6 + 0.03 * (t % 4), 0.04 * (t % 3), 0.1 * (t % 4), 1.9 * (t > 9)
    )


def decoded(tick: FaceTick, decoder: FaceDecoder) -> dict[str, Any]:
    return {
        "picture": None if tick.picture is None else tick.picture.tobytes().hex(),
        "hints": None if tick.hints is None else list(astuple(tick.hints)),
        "clean": tick.clean,
        "needsRefresh": decoder.needs_refresh,
    }


def stream(
    config: FaceConfig,
    ticks: Sequence[tuple[np.ndarray | None, Hints | None]],
    refresh: int = -1,
    lost: tuple[int, ...] = (),
) -> dict[str, Any]:
    """What is given to an encoder tick by tick, the bytes, and what a decoder makes of them that loses some.

    refresh: tick before which the encoder is asked for one.
    """
    encoder, decoder = FaceEncoder(config), FaceDecoder()
    steps = []
    for t, (face, face_hints) in enumerate(ticks):
        if t == refresh:
            encoder.refresh()
        data = encoder.encode(face, face_hints)
        tick = decoder.lost() if t in lost else decoder.decode(data)
        steps.append(
            {
                "picture": None if face is None else face.tobytes().hex(),
                "hints": None if face_hints is None else list(astuple(face_hints)),
                "refresh": t == refresh,
                "lost": t in lost,
                "bytes": data.hex(),
                "decoded": decoded(tick, decoder),
            }
        )
    settings = {"profile": config.profile, "quality": config.quality, "fps": config.fps}
    return {
        "config": settings | {"refreshTicks": config.refresh_ticks, "rateWeight": config.rate_weight},
        "steps": steps,
    }


def faces() -> dict[str, Any]:
    both = [(picture(t), hints(t)) for t in range(12)]
    every_fifth = [(picture(t) if t % 5 == 0 else None, hints(t)) for t in range(16)]
    irregular = [(picture(t) if t in (0, 1, 4, 9, 10) else None, hints(t) if t % 3 else None) for t in range(12)]
    camera_off = [(picture(t) if 4 <= t < 7 else None, hints(t) if t < 4 else None) for t in range(10)]
    noise = [(picture(t, "noise"), None) for t in range(4)]
    return {
        "full": stream(FaceConfig(quality=6), both),
        "lean": stream(FaceConfig("lean"), both),
        "pictures alone": stream(FaceConfig(quality=6, hints=False), [(p, None) for p, _ in both[:6]]),
        "hints alone": stream(FaceConfig(quality=6), [(None, h) for _, h in both]),
        "5 fps with hints": stream(FaceConfig(quality=6, fps=5, rate_weight=0.13), every_fifth, refresh=7),
        "5 fps": stream(FaceConfig("lean", fps=5), [(p, None) for p, _ in every_fifth]),
        "irregular": stream(FaceConfig(quality=6), irregular),
        "camera off": stream(FaceConfig(quality=6), camera_off),
        "lost": stream(FaceConfig(quality=6), both, refresh=7, lost=(4, 9)),
        "joins late": stream(FaceConfig(quality=6), both[:5], lost=(0,)),
        "refreshes": stream(FaceConfig(quality=6, refresh_ticks=3, rate_weight=0.0), both[:7]),
        "noise, finest": stream(FaceConfig(quality=0), noise),
        "noise, coarsest": stream(FaceConfig("lean", quality=15, rate_weight=0.5), noise),
    }


def garbage() -> list[dict[str, Any]]:
    """One decoder's row of strings, most of them spoilt, and what it says to each."""
    encoder, decoder, rng = FaceEncoder(FaceConfig(quality=6)), FaceDecoder(), np.random.default_rng(8)
    good = [encoder.encode(picture(t), hints(t)) for t in range(8)]
    rows = []
    for k in range(80):
        data = bytearray(good[k % 8])
        match k % 5:
            case 0:
                data = bytearray(good[0])  # mends
            case 1:
                data = bytearray(rng.bytes(int(rng.integers(1, 120))))
            case 2:
                data = data[: int(rng.integers(0, len(data) + 1))]
            case 3:
                data[int(rng.integers(0, len(data)))] ^= 1 << int(rng.integers(0, 8))
            case 4:
                data = bytearray((b"\x02\xff\xff\xff\xff", b"\x00", b"\xff" * 40, b"\x02\x2f" + bytes(3))[k // 5 % 4])
        try:
            result: dict[str, Any] | None = decoded(decoder.decode(bytes(data)), decoder)
        except BitstreamError:
            result = None
        rows.append({"bytes": data.hex(), "decoded": result})
    return rows


PACKETS = [
    TickPacket((b"\x11\x22",), (b"",)),
    TickPacket((b"",), (b"",), (b"\x01",), 0x1234),
    TickPacket((b"abc",), (b"",), (b"", b"d", b"ef"), 65535),
    TickPacket((b"a", b"bc"), (b"x", b"yz"), (b"r", b""), 0),
    TickPacket((b"f" * 255, b""), (b"o" * 251, b"")),
    TickPacket((b"", b"g"), (b"p" * 252, b"q")),
    TickPacket((b"", b"g"), (b"p" * 1275, b"q" * 3), (b"r" * 9,), 7),
]
BAD_PACKETS = [
    "",
    "00",
    "80",
    "41",
    "42",
    "40",
    "4001",
    "44",
    "4412",
    "4c123400",
    "60",
    "6000",
    "600000ff",
    "600000fcff",
]
BAD_PACKETS += ["400021".ljust(2 * 1279, "0"), "40".ljust(2 * 3836, "0")]

MESSAGES: list[ControlMessage] = [
    Still(258, b"\xaa\xbb"),
    Still(65535, b"\x01\x00RIFF"),
    NeedStill(),
    Refresh(),
    Hello(25, "full", True, 40, "Ada"),
    Hello(5, "lean", False, 80, ""),
    Hello(0, "full", False, 40, "Zoë 🙂"),
    Statistics({"ping": 12345678901}),
    Statistics({"pong": 12345678901, "clock": 1700000000123.5}),
    Statistics({"view": "loop", "live": 1, "loss_percent": 0.25, "lost": 3}),
    Statistics({}),
    Bye("the camera is gone"),
    Bye(""),
]
BAD_CONTROL = [
    b"", b"\x10", b"\x17", b"\x1f", b"\x22", b"\x11", b"\x11\x00\x01", b"\x12\x00", b"\x13\x00",
    b"\x14\x19\x00\x01", b"\x14\x01\x00\x01\x28", b"\x14\x1e\x00\x01\x28", b"\x14\x19\x02\x01\x28",
    b"\x14\x19\x00\x02\x28", b"\x14\x19\x00\x01\x3c", b"\x14\x19\x00\x01\x28\x1b[2J", b"\x14\x19\x00\x01\x28\xc2\xa0",
    b"\x14\x19\x00\x01\x28" + b"x" * 129, b"\x15", b"\x15[]", b"\x15null", b"\x15 5", b'\x15{"a":null}',
    b'\x15{"a":[1]}', b'\x15{"a":NaN}', b'\x15{"a":Infinity}', b'\x15{"a":1e999}', b'\x15{"a":true}',
    b'\x15{"a":' + b"9" * 400 + b"}", b'\x15{"a":9223372036854775808}', b'\x15{"a":-9223372036854775809}',
    b'\x15{"a":"\\u001b"}', b'\x15{"a":"\\ud800"}', b'\x15{"\\n":1}', b'\x15{"a":1}x', b'\x15{"a":{}}',
    b"\x15" + b"[" * 512, b"\x15\xef\xbb\xbf{}",
    b'\x15{"x":"' + b"y" * 505 + b'"}', b"\x16\xff\xfe", b"\x16\xed\xa0\x80", b"\x16\xc0\xaf",
    b"\x16line\nbreak", b"\x16" + b"x" * 201, b"\x16\xe2\x80\xae", b"\x16\xe2\x80\x8b", b"\x16\xef\xbb\xbf",
]  # fmt: skip
GOOD_CONTROL = [
    b'\x15{"a":1e19}', b'\x15{"a":9007199254740992}', b'\x15{ "a" : "9223372036854775808" }',
    b'\x15{"a":"\\u00e9","b":-0.5}', b'\x15{"__proto__":1}', b"\x16 two  spaces ", "\x16日本語".encode(),
]  # fmt: skip


def control(message: ControlMessage) -> dict[str, Any]:
    """A message as the page's coder holds it."""
    name = type(message).__name__
    fields = {{"packet_ms": "packetMs"}.get(k, k): v for k, v in asdict(message).items()}
    fields = {k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items()}
    return {"type": name[0].lower() + name[1:], **fields}


def stills() -> list[dict[str, Any]]:
    file = b"RIFF\x04\x00\x00\x00WEBP"
    k = np.arange(220)
    exact = (((k * 977) % 8192) / 4096 - 0.75).astype(np.float32)  # halves of a step too: half to even
    close = np.nextafter(exact, np.where(k % 4 < 2, 1, -1).astype(np.float32))  # halves in single precision alone
    uneven = ((k * k * 7919 % 65521) / 65521 * 1.2 - 0.6).astype(np.float32)
    far = np.where(k % 2, -1e30, 1e30).astype(np.float32)
    rows = [{"points": None, "picture": file.hex(), "wire": (b"\x01\x00" + file).hex()}]
    for points in (exact, close, uneven, far):
        wire = b"\x01\x6e" + _pack_points(points.reshape(110, 2)) + file
        rows.append({"points": points.tolist(), "picture": file.hex(), "wire": wire.hex()})
    return rows


def area() -> str:
    """Of the picture whose sample at y, x, c is (7 x + 13 y + 50 c + x y / 32) mod 256."""
    y, x, c = np.mgrid[:256, :256, :3]
    return area_8x8(((7 * x + 13 * y + 50 * c + (x * y >> 5)) & 255).astype(np.uint8)).tobytes().hex()


def packet(p: TickPacket) -> dict[str, Any]:
    lists = {k: [b.hex() for b in getattr(p, k)] for k in ("faces", "opus", "redundant")}
    return {**lists, "clockMs": p.clock_ms, "wire": pack(p).hex()}


def test_golden_vectors() -> None:
    vectors = {
        "faces": faces(),
        "garbage": garbage(),
        "packets": [packet(p) for p in PACKETS],
        "badPackets": BAD_PACKETS,
        "tickMessages": [
            {"tick": t, "wire": (t.to_bytes(4, "big") + pack(PACKETS[2])).hex()} for t in (0, 0x01020304, (1 << 32) - 1)
        ],
        "control": [{"message": control(m), "wire": encode_control(m).hex()} for m in MESSAGES],
        "goodControl": [{"message": control(decode_control(d)), "wire": d.hex()} for d in GOOD_CONTROL],
        "badControl": [d.hex() for d in BAD_CONTROL],
        "stills": stills(),
        "area": area(),
    }
    if os.environ.get("PINHOLE_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(vectors, indent=0) + "\n")
    assert json.loads(GOLDEN.read_text()) == json.loads(json.dumps(vectors))


@pytest.mark.parametrize("wire", BAD_PACKETS)
def test_bad_packets_are_bad(wire: str) -> None:
    with pytest.raises(BitstreamError):
        unpack(bytes.fromhex(wire))


@pytest.mark.parametrize("data", BAD_CONTROL, ids=lambda d: d[:12].hex() or "empty")
def test_bad_control_messages_are_bad(data: bytes) -> None:
    with pytest.raises(BitstreamError):
        decode_control(data)


def test_garbage_is_told_from_ticks() -> None:
    rows = garbage()
    verdicts = [r["decoded"] for r in rows]
    assert sum(v is None for v in verdicts) > 15
    assert sum(v is not None and v["picture"] is not None for v in verdicts) > 15
    assert any(v is not None and v["needsRefresh"] for v in verdicts)
