"""RGB to the 8-bit YUV 4:2:0 that every anchor codec gets, and back.

BT.709 matrix, limited range (luma 16-235, chroma 16-240). Chroma is the mean of 2x2 pixels and is enlarged bilinearly
on the way back. The conversion is our own and the same for every codec, so that none wins by its scaler.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

DESCRIPTION = "yuv420p, BT.709, limited range, chroma = 2x2 mean, bilinear back to RGB"

_KR, _KB = 0.2126, 0.0722
_LUMA = np.array([_KR, 1 - _KR - _KB, _KB])
_TO_YUV = np.stack(
    [
        _LUMA * 219 / 255,
        (np.array([0, 0, 1]) - _LUMA) / (2 * (1 - _KB)) * 224 / 255,
        (np.array([1, 0, 0]) - _LUMA) / (2 * (1 - _KR)) * 224 / 255,
    ]
).astype(np.float32)
_TO_RGB = np.linalg.inv(_TO_YUV.astype(np.float64)).astype(np.float32)
_OFFSET = np.array([16, 128, 128], np.float32)

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


def luma(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Full-range BT.709 luma of (H, W, 3) uint8 RGB: (H, W) float32, 0 to 255, not rounded."""
    return np.asarray(picture.astype(np.float32) @ _LUMA.astype(np.float32), np.float32)


def to_yuv420(picture: NDArray[np.uint8]) -> Planes:
    """(H, W, 3) uint8 RGB, even sides -> planes Y (H, W), U and V (H/2, W/2), uint8."""
    height, width = picture.shape[:2]
    yuv = cv2.transform(picture.astype(np.float32), _TO_YUV) + _OFFSET
    small = cv2.resize(yuv[..., 1:], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return _bytes(yuv[..., 0]), _bytes(small[..., 0]), _bytes(small[..., 1])


def to_rgb(planes: Planes, depth: int = 8) -> NDArray[np.uint8]:
    """Planes of `to_yuv420`, or of the same layout with `depth` bits -> (H, W, 3) uint8 RGB."""
    y, u, v = (p.astype(np.float32) / (1 << (depth - 8)) for p in planes)
    size = (y.shape[1], y.shape[0])
    chroma = [cv2.resize(p, size, interpolation=cv2.INTER_LINEAR) for p in (u, v)]
    rgb = cv2.transform(np.stack([y, *chroma], -1) - _OFFSET, _TO_RGB)
    return _bytes(rgb)


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(values + 0.5, 0, 255), np.uint8)
