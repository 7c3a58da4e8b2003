"""Teeth: sharpens the mouth that the upsampler drew, after a reference mouth from the stills (hdtr-net, section 3).

Two fine-grained feature-fusion branches (FGFF): mouth, mask and contour every tick, the reference once a still; then a
decoder. One definition, two sizes: `LIVE` for a CPU core, `PAPER` of the paper's class for a GPU. Pictures in [-1, 1].

Where it departs from the paper: the whole crop comes in beside its mask, not the masked crop; all runs on 2x2 pixels
folded into channels, half the side and a quarter of the work; pooling halves the side (the published code's does not);
blocks add to what they are given; the reference comes with its mask and contour too, is laid on the mouth by place and
size, and, as it is seldom equally far open, a place of the mouth also looks up its like in it (cross-attention); and
what comes out is a change of the crop, in two parts. One is drawn, like the paper's. The other raises what detail the
crop has of its own, in two bands, by smooth maps of gain: all that the training's wish for sharpness may turn up.
Given to the drawn part, that wish is met by a hatching that no mouth has.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import CrossAttention, channels_last, conv, quiet
from .mouth import MOUTH
from .weight_files import filled

DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "teeth.safetensors"
_HALF, _DEEP = MOUTH // 2, MOUTH // 8
_FOLD = 2
_MOST = 2.5
"""By which a band of detail is raised at most; the gain starts at a tenth of it."""
_STRETCH = 2.0
"""How much wider or higher the reference mouth may be made, or narrower, to lie on the drawn one."""


@dataclass(frozen=True, slots=True)
class TeethConfig:
    """width: channels at 48x48; middle, deep: at 24x24 and 12x12; blocks: channel fusions in a row at each place of
    the branches and of the decoder. All widths are multiples of 4.
    """

    width: int = 32
    middle: int = 64
    deep: int = 96
    blocks: int = 1


LIVE = TeethConfig()
PAPER = TeethConfig(width=160, middle=288, deep=416, blocks=2)


class ChannelFusion(nn.Module):
    """Three convolutions in a row of C/2, C/4 and C/4 channels, side by side again C (section 3.1, CF); adds to x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.a, self.b, self.c = conv(channels, half), conv(half, quarter), conv(quarter, quarter)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(F.silu(x))
        b = self.b(F.silu(a))
        return x + torch.cat([a, b, self.c(F.silu(b))], 1)


def _fusions(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ChannelFusion(channels) for _ in range(count)))


class HourGlass(nn.Module):
    """Down twice by stride 2, up again (section 3.1); a convolution halves the side, as it may choose what to keep.

    forward: x (B, width, 48, 48) -> what comes back up, (B, width, 48, 48). look: the cross-attention at 12x12.
    """

    def __init__(self, config: TeethConfig, attends: bool) -> None:
        super().__init__()
        w, m, d, n = config.width, config.middle, config.deep, config.blocks
        self.down1, self.at24 = conv(w, m, stride=2), _fusions(m, n)
        self.down2, self.at12 = conv(m, d, stride=2), _fusions(d, n)
        self.look = CrossAttention(d) if attends else None
        self.up2, self.up1 = conv(d, 4 * m, 1), conv(m, 4 * w, 1)
        self.back24 = _fusions(m, n)

    def deepest(self, middle: Tensor) -> Tensor:
        """(B, middle, 24, 24) -> (B, deep, 12, 12)."""
        return cast(Tensor, self.at12(self.down2(middle)))

    def forward(self, x: Tensor, memory: Tensor | None) -> Tensor:
        middle = self.at24(self.down1(x))
        deep = self.deepest(middle)
        if self.look is not None and memory is not None:
            deep = self.look(deep, memory)
        middle = self.back24(middle + F.pixel_shuffle(self.up2(deep), 2))
        return F.pixel_shuffle(self.up1(middle), 2)


class Branch(nn.Module):
    """Fine-grained feature fusion (FGFF): channel fusion beside an hourglass, joined. inputs: channels of the crop."""

    def __init__(self, inputs: int, config: TeethConfig, attends: bool) -> None:
        super().__init__()
        w = config.width
        self.stem = conv(inputs * _FOLD**2, w)
        self.fusion, self.glass = _fusions(w, config.blocks), HourGlass(config, attends)

    def entry(self, crop: Tensor) -> Tensor:
        """(B, inputs, 96, 96) -> (B, width, 48, 48)."""
        return cast(Tensor, self.fusion(self.stem(F.pixel_unshuffle(crop, _FOLD))))

    def forward(self, crop: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """-> the two features that the decoder joins, each (B, width, 48, 48)."""
        fine = self.entry(crop)
        return fine, self.glass(fine, memory)


class Teeth(nn.Module):
    """See the module. `remember` once a still, `forward` once a tick."""

    def __init__(self, config: TeethConfig = LIVE) -> None:
        super().__init__()
        self.config = config
        w, d = config.width, config.deep
        self.mouth, self.reference = Branch(5, config, True), Branch(5, config, False)
        self.patches = conv_patches(2 * w, d)
        self.position = nn.Parameter(torch.randn(1, d, _DEEP, _DEEP) * 0.1)
        # one convolution of both branches' features, in two halves: that of the reference is done once a still
        self.join_mouth, self.join_reference = conv(2 * w, w), conv(2 * w, w, bias=False)
        self.unknown = nn.Parameter(torch.zeros(1, w, 1, 1))
        self.refine = _fusions(w, config.blocks)
        self.out = quiet(conv(w, 3 * _FOLD**2), 0.0)
        self.gain = quiet(conv(w, 2), 0.1)

    def remember(self, reference: Tensor, planes: Tensor) -> Tensor:
        """A reference mouth (B, 3, 96, 96) in [-1, 1] and its `lip_planes` (B, 2, 96, 96) -> memory (B, n), float32:
        its half of the decoder's first layer, keys and values for the lookup, and where the mouth is in the crop.
        """
        features = torch.cat(self.reference(torch.cat([reference, planes], 1)), 1)
        kept = self.join_reference(features)
        tokens = self._look().remember(self.patches(features) + self.position)
        return torch.cat([t.flatten(1).float() for t in (kept, tokens, extent(planes))], 1)

    def forward(self, crop: Tensor, planes: Tensor, memory: Tensor | None = None) -> Tensor:
        """The drawn mouth (B, 3, 96, 96) in [-1, 1] and its planes -> the change to be added, (B, 3, 96, 96), float32.

        memory: of `remember`, one for each crop or one for all; None where no still shows a mouth.
        """
        drawn, raised = self.parts(crop, planes, memory)
        return drawn + raised

    def parts(self, crop: Tensor, planes: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same as what is drawn and what is raised, each (B, 3, 96, 96)."""
        w, d = self.config.width, self.config.deep
        kept: Tensor = self.unknown
        tokens: Tensor | None = None
        if memory is not None:
            split = w * _HALF * _HALF
            memory = memory.expand(crop.shape[0], -1)
            kept = moved(memory[:, :split].reshape(-1, w, _HALF, _HALF), memory[:, -4:], extent(planes))
            tokens = memory[:, split:-4].reshape(-1, _DEEP * _DEEP, 2 * d)
        x = self.join_mouth(torch.cat(self.mouth(torch.cat([crop, planes], 1), tokens), 1))
        x = F.silu(self.refine(x + kept.to(x.dtype)))
        gain = _MOST * torch.sigmoid(F.avg_pool2d(self.gain(x).float(), 2) - 2.2)
        gain = F.interpolate(gain, size=(MOUTH, MOUTH), mode="bilinear", align_corners=False)
        fine, coarse = bands(crop.float())
        raised = gain[:, :1] * fine + gain[:, 1:] * coarse
        return F.pixel_shuffle(self.out(x), _FOLD).float(), raised

    def _look(self) -> CrossAttention:
        return cast(CrossAttention, self.mouth.glass.look)


def bands(crop: Tensor) -> tuple[Tensor, Tensor]:
    """Detail of a crop (B, C, n, n): what a blur over 3 pixels takes away, and what one over 5 takes of the rest."""
    soft = _blurred(crop)
    return crop - soft, soft - _blurred(_blurred(soft))


def _blurred(crop: Tensor) -> Tensor:
    """The mean of 3x3 pixels, as sums of slices: pooling takes a CPU four times as long."""
    x = F.pad(crop, (1, 1, 1, 1), mode="replicate")
    x = x[..., :-2] + x[..., 1:-1] + x[..., 2:]
    return (x[..., :-2, :] + x[..., 1:-1, :] + x[..., 2:, :]) / 9


def extent(planes: Tensor) -> Tensor:
    """Middle x, y and spread x, y of the mask in planes (B, 2, 96, 96): (B, 4), where a crop reaches from -1 to 1."""
    mask = planes[:, 0].float()
    at = _centres(MOUTH, mask)
    shares = [mask.sum(k) / mask.sum((1, 2)).clamp_min(1.0)[:, None] for k in (1, 2)]
    middle = torch.stack([(s * at).sum(1) for s in shares], 1)
    spread = torch.stack([(s * at.square()).sum(1) for s in shares], 1) - middle.square()
    return torch.cat([middle, spread.clamp_min(1e-3).sqrt()], 1)


def moved(features: Tensor, there: Tensor, here: Tensor) -> Tensor:
    """Features (B, c, n, n) of a mouth of extent `there`, placed and stretched to one of extent `here`; float32."""
    n = features.shape[-1]
    stretch = (there[:, 2:] / here[:, 2:]).clamp(1 / _STRETCH, _STRETCH)
    x, y = ((_centres(n, there) - here[:, k, None]) * stretch[:, k, None] + there[:, k, None] for k in (0, 1))
    grid = torch.stack([x[:, None].expand(-1, n, -1), y[:, :, None].expand(-1, -1, n)], 3)
    return F.grid_sample(features.float(), grid, padding_mode="border", align_corners=False)


def _centres(size: int, like: Tensor) -> Tensor:
    return (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) * (2 / size) - 1


def conv_patches(inputs: int, outputs: int) -> nn.Conv2d:
    """A token of each 4x4 features: 48x48 -> 12x12."""
    side = _HALF // _DEEP
    return nn.Conv2d(inputs, outputs, side, side)


def load_teeth(path: Path = DEFAULT_WEIGHTS, config: TeethConfig = LIVE) -> Teeth:
    """The network with weights from a safetensors file of exactly its parameters, ready to run. Raises UserError."""
    return channels_last(filled(Teeth(config), path))
