"""The core of the receiver: packets in, one tick to show and to play every 40 ms out. Pure, time is an argument.

It joins the jitter buffer, the face decoder and the voice of one stream. A tick that is missing at its time is
concealed at once, but the face decoder is told of the loss only when the next tick is due: its packet usually brings
the lost face along, and then nothing that builds on it is damaged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codec_models.bitstream.errors import BitstreamError
from codec_models.bitstream.face import FaceDecoder, FaceTick
from codec_models.bitstream.packet import unpack
from codec_models.bitstream.timing import SAMPLES_PER_TICK, TICK_MS

from .jitterbuffer import TICK, BufferedTick, JitterBuffer, Kind
from .report import Traffic
from .split_flows import SplitFlows, TickPart
from .voice import Concealer, OpusDecoder

_NOTHING = FaceTick(None, None, False)


@dataclass(frozen=True, slots=True)
class PlayedTick:
    """One tick at its time.

    stream: counts the timelines of the call; index: tick index within its own. due: when its voice is to begin, in
    seconds. face: what the reconstruction gets; its picture is of the tick's end, where its voice ends too. low: the
    newest 8x8 picture known, (8, 8, 3) uint8 RGB, or None.
    voice: (1920,) int16, concealed where it was missing; heard: whether it was really there.
    live: the same voice as it is to be played, stretched or shortened by the jitter buffer; may be empty.
    captured: when the picture in `face` was taken, in seconds on the clock of `due`; None when that is not known.
    pictured: whether that picture is the tick's own, not an older one that came late. clock: capture time of the tick's
    start in ms modulo 65536, where known. arrived: when its own packet came, None where it did not.
    """

    stream: int
    index: int
    due: float
    face: FaceTick
    low: NDArray[np.uint8] | None
    voice: NDArray[np.int16]
    heard: bool
    live: NDArray[np.int16]
    captured: float | None
    pictured: bool = False
    clock: int | None = None
    arrived: float | None = None


class Playout:
    """wall_offset: the wall clock (unix seconds) minus the clock of all `now` and `arrival` arguments, in seconds.

    early: seconds before its time that a tick is given out whose own packet is there, so that its picture can be drawn;
    may change.
    """

    _MAX_WAIT = 4
    """Ticks that the face decoder waits for a lost face (a packet carries up to three old ones)."""

    def __init__(self, wall_offset: float, buffer: JitterBuffer | None = None) -> None:
        self.buffer = buffer or JitterBuffer()
        self.early = 0.0
        self.traffic = Traffic()
        self.concealed = 0
        self._tail = 0
        self.recovered = 0
        self.corrupt = 0
        self._wall_offset = wall_offset
        self._origin: int | None = None
        self._flows = SplitFlows()
        self._told: tuple[int, bool] = (25, True)
        self._split = False
        self._epoch: float | None = None
        self._stray_epoch: float | None = None
        self._streams = 0
        self._decoder = FaceDecoder()
        self._opus = OpusDecoder()
        self._live, self._recorded = Concealer(), Concealer()
        self._open: list[int] = []
        self._late: dict[int, bytes] = {}
        self._low: NDArray[np.uint8] | None = None
        self._fresh = False

    @property
    def due(self) -> float | None:
        """When to call `step` next, None while nothing plays."""
        return self.buffer.ready(self.early)

    @property
    def needs_refresh(self) -> bool:
        """Whether the face decoder misses a frame that later ones lean on; always once after a restart."""
        return self._fresh or self._decoder.needs_refresh

    def refresh_sent(self) -> None:
        """A refresh has been asked for."""
        self._fresh = False

    @property
    def counters(self) -> dict[str, int]:
        """Ticks so far, by what became of them.

        What is missing since the newest tick that came is left out: it may never have been sent.
        """
        s = self.buffer.statistics
        return {
            "ticks_received": s.received,
            "ticks_lost": max(0, s.lost - self._tail),
            "ticks_late": s.late,
            "ticks_concealed": self.concealed - self._tail,
            "ticks_from_redundancy": self.recovered,
            "ticks_corrupt": self.corrupt,
            "ticks_played": s.played - self._tail,
        }

    def packet(self, timestamp: int, payload: bytes, arrival: float) -> bool:
        """Take an RTP payload; False where it is garbage. timestamp: unwrapped RTP timestamp in 1/48000 s."""
        try:
            packet = unpack(payload)
        except BitstreamError:
            self.traffic.garbage_packets += 1
            return False
        if self._origin is None:
            self._origin = timestamp
        tick = round((timestamp - self._origin) / SAMPLES_PER_TICK)
        if self._put(tick, packet.clock_ms, arrival, lambda: self.buffer.put(tick, packet, arrival)):
            self.traffic.opus_bytes += sum(map(len, packet.opus))
        return True

    def face_message(self, message: bytes, arrival: float) -> bool:
        """Take a browser's tick message; False where it is garbage."""
        try:
            parts = self._flows.face(message, arrival)
        except BitstreamError:
            self.traffic.garbage_packets += 1
            return False
        self._split = True
        for k, part in enumerate(parts):
            self._put_part(part, arrival + k * TICK)
        for back, face in enumerate(reversed(parts[0].redundant), start=1):
            self.buffer.put_redundant(parts[0].tick - back, face)
        return True

    def voice_packet(self, timestamp: int, opus: bytes, arrival: float) -> bool:
        """Take a browser's voice; False where it is garbage. timestamp: unwrapped RTP timestamp in 1/48000 s."""
        try:
            part = self._flows.voice(timestamp, opus, arrival)
        except BitstreamError:
            self.traffic.garbage_packets += 1
            return False
        self._split = True
        if part is not None and part.opus is not None:
            self._put_part(part, arrival)
            self.traffic.opus_bytes += len(part.opus)
        return True

    def expect(self, fps: int, hints: bool) -> None:
        """What a browser has told that it sends: 8x8 frames a second, 0 for none, and whether there are hints."""
        self._told = fps, hints
        self._flows.hello(fps, hints)

    def _put_part(self, part: TickPart, arrival: float) -> None:
        def put() -> None:
            self.buffer.put_part(part.tick, part.face, part.opus, arrival)

        self._put(part.tick, part.clock_ms, arrival, put)

    def _put(self, tick: int, clock_ms: int | None, arrival: float, put: Callable[[], None]) -> bool:
        """Put something of a tick into the buffer; False where that knew the tick already, or did not take it."""
        statistics = self.buffer.statistics
        received, restarts, stray = statistics.received, statistics.restarts, statistics.stray
        put()
        if statistics.restarts > restarts:
            self._epoch, self._stray_epoch = self._stray_epoch, None
        if clock_ms is not None:
            epoch = self._epoch_of(tick, clock_ms, arrival)
            if statistics.stray == stray:
                self._epoch = epoch
            else:
                self._stray_epoch = epoch
        return statistics.received > received

    def reconnected(self) -> None:
        """The next packet belongs to a new connection: start a new timeline with it."""
        self.buffer.stop()
        self._origin = None
        self._stray_epoch = None
        self._split = False  # the next may be one of our own ends
        self._flows = SplitFlows()
        self._flows.hello(*self._told)

    def step(self, now: float) -> list[PlayedTick]:
        """The ticks that are due at `now`, in order; more than one only where the caller is late."""
        out = []
        while (entry := self.buffer.pop(now, self.early)) is not None:
            out.append(self._play(entry))
        return out

    def _epoch_of(self, tick: int, clock_ms: int, arrival: float) -> float:
        """Capture time of the start of tick 0. The clock is sent modulo 65536 ms: take the instant nearest to ours."""
        wall_ms = (arrival + self._wall_offset) * 1000
        ago = (wall_ms - clock_ms + 32768) % 65536 - 32768
        return arrival - (ago + TICK_MS * tick) / 1000

    def _play(self, entry: BufferedTick) -> PlayedTick:
        if entry.restart:
            self._streams += 1
            self._decoder = FaceDecoder()
            self._fresh = self._streams > 1
            self._open.clear()
            self._late.clear()
        self._tail = self._tail + 1 if entry.kind is Kind.MISSING and not entry.restart else 0
        face, taken = self._face(entry)
        if face.picture is not None:
            self._low = face.picture
        voice, known = self._voice(entry)
        if not known:
            self.concealed += 1
        captured, clock = None, None
        if self._epoch is not None:
            captured = self._epoch + TICK * (taken + 1)
            clock = round((self._epoch + TICK * entry.index + self._wall_offset) * 1000) & 0xFFFF
        return PlayedTick(
            stream=self._streams,
            index=entry.index,
            due=entry.due,
            face=face,
            low=self._low,
            voice=self._recorded.next(voice),
            heard=voice is not None,
            live=self._live.next(voice, entry.samples),
            captured=captured,
            pictured=face.picture is not None and taken == entry.index,
            clock=clock,
            arrived=entry.arrival,
        )

    def _voice(self, entry: BufferedTick) -> tuple[NDArray[np.int16] | None, bool]:
        """The tick's voice if there is one, and False where it did not come or is corrupt."""
        if not entry.opus:
            return None, entry.opus is not None
        voice = self._opus.decode(entry.opus)
        self.corrupt += voice is None
        return voice, voice is not None

    def _face(self, entry: BufferedTick) -> tuple[FaceTick, int]:
        """What to draw in this tick, and the tick whose picture that is: an older one where only that has come."""
        newest, taken = _NOTHING, entry.index
        known = entry.face
        if known is None and self._split and not self._flows.expects(entry.index, entry.due):
            known = b""
        self._late.update(entry.late_faces)
        while self._open:
            lost = self._open[0]
            data = self._late.pop(lost, None)
            if data is None and known is None and lost > entry.index - self._MAX_WAIT:
                break
            self._open.pop(0)
            late = self._decode(data)
            if data is not None:
                self.recovered += 1
            if data is not None and late.picture is not None:
                newest, taken = late, lost
        self._late = {k: v for k, v in self._late.items() if self._open and k >= self._open[0]}
        if known is None:
            self._open.append(entry.index)
            return newest, taken
        self.recovered += entry.kind is Kind.FACE_ONLY and not self._split
        face = self._decode(known)
        if face.picture is not None or newest.picture is None:
            return face, entry.index
        # At 5 fps this tick has no picture of its own; the one that was lost just before it is still news.
        return dataclasses.replace(newest, hints=face.hints or newest.hints), taken

    def _decode(self, data: bytes | None) -> FaceTick:
        """None: what never came."""
        if data is None:
            return self._decoder.lost()
        self.traffic.face_bytes += len(data)
        try:
            face = self._decoder.decode(data)
        except BitstreamError:
            self.corrupt += 1
            return _NOTHING
        self.traffic.frames += face.picture is not None
        self.traffic.hint_bits += face.hint_bits
        return face
