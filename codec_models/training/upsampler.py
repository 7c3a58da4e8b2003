"""Trains the upsampler: `python -m codec_models.training upsampler --clips DIR --dev DIR --labels F --out DIR`.

The landmark head is trained before, alone (`landmarks.py`), and left as it is. Low resolution comes first, the
adversarial part last (`--phase gan`, from plain weights on). Runs for a given time, goes on from its last checkpoint as
if it had never stopped, keeps an average of the weights (EMA) and ships that one.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import UserError
from ..layers import channels_last
from .average import follow
from .checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint, save_weights
from .data import WindowSampler
from .discriminator import PatchDiscriminator, adversarial_loss, critic_loss, feature_matching_loss
from .distillation import Teacher
from .draws import Dice
from .evaluation import Evaluation, Figures
from .face_reader import FaceReader, likeness_loss, reading_loss, roughened
from .losses import LossWeights, distillation_losses, plain_losses
from .progress import Progress, training_line
from .sync_loss import SyncLoss
from .true_motion import motion_loss, true_motion
from .whole_upsampler import WholeUpsampler, run_whole
from .windows import Made, Windows
from .world import World

_WARM_UP, _WARM_UP_SHARE = 200, 0.05
"""Steps, and share of the plan, after which the learning rate is full, whichever comes first."""
_ADVERSARY_WARM_UP = 300
_READER_WARM_UP = 300
_LEAST_RATE = 0.02
_PACE = 10
"""Steps between two looks at the clock where several processes must agree on it."""


@dataclass(frozen=True, slots=True)
class UpsamplerRecipe:
    """minutes: of this run, loading and measuring included; of: minutes of the whole plan, of which this run is a part
    (schedule and curriculum follow the whole); steps: end after so many, for tests, instead of by time.

    cooldown: share of the plan in which the learning rate falls to a fiftieth. curriculum: (resolution, share of the
    plan until which it holds). dev_windows: ticks measured of each dev clip.
    """

    minutes: float = 10.0
    of: float | None = None
    steps: int | None = None
    batch: int = 16
    learning_rate: float = 6e-4
    weight_decay: float = 1e-3
    cooldown: float = 0.3
    resolution: Literal[64, 128, 256] = 256
    curriculum: tuple[tuple[int, float], ...] = ((64, 0.06), (128, 0.4))
    phase: Literal["plain", "gan"] = "plain"
    ema: float = 0.9995
    evaluate_minutes: float = 10.0
    checkpoint_minutes: float = 4.0
    dev_windows: int = 10
    seed: int = 0
    bfloat16: bool = True
    compile: bool = False
    weights: LossWeights = dataclasses.field(default_factory=LossWeights)

    def side(self, progress: float) -> int:
        """Resolution at a share of the plan."""
        for side, until in self.curriculum:
            if side < self.resolution and progress < until:
                return side
        return self.resolution

    def rate(self, progress: float, step: int) -> float:
        """Learning rate: a linear warm-up, shorter where the plan is short, then level, then a linear cool-down."""
        rise = max((step + 1) / _WARM_UP, progress / _WARM_UP_SHARE)
        fall = (1 - progress) / self.cooldown if self.cooldown > 0 else 1.0
        return self.learning_rate * min(1.0, rise) * min(1.0, max(_LEAST_RATE, fall))


class UpsamplerTraining:
    """Networks, optimisers, sampler and counters of one training; `advance` makes one step."""

    def __init__(
        self,
        network: nn.Module,
        sampler: WindowSampler,
        recipe: UpsamplerRecipe,
        world: World,
        sync: SyncLoss | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self.recipe, self.world, self.sampler, self.sync, self.teacher = recipe, world, sampler, sync, teacher
        device = world.device
        self.network, self.critic = channels_last(network.to(device)), channels_last(PatchDiscriminator().to(device))
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        whole = WholeUpsampler(self.network)
        compiled: nn.Module = torch.compile(whole) if recipe.compile else whole  # type: ignore[assignment]
        self._whole, self._shared_critic = compiled, cast(nn.Module, self.critic)
        if world.size > 1:
            ids = [device.index] if device.type == "cuda" else None
            # Which parameters take part depends on the number of stills.
            self._whole = DistributedDataParallel(compiled, ids, find_unused_parameters=True)
            self._shared_critic = DistributedDataParallel(self.critic, ids)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
        )
        self.reader = FaceReader().to(device)
        self.reader_optimiser = torch.optim.AdamW(self.reader.parameters(), 1e-3, weight_decay=1e-3)
        self.reader_steps = 0
        self.critic_optimiser = torch.optim.AdamW(self.critic.parameters(), 2e-4, betas=(0.5, 0.99))
        self.step = self.adversarial_steps = self.samples = self.skipped = 0
        self.seconds = 0.0
        """Spent in training, also by earlier runs of the same plan."""

    def advance(self, progress: float) -> dict[str, Tensor]:
        """One step at a share of the plan -> the weighted terms of its loss."""
        recipe = self.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate(progress, self.step)
        draw = self.sampler.draw(recipe.batch)
        w = self.sampler.render(draw, recipe.side(progress))
        with self._cast():
            made = run_whole(self._whole, w)
        terms = plain_losses(made, w, recipe.weights)
        if self.sync is not None:
            terms["sync"] = recipe.weights.sync * self.sync(draw, made.picture, w.points)
        if recipe.weights.motion:
            terms["motion"] = recipe.weights.motion * motion_loss(made.flow, *true_motion(w))
        if self.teacher is not None:
            terms |= distillation_losses(made, self.teacher(w), w, recipe.weights)
        terms |= self._likeness_terms(made.picture, w)
        adversarial = recipe.phase == "gan"
        if adversarial:
            terms |= self._adversarial_terms(made.picture, w)
        loss = torch.stack(list(terms.values())).sum()
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
        else:
            self.skipped += 1
        if adversarial:
            self._teach_critic(made.picture.detach(), w)
        follow(self.average, self.network, recipe.ema, self.step, 50)
        self.step += 1
        self.samples += recipe.batch * self.world.size
        return {name: term.detach() for name, term in terms.items()}

    def _likeness_terms(self, picture: Tensor, w: Windows) -> dict[str, Tensor]:
        """Teach the reader on true pictures, then let it judge the drawn ones."""
        pictures = torch.cat([w.picture, w.stills[:, 0]])
        points = torch.cat([w.points, w.still_points[:, 0]])
        self.reader.requires_grad_(True)
        loss = reading_loss(self.reader, roughened(pictures, self.sampler.dice), points)
        self.reader_optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.reader_optimiser.step()
        self.reader.requires_grad_(False)
        apart, alike = likeness_loss(self.reader, picture.float(), w.picture, w.points)
        weight = min(1.0, self.reader_steps / _READER_WARM_UP)
        self.reader_steps += 1
        weights = self.recipe.weights
        return {
            "readings": weight * weights.readings * apart,
            "likeness": weight * weights.likeness * alike,
        }

    def _cast(self) -> torch.autocast:
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16, enabled=self.recipe.bfloat16)

    def _adversarial_terms(self, picture: Tensor, w: Windows) -> dict[str, Tensor]:
        # The critic must know a little before it is listened to.
        weight = min(1.0, self.adversarial_steps / _ADVERSARY_WARM_UP)
        self.critic.requires_grad_(False)
        with self._cast():
            real, made = self.critic(w.picture, w.stills[:, 0]), self.critic(picture, w.stills[:, 0])
        self.critic.requires_grad_(True)
        return {
            "adversarial": weight * self.recipe.weights.adversarial * adversarial_loss(made),
            "features": weight * self.recipe.weights.features * feature_matching_loss(real, made),
        }

    def _teach_critic(self, picture: Tensor, w: Windows) -> None:
        n, still = len(picture), w.stills[:, 0]
        with self._cast():
            both = self._shared_critic(torch.cat([w.picture, picture.to(w.picture)]), torch.cat([still, still]))
        loss = critic_loss([[f[:n] for f in s] for s in both], [[f[n:] for f in s] for s in both])
        self.critic_optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.critic_optimiser.step()
        self.adversarial_steps += 1

    @torch.no_grad()
    def predict(self, w: Windows) -> Made:
        """With the averaged weights."""
        with self._cast():
            return run_whole(WholeUpsampler(self.average), w)

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "critic": self.critic.state_dict(),
            "reader": self.reader.state_dict(),
            "reader_optimiser": self.reader_optimiser.state_dict(),
            "reader_steps": self.reader_steps,
            "optimiser": self.optimiser.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
            "draws": self.sampler.dice.state(),
            "step": self.step,
            "adversarial_steps": self.adversarial_steps,
            "samples": self.samples,
            "seconds": self.seconds,
            # a run from trained weights has none, and must have none when it goes on
            "curriculum": [list(stage) for stage in self.recipe.curriculum],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state` was taken. Raises UserError where it belongs to another network."""
        try:
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.critic.load_state_dict(state["critic"])
            self.reader.load_state_dict(state["reader"])
            self.reader_optimiser.load_state_dict(state["reader_optimiser"])
            self.reader_steps = int(state["reader_steps"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.critic_optimiser.load_state_dict(state["critic_optimiser"])
            if self.world.first:
                self.sampler.dice.load_state(state["draws"])
            else:  # the draws of the other processes are not kept: theirs begin anew, and must not repeat
                seed = self.recipe.seed + 1000 * self.world.rank + int(state["step"])
                self.sampler.dice = Dice(seed, self.world.device)
            stages = tuple((int(side), float(until)) for side, until in state["curriculum"])
            self.recipe = dataclasses.replace(self.recipe, curriculum=stages)
            self.step, self.samples = int(state["step"]), int(state["samples"])
            self.adversarial_steps, self.seconds = int(state["adversarial_steps"]), float(state["seconds"])
        except (RuntimeError, KeyError, ValueError) as e:
            raise UserError("the checkpoint belongs to another network or recipe: start with --init instead") from e


@dataclass(frozen=True, slots=True)
class Run:
    """Files of one run: where it writes, under which name, the checkpoint it goes on from.

    start: `time.monotonic` when its minutes began, now where it is None.
    """

    out: Path
    name: str = "live"
    resume: Path | None = None
    start: float | None = None


def train(
    network: nn.Module,
    sampler: WindowSampler,
    evaluation: Evaluation | None,
    recipe: UpsamplerRecipe,
    world: World,
    run: Run,
    sync: SyncLoss | None = None,
    teacher: Teacher | None = None,
) -> Figures | None:
    """Train for the recipe's time and write `upsampler_NAME.safetensors`, `last.pt`, `figures.jsonl` and `sheet.png`.

    evaluation is needed in the first process only; sync: a loss by a trained expert, where there is one; teacher: a
    larger network that is imitated besides.
    """
    out, name, resume = run.out, run.name, run.resume
    begin = time.monotonic() if run.start is None else run.start
    progress_line = Progress(world.first)
    training = UpsamplerTraining(network, sampler, recipe, world, sync, teacher)
    if resume is not None:
        training.load_state(load_checkpoint(resume, world.device))
        recipe = training.recipe
    weights_file = out / f"upsampler_{name}.safetensors"
    count = sum(p.numel() for p in network.parameters())
    progress_line.say(f"{world.device} x {world.size}: {count / 1e6:.2f} M parameters, from step {training.step}")

    def measure(side: int, sheet: bool = True) -> tuple[Figures | None, float]:
        """Figures at a resolution, and the seconds they took."""
        if evaluation is None:
            return None, 0.0
        began = time.monotonic()
        figures = evaluation.run(training.predict, side, out / "sheet.png" if sheet else None)
        line = {"step": training.step, "samples": training.samples, "minutes": round(training.seconds / 60, 2)}
        with (out / "figures.jsonl").open("a") as file:
            file.write(json.dumps(line | {"resolution": side} | dataclasses.asdict(figures)) + "\n")
        progress_line.say(f"step {training.step}, {side} px: {figures}")
        return figures, time.monotonic() - began

    def save() -> None:
        if world.first:
            save_checkpoint(out / CHECKPOINT, training.state())
            save_weights(weights_file, training.average, {"network": "upsampler", "config": name})

    total = recipe.of * 60 if recipe.of else float("inf")
    _, cost = measure(recipe.resolution, sheet=False)
    # What is left must do for the last measurement and for saving.
    end = begin + 60 * recipe.minutes - world.agreed(1.5 * cost + 3)
    if not recipe.of:
        total = training.seconds + max(1.0, end - time.monotonic())
    now = time.monotonic()
    first_samples, looped, measured, saved, running = training.samples, now, now, now, True
    elapsed, idle, slowest = training.seconds, 0.0, 0.0
    progress = world.agreed(_share(training, recipe, total))
    try:
        while running:
            began = time.monotonic()
            terms = training.advance(progress)
            now = time.monotonic()
            slowest = max(slowest, now - began)
            training.seconds = elapsed + now - looped - idle
            if world.size == 1 or recipe.steps is not None or training.step % _PACE == 0:
                progress = _share(training, recipe, total)
                over = progress >= 1 or (recipe.steps is None and now + slowest >= end)
                # Negative says stop.
                progress = world.agreed(-1.0 if over else progress)
                running = progress >= 0
            if progress_line.due:
                speed = (training.samples - first_samples) / max(1e-6, now - looped - idle)
                values = {k: float(v) for k, v in terms.items()}
                rate, side = recipe.rate(max(0.0, progress), training.step), recipe.side(max(0.0, progress))
                progress_line.show(training_line(training.step, speed, max(0.0, end - now), rate, side, values))
            if running and world.first and now - saved > 60 * recipe.checkpoint_minutes:
                save()
                saved = time.monotonic()
            # Never so late that the last measurement would come right after it.
            if running and now - measured > 60 * recipe.evaluate_minutes and end - now > 3 * cost:
                measure(recipe.side(progress))
                measured = time.monotonic()
            idle += time.monotonic() - now
    finally:
        save()
    figures, _ = measure(recipe.side(_share(training, recipe, total)))
    speed = (training.samples - first_samples) / max(1e-6, time.monotonic() - looped - idle)
    progress_line.say(
        f"{training.step} steps, {training.samples} samples, {speed:.1f} samples/s, {training.skipped} steps skipped, "
        f"{(time.monotonic() - begin) / 60:.1f} min: {weights_file}"
    )
    return figures


def _share(training: UpsamplerTraining, recipe: UpsamplerRecipe, total: float) -> float:
    """Share of the plan that is done."""
    if recipe.steps is not None:
        return training.step / recipe.steps
    return min(1.0, training.seconds / total)
