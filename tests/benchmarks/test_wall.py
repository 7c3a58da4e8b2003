"""The picture wall."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.wall import ROWS_PER_BLOCK, WallRow, draw, telling_frame
from codec_models.errors import UserError
from codec_models.landmarks import POINTS

pytestmark = pytest.mark.unit


def row(grey: int) -> WallRow:
    picture = np.full((256, 256, 3), grey, np.uint8)
    low = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    return WallRow(f"clip {grey}", picture, low, picture + 1, picture + 2)


def test_pictures_stand_beside_each_other_in_blocks(tmp_path: Path) -> None:
    path = tmp_path / "new" / "wall.png"
    draw(path, [row(10 * k) for k in range(1, ROWS_PER_BLOCK + 2)], "ours-25")
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    per_block, wide = 5, image.shape[1] // 2
    for k in (0, 4, 5, 8):
        top, left = 26 + k % per_block * 280 + 20, k // per_block * wide + 8
        cells = [image[top : top + 256, left + n * 260 : left + n * 260 + 256] for n in range(4)]
        grey = 10 * (k + 1)
        assert (cells[0] == grey).all() and (cells[2] == grey + 1).all() and (cells[3] == grey + 2).all()
        assert (cells[1][:32, :32] == (0, 1, 2)).all() and (cells[1][-32:, -32:] == (189, 190, 191)).all()
    assert (image[:26, :wide] < 128).sum() > 100 and (image[26:46, 8:200] < 128).sum() > 20


def test_the_frame_is_a_telling_one() -> None:
    points = np.zeros((101, len(POINTS), 2), np.float32)
    points += np.arange(101, dtype=np.float32)[:, None, None]
    assert telling_frame(points) == 75
    points[75] = np.nan
    assert telling_frame(points) == 74
    assert telling_frame(np.full((10, len(POINTS), 2), np.nan, np.float32)) == 5


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "wall.unknown"):
        with pytest.raises(UserError, match="--wall"):
            draw(path, [row(10)], "ours-25")
