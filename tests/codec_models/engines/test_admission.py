"""Who is let in, from measured times."""

from __future__ import annotations

import pytest

from codec_models.engines.admission import Admission

pytestmark = pytest.mark.unit


def admission(times: dict[int, float], job: float = 0.0, slots: int = 100, margin: float = 0.2) -> Admission:
    return Admission(0.040, margin, 0.001, slots, times, job)


def simulated(a: Admission, calls: int) -> float:
    """The slowest tick of calls at every 40 ms, phases at their worst: all but one just before the one."""
    worst = 0.0
    for before in range(calls):
        start = a.batch(before) + a.job * a.slower + a.batch(calls - before)
        worst = max(worst, start)
    return worst


def test_the_worst_tick_follows_from_the_rule() -> None:
    a = admission({1: 0.002, 2: 0.003, 4: 0.004, 8: 0.006}, job=0.005)
    assert a.worst(1) == pytest.approx(0.002)
    # one is just being drawn, a still comes between, then the other
    assert a.worst(2) == pytest.approx(0.002 + 0.002 + 0.005 + 0.001)
    # 3, which are filled up to 4, and the other 5, filled up to 8
    assert a.worst(8) == pytest.approx(0.004 + 0.006 + 0.005 + 0.001)
    for calls in range(2, 20):
        assert simulated(a, calls) <= a.worst(calls) < simulated(a, calls) + 0.0011


def test_calls_are_let_in_until_one_more_could_miss_its_deadline() -> None:
    a = admission({1: 0.001, 2: 0.002, 4: 0.004, 8: 0.008, 16: 0.016}, job=0.004)
    held = next(n for n in range(100) if a.refusal(n) is not None)
    assert 16 <= held < 32
    assert a.worst(held) <= 0.032 < a.worst(held + 1)
    told = a.refusal(held)
    assert told is not None and "\n" not in told and f"{held + 1} calls" in told and "32 are allowed" in told


def test_a_slow_device_still_serves_one_alone() -> None:
    a = admission({1: 0.3}, job=0.2)
    assert a.refusal(0) is None
    assert a.refusal(1) is not None


def test_slots_are_a_limit_of_their_own() -> None:
    a = admission({1: 1e-4, 64: 1e-3}, slots=3)
    assert [a.refusal(n) is None for n in range(4)] == [True, True, True, False]
    assert "no room" in (a.refusal(3) or "")


def test_more_than_the_largest_batch_runs_as_several() -> None:
    a = admission({1: 0.001, 2: 0.002, 4: 0.003})
    assert a.batch(4) == pytest.approx(0.003)
    assert a.batch(9) == pytest.approx(0.003 + 0.003 + 0.001)
    assert a.batch(0) == 0


def test_a_device_that_grows_slower_takes_fewer_and_recovers() -> None:
    a = admission({1: 0.001, 2: 0.002, 4: 0.004}, job=0.001)

    def held() -> int:
        return next(n for n in range(100) if a.refusal(n) is not None)

    usual = held()
    for _ in range(30):
        a.observe(2, 0.006)
    assert a.slower == pytest.approx(3.0, rel=0.01) and a.batch(4) == pytest.approx(0.012, rel=0.01)
    slow = held()
    assert slow < usual / 2
    for _ in range(500):
        a.observe(2, 0.002)
    assert usual - held() <= 1


def test_one_hiccup_is_forgotten() -> None:
    a = admission({1: 0.001, 2: 0.0015}, job=0.001)
    a.observe(1, 0.2)
    assert a.refusal(1) is not None
    for _ in range(200):
        a.observe(1, 0.001)
    assert a.refusal(1) is None


def test_the_longest_job_counts() -> None:
    a = admission({1: 0.001}, job=0.002)
    a.observe_job(0.030)
    assert a.job == 0.030 and a.refusal(1) is not None
    for _ in range(300):
        a.observe_job(0.002)
    assert a.job == pytest.approx(0.002, rel=0.01) and a.refusal(1) is None


def test_before_anything_is_measured_nothing_is_known() -> None:
    a = admission({})
    a.observe(1, 1.0)
    assert a.worst(5) == pytest.approx(0.001) and a.slower == 1.0
