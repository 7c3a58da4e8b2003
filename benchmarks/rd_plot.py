"""The rate-distortion picture: quality against rate, one panel a measure, means over the clips."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codec_models.errors import UserError

from .report import Row

_PANELS = (("psnr", "PSNR, dB"), ("ssim", "SSIM"), ("vmaf", "VMAF"))
# Okabe and Ito's palette, told apart with any colour vision; shapes differ as well
STYLES = {
    "ours": ("#D55E00", "*"),
    "H.264": ("#0072B2", "o"),
    "H.264 (offline)": ("#56B4E9", "o"),
    "H.265": ("#009E73", "s"),
    "VP9": ("#CC79A7", "D"),
    "AV1": ("#E69F00", "^"),
    "H.266": ("#000000", "v"),
    "H.266 (offline)": ("#777777", "v"),
}
SCALED = " at "
"""Between a family and the smaller side at which it runs, as in "H.264 at 128"."""
_TICKS = [n * 10**k for k in range(-2, 4) for n in (1, 2, 5)]
_BASELINES = {"bicubic": ("#777777", "x"), "still-colour": ("#777777", "+")}


def draw(path: Path, mean: Mapping[str, Row], families: Mapping[str, str], title: str) -> None:
    """Write the picture. mean: codec -> figures; families: codec -> key of STYLES, of a smaller size
    with `SCALED` and the side behind it. Raises UserError.
    """
    panels = [(key, name) for key, name in _PANELS if any(key in row for row in mean.values())]
    figure = new_figure(5.2 * len(panels), 5.4)
    handles: dict[str, Any] = {}
    for at, (key, name) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), at + 1)
        _panel(axes, key, mean, families, handles)
        axes.set_ylabel(name)
    figure.suptitle(title)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False)
    save(figure, path)


def new_figure(width: float, height: float) -> Any:
    """An empty picture of so many inches. Raises UserError where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("--plot needs matplotlib: pip install matplotlib") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: Path) -> None:
    """Write a picture of `new_figure`. Raises UserError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as e:
        raise UserError(f"{path} cannot be written ({e}): choose another --plot file, such as rd.png") from e


def rate_axis(axes: Any, label: str) -> None:
    """A logarithmic axis of kb/s with plain numbers; after the points, as it marks what they span."""
    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.set_xticks([n for n in _TICKS if axes.get_xlim()[0] <= n <= axes.get_xlim()[1]])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.grid(True, which="major", alpha=0.35)
    axes.grid(True, which="minor", alpha=0.12)


def _panel(axes: Any, key: str, mean: Mapping[str, Row], families: Mapping[str, str], handles: dict[str, Any]) -> None:
    for family in sorted(set(families.values()), key=lambda f: [*STYLES].index(f.split(SCALED)[0])):
        colour, marker = STYLES[family.split(SCALED)[0]]
        rows = {c: r for c, r in mean.items() if families.get(c) == family and key in r and r.get("kbps", 0) > 0}
        if not rows:
            continue
        ours = family == "ours"
        points = sorted((r["kbps"], r[key]) for r in rows.values())
        line = "none" if ours else "--" if "offline" in family else ":" if SCALED in family else "-"
        (handles["Pinhole" if ours else family],) = axes.plot(
            *zip(*points, strict=True),
            color=colour,
            marker=marker,
            linestyle=line,
            linewidth=1.4,
            markersize=15 if ours else 7,
            markeredgecolor="black" if ours else colour,
            markerfacecolor="none" if "offline" in family else colour,
            zorder=5 if ours else 3,
        )
        for codec, row in rows.items():
            if ours and not codec.endswith("-nohints"):
                _ours(axes, key, codec, row, handles)
    for codec, (colour, marker) in _BASELINES.items():
        row = mean.get(codec, {})
        if key in row and row.get("kbps", 0) > 0:
            (handles[codec],) = axes.plot(
                row["kbps"], row[key], color=colour, marker=marker, linestyle="none", markersize=9
            )
    rate_axis(axes, "kb/s (256x256, 25 fps, video only)")


def _ours(axes: Any, key: str, codec: str, row: Row, handles: dict[str, Any]) -> None:
    """The same point with the identity still in the rate, and the name."""
    if row.get("kbps_with_still", 0) > row["kbps"]:
        (handles["Pinhole, still inside the rate"],) = axes.plot(
            row["kbps_with_still"],
            row[key],
            color=STYLES["ours"][0],
            marker="*",
            markersize=13,
            markerfacecolor="white",
            linestyle="none",
            zorder=4,
        )
        ends = [row["kbps"], row["kbps_with_still"]]
        axes.plot(ends, [row[key]] * 2, color=STYLES["ours"][0], linestyle=":", linewidth=1.2, zorder=2)
    axes.annotate(codec, (row["kbps"], row[key]), (0, 11), textcoords="offset points", ha="center", fontsize=8)
