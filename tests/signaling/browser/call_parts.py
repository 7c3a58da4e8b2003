"""What the tests of calls in a real Chromium share: a camera, a microphone, the commands, a tab."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.chromium import FLAGS, fake_devices
from benchmarks.clips import Clip
from sender.demo_source import DemoSource

ROOT = Path(__file__).parents[3]
PICTURES = ROOT / "out" / "screenshots"
"""Screenshots are kept here, to be looked at."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WATCH = """
(() => {
  // What the page opens, so that a test can see that it closes it: connections, tracks, workers, audio contexts.
  const open = { peers: [], tracks: [], workers: 0, contexts: [], sent: [] };
  Object.defineProperty(window, "opened", { value: open });
  const Peer = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Peer { constructor(...a) { super(...a); open.peers.push(this); } };
  const ask = navigator.mediaDevices?.getUserMedia.bind(navigator.mediaDevices);
  if (ask) navigator.mediaDevices.getUserMedia = async (...a) => {
    const stream = await ask(...a);
    open.tracks.push(...stream.getTracks());
    return stream;
  };
  const W = window.Worker;
  window.Worker = class extends W {
    constructor(...a) { super(...a); open.workers += 1; }
    terminate() { open.workers -= 1; super.terminate(); }
    postMessage(data, ...rest) {
      if (data?.message) open.sent.push(Array.from(data.message));  // goes along with the voice
      super.postMessage(data, ...rest);
    }
  };
  const A = window.AudioContext;
  window.AudioContext = class extends A { constructor(...a) { super(...a); open.contexts.push(this); } };
  const send = RTCDataChannel.prototype.send;
  RTCDataChannel.prototype.send = function (data) {
    if (this.label === "ticks") open.sent.push(Array.from(new Uint8Array(data.buffer ?? data)));
    return send.call(this, data);
  };
})();
"""
NOTHING_OPEN = """(
  opened.peers.every((p) => p.connectionState === "closed") && opened.tracks.every((t) => t.readyState === "ended")
  && opened.workers === 0 && opened.contexts.every((c) => c.state === "closed")
)"""
PIXELS = """(() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  const context = canvas.getContext("2d");
  context.drawImage(document.getElementById("video"), 0, 0, 32, 32);
  return [...context.getImageData(0, 0, 32, 32).data];
})()"""
HEARD = 0.003
"""Root mean square of sound that is heard, of a full scale of 1."""
_LOUDNESS = """(async () => {
  const context = new AudioContext();
  await context.resume();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(document.getElementById("video").srcObject).connect(analyser);
  const samples = new Float32Array(2048);
  let most = 0;
  for (let k = 0; k < SECONDS * 20 && most < HEARD; k++) {
    await new Promise((done) => setTimeout(done, 50));
    analyser.getFloatTimeDomainData(samples);
    most = Math.max(most, Math.sqrt(samples.reduce((sum, s) => sum + s * s, 0) / samples.length));
  }
  await context.close();
  return most;
})()"""


async def loudness(tab: Any, seconds: int = 10) -> float:
    """Of what comes down: the loudest moment until something is heard, for so long at most (speech has pauses)."""
    return float(await tab.evaluate(_LOUDNESS.replace("SECONDS", str(seconds)).replace("HEARD", str(HEARD))))


def demo_devices(folder: Path, seconds: float = 4.0) -> tuple[str, str]:
    """Flags that make the built-in face the camera and its voice the microphone."""
    ticks = list(DemoSource(seconds))
    frames = [cv2.resize(t.picture, (256, 256), interpolation=cv2.INTER_AREA) for t in ticks if t.picture is not None]
    points = np.full((len(frames), 110, 2), np.nan, np.float32)
    return fake_devices(folder, Clip("demo", np.stack(frames), np.stack([t.voice for t in ticks]), points))


class Command:
    """A child of the test; its lines as they come."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())

    async def line(self, pattern: str) -> re.Match[str]:
        """The first line that the pattern is found in, now or later."""
        async with asyncio.timeout(30):
            while True:
                for line in self.lines:
                    if found := re.search(pattern, line):
                        return found
                assert self.process.returncode is None, self.lines
                await asyncio.sleep(0.02)

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Stop it in order."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for it to end by itself -> its exit status."""
        async with asyncio.timeout(15):
            status = await self.process.wait()
            await self._reading
        return status

    def files(self) -> int:
        """Open files and sockets, of a Linux process."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def memory(self) -> int:
        """Resident bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def seen(tab: Any, condition: str, seconds: float = 20) -> None:
    """Wait for a condition in the page; playwright's own way of waiting needs eval, which the policy forbids."""
    try:
        async with asyncio.timeout(seconds):
            while not await tab.evaluate(condition):
                await asyncio.sleep(0.05)
    except TimeoutError:
        state = await tab.evaluate("JSON.stringify({s: pinhole.state, e: pinhole.error, p: pinhole.pictures})")
        raise AssertionError(f"never: {condition} ({state})") from None


class Stage:
    """Commands, browsers and what they complained of."""

    def __init__(self, playwright: Any, folder: Path, flags: tuple[str, ...]) -> None:
        self._playwright, self._folder, self._flags = playwright, folder, flags
        self.commands: list[Command] = []
        self.browsers: list[Any] = []
        self.trouble: list[str] = []
        self.foreign: list[str] = []
        self.requested: list[str] = []
        self.url = ""

    async def command(self, module: str, *args: str) -> Command:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *args, cwd=ROOT, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        self.commands.append(Command(process))
        return self.commands[-1]

    async def signaling(self, *args: str) -> Command:
        command = await self.command("signaling.main", "--port", "0", *args)
        self.url = (await command.line(r"http\S+"))[0]
        return command

    async def receiver(self, *args: str) -> tuple[Command, dict[str, str]]:
        """A receiver in room "r" -> its links by place, once it waits."""
        command = await self.command("receiver.main", "--signaling", self.url, "--room", "r", "--show", "none", *args)
        await command.line("waiting for the sender in room r")
        while "--two-way" in args and sum("waiting for the sender" in line for line in command.lines) < 2:
            await asyncio.sleep(0.02)
        links = {}
        for line in command.lines:
            if found := re.search(r"(http\S+#room=r&place=(\S+)&token=\S+)", line):
                links[found[2]] = found[1]
        return command, links

    async def tab(self, address: str, width: int = 1280, height: int = 900) -> Any:
        browser = await self._playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *self._flags])
        self.browsers.append(browser)
        tab = await browser.new_page(viewport={"width": width, "height": height})
        await tab.add_init_script(WATCH)
        tab.on("console", self._console)
        tab.on("pageerror", lambda e: self.trouble.append(str(e)))
        tab.on("request", lambda r: self._request(r.url))
        await tab.goto(address)
        return tab

    def _console(self, message: Any) -> None:
        # Chromium tells of every answer above 399; the server's "this session has ended" is one.
        if message.type in ("error", "warning") and "status of 410" not in message.text:
            self.trouble.append(message.text)

    def _request(self, url: str) -> None:
        self.requested.append(url)
        if not url.startswith((self.url, "blob:", "data:")):
            self.foreign.append(url)

    async def join(self, address: str, source: str = "camera", **size: int) -> Any:
        """A tab that has joined with that source and sees pictures, or waits for the other's."""
        tab = await self.tab(address, **size)
        await tab.click(f"#source-{source}")
        await seen(tab, "!document.getElementById('join-button').disabled && pinhole.crop.side > 0")
        await tab.click("#join-button")
        await seen(tab, "pinhole.state === 'connected'")
        return tab

    async def report(self, tab: Any) -> dict[str, Any]:
        return json.loads(await tab.evaluate("JSON.stringify(pinhole.report())"))


@contextlib.asynccontextmanager
async def stage(playwright: Any, folder: Path, flags: tuple[str, ...]) -> AsyncIterator[Stage]:
    """Everything ends with the block; nothing may have been asked of other hosts, and no token in an address."""
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    play = Stage(playwright, folder, flags)
    try:
        yield play
    finally:
        for browser in play.browsers:
            await browser.close()
        for command in reversed(play.commands):
            with contextlib.suppress(TimeoutError):
                await command.end()
    assert not play.foreign
    assert not any("token" in url for url in play.requested if "#" not in url)


def on_stage(
    folder: Path, flags: tuple[str, ...], scenario: Callable[[Stage], Awaitable[None]], seconds: float = 100
) -> None:
    """Run a scenario with a signaling server's stage."""
    import playwright.async_api

    async def run() -> None:
        async with (
            asyncio.timeout(seconds),
            playwright.async_api.async_playwright() as p,
            stage(p, folder, flags) as play,
        ):
            await scenario(play)

    asyncio.run(run())
