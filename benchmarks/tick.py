"""What the networks cost a tick on one CPU core, and whether their memory grows.

    python -m benchmarks.tick [CLIP] [--ticks N] [--stills S] [--weights F] [--json F]

CLIP is a media file; without one the built-in source is used, repeated until N ticks are drawn. A tick is what the
receiver does with one: the log-mels of its voice, the upsampler, the teeth, the picture as bytes. One thread, both
precisions, with and without the teeth. (What interpolation at 5 fps adds is in `benchmarks.interpolation`.)
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.clips import DEMO, Clip, load_clip
from benchmarks.ours import code_faces
from benchmarks.progress import Progress
from benchmarks.report import Row, document, settings, table, write_json
from codec_models.bitstream.face import FaceConfig
from codec_models.bitstream.still import IdentityStill
from codec_models.errors import CommandParser, UserError, run_command

_CLIP_TICKS = 125
_SETTLED = 0.2
"""Share of the ticks after which memory is read first: caches and pools are full by then."""
COLUMNS = {
    "codec": "runtime",
    "stills": "stills|.0f",
    "still_ms": "a still, ms|.0f",
    "p50_ms": "tick p50, ms|.1f",
    "p95_ms": "p95|.1f",
    "p99_ms": "p99|.1f",
    "growth_mb": "memory grown, MB|.1f",
}


def measure(
    clip: Clip, bfloat16: bool, teeth: bool, stills: int, ticks: int, weights: Path | None, show: Progress
) -> Row:
    """Draw ticks with a fresh network on one thread -> its row."""
    import torch

    from codec_models.engines.torch_engine import torch_network

    torch.set_num_threads(1)
    network = torch_network(weights, stills=stills, bfloat16=bfloat16, teeth=teeth)
    faces = code_faces(clip, FaceConfig()).ticks
    identity_ms = []
    for k in np.linspace(0, len(clip.frames) - 1, stills).astype(int).tolist():
        began = time.perf_counter()
        network.set_identity(IdentityStill(clip.frames[k], clip.points_at(k)))
        identity_ms.append(1e3 * (time.perf_counter() - began))
    spent, settled = [], 0.0
    for k in range(ticks):
        began = time.perf_counter()
        network.tick(faces[k % len(faces)], clip.voice[k % len(faces)])
        spent.append(1e3 * (time.perf_counter() - began))
        if k == int(_SETTLED * ticks):
            settled = resident_mb()
        show.step()
    p50, p95, p99 = np.percentile(spent[min(10, ticks - 1) :], [50, 95, 99]).tolist()
    return {
        "codec": network.backend,
        "clip": clip.name,
        "stills": stills,
        "still_ms": min(identity_ms),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "growth_mb": resident_mb() - settled,
    }


def resident_mb() -> float:
    """Memory of this process that is in use, in MB."""
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e6


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Measure what the network costs a tick on one CPU core.")
    parser.add_argument("clip", nargs="?", default=DEMO, metavar="CLIP", help="media file (the built-in source)")
    parser.add_argument("--ticks", type=int, default=500, help="ticks to draw (500; 90000 are an hour)")
    parser.add_argument("--stills", type=int, choices=(1, 2, 3), default=1, help="stills used at once (1)")
    parser.add_argument("--weights", type=Path, help="safetensors of the network (those that come with the program)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    if options.ticks < 20:
        raise UserError(f"{options.ticks} ticks tell nothing: at least 20")
    try:
        import torch  # noqa: F401
    except ImportError:
        raise UserError("the network needs torch: pip install -e '.[receiver]'") from None
    clip = load_clip(options.clip, _CLIP_TICKS)
    with Progress(4 * options.ticks, "ticks") as show:
        rows = [
            measure(clip, bfloat16, teeth, options.stills, options.ticks, options.weights, show)
            for bfloat16 in (True, False)
            for teeth in (True, False)
        ]
    print(table(rows, COLUMNS))
    if options.json is not None:
        write_json(options.json, document(rows, settings(clip=clip.name, ticks=options.ticks, stills=options.stills)))
    return 0


if __name__ == "__main__":
    run_command(main)
