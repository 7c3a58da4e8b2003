"""The gate of the teeth stage, 0 to 1: it falls where the network cannot know better than the upsampler (hdtr-net)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .bitstream.timing import PICTURE
from .hint_measure import head_of, in_head
from .landmarks import LIPS, POINTS

_OUTER = [POINTS.index(m) for m in LIPS[:20]]
_NOSE, _UPPER, _LOWER, _LEFT, _RIGHT = (POINTS.index(m) for m in (1, 13, 14, 33, 263))
_SKIN = (4.0, 16.0)
"""Pixels from the outer lips between which there is skin to compare them with."""
_PALE = 0.04
"""Redness of lips below which they tell nothing: beards, make-up, grey pictures."""
_DARK = 0.03
_FAR = 2.0
"""Landmarks farther from the middle than this, in [-1, 1] units, are no face."""


@dataclass(frozen=True, slots=True)
class GateConfig:
    """Each pair: where the gate begins to fall, and where it is shut; in between linear, and the least of all holds.

    yaw: of the head, either way, units of `Hints`; turned: away from the reference's, as the upsampler paints a mouth
    roughly that its still shows from elsewhere. narrow, wide: width of the outer lips, pixels; a wide one leaves the
    crop. edge: pixels between the outer lips and the picture's edge. covered: share of the reference's `redness` that
    the drawn lips lack, as a hand is there. closed: opening of the mouth, as in `Hints`; here the gate does not fall
    below `least`: of a closed mouth there is little to know better. step: change of the gate a tick, at most.

    Chosen on 21 clips of people who were not trained on: what is lacking of the redness stays below 0.37 in 99 % of the
    ticks, and with hands in skin's own colour drawn over five mouths it is above 0.32 in 90 %, above 0.58 in half of
    them. A closed mouth lost 0.12 dB to earlier weights that cost an open one 0.03, with half of the change 0.05.
    """

    yaw: tuple[float, float] = (0.35, 0.5)
    turned: tuple[float, float] = (0.2, 0.35)
    narrow: tuple[float, float] = (20.0, 12.0)
    wide: tuple[float, float] = (78.0, 90.0)
    edge: tuple[float, float] = (6.0, 0.0)
    covered: tuple[float, float] = (0.36, 0.54)
    closed: tuple[float, float] = (0.08, 0.02)
    least: float = 0.5
    step: float = 0.125

    def target(self, points: Tensor) -> Tensor:
        """Where the gate tends to with landmarks (B, 110, 2) in [-1, 1]: (B,) in [0, 1], 0 where they are no face.
        What follows from the reference is `beside`'s.
        """
        finite = torch.isfinite(points).all(2).all(1) & (points.abs().amax((1, 2)) < _FAR)
        points = sane(points)
        lips = (points[:, _OUTER] + 1) * (PICTURE / 2)
        low, high = lips.amin(1), lips.amax(1)
        width = (high - low)[:, 0]
        edge = torch.minimum(low.amin(1), PICTURE - high.amax(1))
        pairs = ((head_yaw(points).abs(), self.yaw), (width, self.narrow), (width, self.wide), (edge, self.edge))
        opened = self.least + (1 - self.least) * _ramp(_opening(points), self.closed)
        return torch.stack([opened, *(_ramp(*pair) for pair in pairs)]).amin(0) * finite

    def beside(self, reference_red: Tensor, reference_yaw: Tensor, points: Tensor, red: Tensor) -> Tensor:
        """The same beside a reference, (B,). red: the `redness` of the drawn lips, (B,); yaw: of the head."""
        lost = (reference_red - red) / reference_red.clamp_min(_PALE)
        away = (head_yaw(points) - reference_yaw).abs()
        return torch.minimum(_ramp(lost, self.covered), _ramp(away, self.turned))


def redness(crop: Tensor, distance: Tensor) -> Tensor:
    """How much redder lips are than the skin around, (B,): red less green of their mean colours, over the brightness of
    the crop (B, 3, 96, 96) in [-1, 1]. distance: its `lip_distance`.
    """
    rgb = ((crop + 1) / 2).clamp(0, 1)
    outer, inner = distance.unbind(1)
    red = rgb[:, 0] - rgb[:, 1]
    lips, skin = (outer < 0) & (inner > 0), (outer > _SKIN[0]) & (outer < _SKIN[1])
    over = [(red * part).sum((1, 2)) / part.sum((1, 2)).clamp_min(1) for part in (lips, skin)]
    return (over[0] - over[1]) / (3 * rgb.mean((1, 2, 3)).clamp_min(_DARK))


def _ramp(value: Tensor, pair: tuple[float, float]) -> Tensor:
    """1 at the pair's first, 0 at its second, linear between and level beyond."""
    full, shut = pair
    return ((value - shut) / (full - shut)).clamp(0, 1)


def head_yaw(points: Tensor) -> Tensor:
    """Of the head (B,), as in `Hints`."""
    return in_head(points[:, [_NOSE]], head_of(points))[:, 0, 0]


def _opening(points: Tensor) -> Tensor:
    """Of the inner lips (B,), in distances of the outer eye corners, as in `Hints`."""
    lips, eyes = points[:, _LOWER] - points[:, _UPPER], points[:, _RIGHT] - points[:, _LEFT]
    return lips.square().sum(1).sqrt() / eyes.square().sum(1).sqrt().clamp_min(1e-6)


def sane(points: Tensor) -> Tensor:
    """Landmarks that can be computed with whatever they were."""
    return points.float().nan_to_num(0.0).clamp(-_FAR, _FAR)
