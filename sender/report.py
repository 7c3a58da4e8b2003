"""What the sender knows about a call: the live line and the JSON report."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codec_models.bitstream.timing import TICK_MS, face_bpp, kbps
from codec_models.errors import UserError
from signaling.wire import WireCounter, part_rates


@dataclass(slots=True)
class SenderReport:
    """Counters of one call. All bytes are payload, without headers and without the redundant copies."""

    ticks: int = 0
    skipped: int = 0
    packets: int = 0
    frames: int = 0
    face_bytes: int = 0
    hint_bits: float = 0.0
    opus_bytes: int = 0
    identity_bytes: int = 0
    identities: int = 0
    refreshes: int = 0
    first: float | None = None
    last: float = 0.0

    def tick(self, now: float, face: bytes, opus: bytes, pictured: bool, hint_bits: float = 0.0) -> None:
        """A tick was sent at `now` (seconds on a steady clock)."""
        self.first = now if self.first is None else self.first
        self.last = now
        self.ticks += 1
        self.frames += pictured
        self.face_bytes += len(face)
        self.hint_bits += hint_bits
        self.opus_bytes += len(opus)

    @property
    def seconds(self) -> float:
        """From the first tick to the end of the last."""
        return 0.0 if self.first is None else self.last - self.first + TICK_MS / 1000

    def summary(self, wire: WireCounter, settings: dict[str, Any], failure: str | None = None) -> dict[str, Any]:
        """The report. Rates are kb/s over `seconds`; face figures include the hints."""
        face = kbps(self.face_bytes, self.seconds)
        return {
            "role": "sender",
            "settings": settings,
            "failure": failure,
            "seconds": round(self.seconds, 3),
            "ticks_sent": self.ticks,
            "ticks_skipped": self.skipped,
            "packets_sent": self.packets,
            "frames_sent": self.frames,
            "face_bits_per_frame": round(8 * self.face_bytes / self.frames, 2) if self.frames else 0.0,
            "face_kbps": round(face, 4),
            "face_bpp": round(face_bpp(face), 7),
            "hint_kbps": round(kbps(self.hint_bits / 8, self.seconds), 4),
            "identity_bytes": self.identity_bytes,
            "identities": self.identities,
            "refreshes": self.refreshes,
            "audio_kbps": round(kbps(self.opus_bytes, self.seconds), 4),
            "wire_kbps": wire.rates(self.seconds),
            "wire_parts_kbps": part_rates(wire.sent_parts, self.seconds),
        }


@dataclass(slots=True)
class LiveLine:
    """Rates since it was last asked."""

    _at: float = 0.0
    _frames: int = 0
    _face: int = 0
    _opus: int = 0
    _wire: int = 0

    def text(self, now: float, report: SenderReport, wire: WireCounter) -> str:
        """fps and kb/s since the last call."""
        span = max(now - self._at, 1e-3)
        fps = (report.frames - self._frames) / span
        face = kbps(report.face_bytes - self._face, span)
        voice = kbps(report.opus_bytes - self._opus, span)
        sent = kbps(wire.sent_bytes - self._wire, span)
        self.start(now, report, wire)
        return (
            f"sender {report.seconds:6.1f} s  {fps:4.1f} fps  face {face:4.1f} kb/s  voice {voice:4.1f} kb/s  "
            f"wire {sent:5.1f} kb/s"
        )

    def start(self, now: float, report: SenderReport, wire: WireCounter) -> None:
        """Count from here."""
        self._at, self._frames = now, report.frames
        self._face, self._opus, self._wire = report.face_bytes, report.opus_bytes, wire.sent_bytes


def check_report(path: Path) -> None:
    """Raise UserError when no report can be written there, before a call is made for nothing."""
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise UserError(f"cannot write a report to {path}: choose a file in a folder that exists and is writable")


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write the report as JSON in one step, so that no reader sees half of it. Raises UserError."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as e:
        part.unlink(missing_ok=True)
        raise UserError(f"cannot write the report to {path} ({e.strerror}): choose another place") from e
