"""The networks of `engine.NETWORKS` in torch: what the torch engine runs and what is exported for the other runtimes.

Each module takes its inputs in the order of its signature and gives its outputs so.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..interpolation import Interpolation, Keys, load_interpolation
from ..mouth import cut, feather, lip_distance, lip_planes, mouth_corner, teeth_shown
from ..precision import precision
from ..teeth import DEFAULT_WEIGHTS as TEETH_WEIGHTS
from ..teeth import LIVE as LIVE_TEETH
from ..teeth import Teeth, TeethConfig, load_teeth
from ..teeth_gate import GateConfig, head_yaw, redness, sane
from ..upsampler import LIVE, IdentityFeatures, Upsampler, UpsamplerConfig, load_upsampler

DETAIL = 1.6
"""By how much more the mouth's own detail is raised than training finds right, which weighs every pixel's error: chosen
on clips of people who were not trained on, where it gives sharpness for little PSNR."""


class StillGraph(nn.Module):
    """`still`."""

    def __init__(self, model: Upsampler) -> None:
        super().__init__()
        self.model = model

    def forward(self, picture: Tensor, low: Tensor, points: Tensor, has_points: Tensor) -> tuple[Tensor, ...]:
        identity = self.model.encode_stills(picture[:, None], low[:, None], points[:, None], has_points)
        return identity.kept().tensors()


class TickGraph(nn.Module):
    """`tick`."""

    def __init__(self, model: Upsampler) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, window: Tensor, mel: Tensor, hints: Tensor, has: Tensor, *identity: Tensor
    ) -> tuple[Tensor, Tensor]:
        out = self.model(IdentityFeatures(*identity), window, mel, hints, has, coarse=False)
        return out.picture, out.points


class TeethStillGraph(nn.Module):
    """`teeth_still`. reduced: the network runs in bfloat16, what is computed of landmarks does not."""

    def __init__(self, model: Teeth, gate: GateConfig, reduced: bool = False) -> None:
        super().__init__()
        self.model, self.gate, self.reduced = model, gate, reduced

    def forward(self, picture: Tensor, points: Tensor) -> tuple[Tensor, ...]:
        target = self.gate.target(points)
        points = sane(points)
        corner = mouth_corner(points)
        distance, crop = lip_distance(points, corner), cut(picture, corner)
        with precision(picture.device, self.reduced):
            reference = self.model.remember(crop, lip_planes(points, corner, distance))
        return reference, redness(crop, distance), head_yaw(points), teeth_shown(points, picture) * target


class MouthGraph(nn.Module):
    """`mouth`."""

    def __init__(self, gate: GateConfig) -> None:
        super().__init__()
        self.gate = gate

    def forward(
        self, picture: Tensor, points: Tensor, gate: Tensor, red: Tensor, yaw: Tensor, known: Tensor
    ) -> tuple[Tensor, ...]:
        target = self.gate.target(points)
        points = sane(points)
        corner = mouth_corner(points)
        distance, crop = lip_distance(points, corner), cut(picture, corner).clamp(-1, 1)
        beside = self.gate.beside(red, yaw, points, redness(crop, distance))
        target = torch.where(known > 0, torch.minimum(target, beside), target)
        step = self.gate.step
        now = torch.where(gate < 0, target, gate + (target - gate).clamp(-step, step))
        share = feather(points, corner, distance) * now[:, None, None, None]
        return crop, lip_planes(points, corner, distance), share, corner, now


class TeethGraph(nn.Module):
    """`teeth`, and `teeth_alone` without the reference. detail: factor of the part that is raised, 0 or more."""

    def __init__(self, model: Teeth, detail: float = DETAIL) -> None:
        super().__init__()
        self.model, self.detail = model, detail

    def forward(self, crop: Tensor, planes: Tensor, share: Tensor, reference: Tensor | None = None) -> Tensor:
        drawn, raised = self.model.parts(crop, planes, reference)
        return (drawn + self.detail * raised) * share


class InterpolationEncodeGraph(nn.Module):
    """`interpolation_encode`."""

    def __init__(self, model: Interpolation) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, times: Tensor, key_hints: Tensor, key_has: Tensor) -> Tensor:
        return self.model.encode(frames, times, key_hints, key_has).features


class InterpolationAtGraph(nn.Module):
    """`interpolation_at`."""

    def __init__(self, model: Interpolation) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        frames: Tensor,
        times: Tensor,
        key_hints: Tensor,
        key_has: Tensor,
        features: Tensor,
        at: Tensor,
        hints: Tensor,
        has: Tensor,
    ) -> Tensor:
        return self.model.at(Keys(frames, times, key_hints, key_has, features), at, hints, has)


def upsampler_graphs(path: Path | None = None, config: UpsamplerConfig = LIVE) -> dict[str, nn.Module]:
    """`still` and `tick` with weights from a safetensors file. Raises UserError."""
    model = load_upsampler(path, config)
    return {"still": StillGraph(model), "tick": TickGraph(model)}


def teeth_graphs(
    path: Path | None = None,
    config: TeethConfig = LIVE_TEETH,
    gate: GateConfig | None = None,
    detail: float = DETAIL,
    reduced: bool = False,
) -> dict[str, nn.Module]:
    """`teeth_still`, `mouth`, `teeth` and `teeth_alone` likewise."""
    model, gate = load_teeth(path or TEETH_WEIGHTS, config), gate or GateConfig()
    alone = TeethGraph(model, detail)
    return {
        "teeth_still": TeethStillGraph(model, gate, reduced),
        "mouth": MouthGraph(gate),
        "teeth": alone,
        "teeth_alone": alone,
    }


def interpolation_graphs(path: Path | None = None) -> dict[str, nn.Module]:
    """`interpolation_encode` and `interpolation_at` likewise."""
    model = load_interpolation(path)
    return {"interpolation_encode": InterpolationEncodeGraph(model), "interpolation_at": InterpolationAtGraph(model)}


def outputs(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a graph gave, always as a tuple."""
    return result if isinstance(result, tuple) else (result,)
