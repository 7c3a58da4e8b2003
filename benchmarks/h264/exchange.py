"""How the two sides of the H.264 call find each other: offer and answer as JSON lines over one TCP connection.

The connection stays open as long as the call does: each side ends when the other one has closed it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time

from aiortc import RTCSessionDescription

from codec_models.errors import UserError

FIND_S = 30.0
"""So long each side waits for the other one."""
_LONGEST = 65_536
_PAUSE_S = 0.05


class Exchange:
    """One end of the connection. Errors of the other side are UserErrors."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, description: RTCSessionDescription) -> None:
        """Send an offer or an answer."""
        self._writer.write(json.dumps({"type": description.type, "sdp": description.sdp}).encode() + b"\n")
        await self._writer.drain()

    async def receive(self, kind: str) -> RTCSessionDescription:
        """The other side's description of that kind, offer or answer."""
        try:
            line = await asyncio.wait_for(self._reader.readline(), FIND_S)
            content = json.loads(line)
            if not isinstance(content, dict) or content.get("type") != kind or not isinstance(content.get("sdp"), str):
                raise ValueError
            return RTCSessionDescription(content["sdp"], kind)
        except (ValueError, OSError, TimeoutError):
            raise UserError(f"no {kind} has come from the other side of the H.264 call: run it again") from None

    async def ended(self) -> None:
        """Until the other side has closed the connection."""
        try:
            while await self._reader.read(4096):
                pass
        except OSError:
            pass

    def close(self) -> None:
        self._writer.close()


async def listen(host: str, port: int) -> Exchange:
    """Wait for the sender. Raises UserError."""
    found: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()

    def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if found.done():
            writer.close()
        else:
            found.set_result(Exchange(reader, writer))

    try:
        server = await asyncio.start_server(joined, host, port, limit=_LONGEST)
    except OSError as e:
        raise UserError(f"cannot listen on {host} port {port} ({e.strerror}): choose another port") from e
    try:
        return await asyncio.wait_for(found, FIND_S)
    except TimeoutError:
        raise UserError(f"no sender has come within {FIND_S:.0f} s") from None
    finally:
        server.close()


async def connect(host: str, port: int) -> Exchange:
    """Find the receiver, which may still be starting. Raises UserError."""
    end = time.monotonic() + FIND_S
    while True:
        try:
            return Exchange(*await asyncio.open_connection(host, port, limit=_LONGEST))
        except OSError:
            if time.monotonic() > end:
                raise UserError(f"no receiver answers on {host} port {port}") from None
            await asyncio.sleep(_PAUSE_S)


def stop_on_signals() -> asyncio.Event:
    """Set by Ctrl-C or SIGTERM, where the loop can say so."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
