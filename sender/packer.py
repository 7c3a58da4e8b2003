"""Ticks to packets: how many ticks in one, which redundant faces, and when the clock goes along. Pure."""

from __future__ import annotations

from codec_models.bitstream.packet import MAX_REDUNDANT, TickPacket
from codec_models.bitstream.timing import TICK_MS

CLOCK_EVERY = 16
"""Packets from one clock to the next."""
CLOCK_SLACK_MS = 2.0


class AdaptiveRedundancy:
    """Redundant faces only on a link that loses packets: on a clean one they would cost a tenth of the wire's bytes.

    most: how many where they are wanted. They are sent until the receiver has reported no loss for CLEAN_SECONDS, again
    from its first report of loss on, and whenever it has not reported for SILENT_SECONDS. Time is an argument.
    """

    CLEAN_SECONDS = 15.0
    START_SECONDS = 3.0
    """So long without loss is enough at the start of a connection."""
    SILENT_SECONDS = 18.0
    """More than twice as long as the receiver is silent on a clean link."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._clean_from: float | None = None
        self._last_report = float("-inf")

    def restart(self) -> None:
        """Another connection: what is known of the link counts no more."""
        self._clean_from = None

    def reported(self, now: float, loss_percent: float) -> None:
        """The receiver has told which share of the ticks was lost lately."""
        self._last_report = now
        if not loss_percent <= 0:
            self._clean_from = now + self.CLEAN_SECONDS
        elif self._clean_from is None:
            self._clean_from = now + self.START_SECONDS

    def at(self, now: float) -> int:
        """How many redundant faces a packet carries now."""
        known = self._clean_from is not None and now >= self._clean_from
        return 0 if known and now - self._last_report < self.SILENT_SECONDS else self._most


class TickPacker:
    """Packs ticks, in order, one or two to a packet.

    redundant: faces of the ticks before the packet that are repeated in it, 0..3; may change. A tick that was never
    added (the machine stalled) ends the row of redundant faces and is not waited for.
    """

    def __init__(self, ticks_per_packet: int = 1, redundant: int = 1) -> None:
        if ticks_per_packet not in (1, 2) or not 0 <= redundant <= MAX_REDUNDANT:
            raise ValueError(f"1 or 2 ticks in a packet and 0 to {MAX_REDUNDANT} redundant faces")
        self._size = ticks_per_packet
        self.redundant = redundant
        self._waiting: list[tuple[int, bytes, bytes, float]] = []
        self._before: dict[int, bytes] = {}
        self._since_clock = CLOCK_EVERY
        self._clock_base = 0.0

    def add(self, tick: int, face: bytes, opus: bytes, captured_ms: float) -> list[tuple[TickPacket, int]]:
        """The packets that are complete with this tick, each with the number of its first tick.

        captured_ms: unix time in ms at which the tick was captured. Ticks must rise.
        """
        out = []
        if self._waiting and self._waiting[-1][0] != tick - 1:
            out.append(self._pack())
        self._waiting.append((tick, face, opus, captured_ms))
        if len(self._waiting) == self._size:
            out.append(self._pack())
        return out

    def flush(self) -> list[tuple[TickPacket, int]]:
        """The last, incomplete packet, if there is one."""
        return [self._pack()] if self._waiting else []

    def resend_clock(self) -> None:
        """The next packet carries the clock: somebody new is listening."""
        self._since_clock = CLOCK_EVERY

    def _pack(self) -> tuple[TickPacket, int]:
        first = self._waiting[0][0]
        redundant: list[bytes] = []
        while len(redundant) < self.redundant and first - 1 - len(redundant) in self._before:
            redundant.insert(0, self._before[first - 1 - len(redundant)])
        captured = self._waiting[0][3]
        base = captured - first * TICK_MS
        clock = None
        if self._since_clock >= CLOCK_EVERY or abs(base - self._clock_base) > CLOCK_SLACK_MS:
            clock = round(captured) & 0xFFFF
            self._since_clock, self._clock_base = 0, base
        self._since_clock += 1
        faces = tuple(face for _, face, _, _ in self._waiting)
        opus = tuple(voice for _, _, voice, _ in self._waiting)
        self._before.update({tick: face for tick, face, _, _ in self._waiting})
        newest = self._waiting[-1][0]
        self._before = {t: f for t, f in self._before.items() if t > newest - MAX_REDUNDANT}
        self._waiting = []
        return TickPacket(faces, opus, tuple(redundant), clock), first
