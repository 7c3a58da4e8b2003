"""A reconstruction that gets 25 frames a second from a stream at 5."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .bitstream.face import FaceTick
from .bitstream.still import IdentityStill
from .bitstream.timing import PICTURE
from .reconstruction import Reconstructor
from .slow_stream import SlowStream

_Tick = tuple[FaceTick, NDArray[np.int16] | None]


class Interpolated:
    """Reconstructor around another one, whose 8x8 frames it fills up.

    With look-ahead 1 and at 5 fps `tick` draws the tick 5 ticks before the one it is given, voice included; until there
    is one, it gives the last picture again. Feed `delay` ticks of nothing at the end to get the last ones.
    """

    def __init__(self, inner: Reconstructor, stream: SlowStream) -> None:
        self._inner, self._stream = inner, stream
        self._voices: deque[NDArray[np.int16] | None] = deque(maxlen=64)
        self._last: NDArray[np.uint8] | None = None
        self._filling = 0.0

    @property
    def backend(self) -> str:
        return self._inner.backend

    @property
    def device(self) -> str:
        return self._inner.device

    @property
    def delay(self) -> int:
        return self._stream.delay

    @property
    def spent(self) -> Mapping[str, float]:
        return {"interpolate": self._filling, **self._inner.spent}

    @property
    def lookahead(self) -> int:
        """Frames, 0 or 1."""
        return self._stream.lookahead

    @property
    def fps(self) -> int | None:
        """Of the 8x8 stream, as the sender has told; None: found out from when frames come."""
        return self._stream.fps

    @fps.setter
    def fps(self, fps: int | None) -> None:
        self._stream.fps = fps

    def set_identity(self, still: IdentityStill) -> None:
        self._inner.set_identity(still)

    def take(self, face: FaceTick, voice: NDArray[np.int16] | None) -> None:
        if (older := self._push(face, voice)) is not None:
            self._inner.take(*older)

    def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
        older = self._push(face, voice)
        if older is not None:
            self._last = self._inner.tick(*older)
        elif self._last is None:
            return np.full((PICTURE, PICTURE, 3), 128, np.uint8)
        return self._last

    def _push(
        self, face: FaceTick, voice: NDArray[np.int16] | None
    ) -> tuple[FaceTick, NDArray[np.int16] | None] | None:
        began = time.perf_counter()
        filled = self._stream.push(face)
        self._filling = time.perf_counter() - began
        self._voices.append(voice)
        if filled is None:
            return None
        return filled, self._voices[-1 - self._stream.delay]

    def reset(self) -> None:
        self._stream.reset()
        self._inner.reset()
        self._voices.clear()
        self._last = None
