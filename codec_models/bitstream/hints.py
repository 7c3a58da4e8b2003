"""The hint layer: what 8x8 pixels cannot show and the sender knows anyway.

Format, version 1: six values, each quantised to a multiple of its step; a tick codes the change of each against the
tick before (or, in a refresh, against the value's mean) with a range coder. The table for a change depends on the
value's own last change, clipped to +-2, and on how many hints before it in this tick have changed, at most 2; symbols
are -7 to 7 and an escape at both ends, followed by an exponential Golomb code.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from .errors import BitstreamError
from .prior import HINT_CONTEXTS, FacePrior
from .rangecoder import RangeDecoder, RangeEncoder

STEPS = (1 / 48, 1 / 32, 1 / 64, 1 / 64, 1 / 16, 1 / 12)
"""Quantiser steps of the hints, in their own units, in the order of the fields of `Hints`."""
LIMITS = ((0, 72), (0, 48), (0, 24), (0, 24), (-8, 8), (-6, 6))
"""Least and greatest value of each hint, in steps."""
DEAD_ZONE = 0.15
"""A change of less than 1/2 + 0.15 step is not sent: measurement noise would cost more than the blink it hides in."""


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


class HintState:
    """The last values and changes, in steps; the same at both ends."""

    def __init__(self, prior: FacePrior) -> None:
        self._prior = prior
        self.refresh()

    def refresh(self) -> None:
        """Forget the past: the next tick is coded on its own."""
        self._values = list(self._prior.hint_mean)
        self._changes = [0] * len(STEPS)
        self._fresh = True

    def _context(self, index: int, changed: int) -> int:
        if self._fresh:
            return HINT_CONTEXTS - 1
        return (min(max(self._changes[index], -2), 2) + 2) * 3 + min(changed, 2)

    def hints(self) -> Hints:
        return Hints(*(v * s for v, s in zip(self._values, STEPS, strict=True)))

    def encode(self, hints: Hints, coder: RangeEncoder) -> None:
        changes: list[int] = []
        for k, (value, step, (low, high)) in enumerate(zip(astuple(hints), STEPS, LIMITS, strict=True)):
            exact = float(np.clip(np.nan_to_num(value) / step, low, high)) - self._values[k]
            zone = 0.0 if self._fresh else DEAD_ZONE
            change = int(np.sign(exact) * np.floor(abs(exact) + 0.5 - zone))
            self._prior.hint_tables[k][self._context(k, sum(map(bool, changes)))].encode(change, coder)
            changes.append(change)
        self._commit(changes)

    def decode(self, coder: RangeDecoder) -> None:
        """Raises BitstreamError when a value leaves its range."""
        changes: list[int] = []
        for k in range(len(STEPS)):
            changes.append(self._prior.hint_tables[k][self._context(k, sum(map(bool, changes)))].decode(coder))
        self._commit(changes)

    def _commit(self, changes: list[int]) -> None:
        values = [v + c for v, c in zip(self._values, changes, strict=True)]
        if any(not low <= v <= high for v, (low, high) in zip(values, LIMITS, strict=True)):
            raise BitstreamError("a hint is out of range")
        self._values, self._changes, self._fresh = values, changes, False
