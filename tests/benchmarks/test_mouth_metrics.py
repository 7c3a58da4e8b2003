"""Figures of the mouth, and what the teeth stage is compared with, on pictures whose values are known by hand."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from benchmarks.mouth_baselines import MOST, matching_amount, unsharp, upscaled, with_mouths
from benchmarks.mouth_metrics import OPEN, PROFILE, Frames, Places, measure
from benchmarks.mouth_wall import MouthRow, draw, telling_ticks
from benchmarks.sharpness import grey, sharpness
from codec_models.errors import UserError

pytestmark = pytest.mark.unit


def places(count: int = 3, moving: int = 0) -> Places:
    share = np.zeros((count, 96, 96), np.float32)
    share[:, 40:60, 30:70] = 0.5
    corner = np.stack([80 + moving * np.arange(count), np.full(count, 130)], 1)
    opening = np.linspace(0, 2 * OPEN, count)
    return Places(corner.astype(np.int64), share, opening, np.linspace(0, 2 * PROFILE, count))


def scene(count: int = 3) -> Frames:
    noise = np.random.default_rng(0).integers(0, 256, (count, 256, 256, 3)).astype(np.float32)
    soft = [cv2.GaussianBlur(frame, (0, 0), 3) for frame in noise]
    return np.asarray(np.clip(np.stack(soft) * 2 - 64, 0, 255), np.uint8)


def test_the_mouth_is_cut_at_its_place_and_put_back_there() -> None:
    frames, at = scene(), places(moving=4)
    crops = at.crops(frames)
    assert crops.shape == (3, 96, 96, 3) and np.array_equal(crops[2], frames[2, 130:226, 88:184])
    other = with_mouths(frames, at, [255 - crop for crop in crops])
    changed = other != frames
    assert np.array_equal(at.crops(other), 255 - crops) and np.array_equal(frames, scene())
    assert not changed[:, :130].any() and not changed[0, :, :80].any() and changed[0, 131:225, 81:175].mean() > 0.9


def test_errors_inside_and_outside_of_the_mouth_are_told_apart() -> None:
    truth, at = np.full((3, 256, 256, 3), 100, np.uint8), places()
    mouth, beside, outside = truth.copy(), truth.copy(), truth.copy()
    mouth[:, 130 + 40 : 130 + 60, 80 + 30 : 80 + 70] = 110
    beside[:, 130 : 130 + 10, 80 : 80 + 96] = 110
    outside[:, :100] = 0
    a, b, c = (measure(frames, truth, at) for frames in (mouth, beside, outside))
    of_all = 10 * math.log10(255**2 / (100 * 20 * 40 / 96**2))
    assert a.psnr == pytest.approx([of_all] * 3) and a.psnr_mouth == pytest.approx([10 * math.log10(255**2 / 100)] * 3)
    assert b.psnr == pytest.approx([10 * math.log10(255**2 / (100 * 10 / 96))] * 3)
    assert b.psnr_mouth.tolist() == [100] * 3 and b.ssim_mouth.tolist() == [1] * 3 and b.ssim.max() < 1
    assert c.psnr.tolist() == [100] * 3 and c.ssim.tolist() == [1] * 3


def test_flicker_is_that_of_the_truth_at_one_place() -> None:
    at = places(moving=30)
    still = np.repeat(scene(1), 3, 0)
    flat = np.full_like(still, 100)
    blinking = flat.copy()
    blinking[1] = 104
    half = flat.copy()
    half[1, 130 + 40 : 130 + 60] = 102
    # the place moves, the picture does not
    assert measure(still, flat, at).moved.tolist() == [0, 0]
    true, drawn = measure(blinking, flat, at), measure(half, flat, at)
    assert true.moved.tolist() == [4, 4] and drawn.moved_mouth.tolist() == [2, 2]
    row = drawn.row(drawn, true, {})
    assert row["flicker_mouth"] == pytest.approx(0.5) and row["flicker"] == pytest.approx(0.5 * 20 / 96)
    assert "flicker" not in drawn.row(drawn, measure(flat, flat, at), {})


def test_a_row_compares_with_the_upsampler_and_tells_ticks_apart() -> None:
    truth, at = scene(4), places(4)
    soft = np.stack([cv2.GaussianBlur(frame, (0, 0), 2) for frame in truth])
    better = soft.copy()
    better[2:] = truth[2:]
    before, after, true = (measure(frames, truth, at) for frames in (soft, better, truth))
    groups = at.groups()
    assert {name: group.tolist() for name, group in groups.items()} == {
        "open": [False, False, True, True],
        "closed": [True, True, False, False],
        "turned": [False, False, True, True],
    }
    row = after.row(before, true, groups | {"nobody": np.zeros(4, bool)})
    assert row["closed_psnr_change"] == 0 and row["closed_brenner_gain"] == 1 and row["closed_share"] == 0.5
    assert row["open_psnr_change"] == pytest.approx(100 - before.psnr[2:].mean())
    assert row["open_energy_gain"] == pytest.approx(true.sharp["energy"][2:].mean() / before.sharp["energy"][2:].mean())
    assert row["psnr_change"] == pytest.approx(row["open_psnr_change"] / 2)
    assert 1 < row["brenner_gain"] < row["open_brenner_gain"] and row["nobody_share"] == 0
    assert "nobody_psnr_change" not in row and "psnr_change" not in true.row(before, true, groups)
    assert before.row(before, true, groups)["laplacian_gain"] == 1


def test_the_unsharp_mask_sharpens_inside_the_feather_alone() -> None:
    at, frames = places(), scene()
    crop, share = at.crops(frames)[0], at.share[0]
    assert np.array_equal(unsharp(crop, share, 0.0), crop)
    sharp = unsharp(crop, share, 3.0)
    assert np.array_equal(sharp[share == 0], crop[share == 0])
    assert sharpness(grey(sharp[40:60, 30:70]))["brenner"] > 1.3 * sharpness(grey(crop[40:60, 30:70]))["brenner"]
    edge = np.full((96, 96, 3), 100, np.uint8)
    edge[:, 50:] = 150
    over = unsharp(edge, np.ones((96, 96), np.float32), 1.0)
    assert over[48, 49].max() < 100 and over[48, 50].min() > 150 and (over[:, :30] == 100).all()


def test_its_amount_matches_the_sharpness_that_is_asked_for() -> None:
    at, frames = places(), scene()

    def brenner(amount: float) -> float:
        return float(
            np.mean(
                [
                    sharpness(grey(unsharp(c, s, amount)))["brenner"]
                    for c, s in zip(at.crops(frames), at.share, strict=True)
                ]
            )
        )

    assert matching_amount(frames, at, brenner(2.5)) == pytest.approx(2.5, abs=0.05)
    assert matching_amount(frames, at, 0.5 * brenner(0)) == 0
    assert matching_amount(frames, at, 100 * brenner(0)) == pytest.approx(MOST, abs=0.05)


def test_the_plain_upscaler_loses_what_half_the_size_cannot_hold() -> None:
    board = np.repeat((np.indices((96, 96)).sum(0) % 2 * 200).astype(np.uint8)[..., None], 3, 2)
    assert (upscaled(board) == 100).all()
    flat = np.full((96, 96, 3), (10, 20, 30), np.uint8)
    assert np.array_equal(upscaled(flat), flat)


def test_the_wall_shows_telling_ticks(tmp_path: Path) -> None:
    count = 20
    opening, yaw = np.linspace(0, 0.3, count), np.zeros(count)
    yaw[7] = -0.4
    at = Places(np.zeros((count, 2), np.int64), np.zeros((count, 96, 96), np.float32), opening, yaw)
    assert telling_ticks(at) == [0, 7, 13, 19]
    mouths = [np.full((96, 96, 3), 50 * k, np.uint8) for k in range(1, 5)]
    path = tmp_path / "new" / "wall.png"
    draw(path, [MouthRow("one", mouths), MouthRow("two", mouths)])
    image = cv2.imread(str(path))
    assert image.shape[:2] == (26 + 2 * (288 + 22), 4 * 292 + 4)
    for k in range(4):
        middle = image[26 + 18 + 144, 4 + k * 292 + 144]
        assert middle.tolist() == [50 * (k + 1)] * 3
    with pytest.raises(UserError, match="--wall"):
        draw(tmp_path, [MouthRow("one", mouths)])
