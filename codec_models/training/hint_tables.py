"""Counts the tables of the hint layer: `python -m codec_models.training hint-tables CLIPS --labels F`.

Only landmarks are needed. The perceptrons of the prior know nothing of hints, so a change of the hints' steps or
contexts asks for new tables alone: this rewrites them and leaves every other tensor of the file as it is.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..bitstream import prior as p
from ..bitstream.hints import LIMITS, STEPS, Hints, HintState
from ..bitstream.rangecoder import TOTAL, RangeEncoder
from ..errors import UserError
from ..landmarks import hints_of
from .labels import Labels

_REFRESH_TICKS = 50
"""While counting; a call has far fewer refreshes, but their tables need symbols too."""


def rewrite(folder: Path, labels: Path, weights: Path) -> tuple[int, int]:
    """Count the hint tables on the clips (*.mp4) of a folder and put them in the place of those in a weights file.

    -> clips and ticks counted. The file is replaced at once, so a reader finds the old one or the new. Raises
    UserError.
    """
    tensors = _load(weights)
    hints = clip_hints(clip_paths(folder), labels)
    tensors["hint_mean"], tensors["hint_frequency"] = hint_tables(hints)
    partial = weights.with_suffix(".partial")
    try:
        save_file(tensors, partial)
        partial.chmod(weights.stat().st_mode)
        os.replace(partial, weights)
    except (SafetensorError, OSError) as e:
        raise UserError(f"cannot write {weights}: {e}") from e
    return len(hints), sum(map(len, hints))


def clip_paths(folder: Path) -> list[Path]:
    """The clips of a folder, in order of their names. Raises UserError where there are none."""
    paths = sorted(folder.glob("*.mp4"))
    if not paths:
        raise UserError(f"no *.mp4 clips in {folder}: give the folder that holds them")
    return paths


def clip_hints(paths: list[Path], labels: Path) -> list[NDArray[np.float32]]:
    """Hints (n, 12) of every clip that has landmarks in the archive (see `labels.py`). Raises UserError."""
    archive = Labels(labels)
    found = [points for path in paths if (points := archive.of(path)) is not None]
    if not found:
        raise UserError(f"{labels} has landmarks of none of these clips: give the labels that belong to them")
    return [np.array([dataclasses.astuple(hints_of(x)) for x in points], np.float32) for points in found]


def hint_tables(hints: list[NDArray[np.float32]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Means in steps (12,) and frequencies (12, 16, 17), counted by running the hint coder over clips (n, 12)."""
    size = 2 * p.HINT_REACH + 3
    symbols = np.arange(size) - size // 2
    counts = np.broadcast_to(4.0 * 0.3 ** np.abs(symbols), (p.HINTS, p.HINT_CONTEXTS, size)).copy()
    counts[:, -1] = 2.0 * 0.8 ** np.abs(symbols)
    low, high = np.array(LIMITS).T
    everything = np.concatenate(hints) / np.array(STEPS)
    mean = np.clip(np.rint(everything.mean(0)), low, high).astype(np.int32)

    class Counter:
        def __init__(self, row: NDArray[np.float64]) -> None:
            self.row = row

        def encode(self, value: int, coder: RangeEncoder) -> None:
            self.row[min(max(value + size // 2, 0), size - 1)] += 1

    class Tables:
        hint_mean = mean.tolist()
        hint_tables = [[Counter(row) for row in rows] for rows in counts]  # noqa: RUF012

    for clip in hints:
        state = HintState(Tables())  # type: ignore[arg-type]
        for n, row in enumerate(clip.tolist()):
            if n % _REFRESH_TICKS == 0:
                state.refresh()
            state.encode(Hints(*row), RangeEncoder())
    return mean, normalised(counts)


def normalised(counts: NDArray[np.float64]) -> NDArray[np.int32]:
    """Counts (..., n) -> positive integer frequencies that add up to 2^15."""
    room = TOTAL - counts.shape[-1]
    share = counts / counts.sum(-1, keepdims=True) * room
    whole = np.floor(share).astype(np.int64)
    np.put_along_axis(
        whole,
        whole.argmax(-1)[..., None],
        np.take_along_axis(whole, whole.argmax(-1)[..., None], -1) + (room - whole.sum(-1))[..., None],
        -1,
    )
    return np.asarray(whole + 1, np.int32)


def _load(weights: Path) -> dict[str, NDArray[np.int32]]:
    """Tensors of a face prior, whatever its hint tables look like. Raises UserError."""
    if not weights.is_file():
        raise UserError(f"no such weights file: {weights}")
    try:
        tensors = load_file(weights)
    except (SafetensorError, OSError, ValueError) as e:
        raise UserError(f"{weights} is not a safetensors file") from e
    expected = p.FacePrior.shapes()
    kept = {name for name in expected if not name.startswith("hint_")}
    if set(tensors) != set(expected) or any(tensors[name].shape != expected[name] for name in kept):
        raise UserError(f"{weights} does not hold a face prior")
    return tensors
