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
_NOSE = POINTS.index(1)
_BETTER = 1.25
"""A reference is exchanged for one that shows teeth so much better: the mouth looks a little different after it."""
_FAR = 2.0
"""Landmarks farther from the middle than this, in [-1, 1] units, are no face."""


@dataclass(frozen=True, slots=True)
class GateConfig:
    """Each pair: where the gate begins to fall, and where it is shut; in between linear, and the least of all holds.

    yaw: of the head, either way, units of `Hints`. narrow, wide: width of the outer lips, pixels; a wide one leaves the
    crop. edge: pixels between the outer lips and the picture's edge. step: change of the gate a tick, at most.
    """

    yaw: tuple[float, float] = (0.35, 0.5)
    narrow: tuple[float, float] = (20.0, 12.0)
    wide: tuple[float, float] = (78.0, 90.0)
    edge: tuple[float, float] = (6.0, 0.0)
    step: float = 0.125

    def target(self, points: Tensor) -> Tensor:
        """Where the gate tends to with landmarks (B, 110, 2) in [-1, 1]: (B,) in [0, 1], 0 where they are no face."""
        finite = torch.isfinite(points).all(2).all(1) & (points.abs().amax((1, 2)) < _FAR)
        points = _sane(points)
        lips = (points[:, _OUTER] + 1) * (PICTURE / 2)
        low, high = lips.amin(1), lips.amax(1)
        width = (high - low)[:, 0]
        edge = torch.minimum(low.amin(1), PICTURE - high.amax(1))
        yaw = in_head(points[:, [_NOSE]], head_of(points))[:, 0, 0].abs()
        pairs = ((yaw, self.yaw), (width, self.narrow), (width, self.wide), (edge, self.edge))
        ramps = [((value - shut) / (full - shut)).clamp(0, 1) for value, (full, shut) in pairs]
        return torch.stack(ramps).amin(0) * finite


@dataclass(frozen=True, slots=True)
class Reference:
    """A still's mouth as the network has it. memory: of `Teeth.remember`; shown: how well it shows teeth, at least 0,
    lower where the gate would not be open.
    """

    memory: Tensor
    shown: float


class TeethStage:
    """weights: safetensors of exactly the parameters of `config`; None for those that come with the program.

    Runs inside the caller's `torch.inference_mode`. Raises UserError where the weights cannot be used.
    """

    def __init__(
        self,
        weights: Path | None = None,
        config: TeethConfig = LIVE,
        device: str = "cpu",
        bfloat16: bool = False,
        gate: GateConfig | None = None,
    ) -> None:
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
        with precision(self._device, self._bfloat16):
            memory = self._model.remember(cut(picture.float(), corner), lip_planes(sane, corner))
        shown = teeth_shown(sane, picture) * self._gate_config.target(points)
        return Reference(memory, float(shown))

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
        """
        target, step = self._gate_config.target(points), self._gate_config.step
        self._gate = target if self._gate is None else self._gate + (target - self._gate).clamp(-step, step)
        if self._device.type == "cpu" and not self._gate.any():
            return picture
        points = _sane(points)
        corner = mouth_corner(points)
        distance = lip_distance(points, corner)
        planes = lip_planes(points, corner, distance)
        memory = None if self._reference is None else self._reference.memory
        with precision(self._device, self._bfloat16):
            change = self._model(cut(picture, corner).clamp(-1, 1), planes, memory)
        share = feather(points, corner, distance) * self._gate[:, None, None, None]
        return put(picture, change * share, corner)


def _sane(points: Tensor) -> Tensor:
    """Landmarks that can be computed with whatever they were."""
    return points.float().nan_to_num(0.0).clamp(-_FAR, _FAR)
