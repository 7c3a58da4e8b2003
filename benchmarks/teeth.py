"""What the teeth stage does to the mouth: sharpness, truth, steadiness and time, beside simple ways to sharpen.

    python -m benchmarks.teeth [CLIP...] [--frames N] [--weights F] [--upsampler-weights F] [--json F] [--wall F.png]

CLIP is a media file; without one the built-in source is used. Each tick is drawn once, from the coded stream with hints
and voice and the first picture as the still, so that all codecs see the same picture and the same place of the mouth:

- `upsampler`: as drawn, before the stage. `upsampler+teeth`: after it.
- `unsharp`: before it, with an unsharp mask inside the stage's feather, its amount such that its mean Brenner figure
  over the clip is that of the stage. `upscaled`: the crop before it at half the size, enlarged again.
- `truth`: the clip itself.

Times are of one thread: the stage from picture to picture, the others from crop to crop. The wall shows people's faces.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import DEMO, Clip, load_clip
from benchmarks.mouth_baselines import MOST, SIGMA, matching_amount, unsharp, upscaled, with_mouths
from benchmarks.mouth_metrics import DEFINITIONS, Frames, Places, measure
from benchmarks.mouth_wall import MouthRow, draw, telling_ticks
from benchmarks.ours import OurCodec
from benchmarks.progress import Progress
from benchmarks.report import Row, document, settings, table, write_json
from codec_models.engines.choice import choose
from codec_models.engines.engine import Array
from codec_models.engines.samples import chain, host_inputs
from codec_models.errors import CommandParser, UserError, run_command
from codec_models.landmarks import hints_of

if TYPE_CHECKING:
    from codec_models.network import NetworkReconstructor

CODECS = ("upsampler", "upsampler+teeth", "unsharp", "upscaled", "truth")
TIMED = 40
"""Ticks of a clip whose time is taken."""
_WARM = 5
COLUMNS = {
    "codec": "codec",
    "brenner": "Brenner|.0f",
    "laplacian": "Laplacian|.1f",
    "smd": "SMD|.0f",
    "smd2": "SMD2|.0f",
    "variance": "variance|.0f",
    "energy": "energy|.0f",
    "vollath": "Vollath|.0f",
    "entropy": "entropy|.2f",
}
GAINS = {
    "codec": "codec",
    "brenner_gain": "Brenner gain|.2f",
    "energy_gain": "energy|.2f",
    "psnr": "PSNR|.2f",
    "psnr_change": "change|+.2f",
    "ssim": "SSIM|.3f",
    "psnr_mouth": "PSNR mouth|.2f",
    "psnr_mouth_change": "change|+.2f",
    "ssim_mouth": "SSIM|.3f",
    "flicker": "flicker|.2f",
    "flicker_mouth": "mouth|.2f",
    "ms_p50": "ms p50|.2f",
    "ms_p95": "p95|.2f",
    "gflop": "GFLOP|.2f",
}
APART = {
    "codec": "codec",
    **{
        f"{group}_{key}": f"{group} {head}" if key == "share" else head
        for group in ("open", "closed", "turned")
        for key, head in (
            ("share", "share|.2f"),
            ("brenner_gain", "Brenner|.2f"),
            ("energy_gain", "energy|.2f"),
            ("psnr_change", "PSNR|+.2f"),
            ("psnr_mouth_change", "mouth|+.2f"),
        )
    },
}


@dataclass(frozen=True)
class Run:
    """A clip drawn once. before, after (N, 256, 256, 3) uint8; gate (N,) in [0, 1]; reference: the still's mouth;
    figures: time and work of the stage.
    """

    before: Frames
    after: Frames
    places: Places
    gate: NDArray[np.float64]
    reference: Frames
    figures: Row


def run_clip(clip: Clip, network: NetworkReconstructor, show: Progress) -> Run:
    """Draw a clip with a fresh network that has a teeth stage; the stage is run a second time for its time."""
    import torch

    from codec_models.hint_measure import measured
    from codec_models.mouth import feather, mouth_corner

    stage = network.teeth
    if stage is None:
        raise ValueError("the network has no teeth stage")
    mine = OurCodec(clip)
    still = mine.still[1]
    network.set_identity(still)
    before, after, points, gates = [], [], [], []
    kept: list[tuple[Array, Array]] = []
    engine = network.engine
    for tick, voice in zip(mine.stream(25, True).ticks, clip.voice, strict=True):
        drawn = network.draw(tick, voice)
        if drawn is None or stage.gate is None:
            raise ValueError(f"{clip.name}: the stream does not begin with a picture")
        before.append(engine.shown(drawn.upsampled))
        after.append(engine.shown(drawn.picture))
        points.append(torch.from_numpy(engine.numpy(drawn.points)[0]).float())
        gates.append(float(engine.numpy(stage.gate)[0]))
        if len(kept) < TIMED:
            kept.append((drawn.upsampled, drawn.points))
        show.now(f"drawing  {clip.name}")
    every = torch.stack(points)
    corner = mouth_corner(every)
    hints = measured(every)
    opening = [hints_of(p).mouth_open if (p := clip.points_at(k)) is not None else None for k in range(len(before))]
    places = Places(
        corner.numpy(),
        feather(every, corner)[:, 0].numpy(),
        np.array([float(hints[k, 0]) if value is None else value for k, value in enumerate(opening)]),
        hints[:, 10].double().numpy(),
    )
    return Run(
        np.stack(before),
        np.stack(after),
        places,
        np.array(gates),
        _mouth_of(still.picture, still.points),
        _work(network, kept) | {"gate": float(np.mean(gates)), "reference": _shown(network)},
    )


def _mouth_of(picture: Frames, points: NDArray[np.float32] | None) -> Frames:
    import torch

    from codec_models.mouth import MOUTH, mouth_corner

    middle = (picture.shape[0] - MOUTH) // 2
    x, y = middle, middle
    if points is not None:
        x, y = mouth_corner(torch.from_numpy(points * 2 - 1)[None])[0].tolist()
    return picture[y : y + MOUTH, x : x + MOUTH]


def _shown(network: NetworkReconstructor) -> float:
    """How well the still in use shows teeth."""
    reference = None if network.teeth is None else network.teeth.reference
    return 0.0 if reference is None else reference.shown


def _work(network: NetworkReconstructor, ticks: Sequence[tuple[Array, Array]]) -> Row:
    """Milliseconds and operations of the stage, where it works."""
    stage = network.teeth
    if stage is None:
        return {}
    spent = []
    stage.reset()
    for k, (picture, points) in enumerate((*ticks[:_WARM], *ticks)):
        began = time.perf_counter()
        stage.restore(picture, points)
        took = 1e3 * (time.perf_counter() - began)
        if k >= _WARM and stage.gate is not None and float(network.engine.numpy(stage.gate)[0]) > 0:
            spent.append(took)
    return times(spent) | ({"gflop": gflop()} if spent else {})


@cache
def gflop() -> float:
    """10^9 operations of the stage's networks in a tick; a multiplication and an addition count two."""
    from torch.utils.flop_counter import FlopCounterMode

    from codec_models.engines.torch_engine import TorchEngine

    engine = TorchEngine(bfloat16=False)
    inputs, _ = chain(engine, host_inputs())
    with FlopCounterMode(display=False) as counter:
        for network in ("mouth", "teeth"):
            engine.run(network, inputs[network])
    return float(counter.get_total_flops()) / 1e9


def times(spent: Sequence[float]) -> Row:
    """Percentiles of milliseconds; nothing of nothing."""
    if not spent:
        return {}
    p50, p95 = np.percentile(spent, [50, 95]).tolist()
    return {"ms_p50": p50, "ms_p95": p95}


def timed(make: Callable[[int], Frames], count: int) -> tuple[list[Frames], Row]:
    """make(0) ... make(count - 1) and how long each took."""
    made, spent = [], []
    for k in range(count):
        began = time.perf_counter()
        made.append(make(k))
        spent.append(1e3 * (time.perf_counter() - began))
    return made, times(spent)


def rows_of(clip: Clip, run: Run) -> list[Row]:
    """A row for each of `CODECS`."""
    places, count = run.places, len(run.before)
    crops = places.crops(run.before)
    figures = {
        "upsampler": measure(run.before, clip.frames, places),
        "upsampler+teeth": measure(run.after, clip.frames, places),
        "truth": measure(clip.frames, clip.frames, places),
    }
    extra: dict[str, Row] = {"upsampler+teeth": run.figures}
    amount = matching_amount(run.before, places, float(figures["upsampler+teeth"].sharp["brenner"].mean()))
    for codec, make in (
        ("unsharp", lambda k: unsharp(crops[k], places.share[k], amount)),
        ("upscaled", lambda k: upscaled(crops[k])),
    ):
        mouths, extra[codec] = timed(make, count)
        figures[codec] = measure(with_mouths(run.before, places, mouths), clip.frames, places)
    extra["unsharp"]["amount"] = amount
    groups = places.groups()
    return [
        {"codec": codec, "clip": clip.name, "frames": count}
        | figures[codec].row(figures["upsampler"], figures["truth"], groups)
        | extra.get(codec, {})
        for codec in CODECS
    ]


def wall_rows(clip: Clip, run: Run) -> list[MouthRow]:
    out = []
    for k in telling_ticks(run.places):
        label = f"{Path(clip.name).stem[-34:]}, frame {k}: opening {run.places.opening[k]:.2f}, "
        label += f"yaw {run.places.yaw[k]:+.2f}, gate {run.gate[k]:.2f}"
        shown = (run.before[k], run.after[k], clip.frames[k])
        out.append(MouthRow(label, [run.reference, *(run.places.crop(frame, k) for frame in shown)]))
    return out


@dataclass
class Figures:
    """Of all clips."""

    rows: list[Row] = field(default_factory=list)
    wall: list[MouthRow] = field(default_factory=list)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Measure what the teeth stage does to the mouth.")
    parser.add_argument("clips", metavar="CLIP", nargs="*", help="media files (default: the built-in source)")
    parser.add_argument("--frames", type=int, help="frames of each clip at most")
    parser.add_argument("--weights", type=Path, help="safetensors of the teeth network (those of the program)")
    parser.add_argument("--upsampler-weights", type=Path, help="safetensors of the upsampler (those of the program)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--wall", type=Path, help="draw mouths of some ticks to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    if options.frames is not None and options.frames < 2:
        raise UserError("--frames must be 2 or more: flicker needs two")
    for clip in options.clips:
        if not Path(clip).is_file():
            raise UserError(f"no file at {clip}: check the path")
    try:
        import torch
    except ImportError:
        raise UserError("landmarks are computed with torch here: pip install -e '.[training]'") from None
    from codec_models.engines.torch_engine import torch_network
    from codec_models.network import NetworkReconstructor

    torch.set_num_threads(1)
    trained = options.upsampler_weights is not None or options.weights is not None
    engine = None if trained else choose(threads=1)
    sources = options.clips or [DEMO]
    found, backend = Figures(), ""
    with Progress(len(sources), "measuring") as show:
        for source in sources:
            # weights that are not shipped run on torch alone
            if engine is None:
                network = torch_network(options.upsampler_weights, teeth=options.weights or True)
            else:
                network = NetworkReconstructor(engine)
            backend = f"{network.backend} on {network.device}"
            clip = load_clip(source, options.frames)
            run = run_clip(clip, network, show)
            found.rows += rows_of(clip, run)
            if options.wall is not None:
                found.wall += wall_rows(clip, run)
            show.step(clip.name)
    how = settings(
        reconstruction=backend,
        stream="full profile, 25 fps, hints on, voice on, first picture as the still",
        unsharp=f"sigma {SIGMA} px inside the feather; amount per clip in its row, 0 to {MOST:g}",
        upscaled="48x48 area average, Lanczos to 96x96",
        metrics=DEFINITIONS,
    )
    content = document(found.rows, how)
    print(report(content["mean"], len(sources), backend))
    if options.wall is not None:
        draw(options.wall, found.wall)
        print(f"wall: {options.wall}")
    if options.json is not None:
        write_json(options.json, content)
        print(f"figures: {options.json}")
    return 0


def report(mean: dict[str, Row], clips: int, backend: str) -> str:
    """Three tables: sharpness, what it costs, and kinds of ticks apart."""
    lines = [{"codec": codec, **figures} for codec, figures in mean.items()]
    mine = mean["upsampler+teeth"]
    head = f"mean over {clips} clips" if clips > 1 else "one clip"
    about = f"gate {mine['gate']:.2f}, unsharp sigma {SIGMA} px, amount {mean['unsharp']['amount']:.2f}"
    columns = {key: title for key, title in APART.items() if key == "codec" or any(key in line for line in lines)}
    compared = [line for line in lines if line["codec"] not in ("upsampler", "truth")]
    parts = [table(lines, COLUMNS), table(lines, GAINS), table(compared, columns)]
    return f"{head}, {backend}, {about}\n" + "\n\n".join(parts)


if __name__ == "__main__":
    run_command(main)
