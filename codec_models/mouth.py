"""Where the mouth is in a picture, cut out and put back: what the teeth network is given (hdtr-net, section 4.1).

All of it from the landmarks that the upsampler predicts, in torch and for batches. The crop is a slice of whole pixels,
neither turned nor resized, so that what is put back has lost nothing. A mouth is some 45 to 60 of its 96 pixels wide.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .bitstream.timing import PICTURE
from .hint_measure import measured
from .landmarks import LIPS, POINTS

MOUTH = 96
"""Side of the crop in pixels of the 256x256 picture."""
_STEP = 3
"""Distances are computed on every third pixel, and between them interpolated: a signed distance is nearly linear."""
_SOFT = 1.0
_LINE = 1.5
_MARGIN, _FALL = 10.0, 16.0
"""Pixels around the outer lips that are restored in full, and over which that ends."""
_RIM, _RIM_FALL = 2.0, 10.0
"""Pixels at the crop's edge that are left alone, and over which that ends."""


def _loop(first: int) -> list[int]:
    """A closed line round the lips: the lower one from corner to corner, then the upper one back."""
    meshes = LIPS[first : first + 20]
    return [POINTS.index(m) for m in meshes[:11] + meshes[:10:-1]]


_OUTER, _INNER = _loop(0), _loop(20)


def mouth_corner(points: Tensor) -> Tensor:
    """Landmarks (B, 110, 2) in [-1, 1] -> (B, 2) int64: x, y of the crop's top left pixel; the crop lies inside."""
    middle = (points[:, _OUTER].float().mean(1) + 1) * (PICTURE / 2)
    return (middle - MOUTH / 2).round().clamp(0, PICTURE - MOUTH).long()


def cut(pictures: Tensor, corner: Tensor) -> Tensor:
    """Crops (B, C, 96, 96) of pictures (B, C, 256, 256) at corner (B, 2)."""
    b, c = pictures.shape[:2]
    place = _places(corner)[:, None].expand(b, c, MOUTH * MOUTH)
    return pictures.flatten(2).gather(2, place).view(b, c, MOUTH, MOUTH)


def put(pictures: Tensor, change: Tensor, corner: Tensor) -> Tensor:
    """New pictures (B, C, 256, 256) with change (B, C, 96, 96) added at corner (B, 2)."""
    b, c = pictures.shape[:2]
    if pictures.device.type == "cpu" and not torch.compiler.is_exporting():
        # slices are six times as quick, but where they lie must be known here: elsewhere that would be waited for
        out = pictures.clone()
        for k, (x, y) in enumerate(corner.tolist()):
            out[k, :, y : y + MOUTH, x : x + MOUTH] += change[k].to(out.dtype)
        return out
    place = _places(corner)[:, None].expand(b, c, MOUTH * MOUTH)
    return pictures.flatten(2).scatter_add(2, place, change.to(pictures.dtype).flatten(2)).view_as(pictures)


def _places(corner: Tensor) -> Tensor:
    """(B, 96 * 96) indices into a picture's pixels."""
    side = torch.arange(MOUTH, device=corner.device)
    inside = (side[:, None] * PICTURE + side).flatten()
    return inside + (corner[:, 1] * PICTURE + corner[:, 0])[:, None]


def lip_distance(points: Tensor, corner: Tensor) -> Tensor:
    """Distance of each pixel to the outer and the inner line of the lips, (B, 2, 96, 96) pixels, negative inside.

    points (B, 110, 2) in [-1, 1]; made once a tick, it serves both `lip_planes` and `feather`.
    """
    with torch.autocast(points.device.type, enabled=False):
        at = (points[:, [_OUTER, _INNER]].float() + 1) * (PICTURE / 2) - corner[:, None, None].float()
        ends = at.roll(-1, 2)
        side = torch.arange(_STEP / 2, MOUTH, _STEP, device=points.device)
        x, y = side, side[:, None]
        # (B, 2, 20, 1, 1) against the grid
        ax, ay = (at[..., k, None, None] for k in (0, 1))
        dx, dy = (ends[..., k, None, None] - at[..., k, None, None] for k in (0, 1))
        px, py = x - ax, y - ay
        along = ((px * dx + py * dy) / (dx * dx + dy * dy).clamp_min(1e-6)).clamp(0, 1)
        apart = ((px - along * dx).square() + (py - along * dy).square()).amin(2).sqrt()
        # even-odd rule: a ray to the right crosses the line an odd number of times
        crossed = ((ay > y) != (ay + dy > y)) & (px * dy.abs() < py * dx * dy.sign())
        inside = crossed.sum(2) % 2
        return F.interpolate(apart * (1 - 2 * inside), size=(MOUTH, MOUTH), mode="bilinear", align_corners=False)


def lip_planes(points: Tensor, corner: Tensor, distance: Tensor | None = None) -> Tensor:
    """The mouth's mask and the contour of the lips, (B, 2, 96, 96) in [0, 1]: soft, so that they move by less than a
    pixel. distance: of `lip_distance`, where it is known.
    """
    distance = lip_distance(points, corner) if distance is None else distance
    mask = torch.sigmoid(distance[:, 0] / -_SOFT)
    return torch.stack([mask, torch.exp(-(distance / _LINE).square()).amax(1)], 1)


def feather(points: Tensor, corner: Tensor, distance: Tensor | None = None) -> Tensor:
    """How much of a change is put back, (B, 1, 96, 96): 1 on lips, teeth and a margin, 0 towards the crop's edge."""
    distance = lip_distance(points, corner) if distance is None else distance
    side = torch.arange(MOUTH, device=distance.device) + 0.5
    edge = _smooth((torch.minimum(side, MOUTH - side) - _RIM) / _RIM_FALL)
    return _smooth((_MARGIN + _FALL - distance[:, :1]) / _FALL) * edge * edge[:, None]


def _smooth(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


def teeth_shown(points: Tensor, picture: Tensor) -> Tensor:
    """How well pictures (B, 3, 256, 256) in [-1, 1] show teeth, (B,), at least 0; the best still is the reference.

    The mouth's opening in distances of the outer eye corners, times how bright and grey it is between the inner lips.
    """
    corner = mouth_corner(points)
    within = torch.sigmoid(lip_distance(points, corner)[:, 1] / -_SOFT)
    rgb = ((cut(picture.float(), corner) + 1) / 2).clamp(0, 1)
    least, most = rgb.amin(1), rgb.amax(1)
    white = least.square() / most.clamp_min(1e-3)
    return measured(points.float())[:, 0] * (white * within).sum((1, 2)) / within.sum((1, 2)).clamp_min(1.0)
