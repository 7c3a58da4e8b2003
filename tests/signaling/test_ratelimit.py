from __future__ import annotations

import pytest

from signaling.ratelimit import AddressLimiter, TokenBucket

pytestmark = pytest.mark.unit


def test_burst_then_rate() -> None:
    bucket = TokenBucket(rate=2, burst=3)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait(100.0) == pytest.approx(0.5)
    assert bucket.take(100.5)
    assert not bucket.take(100.6)


def test_never_fills_above_the_burst() -> None:
    bucket = TokenBucket(rate=10, burst=2)
    assert bucket.take(0.0)
    assert [bucket.take(1e9) for _ in range(3)] == [True, True, False]


def test_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=1)
    assert bucket.take(10.0)
    assert not bucket.take(5.0)


def test_addresses_do_not_share_and_are_bounded() -> None:
    limiter = AddressLimiter(rate=1, burst=1, max_addresses=10)
    assert limiter.take("a", 0.0)
    assert not limiter.take("a", 0.0)
    assert limiter.wait("a", 0.0) > 0
    assert limiter.wait("never seen", 0.0) == 0
    for i in range(100):
        assert limiter.take(f"b{i}", 0.0)
    assert len(limiter) == 10
    assert not limiter.take("b99", 0.0)
