"""How many calls a device can serve, from what ticks take: clockless, measured times come in.

The rule. Each call hands over a tick every 40 ms, at a moment of its own. In the worst case a tick comes just after a
batch with some of the others has begun; then one job (a still) is done, and then the rest runs, it among them. So with
n calls a tick takes at most

    max over k of (T(k) + T(n - k)) + J + wait

T: of a batch, J: of the longest job. While that is within the deadline less a margin, no call misses its deadline by
another one's presence. The margin is for what the rule does not know: other work on the machine, and ticks of a call
that come two at a time after a gap in the network. A call that would lead beyond is refused; those that are there stay.
One alone is never refused: it harms nobody, and the renderer skips what it has no time for.

Times are measured at the start, the slowest of some runs. While calls run, the ratio of what batches take to what they
took then is followed, quickly up and slowly down, and moves T and J for all sizes alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_UP, _DOWN = 0.3, 0.03
"""Share of the way to a measured ratio that is gone at once."""
_LEAST = 0.7


@dataclass(slots=True)
class Admission:
    """deadline, wait in seconds; margin: share of the deadline that is kept free; slots: calls that have room.

    times: batch size -> seconds, at least that of 1, a larger batch runs as several; job: seconds of the longest job.
    """

    deadline: float
    margin: float
    wait: float
    slots: int
    times: dict[int, float] = field(default_factory=dict)
    job: float = 0.0
    slower: float = 1.0

    def observe(self, size: int, seconds: float) -> None:
        """A batch of this many ticks took so long just now."""
        usual = self._batch(size)
        if usual <= 0:
            return
        ratio = max(seconds / usual, _LEAST)
        self.slower += (_UP if ratio > self.slower else _DOWN) * (ratio - self.slower)

    def observe_job(self, seconds: float) -> None:
        """A job took so long: the longest counts, and is forgotten as slowly as times fall."""
        seconds /= self.slower
        self.job = seconds if seconds > self.job else self.job + _DOWN * (seconds - self.job)

    def batch(self, size: int) -> float:
        """Seconds that this many ticks take together, at present."""
        return self._batch(size) * self.slower

    def worst(self, calls: int) -> float:
        """Seconds that a tick may take with so many calls."""
        if calls <= 1:
            return self.batch(calls)
        together = max(self.batch(k) + self.batch(calls - k) for k in range(calls))
        return together + self.job * self.slower + self.wait

    def refusal(self, calls: int) -> str | None:
        """Why one more than these calls cannot be served, one line; None where it can."""
        if calls >= self.slots:
            return f"no room on the device for more than {self.slots} calls"
        worst, allowed = self.worst(calls + 1), self.deadline * (1 - self.margin)
        if calls and worst > allowed:
            could, may = f"{1e3 * worst:.0f}", f"{1e3 * allowed:.0f}"
            return f"the device is full: with {calls + 1} calls a tick could take {could} ms, {may} are allowed"
        return None

    def _batch(self, size: int) -> float:
        if size <= 0 or not self.times:
            return 0.0
        large = max(self.times)
        whole, rest = divmod(size, large)
        last = min((s for s in self.times if s >= rest), default=0) if rest else 0
        return whole * self.times[large] + (self.times[last] if last else 0.0)
