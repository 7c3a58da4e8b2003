"""The identity layer: one sharp 256x256 picture of the speaker with its landmarks.

Format, version 1: u8 version (1), u8 number of landmarks (110, or 0 when no face was found), then the landmarks as
12-bit pairs x, y (value v stands for v / 2048 - 0.5, in fractions of the picture's side), packed without gaps and
padded to a byte, then the picture as a complete AVIF, WebP or JPEG file of 256x256 pixels to the end.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..landmarks import POINTS
from .errors import BitstreamError
from .timing import PICTURE

VERSION = 1
MAX_STILL_BYTES = 32_768


@dataclass(frozen=True, slots=True)
class IdentityStill:
    """picture (256, 256, 3) uint8 RGB; points (110, 2) float32 in picture fractions, or None without a face."""

    picture: NDArray[np.uint8]
    points: NDArray[np.float32] | None
