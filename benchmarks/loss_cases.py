"""What the upsampler is given at the measured ticks of a clip, as a receiver has it and without any coding."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from codec_models.bitstream.face import FaceConfig, area_8x8
from codec_models.bitstream.still import IdentityStill, decode_still, encode_still
from codec_models.bitstream.timing import GRID
from codec_models.errors import UserError
from codec_models.landmarks import BROWS, NOSE, OUTLINE, POINTS, eye_distance
from codec_models.mel import normalised
from codec_models.network import WINDOW, StreamState
from sender.still_policy import View, drift

from .clips import Clip
from .ours import code_faces

FIRST = 12
"""First tick that may be measured: the state is full, and the still is half a second old."""
PER_CLIP = 10
SPREAD = (1, 3, 5)
"""Numbers of stills that are tried, at equal distances from the clip's start on."""
APART = 5
"""Ticks by which a measured picture is away from each of them."""
CANDIDATES, NEAR_APART = 12, 10
"""For the still that is nearest in pose: pictures to choose from, and ticks that it must be away."""
_RIGID = [POINTS.index(m) for m in (*OUTLINE, *BROWS, *NOSE)]


@dataclass(frozen=True, slots=True)
class Given:
    """Inputs of B ticks as `Upsampler.forward` has them: low (B, 5, 3, 8, 8), mel (B, 80, 16), hints (B, 12), has
    (B, 2).
    """

    low: Tensor
    mel: Tensor
    hints: Tensor
    has: Tensor

    def without(self, hints: bool = False, voice: bool = False) -> Given:
        """The same with hints, voice or both missing."""
        return Given(self.low, self.mel, self.hints, self.has * torch.tensor([float(not hints), float(not voice)]))


@dataclass
class Case:
    """A clip's measured ticks. decoded, exact: what the network is given after the bitstream, and without it; frames
    (B, 256, 256, 3) and points (B, 110, 2) in picture fractions: the truth; first: the tick of the still; drifts (B,):
    how far each picture is from it, as the sender's still policy has it, 1 being its limit.
    """

    clip: Clip
    ticks: list[int]
    decoded: Given
    exact: Given
    first: int
    drifts: NDArray[np.float64]
    _coded: dict[int, IdentityStill] = field(default_factory=dict)

    @property
    def frames(self) -> NDArray[np.uint8]:
        return self.clip.frames[self.ticks]

    @property
    def points(self) -> NDArray[np.float32]:
        return self.clip.points[self.ticks]

    def still(self, tick: int, coded: bool = True) -> IdentityStill:
        """The picture of a tick as a still, through the still codec or as it is."""
        raw = IdentityStill(self.clip.frames[tick], self.clip.points_at(tick))
        if not coded:
            return raw
        if tick not in self._coded:
            self._coded[tick] = decode_still(encode_still(raw))
        return self._coded[tick]

    def spread(self, count: int) -> list[int]:
        """The ticks of `count` stills."""
        return spread(self.clip, count)

    def nearest(self) -> list[int]:
        """For each measured tick the candidate whose rigid landmarks lie nearest, root mean square in eye distances."""
        faces = _faces(self.clip)
        candidates = sorted({faces[int(k)] for k in np.linspace(0, len(faces) - 1, CANDIDATES)})
        chosen = []
        for tick, points in zip(self.ticks, self.points, strict=True):
            away = [c for c in candidates if abs(c - tick) >= NEAR_APART] or [self.first]
            apart = [_rigid_distance(self.clip.points[c], points) for c in away]
            chosen.append(away[int(np.argmin(apart))])
        return chosen


def make_case(clip: Clip, every: int | None = None) -> Case:
    """every: ticks between two measured ones, None for about `PER_CLIP` in all. Raises UserError where there is too
    little of a face to measure.
    """
    faces = _faces(clip)
    if len(faces) < 2:
        raise UserError(f"no face is found in {clip.name}: choose a clip of a face")
    ticks = measured_ticks(clip, every)
    if not ticks:
        raise UserError(f"{clip.name} has too few pictures with a face: choose a longer clip")
    stream = code_faces(clip, FaceConfig())
    state, wanted, parts = StreamState(), set(ticks), []
    for k, (face, voice) in enumerate(zip(stream.ticks, clip.voice, strict=True)):
        state.push(face, voice)
        if k in wanted:
            has = np.array([state.hints.known, 1.0])
            parts.append((np.stack(state.window), normalised(state.rows).T.copy(), state.hints.values.copy(), has))
    decoded = Given(*(torch.from_numpy(np.stack(part).astype(np.float32)) for part in zip(*parts, strict=True)))
    hints = np.array([astuple(h) for t in ticks if (h := clip.hints_at(t)) is not None], np.float32)
    exact = Given(
        torch.stack([exact_window(clip.frames, t) for t in ticks]),
        decoded.mel,
        torch.from_numpy(hints),
        torch.ones(len(ticks), 2),
    )
    views = {t: View(area_8x8(clip.frames[t]), 0.0, clip.points_at(t), None) for t in {*ticks, faces[0]}}
    drifts = np.array([drift(views[faces[0]], views[t]) for t in ticks])
    return Case(clip, ticks, decoded, exact, faces[0], drifts)


def measured_ticks(clip: Clip, every: int | None) -> list[int]:
    """Ticks with a face, `every` apart or moved to the nearest one that is not too near any of the spread stills."""
    stills = {s for count in SPREAD for s in spread(clip, count)}
    allowed = [t for t in _faces(clip) if t >= FIRST and all(abs(t - s) >= APART for s in stills)]
    if not allowed:
        return []
    step = every or max(1, round((len(clip.frames) - FIRST) / PER_CLIP))
    wanted = range(FIRST, len(clip.frames), step)
    return sorted({min(allowed, key=lambda t: abs(t - w)) for w in wanted})


def spread(clip: Clip, count: int) -> list[int]:
    """Ticks of `count` stills at equal distances, each the nearest one with a face."""
    faces = _faces(clip)
    wanted = [faces[0] + k * (len(clip.frames) - faces[0]) / count for k in range(count)]
    return sorted({min(faces, key=lambda t: abs(t - w)) for w in wanted})


def exact_window(frames: NDArray[np.uint8], tick: int) -> Tensor:
    """The window (5, 3, 8, 8) of area averages that are neither rounded nor coded."""
    shown = frames[[max(tick - k, 0) for k in reversed(range(WINDOW))]]
    return F.avg_pool2d(unit(shown), shown.shape[1] // GRID)


def unit(pictures: NDArray[np.uint8]) -> Tensor:
    """(B, n, n, 3) uint8 -> (B, 3, n, n) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).astype(np.float32)) / 127.5 - 1


def _faces(clip: Clip) -> list[int]:
    return [int(t) for t in np.flatnonzero(~np.isnan(clip.points).any((1, 2)))]


def _rigid_distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    apart: NDArray[np.float32] = a[_RIGID] - b[_RIGID]
    return float(np.sqrt(np.square(apart).sum(-1).mean()) / max(float(eye_distance(b)), 1e-6))
