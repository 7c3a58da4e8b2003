"""`python -m codec_models.training`: trains what both ends of a call must agree on, and the networks.

face-prior: the integer prior of the 8x8 coder. hint-tables: only its tables of the hint layer.
landmarks, upsampler: 8x8, voice and stills to video, first where the face is, then how it looks.
interpolation: 8x8 frames at 5 fps to 25 fps. sync-expert: tells whether lips and voice belong together.
teeth: sharpens the mouths that the trained upsampler draws. face-points: finds landmarks, for the browser's page.
identity: tells whose face it is, for the benchmarks.
mix: weights between two trainings of the upsampler. calibrate: the shipped networks in 8-bit integers.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..bitstream.face import area_8x8
from ..bitstream.prior import WEIGHTS
from ..engines.files import FOLDER
from ..errors import CommandParser, UserError, run_command
from ..memory import keep_memory
from .hint_tables import clip_hints, clip_paths, rewrite


def main() -> int:
    """Parse the command line and run one recipe."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_memory()
    parser = CommandParser(prog="python -m codec_models.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    prior = commands.add_parser("face-prior", help="the integer prior of the 8x8 coder")
    prior.add_argument("clips", type=Path, help="folder of 256x256 face clips at 25 fps (*.mp4)")
    prior.add_argument("--labels", type=Path, required=True, help="landmarks: ID.pts per clip, see the README")
    prior.add_argument("--out", type=Path, default=WEIGHTS)
    prior.add_argument("--minutes", type=float, default=24.0)
    prior.add_argument("--init", type=Path, help="start from such weights instead of from nothing")
    prior.add_argument("--learning-rate", type=_positive, default=2e-3, help="at its peak (default: %(default)s)")
    tables = commands.add_parser("hint-tables", help="count the hint tables of that prior anew; the rest of it stays")
    tables.add_argument("clips", type=Path, help="folder of the clips to count on (*.mp4, named as in the labels)")
    tables.add_argument("--labels", type=Path, required=True, help="landmarks of the clips (.npz)")
    tables.add_argument("--weights", type=Path, default=WEIGHTS, help="the prior to change (default: the shipped one)")
    _add_upsampler(commands)
    landmarks = commands.add_parser("landmarks", help="the upsampler's landmark head, before the rest of it")
    landmarks.add_argument("--config", choices=("live", "paper"), default="live")
    landmarks.add_argument("--init", type=Path, help="start from weights of the upsampler (safetensors)")
    landmarks.add_argument("--learning-rate", type=_positive)
    landmarks.add_argument("--rough", action="store_true", help="harder windows, and the mouth without hints above all")
    _add_common(landmarks.add_argument)
    between = commands.add_parser("interpolation", help="8x8 frames at 5 fps to 25 fps")
    between.add_argument("--init", type=Path, help="start from weights (safetensors)")
    between.add_argument("--learning-rate", type=_positive)
    _add_common(between.add_argument)
    _add_common(commands.add_parser("sync-expert", help="tells whether lips and voice belong together").add_argument)
    _add_teeth(commands)
    finding = commands.add_parser("face-points", help="finds the landmarks of a face, for the browser's page")
    finding.add_argument("--init", type=Path, help="start from weights (safetensors)")
    finding.add_argument("--learning-rate", type=_positive)
    finding.add_argument("--every", type=_whole, default=3, help="learn from every N-th frame (default: 3)")
    _add_common(finding.add_argument)
    _add_identity(commands)
    mixing = commands.add_parser("mix", help="weights between two trainings of the upsampler, plain and sharp, say")
    mixing.add_argument("start", type=Path, help="weights (safetensors)")
    mixing.add_argument("end", type=Path, help="weights that were trained on from there, or from the same as those")
    mixing.add_argument("--share", type=_share, default=0.5, help="of the way, 0 to 1 (default: %(default)s)")
    mixing.add_argument("--out", type=Path, required=True, help="file to write")
    integers = commands.add_parser("calibrate", help="the networks in 8-bit integers, for CPUs; after their export")
    integers.add_argument("--clips", type=Path, required=True, help="folder of 256x256 face clips with a manifest.json")
    integers.add_argument("--labels", type=Path, help="landmarks of the clips (.npz)")
    integers.add_argument("--cache", type=Path, help="folder where clips without labels get theirs")
    integers.add_argument("--folder", type=Path, default=FOLDER, help="of weights and ONNX files (the program's own)")
    integers.add_argument("--samples", type=_whole, default=64, help="windows to look at (default: 64)")
    integers.add_argument("--max-clips", type=_whole, default=60, help="from so many clips (default: 60)")
    integers.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.command == "hint-tables":  # needs no torch
        clips, ticks = rewrite(options.clips, options.labels, options.weights)
        print(f"{options.weights}: hint tables counted on {clips} clips, {ticks} ticks")
        return 0
    try:
        import torch  # noqa: F401
    except ImportError:
        raise UserError("training needs torch: pip install -e '.[training]'") from None
    if options.command != "face-prior":
        from .command import COMMANDS

        return COMMANDS[options.command](options)
    from .face_prior import PriorRecipe, train  # torch only now

    paths = clip_paths(options.clips)
    hints = clip_hints(paths, options.labels)
    recipe = PriorRecipe(minutes=options.minutes, learning_rate=options.learning_rate)
    train(read_clips(paths), hints, options.out, recipe, options.init)
    return 0


def _add_upsampler(commands: argparse._SubParsersAction[CommandParser]) -> None:
    add = commands.add_parser("upsampler", help="8x8, voice and stills to 256x256 video").add_argument
    add("--config", choices=("live", "paper", "teacher"), default="live")
    _add_common(add)
    add("--of", type=_positive, help="minutes of the whole plan, where this run is only a part of it (see --resume)")
    add("--resume", type=Path, help="go on from a checkpoint (OUT/last.pt) as if it had never stopped")
    add("--init", type=Path, help="start from weights (safetensors); those of a narrower config are widened")
    add("--resolution", type=int, choices=(64, 128, 256), default=256, help="of the training pictures at the end")
    add("--phase", choices=("plain", "gan"), default="plain", help="gan: adversarial losses too")
    add("--learning-rate", type=_positive, default=6e-4)
    add("--cooldown", type=float, default=0.3, help="share of the plan in which the learning rate falls")
    add("--evaluate-minutes", type=_positive, default=10.0, help="time between two measurements on dev")
    add("--sync-expert", type=Path, help="weights of a trained sync expert: adds its sync loss")
    add("--teacher", type=Path, help="weights of a larger upsampler (--config teacher) to learn from besides")
    add("--distil", type=_share, help="weight of the teacher against the truth (default: 0.5)")
    add("--compile", action="store_true", help="torch.compile, worth it on a GPU")


def _add_teeth(commands: argparse._SubParsersAction[CommandParser]) -> None:
    add = commands.add_parser("teeth", help="sharpens the mouths that the upsampler draws").add_argument
    add("--config", choices=("live", "paper"), default="live")
    _add_common(add)
    add("--upsampler", type=Path, help="trained weights of the live upsampler (default: the shipped ones)")
    add("--samples", type=_whole, help="mouths to draw and learn from, 85 kB of memory each (default: 16000)")
    add("--pool", type=Path, help="keep the drawn mouths in this file, or take them from it (default: OUT/mouths.npz)")
    add("--resume", type=Path, help="go on from a checkpoint (OUT/last.pt) for --minutes more")
    add("--init", type=Path, help="start from weights (safetensors)")
    add("--learning-rate", type=_positive)
    add("--energy", type=_share, help="weight of the loss that asks for detail; more is sharper, at a loss of PSNR")
    add("--adversarial", type=_share, help="weight of the critic's loss; more is sharper, at a loss of PSNR")
    add("--evaluate-minutes", type=_positive, default=8.0, help="time between two measurements on dev")


def _add_identity(commands: argparse._SubParsersAction[CommandParser]) -> None:
    add = commands.add_parser("identity", help="tells whose face it is, for the benchmarks").add_argument
    add("--learning-rate", type=_positive)
    add("--every", type=_whole, default=8, help="learn from every N-th frame (default: 8)")
    add("--held-out", type=_count, default=20, help="people of several recordings not to learn from (default: 20)")
    add("--weights", type=Path, help="train nothing, only measure these weights (safetensors)")
    _add_common(add)


def _add_common(add: Callable[..., argparse.Action]) -> None:
    add("--clips", type=Path, required=True, help="folder of 256x256 face clips at 25 fps with a manifest.json")
    add("--dev", type=Path, help="folder of clips to measure on, of other people")
    add("--labels", type=Path, help="landmarks of the clips (.npz)")
    add("--cache", type=Path, help="folder where clips without labels get theirs, made with mediapipe once")
    add("--out", type=Path, required=True, help="folder for weights, checkpoints, figures and contact sheets")
    add("--minutes", type=_positive, default=10.0, help="of this run, reading the clips included")
    add("--batch", type=_whole, help="samples a step and process; 16 on a CPU, 64 on a GPU")
    add("--max-clips", type=_whole, help="use fewer clips, of as many people as possible")
    add("--dev-clips", type=_whole, help="measure on fewer clips")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--threads", type=_whole, help="of the CPU; fewer are quicker where others compute beside the training")
    add("--seed", type=int, default=0)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def _whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _count(text: str) -> int:
    return 0 if text == "0" else _whole(text)


def read_clips(paths: list[Path]) -> list[NDArray[np.uint8]]:
    """8x8 pictures (n, 8, 8, 3) of every clip of ten frames or more."""
    import cv2

    pictures = []
    for path in paths:
        capture = cv2.VideoCapture(str(path))
        frames = []
        while (read := capture.read())[0]:
            frames.append(area_8x8(np.ascontiguousarray(read[1][:, :, ::-1], np.uint8)))
        capture.release()
        if len(frames) >= 10:
            pictures.append(np.stack(frames))
    return pictures


if __name__ == "__main__":
    run_command(main)
