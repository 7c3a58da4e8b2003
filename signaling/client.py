"""The client of the signaling server (`server.py` lists the requests)."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx
from aiortc import RTCIceServer

from codec_models.errors import UserError

from .description import MAX_SDP_BYTES, SDP_TYPE
from .rooms import DIRECTIONS, ROOM_NAME
from .tokens import parse_tokens

MAX_RESPONSE_BYTES = 2 * MAX_SDP_BYTES
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
"""Longer than any server waits before it answers a request."""
MAX_ICE_SERVERS = 8
_ICE_URL = re.compile(r"(stun|turn|turns):[^\s\"<>]{1,255}")
_LOCATION = re.compile(r"/rooms/[^/]+/[^/]+/[^/]+/([A-Za-z0-9_-]{1,64})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where to join. url: of the signaling server; token: of the place, or None to look it up or open the room."""

    url: str
    room: str
    token: str | None = None
    direction: str = "a"


class Refused(UserError):
    """The server said no. status: its HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Unreachable(UserError):
    """No answer, or none that a signaling server gives; another try may do better."""


def _check(place: Place) -> None:
    try:
        parts = urlsplit(place.url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        good = good and not (parts.username or parts.query or parts.fragment)
    except ValueError:
        good = False
    if not good:
        raise UserError(f"{place.url!r} is no address of a signaling server: write it like http://127.0.0.1:8080")
    if not ROOM_NAME.fullmatch(place.room):
        raise UserError(f"{place.room!r} is no room name: use 1 to 64 letters, digits, '-' or '_'")
    if place.direction not in DIRECTIONS:
        raise UserError(f"there is no direction {place.direction!r}: use a or b")
    if place.token is not None and not re.fullmatch(r"[\x21-\x7e]{1,256}", place.token):
        raise UserError("the token is not one that a signaling server gave out: copy it again")


def is_loopback(url: str) -> bool:
    """Whether the server, and so probably the other side, is on this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


class SignalingClient:
    """One member's requests. All of them raise Refused, Unreachable or UserError (bad arguments)."""

    def __init__(self, place: Place, role: str) -> None:
        _check(place)
        self.place = place
        self.role = role
        self.token = place.token
        self._member = secrets.token_urlsafe(16)
        self._room = f"/rooms/{place.room}"
        self._path = f"{self._room}/{place.direction}/{role}"
        # A proxy from the environment cannot reach this machine's own loopback.
        self._http = httpx.AsyncClient(
            base_url=place.url.rstrip("/"),
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            trust_env=not is_loopback(place.url),
        )

    async def __aenter__(self) -> SignalingClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def create_room(self) -> dict[str, str]:
        """Open the room -> its tokens by "direction/role"."""
        response, body = await self._request("POST", self._room, (201,))
        tokens = parse_tokens(self._json(body).get("tokens"))
        if tokens is None or f"{self.place.direction}/{self.role}" not in tokens:
            raise self._garbage(response)
        return tokens

    async def enter(self) -> list[RTCIceServer]:
        """Take the place -> the ICE servers that the server hands out."""
        response, body = await self._request("PUT", self._path, (200,))
        servers = self._json(body).get("ice_servers")
        if not isinstance(servers, list) or len(servers) > MAX_ICE_SERVERS:
            raise self._garbage(response)
        try:
            return [_ice_server(server) for server in servers]
        except (TypeError, ValueError, KeyError):
            raise self._garbage(response) from None

    async def offer(self, sdp: str) -> tuple[str, str] | None:
        """Offer and wait -> the session and its SDP answer, or None when nobody answered yet. 410: withdrawn."""
        response, body = await self._request("POST", self._path, (201, 504), sdp)
        if response.status_code == 504:
            return None
        return self._session(response), self._sdp(response, body)

    async def ended(self, session: str) -> bool:
        """Wait a while -> True once the session has ended."""
        response, _ = await self._request("GET", f"{self._path}/{session}", (204, 410))
        return response.status_code == 410

    async def next_offer(self) -> tuple[str, str] | None:
        """Wait a while for an offer that nobody has answered -> the session and its SDP, or None."""
        response, body = await self._request("GET", self._path, (200, 204))
        if response.status_code == 204:
            return None
        return self._session(response), self._sdp(response, body)

    async def answer(self, session: str, sdp: str) -> None:
        """Answer an offer. 410: it has been withdrawn."""
        await self._request("PUT", f"{self._path}/{session}", (204,), sdp)

    async def candidates(self, session: str, known: int) -> tuple[str, int] | None:
        """Wait a while for ICE candidates of the other side beyond the first `known` fragments -> their text and the
        number of fragments now known, or None."""
        response, body = await self._request(
            "GET", f"{self._path}/{session}/candidates", (200, 204), more={"If-None-Match": f'"{known}"'}
        )
        if response.status_code == 204:
            return None
        tag = response.headers.get("etag", "").strip('"')
        if not tag.isdecimal() or len(tag) > 6:
            raise self._garbage(response)
        return body.decode(errors="replace"), int(tag)

    async def end(self, session: str) -> None:
        """End a session, so that the sender makes a new offer."""
        await self._request("DELETE", f"{self._path}/{session}", (204,))

    async def leave(self) -> None:
        """Free the place."""
        await self._request("DELETE", self._path, (204,))

    async def _request(
        self,
        method: str,
        path: str,
        expected: tuple[int, ...],
        sdp: str | None = None,
        more: dict[str, str] | None = None,
    ) -> tuple[httpx.Response, bytes]:
        headers = {"Pinhole-Member": self._member} | (more or {})
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        if sdp is not None:
            headers["Content-Type"] = SDP_TYPE
        body = bytearray()
        try:
            async with self._http.stream(method, path, headers=headers, content=sdp) as response:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_RESPONSE_BYTES:
                        raise self._garbage(response)
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            url = self.place.url
            if isinstance(e, httpx.ConnectError | httpx.ConnectTimeout):
                raise Unreachable(
                    f"cannot reach the signaling server at {url}: start it with `signaling`, or check the address"
                ) from None
            raise Unreachable(f"the signaling server at {url} does not answer ({type(e).__name__})") from None
        if response.status_code in expected:
            return response, bytes(body)
        text = self._json(bytes(body)).get("error")
        if not isinstance(text, str) or not text.isprintable() or len(text) > 300:
            raise self._garbage(response)
        if response.status_code >= 500 or response.status_code == 429:
            raise Unreachable(f"the signaling server at {self.place.url} is busy: {text}")
        raise Refused(response.status_code, text + self._hint(response.status_code))

    def _hint(self, status: int) -> str:
        if status in (401, 403):
            return ": pass the right one with --token or PINHOLE_TOKEN"
        if status == 404:
            return f" (room {self.place.room}): check the name, or join without a token to open it"
        return ""

    def _garbage(self, response: httpx.Response) -> Unreachable:
        return Unreachable(
            f"what answers at {self.place.url} is no Pinhole signaling server (HTTP {response.status_code}):"
            " check the address"
        )

    def _json(self, body: bytes) -> dict[str, Any]:
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) else {}

    def _session(self, response: httpx.Response) -> str:
        match = _LOCATION.fullmatch(response.headers.get("location", ""))
        if match is None:
            raise self._garbage(response)
        return match[1]

    def _sdp(self, response: httpx.Response, body: bytes) -> str:
        if not body.startswith(b"v=0") or len(body) > MAX_SDP_BYTES:
            raise self._garbage(response)
        return body.decode(errors="replace")


def _ice_server(data: dict[str, Any]) -> RTCIceServer:
    urls, user, credential = data["urls"], data.get("username"), data.get("credential")
    if not isinstance(urls, str) or not _ICE_URL.fullmatch(urls):
        raise ValueError("not an ICE server's address")
    if not isinstance(user, str | None) or not isinstance(credential, str | None):
        raise ValueError("not the credentials of an ICE server")
    return RTCIceServer(urls=urls, username=user, credential=credential)
