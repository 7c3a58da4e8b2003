"""Links into a call for browsers: room, place and token in the fragment, which no browser sends to a server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import webbrowser
from collections.abc import Mapping
from urllib.parse import urlencode

from signaling.call import Place

from .terminal import Terminal


def link(place: Place, role: str, tokens: Mapping[str, str]) -> str | None:
    """The page's address for a browser that takes that role in the place's direction; None without its token."""
    seat = f"{place.direction}/{role}"
    token = tokens.get(seat)
    if token is None:
        return None
    return f"{place.url.rstrip('/')}/#{urlencode({'room': place.room, 'place': seat, 'token': token}, safe='/')}"


def show_page(address: str | None, terminal: Terminal) -> None:
    """Tell the page's address and open it; on an event loop. None: this side has no token for it."""
    if address is None:
        terminal.warn("no page: who opened the room has the tokens for it; use --show window or --output")
        return
    terminal.say(f"page {address}")
    asyncio.get_running_loop().run_in_executor(None, _open, address)


def _open(address: str) -> None:
    """Where there is a browser; takes up to seconds."""
    with contextlib.suppress(Exception):
        if (
            os.environ.get("DISPLAY")
            or os.environ.get("WAYLAND_DISPLAY")
            or os.name == "nt"
            or os.uname()[0] == "Darwin"
        ):
            webbrowser.open(address)
