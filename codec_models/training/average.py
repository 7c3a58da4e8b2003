"""The average of a network's weights while it trains (EMA), which is what ships."""

from __future__ import annotations

import torch
from torch import nn


def follow(average: nn.Module, network: nn.Module, ema: float, step: int, slack: int = 20) -> None:
    """Move an average towards a network of the same shape, by 1 - ema; sooner in the first steps, so that it does not
    remember the beginning. slack: about how many steps that takes. Buffers are taken over.
    """
    keep = min(ema, (step + 1) / (step + slack))
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - keep)
        for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)
