"""A wider upsampler that draws the same picture as a narrower one: where a larger network starts from a trained one.

Net2Net (Chen, Goodfellow and Shlens 2016, section 3.1): every channel of the wider network is a copy of one of the
narrower, and what reads channels divides its weight among the copies. All else the upsampler does to features (SiLU,
sums, masks, resizing, warping, softmax over stills) it does to each channel alone, so copies stay equal and the picture
is the same up to rounding.

Copies go round: channel j of the wider network is channel j mod n of the narrower. That is right as well for the phases
before a pixel shuffle (4 j + phase) and for features that are flattened with their places inside the channels. Where an
axis is made of parts, each goes round by itself: the heads of an attention, and the inputs of layers that read a
concatenation, a tail of which (flow, colours) has the same width in all sizes.

Copies that are read alike would learn alike for ever. So the weight is divided unevenly, by chance: as the copies are
equal at first, that alone changes nothing in the picture.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import UserError
from ..layers import CrossAttention
from ..upsampler import CONFIGS, Upsampler, UpsamplerConfig
from .checkpoint import load_weights

_UNEVEN = 0.5
"""Standard deviation of what is taken from one copy and given to another, over the layer's (RMS) weight of a copy."""
_WIDTHS = ("width", "visual", "audio")
_TAILS = {"decoder.join64.weight": (1, 2), "decoder.rank32.weight": (2, 2), "still.moved256.weight": (1, 3)}
"""Inputs of a layer: parts that are widened, and channels after them that are not."""


def stored_config(path: Path) -> str | None:
    """Which config a file of weights says it is of; None where it does not, is missing or broken."""
    try:
        with safe_open(path, "pt") as stored:
            return (stored.metadata() or {}).get("config")
    except (OSError, SafetensorError):
        return None


def start_from(path: Path, network: Upsampler) -> str | None:
    """Fill a network from safetensors of its own sizes, or widened from those of a smaller config that the file names
    -> that config's name, None where nothing was widened. Raises UserError.
    """
    name = stored_config(path)
    config = CONFIGS.get(name or "")
    if name is None or config is None or config == network.config:
        load_weights(path, network)
        return None
    narrow = Upsampler(config)
    load_weights(path, narrow)
    try:
        widen(narrow, network)
    except ValueError as e:
        raise UserError(f"{path} holds weights of {name!r}, from which this network cannot be made: {e}") from e
    return name


def widen(narrow: Upsampler, wide: Upsampler, uneven: float = _UNEVEN, seed: int = 0) -> None:
    """Give a network the weights with which it draws what a narrower one does. Raises ValueError where the two differ
    in more than their widths or the second is narrower somewhere.
    """
    _check(narrow.config, wide.config)
    generator = torch.Generator().manual_seed(seed)
    attentions = {name: m.heads for name, m in narrow.named_modules() if isinstance(m, CrossAttention)}
    old = narrow.state_dict()
    with torch.no_grad():
        for name, parameter in wide.named_parameters():
            heads = attentions.get(name.rsplit(".", 2)[0])
            parameter.copy_(_widened(name, old[name].cpu(), parameter.shape, heads, uneven, generator))


def _check(narrow: UpsamplerConfig, wide: UpsamplerConfig) -> None:
    for field in dataclasses.fields(UpsamplerConfig):
        a, b = getattr(narrow, field.name), getattr(wide, field.name)
        if a > b or (a < b and field.name not in _WIDTHS):
            raise ValueError(f"{field.name} is {a} there and {b} here")


def _widened(
    name: str, old: Tensor, shape: torch.Size, heads: int | None, uneven: float, generator: torch.Generator
) -> Tensor:
    """One parameter; heads: of the attention that it belongs to."""
    if name == "position":  # is added to features, no layer's weight
        return old[:, _copies(old.shape[1], shape[1])]
    if not old.dim():
        return old
    layer = name.split(".")[-2] if heads else ""
    rows = _copies(len(old), shape[0], {"q": heads, "kv": 2 * (heads or 0)}.get(layer) or 1)
    new = old[rows]
    if layer == "q":  # a longer product of queries and keys is divided by a larger root
        new = new * ((shape[0] / len(old)) ** 0.5 / _count(rows)).view(-1, *[1] * (old.dim() - 1))
    if old.dim() == 1 or old.shape[1] == shape[1]:
        return new
    parts, tail = _TAILS.get(name, ((heads or 1) if layer == "o" else 1, 0))
    columns = _copies(old.shape[1], shape[1], parts, tail)
    return _divided(new, columns, uneven, generator)


def _copies(old: int, new: int, parts: int = 1, tail: int = 0) -> Tensor:
    """Which of `old` channels each of `new` copies; parts, each going round by itself, and a tail that is kept."""
    n, m = (old - tail) // parts, (new - tail) // parts
    return torch.cat([torch.arange(m) % n + k * n for k in range(parts)] + [torch.arange(old - tail, old)])


def _count(copies: Tensor) -> Tensor:
    """How many copies there are of what each is a copy of."""
    return torch.bincount(copies)[copies]


def _divided(weight: Tensor, columns: Tensor, uneven: float, generator: torch.Generator) -> Tensor:
    """weight (out, in, ...) -> (out, len(columns), ...), of which the copies of an input add up to its weight."""
    count = _count(columns).view(1, -1, *[1] * (weight.dim() - 2))
    shares = weight[:, columns] / count
    noise = torch.randn(shares.shape, generator=generator) * uneven * shares.square().mean().sqrt()
    sums = torch.zeros_like(weight).index_add(1, columns, noise)
    return shares + noise - sums[:, columns] / count
