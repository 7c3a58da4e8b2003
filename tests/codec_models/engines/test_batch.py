"""Calls in threads on one device; where the device matters not, it is a small one of the test's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_networks import levels, still, stream

from codec_models.bitstream.face import FaceTick, area_8x8
from codec_models.engines.batch import Batch, BatchConfig, BatchedCall, InterpolatedCall
from codec_models.engines.engine import IDENTITY, NETWORKS, Arrays
from codec_models.engines.lane import Lane
from codec_models.engines.samples import host_inputs
from codec_models.engines.tick_row import TickRow, divided, packed
from codec_models.errors import UserError
from codec_models.network import MAX_STILLS

pytestmark = pytest.mark.unit

GATE = 0.6


class SmallDevice:
    """Draws the mean of a call's newest 8x8 frame, and its slot in the last pixel. Writes down what it does. Of a
    frame of -9 it cannot draw anything, and takes down the whole batch. held: batches wait until it is set.
    """

    backend, device = "small", "nowhere"
    still_bytes = 1 << 10

    def __init__(self, slots: int = 4, seconds: float = 0.0) -> None:
        self.slots, self.sizes = slots, tuple(range(1, slots + 1))
        self.seconds = seconds
        self.batches: list[list[int]] = []
        self.exchanged: list[tuple[int, bool, bool | None]] = []
        self.held = threading.Event()
        self.held.set()
        self.memory: int | None = None
        self.threads: set[str] = set()

    def free_memory(self) -> int | None:
        return self.memory

    def run(self, network: str, inputs: Mapping[str, Any]) -> Arrays:
        self.threads.add(threading.current_thread().name)
        assert set(inputs) == set(NETWORKS[network].inputs)
        assert all(isinstance(value, np.ndarray) for value in inputs.values())
        if network == "still":
            return {name: np.full((1, 1), float(inputs["low"].mean())) for name in IDENTITY}
        assert network == "teeth_still"
        return {name: np.full(1, 0.5, np.float32) for name in NETWORKS[network].outputs}

    def numpy(self, array: Any) -> NDArray[Any]:
        return np.asarray(array)

    def draw(self, rows: Sequence[TickRow]) -> Sequence[NDArray[np.uint8]]:
        self.threads.add(threading.current_thread().name)
        self.held.wait(10)
        time.sleep(self.seconds)
        self.batches.append([row.slot for row in rows])
        pictures = []
        for row in rows:
            parts, _ = divided(np.append(row.values, 0)[None])
            newest = float(parts["window"][0, -1].mean())
            if newest < -8:
                raise ValueError("this one cannot be drawn")
            self.exchanged.append(
                (row.slot, row.identity is not None, None if row.reference is None else bool(row.reference))
            )
            picture = np.full((256, 256, 3), round(127.5 * (newest + 1)), np.uint8)
            picture[-1, -1] = row.slot
            pictures.append(picture)
        return pictures


@pytest.fixture
def device() -> SmallDevice:
    return SmallDevice()


@pytest.fixture
def batch(device: SmallDevice) -> Iterator[Batch]:
    made = Batch(device, BatchConfig(patience=10))
    device.batches.clear()
    device.exchanged.clear()
    yield made
    device.held.set()
    made.close()


def values(level: float) -> NDArray[np.float32]:
    given = host_inputs()["tick"]
    return packed({**given, "window": np.full((5, 3, 8, 8), level), "begins": 0, "restore": 1})


def frame(level: int) -> FaceTick:
    return FaceTick(np.full((8, 8, 3), level, np.uint8), None)


def test_ticks_that_wait_while_the_device_is_busy_run_together(batch: Batch, device: SmallDevice) -> None:
    lanes = [batch.join() for _ in range(4)]
    device.held.clear()
    futures = [batch.submit(lane, TickRow(lane.slot, values(0.1 * lane.slot))) for lane in lanes[:1]]
    while not any(thread.name == "device" for thread in threading.enumerate()) or batch._rows:
        time.sleep(0.001)
    futures += [batch.submit(lane, TickRow(lane.slot, values(0.1 * lane.slot))) for lane in lanes[1:]]
    device.held.set()
    for lane, future in zip(lanes, futures, strict=True):
        picture = future.result(10)
        assert picture[-1, -1, 0] == lane.slot
        assert abs(int(picture[0, 0, 0]) - (127.5 + 12.75 * lane.slot)) <= 1
    assert device.batches == [[0], [1, 2, 3]]
    assert device.threads == {"device", "MainThread"}  # the latter when it was measured


def test_a_failing_tick_stops_nobody_else(batch: Batch, device: SmallDevice) -> None:
    lanes = [batch.join() for _ in range(3)]
    device.held.clear()
    first = batch.submit(lanes[0], TickRow(0, values(0)))
    while batch._rows:
        time.sleep(0.001)
    bad = batch.submit(lanes[1], TickRow(1, values(-9)))
    good = batch.submit(lanes[2], TickRow(2, values(0.5)))
    device.held.set()
    assert first.result(10)[-1, -1, 0] == 0 and good.result(10)[-1, -1, 0] == 2
    with pytest.raises(ValueError, match="cannot be drawn"):
        bad.result(10)
    # nor its own next one
    assert batch.picture(lanes[1], TickRow(1, values(0)))[-1, -1, 0] == 1


def test_a_full_device_refuses_in_one_line_and_a_place_that_is_left_is_free(batch: Batch) -> None:
    lanes = [batch.join() for _ in range(4)]
    with pytest.raises(UserError, match="no room on the device for more than 4 calls") as caught:
        batch.join()
    assert "\n" not in str(caught.value) and batch.calls == 4
    batch.leave(lanes[2])
    batch.leave(lanes[2])
    assert batch.calls == 3
    again = batch.join()
    assert again.slot == 2
    # the one that has left has nothing to do with the one in its place
    with pytest.raises(UserError, match="the call has ended"):
        batch.picture(lanes[2], TickRow(2, values(0)))
    batch.leave(lanes[2])
    assert batch.calls == 4 and batch.picture(again, TickRow(2, values(0))).shape == (256, 256, 3)


def test_a_device_that_is_too_slow_for_two_takes_one() -> None:
    device = SmallDevice(4, 0.02)
    batch = Batch(device)
    assert batch.admission.times[1] >= 0.02
    call = batch.call()
    with pytest.raises(UserError, match="the device is full: with 2 calls"):
        batch.call()
    call.close()
    batch.call().close()
    batch.close()


def test_memory_is_a_limit_too(device: SmallDevice) -> None:
    device.memory = 3 * MAX_STILLS * device.still_bytes
    batch = Batch(device)
    assert batch.admission.slots == 2
    batch.close()
    device.memory = device.still_bytes
    with pytest.raises(UserError, match="use another device"):
        Batch(device)


def test_who_leaves_while_waiting_is_told(batch: Batch, device: SmallDevice) -> None:
    a, b = batch.join(), batch.join()
    device.held.clear()
    first = batch.submit(a, TickRow(0, values(0)))
    while batch._rows:
        time.sleep(0.001)
    waiting = batch.submit(b, TickRow(1, values(0)))
    batch.leave(b)
    with pytest.raises(UserError, match="the call has ended"):
        waiting.result(10)
    device.held.set()
    assert first.result(10).shape == (256, 256, 3)
    assert device.batches == [[0]]


def test_nobody_hangs_when_it_is_closed_or_does_not_answer(device: SmallDevice) -> None:
    batch = Batch(device, BatchConfig(patience=0.2))
    lane, other = batch.join(), batch.join()
    device.held.clear()
    began = time.monotonic()
    with pytest.raises(UserError, match="has not answered"):
        batch.picture(lane, TickRow(0, values(0)))
    waiting = batch.submit(other, TickRow(1, values(0)))
    closing = threading.Thread(target=batch.close)
    closing.start()
    device.held.set()
    closing.join(10)
    with pytest.raises(UserError, match="closed"):
        waiting.result(10)
    with pytest.raises(UserError, match="closed"):
        batch.picture(lane, TickRow(0, values(0)))
    with pytest.raises(UserError, match="closed"):
        batch.join()
    assert time.monotonic() - began < 20


def test_a_call_is_a_reconstructor(batch: Batch, device: SmallDevice) -> None:
    call = batch.call(lookahead=None)
    assert isinstance(call, BatchedCall) and call.backend == "small + teeth" and call.device == "nowhere"
    device.exchanged.clear()
    call.set_identity(still(1))
    assert call.tick(frame(100), None)[0, 0, 0] == 100
    assert call.tick(frame(50), None)[0, 0, 0] == 50
    second = still(2, points=False)
    call.set_identity(second)
    call.tick(FaceTick(area_8x8(second.picture), None), None)
    assert set(call.spent) == {"upsample"} and call.spent["upsample"] > 0
    # still and reference go over once; the reference of the first still stays in use
    slots = [slot for slot, _, _ in device.exchanged]
    assert slots == [0, 0, 0]
    assert [new for _, new, _ in device.exchanged] == [True, False, True]
    assert [reference for _, _, reference in device.exchanged] == [True, None, None]
    call.close()
    assert batch.calls == 0


def test_a_stream_begins_once_and_again_after_a_reset(batch: Batch, device: SmallDevice) -> None:
    begins: list[float] = []
    draw = device.draw

    def noting(rows: Sequence[TickRow]) -> Sequence[NDArray[np.uint8]]:
        begins.extend(float(divided(np.append(row.values, 0)[None])[0]["begins"][0]) for row in rows)
        return draw(rows)

    device.draw = noting  # type: ignore[method-assign]
    call = batch.call(lookahead=None)
    call.set_identity(still(1))
    begins.clear()
    for _ in range(3):
        call.tick(frame(90), None)
    call.reset()
    for _ in range(2):
        call.tick(frame(90), None)
    assert begins == [1, 0, 0, 1, 0]


def test_a_call_at_5_fps_is_filled_up_on_the_host(batch: Batch, device: SmallDevice) -> None:
    call = batch.call()
    assert isinstance(call, InterpolatedCall)
    call.fps = 5
    call.set_identity(still(1))
    shown = []
    for k in range(11):
        face = frame(60 + 5 * k) if k % 5 == 0 else FaceTick(None, None)
        shown.append(int(call.tick(face, None)[0, 0, 0]))
    # it is predicted between the frames, and a step to a frame is eased
    assert call.delay == 0 and shown[0] == 60 and shown[-1] > 90
    assert set(call.spent) == {"interpolate", "upsample"}
    call.close()
    assert batch.calls == 0


def test_calls_in_many_threads_get_their_own_pictures(device: SmallDevice) -> None:
    batch = Batch(SmallDevice(8), BatchConfig(patience=30))
    wrong: list[str] = []

    def live(seed: int) -> None:
        call = batch.call(lookahead=None)
        call.set_identity(still(seed))
        for k in range(25):
            level = 20 + 5 * seed + k
            got = int(call.tick(frame(level), None)[0, 0, 0])
            if got != level:
                wrong.append(f"{seed} {k}: {got} for {level}")
        call.close()

    threads = [threading.Thread(target=live, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and batch.calls == 0
    batch.close()


def test_a_lane_gives_pictures_only(batch: Batch) -> None:
    lane = batch.join()
    made = lane.run("tick", {**host_inputs()["tick"], **{name: np.zeros((1, 1)) for name in IDENTITY}})
    with pytest.raises(ValueError, match="only its picture"):
        lane.numpy(made["points"])
    with pytest.raises(ValueError, match="follow the network `tick`"):
        lane.shown(np.zeros((1, 3, 256, 256)))
    with pytest.raises(ValueError, match="one still"):
        lane.together([{}, {}])
    assert isinstance(lane, Lane) and lane.several is False


def test_streams_are_what_they_should_be() -> None:
    ticks = stream(6)
    assert sum(face.picture is None for face, _ in ticks) == 1 and levels(still(0).picture, still(1).picture) > 50
