"""What engines whose arrays are numpy's have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import Arrays


class HostArrays:
    """The array methods of `engine.Engine`. One still at a time: the exported networks have room for one."""

    device = "cpu"
    several = False

    def array(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(values)

    def numpy(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def together(self, parts: Sequence[Arrays]) -> Arrays:
        if len(parts) != 1:
            raise ValueError("this engine takes one still at a time")
        return parts[0]

    def added(
        self, picture: NDArray[np.float32], change: NDArray[np.float32], corner: NDArray[Any]
    ) -> NDArray[np.float32]:
        out = picture.copy()
        x, y = (int(k) for k in corner[0])
        side = change.shape[-1]
        out[0, :, y : y + side, x : x + side] += change[0]
        return out

    def shown(self, picture: NDArray[np.float32]) -> NDArray[np.uint8]:
        scaled = picture[0] * np.float32(127.5)
        scaled += 128
        np.clip(scaled, 0, 255, out=scaled)
        return np.ascontiguousarray(scaled.astype(np.uint8).transpose(1, 2, 0))
