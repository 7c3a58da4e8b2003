"""Several calls on one device: each in a thread of its own, their ticks drawn together.

    batch = Batch(DeviceTick(64, DeviceTickConfig("cuda")))
    call = batch.call()        # a Reconstructor; raises UserError where the device is full
    call.tick(face, voice)     # from the call's own thread
    call.close()

One thread owns the device. What runs together is decided in `gathering.py`, who is let in in `admission.py`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Waited
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..bitstream.face import FaceTick
from ..errors import UserError
from ..interpolated import Interpolated
from ..network import MAX_STILLS, NetworkReconstructor
from ..slow_stream import SlowStream
from .admission import Admission
from .engine import Arrays, Engine
from .gathering import Gathering, Ticks
from .lane import Lane
from .samples import host_inputs
from .tick_row import PARTS, TickRow, packed

_RUNS = 4
"""Of each size at the start; the slowest counts."""
_SHARE = 0.9
"""Of the free memory that calls may take."""


class TickDevice(Protocol):
    """`device_tick.DeviceTick`, or `serial_tick.SerialTick` on any engine."""

    @property
    def backend(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def slots(self) -> int: ...

    @property
    def sizes(self) -> tuple[int, ...]: ...

    @property
    def still_bytes(self) -> int:
        """That a kept still takes."""

    def free_memory(self) -> int | None: ...

    def run(self, network: str, inputs: Mapping[str, Any]) -> Arrays: ...

    def numpy(self, array: Any) -> NDArray[Any]: ...

    def draw(self, rows: Sequence[TickRow]) -> Sequence[NDArray[np.uint8] | Exception]: ...


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """wait: seconds that an idle device waits for ticks that are due together. deadline, margin: see `admission.py`.
    patience: seconds after which a call gives a picture up.
    """

    wait: float = 0.001
    deadline: float = 0.040
    margin: float = 0.2
    patience: float = 5.0


class Batch:
    """Takes the device over. host: makes engines for what each call computes on the host. Raises UserError where the
    device has no memory for a single call.
    """

    def __init__(
        self, device: TickDevice, config: BatchConfig | None = None, host: Callable[[], Engine] | None = None
    ) -> None:
        self._device, self._config = device, config or BatchConfig()
        self._host = host or _host_engine
        c = self._config
        slots = min(device.slots, _by_memory(device))
        self.admission = Admission(c.deadline, c.margin, c.wait, slots)
        self._gathering = Gathering(c.wait, device.sizes[-1])
        self._changed = threading.Condition()
        self._rows: dict[int, tuple[TickRow, Future[Any]]] = {}
        self._jobs: dict[int, deque[tuple[Callable[[], Any], Future[Any]]]] = {}
        self._calls: set[int] = set()
        self._closed = False
        self._measure()
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self._thread.start()

    @property
    def calls(self) -> int:
        return len(self._calls)

    def call(self, teeth: bool = True, lookahead: int | None = 0) -> BatchedCall | InterpolatedCall:
        """A new call's Reconstructor; lookahead as in `reconstruction.reconstructor`. Raises UserError: it is full."""
        lane = self.join()
        try:
            inner = BatchedCall(self, lane, teeth)
            return inner if lookahead is None else InterpolatedCall(inner, SlowStream(lane, lookahead))
        except BaseException:
            self.leave(lane)
            raise

    def join(self) -> Lane:
        """A place for one more call. Raises UserError, one line, where there is none."""
        with self._changed:
            self._check_open()
            refusal = self.admission.refusal(len(self._calls))
            if refusal is not None:
                raise UserError(f"{refusal}: end another call first, or use another device")
            slot = next(k for k in range(self._device.slots) if k not in self._calls)
            self._calls.add(slot)
            self._jobs[slot] = deque()
            self._gathering.join(slot)
        return Lane(self, slot, self._device.backend, self._device.device, self._host)

    def leave(self, lane: Lane) -> None:
        """Frees the place; what the call waits for fails. Again does nothing."""
        with self._changed:
            if lane.left or lane.slot not in self._calls:
                return
            lane.left = True
            self._calls.discard(lane.slot)
            self._gathering.leave(lane.slot)
            waiting = [future for _, future in self._jobs.pop(lane.slot)]
            if lane.slot in self._rows:
                waiting.append(self._rows.pop(lane.slot)[1])
            self._changed.notify()
        for future in waiting:
            _fail(future, UserError("the call has ended"))

    def close(self) -> None:
        """Ends the device's thread; all that waits fails."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(self._config.patience)

    def network(self, lane: Lane, network: str, inputs: Mapping[str, Any]) -> Arrays:
        """For lanes: see `lane.Shared`."""
        made: Arrays = self._do(lane, lambda: self._device.run(network, inputs))
        return made

    def numpy(self, lane: Lane, array: Any) -> NDArray[Any]:
        made: NDArray[Any] = self._do(lane, lambda: self._device.numpy(array))
        return made

    def picture(self, lane: Lane, row: TickRow) -> NDArray[np.uint8]:
        drawn: NDArray[np.uint8] = self._result(self.submit(lane, row))
        return drawn

    def submit(self, lane: Lane, row: TickRow) -> Future[Any]:
        """As `picture`, without waiting."""
        future: Future[Any] = Future()
        with self._changed:
            self._check_in(lane)
            older = self._rows.pop(lane.slot, None)
            self._rows[lane.slot] = row, future
            self._gathering.tick(lane.slot, time.monotonic())
            self._changed.notify()
        if older is not None:
            _fail(older[1], UserError("a later tick of the call took this one's place"))
        return future

    def _do(self, lane: Lane, action: Callable[[], Any]) -> Any:
        future: Future[Any] = Future()
        with self._changed:
            self._check_in(lane)
            self._jobs[lane.slot].append((action, future))
            self._gathering.job(lane.slot)
            self._changed.notify()
        return self._result(future)

    def _result(self, future: Future[Any]) -> Any:
        try:
            return future.result(self._config.patience)
        except Waited:
            seconds = self._config.patience
            raise UserError(f"the device has not answered for {seconds:g} s: start the receiver again") from None

    def _check_open(self) -> None:
        if self._closed:
            raise UserError("the device has been closed")

    def _check_in(self, lane: Lane) -> None:
        self._check_open()
        if lane.left:
            raise UserError("the call has ended")

    def _run(self) -> None:
        while True:
            rows: list[tuple[TickRow, Future[Any]]] = []
            job = None
            with self._changed:
                if self._closed:
                    break
                step = self._gathering.next(time.monotonic())
                if step is None or isinstance(step, float):
                    self._changed.wait(None if step is None else max(step - time.monotonic(), 0))
                    continue
                if isinstance(step, Ticks):
                    rows = [self._rows.pop(call) for call in step.calls]
                else:
                    job = self._jobs[step.call].popleft()
            if job is not None:
                self._work(*job)
            else:
                self._draw(rows)
        waiting = [future for _, future in self._rows.values()]
        waiting += [future for jobs in self._jobs.values() for _, future in jobs]
        for future in waiting:
            _fail(future, UserError("the device has been closed"))

    def _draw(self, rows: Sequence[tuple[TickRow, Future[Any]]]) -> None:
        began = time.perf_counter()
        results = self._drawn([row for row, _ in rows])
        seconds = time.perf_counter() - began
        failed = False
        for (_, future), result in zip(rows, results, strict=True):
            failed = failed or isinstance(result, Exception)
            _fail(future, result) if isinstance(result, Exception) else _give(future, result)
        if not failed:
            with self._changed:
                self.admission.observe(len(rows), seconds)

    def _drawn(self, rows: list[TickRow]) -> Sequence[NDArray[np.uint8] | Exception]:
        """A tick that fails must not take others with it: then each runs alone."""
        try:
            return self._device.draw(rows)
        except Exception as e:
            return [e] if len(rows) == 1 else [self._drawn([row])[0] for row in rows]

    def _work(self, action: Callable[[], Any], future: Future[Any]) -> None:
        began = time.perf_counter()
        try:
            result = action()
        except Exception as e:
            _fail(future, e)
            return
        with self._changed:
            self.admission.observe_job(time.perf_counter() - began)
        _give(future, result)

    def _measure(self) -> None:
        """What each batch size takes, up to one that takes too long for any deadline."""
        host, job = host_inputs(), 0.0
        made: dict[str, Arrays] = {}
        for network in ("still", "teeth_still"):
            for k in range(_RUNS):
                began = time.perf_counter()
                made[network] = self._device.run(network, host[network])
                job = max(job, time.perf_counter() - began) if k else job
        self.admission.job = job
        values = packed({**host["tick"], "begins": 1, "restore": 1})
        identity, reference = made["still"], made["teeth_still"]
        for size in self._device.sizes:
            rows = [TickRow(slot, values, identity, reference) for slot in range(size)]
            slowest = 0.0
            for k in range(_RUNS + 1):
                began = time.perf_counter()
                for result in self._device.draw(rows):
                    if isinstance(result, Exception):
                        raise result
                slowest = max(slowest, time.perf_counter() - began) if k else slowest
                for row in rows:
                    row.identity = row.reference = None
            self.admission.times[size] = slowest
            if slowest > self._config.deadline:
                break
        assert set(PARTS) == {*host["tick"], "begins", "restore"}


class BatchedCall(NetworkReconstructor):
    """Reconstructor of one call on a shared device. In `spent`, all that a tick took, waiting included, is `upsample`:
    its stages run in one go.
    """

    def __init__(self, batch: Batch, lane: Lane, teeth: bool = True) -> None:
        self._batch, self._lane = batch, lane
        super().__init__(lane, 1, teeth)

    def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
        began = time.perf_counter()
        picture = super().tick(face, voice)
        self.spent = {"upsample": time.perf_counter() - began}
        return picture

    def close(self) -> None:
        """The call has ended: its place is free."""
        self._batch.leave(self._lane)


class InterpolatedCall(Interpolated):
    """The same with streams at 5 fps filled up, which each call does for itself on the host."""

    def __init__(self, inner: BatchedCall, stream: SlowStream) -> None:
        super().__init__(inner, stream)
        self.close = inner.close


def _by_memory(device: TickDevice) -> int:
    """Calls whose stills there is room for, all that they may keep. Raises UserError where there is none for one."""
    free, need = device.free_memory(), MAX_STILLS * device.still_bytes
    if free is None or need <= 0:
        return device.slots
    calls = int(_SHARE * free) // need
    if calls < 1:
        raise UserError(f"{device.device} has {free >> 20} MB free, a call takes {need >> 20} MB: use another device")
    return calls


def _host_engine() -> Engine:
    """What computes the interpolation of a call: small networks, in float32."""
    try:
        from .openvino_engine import OpenVinoEngine

        return OpenVinoEngine("fp32")
    except ImportError:
        from .torch_engine import TorchEngine

        return TorchEngine(bfloat16=False)


def _give(future: Future[Any], result: Any) -> None:
    # one that gave up waiting, or has left, is not there any more
    with contextlib.suppress(Exception):
        future.set_result(result)


def _fail(future: Future[Any], error: Exception) -> None:
    with contextlib.suppress(Exception):
        future.set_exception(error)
