"""8x8 frames between those that are received at 5 fps: ours against hold, linear and cubic.

    python -m benchmarks.interpolation [CLIP...] [--json F] [--codecs A,B] [--frames N] [--loss P] [--seed S]
        [--weights F]

CLIP is a media file; without one the built-in source is used. Every fifth 8x8 frame goes through the bitstream (full
profile, hints in every tick); every codec fills up what is decoded to 25 fps:

- hold: the last received frame (no look-ahead).
- linear: between the received frames before and after (needs the next one: 200 ms).
- linear-window: linear within windows of 25 ticks, as ours-window gets them; their last four ticks hold.
- cubic: Catmull-Rom, tangents from the neighbours (needs two later ones: 400 ms).
- ours-live-0, ours-live-1: `codec_models.slow_stream.SlowStream` tick by tick, without look-ahead and with one frame.
- ours-window: the paper's form, 25 ticks of five frames at once; of each window the last four ticks come after its last
  frame.
- with -nohints: the same without the hints.

All give bytes, as the upsampler gets them, and are compared with the area averages of the true frames, not rounded.
`psnr` is that of the ticks without a received frame, `psnr_all` of all ticks, each from one mean squared error over all
pixels of the clip; the tables average over clips. Only ticks that every form can give count: from the first frame to
the last one that is received, in whole windows of 25 ticks. The row `truth` is for its own beat (`smoothness.py`).

With --loss each frame but the first is lost with this probability. All that leans on it is then lost too, hints
included, until the next frame, which is independent because the receiver has asked for it. A window has no frame for
it and repeats the one before.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import DEMO, Clip, load_clip
from benchmarks.codec_runs import check
from benchmarks.progress import Progress
from benchmarks.report import Row, document, mean_rows, settings, table, write_json
from benchmarks.smoothness import DEFINITION, beat_5hz
from codec_models.bitstream.face import FaceConfig, FaceDecoder, FaceEncoder, FaceTick, area_8x8
from codec_models.bitstream.timing import GRID, TICKS_PER_SECOND
from codec_models.engines.choice import choose
from codec_models.errors import CommandParser, UserError, run_command

if TYPE_CHECKING:
    from codec_models.slow_stream import SlowStream

INTERVAL = 5
WINDOW = 25
BASELINES = ("hold", "linear", "linear-window", "cubic")
FORMS = ("ours-window", "ours-live-0", "ours-live-1")
CODECS = (*BASELINES, *FORMS, *(f"{form}-nohints" for form in FORMS))
TRUTH = "truth"
COLUMNS = {
    "codec": "8x8 frames",
    "psnr": "PSNR between|.2f",
    "over_linear": "over linear|+.2f",
    "psnr_all": "of all ticks|.2f",
    "beat_5hz": "beat at 5 Hz, dB|.1f",
    "mean_ms": "ms a tick, mean|.2f",
    "p50_ms": "p50|.2f",
    "p95_ms": "p95|.2f",
}
DEFINITIONS = {
    "psnr": "RGB 8x8, bytes against unrounded area averages, ticks without a received frame, one error a clip, dB",
    "psnr_all": "the same of all ticks",
    "over_linear": "psnr less that of linear on the same clip, dB",
    "beat_5hz": DEFINITION,
    "mean_ms, p50_ms, p95_ms": "of a tick on one thread; of ours-window a window's time over its 25 ticks",
}

Frames = NDArray[np.float32]


@dataclass(frozen=True)
class Received:
    """What arrives of a clip. ticks: as decoded, of all ticks; truth (N, 8, 8, 3) float32, 0 to 255."""

    ticks: list[FaceTick]
    truth: Frames

    @property
    def keys(self) -> NDArray[np.int64]:
        """The ticks whose picture has been received, ascending."""
        return np.array([k for k, tick in enumerate(self.ticks) if tick.picture is not None], np.int64)

    @property
    def pictures(self) -> NDArray[np.uint8]:
        """(len(keys), 8, 8, 3) RGB."""
        return np.stack([tick.picture for tick in self.ticks if tick.picture is not None])

    @property
    def compared(self) -> int:
        """How many ticks, from the first on, every codec can give."""
        return min(int(self.keys[-1]) + 1, len(self.ticks) // WINDOW * WINDOW)


def receive(clip: Clip, loss: float = 0.0, seed: int = 0) -> Received:
    """A clip through the encoder and the decoder at 5 fps. loss: probability that a picture does not arrive.

    Raises UserError where the clip is too short for a window.
    """
    if len(clip.frames) < WINDOW:
        raise UserError(f"{clip.name} has {len(clip.frames)} frames, at least {WINDOW} are needed: give a longer clip")
    encoder, decoder = FaceEncoder(FaceConfig(fps=5)), FaceDecoder()
    chance = np.random.default_rng(seed)
    ticks = []
    for k, frame in enumerate(clip.frames):
        shown = k % INTERVAL == 0
        data = encoder.encode(area_8x8(frame) if shown else None, clip.hints_at(k))
        if shown and k and chance.random() < loss:
            ticks.append(decoder.lost())
            encoder.refresh()
        else:
            ticks.append(decoder.decode(data))
    cell = clip.frames.shape[1] // GRID
    truth = clip.frames.reshape(-1, GRID, cell, GRID, cell, 3).mean((2, 4), dtype=np.float32)
    return Received(ticks, truth)


def hold(keys: NDArray[np.int64], pictures: Frames, ticks: NDArray[np.int64]) -> Frames:
    """The last picture at or before each tick. keys (n,) ascending, pictures (n, ...), ticks (m,) from keys[0] on."""
    return pictures[np.searchsorted(keys, ticks, "right") - 1]


def linear(keys: NDArray[np.int64], pictures: Frames, ticks: NDArray[np.int64]) -> Frames:
    """As `hold`, mixed with the picture after; after the last one that holds."""
    before, after, share = _between(keys, ticks)
    share = share.reshape(-1, *[1] * (pictures.ndim - 1))
    return np.asarray((1 - share) * pictures[before] + share * pictures[after], np.float32)


def linear_window(keys: NDArray[np.int64], pictures: Frames, ticks: NDArray[np.int64]) -> Frames:
    """As `linear`, but no tick knows a picture of a later window of 25 ticks."""
    before, after, share = _between(keys, ticks)
    share = np.where(keys[after] // WINDOW > ticks // WINDOW, 0, share).reshape(-1, *[1] * (pictures.ndim - 1))
    return np.asarray((1 - share) * pictures[before] + share * pictures[after], np.float32)


def cubic(keys: NDArray[np.int64], pictures: Frames, ticks: NDArray[np.int64]) -> Frames:
    """As `linear`, by Catmull-Rom's spline: tangents are the slope between both neighbours of a picture (at the ends
    between it and its only one), at their true distance where one is lost.
    """
    before, after, share = _between(keys, ticks)
    n = len(keys)
    low, high = np.maximum(np.arange(n) - 1, 0), np.minimum(np.arange(n) + 1, n - 1)
    span = np.maximum(keys[high] - keys[low], 1)
    ones = [1] * (pictures.ndim - 1)
    slopes = (pictures[high] - pictures[low]) / span.reshape(-1, *ones)
    s, gap = share.reshape(-1, *ones), (keys[after] - keys[before]).reshape(-1, *ones)
    ends = (2 * s**3 - 3 * s**2 + 1) * pictures[before] + (3 * s**2 - 2 * s**3) * pictures[after]
    tangents = (s**3 - 2 * s**2 + s) * slopes[before] + (s**3 - s**2) * slopes[after]
    return np.asarray(ends + gap * tangents, np.float32)


def _between(
    keys: NDArray[np.int64], ticks: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Indices of the keys before and after each tick, and how far it is on the way, 0 to 1."""
    before = np.searchsorted(keys, ticks, "right") - 1
    after = np.minimum(before + 1, len(keys) - 1)
    return before, after, (ticks - keys[before]) / np.maximum(keys[after] - keys[before], 1)


_FILLS = {"hold": hold, "linear": linear, "linear-window": linear_window, "cubic": cubic}


def live(stream: SlowStream, ticks: Sequence[FaceTick]) -> tuple[Frames, list[float]]:
    """Tick by tick, as in a call whose sender has told its rate -> frames (len(ticks), 8, 8, 3) and ms of each tick."""
    stream.fps = 5
    stream.reset()
    frames, spent = [], []
    for tick in [*ticks, *[FaceTick(None, None)] * stream.delay]:
        began = time.perf_counter()
        out = stream.push(tick)
        spent.append(1e3 * (time.perf_counter() - began))
        if out is not None:
            assert out.picture is not None, "the first tick has a picture"
            frames.append(out.picture)
    return np.stack(frames).astype(np.float32), spent


def windows(stream: SlowStream, ticks: Sequence[FaceTick]) -> tuple[Frames, list[float]]:
    """The paper's form, window after window -> frames of all whole windows (n, 8, 8, 3) and ms a tick.

    A lost frame and missing hints are those before them; a window in which none are known is drawn without hints.
    """
    frames, spent = [], []
    picture, told = None, None
    for start in range(0, len(ticks) // WINDOW * WINDOW, WINDOW):
        keys, hints = [], []
        for k, tick in enumerate(ticks[start : start + WINDOW]):
            picture = picture if tick.picture is None else tick.picture
            told = told if tick.hints is None else astuple(tick.hints)
            hints.append(told)
            if k % INTERVAL == 0:
                assert picture is not None, "the first tick has a picture"
                keys.append(picture)
        known = None if None in hints else np.array(hints, np.float32)
        began = time.perf_counter()
        frames.append(stream.window(np.stack(keys), known))
        spent.append(1e3 * (time.perf_counter() - began) / WINDOW)
    return np.concatenate(frames), spent


def run(codec: str, received: Received, stream: Callable[[int], SlowStream]) -> tuple[Frames, Row]:
    """Frames of the compared ticks, rounded to bytes, (n, 8, 8, 3) float32; and what they cost, of ours.

    stream: makes the network with a look-ahead of 0 or 1.
    """
    ticks = received.ticks
    if codec in BASELINES:
        fill = _FILLS[codec]
        frames = fill(received.keys, received.pictures.astype(np.float32), np.arange(received.compared))
        return bytes_of(frames), {}
    if codec.endswith("-nohints"):
        ticks = [dataclasses.replace(tick, hints=None) for tick in ticks]
    if codec.startswith("ours-window"):
        frames, spent = windows(stream(0), ticks)
    else:
        frames, spent = live(stream(int(codec.split("-")[2])), ticks)
    p50, p95 = np.percentile(spent, [50, 95]).tolist()
    cost = {"mean_ms": float(np.mean(spent)), "p50_ms": p50, "p95_ms": p95}
    return bytes_of(frames[: received.compared]), cost


def bytes_of(frames: Frames) -> Frames:
    """Rounded to nearest and clipped as bytes are, still as floats."""
    return np.asarray(np.clip(np.floor(frames + 0.5), 0, 255), np.float32)


def pooled_psnr(truth: Frames, frames: Frames) -> float:
    """PSNR in dB of one mean squared error over everything; 100 at most."""
    mse = float(np.square(truth - frames).mean(dtype=np.float64))
    return 100.0 if mse <= 255**2 / 1e10 else 10 * math.log10(255**2 / mse)


def measure(
    clip: Clip, received: Received, codecs: Sequence[str], stream: Callable[[int], SlowStream], show: Progress
) -> list[Row]:
    """A row a codec, and one of the truth's own beat."""
    count = received.compared
    truth = received.truth[:count]
    between = np.ones(count, bool)
    between[received.keys[received.keys < count]] = False
    rows: list[Row] = []
    for codec in codecs:
        show.now(f"{codec}  {clip.name}")
        frames, cost = run(codec, received, stream)
        row: Row = {"codec": codec, "clip": clip.name, "ticks": count, "between": int(between.sum())}
        row["psnr"] = pooled_psnr(truth[between], frames[between])
        row["psnr_all"] = pooled_psnr(truth, frames)
        rows.append({**row, "beat_5hz": beat_5hz(frames), **cost})
        show.step()
    straight = next((row["psnr"] for row in rows if row["codec"] == "linear"), None)
    if straight is not None:
        for row in rows:
            row["over_linear"] = row["psnr"] - straight
    return [*rows, {"codec": TRUTH, "clip": clip.name, "ticks": count, "beat_5hz": beat_5hz(bytes_of(truth))}]


def network(weights: Path | None) -> tuple[Callable[[int], SlowStream], int]:
    """Makes streams, one a look-ahead, on one thread; and the network's parameters. Raises UserError."""
    try:
        import torch

        from codec_models.engines.torch_engine import TorchEngine
        from codec_models.interpolation import load_interpolation
        from codec_models.slow_stream import SlowStream
    except ImportError:
        raise UserError("the network needs torch: pip install -e '.[receiver]'") from None
    torch.set_num_threads(1)
    parameters = sum(p.numel() for p in load_interpolation(weights).parameters())
    # weights that are not shipped run on torch alone
    engine = choose(threads=1) if weights is None else TorchEngine(interpolation=weights)
    made: dict[int, SlowStream] = {}

    def stream(lookahead: int) -> SlowStream:
        if lookahead not in made:
            made[lookahead] = SlowStream(engine, lookahead)
        return made[lookahead]

    return stream, parameters


def no_network(lookahead: int) -> SlowStream:
    """Where only the baselines are measured. Raises ValueError."""
    raise ValueError("the baselines need no network")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Compare ways to fill up 8x8 frames from 5 to 25 a second.")
    parser.add_argument("clips", metavar="CLIP", nargs="*", help="media files (default: the built-in source)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--codecs", type=lambda text: text.split(","), help=f"some of: {', '.join(CODECS)}")
    parser.add_argument("--frames", type=int, help="frames of each clip at most")
    parser.add_argument("--loss", type=float, default=0.0, help="probability that an 8x8 frame is lost (0)")
    parser.add_argument("--seed", type=int, default=0, help="of what is lost (0)")
    parser.add_argument("--weights", type=Path, help="safetensors of the network (those that come with the program)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    check(options)
    if not 0 <= options.loss < 1:
        raise UserError(f"--loss {options.loss:g} is no probability: 0 or more, below 1")
    wanted = CODECS if options.codecs is None else [name.strip() for name in options.codecs]
    if unknown := [name for name in wanted if name not in CODECS]:
        raise UserError(f"no codec called {', '.join(unknown)}; known are {', '.join(CODECS)}")
    codecs = [name for name in CODECS if name in wanted]
    stream, parameters = network(options.weights) if set(codecs) - set(BASELINES) else (no_network, None)
    sources = options.clips or [DEMO]
    rows: list[Row] = []
    with Progress(len(sources) * len(codecs), "interpolating") as show:
        for number, source in enumerate(sources):
            clip = load_clip(source, options.frames)
            received = receive(clip, options.loss, options.seed + number)
            rows += measure(clip, received, codecs, stream, show)
    names = [Path(source).name for source in sources]
    over = names[0] if len(names) == 1 else f"{len(names)} clips, mean"
    lost = f", {100 * options.loss:g} % of the frames lost" if options.loss else ""
    print(f"{'the built-in source' if sources == [DEMO] else over}, 5 to {TICKS_PER_SECOND} fps{lost}")
    print(table([{"codec": codec, **figures} for codec, figures in mean_rows(rows).items()], COLUMNS))
    if parameters is not None:
        print(f"the network has {parameters} parameters")
    if options.json is not None:
        how = settings(loss=options.loss, seed=options.seed, parameters=parameters, threads=1, metrics=DEFINITIONS)
        write_json(options.json, document(rows, how))
        print(f"figures: {options.json}")
    return 0


def command() -> None:
    run_command(main)


if __name__ == "__main__":
    command()
