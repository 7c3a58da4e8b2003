"""The browser page's files and the headers that keep it to itself.

`/` is `static/index.html`; every other file of that folder lies under its own path, two sets of weights under
/weights/, and what `benchmarks.bpp --compare` has left under /compare/. Nothing else of the disk can be named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .rooms import RoomError

STATIC = Path(__file__).parent / "static"
WEIGHTS = Path(__file__).parents[1] / "codec_models" / "weights"
WEIGHT_FILES = ("face_prior.safetensors", "face_points.safetensors")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webm": "video/webm",
    ".mp4": "video/mp4",
    ".json": "application/json",
    ".safetensors": "application/octet-stream",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), fullscreen=(self), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_COMPARE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}")


class SecurityHeaders:
    """Puts `HEADERS` on every response. Not a starlette middleware: those keep a request's end from its handler."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str] = HEADERS) -> None:
        self._app, self._headers = app, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def page_files(static: Path = STATIC, weights: Path = WEIGHTS) -> dict[str, Path]:
    """Path in the address -> file, of all that is served but the comparison."""
    files = {p.relative_to(static).as_posix(): p for p in static.rglob("*") if p.suffix in TYPES and p.is_file()}
    files |= {f"weights/{name}": weights / name for name in WEIGHT_FILES if (weights / name).is_file()}
    if "index.html" in files:
        files[""] = files["index.html"]
    return files


def add_page(app: FastAPI, compare: Path | None = None) -> None:
    """Serve the page; call it after all other routes. compare: folder of `benchmarks.bpp --compare`."""
    files = page_files()

    @app.get("/{path:path}")
    async def file(request: Request, path: str) -> Response:
        found = files.get(path)
        folder, _, name = path.partition("/")
        if folder == "rooms":
            raise RoomError(405, "this method is not allowed here")
        if compare is not None and folder == "compare" and _COMPARE_NAME.fullmatch(name):
            found = compare / name
        if found is None or found.suffix not in TYPES or not found.is_file():
            raise RoomError(404, "there is nothing at this address")
        response = FileResponse(
            found, media_type=TYPES[found.suffix], headers={"Cache-Control": "no-cache"}, stat_result=found.stat()
        )
        if request.headers.get("if-none-match") == response.headers["etag"]:
            return Response(status_code=304, headers={"Cache-Control": "no-cache", "ETag": response.headers["etag"]})
        return response

    app.add_middleware(SecurityHeaders)
