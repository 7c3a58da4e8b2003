"""Landmark distances and correlations on tracks of known movement."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import landmark_metrics
from benchmarks.landmark_metrics import Track, compare, correlation, track
from codec_models.landmarks import EYES, LIPS, POINTS

pytestmark = pytest.mark.unit

_AT = {mesh: k for k, mesh in enumerate(POINTS)}


def face(count: int = 40) -> Track:
    """A track in pixels whose lips and lids open and close; the outer eye corners are 100 apart."""
    points = np.random.default_rng(0).uniform(60, 200, (len(POINTS), 2)).astype(np.float32)
    points[_AT[33]], points[_AT[263]] = (70, 100), (170, 100)
    out = np.repeat(points[None], count, 0)
    time = np.arange(count, dtype=np.float32)
    out[:, _AT[13]], out[:, _AT[14]] = (120, 160), (120, 165)
    out[:, _AT[14], 1] += 10 * (1 + np.sin(time))
    for k, (top, bottom) in enumerate(((160, 144), (158, 153), (385, 380), (387, 373))):
        out[:, _AT[top]], out[:, _AT[bottom]] = (80 + 20 * k, 97), (80 + 20 * k, 103)
        out[:, _AT[bottom], 1] += 3 * np.cos(1.7 * time)
    return out


def test_the_truth_itself_is_perfect() -> None:
    truth = face()
    row = compare(truth, truth.copy())
    assert row == {
        "face_found": 1.0,
        "lmd": 0.0,
        "lmd_lips": 0.0,
        "lmd_eyes": 0.0,
        "mouth_corr": pytest.approx(1),
        "eye_corr": pytest.approx(1),
    }


def test_distances_are_in_eye_distances_and_by_region() -> None:
    truth = face()
    moved = truth + np.array([3, 4], np.float32)
    row = compare(truth, moved)
    assert [row[k] for k in ("lmd", "lmd_lips", "lmd_eyes")] == pytest.approx([0.05] * 3, rel=1e-4)
    lips = truth.copy()
    lips[:, [_AT[m] for m in LIPS]] += (0, 10)
    row = compare(truth, lips)
    assert row["lmd_lips"] == pytest.approx(0.1, rel=1e-4) and row["lmd_eyes"] == 0
    assert row["lmd"] == pytest.approx(0.1 * len(LIPS) / len(POINTS), rel=1e-4)
    eyes = truth.copy()
    eyes[:, [_AT[m] for m in EYES]] += (10, 0)
    assert compare(truth, eyes)["lmd_eyes"] == pytest.approx(0.1, rel=1e-4)


def test_faces_that_are_not_found_are_counted_and_left_out() -> None:
    truth, drawn = face(), face() + 5
    drawn[:10] = np.nan
    truth[30:] = np.nan  # does not count at all
    row = compare(truth, drawn)
    assert row["face_found"] == pytest.approx(20 / 30) and row["mouth_corr"] == pytest.approx(1)
    drawn[:] = np.nan
    row = compare(truth, drawn)
    assert row.keys() == {"face_found", "skipped"} and row["face_found"] == 0
    assert set(row["skipped"]) == {"lmd", "lmd_lips", "lmd_eyes", "mouth_corr", "eye_corr"}
    truth[:] = np.nan
    assert compare(truth, drawn).keys() == {"skipped"}


def test_correlation_needs_movement_in_the_truth_only() -> None:
    truth = face()
    still = np.repeat(truth[:1], len(truth), 0)
    still[:, _AT[14], 1] += 0.2 * np.sin(np.arange(len(truth)))  # in step with the truth, but only the mesh's jitter
    row = compare(truth, still)
    assert row["mouth_corr"] == row["eye_corr"] == 0
    row = compare(still, truth)
    assert "mouth_corr" not in row and "hardly move" in row["skipped"]["mouth_corr"]
    assert "eye_corr" in row["skipped"] and "lmd" in row
    assert "fewer" in compare(truth[:11], truth[:11])["skipped"]["eye_corr"]
    a = np.array([0.0, 1, 2, 3])
    assert correlation(a, -2 * a) == pytest.approx(-1)
    assert correlation(a, np.array([1.0, -1, -1, 1])) == pytest.approx(0)


def test_track_takes_the_known_points_of_the_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    frames[1] = 255
    mesh = np.arange(478 * 2, dtype=np.float32).reshape(478, 2)
    steps: list[int] = []
    points = track(frames, lambda picture: mesh if picture.any() else None, lambda: steps.append(1))
    assert points is not None and len(steps) == 3
    assert np.isnan(points[[0, 2]]).all() and np.array_equal(points[1], mesh[list(POINTS)])
    monkeypatch.setattr(landmark_metrics, "face_mesh", lambda: None)
    assert track(frames) is None
