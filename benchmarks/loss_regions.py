"""Where in the picture an error is: regions from landmarks, and bands of size.

The regions are geometry, not a segmentation: what is known of a clip is its landmarks. The unit is the height of the
face's outline, forehead to chin, or 1.2 times its width where that is more (a face that nods). The face is the convex
hull of the outline; lips, eyes, brows and nose are the hulls of their landmarks, widened. The person is the face
widened by 0.25 for the hair, a neck of 0.38 to each side down to 0.25 below the chin, and shoulders that reach 1.25 to
each side 0.6 below the chin and go on to the picture's lower edge. Long hair, hands and hats therefore count as
background, a narrow person's edges as body. Background that the person covers in the still is a region of its own,
since no still can show it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from codec_models.bitstream.timing import PICTURE
from codec_models.landmarks import BROWS, EYES, IRISES, LIPS, NOSE, OUTLINE, POINTS

Mask = NDArray[np.bool_]
"""(256, 256): True inside."""

REGIONS = ("background", "uncovered", "hair, neck, body", "skin", "eyes", "brows", "nose", "lips")
FACE = REGIONS[3:]
SIDES = (8, 16, 32, 64, 128)
"""Averages that a picture of 256 is cut into: 16 stands for 16x16 squares of 16 pixels."""
_HAIR = 0.25
_NECK, _NECK_BASE = 0.38, 0.25
_SHOULDER, _SHOULDER_BASE = 1.25, 0.6
_MARGIN = {"eyes": 0.04, "brows": 0.03, "nose": 0.04, "lips": 0.05}
"""Widening in units of the module's text."""


def _at(*mesh: int) -> list[int]:
    return [POINTS.index(m) for m in mesh]


_OUTLINE = _at(*OUTLINE)
_PARTS = {
    "eyes": (_at(*EYES[:6], IRISES[0]), _at(*EYES[6:], IRISES[1])),
    "brows": (_at(*BROWS[:5]), _at(*BROWS[5:])),
    "nose": (_at(*NOSE),),
    "lips": (_at(*LIPS),),
}


def regions(points: NDArray[np.float32], still_points: NDArray[np.float32]) -> dict[str, Mask]:
    """The masks of `REGIONS`, which cover the picture and do not overlap. points, still_points: (110, 2) in picture
    fractions, of the picture and of the still.
    """
    unit = _unit(points)
    free: Mask = np.ones((PICTURE, PICTURE), bool)
    masks: dict[str, Mask] = {}

    def take(name: str, mask: Mask) -> None:
        masks[name] = mask & free
        free[mask] = False

    for name in reversed(_PARTS):
        part: Mask = np.zeros_like(free)
        for index in _PARTS[name]:
            part |= _hull(points[index], _MARGIN[name] * unit)
        take(name, part)
    take("skin", _hull(points[_OUTLINE], 0))
    take("hair, neck, body", person(points))
    take("uncovered", person(still_points))
    masks["background"] = free
    return {name: masks[name] for name in REGIONS}


def person(points: NDArray[np.float32]) -> Mask:
    """The person whose landmarks (110, 2) these are, as in the module's text."""
    unit, outline = _unit(points), points[_OUTLINE] * PICTURE
    middle, chin = float(outline[:, 0].mean()), float(outline[:, 1].max())
    half = [
        (_NECK, chin - 0.5 * unit),
        (_NECK, chin + _NECK_BASE * unit),
        (_SHOULDER, chin + _SHOULDER_BASE * unit),
        (_SHOULDER, max(chin + _SHOULDER_BASE * unit, 2 * PICTURE)),
    ]
    body = [(middle + x * unit, y) for x, y in half] + [(middle - x * unit, y) for x, y in reversed(half)]
    return _hull(points[_OUTLINE], _HAIR * unit) | _filled(np.array(body))


def band_errors(made: NDArray[np.float32], truth: NDArray[np.float32]) -> tuple[dict[int, float], dict[int, float]]:
    """Mean squared error of `made` (256, 256, 3) that would be left if its averages over the squares of each of `SIDES`
    were the truth's: first with the averages of each square shifted as one, then with the shift spread smoothly
    (bicubic, repeated until the averages are right to a hundredth).

    The first splits the error exactly: what goes from one side to the next is the error of that band.
    """
    error = truth - made
    blocks, smooth = {}, {}
    for side in SIDES:
        mean = _average(error, side)
        blocks[side] = float(np.square(error).mean() - np.square(mean).mean())
        left = error
        for _ in range(8):
            step = _average(left, side)
            if float(np.abs(step).max()) < 0.01 * max(float(np.abs(mean).max()), 1e-9):
                break
            left = left - cv2.resize(step, (PICTURE, PICTURE), interpolation=cv2.INTER_CUBIC)
        smooth[side] = float(np.square(left).mean())
    return blocks, smooth


def _average(picture: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _unit(points: NDArray[np.float32]) -> float:
    """Pixels."""
    outline = points[_OUTLINE] * PICTURE
    height = float(np.linalg.norm(outline[OUTLINE.index(10)] - outline[OUTLINE.index(152)]))
    return max(height, 1.2 * float(np.ptp(outline[:, 0])), 1.0)


def _hull(points: NDArray[np.float32], margin: float) -> Mask:
    """Convex hull of landmarks (n, 2) in picture fractions, widened by `margin` pixels."""
    mask = _filled(np.asarray(cv2.convexHull(np.asarray(points * PICTURE, np.float32))[:, 0], np.float32))
    reach = round(margin)
    if reach < 1:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc), bool)


def _filled(corners: NDArray[np.floating]) -> Mask:
    mask = np.zeros((PICTURE, PICTURE), np.uint8)
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    return np.asarray(mask, bool)
