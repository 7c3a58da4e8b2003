"""The average face and how its landmarks move with the hints: what a fresh upsampler knows before it is trained.

`python -m codec_models.training.face_shape LABELS.npz OUT.safetensors` measures both on labelled clips (per clip
`ID.pts`, frames x 110 x 2, differences along time in 1/4096 of the picture's side). Both become parameters of the
network and learn on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor

from ..errors import UserError, run_command
from ..hint_measure import HINTS, eye_axis, measured
from ..landmarks import POINTS

_RIGID = [POINTS.index(mesh) for mesh in (1, 168, 10, 234, 454)]
"""Nose tip, its root, forehead and temples: where they stand between the eyes tells the head's turn."""
_PAIRS = 64


def face_shape(clips: Iterable[NDArray[np.float32]], seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(110, 2) average landmarks in [-1, 1], and (6, 110, 2) the displacement of each landmark per unit of each raw
    hint, in units of the eye distance, in the face's own axes (x along the line of the eyes, y down from it).

    clips: landmarks (frames, 110, 2) in picture fractions. The displacement is a linear regression over pairs of
    frames of one clip, with the turn of the head beside the hints. Raises UserError without any clip.
    """
    random = np.random.default_rng(seed)
    known = HINTS + 2 * len(_RIGID)
    total, count = np.zeros((len(POINTS), 2)), 0
    left, right = np.zeros((known, known)), np.zeros((known, 2 * len(POINTS)))
    for points in clips:
        total += points.sum(0, dtype=np.float64)
        count += len(points)
        pairs = torch.from_numpy(points[random.integers(0, len(points), (_PAIRS, 2))].astype(np.float64))
        moved, hints = _face_axes(pairs).diff(dim=1)[:, 0], measured(pairs).diff(dim=1)[:, 0]
        x = torch.cat([hints, moved[:, _RIGID].flatten(1)], 1).numpy()
        left += x.T @ x
        right += x.T @ moved.flatten(1).numpy()
    if not count:
        raise UserError("no landmarks to measure: give the labels of at least one clip")
    left += 1e-6 * np.trace(left) * np.eye(known)
    basis = np.linalg.solve(left, right)[:HINTS].reshape(HINTS, len(POINTS), 2)
    return (total / count * 2 - 1).astype(np.float32), basis.astype(np.float32)


def _face_axes(points: Tensor) -> Tensor:
    """Landmarks (..., 110, 2) from the middle of the eyes, along and across their line, in units of their distance."""
    axis = eye_axis(points)[..., None, :]
    corners = [POINTS.index(33), POINTS.index(263)]
    away = points - points[..., corners, :].mean(-2, keepdim=True)
    x = (away * axis).sum(-1)
    y = away[..., 1] * axis[..., 0] - away[..., 0] * axis[..., 1]
    return torch.stack([x, y], -1) / axis.square().sum(-1, keepdim=True).clamp_min(1e-9)


def _points(stored: NDArray[np.int16]) -> NDArray[np.float32]:
    summed: NDArray[np.int32] = np.cumsum(stored, 0, dtype=np.int32)
    return np.asarray(summed / 4096, np.float32)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the average face and its motion with the hints.")
    parser.add_argument("labels", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    try:
        labels = np.load(options.labels)
        clips = [_points(labels[k]) for k in labels if k.endswith(".pts")]
    except (OSError, ValueError) as e:
        raise UserError(f"cannot read {options.labels}: {e}") from e
    mean, basis = face_shape(c for c in clips if len(c) >= 2)
    save_file({"mean": mean, "basis": basis}, options.output)
    return 0


if __name__ == "__main__":
    run_command(main)
