"""Trains the prior of the face layer: `python -m codec_models.training face-prior CLIPS_DIR --minutes 20`.

The perceptrons of `bitstream/prior.py` are trained on what a coder in closed loop sees: clips are coded with the
current weights at random steps, in both profiles and at both frame rates, then the bits of those very symbols are
minimised; and again. Pictures are mirrored, reversed in time and changed in colour and contrast. At the end weights are
rounded to integers and the frequency tables are counted with the integer prior itself.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from ..bitstream import prior as p
from ..bitstream.colour import UNIT, to_planes
from ..bitstream.face import STEPS, FaceConfig
from ..errors import UserError
from .hint_tables import hint_tables, normalised

_MIRROR = torch.tensor([q * 64 + y * 8 + 7 - x for q in range(3) for y in range(8) for x in range(8)])


@dataclass(frozen=True, slots=True)
class PriorRecipe:
    """minutes of training; clips coded per round; pictures per step; peak learning rate; hidden sizes. usual: share of
    clips that are coded near the encoder's own step, the rest at any.
    """

    minutes: float = 20.0
    clips: int = 100
    batch: int = 128
    learning_rate: float = 2e-3
    usual: float = 0.6
    hidden1: int = 48
    hidden2: int = 32
    seed: int = 0


class _Group(nn.Module):
    def __init__(self, features: int, pixels: int, recipe: PriorRecipe) -> None:
        super().__init__()
        self.first = nn.Linear(features, recipe.hidden1)
        self.position = nn.Parameter(torch.zeros(pixels, recipe.hidden1))
        self.second = nn.Linear(recipe.hidden1, recipe.hidden2)
        self.third = nn.Linear(recipe.hidden2, 2)
        nn.init.zeros_(self.third.weight)
        with torch.no_grad():
            self.third.bias.copy_(torch.tensor([0.0, -0.9]))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, n, f) in eighths -> (B, n, 2): centre in steps, natural logarithm of the width."""
        h = F.relu(self.first(features / 8) + self.position)
        out: Tensor = self.third(F.relu(self.second(h)))
        return out


class PriorNetwork(nn.Module):
    """The floating-point twin of `FacePrior`, for whole batches of pictures."""

    def __init__(self, recipe: PriorRecipe) -> None:
        super().__init__()
        self.groups = nn.ModuleList(
            _Group(f, len(g.pixels), recipe) for f, g in zip(p.FEATURES, p.GATHERS, strict=True)
        )

    def code(self, x: Sample, rate_weight: float) -> tuple[Tensor, Tensor, Tensor]:
        """Code a batch of pictures -> bits (B,), reconstruction (B, 192) in sixteenths, symbols (B, 192)."""
        b = len(x.target)
        step = x.step
        motion = (4 * (x.before - x.before2) / step).floor().clamp(-64, 64)
        common = torch.zeros(b, p.GLOBALS)
        common[torch.arange(b), x.kind] = 8
        common[:, 3] = (8 * torch.log2(step[:, 0] / 64) + 0.5).floor()
        common[:, 4] = 8 * x.lean
        common[:, 6] = (motion[:, :64].abs().sum(1) / 32).floor().clamp(max=32)
        common[:, 7] = (x.last[:, :64].abs().sum(1) / 8).floor().clamp(max=32)
        common[:, 8] = (x.last[:, 64:128].abs().sum(1) / 8).floor().clamp(max=32)
        level = _pad(x.before, "replicate")
        buffer = torch.cat(
            [
                _pad((x.before / 128).floor(), "replicate"),
                _pad(motion, "replicate"),
                _pad((4 * x.last).clamp(-32, 32), "constant"),
                torch.zeros(b, 2 * level.shape[1]),
            ],
            1,
        )
        residual = (x.target - x.before) / step
        largest = residual.sign() * (residual.abs() + 0.5).floor()
        symbols = torch.zeros_like(residual)
        bits = torch.zeros(b)
        for group, gather in zip(self.groups, p.GATHERS, strict=True):
            pixels, inside = torch.from_numpy(gather.pixels), torch.from_numpy(gather.inside)
            slope = level[:, torch.from_numpy(gather.slope)] - level[:, inside][:, :, None]
            features = torch.cat(
                [
                    (slope / step[:, pixels][:, :, None]).floor().clamp(-32, 32),
                    buffer[:, torch.from_numpy(gather.direct)],
                    common[:, None].expand(b, len(pixels), p.GLOBALS),
                ],
                2,
            )
            out = group(features)
            centre, width = out[..., 0].clamp(-30, 30), out[..., 1].clamp(p.WIDTH_LOW / 8, p.WIDTH_HIGH / 8).exp()
            with torch.no_grad():
                q, r = largest[:, pixels], residual[:, pixels]
                smaller = q - q.sign()
                better = (r - smaller) ** 2 + rate_weight * laplace_bits(smaller - centre, width) < (
                    r - q
                ) ** 2 + rate_weight * laplace_bits(q - centre, width)
                q = torch.where(better, smaller, q)
                symbols[:, pixels] = q
                buffer = buffer.clone()
                value = (4 * q).clamp(-64, 64)
                buffer[:, 3 * level.shape[1] + inside] = value
                buffer[:, 4 * level.shape[1] + inside] = value.abs()
                common = common.clone()
                for plane in range(3):
                    mine = q[:, pixels // 64 == plane]
                    if mine.shape[1]:
                        common[:, 9 + plane] = (8 * mine.abs().sum(1) / mine.shape[1]).floor().clamp(max=32)
            bits = bits + laplace_bits(q - centre, width).sum(1)
        return bits, x.before + symbols * step, symbols


@dataclass
class Sample:
    """A batch of pictures to code: everything (B, 192) in sixteenths but last (symbols), kind and lean (B,)."""

    target: Tensor
    before: Tensor
    before2: Tensor
    last: Tensor
    step: Tensor
    kind: Tensor
    lean: Tensor

    def __getitem__(self, index: Tensor) -> Sample:
        return Sample(*(getattr(self, f)[index] for f in self.__dataclass_fields__))


def laplace_bits(distance: Tensor, width: Tensor) -> Tensor:
    """-log2 of the mass that a Laplace distribution of scale `width` puts on the unit bin at `distance`."""
    a = distance.abs()
    low, high = (a - 0.5) / width, (a + 0.5) / width
    inside = 1 - 0.5 * torch.exp(-high) - 0.5 * torch.exp(low.clamp(max=0))
    tail = math.log(2) + low - torch.log(-torch.expm1(-1 / width))
    return torch.where(a < 0.5, -torch.log(inside.clamp_min(1e-9)), tail) / math.log(2)


def _pad(planes: Tensor, mode: str) -> Tensor:
    return F.pad(planes.view(-1, 3, 8, 8), (2, 2, 2, 2), mode=mode).flatten(1)


def steps(quality: NDArray[np.int64], lean: NDArray[np.bool_]) -> Tensor:
    """Quantiser steps (B, 192) as `face.py` derives them."""
    y = np.array(STEPS, np.int64)[quality]
    blue, red = y * np.where(lean, 45, 15) >> 4, y * np.where(lean, 52, 18) >> 4
    return torch.from_numpy(np.repeat(np.stack([y, blue, red], 1), 64, 1)).float()


@torch.no_grad()
def closed_loop(
    network: PriorNetwork,
    clips: list[Tensor],
    mean: Tensor,
    rng: np.random.Generator,
    slow: NDArray[np.bool_],
    quality: NDArray[np.int64],
    lean: NDArray[np.bool_],
    rate_weight: float,
    refresh: float = 0.04,
) -> tuple[Sample, Tensor]:
    """Code clips (n, 192) side by side -> every picture with what was known before it, and its bits."""
    order = sorted(range(len(clips)), key=lambda i: -len(clips[i]))
    clips, slow, quality, lean = [clips[i] for i in order], slow[order], quality[order], lean[order]
    step, lean_flag = steps(quality, lean), torch.from_numpy(lean).float()
    before = before2 = mean.expand(len(clips), -1)
    last = torch.zeros(len(clips), 192)
    samples, bits = [], []
    for t in range(len(clips[0])):
        k = sum(len(c) > t for c in clips)
        intra = torch.from_numpy(rng.random(k) < (refresh if t else 1.0))
        kind = torch.where(intra, p.KIND_INTRA, torch.from_numpy(np.where(slow[:k], p.KIND_SLOW, p.KIND_FAST)))
        fresh = intra[:, None]
        sample = Sample(
            torch.stack([c[t] for c in clips[:k]]),
            torch.where(fresh, mean, before[:k]),
            torch.where(fresh, mean, before2[:k]),
            torch.where(fresh, 0.0, last[:k]),
            step[:k],
            kind,
            lean_flag[:k],
        )
        b, decoded, last = network.code(sample, rate_weight)
        before2 = torch.where(fresh, decoded, before[:k])
        before = decoded
        samples.append(sample)
        bits.append(b)
    whole = Sample(*(torch.cat([getattr(s, f) for s in samples]) for f in Sample.__dataclass_fields__))
    return whole, torch.cat(bits)


def augmented(
    clips: list[Tensor], recipe: PriorRecipe, rng: np.random.Generator
) -> tuple[list[Tensor], NDArray[np.bool_]]:
    """A round's clips, changed at random, and which of them run at 5 fps."""
    chosen = rng.choice(len(clips), min(recipe.clips, len(clips)), replace=False)
    slow = rng.random(len(chosen)) < 0.35
    result = []
    for i, five in zip(chosen, slow, strict=True):
        x = clips[i]
        if rng.random() < 0.5:
            x = x[:, _MIRROR]
        if rng.random() < 0.3:
            x = x.flip(0)
        x = x * float(rng.uniform(0.7, 1.3))
        gain = torch.ones(192)
        gain[64:] = float(rng.uniform(0.6, 1.4))
        shift = torch.from_numpy(np.repeat(rng.uniform(-1, 1, 3) * (20, 8, 8), 64)).float() * UNIT
        x = (x * gain + shift).round()
        if five:
            phase = rng.integers(5)
            x = torch.cat([x[(phase + k) % 5 :: 5] for k in range(2)])
        result.append(x)
    return result, slow


def qualities(rng: np.random.Generator, count: int, recipe: PriorRecipe) -> NDArray[np.int64]:
    """Indices into STEPS (count,): most near the encoder's own choice, which the prior must know best."""
    own, last = FaceConfig().quality, len(STEPS) - 1
    near = (own + rng.integers(-3, 4, count)).clip(0, last)
    return np.where(rng.random(count) < recipe.usual, near, rng.integers(0, last + 1, count))


@torch.no_grad()
def restore(network: PriorNetwork, path: Path) -> None:
    """Begin with the integers of a weights file. Raises UserError where they are of another shape."""
    try:
        tensors = {name: torch.from_numpy(t.astype(np.float64)) for name, t in load_file(path).items()}
        for k, group in enumerate(network.groups):
            assert isinstance(group, _Group)
            group.first.weight.copy_(tensors[f"{k}.w1"] / 2**10)
            group.first.bias.zero_()
            group.position.copy_(tensors[f"{k}.b1"] / 2**13)
            for name, layer in (("2", group.second), ("3", group.third)):
                layer.weight.copy_(tensors[f"{k}.w{name}"] / 2**10)
                layer.bias.copy_(tensors[f"{k}.b{name}"] / 2**16)
    except (OSError, KeyError, RuntimeError, SafetensorError) as e:
        raise UserError(f"{path} holds no prior of this shape: check --init") from e


def train(
    pictures: list[NDArray[np.uint8]],
    hints: list[NDArray[np.float32]],
    out: Path,
    recipe: PriorRecipe,
    init: Path | None = None,
) -> None:
    """pictures: per clip (n, 8, 8, 3) uint8; hints: per clip (n, 12); init: weights to begin with. Writes the weights
    file. Raises UserError.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    clips = [torch.from_numpy(np.stack([to_planes(f) for f in clip])).float() for clip in pictures]
    mean = torch.cat(clips).mean(0).round()[None]
    network = PriorNetwork(recipe)
    if init is not None:
        restore(network, init)
    optimiser = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=1e-4)
    start, rounds = time.monotonic(), 0
    while (done := (time.monotonic() - start) / (60 * recipe.minutes)) < 1:
        rate = recipe.learning_rate * min(1.0, (rounds + 1) / 3, max(0.02, (1 - done) / 0.6))
        for group in optimiser.param_groups:
            group["lr"] = rate
        chosen, slow = augmented(clips, recipe, rng)
        n = len(chosen)
        weight = float(rng.choice([0.0, 0.05, 0.1, 0.13]))
        quality, lean = qualities(rng, n, recipe), rng.random(n) < 0.3
        samples, _ = closed_loop(network, chosen, mean, rng, slow, quality, lean, weight)
        total, count = 0.0, 0
        for _ in range(2):
            order = torch.randperm(len(samples.target))
            for batch in torch.split(order, recipe.batch):
                bits, _, _ = network.code(samples[batch], weight)
                loss = bits.mean()
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                nn.utils.clip_grad_norm_(network.parameters(), 20.0)
                optimiser.step()
                total, count = total + loss.item(), count + 1
        rounds += 1
        left = (1 - done) * recipe.minutes
        print(f"round {rounds}: {total / count:.1f} bits a picture over all settings, {left:.1f} min left", flush=True)
        if rounds % 30 == 0:
            _save(network, clips, mean, hints, out, recipe, rng, 60)
    _save(network, clips, mean, hints, out, recipe, rng, 300)


def _save(
    network: PriorNetwork,
    clips: list[Tensor],
    mean: Tensor,
    hints: list[NDArray[np.float32]],
    out: Path,
    recipe: PriorRecipe,
    rng: np.random.Generator,
    count: int,
) -> None:
    tensors: dict[str, NDArray[np.int32]] = {"mean": mean[0].numpy().astype(np.int32)}
    for k, module in enumerate(network.groups):
        assert isinstance(module, _Group)
        w = {n: t.detach().double().numpy() for n, t in module.state_dict().items()}
        # Features are in eighths, the first hidden layer in 1/64, the second too: see the layers in prior.py.
        tensors |= {
            f"{k}.w1": _fixed(w["first.weight"], 10),
            f"{k}.b1": _fixed(w["first.bias"] + w["position"], 13),
            f"{k}.w2": _fixed(w["second.weight"], 10),
            f"{k}.b2": _fixed(w["second.bias"], 16),
            f"{k}.w3": _fixed(w["third.weight"], 10),
            f"{k}.b3": _fixed(w["third.bias"], 16),
        }
    tensors["frequency"] = _frequencies(network, clips, mean, recipe, rng, count)
    tensors["hint_mean"], tensors["hint_frequency"] = hint_tables(hints)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out)


def _fixed(values: NDArray[np.float64], bits: int) -> NDArray[np.int32]:
    return np.rint(values * (1 << bits)).astype(np.int32)


@torch.no_grad()
def _frequencies(
    network: PriorNetwork, clips: list[Tensor], mean: Tensor, recipe: PriorRecipe, rng: np.random.Generator, count: int
) -> NDArray[np.int32]:
    """Counts of symbols per width index and fraction, on a bed of the Laplace distribution."""
    counts = np.zeros((p.WIDTHS, p.FRACTIONS, p.SYMBOLS))
    symbols = torch.arange(-p.REACH - 1, p.REACH + 2).float()
    for w in range(p.WIDTHS):
        width = torch.tensor(math.exp((w + p.WIDTH_LOW) / 8))
        for f in range(p.FRACTIONS):
            mass = 0.99 * 2.0 ** -laplace_bits(symbols - f / 8, width) + 0.01 * 2.0 ** -laplace_bits(
                symbols - f / 8, 4 * width
            )
            counts[w, f] = 100 * mass.numpy()
    some = [clips[i] for i in rng.choice(len(clips), min(count, len(clips)), replace=False)]
    n = len(some)
    slow = rng.random(n) < 0.3
    some = [c[::5] if s else c for c, s in zip(some, slow, strict=True)]
    quality, lean = FaceConfig().quality + rng.integers(-3, 4, n), rng.random(n) < 0.2
    samples, _ = closed_loop(network, some, mean, rng, slow, quality, lean, 0.1, refresh=0.01)
    hooks: list[tuple[Tensor, Tensor]] = []

    def collect(module: nn.Module, inputs: object, out: Tensor) -> None:
        hooks.append((out[..., 0], out[..., 1]))

    handles = [g.register_forward_hook(collect) for g in network.groups]
    for batch in torch.split(torch.arange(len(samples.target)), 512):
        hooks.clear()
        _, _, coded = network.code(samples[batch], 0.1)
        for gather, (centre, width) in zip(p.GATHERS, hooks, strict=True):
            q = coded[:, torch.from_numpy(gather.pixels)]
            c = (centre * 8 + 0.5).floor().clamp(-240, 240)
            k = ((c + 4) / 8).floor()
            fraction = c - 8 * k
            j = torch.where(fraction < 0, -1, 1) * (q - k)
            index = j.clamp(-p.REACH - 1, p.REACH + 1) + p.REACH + 1
            widths = (width * 8 + 0.5).floor().clamp(p.WIDTH_LOW, p.WIDTH_HIGH) - p.WIDTH_LOW
            np.add.at(counts, tuple(t.long().flatten().numpy() for t in (widths, fraction.abs(), index)), 1)
    for handle in handles:
        handle.remove()
    return normalised(counts)
