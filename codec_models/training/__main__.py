"""`python -m codec_models.training face-prior CLIPS_DIR`: trains what the bitstream's two ends must agree on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..bitstream.face import area_8x8
from ..bitstream.prior import WEIGHTS
from ..errors import CommandParser, UserError, run_command
from ..landmarks import hints_of


def main() -> int:
    """Parse the command line and run one recipe."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parser = CommandParser(prog="python -m codec_models.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    prior = commands.add_parser("face-prior", help="the integer prior of the 8x8 coder")
    prior.add_argument("clips", type=Path, help="folder of 256x256 face clips at 25 fps (*.mp4)")
    prior.add_argument("--labels", type=Path, required=True, help="landmarks: ID.pts per clip, see the README")
    prior.add_argument("--out", type=Path, default=WEIGHTS)
    prior.add_argument("--minutes", type=float, default=24.0)
    options = parser.parse_args()
    from .face_prior import PriorRecipe, train  # torch only now

    pictures, hints = read_clips(options.clips, options.labels)
    train(pictures, hints, options.out, PriorRecipe(minutes=options.minutes))
    return 0


def read_clips(folder: Path, labels: Path) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.float32]]]:
    """8x8 pictures (n, 8, 8, 3) and hints (n, 6) of every clip in a folder.

    labels: an .npz with, per clip, ID.pts (n, 110, 2) int16: landmarks in 1/4096 of the side, differenced in time.
    """
    import dataclasses

    import cv2

    paths = sorted(folder.glob("*.mp4"))
    if not paths:
        raise UserError(f"no *.mp4 clips in {folder}: give the folder that holds them")
    if not labels.is_file():
        raise UserError(f"no such labels file: {labels}")
    pictures, hints = [], []
    with np.load(labels) as archive:
        for path in paths:
            capture = cv2.VideoCapture(str(path))
            frames = []
            while (read := capture.read())[0]:
                frames.append(area_8x8(np.ascontiguousarray(read[1][:, :, ::-1], np.uint8)))
            capture.release()
            if len(frames) < 10:
                continue
            pictures.append(np.stack(frames))
            if f"{path.stem}.pts" in archive:
                points = np.cumsum(archive[f"{path.stem}.pts"], 0, dtype=np.int32).astype(np.float32) / 4096
                hints.append(np.array([dataclasses.astuple(hints_of(p)) for p in points], np.float32))
    return pictures, hints


if __name__ == "__main__":
    run_command(main)
