"""How much more rate one codec needs than another at the same quality (Bjontegaard, VCEG-M33, 2001).

The logarithm of the rate is interpolated over the quality by piecewise cubics that do not overshoot (PCHIP, Fritsch and
Carlson 1980), and the difference of two curves is averaged over the qualities that both have. Where there are none,
there is no figure: curves are never drawn on beyond their points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.interpolate import PchipInterpolator

LEAST_POINTS = 2
_NARROW = 1e-9
"""Shares of the wider of two quality ranges that count as no overlap at all."""


@dataclass(frozen=True)
class Point:
    """rate: any unit, above 0, the same for all points. quality: larger is better; negate a distance."""

    rate: float
    quality: float
    name: str = ""


@dataclass(frozen=True)
class BdRate:
    """percent: mean rate of the other over that of the reference, less 100 %, or None with a `reason`, one plain line.

    low, high: the qualities that both have. share: of the reference's quality range that these are, 0 to 1.
    """

    percent: float | None
    reason: str = ""
    low: float = math.nan
    high: float = math.nan
    share: float = 0.0


def pareto(points: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    """The points that no cheaper or equally cheap one reaches in quality, by rate, and the others.

    Both rate and quality grow strictly along the first list.
    """
    front: list[Point] = []
    others: list[Point] = []
    for point in sorted(points, key=lambda p: (p.rate, -p.quality)):
        better = not front or point.quality > front[-1].quality
        (front if better else others).append(point)
    return front, others


def bd_rate(reference: Sequence[Point], other: Sequence[Point]) -> BdRate:
    """What `other` costs beside `reference`: 100 % means twice the rate. Points off the Pareto front take no part.

    Raises ValueError on a rate that is not above 0, or on a figure that is no number.
    """
    for point in (*reference, *other):
        if not (point.rate > 0 and math.isfinite(point.rate) and math.isfinite(point.quality)):
            raise ValueError(f"no point of a curve: rate {point.rate}, quality {point.quality}")
    a, b = pareto(reference)[0], pareto(other)[0]
    if min(len(a), len(b)) < LEAST_POINTS:
        which = "the reference" if len(a) < LEAST_POINTS else "it"
        return BdRate(None, f"{which} has fewer than {LEAST_POINTS} points on its front")
    low, high = max(a[0].quality, b[0].quality), min(a[-1].quality, b[-1].quality)
    width = a[-1].quality - a[0].quality
    if high - low <= _NARROW * max(width, b[-1].quality - b[0].quality):
        return BdRate(None, no_overlap(a, b))
    mean = (_area(b, low, high) - _area(a, low, high)) / (high - low)
    return BdRate(100 * math.expm1(mean), "", low, high, (high - low) / width)


def no_overlap(reference: Sequence[Point], other: Sequence[Point]) -> str:
    """Where the reference lies when no quality is common to both fronts, in a plot of quality over rate."""
    below = reference[-1].quality <= other[0].quality
    if reference[-1].rate <= other[0].rate:
        side = "left and "
    elif reference[0].rate >= other[-1].rate:
        side = "right and "
    else:
        side = ""
    return f"no overlap: the reference lies entirely {side}{'below' if below else 'above'}"


def rate_at(points: Sequence[Point], quality: float) -> float | None:
    """The rate of a front at a quality, None outside its range or where it has fewer than two points."""
    front = pareto(points)[0]
    if len(front) < LEAST_POINTS or not front[0].quality <= quality <= front[-1].quality:
        return None
    return math.exp(float(_curve(front)(quality)))


def _curve(front: Sequence[Point]) -> PchipInterpolator:
    return PchipInterpolator([p.quality for p in front], [math.log(p.rate) for p in front])


def _area(front: Sequence[Point], low: float, high: float) -> float:
    return float(_curve(front).integrate(low, high))
