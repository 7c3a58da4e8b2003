"""The rate-quality curve of the whole codec beside those of standard codecs, and Bjontegaard's rate differences.

    python -m benchmarks.curve [CLIP...] [--frames N] [--json F] [--plot F.png] [--codecs A,B] [--no-vmaf]
        [--reconstruction auto|network|still-colour]

CLIP is a media file; without one the built-in source is used. Ours runs at many steps of the 8x8 layer in two profiles,
at 25 and 5 fps, with hints; standard codecs at low delay, at 256x256 and at smaller sizes that are enlarged again. A
family's curve is its Pareto front over all its points (`curve_families`); a BD-rate (`bd_rate`) of +100 % says that the
family needs twice the rate of ours at 25 fps for the same figure, over the range that both have.

Three kinds of rate: the video alone over the clip, in our favour, as our still is not in it and the first picture of
the others is; and calls of ten seconds and of ten minutes, in which everybody pays for the start once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import landmark_metrics, metrics, ours
from benchmarks.anchors import CALL_ANCHORS
from benchmarks.clips import DEMO, Clip, load_clip
from benchmarks.codec_runs import CodecRuns, add_arguments, check, chosen, maker, vmaf_wanted
from benchmarks.curve_families import MEASURES, RATES, REFERENCE, Family, Measure, as_json, families, nearest
from benchmarks.curve_plot import draw
from benchmarks.face_tracks import FaceTracks
from benchmarks.landmark_metrics import Track
from benchmarks.progress import Progress
from benchmarks.quality import skipped
from benchmarks.report import Row, document, mean_rows, settings, table, write_json
from codec_models.errors import CommandParser, run_command

OURS = tuple(
    f"ours-{fps}-{profile}-q{quality}"
    for fps, profile, qualities in (
        (25, "full", (2, 4, 6, 8, 10, 12, 14, 15)),
        (25, "lean", (6, 10, 13, 15)),
        (5, "full", (2, 6, 10, 12, 14, 15)),
        (5, "lean", (10, 15)),
    )
    for quality in qualities
)
USUAL = (*OURS, *CALL_ANCHORS)
"""Codecs that take part where none are named."""
POINTS = {
    "codec": "codec",
    "kbps": "kb/s|.2f",
    "kbps_10s": "in 10 s|.2f",
    "kbps_10min": "in 10 min|.2f",
    "psnr": "PSNR|.2f",
    "ssim": "SSIM|.3f",
    "vmaf": "VMAF|.1f",
    "lmd": "LMD|.3f",
    "face_found": "face found|.2f",
    "mouth_corr": "mouth corr|.2f",
    "eye_corr": "eye corr|.2f",
}
CURVES = {
    "family": "family",
    "points": "on the front",
    "rates": "kb/s",
    "figures": "figure",
    "bd_rate": "BD-rate|",
    "over": "over",
}


@dataclass
class Curve:
    """Runs the codecs and measures them."""

    codecs: Sequence[str]
    with_vmaf: bool
    runs: CodecRuns
    rows: list[Row] = field(default_factory=list)
    _track: FaceTracks = field(default_factory=FaceTracks)

    def run(self, clip: Clip, bar: Progress) -> None:
        """All codecs on one clip."""
        mine = self.runs.clip(clip)
        bar.now(f"landmarks  {clip.name}")
        truth = self._track(clip.frames)
        for codec in self.codecs:
            bar.now(f"{codec}  {clip.name}")
            frames, row = self.runs.run(codec, mine)
            row.update(self._figures(clip, frames, truth))
            self.rows.append(row)
            bar.step(f"{codec}  {clip.name}")

    def _figures(self, clip: Clip, frames: NDArray[np.uint8], truth: Track | None) -> Row:
        row: Row = {"psnr": metrics.psnr(clip.frames, frames), "ssim": metrics.ssim(clip.frames, frames)}
        if self.with_vmaf and (score := metrics.vmaf(clip.frames, frames)) is not None:
            row["vmaf"] = score
        if truth is not None and (found := self._track(frames)) is not None:
            row.update(landmark_metrics.compare(truth, found))
        return row


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Rate-quality curves of our codec and of standard ones, and BD-rates.")
    add_arguments(parser)
    parser.add_argument("--plot", type=Path, help="draw the curves to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    check(options)
    codecs, left_out = chosen(options.codecs, USUAL)
    curve = Curve(codecs, vmaf_wanted(options), CodecRuns(maker(options)))
    if not landmark_metrics.available():
        left_out |= {"lmd": "needs mediapipe: see the Makefile"}
    sources = options.clips or [DEMO]
    with Progress(len(sources) * len(codecs), "measuring") as bar:
        for source in sources:
            curve.run(load_clip(source, options.frames), bar)
    mean = mean_rows(curve.rows)
    over = "the built-in source" if sources == [DEMO] else f"{len(sources)} clips" if len(sources) > 1 else "one clip"
    columns = {key: head for key, head in POINTS.items() if key == "codec" or any(key in m for m in mean.values())}
    print(f"{over}, mean, 256x256 at 25 fps")
    print(table([{"codec": codec, **figures} for codec, figures in mean.items()], columns))
    for line in skipped(curve.rows):
        print(line)
    curves = {
        (measure, rate): found
        for measure in MEASURES
        for rate in RATES
        if (found := families(curve.rows, mean, measure, rate))
    }
    print("\npoints off the Pareto front of their family take no part in its BD-rate")
    for (measure, rate), found in curves.items():
        print("\n" + report(measure, rate, found))
    for name, why in left_out.items():
        print(f"left out: {name} ({why})")
    if options.plot is not None:
        draw(options.plot, curves, f"Quality against rate, {over}")
        print(f"plot: {options.plot}")
    if options.json is not None:
        definitions = ours.DEFINITIONS | metrics.DEFINITIONS | landmark_metrics.DEFINITIONS
        how = settings(codecs=curve.runs.settings, left_out=left_out, metrics=definitions, reference=REFERENCE)
        kept: dict[str, Any] = {}
        for (measure, rate), found in curves.items():
            kept.setdefault(measure.key, {})[rate] = {family.name: as_json(family) for family in found}
        write_json(options.json, document(curve.rows, how, curves=kept))
        print(f"figures: {options.json}")
    return 0


def report(measure: Measure, rate: str, found: Sequence[Family]) -> str:
    """The table of one measure at one kind of rate, and what cannot be said in figures."""
    reference = next((family for family in found if family.name == REFERENCE), None)
    lines: list[Row] = []
    words: list[str] = []
    for family in found:
        ends = family.front[0], family.front[-1]
        line: Row = {
            "family": family.name,
            "points": f"{len(family.front)} of {len(family.front) + len(family.others)}",
            "rates": " to ".join(f"{p.rate:.2f}" for p in ends),
            "figures": " to ".join(measure.text(measure.value(p)) for p in ends),
        }
        if (against := family.against) is not None and against.percent is not None:
            line["bd_rate"] = f"{against.percent:+.0f} %"
            common = sorted(measure.sign * quality for quality in (against.low, against.high))
            line["over"] = f"{' to '.join(map(measure.text, common))}, {100 * against.share:.0f} % of ours"
        elif against is not None and reference is not None:
            why = against.reason.replace("the reference", "ours")
            words.append(f"{family.name}: {why}; {near(measure, reference, family)}")
        lines.append(line)
    head = f"{measure.label} against rate ({RATES[rate]}); BD-rate against {REFERENCE}"
    return "\n".join([head, table(lines, CURVES), *words])


def near(measure: Measure, reference: Family, family: Family) -> str:
    """The points of two fronts whose figures are nearest to each other."""
    mine, other = nearest(reference, family)
    return "nearest: " + ", ".join(
        f"{p.name} with {measure.text(measure.value(p))} at {p.rate:.2f} kb/s" for p in (other, mine)
    )


def command() -> None:
    run_command(main)


if __name__ == "__main__":
    command()
