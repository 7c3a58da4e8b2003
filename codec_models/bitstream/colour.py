"""RGB to the planes that the face layer codes, in integers: the same numbers on every machine.

Planes are luma and the two colour differences of ITU-R BT.601, full range, luma less 128, in sixteenths of a level.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNIT = 16
"""One level is 16 units."""

# BT.601 times 2^16 (to planes; each row of the differences adds up to zero) and times 2^14 (back).
_TO_PLANES = np.array([[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]], np.int64)
_TO_RGB = np.array([[16384, 0, 22970], [16384, -5638, -11700], [16384, 29032, 0]], np.int64)


def to_planes(picture: NDArray[np.uint8]) -> NDArray[np.int64]:
    """RGB (8, 8, 3) uint8 -> planes (192,), luma then Cb then Cr, row by row, in sixteenths."""
    rgb = picture.reshape(64, 3).astype(np.int64)
    planes = (_TO_PLANES @ rgb.T * UNIT + 32768) >> 16
    planes[0] -= 128 * UNIT
    return np.asarray(planes.ravel(), np.int64)


def to_picture(planes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Planes (192,) in sixteenths -> RGB (8, 8, 3) uint8, clipped."""
    p = planes.reshape(3, 64).copy()
    p[0] += 128 * UNIT
    rgb = (_TO_RGB @ p + (1 << 17)) >> 18
    return np.asarray(np.clip(rgb, 0, 255).T.reshape(8, 8, 3), np.uint8)
