"""The quantisers of the bitstream for whole batches: what `FaceDecoder` gives back, without coding a single bit.

`bitstream/face.py` codes each sample as a multiple of its step above the one before; so does this, in the same
integers. Where the encoder weighs bits against error (`FaceConfig.rate_weight`), a sample at rest must move by more
than half a step before it is coded again. That is a dead zone here, since the probabilities are not known without the
prior; on talking faces it gives about the same PSNR, and differs from the coder by less than half the quantisation
noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..bitstream.colour import UNIT
from ..bitstream.face import STEPS, FaceConfig, Profile
from ..bitstream.hints import DEAD_ZONES, LIMITS
from ..bitstream.hints import STEPS as HINT_STEPS
from ..bitstream.prior import face_prior

_LUMA_OFFSET = 128 * UNIT
_PROFILES: tuple[Profile, Profile] = ("full", "lean")
_DEFAULTS = [[FaceConfig(profile, fps=fps) for fps in (25, 5)] for profile in _PROFILES]
_ZONE_PER_WEIGHT = ((2.3, 1.5), (2.5, 2.0))
"""Dead zone per rate weight, of each profile at 25 and at 5 fps, where more moves and bits differ less."""
_REFRESH_ZONE = 0.3
"""Of the dead zone, in a refresh."""


def default_quality(lean: Tensor) -> Tensor:
    """The encoder's own choice, (B,) index into STEPS; lean (B,) bool."""
    return torch.where(lean, _DEFAULTS[1][0].quality, _DEFAULTS[0][0].quality)


def dead_zone(lean: Tensor, slow: Tensor) -> Tensor:
    """How far beyond half a step a sample must move before it is coded again, (B,) in steps; slow (B,): at 5 fps."""
    weights = torch.tensor([[config.rate_weight for config in row] for row in _DEFAULTS])
    zones = weights * torch.tensor(_ZONE_PER_WEIGHT)
    return zones.to(lean.device)[lean.long(), slow.long()]


def to_planes(pictures: Tensor) -> Tensor:
    """RGB (..., 3, 8, 8), whole levels 0 to 255 -> planes (..., 3, 8, 8) int32 in sixteenths, as `colour.to_planes`."""
    r, g, b = pictures.to(torch.int32).unbind(-3)
    y = (19595 * r + 38470 * g + 7471 * b) * UNIT + 32768 >> 16
    blue = (-11059 * r - 21709 * g + 32768 * b) * UNIT + 32768 >> 16
    red = (32768 * r - 27439 * g - 5329 * b) * UNIT + 32768 >> 16
    return torch.stack([y - _LUMA_OFFSET, blue, red], -3)


def to_pictures(planes: Tensor) -> Tensor:
    """Planes (..., 3, 8, 8) int32 -> RGB (..., 3, 8, 8) int32, 0 to 255, as `colour.to_picture`."""
    y, blue, red = planes.unbind(-3)
    y = 16384 * (y + _LUMA_OFFSET) + (1 << 17)
    rgb = torch.stack([y + 22970 * red, y - 5638 * blue - 11700 * red, y + 29032 * blue], -3)
    return (rgb >> 18).clamp(0, 255)


def face_steps(quality: Tensor, lean: Tensor) -> Tensor:
    """Quantiser steps (B, 3) of luma, Cb, Cr in sixteenths; quality (B,) index into STEPS, lean (B,) bool."""
    y = torch.tensor(STEPS, device=quality.device)[quality]
    blue, red = y * torch.where(lean, 45, 15) >> 4, y * torch.where(lean, 52, 18) >> 4
    return torch.stack([y, blue, red], 1).to(torch.int32)


def decoded_pictures(pictures: Tensor, quality: Tensor, lean: Tensor, zone: Tensor) -> Tensor:
    """8x8 pictures (B, N, 3, 8, 8) in order, whole levels -> what the decoder gives back, int32 0 to 255.

    The first of the N is a refresh, the others lean on the one before; quality (B,) int64, lean (B,) bool, zone (B,)
    as `dead_zone` gives it.
    """
    wide = zone.view(-1, 1, 1, 1)
    planes = to_planes(pictures)
    step = face_steps(quality, lean)[:, :, None, None]
    state = torch.from_numpy(face_prior().mean).to(planes).view(1, 3, 8, 8).expand_as(planes[:, 0])
    decoded = []
    for k in range(planes.shape[1]):
        residual = (planes[:, k] - state).double() / step
        symbols = _symbols(residual, wide if k else _REFRESH_ZONE * wide)
        state = state + symbols.to(torch.int32) * step
        decoded.append(state)
    return to_pictures(torch.stack(decoded, 1))


def decoded_hints(hints: Tensor) -> Tensor:
    """Hints (B, N, 12) in order -> what the decoder gives back; the first of the N is a refresh."""
    steps = torch.tensor(HINT_STEPS, device=hints.device, dtype=torch.float64)
    low, high = torch.tensor(LIMITS, device=hints.device, dtype=torch.float64).unbind(1)
    exact = (hints.double() / steps).clamp(low, high)
    state = torch.tensor(face_prior().hint_mean, device=hints.device, dtype=torch.float64).expand_as(exact[:, 0])
    zones = torch.tensor(DEAD_ZONES, device=hints.device, dtype=torch.float64)
    decoded = []
    for k in range(exact.shape[1]):
        state = state + _symbols(exact[:, k] - state, zones if k else 0.0)
        decoded.append(state)
    return (torch.stack(decoded, 1) * steps).to(hints.dtype)


def _symbols(residual: Tensor, zone: Tensor | float) -> Tensor:
    return residual.sign() * (residual.abs() + 0.5 - zone).floor()
