"""Audio encoder: 1-D residual convolutions on the log-mel window (av-upsampler, section 3.2)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from .layers import Residual, quiet
from .mel import BANDS, ROWS


class AudioEncoder(nn.Module):
    """(B, 80, 16) log-mel in [-1, 1] -> (B, 4 * inner), in the order of time within each channel."""

    def __init__(self, inner: int, blocks: int) -> None:
        super().__init__()

        def refine() -> nn.Module:
            return nn.Sequential(*(quiet(Residual(inner, 1)) for _ in range(blocks)))

        self.first, self.refine1 = nn.Conv1d(BANDS, inner, 3, 2, 1), refine()
        self.second, self.refine2 = nn.Conv1d(inner, inner, 3, 2, 1), refine()
        self.activation = nn.SiLU()
        self.outputs = inner * (ROWS // 4)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.refine1(self.first(mel))
        x = self.refine2(self.second(self.activation(x)))
        return cast(Tensor, self.activation(x).flatten(1))
