from __future__ import annotations

import asyncio
import json
import shutil
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import websockets

from codec_models.errors import UserError
from receiver.page import Page, own_host
from receiver.renderer import ShownPicture

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FIGURES = {
    "fps": 25.0, "face_kbps": 2.134, "audio_kbps": 11.8, "wire_kbps": 20.7, "bpp": 0.0013, "latency_ms": 61.3,
    "lost": 3, "concealed": 4, "backend": "still-colour", "device": "cpu", "state": "Connected", "live": True,
}  # fmt: skip
LOW = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)


def shown(index: int, level: int = 90) -> ShownPicture:
    return ShownPicture(1, index, np.full((256, 256, 3), level, np.uint8), LOW)


def with_page(scenario: Callable[[Page], Awaitable[None]]) -> None:
    async def run() -> None:
        page = Page()
        await page.start()
        try:
            async with asyncio.timeout(50):
                await scenario(page)
        finally:
            await page.stop()

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def feed(page: Page, seconds: float = 1e9) -> None:
    """A call of grey pictures and a tone, in real time; the voice of a tick goes before its picture."""
    loop, wave = asyncio.get_running_loop(), np.sin(np.arange(1920) * 2 * np.pi * 500 / 48000)
    start, index = loop.time(), 0
    while loop.time() < start + seconds:
        page.voice(1, index, (3000 * wave).astype(np.int16))
        page.picture(shown(index, 60 + index % 100))
        if index % 25 == 0:
            page.figures(FIGURES)
        index += 1
        await asyncio.sleep(max(0.0, start + 0.04 * index - loop.time()))


@pytest.mark.net
def test_files_carry_a_strict_policy_and_nothing_from_elsewhere() -> None:
    async def scenario(page: Page) -> None:
        async with httpx.AsyncClient(base_url=page.address) as client:
            for name, kind in (("", "html"), ("page.js", "javascript"), ("page.css", "css"), ("icon.svg", "svg")):
                response = await client.get(name)
                assert response.status_code == 200 and kind in response.headers["content-type"]
                policy = response.headers["content-security-policy"]
                assert "default-src 'none'" in policy and "unsafe" not in policy
                assert "://" not in response.text.replace("http://www.w3.org/2000/svg", "")
            assert " style=" not in (html := (await client.get("")).text)
            assert "<style" not in html and html.count("<script") == html.count('<script type="module" src=')
            assert (await client.get("../page.py")).status_code == 404
            assert (await client.get("page.py")).status_code == 404
            assert (await client.get("", headers={"Host": "evil.example"})).status_code == 403

    with_page(scenario)


@pytest.mark.net
def test_a_viewer_gets_pictures_voice_and_figures() -> None:
    async def scenario(page: Page) -> None:
        page.picture(shown(0))  # Nobody looks: dropped.
        page.figures({"state": "Waiting for the sender"})
        async with websockets.connect(page.address.replace("http", "ws") + "call") as viewer:
            assert json.loads(await viewer.recv())["state"] == "Waiting for the sender"
            page.voice(1, -3, np.arange(1920, dtype=np.int16))
            message = await viewer.recv()
            assert struct.unpack("<BBHI", message[:8]) == (2, 1, 0, 2**32 - 3)
            assert (np.frombuffer(message[8:], "<i2") == np.arange(1920)).all()
            await asyncio.to_thread(page.picture, shown(7))
            message = await viewer.recv()
            assert struct.unpack("<BBHI", message[:8]) == (1, 1, 192, 7)
            assert message[8:200] == LOW.tobytes()
            picture = cv2.imdecode(np.frombuffer(message[200:], np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None and picture.shape == (256, 256, 3) and abs(picture.mean() - 90) < 2
        await until(lambda: page.viewers == 0)

    with_page(scenario)


@pytest.mark.net
def test_a_slow_viewer_gets_the_newest_and_disturbs_nobody() -> None:
    async def scenario(page: Page) -> None:
        address = page.address.replace("http", "ws") + "call"
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 255, (256, 256, 3), np.uint8)
        async with (
            websockets.connect(address, max_queue=1) as slow,
            websockets.connect(address, max_queue=None) as quick,
        ):
            await until(lambda: page.viewers == 2)
            for index in range(300):
                page.voice(1, index, np.zeros(1920, np.int16))
                page.picture(ShownPicture(1, index, noise, LOW))
                await asyncio.sleep(0.001)
            for viewer in page._viewers:
                assert len(viewer.voice) <= 25

            async def last(viewer: Any) -> tuple[int, int]:
                count, index = 0, -1
                while index < 299:
                    message = await viewer.recv()
                    if message[0] == 1:
                        count, index = count + 1, struct.unpack("<BBHI", message[:8])[3]
                return count, index

            counted, newest = await last(quick)
            assert newest == 299 and counted > 100
            counted, newest = await last(slow)
            assert newest == 299 and counted < 290

    with_page(scenario)


@pytest.mark.net
@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}])
def test_other_web_pages_cannot_read_the_call(headers: dict[str, str]) -> None:
    async def scenario(page: Page) -> None:
        # By hand: client libraries insist on a Host of their own.
        reader, writer = await asyncio.open_connection("127.0.0.1", page.port)
        lines = {"Host": f"127.0.0.1:{page.port}", "Upgrade": "websocket", "Connection": "Upgrade"}
        lines |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13", **headers}
        writer.write(("GET /call HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n").encode())
        assert b" 403 " in await reader.readline()
        writer.close()
        assert page.viewers == 0

    with_page(scenario)


@pytest.mark.unit
def test_hosts_that_are_this_machine() -> None:
    assert all(own_host(h, "127.0.0.1") for h in ("127.0.0.1:80", "localhost:5", "localhost", "[::1]:9", "[::1]"))
    assert not any(own_host(h, "127.0.0.1") for h in ("", "a.example", "127.0.0.1.a.example:80", "192.0.2.7:80"))
    assert own_host("192.0.2.7:80", "0.0.0.0") and own_host("box.lan:80", "box.lan")
    assert not own_host("a.example:80", "0.0.0.0")


@pytest.mark.net
def test_a_port_that_is_taken_is_told() -> None:
    async def scenario(page: Page) -> None:
        with pytest.raises(UserError, match="--page-port"):
            Page(port=page.port)

    with_page(scenario)


async def seen(tab: Any, condition: str) -> None:
    """Wait for a condition in the page; playwright's own way of waiting needs eval, which the policy forbids."""
    async with asyncio.timeout(15):
        while not await tab.evaluate(condition):
            await asyncio.sleep(0.05)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_in_a_browser() -> None:
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")

    async def scenario(page: Page) -> None:
        async with playwright.async_playwright() as p:
            browser = await p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            tab = await browser.new_page(viewport={"width": 390, "height": 844})
            trouble: list[str] = []
            foreign: list[str] = []
            tab.on("console", lambda m: trouble.append(m.text) if m.type in ("error", "warning") else None)
            tab.on("pageerror", lambda e: trouble.append(str(e)))
            tab.on("request", lambda r: None if "127.0.0.1" in r.url else foreign.append(r.url))
            feeding = asyncio.create_task(feed(page))
            await tab.goto(page.address)
            await seen(tab, "pinhole.pictures > 20")
            pixel = await tab.evaluate(
                "[...document.getElementById('video').getContext('2d').getImageData(99,99,1,1).data]"
            )
            assert 55 <= pixel[0] <= 165 and pixel[3] == 255
            low = await tab.evaluate("[...document.getElementById('low').getContext('2d').getImageData(0,0,8,8).data]")
            assert (np.array(low).reshape(8, 8, 4)[..., :3] == LOW).all()
            assert await tab.inner_text("#face_kbps") == "2.13"
            assert await tab.inner_text("#engine") == "still-colour on cpu"
            assert await tab.inner_text("#state") == "Connected"
            assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth")

            # Sound, by keyboard alone.
            await tab.keyboard.press("Tab")
            await tab.keyboard.press("Enter")
            await seen(tab, "document.activeElement.getAttribute('aria-pressed') === 'true'")
            await seen(tab, "pinhole.chunks > 50 && pinhole.offsets.length > 40")
            offsets = np.abs(await tab.evaluate("pinhole.offsets.slice(10)")) * 1000
            assert np.percentile(offsets, 50) < 40
            feeding.cancel()
            page.figures({**FIGURES, "state": "The call has ended", "live": False, "ended": True})
            await seen(tab, "document.getElementById('state').textContent.includes('has ended')")
            await browser.close()
            assert not trouble and not foreign

    with_page(scenario)
