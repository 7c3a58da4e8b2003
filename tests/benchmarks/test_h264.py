"""The H.264 call: the hooks at aiortc's own parts, and what goes wrong; the real call is in test_latency.py."""

from __future__ import annotations

import asyncio
import fractions
import json
import sys
from pathlib import Path
from typing import Any

import aiortc
import aiortc.rtcrtpreceiver
import aiortc.rtcrtpsender
import av
import numpy as np
import pytest
from aiortc import RTCSessionDescription
from aiortc.codecs.h264 import H264Encoder, h264_depayload
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtp import RtpPacket
from numpy.typing import NDArray

from benchmarks.h264 import call as call_module
from benchmarks.h264 import exchange, hooks
from benchmarks.h264.call import H264Config, check_pictures, command_lines, read_lines, run_h264
from benchmarks.h264.hooks import LowestEncoder, NoWaitBuffer, ReceiverTap, SenderTap, TimedBuffer, TimedEncoder
from benchmarks.h264.sender import main as sender_main
from benchmarks.h264.timeline import (
    CLOCK_RATE,
    STEP,
    Timeline,
    read_pictures,
    rtp_timestamp,
    sampled,
    write_lines,
    write_pictures,
)
from benchmarks.metrics import psnr
from benchmarks.processes import free_port
from codec_models.errors import UserError
from signaling import aiortc_hook

FIRST = 2**32 - 2 * STEP
"""The RTP timestamp turns over after two pictures."""


@pytest.fixture(autouse=True)
def _hooks_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these calls change in aiortc is for processes of their own."""
    aiortc_hook.install()
    for module in (aiortc.rtcrtpsender, aiortc.rtcrtpreceiver):
        monkeypatch.setattr(module, "random", module.random)  # type: ignore[attr-defined]


def packet(sequence: int, picture: int, data: bytes, last: bool = True) -> RtpPacket:
    made = RtpPacket(97, int(last), sequence & 0xFFFF, rtp_timestamp(FIRST, picture), payload=data)
    made._data = data  # type: ignore[attr-defined]
    return made


def taken(buffer: TimedBuffer, *packets: RtpPacket) -> list[bytes]:
    frames: list[JitterFrame | None] = [buffer.add(p)[1] for p in packets]
    return [f.data if f is not None else b"" for f in frames]


def picture(k: int) -> NDArray[np.uint8]:
    """A pattern that moves, (256, 256, 3) uint8 RGB."""
    y, x = np.mgrid[:256, :256]
    wave = 127 + 120 * np.sin((x + 3 * k) / 40)
    return np.stack([wave, y, 255 - wave], -1).astype(np.uint8)


def frame(k: int) -> av.VideoFrame:
    made = av.VideoFrame.from_ndarray(picture(k), format="rgb24")
    made.pts, made.time_base = k * STEP, fractions.Fraction(1, CLOCK_RATE)
    return made


@pytest.mark.unit
def test_the_stock_buffer_keeps_a_picture_until_the_next_one_and_the_other_does_not() -> None:
    packets = [packet(65534 + k, k // 2, bytes([k]), k % 2 == 1) for k in range(6)]
    stock, nowait = Timeline(), Timeline()
    assert taken(TimedBuffer(stock), *packets) == [b"", b"", b"\0\1", b"", b"\2\3", b""]
    assert taken(NoWaitBuffer(nowait), *packets) == [b"", b"\0\1", b"", b"\2\3", b"", b"\4\5"]
    assert [line["timestamp"] for line in nowait.lines] == [FIRST, FIRST + STEP, 0]
    for line in (*stock.lines[:2], *nowait.lines):
        assert line["arrived_first"] < line["arrived"] < line["left"]
    assert "left" not in stock.lines[2]


@pytest.mark.unit
def test_the_buffer_that_does_not_wait_puts_packets_in_order_and_waits_for_missing_ones() -> None:
    a, b, c, d = (packet(10 + k, k // 2, bytes([k]), k % 2 == 1) for k in range(4))
    assert taken(NoWaitBuffer(Timeline()), a, c, d, b) == [b"", b"", b"", b"\0\1"]
    buffer = NoWaitBuffer(Timeline())
    assert taken(buffer, a, c, b, d) == [b"", b"", b"\0\1", b"\2\3"]
    assert taken(buffer, b) == [b""]  # what comes twice is nothing new


@pytest.mark.unit
def test_what_comes_again_does_not_change_when_a_picture_arrived() -> None:
    timeline = Timeline()
    buffer = NoWaitBuffer(timeline)
    again = packet(1, 0, b"x")
    buffer.add(again)
    (before,) = [dict(line) for line in timeline.lines]
    buffer.add(again)
    assert timeline.lines == [before]


@pytest.mark.unit
@pytest.mark.parametrize("kind", [TimedEncoder, LowestEncoder])
def test_pictures_pass_encoder_and_decoder_under_their_own_timestamps(kind: type[TimedEncoder]) -> None:
    timeline, shown = Timeline(), Timeline()
    sending, receiving = SenderTap(timeline), ReceiverTap(shown)
    encoder, decoder, sizes = kind(sending), hooks.TimedDecoder(receiving), []
    buffer = NoWaitBuffer(shown)
    receiving._buffer = buffer
    sequence, seen = 0, []
    for k in range(8):
        sending.source(k, captured=k / 25, began=k / 25, cropped=k / 25 + 0.005)
        payloads, pts = encoder.encode(frame(k))
        sizes.append(sum(map(len, payloads)))
        for at, payload in enumerate(payloads):
            sending._leaves(rtp_timestamp(FIRST, pts // STEP))
            sent = packet(sequence, k, h264_depayload(payload), at == len(payloads) - 1)
            sequence += 1
            _, encoded = buffer.add(sent)
            if encoded is not None:
                encoded.timestamp = (encoded.timestamp - FIRST) & 0xFFFFFFFF  # as aiortc counts
                seen += [(receiving.timestamp(f.pts), f.to_ndarray(format="rgb24")) for f in decoder.decode(encoded)]
    assert sending.origin == FIRST
    assert (
        [t for t, _ in seen]
        == [line["timestamp"] for line in timeline.lines]
        == [line["timestamp"] for line in shown.lines]
    )
    assert [line["tick"] for line in timeline.lines] == list(range(8))
    assert [line["bytes"] for line in timeline.lines] == sizes
    least = 30 if kind is TimedEncoder else 18
    assert min(psnr(picture(k), drawn) for k, (_, drawn) in enumerate(seen)) > least
    for line in timeline.lines:
        assert line["encoding"] < line["encoded"] < line["sent"]
    for line in shown.lines:
        assert line["left"] < line["decoding"] < line["decoded"]


@pytest.mark.unit
def test_the_lowest_rate_is_far_below_the_stock_one() -> None:
    def spent(encoder: H264Encoder) -> int:
        return sum(len(p) for k in range(25) for p in encoder.encode(frame(k))[0])

    assert spent(LowestEncoder(SenderTap(Timeline()))) < 0.2 * spent(TimedEncoder(SenderTap(Timeline())))


@pytest.mark.unit
def test_both_sides_keep_the_same_pictures(tmp_path: Path) -> None:
    kept = [t for t in (rtp_timestamp(5000, k) for k in range(240)) if sampled(t)]
    assert len(kept) == 20
    write_pictures(tmp_path / "a.npz", {kept[0]: picture(0), kept[1]: picture(1)})
    again = read_pictures(tmp_path / "a.npz")
    assert list(again) == kept[:2] and np.array_equal(again[kept[1]], picture(1))
    assert read_pictures(tmp_path / "absent.npz") == {}
    with pytest.raises(UserError, match="cannot be written"):
        write_pictures(tmp_path / "absent" / "a.npz", {})


@pytest.mark.unit
def test_lines_are_read_as_they_were_written_but_for_a_torn_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_lines(path, [{"timestamp": 1, "shown": 2.5}, {"timestamp": 2}])
    with path.open("a") as file:
        file.write('[1]\n{"timestamp": 3, "sho')
    assert read_lines(path) == [{"timestamp": 1, "shown": 2.5}, {"timestamp": 2}]
    assert read_lines(tmp_path / "absent") == []


@pytest.mark.unit
def test_garbage_and_nothing_to_compare_are_refused() -> None:
    check_pictures([22.0, 41.0])
    with pytest.raises(UserError, match=r"garbage: 7\.5 dB"):
        check_pictures([22.0, 7.5])
    with pytest.raises(UserError, match="run longer calls"):
        check_pictures([])


@pytest.mark.unit
def test_without_libx264_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, mode: str) -> Any:
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr(hooks.av.codec, "Codec", absent)
    with pytest.raises(UserError, match="no libx264"):
        run_h264(H264Config("demo", 1.0))


@pytest.mark.net
def test_descriptions_are_exchanged_and_the_end_is_noticed() -> None:
    async def run() -> None:
        port = free_port()
        ours, theirs = await asyncio.gather(exchange.listen("127.0.0.1", port), exchange.connect("127.0.0.1", port))
        await theirs.send(RTCSessionDescription("v=0", "offer"))
        assert (await ours.receive("offer")).sdp == "v=0"
        await theirs.send(RTCSessionDescription("v=0", "offer"))
        with pytest.raises(UserError, match="no answer has come"):
            await ours.receive("answer")
        theirs.close()
        await asyncio.wait_for(ours.ended(), 10)
        with pytest.raises(UserError, match="no offer has come"):
            await ours.receive("offer")
        ours.close()

    asyncio.run(run())


@pytest.mark.net
def test_nobody_on_the_other_side_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "FIND_S", 0.2)
    with pytest.raises(UserError, match="no receiver answers"):
        asyncio.run(exchange.connect("127.0.0.1", free_port()))
    with pytest.raises(UserError, match="no sender has come"):
        asyncio.run(exchange.listen("127.0.0.1", free_port()))


@pytest.mark.net
def test_a_side_that_dies_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def lines(config: H264Config, address: str, work: Path) -> dict[str, list[str]]:
        commands = command_lines(config, address, work)
        commands["sender"] = ["-c", "import sys, time; time.sleep(1); sys.exit('error: the camera is gone')"]
        return commands

    monkeypatch.setattr(call_module, "command_lines", lines)
    with pytest.raises(UserError, match=r"^sender: the camera is gone$"):
        run_h264(H264Config("demo", 5.0))


@pytest.mark.net
def test_a_receiver_whose_sender_leaves_does_not_hang() -> None:
    async def run() -> tuple[int | None, bytes]:
        port = free_port()
        command = ["-m", "benchmarks.h264.receiver", "--listen", f"127.0.0.1:{port}"]
        receiver = await asyncio.create_subprocess_exec(
            sys.executable, *command, stderr=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        sender = await exchange.connect("127.0.0.1", port)
        sender.close()
        _, told = await asyncio.wait_for(receiver.communicate(), 30)
        return receiver.returncode, told

    status, told = asyncio.run(run())
    assert status == 1 and told.decode().splitlines()[-1].startswith("error: no offer has come")


@pytest.mark.unit
def test_bad_arguments_and_files_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sender_main(["--source", "demo", "--receiver", "nowhere"])
    assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(UserError, match=r"no file at nowhere\.mp4"):
        sender_main(["--source", "nowhere.mp4", "--receiver", "127.0.0.1:9"])


@pytest.mark.unit
def test_the_arguments_of_the_two_processes(tmp_path: Path) -> None:
    config = H264Config("a.mp4", 6.5, hooks.Rate.LOWEST, hooks.Buffering.NOWAIT)
    lines = {name: " ".join(line) for name, line in command_lines(config, "198.18.0.2:5004", tmp_path).items()}
    assert "--listen 198.18.0.2:5004 --buffer nowait --seconds 6.5" in lines["receiver"]
    assert "--receiver 198.18.0.2:5004 --rate lowest --source a.mp4" in lines["sender"]
    assert json.dumps(lines).count(str(tmp_path)) == 5
