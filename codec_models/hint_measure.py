"""Hints measured on landmarks inside the networks: `codec_models.landmarks.hints_of` in torch, for batches."""

from __future__ import annotations

import torch
from torch import Tensor

from .bitstream.prior import HINTS as HINTS
from .landmarks import POINTS

FACE, HEAD = [0, 1, 2, 3, 4, 5, 10, 11], slice(6, 10)
"""Hints that change the shape of the face in the picture, and those that move it as a whole."""
# What the landmarks of the training clips give, 1st to 99th percentile: mouth opening 0 to 0.28, width 0.34 to 0.67,
# eyes 0.01 to 0.14, gaze -0.19 to 0.26 across and -0.12 to 0.09 down; head 0.34 to 0.68 across and down, size -1.74 to
# -1.39, roll -0.33 to 0.27, yaw -0.41 to 0.5, pitch -0.19 to 0.27. Scale and shift bring that to about -1 to 1.
SCALE = (3.0, 2.0, 6.0, 6.0, 3.0, 3.0, 5.0, 5.0, 5.0, 3.0, 2.0, 4.0)
SHIFT = (0.0, -1.0, -0.8, -0.8, 0.0, 0.0, -2.5, -2.5, 8.0, 0.0, 0.0, 0.0)

_AT = {mesh: k for k, mesh in enumerate(POINTS)}


def measured(points: Tensor) -> Tensor:
    """Hints (..., 12) of landmarks (..., 110, 2) in [-1, 1], in the order of the fields of `Hints`."""

    def between(a: int, b: int) -> Tensor:
        return points[..., _AT[b], :] - points[..., _AT[a], :]

    eye = _length(between(33, 263))
    look = (_gaze(points, 33, 133, 468) + _gaze(points, 263, 362, 473)) / 2
    openings = [
        _length(between(13, 14)),
        _length(between(78, 308)),
        (_length(between(160, 144)) + _length(between(158, 153))) / 2,
        (_length(between(385, 380)) + _length(between(387, 373))) / 2,
    ]
    head = head_of(points)
    nose = in_head(points, head)[..., _AT[1], :]
    return torch.cat([torch.stack(openings, -1) / eye[..., None], look, head, nose], -1)


def head_of(points: Tensor) -> Tensor:
    """Place, size and roll of the head, (..., 4) in the units of `Hints`, of landmarks (..., 110, 2) in [-1, 1]."""
    middle = points.mean(-2)
    spread = (points - middle[..., None, :]).square().sum(-1).mean(-1)
    axis = points[..., _AT[263], :] - points[..., _AT[33], :]
    roll = torch.atan2(axis[..., 1], axis[..., 0])
    return torch.cat([(middle + 1) / 2, torch.stack([((spread + 1e-10) / 4).log() / 2, roll], -1)], -1)


def in_head(points: Tensor, head: Tensor) -> Tensor:
    """Landmarks (..., 110, 2) in [-1, 1] as the head (..., 4) has them: from its middle, turned back, in its size."""
    away = points - (2 * head[..., None, :2] - 1)
    return _turned(away, -head[..., 3]) / (2 * head[..., 2].exp())[..., None, None]


def placed(shape: Tensor, head: Tensor) -> Tensor:
    """The other way: `placed(in_head(points, head), head)` is points."""
    return _turned(shape, head[..., 3]) * (2 * head[..., 2].exp())[..., None, None] + 2 * head[..., None, :2] - 1


def _turned(v: Tensor, angle: Tensor) -> Tensor:
    cos, sin = angle.cos()[..., None], angle.sin()[..., None]
    return torch.stack([v[..., 0] * cos - v[..., 1] * sin, v[..., 0] * sin + v[..., 1] * cos], -1)


def normalised(hints: Tensor) -> Tensor:
    """Raw hints (..., 12) to about -1 to 1."""
    return hints * hints.new_tensor(SCALE) + hints.new_tensor(SHIFT)


def _length(v: Tensor) -> Tensor:
    # the small term keeps the gradient finite where two landmarks coincide: a closed mouth
    return (v.square().sum(-1) + 1e-10).sqrt()


def _gaze(points: Tensor, outer: int, inner: int, iris: int) -> Tensor:
    a, b = points[..., _AT[outer], :], points[..., _AT[inner], :]
    across = b - a
    width = _length(across)[..., None]
    along = torch.where(across[..., :1] >= 0, across, -across) / width
    down = torch.stack([-along[..., 1], along[..., 0]], -1)
    away = points[..., _AT[iris], :] - (a + b) / 2
    return torch.stack([(away * along).sum(-1), (away * down).sum(-1)], -1) / width
