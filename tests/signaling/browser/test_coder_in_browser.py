"""The page's own coder (signaling/static/coder) in a real browser, on the golden vectors that Python wrote."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from codec_models.bitstream.prior import WEIGHTS
from tests.signaling.browser.call_parts import CHROMIUM

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CODER = ROOT / "signaling" / "static" / "coder"
VECTORS = ROOT / "tests" / "codec_models" / "bitstream"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; worker-src 'self'"
)


class Files(BaseHTTPRequestHandler):
    """The coder, its weights and the vectors, under the page's own policy."""

    def do_GET(self) -> None:
        files = {
            "/page.js": HERE / "golden_page.js",
            "/golden.js": HERE / "golden.js",
            "/golden_face.json": VECTORS / "golden_face.json",
            "/golden_browser.json": VECTORS / "golden_browser.json",
            "/weights/face_prior.safetensors": WEIGHTS,
            **{f"/coder/{path.name}": path for path in CODER.glob("*.js")},
        }
        kinds = {".js": "text/javascript", ".json": "application/json"}
        body, kind = b'<!doctype html><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>', ""
        if self.path != "/":
            path = files.get(self.path)
            if path is None:
                self.send_error(404)
                return
            body, kind = path.read_bytes(), kinds.get(path.suffix, "application/octet-stream")
        self.send_response(200)
        self.send_header("Content-Type", kind or "text/html; charset=utf-8")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_golden_vectors_in_a_browser(address: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page()
        trouble: list[str] = []
        tab.on("console", lambda m: trouble.append(m.text) if m.type in ("error", "warning") else None)
        tab.on("pageerror", lambda e: trouble.append(str(e)))
        tab.goto(address)
        end = time.monotonic() + 30
        while not tab.evaluate("window.golden !== undefined"):
            assert time.monotonic() < end and not trouble, trouble
            time.sleep(0.05)
        result = tab.evaluate("window.golden")
        browser.close()
    assert result["failures"] == [] and result["checks"] > 400
    assert not trouble
