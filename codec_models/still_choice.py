"""Which of the received stills a tick is drawn from, and how a change of stills is shown. Pure: knows neither networks
nor time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .landmarks import hints_of


@dataclass(frozen=True, slots=True)
class ChoiceConfig:
    """turn: weight of the difference of the head's turns in the distance of a still; clearly: share of the distance of
    a still in use at which another one takes its place, as a picture that jumps to and fro is worse than one from the
    second best still; fade: ticks in which what was shown before fades out after a change.

    Chosen by `python -m benchmarks.stills FOLDER --sweeps choice`: 0.13 to 0.18 dB above the nearest 8x8 frame looked
    for every half second, with fewer changes (results and what they are compared with: `benchmarks/README.md`).
    """

    turn: float = 0.3
    clearly: float = 0.6
    fade: int = 3


DEFAULT_CHOICE = ChoiceConfig()


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What is known of a still, or of a tick, before anything is drawn. low: 8x8 frame (3, 8, 8) in [-1, 1]; turn: yaw
    and pitch of the head as in `Hints`, None where they are not known.
    """

    low: NDArray[np.float32]
    turn: tuple[float, float] | None

    @classmethod
    def of_still(cls, low: NDArray[np.float32], points: NDArray[np.float32] | None) -> Look:
        """points (110, 2) in picture fractions."""
        if points is None:
            return cls(low, None)
        hints = hints_of(points)
        return cls(low, (hints.head_yaw, hints.head_pitch))


def apart(still: Look, now: Look, config: ChoiceConfig) -> float:
    """Mean square of the difference of the 8x8 frames, and of yaw and pitch, where both are known: 8x8 pixels of a head
    that turns change less than what there is to be seen of it.
    """
    frames = float(np.square(now.low - still.low).mean())
    if still.turn is None or now.turn is None:
        return frames
    turns = sum((a - b) ** 2 for a, b in zip(still.turn, now.turn, strict=True))
    return frames + config.turn * turns


def choose(stills: Sequence[Look], used: Sequence[Look], now: Look, count: int, config: ChoiceConfig) -> list[int]:
    """Places in `stills` of those to use, nearest first: at most `count`, those that were used before unless another
    one is clearly nearer than the farthest of them.
    """
    distances = [apart(still, now, config) for still in stills]
    nearest = sorted(range(len(stills)), key=distances.__getitem__)
    kept = [k for k in nearest if any(stills[k] is one for one in used)]
    if len(kept) < min(count, len(stills)):
        return nearest[:count]
    other = next((k for k in nearest if k not in kept), None)
    if other is not None and distances[other] < config.clearly * distances[kept[-1]]:
        kept[-1] = other
    return kept


_SAME_SCENE = 0.005
"""Mean square of the difference of 8x8 frames, in [-1, 1], below which two pictures may be mixed: nine levels."""


class Fade:
    """Mixes what was shown before a change of stills into the pictures after it.

    The same face drawn from two stills differs by far more than two pictures in a row, and a jump draws the eye.
    """

    def __init__(self, ticks: int) -> None:
        self._ticks = ticks
        self.reset()

    def reset(self) -> None:
        """Nothing was shown before."""
        self._left = 0
        self._shown: NDArray[np.uint8] | None = None
        self._low: NDArray[np.float32] | None = None

    def begin(self) -> None:
        """The next picture is the first after a change."""
        self._left = self._ticks

    def mixed(self, picture: NDArray[np.uint8], low: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The next picture (n, n, 3) and its 8x8 frame (3, 8, 8) in [-1, 1] -> what to show. Not across a cut, and not
        after ticks that were not drawn and in which much moved.
        """
        if self._left and self._shown is not None and self._low is not None:
            if float(np.square(low - self._low).mean()) < _SAME_SCENE:
                old = round(256 * self._left / (self._ticks + 1))
                sums = self._shown.astype(np.uint16) * np.uint16(old) + picture * np.uint16(256 - old)
                picture = np.asarray(sums + 128 >> 8, np.uint8)
            self._left -= 1
        else:
            self._left = 0
        self._shown, self._low = picture.copy(), low
        return picture
