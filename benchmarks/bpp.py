"""Our codec against standard ones, on the same frames.

    python benchmarks/bpp.py [CLIP...] [--json F] [--plot F.png] [--video F.mp4] [--codecs A,B] [--frames N] [--no-vmaf]

CLIP is a media file; without one the built-in source is used. What is not 256x256 at 25 fps is cropped by the sender's
face tracker first, and every codec gets the same frames.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import metrics, ours
from benchmarks.anchors import ANCHORS
from benchmarks.clips import DEMO, Clip, load_clip
from benchmarks.ffmpeg import ffmpeg_path
from benchmarks.ours import OurCodec
from benchmarks.progress import Progress
from benchmarks.published import SOURCE, published_rows
from benchmarks.rd_plot import draw
from benchmarks.report import Row, document, mean_rows, settings, table, write_json
from benchmarks.side_by_side import SideBySide, blocks
from codec_models.errors import CommandParser, UserError, run_command

OURS = (*ours.NAMES, *ours.BASELINES)
CODECS = (*OURS, *ANCHORS)
PANELS = ("ours-25", "h264-floor", "av1-floor")
"""Codecs that the video shows, where they take part."""
COLUMNS = {
    "codec": "codec",
    "kbps": "kb/s|.2f",
    "bpp": "bpp|.5f",
    "bpp_with_still": "bpp+still|.5f",
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
    rows: list[Row] = field(default_factory=list)
    codec_settings: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def run(self, clip: Clip, bar: Progress) -> dict[str, NDArray[np.uint8]]:
        """All codecs on one clip; returns the decoded frames of those that the video shows."""
        mine = OurCodec(clip)
        kept = {}
        for codec in self.codecs:
            bar.now(f"{codec}  {clip.name}")
            row: Row = {"codec": codec, "clip": clip.name, "frames": len(clip.frames)}
            if codec in OURS:
                frames, figures = mine.run(codec)
                row.update(figures)
                self.codec_settings.setdefault(codec, mine.settings(codec))
            else:
                frames = self._anchor(codec, clip, row)
            row.update(self._quality(clip.frames, frames))
            self.rows.append(row)
            if codec in PANELS:
                kept[codec] = frames
            bar.step(f"{codec}  {clip.name}")
        if "ours-25" in kept:
            stream = mine.stream(25, True)
            kept["8x8"] = np.stack([blocks(low) for low in stream.decoded()])
        return kept

    def _anchor(self, codec: str, clip: Clip, row: Row) -> NDArray[np.uint8]:
        coded = ANCHORS[codec].encode(clip.frames)
        row.update(ours.rate(coded.total_bytes, len(clip.frames)))
        if len(coded.sizes) > 1:
            # for a comparison with ours without the still: what follows the first, intra-coded picture
            row["kbps_after_first"] = ours.rate(sum(coded.sizes[1:]), len(clip.frames) - 1)["kbps"]
        self.codec_settings.setdefault(codec, f"{coded.version}: {ANCHORS[codec].settings}")
        return coded.frames

    def _quality(self, reference: NDArray[np.uint8], distorted: NDArray[np.uint8]) -> Row:
        row: Row = {
            "psnr": metrics.psnr(reference, distorted),
            "ssim": metrics.ssim(reference, distorted),
            "ms_ssim": metrics.ms_ssim(reference, distorted),
        }
        if self.with_vmaf and (score := metrics.vmaf(reference, distorted)) is not None:
            row["vmaf"] = score
        return row


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Compare our codec with standard ones on the same frames.")
    parser.add_argument("clips", metavar="CLIP", nargs="*", help="media files (default: the built-in source)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw the rate-distortion picture to this file")
    parser.add_argument("--video", type=Path, help="write a labelled side by side to this mp4")
    parser.add_argument("--codecs", type=lambda text: text.split(","), help=f"some of: {', '.join(CODECS)}")
    parser.add_argument("--frames", type=int, help="frames of each clip at most")
    parser.add_argument("--no-vmaf", action="store_true", help="leave VMAF out, the slowest measure")
    return parser.parse_args(arguments)


def chosen(names: Sequence[str] | None) -> tuple[list[str], dict[str, str]]:
    """The codecs to run, and those left out with the reason. Raises UserError on a name that does not exist, and where
    a codec that was asked for by name cannot run.
    """
    wanted = [n.strip() for n in names if n.strip()] if names is not None else list(CODECS)
    unknown = [n for n in wanted if n not in CODECS]
    if unknown or not wanted:
        raise UserError(f"no codec called {', '.join(unknown) or 'that'}; known are {', '.join(CODECS)}")
    missing = {n: why for n in wanted if n in ANCHORS and (why := ANCHORS[n].missing()) is not None}
    if missing and names is not None:
        name, why = next(iter(missing.items()))
        raise UserError(f"{name} cannot run: {why}")
    return [n for n in CODECS if n in wanted and n not in missing], missing


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    if options.frames is not None and options.frames < 1:
        raise UserError("--frames must be 1 or more")
    codecs, missing = chosen(options.codecs)
    for clip in options.clips:
        if not Path(clip).is_file():
            raise UserError(f"no file at {clip}: check the path")
    with_vmaf = not options.no_vmaf and ffmpeg_path() is not None
    if not options.no_vmaf and not with_vmaf:
        print("without VMAF: pip install imageio-ffmpeg brings it", file=sys.stderr)
    comparison = Comparison(codecs, with_vmaf, left_out=missing)
    sources = options.clips or [DEMO]
    panels = [p for p in PANELS if p in codecs]
    with ExitStack() as stack:
        video = None
        if options.video is not None:
            video = stack.enter_context(SideBySide(options.video, 1 + len(panels) + ("ours-25" in panels)))
        bar = stack.enter_context(Progress(len(sources) * len(codecs), "comparing"))
        for source in sources:
            clip = load_clip(source, options.frames)
            kept = comparison.run(clip, bar)
            if video is not None:
                video.add(labelled(clip, kept, comparison.rows), clip.voice)
    report(comparison, sources, options)
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


def report(comparison: Comparison, sources: Sequence[str], options: argparse.Namespace) -> None:
    """Print the table and write the files that were asked for."""
    mean = mean_rows(comparison.rows)
    lines: list[dict[str, Any]] = [
        {"codec": codec, **figures, "settings": comparison.codec_settings[codec]} for codec, figures in mean.items()
    ]
    names = [Path(s).name for s in sources]
    over = "the built-in source" if sources == [DEMO] else names[0] if len(names) == 1 else f"{len(names)} clips (mean)"
    print(f"{over}, 256x256 at 25 fps")
    columns = {key: head for key, head in COLUMNS.items() if key == "settings" or any(key in line for line in lines)}
    print(table([*lines, *published_rows()], columns))
    for codec, why in comparison.left_out.items():
        print(f"left out: {codec} ({why})")
    if options.plot is not None:
        families = {name: anchor.family for name, anchor in ANCHORS.items()} | dict.fromkeys(ours.NAMES, "ours")
        draw(options.plot, mean, families, f"{over}: quality against rate")
        print(f"plot: {options.plot}")
    if options.video is not None:
        print(f"video: {options.video}")
    if options.json is not None:
        how = settings(codecs=comparison.codec_settings, left_out=comparison.left_out, metrics=metrics.DEFINITIONS)
        published = {"source": SOURCE, "rows": published_rows()}
        write_json(options.json, document(comparison.rows, how, published=published))
        print(f"figures: {options.json}")


def command() -> None:
    run_command(main)


if __name__ == "__main__":
    command()
