"""Links into a call for browsers: room, place and token in the fragment, which no browser sends to a server."""

from __future__ import annotations

import contextlib
import os
import webbrowser
from collections.abc import Mapping
from urllib.parse import urlencode

from signaling.call import Place


def link(place: Place, role: str, tokens: Mapping[str, str]) -> str | None:
    """The page's address for a browser that takes that role in the place's direction; None without its token."""
    seat = f"{place.direction}/{role}"
    token = tokens.get(seat)
    if token is None:
        return None
    return f"{place.url.rstrip('/')}/#{urlencode({'room': place.room, 'place': seat, 'token': token}, safe='/')}"


def open_browser(address: str) -> None:
    """Open the page where there is a browser; takes up to seconds, so not on an event loop."""
    with contextlib.suppress(Exception):
        if (
            os.environ.get("DISPLAY")
            or os.environ.get("WAYLAND_DISPLAY")
            or os.name == "nt"
            or os.uname()[0] == "Darwin"
        ):
            webbrowser.open(address)
