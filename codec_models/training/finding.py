"""Trains the network that finds landmarks: `python -m codec_models.training face-points --clips DIR --labels F ...`.

Each step learns from what it is given: step 2 is sent to the heads that step 1 has found in half of the pictures and to
true ones, jittered, in the others; step 3 likewise. So all learn from the first batch on, and from the errors that they
will meet.
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
import torch.nn.functional as F
from torch import Tensor, nn

from ..face_points import HEAD_SCALE, LEFT_EYE, MOUTH, OFFSET, RIGHT_EYE, Block, FacePoints
from ..hint_measure import head_of, in_head, measured, placed
from .average import follow
from .checkpoint import save_weights
from .draws import Dice
from .evaluation import correlation
from .face_points import eye_distance
from .face_views import FacePool, Faces, FaceSampler
from .losses import point_loss
from .progress import Progress, training_line

WEIGHTS = "face_points.safetensors"
_TRUSTED = 0.15
"""Landmarks of step 2 count as found where they are nearer than this on the average, in distances of the outer eye
corners."""
_HINTS = torch.tensor([2.0, 1.0, 4.0, 4.0, 0.7, 0.7, 1.0, 1.0, 0.7, 0.7, 0.7, 0.7])
"""Weights of the hints in the loss: an eye opens by a fifth of what a mouth does."""


@dataclass(frozen=True, slots=True)
class FindingRecipe:
    """minutes: of training; steps: end after so many instead, for tests. hints: weight of the loss on hints beside that
    on distances; confidence: of that on whether there is a face. own: share of the faces in which a step is sent to
    where the one before it has looked. The learning rate rises for warm_up steps and falls along half a cosine.
    """

    minutes: float = 50.0
    steps: int | None = None
    batch: int = 48
    learning_rate: float = 2e-3
    warm_up: int = 300
    weight_decay: float = 1e-2
    hints: float = 1.0
    confidence: float = 0.05
    own: float = 0.5
    ema: float = 0.999
    evaluate_minutes: float = 5.0

    def rate(self, step: int, progress: float) -> float:
        """Learning rate at a step and share of the run."""
        falling = 0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up) * falling


@dataclass(frozen=True, slots=True)
class FindingFigures:
    """Means over clips. Distances in distances of the outer eye corners; correlations along a clip of mouth opening and
    width, eye opening, gaze across; confidence: of the frames; rejected: share of pictures without a face that get less
    than half.
    """

    distance: float
    lips: float
    eyes: float
    mouth: float
    width: float
    lids: float
    gaze: float
    confidence: float
    rejected: float


def prepare(network: FacePoints, pool: FacePool) -> None:
    """Begin with the mean face."""
    shapes = in_head(pool.points, head_of(pool.points))
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                layer.bias.zero_()
        for layer in network.modules():
            if isinstance(layer, Block):
                layer.b.weight.mul_(0.3)
        for step in (network.whole, network.face, network.eye, network.mouth):
            step.tell.weight.mul_(0.3)
        network.face.tell.bias[:-1] = shapes.mean(0).flatten() / OFFSET


def losses(network: FacePoints, faces: Faces, recipe: FindingRecipe, dice: Dice) -> dict[str, Tensor]:
    """The weighted terms for a batch."""
    points, there = faces.points, faces.there
    n, device = len(points), points.device
    true_head = head_of(points)

    def own(share: float) -> Tensor:
        return (dice.uniform(0, 1, n) < share).to(device) | ~there

    def around(*widths: float) -> Tensor:
        return torch.cat([dice.uniform(-w, w, n, 1) for w in widths], 1).to(device)

    head = network.find_head(faces.view)
    size = true_head[:, 2:3].exp()
    jitter = around(0.2, 0.2, 0.15, 0.15)
    sent = true_head + torch.cat([jitter[:, :2] * size, jitter[:, 2:]], 1)
    rough, logit = network.find_face(faces.view, torch.where(own(recipe.own)[:, None], head.detach(), sent))
    shifted = in_head(points, true_head) + around(0.08, 0.08)[:, None]
    turn = around(0.0, 0.0, 0.08, 0.08)
    near = placed(shifted, true_head + turn)
    near = torch.where(own(recipe.own)[:, None, None], rough.detach(), near)
    # what eyes and mouth look like tells nothing where there is no face
    found = network.refine(faces.view, torch.where(there[:, None, None], rough, points), near)
    truth = points[there]
    off = (rough.detach() - points).norm(dim=-1).mean(1) / eye_distance(points)
    trusted = (there & (off < _TRUSTED)).float()
    units = head.new_tensor(HEAD_SCALE)
    fine = found[there][:, LEFT_EYE + RIGHT_EYE + MOUTH]
    apart = (fine - truth[:, LEFT_EYE + RIGHT_EYE + MOUTH]).norm(dim=-1) / eye_distance(truth)[:, None]
    return {
        "head": 0.1 * F.smooth_l1_loss(head[there] / units, true_head[there] / units, beta=0.2),
        "face": point_loss(rough[there], truth),
        "fine": 2 * apart.mean(),
        "hints": recipe.hints * (_hint_error(found[there], truth) + 0.3 * _hint_error(rough[there], truth)),
        "confidence": recipe.confidence * F.binary_cross_entropy_with_logits(logit, trusted),
    }


def _hint_error(made: Tensor, truth: Tensor) -> Tensor:
    return ((measured(made) - measured(truth)).abs() * _HINTS.to(truth)).mean()


class FindingEvaluation:
    """Frames of every clip of a pool as they are, and drawn pictures without a face, the same every time."""

    def __init__(self, pool: FacePool, batch: int = 64) -> None:
        self._sampler, self._batch = FaceSampler(pool), batch

    @torch.no_grad()
    def find(self, network: FacePoints) -> tuple[Tensor, Tensor]:
        """Landmarks (N, 110, 2) and confidence (N,) of the whole pool."""
        parts = []
        for index in torch.split(torch.arange(len(self._sampler.pool)), self._batch):
            found = network.look(self._sampler.plain(index).view)
            parts.append((found.points.cpu(), found.logit.sigmoid().cpu()))
        points, confidence = zip(*parts, strict=True)
        return torch.cat(points), torch.cat(confidence)

    @torch.no_grad()
    def run(self, network: FacePoints) -> FindingFigures:
        pool = self._sampler.pool
        points, confidence = self.find(network)
        truth = pool.points.cpu()
        apart = (points - truth).norm(dim=-1) / eye_distance(truth)[:, None]
        made, true = measured(points), measured(truth)
        rows = []
        for clip in pool.clips:
            part = slice(clip.start, clip.start + clip.frames)
            alike = [
                correlation(a[part], b[part])
                for a, b in (
                    (made[:, 0], true[:, 0]),
                    (made[:, 1], true[:, 1]),
                    (made[:, 2:4].sum(1), true[:, 2:4].sum(1)),
                    (made[:, 4], true[:, 4]),
                )
            ]
            rows.append(
                [
                    float(apart[part].mean()),
                    float(apart[part][:, MOUTH].mean()),
                    float(apart[part][:, LEFT_EYE + RIGHT_EYE].mean()),
                    *(math.nan if a is None else a for a in alike),
                    float(confidence[part].mean()),
                ]
            )
        sampler = FaceSampler(pool, seed=1)
        faces = [sampler.draw(32) for _ in range(6)]
        none = torch.cat([network.look(f.view).logit[~f.there] for f in faces])
        table = np.array(rows)
        known = ~np.isnan(table)
        means = np.where(known, table, 0).sum(0) / np.maximum(known.sum(0), 1)
        means = np.where(known.any(0), means, np.nan)
        figures: list[float] = means.tolist()
        return FindingFigures(*[*figures, float((none < 0).float().mean())])


def train_finding(
    network: FacePoints, sampler: FaceSampler, dev: FacePool | None, recipe: FindingRecipe, out: Path
) -> FindingFigures | None:
    """Train and write OUT/face_points.safetensors, averaged weights (EMA); figures on dev go to OUT/figures.jsonl."""
    line = Progress()
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(
        network.parameters(), recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
    )
    evaluation = None if dev is None else FindingEvaluation(dev)
    line.say(f"{sampler.pool.device}: {sum(p.numel() for p in network.parameters()) / 1e6:.3f} M parameters")

    def measure(step: int) -> FindingFigures | None:
        save_weights(out / WEIGHTS, average, {"network": "face_points"})
        if evaluation is None:
            return None
        figures = evaluation.run(average)
        numbers = {k: round(v, 4) for k, v in dataclasses.asdict(figures).items()}
        with (out / "figures.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, **numbers}) + "\n")
        line.say(f"step {step}: " + ", ".join(f"{k} {v:.3f}" for k, v in numbers.items()))
        return figures

    begin = measured_at = time.monotonic()
    step, progress = 0, 0.0
    while progress < 1:
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step, progress)
        terms = losses(network, sampler.draw(recipe.batch), recipe, sampler.dice)
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
            values = {k: float(v.detach()) for k, v in terms.items()}
            speed = step * recipe.batch / (now - begin)
            line.show(training_line(step, speed, left, recipe.rate(step, progress), 256, values))
        if progress < 1 and now - measured_at > 60 * recipe.evaluate_minutes:
            measure(step)
            measured_at = time.monotonic()
    return measure(step)
