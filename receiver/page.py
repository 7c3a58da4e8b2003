"""The page that shows a call in a browser: served by the receiver, fed over a WebSocket.

Messages to the page, integers little endian: u8 type (1 picture, 2 voice), u8 timeline, u16 length of the 8x8 picture
(0 or 192; 0 for voice), u32 tick modulo 2^32; then for a picture the 8x8 RGB bytes and a JPEG, for voice 16-bit
samples at 48 kHz. The live figures come as JSON text.

Web pages of others cannot read the call: the Host must be an address of this machine (so that no foreign name that is
rebound to it passes) and the Origin of a WebSocket must be the page itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, PlainTextResponse
from numpy.typing import NDArray

from codec_models.errors import UserError

from .renderer import ShownPicture

STATIC = Path(__file__).parent / "static"
FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
JPEG_QUALITY = 90
_PICTURE, _VOICE = 1, 2


class _Viewer:
    """What waits for one browser: the newest picture and figures, and up to a second of voice."""

    _MAX_VOICE = 25

    def __init__(self) -> None:
        self.voice: deque[bytes] = deque(maxlen=self._MAX_VOICE)
        self.picture: bytes | None = None
        self.figures: str | None = None
        self.ready = asyncio.Event()
        self.closing = False

    async def serve(self, websocket: WebSocket) -> None:
        while not self.closing:
            await self.ready.wait()
            self.ready.clear()
            figures, self.figures = self.figures, None
            if figures is not None:
                await websocket.send_text(figures)
            while self.voice:
                await websocket.send_bytes(self.voice.popleft())
            picture, self.picture = self.picture, None
            if picture is not None:
                await websocket.send_bytes(picture)


class _Server(uvicorn.Server):
    """Leaves the signals to the program that it runs in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Page:
    """Raises UserError at once where the port cannot be had. Pictures may come from any thread, voice from the loop."""

    _MAX_VIEWERS = 16

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._socket = _listen(host, port)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self._viewers: set[_Viewer] = set()
        self._figures: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        config = uvicorn.Config(
            self._app(),
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws_max_size=1024,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)

    @property
    def address(self) -> str:
        """Where this machine's browser finds the page."""
        shown = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}/"

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Close every connection, within a second."""
        for viewer in self._viewers:
            viewer.closing = True
            viewer.ready.set()
        if self._task is not None:
            self._server.should_exit = True
            _, late = await asyncio.wait({self._task}, timeout=0.8)
            if late:
                self._server.force_exit = True
                self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._socket.close()

    def picture(self, shown: ShownPicture) -> None:
        """Nothing is encoded while nobody looks."""
        if not self._viewers or self._loop is None:
            return
        bgr = cv2.cvtColor(shown.picture, cv2.COLOR_RGB2BGR)
        done, jpeg = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
        if not done:
            return
        low = b"" if shown.low is None else shown.low.tobytes()
        message = _head(_PICTURE, shown.stream, len(low), shown.index) + low + jpeg.tobytes()
        with contextlib.suppress(RuntimeError):  # The loop is closed: the call is over.
            self._loop.call_soon_threadsafe(self._publish_picture, message)

    def voice(self, stream: int, index: int, samples: NDArray[np.int16]) -> None:
        """Voice of a tick as it is to be played; on the event loop."""
        if not self._viewers:
            return
        message = _head(_VOICE, stream, 0, index) + samples.astype("<i2").tobytes()
        for viewer in self._viewers:
            viewer.voice.append(message)
            viewer.ready.set()

    def figures(self, values: dict[str, Any]) -> None:
        """The live figures; on the event loop."""
        self._figures = json.dumps(values)
        for viewer in self._viewers:
            viewer.figures = self._figures
            viewer.ready.set()

    def _publish_picture(self, message: bytes) -> None:
        for viewer in self._viewers:
            viewer.picture = message
            viewer.ready.set()

    def _app(self) -> FastAPI:
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

        @app.middleware("http")
        async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
            if not own_host(request.headers.get("host", ""), self.host):
                return PlainTextResponse("open this page by the address that the receiver prints\n", 403)
            response = await call_next(request)
            response.headers.update(
                {
                    "Content-Security-Policy": POLICY,
                    "X-Content-Type-Options": "nosniff",
                    "Referrer-Policy": "no-referrer",
                    "Cross-Origin-Resource-Policy": "same-origin",
                    "Cache-Control": "no-store",
                }
            )
            return response

        @app.get("/{name:path}")
        async def file(name: str) -> Response:
            if name not in FILES:
                return PlainTextResponse("no such page\n", 404)
            path, kind = FILES[name]
            return FileResponse(STATIC / path, media_type=kind)

        @app.websocket("/call")
        async def call(websocket: WebSocket) -> None:
            host = websocket.headers.get("host", "")
            origin = websocket.headers.get("origin")
            foreign = origin is not None and origin not in (f"http://{host}", f"https://{host}")
            if foreign or not own_host(host, self.host) or len(self._viewers) >= self._MAX_VIEWERS:
                await websocket.close(1008)
                return
            await websocket.accept()
            await self._serve(websocket)

        return app

    async def _serve(self, websocket: WebSocket) -> None:
        viewer = _Viewer()
        viewer.figures = self._figures
        viewer.ready.set()
        self._viewers.add(viewer)
        sending = asyncio.create_task(viewer.serve(websocket))
        listening = asyncio.create_task(_until_closed(websocket))
        try:
            await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._viewers.discard(viewer)
            sending.cancel()
            listening.cancel()
            await asyncio.gather(sending, listening, return_exceptions=True)
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await websocket.close(1001)


async def _until_closed(websocket: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, KeyError):
        while True:
            await websocket.receive_bytes()


def own_host(header: str, bound: str) -> bool:
    """Whether a Host header names this machine by address (or as localhost or the name it was bound to), not by a
    foreign name that someone points at it."""
    name = header.rsplit(":", 1)[0] if not header.endswith("]") else header
    name = name.strip("[]").lower()
    if name in ("localhost", bound.lower()) and name:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or bound in ("0.0.0.0", "::", "")


def _head(kind: int, stream: int, size: int, index: int) -> bytes:
    return struct.pack("<BBHI", kind, stream & 0xFF, size, index & 0xFFFFFFFF)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise UserError(f"{port} is no port: give --page-port a number from 0 to 65535 (0 takes a free one)")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
        server = socket.socket(family, kind, proto)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(address)
        server.listen(16)
        return server
    except OSError as e:
        reason = e.strerror or str(e)
        raise UserError(f"cannot serve the page on {host} port {port} ({reason}); choose another --page-port") from None
