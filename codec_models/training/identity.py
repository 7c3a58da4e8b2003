"""Who is it: a small network that embeds faces, and its training.

    python -m codec_models.training identity --clips DIR --dev DIR --labels F --out DIR

No pretrained face recognition network is at hand, so the benchmarks' identity cosine comes from this one. It sees a
face as `aligned_faces` cuts it, in grey, without its mean and contrast and without the corners of the square, and
answers a unit vector; faces of one person point the same way. It learns to tell the people of the training clips apart
with CosFace's softmax (Wang et al. 2018): the cosine with the own person's vector must win by a margin. Colours would
tell the camera: in trials of three minutes they helped nowhere, and between recordings AUC fell from 0.95 to 0.90.
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
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import channels_last, conv
from .aligned_faces import FACE, IdentitySampler
from .average import follow
from .checkpoint import load_weights, save_weights
from .progress import Progress, training_line
from .verification import FaceSet, told, verify

WEIGHTS = "identity.safetensors"
SIZE = 96
"""Numbers of an embedding."""
_WIDTHS, _BLOCKS = (24, 40, 56, 80), (0, 1, 2, 1)
_SQUEEZED = 32
_GREY = (0.299, 0.587, 0.114)


class _Block(nn.Module):
    """relu(x + bn(conv(relu(bn(conv(x))))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a, self.b = (conv(channels, channels, bias=False) for _ in range(2))
        self.m, self.n = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.n(self.b(F.relu(self.m(self.a(x))))))


class Identity(nn.Module):
    """forward: faces (N, 3, 64, 64) in [-1, 1], as `cut_faces` gives them -> unit vectors (N, 96).

    0.38 M parameters.
    """

    window: Tensor

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for width, blocks in zip(_WIDTHS, _BLOCKS, strict=True):
            layers += [conv(before, width, 3, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [_Block(width) for _ in range(blocks)]
            before = width
        layers += [conv(before, _SQUEEZED, 1, bias=False), nn.BatchNorm2d(_SQUEEZED), nn.Flatten()]
        self.see = nn.Sequential(*layers)
        self.drop = nn.Dropout(dropout)
        self.tell = nn.Linear(_SQUEEZED * (FACE // 2 ** len(_WIDTHS)) ** 2, SIZE)
        self.register_buffer("window", _window(), persistent=False)

    @classmethod
    def load(cls, path: Path) -> Identity:
        """Raises UserError where the file does not hold such a network."""
        network = cls()
        load_weights(path, network)
        return network.eval().requires_grad_(False)

    def forward(self, faces: Tensor) -> Tensor:
        # products and sums: autocast leaves them in float32
        grey = (faces * faces.new_tensor(_GREY)[:, None, None]).sum(1, keepdim=True)
        share = self.window / self.window.sum()
        grey = grey - (grey * share).sum((2, 3), keepdim=True)
        contrast = (grey.square() * share).sum((2, 3), keepdim=True).sqrt()
        seen = self.see(grey / (contrast + 0.05) * self.window)
        return F.normalize(self.tell(self.drop(seen.float())).float(), dim=1)


def _window() -> Tensor:
    """(1, 1, 64, 64): 1 within the ellipse of a face, 0 outside of it."""
    at = (torch.arange(FACE) + 0.5) / FACE * 2 - 1
    away = ((at / 0.92)[None] ** 2 + (at / 1.02)[:, None] ** 2).sqrt()
    return ((1.0 - away) / 0.1 + 0.5).clamp(0, 1)[None, None]


class People(nn.Module):
    """A vector for each person to learn from, and the loss that pulls embeddings to their own."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(count, SIZE))

    def forward(self, embedded: Tensor, person: Tensor, scale: float, margin: float) -> Tensor:
        """Cross-entropy of embeddings (N, 96) and their persons (N,); the own cosine is lowered by the margin."""
        alike = embedded @ F.normalize(self.vectors, dim=1).T
        lowered = alike - margin * F.one_hot(person, len(self.vectors)).to(alike)
        return F.cross_entropy(scale * lowered, person)


@dataclass(frozen=True, slots=True)
class IdentityRecipe:
    """minutes: of training; steps: end after so many instead, for tests. scale, margin: of the softmax; the margin
    rises in the first `easy` share of the run. The learning rate rises for warm_up steps and falls along half a cosine.
    half: compute in bfloat16, on a CPU that can it takes half the time.
    """

    minutes: float = 20.0
    steps: int | None = None
    batch: int = 64
    learning_rate: float = 3e-3
    warm_up: int = 200
    weight_decay: float = 5e-2
    dropout: float = 0.2
    scale: float = 20.0
    margin: float = 0.25
    easy: float = 0.3
    ema: float = 0.998
    evaluate_minutes: float = 4.0
    half: bool = True

    def rate(self, step: int, progress: float) -> float:
        """Learning rate at a step and share of the run."""
        falling = 0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up) * falling


def train_identity(sampler: IdentitySampler, sets: dict[str, FaceSet], recipe: IdentityRecipe, out: Path) -> Identity:
    """Train and write OUT/identity.safetensors, averaged weights (EMA); figures of unchanged faces of the sets go to
    OUT/figures.jsonl on the way. -> the averaged network.
    """
    line, device = Progress(), sampler.faces.device
    network = channels_last(Identity(recipe.dropout)).to(device)
    people = People(sampler.people).to(device)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    line.say(f"{device}: {sum(p.numel() for p in network.parameters()) / 1e6:.3f} M parameters")
    weights = [*network.parameters(), *people.parameters()]
    optimiser = torch.optim.AdamW(weights, recipe.learning_rate, weight_decay=recipe.weight_decay)

    def measure(step: int) -> None:
        save_weights(out / WEIGHTS, average, {"network": "identity"})
        for name, faces in sets.items():
            found = verify(average, faces)
            with (out / "figures.jsonl").open("a") as file:
                file.write(json.dumps({"step": step, "set": name, **dataclasses.asdict(found)}) + "\n")
            line.say(f"step {step}, {name}: {told(found)}")

    begin = measured_at = time.monotonic()
    step, progress = 0, 0.0
    while progress < 1:
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step, progress)
        faces, person = sampler.draw(recipe.batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.half):
            embedded = network(faces.contiguous(memory_format=torch.channels_last))
        loss = people(embedded.float(), person, recipe.scale, recipe.margin * min(1.0, progress / recipe.easy))
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(weights, 5.0)
        optimiser.step()
        follow(average, network, recipe.ema, step)
        step += 1
        now = time.monotonic()
        progress = step / recipe.steps if recipe.steps else (now - begin) / (60 * recipe.minutes)
        if line.due:
            left, speed = max(0.0, 60 * recipe.minutes - (now - begin)), step * recipe.batch / (now - begin)
            rate = recipe.rate(step, progress)
            line.show(training_line(step, speed, left, rate, FACE, {"loss": float(loss.detach())}))
        if progress < 1 and now - measured_at > 60 * recipe.evaluate_minutes:
            measure(step)
            measured_at = time.monotonic()
    measure(step)
    return average
