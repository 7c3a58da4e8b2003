"""What every benchmark writes: JSON with `settings`, `machine`, `rows` and `mean`, and plain tables."""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import av

from codec_models.errors import UserError

Row = dict[str, Any]
_PACKAGES = (
    *("pinhole-call", "av", "numpy", "opencv-python-headless", "pillow", "aiortc"),
    *("mediapipe", "imageio-ffmpeg", "torch"),
)


def settings(**more: Any) -> dict[str, Any]:
    """The exact command, the versions of what takes part in the figures, and whatever the benchmark adds."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    libraries = {name: ".".join(map(str, numbers)) for name, numbers in av.library_versions.items()}
    return {"command": command_line(), "versions": {**versions, "ffmpeg": libraries}, **more}


def command_line() -> str:
    """How to run the same again: the script relative to the current folder, with its arguments."""
    script = Path(sys.argv[0])
    if script.is_absolute() and script.is_relative_to(Path.cwd()):
        script = script.relative_to(Path.cwd())
    return shlex.join(["python", str(script), *sys.argv[1:]])


def machine() -> dict[str, Any]:
    """What the figures were measured on; nothing that names the machine or its user."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_model(),
        "cores": cores,
        "python": platform.python_version(),
        "os": f"{platform.system()} {platform.machine()}",
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def mean_rows(rows: Iterable[Mapping[str, Any]]) -> dict[str, Row]:
    """Codec name -> mean of each figure over the clips that have it. Text, lists and nested figures are left out."""
    gathered: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        figures = gathered.setdefault(str(row["codec"]), {})
        for key, value in row.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                figures.setdefault(key, []).append(float(value))
    return {
        codec: {key: round(sum(v) / len(v), 6) for key, v in figures.items()} for codec, figures in gathered.items()
    }


def document(rows: Sequence[Row], settings: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The JSON of a benchmark."""
    return {
        "settings": dict(settings),
        "machine": machine(),
        "rows": [_rounded(row) for row in rows],
        "mean": mean_rows(rows),
        **more,
    }


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write whole or not at all. Raises UserError where the file cannot be written."""
    target = Path(path)
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        part.replace(target)
    except OSError as e:
        raise UserError(f"{path} cannot be written ({e.strerror}): choose another --json file") from e


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return value


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """A plain text table. columns: key of the row -> heading, with a format after a bar, such as "kb/s|.2f".

    Numbers are set to the right; a missing figure is a dash.
    """
    heads = [c.split("|")[0] for c in columns.values()]
    formats = [c.split("|")[1] if "|" in c else "" for c in columns.values()]
    cells = [[_cell(row.get(key), form) for key, form in zip(columns, formats, strict=True)] for row in rows]
    widths = [max([len(h), *(len(line[k]) for line in cells)]) for k, h in enumerate(heads)]
    right = [bool(f) for f in formats]

    def line(parts: Sequence[str]) -> str:
        put = (p.rjust(w) if r else p.ljust(w) for p, w, r in zip(parts, widths, right, strict=True))
        return "  ".join(put).rstrip()

    return "\n".join([line(heads), "  ".join("-" * w for w in widths), *(line(c) for c in cells)])


def _cell(value: Any, form: str) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    return format(value, form) if form else str(value)
