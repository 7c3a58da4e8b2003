"""The page in a real Chromium with a real signaling server and nobody who answers: links, leaving, controls."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from signaling.rooms import RoomLimits
from signaling.server import ServerConfig
from tests.signaling.browser.call_parts import CHROMIUM
from tests.signaling.browser.page_parts import STILL_OPEN, Rooms, Tab, picture

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


# The link


def test_a_link_is_taken_out_of_the_address_and_kept_for_a_reload(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link())
    page = tab.page
    assert page.url == f"{rooms.url}/" and page.inner_text("#join-room") == "lab"
    assert page.evaluate("() => history.length") <= 2
    page.reload()
    tab.seen("window.pinhole && pinhole.state === 'ready'")
    assert page.inner_text("#join-room") == "lab" and page.is_visible("#join-button")
    tab.join()
    tab.seen("pinhole.state === 'waiting'")
    token = rooms.tokens["a/sender"]
    assert not any(token in url for url in tab.urls if "#" not in url)
    assert not any(token in line for line in tab.complaints)
    # another link in the same tab: of a viewer now
    page.evaluate("(hash) => { location.hash = hash; }", rooms.link("a/viewer").partition("#")[2])
    tab.seen("!document.getElementById('watch-intro').hidden")
    assert page.url == f"{rooms.url}/" and page.is_hidden("#join-button") and page.is_visible("#watch")


def test_without_a_link_one_can_be_pasted(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.url)
    page = tab.page
    assert page.evaluate("() => pinhole.state") == "no-link" and page.is_visible("#intro")
    page.fill("#link", rooms.link()[:-40])
    page.press("#link", "Enter")
    tab.failed("broken-link")
    assert page.evaluate("() => document.activeElement.id") == "error"
    page.fill("#link", rooms.link())
    page.press("#link", "Enter")
    tab.seen("pinhole.state === 'ready'")
    assert page.is_hidden("#error") and page.is_hidden("#intro") and page.input_value("#link") == ""
    broken = open_tab(f"{rooms.url}/#room=lab&place=a/sender")
    broken.failed("broken-link")
    assert broken.page.url == f"{rooms.url}/" and broken.page.is_visible("#intro")


def test_a_link_of_another_server_is_opened_there(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.url)
    there = rooms.link(url=rooms.url.replace("127.0.0.1", "pinhole.test"))
    tab.page.fill("#link", there)
    tab.page.press("#link", "Enter")
    tab.page.wait_for_url("http://pinhole.test:*/")
    tab.seen("window.pinhole && pinhole.state === 'ready'")


# Waiting and leaving


def test_leaving_stops_everything(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link())
    for source in ("camera", "demo", "camera"):
        tab.join(source)
        tab.seen("pinhole.state === 'waiting'")
        peers, tracks, workers, contexts = tab.page.evaluate(STILL_OPEN)
        assert (peers, contexts) == (1, int(source == "demo")) and workers >= 1
        assert tracks == (2 if source == "camera" else 0)
        tab.page.click("#leave")
        tab.seen("pinhole.notice === 'left' && pinhole.state === 'ready'")
        tab.seen("opened.peers.every((p) => p.connectionState === 'closed')")
        assert tab.page.evaluate(STILL_OPEN) == [0, 0, 0, 0]
        assert tab.page.evaluate("() => document.activeElement.id") == "notice"
        # the place is free at once
        assert rooms.ask("PUT", "a/sender").status_code == 200
        assert rooms.ask("DELETE", "a/sender").status_code == 204
    assert tab.page.is_disabled("#join-button")


def test_going_away_frees_the_place(run_server: Callable[..., Any], open_tab: Callable[..., Tab]) -> None:
    rooms = Rooms(run_server(ServerConfig(wait_s=1.0, limits=RoomLimits(silent_s=600))))
    tab = open_tab(rooms.link())
    tab.join()
    tab.seen("pinhole.state === 'waiting'")
    assert rooms.ask("PUT", "a/sender").status_code == 409
    tab.page.goto("about:blank")
    end = time.monotonic() + 10
    while rooms.ask("PUT", "a/sender").status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_camera_goes_off_and_on(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link())
    tab.join("camera")
    tab.seen("pinhole.state === 'waiting'")
    live = "opened.tracks.filter((t) => t.kind === 'video' && t.readyState === 'live').length"
    tab.page.click("#camera-off")
    tab.seen(f"{live} === 0")  # its light is off
    assert tab.page.get_attribute("#camera-off", "aria-pressed") == "true"
    assert tab.page.evaluate("() => opened.tracks.filter((t) => t.kind === 'audio')[0].readyState") == "live"
    tab.page.click("#camera-off")
    tab.seen(f"{live} === 1")
    tab.seen("document.getElementById('camera-off').getAttribute('aria-pressed') === 'false'")
    tab.page.click("#mute")
    assert not tab.page.evaluate("() => opened.tracks.filter((t) => t.kind === 'audio')[0].enabled")
    tab.page.click("#slow")
    assert tab.page.get_attribute("#slow", "aria-pressed") == "true"
    assert tab.page.evaluate("() => pinhole.report().settings.fps") == 5


# The square


def test_the_square_by_hand(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link())
    page = tab.page
    tab.choose("camera")
    tab.seen("pinhole.crop.side === 480 && !document.getElementById('square').hidden")
    box = page.locator("#square").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -120)
    tab.seen("pinhole.crop.side < 460")
    before = page.evaluate("() => pinhole.crop")
    assert not before["following"]
    page.mouse.down()
    page.mouse.move(x - 60, y + 15, steps=4)
    page.mouse.up()
    moved = page.evaluate("() => pinhole.crop")
    scale = 480 / box["height"]
    assert moved["left"] - before["left"] == pytest.approx(-60 * scale, abs=3)
    assert moved["top"] - before["top"] == pytest.approx(15 * scale, abs=3) and moved["side"] == before["side"]
    # it is drawn where it is
    drawn = page.locator("#square").bounding_box()
    assert drawn["width"] == pytest.approx(moved["side"] / scale, abs=2)
    # keys
    page.focus("#square")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    keyed = page.evaluate("() => pinhole.crop")
    assert keyed["left"] > moved["left"] and keyed["top"] < moved["top"]
    page.keyboard.press("-")
    assert page.evaluate("() => pinhole.crop.side") < keyed["side"]
    page.keyboard.press("+")
    page.keyboard.press("=")
    assert page.evaluate("() => pinhole.crop.side") > keyed["side"]
    tab.seen(
        "[...document.getElementById('preview8').getContext('2d').getImageData(0, 0, 8, 8).data].some((v) => v > 9)"
    )
    page.screenshot(path=picture("join-square"))


def test_two_fingers_pinch(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link())
    page = tab.page
    tab.choose("camera")
    tab.seen("pinhole.crop.side === 480 && !document.getElementById('square').hidden")
    box = page.locator("#square").bounding_box()
    client = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        at = [{"x": box["x"] + x, "y": box["y"] + y, "id": k} for k, (x, y) in enumerate(points)]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    touch("touchStart", (100, 200), (300, 200))
    for k in range(1, 6):
        touch("touchMove", (100 + 10 * k, 200), (300 - 10 * k, 200))
    touch("touchEnd")
    assert page.evaluate("() => pinhole.crop.side") == pytest.approx(240, abs=20)


# For everyone

NAMELESS = """() => {
  const text = (id) => document.getElementById(id)?.textContent.trim() ?? "";
  const named = (e) => (e.getAttribute("aria-label") ?? "").trim()
    || (e.getAttribute("aria-labelledby") ?? "").split(" ").map(text).join("")
    || [...(e.labels ?? [])].map((l) => l.textContent.trim()).join("") || e.textContent.trim();
  const all = document.querySelectorAll(
    "button, input, select, a[href], video, canvas:not([aria-hidden]), [role=application], [role=tabpanel]");
  const missing = [...all].filter((e) => e.checkVisibility() && !named(e)).map((e) => e.id || e.outerHTML);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  const twice = ids.filter((id, k) => ids.indexOf(id) !== k);
  const dangling = [...document.querySelectorAll("[aria-describedby], [aria-labelledby], [aria-controls]")]
    .flatMap((e) => ["aria-describedby", "aria-labelledby", "aria-controls"].map((a) => e.getAttribute(a)))
    .filter((id) => id && !document.getElementById(id));
  return [...missing, ...twice, ...dangling];
}"""
FAINT = """() => {
  const parse = (c) => (c.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || e.disabled) continue;
    let ground = [18, 20, 25];
    for (let p = e; p; p = p.parentElement) {
      const c = parse(getComputedStyle(p).backgroundColor);
      if (c.length && (c.length < 4 || c[3] > 0.7)) { ground = c; break; }
    }
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${e.tagName} ${e.id} ${e.textContent.trim().slice(0, 20)} ${ratio.toFixed(2)}`);
  }
  return found;
}"""


def tab_order(page: Any) -> list[str]:
    """Ids in the order in which Tab reaches them; each shows that it has the focus."""
    found: list[str] = []
    page.evaluate("() => { const top = document.querySelector('h1'); top.tabIndex = -1; top.focus(); }")
    for _ in range(40):
        page.keyboard.press("Tab")
        name, outline, visible = page.evaluate(
            "() => { const e = document.activeElement; const s = getComputedStyle(e);"
            " return [e.id || e.name || e.tagName, s.outlineStyle, e.checkVisibility()]; }"
        )
        if name == "BODY" or name in found[:1]:
            break
        assert outline != "none" and visible, name
        found.append(name)
    return found


@pytest.mark.parametrize("size", [(1280, 900), (390, 844), (360, 740)])
def test_every_screen_fits_and_can_be_used(rooms: Rooms, open_tab: Callable[..., Tab], size: tuple[int, int]) -> None:
    def check(name: str) -> None:
        assert page.evaluate(NAMELESS) == [], name
        assert page.evaluate(FAINT) == [], name
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), name
        page.screenshot(path=picture(f"{name}-{size[0]}"), full_page=True)

    tab = open_tab(rooms.url, size=size)
    page = tab.page
    check("intro")
    page.fill("#link", rooms.link())
    page.press("#link", "Enter")
    tab.seen("pinhole.state === 'ready'")
    check("join")
    tab.choose("camera")
    tab.seen("document.getElementById('camera').options.length > 0 && !document.getElementById('square').hidden")
    assert page.locator("#microphone option").count() > 0
    check("join-camera")
    order = tab_order(page)
    expected = ["tab-call", "square", "follow", "source-camera", "source-file", "source-demo", "camera", "microphone"]
    assert [name for name in order if name != "follow"] == [
        *(e for e in expected if e != "follow"),
        "fps",
        "join-button",
    ]
    page.click("#join-button")
    tab.seen("pinhole.notice === 'waiting'")
    check("waiting")
    order = tab_order(page)
    expected = ["tab-call", "mute-other", "pip-toggle", "fullscreen", "mute", "camera-off", "slow", "adjust", "leave"]
    assert order == [*expected, "download"]
    page.click("#adjust")
    assert page.evaluate("() => document.activeElement.id") == "square"
    check("adjust")
    page.click("#leave")
    tab.seen("pinhole.notice === 'left'")
    check("left")


def test_the_report_can_be_kept(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link())
    tab.join()
    tab.seen("pinhole.state === 'waiting'")
    with tab.page.expect_download() as saved:
        tab.page.click("#download")
    report = json.loads(Path(saved.value.path()).read_text())
    assert report["role"] == "page" and report["settings"]["source"] == "demo" and report["ticks_sent"] == 0
    assert rooms.tokens["a/sender"] not in json.dumps(report)


def test_tabs_by_keyboard(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link())
    page = tab.page
    page.focus("#tab-call")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.activeElement.id") == "tab-compare"
    tab.seen("document.getElementById('panel-compare').textContent.length > 20")
    assert page.is_visible("#panel-compare") and page.is_hidden("#panel-call")
    page.keyboard.press("Home")
    assert page.is_visible("#panel-call") and page.is_hidden("#panel-compare")
    assert page.evaluate("() => pinhole.state") == "ready"
    straight = open_tab(f"{rooms.url}/#compare")
    straight.seen("document.getElementById('panel-compare').textContent.length > 20")
    assert straight.page.is_visible("#panel-compare")
