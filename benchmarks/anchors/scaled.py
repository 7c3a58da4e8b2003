"""A standard codec at a smaller size: what a clever user does where the codec's own floor is too high."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .codec import Anchor, Encoding


@dataclass(frozen=True)
class Scaled:
    """`inner` on pictures of `side` x `side` pixels: area averages of the true ones, enlarged by Lanczos afterwards.

    The name has the side after the codec's: "h264-floor" becomes "h264-64-floor". Sizes and version are the inner
    codec's. What the picture loses by its size counts against it like anything else.
    """

    inner: Anchor
    side: int

    @property
    def name(self) -> str:
        codec, rest = self.inner.name.split("-", 1)
        return f"{codec}-{self.side}-{rest}"

    @property
    def family(self) -> str:
        return f"{self.inner.family} at {self.side}"

    @property
    def settings(self) -> str:
        return f"{self.side}x{self.side}, area average, enlarged by Lanczos (8x8 taps): {self.inner.settings}"

    def missing(self) -> str | None:
        return self.inner.missing()

    def encode(self, frames: NDArray[np.uint8]) -> Encoding:
        height, width = frames.shape[1:3]
        if min(height, width) < self.side or self.side % 2:
            raise ValueError(f"{width}x{height} is not brought down to {self.side}x{self.side}")
        small = [cv2.resize(f, (self.side, self.side), interpolation=cv2.INTER_AREA) for f in frames]
        coded = self.inner.encode(np.stack(small).astype(np.uint8))
        large = [cv2.resize(f, (width, height), interpolation=cv2.INTER_LANCZOS4) for f in coded.frames]
        return Encoding(np.stack(large).astype(np.uint8), coded.sizes, coded.version)
