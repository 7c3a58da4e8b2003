"""The page's own coder (signaling/static/coder) against the Python one, in Node."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, astuple
from decimal import Context, Decimal, localcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from codec_models.bitstream.errors import BitstreamError
from codec_models.bitstream.face import STEPS, FaceConfig, FaceDecoder, FaceEncoder
from codec_models.bitstream.hints import Hints
from codec_models.bitstream.packet import TickPacket, pack, unpack
from codec_models.bitstream.prior import WEIGHTS, face_prior
from codec_models.bitstream.rangecoder import TOTAL, RangeEncoder
from codec_models.bitstream.voice_frame import pack_voice_frame
from signaling.control import Bye, Hello, NeedStill, Statistics, Still, decode_control, encode_control

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CODER = ROOT / "signaling" / "static" / "coder"
VECTORS = ROOT / "tests" / "codec_models" / "bitstream"


def node_path() -> str | None:
    """Node on PATH, or the one inside playwright's package."""
    found = shutil.which("node")
    spec = find_spec("playwright")
    if found is None and spec is not None and spec.origin is not None:
        inside = Path(spec.origin).parent / "driver" / "node"
        found = str(inside) if inside.exists() else None
    return found


class Node:
    """The coder in Node, asked over a pipe."""

    def __init__(self, node: str, folder: Path) -> None:
        # Beside a package.json, as Node takes a lone .js for a module only where one says so.
        shutil.copytree(CODER, folder / "coder")
        for name in ("driver.js", "golden.js"):
            shutil.copy(HERE / name, folder)
        (folder / "package.json").write_text('{"type": "module"}')
        self._process = subprocess.Popen(
            [node, str(folder / "driver.js"), str(VECTORS), str(WEIGHTS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def ask(self, what: str, **rest: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"ask": what, **rest}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"failure": "node has ended"}')
        assert "failure" not in answer, answer["failure"]
        return answer["ok"]

    def stop(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    path = node_path()
    if path is None:
        pytest.skip("no Node on this machine")
    node = Node(path, tmp_path_factory.mktemp("coder"))
    yield node
    node.stop()


@pytest.mark.unit
def test_golden_vectors_in_node(node: Node) -> None:
    result = node.ask("golden")
    assert result["failures"] == [] and result["checks"] > 400


def golden_inputs() -> tuple[list[np.ndarray], list[Hints]]:
    """What golden_face.json was made from (tests/codec_models/bitstream/test_face.py, `moving` and `some_hints`)."""
    path = np.cumsum(np.random.default_rng(7).integers(-3, 4, (16, 2)), 0)
    y, x = np.mgrid[:8, :8] * 16
    frames, hints = [], []
    for t, (dy, dx) in enumerate(path):
        luma = 40 + x // 2 + np.clip(120 - ((y - 60 - dy) ** 2 + (x - 56 - dx) ** 2) // 24, 0, 120)
        frames.append(np.stack([luma, luma * 3 // 4, luma * 5 // 8], 2).astype(np.uint8))
        face = (0.02 * (t % 9), 0.5, 0.12 if t % 25 else 0.02, 0.12, 0.0625 * (t % 3), 0.0)
        hints.append(Hints(*face, 0.5 + 0.008 * (t % 7), 0.53, -1.6, 0.04 * (t % 3), 0.1 * (t % 4), 0.0))
    return frames, hints


@pytest.mark.unit
@pytest.mark.parametrize("profile", ["full", "lean"])
@pytest.mark.parametrize("fps", [25, 5])
def test_golden_faces_encode_the_same(node: Node, profile: str, fps: int) -> None:
    inputs = list(zip(*golden_inputs(), strict=True))
    pictures = [f if t % (25 // fps) == 0 else None for t, (f, _) in enumerate(inputs)]
    ticks = [step(f, h) for f, (_, h) in zip(pictures, inputs, strict=True)]
    golden = json.loads((VECTORS / "golden_face.json").read_text())
    quality, weight = (10, 0.1) if profile == "lean" else (6, 0.1 if fps == 25 else 0.13)
    config = {"profile": profile, "fps": fps, "quality": quality, "rateWeight": weight}
    assert node.ask("encode", config=config, steps=ticks) == golden[f"{profile}-{fps}"]["ticks"]
    # and where nobody says how, both choose alike
    encoder = FaceEncoder(FaceConfig(profile, fps=fps))  # type: ignore[arg-type]
    own = [encoder.encode(f, h).hex() for f, (_, h) in zip(pictures, inputs, strict=True)]
    assert node.ask("encode", config={"profile": profile, "fps": fps}, steps=ticks) == own


@pytest.mark.unit
def test_costs_of_symbols_are_the_same_numbers(node: Node) -> None:
    """The page's logarithms are rounded to nearest. NumPy's are not all, depending on the processor: one symbol's cost
    may be off by its last bit. A decision could hang on that only if two symbols cost the same but for rounding; around
    that symbol no step and no residual comes nearer than 6e-6, at the default weights."""
    frequency = load_file(WEIGHTS)["frequency"]
    with localcontext(Context(prec=40)):
        exact = {f: 15 - float(Decimal(f).ln() / Decimal(2).ln()) for f in np.unique(frequency).tolist()}
    bits = np.frombuffer(bytes.fromhex(node.ask("bits")), "<f8").reshape(frequency.shape)
    assert np.array_equal(bits, np.vectorize(exact.__getitem__, [float])(frequency))
    python = face_prior().bits
    assert np.abs(bits - python).max() <= np.spacing(8.0)
    assert (bits != python).sum() <= 1


def step(picture: np.ndarray | None, hints: Hints | None, refresh: bool = False) -> dict[str, Any]:
    """One tick for the driver's encoder."""
    return {
        "picture": None if picture is None else picture.tobytes().hex(),
        "hints": None if hints is None else struct.pack("<12d", *astuple(hints)).hex(),
        "refresh": refresh,
    }


def random_pictures(rng: np.random.Generator, n: int) -> list[np.ndarray]:
    """A smooth picture that moves, rests, flickers, jumps or is noise."""
    y, x = np.mgrid[:8, :8]
    kind = rng.choice(["moves", "rests", "flickers", "cuts", "noise"])
    colours = rng.uniform(0.2, 1, 3)
    at, frames = rng.uniform(1, 6, 2), []
    for _ in range(n):
        if kind == "moves":
            at = at + rng.normal(0, 0.3, 2)
        if kind == "cuts" and rng.random() < 0.2:
            at, colours = rng.uniform(0, 7, 2), rng.uniform(0, 1, 3)
        luma = 30 + 6 * x + 190 * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 6)
        frame = luma[..., None] * colours + rng.normal(0, 5 if kind == "flickers" else 0.7, (8, 8, 3))
        if kind == "noise":
            frame = rng.integers(0, 2, (8, 8, 3)) * 255.0 if rng.random() < 0.5 else rng.uniform(0, 256, (8, 8, 3))
        if kind == "rests" and frames and rng.random() < 0.8:
            frame = frames[-1].astype(np.float64)
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    return frames


def random_hints(rng: np.random.Generator, before: np.ndarray) -> tuple[Hints, np.ndarray]:
    now = before + rng.normal(0, rng.choice([0.0, 0.01, 0.3]), 12)
    given = now.copy()
    if rng.random() < 0.05:
        given[rng.integers(0, 12)] = rng.choice([np.nan, np.inf, -np.inf, 1e300, -0.0])
    return Hints(*given.tolist()), now


def verdict(decoder: FaceDecoder, data: bytes | None) -> dict[str, Any] | None:
    """What a decoder says to bytes (None: lost), as the driver answers; None where it raises its error."""
    try:
        tick = decoder.lost() if data is None else decoder.decode(data)
    except BitstreamError:
        return None
    return {
        "picture": None if tick.picture is None else tick.picture.tobytes().hex(),
        "hints": None if tick.hints is None else list(astuple(tick.hints)),
        "clean": tick.clean,
        "needsRefresh": decoder.needs_refresh,
    }


@pytest.mark.unit
@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("seed", range(24))
def test_random_streams(node: Node, seed: int) -> None:
    """The same bytes from both encoders; the same pictures, hints and verdicts from both decoders, with losses."""
    rng = np.random.default_rng(seed)
    config: dict[str, Any] = {"profile": str(rng.choice(["full", "lean"])), "fps": int(rng.choice([25, 5]))}
    if seed % 3:
        config["quality"] = int(rng.integers(0, len(STEPS)))
    if seed % 4 == 1:
        config["rateWeight"] = float(rng.choice([0.0, 0.07, 0.3, 2.0]))
    if seed % 4 == 3:
        config["refreshTicks"] = int(rng.integers(1, 9))
    renamed = {"rateWeight": "rate_weight", "refreshTicks": "refresh_ticks"}
    encoder = FaceEncoder(FaceConfig(**{renamed.get(k, k): v for k, v in config.items()}))
    every = 1 if config["fps"] == 25 else 5
    given_hints, gaps = rng.random() < 0.7, 0.1 * (seed % 2)
    state, steps, expected = rng.normal(0.3, 0.3, 12), [], []
    for t, picture in enumerate(random_pictures(rng, 40 if every == 1 else 60)):
        face = None if t % every or rng.random() < gaps else picture
        hints, state = random_hints(rng, state)
        hints_now = hints if given_hints and rng.random() >= gaps else None
        refresh = bool(rng.random() < 0.04)
        if refresh:
            encoder.refresh()
        steps.append(step(face, hints_now, refresh))
        expected.append(encoder.encode(face, hints_now).hex())
    ticks = node.ask("encode", config=config, steps=steps)
    assert ticks == expected
    decoder = FaceDecoder()
    received = [None if rng.random() < 0.03 else bytes.fromhex(t) for t in ticks]
    verdicts = [verdict(decoder, data) for data in received]
    assert None not in verdicts
    assert node.ask("decode", ticks=[None if d is None else d.hex() for d in received]) == verdicts


@pytest.mark.unit
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_garbage_gets_the_same_verdict(node: Node) -> None:
    rng = np.random.default_rng(3)
    encoder = FaceEncoder()
    good = []
    for t, picture in enumerate(random_pictures(rng, 24)):
        good.append(encoder.encode(picture, random_hints(rng, np.full(12, 0.3))[0] if t % 4 else None))
    rows: list[bytes | None] = []
    for k in range(900):
        data = bytearray(good[k % 24])
        match k % 6:
            case 0:
                data = bytearray(good[0])  # mends
            case 1:
                data = bytearray(rng.bytes(int(rng.integers(1, 300))))
                data[0] = 0 if rng.random() < 0.7 else data[0]
            case 2:
                data = data[: int(rng.integers(0, len(data) + 1))]
            case 3:
                data[int(rng.integers(0, len(data)))] ^= 1 << int(rng.integers(0, 8))
            case 4:
                data += rng.bytes(int(rng.integers(0, 4)))
            case 5:
                # Far outside the interval, where the difference would grow for ever.
                data = bytearray(good[0][: int(rng.integers(1, 12))] + b"\xff" * int(rng.integers(1, 120)))
        rows.append(bytes(data))
    decoder = FaceDecoder()
    verdicts = [verdict(decoder, data) for data in rows]
    assert 100 < sum(v is None for v in verdicts) < 700
    assert node.ask("decode", ticks=[None if d is None else d.hex() for d in rows]) == verdicts


@pytest.mark.unit
def test_range_coder_carries_and_stays_shortest(node: Node) -> None:
    rng = np.random.default_rng(4)
    for row in range(45):
        coder, symbols = RangeEncoder(), []
        for _ in range(int(rng.integers(1, 40 if row % 3 else 1600))):
            kind = rng.choice(["Bit", "Uniform", "Golomb"])
            if kind == "Bit":
                one = int(rng.choice([1, TOTAL - 1, 512, rng.integers(1, TOTAL)]))
                bit = int(rng.random() < (one / TOTAL if row % 2 else 0.5))
                coder.encode_bit(bit, one)
                symbols.append(("Bit", bit, one))
            elif kind == "Uniform":
                bits = int(rng.integers(1, 16))
                value = int(rng.choice([0, (1 << bits) - 1, rng.integers(0, 1 << bits)]))
                coder.encode_uniform(value, bits)
                symbols.append(("Uniform", value, bits))
            else:
                value = int(rng.choice([0, 4094, rng.integers(0, 4095)]))
                coder.encode_golomb(value)
                symbols.append(("Golomb", value, 0))
        answer = node.ask("symbols", symbols=symbols)
        assert answer["code"] == coder.finish().hex()
        assert answer["back"] == [value for _, value, _ in symbols]


@pytest.mark.unit
def test_packets_get_the_same_verdict(node: Node) -> None:
    rng = np.random.default_rng(5)

    def some(n: int, limit: int) -> tuple[bytes, ...]:
        return tuple(rng.bytes(int(rng.integers(0, limit))) for _ in range(n))

    rows: list[bytes] = []
    for k in range(400):
        n = int(rng.integers(1, 3))
        clock = None if rng.random() < 0.5 else int(rng.integers(0, 65536))
        packet = TickPacket(some(n, 60), some(n, 300), some(int(rng.integers(0, 4)), 40), clock)
        data = bytearray(pack(packet))
        if k % 4 == 1:
            data = data[: int(rng.integers(0, len(data)))]
        elif k % 4 == 2:
            data[int(rng.integers(0, min(len(data), 8)))] ^= 1 << int(rng.integers(0, 8))
        elif k % 4 == 3:
            data = bytearray(b"\x40") + rng.bytes(int(rng.integers(0, 1600)))
            data[0] |= int(rng.integers(0, 16)) << 2
        rows.append(bytes(data))
    for data, answer in zip(rows, node.ask("packets", packets=[r.hex() for r in rows]), strict=True):
        try:
            packet = unpack(data)
        except BitstreamError:
            assert answer is None
            continue
        lists = {k: [b.hex() for b in getattr(packet, k)] for k in ("faces", "opus", "redundant")}
        assert answer == {**lists, "clockMs": packet.clock_ms, "again": data.hex()}


@pytest.mark.unit
def test_control_messages_get_the_same_verdict(node: Node) -> None:
    rng = np.random.default_rng(6)
    good = [
        encode_control(m)
        for m in (
            Still(3, b"picture"),
            NeedStill(),
            Hello(25, "full", True, 40, "Ada é"),
            Statistics({"fps": 24.9, "ticks_lost": 3, "device": "cpu"}),
            Bye("gone"),
        )
    ]
    rows = []
    for k in range(1500):
        data = bytearray(good[k % 5])
        for _ in range(int(rng.integers(1, 3))):
            data[int(rng.integers(0, len(data)))] = int(
                rng.choice([rng.integers(0, 128), *b'"{}:,\\-+.eE019 \xc3\xa9'])
            )
        rows.append(bytes(data[: int(rng.integers(0, len(data) + 1))] if k % 3 == 0 else data))
    for data, answer in zip(rows, node.ask("control", messages=[r.hex() for r in rows]), strict=True):
        try:
            message = decode_control(data)
        except BitstreamError:
            assert answer is None, data
            continue
        assert answer is not None, data
        fields = {"packetMs" if k == "packet_ms" else k: v for k, v in asdict(message).items()}
        fields = {k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items()}
        assert answer["message"] == answer["again"] and {**answer["message"], **fields} == answer["message"], data


@pytest.mark.unit
def test_encoders_refuse_what_is_out_of_range(node: Node) -> None:
    answer = node.ask("wrong")
    assert answer == ["RangeError"] * len(answer)


@pytest.mark.unit
def test_weights_of_any_integer_type_load_and_others_are_refused(node: Node) -> None:
    tensors = load_file(WEIGHTS)
    narrow = {k: v.astype(np.int16 if np.abs(v).max() < 1 << 15 else np.int64) for k, v in tensors.items()}
    uneven = {**tensors, "frequency": tensors["frequency"] + 1}
    good = [save(tensors), save(narrow)]
    bad = [
        b"",
        bytes(8),
        b"\xff" * 64,
        good[0][:-1],
        save({**tensors, "mean": tensors["mean"].astype(np.float32)}),
        save({**tensors, "mean": tensors["mean"][:-1].copy()}),
        save({k: v for k, v in tensors.items() if k != "0.b3"}),
        save({**tensors, "more": tensors["mean"]}),
        save(uneven),
    ]
    answer = node.ask("weights", files=[f.hex() for f in good + bad])
    assert answer[:2] == [None, None]
    assert all(isinstance(text, str) and text for text in answer[2:])


def test_voice_frames(node: Node) -> None:
    rng = np.random.default_rng(3)
    cases = [
        ((), b"P"),
        ((b"",), b""),
        *((tuple(rng.bytes(n) for n in rng.integers(0, 400, k)), rng.bytes(60)) for k in (1, 2, 3)),
    ]
    asked = [{"messages": [m.hex() for m in messages], "opus": opus.hex()} for messages, opus in cases]
    assert node.ask("frames", frames=asked) == [pack_voice_frame(messages, opus).hex() for messages, opus in cases]
