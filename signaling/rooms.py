"""Rooms: who may sit where, and what they have for each other. Pure; the time (seconds, monotonic) is an argument.

A room has two directions, "a" and "b". Each direction has four places: a sender makes offers to a receiver, and a
viewer, who watches what is received, makes them to a screen, which is the receiver's other place and has the same
token. Each of the two pairs has a session: the offer, the answer and the ICE candidates that either side trickles
afterwards. Whoever has a place's token may take it while it is free; a member is known by a secret of its own, so that
the one who sits there may come back at any time and another may not.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

DIRECTIONS = ("a", "b")
ANSWERS = {"sender": "receiver", "viewer": "screen"}
"""Who makes offers, and who answers them."""
ROLES = (*ANSWERS, *ANSWERS.values())
_OFFERS = {answering: offering for offering, answering in ANSWERS.items()}
_SAME_TOKEN = {"screen": "receiver"}
PLACES = tuple(f"{d}/{r}" for d in DIRECTIONS for r in ROLES if r not in _SAME_TOKEN)
"""Places with a token of their own."""
ROOM_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MEMBER = re.compile(r"[A-Za-z0-9_-]{16,64}")


@dataclass(frozen=True, slots=True)
class RoomLimits:
    """idle_s: a room that nobody touched for so long is removed; silent_s: a place whose member has no request open
    and made none for so long may be taken by another."""

    max_rooms: int = 1000
    max_members: int = 2000
    idle_s: float = 3600.0
    silent_s: float = 2.0
    max_fragments: int = 32


class RoomError(Exception):
    """A request that is refused. status: HTTP status; its text is one plain sentence for the user."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True)
class Place:
    token_hash: bytes
    member: str | None = None
    seen: float = 0.0
    open_requests: int = 0


@dataclass(slots=True)
class Session:
    """One offer and what came of it. fragments: per role, the trickled candidates (RFC 8840) of that role."""

    id: str
    offer: str
    fragments: dict[str, list[str]]
    answer: str | None = None
    ended: bool = False


@dataclass(slots=True)
class Room:
    """places: by "direction/role"; sessions: by "direction/role" of who offers; permanent: never expires."""

    name: str
    places: dict[str, Place]
    sessions: dict[str, Session]
    touched: float
    permanent: bool


class RoomStore(Protocol):
    """Where rooms live. A room that was changed is put back, so a store may hold copies."""

    def get(self, name: str) -> Room | None: ...
    def put(self, room: Room) -> None: ...
    def remove(self, name: str) -> None: ...
    def rooms(self) -> Iterable[Room]: ...


class MemoryStore:
    """The default store: a dictionary of this process."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}

    def get(self, name: str) -> Room | None:
        return self._rooms.get(name)

    def put(self, room: Room) -> None:
        self._rooms[room.name] = room

    def remove(self, name: str) -> None:
        self._rooms.pop(name, None)

    def rooms(self) -> Iterable[Room]:
        return list(self._rooms.values())


def new_tokens() -> dict[str, str]:
    """A fresh token of 144 random bits for each place of a room, by "direction/role"."""
    return {place: secrets.token_urlsafe(18) for place in PLACES}


def _pair(direction: str, role: str) -> str:
    """Whose session it is that `role` takes part in."""
    return f"{direction}/{_OFFERS.get(role, role)}"


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


class Rooms:
    """The rules. All methods raise RoomError; nothing changes then."""

    def __init__(self, limits: RoomLimits | None = None, store: RoomStore | None = None) -> None:
        self.limits = limits or RoomLimits()
        self._store = store or MemoryStore()

    def create(
        self, name: str, now: float, tokens: dict[str, str] | None = None, permanent: bool = False
    ) -> dict[str, str]:
        """Open a room and return its tokens. 400 bad name, 409 it exists, 503 too many rooms."""
        if not ROOM_NAME.fullmatch(name):
            raise RoomError(400, "a room name is 1 to 64 letters, digits, '-' or '_'")
        self.sweep(now)
        if self._store.get(name) is not None:
            raise RoomError(409, f"room {name} exists already: join it with its token or choose another name")
        if sum(1 for _ in self._store.rooms()) >= self.limits.max_rooms:
            raise RoomError(503, "this server has all the rooms that it can hold: try again later")
        tokens = tokens or new_tokens()
        places = {f"{d}/{r}": Place(_hash(tokens[f"{d}/{_SAME_TOKEN.get(r, r)}"])) for d in DIRECTIONS for r in ROLES}
        self._store.put(Room(name, places, {}, now, permanent))
        return tokens

    def sweep(self, now: float) -> None:
        """Remove rooms that nobody has touched for long."""
        for room in self._store.rooms():
            busy = any(self._alive(place, now) for place in room.places.values())
            if not room.permanent and not busy and now - room.touched > self.limits.idle_s:
                self._store.remove(room.name)

    def enter(self, name: str, direction: str, role: str, token: str, member: str, now: float) -> None:
        """Take a place or come back to it. 401 wrong token, 403 another place's token, 404 no room, 409 taken."""
        room, place = self._authorised(name, direction, role, token, now)
        if not MEMBER.fullmatch(member):
            raise RoomError(400, "a member secret is 16 to 64 letters, digits, '-' or '_'")
        if place.member != member:
            if self._alive(place, now):
                raise RoomError(
                    409, f"the {role}'s place in room {name} is taken: it is free half a minute after that one is gone"
                )
            self.sweep(now)
            alive = (self._alive(p, now) for r in self._store.rooms() for p in r.places.values())
            if sum(alive) >= self.limits.max_members:
                raise RoomError(503, "this server has all the members that it can hold: try again later")
            place.member, place.open_requests = member, 0
            session = room.sessions.get(_pair(direction, role))
            # A new receiver can take up an offer that still waits, but nobody else's call.
            if session is not None and (role in ANSWERS or session.answer is not None):
                session.ended = True
        place.seen = now
        self._store.put(room)

    def hold(self, name: str, direction: str, role: str, member: str, change: int, now: float) -> None:
        """A member's request begins (change 1) or ends (-1); while one is open the place is not silent."""
        room = self._store.get(name)
        place = room.places[f"{direction}/{role}"] if room else None
        if room and place and place.member == member:
            place.open_requests = max(0, place.open_requests + change)
            place.seen = now
            self._store.put(room)

    def leave(self, name: str, direction: str, role: str, token: str, member: str, now: float) -> None:
        """Free the place and end its session. Does nothing for one who does not sit there."""
        room, place = self._authorised(name, direction, role, token, now)
        if place.member == member:
            place.member = None
            if (session := room.sessions.get(_pair(direction, role))) is not None:
                session.ended = True
            self._store.put(room)

    def offer(self, name: str, direction: str, role: str, sdp: str) -> Session:
        """An offer of `role`; the same one again goes on with its session, another one replaces it."""
        room, pair = self._room(name), _pair(direction, role)
        session = room.sessions.get(pair)
        if session is None or session.ended or session.offer != sdp:
            if session is not None:
                session.ended = True
            session = room.sessions[pair] = Session(secrets.token_urlsafe(12), sdp, {role: [], ANSWERS[role]: []})
            self._store.put(room)
        return session

    def waiting_offer(self, name: str, direction: str, role: str, now: float) -> Session | None:
        """The session that waits for the answer of `role`, if who offered it is still there."""
        room, pair = self._room(name), _pair(direction, role)
        session = room.sessions.get(pair)
        if session is None or session.ended or session.answer is not None:
            return None
        return session if self._alive(room.places[pair], now) else None

    def session(self, name: str, direction: str, role: str, session_id: str) -> Session:
        """The current session of that name, of which `role` is one side. 410 when it has ended or another took its
        place.
        """
        session = self._room(name).sessions.get(_pair(direction, role))
        if session is None or session.ended or not hmac.compare_digest(session.id.encode(), session_id.encode()):
            raise RoomError(410, "this session has ended")
        return session

    def answer(self, name: str, direction: str, role: str, session_id: str, sdp: str) -> None:
        """The answer of `role`. 409 when there is a different one already, 410 when the session has ended."""
        session = self.session(name, direction, role, session_id)
        if session.answer not in (None, sdp):
            raise RoomError(409, "this offer has been answered already")
        session.answer = sdp
        self._store.put(self._room(name))

    def add_fragment(self, name: str, direction: str, role: str, session_id: str, text: str) -> None:
        """ICE candidates of `role` for the other side. 413 when there are too many."""
        fragments = self.session(name, direction, role, session_id).fragments[role]
        if len(fragments) >= self.limits.max_fragments:
            raise RoomError(413, "too many ICE candidates")
        fragments.append(text)
        self._store.put(self._room(name))

    def end(self, name: str, direction: str, role: str, session_id: str) -> None:
        """End a session of which `role` is one side; one that has ended already stays ended."""
        room = self._room(name)
        session = room.sessions.get(_pair(direction, role))
        if session is not None and session.id == session_id:
            session.ended = True
            self._store.put(room)

    def occupied(self, name: str, direction: str, role: str, now: float) -> bool:
        """Whether a live member has that place."""
        return self._alive(self._room(name).places[f"{direction}/{role}"], now)

    def authorise(self, name: str, direction: str, role: str, token: str, now: float) -> None:
        """Check a token. 401 wrong token, 403 another place's token, 404 no such room."""
        self._authorised(name, direction, role, token, now)

    def _room(self, name: str) -> Room:
        room = self._store.get(name)
        if room is None:
            raise RoomError(404, f"there is no room {name}")
        return room

    def _authorised(self, name: str, direction: str, role: str, token: str, now: float) -> tuple[Room, Place]:
        room = self._store.get(name) if ROOM_NAME.fullmatch(name) else None
        wanted = f"{direction}/{role}"
        if room is None or wanted not in room.places:
            raise RoomError(404, "there is no such room")
        given = _hash(token)
        # Every place is compared, whichever matches, so the time tells nothing.
        matches = [key for key, place in room.places.items() if hmac.compare_digest(place.token_hash, given)]
        if not matches:
            raise RoomError(401, f"the token is not one of room {name}")
        if wanted not in matches:
            raise RoomError(403, f"the token is for {matches[0]} of room {name}, not for {wanted}")
        room.touched = now
        return room, room.places[wanted]

    def _alive(self, place: Place, now: float) -> bool:
        return place.member is not None and (place.open_requests > 0 or now - place.seen <= self.limits.silent_s)
