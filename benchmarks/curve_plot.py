"""The curves of `benchmarks.curve`: a row of panels a kind of rate, a panel a measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .curve_families import RATES, Family, Measure, side_of
from .rd_plot import STYLES, new_figure, rate_axis, save

_SIZES = {256: 7.0, 128: 5.0, 64: 3.5}
"""Side of the coded pictures -> size of the mark."""
_ROWS = ("kbps", "kbps_10s")


def draw(path: Path, curves: Mapping[tuple[Measure, str], Sequence[Family]], title: str) -> None:
    """Write the picture: fronts as lines, all points as marks, the smaller the coded pictures. Raises UserError."""
    measures = list(dict.fromkeys(measure for measure, _ in curves))
    figure = new_figure(4.6 * max(len(measures), 1), 8.6)
    handles: dict[str, Any] = {}
    for row, rate in enumerate(_ROWS):
        for column, measure in enumerate(measures):
            axes = figure.add_subplot(len(_ROWS), len(measures), row * len(measures) + column + 1)
            for family in curves[measure, rate]:
                _family(axes, measure, family, handles)
            if measure.sign < 0:
                axes.invert_yaxis()
            axes.set_ylabel(measure.label)
            rate_axis(axes, f"kb/s, {RATES[rate]}")
    figure.suptitle(f"{title} (up is better; marks by the side of the coded pictures: {', '.join(map(str, _SIZES))})")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=8, frameon=False)
    save(figure, path)


def _family(axes: Any, measure: Measure, family: Family, handles: dict[str, Any]) -> None:
    mine = family.name.startswith("ours")
    colour, marker = STYLES.get("ours" if mine else family.name, ("#777777", "x"))
    later = mine and family.name.endswith(" 5 fps")
    fill = "white" if later else colour
    front = [(p.rate, measure.value(p)) for p in family.front]
    line = {"color": colour, "linestyle": "--" if later else "-", "linewidth": 2.2 if mine else 1.3}
    axes.plot(*zip(*front, strict=True), **line, zorder=5 if mine else 3)
    for point in (*family.front, *family.others):
        axes.plot(
            point.rate,
            measure.value(point),
            color=colour,
            marker=marker,
            markersize=9 if mine else _SIZES.get(side_of(point.name), 5.0),
            markerfacecolor="white" if point in family.others else fill,
            alpha=0.45 if point in family.others else 1.0,
            zorder=6 if mine else 4,
        )
    name = "Pinhole" + family.name.removeprefix("ours") if mine else family.name
    (handles[name],) = axes.plot([], [], **line, marker=marker, markersize=7, markerfacecolor=fill)
