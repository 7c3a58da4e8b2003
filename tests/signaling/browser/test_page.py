"""The page in a real Chromium with a real signaling server and nobody who answers: links, errors, controls."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from signaling.rooms import RoomLimits
from signaling.server import ServerConfig

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

ROOT = Path(__file__).parents[3]
PICTURES = ROOT / "out" / "screenshots"
"""Screenshots are kept here, to be looked at."""
PLAIN = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP pinhole.test 127.0.0.1",
)  # fmt: skip
ALLOWED = "--use-fake-ui-for-media-stream"
DEVICES = {
    "camera": (*PLAIN, ALLOWED, "--use-fake-device-for-media-stream"),
    "no camera": (*PLAIN, ALLOWED, "--use-fake-device-for-media-stream=device-count=0"),
    "not asked": (*PLAIN, "--use-fake-device-for-media-stream", "--deny-permission-prompts"),
}
WATCH = """
(() => {
  const open = { peers: [], tracks: [], workers: 0, contexts: [] };
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
  };
  const A = window.AudioContext;
  window.AudioContext = class extends A { constructor(...a) { super(...a); open.contexts.push(this); } };
})();
"""
STILL_OPEN = """() => [
  opened.peers.filter((p) => p.connectionState !== "closed").length,
  opened.tracks.filter((t) => t.readyState === "live").length,
  opened.workers,
  opened.contexts.filter((c) => c.state !== "closed").length,
]"""


def failing(name: str, audio_only: bool = False) -> str:
    """A script that makes getUserMedia fail as it does where the devices do."""
    when = "wanted.audio" if audio_only else "true"
    listed = "all.filter((d) => d.kind !== 'audioinput')" if audio_only else "all"
    return f"""(() => {{
      const devices = navigator.mediaDevices;
      const [ask, list] = [devices.getUserMedia.bind(devices), devices.enumerateDevices.bind(devices)];
      devices.getUserMedia = async (wanted) => {{
        if ({when}) throw new DOMException("no", "{name}");
        return ask(wanted);
      }};
      devices.enumerateDevices = async () => {{ const all = await list(); return {listed}; }};
    }})();"""


class Tab:
    """A page, and what it asked for and complained of."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.urls: list[str] = []
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.complaints.append(f"uncaught {e}"))
        page.on("request", lambda r: self.urls.append(r.url))

    def seen(self, condition: str, seconds: float = 20) -> None:
        """Wait for a condition in the page; playwright's own way of waiting needs eval, which the policy forbids."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(f"() => Boolean({condition})"):
            state = "() => JSON.stringify([pinhole.state, pinhole.error, pinhole.notice])"
            assert time.monotonic() < end, f"never: {condition} ({self.page.evaluate(state)})"
            self.page.wait_for_timeout(50)

    def choose(self, source: str) -> None:
        self.page.click(f"#source-{source}")
        self.seen("!document.getElementById('join-button').disabled")

    def join(self, source: str = "demo") -> None:
        self.choose(source)
        self.page.click("#join-button")

    def failed(self, kind: str, *ways: str) -> None:
        """An error is shown: as an alert, in the focus, with its sentence and exactly these ways on."""
        self.seen(f"pinhole.error === '{kind}'")
        box = self.page.locator("#error")
        assert box.is_visible() and box.get_attribute("role") == "alert"
        assert len(box.locator("p").all()) == 2 and all(len(p.inner_text()) > 15 for p in box.locator("p").all())
        found = [b.get_attribute("data-action") for b in box.locator("button").all()]
        assert found == list(ways)

    def way_on(self, action: str) -> None:
        self.page.click(f"#error [data-action={action}]")

    @property
    def own_complaints(self) -> list[str]:
        """Without the browser's own lines about requests that were refused and headers that http does not have."""
        known = ("Failed to load resource", "Cross-Origin-Opener-Policy header has been ignored")
        return [c for c in self.complaints if not any(k in c for k in known)]


@pytest.fixture(scope="module")
def browsers() -> Iterator[Callable[[str], Any]]:
    """Browsers by their devices; each is started once."""
    from playwright.sync_api import sync_playwright

    started: dict[str, Any] = {}
    with sync_playwright() as playwright:

        def browser(devices: str) -> Any:
            if devices not in started:
                args = list(DEVICES[devices])
                started[devices] = playwright.chromium.launch(executable_path=CHROMIUM, args=args)
            return started[devices]

        yield browser
        for one in started.values():
            one.close()


@pytest.fixture
def open_tab(browsers: Callable[[str], Any]) -> Iterator[Callable[..., Tab]]:
    """Opens an address in a context of its own; in the end no host but ours was asked, and nothing was uncaught."""
    contexts: list[Any] = []
    tabs: list[Tab] = []

    def open_one(address: str, script: str = "", devices: str = "camera", size: tuple[int, int] = (1280, 900)) -> Tab:
        context = browsers(devices).new_context(viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce")
        contexts.append(context)
        context.add_init_script(WATCH)
        if script:
            context.add_init_script(script)
        tab = Tab(context.new_page())
        tabs.append(tab)
        tab.page.goto(address)
        tab.seen("window.pinhole")
        return tab

    yield open_one
    for context in contexts:
        context.close()
    for tab in tabs:
        assert not tab.own_complaints
        own = ("http://127.0.0.1:", "http://pinhole.test:", "blob:", "data:")
        assert all(url.startswith(own) for url in tab.urls), tab.urls


class Rooms:
    """A server with a room "lab", and links into it."""

    def __init__(self, running: Any) -> None:
        self.running, self.url = running, running.url
        made = httpx.post(f"{self.url}/rooms/lab", trust_env=False).json()
        self.tokens: dict[str, str] = made["tokens"]

    def link(self, place: str = "a/sender", token: str | None = None, room: str = "lab", url: str | None = None) -> str:
        fields = {"room": room, "place": place, "token": token or self.tokens[place]}
        return f"{url or self.url}/#{urlencode(fields, safe='/')}"

    def ask(self, method: str, place: str, member: str = "someone-elses-member", **more: Any) -> httpx.Response:
        # who answers has no token but the receiver's
        headers = {"Authorization": f"Bearer {self.tokens[place]}", "Pinhole-Member": member} | more.pop("headers", {})
        path = more.pop("path", f"/rooms/lab/{place}")
        return httpx.request(method, self.url + path, headers=headers, timeout=20, trust_env=False, **more)


@pytest.fixture
def rooms(run_server: Callable[..., Any]) -> Rooms:
    return Rooms(run_server())


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


# Errors, each with its sentence and a way on


def test_no_camera(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link(), devices="no camera")
    tab.page.click("#source-camera")
    tab.failed("no-camera", "camera", "file", "demo")
    assert tab.page.evaluate("() => document.activeElement.id") == "error"
    tab.page.screenshot(path=picture("error-no-camera"))
    tab.way_on("demo")
    tab.seen("!document.getElementById('join-button').disabled && pinhole.error === ''")


def test_permission_refused(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link(), devices="not asked")
    tab.page.click("#source-camera")
    tab.failed("permission-refused", "camera", "file", "demo")
    with tab.page.expect_file_chooser():
        tab.way_on("file")


def test_no_microphone(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link(), failing("NotFoundError", audio_only=True))
    tab.page.click("#source-camera")
    tab.failed("no-microphone", "camera", "silent")
    tab.way_on("silent")
    tab.seen("!document.getElementById('join-button').disabled")
    tab.page.click("#join-button")
    tab.seen("pinhole.state === 'waiting'")
    assert tab.page.is_disabled("#mute")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("NotReadableError", "camera-busy"), ("AbortError", "camera-busy"), ("OverconstrainedError", "no-camera")],
)
def test_devices_that_fail(rooms: Rooms, open_tab: Callable[..., Tab], name: str, kind: str) -> None:
    tab = open_tab(rooms.link(), failing(name))
    tab.page.click("#source-camera")
    tab.failed(kind, "camera", "file", "demo")


def test_a_camera_that_is_unplugged(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link())
    tab.join("camera")
    tab.seen("pinhole.state === 'waiting'")
    unplug = "() => opened.tracks.filter((t) => t.kind === 'video').at(-1).dispatchEvent(new Event('ended'))"
    tab.page.evaluate(unplug)
    tab.failed("camera-lost", "cameraOn")
    assert tab.page.get_attribute("#camera-off", "aria-pressed") == "true"
    tab.way_on("cameraOn")
    tab.seen("pinhole.error === ''")
    assert tab.page.get_attribute("#camera-off", "aria-pressed") == "false"


def test_an_insecure_origin(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link(url=rooms.url.replace("127.0.0.1", "pinhole.test")))
    assert not tab.page.evaluate("() => isSecureContext")
    tab.page.click("#source-camera")
    tab.failed("insecure", "file", "demo")
    # the way on leads into the call
    tab.way_on("demo")
    tab.seen("!document.getElementById('join-button').disabled")
    tab.page.click("#join-button")
    tab.seen("pinhole.state === 'waiting'")


def test_a_file_that_does_not_play(rooms: Rooms, open_tab: Callable[..., Tab], tmp_path: Path) -> None:
    file = tmp_path / "a.mp4"
    file.write_text("no video")
    tab = open_tab(rooms.link())
    tab.page.set_input_files("#file", file)
    tab.failed("file-unplayable", "file", "demo")


def test_no_demo_face(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link())
    tab.page.route("**/demo.webm", lambda route: route.fulfill(status=404, body=""))
    tab.page.click("#source-demo")
    tab.failed("demo-missing", "camera", "file")
    tab.way_on("camera")
    tab.seen("!document.getElementById('join-button').disabled")


@pytest.mark.parametrize("place", ["a/sender", "a/viewer"])
def test_a_wrong_token(rooms: Rooms, open_tab: Callable[..., Tab], place: str) -> None:
    tab = open_tab(rooms.link(place, "wrong"))
    if place == "a/sender":
        tab.join()
    else:
        tab.page.click("#watch")
    tab.failed("wrong-token", "link")
    tab.page.screenshot(path=picture(f"error-token-{place[2:]}"))
    tab.way_on("link")
    assert tab.page.is_visible("#link") and tab.page.evaluate("() => document.activeElement.id") == "link"
    tab.page.fill("#link", rooms.link(place))
    tab.page.press("#link", "Enter")
    tab.seen("pinhole.state === 'ready'")


def test_a_token_of_another_place(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link(token=rooms.tokens["b/sender"]))
    tab.join()
    tab.failed("wrong-token", "link")


def test_no_such_room(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link(room="elsewhere"))
    tab.join()
    tab.failed("no-room", "link", "retry")


def test_a_used_token(run_server: Callable[..., Any], open_tab: Callable[..., Tab]) -> None:
    rooms = Rooms(run_server(ServerConfig(wait_s=1.0, limits=RoomLimits(silent_s=600))))
    assert rooms.ask("PUT", "a/sender").status_code == 200
    tab = open_tab(rooms.link())
    tab.join()
    tab.failed("token-in-use", "retry", "link")
    assert rooms.ask("DELETE", "a/sender").status_code == 204
    tab.way_on("retry")
    tab.seen("pinhole.state === 'waiting'")


def test_two_tabs_of_one_link(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    first = open_tab(rooms.link())
    first.join()
    first.seen("pinhole.state === 'waiting'")
    second = Tab(first.page.context.new_page())
    second.page.goto(rooms.link())
    second.seen("window.pinhole && pinhole.state === 'ready'")
    second.join()
    second.failed("token-in-use", "retry", "link")
    assert first.page.evaluate("() => pinhole.state") == "waiting"


def test_too_many_tries(run_server: Callable[..., Any], open_tab: Callable[..., Tab]) -> None:
    rooms = Rooms(run_server(ServerConfig(wait_s=1.0, failures_per_minute=1.0)))
    tab = open_tab(rooms.link(token="wrong"))
    tab.join()
    tab.failed("wrong-token", "link")
    tab.page.click("#join-button")
    tab.failed("too-many-tries", "retry")


def test_a_full_server(run_server: Callable[..., Any], open_tab: Callable[..., Tab]) -> None:
    rooms = Rooms(run_server(ServerConfig(wait_s=1.0, limits=RoomLimits(max_members=0))))
    tab = open_tab(rooms.link())
    tab.join()
    tab.failed("server-full", "retry")


def test_a_server_that_is_gone(rooms: Rooms, run_server: Callable[..., Any], open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link())
    tab.choose("demo")
    rooms.running.stop()
    tab.page.click("#join-button")
    tab.failed("server-gone", "retry")
    # another one on the same port, which does not know the room
    again = run_server(ServerConfig(wait_s=1.0), rooms.running.port)
    tab.way_on("retry")
    tab.failed("no-room", "link", "retry")
    again.stop()


def test_a_server_that_goes_while_one_waits(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link())
    tab.join()
    tab.seen("pinhole.notice === 'waiting'")
    box = tab.page.locator("#notice")
    assert box.get_attribute("role") == "status" and "Nobody answers yet." in box.inner_text()
    tab.page.wait_for_timeout(1200)  # the first offer was sent back unanswered
    rooms.running.stop()
    tab.seen("pinhole.notice === 'server-silent'")
    tab.page.click("#leave")
    tab.seen("pinhole.notice === 'left'")


def test_a_server_that_makes_a_mistake(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link())
    tab.page.route("**/rooms/**", lambda route: route.fulfill(status=500, json={"error": "the disk is full"}))
    tab.join()
    tab.failed("server-mistake", "retry")
    assert "It said: the disk is full." in tab.page.inner_text("#error")


def test_a_part_of_the_page_that_is_missing(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.url)
    tab.page.route("**/weights/face_prior.safetensors", lambda route: route.fulfill(status=404, body=""))
    tab.page.fill("#link", rooms.link())
    tab.page.press("#link", "Enter")
    tab.join()
    tab.failed("page-incomplete", "reload")


@pytest.mark.parametrize(
    ("script", "kind", "named"),
    [
        ("RTCRtpSender.getCapabilities = () => ({codecs: [{mimeType: 'audio/PCMU'}]});", "codec-missing", "Opus"),
        ("RTCRtpReceiver.getCapabilities = () => ({codecs: []});", "codec-missing", "VP8 and H.264"),
        ("delete window.RTCPeerConnection;", "no-webrtc", "WebRTC"),
    ],
)
def test_what_a_browser_lacks(rooms: Rooms, open_tab: Callable[..., Tab], script: str, kind: str, named: str) -> None:
    tab = open_tab(rooms.link(), script)
    tab.join()
    tab.failed(kind)
    assert named in tab.page.inner_text("#error")


def test_a_browser_that_hides_pixels(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    noise = """const read = CanvasRenderingContext2D.prototype.getImageData;
    CanvasRenderingContext2D.prototype.getImageData = function (...a) {
      const image = read.apply(this, a);
      image.data.forEach((_, k) => (image.data[k] = (k * 2654435761) & 255));
      return image;
    };"""
    open_tab(rooms.link(), noise).failed("canvas-blocked")


def test_an_answer_that_leads_nowhere(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    """A receiver whose answers no browser can use."""
    done = threading.Event()

    def answer() -> None:
        while not done.is_set():
            offer = rooms.ask("GET", "a/receiver")
            if offer.status_code == 200:
                sdp = {"Content-Type": "application/sdp"}
                rooms.ask("PUT", "a/receiver", path=offer.headers["location"], headers=sdp, content="v=0\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        tab = open_tab(rooms.link())
        tab.join()
        tab.failed("connection-failed", "retry")
        assert tab.page.is_visible("#join-button")
        assert tab.page.evaluate(STILL_OPEN)[0] == 0
    finally:
        done.set()
        thread.join(25)


# Waiting and leaving


def test_leaving_stops_everything(rooms: Rooms, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(rooms.link())
    for source in ("camera", "demo", "camera"):
        tab.join(source)
        tab.seen("pinhole.state === 'waiting'")
        peers, tracks, workers, contexts = tab.page.evaluate(STILL_OPEN)
        assert (peers, workers, contexts) == (1, 1, int(source == "demo"))
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


def picture(name: str) -> Path:
    PICTURES.mkdir(parents=True, exist_ok=True)
    return PICTURES / f"{name}.png"


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
    import json

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
