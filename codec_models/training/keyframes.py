"""Stretches of face clips at 5 fps, as a call receives them: what frame interpolation is trained on.

A stretch is ten received frames (50 ticks): three of run-in for the quantiser's state, five for the network, one that
comes next, and one more. The 8x8 pictures go through the bitstream's quantisers (`lattice.py`); some are lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..hint_measure import HINTS, measured
from ..interpolation import FRAMES, INTERVAL, Interpolation, Keys
from .augment import lit, random_colours, random_transforms, recoloured, transformed, transformed_points
from .corpus import Corpus
from .data import area, whole_levels
from .draws import Dice
from .lattice import dead_zone, decoded_hints, decoded_pictures, default_quality

RECEIVED = 10
TICKS = RECEIVED * INTERVAL
NEWEST = 7
"""The frame that the network has just got; the next one comes after it."""


@dataclass(frozen=True, slots=True)
class StretchConfig:
    """Shares of stretches in the lean profile, with hints, played backwards, mirrored, in another place and light, and
    of frames that are lost.
    """

    lean: float = 0.25
    hints: float = 0.75
    backwards: float = 0.4
    mirror: float = 0.5
    changed: float = 0.7
    lost: float = 0.06


@dataclass(frozen=True, slots=True)
class Stretches:
    """B stretches. frames (B, 10, 3, 8, 8) as decoded, arrived (B, 10) bool, hints (B, 50, 12) raw as decoded, has (B,)
    1 where they are given; truth (B, 50, 3, 8, 8), not quantised. Pictures in [-1, 1].
    """

    frames: Tensor
    arrived: Tensor
    hints: Tensor
    has: Tensor
    truth: Tensor

    def __len__(self) -> int:
        return len(self.frames)

    def keys(self, network: Interpolation, newest: int) -> Keys:
        """The last five frames that had arrived when frame `newest` came; times in ticks of the stretch."""
        b, device = len(self), self.frames.device
        order = torch.arange(RECEIVED, device=device).expand(b, -1)
        known = self.arrived & (order <= newest)
        latest = torch.where(known, order, -1).sort(1).values[:, -FRAMES:]
        # fewer than five: the oldest stands for those before it
        first = latest.masked_fill(latest < 0, RECEIVED).min(1, keepdim=True).values
        latest = torch.where(latest < 0, first, latest)
        row = torch.arange(b, device=device)[:, None]
        hints = self.hints[row, INTERVAL * latest] * self.has[:, None, None]
        times = (INTERVAL * latest).to(self.frames.dtype)
        return network.encode(self.frames[row, latest], times, hints, self.has[:, None].expand(-1, FRAMES))

    def at(self, network: Interpolation, keys: Keys, ticks: Tensor) -> Tensor:
        """Frames (B, Q, 3, 8, 8) at ticks (Q,) of the stretch."""
        b = len(self)
        hints = self.hints[:, ticks] * self.has[:, None, None]
        has = self.has[:, None].expand(-1, len(ticks))
        return network.at(keys, ticks.to(self.frames.dtype).expand(b, -1), hints, has)


class StretchSampler:
    """Endless batches from a corpus without pictures."""

    def __init__(self, corpus: Corpus, config: StretchConfig | None = None, seed: int = 0) -> None:
        self.corpus, self.config, self.dice = corpus, config or StretchConfig(), Dice(seed, corpus.device)
        self._start = torch.tensor([c.start for c in corpus.clips])
        self._frames = torch.tensor([c.frames for c in corpus.clips])

    def batch(self, size: int) -> Stretches:
        """Random, augmented stretches."""
        c, d, device = self.config, self.dice, self.corpus.device
        clip = d.choice(self.corpus.weight, size)
        first = d.below((self._frames[clip] - TICKS).clamp(min=0) + INTERVAL) - INTERVAL + 1
        ticks = first[:, None] + torch.arange(TICKS)
        ticks = torch.where(d.chances(c.backwards, size)[:, None], ticks.flip(1), ticks)
        changed, mirror = d.chances(c.changed, size), d.chances(c.mirror, size)
        none = torch.eye(3).expand(size, 3, 3).clone()
        none[:, 0, 0] = torch.where(mirror, -1.0, 1.0)
        place = torch.where(changed[:, None, None], random_transforms(d, size, mirror=mirror), none)
        plain = torch.cat([torch.eye(3), torch.zeros(3, 1)], 1).expand(size, 3, 4)
        colour = torch.where(changed[:, None, None], random_colours(d, size), plain)
        slope = d.uniform(-0.25, 0.25, size, 2) * (changed & d.chances(0.3, size))[:, None]
        lean = d.chances(c.lean, size)
        quality = default_quality(lean)
        quality = torch.where(d.chances(0.5, size), quality, quality + d.integers(-2, 3, size)).clamp(min=0)
        return self._render(
            clip, ticks, place.to(device), colour.to(device), slope.to(device), lean, quality,
            ~d.chances(c.lost, size, RECEIVED).to(device), d.chances(c.hints, size).to(device),
        )  # fmt: skip

    def plain(self, clip: int, first: list[int]) -> Stretches:
        """Stretches of one clip that begin at ticks `first`, for measuring."""
        b, device = len(first), self.corpus.device
        ticks = torch.tensor(first)[:, None] + torch.arange(TICKS)
        lean, yes = torch.zeros(b, dtype=torch.bool), torch.ones(b, RECEIVED, dtype=torch.bool, device=device)
        place = torch.eye(3, device=device).expand(b, 3, 3)
        colour = torch.eye(3, 4, device=device).expand(b, 3, 4)
        slope = torch.zeros(b, 2, device=device)
        clips = torch.full((b,), clip)
        return self._render(clips, ticks, place, colour, slope, lean, default_quality(lean), yes, yes[:, 0])

    def _render(
        self,
        clip: Tensor,
        ticks: Tensor,
        place: Tensor,
        colour: Tensor,
        slope: Tensor,
        lean: Tensor,
        quality: Tensor,
        arrived: Tensor,
        given: Tensor,
    ) -> Stretches:
        c, device, b = self.corpus, self.corpus.device, len(clip)
        index = ticks.clamp(min=0).minimum(self._frames[clip][:, None] - 1) + self._start[clip][:, None]
        index = index.to(device)
        side = c.small.shape[-1]
        small = c.small[index].view(b, TICKS * 3, side, side).float() / 127.5 - 1
        small = (
            transformed(small, place).view(b, TICKS, 3, side, side).transpose(1, 2).reshape(b, 3, TICKS * side, side)
        )
        small = recoloured(small, colour).view(b, 3, TICKS, side, side).transpose(1, 2)
        small = lit(small.reshape(b, TICKS * 3, side, side), slope)
        truth = area(small).view(b, TICKS, 3, 8, 8)
        levels = whole_levels(truth[:, ::INTERVAL])
        zone = dead_zone(lean, torch.ones(b, dtype=torch.bool))
        frames = decoded_pictures(levels, quality.to(device), lean.to(device), zone.to(device)).float() / 127.5 - 1
        points = transformed_points(c.points[index].flatten(0, 1), place.repeat_interleave(TICKS, 0))
        hints = decoded_hints(measured(points).view(b, TICKS, HINTS))
        return Stretches(frames, arrived, hints, given.to(frames.dtype), truth)
