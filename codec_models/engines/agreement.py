"""How far what a runtime computes may be from torch in float32, and the check that it is not farther.

Bounds are in the unit of each output: levels of 255 for pictures, pixels of 256 for landmarks. In 16 bits the live
networks are within 0.6 levels at most and 0.07 in the mean; a wrong sampling grid is off by tens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError


@dataclass(frozen=True, slots=True)
class Bound:
    """most, mean: of the absolute difference, after multiplication by scale."""

    most: float
    mean: float
    scale: float = 1.0
    unit: str = ""


_LEVELS = Bound(6.0, 0.4, 127.5, " levels")
_PIXELS = Bound(0.5, 0.1, 128.0, " pixels")
BOUNDS = {
    **dict.fromkeys(("picture", "change", "crop", "low"), _LEVELS),
    **dict.fromkeys(("points", "still_points"), _PIXELS),
    # the corner is a rounded number: a middle at half a pixel may go either way
    "corner": Bound(1.0, 1.0, 1.0, " pixels"),
    **dict.fromkeys(("planes", "share"), Bound(0.1, 0.005)),
    **dict.fromkeys(("new_gate", "redness", "yaw", "shown"), Bound(0.02, 0.02)),
}
_FEATURES = Bound(0.05, 0.005)
"""Of others, which have no unit: parts of the largest value."""


def apart(made: NDArray[Any], right: NDArray[Any]) -> tuple[float, float]:
    """Largest and mean absolute difference of two arrays of one shape; both infinite where one is not finite."""
    difference = np.abs(np.asarray(made, np.float64) - np.asarray(right, np.float64))
    if not difference.size or not np.isfinite(difference).all():
        return float("inf"), float("inf")
    return float(difference.max()), float(difference.mean())


def check_agreement(what: str, made: Mapping[str, NDArray[Any]], right: Mapping[str, NDArray[Any]]) -> None:
    """Raises UserError, one line, where an output is missing, has another shape, or is beyond its bound."""
    for name, expected in right.items():
        if name not in made or made[name].shape != expected.shape:
            raise UserError(f"{what} is refused: it gives no {name} {tuple(expected.shape)}")
        bound = BOUNDS.get(name)
        if bound is None:
            largest = max(float(np.abs(expected).max(initial=0.0)), 1e-6)
            bound = Bound(_FEATURES.most, _FEATURES.mean, 1 / largest, " of the largest value")
        most, mean = (bound.scale * value for value in apart(made[name], expected))
        if not (most <= bound.most and mean <= bound.mean):
            raise UserError(
                f"{what} is refused: its {name} is off by {most:.3g}{bound.unit} at most and {mean:.3g} in the mean;"
                f" {bound.most:g} and {bound.mean:g} are allowed"
            )
