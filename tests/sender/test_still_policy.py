from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from faces import points

from codec_models.landmarks import hints_of
from sender.still_policy import SLOTS, StillPolicy, View, drift, sharpness_of

pytestmark = pytest.mark.unit

GREY = np.full((8, 8, 3), 128, np.uint8)
TICK = 0.04


def view(face: bool = True, sharpness: float = 100.0, small: np.ndarray = GREY, **pose: float) -> View:
    where = points(pose.pop("x", 0.5), pose.pop("y", 0.54), pose.pop("height", 0.55), **pose) if face else None
    return View(small, sharpness, where, hints_of(where) if where is not None else None)


def run(policy: StillPolicy, start: float, seconds: float, *views: View, step: float = TICK) -> list[tuple[float, int]]:
    """Show the views in turn, one a tick -> when stills were sent, and their numbers."""
    sent = []
    for k in range(round(seconds / step)):
        now = start + k * step
        number = policy.decide(now, views[k % len(views)])
        if number is not None:
            sent.append((now, number))
    return sent


def test_the_first_good_picture_goes_at_once() -> None:
    assert run(StillPolicy(), 100.0, 20, view()) == [(100.0, 0)]


@pytest.mark.parametrize("bad", [view(face=False), view(lids=0.01), view(lips=0.4), view(x=1.1)])
def test_a_bad_start_waits_a_moment_and_is_made_good_later(bad: View) -> None:
    policy = StillPolicy()
    sent = run(policy, 0.0, 3, bad)
    assert len(sent) == 1 and 0.3 <= sent[0][0] <= 1.0
    assert run(policy, 0.0, 0.2, bad) == []
    later = run(policy, 3.0, 3, view())
    assert len(later) == 1 and later[0][1] == 0  # in place of the bad one


def test_a_blurred_start_waits_for_a_sharp_picture() -> None:
    policy = StillPolicy()
    assert policy.decide(0.0, view(sharpness=100, lids=0.01)) is None
    assert policy.decide(0.04, view(sharpness=20)) is None
    assert policy.decide(0.08, view(sharpness=90)) == 0


def test_talking_and_blinking_are_no_drift() -> None:
    views = [view(lips=abs(0.3 * np.sin(k)), lids=0.1 if k % 30 else 0.0, yaw=0.1 * np.sin(k / 9)) for k in range(180)]
    assert len(run(StillPolicy(), 0.0, 120, *views)) == 1


def test_a_turned_head_gets_a_still_and_turning_back_needs_none() -> None:
    policy = StillPolicy()
    assert run(policy, 0, 40, view()) == [(0, 0)]
    turned = run(policy, 40, 10, view(yaw=0.6))
    assert len(turned) == 1 and turned[0][1] == 1 and turned[0][0] >= 40.3
    assert run(policy, 50, 40, view()) == []
    assert run(policy, 90, 40, view(yaw=0.6)) == []
    assert policy.best == 1


def test_a_short_turn_is_not_worth_one() -> None:
    policy = StillPolicy()
    views = [view()] * 25 + [view(yaw=0.6)] * 6
    assert len(run(policy, 0, 60, *views)) == 1


def test_the_rate_is_bounded_and_slots_are_used_again() -> None:
    policy = StillPolicy()
    rng = np.random.default_rng(0)
    sent = []
    for k in range(60):  # ten minutes of somebody who never looks the same
        small = rng.integers(0, 256, (8, 8, 3), np.uint8)
        sent += run(policy, 10.0 * k, 10, view(small=small, yaw=float(rng.uniform(-0.8, 0.8))), step=0.2)
    times = np.array([t for t, _ in sent])
    assert np.diff(times).min() >= 10
    assert sum(times < 30) == 3  # early in the call they are worth most
    assert max(int(((times >= t) & (times < t + 60)).sum()) for t in times) <= 3
    assert len(sent) > SLOTS and {n for _, n in sent} == set(range(SLOTS))


def test_a_request_is_answered_once_with_a_good_picture() -> None:
    policy = StillPolicy()
    run(policy, 0, 5, view())
    policy.request()
    assert policy.decide(5.0, view(lids=0.0)) is not None or policy.decide(5.04, view()) == 0
    assert run(policy, 5.1, 10, view()) == []


def test_requests_in_a_row_do_not_flood() -> None:
    policy = StillPolicy()
    sent = 0
    for k in range(1500):
        policy.request()
        sent += policy.decide(k * TICK, view()) is not None
    assert 2 <= sent <= 8


def test_drift_measures() -> None:
    here = view()
    assert drift(here, here) == 0
    assert drift(here, view(lips=0.4, lids=0.0)) == 0
    assert drift(here, view(yaw=0.15)) < 1 < drift(here, view(yaw=0.6))
    assert drift(here, view(roll=0.3)) < 1  # a turn in the plane can be undone
    assert drift(here, view(x=0.6)) < 1 < drift(here, view(x=0.8))
    assert drift(here, view(height=0.45)) < 1 < drift(here, view(height=0.34))
    assert drift(here, dataclasses.replace(here, small=GREY + 60)) == 0  # brighter all over: colour correction does it
    for darker, above in ((20, False), (36, True)):  # an rms of half of that, the means removed
        half = GREY.copy()
        half[:, :4] -= np.uint8(darker)
        assert (drift(here, dataclasses.replace(here, small=half)) > 1) is above
    assert drift(view(face=False), here) > 1


def test_sharpness_falls_with_blur() -> None:
    import cv2

    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    assert sharpness_of(picture) > 4 * sharpness_of(np.asarray(cv2.GaussianBlur(picture, (0, 0), 2)))
