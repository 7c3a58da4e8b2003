"""Adaptive jitter buffer for ticks: pure and clockless, every time is an argument.

A tick `k` that arrives at time `a` has the delay `d = a - 0.04 k`: an unknown constant (the two clocks and the path)
plus packetisation, queueing and jitter. The buffer plays tick `k` at `0.04 k + offset`, and `offset` follows a high
quantile of the delays in a sliding window plus a margin, so that a share of about `1 - quantile` of the ticks comes too
late. Two ticks in a packet need no special case: the first of them simply has a delay that is 40 ms longer.

Where face and voice come apart (a browser's) `put_part` takes each as it comes; a tick is whole when both are there,
and one that is not at its time is played with what there is.

The offset moves by giving single ticks a length other than 1920 samples, which the voice layer follows (`voice.py`):
by up to 2 % shorter and 4 % longer in ordinary ticks, by up to a whole tick in ticks that are concealed anyway, and by
dropping a tick (length 0) where far too much delay has piled up.

A packet that is far off the current timeline is ignored until a few consistent ones have come; then the buffer starts
again there (the sender restarted, its tick index jumped or its process slept). Compare RFC 3550, appendix A.1, which
accepts a new sequence in the same way. Memory and work per call are bounded whatever the peer sends.
"""

from __future__ import annotations

import bisect
from collections import deque
from dataclasses import dataclass
from enum import Enum

from codec_models.bitstream.packet import TickPacket
from codec_models.bitstream.timing import SAMPLE_RATE, SAMPLES_PER_TICK

TICK = SAMPLES_PER_TICK / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class JitterConfig:
    """All times in seconds.

    quantile: share of the ticks that shall be in time. window: number of delays it is taken over.
    margin: kept between that quantile and the playout. min_depth, max_depth: bounds of the playout delay, counted from
    the fastest tick in the window. idle_after: so long without a tick, the buffer stops until the next packet.
    """

    quantile: float = 0.97
    window: int = 200
    margin: float = 0.005
    min_depth: float = 0.010
    max_depth: float = 0.400
    idle_after: float = 5.0


class Kind(Enum):
    """PRESENT: all of the tick came. FACE_ONLY: its face came, as redundancy or on its own. VOICE_ONLY: the other way.
    MISSING: conceal both.
    """

    PRESENT = "present"
    FACE_ONLY = "face only"
    VOICE_ONLY = "voice only"
    MISSING = "missing"


@dataclass(slots=True)
class _Parts:
    """What has come of a tick; arrival: of the last part."""

    face: bytes | None
    opus: bytes | None
    arrival: float

    @property
    def whole(self) -> bool:
        return self.face is not None and self.opus is not None

    def take(self, face: bytes | None, opus: bytes | None) -> bool:
        """Add what was not there; False where it was. An empty part may have been a guess: a real one replaces it."""
        news = False
        if face is not None and not self.face and self.face != face:
            self.face, news = face, True
        if opus is not None and not self.opus and self.opus != opus:
            self.opus, news = opus, True
        return news


@dataclass(frozen=True, slots=True)
class BufferedTick:
    """One tick at its playout time.

    index: tick index. due: playout time in seconds. samples: how long it is to last, in 1/48000 s (0: skip it, do not
    play it). face, opus: its bytes, None where they did not come (b"" where the sender had none). restart: the timeline
    does not continue that of the tick before. late_faces: (index, face bytes) of earlier ticks that were MISSING at
    their time and whose faces have come since, oldest first: too late to show, in time to keep the face decoder whole.
    arrival: when the tick's own packet came, None where it did not.
    """

    index: int
    due: float
    kind: Kind
    samples: int
    face: bytes | None = None
    opus: bytes | None = None
    restart: bool = False
    late_faces: tuple[tuple[int, bytes], ...] = ()
    arrival: float | None = None


@dataclass(slots=True)
class JitterStatistics:
    """Counters of ticks since the buffer was made. lost: played without their own packet, which never came either."""

    received: int = 0
    duplicate: int = 0
    late: int = 0
    stray: int = 0
    played: int = 0
    absent: int = 0
    face_only: int = 0
    skipped: int = 0
    restarts: int = 0

    @property
    def lost(self) -> int:
        return max(0, self.absent - self.late)


class JitterBuffer:
    """Collects packets in any order and yields exactly one `BufferedTick` per tick, in order, at its time."""

    _GROW_SOON, _GROW, _SHRINK, _SHRINK_SOON = 0.04, 0.02, 0.0075, 0.02
    _SKIP_ABOVE = 0.080
    _SKIP_EVERY = 5
    _EARLY = 0.5
    """A tick so much faster than the fastest of the window is off the timeline, as is one past `max_depth`."""
    _OUTLIERS = 5
    """Ticks that may be late before there are enough for the quantile: one hiccup at the start sets no delay."""
    _HOLES = 16
    _PARTLY, _OPEN = 1, 2
    _MAX_STORED = 128

    def __init__(self, config: JitterConfig | None = None) -> None:
        self.config = config or JitterConfig()
        self.statistics = JitterStatistics()
        self._next: int | None = None
        self._due = 0.0
        self._ticks: dict[int, _Parts] = {}
        self._faces: dict[int, bytes] = {}
        self._holes: dict[int, int] = {}  # _OPEN, _PARTLY, or 0 once it is filled
        self._late: dict[int, bytes] = {}
        self._delays: deque[float] = deque()
        self._sorted: list[float] = []
        self._stray: tuple[float, float, int] | None = None
        self._missing_run = 0
        self._since_skip = 0
        self._restart = False

    def __len__(self) -> int:
        """Ticks and redundant faces that wait."""
        return len(self._ticks) + len(self._faces)

    @property
    def due(self) -> float | None:
        """Time of the next tick in seconds, None while there is nothing to play."""
        return None if self._next is None else self._due

    @property
    def depth(self) -> float:
        """Present playout delay over the fastest tick of the window, in seconds."""
        return self._due - TICK * self._next - self._sorted[0] if self._next is not None and self._sorted else 0.0

    def put(self, tick: int, packet: TickPacket, arrival: float) -> None:
        """Add a packet whose first tick is `tick`, come at `arrival` seconds. Duplicates and strays are dropped."""
        if not self._accept(tick, arrival):
            self.statistics.stray += len(packet.faces)
            return
        for k, (face, opus) in enumerate(zip(packet.faces, packet.opus, strict=True)):
            self._put_tick(tick + k, face, opus, arrival)
        for back, face in enumerate(reversed(packet.redundant), start=1):
            self._put_redundant(tick - back, face)

    def put_part(self, tick: int, face: bytes | None, opus: bytes | None, arrival: float) -> None:
        """Add the face of a tick, or its voice, or both, come at `arrival` seconds.

        What is there already stays, but for an empty part, which was a guess that there is none.
        """
        if self._accept(tick, arrival):
            self._put_tick(tick, face, opus, arrival)
        else:
            self.statistics.stray += 1

    def put_redundant(self, tick: int, face: bytes) -> None:
        """Add the face of a tick, come with that of a later one that has been put."""
        if self._next is not None:
            self._put_redundant(tick, face)

    def ready(self, early: float = 0.0) -> float | None:
        """From when on `pop` gives the next tick, None while there is nothing to play."""
        if self._next is None:
            return None
        parts = self._ticks.get(self._next)
        return self._due - early if parts is not None and parts.whole else self._due

    def pop(self, now: float, early: float = 0.0) -> BufferedTick | None:
        """The next tick if it is due at `now`, else None. Call again until it gives None.

        early: seconds before its time that a tick may be had whose own packet is there, as nothing better can come.
        """
        ready = self.ready(early)
        if self._next is None or ready is None or now < ready:
            return None
        if now - self._due > self.config.idle_after:
            self.stop()
            return None
        index, due = self._next, self._due
        own = self._ticks.pop(index, None) or _Parts(None, None, 0.0)
        redundant = self._faces.pop(index, None)
        opus, face = own.opus, own.face if own.face is not None else redundant
        arrival = own.arrival if own.whole else None
        if opus is not None:
            kind = Kind.VOICE_ONLY if face is None else Kind.PRESENT
        else:
            kind = Kind.MISSING if face is None else Kind.FACE_ONLY
        samples = self._length(opus is not None)
        self._count(index, kind, own.face is not None or own.opus is not None, samples)
        late = tuple(sorted(self._late.items()))
        self._late.clear()
        restart, self._restart = self._restart, False
        self._next, self._due = index + 1, due + samples / SAMPLE_RATE
        if self._missing_run * TICK >= self.config.idle_after and not self._ticks and not self._faces:
            self.stop()
        return BufferedTick(index, due, kind, samples, face, opus, restart, late, arrival)

    def stop(self) -> None:
        """Drop what waits; the next packet starts a new timeline, wherever it lies."""
        self._next = None
        self._ticks.clear()
        self._faces.clear()
        self._holes.clear()
        self._late.clear()
        self._stray = None
        self._missing_run = 0

    def _accept(self, tick: int, arrival: float) -> bool:
        """Whether the packet lies on the timeline; starts a timeline where there is none or a new one has settled."""
        delay = arrival - TICK * tick
        low, high = (self._sorted[0] - self._EARLY, self._sorted[0] + self.config.max_depth) if self._sorted else (0, 0)
        near = bool(self._sorted) and low <= delay <= high
        if self._next is None:
            self._start(tick, delay, forget=not near)
            return True
        if near:
            self._stray = None
            return True
        if self._stray is None or abs(delay - self._stray[0]) > 0.3:
            self._stray = (delay, arrival, 1)
            return False
        first, since, count = self._stray
        self._stray = (first, since, count + 1)
        # The tail of an outage comes as one burst of old ticks, which is no new timeline: wait a little longer there.
        settled = arrival - since >= (0.1 if delay < low else 0.25)
        if count < 2 or not settled:
            return False
        self.stop()
        self._start(tick, delay, forget=True)
        return True

    def _start(self, tick: int, delay: float, forget: bool) -> None:
        if forget:
            self._delays.clear()
            self._sorted.clear()
        self._next, self._restart, self._stray = tick, True, None
        self.statistics.restarts += 1
        start = max(self._target(), delay) if self._sorted else delay + self.config.min_depth + self.config.margin
        self._due = TICK * tick + start

    def _put_tick(self, index: int, face: bytes | None, opus: bytes | None, arrival: float) -> None:
        assert self._next is not None
        parts = self._ticks.get(index)
        if (parts is not None and not parts.take(face, opus)) or (index < self._next and not self._holes.get(index, 0)):
            self.statistics.duplicate += 1
            return
        self.statistics.received += parts is None and self._holes.get(index) != self._PARTLY
        if index < self._next or not self._sorted or (parts or _Parts(face, opus, arrival)).whole:
            # a tick is as late as the last of its parts; the first of all says where the timeline lies
            self._learn(arrival - TICK * index)
        if index < self._next:
            self.statistics.late += 1
            self._holes[index] = 0
            if face is not None:
                self._late[index] = face
        elif parts is not None:
            parts.arrival = arrival
        elif len(self._ticks) < self._MAX_STORED:
            self._ticks[index] = _Parts(face, opus, arrival)
        if face is not None:
            self._faces.pop(index, None)

    def _put_redundant(self, index: int, face: bytes) -> None:
        assert self._next is not None
        if index < self._next:
            if self._holes.get(index, 0):
                self._late.setdefault(index, face)
        elif (parts := self._ticks.get(index)) is not None:
            parts.take(face, None)
        elif len(self._faces) < self._MAX_STORED:
            self._faces[index] = face

    def _learn(self, delay: float) -> None:
        if len(self._delays) >= self.config.window:
            del self._sorted[bisect.bisect_left(self._sorted, self._delays.popleft())]
        self._delays.append(delay)
        bisect.insort(self._sorted, delay)

    def _target(self) -> float:
        """The offset to aim at: a high quantile of the delays, within the bounds of depth."""
        n = len(self._sorted)
        outliers = max(int((1 - self.config.quantile) * n + 1e-9), min(self._OUTLIERS, n // 6))
        high = self._sorted[n - 1 - outliers]
        fastest = self._sorted[0]
        wanted = max(high + self.config.margin, fastest + self.config.min_depth)
        return min(wanted, fastest + self.config.max_depth)

    def _length(self, present: bool) -> int:
        """Length of the next tick in samples, which moves the offset towards its target."""
        assert self._next is not None
        self._since_skip += 1
        error = self._target() - (self._due - TICK * self._next) if self._sorted else 0.0
        excess = -error
        if excess > self._SKIP_ABOVE and (self._since_skip >= self._SKIP_EVERY or excess > self.config.max_depth):
            self._since_skip = 0
            return 0
        if present:
            longest = TICK * (self._GROW_SOON if error > 0.02 else self._GROW)
            shortest = -TICK * (self._SHRINK_SOON if excess > 0.04 else self._SHRINK)
        else:
            # Concealment has no pitch of its own to keep: lengthen it freely, shorten it by half at most.
            longest, shortest = TICK, -TICK / 2 if excess > 0.02 else -TICK * self._SHRINK
        if -0.002 < error < 0.0005:
            error = 0.0  # A dead zone, so that a steady link plays ticks of exactly 1920 samples.
        return SAMPLES_PER_TICK + round(SAMPLE_RATE * min(max(error, shortest), longest))

    def _count(self, index: int, kind: Kind, partly: bool, samples: int) -> None:
        statistics = self.statistics
        statistics.played += 1
        statistics.skipped += samples == 0
        if kind is Kind.PRESENT:
            self._missing_run = 0
            return
        statistics.absent += 1
        statistics.face_only += kind is Kind.FACE_ONLY
        self._missing_run = self._missing_run + 1 if kind is Kind.MISSING else 0
        self._holes[index] = self._PARTLY if partly else self._OPEN
        for old in [k for k in self._holes if k <= index - self._HOLES]:
            del self._holes[old]
