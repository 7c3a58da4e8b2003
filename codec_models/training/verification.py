"""Are two faces of the same person? How well an embedding tells it, on people whom it has not seen.

Pairs of one person come in three kinds, from the easy to the telling one: two moments of a clip, two clips of one
recording (same camera, room and light), two recordings. Each is set against all pairs of two people. Where one face of
a pair is changed (compressed, relit), the other is not: it stands for what is known of the person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import UserError
from .aligned_faces import as_bytes, as_floats, cut_faces, frames_of, relit
from .corpus import ClipRow
from .draws import Dice
from .labels import Labels
from .losses import luma

PLAIN, RELIT = "plain", "relit"
KINDS = ("moments", "clips", "recordings")
"""Of pairs of one person: of one clip, two seconds apart or more; of two clips of a recording; of two recordings."""
FRAMES, FIRST, EVERY = 80, 5, 10
"""Of a clip at most so many frames are read, and from the first on every tenth is a face of the set."""
_APART = 50
_STUDIOS = ("GRID", "TCD-TIMIT", "MEAD")
"""Data sets whose recordings of a person are all of one place and one day."""
_MOST_CLIPS = 4

Change = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.uint8]]
"""Frames (n, 256, 256, 3) and their landmarks (n, 110, 2) in picture fractions -> frames as something leaves them."""


def recording_of(row: ClipRow) -> str:
    """Clips that are parts of one recording are called X_00, X_01 and so on."""
    name, _, part = row.path.stem.rpartition("_")
    return name if name and part.isdigit() else row.path.stem


def held_out(rows: list[ClipRow], most: int) -> tuple[list[ClipRow], list[ClipRow]]:
    """(to learn from, to measure on): at most `most` people who were recorded more than once, and not in one studio.

    Of each at most four clips are measured, of as many recordings as possible; their others are left out.
    """
    recordings = defaultdict(set)
    for row in rows:
        if row.dataset not in _STUDIOS:
            recordings[row.identity].add(recording_of(row))
    several = sorted((p for p, names in recordings.items() if len(names) > 1), key=lambda p: crc32(p.encode()))
    chosen = set(several[:most])
    turns: dict[tuple[str, str], int] = defaultdict(int)
    keyed: dict[str, list[tuple[int, str, ClipRow]]] = defaultdict(list)
    for row in rows:
        if row.identity in chosen:
            name = recording_of(row)
            keyed[row.identity].append((turns[row.identity, name], row.path.stem, row))
            turns[row.identity, name] += 1
    measured = [row for theirs in keyed.values() for _, _, row in sorted(theirs, key=lambda t: t[:2])[:_MOST_CLIPS]]
    return [row for row in rows if row.identity not in chosen], measured


@dataclass(frozen=True, slots=True)
class FaceSet:
    """faces: name of a change -> (N, 3, 64, 64) uint8, "plain" the unchanged ones, "relit" those in other colours and
    other light; person, recording, clip: numbers of them, and tick, each (N,).
    """

    faces: dict[str, Tensor]
    person: Tensor
    recording: Tensor
    clip: Tensor
    tick: Tensor

    def __len__(self) -> int:
        return len(self.person)

    @property
    def people(self) -> int:
        return len(torch.unique(self.person))


def face_set(
    rows: list[ClipRow],
    labels: Labels,
    changes: Mapping[str, Change] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FaceSet:
    """Faces of clips. Changed ones are cut where the landmarks of the unchanged frames are. Raises UserError."""
    faces: dict[str, list[Tensor]] = defaultdict(list)
    numbers: list[tuple[str, str, int, int]] = []
    for k, row in enumerate(rows):
        progress(k + 1, len(rows))
        points = labels.of(row.path)
        frames = None if points is None else frames_of(row.path, most=min(FRAMES, len(points)))
        if points is None or frames is None or len(frames) <= FIRST:
            continue
        points = points[: len(frames)]
        ticks = slice(FIRST, None, EVERY)
        where = torch.from_numpy(points[ticks] * 2 - 1)
        for name, change in {PLAIN: _unchanged, **(changes or {})}.items():
            shown = change(frames, points)[ticks]
            faces[name].append(as_bytes(cut_faces(as_floats(shown), where)))
        numbers += [(row.identity, recording_of(row), k, tick) for tick in range(len(frames))[ticks]]
    if not numbers:
        raise UserError("no clip to measure on has landmarks: check that the labels belong to these clips")
    cut = {name: torch.cat(parts) for name, parts in faces.items()}
    cut[RELIT] = as_bytes(relit(cut[PLAIN].float() / 127.5 - 1, Dice(0, torch.device("cpu"))))
    people, recordings, clips, at = zip(*numbers, strict=True)
    return FaceSet(cut, _numbered(people), _numbered(recordings), torch.tensor(clips), torch.tensor(at))


def _unchanged(frames: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.uint8]:
    return frames


def _numbered(names: tuple[str, ...]) -> Tensor:
    order = {name: k for k, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([order[name] for name in names])


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of one person, of one kind. auc: the share of cases in which such a pair is more alike than one of two
    people; eer: the share of errors at the threshold where both kinds of error are equally frequent; cosine: mean.
    """

    people: int
    pairs: int
    auc: float
    eer: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Verification:
    """others, spread: mean and standard deviation of the cosine of two people, None where there is one only; own: mean
    cosine of a changed face with the same one unchanged; kinds: those of `KINDS` that there are.
    """

    others: float | None
    spread: float | None
    own: float
    kinds: dict[str, Pairs]


@torch.no_grad()
def embeddings(embed: Callable[[Tensor], Tensor], faces: Tensor) -> Tensor:
    """Unit vectors (N, D) of faces (N, 3, 64, 64) uint8."""
    device = next(embed.parameters()).device if isinstance(embed, nn.Module) else faces.device
    return torch.cat([embed(part.to(device).float() / 127.5 - 1).cpu() for part in torch.split(faces, 64)])


def verify(embed: Callable[[Tensor], Tensor], faces: FaceSet, change: str = PLAIN) -> Verification:
    """Figures of pairs of a changed and an unchanged face."""
    known = embeddings(embed, faces.faces[PLAIN])
    asked = known if change == PLAIN else embeddings(embed, faces.faces[change])
    alike = asked @ known.T

    def same(numbers: Tensor) -> Tensor:
        return numbers[:, None] == numbers[None]

    person, recording, clip = same(faces.person), same(faces.recording), same(faces.clip)
    apart = (faces.tick[:, None] - faces.tick[None]).abs() >= _APART
    masks = (clip & apart, person & recording & ~clip, person & ~recording)
    others = alike[~person]
    kinds = {}
    for name, mask in zip(KINDS, masks, strict=True):
        if bool(mask.any()) and len(others):
            auc, eer = separation(alike[mask], others)
            people = len(torch.unique(faces.person[mask.any(1)]))
            kinds[name] = Pairs(people, int(mask.sum()), auc, eer, float(alike[mask].mean()))
    mean, spread = (float(others.mean()), float(others.std())) if len(others) else (None, None)
    return Verification(mean, spread, float(alike.diagonal().mean()), kinds)


def verify_all(embed: Callable[[Tensor], Tensor], faces: FaceSet) -> dict[str, Verification]:
    """Name of a change -> figures; and "pixels": those of unchanged faces without the network."""
    return {change: verify(embed, faces, change) for change in faces.faces} | {"pixels": verify(pixels, faces)}


def told(found: Verification) -> str:
    """One line."""
    kinds = [f"{name} AUC {p.auc:.3f} EER {p.eer:.3f} cosine {p.cosine:.2f}" for name, p in found.kinds.items()]
    two = [] if found.others is None else [f"two people {found.others:.2f} +- {found.spread:.2f}"]
    return "; ".join([*kinds, *two, f"itself {found.own:.2f}"])


def separation(same: Tensor, others: Tensor) -> tuple[float, float]:
    """AUC (ties count half) and equal error rate of the scores (P,) of pairs of one person and (M,) of two people."""
    mine, theirs = same.double().sort().values, others.double().sort().values
    below = torch.searchsorted(theirs, mine) + torch.searchsorted(theirs, mine, right=True)
    auc = float(below.double().mean()) / (2 * len(theirs))
    thresholds = torch.cat([mine, theirs])
    missed = torch.searchsorted(mine, thresholds).double() / len(mine)
    let_in = 1 - torch.searchsorted(theirs, thresholds).double() / len(theirs)
    best = int((missed - let_in).abs().argmin())
    return auc, float(missed[best] + let_in[best]) / 2


def pixels(faces: Tensor) -> Tensor:
    """What needs no network, to compare with: faces (N, 3, 64, 64) as unit vectors of their 32x32 grey levels."""
    grey = F.avg_pool2d(luma(faces), 2)
    return F.normalize((grey - grey.mean((2, 3), keepdim=True)).flatten(1), dim=1)
