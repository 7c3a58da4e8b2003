"""A network of the upsampler's interface that learns something within a few steps, and moves landmarks as hints say."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec_models.hint_measure import measured
from codec_models.landmark_head import HintMotion
from codec_models.upsampler import hint_condition


@dataclass
class Picture:
    picture: Tensor
    warped: Tensor
    points: Tensor
    coarse: Tensor
    flow: Tensor


@dataclass
class Identity:
    still: Tensor
    points: Tensor


class TinyUpsampler(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.landmarks = HintMotion()
        self.flow = nn.Parameter(torch.zeros(1, 1, 2, 64, 64))
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
        still, points = identity.still, identity.points
        big = F.interpolate(low[:, -1], size=still.shape[-2:], mode="bilinear", align_corners=False)
        picture = 0.5 * still + 0.5 * big + self.paint(torch.cat([still, big], 1))
        change, _ = hint_condition(hints, has, measured(points))
        made, flow = self.landmarks(points, change).mean(1), self.flow.expand(*points.shape[:2], -1, -1, -1)
        return Picture(picture, still, made, F.avg_pool2d(picture, 8), flow)
