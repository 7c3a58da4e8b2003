"""The average face and how its landmarks move with the hints: what a fresh upsampler knows before it is trained.

`python -m codec_models.training.face_shape CLIPS LABELS.npz OUT.safetensors` measures both on the clips of a folder
with a manifest, whose landmarks the archive holds (`labels.py`). Both become parameters of the network and learn on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from ..errors import UserError, run_command
from ..hint_measure import FACE, head_of, in_head, measured
from ..landmarks import POINTS
from .corpus import read_manifest
from .labels import Labels

_PAIRS = 64


def face_shape(clips: Iterable[NDArray[np.float32]], seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(110, 2) average landmarks in [-1, 1], and (8, 110, 2) the displacement of each landmark per unit of each raw
    hint that changes the shape of the face (`hint_measure.FACE`), as the head has it (`hint_measure.in_head`).

    clips: landmarks (frames, 110, 2) in picture fractions. The displacement is a linear regression over pairs of
    frames of one clip. Raises UserError without any clip.
    """
    random = np.random.default_rng(seed)
    known = len(FACE)
    total, count = np.zeros((len(POINTS), 2)), 0
    left, right = np.zeros((known, known)), np.zeros((known, 2 * len(POINTS)))
    for points in clips:
        total += points.sum(0, dtype=np.float64)
        count += len(points)
        pairs = torch.from_numpy(points[random.integers(0, len(points), (_PAIRS, 2))].astype(np.float64)) * 2 - 1
        moved, hints = in_head(pairs, head_of(pairs)).diff(dim=1)[:, 0], measured(pairs).diff(dim=1)[:, 0]
        x = hints[:, FACE].numpy()
        left += x.T @ x
        right += x.T @ moved.flatten(1).numpy()
    if not count:
        raise UserError("no landmarks to measure: give the labels of at least one clip")
    left += 1e-6 * np.trace(left) * np.eye(known)
    basis = np.linalg.solve(left, right).reshape(known, len(POINTS), 2)
    return (total / count * 2 - 1).astype(np.float32), basis.astype(np.float32)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the average face and its motion with the hints.")
    parser.add_argument("clips", type=Path, help="folder of clips with a manifest.json")
    parser.add_argument("labels", type=Path, help="archive of their landmarks")
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    labels = Labels(options.labels)
    found = (labels.of(row.path) for row in read_manifest(options.clips))
    mean, basis = face_shape(known for known in found if known is not None and len(known) >= 2)
    save_file({"mean": mean, "basis": basis}, options.output)
    return 0


if __name__ == "__main__":
    run_command(main)
