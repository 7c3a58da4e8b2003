"""A network of the upsampler's interface that learns something within a few steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Picture:
    picture: Tensor
    warped: Tensor
    points: Tensor
    coarse: Tensor


@dataclass
class Identity:
    still: Tensor
    points: Tensor


class TinyUpsampler(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6 + 2, 220)
        self.paint = nn.Conv2d(6, 3, 3, padding=1)
        nn.init.zeros_(self.paint.weight)
        nn.init.zeros_(self.paint.bias)

    def encode_stills(
        self, stills: Tensor, still_low: Tensor, still_points: Tensor, has_points: Tensor | None = None
    ) -> Identity:
        if has_points is not None:
            still_points = torch.where(has_points[:, :, None, None] > 0, still_points, 0.5 * still_points)
        return Identity(stills.mean(1), still_points)

    def forward(self, identity: Identity, low: Tensor, mel: Tensor, hints: Tensor, has: Tensor) -> Picture:
        still, points = identity.still, identity.points.mean(1)
        big = F.interpolate(low[:, -1], size=still.shape[-2:], mode="bilinear", align_corners=False)
        picture = 0.5 * still + 0.5 * big + self.paint(torch.cat([still, big], 1))
        moved = points + 0.1 * self.head(torch.cat([hints, has], 1)).view_as(points)
        return Picture(picture, still, moved, F.avg_pool2d(picture, 8))
