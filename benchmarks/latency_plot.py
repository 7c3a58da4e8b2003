"""The picture of the latency benchmark: a stacked bar a codec, mean of each stage; p50, p95 and p99 of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codec_models.errors import UserError

from .report import Row
from .ticktimes import STAGES

# shades of the parts of a call: sending side blue, network and buffer grey, drawing orange to red
_COLOURS = {
    "crop": "#9ECAE1",
    "encode": "#4292C6",
    "packetise": "#084594",
    "network": "#BDBDBD",
    "jitter_buffer": "#737373",
    "decode": "#74C476",
    "interpolate": "#FDD0A2",
    "upsample": "#FD8D3C",
    "teeth": "#D94801",
    "display": "#9E9AC8",
    "wait": "#F7F7F7",
}
_MARKS = {"p50": "|", "p95": "D", "p99": "x"}
_LABELLED = 0.06
"""Share of the picture's width from which on a stage's mean is written into it."""


def draw(path: Path, rows: Sequence[Row], title: str) -> None:
    """Write the picture; codecs without figures are named below it. Raises UserError."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("--plot needs matplotlib: pip install matplotlib") from None
    told = [row for row in rows if "p50_ms" in row]
    absent = [f"{row['codec']}: not measured" for row in rows if "p50_ms" not in row]
    figure = Figure(figsize=(11, 2.2 + 0.62 * max(len(told), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    _bars(axes, told)
    axes.set_xlabel("\n".join(["ms from capture to shown (bars: mean of each stage)", *absent]))
    axes.set_title(title)
    if told:
        figure.legend(loc="outside lower center", ncols=7, frameon=False, fontsize=9)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as e:
        raise UserError(f"{path} cannot be written ({e}): choose another --plot file, such as latency.png") from e


def _bars(axes: Any, rows: Sequence[Row]) -> None:
    names = [str(row["codec"]) for row in rows]
    width = max([row["p99_ms"] for row in rows], default=1.0)
    left = [0.0] * len(rows)
    for key, name in STAGES.items():
        means = [float(row["stages"].get(key, {}).get("mean", 0.0)) for row in rows]
        if not any(means):
            continue
        axes.barh(
            names, means, left=left, height=0.62, color=_COLOURS[key], edgecolor="#555555", linewidth=0.5, label=name
        )
        for at, (start, mean) in enumerate(zip(left, means, strict=True)):
            if mean >= _LABELLED * width:
                axes.text(start + mean / 2, at, f"{mean:.0f}", ha="center", va="center", fontsize=8)
        left = [start + mean for start, mean in zip(left, means, strict=True)]
    for mark, shape in _MARKS.items():
        values = [float(row[f"{mark}_ms"]) for row in rows]
        size = 620 if shape == "|" else 36
        axes.scatter(values, names, marker=shape, s=size, color="black", zorder=4, label=mark, linewidths=1.6)
    axes.invert_yaxis()
    axes.set_xlim(0, width * 1.05)
    axes.grid(True, axis="x", alpha=0.35)
    axes.set_axisbelow(True)
