from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from codec_models.bitstream.packet import TickPacket
from receiver.jitterbuffer import TICK, BufferedTick, JitterBuffer, JitterConfig, Kind

pytestmark = pytest.mark.unit

Link = Callable[[random.Random, int, float], list[float]]
"""(random, packet number, sending time) -> arrival times: none for a loss, two for a duplicate."""


def face(tick: int) -> bytes:
    return b"f%d" % tick


def packet(tick: int, ticks: int = 1, redundant: int = 2) -> TickPacket:
    return TickPacket(
        tuple(face(tick + k) for k in range(ticks)),
        tuple(b"v%d" % (tick + k) for k in range(ticks)),
        tuple(face(t) for t in range(max(0, tick - redundant), tick)),
    )


@dataclass
class Run:
    out: list[tuple[float, BufferedTick]]
    buffer: JitterBuffer
    most: int

    def latencies(self, start: float = 0.0, rate: float = 1.0) -> list[float]:
        """Seconds from the capture of each tick to its playout, for ticks captured after `start`."""
        return [t - e.index * TICK * rate for t, e in self.out if e.index * TICK >= start]

    def longest_gap(self) -> float:
        return max(b - a for (a, _), (b, _) in zip(self.out, self.out[1:], strict=False))

    def share(self, kind: Kind, start: float = 0.0) -> float:
        picked = [e.kind is kind for _, e in self.out if e.index * TICK >= start]
        return sum(picked) / len(picked)


def simulate(link: Link, seconds: float, ticks: int = 1, drift: float = 0.0, seed: int = 1, early: float = 0.0) -> Run:
    """Send packets over a link and play them out with a poll right at every time at which a tick can be had."""
    rng, rate = random.Random(seed), 1 + drift
    events: list[tuple[float, int]] = []
    for tick in range(0, int(seconds / TICK), ticks):
        sent = (tick + ticks) * TICK * rate
        events += [(arrival, tick) for arrival in link(rng, tick // ticks, sent)]
    events.sort()
    buffer, out, most = JitterBuffer(), [], 0

    def play(until: float) -> None:
        while (at := buffer.ready(early)) is not None and at <= until:
            entry = buffer.pop(max(at, arrived), early)
            if entry is not None:
                out.append((entry.due, entry))

    arrived = float("-inf")
    for arrival, tick in events:
        play(arrival)
        buffer.put(tick, packet(tick, ticks), arrived := arrival)
        most = max(most, len(buffer))
    play(events[-1][0])
    return Run(out, buffer, most)


def assert_in_order(run: Run) -> None:
    assert [e.index for _, e in run.out] == list(range(run.out[0][1].index, run.out[0][1].index + len(run.out)))


def clean(rng: random.Random, number: int, sent: float) -> list[float]:
    return [sent + 0.001]


def lossy(rng: random.Random, number: int, sent: float) -> list[float]:
    return [] if rng.random() < 0.1 else [sent + 0.03 + abs(rng.gauss(0, 0.004))]


def bursts(rng: random.Random, number: int, sent: float) -> list[float]:
    return [] if number % 50 in (20, 21, 22, 23) else [sent + 0.03]


def gaussian(rng: random.Random, number: int, sent: float) -> list[float]:
    return [sent + 0.1 + max(-0.08, rng.gauss(0, 0.02))]


def spiky(rng: random.Random, number: int, sent: float) -> list[float]:
    return [sent + 0.02 + (rng.uniform(0.05, 0.25) if rng.random() < 0.04 else 0.0)]


def twice(rng: random.Random, number: int, sent: float) -> list[float]:
    return [sent + 0.02, sent + 0.02 + rng.uniform(0, 0.3)]


def swapped(rng: random.Random, number: int, sent: float) -> list[float]:
    return [sent + 0.02 + (0.06 if number % 10 == 3 else 0.0)]


def test_clean_link_adds_at_most_25_ms() -> None:
    run = simulate(clean, 20)
    assert_in_order(run)
    assert run.share(Kind.PRESENT) == 1
    assert max(run.latencies(2)) < TICK + 0.001 + 0.025
    assert {e.samples for _, e in run.out[100:]} == {1920}


def test_two_ticks_in_a_packet_cost_one_tick_more() -> None:
    run = simulate(clean, 20, ticks=2)
    assert_in_order(run)
    assert run.share(Kind.PRESENT) == 1
    assert max(run.latencies(2)) < 2 * TICK + 0.001 + 0.025


@pytest.mark.parametrize("ticks", [1, 2])
@pytest.mark.parametrize("link", [lossy, bursts, gaussian, spiky, twice, swapped])
def test_bad_links_never_stall_grow_or_drift(link: Link, ticks: int) -> None:
    run = simulate(link, 120, ticks)
    assert_in_order(run)
    assert run.longest_gap() <= 0.2
    assert run.most < 40
    early, late = sorted(run.latencies(20))[: len(run.out) // 3], sorted(run.latencies(80))
    assert abs(late[len(late) // 2] - early[len(early) // 2]) < 0.12
    assert max(run.latencies()) < 0.62


@pytest.mark.parametrize(("link", "most"), [(gaussian, 0.04), (spiky, 0.05), (swapped, 0.03), (twice, 0.001)])
def test_few_ticks_come_too_late(link: Link, most: float) -> None:
    run = simulate(link, 120)
    assert 1 - run.share(Kind.PRESENT, start=10) <= most


@pytest.mark.parametrize("ticks", [1, 2])
@pytest.mark.parametrize("link", [clean, lossy, bursts, gaussian, spiky, twice, swapped])
def test_having_ticks_early_loses_none(link: Link, ticks: int) -> None:
    plain, early = simulate(link, 120, ticks), simulate(link, 120, ticks, early=0.02)
    assert_in_order(early)
    assert early.longest_gap() <= 0.2
    for kind in Kind:
        assert early.share(kind) == pytest.approx(plain.share(kind), abs=0.003)
    late, soon = sorted(plain.latencies(5)), sorted(early.latencies(5))
    assert soon[len(soon) // 2] == pytest.approx(late[len(late) // 2], abs=0.004)


def test_only_a_tick_that_is_there_can_be_had_early() -> None:
    buffer = JitterBuffer()
    buffer.put(3, packet(3), 1.0)
    assert buffer.due is not None and buffer.ready(0.5) == buffer.due - 0.5 and buffer.ready() == buffer.due
    assert buffer.pop(buffer.due - 0.01) is None
    entry = buffer.pop(buffer.due - 0.01, early=0.02)
    assert entry is not None and entry.due == pytest.approx(1.0, abs=0.02) and entry.arrival == 1.0
    buffer.put(5, packet(5), 1.08)  # 4 is on its way, or lost: its face is there, but its packet may still come
    assert buffer.ready(0.5) == buffer.due and buffer.pop(buffer.due - 0.001, early=0.02) is None
    entry = buffer.pop(buffer.due, early=0.02)
    assert entry is not None and entry.kind is Kind.FACE_ONLY and entry.arrival is None


def test_loss_is_told_from_lateness() -> None:
    run = simulate(lossy, 120)
    assert 0.07 < run.buffer.statistics.lost / len(run.out) < 0.13
    assert run.buffer.statistics.late < 0.03 * len(run.out)
    assert max(run.latencies(5)) < TICK + 0.03 + 0.04  # Losses must not be taken for jitter.


def test_faces_lost_with_their_packet_come_back_for_the_decoder() -> None:
    run = simulate(lossy, 60)
    known = {e.index: e.face for _, e in run.out if e.face is not None}
    for _, e in run.out:
        for index, data in e.late_faces:
            assert index < e.index
            known[index] = data
    assert all(known[index] == face(index) for index in known)
    assert len(known) >= 0.995 * len(run.out)


def test_redundant_face_fills_a_tick_that_is_still_to_come() -> None:
    buffer = JitterBuffer()
    buffer.put(0, packet(0), 0.04)
    buffer.put(1, packet(1), 0.08 + 0.3)  # Late: from here on the buffer waits longer than a tick.
    due = buffer.due
    assert due is not None
    now = due
    while (entry := buffer.pop(now)) is not None or now < 2:
        now += 0.01
        if entry is not None and entry.index < 30:
            buffer.put(entry.index + 8, packet(entry.index + 8), now)
        if entry is not None and entry.kind is Kind.FACE_ONLY:
            assert entry.opus is None and entry.face == face(entry.index)
            return
    raise AssertionError("no tick was filled from redundancy")


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
def test_an_hour_of_clock_drift(drift: float) -> None:
    run = simulate(lambda rng, number, sent: [sent + 0.02 + rng.uniform(0, 0.004)], 3600, drift=drift)
    assert_in_order(run)
    assert run.share(Kind.PRESENT) > 0.99
    latencies = run.latencies(10, rate=1 + drift)
    assert max(latencies) - min(latencies) < 0.03
    assert run.longest_gap() < 0.06


def test_recovers_from_an_outage_of_three_seconds_whether_packets_are_lost_or_held() -> None:
    def lost(rng: random.Random, number: int, sent: float) -> list[float]:
        return [] if 10 <= sent < 13 else [sent + 0.02]

    def held(rng: random.Random, number: int, sent: float) -> list[float]:
        return [max(sent + 0.02, 13.02 + number * 1e-5) if sent >= 10 else sent + 0.02]

    for link in (lost, held):
        run = simulate(link, 60)
        assert_in_order(run)
        assert run.longest_gap() <= 0.2
        after = [e for _, e in run.out if e.index * TICK > 13.1]
        assert all(e.kind is Kind.PRESENT for e in after)
        assert max(run.latencies(45)) < TICK + 0.02 + 0.04


def test_a_lasting_change_of_delay_is_followed() -> None:
    for step in (0.15, 0.9, 2.5):
        run = simulate(lambda rng, number, sent, step=step: [sent + 0.02 + (step if sent >= 10 else 0)], 40)
        assert run.longest_gap() <= 0.2
        last = [e for _, e in run.out if e.index * TICK > 20]
        assert all(e.kind is Kind.PRESENT for e in last)
        assert max(run.latencies(30)) < TICK + 0.02 + step + 0.04


def test_delay_shrinks_again_after_a_bad_patch() -> None:
    def patch(rng: random.Random, number: int, sent: float) -> list[float]:
        return [sent + 0.02 + (rng.uniform(0, 0.3) if 5 <= sent < 15 else 0)]

    run = simulate(patch, 90)
    assert max(run.latencies(60)) < TICK + 0.02 + 0.04
    assert max(run.latencies()) < TICK + 0.02 + 0.45


def test_restart_of_the_sender_and_jumps_of_its_index() -> None:
    for jump in (-1000, 200, 10**9, -(10**12)):
        buffer, out, now = JitterBuffer(), [], 0.0
        for k in range(500):
            now = (k + 1) * TICK
            while buffer.due is not None and buffer.due <= now:
                entry = buffer.pop(now)
                if entry is not None:
                    out.append(entry)
            buffer.put(k if k < 250 else k + jump, packet(k), now)
        assert sum(e.restart for e in out) == 2
        assert out[-1].index in range(499 + jump - 3, 499 + jump + 1)
        assert sum(e.kind is Kind.MISSING for e in out) < 15


def test_wild_indices_cost_nothing_and_do_not_disturb() -> None:
    rng = random.Random(5)
    buffer, out = JitterBuffer(), []
    for k in range(2000):
        now = (k + 1) * TICK
        while buffer.due is not None and buffer.due <= now:
            entry = buffer.pop(now)
            if entry is not None:
                out.append(entry)
        buffer.put(k, packet(k), now)
        for _ in range(3):
            buffer.put(rng.randrange(-(2**48), 2**48), packet(0, redundant=0), now)
        assert len(buffer) < 50
    assert [e.index for e in out] == list(range(out[0].index, out[0].index + len(out)))
    assert all(e.kind is Kind.PRESENT for e in out)


def test_bounded_when_nobody_plays() -> None:
    buffer = JitterBuffer()
    for k in range(5000):
        buffer.put(k, packet(k), k * TICK)
    assert len(buffer) <= 256
    assert buffer.pop(5000 * TICK) is None  # Far too old: dropped, the next packet starts again.
    buffer.put(5000, packet(5000), 5000 * TICK)
    assert buffer.due is not None
    entry = buffer.pop(buffer.due)
    assert entry is not None and entry.restart and entry.index == 5000


def test_stops_when_the_sender_is_gone_and_starts_again() -> None:
    buffer = JitterBuffer(JitterConfig(idle_after=1.0))
    for k in range(50):
        buffer.put(k, packet(k), k * TICK)
    kinds = []
    while buffer.due is not None:
        entry = buffer.pop(buffer.due)
        if entry is not None:
            kinds.append(entry.kind)
    assert kinds.count(Kind.PRESENT) == 50
    assert 20 <= kinds.count(Kind.MISSING) <= 30
    buffer.put(300, packet(300), 300 * TICK)
    assert buffer.due is not None
    entry = buffer.pop(buffer.due)
    assert entry is not None and entry.index == 300 and entry.restart


def test_nothing_is_due_before_its_time() -> None:
    buffer = JitterBuffer()
    assert buffer.due is None and buffer.pop(1e9) is None
    buffer.put(7, packet(7), 3.0)
    assert buffer.due is not None and buffer.due >= 3.0
    assert buffer.pop(buffer.due - 1e-6) is None
    assert buffer.pop(buffer.due) is not None
