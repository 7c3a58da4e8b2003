from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from faces import mesh
from numpy.typing import NDArray

from sender import crop as crop_module
from sender.crop import Crop, CropMode, FaceTracker

pytestmark = pytest.mark.unit

Mesh = NDArray[np.float32]
HD = np.zeros((720, 1280, 3), np.uint8)


def track(
    meshes: Iterable[Mesh | None], picture: NDArray[np.uint8] = HD, mode: CropMode = "auto"
) -> tuple[list[Crop], list[str]]:
    said: list[str] = []
    queue = list(meshes)
    tracker = FaceTracker(mode, detector=lambda _: queue.pop(0), on_warning=said.append)
    return [tracker.update(picture) for _ in range(len(queue))], said


def test_the_face_is_framed_with_hair_and_chin_inside() -> None:
    crops, _ = track([mesh(600, 330, 220)])
    left, top, side = crops[0].box
    assert 0.5 <= 220 / side <= 0.6
    assert abs(left + side / 2 - 600) < 2
    above, below = (330 - 110 - top) / side, (top + side - 330 - 110) / side
    assert 0.2 < above < 0.35 and 0.12 < below < 0.25
    assert crops[0].picture.shape == (256, 256, 3) and crops[0].picture.dtype == np.uint8
    points = crops[0].points
    assert points is not None and points.shape == (110, 2) and points.dtype == np.float32
    assert np.abs(points.mean(0) - (0.5, 0.57)).max() < 0.06
    hints = crops[0].hints
    assert hints is not None and abs(hints.mouth_open - 0.05) < 0.005 and abs(hints.eye_left - 0.1) < 0.005


def test_the_crop_does_not_wobble_with_a_jittering_or_talking_face() -> None:
    rng = np.random.default_rng(0)
    time = np.arange(500) / 25
    faces = [
        mesh(
            600 + 12 * np.sin(t) + rng.normal(0, 2), 330 + 8 * np.sin(0.7 * t) + rng.normal(0, 2),
            220 * (1 + rng.normal(0, 0.01)), yaw=0.25 * np.sin(0.5 * t), lips=0.2 * abs(np.sin(9 * t)),
        )
        for t in time
    ]  # fmt: skip
    crops, _ = track(faces)
    assert len({c.box for c in crops}) == 1


def test_the_crop_glides_after_a_face_that_moves_on() -> None:
    crops, _ = track([mesh(500, 330, 220)] * 10 + [mesh(640, 330, 220)] * 200)
    boxes = np.array([c.box for c in crops])
    assert abs(boxes[-1, 0] + boxes[-1, 2] / 2 - 640) < 10
    steps = np.diff(boxes[:, 0])
    assert steps.min() >= -1 and steps.max() <= 0.05 * 140 + 1
    assert not np.diff(boxes[-50:, 0]).any()  # and then it rests


def test_another_face_far_away_is_taken_at_once() -> None:
    crops, _ = track([mesh(300, 330, 220)] * 5 + [mesh(1000, 330, 220)])
    left, _, side = crops[-1].box
    assert abs(left + side / 2 - 1000) < 2


@pytest.mark.parametrize(("x", "y", "height"), [(40, 330, 220), (1250, 700, 220), (640, 20, 200), (640, 360, 700)])
def test_the_crop_stays_inside_the_picture(x: float, y: float, height: float) -> None:
    crops, _ = track([mesh(x, y, height)])
    left, top, side = crops[0].box
    assert left >= 0 and top >= 0 and left + side <= 1280 and top + side <= 720


def test_a_face_crop_is_kept_whole() -> None:
    square = np.zeros((256, 256, 3), np.uint8)
    assert track([mesh(128, 130, 110)] * 3, square)[0][-1].box == (0, 0, 256)
    large = np.zeros((512, 512, 3), np.uint8)
    assert track([mesh(256, 260, 260)] * 3, large)[0][-1].box == (0, 0, 512)
    assert track([mesh(256, 260, 150)] * 3, large)[0][-1].box[2] < 300


def test_pictures_keep_their_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    assert np.array_equal(track([None], picture)[0][0].picture, picture)
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[::2] = 200
    shrunk = track([None], stripes)[0][0].picture
    assert abs(shrunk.astype(int) - 100).max() <= 1  # area average: no aliasing


def test_a_lost_face_keeps_the_crop_and_is_told_once() -> None:
    crops, said = track([mesh(600, 330, 220)] * 3 + [None] * 200 + [mesh(600, 330, 220)])
    assert len({c.box for c in crops}) == 1
    assert crops[50].points is None and crops[50].hints is None
    assert crops[-1].points is not None
    assert said == ["no face in the picture: keeping the last crop"]


def test_without_a_face_the_centre_is_sent() -> None:
    crops, said = track([None] * 60)
    assert crops[0].box == (280, 0, 720)
    assert len(said) == 1 and "centre" in said[0]


def test_centre_looks_for_no_face() -> None:
    crops, said = track([mesh(100, 100, 50)] * 3, mode="centre")
    assert crops[-1].box == (280, 0, 720) and crops[-1].points is None and not said


def test_full_keeps_the_middle_and_still_finds_hints() -> None:
    crops, _ = track([mesh(640, 300, 200)], mode="full")
    assert crops[0].box == (280, 0, 720) and crops[0].hints is not None


def test_without_mediapipe_the_centre_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crop_module, "face_mesh", lambda: None)
    said: list[str] = []
    tracker = FaceTracker(on_warning=said.append)
    crop = tracker.update(HD)
    assert crop.box == (280, 0, 720) and crop.points is None and not tracker.tracking
    assert len(said) == 1 and "mediapipe" in said[0]


def test_broken_detections_are_no_faces() -> None:
    bad = mesh(600, 330, 220)
    bad[5] = np.nan
    crops, _ = track([bad])
    assert crops[0].points is None

    def fails(_: NDArray[np.uint8]) -> Mesh | None:
        raise RuntimeError("native code")

    assert FaceTracker(detector=fails).update(HD).points is None


def test_a_source_that_changes_its_size_starts_anew() -> None:
    queue = [mesh(600, 330, 220), mesh(200, 150, 110)]
    tracker = FaceTracker(detector=lambda _: queue.pop(0))
    tracker.update(HD)
    crop = tracker.update(np.zeros((360, 640, 3), np.uint8))
    assert 0.5 <= 110 / crop.box[2] <= 0.6


def test_no_picture_is_refused_silently() -> None:
    with pytest.raises(ValueError):
        FaceTracker("centre").update(np.zeros((0, 4, 3), np.uint8))
