from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from receiver.still_check import StillCheck

pytestmark = pytest.mark.unit


def frame(level: int, seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(-20, 21, (8, 8, 3))
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def test_a_still_of_something_else_is_told_once_after_two_seconds() -> None:
    check = StillCheck()
    check.still(frame(40))
    told = [check.picture(frame(200, k)) for k in range(200)]
    assert told.index(True) == 49 and sum(told) == 1


def test_a_like_still_and_a_short_change_are_not_told() -> None:
    check = StillCheck()
    check.still(frame(100))
    levels = [100] * 30 + [240] * 40 + [120] * 30 + [240] * 49 + [100]
    assert not any(check.picture(frame(level, k)) for k, level in enumerate(levels))


def test_nothing_to_tell_without_a_still() -> None:
    check = StillCheck()
    assert not any(check.picture(frame(200)) for _ in range(100))


def test_one_like_still_among_several_is_enough_and_a_new_one_starts_anew() -> None:
    check = StillCheck()
    check.still(frame(200))
    check.still(frame(40))
    assert not any(check.picture(frame(200, k)) for k in range(100))
    for _ in range(8):
        check.still(frame(40))
    assert sum(check.picture(frame(200, k)) for k in range(100)) == 1
    check.still(frame(40))
    assert sum(check.picture(frame(200, k)) for k in range(100)) == 1
