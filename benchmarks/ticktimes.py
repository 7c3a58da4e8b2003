"""Where the time of a picture goes, from capture to shown: the lines of both sides of a call, joined.

Our call writes the lines of `sender/trace.py` and `receiver/trace.py`, joined by the capture clock; the H.264 call
those of `h264/timeline.py`, joined by the RTP timestamp. A picture's marks follow each other, and each span between
two of them belongs to one stage, so that the stages of a picture add up to its latency exactly. Times are seconds.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Line = Mapping[str, Any]

STAGES = {
    "crop": "crop",
    "encode": "encode",
    "packetise": "packetise",
    "network": "network",
    "jitter_buffer": "jitter buffer",
    "decode": "decode",
    "interpolate": "interpolate",
    "upsample": "upsample",
    "teeth": "teeth",
    "display": "display",
    "wait": "wait",
}
"""Key in the JSON -> name. `display` is what is left after the last named work up to the display; `wait` is waiting
for a thread between two stages, and for the look-ahead at 5 fps."""

OURS = (
    ("captured", ""),
    ("began", "wait"),
    ("cropped", "crop"),
    ("encoded", "encode"),
    ("sent", "packetise"),
    ("arrived", "network"),
    ("played", "jitter_buffer"),
    ("decoded", "decode"),
    ("queued", "wait"),
    ("interpolated", "interpolate"),
    ("upsampled", "upsample"),
    ("restored", "teeth"),
    ("shown", "display"),
)
"""A mark, and the stage that ends with it."""
H264 = (
    ("captured", ""),
    ("began", "wait"),
    ("cropped", "crop"),
    ("encoding", "wait"),
    ("encoded", "encode"),
    ("sent", "packetise"),
    ("arrived", "network"),
    ("left", "jitter_buffer"),
    ("decoding", "wait"),
    ("decoded", "decode"),
    ("shown", "display"),
)
_CLOCK = 1 << 16
_SAME_MS = 20
_LONGEST_S = 30.0


@dataclass(frozen=True, slots=True)
class TickTimes:
    """stages: seconds by key of STAGES; they add up to shown - captured. pictured: the tick has a picture of its own,
    not its hints alone. bytes: of its coded picture, where the sender says so.
    """

    captured: float
    shown: float
    stages: dict[str, float]
    pictured: bool = True
    bytes: int | None = None

    @property
    def latency(self) -> float:
        return self.shown - self.captured


@dataclass(frozen=True, slots=True)
class Joined:
    """ticks: in the order of capture. missing: capture times of those that were sent and never shown."""

    ticks: list[TickTimes]
    missing: list[float]

    def after(self, settled: float) -> Joined:
        """Without the first `settled` seconds after the first picture that was shown, and without the ticks that were
        still on their way at the end.
        """
        if not self.ticks:
            return self
        first, last = self.ticks[0].captured + settled, self.ticks[-1].captured
        return Joined(
            [t for t in self.ticks if t.captured >= first],
            [captured for captured in self.missing if first <= captured <= last],
        )


def of_h264(sent: Iterable[Line], received: Iterable[Line]) -> Joined:
    """Joined by RTP timestamp."""
    shown = {line["timestamp"]: line for line in received if _number(line, "shown")}
    pairs, missing = [], []
    for line in sent:
        if not _number(line, "captured"):
            continue
        other = shown.get(line.get("timestamp"))
        if other is None:
            missing.append(float(line["captured"]))
        else:
            pairs.append((line, other))
    return Joined(_times(pairs, H264), missing)


def of_ours(sent: Iterable[Line], received: Iterable[Line]) -> Joined:
    """Joined by the capture clock, which is sent modulo 65536 ms: the nearest one, shown less than 30 s later.

    A tick whose packet came too late is concealed: what was drawn in its place is not of its capture, so it is missing.
    """
    shown = sorted(
        (line for line in received if _number(line, "shown") and _number(line, "clock")), key=lambda x: int(x["clock"])
    )
    clocks = [int(line["clock"]) for line in shown]
    pairs, missing = [], []
    for line in sent:
        if not _number(line, "captured") or not _number(line, "clock"):
            continue
        other = _nearest(line, shown, clocks)
        if other is None or not (other.get("pictured") if line.get("pictured") else _number(other, "arrived")):
            missing.append(float(line["captured"]))
        else:
            pairs.append((line, other))
    return Joined(_times(pairs, OURS), missing)


def _nearest(line: Line, shown: Sequence[Line], clocks: Sequence[int]) -> Line | None:
    """What was shown of a tick that was sent."""
    clock = int(line["clock"])
    best: tuple[int, Line] | None = None
    for turn in (-_CLOCK, 0, _CLOCK):
        low = bisect.bisect_left(clocks, clock + turn - _SAME_MS + 1)
        high = bisect.bisect_right(clocks, clock + turn + _SAME_MS - 1)
        for at in range(low, high):
            off = abs(clocks[at] - clock - turn)
            in_time = 0 <= float(shown[at]["shown"]) - float(line["captured"]) < _LONGEST_S
            if in_time and (best is None or off < best[0]):
                best = off, shown[at]
    return best[1] if best else None


def _times(pairs: Iterable[tuple[Line, Line]], chain: Sequence[tuple[str, str]]) -> list[TickTimes]:
    found = []
    for sent, received in pairs:
        # both lines may know a mark: the sender knows its own best
        marks = {**received, **{k: v for k, v in sent.items() if v is not None}}
        stages, before = dict.fromkeys((s for _, s in chain if s), 0.0), float(marks["captured"])
        for name, stage in chain[1:]:
            if _number(marks, name):
                stages[stage] += float(marks[name]) - before
                before = float(marks[name])
        size = int(marks["bytes"]) if _number(marks, "bytes") else None
        pictured = bool(marks.get("pictured", True))
        found.append(TickTimes(float(marks["captured"]), before, stages, pictured, size))
    return sorted(found, key=lambda t: t.captured)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Seconds -> p50, p95, p99 and mean in ms, linear between the two nearest values; no values give nothing."""
    if not values:
        return {}
    p50, p95, p99 = np.percentile(values, [50, 95, 99]).tolist()
    return {"p50": 1e3 * p50, "p95": 1e3 * p95, "p99": 1e3 * p99, "mean": 1e3 * float(np.mean(values))}


def summary(ticks: Sequence[TickTimes]) -> dict[str, Any]:
    """p50_ms, p95_ms, p99_ms, mean_ms and max_ms of the latency, and the same of each stage that some tick passes."""
    whole = percentiles([t.latency for t in ticks])
    stages = {key: percentiles([t.stages[key] for t in ticks if key in t.stages]) for key in STAGES}
    return {
        **{f"{name}_ms": value for name, value in whole.items()},
        **({"max_ms": 1e3 * max(t.latency for t in ticks)} if ticks else {}),
        "stages": {key: figures for key, figures in stages.items() if figures and any(figures.values())},
    }


def _number(line: Line, name: str) -> bool:
    value = line.get(name)
    return isinstance(value, int | float) and not isinstance(value, bool)
