"""How a program gets its place: with a token that was typed, one that this user has kept, or by opening the room."""

from __future__ import annotations

import asyncio
import logging
import time

from aiortc import RTCIceServer

from codec_models.errors import UserError

from .client import Refused, SignalingClient
from .tokens import load_tokens, save_tokens

logger = logging.getLogger(__name__)

TAKEN_SECONDS = 6.0
"""A place that looks taken is asked for again for so long: its member may just have been killed."""
STATE_SECONDS = 3.0
"""Two programs that start together: one opens the room, the other waits so long for the tokens that it keeps."""
PAUSE_SECONDS = 0.2


async def join_room(client: SignalingClient) -> tuple[list[RTCIceServer], dict[str, str] | None]:
    """Take the client's place -> ICE servers, and the tokens of the room if it was opened here. Raises UserError."""
    if client.place.token is not None:
        return await _enter(client), None
    key = f"{client.place.direction}/{client.role}"
    url, room = client.place.url, client.place.room
    end = time.monotonic() + STATE_SECONDS
    tried: set[str] = set()
    missing = True
    last: UserError | None = None
    while last is None or time.monotonic() < end:
        token = load_tokens(url, room).get(key)
        if token is not None and token not in tried:
            tried.add(token)
            client.token = token
            try:
                return await _enter(client), None
            except Refused as e:
                if e.status not in (401, 403, 404):
                    raise
                last, missing = e, e.status == 404
        elif missing:
            client.token = None
            try:
                tokens = await client.create_room()
            except Refused as e:
                if e.status != 409:
                    raise
                last, missing = UserError(f"{e}; its token goes with --token or PINHOLE_TOKEN"), False
                continue
            try:
                save_tokens(url, room, tokens)
            except OSError as e:
                logger.warning("the tokens of room %s are not kept: %s", room, e.strerror)
            client.token = tokens[key]
            return await _enter(client), tokens
        else:
            await asyncio.sleep(PAUSE_SECONDS)
    raise last


async def _enter(client: SignalingClient) -> list[RTCIceServer]:
    end = time.monotonic() + TAKEN_SECONDS
    while True:
        try:
            return await client.enter()
        except Refused as e:
            if e.status != 409 or time.monotonic() > end:
                raise
        await asyncio.sleep(PAUSE_SECONDS)
