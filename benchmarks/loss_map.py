"""Where the error of the drawn picture lies, and what it comes from.

    python -m benchmarks.loss_map [CLIP...] [--weights FILE.safetensors] [--frames N] [--every K] [--json F]

CLIP is a media file; without one the built-in source is used. Every clip is coded by the real bitstream at 25 fps; the
still is its first picture with a face. Every K-th picture is measured (about ten a clip by default), drawn by PyTorch
in 32 bits from the state that all ticks before it leave; the teeth stage is left out.

Where: the share of the squared error by region (`loss_regions` says how these follow from landmarks), by size (how much
is left when the picture's averages over n x n squares are right), and by how far the pose is from the still's. Why:
the same pictures with one thing changed (`loss_ablations`). Stills of the rows with several are known from the start
and at least 5 ticks from what is measured; the one near in pose is the best of 12 at least 10 ticks away.

PSNR and SSIM are those of `metrics`; LMD is the distance of predicted and true landmarks over that of the true outer
eye corners. Shares and figures are means over the pictures, each counting the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import DEMO, load_clip
from benchmarks.loss_ablations import ABLATIONS, Made, Painter
from benchmarks.loss_cases import Case, make_case
from benchmarks.loss_regions import FACE, REGIONS, SIDES, band_errors, regions
from benchmarks.metrics import IDENTICAL_DB, ssim
from benchmarks.progress import Progress
from benchmarks.report import Row, document, settings, table, write_json
from codec_models.errors import CommandParser, UserError, run_command
from codec_models.landmarks import LIPS, POINTS, eye_distance
from codec_models.memory import keep_memory
from codec_models.upsampler import DEFAULT_WEIGHTS, Upsampler, load_upsampler

USUAL = ABLATIONS[0].name
TERCILES = ("near", "middle", "far")
_GROUPS = {name: (name,) for name in REGIONS} | {
    "all but background": REGIONS[1:],
    "face (skin to lips)": FACE,
    "background and uncovered": REGIONS[:2],
}
_INSIDE = {"background": REGIONS[:1], "body": ("hair, neck, body",), "face": FACE, "lips": ("lips",)}
_LIPS = [POINTS.index(m) for m in LIPS]
_LEAST = 40
"""Pixels of a region without which it has no PSNR of its own."""

WHERE = {
    "codec": "region",
    "area": "area|.1%",
    "share": "error|.1%",
    "inside": "PSNR inside|.2f",
    "perfect": "PSNR if perfect|.2f",
}
SIZES = {
    "codec": "averages that are right",
    "share": "error down to this|.1%",
    "psnr": "PSNR, squares|.2f",
    "smooth": "PSNR, smooth|.2f",
}
POSE = {
    "codec": "pose",
    "drift": "drift|.2f",
    "frames": "frames|d",
    "psnr": "PSNR|.2f",
    "ssim": "SSIM|.3f",
    "lmd": "LMD|.3f",
    "true": "landmarks true|.2f",
    "still": "still near in pose|.2f",
    "background": "error in background|.1%",
    "face": "in face|.1%",
}
WHY = (
    {"codec": "what is changed", "psnr": "PSNR|.2f", "gain": "gain|+.2f", "ssim": "SSIM|.3f", "lmd": "LMD|.3f"}
    | {"lmd_lips": "lips|.3f"}
    | {name: f"{name}|.2f" for name in (*TERCILES, *_INSIDE)}
)


@dataclass
class Rated:
    """Pictures of one ablation, one entry a picture. errors: mean squared error inside each region, in levels squared,
    weighed with the region's share of the picture, so that their sum is the picture's; (N, regions).
    """

    errors: NDArray[np.float64]
    ssim: NDArray[np.float64]
    lmd: NDArray[np.float64]
    lips: NDArray[np.float64]

    @property
    def psnr(self) -> NDArray[np.float64]:
        return decibels(self.errors.sum(1))

    def inside(self, names: Sequence[str], area: NDArray[np.float64]) -> float:
        """Mean PSNR inside the regions, of the pictures where there is something of them."""
        index = [REGIONS.index(name) for name in names]
        share = area[:, index].sum(1)
        there = share * 256**2 >= _LEAST
        values = decibels(self.errors[there][:, index].sum(1) / share[there])
        return float(values.mean()) if there.any() else float("nan")

    @classmethod
    def joined(cls, parts: Sequence[Rated]) -> Rated:
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in cls.__dataclass_fields__))


@dataclass
class LossMap:
    """Measures clips and keeps what the tables are made of, one entry a picture.

    area (N, regions): share of the picture; left: mean squared error after the averages of each of `SIDES` are put
    right, in squares and smoothly, (N, sides) each.
    """

    model: Upsampler
    clips: list[str] = field(default_factory=list)
    drifts: list[NDArray[np.float64]] = field(default_factory=list)
    area: list[NDArray[np.float64]] = field(default_factory=list)
    left: list[NDArray[np.float64]] = field(default_factory=list)
    rated: dict[str, list[Rated]] = field(default_factory=dict)

    def measure(self, case: Case, bar: Progress) -> None:
        first = case.clip.points[case.first]
        masks = np.stack([list(regions(points, first).values()) for points in case.points])
        painter = Painter(self.model, case)
        for ablation in ABLATIONS:
            made = ablation.draw(painter)
            self.rated.setdefault(ablation.name, []).append(rated(case, made, masks))
            if ablation.name == USUAL:
                pairs = zip(made.shown.astype(np.float32), case.frames.astype(np.float32), strict=True)
                bands = [[list(part.values()) for part in band_errors(a, b)] for a, b in pairs]
                self.left.append(np.array(bands).transpose(1, 0, 2))
            bar.step(f"{ablation.name.strip()}  {case.clip.name}")
        self.clips.append(case.clip.name)
        self.drifts.append(case.drifts)
        self.area.append(masks.mean((2, 3)))

    def rows(self) -> list[Row]:
        """A row for each clip and ablation."""
        return [
            {"codec": name.strip(), "clip": clip, "frames": len(r.ssim), **_figures(r), "drift": float(drift.mean())}
            for name, parts in self.rated.items()
            for clip, r, drift in zip(self.clips, parts, self.drifts, strict=True)
        ]

    def where(self) -> list[Row]:
        usual, area = self._all(USUAL), np.concatenate(self.area)
        share = usual.errors / np.maximum(usual.errors.sum(1, keepdims=True), 1e-12)
        rows = []
        for name, parts in _GROUPS.items():
            index = [REGIONS.index(part) for part in parts]
            rest = usual.errors.sum(1) - usual.errors[:, index].sum(1)
            rows.append(
                {
                    "codec": name,
                    "area": float(area[:, index].sum(1).mean()),
                    "share": float(share[:, index].sum(1).mean()),
                    "inside": usual.inside(parts, area),
                    "perfect": float(decibels(rest).mean()),
                }
            )
        return [*rows, {"codec": "the picture", "area": 1.0, "share": 1.0, "inside": float(usual.psnr.mean())}]

    def sizes(self) -> list[Row]:
        whole = self._all(USUAL).errors.sum(1)
        squares, smooth = np.concatenate(self.left, 1)
        rows: list[Row] = [{"codec": "as it is", "share": 0.0, "psnr": float(decibels(whole).mean())}]
        for k, side in enumerate(SIDES):
            share = 1 - squares[:, k] / np.maximum(whole, 1e-12)
            better = {"psnr": float(decibels(squares[:, k]).mean()), "smooth": float(decibels(smooth[:, k]).mean())}
            rows.append({"codec": f"{side}x{side}", "share": float(share.mean()), **better})
        return rows

    def poses(self) -> list[Row]:
        drift = np.concatenate(self.drifts)
        usual = self._all(USUAL)
        share = usual.errors / np.maximum(usual.errors.sum(1, keepdims=True), 1e-12)
        told = {name: self._all(name).psnr for name in ("landmarks true", "still near in pose")}
        rows: list[Row] = []
        for name, which in self._terciles().items():
            figures = _figures(Rated(usual.errors[which], usual.ssim[which], usual.lmd[which], usual.lips[which]))
            rows.append(
                {"codec": name, "drift": float(drift[which].mean()), "frames": int(which.sum()), **figures}
                | {"true": float(told["landmarks true"][which].mean())}
                | {"still": float(told["still near in pose"][which].mean())}
                | {"background": float(share[which][:, :2].sum(1).mean())}
                | {"face": float(share[which][:, [REGIONS.index(part) for part in FACE]].sum(1).mean())}
            )
        return rows

    def why(self) -> list[Row]:
        area, base = np.concatenate(self.area), float(self._all(USUAL).psnr.mean())
        rows = []
        for name in self.rated:
            r = self._all(name)
            row: Row = {"codec": name, **_figures(r)}
            row["gain"] = row["psnr"] - base
            row |= {tercile: float(r.psnr[which].mean()) for tercile, which in self._terciles().items()}
            rows.append(row | {short: r.inside(parts, area) for short, parts in _INSIDE.items()})
        return rows

    def _all(self, name: str) -> Rated:
        return Rated.joined(self.rated[name])

    def _terciles(self) -> dict[str, NDArray[np.bool_]]:
        """Which pictures are near the still's pose, and which are not: a third of all each."""
        drift = np.concatenate(self.drifts)
        order = np.argsort(np.argsort(drift, kind="stable"), kind="stable") * len(TERCILES) // len(drift)
        return {name: order == k for k, name in enumerate(TERCILES) if (order == k).any()}


def rated(case: Case, made: Made, masks: NDArray[np.bool_]) -> Rated:
    """masks (B, regions, 256, 256), which cover the picture."""
    shown = made.shown
    error = np.square(shown.astype(np.float32) - case.frames.astype(np.float32)).mean(-1)
    inside = zip(error, masks, strict=True)
    errors = np.array([[float(np.where(m, e, 0).mean(dtype=np.float64)) for m in ms] for e, ms in inside])
    alike = np.array([ssim(a, b) for a, b in zip(case.frames[:, None], shown[:, None], strict=True)])
    away = np.full((len(shown), len(POINTS)), np.nan)
    if made.points is not None:
        points = (made.points.numpy() + 1) / 2
        away = np.linalg.norm(points - case.points, axis=-1) / np.maximum(eye_distance(case.points), 1e-6)[:, None]
    return Rated(errors, alike, away.mean(1), away[:, _LIPS].mean(1))


def decibels(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """PSNR of mean squared errors in levels squared."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.minimum(10 * np.log10(255.0**2 / np.maximum(error, 0)), IDENTICAL_DB))


def _figures(r: Rated) -> Row:
    return {
        "psnr": float(r.psnr.mean()),
        "ssim": float(r.ssim.mean()),
        "lmd": float(r.lmd.mean()),
        "lmd_lips": float(r.lips.mean()),
    }


def _without_gaps(row: Row) -> Row:
    """A row without what it has no figure of, for JSON."""
    return {key: value for key, value in row.items() if not isinstance(value, float) or np.isfinite(value)}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Measure where the error of the drawn picture lies and what it comes from.")
    parser.add_argument("clips", nargs="*", metavar="CLIP", help="media files (the built-in source)")
    parser.add_argument("--weights", type=Path, default=DEFAULT_WEIGHTS, help="of the upsampler (the program's own)")
    parser.add_argument("--frames", type=int, help="pictures of each clip at most (60 s)")
    parser.add_argument("--every", type=int, help="ticks between two measured pictures (about ten a clip)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    for name, value in (("--frames", options.frames), ("--every", options.every)):
        if value is not None and value < 1:
            raise UserError(f"{name} {value}: a whole number from 1")
    keep_memory()
    losses = LossMap(load_upsampler(options.weights))
    sources = options.clips or [DEMO]
    with Progress(len(sources) * len(ABLATIONS), "measuring") as bar:
        for source in sources:
            clip = load_clip(source, options.frames)
            bar.now(f"coding  {clip.name}")
            losses.measure(make_case(clip, options.every), bar)
    tables = {"where": losses.where(), "sizes": losses.sizes(), "pose": losses.poses(), "why": losses.why()}
    count = sum(map(len, losses.drifts))
    print(f"{count} pictures of {len(sources)} clips, {options.weights.name}")
    heads: Mapping[str, tuple[str, dict[str, str]]] = {
        "where": ("Where: by region", WHERE),
        "sizes": ("Where: by size, of 256x256", SIZES),
        "pose": ("Where: by distance of the pose from the still's", POSE),
        "why": ("Why: PSNR by pose, and inside the regions", WHY),
    }
    for name, (title, columns) in heads.items():
        print(f"\n{title}\n{table(tables[name], columns)}")
    if options.json is not None:
        how = settings(clips=losses.clips, pictures=count, weights=options.weights.name, every=options.every)
        written = {name: [_without_gaps(row) for row in rows] for name, rows in tables.items()}
        write_json(options.json, document(losses.rows(), how, tables=written))
        print(f"figures: {options.json}")
    return 0


if __name__ == "__main__":
    run_command(main)
