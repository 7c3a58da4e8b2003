"""What the picture is worth: our reconstruction, what needs no network, and standard codecs, on the same frames.

    python -m benchmarks.quality [CLIP...] [--codecs A,B] [--frames N] [--json F] [--wall F.png] [--sface F.onnx]
        [--no-vmaf] [--reconstruction auto|network|still-colour]

CLIP is a media file; without one the built-in source is used. What is not 256x256 at 25 fps is cropped by the sender's
face tracker first. Beside the picture's own figures, landmarks of drawn and true pictures are compared: see
`landmark_metrics`, and `extra_measures` for those that need packages and weights of others. The JSON has every clip,
its `mean` the mean over the clips that have a figure.
"""

from __future__ import annotations

import argparse
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import landmark_metrics, metrics, ours, wall
from benchmarks.clips import DEMO, Clip, load_clip
from benchmarks.codec_runs import CodecRuns, add_arguments, check, chosen, maker, vmaf_wanted
from benchmarks.extra_measures import Measure, measures
from benchmarks.face_tracks import FaceTracks
from benchmarks.ours import OurCodec, Variant
from benchmarks.progress import Progress
from benchmarks.report import Row, document, mean_rows, settings, table, write_json
from benchmarks.sharpness import RATIOS, sharpness_ratios
from benchmarks.smoothness import DEFINITION, MIN_FRAMES, beat_5hz
from benchmarks.wall import WallRow, telling_frame
from codec_models.errors import CommandParser, run_command

USUAL = (*ours.NAMES, *ours.VARIANTS, *ours.BASELINES, "h264-floor", "h265-floor", "vp9-floor", "av1-floor")
"""Codecs that take part where none are named: ours, what needs no network, and the least that standard ones can do."""
STILL = "still-colour"
"""What a reconstruction must beat: the still with the received colours, without a network."""
COLUMNS = {
    "codec": "codec",
    "kbps": "kb/s|.2f",
    "kbps_10s": "in 10 s|.2f",
    "kbps_10min": "in 10 min|.2f",
    "psnr": "PSNR|.2f",
    "psnr_over_still": "over still|+.2f",
    "ssim": "SSIM|.3f",
    "ms_ssim": "MS-SSIM|.3f",
    "vmaf": "VMAF|.1f",
    "lmd": "LMD|.3f",
    "lmd_lips": "lips|.3f",
    "lmd_eyes": "eyes|.3f",
    "face_found": "face found|.2f",
    "mouth_corr": "mouth corr|.2f",
    "eye_corr": "eye corr|.2f",
    "beat_5hz": "beat|.1f",
    "beat_true": "true beat|.1f",
    "brenner_ratio": "Brenner|.2f",
    "energy_ratio": "energy|.2f",
    "brenner_face": "face Brenner|.2f",
    "energy_face": "energy|.2f",
    "csim": "CSIM|.3f",
    "lpips": "LPIPS|.3f",
    "dists": "DISTS|.3f",
    "fid": "FID|.1f",
    "lse_d": "LSE-D|.2f",
    "lse_c": "LSE-C|.2f",
    "av_offset": "A/V offset|.1f",
}


@dataclass
class Quality:
    """Runs the codecs and measures them; keeps a row of the wall per clip."""

    codecs: Sequence[str]
    with_vmaf: bool
    runs: CodecRuns
    extra: Sequence[Measure]
    rows: list[Row] = field(default_factory=list)
    walls: list[WallRow] = field(default_factory=list)
    _track: FaceTracks = field(default_factory=FaceTracks)

    @property
    def shown(self) -> str:
        """The codec that the wall shows as ours."""
        return next(iter(c for c in self.codecs if ours.is_ours(c)), self.codecs[0])

    def run(self, clip: Clip, bar: Progress) -> None:
        mine = self.runs.clip(clip)
        bar.now(f"landmarks  {clip.name}")
        beat = beat_5hz(clip.frames) if len(clip.frames) >= MIN_FRAMES else None
        truth = self._track(clip.frames, lambda: bar.now(f"landmarks  {clip.name}"))
        for codec in self.codecs:
            what = f"{codec}  {clip.name}"
            bar.now(what)
            frames, row = self.runs.run(codec, mine)
            row.update(metrics.picture_quality(clip.frames, frames, self.with_vmaf))
            row.update(sharpness_ratios(clip.frames, frames, clip.points))
            if len(frames) >= MIN_FRAMES:
                row.update(beat_5hz=beat_5hz(frames), beat_true=beat)
            found = None
            if truth is not None:
                found = self._track(frames, lambda what=what: bar.now(what))  # type: ignore[misc]
            if truth is not None and found is not None:
                row.update(landmark_metrics.compare(truth, found))
            for measure in self.extra:
                row.update(measure.figures(codec, clip, frames, truth, found))
            self.rows.append(row)
            if codec == self.shown:
                self._keep(mine, frames, row)
            bar.step(what)
        over_still(self.rows[-len(self.codecs) :])

    def _keep(self, mine: OurCodec, frames: NDArray[np.uint8], row: Row) -> None:
        clip, at = mine.clip, telling_frame(mine.clip.points)
        variant = (
            Variant.named(self.shown) if self.shown not in ours.BASELINES and ours.is_ours(self.shown) else Variant(25)
        )
        stream = mine.stream_of(variant)
        low = stream.decoded()[max(bisect_right(stream.coded, at) - 1, 0)]
        label = f"{Path(clip.name).stem[-34:]}, frame {at}: {row['psnr']:.1f} dB"
        label += "".join(f", {name} {row[key]:.2f}" for key, name in _LABELS if key in row)
        self.walls.append(WallRow(label, mine.still[1].picture, low, frames[at], clip.frames[at]))


def over_still(rows: Sequence[Row]) -> None:
    """Add `psnr_over_still` to the rows of a clip, where one of them is of `STILL`."""
    still = next((row["psnr"] for row in rows if row["codec"] == STILL), None)
    if still is not None:
        for row in rows:
            row["psnr_over_still"] = row["psnr"] - still


_LABELS = (("lmd", "LMD"), ("mouth_corr", "mouth"), ("eye_corr", "eyes"))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Measure pictures and faces of our codec and of standard ones.")
    add_arguments(parser)
    parser.add_argument("--wall", type=Path, help="draw the picture wall to this file")
    parser.add_argument("--sface", type=Path, help="OpenCV's SFace weights (.onnx), for the identity cosine")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    check(options)
    codecs, left_out = chosen(options.codecs, USUAL)
    every = measures(options.sface)
    without = {name: why for m in every if (why := m.missing()) is not None for name in m.names}
    quality = Quality(
        codecs,
        vmaf_wanted(options),
        CodecRuns(maker(options)),
        [m for m in every if m.missing() is None],
    )
    if not landmark_metrics.available():
        without |= dict.fromkeys(landmark_metrics.DEFINITIONS, "needs mediapipe: see the Makefile")
    sources = options.clips or [DEMO]
    with Progress(len(sources) * len(codecs), "measuring") as bar:
        for source in sources:
            quality.run(load_clip(source, options.frames), bar)
    mean = mean_rows(quality.rows)
    for measure in quality.extra:
        for codec, figures in measure.pooled().items():
            mean[codec].update(figures)
    report(quality, mean, sources)
    for name, why in (left_out | without).items():
        print(f"left out: {name} ({why})")
    if options.wall is not None:
        wall.draw(options.wall, quality.walls, quality.shown)
        print(f"wall: {options.wall}")
    if options.json is not None:
        definitions = ours.DEFINITIONS | metrics.DEFINITIONS | landmark_metrics.DEFINITIONS | RATIOS
        definitions |= {"beat_5hz": DEFINITION, "beat_true": "the same of the true frames"}
        definitions["psnr_over_still"] = f"PSNR less that of {STILL} on the same clip, dB"
        how = settings(codecs=quality.runs.settings, left_out=left_out | without, metrics=definitions)
        write_json(options.json, document(quality.rows, how) | {"mean": mean})
        print(f"figures: {options.json}")
    return 0


def report(quality: Quality, mean: dict[str, Row], sources: Sequence[str]) -> None:
    """Print a table a clip, the mean, and what was skipped."""
    columns = {k: head for k, head in COLUMNS.items() if k == "codec" or any(k in line for line in mean.values())}
    if len(sources) > 1:
        for name in dict.fromkeys(row["clip"] for row in quality.rows):
            of_clip = [row for row in quality.rows if row["clip"] == name]
            print(f"{name}, {of_clip[0]['frames']} frames\n{table(of_clip, columns)}\n")
    over = "the built-in source" if list(sources) == [DEMO] else f"{len(sources)} clips, mean"
    print(f"{over if len(sources) > 1 or sources == [DEMO] else Path(sources[0]).name}, 256x256 at 25 fps")
    print(table([{"codec": codec, **figures} for codec, figures in mean.items()], columns))
    for line in skipped(quality.rows):
        print(line)


def skipped(rows: Sequence[Row]) -> list[str]:
    """One line for all figures, codecs and clips that lack something for the same reason."""
    everyone = len({row["codec"] for row in rows})
    by_clip: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        for figure, why in row.get("skipped", {}).items():
            by_clip.setdefault((why, row["clip"], figure), []).append(row["codec"])
    alike: dict[tuple[str, tuple[str, ...]], tuple[dict[str, None], dict[str, None]]] = {}
    for (why, clip, figure), codecs in by_clip.items():
        figures, clips = alike.setdefault((why, tuple(codecs)), ({}, {}))
        figures[figure] = clips[clip] = None
    lines = []
    for (why, of), (figures, clips) in alike.items():
        who = "" if len(of) == everyone else f" of {', '.join(of)}"
        where = ", ".join(clips) if len(clips) < 4 else f"{len(clips)} clips"
        lines.append(f"no {', '.join(figures)}{who} on {where}: {why}")
    return lines


def command() -> None:
    run_command(main)


if __name__ == "__main__":
    command()
