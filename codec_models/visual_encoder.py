"""Visual encoder: 3-D convolutions over a window of 8x8 frames (av-upsampler, section 3.2)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from .layers import Residual, TimeConv, conv, quiet


class VisualEncoder(nn.Module):
    """The window as its change against the still's own 8x8 frame.

    One 3-D convolution spans the whole window at once; a stack of residual 3-D convolutions beside it keeps the time
    axis and gives it up last. What depends on the still alone (`remember`) is linear and made once a still.
    """

    def __init__(self, window: int, channels: int, inner: int, blocks: int) -> None:
        super().__init__()
        self.window = window
        self.span = TimeConv(3, channels, (window, 3, 3), valid=True)
        self.still = conv(3, channels, bias=False)
        self.first = TimeConv(3, inner, (3, 3, 3))
        self.blocks = nn.Sequential(*(Residual(inner, 3) for _ in range(blocks)))
        self.last = quiet(TimeConv(inner, channels, (window, 1, 1), valid=True))
        self.mix = nn.Sequential(Residual(channels), Residual(channels))

    def remember(self, still_low: Tensor) -> Tensor:
        """8x8 frames of stills (B, 3, 8, 8) in [-1, 1] -> their part of the sum, (B, channels, 8, 8)."""
        spatial = self.span.weight.sum(2)
        return cast(Tensor, self.still(still_low)) - torch.conv2d(2 * still_low, spatial, padding=1)

    def forward(self, low: Tensor, still: Tensor) -> Tensor:
        """low (B, T, 3, 8, 8) in [-1, 1], still (B, channels, 8, 8) from `remember` -> (B, channels, 8, 8)."""
        x = 2 * low.transpose(1, 2)
        own = self.span(x) + self.last(self.blocks(self.first(x)))
        return cast(Tensor, self.mix(own[:, :, 0] + still))
