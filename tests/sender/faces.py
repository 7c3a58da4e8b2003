"""A made-up face: 478 mesh points of which only those that matter are placed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codec_models.landmarks import BROWS, EYES, IRISES, LIPS, NOSE, OUTLINE, POINTS


def mesh(
    x: float, y: float, height: float, yaw: float = 0.0, roll: float = 0.0, lips: float = 0.05, lids: float = 0.1
) -> NDArray[np.float32]:
    """A face of that height in pixels around (x, y), turned by yaw and roll in radians; lips and lids: their
    openings in eye distances. -> (478, 2).
    """
    points = np.zeros((478, 3))
    turn = np.linspace(0, 2 * np.pi, len(OUTLINE), endpoint=False)
    points[list(OUTLINE)] = np.stack([0.42 * np.sin(turn), -0.5 * np.cos(turn), 0 * turn], 1)
    points[list(BROWS)] = np.stack([np.linspace(-0.3, 0.3, len(BROWS)), np.full(len(BROWS), -0.25),
                                    np.full(len(BROWS), 0.25)], 1)  # fmt: skip
    points[list(NOSE)] = np.stack([np.zeros(len(NOSE)), np.linspace(-0.2, 0.1, len(NOSE)),
                                   np.linspace(0.25, 0.45, len(NOSE))], 1)  # fmt: skip
    points[list(LIPS)] = (0, 0.25, 0.25)
    points[[78, 308], 0] = (-0.12, 0.12)
    eye = 0.5  # distance of the outer corners
    points[13, 1], points[14, 1] = 0.25 - lips * eye / 2, 0.25 + lips * eye / 2
    corners = {33: -0.25, 133: -0.1, 362: 0.1, 263: 0.25}
    for k in EYES:
        points[k] = (corners.get(k, -0.17 if k in (160, 158, 153, 144) else 0.17), -0.12, 0.2)
    points[[160, 158, 385, 387], 1] -= lids * eye / 2
    points[[144, 153, 380, 373], 1] += lids * eye / 2
    points[IRISES[0], :2], points[IRISES[1], :2] = (-0.175, -0.12), (0.175, -0.12)
    px = points[:, 0] * np.cos(yaw) + points[:, 2] * np.sin(yaw)
    py = points[:, 1]
    rx, ry = px * np.cos(roll) - py * np.sin(roll), px * np.sin(roll) + py * np.cos(roll)
    return np.stack([x + rx * height, y + ry * height], 1).astype(np.float32)


def points(*args: float, **kwargs: float) -> NDArray[np.float32]:
    """As `mesh`, for a picture of side 1 -> (110, 2)."""
    return mesh(*args, **kwargs)[list(POINTS)]
