"""What a call measured: counters and percentiles in bounded memory, and the report that is made of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codec_models.bitstream.timing import face_bpp, kbps
from codec_models.errors import UserError
from signaling.wire import WireCounter, part_rates

STALL = 0.120
"""A longer time between two pictures, in seconds, counts as a stall."""


class Histogram:
    """Percentiles of milliseconds in bins of 0.5 ms, from -1 s to 5 s; values outside go to the outermost bins."""

    _LOW, _HIGH, _BIN = -1000.0, 5000.0, 0.5

    def __init__(self) -> None:
        self._counts = [0] * int((self._HIGH - self._LOW) / self._BIN)
        self.count = 0

    def add(self, milliseconds: float) -> None:
        at = int((milliseconds - self._LOW) / self._BIN)
        self._counts[min(max(at, 0), len(self._counts) - 1)] += 1
        self.count += 1

    def percentile(self, percent: float, magnitude: bool = False) -> float | None:
        """The value below which `percent` of the values lie, in ms; of their magnitudes if asked. None if empty."""
        if not self.count:
            return None
        values = [(self._LOW + (k + 0.5) * self._BIN, n) for k, n in enumerate(self._counts) if n]
        if magnitude:
            values = sorted((abs(v), n) for v, n in values)
        left = percent / 100 * self.count
        for value, n in values:
            left -= n
            if left <= 1e-9:
                return round(value, 2)
        return round(values[-1][0], 2)


@dataclass(slots=True)
class Traffic:
    """Bytes by purpose. frames: face frames decoded; face_bytes: theirs with the hints, each tick counted once."""

    face_bytes: int = 0
    hint_bits: float = 0.0
    frames: int = 0
    opus_bytes: int = 0
    identity_bytes: int = 0
    identities: int = 0
    garbage_packets: int = 0


@dataclass(slots=True)
class Shown:
    """Pictures handed to the display."""

    frames: int = 0
    skipped: int = 0
    stalls: int = 0
    first: float | None = None
    last: float | None = None
    latency: Histogram = field(default_factory=Histogram)
    av_offset: Histogram = field(default_factory=Histogram)
    recent_latency: float | None = None

    def add(self, now: float, captured: float | None, voice_at: float | None, restart: bool = False) -> None:
        """A picture was handed over at `now`. captured: when it was taken, on the same clock (None: held or unknown).

        voice_at: when the voice of the same instant was handed over; negative offsets are pictures that lead.
        """
        self.frames += 1
        if self.first is None:
            self.first = now
        elif self.last is not None and now - self.last > STALL and not restart:
            self.stalls += 1
        self.last = now
        if captured is not None:
            latency = (now - captured) * 1000
            self.latency.add(latency)
            old = self.recent_latency
            self.recent_latency = latency if old is None else old + 0.1 * (latency - old)
            if voice_at is not None:
                self.av_offset.add((now - voice_at) * 1000)

    @property
    def fps(self) -> float:
        """Mean frame rate between the first and the last picture."""
        if self.first is None or self.last is None or self.last <= self.first:
            return 0.0
        return (self.frames - 1) / (self.last - self.first)


def summary(
    seconds: float,
    ticks: dict[str, int],
    traffic: Traffic,
    shown: Shown,
    wire: WireCounter,
    engine: dict[str, str],
) -> dict[str, Any]:
    """The report, rounded. seconds: from the first tick to the end. engine: backend and device."""
    face = kbps(traffic.face_bytes, seconds)
    bits = 8 * traffic.face_bytes / traffic.frames if traffic.frames else 0.0
    return {
        "seconds": round(seconds, 3),
        **ticks,
        "frames_shown": shown.frames,
        "frames_skipped": shown.skipped,
        "fps_shown": round(shown.fps, 3),
        "face_bits_per_frame": round(bits, 2),
        "face_kbps": round(face, 4),
        "face_bpp": round(face_bpp(face), 7),
        "hint_kbps": round(kbps(traffic.hint_bits / 8, seconds), 4),
        "identity_bytes": traffic.identity_bytes,
        "identities": traffic.identities,
        "audio_kbps": round(kbps(traffic.opus_bytes, seconds), 4),
        "garbage_packets": traffic.garbage_packets,
        "wire_kbps": wire.rates(seconds),
        "wire_parts_kbps": part_rates(wire.received_parts, seconds),
        "latency_ms": {f"p{p}": shown.latency.percentile(p) for p in (50, 95, 99)},
        "av_offset_ms": {f"p{p}": shown.av_offset.percentile(p, magnitude=True) for p in (50, 95)},
        "stalls_over_120ms": shown.stalls,
        **engine,
    }


def live_line(figures: dict[str, Any]) -> str:
    """One line of at most 100 characters."""
    latency = figures["latency_ms"]
    return (
        f"{figures['fps']:4.1f} fps  face {figures['face_kbps']:.2f} kb/s  wire {figures['wire_kbps']:.1f} kb/s  "
        f"latency {'-' if latency is None else f'{latency:.0f}'} ms  loss {figures['loss_percent']:.1f} %  "
        f"{figures['backend']} on {figures['device']}"
    )


def check_writable(path: Path) -> None:
    """Raise UserError when a file cannot be written there; leaves whatever is there as it is."""
    existed = path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as e:
        raise UserError(f"cannot write {path}: {e.strerror or e}; choose another path") from None
    if not existed:
        path.unlink(missing_ok=True)


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write the report as JSON in one step, so that no reader ever sees half of it. Raises UserError."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as e:
        part.unlink(missing_ok=True)
        raise UserError(f"cannot write the report {path}: {e.strerror or e}") from None
