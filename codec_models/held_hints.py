"""The newest hints of a stream, for ticks that bring none."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field

import numpy as np
from numpy.typing import NDArray

from .bitstream.face import FaceTick
from .bitstream.prior import HINTS

HELD_HINTS = 12
"""Ticks for which hints hold when none come: half a second, then the networks do without."""


@dataclass(slots=True)
class HeldHints:
    """values (12,) raw, zeros before the first; age: ticks since they came, None where there are none to use."""

    values: NDArray[np.float32] = field(default_factory=lambda: np.zeros(HINTS, np.float32))
    age: int | None = None

    def push(self, face: FaceTick) -> None:
        """Take in a tick."""
        if face.hints is not None:
            self.values, self.age = np.array(astuple(face.hints), np.float32), 0
        elif self.age is not None:
            self.age = self.age + 1 if self.age < HELD_HINTS else None

    @property
    def known(self) -> float:
        """1 or 0, as the networks are told."""
        return float(self.age is not None)
