"""Calls between a real Chromium and the real commands."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import av
import numpy as np
import pytest

from codec_models.bitstream.face import FaceDecoder
from codec_models.bitstream.packet import unpack
from tests.signaling.browser.call_parts import (
    CHROMIUM,
    HEARD,
    NOTHING_OPEN,
    PICTURES,
    PIXELS,
    Stage,
    demo_devices,
    loudness,
    on_stage,
    seen,
)

pytest.importorskip("playwright.async_api", reason="playwright is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]
CHEAP = ("--reconstruction", "still-colour")


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return demo_devices(tmp_path_factory.mktemp("devices"))


def mean_and_spread(pixels: list[int]) -> tuple[float, float]:
    grey = np.array(pixels).reshape(-1, 4)[:, :3].mean(1)
    return float(grey.mean()), float(grey.std())


def test_a_camera_in_a_loop(tmp_path: Path, devices: tuple[str, str]) -> None:
    report = tmp_path / "r.json"

    async def scenario(play: Stage) -> None:
        await play.signaling()
        receiver, links = await play.receiver("--report", str(report))
        tab = await play.join(links["a/sender"])
        assert "#" not in tab.url  # the token leaves the address bar
        await seen(tab, "pinhole.pictures > 10")
        assert await tab.evaluate("pinhole.connectMs") < 3000
        PICTURES.mkdir(parents=True, exist_ok=True)
        # a picture, not black, and it moves
        before = await tab.evaluate(PIXELS)
        mean, spread = mean_and_spread(before)
        assert 40 < mean < 230 and spread > 20
        await seen(tab, "pinhole.pictures > 40")
        assert np.abs(np.array(before) - await tab.evaluate(PIXELS)).max() > 8
        assert await loudness(tab) > HEARD
        # what is shown as sent is what was received: the 8x8 picture of what the camera sees
        low = await tab.evaluate("[...document.getElementById('low').getContext('2d').getImageData(0, 0, 8, 8).data]")
        assert mean_and_spread(low)[0] == pytest.approx(mean, abs=25)
        await seen(tab, "pinhole.lastStatistics && pinhole.lastStatistics.seconds > 6")
        told = await tab.evaluate("pinhole.lastStatistics")
        assert told["view"] == "loop" and told["face_kbps"] > 0.2 and told["audio_kbps"] > 3 and told["fps"] > 2
        for element in ("face_kbps", "audio_kbps", "wire_kbps", "bpp", "latency_ms"):
            assert float((await tab.inner_text(f"#{element}")).replace(",", "")) > 0
        assert "on cpu" in await tab.inner_text("#engine") or "on" in await tab.inner_text("#engine")
        await tab.screenshot(path=PICTURES / "call-desktop.png")
        await tab.set_viewport_size({"width": 390, "height": 844})
        await asyncio.sleep(0.3)
        assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await tab.screenshot(path=PICTURES / "call-phone.png", full_page=True)
        await tab.click("#leave")
        await seen(tab, "pinhole.state === 'ready'")
        own = await play.report(tab)
        await seen(tab, NOTHING_OPEN)
        assert await receiver.ended() == 0, receiver.lines
        theirs = json.loads(report.read_text())
        seconds = theirs["seconds"]
        received = {
            "face_bytes": theirs["face_kbps"] * seconds * 125,
            "audio_bytes": theirs["audio_kbps"] * seconds * 125,
            "wire_bytes": theirs["wire_kbps"]["received"] * seconds * 125,
            "ticks_sent": theirs["ticks_received"],
        }
        # the page counts on its own, and comes to the same, but for one tick's face that may be under way
        for name, value in received.items():
            most = max(0.05 * value, 120 if name == "face_bytes" else 0)
            assert abs(own[name] - value) <= most, (name, own, theirs)
        assert theirs["ticks_corrupt"] == 0 and theirs["garbage_packets"] == 0
        assert theirs["identities"] >= 1
        # every byte of a face that left the page decodes here, to what the receiver decoded
        sent = {bytes(message[:4]): bytes(message[4:]) for message in await tab.evaluate("opened.sent")}
        decoder = FaceDecoder()
        ticks = [decoder.decode(unpack(packet).faces[0]) for _, packet in sorted(sent.items())]
        assert all(tick.clean and tick.picture is not None for tick in ticks) and len(ticks) == own["ticks_sent"]
        assert ticks[-1].hints is None or abs(ticks[-1].hints.head_x - 0.5) < 0.3
        assert not play.trouble

    on_stage(tmp_path, devices, scenario)


def test_twenty_joins_leave_nothing_behind(tmp_path: Path, devices: tuple[str, str]) -> None:
    async def scenario(play: Stage) -> None:
        server = await play.signaling()
        receiver, links = await play.receiver("--stay", *CHEAP)
        tab = await play.join(links["a/sender"])
        counted = []
        for k in range(20):
            if k:
                await tab.click("#source-camera")  # the camera went off when the call was left
                await seen(tab, "!document.getElementById('join-button').disabled && pinhole.crop.side > 0")
                await tab.click("#join-button")
                await seen(tab, "pinhole.state === 'connected'")
            await seen(tab, "pinhole.pictures > 3")
            await tab.click("#leave")
            await seen(tab, "!!document.getElementById('join-button').offsetParent")
            await seen(tab, NOTHING_OPEN)
            await asyncio.sleep(0.3)
            counted.append((receiver.files(), receiver.threads(), receiver.memory(), server.files()))
        files, threads, memory, server_files = zip(*counted, strict=True)
        assert max(files[-3:]) <= files[2] + 3 and max(server_files[-3:]) <= server_files[2] + 3
        assert max(threads[-3:]) <= max(threads[:4]) + 4
        assert memory[-1] < memory[5] + 60e6
        assert not play.trouble

    on_stage(tmp_path, devices, scenario, 115)


def test_two_browsers_and_one_box(tmp_path: Path, devices: tuple[str, str]) -> None:
    async def scenario(play: Stage) -> None:
        await play.signaling()
        _, links = await play.receiver("--two-way", *CHEAP)
        first = await play.join(links["a/sender"])
        await seen(first, "pinhole.view === 'other'")
        assert await first.evaluate("pinhole.pictures") == 0
        second = await play.join(links["b/sender"], "demo", width=390, height=844)
        for tab in (first, second):
            await seen(tab, "pinhole.pictures > 25")
            assert mean_and_spread(await tab.evaluate(PIXELS))[1] > 15
        assert await loudness(second) > HEARD
        await asyncio.sleep(0.5)
        await first.screenshot(path=PICTURES / "two-way-desktop.png")
        await second.screenshot(path=PICTURES / "two-way-phone.png", full_page=True)
        # muted, nobody hears; with the camera off, the other still sees a face
        await first.click("#mute")
        await asyncio.sleep(1.0)
        assert await loudness(second, 2) < HEARD
        await first.click("#camera-off")
        await seen(first, "opened.tracks.filter((t) => t.kind === 'video' && t.readyState === 'live').length === 0")
        await asyncio.sleep(1.0)
        assert mean_and_spread(await second.evaluate(PIXELS))[1] > 15
        await first.click("#camera-off")
        ticks = await first.evaluate("pinhole.ticksSent")
        await seen(first, f"pinhole.ticksSent > {ticks + 25}")
        # one leaves, the other is told
        await second.click("#leave")
        await seen(first, "pinhole.lastStatistics.live === 0")
        assert not play.trouble

    on_stage(tmp_path, devices, scenario)


def test_five_a_second_and_back(tmp_path: Path, devices: tuple[str, str]) -> None:
    async def scenario(play: Stage) -> None:
        await play.signaling()
        receiver, links = await play.receiver("--stay", *CHEAP)
        tab = await play.join(links["a/sender"], "demo")
        await seen(tab, "pinhole.pictures > 10")
        await tab.click("#slow")
        await receiver.line("sends 5 face frames")
        frames = (await play.report(tab))["frames_sent"]
        await asyncio.sleep(2.0)
        assert 6 <= (await play.report(tab))["frames_sent"] - frames <= 14
        await tab.click("#slow")
        async with asyncio.timeout(10):
            while sum("sends 25 face frames" in line for line in receiver.lines) < 2:
                await asyncio.sleep(0.05)
        pictures = await tab.evaluate("pinhole.pictures")
        await seen(tab, f"pinhole.pictures > {pictures + 20} && pinhole.lastStatistics.live === 1")
        assert not play.trouble

    on_stage(tmp_path, devices, scenario)


def test_a_native_receiver_records_a_browser(tmp_path: Path, devices: tuple[str, str]) -> None:
    movie = tmp_path / "call.mp4"

    async def scenario(play: Stage) -> None:
        await play.signaling()
        receiver, links = await play.receiver("--output", str(movie), *CHEAP)
        tab = await play.join(links["a/sender"], "demo")
        await seen(tab, "pinhole.lastStatistics && pinhole.lastStatistics.seconds > 4")
        await tab.click("#leave")
        assert await receiver.ended() == 0, receiver.lines

    on_stage(tmp_path, devices, scenario)
    with av.open(str(movie)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        container.seek(0)
        sound = np.concatenate([f.to_ndarray().ravel() for f in container.decode(audio=0)])
    assert len(frames) > 30 and frames[-1].std() > 20
    assert np.abs(frames[5].astype(int) - frames[-5]).max() > 10
    assert sound.std() > 0.003


def test_a_browser_watches_a_native_sender(tmp_path: Path, devices: tuple[str, str]) -> None:
    async def scenario(play: Stage) -> None:
        await play.signaling()
        _, links = await play.receiver("--stay", *CHEAP)
        sender = await play.command("sender.main", "--signaling", play.url, "--room", "r", "--source", "demo")
        tab = await play.tab(links["a/viewer"])
        await tab.click("#watch")
        await seen(tab, "pinhole.pictures > 25 && pinhole.view === 'viewer'", 30)
        assert mean_and_spread(await tab.evaluate(PIXELS))[1] > 15
        await seen(tab, "pinhole.lastStatistics.face_kbps > 0.2")
        assert await loudness(tab) > HEARD
        await tab.screenshot(path=PICTURES / "viewer-desktop.png")
        await sender.end()
        await seen(tab, "pinhole.lastStatistics.live === 0")
        await tab.click("#leave")
        assert not play.trouble

    on_stage(tmp_path, devices, scenario)


def test_a_server_that_goes_away_does_not_end_the_call(tmp_path: Path, devices: tuple[str, str]) -> None:
    async def scenario(play: Stage) -> None:
        server = await play.signaling()
        _, links = await play.receiver("--stay", *CHEAP)
        tab = await play.join(links["a/sender"], "demo")
        await seen(tab, "pinhole.pictures > 10")
        await server.end()
        await seen(tab, "pinhole.notice === 'server-silent'", 40)
        pictures = await tab.evaluate("pinhole.pictures")
        await seen(tab, f"pinhole.state === 'connected' && pinhole.pictures > {pictures + 20}")
        await tab.click("#leave")

    on_stage(tmp_path, devices, scenario)
