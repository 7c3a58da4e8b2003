"""Dense motion: where in a still each place of the current picture is found."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .hint_measure import head_of
from .landmarks import EYES, LIPS, POINTS

FLOW, FINE = 64, 128
"""Sides of the motion fields: one that is refined, and one of 2 pixels of the picture for lips and lids."""

# A landmark weighs exp(weight - sharpness * distance^2), distances in [-1, 1] coordinates. A face point reaches 10
# pixels. Lips and lids lie 3 to 8 pixels from their counterparts, which move the other way: they reach 2 pixels and
# overrule the rest for about 7. On pairs of frames of the training clips the field then opens the mouth by 0.73 of the
# truth and the lids by 0.6; with one reach of 12 pixels for all, as in the prototype, by 0.25 and 0.03.
_FACE, _LIPS, _EYES = 4.4, 7.4, 7.6
_FINE_WEIGHT = 4.0
_BACKGROUND = -3.0

# Where lids or lips close, the upper edge and the lower one lie in one line, and what each place moves with would be
# undecided. So each edge pulls from a little beyond itself: above the line all moves with the upper one, below with the
# lower one. Without that lids closed about half way, judged by eye on one clip.
_ABOVE = (160, 158, 385, 387, 191, 80, 81, 82, 13, 312, 311, 310, 415)
_BELOW = (144, 153, 380, 373, 95, 88, 178, 87, 14, 317, 402, 318, 324)
_BEYOND = 0.055
"""Of the distance of the outer eye corners: 3 to 4 pixels."""


_CORNERS = POINTS.index(33), POINTS.index(263)


class SparseMotion(nn.Module):
    """Landmark displacements spread over the picture by Gaussian weights, a first motion field for every still."""

    side: Tensor

    def __init__(self) -> None:
        super().__init__()
        sharpness = [_LIPS if mesh in LIPS else _EYES if mesh in EYES else _FACE for mesh in POINTS]
        self.log_sharpness = nn.Parameter(torch.tensor(sharpness))
        self.log_weight = nn.Parameter(_FINE_WEIGHT * (self.log_sharpness.detach() > _FACE).float())
        self.log_background = nn.Parameter(torch.tensor(_BACKGROUND))
        side = [-1.0 if mesh in _ABOVE else 1.0 if mesh in _BELOW else 0.0 for mesh in POINTS]
        self.register_buffer("side", torch.tensor(side), persistent=False)

    def forward(self, points: Tensor, still_points: Tensor, size: int = FLOW) -> Tensor:
        """points (B, 110, 2) now, still_points (B, S, 110, 2) -> flow (B, S, 2, size, size) in units of [-1, 1]."""
        with torch.autocast(points.device.type, enabled=False):
            points, still_points = points.float(), still_points.float()
            centres = _centres(size).to(points.device)
            roll = head_of(points)[..., 3]
            down = torch.stack([-roll.sin(), roll.cos()], -1)
            beyond = _BEYOND * torch.linalg.vector_norm(points[:, _CORNERS[0]] - points[:, _CORNERS[1]], dim=-1)
            pull = points + (beyond[:, None] * self.side)[..., None] * down[:, None]
            # the Gaussian of two coordinates is a product of two: the spreading becomes a matrix product
            reach = torch.exp(-self.log_sharpness.exp()[:, None, None] * (centres - pull[..., None]) ** 2)
            across, down = reach[:, :, 0], reach[:, :, 1] * self.log_weight.exp()[:, None]
            down = down.transpose(1, 2)
            moved = (still_points - points[:, None]).permute(0, 1, 3, 2)[..., None] * across[:, None, None]
            return (down[:, None, None] @ moved) / (down @ across + self.log_background.exp())[:, None, None]


def resized(field: Tensor, size: int) -> Tensor:
    """A field (B, c, h, w) at another size."""
    if field.shape[-1] == size:
        return field
    if field.shape[-1] == 2 * size:
        return F.avg_pool2d(field, 2)
    return F.interpolate(field, size=(size, size), mode="bilinear", align_corners=False)


def warped(features: Tensor, flow: Tensor) -> Tensor:
    """Sample features (B, c, n, n) at each place plus its flow (B, 2, m, m), in units of [-1, 1]; float32."""
    n = features.shape[-1]
    at = _grid(n).to(flow.device) + resized(flow.float(), n).permute(0, 2, 3, 1)
    return F.grid_sample(features.float(), at, mode="bilinear", padding_mode="border", align_corners=False)


@cache
def _centres(size: int) -> Tensor:
    # made once, perhaps in inference mode, and used in training too
    with torch.inference_mode(False):
        return (torch.arange(size) + 0.5) / size * 2 - 1


@cache
def _grid(size: int) -> Tensor:
    with torch.inference_mode(False):
        y, x = torch.meshgrid(_centres(size), _centres(size), indexing="ij")
        return torch.stack([x, y], -1)[None]
