"""Bjontegaard's rate difference on curves whose difference is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from benchmarks.bd_rate import Point, bd_rate, no_overlap, pareto, rate_at

pytestmark = pytest.mark.unit

CURVE = [(1.0, 20.0), (2.0, 23.0), (4.5, 25.0), (9.0, 28.5), (20.0, 30.0)]


def points(pairs: list[tuple[float, float]], rate: float = 1.0, quality: float = 0.0) -> list[Point]:
    return [Point(r * rate, q + quality) for r, q in pairs]


def test_the_same_curve_costs_nothing_more() -> None:
    found = bd_rate(points(CURVE), points(CURVE))
    assert found.percent == pytest.approx(0, abs=1e-12)
    assert (found.low, found.high, found.share) == (20, 30, 1) and found.reason == ""


def test_twice_the_rate_is_100_percent_and_half_of_it_minus_50() -> None:
    assert bd_rate(points(CURVE), points(CURVE, 2)).percent == pytest.approx(100)
    assert bd_rate(points(CURVE), points(CURVE, 0.5)).percent == pytest.approx(-50)


def test_two_points_are_joined_by_a_line_in_the_logarithm_of_the_rate() -> None:
    # over 20 to 30 dB the first needs 10^0 to 10^1, the second 10^0 to 10^2: half a decade more in the mean
    found = bd_rate([Point(1, 20), Point(10, 30)], [Point(1, 20), Point(100, 30)])
    assert found.percent == pytest.approx(100 * (10**0.5 - 1))


def test_only_common_qualities_count() -> None:
    flat = [Point(1, 20), Point(10, 30)]
    found = bd_rate(flat, [Point(10**0.5 * 3, 25), Point(300, 45)])
    assert (found.low, found.high, found.share) == (25, 30, 0.5)
    # from 25 to 30 dB the first goes from 10^0.5 to 10; the second starts three times as high and gains 0.5 in 5 dB
    slope = math.log(300 / (10**0.5 * 3)) / 20
    expected = math.log(3) + 2.5 * (slope - math.log(10) / 10)
    assert found.percent == pytest.approx(100 * math.expm1(expected))


def test_the_area_is_that_of_scipys_pchip() -> None:
    other = [(1.5, 19.0), (3.0, 22.0), (8.0, 27.0), (30.0, 31.5)]
    at = np.linspace(20, 30, 20001)
    curves = [PchipInterpolator([q for _, q in pairs], [math.log(r) for r, _ in pairs])(at) for pairs in (CURVE, other)]
    expected = 100 * math.expm1(float(np.trapezoid(curves[1] - curves[0], at) / 10))
    assert bd_rate(points(CURVE), points(other)).percent == pytest.approx(expected, abs=1e-4)


def test_a_distance_negated_is_a_quality() -> None:
    distances = [(1.0, -0.3), (2.0, -0.2), (4.0, -0.1)]
    assert bd_rate(points(distances), points(distances, 3)).percent == pytest.approx(200)


def test_without_common_qualities_there_is_no_figure_but_a_reason() -> None:
    far = bd_rate(points(CURVE), points(CURVE, 30, 15))
    assert far.percent is None and far.reason == "no overlap: the reference lies entirely left and below"
    assert math.isnan(far.low) and far.share == 0
    assert no_overlap(points(CURVE), points(CURVE, 1, 15)).endswith("entirely below")
    assert no_overlap(points(CURVE), points(CURVE, 0.01, -15)).endswith("entirely right and above")
    # one quality in common is no range
    touching = bd_rate([Point(1, 20), Point(2, 25)], [Point(5, 25), Point(9, 30)])
    assert touching.percent is None and "left and below" in touching.reason


def test_points_that_others_beat_are_taken_off_the_front() -> None:
    worse = [Point(3, 22, "dearer and worse"), Point(4.5, 24, "as dear and worse"), Point(25, 30, "dearer, as good")]
    front, others = pareto([*worse, *points(CURVE)])
    assert front == points(CURVE) and [p.name for p in others] == [p.name for p in worse]
    every = [Point(2 * p.rate, p.quality) for p in (*worse, *front)]
    assert bd_rate(points(CURVE), every).percent == pytest.approx(100)


def test_one_point_is_no_curve() -> None:
    assert "the reference has fewer than 2" in bd_rate([Point(1, 20)], points(CURVE)).reason
    found = bd_rate(points(CURVE), [Point(1, 20), Point(2, 19)])
    assert found.percent is None and found.reason.startswith("it has fewer than 2")


def test_what_is_no_rate_or_no_figure_is_refused() -> None:
    for wrong in (Point(0, 20), Point(-1, 20), Point(math.inf, 20), Point(1, math.nan)):
        with pytest.raises(ValueError, match="no point of a curve"):
            bd_rate(points(CURVE), [wrong, Point(2, 25)])


def test_the_rate_at_a_quality() -> None:
    line = [Point(1, 20), Point(100, 30), Point(200, 29)]
    assert rate_at(line, 25) == pytest.approx(10)
    assert rate_at(line, 30.1) is None and rate_at(line[:1], 20) is None
