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

    def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
        self.gate.acquire()
        time.sleep(0.02)
        self.faces.append(face)
        return super().tick(face, voice)


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
    kept = slow.faces[1].picture
    assert kept is not None and kept[0, 0, 0] == 5


def test_a_quick_reconstruction_draws_a_whole_burst() -> None:
    screen, shown = Screen(), Shown()
    renderer = Renderer(StillColour(), [screen], shown)
    renderer._cost = 0.002
    for k in range(8):
        renderer.submit(tick(k), None)
    renderer.start()
    renderer.stop(5)
    assert [s.index for s in screen.seen] == list(range(8)) and shown.skipped == 0


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
