"""A call from a browser, measured: a headless Chromium sends from the page and is shown what becomes of it.

    python -m benchmarks.browser [CLIP] [--seconds N] [--fps 25|5] [--data-channel] [--json F] [--picture F.png]

CLIP is a media file that becomes the camera and the microphone, repeated until the time is over; without one it is the
built-in source. Server, receiver and browser run on this machine, beside each other. --data-channel: as a browser that
cannot put ticks into its voice packets. What the page counts stands beside what the receiver counts.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.chromium import FLAGS, fake_devices, find_chromium
from benchmarks.clips import DEMO, load_clip
from benchmarks.processes import Processes, free_port, terminated_like_interrupted
from benchmarks.report import Row, document, settings, table, write_json
from codec_models.errors import CommandParser, UserError, run_command

WARM_UP_S = 3.0
PATIENCE_S = 60.0
_WITHOUT_TRANSFORMS = "delete window.RTCRtpScriptTransform;"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Measure a call from a browser on this machine.")
    parser.add_argument("clip", nargs="?", default=DEMO, metavar="CLIP", help="media file (the built-in source)")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the call (30)")
    parser.add_argument("--fps", type=int, choices=(25, 5), default=25, help="8x8 frames a second (25)")
    parser.add_argument(
        "--data-channel", action="store_true", help="tick messages beside the voice, not in its packets"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--picture", type=Path, help="keep what the page looks like at the end of the call")
    options = parser.parse_args(arguments)
    if not 5 <= options.seconds < 1e5:
        parser.error("--seconds must be 5 or more")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    page, receiver = measure(options.clip, options.seconds, options.fps, options.data_channel, options.picture)
    rows = compared(page, receiver)
    print(table(rows, {"figure": "figure", "page": "the page", "receiver": "the receiver"}))
    if options.json is not None:
        clip = options.clip if options.clip == DEMO else Path(options.clip).name
        how = settings(clip=clip, seconds=options.seconds, fps=options.fps, data_channel=options.data_channel)
        write_json(options.json, document([], how, page=page, receiver=receiver))
        print(f"figures: {options.json}")
    return 0


def measure(
    clip: str, seconds: float, fps: int, data_channel: bool, picture: Path | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The reports of page and receiver. Raises UserError."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as e:
        raise UserError("the browser is driven by Playwright: pip install playwright") from e
    chromium = find_chromium()
    with tempfile.TemporaryDirectory(prefix="pinhole-browser-") as folder, terminated_like_interrupted():
        work, port = Path(folder), free_port()
        flags = fake_devices(work, load_clip(clip))
        with Processes(environment={"XDG_STATE_HOME": folder}) as processes, sync_playwright() as playwright:
            processes.start("signaling", ["-m", "signaling.main", "--port", str(port)])
            processes.wait_for_port(port)
            place = ["--signaling", f"http://127.0.0.1:{port}", "--room", "browser", "--show", "none"]
            child = processes.start("receiver", ["-m", "receiver.main", *place, "--report", str(work / "r.json")])
            address = _link(processes, child.lines)
            browser = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, *flags])
            tab = browser.new_page(viewport={"width": 1280, "height": 960})
            if data_channel:
                tab.add_init_script(_WITHOUT_TRANSFORMS)
            tab.goto(address)
            tab.click("#source-camera")
            _until(tab, "!document.getElementById('join-button').disabled && pinhole.crop.side > 0")
            if fps == 5:
                tab.check('input[name="fps"][value="5"]')
            time.sleep(WARM_UP_S)
            tab.click("#join-button")
            _until(tab, "pinhole.pictures > 0")
            time.sleep(seconds)
            if picture is not None:
                tab.screenshot(path=picture)
            tab.click("#leave")
            _until(tab, "pinhole.state === 'ready'")
            page: dict[str, Any] = json.loads(tab.evaluate("JSON.stringify(pinhole.report())"))
            browser.close()
            processes.wait("receiver", PATIENCE_S)
            return page, json.loads((work / "r.json").read_text(encoding="utf-8"))


def compared(page: dict[str, Any], receiver: dict[str, Any]) -> list[Row]:
    """What both sides say of the same thing, side by side."""

    def of(source: dict[str, Any], *path: str) -> str:
        value: Any = source
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return "-" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)

    latency = ", ".join(f"{name} {value}" for name, value in receiver["latency_ms"].items())
    parts = ", ".join(f"{name} {value:.1f}" for name, value in receiver["wire_parts_kbps"].items())
    rows = [
        ("seconds", of(page, "seconds"), of(receiver, "seconds")),
        ("ticks", of(page, "ticks_sent"), of(receiver, "ticks_received")),
        ("face kb/s", of(page, "face_kbps"), of(receiver, "face_kbps")),
        ("voice kb/s", of(page, "audio_kbps"), of(receiver, "audio_kbps")),
        ("up, on the wire, kb/s", of(page, "wire_kbps"), of(receiver, "wire_kbps", "received")),
        ("of it", "-", parts),
        ("down, on the wire, kb/s", of(page, "wire_received_kbps"), of(receiver, "wire_kbps", "sent")),
        ("pictures", of(page, "frames_shown"), of(receiver, "frames_shown")),
        ("capture to drawn, ms", "-", latency),
        ("way back, ms", of(page, "way_back_ms"), "-"),
        ("ticks lost", "-", of(receiver, "ticks_lost")),
        ("Join to connected, ms", of(page, "connect_ms"), "-"),
        ("Join to first picture, ms", of(page, "first_picture_ms"), "-"),
        ("reconstruction", "-", of(receiver, "backend")),
    ]
    return [{"figure": name, "page": here, "receiver": there} for name, here, there in rows]


def _link(processes: Processes, lines: Any) -> str:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        processes.check()
        for line in list(lines):
            if found := re.search(r"a browser sends at (\S+)", line):
                return found[1]
        time.sleep(0.05)
    raise UserError("the receiver gives no link for a browser: run it by hand and read what it says")


def _until(tab: Any, condition: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if tab.evaluate(condition):
            return
        if error := tab.evaluate("pinhole.error"):
            raise UserError(f"the page says {error}: {tab.inner_text('#error')}")
        time.sleep(0.05)
    raise UserError(f"the page does not get there ({condition}): run it again with a less busy machine")


def command() -> None:
    run_command(main)


if __name__ == "__main__":
    command()
