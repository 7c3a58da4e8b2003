from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

import cv2

from codec_models.landmark_head import HintMotion, StillLandmarks
from codec_models.landmarks import LIPS, POINTS
from codec_models.mouth import MOUTH, cut, feather, lip_distance, lip_planes, mouth_corner, put, teeth_shown

pytestmark = pytest.mark.unit

AT = {mesh: k for k, mesh in enumerate(POINTS)}


def face(opening: float = 0.0) -> torch.Tensor:
    """An average face (1, 110, 2) whose mouth is opened so much further."""
    mean = StillLandmarks(8).mean.detach()[None]
    return HintMotion()(mean, torch.tensor([opening, *[0.0] * 11])).detach()


def pixels(points: torch.Tensor, meshes: list[int]) -> torch.Tensor:
    return (points[:, [AT[m] for m in meshes]] + 1) * 128


def loop(points: torch.Tensor, first: int) -> np.ndarray:  # type: ignore[type-arg]
    """The line round the lips, a closed polygon in pixels of the picture."""
    around = [*LIPS[first : first + 11], *reversed(LIPS[first + 11 : first + 20])]
    return pixels(points, around)[0].numpy()


def test_the_crop_lies_round_the_mouth_and_inside_the_picture() -> None:
    points = face()
    corner = mouth_corner(points)
    middle = torch.from_numpy(loop(points, 0)).mean(0)
    assert corner.dtype == torch.int64 and (corner[0] + MOUTH / 2 - middle).abs().max() <= 0.51
    moved = mouth_corner(torch.cat([points + 2, points - 2, points + torch.tensor([0.0, 0.25])]))
    assert moved[:2].tolist() == [[256 - MOUTH] * 2, [0, 0]]
    assert moved[2].tolist() == [int(corner[0, 0]), int(corner[0, 1]) + 32]


def test_what_is_cut_is_put_back() -> None:
    pictures = torch.rand(2, 3, 256, 256)
    before = pictures.clone()
    corner = torch.tensor([[7, 90], [160, 0]])
    crops = cut(pictures, corner)
    assert torch.equal(crops[0], pictures[0, :, 90:186, 7:103])
    assert torch.equal(crops[1], pictures[1, :, 0:96, 160:256])
    assert not put(pictures, -crops, corner)[0, :, 90:186, 7:103].any()
    change = torch.rand(2, 3, MOUTH, MOUTH)
    changed = put(pictures, change, corner)
    assert torch.equal(pictures, before), "the picture that was given stays as it is"
    apart = changed - pictures
    assert torch.allclose(cut(apart, corner), change, atol=1e-6)
    assert float(apart.sum()) == pytest.approx(float(change.sum()), rel=1e-4), "nothing else changes"


@pytest.mark.parametrize("opening", [0.0, 0.2])
def test_planes_are_the_polygons(opening: float) -> None:
    points = face(opening)
    corner = mouth_corner(points)
    mask, contour = lip_planes(points, corner)[0]
    outer, inner = (loop(points, k) - corner.numpy() - 0.5 for k in (0, 20))
    painted = np.zeros((MOUTH, MOUTH), np.uint8)
    cv2.fillPoly(painted, [np.rint(outer).astype(np.int32)], (1,))
    ours, theirs = mask.numpy() > 0.5, painted > 0
    assert (ours & theirs).sum() > 0.93 * (ours | theirs).sum()
    for line in (outer, inner):
        on = contour[line[:, 1].round().astype(int), line[:, 0].round().astype(int)]
        assert on.min() > 0.5, "the contour runs through all of its landmarks"
    assert float(mask.min()) >= 0 and float(mask.max()) <= 1 and float(contour.max()) <= 1
    assert float(contour.mean()) < 0.12 and not contour[:10].any(), "and nowhere else"


def test_distances_tell_inside_from_outside() -> None:
    points = face(0.25)
    corner = mouth_corner(points)
    distance = lip_distance(points, corner)[0]

    def at(*meshes: int) -> list[float]:
        x, y = (pixels(points, list(meshes)).mean(1)[0] - corner[0]).long().tolist()
        return distance[:, y, x].tolist()

    assert max(at(13, 14)) < -3, "between the lips"
    lip = at(0, 13)
    assert lip[0] < 0 < lip[1], "on the upper lip"
    assert min(distance[:, 1, 1]) > 20, "in the corner of the crop"


def test_planes_go_with_the_picture() -> None:
    """A mouth one pixel further makes the same planes in a crop one pixel further: nothing there can flicker."""
    points = face(0.1)
    corner = mouth_corner(points)
    moved = points + torch.tensor([3.0, -2.0]) / 128
    there = corner + torch.tensor([3, -2])
    assert torch.equal(mouth_corner(moved), there)
    for made in (lip_planes, feather):
        assert torch.allclose(made(points, corner), made(moved, there), atol=1e-3)


def test_landmarks_in_one_place_do_no_harm() -> None:
    points = torch.zeros(1, 110, 2)
    corner = mouth_corner(points)
    for planes in (lip_planes(points, corner), feather(points, corner)):
        assert torch.isfinite(planes).all() and planes.min() >= 0 and planes.max() <= 1


def test_the_feather_holds_the_lips_and_ends_before_the_edge() -> None:
    points = torch.cat([face(0.0), face(0.25), face(0.1) + torch.tensor([0.9, 0.0])])
    corner = mouth_corner(points)
    soft, (mask, _) = feather(points, corner), lip_planes(points, corner).unbind(1)
    assert float(soft[:2, 0][mask[:2] > 0.5].min()) > 0.98
    for side in (soft[..., 0, :], soft[..., -1, :], soft[..., 0], soft[..., -1]):
        assert not side.any(), "also where the mouth is half out of the picture"
    steepest = max(float((soft[..., 1:] - soft[..., :-1]).abs().max()), float(soft.diff(dim=2).abs().max()))
    assert steepest < 0.2, "no seam"


def test_teeth_are_shown_by_an_open_mouth_that_is_white_inside() -> None:
    wide, narrow = face(0.25), face(0.02)

    def picture(points: torch.Tensor, inside: list[float]) -> torch.Tensor:
        canvas = np.full((256, 256, 3), (0.4, -0.1, -0.2), np.float32)
        cv2.fillPoly(canvas, [loop(points, 20).round().astype(np.int32)], inside)
        return torch.from_numpy(canvas).permute(2, 0, 1)[None]

    teeth, tongue, dark = [0.8, 0.8, 0.7], [0.6, -0.2, -0.2], [-0.8, -0.9, -0.9]
    points = torch.cat([wide, wide, wide, narrow])
    pictures = torch.cat([picture(wide, teeth), picture(wide, tongue), picture(wide, dark), picture(narrow, teeth)])
    best, red, black, closed = teeth_shown(points, pictures).tolist()
    assert best > 2 * red > 2 * black >= 0 and best > 3 * closed > 0
