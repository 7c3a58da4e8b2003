"""A reader of faces, trained beside the upsampler: how far eyes and mouth are open and where the eyes look.

It learns on true pictures what their landmarks say, and then judges drawn ones: by what it reads in them, and by its
features, in which they should be like the true ones. It does for lips and lids what a pretrained perceptual network
does for pictures at large, and needs none.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..hint_measure import measured
from ..landmarks import EYES, LIPS
from .draws import Dice
from .face_points import AT, eye_distance
from .losses import luma

_LEFT, _RIGHT = [AT[p] for p in EYES[:6]], [AT[p] for p in EYES[6:]]
_MOUTH = [AT[p] for p in LIPS]
_EYE_SIDE, _MOUTH_SIZE = 40, (40, 80)
_EYE_HALF, _MOUTH_HALF = 0.27, (0.3, 0.6)
"""Half sizes of the crops, in distances of the outer eye corners."""
_UNIT = torch.tensor([0.07, 0.06, 0.03, 0.03, 0.08, 0.05])
"""About a standard deviation of each reading: mouth opening and width, both eyes, gaze across and down."""


def _crops(pictures: Tensor, middle: Tensor, half: Tensor, size: tuple[int, int]) -> Tensor:
    """Upright crops (N, C, *size) around middle (N, 2) reaching half (N, 2), in [-1, 1] coordinates."""
    where = torch.zeros(len(pictures), 2, 3, device=pictures.device)
    where[:, 0, 0], where[:, 1, 1], where[:, :, 2] = half[:, 0], half[:, 1], middle
    grid = F.affine_grid(where, [len(pictures), pictures.shape[1], *size], align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


class _Tower(nn.Module):
    """Three stages of stride 2; the features of each are returned with the readings."""

    def __init__(self, size: tuple[int, int], readings: int) -> None:
        super().__init__()
        widths = (3, 16, 32, 48)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.GroupNorm(4, b), nn.SiLU()) for a, b in pairwise(widths)
        )
        self.out = nn.Sequential(
            nn.Flatten(), nn.Linear(48 * size[0] * size[1] // 64, 64), nn.SiLU(), nn.Linear(64, readings)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return cast(Tensor, self.out(x)), features


class FaceReader(nn.Module):
    """forward: pictures (N, 3, R, R) in [-1, 1] and their landmarks (N, 110, 2) -> readings (N, 6) in units of `_UNIT`
    (mouth opening and width, eyes left and right, gaze across and down) and features of eyes and mouth.
    """

    def __init__(self) -> None:
        super().__init__()
        self.eye, self.mouth = _Tower((_EYE_SIDE, _EYE_SIDE), 3), _Tower(_MOUTH_SIZE, 2)

    def forward(self, pictures: Tensor, points: Tensor) -> tuple[Tensor, list[Tensor]]:
        unit = eye_distance(points)[:, None]
        square = unit.expand(-1, 2)
        size = (_EYE_SIDE, _EYE_SIDE)
        left = _crops(pictures, points[:, _LEFT].mean(1), _EYE_HALF * square, size)
        right = _crops(pictures, points[:, _RIGHT].mean(1), _EYE_HALF * square, size).flip(-1)
        half = unit * unit.new_tensor([_MOUTH_HALF[1], _MOUTH_HALF[0]])
        mouth = _crops(pictures, points[:, _MOUTH].mean(1), half, _MOUTH_SIZE)
        eyes, eye_features = self.eye(torch.cat([left, right]))
        lips, mouth_features = self.mouth(mouth)
        a, b = eyes.chunk(2)
        look = torch.stack([(a[:, 1] - b[:, 1]) / 2, (a[:, 2] + b[:, 2]) / 2], 1)
        return torch.cat([lips, a[:, :1], b[:, :1], look], 1).float(), eye_features + mouth_features


def true_readings(points: Tensor) -> Tensor:
    """What a reader should say of pictures with landmarks (N, 110, 2): (N, 6)."""
    hints = measured(points)[:, :6]
    mean = hints.new_tensor([0.08, 0.5, 0.085, 0.085, 0.0, 0.0])
    return (hints - mean) / _UNIT.to(hints)


def reading_loss(reader: FaceReader, pictures: Tensor, points: Tensor) -> Tensor:
    """For the reader, on true pictures."""
    readings, _ = reader(pictures, points)
    return F.smooth_l1_loss(readings, true_readings(points))


def likeness_loss(reader: FaceReader, drawn: Tensor, truth: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """For the upsampler: how far what is read in drawn pictures is from their true landmarks, and the mean difference
    of the reader's features in drawn and true pictures.
    """
    readings, features = reader(drawn, points)
    with torch.no_grad():
        _, expected = reader(truth, points)
    apart = (readings - true_readings(points)).abs().clamp(max=4).mean()
    alike = torch.stack([F.l1_loss(a.float(), b.float()) for a, b in zip(features, expected, strict=True)]).mean()
    return apart, alike


def roughened(pictures: Tensor, dice: Dice) -> Tensor:
    """Half of the pictures softer, a fifth grey and all noisy, so that the reader also reads what is drawn badly."""
    n, device = len(pictures), pictures.device
    share = (dice.uniform(0, 1, n) * dice.chances(0.5, n)).to(device)[:, None, None, None]
    grey = dice.chances(0.2, n).to(pictures)[:, None, None, None]
    soft = F.interpolate(F.avg_pool2d(pictures, 4), size=pictures.shape[-2:], mode="bilinear", align_corners=False)
    mixed = pictures + share * (soft - pictures)
    mixed = mixed + grey * (luma(mixed) - mixed)
    return mixed + 0.03 * torch.randn(mixed.shape, generator=dice.device_generator, device=device)
