"""Frame interpolation: 8x8 frames at 5 fps -> 8x8 frames at 25 fps (av-upsampler, section 4.2).

The last five received frames are encoded together by a small 3-D convolutional network, once when a frame arrives; then
any tick can be asked for, from the oldest of the five to some ticks after the newest. So one network, with one set of
weights, has the forms that are needed: `window` asks for 25 ticks of five frames (the paper's), a call asks for the
ticks before the newest frame (look-ahead of one frame, 200 ms) or for those after it (no look-ahead).

Where it departs from the paper: the answer is a change of the linear mixture of both neighbours, or of the frame before
where there is none after; and the hints, which come with every tick, say how the head has moved since.

0.2 M parameters. Frames are in [-1, 1], times in ticks of 40 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .bitstream.timing import GRID
from .hint_measure import HEAD, HINTS, SCALE, in_head, normalised, placed
from .layers import Residual, TimeConv, conv
from .slow_stream import FRAMES, INTERVAL
from .weight_files import filled

DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "interpolation.safetensors"
_FARTHEST = 2.0
"""Intervals beyond a frame at which it is predicted at most; later its last prediction holds."""
_TIMES = 5
_LOUD = 8.0
"""Frames differ from one another by a hundredth of their range: differences are made as large as the frames."""


@dataclass(frozen=True, slots=True)
class InterpolationConfig:
    """channels of the 3-D encoder, blocks: residual blocks in it; drawn: channels of the decoder, one tick's."""

    channels: int = 32
    blocks: int = 2
    drawn: int = 48


@dataclass(frozen=True, slots=True)
class Keys:
    """Five received frames, encoded. frames (B, 5, 3, 8, 8); times (B, 5), ascending, in ticks; hints (B, 5, 12) raw;
    has (B, 5): 1 where those are given; features (B, 5, c, 8, 8).
    """

    frames: Tensor
    times: Tensor
    hints: Tensor
    has: Tensor
    features: Tensor


class Interpolation(nn.Module):
    def __init__(self, config: InterpolationConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or InterpolationConfig()
        c, d = config.channels, config.drawn
        self.first = TimeConv(7, c, (3, 3, 3))
        self.hints = nn.Linear(HINTS + 1, c)
        self.mix = nn.Sequential(*(Residual(c, 3) for _ in range(config.blocks)))
        self.join = conv(2 * c + 9, d)
        self.condition = nn.Sequential(nn.Linear(3 * HINTS + 2 + _TIMES, d), nn.SiLU(), nn.Linear(d, 4 * d))
        self.draw, self.change = Residual(d), conv(d, 3)
        for p in self.change.parameters():
            nn.init.zeros_(p)

    def encode(self, frames: Tensor, times: Tensor, hints: Tensor, has: Tensor) -> Keys:
        """See `Keys`; at the start of a stream the oldest frame is repeated, as if it had stood before."""
        late = ((times[:, 1:] - times[:, :-1]) / INTERVAL - 1).clamp(-1, _FARTHEST)
        late = F.pad(late, (1, 0))[:, None, :, None, None].expand(-1, -1, -1, GRID, GRID)
        x = self.first(torch.cat([frames.transpose(1, 2), _LOUD * (frames - frames[:, -1:]).transpose(1, 2), late], 1))
        told = self.hints(torch.cat([normalised(hints) * has[..., None], has[..., None]], 2))
        x = self.mix(x + told.transpose(1, 2)[..., None, None])
        return Keys(frames, times, hints, has, x.transpose(1, 2))

    def at(self, keys: Keys, times: Tensor, hints: Tensor, has: Tensor) -> Tensor:
        """Frames (B, Q, 3, 8, 8) at times (B, Q), with the hints (B, Q, 12) of those ticks and has (B, Q)."""
        b, q = times.shape
        reached = keys.times[:, None] <= times[..., None]
        before = (reached.sum(2) - 1).clamp(min=0)
        after = (before + 1).clamp(max=FRAMES - 1)
        row = torch.arange(b, device=times.device)[:, None]
        there = (after > before).to(times.dtype)
        start, end = keys.times[row, before], keys.times[row, after]
        gap = (end - start).clamp(min=1)
        since = torch.minimum(times - start, times.new_tensor(_FARTHEST * INTERVAL))
        share = there * since / gap
        told = [has * keys.has[row, k] for k in (before, after)]
        told[1] = told[1] * there
        moves = [(hints - keys.hints[row, k]) * t[..., None] for k, t in zip((before, after), told, strict=True)]
        # what the linear mixture does not know: how far the head is from where even motion would have brought it
        weight = (share * told[1])[..., None]
        off = moves[0] * (1 - weight) + moves[1] * weight
        when = torch.stack([since / INTERVAL, (since / INTERVAL).square() / 2, share, there, gap / INTERVAL - 1], 2)
        scale = _LOUD * hints.new_tensor(SCALE)
        told_moves = [m * scale for m in (*moves, off)]
        condition = torch.cat([*told_moves, told[0][..., None], told[1][..., None], when], 2)
        shift, gain, shift2, gain2 = self.condition(condition).flatten(0, 1)[..., None, None].chunk(4, 1)

        old, new = (keys.frames[row, k].flatten(0, 1) for k in (before, after))
        known = there.flatten()[:, None, None, None]
        # where no later frame is known its place is taken by the one before, whose share is then all
        new = torch.where(known > 0, new, old)
        mixed = torch.lerp(old, new, share.flatten()[:, None, None, None])
        carried = moved(mixed, hints.flatten(0, 1), off.flatten(0, 1))
        features = [keys.features[row, before].flatten(0, 1), keys.features[row, after].flatten(0, 1) * known]
        x = self.join(torch.cat([*features, mixed, _LOUD * (new - old), _LOUD * (carried - mixed)], 1))
        x = x * (1 + gain) + shift
        x = self.draw(x) * (1 + gain2) + shift2
        changed: Tensor = mixed + self.change(F.silu(x)) / _LOUD
        return changed.view(b, q, 3, GRID, GRID)


def moved(frames: Tensor, hints: Tensor, move: Tensor) -> Tensor:
    """Frames (B, 3, 8, 8) as if all in them had moved with the head: to its place, size and roll in hints (B, 12), raw,
    by move (B, 12), what has changed since the frame.
    """
    head = hints[:, HEAD]
    centres = (torch.arange(GRID, device=frames.device, dtype=frames.dtype) + 0.5) / GRID * 2 - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    grid = torch.stack([x, y], -1).view(1, -1, 2).expand(frames.shape[0], -1, -1)
    source = placed(in_head(grid, head), head - move[:, HEAD]).view(-1, GRID, GRID, 2)
    return F.grid_sample(frames, source, mode="bilinear", padding_mode="border", align_corners=False)


def load_interpolation(path: Path | None = None) -> Interpolation:
    """The network with trained weights, those that come with the program by default. Raises UserError."""
    return filled(Interpolation(), path or DEFAULT_WEIGHTS)
