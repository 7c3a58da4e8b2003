from __future__ import annotations

import contextlib
import itertools
import random

import numpy as np
import pytest
from numpy.typing import NDArray

from codec_models.bitstream.errors import BitstreamError
from codec_models.bitstream.face import FaceConfig, FaceEncoder
from codec_models.bitstream.packet import TickPacket, pack
from receiver.playout import PlayedTick, Playout
from receiver.split_flows import SplitFlows

pytestmark = pytest.mark.unit

TICK = 0.04
START = 100.0
"""When tick 0 begins, on the receiver's clock."""
ORIGIN = 7_654_321
"""RTP timestamp at that instant."""
OPUS_40, OPUS_20 = bytes([0b01010000, 0, 0, 0]), bytes([0b01001000, 0, 0, 0])
"""SILK wideband frames without content."""


def message(tick: int, face: bytes, redundant: tuple[bytes, ...] = (), clock: int | None = None) -> bytes:
    return tick.to_bytes(4, "big") + pack(TickPacket((face,), (b"",), redundant, clock))


def picture(tick: int) -> NDArray[np.uint8]:
    base = np.arange(192).reshape(8, 8, 3) // 2
    return np.asarray(base + 40 + 30 * np.sin(tick / 20), np.uint8)


class Browser:
    """What a browser would send. phase: how much earlier its voice packets end than ticks do, in seconds; ppm: how much
    faster its sound card counts.
    """

    def __init__(self, fps: int = 25, phase: float = 0.0, ppm: float = 0.0, length: int = 1920) -> None:
        self.fps, self.phase, self.ppm, self.length = fps, phase, ppm, length
        self.encoder = FaceEncoder(FaceConfig(fps=25 if fps == 25 else 5, hints=False))
        self.old: tuple[bytes, ...] = ()

    def faces(self, ticks: int, jitter: float = 0.0, first: int = 0) -> list[tuple[float, str, int, bytes]]:
        out = []
        for tick in range(first, first + ticks):
            due = tick % (25 // self.fps) == 0
            face = self.encoder.encode(picture(tick) if due else None)
            if not due:
                continue
            clock = round((START + TICK * tick) * 1000) & 0xFFFF if tick % 5 == 0 else None
            arrival = START + TICK * (tick + 1) + 0.01 + random.random() * jitter
            out.append((arrival, "face", tick, message(tick, face, self.old, clock)))
            self.old = (face,)
        return out

    def voices(self, seconds: float, jitter: float = 0.0) -> list[tuple[float, str, int, bytes]]:
        out = []
        for k in itertools.count():
            end = (k + 1) * self.length / 48_000 / (1 + self.ppm * 1e-6) - self.phase
            if end > seconds:
                return out
            opus = OPUS_40 if self.length == 1920 else OPUS_20
            out.append((START + end + 0.01 + random.random() * jitter, "voice", ORIGIN + k * self.length, opus))
        raise AssertionError


def play(
    playout: Playout, events: list[tuple[float, str, int, bytes]], lose: frozenset[int] = frozenset()
) -> list[PlayedTick]:
    out: list[PlayedTick] = []
    for k, (arrival, kind, number, data) in enumerate(sorted(events)):
        while (due := playout.due) is not None and due <= arrival:
            out += playout.step(due)
        if k in lose:
            continue
        taken = playout.face_message(data, arrival) if kind == "face" else playout.voice_packet(number, data, arrival)
        assert taken
    return out


@pytest.mark.parametrize("length", [960, 1920])
@pytest.mark.parametrize("phase", [0.0, 0.007, 0.019, 0.033])
def test_voice_finds_its_tick(phase: float, length: int) -> None:
    random.seed(3)
    browser = Browser(phase=phase, length=length)
    playout = Playout(0.0)
    played = play(playout, browser.faces(200, 0.008) + browser.voices(8.0, 0.008))
    settled = played[30:]
    assert len(settled) > 150 and [p.index for p in settled] == list(range(settled[0].index, settled[-1].index + 1))
    assert all(p.face.picture is not None and p.face.clean for p in settled)
    assert sum(not p.heard for p in settled) <= 2
    assert all(p.captured == pytest.approx(START + TICK * (p.index + 1), abs=0.003) for p in settled)
    counters = playout.counters
    assert counters["ticks_lost"] <= 2 and counters["ticks_corrupt"] == 0
    # a voice packet that ends at the second t belongs to the tick whose end is nearest
    part = playout._flows.voice(ORIGIN + 1920 * 250, OPUS_40, START + 251 * TICK - phase + 0.01)
    assert part is not None and abs(part.tick - 250 + phase / TICK) <= 0.75


def test_clocks_that_drift_cost_a_tick_now_and_then() -> None:
    random.seed(4)
    browser = Browser(ppm=1000)  # far more than any sound card: a tick in 40 s
    playout = Playout(0.0)
    played = play(playout, browser.faces(2500, 0.004) + browser.voices(100.0, 0.004))
    assert all(p.face.clean for p in played[30:])
    missing = sum(not p.heard for p in played[30:])
    assert missing <= 30
    assert playout.counters["ticks_corrupt"] == 0


def test_five_pictures_a_second_with_and_without_voice() -> None:
    for voice in (True, False):
        random.seed(5)
        browser, playout = Browser(fps=5), Playout(0.0)
        playout.expect(5, False)
        played = play(playout, browser.faces(300) + (browser.voices(12.0) if voice else []))
        settled = played[40:]
        assert len(settled) > 200
        assert [p.index for p in settled if p.face.picture is not None] == [
            p.index for p in settled if p.index % 5 == 0
        ]
        assert all(p.face.clean for p in settled) and not playout.needs_refresh
        assert playout.counters["ticks_lost"] <= 2
        assert all(p.heard for p in settled) if voice else not any(p.heard for p in settled)


def test_lost_voice_leaves_the_faces_whole_at_five_a_second() -> None:
    random.seed(6)
    browser, playout = Browser(fps=5), Playout(0.0)
    playout.expect(5, False)
    events = sorted(browser.faces(300) + browser.voices(12.0))
    lose = frozenset(k for k, e in enumerate(events) if e[1] == "voice" and k > 60 and random.random() < 0.2)
    played = play(playout, events, lose)
    assert not playout.needs_refresh and all(p.face.clean for p in played[40:])
    assert 0.1 < sum(not p.heard for p in played[60:]) / len(played[60:]) < 0.3


def test_a_lost_face_comes_with_the_next() -> None:
    random.seed(7)
    browser, playout = Browser(), Playout(0.0)
    events = sorted(browser.faces(200) + browser.voices(8.0))
    faces = [k for k, e in enumerate(events) if e[1] == "face"]
    lose = frozenset(faces[60::20])
    played = play(playout, events, lose)
    lost = {events[k][2] for k in lose}
    assert not playout.needs_refresh and all(p.face.clean for p in played[5:] if p.index not in lost)
    assert playout.counters["ticks_corrupt"] == 0 and playout.counters["ticks_from_redundancy"] >= len(lose) - 1


def test_a_camera_that_goes_off_is_not_missed() -> None:
    random.seed(8)
    browser, playout = Browser(), Playout(0.0)
    played = play(playout, browser.faces(50) + [e for e in browser.voices(2.0)])
    playout.expect(0, False)
    later = [e for e in browser.voices(8.0) if e[0] > START + 2.02]
    played = play(playout, later)
    assert len(played) > 130 and all(p.heard for p in played[5:])
    assert not playout.needs_refresh
    # and comes again, with a refresh as a sender would
    playout.expect(25, False)
    browser.encoder.refresh()
    browser.old = ()
    played = play(playout, browser.faces(100, first=200) + [e for e in browser.voices(12.0) if e[0] > START + 8.02])
    assert all(p.face.clean and p.face.picture is not None for p in played[20:]) and len(played) > 80


def test_voice_alone_plays() -> None:
    random.seed(9)
    playout = Playout(0.0)
    playout.expect(0, False)
    played = play(playout, Browser().voices(4.0, 0.005))
    assert len(played) > 80 and all(p.heard for p in played[3:])


def test_garbage_is_told() -> None:
    flows, good = SplitFlows(), message(3, b"ab")
    for bad in (
        b"",
        b"abc",
        good[:-1],
        good[:4] + b"\xff" + good[5:],
        good[:4] + pack(TickPacket((b"", b""), (b"", b""))),
    ):
        with pytest.raises(BitstreamError):
            flows.face(bad, 1.0)
    for bad in (b"", bytes([3]), bytes([0b00000000, 0])):  # 10 ms
        with pytest.raises(BitstreamError):
            flows.voice(0, bad, 1.0)
    rng = random.Random(1)
    for _ in range(2000):
        data = rng.randbytes(rng.randrange(60))
        for take in (lambda d: flows.face(d, 1.0), lambda d: flows.voice(rng.randrange(1 << 40), d, 1.0)):
            with contextlib.suppress(BitstreamError):
                take(data)


def test_a_face_inside_a_voice_packet_is_of_the_same_tick() -> None:
    random.seed(11)
    browser, playout = Browser(), Playout(0.0)
    faces = browser.faces(200)
    # voice packets whose phase alone would put them a tick later, and now and then a face that misses its packet
    for k, (_, _, number, data) in enumerate(faces):
        arrival = START + TICK * (number + 1) + 0.006 + random.random() * 0.004
        while (due := playout.due) is not None and due <= arrival:
            for tick in playout.step(due):
                assert number < 10 or tick.heard == (tick.index % 40 != 7)
        if k % 40 != 7:
            assert playout.face_message(data, arrival)
        if k % 40 == 8:
            assert playout.face_message(faces[k - 1][3], arrival)
        if k % 40 != 7:
            assert playout.voice_packet(ORIGIN + 1920 * number, OPUS_40, arrival)
    assert playout._flows._offset == ORIGIN
    assert not playout.needs_refresh and playout.counters["ticks_corrupt"] == 0


def test_after_a_browser_a_native_senders_losses_count() -> None:
    random.seed(12)
    browser, playout = Browser(), Playout(0.0)
    play(playout, browser.faces(50) + browser.voices(2.0))
    playout.reconnected()
    encoder, lost = FaceEncoder(FaceConfig(hints=False)), 60
    clean = []
    for tick in range(100):
        arrival = START + 10 + TICK * (tick + 1)
        while (due := playout.due) is not None and due <= arrival:
            clean += [p.face.clean for p in playout.step(due)]
        payload = pack(TickPacket((encoder.encode(picture(tick)),), (OPUS_40,)))
        if tick != lost:
            assert playout.packet(1920 * tick, payload, arrival)
    # nothing carried the lost face along: what leans on it must not be drawn, and a refresh is asked for
    assert all(clean[5:lost]) and not any(clean[lost + 5 :]) and playout.needs_refresh
    assert playout.counters["ticks_corrupt"] == 0  # known for lost, not found out from bits that make no sense
