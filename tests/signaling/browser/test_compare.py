"""The tab "Compare" in a real browser, on files that `bpp --compare` made."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from signaling.page_files import HEADERS, STATIC, TYPES
from tests.signaling.browser.call_parts import CHROMIUM

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FRAMES = 75
CODECS = ["ours-25", "ours-5", "bicubic", "h264-floor", "h264-zerolatency-crf37", "av1-floor"]
HARNESS = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Compare</title>
<link rel="icon" href="/icon.svg"><link rel="stylesheet" href="/page.css"><link rel="stylesheet" href="/compare.css">
<script type="module" src="/harness.js"></script></head>
<body><main><section id="root"></section></main></body></html>"""
SCRIPT = """import { showCompare } from "/view/compare.js";
showCompare(document.getElementById("root")).then(() => { document.title = "shown"; });"""
OWN = {"/": ("text/html", HARNESS), "/harness.js": ("text/javascript", SCRIPT)}
VIDEOS = "[...document.querySelectorAll('.stage video')]"
LEFT, RIGHT = "document.querySelector('.stage .left')", "document.querySelector('.stage .right')"
SHOTS = os.environ.get("PINHOLE_SCREENSHOTS")
"""A folder for pictures of the page, to be looked at."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


class Files(BaseHTTPRequestHandler):
    """The page's own files, the harness, and a folder of the comparison; with the headers of the real server."""

    def __init__(self, *arguments: Any, compare: Path | None) -> None:
        self.compare = compare
        super().__init__(*arguments)

    def do_GET(self) -> None:
        kind, content = self.found()
        self.send_response(200 if content is not None else 404)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        body = content if content is not None else b'{"error": "there is nothing at this address"}'
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def found(self) -> tuple[str, bytes | None]:
        if self.path in OWN:
            kind, text = OWN[self.path]
            return kind, text.encode()
        name = self.path.lstrip("/")
        path = STATIC / name
        if name.startswith("compare/"):
            if self.compare is None:
                return "application/json", None
            path = self.compare / name.removeprefix("compare/")
        return TYPES.get(path.suffix, "application/json"), path.read_bytes() if path.is_file() else None

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(compare: Path | None) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, compare=compare))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from benchmarks import bpp

    out = tmp_path_factory.mktemp("compare")
    arguments = ["--frames", str(FRAMES), "--no-vmaf", "--reconstruction", "still-colour", "--codecs", ",".join(CODECS)]
    assert bpp.main([*arguments, "--compare", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, compare: Path | None, **context: Any) -> Iterator[tuple[Any, list[str]]]:
    """The tab, filled, and the addresses it asked for. Anything that the console calls an error fails the test."""
    trouble: list[str] = []
    asked: list[str] = []
    with served(compare) as address:
        tab = browser.new_page(**context)
        tab.on("console", lambda m: trouble.append(m.text) if m.type in ("error", "warning") else None)
        tab.on("pageerror", lambda e: trouble.append(str(e)))
        tab.on("request", lambda r: asked.append(r.url.removeprefix(address)))
        tab.goto(address)
        seen(tab, "document.title === 'shown'")
        yield tab, asked
        tab.close()
    if compare is None:  # the 404 itself
        trouble = [text for text in trouble if "404" not in text]
    assert not trouble


def seen(tab: Any, condition: str) -> None:
    """Wait for a condition in the page; playwright's own way of waiting needs eval, which the policy forbids."""
    end = time.monotonic() + 20
    while not tab.evaluate(condition):
        assert time.monotonic() < end, f"never: {condition}"
        time.sleep(0.05)


def shot(tab: Any, name: str) -> None:
    if SHOTS:
        tab.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)


def pixels(tab: Any, video: str) -> list[int]:
    """A row of the picture that a video shows."""
    got: list[int] = tab.evaluate(
        f"(() => {{ const c = new OffscreenCanvas(256, 256).getContext('2d');"
        f"c.drawImage({video}, 0, 0, 256, 256); return [...c.getImageData(60, 140, 140, 1).data]; }})()"
    )
    return got


def out_of_step(tab: Any) -> float:
    """Seconds between the two videos, the median of nine looks; from the end to the start counts as nothing."""
    off = []
    for _ in range(9):
        left, right = tab.evaluate(f"[{LEFT}.currentTime, {RIGHT}.currentTime]")
        off.append(min(abs(left - right), abs(FRAMES / 25 - abs(left - right))))
        time.sleep(0.03)
    return sorted(off)[4]


def test_both_videos_play_in_step_over_and_over(browser: Any, folder: Path) -> None:
    with opened(browser, folder, viewport={"width": 1280, "height": 900}) as (tab, asked):
        seen(tab, f"{VIDEOS}.every(v => v.currentTime > 0.2 && !v.paused)")
        before = pixels(tab, LEFT), pixels(tab, RIGHT)
        time.sleep(2)
        assert out_of_step(tab) < 0.08
        after = pixels(tab, LEFT), pixels(tab, RIGHT)
        assert before[0] != after[0] and before[1] != after[1] and after[0] != after[1]
        seen(tab, f"{LEFT}.currentTime > 2.5")
        seen(tab, f"{VIDEOS}.every(v => v.currentTime < 1 && v.currentTime > 0.3 && !v.paused)")
        assert out_of_step(tab) < 0.08

        # put out of step on purpose
        tab.evaluate(f"{RIGHT}.currentTime += 0.15")
        time.sleep(1.5)
        assert out_of_step(tab) < 0.08
        shot(tab, "compare-1280")

        tab.click("text=Pause")
        seen(tab, f"{VIDEOS}.every(v => v.paused && !v.seeking)")
        left, right = tab.evaluate(f"{VIDEOS}.map(v => v.currentTime)")
        assert left == right
        tab.click("text=Play")
        seen(tab, f"{VIDEOS}.every(v => !v.paused)")
        assert set(asked) >= {"compare/compare.json", "compare/ours-25.mp4", "compare/h264-floor.mp4"}
        assert all(not url.startswith("http") for url in asked)


def test_another_rate_is_chosen_and_the_label_says_it(browser: Any, folder: Path) -> None:
    videos = {v["codec"]: v for v in json.loads((folder / "compare.json").read_text())["videos"]}
    with opened(browser, folder, viewport={"width": 1280, "height": 900}) as (tab, asked):
        seen(tab, f"{VIDEOS}.every(v => v.currentTime > 0.2 && !v.paused)")
        floor = videos["h264-floor"]
        assert f"{floor['kbps']:.2f} kb/s" in tab.inner_text(".label.right")
        assert f"{floor['psnr']:.1f} dB" in tab.inner_text(".label.right")
        still = videos["ours-25"]["still_bytes"] / 1000
        assert f"{still:.1f} kB still" in tab.inner_text(".label.left")
        options = tab.locator("select >> nth=1").locator("option").evaluate_all("all => all.map(o => o.value)")
        rated = sorted(videos, key=lambda c: videos[c]["kbps"] or 1e9)
        assert options == [c for c in rated if not c.startswith("ours")] and options[-1] == "original"
        for codec in ("av1-floor", "original", "h264-zerolatency-crf37"):
            old = tab.evaluate(f"{RIGHT}.src")
            tab.get_by_label("Right").select_option(codec)
            seen(tab, f"{RIGHT}.src !== '{old}' && {VIDEOS}.every(v => v.readyState > 2 && !v.paused && !v.seeking)")
            assert videos[codec]["name"] in tab.inner_text(".label.right")
            assert f"compare/{codec}.mp4" in asked
        tab.get_by_label("Left").select_option("ours-5")
        seen(tab, f"{VIDEOS}.every(v => v.readyState > 2 && !v.paused && !v.seeking)")
        assert "Pinhole, 5 fps" in tab.inner_text(".label.left")
        time.sleep(1)
        assert out_of_step(tab) < 0.08


def test_the_divider_moves_by_keyboard_and_pointer(browser: Any, folder: Path) -> None:
    with opened(browser, folder, viewport={"width": 390, "height": 844}, has_touch=True) as (tab, _):
        slider = tab.get_by_role("slider", name="Divider")
        slider.focus()
        assert slider.input_value() == "50"
        for _press in range(3):
            tab.keyboard.press("ArrowLeft")
        assert slider.input_value() == "47"
        assert tab.evaluate("document.querySelector('.stage').style.getPropertyValue('--share')") == "47%"
        assert "47 % Pinhole, 25 fps" in str(slider.get_attribute("aria-valuetext"))
        shot(tab, "compare-390-focus")
        tab.keyboard.press("End")
        assert slider.input_value() == "100"
        box = slider.bounding_box()
        tab.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + box["height"] / 2)
        assert abs(int(slider.input_value()) - 25) <= 1
        line = tab.evaluate("document.querySelector('.line').getBoundingClientRect().x")
        assert abs(line - box["x"] - 0.25 * box["width"]) < 6


def test_the_table_has_every_codec_and_its_headings(browser: Any, folder: Path) -> None:
    rows = json.loads((folder / "compare.json").read_text())["rows"]
    with opened(browser, folder, viewport={"width": 1280, "height": 900}) as (tab, _):
        assert [row["codec"] for row in rows] == CODECS
        names = tab.locator("tbody th[scope=row]").all_inner_texts()
        assert names == [row["name"] for row in rows]
        heads = tab.locator("thead th[scope=col]").all_inner_texts()
        assert heads == ["Codec", "kb/s", "bit/pixel", "bit/pixel with the still", "PSNR, dB", "SSIM"]
        assert "The built-in source" in tab.inner_text("caption")
        cells = tab.locator("tbody tr >> nth=3").locator("td").all_inner_texts()
        assert cells[0] == f"{rows[3]['kbps']:.2f}" and len(cells) == 5
        tab.click("summary")
        assert "-crf 51" in tab.inner_text("dl")
        shot(tab, "compare-settings")


def test_the_side_by_side_plays_with_its_voice(browser: Any, folder: Path) -> None:
    with opened(browser, folder, viewport={"width": 1280, "height": 900}) as (tab, asked):
        tab.evaluate("document.querySelector('.side-by-side').scrollIntoView()")
        seen(tab, "document.querySelector('.side-by-side').readyState >= 1")
        assert tab.evaluate("document.querySelector('.side-by-side').controls")
        tab.evaluate("document.querySelector('.side-by-side').play().then(() => true)")
        seen(tab, "document.querySelector('.side-by-side').currentTime > 0.5")
        assert tab.evaluate("document.querySelector('.side-by-side').webkitAudioDecodedByteCount") > 0
        assert "compare/side_by_side.mp4" in asked
        assert tab.evaluate("document.querySelector('.picture img').naturalWidth") > 600
        # the pair rests while it is out of sight
        seen(tab, f"{VIDEOS}.every(v => v.paused)")


@pytest.mark.parametrize("width", [360, 390])
def test_a_phone_needs_no_scrolling_aside(browser: Any, folder: Path, width: int) -> None:
    with opened(browser, folder, viewport={"width": width, "height": 844}) as (tab, _):
        seen(tab, f"{VIDEOS}.every(v => v.currentTime > 0.2)")
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        shot(tab, f"compare-{width}")


def test_nothing_moves_by_itself_where_motion_is_unwanted(browser: Any, folder: Path) -> None:
    with opened(browser, folder, reduced_motion="reduce") as (tab, _):
        seen(tab, f"{VIDEOS}.every(v => v.readyState >= 2)")
        time.sleep(0.5)
        assert tab.evaluate(f"{VIDEOS}.every(v => v.paused && v.currentTime === 0)")
        tab.click("text=Play")
        seen(tab, f"{VIDEOS}.every(v => v.currentTime > 0.2)")


def test_without_files_a_sentence_names_the_commands(browser: Any) -> None:
    with opened(browser, None) as (tab, asked):
        text = tab.inner_text("#root")
        assert "python -m benchmarks.bpp --compare out/compare" in text
        assert "signaling --compare out/compare" in text and text.endswith(".")
        assert [url for url in asked if url.startswith("compare/")] == ["compare/compare.json"]
        shot(tab, "compare-missing")


def test_what_cannot_be_read_is_told(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "compare.json").write_text("{}")
    with opened(browser, tmp_path) as (tab, _):
        assert "cannot be shown" in tab.inner_text("#root")
