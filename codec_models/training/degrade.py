"""Stills as a poor camera and a codec leave them (superface section 3.1, SSR: simulation for super-resolution).

Two rounds of random blur, shrinking, noise and JPEG. The network sees such a still and is asked for the clear picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .draws import Dice

_LUMA_TABLE = torch.tensor(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_COLOUR_TABLE = torch.full((8, 8), 99.0)
_COLOUR_TABLE[:4, :4] = torch.tensor([[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]])
_K = torch.arange(8).float()
_DCT = torch.cos((2 * _K[None] + 1) * _K[:, None] * math.pi / 16) * torch.where(_K == 0, 0.125, 0.25).sqrt()[:, None]
_TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
_TO_RGB = torch.tensor([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]])


@dataclass(frozen=True, slots=True)
class Degradation:
    """Strongest blur (sigma in pixels of a 256-pixel picture), shrinking, noise (standard deviation in levels), and the
    range of JPEG qualities; share: how much of each effect's chance there is in each round.
    """

    blur: float = 2.2
    shrink: float = 3.5
    noise: float = 9.0
    jpeg: tuple[int, int] = (18, 90)
    share: float = 0.6
    second_round: float = 0.4


def degraded(pictures: Tensor, dice: Dice, how: Degradation | None = None) -> Tensor:
    """Pictures (K, 3, R, R) in [-1, 1] -> as a poor camera shows them; R a multiple of 16."""
    how = how or Degradation()
    k, _, side, _ = pictures.shape
    scale = side / 256
    x = pictures
    for turn in range(2):
        if turn and not dice.chance(how.second_round):
            break
        weaker = 0.6 if turn else 1.0
        if dice.chance(how.share):
            x = blurred(x, dice.uniform(0.2, how.blur * weaker, k).to(x.device) * scale)
        if dice.chance(how.share):
            x = _shrunk(x, float(dice.uniform(1.0, 1 + (how.shrink - 1) * weaker, 1)), dice)
        if dice.chance(how.share):
            strength = dice.uniform(0.0, how.noise * weaker, k, 1, 1, 1).to(x.device) / 127.5
            grain = torch.randn(k, 3, side, side, generator=dice.device_generator, device=x.device)
            grey = dice.chances(0.5, k)[:, None, None, None].to(x.device)
            x = x + strength * torch.where(grey, grain[:, :1], grain)
        if dice.chance(how.share):
            low, high = how.jpeg
            x = jpeg(x, dice.uniform(low + 10 * turn, high, k).to(x.device))
    return x.clamp(-1, 1)


def blurred(pictures: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of each picture (K, C, R, R) by its own sigma (K,) in pixels."""
    k, c, h, w = pictures.shape
    reach = max(1, math.ceil(2.5 * float(sigma.max())))
    at = torch.arange(-reach, reach + 1, device=pictures.device)
    kernel = torch.exp(-(at**2) / (2 * sigma[:, None].clamp_min(0.05) ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(c, 0)
    x = F.pad(pictures.reshape(1, k * c, h, w), (reach,) * 4, mode="replicate")
    x = F.conv2d(x, kernel[:, None, None, :], groups=k * c)
    return F.conv2d(x, kernel[:, None, :, None], groups=k * c).view(k, c, h, w)


def _shrunk(pictures: Tensor, factor: float, dice: Dice) -> Tensor:
    side = pictures.shape[-1]
    mode = "area" if dice.chance(0.5) else "bilinear"
    small = F.interpolate(pictures, size=(max(8, round(side / factor)),) * 2, mode=mode)
    back = "bicubic" if dice.chance(0.6) else "bilinear"
    return F.interpolate(small, size=(side, side), mode=back, align_corners=False)


def jpeg(pictures: Tensor, quality: Tensor) -> Tensor:
    """What 4:2:0 JPEG leaves of pictures (K, 3, R, R) in [-1, 1]; quality (K,) 1 to 100. R a multiple of 16."""
    device = pictures.device
    planes = torch.einsum("rc,kcyx->kryx", _TO_YCC.to(device), pictures * 127.5)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None, None, None] / 100
    luma = _requantised(planes[:, :1], _LUMA_TABLE.to(device), scale)
    colour = _requantised(F.avg_pool2d(planes[:, 1:], 2), _COLOUR_TABLE.to(device), scale)
    colour = F.interpolate(colour, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.einsum("rc,kcyx->kryx", _TO_RGB.to(device), torch.cat([luma, colour], 1)) / 127.5


def _requantised(planes: Tensor, table: Tensor, scale: Tensor) -> Tensor:
    k, c, h, w = planes.shape
    dct = _DCT.to(planes.device)
    blocks = planes.reshape(k, c * (h // 8), 8, w // 8, 8).transpose(2, 3)
    step = (table.to(planes.dtype) * scale).clamp_min(1.0)
    levels = (dct @ blocks @ dct.T / step).round() * step
    return (dct.T @ levels @ dct).transpose(2, 3).reshape(k, c, h, w)
