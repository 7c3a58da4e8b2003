"""Sharpness figures of pictures whose values are known by hand."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from benchmarks.sharpness import (
    DEFINITIONS,
    EVERY,
    NAMES,
    RATIOS,
    face_box,
    grey,
    mean_sharpness,
    sharpness,
    sharpness_ratios,
)

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


def stripes(top: int, bottom: int) -> np.ndarray:
    """(32, 32, 3): rows alternate in pairs between 100 and 100 + top in the upper half, 100 + bottom in the lower."""
    high = np.repeat([top, bottom], 16) * (np.arange(32) // 2 % 2)
    return np.repeat((100 + high).astype(np.uint8)[:, None, None], 32, 1).repeat(3, 2)


def test_ratios_are_those_of_the_squares_in_the_picture_and_in_the_face() -> None:
    true, drawn = (np.stack([stripes(*heights)] * 6) for heights in ((40, 20), (20, 20)))
    points = np.zeros((6, 110, 2), np.float32)
    points[:, 1] = (1.0, 0.5)  # the box is the upper half
    ratios = sharpness_ratios(true, drawn, points)
    assert ratios.keys() == RATIOS.keys()
    assert ratios["brenner_face"] == ratios["energy_face"] == pytest.approx(1 / 4)
    assert 1 / 4 < ratios["brenner_ratio"] < 1 and 1 / 4 < ratios["energy_ratio"] < 1
    assert sharpness_ratios(true, true, points) == dict.fromkeys(RATIOS, 1.0)
    whole = (sharpness(grey(drawn[0])), sharpness(grey(true[0])))
    for name in ("brenner", "energy"):
        assert ratios[f"{name}_ratio"] == pytest.approx(whole[0][name] / whole[1][name])


def test_only_every_fifth_frame_counts_and_only_with_a_face() -> None:
    true = np.stack([stripes(40, 40)] * (2 * EVERY))
    drawn, points = true.copy(), np.full((2 * EVERY, 110, 2), np.nan, np.float32)
    drawn[1:EVERY] = 0
    assert sharpness_ratios(true, drawn, points) == {"brenner_ratio": 1.0, "energy_ratio": 1.0}
    points[EVERY, :, :] = np.linspace(0.1, 0.9, 110)[:, None]
    drawn[0] = 0  # without landmarks: counts for the picture, not for the face
    ratios = sharpness_ratios(true, drawn, points)
    assert ratios["brenner_face"] == 1 and ratios["brenner_ratio"] == pytest.approx(0.5)


def test_a_flat_truth_has_no_ratio() -> None:
    flat = np.full((1, 32, 32, 3), 7, np.uint8)
    assert sharpness_ratios(flat, stripes(40, 40)[None], np.zeros((1, 110, 2), np.float32)) == {}
    with pytest.raises(ValueError, match="differ"):
        sharpness_ratios(flat, flat[:, :16], np.zeros((1, 110, 2), np.float32))


def test_the_box_of_a_face_that_is_partly_outside() -> None:
    points = np.array([[-0.2, 0.25], [0.501, 1.3]], np.float32)
    assert face_box(points, (64, 32)) == (slice(16, 64), slice(0, 17))
    assert face_box(points + 2, (64, 32)) is None and face_box(np.full((2, 2), np.nan, "f4"), (64, 32)) is None
