from __future__ import annotations

from itertools import islice

import cv2
import numpy as np
import pytest

from sender.demo_face import DemoFace, Expression, Pose
from sender.demo_source import DemoSource
from sender.demo_voice import DemoVoice

pytestmark = pytest.mark.unit

MOUTH = (slice(262, 320), slice(205, 305))
EYES = (slice(180, 220), slice(185, 330))


@pytest.fixture(scope="module")
def face() -> DemoFace:
    return DemoFace()


def test_the_same_seed_gives_the_same_ticks() -> None:
    source = DemoSource(0.6)
    first, again, other = list(source), list(source), list(DemoSource(0.6, seed=2))
    assert len(first) == 15 and [t.index for t in first] == list(range(15))
    for a, b in zip(first, again, strict=True):
        assert a.picture is not None and b.picture is not None
        assert a.picture.shape == (512, 512, 3) and a.picture.dtype == np.uint8
        assert a.voice.shape == (1920,) and a.voice.dtype == np.int16
        assert np.array_equal(a.picture, b.picture) and np.array_equal(a.voice, b.voice)
    assert any(not np.array_equal(a.voice, b.voice) for a, b in zip(first, other, strict=True))


def test_it_is_endless_without_a_length() -> None:
    assert len(list(islice(DemoSource(), 5))) == 5


def test_the_voice_is_speech_like() -> None:
    speech = DemoVoice()
    voice, mouths = zip(*(speech.tick() for _ in range(500)), strict=True)
    level = np.array([v.astype(float).std() for v in voice])
    opening = np.array([m.open for m in mouths])
    assert 1000 < np.concatenate(voice).std() < 8000
    assert np.abs(np.concatenate(voice).astype(int)).max() < 32000
    assert 0.1 < np.mean(level < 200) < 0.6  # pauses between phrases
    assert opening.min() >= 0 and opening.max() <= 1 and opening.std() > 0.15
    level, opening = level[1:], opening[:-1]  # the mouth at a tick's end goes with the sound that begins there
    here = np.corrcoef(level, opening)[0, 1]
    assert here > 0.7  # the mouth follows the sound, and not one tick later or earlier
    for shift in (-2, 2):
        assert np.corrcoef(np.roll(level, shift), opening)[0, 1] < here - 0.1


def test_a_mouth_shows_teeth_then_a_dark_inside(face: DemoFace) -> None:
    closed, smile, wide = (face.render(Pose(), Expression(o))[MOUTH].astype(int) for o in (0.0, 0.5, 1.0))

    def white(picture: np.ndarray) -> int:
        return int(((picture.min(-1) > 150) & (np.ptp(picture, -1) < 50)).sum())

    def dark(picture: np.ndarray) -> int:
        return int((picture.max(-1) < 100).sum())

    assert white(smile) > white(closed) + 200
    assert dark(wide) > dark(smile) + 150 and dark(closed) < dark(wide)


def test_blinks_hide_the_whites_of_the_eyes(face: DemoFace) -> None:
    def dark(blink: float) -> int:
        return int((face.render(Pose(), Expression(blink=blink))[EYES].max(-1) < 60).sum())

    assert dark(1.0) < 0.5 * dark(0.0)


def test_only_what_should_move_moves(face: DemoFace) -> None:
    still = face.render(Pose(), Expression()).astype(int)
    blink = np.abs(face.render(Pose(), Expression(blink=1.0)).astype(int) - still).max(-1)
    outside = blink.copy()
    outside[170:230, 180:340] = 0
    assert blink.max() > 60 and outside.max() == 0
    turned = np.abs(face.render(Pose(yaw=0.1, roll=0.03), Expression()).astype(int) - still).max(-1)
    assert turned[200:300, 190:320].mean() > 3  # the face
    assert turned[:, :8].max() == 0 and turned[440:].max() <= 2  # the backdrop's edge and the suit
    mouth = np.abs(face.render(Pose(), Expression(open=0.0)).astype(int) - still).max(-1)
    assert mouth[:260].max() == 0 and mouth[392:].max() == 0


def test_pose_has_the_documented_directions(face: DemoFace) -> None:
    still = face.render(Pose(), Expression())
    patch = still[232:272, 236:276]

    def nose(pose: Pose) -> np.ndarray:
        """How far the tip of the nose has moved, right and down, in pixels."""
        match = cv2.matchTemplate(face.render(pose, Expression()), patch, cv2.TM_CCOEFF_NORMED)
        return np.array(cv2.minMaxLoc(match)[3]) - (236, 232)

    assert tuple(nose(Pose())) == (0, 0)
    assert nose(Pose(across=4))[0] >= 7
    assert nose(Pose(yaw=0.06))[0] >= 5 and nose(Pose(yaw=-0.06))[0] <= -5
    assert nose(Pose(pitch=0.06))[1] >= 5
    assert nose(Pose(roll=0.05))[0] >= 4  # clockwise about the neck


def test_a_detector_sees_it_talk_and_blink() -> None:
    pytest.importorskip("mediapipe")
    from sender.crop import FaceTracker

    tracker = FaceTracker()
    opening, eyes, level, boxes = [], [], [], set()
    for tick in DemoSource(8):
        assert tick.picture is not None
        crop = tracker.update(tick.picture)
        assert crop.hints is not None and crop.points is not None
        opening.append(crop.hints.mouth_open)
        eyes.append(min(crop.hints.eye_left, crop.hints.eye_right))
        level.append(tick.voice.astype(float).std())
        boxes.add(crop.box)
    assert len(boxes) == 1  # the crop stands still
    assert min(eyes) < 0.5 * np.median(eyes)
    assert np.ptp(opening) > 0.08
    talking = slice(55, None)  # it starts with a smile that shows the teeth
    assert np.corrcoef(opening[talking], level[talking])[0, 1] > 0.5
