from __future__ import annotations

import pytest

from receiver.requests import Requests
from signaling.control import NeedStill, Refresh

pytestmark = pytest.mark.unit


def test_refresh_is_asked_for_at_once_and_a_few_times_a_second() -> None:
    requests = Requests()
    assert requests.due(0.0, False) == []
    sent = [t / 100 for t in range(1000) if Refresh() in requests.due(t / 100, True)]
    assert sent[0] == 0.0 and 25 <= len(sent) <= 34


def test_a_still_is_asked_for_when_none_comes_and_then_less_and_less_often() -> None:
    requests = Requests()
    requests.connected(10.0)
    sent = [t / 10 for t in range(100, 1100) if NeedStill() in requests.due(t / 10, False)]
    assert sent[0] == 11.0 and 8 <= len(sent) <= 14
    requests.still(120.0, good=True)
    assert not any(requests.due(t, False) for t in range(120, 300))


def test_a_corrupt_still_is_asked_for_again_at_a_bounded_rate() -> None:
    requests, sent = Requests(), []
    requests.connected(0.0)
    requests.still(0.1, good=True)
    for t in range(100, 1100):
        requests.still(t / 100, good=False)
        sent += [t] * (NeedStill() in requests.due(t / 100, False))
    assert sent[0] == 100 and len(sent) <= 20


def test_nothing_is_asked_of_a_sender_that_is_gone() -> None:
    requests = Requests()
    requests.connected(0.0)
    requests.disconnected()
    assert not any(requests.due(float(t), False) for t in range(100))


def test_statistics_are_rare_on_a_clean_link_and_prompt_on_a_lossy_one() -> None:
    requests = Requests()
    requests.connected(0.0)
    clean = [t for t in range(60) if requests.statistics_due(float(t), 0.0)]
    assert clean == [0, 1, 2, *range(3, 60, 8)]
    assert all(requests.statistics_due(float(t), 2.0) for t in range(60, 70))
