"""The upsampler's two halves as one, as it is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..bitstream.timing import PICTURE
from .windows import Made, Windows


class WholeUpsampler(nn.Module):
    """Encoding of the stills and drawing of the picture in one forward pass, as DistributedDataParallel needs it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        stills: Tensor,
        still_low: Tensor,
        still_points: Tensor,
        still_found: Tensor,
        low: Tensor,
        mel: Tensor,
        hints: Tensor,
        has: Tensor,
    ) -> Made:
        """See `Windows`. The network draws 256x256; a smaller batch is enlarged before and averaged after it."""
        side = stills.shape[-1]
        if side != PICTURE:
            full = F.interpolate(stills.flatten(0, 1), size=(PICTURE, PICTURE), mode="bilinear", align_corners=False)
            stills = full.view(*still_low.shape[:2], 3, PICTURE, PICTURE)
        encode: Callable[..., Any] = self.network.encode_stills  # type: ignore[assignment]
        # All known is told apart: then nothing has to be guessed.
        found = None if bool((still_found > 0).all()) else still_found
        identity = encode(stills, still_low, still_points, found)
        made = self.network(identity, low, mel, hints, has)
        picture, warped = made.picture, made.warped
        if side != PICTURE:
            picture, warped = (F.avg_pool2d(t.float(), PICTURE // side) for t in (picture, warped))
        return Made(picture, warped, made.points, made.coarse, identity.points, made.flow)


def run_whole(network: nn.Module, w: Windows) -> Made:
    made: Made = network(w.stills, w.still_low, w.still_points, w.still_found, w.low, w.mel, w.hints, w.has)
    return made
