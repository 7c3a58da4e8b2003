from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from codec_models.bitstream.face import FaceConfig, FaceEncoder
from codec_models.bitstream.packet import TickPacket, pack
from receiver.playout import PlayedTick, Playout
from receiver.requests import Requests

pytestmark = pytest.mark.unit

TICK = 0.04
WALL = 1_700_000_000.0
"""Unix time when the receiver's clock is 0."""
PATH = 0.01


def opus_silence() -> bytes:
    """One 40 ms SILK wideband frame without content (RFC 6716, section 3.1): decodes to near silence."""
    return bytes([0b01010000, 0, 0, 0])


def picture(tick: int) -> NDArray[np.uint8]:
    base = np.arange(192).reshape(8, 8, 3) // 2
    return np.asarray(base + 40 + 30 * np.sin(tick / 20), np.uint8)


@dataclass
class Sender:
    """Makes the payloads that a sender would, tick by tick. start: capture time of tick 0 on the receiver's clock."""

    fps: int = 25
    start: float = 100.0
    redundant: int = 1
    encoder: FaceEncoder = field(init=False)
    faces: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.encoder = FaceEncoder(FaceConfig(fps=25 if self.fps == 25 else 5))

    def payload(self, tick: int) -> bytes:
        face = self.encoder.encode(picture(tick) if tick % (25 // self.fps) == 0 else None)
        clock = round((WALL + self.start + TICK * tick) * 1000) & 0xFFFF if tick % 16 == 0 else None
        old = tuple(self.faces[-self.redundant :]) if self.faces else ()
        self.faces.append(face)
        return pack(TickPacket((face,), (opus_silence(),), old, clock))

    def arrival(self, tick: int) -> float:
        return self.start + TICK * (tick + 1) + PATH


def run(sender: Sender, ticks: int, lose: set[int] = frozenset(), origin: int = 77) -> tuple[Playout, list[PlayedTick]]:  # type: ignore[assignment]
    playout, out = Playout(WALL), []
    for tick in range(ticks):
        now = sender.arrival(tick)
        while playout.due is not None and playout.due <= now:
            out += playout.step(playout.due)
        payload = sender.payload(tick)
        if tick not in lose:
            assert playout.packet(origin + 1920 * tick, payload, now)
    return playout, out


def close(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    return float(np.abs(a.astype(int) - b).mean()) < 4


def test_every_tick_is_shown_and_played_once() -> None:
    playout, out = run(Sender(), 200)
    assert [p.index for p in out] == list(range(len(out))) and len(out) >= 198
    for p in out:
        assert p.face.picture is not None and close(p.face.picture, picture(p.index))
        assert p.voice.shape == (1920,) and p.heard and 1900 <= len(p.live) <= 2000
    assert playout.counters["ticks_lost"] == playout.counters["ticks_concealed"] == 0
    assert not playout.needs_refresh


def test_latency_follows_from_the_capture_clock_in_the_packets() -> None:
    _, out = run(Sender(start=12345.678), 100)
    assert all(p.captured is not None for p in out)
    captured = np.array([p.captured for p in out])
    # A picture is of its tick's end, at which its packet leaves.
    assert np.abs(captured - (12345.678 + TICK * (1 + np.arange(len(out))))).max() < 0.002
    latency = np.array([p.due for p in out]) - captured
    assert PATH < latency.max() < PATH + 0.03


def test_a_played_tick_knows_its_clock_and_when_it_came() -> None:
    sender = Sender(start=12345.678)
    _, out = run(sender, 100, lose={10, 33})
    for p in out:
        sent = round((WALL + sender.start + TICK * p.index) * 1000)
        assert p.clock is not None and abs((p.clock - sent + 32768) % 65536 - 32768) <= 1
        assert p.pictured is (p.index not in {10, 33}) is (p.arrived is not None)
        assert p.arrived is None or p.arrived == sender.arrival(p.index)


@pytest.mark.parametrize("lose", [set(), set(range(10, 190, 9))])
def test_a_tick_whose_packet_is_there_can_be_had_before_its_time(lose: set[int]) -> None:
    _, plain = run(Sender(), 200, lose)
    sender, early, at = Sender(), Playout(WALL), {}
    early.early = 0.02
    out: list[PlayedTick] = []
    for tick in range(200):
        now = sender.arrival(tick)
        while early.due is not None and early.due <= now:
            due = early.due
            for p in early.step(due):
                at[p.index] = due
                out.append(p)
        payload = sender.payload(tick)
        if tick not in lose:
            early.packet(77 + 1920 * tick, payload, now)
        for p in early.step(now):
            at[p.index] = now
            out.append(p)
    assert [p.index for p in out[: len(plain)]] == [p.index for p in plain]
    for a, b in zip(out, plain, strict=False):
        assert a.heard is b.heard and abs(a.due - b.due) < 0.004
        assert (a.face.picture is None) is (b.face.picture is None)
        if a.face.picture is not None and b.face.picture is not None:
            assert np.array_equal(a.face.picture, b.face.picture)
        # At once when it comes, but neither 20 ms before its time nor, where it never comes, before that.
        wanted = a.due if a.arrived is None else max(a.arrived, a.due - 0.02)
        assert at[a.index] == pytest.approx(wanted, abs=1e-6)


def test_a_lost_tick_is_concealed_and_its_face_comes_with_the_next() -> None:
    lost = set(range(10, 190, 9))
    playout, out = run(Sender(), 200, lost)
    counters = playout.counters
    assert counters["ticks_lost"] == counters["ticks_concealed"] == counters["ticks_from_redundancy"] == len(lost)
    for p in out:
        assert (p.index in lost) is (p.face.picture is None) is (not p.heard)
        assert p.low is not None
        if p.index not in lost:
            assert p.face.picture is not None and p.face.clean and close(p.face.picture, picture(p.index))


def test_ticks_after_the_last_one_are_not_called_lost() -> None:
    sender = Sender()
    playout, _ = run(sender, 100, {50, 51})
    end = sender.arrival(100)
    while playout.due is not None and playout.due <= end + 0.4:
        playout.step(playout.due)
    counters = playout.counters
    assert counters["ticks_lost"] == counters["ticks_concealed"] == 2
    assert counters["ticks_played"] == 100


def test_bursts_beyond_redundancy_recover_within_half_a_second() -> None:
    lost = {20, 21, 22, 60, 61, 62, 63, 64, 65}
    sender, bad = Sender(), []
    playout, requests = Playout(WALL), Requests()
    for tick in range(120):
        now = sender.arrival(tick)
        while playout.due is not None and playout.due <= now:
            for p in playout.step(playout.due):
                if p.index not in lost and (p.face.picture is None or not close(p.face.picture, picture(p.index))):
                    bad.append(p.index)
        if requests.due(now, playout.needs_refresh):
            sender.encoder.refresh()
        payload = sender.payload(tick)
        if tick not in lost:
            playout.packet(1920 * tick, payload, now)
    assert all(23 <= k <= 23 + 12 or 66 <= k <= 66 + 12 for k in bad), bad


def test_five_frames_a_second_have_a_picture_in_every_fifth_tick() -> None:
    playout, out = run(Sender(fps=5), 100, lose={10, 31})
    shown = [p.index for p in out if p.face.picture is not None]
    assert shown == [11 if k == 10 else k for k in range(0, len(out), 5)]  # The lost one comes with the next tick.
    late = out[11]
    assert late.captured is not None and abs(late.captured - (100.0 + 11 * TICK)) < 0.002
    assert not late.pictured and out[15].pictured and not out[16].pictured
    assert playout.traffic.frames == 20
    assert all(p.low is not None for p in out)


def test_garbage_is_counted_and_dropped() -> None:
    rng, sender = random.Random(2), Sender()
    playout, out = Playout(WALL), []
    for tick in range(300):
        now = sender.arrival(tick)
        while playout.due is not None and playout.due <= now:
            out += playout.step(playout.due)
        payload = bytearray(sender.payload(tick))
        playout.packet(rng.randrange(2**48), rng.randbytes(rng.randrange(0, 80)), now)
        if tick % 3 == 1:
            payload[rng.randrange(len(payload))] ^= 1 << rng.randrange(8)
        playout.packet(1920 * tick, bytes(payload), now)
    assert playout.traffic.garbage_packets > 50
    assert [p.index for p in out] == list(range(out[0].index, out[0].index + len(out)))
    assert len(playout.buffer) < 50


def test_a_reconnected_sender_goes_on_at_once_and_is_asked_for_a_refresh() -> None:
    playout, out = run(Sender(), 50)
    second = Sender(start=200.0)
    playout.reconnected()
    for tick in range(50):
        now = second.arrival(tick)
        while playout.due is not None and playout.due <= now:
            out += playout.step(playout.due)
        assert playout.packet(999_999 + 1920 * tick, second.payload(tick), now)
    new = [p for p in out if p.stream == 2]
    assert len(new) >= 48 and new[0].index == 0
    assert new[0].captured is not None and abs(new[0].captured - (200.0 + TICK)) < 0.002
    assert playout.needs_refresh
    playout.refresh_sent()
    assert not playout.needs_refresh


def test_a_jump_of_the_index_keeps_the_capture_clock() -> None:
    sender, playout, out = Sender(), Playout(WALL), []
    for tick in range(200):
        now = sender.arrival(tick)
        while playout.due is not None and playout.due <= now:
            out += playout.step(playout.due)
        jump = 10**7 if tick >= 96 else 0  # The clock comes with tick 96, which is still taken for a stray one.
        playout.packet(1920 * (tick + jump), sender.payload(tick), now)
    last = out[-1]
    assert last.stream == 2 and last.captured is not None
    assert abs(last.captured - (sender.start + TICK * (last.index + 1 - 10**7))) < 0.002


def test_nothing_grows_when_faces_always_come_too_late() -> None:
    sender, playout = Sender(), Playout(WALL)
    for tick in range(600):
        now = sender.arrival(tick)
        while playout.due is not None and playout.due <= now:
            playout.step(playout.due)
        delay = 0 if tick < 100 or tick % 50 == 0 else 9
        if tick >= delay:
            playout.packet(1920 * (tick - delay), sender.payload(tick), now)
    assert len(playout._late) < 20 and len(playout._open) < 20
