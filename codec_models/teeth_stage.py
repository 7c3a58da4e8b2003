"""The teeth stage in a call: a stateful predictor over the teeth network (hdtr-net), on the pictures of a stream.

A reference is made once a still; then every drawn picture has its mouth restored where the gate lets it. The gate, 0 to
1, falls where the network cannot know better than the upsampler, a step a tick so that nothing pops. It stays on the
device: nothing here waits for the other side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .bitstream.timing import PICTURE
from .hint_measure import head_of, in_head
from .landmarks import LIPS, POINTS
from .mouth import cut, feather, lip_distance, lip_planes, mouth_corner, put, teeth_shown
from .precision import precision, round_weights
from .teeth import DEFAULT_WEIGHTS, LIVE, TeethConfig, load_teeth

_OUTER = [POINTS.index(m) for m in LIPS[:20]]
_NOSE, _UPPER, _LOWER, _LEFT, _RIGHT = (POINTS.index(m) for m in (1, 13, 14, 33, 263))
_BETTER = 1.25
"""A reference is exchanged for one that shows teeth so much better: the mouth looks a little different after it."""
_SKIN = (4.0, 16.0)
"""Pixels from the outer lips between which there is skin to compare them with."""
_PALE = 0.04
"""Redness of lips below which they tell nothing: beards, make-up, grey pictures."""
_DARK = 0.03
DETAIL = 1.6
"""By how much more the mouth's own detail is raised than training finds right, which weighs every pixel's error: chosen
on clips of people who were not trained on, where it gives sharpness for little PSNR."""
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
        points = _sane(points)
        lips = (points[:, _OUTER] + 1) * (PICTURE / 2)
        low, high = lips.amin(1), lips.amax(1)
        width = (high - low)[:, 0]
        edge = torch.minimum(low.amin(1), PICTURE - high.amax(1))
        pairs = ((_yaw(points).abs(), self.yaw), (width, self.narrow), (width, self.wide), (edge, self.edge))
        opened = self.least + (1 - self.least) * _ramp(_opening(points), self.closed)
        return torch.stack([opened, *(_ramp(*pair) for pair in pairs)]).amin(0) * finite

    def beside(self, reference: Reference, points: Tensor, red: Tensor) -> Tensor:
        """The same beside a reference, (B,). red: the `redness` of the drawn lips, (B,)."""
        lost = (reference.redness - red) / reference.redness.clamp_min(_PALE)
        away = (_yaw(points) - reference.yaw).abs()
        return torch.minimum(_ramp(lost, self.covered), _ramp(away, self.turned))


@dataclass(frozen=True, slots=True)
class Reference:
    """A still's mouth. memory: of `Teeth.remember`; redness of its lips and yaw of its head, (1,); shown: how well
    it shows teeth, at least 0, lower where the gate would not be open.
    """

    memory: Tensor
    redness: Tensor
    yaw: Tensor
    shown: float


class TeethStage:
    """weights: safetensors of exactly the parameters of `config`; None for those that come with the program. detail:
    factor of the part that is raised, 0 or more.

    Runs inside the caller's `torch.inference_mode`. Raises UserError where the weights cannot be used.
    """

    def __init__(
        self,
        weights: Path | None = None,
        config: TeethConfig = LIVE,
        device: str = "cpu",
        bfloat16: bool = False,
        gate: GateConfig | None = None,
        detail: float = DETAIL,
    ) -> None:
        self.detail = detail
        self._device, self._bfloat16 = torch.device(device), bfloat16
        self._model = load_teeth(weights or DEFAULT_WEIGHTS, config).to(self._device)
        if bfloat16:
            round_weights(self._model)
        self._gate_config = gate or GateConfig()
        self._reference: Reference | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the stream, not the reference."""
        self._gate: Tensor | None = None

    @property
    def gate(self) -> Tensor | None:
        """(1,) in [0, 1] of the last tick, on the device; None before the first."""
        return self._gate

    @property
    def reference(self) -> Reference | None:
        """The one in use."""
        return self._reference

    def remember(self, picture: Tensor, points: Tensor) -> Reference:
        """Features of a still (1, 3, 256, 256) in [-1, 1] with its landmarks (1, 110, 2) in [-1, 1]; for `use`."""
        sane = _sane(points)
        corner = mouth_corner(sane)
        distance, crop = lip_distance(sane, corner), cut(picture.float(), corner)
        with precision(self._device, self._bfloat16):
            memory = self._model.remember(crop, lip_planes(sane, corner, distance))
        shown = teeth_shown(sane, picture) * self._gate_config.target(points)
        return Reference(memory, redness(crop, distance), _yaw(sane), float(shown))

    def use(self, references: Sequence[Reference]) -> None:
        """Choose the one that shows teeth best. The one in use stays while it is among them and nearly as good."""
        best = max(references, key=lambda r: r.shown, default=None)
        mine = self._reference
        kept = mine is not None and any(r is mine for r in references)
        if best is None or mine is None or not kept or best.shown > _BETTER * mine.shown:
            self._reference = best

    def restore(self, picture: Tensor, points: Tensor) -> Tensor:
        """The next tick: a drawn picture (1, 3, 256, 256) in [-1, 1] and its landmarks (1, 110, 2) -> a picture of the
        same shape with its mouth restored, or the same one where the gate is shut.

        The 8x8 average of the picture moves by a level or two at the most; to pull it back was found to make it worse.
        """
        gate, reference = self._gate_config, self._reference
        target = gate.target(points)
        points = _sane(points)
        corner = mouth_corner(points)
        distance, crop = lip_distance(points, corner), cut(picture, corner).clamp(-1, 1)
        if reference is not None:
            target = torch.minimum(target, gate.beside(reference, points, redness(crop, distance)))
        self._gate = target if self._gate is None else self._gate + (target - self._gate).clamp(-gate.step, gate.step)
        if self._device.type == "cpu" and not self._gate.any():
            return picture
        with precision(self._device, self._bfloat16):
            memory = None if reference is None else reference.memory
            drawn, raised = self._model.parts(crop, lip_planes(points, corner, distance), memory)
        share = feather(points, corner, distance) * self._gate[:, None, None, None]
        return put(picture, (drawn + self.detail * raised) * share, corner)


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


def _yaw(points: Tensor) -> Tensor:
    """Of the head (B,), as in `Hints`."""
    return in_head(points[:, [_NOSE]], head_of(points))[:, 0, 0]


def _opening(points: Tensor) -> Tensor:
    """Of the inner lips (B,), in distances of the outer eye corners, as in `Hints`."""
    lips, eyes = points[:, _LOWER] - points[:, _UPPER], points[:, _RIGHT] - points[:, _LEFT]
    return lips.square().sum(1).sqrt() / eyes.square().sum(1).sqrt().clamp_min(1e-6)


def _sane(points: Tensor) -> Tensor:
    """Landmarks that can be computed with whatever they were."""
    return points.float().nan_to_num(0.0).clamp(-_FAR, _FAR)
