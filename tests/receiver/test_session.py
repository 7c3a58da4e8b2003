"""The receiver command against a real signaling server and a real sending call on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from codec_models.bitstream.face import FaceConfig, FaceEncoder, FaceTick
from codec_models.bitstream.packet import TickPacket
from codec_models.bitstream.still import IdentityStill, encode_still
from codec_models.reconstruction import StillColour
from receiver.playout import PlayedTick
from receiver.screen import Screen
from receiver.session import Session, SessionConfig
from receiver.terminal import Terminal
from signaling.call import Place, ReceivedPacket, SendingCall
from signaling.control import ControlMessage, Hello, NeedStill, Statistics, Still
from signaling.main import listen, make_server
from signaling.server import ServerConfig

pytestmark = pytest.mark.net
ROOT = Path(__file__).parents[2]
ROOM = "tests"


def opus_tone() -> list[bytes]:
    codec = av.AudioCodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format, codec.bit_rate = 48000, "mono", "s16", 12000
    codec.options = {"application": "voip", "frame_duration": "40"}
    wave = (6000 * np.sin(np.arange(1920 * 26) * 2 * np.pi * 300 / 48000)).astype(np.int16)
    out = []
    for k in range(26):
        frame = av.AudioFrame.from_ndarray(wave[None, k * 1920 : (k + 1) * 1920], format="s16", layout="mono")
        frame.sample_rate = 48000
        out += [bytes(p) for p in codec.encode(frame)]
    return out


def a_still() -> bytes:
    ramp = np.linspace(0, 255, 256)
    return encode_still(IdentityStill(np.stack([np.add.outer(ramp, ramp) / 2] * 3, -1).astype(np.uint8), None))


class FakeSender:
    """Ticks of a moving gradient and a tone in real time."""

    def __init__(self, url: str, stills: list[bytes] | None = None, garbage: bool = False) -> None:
        self.call = SendingCall(Place(url, ROOM), self)
        self.stills = [a_still()] if stills is None else stills
        self.garbage = garbage
        self.messages: list[ControlMessage] = []
        self._task: asyncio.Task[None] | None = None

    def connected(self) -> None:
        if self._task is None:
            self._task = asyncio.ensure_future(self._send())
        if self.stills:
            self.call.send_control(Still(0, self.stills.pop(0)))

    def disconnected(self, reason: str) -> None: ...

    def packet(self, packet: ReceivedPacket) -> None: ...

    def control(self, message: ControlMessage) -> None:
        self.messages.append(message)
        if isinstance(message, NeedStill) and self.stills:
            self.call.send_control(Still(1, self.stills.pop(0)))

    async def _send(self) -> None:
        voice, encoder, face = opus_tone(), FaceEncoder(FaceConfig()), b""
        start = time.time()
        for tick in range(10_000):
            ramp = np.arange(192).reshape(8, 8, 3) // 2 + 60 + 40 * np.sin(tick / 10)
            old, face = face, encoder.encode(ramp.astype(np.uint8))
            clock = round((start + 0.04 * tick) * 1000) & 0xFFFF if tick % 16 == 0 else None
            await asyncio.sleep(max(0.0, start + 0.04 * (tick + 1) - time.time()))
            packet = TickPacket((face,), (voice[tick % len(voice)],), (old,) if tick else (), clock)
            self.call.send(packet, tick)
            if self.garbage and tick % 3 == 0 and self.call._peer is not None:
                self.call._peer.send(os.urandom(30), tick * 1920)


Scenario = Callable[[str, Callable[..., Awaitable[asyncio.subprocess.Process]]], Awaitable[None]]


def with_signaling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: Scenario) -> None:
    """Run a scenario beside a signaling server; it gets the server's address and a way to start a receiver."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    async def run() -> None:
        sock = listen("127.0.0.1", 0)
        server = make_server(ServerConfig())
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        task = asyncio.create_task(server._serve(sockets=[sock]))
        children: list[asyncio.subprocess.Process] = []

        async def receiver(*args: str) -> asyncio.subprocess.Process:
            command = [sys.executable, "-m", "receiver.main", "--signaling", url, "--room", ROOM, *args]
            pipe = asyncio.subprocess.PIPE
            children.append(await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=pipe, stderr=pipe))
            return children[-1]

        try:
            async with asyncio.timeout(40):
                await scenario(url, receiver)
        finally:
            for child in children:
                if child.returncode is None:
                    child.kill()
                    await child.wait()
            server.should_exit = server.force_exit = True
            await task

    asyncio.run(run())


async def output(child: asyncio.subprocess.Process) -> tuple[str, str]:
    out, err = await child.communicate()
    return out.decode(), err.decode()


async def until_line(child: asyncio.subprocess.Process, text: str) -> None:
    assert child.stdout is not None
    while text not in (line := (await child.stdout.readline()).decode()):
        assert line, f"the receiver ended without saying {text!r}: {(await output(child))[1]}"


def test_a_call_is_recorded_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    movie, report = tmp_path / "call.mp4", tmp_path / "report.json"

    async def scenario(url: str, receiver: Callable[..., Awaitable[asyncio.subprocess.Process]]) -> None:
        # The first still is corrupt: it is reported and asked for again.
        sender = FakeSender(url, stills=[b"\x01\x00rubbish", a_still()], garbage=True)
        await sender.call.join()
        args = ["--show", "none", "--seconds", "3", "--output", str(movie), "--report", str(report)]
        child = await receiver(*args, "--reconstruction", "still-colour")
        out, err = await output(child)
        await sender.call.leave()
        assert child.returncode == 0, err
        assert err.count("corrupt identity still") == 1
        assert err.count("no Pinhole ticks") == 1
        assert "fps" in out and "still-colour on cpu" in out
        assert any(isinstance(m, NeedStill) for m in sender.messages)
        assert any(isinstance(m, Statistics) for m in sender.messages)

    with_signaling(tmp_path, monkeypatch, scenario)
    r = json.loads(report.read_text())
    assert r["seconds"] == pytest.approx(3, abs=0.3)
    assert 60 <= r["frames_shown"] <= 80 and 60 <= r["ticks_received"] <= 80
    assert r["ticks_lost"] == 0
    assert 0 < r["latency_ms"]["p50"] < 1000
    assert r["identities"] == 1 and r["identity_bytes"] > 100 and r["garbage_packets"] > 5
    assert r["wire_kbps"]["received"] > r["audio_kbps"] + r["face_kbps"] > 1
    with av.open(str(movie)) as container:
        kinds = [f for f in container.decode()]
    assert sum(isinstance(f, av.VideoFrame) for f in kinds) >= 55
    assert sum(f.samples for f in kinds if isinstance(f, av.AudioFrame)) > 2.5 * 48000


def test_a_still_of_something_else_is_told_and_another_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(url: str, receiver: Callable[..., Awaitable[asyncio.subprocess.Process]]) -> None:
        blank = encode_still(IdentityStill(np.full((256, 256, 3), 255, np.uint8), None))
        sender = FakeSender(url, stills=[blank, a_still()])
        await sender.call.join()
        child = await receiver("--show", "none", "--seconds", "4", "--reconstruction", "still-colour")
        _, err = await output(child)
        await sender.call.leave()
        assert err.count("does not look like the picture") == 1, err
        assert any(isinstance(m, NeedStill) for m in sender.messages)

    with_signaling(tmp_path, monkeypatch, scenario)


def test_ctrl_c_writes_everything_and_the_end_of_a_sender_ends_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(url: str, receiver: Callable[..., Awaitable[asyncio.subprocess.Process]]) -> None:
        report = tmp_path / "1.json"
        child = await receiver("--show", "none", "--report", str(report))
        sender = FakeSender(url)
        await sender.call.join()
        await until_line(child, "fps")
        child.send_signal(signal.SIGINT)
        at = time.monotonic()
        await output(child)
        assert time.monotonic() - at < 4  # Two seconds on an idle machine.
        assert child.returncode == 0 and json.loads(report.read_text())["ticks_received"] > 0

        report = tmp_path / "2.json"
        child = await receiver("--show", "none", "--report", str(report))
        await until_line(child, "fps")
        await sender.call.leave("done")
        out, err = await output(child)
        assert child.returncode == 0, err
        assert "the sender left (done)" in out and report.exists()

    with_signaling(tmp_path, monkeypatch, scenario)


def test_a_second_sender_goes_on_in_the_same_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    movie, report = tmp_path / "call.mp4", tmp_path / "report.json"

    async def scenario(url: str, receiver: Callable[..., Awaitable[asyncio.subprocess.Process]]) -> None:
        child = await receiver("--show", "none", "--stay", "--output", str(movie), "--report", str(report))
        for _ in range(2):
            sender = FakeSender(url)
            await sender.call.join()
            await until_line(child, "connected to the sender")
            await asyncio.sleep(1.5)
            await sender.call.leave("see you")
            await until_line(child, "the sender left (see you)")
        child.send_signal(signal.SIGTERM)
        _, err = await output(child)
        assert child.returncode == 0, err

    with_signaling(tmp_path, monkeypatch, scenario)
    r = json.loads(report.read_text())
    assert r["identities"] == 2 and 40 <= r["ticks_received"] <= 120
    with av.open(str(movie)) as container:
        length = sum(f.samples for f in container.decode(audio=0)) / 48000
    # Both parts, with the pause between them concealed, and nothing for the second sender's restart at tick 0.
    assert 1.8 < length < r["seconds"] + 0.5


def test_without_a_sender_one_line_and_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(url: str, receiver: Callable[..., Awaitable[asyncio.subprocess.Process]]) -> None:
        child = await receiver("--show", "browser", "--wait", "0.5", "--output", str(tmp_path / "none.mp4"))
        out, err = await output(child)
        assert child.returncode == 1
        watch = f"{url}/#room=tests&place=a/viewer&token="
        assert f"receiver: a browser watches at {watch}" in out and f"receiver: page {watch}" in out
        assert f"receiver: a browser sends at {url}/#room=tests&place=a/sender&token=" in out
        assert err.startswith("error: no sender came to room tests within 0.5 s") and err.count("\n") == 1
        assert not (tmp_path / "none.mp4").exists()

    with_signaling(tmp_path, monkeypatch, scenario)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--output", "/nonexistent/call.mp4"], "cannot write /nonexistent/call.mp4"),
        (["--output", "call.avi"], "ends in .mp4"),
        (["--report", "/nonexistent/r.json"], "cannot write /nonexistent/r.json"),
        (["--trace", "/nonexistent/t"], "cannot write the trace /nonexistent/t"),
        (["--ice", "example.org"], "stun:HOST:PORT"),
        (["--two-way", "--output", "call.mp4"], "{direction}"),
        (["--two-way", "--token", "x"], "give two for each"),
        (["--two-way", "--direction", "b"], "leave --direction out"),
        (["--show", "window"], "--show browser"),
        (["--show", "none"], "127.0.0.1:9"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, args: list[str], words: str) -> None:
    async def run() -> None:
        command = [sys.executable, "-m", "receiver.main", "--signaling", "http://127.0.0.1:9", "--room", ROOM, *args]
        env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
        env["XDG_STATE_HOME"] = str(tmp_path)
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=pipe, stderr=pipe, env=env)
        _, err = await output(child)
        assert child.returncode == 1
        assert err.startswith("error: ") and err.count("\n") == 1 and words in err

    asyncio.run(run())


class LookingAhead(StillColour):
    """Waits for the next 8x8 frame where it is told that they come at 5 fps."""

    def __init__(self) -> None:
        super().__init__()
        self.fps: int | None = None

    @property
    def delay(self) -> int:
        return 5 if self.fps == 5 else 0


class Listening(Screen):
    """Notes when it gets the voice of which tick, whose number the samples are."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[int, float]] = []

    def voice(self, samples: NDArray[np.int16]) -> None:
        self.heard.append((int(samples[0]), time.monotonic()))


def test_the_voice_waits_for_the_look_ahead_and_keeps_its_order_when_that_changes() -> None:
    low, silence = np.zeros((8, 8, 3), np.uint8), np.zeros(1920, np.int16)

    async def call() -> tuple[list[tuple[int, float]], list[float]]:
        screen, given = Listening(), list[float]()
        session = Session(SessionConfig(Place("http://127.0.0.1:9", ROOM)), LookingAhead(), Terminal())
        session.screen = screen
        session._loop = asyncio.get_running_loop()
        session._renderer.start()
        for k in range(24):
            if k in (6, 16):
                session.connected()
                session.control(Hello(5 if k == 6 else 25, "full", True, 40, "test"))
            now = time.monotonic()
            given.append(now)
            live = np.full(1920, k, np.int16)
            session._hand_over(PlayedTick(1, k, now, FaceTick(low, None), low, silence, True, live, now), now, now)
            await asyncio.sleep(0.04)
        await asyncio.sleep(0.4)
        session._renderer.stop()
        return screen.heard, given

    heard, given = asyncio.run(call())
    assert [index for index, _ in heard] == list(range(24))
    waited = [at - given[index] for index, at in heard]
    # Told of 5 fps at tick 6 and of 25 at tick 16, known a tick later at most; what waits at 16 goes out sooner.
    assert min(waited[8:12]) >= 0.2
    assert min(waited[:6]) < min(waited[8:12]) > min(waited[21:])
