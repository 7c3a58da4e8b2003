"""Trains the upsampler's landmark head alone: `python -m codec_models.training landmarks --clips DIR --labels F ...`.

No picture is drawn, so a CPU core sees some seven hundred windows a second where the whole upsampler sees eight. From
8x8 pixels alone it takes hundreds of thousands of windows to tell where a head is; the upsampler's own training then
leaves the head as it is.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..hint_measure import measured
from ..landmarks import EYES, LIPS
from ..upsampler import Upsampler, hint_condition
from .average import follow
from .checkpoint import save_weights
from .data import WindowSampler
from .draws import Dice
from .evaluation import correlation
from .face_points import AT, eye_distance
from .losses import opening_loss, point_loss
from .progress import Progress, training_line
from .windows import Windows

_LIPS, _EYES = [AT[p] for p in LIPS], [AT[p] for p in EYES]
_WARM_UP = 100
_DEV_TICKS = 60


@dataclass(frozen=True, slots=True)
class LandmarkRecipe:
    """minutes: of training; steps: end after so many instead, for tests. openings: weight of the loss on openings of
    mouth and lids, beside that on distances; unhinted_mouth: of a further one on the mouth where no hint tells it.
    rough: windows get noise and holes and the head drops more of its features, which keeps it from learning the few
    hundred people by heart: slower, but the mouth then follows a strange voice better (0.40 against 0.34), while
    without hints the rest of the face lies a little further off. The learning rate falls along half a cosine.
    """

    minutes: float = 15.0
    steps: int | None = None
    batch: int = 256
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    openings: float = 3.0
    unhinted_mouth: float = 0.0
    rough: bool = False
    ema: float = 0.998
    evaluate_minutes: float = 3.0

    def rate(self, step: int, progress: float) -> float:
        """Learning rate at a step and share of the run."""
        falling = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.learning_rate * min(1.0, (step + 1) / _WARM_UP) * falling


@dataclass(frozen=True, slots=True)
class LandmarkFigures:
    """Means over clips, the first frame the still. Distances in distances of the outer eye corners, correlations of
    the openings over a clip. Plain: with hints and voice; voice: with the voice alone; bare: with neither.
    """

    distance: float
    lips: float
    eyes: float
    mouth: float
    lids: float
    voice: float
    voice_lips: float
    voice_mouth: float
    bare: float
    bare_mouth: float
    bare_lids: float
    still: float


def head_points(network: Upsampler, w: Windows) -> Tensor:
    """Landmarks (B, 110, 2) that the head finds in windows, mean over their stills."""
    change, condition = hint_condition(w.hints, w.has, measured(w.still_points))
    points: Tensor = network.landmarks(w.low, w.still_low, w.still_points, w.mel, change, condition)
    return points.mean(1)


class LandmarkEvaluation:
    """Ticks spread over every clip of a sampler, the same every time."""

    def __init__(self, sampler: WindowSampler) -> None:
        self._windows = []
        for k, clip in enumerate(sampler.corpus.clips):
            ticks = np.unique(np.linspace(min(12, clip.frames - 1), clip.frames - 1, _DEV_TICKS).astype(int))
            self._windows.append(sampler.render_small(sampler.plain(k, ticks.tolist(), [0])))

    @torch.no_grad()
    def run(self, network: Upsampler) -> LandmarkFigures:
        rows = []
        for w in self._windows:
            unit, truth = eye_distance(w.points)[:, None], measured(w.points)
            voiced = bool(w.has[0, 1])
            cases = [head_points(network, x) for x in (w, w.bare(voice=True), w.bare())]
            apart = [(p - w.points).norm(dim=-1) / unit for p in cases]
            mouth, mouth_voice, mouth_bare = (correlation(measured(p)[:, 0], truth[:, 0]) for p in cases)
            lids, _, lids_bare = (correlation(measured(p)[:, 2:4].sum(1), truth[:, 2:4].sum(1)) for p in cases)
            still = (w.still_points[:, 0] - w.points).norm(dim=-1) / unit
            rows.append(
                LandmarkFigures(
                    distance=float(apart[0].mean()),
                    lips=float(apart[0][:, _LIPS].mean()),
                    eyes=float(apart[0][:, _EYES].mean()),
                    mouth=_or_nan(mouth),
                    lids=_or_nan(lids),
                    voice=float(apart[1].mean()) if voiced else math.nan,
                    voice_lips=float(apart[1][:, _LIPS].mean()) if voiced else math.nan,
                    voice_mouth=_or_nan(mouth_voice) if voiced else math.nan,
                    bare=float(apart[2].mean()),
                    bare_mouth=_or_nan(mouth_bare),
                    bare_lids=_or_nan(lids_bare),
                    still=float(still.mean()),
                )
            )
        table = np.array([dataclasses.astuple(row) for row in rows], np.float64)
        known = ~np.isnan(table)
        means = np.where(known, table, 0).sum(0) / np.maximum(known.sum(0), 1)
        return LandmarkFigures(*np.where(known.any(0), means, np.nan).tolist())


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def roughened(w: Windows, dice: Dice) -> Windows:
    """8x8 frames with an error of their own, a noise and holes that show the still; voices with a noise."""
    b, device = len(w), w.low.device
    few = [dice.uniform(0, 1, b, 1, 1, 1, 1).to(device) for _ in range(2)]

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=dice.device_generator, device=device)

    low = w.low + 0.03 * few[0] * noise(b, 1, *w.low.shape[2:]) + 0.01 * few[1] * noise(*w.low.shape)
    holed = dice.chances(0.6, b, 1, 1, 1, 1)
    holes = (dice.chances(0.12, b, 1, 1, *w.low.shape[3:]) & holed).to(device)
    low = torch.where(holes, w.still_low[:, :1].expand_as(low), low)
    return dataclasses.replace(w, low=low, mel=w.mel + 0.05 * noise(*w.mel.shape) * w.has[:, 1, None, None])


def _drop_more(head: nn.Module, share: float = 0.3) -> None:
    """Raise the head's own dropout and drop features of picture and voice too, while it trains."""
    drop = nn.Dropout(share)

    def dropped(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (drop(inputs[0]),) if module.training else inputs

    for module in head.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
    for name in ("low", "voice"):
        head.get_submodule(name).register_forward_pre_hook(dropped)


def train_landmarks(
    network: Upsampler, sampler: WindowSampler, dev: WindowSampler | None, recipe: LandmarkRecipe, out: Path, name: str
) -> LandmarkFigures | None:
    """Train `network.landmarks` and write the whole network as OUT/upsampler_NAME.safetensors, with averaged weights
    (EMA) of the head, which the network has too in the end; figures on dev go to OUT/figures.jsonl.
    """
    line = Progress()
    network.requires_grad_(False)
    head = network.landmarks.requires_grad_(True)
    average = copy.deepcopy(network).eval()
    if recipe.rough:
        _drop_more(head)
    optimiser = torch.optim.AdamW(
        head.parameters(), recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
    )
    evaluation = None if dev is None else LandmarkEvaluation(dev)
    count = sum(p.numel() for p in head.parameters())
    line.say(f"{sampler.corpus.device}: {count / 1e6:.2f} M parameters of the landmark head")

    def measure(step: int, progress: float) -> LandmarkFigures | None:
        save_weights(out / f"upsampler_{name}.safetensors", average, {"network": "upsampler", "config": name})
        if evaluation is None:
            return None
        figures = evaluation.run(average)
        numbers = {k: round(v, 4) for k, v in dataclasses.asdict(figures).items()}
        with (out / "figures.jsonl").open("a") as file:
            file.write(json.dumps({"landmark step": step, **numbers}) + "\n")
        line.say(f"step {step}, {100 * progress:.0f} %: " + ", ".join(f"{k} {v:.3f}" for k, v in numbers.items()))
        return figures

    begin = measured_at = time.monotonic()
    step, progress = 0, 0.0
    while progress < 1:
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step, progress)
        w = sampler.render_small(sampler.draw(recipe.batch))
        if recipe.rough:
            w = roughened(w, sampler.dice)
        points = head_points(network, w)
        distance, openings = point_loss(points, w.points), recipe.openings * opening_loss(points, w.points)
        mouth = (measured(points)[:, 0] - measured(w.points)[:, 0]).abs() * (1 - w.has[:, 0])
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(distance + openings + recipe.unhinted_mouth * mouth.mean())
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        follow(average.landmarks, head, recipe.ema, step)
        step += 1
        now = time.monotonic()
        progress = step / recipe.steps if recipe.steps else (now - begin) / (60 * recipe.minutes)
        if line.due:
            terms = {"points": float(distance.detach()), "openings": float(openings.detach())}
            left = max(0.0, 60 * recipe.minutes - (now - begin))
            speed = step * recipe.batch / (now - begin)
            line.show(training_line(step, speed, left, recipe.rate(step, progress), 8, terms))
        if progress < 1 and now - measured_at > 60 * recipe.evaluate_minutes:
            measure(step, progress)
            measured_at = time.monotonic()
    head.load_state_dict(average.landmarks.state_dict())
    return measure(step, 1.0)
