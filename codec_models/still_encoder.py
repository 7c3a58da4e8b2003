"""Still encoder: all that depends on a still alone, made once when it arrives."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Residual, conv


class StillPyramid(NamedTuple):
    """What the decoder takes from a still, already brought to the decoder's own channels.

    A convolution of the concatenation of decoder features and still features is a sum of two convolutions, and one
    of warped features is nearly the warp of convolved features. So all convolutions of still features are done here.
    at32, at64: features that are moved by the landmarks' own motion. moved*: those moved by the refined one; moved256
    has the still's three colours after its w channels. fixed*: unmoved ones, for the background.
    """

    deepest: Tensor  # (B, 8w, 16, 16)
    at32: Tensor  # (B, 6w, 32, 32)
    at64: Tensor  # (B, 4w, 64, 64)
    moved64: Tensor
    moved128: Tensor  # (B, 2w, 128, 128)
    moved256: Tensor  # (B, w + 3, 256, 256)
    fixed64: Tensor
    fixed128: Tensor
    fixed256: Tensor  # (B, w, 256, 256)


class StillEncoder(nn.Module):
    """(B, 3, 256, 256) in [-1, 1] -> StillPyramid, for stills of any number in the batch axis."""

    def __init__(self, w: int) -> None:
        super().__init__()
        self.c0 = conv(3, w)
        self.d1, self.r1 = conv(w, 2 * w, 3, 2), Residual(2 * w)
        self.d2, self.r2 = conv(2 * w, 4 * w, 3, 2), nn.Sequential(Residual(4 * w), Residual(4 * w))
        self.d3, self.r3 = conv(4 * w, 6 * w, 3, 2), Residual(6 * w)
        self.d4, self.r4 = conv(6 * w, 8 * w, 3, 2), nn.Sequential(Residual(8 * w), Residual(8 * w))
        self.at32, self.at64 = conv(6 * w, 6 * w, bias=False), conv(4 * w, 4 * w, bias=False)
        self.moved64, self.fixed64 = conv(4 * w, 4 * w, bias=False), conv(4 * w, 4 * w, bias=False)
        self.moved128, self.fixed128 = conv(2 * w, 2 * w, bias=False), conv(2 * w, 2 * w, bias=False)
        self.moved256, self.fixed256 = conv(w + 3, w, bias=False), conv(3, w, bias=False)

    def forward(self, still: Tensor) -> StillPyramid:
        f0 = cast(Tensor, self.c0(still))
        f1 = self.r1(self.d1(F.silu(f0)))
        f2 = self.r2(self.d2(F.silu(f1)))
        f3 = self.r3(self.d3(F.silu(f2)))
        f4 = self.r4(self.d4(F.silu(f3)))
        picture = still.to(f0.dtype)
        return StillPyramid(
            deepest=f4,
            at32=self.at32(f3),
            at64=self.at64(f2),
            moved64=self.moved64(f2),
            moved128=self.moved128(f1),
            moved256=torch.cat([self.moved256(torch.cat([f0, picture], 1)), picture], 1),
            fixed64=self.fixed64(f2),
            fixed128=self.fixed128(f1),
            fixed256=self.fixed256(picture),
        )
