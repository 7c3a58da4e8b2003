"""Browsers that only watch a call: the receiver's second place in the room, and what it tells them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from aiortc import RTCIceServer

from codec_models.errors import UserError
from signaling.call import Place, ReceivedPacket, ReceivingCall
from signaling.control import ControlMessage, Statistics

from .screen import Screen

_DIGITS = {"bpp": 6, "face_kbps": 3, "audio_kbps": 2, "wire_kbps": 2}
_MOST_TEXT = 40


class _Line(Protocol):
    """What of a call an answer needs."""

    def send_control(self, message: ControlMessage) -> bool: ...


def pong(call: _Line, message: ControlMessage) -> None:
    """Answer a browser that asks for the time."""
    if isinstance(message, Statistics) and isinstance(asked := message.values.get("ping"), int | float):
        call.send_control(Statistics({"pong": asked, "clock": round(time.time() * 1000, 1)}))


def for_browsers(figures: dict[str, Any], view: str, two_way: bool) -> Statistics:
    """Figures of a call as a message, rounded, without what is not known. view: loop, other or viewer."""
    told: dict[str, float | int | str] = {"view": view, "two_way": int(two_way)}
    for name, value in figures.items():
        if isinstance(value, bool):
            told[name] = int(value)
        elif isinstance(value, float):
            told[name] = round(value, _DIGITS.get(name, 1))
        elif isinstance(value, int):
            told[name] = value
        elif isinstance(value, str):
            told[name] = value[:_MOST_TEXT]
    return Statistics(told)


class Viewers:
    """Answers who watches. figures: what to tell them every second."""

    def __init__(
        self,
        place: Place,
        ice_servers: Sequence[RTCIceServer],
        screen: Screen,
        figures: Callable[[], Statistics],
    ) -> None:
        self._figures = figures
        self._call = ReceivingCall(place, self, ice_servers, "screen", screen.attach, screen.detach)

    async def join(self) -> bool:
        """Take the place; False where somebody else has it or the token is not for it."""
        try:
            await self._call.join()
        except UserError:
            return False
        return True

    def every_second(self) -> None:
        if self._call.connected:
            self._call.send_control(self._figures())

    async def leave(self, reason: str) -> None:
        await self._call.leave(reason)

    # The callbacks of the call.

    def connected(self) -> None:
        self.every_second()

    def disconnected(self, reason: str) -> None:
        """The next one may come."""

    def packet(self, packet: ReceivedPacket) -> None:
        """Who watches sends none."""

    def control(self, message: ControlMessage) -> None:
        pong(self._call, message)
