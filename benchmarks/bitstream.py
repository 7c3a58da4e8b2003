"""The 8x8 coder alone: rate, quality and time over clips, per profile and frame rate.

    python benchmarks/bitstream.py [CLIP...] [--json F] [--frames N] [--quality Q]

The landmarks that the hints come from are found once a clip and kept in out/cache.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.anchors.colour import luma
from benchmarks.clips import DEMO, Clip, load_clip
from benchmarks.metrics import IDENTICAL_DB, psnr
from benchmarks.ours import FaceStream, Fps, code_faces, rate
from benchmarks.progress import Progress
from benchmarks.report import Row, document, mean_rows, settings, table, write_json
from codec_models.bitstream.face import FaceConfig, Profile
from codec_models.errors import CommandParser, UserError, run_command

COLUMNS = {
    "codec": "codec",
    "kbps": "kb/s|.3f",
    "bpp": "bpp|.6f",
    "face_bits_per_frame": "bit/frame|.1f",
    "hint_kbps": "hints kb/s|.3f",
    "hint_share_of_ticks": "hinted|.2f",
    "face_psnr": "PSNR RGB|.2f",
    "face_psnr_luma": "PSNR luma|.2f",
    "encode_ms_p50": "enc ms p50|.2f",
    "encode_ms_p95": "p95|.2f",
    "decode_ms_p50": "dec ms p50|.2f",
    "decode_ms_p95": "p95|.2f",
}


class StopWatch:
    """Collects the processor time of encoding and decoding, ms per tick; what other processes use does not count."""

    def __init__(self) -> None:
        self._last = 0.0
        self.ms: dict[str, list[float]] = {"encode": [], "decode": []}

    def __call__(self, what: str) -> None:
        now = time.thread_time()
        if what in self.ms:
            self.ms[what].append((now - self._last) * 1000)
        self._last = time.thread_time()


def measure(clip: Clip, profile: Profile, fps: Fps, quality: int | None) -> list[Row]:
    """Rows with and without hints."""
    rows = []
    streams: dict[bool, FaceStream] = {}
    for hints in (False, True):
        plain = FaceConfig(profile=profile, fps=fps, hints=hints)
        config = plain if quality is None else FaceConfig(profile, quality, fps, hints)
        watch = StopWatch()
        stream = streams[hints] = code_faces(clip, config, watch)
        row: Row = {"codec": f"{profile}-{fps}{'' if hints else '-nohints'}", "clip": clip.name}
        row["frames"] = len(clip.frames)
        row |= {k: v for k, v in rate(stream.total_bytes, len(clip.frames)).items() if "still" not in k}
        coded = stream.coded
        row["face_bits_per_frame"] = 8 * stream.total_bytes / max(len(coded), 1)
        if hints:
            row["hint_kbps"] = row["kbps"] - rate(streams[False].total_bytes, len(clip.frames))["kbps"]
            row["hint_share_of_ticks"] = sum(t.hints is not None for t in stream.ticks) / len(stream.ticks)
        if coded:
            row["face_psnr"] = psnr(stream.originals[coded], stream.decoded())
            row["face_psnr_luma"] = luma_psnr(stream.originals[coded], stream.decoded())
        for what, times in watch.ms.items():
            used = [t for t, data in zip(times, stream.faces, strict=True) if data] or times
            row[f"{what}_ms_p50"], row[f"{what}_ms_p95"] = (float(np.percentile(used, p)) for p in (50, 95))
        rows.append(row)
    return rows


def luma_psnr(reference: NDArray[np.uint8], distorted: NDArray[np.uint8]) -> float:
    """Mean PSNR in dB on full-range BT.709 luma of (N, 8, 8, 3) uint8 RGB."""
    mse = ((luma(reference) - luma(distorted)) ** 2).mean((1, 2))
    with np.errstate(divide="ignore"):
        return float(np.minimum(10 * np.log10(255.0**2 / mse), IDENTICAL_DB).mean())


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Rates of the 8x8 coder alone.")
    parser.add_argument("clips", metavar="CLIP", nargs="*", help="media files (default: the built-in source)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--frames", type=int, help="frames of each clip at most")
    parser.add_argument("--quality", type=int, help="quantiser index (the coder's default)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    if options.frames is not None and options.frames < 1:
        raise UserError("--frames must be 1 or more")
    for clip in options.clips:
        if not Path(clip).is_file():
            raise UserError(f"no file at {clip}: check the path")
    cases: list[tuple[Profile, Fps]] = [(p, f) for p in get_args(Profile) for f in get_args(Fps)]
    sources = options.clips or [DEMO]
    rows: list[Row] = []
    with Progress(len(sources) * len(cases), "coding") as bar:
        for source in sources:
            clip = load_clip(source, options.frames)
            for profile, fps in cases:
                try:
                    rows += measure(clip, profile, fps, options.quality)
                except ValueError as e:
                    raise UserError(f"the coder refuses: {e}") from e
                bar.step(f"{profile} {fps} fps  {clip.name}")
    rows.sort(key=lambda row: [f"{p}-{f}{h}" for p, f in cases for h in ("", "-nohints")].index(row["codec"]))
    mean = [{"codec": codec, **figures} for codec, figures in mean_rows(rows).items()]
    print(table(mean, COLUMNS))
    print(f"mean over {len(sources)} {'clip' if len(sources) == 1 else 'clips'}; PSNR on the 8x8 picture")
    if options.json is not None:
        write_json(options.json, document(rows, settings(quality=options.quality)))
        print(f"figures: {options.json}")
    return 0


def command() -> None:
    run_command(main)


if __name__ == "__main__":
    command()
