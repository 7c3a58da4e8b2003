from __future__ import annotations

import random

import pytest

from signaling.unwrap import Unwrapper

pytestmark = pytest.mark.unit


def test_runs_on_over_the_wrap() -> None:
    unwrap = Unwrapper(16)
    assert [unwrap(v & 0xFFFF) for v in range(65_000, 200_000, 777)] == list(range(65_000, 200_000, 777))


def test_reordering_over_the_wrap_comes_out_lower() -> None:
    unwrap = Unwrapper(32)
    top = 1 << 32
    assert [unwrap(v % top) for v in (top - 1920, top + 1920, top, top - 3840, top + 3840)] == [
        top - 1920,
        top + 1920,
        top,
        top - 3840,
        top + 3840,
    ]


def test_packet_from_before_the_first_may_be_negative() -> None:
    unwrap = Unwrapper(32)
    assert [unwrap(5), unwrap((1 << 32) - 1915)] == [5, -1915]


@pytest.mark.parametrize("bits", [16, 32])
def test_random_walk(bits: int) -> None:
    """Any walk whose steps stay within half a turn of the highest value is restored."""
    rng = random.Random(1)
    unwrap = Unwrapper(bits)
    start = highest = rng.randrange(1 << bits)
    assert unwrap(start) == start
    for _ in range(2000):
        value = highest + rng.randint(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        highest = max(highest, value)
        assert unwrap(value % (1 << bits)) == value
