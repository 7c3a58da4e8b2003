from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

import numpy as np

from codec_models.training.aligned_faces import frames_of
from codec_models.training.compressed_faces import changes, h264_floor
from codec_models.training.labels import Labels

pytestmark = pytest.mark.unit


@pytest.mark.slow
def test_pictures_are_worse_but_of_their_own_frames(clips: Path) -> None:
    path = clips / "p1-0.mp4"
    frames, points = frames_of(path, most=14), Labels(clips / "labels.npz").of(path)
    assert frames is not None and points is not None
    said: list[str] = []
    made = changes(said.append)
    assert set(made) == {"h264", "drawn"}
    for name, change in made.items():
        left = change(frames, points[:14])
        assert left.shape == frames.shape and left.dtype == np.uint8

        def away(a: int, b: int, left: np.ndarray = left) -> float:
            return float(np.abs(left[a].astype(float) - frames[b]).mean())

        assert 0.3 < away(10, 10) < 30, name
        assert away(13, 13) < away(13, 5), name


def test_the_floor_of_h264_costs_detail() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    left = h264_floor(noise, np.zeros((3, 110, 2), np.float32))
    assert left.shape == noise.shape and left.std() < 0.5 * noise.std()
