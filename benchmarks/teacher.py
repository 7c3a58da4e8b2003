"""A teacher beside its student: what the larger upsampler costs and what it draws better, on the same streams.
Any two weights are compared likewise, before and after a training, say.

    python -m benchmarks.teacher [CLIP...] --teacher F [--student F] [--frames N] [--precision fp32|bf16] [--no-mesh]
        [--json F]

CLIP is a media file; without one the built-in source is used. --teacher, --student: safetensors that name their config,
as trainings write them; without --student the upsampler that comes with the program. Both draw every tick in turns from
the coded stream (25 fps, hints, voice, the first picture as the still) on PyTorch with one thread, without the teeth.

GFLOP: 2 for a multiplication and an addition, of convolutions and products. Milliseconds are from the received tick to
the drawn picture: by the clock, and of the core's own time, which other programs on the machine do not lengthen much.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks import landmark_metrics, metrics
from benchmarks.clips import DEMO, Clip, load_clip
from benchmarks.ours import OurCodec
from benchmarks.progress import Progress
from benchmarks.report import Row, document, settings, table, write_json
from benchmarks.sharpness import RATIOS, sharpness_ratios
from codec_models.bitstream.still import IdentityStill
from codec_models.errors import CommandParser, UserError, run_command

if TYPE_CHECKING:
    from codec_models.engines.torch_engine import TorchEngine

TEACHER, STUDENT = "teacher", "student"
COSTS = {
    "codec": "network",
    "config": "config",
    "parameters": "M parameters|.2f",
    "parameters_tick": "of them in a tick|.2f",
    "gflop": "GFLOP a tick|.2f",
    "gflop_still": "a still|.2f",
    "ms_p50": "ms p50|.1f",
    "ms_p95": "p95|.1f",
    "core_ms_p50": "core ms p50|.1f",
}
FIGURES = {
    "codec": "network",
    "psnr": "PSNR|.2f",
    "psnr_change": "change|+.2f",
    "ssim": "SSIM|.4f",
    "ssim_change": "change|+.4f",
    "lmd_predicted": "LMD predicted|.4f",
    "lmd": "LMD of mesh|.4f",
    "lmd_lips": "lips|.4f",
    "lmd_eyes": "eyes|.4f",
    "mouth_corr": "mouth corr|.3f",
    "eye_corr": "eye corr|.3f",
    "brenner_ratio": "Brenner|.3f",
    "brenner_face": "face|.3f",
    "energy_ratio": "energy|.3f",
    "energy_face": "face|.3f",
}
DEFINITIONS = {
    "psnr_change": "PSNR less the student's on the same clip, dB",
    "ssim_change": "SSIM less the student's on the same clip",
    "lmd_predicted": "mean distance of the 110 landmarks that the network predicts from those the sender found, over "
    "the distance of the outer eye corners",
    "ms_p50": "of drawing a tick, by the clock, median over the ticks",
    "core_ms_p50": "of drawing a tick, CPU time of its thread, median over the ticks",
    "gflop": "10^9 operations of a tick, a multiplication and an addition count two",
    "parameters": "millions",
}
_WARM = 2
"""Ticks at the beginning of a clip whose time does not count."""


@dataclass(frozen=True)
class Contestant:
    """A network that draws. about: what does not depend on the clip, its `config` and figures of `COSTS`."""

    name: str
    engine: TorchEngine
    about: Row


def contestant(name: str, path: Path | None, bfloat16: bool | None) -> Contestant:
    """From a file that names its config, the shipped upsampler without one. Raises UserError."""
    from codec_models.engines.torch_engine import TorchEngine
    from codec_models.training.widen import stored_config
    from codec_models.upsampler import CONFIGS, DEFAULT_WEIGHTS

    weights = path or DEFAULT_WEIGHTS
    if not weights.is_file():
        raise UserError(f"no such weights file: {weights}")
    config = stored_config(weights)
    if config not in CONFIGS:
        raise UserError(f"{weights} does not say of which config its weights are: give a file that a training wrote")
    engine = TorchEngine(weights, CONFIGS[config], bfloat16=bfloat16, threads=1)
    return Contestant(name, engine, {"config": config} | _size(engine) | _work(engine))


def _size(engine: TorchEngine) -> Row:
    """Millions of parameters: all, and those that work every tick."""
    from codec_models.engines.graphs import TickGraph
    from codec_models.upsampler import still_part

    graph = engine.load("tick")
    assert isinstance(graph, TickGraph)
    sizes = {name: p.numel() for name, p in graph.model.named_parameters()}
    often = sum(size for name, size in sizes.items() if not still_part(name))
    return {"parameters": sum(sizes.values()) / 1e6, "parameters_tick": often / 1e6}


def _work(engine: TorchEngine) -> Row:
    """10^9 operations of a tick with one still, and of a still."""
    from torch.utils.flop_counter import FlopCounterMode

    from codec_models.bitstream.face import FaceTick
    from codec_models.bitstream.timing import PICTURE, SAMPLES_PER_TICK
    from codec_models.network import NetworkReconstructor

    network = NetworkReconstructor(engine, teeth=False)
    grey = np.full((PICTURE, PICTURE, 3), 128, np.uint8)
    with FlopCounterMode(display=False) as still:
        network.set_identity(IdentityStill(grey, None))
    with FlopCounterMode(display=False) as tick:
        network.draw(FaceTick(grey[:8, :8], None), np.zeros(SAMPLES_PER_TICK, np.int16))
    return {"gflop": tick.get_total_flops() / 1e9, "gflop_still": still.get_total_flops() / 1e9}


def run_clip(clip: Clip, contestants: Sequence[Contestant], mesh: bool, show: Progress) -> list[Row]:
    """A row for each, the student's last. Nothing of a clip before takes part."""
    from codec_models.network import NetworkReconstructor

    mine = OurCodec(clip)
    networks = {one.name: NetworkReconstructor(one.engine, teeth=False) for one in contestants}
    for network in networks.values():
        network.set_identity(mine.still[1])
    drawings: dict[str, _Drawings] = {one.name: _Drawings([], [], [], []) for one in contestants}
    for tick, voice in zip(mine.stream(25, True).ticks, clip.voice, strict=True):
        for one in contestants:
            into = drawings[one.name]
            began, core = time.perf_counter(), time.thread_time()
            drawn = networks[one.name].draw(tick, voice)
            into.core.append(1e3 * (time.thread_time() - core))
            into.clock.append(1e3 * (time.perf_counter() - began))
            if drawn is None:
                raise ValueError(f"{clip.name}: the stream does not begin with a picture")
            into.pictures.append(one.engine.shown(drawn.picture))
            into.points.append((one.engine.numpy(drawn.points)[0] + 1) / 2)
        show.now(f"drawing  {clip.name}")
    truth = landmark_metrics.track(clip.frames, each=lambda: show.now(f"landmarks  {clip.name}")) if mesh else None
    rows = []
    for one in contestants:
        made = drawings[one.name]
        frames = np.stack(made.pictures)
        row: Row = {"codec": one.name, "clip": clip.name, "frames": len(frames)} | one.about | made.times()
        row |= {"psnr": metrics.psnr(clip.frames, frames), "ssim": metrics.ssim(clip.frames, frames)}
        row |= sharpness_ratios(clip.frames, frames, clip.points)
        predicted = landmark_metrics.compare(clip.points, np.stack(made.points).astype(np.float32))
        if "lmd" in predicted:
            row["lmd_predicted"] = predicted["lmd"]
        if truth is not None:
            found = landmark_metrics.track(frames, each=lambda: show.now(f"landmarks  {clip.name}"))
            row |= landmark_metrics.compare(truth, found) if found is not None else {}
        rows.append(row)
    for row in rows:
        row |= {f"{key}_change": row[key] - rows[-1][key] for key in ("psnr", "ssim")}
    return rows


@dataclass(frozen=True)
class _Drawings:
    """Of every tick. pictures (256, 256, 3) uint8; points (110, 2) in picture fractions; milliseconds."""

    pictures: list[NDArray[np.uint8]]
    points: list[NDArray[np.float32]]
    clock: list[float]
    core: list[float]

    def times(self) -> Row:
        p50, p95 = np.percentile(self.clock[_WARM:], [50, 95]).tolist()
        return {"ms_p50": p50, "ms_p95": p95, "core_ms_p50": float(np.median(self.core[_WARM:]))}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Measure a teacher beside its student.")
    parser.add_argument("clips", metavar="CLIP", nargs="*", help="media files (default: the built-in source)")
    parser.add_argument("--teacher", type=Path, required=True, help="safetensors of the larger upsampler")
    parser.add_argument("--student", type=Path, help="safetensors of the smaller one (default: the program's own)")
    parser.add_argument("--frames", type=int, help="frames of each clip at most")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), help="default: bf16 where the processor computes in it"
    )
    parser.add_argument("--no-mesh", action="store_true", help="do not look for faces in what is drawn")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    if options.frames is not None and options.frames <= _WARM:
        raise UserError(f"--frames must be more than {_WARM}: the first ones' time does not count")
    for clip in options.clips:
        if not Path(clip).is_file():
            raise UserError(f"no file at {clip}: check the path")
    try:
        import torch
    except ImportError:
        raise UserError("both networks run on torch here: pip install -e '.[training]'") from None
    torch.set_num_threads(1)
    reduced = None if options.precision is None else options.precision == "bf16"
    both = [contestant(TEACHER, options.teacher, reduced), contestant(STUDENT, options.student, reduced)]
    sources = options.clips or [DEMO]
    mesh = not options.no_mesh and landmark_metrics.available()
    rows: list[Row] = []
    with Progress(len(sources), "measuring") as show:
        for source in sources:
            rows += run_clip(load_clip(source, options.frames), both, mesh, show)
            show.step(Path(source).name)
    backend = both[0].engine.backend
    how = settings(
        reconstruction=f"{backend}, one thread, without teeth",
        stream="full profile, 25 fps, hints on, voice on, first picture as the still",
        metrics=landmark_metrics.DEFINITIONS | metrics.DEFINITIONS | RATIOS | DEFINITIONS,
    )
    content = document(rows, how)
    print(report(rows, content["mean"], backend))
    if not mesh and not options.no_mesh:
        print("left out: LMD of mesh (needs mediapipe: see the Makefile)")
    if options.json is not None:
        write_json(options.json, content)
        print(f"figures: {options.json}")
    return 0


def report(rows: Sequence[Row], mean: dict[str, Row], backend: str) -> str:
    """Two tables, what they cost and what they draw, and how many clips the teacher draws better."""
    configs = {row["codec"]: row["config"] for row in rows}
    lines = [{"codec": codec, "config": configs[codec], **figures} for codec, figures in mean.items()]
    gains = [row["psnr_change"] for row in rows if row["codec"] == TEACHER]
    shown = {key: head for key, head in FIGURES.items() if any(key in line for line in lines)}
    better = f"the teacher is nearer to the truth on {sum(g > 0 for g in gains)} of {len(gains)} clips, by "
    better += f"{min(gains):+.2f} to {max(gains):+.2f} dB"
    head = f"mean over {len(gains)} clips" if len(gains) > 1 else "one clip"
    return f"{head}, {backend}, one thread\n{table(lines, COSTS)}\n\n{table(lines, shown)}\n{better}"


if __name__ == "__main__":
    run_command(main)
