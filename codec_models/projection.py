"""Iterative up and down projection with fed-back errors (DBPN), the backbone of av-upsampler, section 3.2."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from .layers import Enlarge, conv, quiet


class UpProjection(nn.Module):
    """Enlarge; what does not come back when it is made small again is enlarged too and added."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up, self.down, self.correct = (
            Enlarge(inputs, outputs),
            conv(outputs, inputs, 3, 2),
            quiet(Enlarge(inputs, outputs)),
        )

    def forward(self, x: Tensor) -> Tensor:
        high = self.up(x)
        return cast(Tensor, high + self.correct(self.down(high) - x))


class DownProjection(nn.Module):
    """Make small; what does not come back when it is enlarged again is made small too and added."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down, self.up, self.correct = (
            conv(inputs, outputs, 3, 2),
            Enlarge(outputs, inputs),
            conv(inputs, outputs, 3, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        low = self.down(x)
        return cast(Tensor, low + self.correct(self.up(low) - x))


class IterativeProjection(nn.Module):
    """x (B, c, n, n) -> (B, c, 2 n, 2 n): up, then (down, up) so many times; the results of all ups are added."""

    def __init__(self, channels: int, repeats: int) -> None:
        super().__init__()
        self.first = UpProjection(channels, channels)
        self.down = nn.ModuleList(DownProjection(channels, channels) for _ in range(repeats))
        self.up = nn.ModuleList(quiet(UpProjection(channels, channels)) for _ in range(repeats))

    def forward(self, x: Tensor) -> Tensor:
        high = cast(Tensor, self.first(x))
        for down, up in zip(self.down, self.up, strict=True):
            high = high + up(down(high))
        return high
