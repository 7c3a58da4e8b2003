"""Notices a still that shows something else than the picture: another person, another room. Pure, counts ticks."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

_APART = 62.0
"""Root mean square difference of 8x8 frames, in levels of 255. On the clips that the networks were trained on, 1 % of
the pairs of frames of one clip lie further apart, and 70 % of the pairs of two people."""
_PATIENCE = 50
"""Pictures in a row, two seconds at 25 fps: a hand before the camera is gone by then."""
_MOST_STILLS = 8


class StillCheck:
    """still() for every still, picture() for every 8x8 frame; both (8, 8, 3) uint8 RGB."""

    def __init__(self) -> None:
        self._stills: deque[NDArray[np.float32]] = deque(maxlen=_MOST_STILLS)
        self._apart = 0
        self._told = False

    def still(self, low: NDArray[np.uint8]) -> None:
        self._stills.append(low.astype(np.float32))
        self._apart, self._told = 0, False

    def picture(self, low: NDArray[np.uint8]) -> bool:
        """True, once, when none of the stills has looked like the picture for two seconds."""
        if self._told or not self._stills:
            return False
        nearest = min(float(np.sqrt(np.square(low - still).mean())) for still in self._stills)
        self._apart = self._apart + 1 if nearest > _APART else 0
        self._told = self._apart >= _PATIENCE
        return self._told
