"""Random changes that a picture and its landmarks go through alike: turn, size, place, mirror; light and colour.

A transform is a homogeneous matrix (3, 3) from the coordinates of the changed picture to those of the original, both in
[-1, 1]: what `grid_sample` needs. Landmarks take its inverse.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .draws import Dice
from .face_points import MIRROR

_GREY = torch.tensor([0.299, 0.587, 0.114])


def random_transforms(dice: Dice, count: int, strength: float = 1.0, mirror: Tensor | None = None) -> Tensor:
    """(count, 3, 3): turned by up to 11 degrees, 0.82 to 1.15 in size, shifted by up to 5 %; mirror (count,) bool."""
    angle = dice.uniform(-0.2, 0.2, count) * strength
    size = torch.exp(dice.uniform(-0.2, 0.14, count) * strength)
    shift = dice.uniform(-0.1, 0.1, count, 2) * strength
    flip = torch.ones(count) if mirror is None else torch.where(mirror, -1.0, 1.0)
    matrix = torch.zeros(count, 3, 3)
    matrix[:, 0, 0], matrix[:, 0, 1] = size * angle.cos() * flip, -size * angle.sin()
    matrix[:, 1, 0], matrix[:, 1, 1] = size * angle.sin() * flip, size * angle.cos()
    matrix[:, :2, 2] = shift
    matrix[:, 2, 2] = 1
    return matrix


def transformed(pictures: Tensor, transforms: Tensor) -> Tensor:
    """Pictures (K, C, R, R) seen through transforms (K, 3, 3); beyond their edges they are reflected."""
    where = F.affine_grid(transforms[:, :2], list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, where, padding_mode="reflection", align_corners=False)


def transformed_points(points: Tensor, transforms: Tensor) -> Tensor:
    """Landmarks (K, 110, 2) in [-1, 1] of pictures that went through transforms (K, 3, 3).

    A mirrored face's left landmarks take the place of its right ones.
    """
    inverse = torch.linalg.inv(transforms)
    moved = points @ inverse[:, :2, :2].mT + inverse[:, None, :2, 2]
    flipped = torch.linalg.det(transforms) < 0
    return torch.where(flipped[:, None, None], moved[:, MIRROR.to(points.device)], moved)


def random_colours(dice: Dice, count: int, strength: float = 1.0) -> Tensor:
    """(count, 3, 4): gain, saturation, tint and brightness as one affine map of RGB in [-1, 1]."""
    gain = torch.exp(dice.uniform(-0.3, 0.15, count, 1) * strength) * (
        1 + dice.uniform(-0.08, 0.08, count, 3) * strength
    )
    colourful = (1 + dice.uniform(-0.5, 0.35, count, 1, 1) * strength).clamp_min(0)
    matrix = colourful * torch.eye(3) + (1 - colourful) * _GREY.expand(3, 3)
    bias = dice.uniform(-0.14, 0.12, count, 1) * strength + dice.uniform(-0.04, 0.04, count, 3) * strength
    return torch.cat([gain[:, :, None] * matrix, bias[:, :, None]], 2)


def recoloured(pictures: Tensor, colours: Tensor) -> Tensor:
    """Pictures (K, 3, R, R) through colour maps (K, 3, 4), clipped."""
    k, _, h, w = pictures.shape
    x = torch.baddbmm(colours[:, :, 3:], colours[:, :, :3], pictures.reshape(k, 3, h * w))
    return x.view(k, 3, h, w).clamp(-1, 1)


def lit(pictures: Tensor, slope: Tensor) -> Tensor:
    """Light from one side: pictures (K, C, R, R) times a ramp of slope (K, 2), across and down."""
    side = pictures.shape[-1]
    at = (torch.arange(side, device=pictures.device) + 0.5) / side * 2 - 1
    ramp = 1 + slope[:, 0, None, None] * at + slope[:, 1, None, None] * at[:, None]
    return ((pictures + 1) * ramp[:, None] - 1).clamp(-1, 1)


def random_voices(dice: Dice, count: int) -> Tensor:
    """(count, 3): gain and tilt of a microphone, noise floor of a room; all in the log-mels' unit of 45 dB.

    Gain within 11 dB, up to 7 dB between the lowest and the highest band; every other room is silent.
    """
    floor = torch.where(dice.chances(0.5, count), dice.uniform(-0.9, -0.4, count), -1.0)
    return torch.stack([dice.uniform(-0.25, 0.25, count), dice.uniform(-0.15, 0.15, count), floor], 1)


def revoiced(mel: Tensor, voices: Tensor) -> Tensor:
    """Log-mels (B, 80, rows) in [-1, 1] as another microphone in another room, (B, 3), would give them."""
    gain, tilt, floor = voices[:, :, None, None].unbind(1)
    band = torch.linspace(-0.5, 0.5, mel.shape[1], device=mel.device)[:, None]
    return (mel + gain + tilt * band).maximum(floor).clamp(-1, 1)
