"""Landmark head: where the face outline, lips, eyes, brows, nose and irises are in the current tick."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from .audio_encoder import AudioEncoder
from .bitstream.timing import GRID
from .hint_measure import FACE, HEAD, HINTS, head_of, in_head, placed
from .landmarks import POINTS
from .layers import Residual, conv, quiet, unfolded

CONDITIONS = 2 * HINTS + 2
"""Normalised hints, their change against the still's, and the two flags: hints given, voice given."""
_SHAPE = Path(__file__).parent / "weights" / "face_shape.safetensors"
_REACH = 0.2
"""Unit of the head's answer in [-1, 1] coordinates: about a third of the distance of the eyes."""


class HintMotion(nn.Module):
    """Moves the landmarks of a still as the hints say: place, size and roll of the head exactly, openings, gaze and the
    turn of the head by a linear model measured on people, learned on from there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.basis = nn.Parameter(load_file(_SHAPE)["basis"])

    def forward(self, points: Tensor, change: Tensor) -> Tensor:
        """points (..., 110, 2) in [-1, 1], change (..., 12) of the raw hints -> moved points, float32."""
        with torch.autocast(points.device.type, enabled=False):
            points, change = points.float(), change.float()
            head = head_of(points)
            shape = in_head(points, head) + torch.einsum("...h,hpc->...pc", change[..., FACE], self.basis)
            return placed(shape, head + change[..., HEAD])


class LandmarkHead(nn.Module):
    """8x8 window, voice, hints and a still's landmarks -> landmarks now, once for every still.

    It has encoders of its own, small enough to see hundreds of thousands of windows in minutes without a picture being
    drawn (`training/landmarks.py`), which is what it takes to tell from 8x8 pixels where a head is.
    """

    def __init__(self, window: int, inner: int = 64, kept: int = 16, hidden: int = 384) -> None:
        super().__init__()
        self.motion = HintMotion()
        self.first = conv(3 * window + 3, inner)
        self.mix = nn.Sequential(*(Residual(inner) for _ in range(3)))
        self.keep = conv(inner, kept, 1)
        self.low = nn.Linear(GRID * GRID * kept, hidden)
        self.audio = AudioEncoder(inner, 1)
        self.voice = nn.Linear(self.audio.outputs, hidden, bias=False)
        self.still = nn.Linear(2 * len(POINTS) + CONDITIONS, hidden)
        self.head = nn.ModuleList(
            nn.Sequential(
                nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Dropout(0.1), quiet(nn.Linear(hidden, hidden), 0.3)
            )
            for _ in range(2)
        )
        self.step = quiet(nn.Linear(hidden, 2 * len(POINTS)), 0.3)

    def forward(
        self,
        low: Tensor,
        still_low: Tensor,
        still_points: Tensor,
        mel: Tensor,
        change: Tensor,
        condition: Tensor,
    ) -> Tensor:
        """low (B, T, 3, 8, 8) and still_low (B, S, 3, 8, 8) in [-1, 1], still_points (B, S, 110, 2), mel (B, 80, 16)
        in [-1, 1], change (B, S, 12) of the raw hints, condition (B, S, 26) whose last says whether there is a voice
        -> points (B, S, 110, 2) float32 in [-1, 1].
        """
        b, s = still_points.shape[:2]
        moved = 2 * (low[:, None] - still_low[:, :, None])
        x = torch.cat([moved.flatten(2, 3), still_low], 2).flatten(0, 1)
        x = F.silu(self.keep(self.mix(self.first(x))))
        voice = self.voice(self.audio(mel)) * condition[:, 0, -1:]
        own = self.still(torch.cat([still_points.flatten(2), condition], 2))
        y = unfolded(self.low(x.flatten(1)), (b, s)) + own + voice[:, None]
        for block in self.head:
            y = y + block(y)
        step = cast(Tensor, self.step(F.silu(y)))
        start = cast(Tensor, self.motion(still_points, change))
        return start + _REACH * step.float().reshape(start.shape)


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
