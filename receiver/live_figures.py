"""The figures of a call while it runs: rates over the last seconds and counts since its start."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from codec_models.bitstream.timing import face_bpp, kbps

from .playout import Playout
from .report import Shown


@dataclass(frozen=True, slots=True)
class _Snapshot:
    time: float
    face_bytes: int
    opus_bytes: int
    wire_bytes: int
    frames: int
    lost: int
    played: int


class LiveFigures:
    """received_bytes: of the call on the wire, so far. `take` is called once a second, `now` from the first tick on."""

    _WINDOW = 3
    """Seconds that the rates look back."""

    def __init__(self, playout: Playout, shown: Shown, received_bytes: Callable[[], int]) -> None:
        self._playout, self._shown, self._received_bytes = playout, shown, received_bytes
        self._snapshots: deque[_Snapshot] = deque(maxlen=self._WINDOW + 1)
        self._started: float | None = None

    def take(self, now: float) -> None:
        """Note where the counters stand, at `now` seconds."""
        self._started = now if self._started is None else self._started
        traffic, counters = self._playout.traffic, self._playout.counters
        self._snapshots.append(
            _Snapshot(
                now,
                traffic.face_bytes,
                traffic.opus_bytes,
                self._received_bytes(),
                self._shown.frames,
                counters["ticks_lost"],
                counters["ticks_played"],
            )
        )

    def now(self) -> dict[str, Any]:
        """Rates and counts; empty before the first tick."""
        if not self._snapshots or self._started is None:
            return {}
        new, old = self._snapshots[-1], self._snapshots[0]
        span = new.time - old.time
        face = kbps(new.face_bytes - old.face_bytes, span)
        played = new.played - old.played
        counters = self._playout.counters
        return {
            "fps": (new.frames - old.frames) / span if span > 0 else 0.0,
            "face_kbps": face,
            "audio_kbps": kbps(new.opus_bytes - old.opus_bytes, span),
            "wire_kbps": kbps(new.wire_bytes - old.wire_bytes, span),
            "bpp": face_bpp(face),
            "latency_ms": self._shown.recent_latency,
            "lost": counters["ticks_lost"],
            "concealed": counters["ticks_concealed"],
            "loss_percent": 100 * max(0, new.lost - old.lost) / played if played else 0.0,
            "ticks_played": counters["ticks_played"],
            "frames_shown": self._shown.frames,
            "seconds": new.time - self._started,
        }
