"""What the networks cost a tick on one CPU core, on every runtime that works here, and what that does to the picture.

    python -m benchmarks.tick [CLIP] [--ticks N] [--backends A,B] [--json F]

CLIP is a media file; without one the built-in source is used, repeated until N ticks are drawn. A tick is what the
receiver does with one: the log-mels of its voice, the upsampler, the teeth, the picture as bytes. One thread, all
precisions that the processor computes in, with and without the teeth; the runtimes take turns, so that a machine whose
speed drifts treats them alike. PSNR is that of the drawn clip against its truth. (What interpolation at 5 fps adds is
in `benchmarks.interpolation`, whole networks one by one are in `benchmarks.throughput`.)
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import DEMO, Clip, load_clip
from benchmarks.metrics import psnr
from benchmarks.ours import code_faces
from benchmarks.progress import Progress
from benchmarks.report import Row, document, settings, table, write_json
from codec_models.bitstream.face import FaceConfig, FaceTick
from codec_models.bitstream.still import IdentityStill
from codec_models.engines.choice import BACKENDS, PRECISIONS, NotHere, candidates
from codec_models.engines.engine import Engine
from codec_models.engines.parity import verify
from codec_models.errors import CommandParser, UserError, run_command
from codec_models.network import NetworkReconstructor

_CLIP_TICKS = 125
_WARM = 5
ROUNDS = 5
"""Turns that each runtime has."""
COLUMNS = {
    "codec": "runtime",
    "still_ms": "a still, ms|.0f",
    "p50_ms": "tick p50, ms|.1f",
    "p95_ms": "p95|.1f",
    "p99_ms": "p99|.1f",
    "psnr": "PSNR, dB|.2f",
    "over_reference": "over torch fp32|+.2f",
}


@dataclass
class Runner:
    """One runtime on the clip. shown: the pictures of the first pass over it."""

    network: NetworkReconstructor
    still_ms: float = 0.0
    spent: list[float] = field(default_factory=list)
    shown: list[NDArray[np.uint8]] = field(default_factory=list)
    at: int = 0

    def begin(self, clip: Clip) -> None:
        """Take the still, and draw a little that does not count."""
        still = IdentityStill(clip.frames[0], clip.points_at(0))
        spent = []
        for _ in range(3):
            began = time.perf_counter()
            self.network.set_identity(still)
            spent.append(1e3 * (time.perf_counter() - began))
        self.still_ms = min(spent)

    def draw(self, faces: Sequence[FaceTick], voice: NDArray[np.int16], count: int, show: Progress) -> None:
        """The next ticks of the clip, which begins anew at its end."""
        for k in range(count + _WARM):
            counts = k >= _WARM
            at = self.at % len(faces)
            if not at:
                self.network.reset()
            began = time.perf_counter()
            picture = self.network.tick(faces[at], voice[at])
            if counts:
                self.spent.append(1e3 * (time.perf_counter() - began))
                show.step()
            if len(self.shown) < len(faces):
                self.shown.append(picture)
            self.at += 1

    def row(self, clip: Clip) -> Row:
        p50, p95, p99 = np.percentile(self.spent, [50, 95, 99]).tolist()
        return {
            "codec": self.network.backend,
            "clip": clip.name,
            "still_ms": self.still_ms,
            "p50_ms": p50,
            "p95_ms": p95,
            "p99_ms": p99,
            "psnr": psnr(clip.frames[: len(self.shown)], np.stack(self.shown)),
        }


def engines(backends: Sequence[str]) -> tuple[list[Engine], list[str]]:
    """Every runtime and precision that works here on one thread, and what does not, with the reason."""
    made: list[Engine] = []
    left_out: list[str] = []
    for candidate in candidates():
        if backends and candidate.name not in backends:
            continue
        for precision in PRECISIONS:
            try:
                engine = candidate.make(precision, 1)
                verify(engine)
            except NotHere:
                left_out.append(f"{candidate.what}: no such device")
                break
            except ImportError as e:
                left_out.append(f"{candidate.what}: needs the package {e.name}")
                break
            except UserError as e:
                left_out.append(f"{candidate.what} {precision}: {e}")
                continue
            made.append(engine)
    return made, left_out


def measure(clip: Clip, made: Sequence[Engine], ticks: int, show: Progress) -> list[Row]:
    """A row for each engine with teeth, and one without."""
    faces, voice = code_faces(clip, FaceConfig()).ticks, clip.voice
    runners = [Runner(NetworkReconstructor(engine, teeth=teeth)) for teeth in (True, False) for engine in made]
    for runner in runners:
        runner.begin(clip)
    shares = np.diff(np.linspace(0, ticks, ROUNDS + 1).astype(int)).tolist()
    for share in shares:
        for runner in runners:
            runner.draw(faces, voice, share, show)
    rows = [runner.row(clip) for runner in runners]
    for row in rows:
        suffix = " + teeth" if row["codec"].endswith("teeth") else ""
        reference = next((r["psnr"] for r in rows if r["codec"] == f"torch fp32{suffix}"), None)
        row["over_reference"] = None if reference is None else row["psnr"] - reference
    return rows


def resident_mb() -> float:
    """Memory of this process that is in use, in MB."""
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e6


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Measure what the networks cost a tick on one CPU core.")
    parser.add_argument("clip", nargs="?", default=DEMO, metavar="CLIP", help="media file (the built-in source)")
    parser.add_argument("--ticks", type=int, default=500, help="ticks to draw (500; 90000 are an hour)")
    known = ", ".join(BACKENDS[1:])
    parser.add_argument("--backends", type=lambda text: text.split(","), default=[], help=f"some of: {known} (all)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    if options.ticks < 20:
        raise UserError(f"{options.ticks} ticks tell nothing: at least 20")
    if unknown := [name for name in options.backends if name not in BACKENDS[1:]]:
        raise UserError(f"no backend called {unknown[0]}; known are {', '.join(BACKENDS[1:])}")
    made, left_out = engines(options.backends)
    if not made:
        raise UserError(f"no runtime works here ({'; '.join(left_out)}): pip install -e '.[receiver]'")
    clip = load_clip(options.clip, _CLIP_TICKS)
    before = resident_mb()
    with Progress(2 * len(made) * options.ticks, "ticks") as show:
        rows = measure(clip, made, options.ticks, show)
    print(table(rows, COLUMNS))
    grown = resident_mb() - before
    print(f"memory grew by {grown:.0f} MB for {len(rows)} reconstructions and {options.ticks} ticks of each")
    for line in left_out:
        print(f"not measured: {line}")
    if options.json is not None:
        how = settings(clip=clip.name, ticks=options.ticks, rounds=ROUNDS, threads=1, left_out=left_out)
        write_json(options.json, document(rows, how))
    return 0


if __name__ == "__main__":
    run_command(main)
