from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from codec_models.bitstream.face import FaceTick
from codec_models.bitstream.still import IdentityStill
from codec_models.reconstruction import StillColour
from receiver.playout import PlayedTick
from receiver.renderer import Renderer, ShownPicture
from receiver.report import Shown

pytestmark = pytest.mark.unit


def tick(index: int, picture: bool = True, stream: int = 1) -> PlayedTick:
    low = np.full((8, 8, 3), index % 256, np.uint8)
    now = time.monotonic()
    silence = np.zeros(1920, np.int16)
    face = FaceTick(low if picture else None, None)
    return PlayedTick(stream, index, now, face, low, silence, True, silence, now - 0.05)


class Screen:
    def __init__(self) -> None:
        self.seen: list[ShownPicture] = []

    def picture(self, shown: ShownPicture) -> None:
        self.seen.append(shown)


class Slow(StillColour):
    """Waits for a gate before each picture and notes what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Semaphore(0)
        self.faces: list[FaceTick] = []
        self.taken: list[FaceTick] = []

    def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
        self.gate.acquire()
        time.sleep(0.02)
        self.faces.append(face)
        return super().tick(face, voice)

    def take(self, face: FaceTick, voice: NDArray[np.int16] | None) -> None:
        self.taken.append(face)
        super().take(face, voice)


class LookingAhead(StillColour):
    """Gives the picture of `delay` ticks before: what a reconstruction that waits for the next 8x8 frame does. Every
    pixel of its pictures is the 8x8 frame's level. change: (tick, delay from then on).
    """

    def __init__(self, delay: int = 5, change: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.delay = delay
        self._change = change
        self.fps: int | None = None
        self.levels: list[float] = []
        self.resets = 0

    def take(self, face: FaceTick, voice: NDArray[np.int16] | None) -> None:
        super().take(face, voice)
        if self._change is not None and len(self.levels) == self._change[0]:
            self.delay = self._change[1]
        self.levels.append(float(self._low[0, 0, 0]))

    def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
        self.take(face, voice)
        level = self.levels[-1 - self.delay] if len(self.levels) > self.delay else 0
        return np.full((256, 256, 3), level, np.uint8)

    def reset(self) -> None:
        self.levels.clear()
        self.resets += 1


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "did not happen within 5 s"
        time.sleep(0.002)


def test_every_tick_is_drawn_and_measured() -> None:
    screen, shown = Screen(), Shown()
    renderer = Renderer(StillColour(), [screen], shown)
    renderer.start()
    for k in range(30):
        renderer.submit(tick(k, picture=k % 5 == 0), time.monotonic())
        until(lambda k=k: len(screen.seen) == k + 1)  # type: ignore[misc]
    renderer.stop()
    assert [s.index for s in screen.seen] == list(range(30))
    assert screen.seen[0].picture.shape == (256, 256, 3)
    assert shown.frames == 30 and shown.skipped == 0
    assert shown.latency.count == 6  # Held pictures have no latency of their own.
    latency = shown.latency.percentile(50)
    assert latency is not None and latency >= 50


def test_a_slow_reconstruction_skips_to_the_newest_and_keeps_the_picture_of_skipped_ticks() -> None:
    screen, shown, slow = Screen(), Shown(), Slow()
    renderer = Renderer(slow, [screen], shown)
    renderer.start()
    renderer.submit(tick(0), None)
    until(lambda: not renderer._ticks)
    for k in range(1, 12):
        renderer.submit(tick(k, picture=k == 5), None)
    for _ in range(12):
        slow.gate.release()
    until(lambda: bool(screen.seen) and screen.seen[-1].index == 11)
    renderer.stop()
    assert [s.index for s in screen.seen] == [0, 10, 11]
    assert shown.skipped == 9
    # The skipped ticks have been taken in, in order, each once; Slow.tick takes the drawn ones.
    assert [f.picture[0, 0, 0] for f in slow.taken if f.picture is not None] == [0, 5]
    assert len(slow.taken) == 12 and len(slow.faces) == 3
    assert screen.seen[1].picture[0, 0, 0] == 5


def test_a_quick_reconstruction_draws_a_whole_burst() -> None:
    screen, shown = Screen(), Shown()
    renderer = Renderer(StillColour(), [screen], shown)
    renderer._cost = 0.002
    for k in range(8):
        renderer.submit(tick(k), None)
    renderer.start()
    renderer.stop(5)
    assert [s.index for s in screen.seen] == list(range(8)) and shown.skipped == 0


@pytest.mark.parametrize(("cost", "drawn"), [(0.025, [0, 1]), (0.035, [1])])
def test_of_two_that_wait_the_older_is_skipped_where_catching_up_would_take_long(cost: float, drawn: list[int]) -> None:
    screen = Screen()
    renderer = Renderer(StillColour(), [screen], Shown())
    renderer._cost = cost
    for k in range(2):
        renderer.submit(tick(k), None)
    renderer.start()
    renderer.stop(5)
    assert [s.index for s in screen.seen] == drawn


def test_submitting_to_a_stuck_reconstruction_stays_bounded() -> None:
    slow = Slow()
    renderer = Renderer(slow, [], Shown())
    renderer.start()
    for k in range(1000):
        renderer.submit(tick(k), None)
    assert len(renderer._ticks) <= 64
    for _ in range(70):
        slow.gate.release()
    renderer.stop(5)


@pytest.mark.parametrize(("delay", "slow"), [(0, 0.4), (16, 0.1)])
def test_a_slow_end_is_cut_short_after_the_picture_in_hand(delay: int, slow: float) -> None:
    class Crawling(LookingAhead):
        def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
            time.sleep(slow if voice is None or not delay else 0)  # at the end there is no voice
            return super().tick(face, voice)

    renderer = Renderer(Crawling(delay), [], Shown())
    renderer._cost = 0.0001  # none is skipped
    for k in range(20):
        renderer.submit(tick(k), None)
    renderer.start()
    renderer.stop(0.3)
    # At `slow` seconds each, the rest would have taken longer than the thread was waited for.
    assert not renderer._thread.is_alive()


def test_a_failing_reconstruction_holds_the_picture_and_says_so() -> None:
    class Failing(StillColour):
        def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
            if face.picture is not None and face.picture[0, 0, 0] == 3:
                raise RuntimeError("engine lost")
            return super().tick(face, voice)

    screen, lines = Screen(), []
    renderer = Renderer(Failing(), [screen], Shown(), lines.append)
    renderer.start()
    for k in range(6):
        renderer.submit(tick(k), None)
        until(lambda k=k: len(screen.seen) == k + 1)  # type: ignore[misc]
    renderer.stop()
    assert (screen.seen[3].picture == screen.seen[2].picture).all()
    assert len(lines) == 1 and "engine lost" in lines[0]


def test_identity_is_set_in_the_renderer_thread_before_the_next_picture() -> None:
    threads: list[str] = []

    class Noting(StillColour):
        def set_identity(self, still: IdentityStill) -> None:
            threads.append(threading.current_thread().name)
            super().set_identity(still)

    screen = Screen()
    renderer = Renderer(Noting(), [screen], Shown())
    renderer.start()
    rng = np.random.default_rng(0)
    renderer.set_identity(IdentityStill(rng.integers(0, 255, (256, 256, 3), np.uint8), None))
    renderer.submit(tick(100), None)
    until(lambda: bool(screen.seen))
    renderer.stop()
    assert threads == ["reconstruction"]
    assert screen.seen[0].picture.std() > 20  # The still's texture, not the flat 8x8 frame.


def test_the_cost_of_drawing_is_known() -> None:
    class Slow(StillColour):
        def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
            time.sleep(0.05)
            return super().tick(face, voice)

    renderer = Renderer(Slow(), [], Shown())
    before = renderer.drawing_s
    renderer.start()
    for k in range(8):
        renderer.submit(tick(k), None)
        time.sleep(0.06)
    renderer.stop()
    assert before < 0.03 < renderer.drawing_s < 0.2


def test_with_look_ahead_each_picture_goes_with_its_own_tick() -> None:
    screen, shown = Screen(), Shown()
    renderer = Renderer(LookingAhead(5), [screen], shown)
    renderer.start()
    ticks = [tick(k) for k in range(20)]
    for k, one in enumerate(ticks):
        renderer.submit(one, time.monotonic() + 0.2)
        until(lambda k=k: len(screen.seen) == max(0, k - 4))  # type: ignore[misc]
    assert renderer.delay_s == pytest.approx(0.2)
    renderer.stop()
    # The last five came at the end, without anything after them.
    assert [s.index for s in screen.seen] == list(range(20))
    for seen, one in zip(screen.seen, ticks, strict=True):
        assert (seen.picture == seen.index).all() and seen.low is one.low
    # Those have no time of display: they are for the recording.
    assert shown.frames == shown.latency.count == 15


def test_latency_and_offset_are_those_of_the_tick_that_is_shown() -> None:
    shown, screen = Shown(), Screen()
    renderer = Renderer(LookingAhead(5), [screen], shown)
    now = time.monotonic()
    for k in range(6):
        # As if they had come a tick apart, each taken 50 ms before; the voice waits for the look-ahead.
        at = now - (5 - k) * 0.04
        one = tick(k)
        renderer.submit(PlayedTick(1, k, at, one.face, one.low, one.voice, True, one.live, at - 0.05), at + 0.2)
    renderer._cost = 0.001
    renderer.start()
    renderer.stop(5)
    assert shown.frames == 1
    latency, offset = shown.latency.percentile(50), shown.av_offset.percentile(50, magnitude=True)
    assert latency is not None and 250 <= latency < 2000
    assert offset is not None and offset == pytest.approx(latency - 250, abs=1)


def test_a_restart_drops_what_waits_for_a_frame_that_will_not_come() -> None:
    screen, drawing = Screen(), LookingAhead(5)
    renderer = Renderer(drawing, [screen], Shown())
    renderer._cost = 0.001
    for k in range(8):
        renderer.submit(tick(k), None)
    for k in range(7):
        renderer.submit(tick(100 + k, stream=2), None)
    renderer.start()
    renderer.stop(5)
    assert [(s.stream, s.index) for s in screen.seen] == [(1, k) for k in range(3)] + [(2, 100 + k) for k in range(7)]
    assert all((s.picture == s.index).all() for s in screen.seen)
    assert drawing.resets == 2


def test_skipped_ticks_keep_their_place_in_the_look_ahead() -> None:
    screen, shown = Screen(), Shown()
    renderer = Renderer(LookingAhead(5), [screen], shown)
    renderer._cost = 1.0  # as if drawing took a second: all but the newest is skipped
    for k in range(12):
        renderer.submit(tick(k), None)
    renderer.start()
    until(lambda: not renderer._ticks)
    renderer.stop(5)
    assert shown.skipped > 0
    indices = [s.index for s in screen.seen]
    assert indices == sorted(set(indices)) and indices[-5:] == [7, 8, 9, 10, 11]
    assert all((s.picture == s.index).all() for s in screen.seen)


def test_a_restart_among_skipped_ticks_resets() -> None:
    screen, drawing = Screen(), LookingAhead(0)
    renderer = Renderer(drawing, [screen], Shown())
    renderer._cost = 1.0
    for k in range(3):
        renderer.submit(tick(k), None)
    for k in range(3):
        renderer.submit(tick(50 + k, stream=2), None)
    renderer.start()
    renderer.stop(5)
    assert drawing.resets == 2 and drawing.levels == [50, 51, 52]
    assert screen.seen[-1].stream == 2 and screen.seen[-1].index == 52


@pytest.mark.parametrize(("before", "after"), [(0, 5), (5, 0)])
def test_a_delay_that_changes_in_the_call_never_shows_a_tick_twice_or_backwards(before: int, after: int) -> None:
    screen = Screen()
    renderer = Renderer(LookingAhead(before, (10, after)), [screen], Shown())
    renderer._cost = 0.001
    for k in range(30):
        renderer.submit(tick(k), None)
    renderer.start()
    renderer.stop(5)
    indices = [s.index for s in screen.seen]
    assert indices == sorted(set(indices)) and indices[-1] == 29
    assert all((s.picture == s.index).all() for s in screen.seen)
    assert len(indices) == (30 if after > before else 25)  # shorter: five ticks are passed over


def test_the_reconstruction_hears_of_the_senders_rate_also_after_the_first_ticks() -> None:
    drawing = LookingAhead(0)
    renderer = Renderer(drawing, [], Shown())
    renderer.start()
    renderer.submit(tick(0), None)
    until(lambda: len(drawing.levels) == 1)
    assert drawing.fps is None
    renderer.set_fps(5)
    renderer.submit(tick(1), None)
    until(lambda: len(drawing.levels) == 2)
    assert drawing.fps == 5
    renderer.stop()
