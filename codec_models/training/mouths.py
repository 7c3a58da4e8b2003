"""Mouths as the upsampler draws them, beside the true ones and a reference: what the teeth network learns from.

Windows of clips go through the trained upsampler, and the crops are kept as bytes, some 85 kB a sample: to draw them
takes ten times as long as to learn from them. The clips are read a part at a time, so that they need little memory.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..hint_measure import measured
from ..mouth import MOUTH, cut, mouth_corner, teeth_shown
from ..upsampler import IdentityFeatures, Upsampler
from .corpus import ClipRow, Corpus
from .data import Draw, WindowConfig, WindowSampler
from .labels import Labels
from .windows import Windows

PART = 120
"""Clips in memory at once."""
_TRIES = 6
"""Frames among which one is looked for that shows the mouth open."""


@dataclass(frozen=True, slots=True)
class MouthConfig:
    """samples: of the pool. ticks: of the same clip and still, which is encoded once. open: share of the windows chosen
    for an open mouth; better: share of those with a second still, an open mouth too, from which the better is taken.

    The place is never changed: a resampled truth would be a soft one. Mirrored are the crops, while training.
    """

    samples: int = 16000
    ticks: int = 4
    batch: int = 16
    open: float = 0.5
    better: float = 0.35
    windows: WindowConfig = field(
        default_factory=lambda: WindowConfig(
            telling=0.0, slow=0.1, lost=0.05, hints=0.9, mirror=0.0, one_still=1.0, poor_still=0.05, other_light=0.4
        )
    )


@dataclass(frozen=True, slots=True)
class Mouths:
    """N samples. drawn, truth, reference (N, 3, 96, 96) uint8; points: of the drawn mouth, as predicted, and
    reference_points (N, 110, 2) in [-1, 1]; corner, reference_corner (N, 2) int64: where the crops were cut.
    """

    drawn: Tensor
    truth: Tensor
    reference: Tensor
    points: Tensor
    reference_points: Tensor
    corner: Tensor
    reference_corner: Tensor

    def __len__(self) -> int:
        return len(self.drawn)

    def take(self, index: Tensor | slice) -> Mouths:
        return Mouths(*(getattr(self, f.name)[index] for f in fields(self)))

    def save(self, path: Path) -> None:
        """As .npz, so that a crash leaves the old file or the new."""
        partial = path.with_suffix(".partial.npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(partial, **{f.name: getattr(self, f.name).cpu().numpy() for f in fields(self)})
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> Mouths:
        """Raises UserError where the file is no pool."""
        crops = (3, MOUTH, MOUTH)
        shapes = {"drawn": crops, "truth": crops, "reference": crops, "points": (110, 2), "reference_points": (110, 2)}
        try:
            with np.load(path) as stored:
                found = {f.name: torch.from_numpy(stored[f.name]) for f in fields(cls)}
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as e:
            raise UserError(f"{path} is not a pool of mouths: remove it, and it is made anew") from e
        count = len(found["drawn"])
        if not count or any(tuple(t.shape) != (count, *shapes.get(name, (2,))) for name, t in found.items()):
            raise UserError(f"{path} is a pool of mouths of another kind: remove it, and it is made anew")
        return cls(**found)

    @classmethod
    def together(cls, parts: list[Mouths]) -> Mouths:
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))


class Harvest:
    """Draws windows with a trained upsampler and keeps their mouths."""

    def __init__(self, network: Upsampler, sampler: WindowSampler, config: MouthConfig, bfloat16: bool = True) -> None:
        self._network = network.eval()
        self._sampler, self._config, self._bfloat16 = sampler, config, bfloat16
        self._openings = torch.cat([measured(p)[:, 0] for p in torch.split(sampler.corpus.points, 8192)]).cpu()

    def batch(self) -> Mouths:
        """Random ones: `batch` windows, `ticks` of each still."""
        c, d = self._config, self._sampler.dice
        count = max(1, c.batch // c.ticks)
        draw = self._sampler.draw(count)
        # a second still, of an open mouth, which only the teeth see
        for name in ("stills", "coded", "poor", "faceless", "still_colour"):
            one = getattr(draw, name)
            setattr(draw, name, torch.cat([one, one], 1))
        better = d.chances(c.better, count)
        draw.stills[:, 1] = torch.where(better, self._open(draw.clip), draw.stills[:, 0])
        draw.coded[:, 1] = torch.where(better, -1, draw.coded[:, 0])
        draw.place = draw.still_place = None
        many = _repeated(draw, c.ticks)
        ticks = d.below(self._frames(many.clip))
        many.tick = torch.where(d.chances(c.open, len(ticks)), self._open(many.clip), ticks)
        w = self._sampler.render(many, 256)
        return self._mouths(w, self._drawn(w, c.ticks), self._reference(w))

    def plain(self, clip: int, ticks: list[int]) -> Mouths:
        """Given ticks of one clip for measuring, pairs of neighbours: the second is cut out where the first is."""
        w = self._sampler.render(self._sampler.plain(clip, ticks, [0]), 256)
        return self._mouths(w, self._drawn(w, len(ticks)), (w.stills[:, 0], w.still_points[:, 0]), pairs=True)

    def _frames(self, clip: Tensor) -> Tensor:
        return torch.tensor([self._sampler.corpus.clips[k].frames for k in clip.tolist()])

    def _open(self, clip: Tensor) -> Tensor:
        """The one of a few frames (B,) of each clip with the widest open mouth."""
        some = self._sampler.dice.below(self._frames(clip), _TRIES)
        start = torch.tensor([self._sampler.corpus.clips[k].start for k in clip.tolist()])
        return some.gather(1, self._openings[start[:, None] + some].argmax(1, keepdim=True))[:, 0]

    def _drawn(self, w: Windows, ticks: int) -> tuple[Tensor, Tensor]:
        """What the upsampler makes of windows, `ticks` in a row with the same first still: pictures and landmarks."""
        with torch.inference_mode(), torch.autocast(w.low.device.type, torch.bfloat16, enabled=self._bfloat16):
            stills = (t[::ticks, :1] for t in (w.stills, w.still_low, w.still_points, w.still_found))
            identity = self._network.encode_stills(*stills)
            if ticks > 1:
                identity = IdentityFeatures(*(t.repeat_interleave(ticks, 0) for t in identity.tensors()))
            made = self._network(identity, w.low, w.mel, w.hints, w.has, coarse=False)
        return made.picture.float().clamp(-1, 1), made.points.float()

    def _reference(self, w: Windows) -> tuple[Tensor, Tensor]:
        """The still (B, 3, 256, 256) that shows teeth best, and its landmarks."""
        shown = torch.stack([teeth_shown(w.still_points[:, k], w.stills[:, k]) for k in range(w.stills.shape[1])], 1)
        best, row = shown.argmax(1), torch.arange(len(shown), device=shown.device)
        return w.stills[row, best], w.still_points[row, best]

    def _mouths(
        self, w: Windows, drawn: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor], pairs: bool = False
    ) -> Mouths:
        picture, points = drawn
        corner, own = mouth_corner(points), mouth_corner(reference[1])
        if pairs:
            corner = corner[::2].repeat_interleave(2, 0)[: len(points)]
        crops = (cut(picture, corner), cut(w.picture, corner), cut(reference[0], own))
        kept = (((c + 1) * 127.5).round().clamp(0, 255).to(torch.uint8) for c in crops)
        found = (*kept, points, reference[1], corner, own)
        return Mouths(*(t.cpu().clone() for t in found))


def _repeated(draw: Draw, count: int) -> Draw:
    """Each window of a draw `count` times in a row."""
    parts: dict[str, Any] = {f.name: getattr(draw, f.name) for f in fields(Draw)}
    parts = {name: None if t is None else t.repeat_interleave(count, 0) for name, t in parts.items()}
    return Draw(**parts)


def harvest(
    network: Upsampler,
    rows: list[ClipRow],
    labels: Labels,
    config: MouthConfig,
    seed: int = 0,
    bfloat16: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Mouths:
    """A pool of `config.samples` from the clips of `rows`, drawn as often as their number of frames allows for."""
    device = next(network.parameters()).device
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    parts = [order[k :: -(-len(rows) // PART)] for k in range(-(-len(rows) // PART))]
    pool: list[Mouths] = []
    done = 0
    for k, part in enumerate(parts):
        source = None  # the last part's clips go before these come
        corpus = Corpus([rows[i] for i in part], labels, device)
        source = Harvest(network, WindowSampler(corpus, config.windows, seed + k), config, bfloat16)
        del corpus
        until = round(config.samples * sum(map(len, parts[: k + 1])) / len(rows))
        while done < until:
            pool.append(source.batch().take(slice(until - done)))
            done += len(pool[-1])
            progress(done, config.samples)
    return Mouths.together(pool)


def harvest_pairs(network: Upsampler, corpus: Corpus, pairs: int = 12, bfloat16: bool = True) -> Mouths:
    """Pairs of neighbouring ticks spread over every clip, plain windows with the first frame as the still."""
    source = Harvest(network, WindowSampler(corpus), MouthConfig(), bfloat16)
    pool = []
    for k, clip in enumerate(corpus.clips):
        first = np.unique(np.linspace(min(12, clip.frames - 2), clip.frames - 2, pairs).astype(int)).tolist()
        for some in (first[:8], first[8:]):
            if some:
                pool.append(source.plain(k, [t for tick in some for t in (tick, tick + 1)]))
    return Mouths.together(pool)
