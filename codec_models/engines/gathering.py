"""Which ticks run together, and when: clockless, time comes in.

What has come in while the device was busy runs at once. An idle device waits a moment (`wait`) after the first tick for
others that are due together; not for more than there are calls. Work that is done once a still (a job) is put between
two batches, at most one there, so that stills cannot hold up ticks and ticks cannot starve stills.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ticks:
    """Run the waiting ticks of these calls, oldest first."""

    calls: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """Run the oldest job of this call."""

    call: int


class Gathering:
    """wait: seconds; most: ticks in a batch. A call has one tick waiting at most; that of a later moment takes its
    place. Calls that have not joined are not heard.
    """

    def __init__(self, wait: float, most: int) -> None:
        self._wait, self._most = wait, most
        self._calls: set[int] = set()
        self._ticks: dict[int, float] = {}
        self._jobs: deque[int] = deque()
        self._job_was_last = False

    def join(self, call: int) -> None:
        self._calls.add(call)

    def leave(self, call: int) -> None:
        """What it waits for is not run."""
        self._calls.discard(call)
        self._ticks.pop(call, None)
        self._jobs = deque(other for other in self._jobs if other != call)

    def tick(self, call: int, now: float) -> None:
        """A tick of this call wants to be drawn."""
        if call in self._calls:
            self._ticks.pop(call, None)
            self._ticks[call] = now

    def job(self, call: int) -> None:
        """A job of this call wants to be done."""
        if call in self._calls:
            self._jobs.append(call)

    def next(self, now: float) -> Ticks | Job | float | None:
        """What the device, idle now, shall do: ticks or a job, which are taken off; or the time at which to ask again;
        None where nothing waits.
        """
        due = self._due()
        if due is not None and due <= now and not (self._jobs and not self._job_was_last):
            self._job_was_last = False
            calls = tuple(self._ticks)[: self._most]
            for call in calls:
                del self._ticks[call]
            return Ticks(calls)
        if self._jobs:
            self._job_was_last = True
            return Job(self._jobs.popleft())
        return due

    def _due(self) -> float | None:
        """When the batch that gathers may start."""
        if not self._ticks:
            return None
        first = next(iter(self._ticks.values()))
        full = len(self._ticks) >= min(self._most, len(self._calls))
        return first if full else first + self._wait
