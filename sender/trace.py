"""`sender --trace FILE`: where the time of each tick goes on the sending side.

One JSON object a line, one line a tick that was sent, in their order. Times are seconds of `time.monotonic`, which on
Linux is one clock for all processes of a machine; a stage that a tick did not pass is left out::

    tick      int    number of the tick on the wire: its RTP timestamp is 1920 times it, plus the stream's origin
    position  int    its place in its packet, 0 or 1
    clock     int    capture time of the tick's start in ms modulo 65536, as the receiver knows it (`packet.py`)
    pictured  bool   whether the tick carries an 8x8 picture of its own; only these count for latency
    captured  float  the picture was taken: the end of the tick, where its voice is complete too
    began     float  work on the picture began
    cropped   float  the face is found and cut out (also in ticks that carry only its hints)
    encoded   float  the bytes of face, hints and voice are there
    sent      float  the packet was handed to the connection: at once, or with the second tick of an 80 ms packet

From `sent` to the receiver's `arrived` the packet is encrypted, travels, and is decrypted. The receiver's line of the
same tick (`receiver/trace.py`) is the one with the same `clock`. Where packets were lost the two may be a few ms apart,
and ticks are 40: take the nearest, modulo 65536, within 20 ms and less than 30 s later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from codec_models.bitstream.packet import TickPacket
from codec_models.bitstream.timing import TICK_MS
from codec_models.tracefile import TraceFile


@dataclass(frozen=True, slots=True)
class TickTimes:
    """What is known of a tick before its packet is complete; the fields are those of the line."""

    pictured: bool
    captured: float
    began: float
    cropped: float | None
    encoded: float


class SenderTrace:
    """Raises UserError at once where `path` cannot be written; `warn` gets a line when that fails later."""

    _MOST_WAITING = 4

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._file = TraceFile(path, warn)
        self._waiting: dict[int, TickTimes] = {}
        self._clock = (0, 0)  # a tick and the clock that was sent for it

    def tick(self, tick: int, times: TickTimes) -> None:
        """A tick is ready to be packed."""
        self._waiting[tick] = times
        while len(self._waiting) > self._MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]

    def sent(self, packet: TickPacket, first: int, now: float) -> None:
        """The packet whose first tick is number `first` was handed over at `now`."""
        if packet.clock_ms is not None:
            self._clock = first, packet.clock_ms
        known, clock = self._clock
        for position in range(len(packet.faces)):
            tick = first + position
            times = self._waiting.pop(tick, None)
            if times is None:
                continue
            self._file.write(
                {
                    "tick": tick,
                    "position": position,
                    "clock": (clock + TICK_MS * (tick - known)) & 0xFFFF,
                    "pictured": times.pictured,
                    "captured": times.captured,
                    "began": times.began,
                    "cropped": times.cropped,
                    "encoded": times.encoded,
                    "sent": now,
                }
            )

    def close(self) -> None:
        """Write what waits and close the file."""
        self._file.close()
