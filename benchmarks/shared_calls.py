"""Calls that are simulated on a shared device: ticks of each every 40 ms, each at a moment of its own.

One thread hands all ticks over, so that what is measured is the device and the batching, not a machine that would run
hundreds of real calls. A tick's time is from when it was due to when its picture is there; one that is not drawn before
the next one of its call is due counts as missed, and as late as that.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from codec_models.bitstream.timing import TICK_MS
from codec_models.engines.batch import Batch
from codec_models.engines.lane import Lane
from codec_models.engines.samples import host_inputs
from codec_models.engines.tick_row import TickRow, packed

DEADLINE_MS = 40.0
_MISSED = 0.01
"""Share of ticks that may be missed where p99 is to be within the deadline."""


@dataclass(slots=True)
class Held:
    """What so many calls got. ms: of each tick; missed: among them, those that were not drawn."""

    calls: int
    ms: list[float] = field(default_factory=list)
    missed: int = 0

    def percentile(self, share: float) -> float:
        return float(np.percentile(self.ms, share))

    @property
    def well(self) -> bool:
        """Whether all were served at 25 pictures a second with p99 within the deadline."""
        return bool(self.ms) and self.percentile(99) < DEADLINE_MS and self.missed <= _MISSED * len(self.ms)


class Calls:
    """Any number of calls on a batch that refuses none. At the end `close`."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._lanes: list[Lane] = []
        host = host_inputs()
        first = batch.join()
        self._lanes.append(first)
        self._identity = batch.network(first, "still", host["still"])
        self._reference = batch.network(first, "teeth_still", host["teeth_still"])
        self._values = packed({**host["tick"], "begins": 0, "restore": 1})

    def close(self) -> None:
        for lane in self._lanes:
            self._batch.leave(lane)

    def hold(self, calls: int, seconds: float) -> Held:
        """So many calls for so long. Raises UserError where a tick fails."""
        while len(self._lanes) < calls:
            self._lanes.append(self._batch.join())
        for lane in self._lanes[:calls]:
            row = TickRow(lane.slot, self._values, self._identity, self._reference)
            self._batch.picture(lane, row)
        held, period = Held(calls), TICK_MS / 1000
        ticks = max(2, round(seconds / period))
        done: list[list[float]] = [[] for _ in range(calls)]
        start = time.monotonic() + 0.01
        futures: list[Future[Any] | None] = [None] * calls
        dues: list[float] = [0.0] * calls
        for tick in range(ticks):
            for k in range(calls):
                due = start + (tick + k / calls) * period
                wait = due - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                self._settle(held, futures[k], done[k], dues[k])
                futures[k], dues[k], done[k] = self._submit(k, done), due, []
                futures[k].add_done_callback(_stamp(done[k]))  # type: ignore[union-attr]
        time.sleep(period)
        for k in range(calls):
            self._settle(held, futures[k], done[k], dues[k])
        return held

    def _submit(self, k: int, done: list[list[float]]) -> Future[Any]:
        lane = self._lanes[k]
        return self._batch.submit(lane, TickRow(lane.slot, self._values))

    def _settle(self, held: Held, future: Future[Any] | None, stamps: list[float], due: float) -> None:
        if future is None:
            return
        if future.done() and stamps and future.exception() is None:
            held.ms.append(1e3 * (stamps[0] - due))
        else:
            held.missed += 1
            held.ms.append(max(DEADLINE_MS, 1e3 * (time.monotonic() - due)))


def _stamp(into: list[float]) -> Any:
    return lambda future: into.append(time.monotonic())


class Holding(Protocol):
    def hold(self, calls: int, seconds: float) -> Held: ...


def most_calls(calls: Holding, limit: int, seconds: float) -> list[Held]:
    """Numbers of calls that were tried, up to `limit`: doubled while they are well served, then halved in between.

    A number that fails is tried once more, and the better of both counts: other work on the machine only takes away.
    """
    tried: list[Held] = []

    def well(count: int) -> bool:
        held = calls.hold(count, seconds)
        if not held.well:
            again = calls.hold(count, seconds)
            held = min(held, again, key=lambda h: (h.missed, h.percentile(99)))
        tried.append(held)
        return held.well

    good, bad = 0, limit + 1
    count = 1
    while count < bad and count <= limit:
        if well(count):
            good = count
            count = min(2 * count, limit) if count < limit else limit + 1
        else:
            bad = count
    while bad - good > max(1, good // 16):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if well(middle) else (good, middle)
    return tried
