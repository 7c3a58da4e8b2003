"""Who runs with whom, and when; no clock but the test's."""

from __future__ import annotations

import pytest

from codec_models.engines.gathering import Gathering, Job, Ticks

pytestmark = pytest.mark.unit

WAIT = 0.001


def gathering(calls: int, most: int = 8) -> Gathering:
    made = Gathering(WAIT, most)
    for call in range(calls):
        made.join(call)
    return made


def test_a_call_alone_waits_for_nobody() -> None:
    g = gathering(1)
    assert g.next(0.0) is None
    g.tick(0, 1.0)
    assert g.next(1.0) == Ticks((0,))
    assert g.next(1.0) is None


def test_an_idle_device_waits_a_moment_and_what_came_while_it_was_busy_does_not() -> None:
    g = gathering(3)
    g.tick(1, 5.0)
    assert g.next(5.0) == 5.0 + WAIT
    g.tick(0, 5.0005)
    assert g.next(5.0005) == 5.0 + WAIT
    assert g.next(5.0 + WAIT) == Ticks((1, 0))
    # the device was busy for 10 ms: what has come meanwhile runs at once, together
    g.tick(2, 5.002)
    g.tick(1, 5.009)
    assert g.next(5.011) == Ticks((2, 1))


def test_nothing_is_waited_for_once_all_calls_are_there() -> None:
    g = gathering(2)
    g.tick(0, 1.0)
    g.tick(1, 1.0001)
    assert g.next(1.0001) == Ticks((0, 1))


def test_a_batch_is_not_larger_than_it_may_be_and_takes_the_oldest() -> None:
    g = gathering(5, most=2)
    for call in (3, 0, 4, 1, 2):
        g.tick(call, 1.0)
    assert [g.next(1.0), g.next(1.0), g.next(1.0 + WAIT)] == [Ticks((3, 0)), Ticks((4, 1)), Ticks((2,))]


def test_one_job_between_two_batches() -> None:
    g = gathering(3)
    for call in range(3):
        g.job(call)
        g.tick(call, 1.0)
    order = []
    for k in range(3):
        order.append(g.next(2.0 + k))
        if isinstance(order[-1], Ticks):
            break
        order.append(g.next(2.0 + k))
        for call in range(3):
            g.tick(call, 2.0 + k)
    assert order == [Job(0), Ticks((0, 1, 2)), Job(1), Ticks((0, 1, 2)), Job(2), Ticks((0, 1, 2))]


def test_jobs_run_while_nothing_is_due() -> None:
    g = gathering(2)
    g.job(0)
    g.job(1)
    assert [g.next(0.0), g.next(0.0), g.next(0.0)] == [Job(0), Job(1), None]
    g.tick(0, 1.0)
    g.job(1)
    # one that waits for others leaves the device to a job
    assert g.next(1.0) == Job(1)
    assert g.next(1.0) == 1.0 + WAIT


def test_who_leaves_is_waited_for_by_nobody_and_runs_no_more() -> None:
    g = gathering(2)
    g.tick(0, 1.0)
    g.tick(1, 1.0)
    g.job(1)
    g.leave(1)
    assert g.next(1.0) == Ticks((0,))
    assert g.next(1.0) is None
    g.tick(1, 2.0)
    g.job(1)
    assert g.next(2.0) is None


def test_a_later_tick_of_a_call_takes_the_place_of_the_one_before() -> None:
    g = gathering(2)
    g.tick(0, 1.0)
    g.tick(0, 1.0004)
    assert g.next(1.001) == 1.0004 + WAIT
    assert g.next(1.0004 + WAIT) == Ticks((0,))
