"""The prior of the face layer: what the next symbol will probably be, in integers.

A small perceptron per group of pixels sees what both ends know (the two pictures before, the symbols of the last one,
and the pixels of this picture that are already coded) and says where the Laplace-like distribution of each symbol is
centred and how wide it is; a table turns both into frequencies. All weights are integers and all sums stay below 2^53,
so products may be computed in double precision and are exact on every machine and in JavaScript, in whatever order.

Layers: features are integers; h1 = clip(floor((W1 f + b1 + position) / 2^7), 0, 2^15), h2 = clip(floor((W2 h1 + b2)
/ 2^10), 0, 2^15), out = W3 h2 + b3; centre = floor(out[0] / 2^13 + 1/2) in eighths of a step, clipped to +-240; width
index = clip(floor(out[1] / 2^13 + 1/2), -24, 31) + 24, an eighth of a natural logarithm apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from .rangecoder import TOTAL, SymbolTable

WEIGHTS = Path(__file__).parents[1] / "weights" / "face_prior.safetensors"

REACH = 15
"""Symbols reach from -15 to 15 around the centre; the outermost two table entries are escapes."""
SYMBOLS = 2 * REACH + 3
FRACTIONS = 5
WIDTHS = 56
WIDTH_LOW, WIDTH_HIGH = -24, 31
HINTS, HINT_CONTEXTS, HINT_REACH = 12, 16, 7
"""Tables of the hint layer (`hints.py`): per hint 5 x 3 contexts of a change and one for a refresh, symbols -7 to 7."""

_SIDE = 12  # of a plane with two pixels of margin
_PLANE = _SIDE * _SIDE
_NEAR = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if abs(y) + abs(x) <= 2]
_AROUND = [(y, x) for y in range(-1, 2) for x in range(-1, 2)]
_WIDE = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
_CROSS = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)]
# Sources in the padded buffer, three planes each: level, difference of the two pictures before, symbols of the last
# picture, symbols of this one and their magnitudes.
_LEVEL, _MOTION, _LAST, _NOW, _NOW_ABS = (3 * k * _PLANE for k in range(5))


def _groups() -> list[NDArray[np.int64]]:
    """Coding order: luma in four interleaved quarter grids, then both colour planes in three quincunx steps."""
    y, x = np.divmod(np.arange(64), 8)
    quarter = [(y % 2 == a) & (x % 2 == b) for a, b in ((0, 0), (1, 1), (0, 1), (1, 0))]
    parts = [np.flatnonzero(q) for q in quarter]
    colour = [parts[0], parts[1], np.flatnonzero(quarter[2] | quarter[3])]
    return parts + [np.concatenate([64 + p, 128 + p]) for p in colour]


GROUPS = _groups()


@dataclass(frozen=True)
class Gather:
    """Where a group's features lie in the padded buffer."""

    pixels: NDArray[np.int64]  # (n,) of 192
    inside: NDArray[np.int64]  # (n,) the pixels' places in a padded source
    slope: NDArray[np.int64]  # (n, 13) levels around
    direct: NDArray[np.int64]  # (n, k) everything that is taken as it is


_Offsets = list[tuple[int, int]]
_Indices = NDArray[np.int64]


def _places(plane: _Indices, y: _Indices, x: _Indices, offsets: _Offsets) -> _Indices:
    """Places (n, k) in a padded source of the neighbours of n pixels."""
    return np.stack([plane * _PLANE + (y + a + 2) * _SIDE + x + b + 2 for a, b in offsets], 1)


def _coded(known: set[int], plane: _Indices, y: _Indices, x: _Indices, offsets: _Offsets) -> _Indices:
    """The same, but only the offsets at which some pixel has a neighbour that is coded before it."""
    keep = []
    for a, b in offsets:
        yy, xx = y + a, x + b
        inside = (yy >= 0) & (yy < 8) & (xx >= 0) & (xx < 8)
        if known & set((plane * 64 + yy * 8 + xx)[inside].tolist()):
            keep.append((a, b))
    return _places(plane, y, x, keep) if keep else np.empty((len(y), 0), np.int64)


def _gathers() -> list[Gather]:
    known: set[int] = set()
    result = []
    for pixels in GROUPS:
        plane, at = np.divmod(pixels, 64)
        y, x = np.divmod(at, 8)
        others = ((plane + 1) % 3, (plane + 2) % 3)
        direct = [
            _MOTION + _places(plane, y, x, _NEAR),
            *(_MOTION + _places(o, y, x, _CROSS) for o in others),
            _LAST + _places(plane, y, x, _AROUND),
            *(_LEVEL + _places(np.full_like(plane, p), y, x, [(0, 0)]) for p in range(3)),
            _NOW + _coded(known, plane, y, x, _WIDE),
            _NOW_ABS + _coded(known, plane, y, x, _NEAR),
            *(_NOW + _coded(known, o, y, x, _AROUND) for o in others),
        ]
        centre = _places(plane, y, x, [(0, 0)])[:, 0]
        result.append(Gather(pixels, centre, _LEVEL + _places(plane, y, x, _NEAR), np.concatenate(direct, 1)))
        known |= set(pixels.tolist())
    return result


GATHERS = _gathers()
GLOBALS = 12
FEATURES = [len(_NEAR) + g.direct.shape[1] + GLOBALS for g in GATHERS]

KIND_FAST, KIND_SLOW, KIND_INTRA = range(3)
"""Picture 40 or 80 ms after the one before; later than that; on its own."""


@dataclass
class Context:
    """What the prior knows of one picture while it is being coded."""

    buffer: NDArray[np.float64]
    step: NDArray[np.float64]  # (192,) in sixteenths of a level
    common: NDArray[np.float64]  # (12,)
    level: NDArray[np.float64]  # (3 * 144,) the picture before, in sixteenths, padded


def _pad(planes: NDArray[np.float64], mode: str) -> NDArray[np.float64]:
    """(192,) -> (3 * 144,), two pixels of margin: the edge repeated, or zeros."""
    return np.pad(planes.reshape(3, 8, 8), ((0, 0), (2, 2), (2, 2)), mode=mode).ravel()  # type: ignore[call-overload, no-any-return]


class FacePrior:
    """The trained integer perceptrons and tables. One instance serves any number of coders."""

    def __init__(self, path: Path = WEIGHTS) -> None:
        tensors = load_file(path)
        expected = self.shapes()
        if {k: v.shape for k, v in tensors.items()} != expected:
            raise ValueError(f"{path.name} does not hold a face prior of this version")
        self.mean: NDArray[np.int64] = tensors["mean"].astype(np.int64)
        self._layers = []
        for g in range(len(GROUPS)):
            t = {k: tensors[f"{g}.{k}"].astype(np.float64) for k in ("w1", "b1", "w2", "b2", "w3", "b3")}
            self._layers.append((t["w1"].T.copy(), t["b1"], t["w2"].T.copy(), t["b2"], t["w3"].T.copy(), t["b3"]))
        frequency = tensors["frequency"].astype(np.int64)
        self.bits: NDArray[np.float64] = np.log2(TOTAL) - np.log2(frequency)  # for decisions of the encoder only
        self.tables = [[SymbolTable(f) for f in row] for row in frequency.tolist()]
        self.hint_tables = [[SymbolTable(f) for f in row] for row in tensors["hint_frequency"].tolist()]
        self.hint_mean: list[int] = tensors["hint_mean"].tolist()

    @staticmethod
    def shapes(hidden1: int = 48, hidden2: int = 32) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the tensors in the weights file."""
        shapes: dict[str, tuple[int, ...]] = {
            "mean": (192,),
            "frequency": (WIDTHS, FRACTIONS, SYMBOLS),
            "hint_mean": (HINTS,),
            "hint_frequency": (HINTS, HINT_CONTEXTS, 2 * HINT_REACH + 3),
        }
        for g, (gather, features) in enumerate(zip(GATHERS, FEATURES, strict=True)):
            shapes |= {
                f"{g}.w1": (hidden1, features),
                f"{g}.b1": (len(gather.pixels), hidden1),
                f"{g}.w2": (hidden2, hidden1),
                f"{g}.b2": (hidden2,),
                f"{g}.w3": (2, hidden2),
                f"{g}.b3": (2,),
            }
        return shapes

    def begin(
        self,
        before: NDArray[np.int64],
        before2: NDArray[np.int64],
        last: NDArray[np.int64],
        step: NDArray[np.int64],
        kind: int,
        lean: bool,
    ) -> Context:
        """Start a picture. before, before2 (192,) the two decoded pictures before it, in sixteenths; last (192,) the
        symbols of the one before; step (192,) the quantiser steps in sixteenths.
        """
        s = step.astype(np.float64)
        motion = np.clip(np.floor(4 * (before - before2) / s), -64, 64)
        symbols = np.clip(4 * last.astype(np.float64), -32, 32)
        level = before.astype(np.float64)
        common = np.zeros(GLOBALS)
        common[kind] = 8
        common[3] = np.floor(8 * np.log2(s[0] / 64) + 0.5)  # no step is near a rounding edge, so any log2 will do
        common[4] = 8 * lean
        common[6] = min(np.floor(np.abs(motion[:64]).sum() / 32), 32)
        common[7] = min(np.floor(np.abs(last[:64]).sum() / 8), 32)
        common[8] = min(np.floor(np.abs(last[64:128]).sum() / 8), 32)
        buffer = np.concatenate(
            [_pad(np.floor(level / 128), "edge"), _pad(motion, "edge"), _pad(symbols, "constant"), np.zeros(6 * _PLANE)]
        )
        return Context(buffer, s, common, _pad(level, "edge"))

    def predict(self, group: int, context: Context) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Centre (in eighths of a step) and width index of every symbol of a group, (n,) each."""
        g = GATHERS[group]
        w1, b1, w2, b2, w3, b3 = self._layers[group]
        n = len(g.pixels)
        slope = (context.level[g.slope] - context.level[g.inside][:, None]) / context.step[g.pixels][:, None]
        features = np.concatenate(
            [
                np.clip(np.floor(slope), -32, 32),
                context.buffer[g.direct],
                np.broadcast_to(context.common, (n, GLOBALS)),
            ],
            1,
        )
        h = np.clip(np.floor((features @ w1 + b1) / 128), 0, 32768)
        h = np.clip(np.floor((h @ w2 + b2) / 1024), 0, 32768)
        out = np.floor((h @ w3 + b3) / 8192 + 0.5)
        centre = np.clip(out[:, 0], -240, 240).astype(np.int64)
        width = np.clip(out[:, 1], WIDTH_LOW, WIDTH_HIGH).astype(np.int64) - WIDTH_LOW
        return centre, width

    @staticmethod
    def update(group: int, context: Context, symbols: NDArray[np.int64]) -> None:
        """Tell the context a group's symbols, (n,)."""
        g = GATHERS[group]
        value = np.clip(4 * symbols.astype(np.float64), -64, 64)
        context.buffer[_NOW + g.inside] = value
        context.buffer[_NOW_ABS + g.inside] = np.abs(value)
        plane = g.pixels // 64
        for p in range(3):
            mine = symbols[plane == p]
            if len(mine):
                context.common[9 + p] = min(np.floor(8 * np.abs(mine).sum() / len(mine)), 32)


@lru_cache(maxsize=1)
def face_prior() -> FacePrior:
    """The prior that ships with the package, loaded once."""
    return FacePrior()
