"""Trains the teeth: `python -m codec_models.training teeth --clips DIR --dev DIR --labels F --upsampler W --out DIR`.

From mouths as a trained upsampler draws them (`mouths.py`) to the true ones: the upsampler's own blur is undone, and on
a share of the crops further blur, noise and JPEG. A critic alone would make teeth that are sharp and wrong, and PSNR
would fall; so fidelity comes first, the critic later, with the small weight that still gains sharpness for nothing.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError
from ..layers import channels_last
from ..mouth import feather, lip_distance, lip_planes
from ..still_encoder import StillEncoder
from ..teeth import Teeth
from .augment import random_colours, recoloured
from .average import follow
from .checkpoint import CHECKPOINT, save_checkpoint, save_weights
from .degrade import Degradation, degraded
from .discriminator import PatchDiscriminator, adversarial_loss, critic_loss, feature_matching_loss
from .draws import Dice
from .losses import luma
from .mouth_figures import MouthFigures, mouth_figures, unit
from .mouths import Mouths
from .progress import Progress, training_line

_WARM_UP = 300
_LEAST_RATE = 0.02
_FAR = 0.12
"""Mean difference of luma, of 2, from which a drawn place counts as wrong rather than soft."""


@dataclass(frozen=True, slots=True)
class TeethWeights:
    """Of the terms of the loss, each a mean within the feather (hdtr-net section 3.3, eq. 6 to 8).

    gradient: L1 of neighbouring differences. energy: of their root mean squares over 8x8 pixels, which asks for as much
    detail as there is in truth but not where exactly, and so gains sharpness without a critic. perceptual: of features
    of the upsampler's still encoder, as no pretrained VGG is to be had. features: of the critic's. adversarial: least
    squares.
    """

    l1: float = 1.0
    l2: float = 2.0
    gradient: float = 0.5
    energy: float = 4.0
    perceptual: float = 0.3
    features: float = 0.1
    adversarial: float = 0.01


@dataclass(frozen=True, slots=True)
class TeethRecipe:
    """minutes: of training; steps: end after so many instead, for tests. cooldown: share of the run in which the
    learning rate falls; ema: of the averaged weights, which are kept. critic_from: share of the run after which the
    critic is listened to, in full as much later again; critic: its width.

    learning_rate: 2e-3 grew the features without end on a long run, and nothing came out any more.
    forget: share of the batches without a reference; worse, coded: of the crops that are degraded further, and of the
    references that are degraded a little. same: share of the crops that are the truth's own: what is sharp must stay.
    """

    minutes: float = 30.0
    steps: int | None = None
    batch: int = 16
    learning_rate: float = 6e-4
    weight_decay: float = 1e-3
    cooldown: float = 0.4
    ema: float = 0.998
    critic: int = 16
    critic_from: float = 0.3
    forget: float = 0.15
    worse: float = 0.2
    coded: float = 0.3
    same: float = 0.02
    evaluate_minutes: float = 5.0
    checkpoint_minutes: float = 4.0
    seed: int = 0
    bfloat16: bool = True
    weights: TeethWeights = field(default_factory=TeethWeights)
    # a crop is 96 pixels wide, and blur is in pixels of 256
    degradation: Degradation = field(
        default_factory=lambda: Degradation(blur=3.5, shrink=2.0, noise=4.0, jpeg=(35, 95), share=0.5)
    )

    def rate(self, progress: float, step: int) -> float:
        """Learning rate: a linear warm-up, then level, then a linear cool-down."""
        fall = (1 - progress) / self.cooldown if self.cooldown > 0 else 1.0
        return self.learning_rate * min(1.0, (step + 1) / _WARM_UP) * min(1.0, max(_LEAST_RATE, fall))

    def listening(self, progress: float) -> float:
        """How much of the critic's word counts, 0 to 1."""
        if self.critic_from <= 0:
            return 1.0
        return min(1.0, max(0.0, progress / self.critic_from - 1))


@dataclass(frozen=True, slots=True)
class MouthBatch:
    """Crops (B, 3, 96, 96) in [-1, 1], planes (B, 2, 96, 96), feather (B, 1, 96, 96)."""

    drawn: Tensor
    truth: Tensor
    planes: Tensor
    soft: Tensor
    reference: Tensor
    reference_planes: Tensor


class MouthSampler:
    """Augmented batches of a pool."""

    def __init__(self, pool: Mouths, recipe: TeethRecipe, device: torch.device) -> None:
        self._pool, self._recipe, self._device = pool, recipe, device
        self.dice = Dice(recipe.seed, device)

    def batch(self) -> MouthBatch:
        r, d, device = self._recipe, self.dice, self._device
        part = self._pool.take(d.integers(0, len(self._pool), r.batch))
        part = Mouths(*(getattr(part, f.name).to(device) for f in fields(Mouths)))
        drawn, truth, reference = (unit(t) for t in (part.drawn, part.truth, part.reference))
        drawn = torch.where(d.chances(r.same, r.batch).to(device)[:, None, None, None], truth, drawn)
        colours = random_colours(d, r.batch, 0.4).to(device)
        drawn, truth, reference = (recoloured(t, colours) for t in (drawn, truth, reference))
        for crops, share in ((drawn, r.worse), (reference, r.coded)):
            some = d.chances(share, r.batch).to(device)
            if bool(some.any()):
                crops[some] = degraded(crops[some], d, r.degradation)
        distance = lip_distance(part.points, part.corner)
        tensors = (
            drawn,
            truth,
            lip_planes(part.points, part.corner, distance),
            feather(part.points, part.corner, distance),
            reference,
            lip_planes(part.reference_points, part.reference_corner),
        )
        flip = d.chances(0.5, r.batch).to(device)[:, None, None, None]
        return MouthBatch(*(torch.where(flip, t.flip(-1), t) for t in tensors))


def local_energy(crops: Tensor) -> Tensor:
    """Root mean squares of luma's differences to the neighbours and the next but one, over 8x8 pixels, every 4:
    (B, 2, 22, 22). The second is Brenner's; the first alone would be content with noise.
    """
    grey, squares = luma(crops), []
    for k in (1, 2):
        inside = grey[..., :-k, :-k]
        apart = (grey[..., k:, :-k] - inside).square() + (grey[..., :-k, k:] - inside).square()
        squares.append(apart[..., : grey.shape[-1] - 2, : grey.shape[-1] - 2])
    # the small term keeps the gradient finite where all is flat
    return (F.avg_pool2d(torch.cat(squares, 1), 8, 4) + 1e-5).sqrt()


class Perceptual(nn.Module):
    """Features of the first three stages of a trained still encoder, in place of a pretrained VGG (eq. 7)."""

    def __init__(self, encoder: StillEncoder) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)

    def forward(self, crops: Tensor) -> list[Tensor]:
        e = self.encoder
        f0 = e.c0(crops)
        f1 = e.r1(e.d1(F.silu(f0)))
        return [f0, f1, e.r2(e.d2(F.silu(f1)))]


class TeethTraining:
    """Networks, optimisers and averages of one training on a pool of mouths."""

    def __init__(
        self, network: Teeth, pool: Mouths, encoder: StillEncoder, recipe: TeethRecipe, device: torch.device
    ) -> None:
        self.recipe, self.device = recipe, device
        self.sampler = MouthSampler(pool, recipe, device)
        self.network = channels_last(network.train())
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self.critic = channels_last(PatchDiscriminator(recipe.critic).to(device))
        self.perceptual = Perceptual(encoder).to(device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
        )
        self.critic_optimiser = torch.optim.AdamW(self.critic.parameters(), 2e-4, betas=(0.5, 0.99))
        self.step = self.skipped = 0
        self.seconds = 0.0
        """Spent in training, also by earlier runs."""

    def advance(self, progress: float) -> dict[str, Tensor]:
        """One step at a share of the run -> the weighted terms of its loss."""
        recipe = self.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate(progress, self.step)
        b = self.sampler.batch()
        with self._cast():
            known = not self.sampler.dice.chance(recipe.forget)
            memory = self.network.remember(b.reference, b.reference_planes) if known else None
            drawn, raised = self.network.parts(b.drawn, b.planes, memory)
        made = b.drawn + b.soft * (drawn + raised)
        # the wish for detail is for the part that cannot make any up
        plain = b.drawn + b.soft * (drawn.detach() + raised)
        # beyond the feather nothing can be done, and nobody must judge by it
        truth = torch.lerp(b.drawn, b.truth, b.soft)
        terms = self._plain_terms(made, plain, truth, b) | self._judged_terms(made, truth, b, progress)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
        else:
            self.skipped += 1
        if recipe.weights.adversarial or recipe.weights.features:
            self._teach_critic(made.detach(), truth, b)
        follow(self.average, self.network, recipe.ema, self.step)
        self.step += 1
        return {name: term.detach() for name, term in terms.items()}

    def _plain_terms(self, made: Tensor, plain: Tensor, truth: Tensor, b: MouthBatch) -> dict[str, Tensor]:
        weights = self.recipe.weights
        wrong, share = made - b.truth, b.soft / b.soft.mean().clamp_min(1e-3)
        across = ((wrong[..., 1:] - wrong[..., :-1]).abs() * share[..., 1:]).mean()
        down = ((wrong[..., 1:, :] - wrong[..., :-1, :]).abs() * share[..., 1:, :]).mean()
        # of the whole crop: beyond the feather both are the drawn one's; and less where what was drawn is far from
        # right, as detail would be made up there
        off = F.avg_pool2d(luma(b.drawn - truth).abs()[..., :-2, :-2], 8, 4)
        trust = 1 / (1 + (off / _FAR).square())
        energy = (trust * (local_energy(plain) - local_energy(truth)).abs()).mean()
        return {
            "l1": weights.l1 * (wrong.abs() * share).mean(),
            "l2": weights.l2 * (wrong.square() * share).mean(),
            "gradient": weights.gradient * (across + down),
            "energy": weights.energy * energy,
        }

    def _judged_terms(self, made: Tensor, truth: Tensor, b: MouthBatch, progress: float) -> dict[str, Tensor]:
        weights, listening = self.recipe.weights, self.recipe.listening(progress)
        terms = {}
        if weights.perceptual:
            with self._cast():
                mine = self.perceptual(made)
                with torch.no_grad():
                    true = self.perceptual(truth)
            apart = [F.l1_loss(a.float(), t.float()) for a, t in zip(mine, true, strict=True)]
            terms["perceptual"] = weights.perceptual * torch.stack(apart).mean()
        if listening and (weights.adversarial or weights.features):
            self.critic.requires_grad_(False)
            with self._cast():
                judged = self.critic(made, b.drawn)
                with torch.no_grad():
                    real = self.critic(truth, b.drawn)
            self.critic.requires_grad_(True)
            terms["adversarial"] = listening * weights.adversarial * adversarial_loss(judged)
            terms["features"] = listening * weights.features * feature_matching_loss(real, judged)
        return terms

    def _teach_critic(self, made: Tensor, truth: Tensor, b: MouthBatch) -> None:
        n = len(made)
        with self._cast():
            both = self.critic(torch.cat([truth, made]), torch.cat([b.drawn, b.drawn]))
        loss = critic_loss([[f[:n] for f in s] for s in both], [[f[n:] for f in s] for s in both])
        self.critic_optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.critic_optimiser.step()

    def _cast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.recipe.bfloat16)

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "critic": self.critic.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
            "draws": self.sampler.dice.state(),
            "step": self.step,
            "seconds": self.seconds,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state` was taken. Raises UserError where it belongs to another network."""
        try:
            for name in ("network", "average", "critic", "optimiser", "critic_optimiser"):
                cast(Any, getattr(self, name)).load_state_dict(state[name])
            self.sampler.dice.load_state(state["draws"])
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
        except (RuntimeError, KeyError, ValueError) as e:
            raise UserError("the checkpoint belongs to another network: start without --resume") from e


def train_teeth(
    training: TeethTraining, dev: Mouths | None, out: Path, name: str = "live"
) -> dict[str, MouthFigures] | None:
    """Train for the recipe's time, what an earlier run spent included, and write OUT/teeth_NAME.safetensors with
    averaged weights (EMA), `last.pt` and, where there is a dev pool, `figures.jsonl`.
    """
    recipe, line = training.recipe, Progress()
    count = sum(p.numel() for p in training.network.parameters())
    line.say(f"{training.device}: {count / 1e6:.2f} M parameters of the teeth, from step {training.step}")

    def save() -> None:
        save_checkpoint(out / CHECKPOINT, training.state())
        save_weights(out / f"teeth_{name}.safetensors", training.average, {"network": "teeth", "config": name})

    def measure() -> dict[str, MouthFigures] | None:
        if dev is None:
            return None
        figures = mouth_figures(training.average, dev)
        figures["unknown"] = mouth_figures(training.average, dev, known=False)["all"]
        kept = {group: dataclasses.asdict(f) for group, f in figures.items()}
        with (out / "figures.jsonl").open("a") as file:
            file.write(json.dumps({"step": training.step, "minutes": round(training.seconds / 60, 2)} | kept) + "\n")
        for group, f in figures.items():
            line.say(f"step {training.step}, {group}: {f}")
        return figures

    total = 60 * recipe.minutes
    first, spent = training.step, training.seconds
    measured_at = saved_at = time.monotonic()
    progress = _share(training, total)
    try:
        while progress < 1:
            began = time.monotonic()
            terms = training.advance(progress)
            now = time.monotonic()
            training.seconds += now - began
            progress = _share(training, total)
            if line.due:
                speed = (training.step - first) * recipe.batch / max(1e-6, training.seconds - spent)
                left, rate = max(0.0, total - training.seconds), recipe.rate(progress, training.step)
                values = {k: float(v) for k, v in terms.items()}
                line.show(training_line(training.step, speed, left, rate, 96, values))
            if progress < 1 and now - saved_at > 60 * recipe.checkpoint_minutes:
                save()
                saved_at = now
            if progress < 1 and now - measured_at > 60 * recipe.evaluate_minutes:
                measure()
                measured_at = time.monotonic()
    finally:
        save()
    figures = measure()
    speed = (training.step - first) * recipe.batch / max(1e-6, training.seconds - spent)
    line.say(
        f"{training.step} steps, {speed:.0f} samples/s, {training.skipped} steps skipped, "
        f"{training.seconds / 60:.1f} min: {out / f'teeth_{name}.safetensors'}"
    )
    return figures


def _share(training: TeethTraining, total: float) -> float:
    """Share of the run that is done."""
    if training.recipe.steps is not None:
        return training.step / training.recipe.steps
    return min(1.0, training.seconds / total)
