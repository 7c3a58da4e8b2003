"""What the teeth stage is compared with: an unsharp mask, and a plain upscaler, on the same mouth crop."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from codec_models.mouth import MOUTH

from .mouth_metrics import Frames, Places
from .sharpness import grey, sharpness

SIGMA = 1.5
"""Of the unsharp mask's Gaussian, pixels."""
MOST = 8.0
"""Greatest amount that is tried."""
_ROUNDS = 10
_SMALL = MOUTH // 2


def unsharp(crop: Frames, share: NDArray[np.float32], amount: float) -> Frames:
    """(96, 96, 3) uint8 -> crop + amount share (crop - its Gaussian blur), rounded and clipped."""
    values = crop.astype(np.float32)
    detail = values - cv2.GaussianBlur(values, (0, 0), SIGMA)
    return np.asarray(np.clip(values + amount * share[..., None] * detail + 0.5, 0, 255), np.uint8)


def upscaled(crop: Frames) -> Frames:
    """(96, 96, 3) uint8, area average to 48x48 and back by Lanczos' filter."""
    small = cv2.resize(crop, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (MOUTH, MOUTH), interpolation=cv2.INTER_LANCZOS4), np.uint8)


def matching_amount(frames: Frames, places: Places, brenner: float) -> float:
    """The amount, 0 to `MOST`, with which unsharp masking brings the mean Brenner figure of the crops to `brenner`."""
    crops = places.crops(frames)
    low, high = 0.0, MOST
    for _ in range(_ROUNDS):
        amount = (low + high) / 2
        made = [unsharp(crop, share, amount) for crop, share in zip(crops, places.share, strict=True)]
        if np.mean([sharpness(grey(crop))["brenner"] for crop in made]) < brenner:
            low = amount
        else:
            high = amount
    return (low + high) / 2 if low else 0.0


def with_mouths(frames: Frames, places: Places, mouths: list[Frames]) -> Frames:
    """A copy of frames (N, 256, 256, 3) with other mouths (96, 96, 3) in them."""
    out = frames.copy()
    for k, mouth in enumerate(mouths):
        places.crop(out[k], k)[:] = mouth
    return out
