"""A call without sockets, and a source without a film."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import numpy as np
from faces import mesh

from codec_models.bitstream.packet import TickPacket, pack
from sender.crop import FaceTracker
from sender.source import SourceTick
from signaling.call import CallEvents
from signaling.control import ControlMessage, encode_control
from signaling.wire import WireCounter


class FakeSource:
    """Grey pictures that get brighter, and a quiet tone. stall: tick -> seconds that it takes longer."""

    def __init__(self, ticks: int | None, live: bool = False, stall: dict[int, float] | None = None) -> None:
        self.ticks, self.live, self.stall = ticks, live, stall or {}
        self.made = 0
        self.closed = False

    def __iter__(self) -> Iterator[SourceTick]:
        index = 0
        while self.ticks is None or index < self.ticks:
            time.sleep(self.stall.get(index, 0.04 if self.live else 0.0))
            picture = np.full((256, 256, 3), index % 256, np.uint8)
            voice = (1000 * np.sin(np.arange(1920) / 20)).astype(np.int16)
            self.made += 1
            yield SourceTick(picture, voice, index)
            index += 1

    def close(self) -> None:
        self.closed = True


def no_face() -> FaceTracker:
    return FaceTracker("centre")


def with_face() -> FaceTracker:
    """Finds the same good face in every picture of 256x256."""
    return FaceTracker(detector=lambda _: mesh(128, 135, 140))


class FakeCall:
    """Keeps what is sent; plays the receiver through `events`."""

    def __init__(self, events: CallEvents, connect: bool = True) -> None:
        self.events, self.connect = events, connect
        self.wire = WireCounter()
        self.connected = False
        self.packets: list[tuple[float, TickPacket, int]] = []
        self.messages: list[ControlMessage] = []
        self.left: str | None = None
        self.join_error: Exception | None = None

    async def join(self) -> None:
        if self.join_error:
            raise self.join_error
        if self.connect:
            asyncio.get_running_loop().call_soon(self.plug)

    def plug(self) -> None:
        self.connected = True
        self.events.connected()

    def unplug(self) -> None:
        self.connected = False
        self.events.disconnected("test")

    def send(self, packet: TickPacket, tick: int) -> None:
        if self.connected:
            self.wire.sent(pack(packet))
            self.packets.append((time.monotonic(), packet, tick))

    def send_control(self, message: ControlMessage) -> bool:
        encode_control(message)
        if self.connected:
            self.messages.append(message)
        return self.connected

    async def leave(self, reason: str = "") -> None:
        self.left = reason

    def of(self, kind: type[ControlMessage]) -> list[ControlMessage]:
        return [m for m in self.messages if isinstance(m, kind)]


class Lines:
    """A printer that keeps its lines."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def live(self, text: str, time: float) -> None:
        self.lines.append(text)


def when(condition: Callable[[], object], action: Callable[[], None]) -> None:
    """Do it on the running loop as soon as the condition holds."""

    def look() -> None:
        if condition():
            action()
        else:
            after(0.02, look)

    look()


def after(seconds: float, action: Callable[[], None]) -> None:
    """Do it on the running loop in so many seconds."""
    asyncio.get_running_loop().call_later(seconds, action)
