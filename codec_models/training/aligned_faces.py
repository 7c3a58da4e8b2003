"""Faces cut out of pictures, upright, in one place and one size, as face recognition takes them.

Five points (the middles of the lids, the tip of the nose, the corners of the mouth) are laid upon those of a usual face
by a turn, a size and a shift, the nearest in least squares. The square reaches from above the brows to the chin and not
much beyond the cheeks: hair, clothes and walls tell a clip, not a person.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..errors import UserError
from ..landmarks import EYES
from .augment import random_colours, random_transforms, recoloured
from .corpus import SIDE, ClipRow
from .degrade import Degradation, degraded
from .draws import Dice
from .face_points import AT
from .labels import Labels

FACE = 64
"""Side of a cut face in samples."""
KEPT, MARGIN = 80, 1.25
"""Side of the crops that are kept to learn from, and what they reach beyond a cut face."""
_HALF, _DOWN = 1.15, 0.68
"""Half the side of a cut face, and how far its middle lies below that of the eyes, in distances of the eyes."""
_USUAL = ((-0.5, 0.0), (0.5, 0.0), (0.0, 0.63), (-0.395, 1.1), (0.395, 1.1))
"""Eyes, nose, corners of the mouth from the middle of the eyes: means over frontal faces of 422 training clips."""
_LIDS = [AT[p] for p in EYES[:6]], [AT[p] for p in EYES[6:]]
_OTHERS = [AT[p] for p in (1, 61, 291)]


def places(points: Tensor) -> Tensor:
    """Where cut faces lie: maps (N, 2, 3) from their coordinates to the picture's, both in [-1, 1].

    points (N, 110, 2): landmarks in [-1, 1].
    """
    found = torch.stack([points[:, lids].mean(1) for lids in _LIDS], 1)
    found = torch.cat([found, points[:, _OTHERS]], 1)
    usual = (found.new_tensor(_USUAL) - found.new_tensor([0.0, _DOWN])) / _HALF
    middle, mean = found.mean(1), usual.mean(0)
    a, b = found - middle[:, None], usual - mean
    size = b.square().sum()
    cos, sin = (a * b).sum((1, 2)) / size, (a[..., 1] * b[:, 0] - a[..., 0] * b[:, 1]).sum(1) / size
    turn = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    return torch.cat([turn, (middle - turn @ mean)[:, :, None]], 2)


def cut_faces(pictures: Tensor, points: Tensor, side: int = FACE, reach: float = 1.0) -> Tensor:
    """Faces (N, 3, side, side) of pictures (N, 3, R, R) in [-1, 1] with landmarks (N, 110, 2) in [-1, 1].

    reach: of the square, in sides of a cut face. Each sample is the mean of four bilinear ones; beyond the picture's
    edges are their nearest pixels.
    """
    where = places(points)
    where = torch.cat([where[:, :, :2] * reach, where[:, :, 2:]], 2)
    grid = F.affine_grid(where, [len(points), 3, 2 * side, 2 * side], align_corners=False)
    seen = F.grid_sample(pictures, grid.to(pictures.dtype), padding_mode="border", align_corners=False)
    return F.avg_pool2d(seen, 2)


def frames_of(path: Path, every: int = 1, most: int | None = None) -> NDArray[np.uint8] | None:
    """Every `every`-th frame (n, 256, 256, 3) RGB, of the first `most`; None where none of that size can be read."""
    frames = []
    try:
        with av.open(str(path)) as container:
            for k, frame in enumerate(container.decode(video=0)):
                if (frame.width, frame.height) != (SIDE, SIDE):
                    return None
                if k == most:
                    break
                if k % every == 0:
                    frames.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
    except (av.FFmpegError, OSError):
        return None
    return np.stack(frames) if frames else None


def as_floats(frames: NDArray[np.uint8]) -> Tensor:
    """Frames (n, H, W, 3) -> pictures (n, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2) / 127.5 - 1


class AlignedFaces:
    """Faces of clips as bytes: crops (N, 3, 80, 80), with a margin to move in; person (N,): of which of `people`;
    weight (N,): every person counts the same, and every clip of one.
    """

    def __init__(
        self,
        rows: list[ClipRow],
        labels: Labels,
        device: torch.device,
        every: int = 8,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.device = device
        crops, clips = [], []
        for k, row in enumerate(rows):
            progress(k + 1, len(rows))
            points = labels.of(row.path)
            frames = None if points is None else frames_of(row.path, every, len(points))
            if points is None or frames is None:
                continue
            where = torch.from_numpy(points[::every][: len(frames)] * 2 - 1)
            crops.append(as_bytes(cut_faces(as_floats(frames), where, KEPT, MARGIN)))
            clips.append(row.identity)
        if not crops:
            raise UserError("no clip has landmarks: check that the labels belong to these clips")
        self.people = sorted(set(clips))
        self.crops = torch.cat(crops).to(device)
        counts = torch.tensor([len(c) for c in crops])
        self.person = torch.tensor([self.people.index(p) for p in clips]).repeat_interleave(counts)
        takes = torch.bincount(torch.tensor([self.people.index(p) for p in clips])).float()
        self.weight = 1 / (takes[self.person] * counts.repeat_interleave(counts))

    def __len__(self) -> int:
        return len(self.crops)


def as_bytes(pictures: Tensor) -> Tensor:
    return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True, slots=True)
class FaceChanges:
    """How faces are changed: the clips of a person share camera, light and codec, which are not to be learned.

    doubles: people made of each by bending the face, the same way every time: they share all that a clip tells of
    camera, light and place, so that only the face is left to tell them apart. double: standard deviation of how far 5x5
    points of a face lie off in them, both halves alike; bend: of that of any face; turn, nod: how far the middle of any
    face is shifted against its edges, as when a head turns. All in halves of a face's side.
    strength: of turns, sizes, shifts, as in `augment.random_transforms`. untouched: share whose quality is left as it
    is; group: faces that lose the same kinds of it; quality: what they lose. shade: standard deviation of the logarithm
    of light at 3x3 points. covered: share that is partly covered.
    """

    doubles: int = 1
    double: float = 0.04
    bend: float = 0.012
    turn: float = 0.1
    nod: float = 0.05
    strength: float = 0.5
    untouched: float = 0.4
    group: int = 8
    quality: Degradation = field(
        default_factory=lambda: Degradation(6.0, shrink=4.5, noise=12.0, jpeg=(8, 80), share=0.5, second_round=0.25)
    )
    colours: float = 1.0
    gamma: float = 0.4
    shade: float = 0.3
    covered: float = 0.35


class IdentitySampler:
    """Draws changed faces and whose they are."""

    def __init__(self, faces: AlignedFaces, changes: FaceChanges = FaceChanges(), seed: int = 0) -> None:
        self.faces, self.dice = faces, Dice(seed, faces.device)
        self._changes = changes
        whole = torch.randn(self.people, 2, 5, 5, generator=self.dice.generator) * changes.double
        mirrored = whole.flip(-1) * torch.tensor([-1.0, 1.0])[:, None, None]
        self._doubles = (whole + mirrored) / math.sqrt(2)
        self._doubles[:: changes.doubles + 1] = 0

    @property
    def people(self) -> int:
        """With the doubles: person k of the faces is k (doubles + 1), and the numbers behind it are his doubles."""
        return len(self.faces.people) * (self._changes.doubles + 1)

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Faces (count, 3, 64, 64) in [-1, 1] and persons (count,), below `people`."""
        dice, how, device = self.dice, self._changes, self.faces.device
        index = dice.choice(self.faces.weight, count)
        person = self.faces.person[index] * (how.doubles + 1) + dice.integers(0, how.doubles + 1, count)
        x = self.faces.crops[index.to(device)].float() / 127.5 - 1
        worse = round((1 - how.untouched) * count)
        groups = torch.split(x[:worse], how.group) if worse else ()
        x = torch.cat([*(degraded(part, dice, how.quality) for part in groups), x[worse:]])
        moves = random_transforms(dice, count, how.strength, dice.chances(0.5, count))
        moves[:, :, :2] /= MARGIN
        moves[:, 2, :2] = 0
        grid = F.affine_grid(moves[:, :2], [count, 3, FACE, FACE], align_corners=False)
        grid = (grid + self._bent(self._doubles[person]) / MARGIN).to(device)
        x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
        return self._covered(relit(x, dice, how)), person.to(device)

    def _bent(self, offsets: Tensor) -> Tensor:
        """How far each sample lies off, (n, 64, 64, 2), with offsets of 5x5 points (n, 2, 5, 5)."""
        dice, how, n = self.dice, self._changes, len(offsets)
        offsets = offsets + torch.randn(offsets.shape, generator=dice.generator) * how.bend
        smooth = F.interpolate(offsets, size=(FACE, FACE), mode="bicubic", align_corners=True)
        at = (torch.arange(FACE) + 0.5) / FACE * 2 - 1
        across = dice.uniform(-how.turn, how.turn, n, 1, 1) * (1 - at**2)
        down = dice.uniform(-how.nod, how.nod, n, 1, 1) * (1 - at**2)[:, None]
        return smooth.movedim(1, 3) + torch.stack([across.expand(n, FACE, FACE), down.expand(n, FACE, FACE)], 3)

    def _covered(self, x: Tensor) -> Tensor:
        dice, n, device = self.dice, len(x), x.device
        middle = dice.uniform(-1, 1, n, 2)
        half = dice.uniform(0.1, 0.45, n, 2) * dice.chances(self._changes.covered, n, 1)
        colour = dice.uniform(-1, 1, n, 3).to(device)
        at = (torch.arange(FACE) + 0.5) / FACE * 2 - 1
        across, down = ((at - middle[:, k, None]).abs() < half[:, k, None] for k in (0, 1))
        hidden = (down[:, None, :, None] & across[:, None, None, :]).to(device)
        return torch.where(hidden, colour[:, :, None, None], x)


def relit(faces: Tensor, dice: Dice, how: FaceChanges = FaceChanges()) -> Tensor:
    """Faces (N, 3, R, R) in [-1, 1] in other colours and other light."""
    n, device = len(faces), faces.device
    x = recoloured(faces, random_colours(dice, n, how.colours).to(device))
    gamma = torch.exp(dice.uniform(-how.gamma, how.gamma, n)).to(device)
    points = (torch.randn(n, 1, 3, 3, generator=dice.generator) * how.shade).to(device)
    light = F.interpolate(points, size=faces.shape[-2:], mode="bicubic", align_corners=True).exp()
    return (((x + 1) / 2 + 1e-4) ** gamma[:, None, None, None] * light * 2 - 1).clamp(-1, 1)
