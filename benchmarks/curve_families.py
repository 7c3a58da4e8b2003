"""Points of many codecs as curves: which belong together, which count, and how far the curves lie apart.

A family is one standard codec at all its sizes, or ours at one rate of 8x8 frames in both profiles: its curve is the
best that its settings can do at each rate (the Pareto front), since that is what a user would choose. A point stands
for the means over all clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import ours
from .anchors import EVERY_ANCHOR
from .bd_rate import BdRate, Point, bd_rate, pareto
from .ours import Variant
from .rd_plot import SCALED
from .report import Row

REFERENCE = "ours, 25 fps"
RATES = {
    "kbps": "video alone",
    "kbps_10s": "a call of 10 s, first picture or still in it",
    "kbps_10min": "a call of 10 min, first picture or still in it",
}
LEAST_FOUND = 0.9
"""Where faces are found in fewer of the drawn pictures than this, landmarks are those of the easy ones."""


@dataclass(frozen=True)
class Measure:
    """A figure of the rows as an axis. sign: 1 where larger is better, -1 where smaller is."""

    key: str
    label: str
    form: str
    sign: int = 1

    def value(self, point: Point) -> float:
        """The figure of a point whose quality is made by `curve`."""
        return self.sign * point.quality

    def text(self, value: float) -> str:
        return format(value, self.form)


MEASURES = (
    Measure("psnr", "PSNR, dB", ".2f"),
    Measure("ssim", "SSIM", ".3f"),
    Measure("vmaf", "VMAF", ".1f"),
    Measure("lmd", "LMD", ".3f", -1),
)


@dataclass(frozen=True)
class Family:
    """One family in one measure at one kind of rate. front, others: as `pareto` parts its points; against: the BD-rate
    beside `REFERENCE`, None for that itself and where it is not there.
    """

    name: str
    front: list[Point]
    others: list[Point]
    against: BdRate | None = None


def family_of(codec: str) -> str:
    """Of an anchor at any size, or of ours."""
    if ours.is_ours(codec):
        return f"ours, {Variant.named(codec).fps} fps" if codec not in ours.BASELINES else codec
    return EVERY_ANCHOR[codec].family.split(SCALED)[0]


def side_of(codec: str) -> int:
    """The side of the pictures that an anchor codes; 256 for ours."""
    family = EVERY_ANCHOR[codec].family if codec in EVERY_ANCHOR else ""
    return int(family.split(SCALED)[1]) if SCALED in family else 256


def counts(rows: Sequence[Row], measure: Measure) -> bool:
    """Whether the rows of a codec, one a clip, make a point: each has the figure, and faces are found where it needs
    them.
    """
    if measure.key == "lmd" and sum(row.get("face_found", 0.0) for row in rows) < LEAST_FOUND * len(rows):
        return False
    return all(measure.key in row for row in rows)


def families(rows: Sequence[Row], mean: Mapping[str, Row], measure: Measure, rate: str) -> list[Family]:
    """All families with a point in this measure, each beside `REFERENCE`. rows: a codec and clip each; mean: codec ->
    means of its rows; rate: one of `RATES`.
    """
    by_codec: dict[str, list[Row]] = {}
    for row in rows:
        by_codec.setdefault(row["codec"], []).append(row)
    points: dict[str, list[Point]] = {}
    for codec, of_codec in by_codec.items():
        if counts(of_codec, measure) and mean[codec].get(rate, 0) > 0:
            point = Point(mean[codec][rate], measure.sign * mean[codec][measure.key], codec)
            points.setdefault(family_of(codec), []).append(point)
    parted = {name: pareto(of_family) for name, of_family in points.items()}
    reference = parted.get(REFERENCE)
    return [
        Family(
            name,
            front,
            others,
            bd_rate(reference[0], front) if reference is not None and name != REFERENCE else None,
        )
        for name, (front, others) in parted.items()
    ]


def nearest(reference: Family, other: Family) -> tuple[Point, Point]:
    """Of two fronts the points whose qualities are nearest, of the reference and of the other; of those the cheapest
    other.
    """
    pairs = [(a, b) for a in reference.front for b in other.front]
    return min(pairs, key=lambda pair: (abs(pair[0].quality - pair[1].quality), pair[1].rate))


def as_json(family: Family) -> Row:
    """The curve and what it costs, in words that the file can keep."""
    row: Row = {"front": [p.name for p in family.front], "off_the_front": [p.name for p in family.others]}
    if (against := family.against) is not None:
        row |= {"bd_rate_percent": against.percent}
        row |= {"why_none": against.reason} if against.percent is None else {}
        row |= {"share_of_ours": against.share} if against.percent is not None else {}
    return row
