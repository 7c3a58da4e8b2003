"""Voice and faces of a browser, which come apart, put on one row of ticks. Pure, time is an argument.

Faces carry their tick's number. Voice carries an RTP timestamp from another origin and another clock, and no browser
tells which instant of the one is which of the other. Both leave at the end of what they hold and take the same way, so
the fastest packets of either have taken equally long: that says which tick a voice packet belongs to, to half a tick.
Where a face came inside a voice packet (`codec_models.bitstream.voice_frame`) the two are one tick's.
The row of the faces leads, since their coder counts ticks; when the clocks have drifted apart by most of a tick, the
voice skips or repeats a number.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from codec_models.bitstream.errors import BitstreamError
from codec_models.bitstream.opus_packet import joined, samples
from codec_models.bitstream.packet import TickPacket, unpack
from codec_models.bitstream.timing import SAMPLE_RATE, SAMPLES_PER_TICK, TICKS_PER_SECOND
from signaling.unwrap import Unwrapper

from .jitterbuffer import TICK

_SLOW_TICKS = TICKS_PER_SECOND // 5
"""From one picture to the next at 5 a second."""


@dataclass(frozen=True, slots=True)
class TickPart:
    """face, opus: bytes of the tick, None where they come apart; redundant: faces of ticks before it, oldest first;
    clock_ms: as in `TickPacket`.
    """

    tick: int
    face: bytes | None
    opus: bytes | None
    redundant: tuple[bytes, ...] = ()
    clock_ms: int | None = None


class _Fastest:
    """The least of the last values."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=100)

    def add(self, value: float) -> None:
        self._values.append(value)

    def clear(self) -> None:
        self._values.clear()

    @property
    def value(self) -> float | None:
        return min(self._values, default=None)


class SplitFlows:
    """`face` and `voice` take what comes and give the parts of ticks that follow from it.

    A tick of which no face is to be expected (the camera is off; at 5 fps without hints four of five) gets an empty one
    with its voice, and one without a microphone behind it an empty voice with its face.
    """

    _SLIP = 0.7
    """Ticks by which voice must be off its place before it is put anew; rounding alone makes it half of one."""
    _PATIENCE = 25
    """Packets in a row that must be so."""
    _TOGETHER = 5
    """The same where faces come along: one that misses its packet comes with the next."""
    _SILENT = 0.5
    """Seconds without a packet after which a flow is not waited for."""
    _FACELESS = 2.0
    """Seconds without a face after which none is missed."""
    _JUMP = 1.0
    """Seconds by which delays may change before it is another clock: a machine that slept."""

    def __init__(self) -> None:
        self._fps, self._hints = 25, True
        self._faces, self._voices = _Fastest(), _Fastest()
        self._number = Unwrapper(32)
        self._half: tuple[int, bytes] | None = None
        self._offset: int | None = None  # samples: RTP timestamp of tick 0
        self._off = 0
        self._last_face = self._last_voice = float("-inf")
        self._last_tick = 0
        self._first_voice: float | None = None

    def hello(self, fps: int, hints: bool) -> None:
        """What the browser sends from now on."""
        self._fps, self._hints = fps, hints

    def face(self, message: bytes, arrival: float) -> list[TickPart]:
        """A message of the channel "ticks", and the empty ticks up to the next where no voice tells of them.

        Raises BitstreamError.
        """
        if len(message) < 4:
            raise BitstreamError("a tick message that is cut short")
        packet: TickPacket = unpack(message[4:])
        if len(packet.faces) != 1 or packet.opus[0]:
            raise BitstreamError("a tick message holds one tick, without voice")
        tick = self._number(int.from_bytes(message[:4], "big"))
        self._learn(self._faces, arrival - TICK * (tick + 1))
        self._last_face, self._last_tick = arrival, tick
        silent = arrival - self._last_voice > self._SILENT
        part = TickPart(tick, packet.faces[0], b"" if silent else None, packet.redundant, packet.clock_ms)
        if not silent or self._fps != 5 or self._hints:
            return [part]
        return [part, *(TickPart(tick + k, b"", b"") for k in range(1, _SLOW_TICKS))]

    def voice(self, timestamp: int, opus: bytes, arrival: float) -> TickPart | None:
        """An Opus packet; None while its other half, or the first face, is still to come. Raises BitstreamError.

        One that a face came with has the face's arrival.
        """
        self._last_voice = arrival
        self._first_voice = arrival if self._first_voice is None else self._first_voice
        whole = self._whole(timestamp, opus)
        if whole is None:
            return None
        timestamp, opus = whole
        self._learn(self._voices, arrival - (timestamp + SAMPLES_PER_TICK) / SAMPLE_RATE)
        tick = self._tick(timestamp, arrival)
        return None if tick is None else TickPart(tick, None if self.expects(tick, arrival) else b"", opus)

    def _whole(self, timestamp: int, opus: bytes) -> tuple[int, bytes] | None:
        """A tick's worth of voice: a packet, or two of half the length."""
        length = samples(opus)
        if length == SAMPLES_PER_TICK:
            self._half = None
            return timestamp, opus
        if length * 2 != SAMPLES_PER_TICK:
            raise BitstreamError(f"an Opus packet of {1000 * length / SAMPLE_RATE:g} ms")
        half, self._half = self._half, (timestamp, opus)
        if half is None or half[0] + length != timestamp:
            return None
        pair = joined(half[1], opus)
        if pair is None:
            return None
        self._half = None
        return half[0], pair

    def _learn(self, fastest: _Fastest, delay: float) -> None:
        if fastest.value is not None and abs(delay - fastest.value) > self._JUMP:
            fastest.clear()
        fastest.add(delay)

    def _tick(self, timestamp: int, arrival: float) -> int | None:
        """The number of the tick that a voice packet belongs to."""
        faces, voices = self._faces.value, self._voices.value
        assert voices is not None
        if faces is None:
            # no camera as yet: the voice counts for itself, until a face tells its number
            if self._fps and self._first_voice is not None and arrival - self._first_voice < self._SILENT:
                return None
            self._offset = timestamp % SAMPLES_PER_TICK if self._offset is None else self._offset
            return (timestamp - self._offset) // SAMPLES_PER_TICK
        together = arrival == self._last_face
        # where the clock of the faces puts the end of this packet
        exact = ((timestamp + SAMPLES_PER_TICK) / SAMPLE_RATE + voices - faces) / TICK - 1
        if together:
            exact = self._last_tick
        if self._offset is not None:
            tick = round((timestamp - self._offset) / SAMPLES_PER_TICK)
            self._off = self._off + 1 if abs(exact - tick) > self._SLIP else 0
            patience = self._TOGETHER if together else self._PATIENCE
            if self._off < patience and abs(exact - tick) < 10:
                return tick
        self._off = 0
        self._offset = timestamp - round(exact) * SAMPLES_PER_TICK
        return round(exact)

    def expects(self, tick: int, now: float) -> bool:
        """Whether there is a face for this tick, come or not."""
        if self._fps == 0 or now - self._last_face > self._FACELESS:
            return False
        return self._fps == 25 or self._hints or tick % _SLOW_TICKS == 0
