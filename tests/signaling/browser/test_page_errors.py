"""Every error that people meet before a call, provoked in a real Chromium: its sentence, and a way on."""

from __future__ import annotations

import threading
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
