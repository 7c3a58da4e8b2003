"""Three-pathway decoder: warped still features, masked unwarped ones and 8x8 features -> picture (as Gemino has it).

Several stills are aligned each by its own motion field and averaged by weights per still and place (ip-lap, eq. 14
and 15); the weights are a softmax over the stills. With one still there is nothing to weigh and nothing is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from .layers import Enlarge, Residual, conv, quiet, unfolded
from .motion import FLOW, resized, warped
from .still_encoder import StillPyramid

_REACH = 0.2


@dataclass(frozen=True, slots=True)
class Drawn:
    """picture before colour consistency and the aligned still, (B, 3, 256, 256) float32; flow (B, S, 2, 64, 64);
    weights (B, S, 64, 64) of the stills, or None with one."""

    picture: Tensor
    still: Tensor
    flow: Tensor
    weights: Tensor | None


class Decoder(nn.Module):
    def __init__(self, w: int) -> None:
        super().__init__()
        self.width = w
        self.up32, self.join32 = Enlarge(8 * w, 6 * w), conv(6 * w, 6 * w)
        self.refine32 = Residual(6 * w)
        self.up64, self.join64 = Enlarge(6 * w, 4 * w), conv(4 * w + 2, 4 * w)
        self.refine64 = Residual(4 * w)
        self.flow, self.still_flow = conv(4 * w, 2), quiet(conv(4 * w, 2, bias=False))
        nn.init.zeros_(self.flow.weight)
        nn.init.zeros_(cast(Tensor, self.flow.bias))
        self.rank32 = quiet(conv(12 * w + 2, 1, bias=False))
        self.rank64 = quiet(conv(4 * w, 1, bias=False))
        self.mask = quiet(conv(4 * w, 3))
        self.fuse64, self.draw64 = conv(4 * w, 4 * w), nn.Sequential(Residual(4 * w), Residual(4 * w))
        self.up128, self.draw128 = Enlarge(4 * w, 2 * w), Residual(2 * w)
        self.up256 = Enlarge(2 * w, w)
        self.draw256 = nn.Sequential(nn.SiLU(), conv(w, w), nn.SiLU(), conv(w, 4))

    def forward(self, x: Tensor, stills: StillPyramid, flow: Tensor, fine: Tensor, closeness: Tensor) -> Drawn:
        """x (B, 8w, 16, 16); stills: each tensor (B, S, ...); flow (B, S, 2, 64, 64) and fine
        (B, S, 2, 128, 128), the landmarks' own motion;
        closeness (B, S), log weights that every place starts with.
        """
        x = self.up32(x)
        at32 = _laid_out(_moved(stills.at32, flow), x.dtype)
        scores, weights = None, None
        if closeness.shape[1] > 1:
            scores = self._scores(x, at32, flow) + closeness[:, :, None, None]
            weights = scores.softmax(1)
        x = self.refine32(self.join32(x) + _blend(at32, weights))
        at64 = _laid_out(_moved(stills.at64, flow), x.dtype)
        x = torch.cat([self.up64(x), _blend(flow, weights).to(x.dtype)], 1)
        x = self.refine64(self.join64(x) + _blend(at64, weights))
        own = _each(self.still_flow, at64)
        refined = _REACH * (self.flow(x)[:, None] + own).float()
        flow = flow + refined
        fine = fine + _resized(refined, fine.shape[-1])
        if scores is not None:
            weights = (resized(scores, FLOW) + _each(self.rank64, at64)[:, :, 0].float()).softmax(1)
        masks = 2 * torch.sigmoid(self.mask(x))
        moved = _blend(_moved(stills.moved64, flow), weights)
        x = self.fuse64(x) + _sources(moved, stills.fixed64, weights, masks[:, :1], x.dtype)
        moved = _blend(_moved(stills.moved128, fine), weights)
        x = self.up128(self.draw64(x)) + _sources(moved, stills.fixed128, weights, masks[:, 1:2], x.dtype)
        moved = _blend(_moved(stills.moved256, fine), weights)
        moved, still = moved[:, : self.width], moved[:, self.width :]
        x = self.up256(self.draw128(x)) + _sources(moved, stills.fixed256, weights, masks[:, 2:], x.dtype)
        y = self.draw256(x).float().contiguous()
        drawn, keep = y[:, :3], torch.sigmoid(y[:, 3:] + 2)
        # the warped still where it is right, what is drawn where it is not, and a little drawn everywhere
        return Drawn(still * keep + (1.2 - keep) * drawn, still, flow, weights)

    def _scores(self, x: Tensor, at32: Tensor, flow: Tensor) -> Tensor:
        b, s = at32.shape[:2]
        seen = x[:, None].expand(b, s, *x.shape[1:])
        small = unfolded(resized(flow.flatten(0, 1), at32.shape[-1]), (b, s)).to(x.dtype)
        return _each(self.rank32, torch.cat([seen, at32, small], 2))[:, :, 0].float()


def _each(layer: nn.Module, features: Tensor) -> Tensor:
    """A layer on every still of (B, S, c, n, n)."""
    return unfolded(layer(features.flatten(0, 1)), features.shape[:2])


def _resized(fields: Tensor, size: int) -> Tensor:
    """(B, S, 2, m, m) at another size."""
    return unfolded(resized(fields.flatten(0, 1), size), fields.shape[:2])


def _moved(features: Tensor, flow: Tensor) -> Tensor:
    return unfolded(warped(features.flatten(0, 1), flow.flatten(0, 1)), features.shape[:2])


def _laid_out(features: Tensor, dtype: torch.dtype) -> Tensor:
    """Features (..., c, n, n) with the type and layout of what a convolution returns: sums of mixed ones are slow."""
    flat = features.to(dtype).reshape(-1, *features.shape[-3:]).contiguous(memory_format=torch.channels_last)
    return flat.view(features.shape)


def _blend(features: Tensor, weights: Tensor | None) -> Tensor:
    """(B, S, c, n, n) averaged over stills by weights (B, S, m, m) -> (B, c, n, n)."""
    if weights is None:
        return features[:, 0]
    return (features * resized(weights, features.shape[-1])[:, :, None].to(features.dtype)).sum(1)


def _sources(moved: Tensor, fixed: Tensor, weights: Tensor | None, mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Warped features (B, c, n, n), and the unwarped ones (B, S, c, n, n) where the mask lets them through."""
    return _laid_out(moved + _blend(fixed, weights) * resized(mask.float(), moved.shape[-1]), dtype)
