from __future__ import annotations

import numpy as np
import pytest

from codec_models.bitstream.colour import to_picture, to_planes

pytestmark = pytest.mark.unit


def test_every_colour_comes_back() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        picture = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        assert np.abs(to_picture(to_planes(picture)).astype(int) - picture).max() <= 1
    for grey in (0, 1, 128, 255):
        picture = np.full((8, 8, 3), grey, np.uint8)
        planes = to_planes(picture)
        assert (planes[:64] == (grey - 128) * 16).all() and (planes[64:] == 0).all()
        assert (to_picture(planes) == grey).all()


def test_golden_vector() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[0, 0], picture[0, 1], picture[7, 7] = (255, 0, 0), (0, 255, 0), (12, 200, 99)
    planes = to_planes(picture).reshape(3, 64)
    assert planes[:, 0].tolist() == [-828, -688, 2040]
    assert planes[:, 1].tolist() == [347, -1352, -1708]
    assert planes[:, 63].tolist() == [68, -300, -1373]
