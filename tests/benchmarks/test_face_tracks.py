"""One mesh for many clips gives what a new mesh for each would give."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import face_tracks, landmark_metrics
from benchmarks.face_tracks import FaceTracks
from sender.demo_source import DemoSource

pytestmark = pytest.mark.unit


def test_clips_do_not_know_of_each_other() -> None:
    pytest.importorskip("mediapipe")
    ticks = [tick.picture for tick in DemoSource(1.0) if tick.picture is not None]
    side = min(ticks[0].shape[:2])
    frames = np.stack([picture[:side, :side] for picture in ticks[:6]])
    moved = np.roll(frames, side // 8, 2)
    track = FaceTracks()
    for clip in (frames, moved, frames):
        found, alone = track(clip), landmark_metrics.track(clip)
        assert found is not None and alone is not None and not np.isnan(alone).any()
        assert np.array_equal(found, alone)


def test_without_mediapipe_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_tracks, "face_mesh", lambda: None)
    assert FaceTracks()(np.zeros((2, 64, 64, 3), np.uint8)) is None
