from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from codec_models.landmarks import POINTS, hints_of

pytestmark = pytest.mark.unit


def face(**moved: tuple[float, float]) -> np.ndarray:
    """Landmarks of a plain face; keyword pNNN moves a mesh point."""
    at = {33: (0.3, 0.4), 133: (0.42, 0.4), 362: (0.58, 0.4), 263: (0.7, 0.4), 468: (0.36, 0.4), 473: (0.64, 0.4)}
    at |= {160: (0.34, 0.38), 158: (0.38, 0.38), 144: (0.34, 0.42), 153: (0.38, 0.42)}
    at |= {385: (0.62, 0.38), 387: (0.66, 0.38), 380: (0.62, 0.42), 373: (0.66, 0.42)}
    at |= {13: (0.5, 0.68), 14: (0.5, 0.72), 78: (0.42, 0.7), 308: (0.58, 0.7)}
    at |= {int(k[1:]): v for k, v in moved.items()}
    return np.array([at.get(m, (0.5, 0.5)) for m in POINTS], np.float32)


def test_values_of_a_plain_face() -> None:
    h = hints_of(face())
    assert h.mouth_open == pytest.approx(0.1, abs=1e-4)
    assert h.mouth_width == pytest.approx(0.4, abs=1e-4)
    assert h.eye_left == pytest.approx(0.1, abs=1e-4) and h.eye_right == pytest.approx(0.1, abs=1e-4)
    assert (h.gaze_x, h.gaze_y) == pytest.approx((0, 0), abs=1e-4)


def test_scale_and_rotation_change_nothing_but_each_movement_does() -> None:
    plain = hints_of(face())
    turn = np.array([[0.8, -0.6], [0.6, 0.8]], np.float32) * 0.5
    turned = hints_of((face() @ turn.T).astype(np.float32))
    for name in ("mouth_open", "mouth_width", "eye_left", "eye_right", "gaze_x", "gaze_y"):
        assert getattr(turned, name) == pytest.approx(getattr(plain, name), abs=1e-4)
    assert hints_of(face(p14=(0.5, 0.8))).mouth_open > 0.25
    assert hints_of(face(p468=(0.38, 0.4), p473=(0.66, 0.4))).gaze_x > 0.1
    assert hints_of(face(p468=(0.36, 0.41), p473=(0.64, 0.41))).gaze_y > 0.05


POSE = ("head_x", "head_y", "head_size", "head_roll", "head_yaw", "head_pitch")


def pose(points: np.ndarray) -> np.ndarray:
    return np.array([getattr(hints_of(points.astype(np.float32)), name) for name in POSE])


def test_pose_follows_shift_scale_and_rotation() -> None:
    points = face(p1=(0.56, 0.6))
    plain, middle = pose(points), points.mean(0)
    assert plain[:2] == pytest.approx(middle, abs=1e-5)
    assert np.exp(plain[2]) == pytest.approx(np.sqrt(np.square(points - middle).sum(1).mean()), rel=1e-4)
    assert pose(points + np.array([0.1, -0.05])) - plain == pytest.approx([0.1, -0.05, 0, 0, 0, 0], abs=1e-4)
    assert pose((points - middle) * 1.5 + middle) - plain == pytest.approx([0, 0, np.log(1.5), 0, 0, 0], abs=1e-4)
    c, s = np.cos(0.3), np.sin(0.3)
    clockwise = np.array([[c, -s], [s, c]])  # y points down in a picture
    turned = (points - middle) @ clockwise.T + middle
    assert turned[POINTS.index(263), 1] > turned[POINTS.index(33), 1]
    assert pose(turned) - plain == pytest.approx([0, 0, 0, 0.3, 0, 0], abs=1e-4)


def test_the_tip_of_the_nose_tells_how_the_head_is_turned() -> None:
    size = np.exp(pose(face(p1=(0.5, 0.6)))[2])
    for moved, yaw, pitch in (((0.54, 0.6), 0.04, 0.0), ((0.5, 0.65), 0.0, 0.05), ((0.47, 0.58), -0.03, -0.02)):
        change = pose(face(p1=moved)) - pose(face(p1=(0.5, 0.6)))
        # one landmark of 110 moves the middle and the size by little
        assert change[4:] * size == pytest.approx([yaw, pitch], abs=4e-3)
        assert np.abs(change[:4]).max() < 0.02


def test_a_degenerate_face_gives_numbers() -> None:
    assert np.isfinite(astuple(hints_of(np.zeros((110, 2), np.float32)))).all()


def test_every_landmark_is_one_mesh_point() -> None:
    assert len(POINTS) == len(set(POINTS)) == 110 and max(POINTS) < 478
