"""`receiver --trace FILE`: where the time of each tick goes on the receiving side.

One JSON object a line, one line a tick that was played, roughly in their order. Times are seconds of `time.monotonic`,
which on Linux is one clock for all processes of a machine; a stage that a tick did not pass is left out::

    stream        int    counts the timelines of the call, from 1
    tick          int    number of the tick in its timeline; the sender's own number is another one
    clock         int    capture time of the tick's start in ms modulo 65536, by the clock in the packets (`packet.py`)
    pictured      bool   whether the tick brought an 8x8 picture of its own; only these count for latency
    captured      float  when its picture was taken, by that clock, which is exact to a few ms. Where both ends run on
                         one machine the sender's line has it better
    arrived       float  the tick's packet, decrypted, reached the receiver's code; left out where none came in time
    played        float  the jitter buffer let go of the tick; a picture may go before its voice
    decoded       float  its bytes were decoded
    voice         float  when its voice is (to be) handed over
    queued        float  the renderer's thread took it for drawing, with the still encoded and skipped ticks taken in
    interpolated  float  the 8x8 picture was filled in (5 fps)
    upsampled     float  256x256 was drawn
    restored      float  its teeth were restored
    shown         float  the picture was handed to the displays, or would have been with `--show none`; left out where
                         it was skipped for lack of time

`interpolated`, `upsampled`, `restored` are sums of what the reconstruction says that it spent; what is left up to
`shown` is its remaining work. With a look-ahead, `queued` and all after it are of the later tick in which the picture
was drawn. `sender/trace.py` says how the sender's line of the same tick is found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from codec_models.tracefile import TraceFile

from .playout import PlayedTick

_STAGES = {"interpolate": "interpolated", "upsample": "upsampled", "teeth": "restored"}


class ReceiverTrace:
    """Raises UserError at once where `path` cannot be written; `warn` gets a line when that fails later. Any thread."""

    _MOST_WAITING = 100
    """Ticks that may be on their way to the display; older ones have been skipped."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._file = TraceFile(path, warn)
        self._lock = threading.Lock()
        self._waiting: dict[tuple[int, int], dict[str, Any]] = {}

    def played(self, tick: PlayedTick, played: float, decoded: float, voice_at: float) -> None:
        """The tick has left the jitter buffer and is about to be given to the renderer."""
        line = {
            "stream": tick.stream,
            "tick": tick.index,
            "clock": tick.clock,
            "pictured": tick.pictured,
            "captured": tick.captured if tick.pictured else None,
            "arrived": tick.arrived,
            "played": played,
            "decoded": decoded,
            "voice": voice_at,
        }
        with self._lock:
            self._waiting[tick.stream, tick.index] = line
            while len(self._waiting) > self._MOST_WAITING:
                self._file.write(self._waiting.pop(next(iter(self._waiting))))

    def shown(self, tick: PlayedTick, queued: float, spent: Mapping[str, float], shown: float) -> None:
        """Its picture was handed over. spent: seconds by stage, from `queued` on."""
        with self._lock:
            line = self._waiting.pop((tick.stream, tick.index), None)
        if line is None:
            return
        line["queued"] = at = queued
        for stage, name in _STAGES.items():
            if stage in spent:
                line[name] = at = at + spent[stage]
        line["shown"] = shown
        self._file.write(line)

    def close(self) -> None:
        """Write what waits and close the file."""
        with self._lock:
            for line in self._waiting.values():
                self._file.write(line)
            self._waiting.clear()
        self._file.close()
