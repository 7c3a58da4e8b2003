"""What the picture of a call would cost in H.264, told from the rate of our face layer alone.

    python -m benchmarks.h264_estimate CLIP... [--json F] [--frames N]

Both rates follow how much a face moves, so one line through clips turns one into the other. Per clip: the rate of our
8x8 pictures at 25 fps, full profile, without hints, and that of x264 zerolatency (`anchors/h264.py`) at CRF 51, its
floor, and at CRF 36. Video alone; without the first picture of either, which a call sends once and a short clip would
count too much. The line is fitted by least squares with Huber's weights (k = 1.345, scale from the median absolute
residual), once on the rates and once on their logarithms; what leaves the smaller leave-one-out error is taken.

The page uses the coefficients as `signaling/static/view/h264_estimate.js` has them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.anchors import h264
from benchmarks.anchors.codec import LibraryCodec
from benchmarks.clips import DEMO, Clip, load_clip
from benchmarks.compare_files import people_name
from benchmarks.ours import code_faces
from benchmarks.progress import Progress
from benchmarks.report import Row, document, settings, table, write_json
from codec_models.bitstream.face import FaceConfig
from codec_models.bitstream.timing import TICKS_PER_SECOND, kbps
from codec_models.errors import CommandParser, UserError, run_command

Space = Literal["linear", "log"]
Floats = NDArray[np.float64]

CRFS = (51, 36)
LEAST = 4
"""Clips that a line with an error needs."""
_HUBER = 1.345
_ROUNDS = 30
COLUMNS = {
    "crf": "CRF|d",
    "space": "space",
    "a": "a|.3f",
    "b": "b|.3f",
    "low": "from kb/s|.2f",
    "high": "to kb/s|.2f",
    "linear_error": "error linear|.3f",
    "log_error": "error log|.3f",
    "p90": "p90|.3f",
    "mean_kbps": "x264 kb/s|.1f",
}


@dataclass(frozen=True)
class Line:
    """x264's kb/s y for x kb/s of our face layer: y = a + b x (linear) or ln y = a + b ln x (log), fitted to clips of
    low to high kb/s. Beyond those it claims less than it might: the value at high above, a share of that at low below.
    """

    space: Space
    a: float
    b: float
    low: float
    high: float

    def at(self, face_kbps: float) -> float:
        x = min(max(face_kbps, self.low), self.high)
        y = self.a + self.b * x if self.space == "linear" else float(np.exp(self.a + self.b * np.log(x)))
        return max(y * min(face_kbps / self.low, 1.0), 0.0)


def fitted(x: Floats, y: Floats, space: Space) -> Line:
    """The robust line through (N,) rates x and y in kb/s, all positive."""
    u, v = (x, y) if space == "linear" else (np.log(x), np.log(y))
    design = np.stack([np.ones_like(u), u], 1)
    weights = np.ones_like(u)
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)
        (a, b), *_ = np.linalg.lstsq(design * root[:, None], v * root, rcond=None)
        residual = np.abs(v - a - b * u)
        limit = _HUBER * float(np.median(residual)) / 0.6745
        weights = np.minimum(1.0, limit / np.maximum(residual, 1e-12)) if limit > 0 else np.ones_like(u)
    return Line(space, float(a), float(b), float(x.min()), float(x.max()))


def left_out_errors(x: Floats, y: Floats, space: Space) -> Floats:
    """(N,) relative errors |estimate / y - 1|, each of a line through all other clips."""
    errors = []
    for k in range(len(x)):
        others = np.arange(len(x)) != k
        errors.append(abs(fitted(x[others], y[others], space).at(float(x[k])) / y[k] - 1))
    return np.array(errors)


def best(x: Floats, y: Floats) -> tuple[Line, dict[Space, Floats]]:
    """The line with the smaller median leave-one-out error, and the errors in either space."""
    errors: dict[Space, Floats] = {space: left_out_errors(x, y, space) for space in get_args(Space)}
    return fitted(x, y, min(errors, key=lambda s: float(np.median(errors[s])))), errors


def after_first(sizes: Sequence[int]) -> float:
    """kb/s of coded pictures but the first, from their bytes."""
    return kbps(sum(sizes[1:]), (len(sizes) - 1) / TICKS_PER_SECOND)


def measure(clip: Clip, codecs: dict[int, LibraryCodec]) -> Row:
    """Rates of a clip: ours as face_kbps, x264's as crfN_kbps, all without the first picture."""
    row: Row = {"clip": clip.name, "codec": "h264", "frames": len(clip.frames)}
    row["face_kbps"] = after_first([len(data) for data in code_faces(clip, FaceConfig(hints=False)).faces])
    for crf, codec in codecs.items():
        row[f"crf{crf}_kbps"] = after_first(codec.encode(clip.frames).sizes)
    return row


def fits(rows: Sequence[Row]) -> list[Row]:
    """One row a CRF: the line, the median relative leave-one-out errors, and the chosen one's 90th percentile."""
    x = np.array([row["face_kbps"] for row in rows])
    out = []
    for crf in CRFS:
        y = np.array([row[f"crf{crf}_kbps"] for row in rows])
        line, errors = best(x, y)
        medians = {f"{space}_error": float(np.median(values)) for space, values in errors.items()}
        p90 = float(np.percentile(errors[line.space], 90))
        name = people_name(h264.live(crf).name)
        out.append({"crf": crf, "name": name, **asdict(line), **medians, "p90": p90, "mean_kbps": float(y.mean())})
    return out


def for_the_page(lines: Sequence[Row]) -> str:
    """The entries of `H264` in the page's file."""
    parts = []
    for line in lines:
        numbers = ", ".join(f"{key}: {round(line[key], 4):g}" for key in ("a", "b", "low", "high"))
        texts = ", ".join(f"{key}: {json.dumps(line[key])}" for key in ("name", "space"))
        parts.append(f"  {{ crf: {line['crf']}, {texts}, {numbers} }},")
    return "\n".join(parts)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Fit x264's rate on that of our face layer.")
    parser.add_argument("clips", metavar="CLIP", nargs="+", help=f"media files, or {DEMO} for the built-in source")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--frames", type=int, default=100, help="frames of each clip at most (%(default)s)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    if options.frames < 2:
        raise UserError("--frames must be 2 or more")
    if len(options.clips) < LEAST:
        raise UserError(f"a line needs {LEAST} clips or more, {len(options.clips)} given")
    for clip in options.clips:
        if clip != DEMO and not Path(clip).is_file():
            raise UserError(f"no file at {clip}: check the path")
    codecs: dict[int, LibraryCodec] = {crf: h264.live(crf) for crf in CRFS}
    rows: list[Row] = []
    with Progress(len(options.clips), "coding") as bar:
        for source in options.clips:
            clip = load_clip(source, options.frames)
            if len(clip.frames) < 2:
                raise UserError(f"{source} has one picture only: choose a longer clip")
            rows.append(measure(clip, codecs))
            bar.step(clip.name)
    lines = fits(rows)
    print(table(lines, COLUMNS))
    over = f"{len(rows)} clips of {min(r['frames'] for r in rows)} to {max(r['frames'] for r in rows)} frames"
    print(f"{over}; errors: |estimate / measured - 1|, each clip left out of its own line, median")
    print(for_the_page(lines))
    if options.json is not None:
        how: dict[str, Any] = {str(crf): codec.settings for crf, codec in codecs.items()}
        write_json(options.json, document(rows, settings(x264=how, frames=options.frames), lines=lines))
        print(f"figures: {options.json}")
    return 0


def command() -> None:
    run_command(main)


if __name__ == "__main__":
    command()
