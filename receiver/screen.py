"""Where browsers watch a call: hands its pictures and its voice to each of them."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
from numpy.typing import NDArray

from signaling.down import Down

from .renderer import ShownPicture


class Screen:
    """A `PictureSink`; pictures may come from any thread, all else on the event loop. Nobody looks: nothing is done."""

    def __init__(self) -> None:
        self._downs: set[Down] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, down: Down, lows: bool = True) -> None:
        """lows: whether it is shown the 8x8 pictures too."""
        down.lows = lows
        self._loop = asyncio.get_running_loop()
        self._downs.add(down)

    def detach(self, down: Down) -> None:
        """Nothing more goes there; does nothing for one that has gone already."""
        self._downs.discard(down)

    def picture(self, shown: ShownPicture) -> None:
        if self._downs and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the call is over
                self._loop.call_soon_threadsafe(self._show, shown)

    def voice(self, samples: NDArray[np.int16]) -> None:
        """Voice of a tick as it is to be played."""
        for down in self._downs:
            down.speak(samples)

    def _show(self, shown: ShownPicture) -> None:
        for down in self._downs:
            down.picture(shown.index, shown.picture, shown.low)
