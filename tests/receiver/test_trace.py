from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from codec_models.bitstream.face import FaceTick
from codec_models.errors import UserError
from codec_models.reconstruction import StillColour
from receiver.playout import PlayedTick
from receiver.renderer import Renderer
from receiver.report import Shown
from receiver.trace import ReceiverTrace

pytestmark = pytest.mark.unit


def tick(index: int, pictured: bool = True, arrived: float | None = 1.0) -> PlayedTick:
    low, silence = np.zeros((8, 8, 3), np.uint8), np.zeros(1920, np.int16)
    face = FaceTick(low if pictured else None, None)
    captured = 0.9 + 0.04 * index
    return PlayedTick(1, index, 1.0, face, low, silence, True, silence, captured, pictured, 40 * index, arrived)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_stages_follow_each_other_and_what_did_not_run_is_left_out(tmp_path: Path) -> None:
    trace = ReceiverTrace(tmp_path / "r", print)
    trace.played(tick(0), 1.01, 1.02, 1.05)
    trace.played(tick(1, pictured=False, arrived=None), 1.05, 1.06, 1.09)
    trace.shown(tick(0), 1.03, {"interpolate": 0.001, "upsample": 0.02, "teeth": 0.005}, 1.06)
    trace.shown(tick(1), 1.07, {"upsample": 0.02}, 1.1)
    trace.shown(tick(7), 1.07, {}, 1.1)  # was never played: no line
    trace.close()
    first, second = read(tmp_path / "r")
    assert (first["stream"], first["tick"], first["clock"], first["pictured"]) == (1, 0, 0, True)
    order = ["captured", "arrived", "played", "decoded", "queued", "interpolated", "upsampled", "restored", "shown"]
    assert [first[k] for k in order] == [0.9, 1.0, 1.01, 1.02, 1.03, 1.031, 1.051, 1.056, 1.06]
    assert not second["pictured"] and second["upsampled"] == 1.09
    assert second.keys().isdisjoint({"captured", "arrived", "interpolated", "restored"})


def test_skipped_ticks_have_a_line_without_display_and_nothing_piles_up(tmp_path: Path) -> None:
    trace = ReceiverTrace(tmp_path / "r", print)
    for k in range(1000):
        trace.played(tick(k), 1.0, 1.0, 1.0)
        assert len(trace._waiting) <= 100
    trace.close()
    lines = read(tmp_path / "r")
    assert [line["tick"] for line in lines] == list(range(1000)) and not any("shown" in line for line in lines)
    with pytest.raises(UserError, match="cannot write the trace"):
        ReceiverTrace(tmp_path / "missing" / "r", print)


class Staged(StillColour):
    """Says how long its stages took; looks `delay` ticks ahead."""

    def __init__(self, delay: int) -> None:
        super().__init__()
        self.delay = delay

    def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
        picture = super().tick(face, voice)
        time.sleep(0.003)
        self.spent = {"upsample": 0.002, "teeth": 0.001}
        return picture


@pytest.mark.parametrize("delay", [0, 5])
def test_the_renderer_tells_of_each_picture_that_it_shows(
    tmp_path: Path, delay: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = ReceiverTrace(tmp_path / "r", print)
    renderer = Renderer(Staged(delay), [], Shown(), trace=trace)
    monkeypatch.setattr(renderer, "_CATCH_UP", 60.0)  # none is skipped, however busy the machine is
    ticks = [tick(k) for k in range(12)]
    for one in ticks:
        now = time.monotonic()
        trace.played(one, now, now, now)
        renderer.submit(one, now)
    renderer.start()
    renderer.stop(30)
    trace.close()
    lines = read(tmp_path / "r")
    assert sorted(line["tick"] for line in lines) == list(range(12))
    shown = [line for line in lines if "shown" in line]
    assert [line["tick"] for line in shown] == list(range(12 - delay))  # the last ones were for the recording
    for line in shown:
        assert line["decoded"] <= line["queued"] < line["upsampled"] < line["restored"] <= line["shown"]
