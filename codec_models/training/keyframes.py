"""Stretches of face clips at 5 fps, as a call receives them: what frame interpolation is trained on.

A stretch is ten received frames (50 ticks): three of run-in, five for the network, one that comes next, and one more.
The 8x8 pictures have been through the bitstream's own encoder and decoder, not through a model of its quantisers as
those of the other trainings (`lattice.py`): what the network can gain is mostly the quantiser's noise, and one that had
learned the model's noise kept four fifths of its gain on the coder's. Some frames are lost. A clip is changed and coded
anew only once a round, and few rounds are learned by heart: give more where time is no matter.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..bitstream.face import FaceConfig, FaceDecoder, FaceEncoder
from ..errors import UserError
from ..hint_measure import HINTS, measured
from ..interpolation import Interpolation, Keys
from ..slow_stream import FRAMES, INTERVAL
from .augment import lit, random_colours, random_transforms, recoloured, transformed, transformed_points
from .corpus import Corpus
from .data import area, whole_levels
from .draws import Dice
from .lattice import decoded_hints

RECEIVED = 10
TICKS = RECEIVED * INTERVAL
NEWEST = 7
"""The frame that the network has just got; the next one comes after it."""
SHORTEST = (NEWEST + 1) * INTERVAL
"""Ticks that a clip must have; at its end the last frame of the rhythm stands still."""
_PART = 512


@dataclass(frozen=True, slots=True)
class StretchConfig:
    """rounds: how often every clip is coded; the first time as it is, then in another place and light, half of them
    mirrored. Shares of clips in the lean profile, in those further rounds, of stretches with hints, and of frames that
    are lost.
    """

    rounds: int = 2
    lean: float = 0.25
    hints: float = 0.75
    lost: float = 0.06


@dataclass(frozen=True, slots=True)
class Coded:
    """One round. frames (F, 3, 8, 8) uint8: of every frame of the corpus what is decoded where it is one of those that
    are sent; place (C, 3, 3), colour (C, 3, 4), slope (C, 2): how each clip was changed before.
    """

    frames: Tensor
    place: Tensor
    colour: Tensor
    slope: Tensor


@dataclass(frozen=True, slots=True)
class Stretches:
    """B stretches. frames (B, 10, 3, 8, 8) as decoded, arrived (B, 10) bool, hints (B, 50, 12) raw as decoded, has (B,)
    1 where they are given; truth (B, 50, 3, 8, 8), not quantised. Pictures in [-1, 1].
    """

    frames: Tensor
    arrived: Tensor
    hints: Tensor
    has: Tensor
    truth: Tensor

    def __len__(self) -> int:
        return len(self.frames)

    def keys(self, network: Interpolation, newest: int) -> Keys:
        """The last five frames that had arrived when frame `newest` came; times in ticks of the stretch."""
        b, device = len(self), self.frames.device
        order = torch.arange(RECEIVED, device=device).expand(b, -1)
        known = self.arrived & (order <= newest)
        latest = torch.where(known, order, -1).sort(1).values[:, -FRAMES:]
        # fewer than five: the oldest is taken to have stood before, as `SlowStream` does
        missing = (latest < 0).sum(1, keepdim=True)
        first = latest.masked_fill(latest < 0, RECEIVED).min(1, keepdim=True).values
        sooner = (missing - torch.arange(FRAMES, device=device)).clamp(min=0)
        latest = torch.where(latest < 0, first, latest)
        row = torch.arange(b, device=device)[:, None]
        hints = self.hints[row, INTERVAL * latest] * self.has[:, None, None]
        times = (INTERVAL * (latest - sooner)).to(self.frames.dtype)
        return network.encode(self.frames[row, latest], times, hints, self.has[:, None].expand(-1, FRAMES))

    def at(self, network: Interpolation, keys: Keys, ticks: Tensor) -> Tensor:
        """Frames (B, Q, 3, 8, 8) at ticks (Q,) of the stretch."""
        b = len(self)
        hints = self.hints[:, ticks] * self.has[:, None, None]
        has = self.has[:, None].expand(-1, len(ticks))
        return network.at(keys, ticks.to(self.frames.dtype).expand(b, -1), hints, has)


class StretchSampler:
    """Endless batches from a corpus without pictures. Codes its clips first: 1.5 ms a frame and round on a core.

    Raises UserError where all clips are too short.
    """

    def __init__(
        self,
        corpus: Corpus,
        config: StretchConfig | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.corpus, self.config, self.dice = corpus, config or StretchConfig(), Dice(seed, corpus.device)
        self._start = torch.tensor([c.start for c in corpus.clips])
        self._frames = torch.tensor([c.frames for c in corpus.clips])
        self._weight = corpus.weight * (self._frames >= SHORTEST)
        if not bool(self._weight.any()):
            raise UserError(f"no clip has {SHORTEST} frames or more: give longer ones")
        self._rounds = [self._code(k, progress) for k in range(self.config.rounds)]

    def _code(self, number: int, progress: Callable[[int, int], None]) -> Coded:
        c, d, clips = self.corpus, self.dice, len(self.corpus.clips)
        place, colour, slope = (
            torch.eye(3).expand(clips, 3, 3),
            torch.eye(3, 4).expand(clips, 3, 4),
            torch.zeros(clips, 2),
        )
        lean = torch.zeros(clips, dtype=torch.bool)
        if number:
            place = random_transforms(d, clips, mirror=d.chances(0.5, clips))
            colour, lean = random_colours(d, clips), d.chances(self.config.lean, clips)
            slope = d.uniform(-0.25, 0.25, clips, 2) * d.chances(0.3, clips)[:, None]
        changed = [t.to(c.device) for t in (place, colour, slope)]
        coded = Coded(torch.zeros(c.frames, 3, 8, 8, dtype=torch.uint8, device=c.device), *changed)
        owner = torch.repeat_interleave(torch.arange(clips), self._frames).to(c.device)
        levels = torch.cat(
            [self._truth(coded, owner[part], part) for part in torch.split(torch.arange(c.frames), _PART)]
        )
        pictures = whole_levels(levels).permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()
        tasks = [(pictures[k.start : k.start + k.frames], bool(lean[n])) for n, k in enumerate(c.clips)]
        # forked processes of a program that has threads can hang, so new ones
        with ProcessPoolExecutor(min(4, os.cpu_count() or 1), get_context("spawn")) as pool:
            for done, (clip, frames) in enumerate(zip(c.clips, pool.map(sent, tasks, chunksize=4), strict=True)):
                own = torch.from_numpy(frames).permute(0, 3, 1, 2).to(c.device)
                coded.frames[clip.start : clip.start + clip.frames] = own
                progress(number * clips + done + 1, self.config.rounds * clips)
        return coded

    def _truth(self, coded: Coded, clip: Tensor, index: Tensor) -> Tensor:
        """Area averages (K, 3, 8, 8) in [-1, 1] of frames (K,) of the corpus, changed as their clips (K,) are."""
        small = transformed(self.corpus.small[index].float() / 127.5 - 1, coded.place[clip])
        return area(lit(recoloured(small, coded.colour[clip]), coded.slope[clip]))

    def batch(self, size: int) -> Stretches:
        """Random stretches."""
        c, d, device = self.config, self.dice, self.corpus.device
        clip = d.choice(self._weight, size)
        first = d.below((self._frames[clip] - TICKS).clamp(min=0) + 1)
        coded = self._rounds[int(d.integers(0, len(self._rounds), 1))]
        arrived = ~d.chances(c.lost, size, RECEIVED).to(device)
        return self._render(coded, clip, first, arrived, d.chances(c.hints, size).to(device))

    def plain(self, clip: int, first: list[int]) -> Stretches:
        """Stretches of one clip that begin at ticks `first`, of the first round, for measuring."""
        yes = torch.ones(len(first), RECEIVED, dtype=torch.bool, device=self.corpus.device)
        return self._render(self._rounds[0], torch.full((len(first),), clip), torch.tensor(first), yes, yes[:, 0])

    def _render(self, coded: Coded, clip: Tensor, first: Tensor, arrived: Tensor, given: Tensor) -> Stretches:
        c, device, b = self.corpus, self.corpus.device, len(clip)
        ticks = first[:, None] + torch.arange(TICKS)
        ends = self._frames[clip][:, None] - 1
        last = ends - (ends - first[:, None]) % INTERVAL  # the last one of this rhythm
        sent_at = (ticks[:, ::INTERVAL].minimum(last) + self._start[clip][:, None]).to(device)
        index = (ticks.minimum(ends) + self._start[clip][:, None]).to(device)
        owner = clip.to(device).repeat_interleave(TICKS)
        truth = self._truth(coded, owner, index.flatten()).view(b, TICKS, 3, 8, 8)
        points = transformed_points(c.points[index.flatten()], coded.place[owner])
        hints = decoded_hints(measured(points).view(b, TICKS, HINTS))
        frames = coded.frames[sent_at].float() / 127.5 - 1
        return Stretches(frames, arrived, hints, given.to(frames.dtype), truth)


def sent(task: tuple[NDArray[np.uint8], bool]) -> NDArray[np.uint8]:
    """A clip's pictures (n, 8, 8, 3), whether the profile is lean -> what a decoder makes of each of them, each in the
    one stream of five that sends it.
    """
    pictures, lean = task
    decoded = np.empty_like(pictures)
    for phase in range(min(INTERVAL, len(pictures))):
        encoder, decoder = FaceEncoder(FaceConfig("lean" if lean else "full", fps=5, hints=False)), FaceDecoder()
        for k in range(phase, len(pictures)):
            shown = (k - phase) % INTERVAL == 0
            face = decoder.decode(encoder.encode(pictures[k] if shown else None))
            if face.picture is not None:
                decoded[k] = face.picture
    return decoded
