"""Sharpness figures of pictures whose values are known by hand."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from benchmarks.sharpness import DEFINITIONS, NAMES, grey, mean_sharpness, sharpness

pytestmark = pytest.mark.unit


def test_a_flat_picture_has_no_sharpness() -> None:
    figures = sharpness(np.full((5, 7), 40, np.uint8))
    # Vollath's own border: a row less in the sum of products than in n m^2
    assert figures.pop("vollath") == -7 * 40**2
    assert set(figures.values()) == {0.0} and figures.keys() | {"vollath"} == set(NAMES) == DEFINITIONS.keys()
    assert math.copysign(1, figures["entropy"]) == 1


def test_a_ramp_down_the_rows() -> None:
    figures = sharpness(np.repeat(np.arange(0, 60, 10, dtype=np.uint8)[:, None], 4, 1))  # 6 rows 0, 10 ... 50, 4 wide
    assert figures["brenner"] == 4 * 4 * 20**2
    assert figures["smd"] == 5 * 3 * 10 and figures["smd2"] == 0 and figures["energy"] == 5 * 3 * 100
    assert figures["variance"] == 4 * 2 * (5**2 + 15**2 + 25**2)
    assert figures["vollath"] == 4 * (0 + 200 + 600 + 1200 + 2000) - 24 * 25**2
    assert figures["entropy"] == pytest.approx(math.log2(6))
    # the mirrored border makes +20 of the first row and -20 of the last, 0 between
    assert figures["laplacian"] == pytest.approx(2 * 20**2 / 6)


def test_a_ramp_across_and_a_checkerboard() -> None:
    across = sharpness(np.repeat(np.arange(0, 60, 10, dtype=np.uint8)[None], 4, 0))
    assert across["brenner"] == 0 and across["energy"] == 3 * 5 * 100
    board = np.indices((4, 4)).sum(0) % 2 * np.uint8(6)
    figures = sharpness(board.astype(np.uint8))
    assert figures["brenner"] == 0 and figures["entropy"] == 1
    assert figures["smd"] == 9 * 12 and figures["smd2"] == 9 * 36 and figures["energy"] == 9 * 72
    assert figures["variance"] == 16 * 9 and figures["vollath"] == -16 * 9
    assert figures["laplacian"] == 24**2


def test_one_bright_pixel() -> None:
    picture = np.zeros((7, 7), np.uint8)
    picture[3, 3] = 200
    figures = sharpness(picture)
    assert figures["brenner"] == 2 * 200**2 and figures["energy"] == 4 * 200**2
    assert figures["smd"] == 4 * 200 and figures["smd2"] == 200**2
    assert figures["laplacian"] == pytest.approx((16 + 4) * 200**2 / 49)
    assert figures["vollath"] == pytest.approx(-49 * (200 / 49) ** 2)


def test_blur_lowers_and_noise_raises() -> None:
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (96, 96)).astype(np.uint8), (0, 0), 1.2)
    soft = cv2.GaussianBlur(picture, (0, 0), 1.0)
    noisy = np.clip(picture + rng.normal(0, 20, picture.shape), 0, 255).astype(np.uint8)
    a, b, c = sharpness(soft), sharpness(picture), sharpness(noisy)
    for name in ("brenner", "laplacian", "smd", "smd2", "variance", "energy"):
        assert a[name] < b[name] < c[name], name


def test_large_pictures_do_not_overflow() -> None:
    board = (np.indices((96, 96)).sum(0) % 2 * 255).astype(np.uint8)
    assert sharpness(board)["energy"] == 95 * 95 * 2 * 255**2


def test_the_mean_is_over_grey_pictures() -> None:
    flat, colours = np.full((8, 8, 3), 90, np.uint8), np.zeros((8, 8, 3), np.uint8)
    colours[:, ::2] = (255, 0, 0)
    assert np.unique(grey(colours)).tolist() == [0, 76]
    one, both = mean_sharpness([colours]), mean_sharpness([colours, flat])
    assert one["energy"] == 49 * 76**2 and both["energy"] == one["energy"] / 2


@pytest.mark.parametrize(
    "picture", [np.zeros((5, 5), np.float32), np.zeros((5, 5, 3), np.uint8), np.zeros((2, 9), "u1")]
)
def test_what_is_no_grey_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="grey"):
        sharpness(picture)


def test_no_pictures_have_no_mean() -> None:
    with pytest.raises(ValueError, match="no pictures"):
        mean_sharpness([])
