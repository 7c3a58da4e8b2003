"""The face landmarks that both ends know, and the hints that follow from them.

110 of the 478 points of the MediaPipe face mesh (with irises): lips, eyes, brows, nose, face outline, iris centres.
Coordinates are fractions of the picture's side: (0, 0) top left, (1, 1) bottom right, slightly outside allowed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .bitstream.hints import Hints

LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409,
        78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415)  # fmt: skip
EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
NOSE = (1, 2, 98, 327, 168, 6, 197, 195, 5, 4)
OUTLINE = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
           152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
IRISES = (468, 473)
POINTS = LIPS + EYES + BROWS + NOSE + OUTLINE + IRISES
"""Mesh indices of the landmarks that travel with the still, in wire order."""

_AT = {mesh: k for k, mesh in enumerate(POINTS)}


def eye_distance(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance of the outer eye corners. points (..., 110, 2) -> (...)."""
    return _distance(points, 33, 263)


def hints_of(points: NDArray[np.float32]) -> Hints:
    """What an 8x8 picture cannot show, measured on landmarks (110, 2) in picture fractions; units as in `Hints`."""
    eye = max(float(eye_distance(points)), 1e-6)
    p = {m: points[k] for m, k in _AT.items()}

    def opening(top: tuple[int, int], bottom: tuple[int, int]) -> float:
        return float(sum(np.linalg.norm(p[a] - p[b]) for a, b in zip(top, bottom, strict=True)) / (2 * eye))

    def gaze(outer: int, inner: int, iris: int) -> NDArray[np.float32]:
        middle, across = (p[outer] + p[inner]) / 2, p[inner] - p[outer]
        width = max(float(np.linalg.norm(across)), 1e-6)
        along = across / width if across[0] >= 0 else -across / width
        away = p[iris] - middle
        down = np.array([-along[1], along[0]])
        return np.array([away @ along, away @ down], np.float32) / width

    look = (gaze(33, 133, 468) + gaze(263, 362, 473)) / 2
    middle = points.mean(0)
    size = max(float(np.sqrt(np.square(points - middle).sum(1).mean())), 1e-6)
    axis = p[263] - p[33]
    roll = float(np.arctan2(axis[1], axis[0]))
    nose = (p[1] - middle) / size
    return Hints(
        mouth_open=float(np.linalg.norm(p[13] - p[14])) / eye,
        mouth_width=float(np.linalg.norm(p[78] - p[308])) / eye,
        eye_left=opening((160, 158), (144, 153)),
        eye_right=opening((385, 387), (380, 373)),
        gaze_x=float(look[0]),
        gaze_y=float(look[1]),
        head_x=float(middle[0]),
        head_y=float(middle[1]),
        head_size=float(np.log(size)),
        head_roll=roll,
        head_yaw=float(nose[0] * np.cos(roll) + nose[1] * np.sin(roll)),
        head_pitch=float(nose[1] * np.cos(roll) - nose[0] * np.sin(roll)),
    )


def _distance(points: NDArray[np.float32], a: int, b: int) -> NDArray[np.float32]:
    return np.asarray(np.linalg.norm(points[..., _AT[a], :] - points[..., _AT[b], :], axis=-1), np.float32)
