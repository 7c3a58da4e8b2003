"""Landmark head: where the face outline, lips, eyes, brows, nose and irises are in the current tick."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .hint_measure import HINTS, eye_axis
from .landmarks import POINTS
from .layers import quiet

CONDITIONS = 2 * HINTS + 2
"""Normalised hints, their change against the still's, and the two flags: hints given, voice given."""
_SHAPE = Path(__file__).parent / "weights" / "face_shape.safetensors"
_REACH = 0.2
"""Unit of the head's answer in [-1, 1] coordinates: about a third of the distance of the eyes."""


class HintMotion(nn.Module):
    """Moves the landmarks of a still as the hints say: a linear model measured on people, learned on from there."""

    def __init__(self) -> None:
        super().__init__()
        self.basis = nn.Parameter(load_file(_SHAPE)["basis"])

    def forward(self, points: Tensor, change: Tensor) -> Tensor:
        """points (..., 110, 2), change (..., 6) of the raw hints -> moved points, float32."""
        with torch.autocast(points.device.type, enabled=False):
            points = points.float()
            step = torch.einsum("...h,hpc->...pc", change.float(), self.basis)
            axis = eye_axis(points)[..., None, :]
            x = step[..., 0] * axis[..., 0] - step[..., 1] * axis[..., 1]
            y = step[..., 0] * axis[..., 1] + step[..., 1] * axis[..., 0]
            return points + torch.stack([x, y], -1)


class LandmarkHead(nn.Module):
    """8x8 features, voice, hints and a still's landmarks -> landmarks now, once for every still."""

    def __init__(self, channels: int, audio: int, hidden: int = 256) -> None:
        super().__init__()
        self.motion = HintMotion()
        self.low = nn.Linear(64 * channels, hidden)
        self.audio = quiet(nn.Linear(audio, hidden, bias=False))
        self.still = nn.Linear(2 * len(POINTS) + CONDITIONS, hidden)
        self.head = nn.Sequential(
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2 * len(POINTS)),
        )

    def forward(self, x: Tensor, audio: Tensor, still_points: Tensor, change: Tensor, condition: Tensor) -> Tensor:
        """x (B, c, 8, 8), audio (B, n) zero where missing, still_points (B, S, 110, 2), change (B, S, 6) of the raw
        hints, condition (B, S, 14) -> points (B, S, 110, 2) float32 in [-1, 1].
        """
        own = self.still(torch.cat([still_points.flatten(2), condition], 2))
        step = self.head(own + (self.low(x.flatten(1)) + self.audio(audio))[:, None])
        start = cast(Tensor, self.motion(still_points, change))
        return start + _REACH * cast(Tensor, step).float().reshape(start.shape)


class StillLandmarks(nn.Module):
    """A guess of the landmarks of a still that came without: the average face, moved by what the still looks like."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(load_file(_SHAPE)["mean"])
        self.pool = nn.AvgPool2d(4)
        self.head = nn.Sequential(nn.Linear(16 * channels, 128), nn.SiLU(), quiet(nn.Linear(128, 2 * len(POINTS))))

    def forward(self, features: Tensor) -> Tensor:
        """features (B, c, 16, 16) -> points (B, 110, 2) float32 in [-1, 1]."""
        step = cast(Tensor, self.head(self.pool(features).flatten(1)))
        return self.mean + _REACH * step.float().reshape(-1, len(POINTS), 2)
