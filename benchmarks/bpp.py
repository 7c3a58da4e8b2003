"""Our codec against standard ones, on the same frames.

    python benchmarks/bpp.py [CLIP...] [--json F] [--plot F.png] [--video F.mp4] [--compare FOLDER] [--codecs A,B]
        [--frames N] [--no-vmaf] [--reconstruction auto|network|still-colour]

CLIP is a media file; without one the built-in source is used. What is not 256x256 at 25 fps is cropped by the sender's
face tracker first, and every codec gets the same frames. --compare leaves what the browser page shows of it
(`compare_files.py`); `signaling --compare FOLDER` serves it.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import metrics, ours
from benchmarks.anchors import ANCHORS, EVERY_ANCHOR
from benchmarks.clips import DEMO, Clip, load_clip
from benchmarks.codec_runs import CodecRuns, add_arguments, check, chosen, maker, vmaf_wanted
from benchmarks.compare_files import MAX_SHOWN, CompareFiles, clip_name
from benchmarks.progress import Progress
from benchmarks.published import SOURCE, published_rows
from benchmarks.rd_plot import draw
from benchmarks.report import Row, document, mean_rows, settings, table, write_json
from benchmarks.side_by_side import SideBySide, blocks
from codec_models.errors import CommandParser, run_command

USUAL = (*ours.NAMES, *ours.BASELINES, *ANCHORS)
"""Codecs that take part where none are named."""
PANELS = ("ours-25", "h264-floor", "av1-floor")
"""Codecs that the video shows, where they take part."""
COLUMNS = {
    "codec": "codec",
    "kbps": "kb/s|.2f",
    "bpp": "bpp|.5f",
    "bpp_with_still": "bpp+still|.5f",
    "kbps_10s": "in 10 s|.2f",
    "kbps_10min": "in 10 min|.2f",
    "psnr": "PSNR|.2f",
    "ssim": "SSIM|.3f",
    "ms_ssim": "MS-SSIM|.3f",
    "vmaf": "VMAF|.1f",
    "settings": "settings",
}


@dataclass
class Comparison:
    """Runs the codecs and gathers rows; keeps what the video needs of the current clip."""

    codecs: Sequence[str]
    with_vmaf: bool
    runs: CodecRuns
    rows: list[Row] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def run(self, clip: Clip, bar: Progress, files: CompareFiles | None = None) -> dict[str, NDArray[np.uint8]]:
        """All codecs on one clip; returns the decoded frames of those that the video shows. files: gets what every
        codec decoded.
        """
        mine = self.runs.clip(clip)
        kept = {}
        for codec in self.codecs:
            bar.now(f"{codec}  {clip.name}")
            frames, row = self.runs.run(codec, mine)
            row.update(metrics.picture_quality(clip.frames, frames, self.with_vmaf))
            self.rows.append(row)
            if codec in PANELS:
                kept[codec] = frames
            if files is not None:
                files.add(codec, frames, row)
            bar.step(f"{codec}  {clip.name}")
        if "ours-25" in kept:
            stream = mine.stream(25, True)
            kept["8x8"] = np.stack([blocks(low) for low in stream.decoded()])
        return kept


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Compare our codec with standard ones on the same frames.")
    add_arguments(parser)
    parser.add_argument("--plot", type=Path, help="draw the rate-distortion picture to this file")
    parser.add_argument("--video", type=Path, help="write a labelled side by side to this mp4")
    parser.add_argument(
        "--compare", type=Path, metavar="FOLDER", help="leave what the browser page shows in this folder"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    check(options)
    codecs, missing = chosen(options.codecs, USUAL)
    comparison = Comparison(codecs, vmaf_wanted(options), CodecRuns(maker(options)), left_out=missing)
    sources = options.clips or [DEMO]
    panels = [p for p in PANELS if p in codecs]
    columns = 1 + len(panels) + ("ours-25" in panels)
    with ExitStack() as stack:
        video, files = None, None
        if options.video is not None:
            video = stack.enter_context(SideBySide(options.video, columns))
        if options.compare is not None:
            files = stack.enter_context(CompareFiles(options.compare))
        bar = stack.enter_context(Progress(len(sources) * len(codecs), "comparing"))
        for number, source in enumerate(sources):
            clip = load_clip(source, options.frames)
            showing = files if number == 0 else None
            if showing is not None:
                showing.start(clip)
            kept = comparison.run(clip, bar, showing)
            labels = labelled(clip, kept, comparison.rows)
            if video is not None:
                video.add(labels, clip.following_voice)
            if showing is not None:
                with SideBySide(showing.part("side_by_side.mp4"), columns) as short:
                    short.add(labels, clip.following_voice[:MAX_SHOWN])
        report(comparison, sources, options, files)
    return 0


def labelled(
    clip: Clip, kept: dict[str, NDArray[np.uint8]], rows: Sequence[Row]
) -> list[tuple[str, NDArray[np.uint8]]]:
    """Caption and frames of each panel, the original first."""
    raw = 256 * 256 * 24 * 25 / 1e6
    names = {"ours-25": "Pinhole", "h264-floor": "H.264, its floor", "av1-floor": "AV1, its floor"}
    of_clip = {row["codec"]: row for row in rows if row["clip"] == clip.name}
    panels = [(f"original\n{raw:.0f} Mb/s uncompressed", clip.frames)]
    if "8x8" in kept:
        panels.append((f"what is sent: 8x8\n{of_clip['ours-25']['kbps']:.1f} kb/s", kept["8x8"]))
    for codec in PANELS:
        if codec in kept:
            row = of_clip[codec]
            still = f" + {row['identity_bytes'] / 1000:.1f} kB still" if "identity_bytes" in row else ""
            panels.append((f"{names[codec]}\n{row['kbps']:.1f} kb/s{still}, {row['psnr']:.1f} dB", kept[codec]))
    return panels


def report(
    comparison: Comparison, sources: Sequence[str], options: argparse.Namespace, files: CompareFiles | None
) -> None:
    """Print the table and write the files that were asked for."""
    mean = mean_rows(comparison.rows)
    lines: list[dict[str, Any]] = [
        {"codec": codec, **figures, "settings": comparison.runs.settings[codec]} for codec, figures in mean.items()
    ]
    names = [Path(s).name for s in sources]
    over = clip_name(names[0]) if len(names) == 1 else f"{len(names)} clips (mean)"
    print(f"{over}, 256x256 at 25 fps")
    columns = {key: head for key, head in COLUMNS.items() if key == "settings" or any(key in line for line in lines)}
    print(table([*lines, *published_rows()], columns))
    for codec, why in comparison.left_out.items():
        print(f"left out: {codec} ({why})")
    families = {name: anchor.family for name, anchor in EVERY_ANCHOR.items()} | dict.fromkeys(
        (*ours.NAMES, *ours.VARIANTS), "ours"
    )
    title = f"{over}: quality against rate"
    if options.plot is not None:
        draw(options.plot, mean, families, title)
        print(f"plot: {options.plot}")
    if options.video is not None:
        print(f"video: {options.video}")
    definitions = ours.DEFINITIONS | metrics.DEFINITIONS
    how = settings(codecs=comparison.runs.settings, left_out=comparison.left_out, metrics=definitions)
    if options.json is not None:
        published = {"source": SOURCE, "rows": published_rows()}
        write_json(options.json, document(comparison.rows, how, published=published))
        print(f"figures: {options.json}")
    if files is not None:
        draw(files.part("picture.png"), mean, families, title)
        files.finish(mean, how, over)
        print(f"compare: {options.compare}, shown by: signaling --compare {shlex.quote(str(options.compare))}")


def command() -> None:
    run_command(main)


if __name__ == "__main__":
    command()
