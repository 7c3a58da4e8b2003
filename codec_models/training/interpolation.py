"""Trains frame interpolation: `python -m codec_models.training interpolation --clips DIR --labels F --out DIR`.

Every form is trained at once, for they differ only in the ticks that are asked for: those between the frames of a
window, those between the two newest, those after the newest. A further term looks at the changes in the tick in
which a frame comes and in the next one: a prediction that is put right with a jerk every 200 ms is seen as a flicker.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..interpolation import Interpolation
from ..slow_stream import INTERVAL
from .average import follow
from .checkpoint import save_weights
from .draws import Dice
from .keyframes import NEWEST, SHORTEST, Stretches, StretchSampler
from .progress import Progress, training_line

WEIGHTS = "interpolation.safetensors"
_WARM_UP = 200
_CALM = 1e-5
"""Mean square, in [-1, 1] units, far below that of the quantiser (2e-4)."""
_BEGIN = (NEWEST - 4) * INTERVAL
_LAST, _NEXT = NEWEST * INTERVAL, (NEWEST + 1) * INTERVAL


@dataclass(frozen=True, slots=True)
class InterpolationRecipe:
    """minutes: of training; steps: end after so many instead, for tests. ahead: weight of ticks after the newest frame,
    far: of those that come when the next frame is lost, inside: of those within the window; jerk: of the
    changes in the tick in which a frame comes and in the next. The learning rate falls along half a cosine.
    """

    minutes: float = 15.0
    steps: int | None = None
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    ahead: float = 0.6
    far: float = 0.1
    inside: float = 0.3
    jerk: float = 0.2
    ema: float = 0.998
    evaluate_minutes: float = 3.0

    def rate(self, step: int, progress: float) -> float:
        """Learning rate at a step and share of the run."""
        falling = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.learning_rate * min(1.0, max((step + 1) / _WARM_UP, progress / 0.05)) * falling


@dataclass(frozen=True, slots=True)
class InterpolationFigures:
    """PSNR in dB on the ticks between received frames, means over clips; names as in `benchmarks/interpolation.py`."""

    hold: float
    linear: float
    live_0: float
    live_0_nohints: float
    live_1: float
    live_1_nohints: float
    window: float
    window_nohints: float


def losses(network: Interpolation, s: Stretches, recipe: InterpolationRecipe, dice: Dice) -> dict[str, Tensor]:
    """The weighted terms for a batch, on random ticks of every form."""
    device = s.truth.device

    def some(first: int, last: int, count: int) -> list[int]:
        return sorted((torch.randperm(last - first, generator=dice.generator)[:count] + first).tolist())

    # ticks that follow one another around the arrival of a frame: where a prediction is put right, and where one begins
    inside, recent = some(_BEGIN, _LAST - INTERVAL, 3), [*some(_LAST - INTERVAL, _LAST - 1, 2), _LAST - 1]
    ahead, far = [_LAST, _LAST + 1, *some(_LAST + 2, _NEXT - 1, 1), _NEXT - 1], some(_NEXT, _NEXT + INTERVAL, 1)
    asked = [*inside, *recent, *ahead, *far]
    made = dict(zip(asked, s.at(network, s.keys(network, NEWEST), _at(asked, device)).unbind(1), strict=True))
    asked = [_LAST, *some(_LAST + 1, _NEXT, 2), _NEXT, _NEXT + 1, *some(_NEXT + 2, _NEXT + INTERVAL, 1)]
    then = dict(zip(asked, s.at(network, s.keys(network, NEWEST + 1), _at(asked, device)).unbind(1), strict=True))

    def error(pairs: list[tuple[int, Tensor]]) -> Tensor:
        return apart(torch.stack([m for _, m in pairs], 1), s.truth[:, [k for k, _ in pairs]])

    def jerk(tick: int, now: dict[int, Tensor], before: dict[int, Tensor]) -> Tensor:
        change = s.truth[:, tick] - s.truth[:, tick - 1]
        return apart((now[tick] - before[tick - 1])[:, None], change[:, None])

    seams = jerk(_LAST, then, made) + jerk(_NEXT, then, made)
    starts = jerk(_LAST + 1, made, made) + jerk(_NEXT + 1, then, then)
    return {
        "between": error([(k, made[k]) for k in recent] + [(k, m) for k, m in then.items() if k < _NEXT]),
        "ahead": recipe.ahead * error([(k, made[k]) for k in ahead] + [(k, m) for k, m in then.items() if k >= _NEXT]),
        "far": recipe.far * error([(k, made[k]) for k in far]),
        "inside": recipe.inside * error([(k, made[k]) for k in inside]),
        "jerk": recipe.jerk * (seams + starts),
    }


def _at(ticks: list[int], device: torch.device) -> Tensor:
    return torch.tensor(ticks, device=device)


def apart(made: Tensor, truth: Tensor) -> Tensor:
    """Logarithm of the mean square over each stretch, mean over stretches: what a dB is worth in a calm one, where the
    quantiser's noise is all there is, it is worth in a lively one.
    """
    return (made - truth).square().mean((1, 2, 3, 4)).add(_CALM).log().mean() / 2


class InterpolationEvaluation:
    """Stretches spread over every clip of a sampler, the same every time."""

    def __init__(self, sampler: StretchSampler, each: int = 6) -> None:
        self._stretches = []
        for k, clip in enumerate(sampler.corpus.clips):
            last = clip.frames - SHORTEST
            if last >= 0:
                starts = sorted({int(k * last / (each - 1)) for k in range(each)})
                self._stretches.append(sampler.plain(k, starts))

    @torch.no_grad()
    def run(self, network: Interpolation) -> InterpolationFigures:
        rows = []
        for s in self._stretches:
            bare = dataclasses.replace(s, has=torch.zeros_like(s.has))
            step = torch.arange(1, INTERVAL)
            between, ahead = _LAST - INTERVAL + step, _LAST + step
            whole = torch.cat([_BEGIN + k * INTERVAL + step for k in range(5)])
            old, new = s.frames[:, NEWEST - 1, None], s.frames[:, NEWEST, None]
            row = [
                psnr(new.expand(-1, INTERVAL - 1, -1, -1, -1), s.truth[:, ahead]),
                psnr(torch.lerp(old, new, (step / INTERVAL).view(1, -1, 1, 1, 1)), s.truth[:, between]),
            ]
            for ticks in (ahead, between, whole):
                row += [psnr(x.at(network, x.keys(network, NEWEST), ticks), s.truth[:, ticks]) for x in (s, bare)]
            rows.append(row)
        return InterpolationFigures(*torch.tensor(rows).mean(0).tolist())


def psnr(made: Tensor, truth: Tensor) -> float:
    """In dB; pictures in [-1, 1]."""
    return float(-10 * ((made.clamp(-1, 1) - truth).square().mean() / 4 + 1e-12).log10())


def train_interpolation(
    network: Interpolation, sampler: StretchSampler, dev: StretchSampler | None, recipe: InterpolationRecipe, out: Path
) -> InterpolationFigures | None:
    """Train and write OUT/interpolation.safetensors, averaged weights (EMA); figures on dev go to OUT/figures.jsonl."""
    line = Progress()
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(
        network.parameters(), recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
    )
    evaluation = None if dev is None else InterpolationEvaluation(dev)
    line.say(f"{sampler.corpus.device}: {sum(p.numel() for p in network.parameters()) / 1e6:.3f} M parameters")

    def measure(step: int) -> InterpolationFigures | None:
        save_weights(out / WEIGHTS, average, {"network": "interpolation"})
        if evaluation is None:
            return None
        figures = evaluation.run(average)
        numbers = {k: round(v, 3) for k, v in dataclasses.asdict(figures).items()}
        with (out / "figures.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, **numbers}) + "\n")
        line.say(f"step {step}: " + ", ".join(f"{k} {v:.2f}" for k, v in numbers.items()))
        return figures

    begin = measured_at = time.monotonic()
    step, progress = 0, 0.0
    while progress < 1:
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step, progress)
        terms = losses(network, sampler.batch(recipe.batch), recipe, sampler.dice)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        norm = nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        if bool(torch.isfinite(norm)):
            optimiser.step()
        follow(average, network, recipe.ema, step)
        step += 1
        now = time.monotonic()
        progress = step / recipe.steps if recipe.steps else (now - begin) / (60 * recipe.minutes)
        if line.due:
            left = max(0.0, 60 * recipe.minutes - (now - begin))
            speed = step * recipe.batch / (now - begin)
            values = {k: float(v.detach()) for k, v in terms.items()}
            line.show(training_line(step, speed, left, recipe.rate(step, progress), 8, values))
        if progress < 1 and now - measured_at > 60 * recipe.evaluate_minutes:
            measure(step)
            measured_at = time.monotonic()
    return measure(step)
