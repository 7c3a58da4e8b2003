"""Building blocks that the networks share: convolutions, residual blocks, pixel-shuffle enlargement, attention."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .bitstream.timing import GRID

M = TypeVar("M", bound=nn.Module)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """Convolution that keeps the size (stride 1) or halves it (stride 2)."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)


def quiet(layer: M, scale: float = 0.1) -> M:
    """Make a fresh layer speak softly, so that weights trained without it keep most of their worth beside it."""
    with torch.no_grad():
        for p in layer.parameters():
            p.mul_(scale)
    return layer


def channels_last(model: M) -> M:
    """Lay out the weights of all 2-D convolutions for channels-last pictures (`.to` refuses a model with 3-D ones)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return model


def unfolded(x: Tensor, batch: Sequence[int]) -> Tensor:
    """(B S, ...) -> (B, S, ...)."""
    return x.reshape(*batch, *x.shape[1:])


class TimeConv(nn.Conv3d):
    """3-D convolution, stride 1 and odd kernel, same size in space; padded in time or, with valid, spanning it.

    Runs as a 2-D convolution of stacked neighbouring frames, which is the same sum and is fast on every runtime.
    """

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int, int], valid: bool = False) -> None:
        time, height, width = kernel
        super().__init__(inputs, outputs, kernel, padding=(0 if valid else time // 2, height // 2, width // 2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, T, h, w) -> (B, outputs, T or T - kernel + 1, h, w)."""
        b, c, _, h, w = x.shape
        time = self.kernel_size[0]
        pad = cast(int, self.padding[0])
        x = F.pad(x, (0, 0, 0, 0, pad, pad)) if pad else x
        frames = x.shape[2] - time + 1
        stacked = torch.stack([x[:, :, k : k + frames] for k in range(time)], 2)
        stacked = stacked.permute(0, 3, 1, 2, 4, 5).reshape(b * frames, c * time, h, w)
        out = F.conv2d(stacked, self.weight.flatten(1, 2), self.bias, padding=self.padding[1:])
        return out.reshape(b, frames, -1, h, w).transpose(1, 2)


class Residual(nn.Module):
    """x + conv(silu(conv(silu(x)))), in one, two or three dimensions."""

    def __init__(self, channels: int, dimensions: int = 2) -> None:
        super().__init__()

        def layer() -> nn.Module:
            if dimensions == 3:
                return TimeConv(channels, channels, (3, 3, 3))
            return (nn.Conv1d if dimensions == 1 else nn.Conv2d)(channels, channels, 3, padding=1)

        self.a, self.b = layer(), layer()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, x + self.b(F.silu(self.a(F.silu(x)))))


class Enlarge(nn.Module):
    """Twice the size: a convolution to four phases, then pixel shuffle."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.c = conv(inputs, 4 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.c(x), 2)


class CrossAttention(nn.Module):
    """Tokens of the 8x8 stream look up tokens of the stills.

    The keys and values of a still do not change: `remember` makes them once. forward: x (B, c, h, w), memory
    (B, n, 2 c) -> (B, c, h, w).
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv = conv(channels, channels, 1), conv(channels, 2 * channels, 1)
        self.o = conv(channels, channels, 1)

    def remember(self, features: Tensor) -> Tensor:
        """Features of stills (B, c, h, w) -> keys and values (B, h w, 2 c)."""
        return cast(Tensor, self.kv(features)).flatten(2).transpose(1, 2)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        b, c, h, w = x.shape
        split = memory.reshape(b, memory.shape[1], 2, self.heads, c // self.heads)
        keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)
        queries = cast(Tensor, self.q(x)).reshape(b, self.heads, c // self.heads, h * w).transpose(2, 3)
        looked = F.scaled_dot_product_attention(queries, keys, values)
        return cast(Tensor, x + self.o(looked.transpose(2, 3).reshape(b, c, h, w)))


class Picture8x8(nn.Module):
    """Bicubic enlargement of 8x8 frames as two small matrix products, which every runtime does the same way."""

    matrix: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("matrix", _bicubic(256), persistent=False)

    def forward(self, low: Tensor) -> Tensor:
        """low (B, 3, 8, 8) -> (B, 3, 256, 256), float32."""
        with torch.autocast(low.device.type, enabled=False):
            return self.matrix @ low.float() @ self.matrix.t()


@cache
def _bicubic(size: int) -> Tensor:
    """(size, 8): column k is the answer to sample k, as torch's bicubic interpolation gives it."""
    with torch.inference_mode(False):
        rows = torch.eye(GRID)[:, None, :, None].expand(GRID, 1, GRID, GRID)
        return F.interpolate(rows, size=size, mode="bicubic", align_corners=False)[:, 0, :, 0].t().contiguous()
