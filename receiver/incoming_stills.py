"""Identity stills as they come in: decoded one at a time, in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from codec_models.bitstream.errors import BitstreamError
from codec_models.bitstream.still import IdentityStill, decode_still


class IncomingStills:
    """done: called on the event loop with each still and its bytes, or with None and why it cannot be used."""

    def __init__(self, done: Callable[[IdentityStill | None, bytes, str], None]) -> None:
        self._done = done
        self._waiting: bytes | None = None
        self._task: asyncio.Task[None] | None = None

    def add(self, data: bytes) -> None:
        """A still has come; of several that wait only the newest counts."""
        self._waiting = data
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._decode())

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _decode(self) -> None:
        while self._waiting is not None:
            data, self._waiting = self._waiting, None
            try:
                still = await asyncio.to_thread(decode_still, data)
            except BitstreamError as e:
                self._done(None, data, str(e))
            else:
                self._done(still, data, "")
