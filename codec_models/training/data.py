"""Windows of face clips as a call will see them.

A `Draw` holds every random decision of a batch; `WindowSampler.render` turns it into tensors on the device: the 8x8
pictures go through the bitstream's quantisers (`lattice.py`) with a few pictures of run-in, at 25 or 5 fps; bursts of
ticks are lost and held over; hints and voice are missing at random; stills come from anywhere in the clip, some through
a still codec, some as a poor camera has them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..bitstream.face import STEPS
from ..hint_measure import measured
from .augment import (
    lit,
    random_colours,
    random_transforms,
    random_voices,
    recoloured,
    revoiced,
    transformed,
    transformed_points,
)
from .corpus import MEL_BEFORE, SMALL, Corpus
from .degrade import Degradation, degraded
from .draws import Dice
from .lattice import dead_zone, decoded_hints, decoded_pictures, default_quality
from .windows import MEL_ROWS, WINDOW, Windows

SLOW = 5
"""Ticks between two pictures at 5 fps."""
RUN_IN = 3
"""Pictures coded before those of the window, so that it starts anywhere within the dead zone."""
CODED = WINDOW + RUN_IN
_CANDIDATES = 4


@dataclass(frozen=True, slots=True)
class WindowConfig:
    """telling: share of windows whose tick is the one of four in which eyes and mouth differ most from the still's: a
    blink is rare, and a call is full of them. Shares of windows at 5 fps, of those interpolated (else held), in the
    lean profile, with a burst of lost ticks, with hints, with voice, mirrored, lit from a side; shares of stills from
    the still codec, of stills as a poor camera shows them, of stills that were taken in another place and light than
    the window, and of stills without landmarks.
    """

    telling: float = 0.5
    slow: float = 0.25
    interpolated: float = 0.5
    lean: float = 0.3
    lost: float = 0.1
    hints: float = 0.8
    voice: float = 0.8
    mirror: float = 0.5
    side_light: float = 0.25
    stills: int = 3
    one_still: float = 0.6
    coded_still: float = 0.5
    poor_still: float = 0.2
    other_light: float = 0.35
    faceless: float = 0.08
    degradation: Degradation = field(default_factory=Degradation)


@dataclass(slots=True)
class Draw:
    """Every decision of a batch of B windows with S stills, on the CPU.

    clip, tick, phase, quality, held_from, held_to (B,) int64 (held ticks count from the window's first); stills, coded
    (B, S) int64: frame in the clip, slot of the pool or -1;
    zone (B,) in steps; slow, interpolated, lean, mirror (B,), poor, faceless (B, S) bool;
    given (B, 2) bool; place (B, 3, 3), voice (B, 3), colour (B, 3, 4), slope (B, 2), still_place (B, S, 3, 3),
    still_colour (B, S, 3, 4), or None without augmentation.
    """

    clip: Tensor
    tick: Tensor
    stills: Tensor
    coded: Tensor
    slow: Tensor
    interpolated: Tensor
    phase: Tensor
    quality: Tensor
    zone: Tensor
    lean: Tensor
    held_from: Tensor
    held_to: Tensor
    given: Tensor
    mirror: Tensor
    poor: Tensor
    faceless: Tensor
    place: Tensor | None = None
    voice: Tensor | None = None
    colour: Tensor | None = None
    slope: Tensor | None = None
    still_place: Tensor | None = None
    still_colour: Tensor | None = None


class WindowSampler:
    """Endless batches from a corpus. state() and load_state() make a resumed run draw what it would have drawn."""

    def __init__(self, corpus: Corpus, config: WindowConfig | None = None, seed: int = 0) -> None:
        self.corpus = corpus
        self.config = config or WindowConfig()
        self.dice = Dice(seed, corpus.device)
        clips = corpus.clips
        self._start = torch.tensor([c.start for c in clips])
        self._frames = torch.tensor([c.frames for c in clips])
        self._mel_start = torch.tensor([c.mel_start for c in clips])
        self._voiced = torch.tensor([c.voiced for c in clips])
        parts = torch.split(corpus.points, 8192)
        self._openings = torch.cat([measured(p)[:, [0, 2, 3]] for p in parts]).cpu() * torch.tensor([1.0, 2.0, 2.0])

    def batch(self, size: int, resolution: int = 256) -> Windows:
        """A random, augmented batch."""
        return self.render(self.draw(size), resolution)

    def draw(self, size: int) -> Draw:
        c, d = self.config, self.dice
        s = 1 if d.chance(c.one_still) else int(d.integers(1, c.stills + 1, 1))
        clip = d.choice(self.corpus.weight, size)
        frames = self._frames[clip]
        stills = d.below(frames, s)
        coded = torch.full((size, s), -1)
        for k, j in d.chances(c.coded_still, size, s).nonzero().tolist():
            pool = self.corpus.pool_frames[int(clip[k])]
            if pool:
                stills[k, j], coded[k, j] = pool[int(d.integers(0, len(pool), 1))]
        held_from = d.integers(-RUN_IN + 1, WINDOW, size)
        held_to = torch.where(d.chances(c.lost, size), held_from + d.integers(2, 9, size), held_from)
        lean = d.chances(c.lean, size)
        usual = d.chances(0.4, size)
        slow = d.chances(c.slow, size)
        quality, zone = default_quality(lean), dead_zone(lean, slow)
        mirror = d.chances(c.mirror, size)
        place = random_transforms(d, size, mirror=mirror)
        colour = random_colours(d, size)
        other = d.chances(c.other_light, size, s)[:, :, None, None].float()
        move = random_transforms(d, size * s, 0.35).view(size, s, 3, 3)
        tint = random_colours(d, size * s, 0.35).view(size, s, 3, 4)
        same = torch.eye(3)
        slope = d.uniform(-0.25, 0.25, size, 2) * d.chances(c.side_light, size)[:, None]
        base = colour[:, None]
        # The still's own tint comes on top of the window's colours.
        mixed = torch.cat([tint[..., :3] @ base[..., :3], tint[..., :3] @ base[..., 3:] + tint[..., 3:]], -1)
        return Draw(
            clip=clip,
            tick=self._tick(clip, frames, stills[:, 0]),
            stills=stills,
            coded=coded,
            slow=slow,
            interpolated=d.chances(c.interpolated, size),
            phase=d.integers(0, SLOW, size),
            quality=torch.where(usual, quality, (quality + d.integers(-3, 4, size)).clamp(0, len(STEPS) - 1)),
            zone=zone * torch.where(usual, 1.0, d.uniform(0.3, 1.4, size)),
            lean=lean,
            held_from=held_from,
            held_to=held_to,
            given=torch.stack([d.chances(c.hints, size), d.chances(c.voice, size)], 1),
            mirror=mirror,
            poor=d.chances(c.poor_still, size, s),
            faceless=d.chances(c.faceless, size, s),
            place=place,
            voice=random_voices(d, size),
            colour=colour,
            slope=slope,
            still_place=place[:, None] @ (other * move + (1 - other) * same),
            still_colour=other * mixed + (1 - other) * base,
        )

    def _tick(self, clip: Tensor, frames: Tensor, still: Tensor) -> Tensor:
        """Ticks (B,) of windows, some of them chosen for how eyes and mouth differ from the still's."""
        some = self.dice.below(frames, _CANDIDATES)
        start = self._start[clip]
        apart = (self._openings[start[:, None] + some] - self._openings[start + still][:, None]).abs().sum(2)
        best = torch.where(self.dice.chances(self.config.telling, len(clip)), apart.argmax(1), 0)
        return some.gather(1, best[:, None])[:, 0]

    def plain(self, clip: int, ticks: list[int], stills: list[int], slow: bool = False) -> Draw:
        """Windows of one clip for measuring: all of hints and voice, nothing lost, nothing changed."""
        b, s = len(ticks), len(stills)
        full = torch.zeros(b, dtype=torch.bool)
        return Draw(
            clip=torch.full((b,), clip),
            tick=torch.tensor(ticks),
            stills=torch.tensor(stills).expand(b, s),
            coded=torch.full((b, s), -1),
            slow=torch.full((b,), slow),
            interpolated=full.clone(),
            phase=torch.zeros(b, dtype=torch.long),
            quality=default_quality(full),
            zone=dead_zone(full, torch.full((b,), slow)),
            lean=full,
            held_from=torch.zeros(b, dtype=torch.long),
            held_to=torch.zeros(b, dtype=torch.long),
            given=torch.ones(b, 2, dtype=torch.bool),
            mirror=full.clone(),
            poor=torch.zeros(b, s, dtype=torch.bool),
            faceless=torch.zeros(b, s, dtype=torch.bool),
        )

    def render(self, draw: Draw, resolution: int) -> Windows:
        """A draw as tensors on the device; resolution 64, 128 or 256."""
        c, device = self.corpus, self.corpus.device
        b, s = draw.stills.shape
        start, frames = self._start[draw.clip], self._frames[draw.clip]
        low, source = self._low(draw, start, frames)
        points = torch.cat([draw.tick[:, None], draw.stills], 1) + start[:, None]
        pictures = c.pictures(points.flatten().to(device), resolution).view(b, 1 + s, 3, resolution, resolution)
        slots = draw.coded.flatten()
        if (slots >= 0).any():
            coded = c.pool[slots[slots >= 0].to(device)].float() / 127.5 - 1
            if resolution < coded.shape[-1]:
                coded = F.avg_pool2d(coded, coded.shape[-1] // resolution)
            mask = torch.cat([torch.zeros(b, 1, dtype=torch.bool), draw.coded >= 0], 1).to(device)
            pictures[mask] = coded
        marks = c.points[points.to(device)]
        if draw.place is not None and draw.still_place is not None:
            places = torch.cat([draw.place[:, None], draw.still_place], 1).to(device).flatten(0, 1)
            pictures = transformed(pictures.flatten(0, 1), places).view_as(pictures)
            marks = transformed_points(marks.flatten(0, 1), places).view_as(marks)
        if draw.colour is not None and draw.still_colour is not None and draw.slope is not None:
            colours = torch.cat([draw.colour[:, None], draw.still_colour], 1).to(device).flatten(0, 1)
            pictures = recoloured(pictures.flatten(0, 1), colours).view_as(pictures)
            truth = lit(pictures[:, 0], draw.slope.to(device))
        else:
            truth = pictures[:, 0]
        stills = pictures[:, 1:]
        if draw.poor.any():
            stills = stills.clone()
            poor = draw.poor.to(device)
            stills[poor] = degraded(stills[poor], self.dice, self.config.degradation)
        return self._windows(draw, start, low, source, stills, marks, truth)

    def render_small(self, draw: Draw) -> Windows:
        """A draw without its pictures, in a fraction of the time: `stills` has the size of the corpus's small frames,
        `picture` is empty.
        """
        c, device = self.corpus, self.corpus.device
        b, s = draw.stills.shape
        start, frames = self._start[draw.clip], self._frames[draw.clip]
        low, source = self._low(draw, start, frames)
        index = (torch.cat([draw.tick[:, None], draw.stills], 1) + start[:, None]).to(device)
        marks, stills = c.points[index], c.small[index[:, 1:].flatten()].float() / 127.5 - 1
        if draw.place is not None and draw.still_place is not None and draw.still_colour is not None:
            places = torch.cat([draw.place[:, None], draw.still_place], 1).to(device).flatten(0, 1)
            marks = transformed_points(marks.flatten(0, 1), places).view_as(marks)
            stills = transformed(stills, draw.still_place.to(device).flatten(0, 1))
            stills = recoloured(stills, draw.still_colour.to(device).flatten(0, 1))
        return self._windows(draw, start, low, source, stills.view(b, s, *stills.shape[1:]), marks, stills[:0])

    def _windows(
        self, draw: Draw, start: Tensor, low: Tensor, source: Tensor, stills: Tensor, marks: Tensor, truth: Tensor
    ) -> Windows:
        b, s = draw.stills.shape
        has = draw.given & torch.stack([torch.ones(b, dtype=torch.bool), self._voiced[draw.clip]], 1)
        there = has.to(low.device).float()
        return Windows(
            low=low,
            stills=stills,
            still_low=whole_levels(area(stills.flatten(0, 1))).view(b, s, 3, 8, 8) / 127.5 - 1,
            still_points=marks[:, 1:],
            still_found=(~draw.faceless).to(low.device).float(),
            mel=self._mel(draw, source) * there[:, 1, None, None],
            hints=self._hints(draw, start, source) * there[:, :1],
            has=there,
            picture=truth,
            points=marks[:, 0],
        )

    def _low(self, draw: Draw, start: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """8x8 window (B, 5, 3, 8, 8) in [-1, 1], and the tick that each of its places shows, (B, 5)."""
        c, device = self.corpus, self.corpus.device
        place = torch.arange(WINDOW)
        held = (place >= draw.held_from[:, None]) & (place < draw.held_to[:, None])
        ticks = draw.tick[:, None] + torch.where(held, draw.held_from[:, None] - 1, place) - (WINDOW - 1)
        # Pictures are coded every `every` ticks, the last of CODED at `newest`; a tick shows the one at or before it,
        # or at 5 fps and where both are known a mixture with the next.
        every = torch.where(draw.slow, SLOW, 1)[:, None]
        shown = ticks - torch.where(draw.slow[:, None], (ticks - draw.phase[:, None]) % SLOW, 0)
        mixed = draw.slow & draw.interpolated
        newest = shown.max(1, keepdim=True).values + torch.where(mixed[:, None], every, 0)
        first = CODED - 1 - (newest - shown) // every
        second = torch.where(mixed[:, None], first + 1, first).clamp(max=CODED - 1)
        share = torch.where(mixed[:, None], (ticks - shown) / SLOW, 0.0).to(device)[:, :, None, None, None]
        order = newest - every * torch.arange(CODED - 1, -1, -1)
        index = (order.clamp(min=0).minimum(frames[:, None] - 1) + start[:, None]).to(device)
        small = c.small[index].float() / 127.5 - 1
        b = len(index)
        if draw.place is not None:
            small = transformed(small.flatten(1, 2), draw.place.to(device)).view_as(small)
        if draw.colour is not None and draw.slope is not None:
            colours = draw.colour.to(device).repeat_interleave(CODED, 0)
            flat = recoloured(small.flatten(0, 1), colours)
            small = lit(flat, draw.slope.to(device).repeat_interleave(CODED, 0)).view_as(small)
        levels = whole_levels(area(small.flatten(0, 1))).view(b, CODED, 3, 8, 8)
        decoded = decoded_pictures(levels, draw.quality.to(device), draw.lean.to(device), draw.zone.to(device)).float()
        row = torch.arange(b, device=device)[:, None]
        low = decoded[row, first.to(device)] * (1 - share) + decoded[row, second.to(device)] * share
        return low / 127.5 - 1, ticks

    def _hints(self, draw: Draw, start: Tensor, source: Tensor) -> Tensor:
        """Hints (B, 12) of the tick shown last: they come with every tick, also at 5 fps."""
        device = self.corpus.device
        ticks = (source[:, -1:] - torch.arange(CODED - 1, -1, -1)).clamp(min=0) + start[:, None]
        points = self.corpus.points[ticks.to(device)]
        if draw.place is not None:  # the head's place and turn are those of the changed picture
            places = draw.place.to(device).repeat_interleave(CODED, 0)
            points = transformed_points(points.flatten(0, 1), places).view_as(points)
        return decoded_hints(measured(points))[:, -1]

    def _mel(self, draw: Draw, source: Tensor) -> Tensor:
        """Log-mels (B, 80, 16) in [-1, 1], up to the picture; silence where the voice of a held one is missing."""
        rows = self._mel_start[draw.clip][:, None] + 4 * draw.tick[:, None] + torch.arange(MEL_ROWS)
        mel = self.corpus.mel[rows.to(self.corpus.device)].float() / 127.5 - 1
        ticks = draw.tick[:, None] + torch.arange(1 - WINDOW, 1)
        if draw.voice is not None:
            mel = revoiced(mel.transpose(1, 2), draw.voice.to(mel.device)).transpose(1, 2)
        missing = (source != ticks)[:, 1:].repeat_interleave(4, 1).to(mel.device)
        return torch.where(missing[:, :, None], -1.0, mel).transpose(1, 2)


assert MEL_BEFORE == MEL_ROWS and SMALL % 8 == 0


def area(pictures: Tensor) -> Tensor:
    """Area average (K, C, R, R) -> (K, C, 8, 8)."""
    return F.avg_pool2d(pictures, pictures.shape[-1] // 8)


def whole_levels(pictures: Tensor) -> Tensor:
    """[-1, 1] -> 0 to 255, rounded as `area_8x8` does."""
    return ((pictures + 1) * 127.5 + 0.5).floor().clamp(0, 255)
