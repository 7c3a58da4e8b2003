"""The signaling server, in the shape of WHIP (RFC 9725): SDP in, 201 with a Location and SDP out.

All under /rooms/{room}/{direction}/{role}, direction "a" or "b", role "sender" or "receiver" ("viewer" does as the
sender does and "screen" as the receiver, see `rooms.py`), with the place's token as `Authorization: Bearer`;
`Pinhole-Member` is a random text that a member chooses and keeps:

    POST   /rooms/{room}                    open a room -> 201 {"tokens": {"a/sender": ..., ...}}
    PUT    .../{role}                       take the place -> 200 {"ice_servers": [...]}, Link headers as in WHIP
    DELETE .../{role}                       leave it
    POST   .../sender                       SDP offer -> waits -> 201, Location and the SDP answer; 504 nobody yet
    GET    .../sender/{session}             waits -> 410 when the session has ended, 204 while it has not
    GET    .../receiver                     waits -> 200, Location and the SDP offer; 204 none yet
    PUT    .../receiver/{session}           SDP answer -> 204
    PATCH  .../{role}/{session}             ICE candidates (RFC 8840) for the other side -> 204
    GET    .../{role}/{session}/candidates  the other side's; `If-None-Match: "n"` skips n; waits -> 200, ETag; 204
    DELETE .../{role}/{session}             end the session
    GET    /health                          {"status": "ok"}
    GET    /, /{path}                       the browser page and what belongs to it (`page_files.py`)

Every error is {"error": one plain sentence}. State is in `rooms.py`; nothing here outlives a request but who waits.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from .description import FRAGMENT_TYPE, MAX_SDP_BYTES, SDP_TYPE
from .page_files import add_page
from .ratelimit import AddressLimiter
from .rooms import ANSWERS, DIRECTIONS, ROLES, RoomError, RoomLimits, Rooms, RoomStore

MAX_FRAGMENT_BYTES = 4096
BODY_SECONDS = 10.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class IceServer:
    """urls: one stun:, turn: or turns: address; username and credential for TURN."""

    urls: str
    username: str | None = None
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """wait_s: the longest that a request waits for the other side. The rates are per client address. compare: folder
    of `benchmarks.bpp --compare`, for the page.
    """

    ice_servers: tuple[IceServer, ...] = ()
    limits: RoomLimits = field(default_factory=RoomLimits)
    wait_s: float = 20.0
    failures_per_minute: float = 20.0
    rooms_per_minute: float = 30.0
    compare: Path | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    room: str
    direction: str
    role: str
    token: str
    member: str


class Signaling:
    """The rooms of a server and the requests that wait in them. `close` lets go of every waiting request."""

    def __init__(self, config: ServerConfig, store: RoomStore | None = None) -> None:
        self.config = config
        self.rooms = Rooms(config.limits, store)
        self.clock = time.monotonic
        self._failures = AddressLimiter(config.failures_per_minute / 60, config.failures_per_minute)
        self._creations = AddressLimiter(config.rooms_per_minute / 60, config.rooms_per_minute)
        self._changed: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Answer every waiting request now, because the server stops."""
        self._closing.set()

    def notify(self, room: str) -> None:
        """Something in the room changed: those who wait look again."""
        event = self._changed.pop(room, None)
        if event is not None:
            event.set()

    def create(self, request: Request, name: str) -> dict[str, str]:
        address, now = _address(request), self.clock()
        if not self._creations.take(address, now):
            raise RoomError(429, "too many rooms from this address: wait a minute")
        return self.rooms.create(name, now)

    def caller(self, request: Request, room: str, direction: str, role: str) -> Caller:
        """Who asks, with a token that fits the place. 400, 401, 403, 404, 429."""
        if direction not in DIRECTIONS or role not in ROLES:
            raise RoomError(404, f"there is no such place: directions are a and b, roles {', '.join(ROLES)}")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise RoomError(401, "a token is needed (Authorization: Bearer ...)")
        address, now = _address(request), self.clock()
        if self._failures.wait(address, now) > 0:
            raise RoomError(429, "too many wrong tokens from this address: wait a minute")
        try:
            self.rooms.authorise(room, direction, role, token.strip(), now)
        except RoomError:
            self._failures.take(address, now)
            raise
        member = request.headers.get("pinhole-member") or secrets.token_urlsafe(16)
        return Caller(room, direction, role, token.strip(), member)

    @asynccontextmanager
    async def seated(self, caller: Caller) -> AsyncIterator[None]:
        """The caller has its place, and keeps it at least until the end of the block. 409 when it is taken."""
        c = caller
        self.rooms.enter(c.room, c.direction, c.role, c.token, c.member, self.clock())
        self.notify(c.room)
        self.rooms.hold(c.room, c.direction, c.role, c.member, 1, self.clock())
        try:
            yield
        finally:
            self.rooms.hold(c.room, c.direction, c.role, c.member, -1, self.clock())

    async def wait(self, request: Request, room: str, look: Callable[[], T | None]) -> T | None:
        """The first result of `look` that is not None, or None when the time is up or the client is gone."""
        gone = asyncio.ensure_future(request.receive())
        closing = asyncio.ensure_future(self._closing.wait())
        end = self.clock() + self.config.wait_s
        try:
            while (found := look()) is None:
                event = self._changed.setdefault(room, asyncio.Event())
                changed = asyncio.ensure_future(event.wait())
                try:
                    await asyncio.wait(
                        {gone, closing, changed},
                        timeout=max(0.0, end - self.clock()),
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                finally:
                    changed.cancel()
                if gone.done() or closing.done() or self.clock() >= end:
                    return look()
            return found
        finally:
            gone.cancel()
            closing.cancel()


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


async def _body(request: Request, content_type: str | None, limit: int) -> str:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type is not None and given != content_type:
        raise RoomError(415, f"the content type must be {content_type}")
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                data += chunk
                if len(data) > limit:
                    raise RoomError(413, f"the body is longer than {limit} bytes")
    except TimeoutError:
        raise RoomError(408, "the body took too long to arrive") from None
    if content_type is not None and not data:
        raise RoomError(400, "the body is empty")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RoomError(400, "the body is not UTF-8 text") from None


def one_of(role: str, roles: Collection[str]) -> str:
    """The role, if this request is one of theirs. 405 where it is another's."""
    if role in ROLES and role not in roles:
        raise RoomError(405, "this method is not allowed here")
    return role


def _links(servers: tuple[IceServer, ...]) -> str:
    links = []
    for s in servers:
        link = f'<{s.urls}>; rel="ice-server"'
        if s.username is not None:
            link += f"; username={json.dumps(s.username)}; credential={json.dumps(s.credential or '')}"
            link += '; credential-type="password"'
        links.append(link)
    return ", ".join(links)


def create_app(config: ServerConfig | None = None, store: RoomStore | None = None) -> FastAPI:
    """The application; its state is `app.state.signaling`."""
    config = config or ServerConfig()
    signaling = Signaling(config, store)
    rooms = signaling.rooms
    app = FastAPI(title="Pinhole signaling", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.signaling = signaling
    place = "/rooms/{room}/{direction}/{role}"

    def error(status: int, text: str) -> JSONResponse:
        headers = {
            429: {"Retry-After": "60"},
            503: {"Retry-After": "5"},
            504: {"Retry-After": "0"},
            401: {"WWW-Authenticate": "Bearer"},
        }
        return JSONResponse({"error": text}, status, headers.get(status))

    @app.exception_handler(RoomError)
    async def room_error(_: Request, e: RoomError) -> JSONResponse:
        return error(e.status, str(e))

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, e: HTTPException) -> JSONResponse:
        texts = {404: "there is nothing at this address", 405: "this method is not allowed here"}
        return error(e.status_code, texts.get(e.status_code, "the request cannot be served"))

    @app.exception_handler(Exception)
    async def own_error(_: Request, e: Exception) -> JSONResponse:
        return error(500, "the server made a mistake: try again")

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/rooms/{room}")
    async def create(request: Request, room: str) -> JSONResponse:
        await _body(request, None, 0)
        return JSONResponse({"tokens": signaling.create(request, room)}, 201, {"Cache-Control": "no-store"})

    @app.put(place)
    async def enter(request: Request, room: str, direction: str, role: str) -> Response:
        await _body(request, None, 0)
        caller = signaling.caller(request, room, direction, role)
        async with signaling.seated(caller):
            servers = [asdict(s) for s in config.ice_servers]
            headers = {"Pinhole-Member": caller.member, "Cache-Control": "no-store"}
            if servers:
                headers["Link"] = _links(config.ice_servers)
            return JSONResponse({"ice_servers": servers}, 200, headers)

    @app.delete(place)
    async def leave(request: Request, room: str, direction: str, role: str) -> Response:
        caller = signaling.caller(request, room, direction, role)
        rooms.leave(room, direction, role, caller.token, caller.member, signaling.clock())
        signaling.notify(room)
        return Response(status_code=204)

    @app.post(place)
    async def offer(request: Request, room: str, direction: str, role: str) -> Response:
        caller = signaling.caller(request, room, direction, one_of(role, ANSWERS))
        sdp = await _body(request, SDP_TYPE, MAX_SDP_BYTES)
        async with signaling.seated(caller):
            session = rooms.offer(room, direction, role, sdp)
            signaling.notify(room)
            await signaling.wait(request, room, lambda: session.ended or session.answer)
            headers = {"Location": f"/rooms/{room}/{direction}/{role}/{session.id}", "Pinhole-Member": caller.member}
            if session.ended:
                return error(410, "the other side withdrew from this session: make a new offer")
            if session.answer is None:
                response = error(504, "nobody has answered yet: send the same offer again")
                response.headers["Pinhole-Member"] = caller.member
                return response
            if config.ice_servers:
                headers["Link"] = _links(config.ice_servers)
            return Response(session.answer, 201, headers, SDP_TYPE)

    @app.get(place)
    async def next_offer(request: Request, room: str, direction: str, role: str) -> Response:
        await _body(request, None, 0)
        caller = signaling.caller(request, room, direction, one_of(role, ANSWERS.values()))
        async with signaling.seated(caller):
            session = await signaling.wait(
                request, room, lambda: rooms.waiting_offer(room, direction, role, signaling.clock())
            )
            headers = {"Pinhole-Member": caller.member}
            if session is None:
                return Response(status_code=204, headers=headers)
            headers["Location"] = f"/rooms/{room}/{direction}/{role}/{session.id}"
            return Response(session.offer, 200, headers, SDP_TYPE)

    @app.put(place + "/{session}")
    async def answer(request: Request, room: str, direction: str, role: str, session: str) -> Response:
        caller = signaling.caller(request, room, direction, one_of(role, ANSWERS.values()))
        sdp = await _body(request, SDP_TYPE, MAX_SDP_BYTES)
        async with signaling.seated(caller):
            rooms.answer(room, direction, role, session, sdp)
            signaling.notify(room)
        return Response(status_code=204)

    @app.get(place + "/{session}")
    async def watch(request: Request, room: str, direction: str, role: str, session: str) -> Response:
        await _body(request, None, 0)
        caller = signaling.caller(request, room, direction, one_of(role, ANSWERS))
        async with signaling.seated(caller):
            current = rooms.session(room, direction, role, session)
            ended = await signaling.wait(request, room, lambda: True if current.ended else None)
        return error(410, "this session has ended") if ended else Response(status_code=204)

    @app.patch(place + "/{session}")
    async def trickle(request: Request, room: str, direction: str, role: str, session: str) -> Response:
        signaling.caller(request, room, direction, role)
        text = await _body(request, FRAGMENT_TYPE, MAX_FRAGMENT_BYTES)
        rooms.add_fragment(room, direction, role, session, text)
        signaling.notify(room)
        return Response(status_code=204)

    @app.get(place + "/{session}/candidates")
    async def candidates(request: Request, room: str, direction: str, role: str, session: str) -> Response:
        await _body(request, None, 0)
        signaling.caller(request, room, direction, role)
        known = request.headers.get("if-none-match", '"0"').strip('"')
        start = int(known) if known.isdecimal() and len(known) < 6 else 0
        current = rooms.session(room, direction, role, session)
        theirs = next(found for one, found in current.fragments.items() if one != role)
        await signaling.wait(request, room, lambda: current.ended or len(theirs) > start or None)
        if len(theirs) <= start:
            return error(410, "this session has ended") if current.ended else Response(status_code=204)
        return Response("".join(theirs[start:]), 200, {"ETag": f'"{len(theirs)}"'}, FRAGMENT_TYPE)

    @app.delete(place + "/{session}")
    async def end(request: Request, room: str, direction: str, role: str, session: str) -> Response:
        signaling.caller(request, room, direction, role)
        rooms.end(room, direction, role, session)
        signaling.notify(room)
        return Response(status_code=204)

    add_page(app, config.compare)
    return app
