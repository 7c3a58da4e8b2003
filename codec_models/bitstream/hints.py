"""The hint layer: what 8x8 pixels cannot show and the sender knows anyway."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hints:
    """Openings of mouth and eyes and the gaze, all in units of the distance of the outer eye corners,
    gaze in units of the eye's width (0, 0 = iris in the middle; right and down in the picture are positive).
    """

    mouth_open: float
    mouth_width: float
    eye_left: float
    eye_right: float
    gaze_x: float
    gaze_y: float
