"""Take over weights of the first prototype: a model of the same width starts near its quality instead of at nothing.

The prototype (one still, no projection backbone, frames stacked as channels) concatenates what the upsampler adds, so
its convolutions are cut along their inputs. What the prototype has not is left as it was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import UserError
from ..landmarks import POINTS
from ..upsampler import Upsampler

_OLD_HINTS = 4
_POINTS = 2 * len(POINTS)

_SAME = {
    "still.": "still.",
    "audio.0.": "audio.first.",
    "audio.2.": "audio.second.",
    "audio.5.": "voice.",
    "low.1.": "visual.mix.0.",
    "low.2.": "visual.mix.1.",
    "lm_low.": "landmarks.low.",
    "lm.": "landmarks.head.",
    "up16.": "project.first.up.",
    "attn.": "look.",
    "mix.": "mix.",
    "up32.": "decoder.up32.",
    "up64.": "decoder.up64.",
    "up128.": "decoder.up128.",
    "up256.": "decoder.up256.",
    "f32.1.": "decoder.refine32.",
    "f64.1.": "decoder.refine64.",
    "flow.": "decoder.flow.",
    "g64.1.": "decoder.draw64.0.",
    "g64.2.": "decoder.draw64.1.",
    "g128.1.": "decoder.draw128.",
    "g256.2.": "decoder.draw256.1.",
    "g256.4.": "decoder.draw256.3.",
}
"""Layers that are the same under another name, by prefix."""


def warm_start(model: Upsampler, path: Path) -> list[str]:
    """Copy what fits from a prototype's weights of the same width; returns the parameters that were taken over,
    wholly or in part. Raises UserError where the file is not such weights; the model is then as it was.
    """
    try:
        old = load_file(path)
    except (OSError, SafetensorError, ValueError) as e:
        raise UserError(f"cannot read {path} as safetensors: {e}") from e
    mine: dict[str, Tensor] = dict(model.named_parameters())
    taken: list[tuple[str, Tensor]] = []
    try:
        for name, value in _translated({k: v.float() for k, v in old.items()}, mine):
            if mine[name].shape != value.shape:
                shapes = f"{tuple(value.shape)} for {name}, {tuple(mine[name].shape)} expected"
                raise UserError(f"{path} is not of this width: {shapes}; give weights of the same width")
            taken.append((name, value))
    except KeyError as e:
        raise UserError(f"{path} has no {e}: give the weights of a prototype upsampler") from e
    except (IndexError, RuntimeError) as e:
        raise UserError(f"{path} is not of this width: {e}; give weights of the same width") from e
    with torch.no_grad():
        for name, value in taken:
            mine[name].copy_(value)
    return [name for name, _ in taken]


def _translated(old: dict[str, Tensor], mine: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for theirs, ours in _SAME.items():
        found = [name for name in old if name.startswith(theirs)]
        if not found:
            raise KeyError(theirs + "*")
        for name in found:
            yield ours + name.removeprefix(theirs), old[name]
    yield "position", old["pos"]

    # frames were stacked as channels, time outermost, the still's own 8x8 last
    stem = old["low.0.weight"]
    window = (stem.shape[1] - 3) // 3
    yield "visual.span.weight", stem[:, :-3].reshape(len(stem), window, 3, 3, 3).transpose(1, 2)
    yield "visual.span.bias", old["low.0.bias"]
    yield "visual.still.weight", stem[:, -3:]

    yield "condition.weight", _conditions(old["cond.weight"], mine["condition.weight"])
    yield "condition.bias", old["cond.bias"]
    still = old["lm_still.weight"]
    own = mine["landmarks.still.weight"]
    yield (
        "landmarks.still.weight",
        torch.cat([still[:, :_POINTS], _conditions(still[:, _POINTS:], own[:, _POINTS:])], 1),
    )
    yield "landmarks.still.bias", old["lm_still.bias"]

    # its reach, one for all landmarks, is left: lips and lids need a finer one
    yield "sparse.log_background", old["log_bg"]

    # (layer, inputs) in the order in which the prototype concatenates them
    w = old["still.c0.weight"].shape[0]
    cuts = {
        "f32.0": (("decoder.join32", 6 * w), ("still.at32", 6 * w)),
        "g64.0": (("decoder.fuse64", 4 * w), ("still.moved64", 4 * w), ("still.fixed64", 4 * w)),
        "g128.0": (("decoder.fuse128", 2 * w), ("still.moved128", 2 * w), ("still.fixed128", 2 * w)),
        "g256.0": (("decoder.fuse256", w), ("still.moved256", w + 3), ("still.fixed256", 3)),
    }
    for theirs, parts in cuts.items():
        yield parts[0][0] + ".bias", old[theirs + ".bias"]
        pieces = torch.split_with_sizes(old[theirs + ".weight"], [inputs for _, inputs in parts], 1)
        for (name, _), piece in zip(parts, pieces, strict=True):
            yield name + ".weight", piece
    joined = old["f64.0.weight"]
    yield "decoder.join64.weight", torch.cat([joined[:, : 4 * w], joined[:, 8 * w :]], 1)
    yield "decoder.join64.bias", old["f64.0.bias"]
    yield "still.at64.weight", joined[:, 4 * w : 8 * w]


def _conditions(old: Tensor, mine: Tensor) -> Tensor:
    """Columns for 4 hints and 2 flags -> for 6 hints, their 6 changes and 2 flags; the new ones begin at a tenth."""
    new = 0.1 * mine.detach()
    return torch.cat([old[:, :_OLD_HINTS], new[:, _OLD_HINTS:-2], old[:, _OLD_HINTS:]], 1)
