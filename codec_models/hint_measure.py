"""Hints measured on landmarks inside the networks: `codec_models.landmarks.hints_of` in torch, for batches."""

from __future__ import annotations

import torch
from torch import Tensor

from .landmarks import POINTS

HINTS = 6
# What the landmarks of the training clips give, 1st to 99th percentile: mouth opening 0 to 0.28, width 0.34 to 0.67,
# eyes 0.01 to 0.14, gaze -0.19 to 0.26 across and -0.12 to 0.09 down. Scale and shift bring that to about -1 to 1;
# mouth and eyes have the constants of the first prototype, so that its weights can be taken over.
SCALE = (3.0, 2.0, 6.0, 6.0, 3.0, 3.0)
SHIFT = (0.0, -1.0, -0.8, -0.8, 0.0, 0.0)

_AT = {mesh: k for k, mesh in enumerate(POINTS)}


def measured(points: Tensor) -> Tensor:
    """Hints (..., 6) of landmarks (..., 110, 2), in any unit, in the order of the fields of `Hints`."""

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
    return torch.cat([torch.stack(openings, -1) / eye[..., None], look], -1)


def normalised(hints: Tensor) -> Tensor:
    """Raw hints (..., 6) to about -1 to 1."""
    return hints * hints.new_tensor(SCALE) + hints.new_tensor(SHIFT)


def eye_axis(points: Tensor) -> Tensor:
    """From the outer corner of the eye on the picture's left to the other: (..., 110, 2) -> (..., 2).

    Its length is the unit of the hints, its direction the face's own horizontal.
    """
    return points[..., _AT[263], :] - points[..., _AT[33], :]


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
