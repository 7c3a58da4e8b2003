"""The hint layer: what 8x8 pixels cannot show and the sender knows anyway.

Format, version 2 (version 1 had the first six values and other contexts): twelve values, each quantised to a multiple
of its step, in the order of the fields of `Hints`. A refresh codes how far each is from its mean in the prior, any
other tick how far each has changed since the last tick with hints, with a range coder: symbols are -7 to 7 and an
escape at both ends, followed by an exponential Golomb code.

Each value has 16 tables in the prior. The last is for a refresh; otherwise it is table 3 a + b. a: the sum of the
value's last two changes (0 for what a refresh coded and what came before it), clipped to +-2, plus 2. b: where
`COMPANIONS` names an earlier value, 0, 1 or 2 as that one falls, stays or rises in this tick; where it names the value
itself, 0, 1 or 2 as it stood, after the last tick, more than a step below its mean, within a step of it, or more than
a step above.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from .errors import BitstreamError
from .prior import HINT_CONTEXTS, FacePrior
from .rangecoder import RangeDecoder, RangeEncoder

STEPS = (1 / 48, 1 / 32, 1 / 64, 1 / 64, 1 / 16, 1 / 12, 1 / 128, 1 / 128, 1 / 25, 1 / 25, 1 / 16, 1 / 16)
"""Quantiser steps of the hints, in their own units, in the order of the fields of `Hints`."""
LIMITS = (
    (0, 72),
    (0, 48),
    (0, 24),
    (0, 24),
    (-8, 8),
    (-6, 6),
    (-64, 192),
    (-64, 192),
    (-100, 10),
    (-40, 40),
    (-24, 24),
    (-24, 24),
)
"""Least and greatest value of each hint, in steps."""
COMPANIONS = (0, 0, 2, 2, 2, 3, 6, 6, 7, 6, 6, 7)
"""Index of the hint that each hint's table depends on beside its own changes: one that moves with it (lips and their
corners, both eyes, lids and gaze, the place of the head and its turns), or itself, as it tends back to its mean."""
DEAD_ZONES = (0.15,) * 6 + (0.25,) * 6
"""A change of less than half a step and this much of one is not sent: measurement noise would cost more than the blink
or the nod that it hides in."""


@dataclass(frozen=True, slots=True)
class Hints:
    """Openings of mouth and eyes in units of the distance of the outer eye corners; gaze in units of the eye's width
    (0, 0 = iris in the middle; right and down in the picture are positive).

    Pose of the head, of which 8x8 pixels say little: on the training clips the place of the head alone is two thirds
    of all that landmarks move. x, y: middle of the landmarks, fractions of the picture's side. size: natural logarithm
    of their root mean square distance from it, in the same unit. roll: slope of the line of the eyes, radians,
    clockwise in the picture. yaw, pitch: tip of the nose from the middle, along the line of the eyes and down from it,
    in units of that root mean square distance.
    """

    mouth_open: float
    mouth_width: float
    eye_left: float
    eye_right: float
    gaze_x: float
    gaze_y: float
    head_x: float
    head_y: float
    head_size: float
    head_roll: float
    head_yaw: float
    head_pitch: float


class HintState:
    """The last values and changes, in steps; the same at both ends."""

    def __init__(self, prior: FacePrior) -> None:
        self._prior = prior
        self.refresh()

    def refresh(self) -> None:
        """Forget the past: the next tick is coded on its own."""
        self._values = list(self._prior.hint_mean)
        self._changes = self._before = [0] * len(STEPS)
        self._fresh = True

    def _context(self, index: int, changes: list[int]) -> int:
        if self._fresh:
            return HINT_CONTEXTS - 1
        past = min(max(self._changes[index] + self._before[index], -2), 2)
        companion = COMPANIONS[index]
        if companion < index:
            beside = min(max(changes[companion], -1), 1)
        else:
            above = self._values[index] - self._prior.hint_mean[index]
            beside = (above > 1) - (above < -1)
        return (past + 2) * 3 + beside + 1

    def hints(self) -> Hints:
        return Hints(*(v * s for v, s in zip(self._values, STEPS, strict=True)))

    def encode(self, hints: Hints, coder: RangeEncoder) -> None:
        changes: list[int] = []
        for k, (value, step, (low, high)) in enumerate(zip(astuple(hints), STEPS, LIMITS, strict=True)):
            exact = float(np.clip(np.nan_to_num(value) / step, low, high)) - self._values[k]
            zone = 0.0 if self._fresh else DEAD_ZONES[k]
            change = int(np.sign(exact) * np.floor(abs(exact) + 0.5 - zone))
            self._prior.hint_tables[k][self._context(k, changes)].encode(change, coder)
            changes.append(change)
        self._commit(changes)

    def decode(self, coder: RangeDecoder) -> None:
        """Raises BitstreamError when a value leaves its range."""
        changes: list[int] = []
        for k in range(len(STEPS)):
            changes.append(self._prior.hint_tables[k][self._context(k, changes)].decode(coder))
        self._commit(changes)

    def _commit(self, changes: list[int]) -> None:
        values = [v + c for v, c in zip(self._values, changes, strict=True)]
        if any(not low <= v <= high for v, (low, high) in zip(values, LIMITS, strict=True)):
            raise BitstreamError("a hint is out of range")
        self._values = values
        if not self._fresh:
            self._changes, self._before = changes, self._changes
        self._fresh = False
