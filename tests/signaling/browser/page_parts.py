"""What the tests of the page share: browsers with and without devices, a tab, a room."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from tests.signaling.browser.call_parts import PICTURES

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
STILL_OPEN = """() => [
  opened.peers.filter((p) => p.connectionState !== "closed").length,
  opened.tracks.filter((t) => t.readyState === "live").length,
  opened.workers,
  opened.contexts.filter((c) => c.state !== "closed").length,
]"""


def picture(name: str) -> Path:
    PICTURES.mkdir(parents=True, exist_ok=True)
    return PICTURES / f"{name}.png"


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
