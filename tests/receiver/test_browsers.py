"""The receiver with a double of a browser, made of stock aiortc: Opus track, tick messages, video back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack

from codec_models.bitstream.face import FaceConfig, FaceEncoder
from codec_models.bitstream.packet import TickPacket, pack
from signaling.client import Place, SignalingClient
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
from tests.receiver.test_session import a_still, output, with_signaling

pytestmark = pytest.mark.net
Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


class Tone(MediaStreamTrack):
    """A microphone: 20 ms frames in real time."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._frames, self._start = 0, time.time()

    async def recv(self) -> av.AudioFrame:
        await asyncio.sleep(max(0.0, self._start + 0.02 * (self._frames + 1) - time.time()))
        t = (np.arange(960) + 960 * self._frames) / 48_000
        frame = av.AudioFrame.from_ndarray((6000 * np.sin(2 * np.pi * 300 * t)).astype(np.int16)[None], layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), 960 * self._frames
        self._frames += 1
        return frame


class FakeBrowser:
    """role: sender or viewer. fps: 25, 5 or 0 for a camera that is off."""

    def __init__(self, url: str, token: str, role: str, direction: str = "a", fps: int = 25, level: int = 60) -> None:
        self.client = SignalingClient(Place(url, "tests", token, direction), role)
        self.role, self.fps, self.level = role, fps, level
        self.pc = RTCPeerConnection()
        self.messages: list[ControlMessage] = []
        self.pictures: list[np.ndarray] = []
        self.lows: list[tuple[int, np.ndarray]] = []
        self.voice: list[np.ndarray] = []
        self.opened = asyncio.Event()
        self.face_bytes = self.ticks = 0
        self.encoder = FaceEncoder(FaceConfig(hints=False))
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self) -> None:
        await self.client.enter()
        if self.role == "sender":
            self.pc.addTrack(Tone())
        else:
            self.pc.addTransceiver("audio", direction="recvonly")
        self.pc.addTransceiver("video", direction="recvonly")
        self.control = self.pc.createDataChannel("control", negotiated=True, id=0)
        self.channel = self.pc.createDataChannel("ticks", negotiated=True, id=1, ordered=False, maxRetransmits=0)
        self.control.on("open", self.opened.set)
        self.control.on("message", self._on_control)
        self.channel.on("message", self._on_low)
        self.pc.on("track", lambda track: self._tasks.append(asyncio.ensure_future(self._watch(track))))
        await self.pc.setLocalDescription(await self.pc.createOffer())
        answered = await self.client.offer(self.pc.localDescription.sdp)
        assert answered is not None
        self.answer = answered[1]
        await self.pc.setRemoteDescription(RTCSessionDescription(self.answer, "answer"))
        await asyncio.wait_for(self.opened.wait(), 10)
        if self.role == "sender":
            self.control.send(encode_control(Hello(self.fps, "full", False, 40, "a browser")))
            self.control.send(encode_control(Still(0, a_still())))
            self._tasks.append(asyncio.ensure_future(self._send()))

    def _on_control(self, data: Any) -> None:
        message = decode_control(data)
        self.messages.append(message)
        if isinstance(message, Refresh):
            self.encoder.refresh()
        if isinstance(message, NeedStill):
            self.control.send(encode_control(Still(1, a_still())))

    def _on_low(self, data: bytes) -> None:
        self.lows.append((int.from_bytes(data[:4], "big"), np.frombuffer(data[4:], np.uint8).reshape(8, 8, 3)))

    async def _watch(self, track: Any) -> None:
        with contextlib.suppress(Exception):
            while True:
                frame = await track.recv()
                if track.kind == "video":
                    self.pictures.append(frame.to_ndarray(format="rgb24"))
                else:
                    self.voice.append(frame.to_ndarray())

    async def _send(self) -> None:
        start, old = time.time(), b""
        for tick in range(10_000):
            await asyncio.sleep(max(0.0, start + 0.04 * (tick + 1) - time.time()))
            if self.fps == 0:
                continue
            ramp = np.arange(192).reshape(8, 8, 3) // 4 + self.level + 20 * np.sin(tick / 10)
            face = self.encoder.encode(ramp.astype(np.uint8))
            clock = round((start + 0.04 * tick) * 1000) & 0xFFFF if tick % 16 == 0 else None
            packet = TickPacket((face,), (b"",), (old,) if tick else (), clock)
            self.channel.send(tick.to_bytes(4, "big") + pack(packet))
            old, self.face_bytes, self.ticks = face, self.face_bytes + len(face), self.ticks + 1

    @property
    def told(self) -> dict[str, Any]:
        """The last figures that came."""
        return next((m.values for m in reversed(self.messages) if isinstance(m, Statistics) and "view" in m.values), {})

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self.control.readyState == "open":
            self.control.send(encode_control(Bye("")))
            await asyncio.sleep(0.1)
        await self.pc.close()
        await self.client.leave()
        await self.client.close()


async def links(child: asyncio.subprocess.Process, count: int) -> dict[str, str]:
    """Tokens by place, as the receiver prints them in its links."""
    found: dict[str, str] = {}
    assert child.stdout is not None
    async with asyncio.timeout(20):
        while len(found) < count:
            line = (await child.stdout.readline()).decode()
            assert line, found
            if match := re.search(r"#room=tests&place=(\S+)&token=(\S+)", line):
                found[match[1]] = match[2]
    return found


@contextlib.asynccontextmanager
async def joined(*browsers: FakeBrowser) -> AsyncIterator[None]:
    try:
        for browser in browsers:
            await browser.join()
        yield
    finally:
        for browser in browsers:
            await browser.leave()


def brightness(pictures: list[np.ndarray]) -> list[float]:
    return [float(p.mean()) for p in pictures]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.02)


def test_a_browser_sees_itself_and_its_figures_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / "r.json"

    async def scenario(url: str, receiver: Start) -> None:
        child = await receiver("--show", "none", "--reconstruction", "still-colour", "--report", str(report))
        tokens = await links(child, 2)
        browser = FakeBrowser(url, tokens["a/sender"], "sender")
        async with joined(browser):
            assert "useinbandfec=0" in browser.answer and "a=ptime:40" in browser.answer
            browser.control.send(encode_control(Statistics({"ping": 1234.5})))
            await until(lambda: len(browser.pictures) > 60 and len(browser.voice) > 60)
            await until(lambda: browser.told.get("seconds", 0) >= 3)
            pong = next(m for m in browser.messages if isinstance(m, Statistics) and "pong" in m.values)
            assert pong.values["pong"] == 1234.5 and abs(float(pong.values["clock"]) - 1000 * time.time()) < 60_000
            told = browser.told
            assert told["view"] == "loop" and told["two_way"] == 0 and told["live"] == 1 and told["fps"] > 15
            assert told["frames_shown"] > 60 and told["backend"] == "still-colour" and 0 < told["latency_ms"] < 500
            # what came down are the pictures and the voice that went up; its own 8x8 pictures it has
            assert not browser.lows
            expected = np.arange(192).reshape(8, 8, 3) // 4 + browser.level
            assert np.abs(browser.pictures[-1].reshape(8, 32, 8, 32, 3).mean((1, 3)) - expected).mean() < 30
            assert browser.pictures[-1].shape == (256, 256, 3)
            loudness = np.concatenate([v.ravel() for v in browser.voice[-20:]]).astype(float).std()
            assert 2000 < loudness < 8000
        _, err = await output(child)
        assert child.returncode == 0, err
        written = json.loads(report.read_text())
        assert written["face_kbps"] * written["seconds"] / 8 * 1000 == pytest.approx(browser.face_bytes, rel=0.05)
        assert written["ticks_received"] == pytest.approx(browser.ticks, rel=0.15)  # those of the first and last moment
        assert written["garbage_packets"] == 0 and written["identities"] == 1

    with_signaling(tmp_path, monkeypatch, scenario)


def test_two_browsers_see_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(url: str, receiver: Start) -> None:
        report = str(tmp_path / "{direction}.json")
        child = await receiver("--show", "none", "--reconstruction", "still-colour", "--two-way", "--report", report)
        tokens = await links(child, 2)
        assert set(tokens) == {"a/sender", "b/sender"}
        dark = FakeBrowser(url, tokens["a/sender"], "sender", "a", level=40)
        bright = FakeBrowser(url, tokens["b/sender"], "sender", "b", level=170)
        async with joined(dark):
            await until(lambda: dark.told.get("view") == "other")
            assert dark.told["live"] == 0 and not dark.pictures
            async with joined(bright):
                await until(lambda: len(dark.lows) > 20 and len(bright.lows) > 20)
                assert dark.lows[-1][1].mean() > 150 > 100 > bright.lows[-1][1].mean()
                assert dark.pictures and bright.pictures and dark.voice and bright.voice
                await until(lambda: dark.told.get("live") == 1 and dark.told.get("two_way") == 1)
        child.terminate()
        _, err = await output(child)
        assert child.returncode == 0, err
        for way in "ab":
            assert json.loads((tmp_path / f"{way}.json").read_text())["frames_shown"] > 20

    with_signaling(tmp_path, monkeypatch, scenario)


def test_a_viewer_watches_a_call_of_our_own_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.receiver.test_session import FakeSender

    async def scenario(url: str, receiver: Start) -> None:
        child = await receiver("--show", "none", "--reconstruction", "still-colour", "--stay")
        tokens = await links(child, 2)
        sender = FakeSender(url)
        await sender.call.join()
        viewer = FakeBrowser(url, tokens["a/viewer"], "viewer")
        async with joined(viewer):
            await until(lambda: len(viewer.pictures) > 30 and len(viewer.lows) > 14 and len(viewer.voice) > 30)
            await until(lambda: viewer.told.get("view") == "viewer" and viewer.told.get("fps", 0) > 10)
        again = FakeBrowser(url, tokens["a/viewer"], "viewer")
        async with joined(again):
            await until(lambda: len(again.pictures) > 10)
        await sender.call.leave()
        child.terminate()
        _, err = await output(child)
        assert child.returncode == 143 and not err  # SIGTERM, with nothing to write

    with_signaling(tmp_path, monkeypatch, scenario)


def test_a_camera_that_is_off_leaves_the_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(url: str, receiver: Start) -> None:
        child = await receiver("--show", "none", "--reconstruction", "still-colour")
        tokens = await links(child, 2)
        browser = FakeBrowser(url, tokens["a/sender"], "sender")
        async with joined(browser):
            await until(lambda: len(browser.pictures) > 30 and "lost" in browser.told)
            browser.fps = 0
            browser.control.send(encode_control(Hello(0, "full", False, 40, "a browser")))
            await asyncio.sleep(1.0)
            refreshes = sum(isinstance(m, Refresh) for m in browser.messages)
            lost = browser.told["lost"]
            pictures, voice = len(browser.pictures), len(browser.voice)
            await asyncio.sleep(2.0)
            # the still stays, and the voice goes on
            assert len(browser.voice) > voice + 60 and len(browser.pictures) > pictures + 25
            assert sum(isinstance(m, Refresh) for m in browser.messages) == refreshes
            assert browser.told["lost"] <= lost + 3
            browser.fps = 25
            browser.encoder.refresh()
            browser.control.send(encode_control(Hello(25, "full", False, 40, "a browser")))
            seen = len(browser.pictures)
            await until(
                lambda: len(browser.pictures) > seen + 25 and np.ptp(brightness(browser.pictures[seen + 10 :])) > 4
            )
        await output(child)

    with_signaling(tmp_path, monkeypatch, scenario)
