"""A batch size made ready: on a CPU as it is, and captured, with streams and graphs of our own in CUDA's place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from small_networks import write_weights
from test_device_tick import row, settled, tiny
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from codec_models.engines import cuda_graph, device_tick
from codec_models.engines.cuda_graph import CapturedTick, EagerTick

pytestmark = pytest.mark.unit

CPU = torch.device("cpu")


def body(rows: Tensor) -> Tensor:
    """Pictures in the colour of each row's first number."""
    return rows[:, 0, None, None, None].expand(-1, 256, 256, 3).to(torch.uint8).contiguous()


class FakeCuda:
    """torch.cuda as far as it is used, and what was done in order. A graph replays what was captured in the memory in
    which it was captured, as CUDA does.
    """

    def __init__(self) -> None:
        self.done: list[str] = []
        self.tick: Any = None
        outer = self

        class CUDAGraph:
            def replay(self) -> None:
                outer.done.append("replay")
                outer.tick._pictures.copy_(body(outer.tick._given))

        class Event:
            def __init__(self, blocking: bool) -> None:
                assert blocking

            def record(self, stream: object) -> None:
                outer.done.append("record")

            def synchronize(self) -> None:
                outer.done.append("wait")

        self.CUDAGraph, self.Event = CUDAGraph, Event

    @contextlib.contextmanager
    def stream(self, stream: object) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def graph(self, graph: object, pool: object, stream: object, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local" and pool == "the pool" and isinstance(stream, FakeStream)
        self.done.append("capture")
        yield


class FakeStream:
    def __init__(self) -> None:
        self.waited = 0

    def synchronize(self) -> None:
        self.waited += 1


class FakeTorch:
    """torch with that cuda, and without pinned memory, which needs a device."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def empty(self, *args: Any, pin_memory: bool = False, **more: Any) -> Tensor:
        assert pin_memory
        return torch.empty(*args, **more)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    made = FakeCuda()
    monkeypatch.setattr(cuda_graph, "torch", FakeTorch(made))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    return made


def test_a_captured_tick_runs_again_on_what_its_rows_hold(cuda: FakeCuda) -> None:
    stream = FakeStream()
    tick = CapturedTick(body, torch.zeros(4, 3), CPU, stream, "the pool")
    cuda.tick = tick
    # warmed up and waited for before it was captured
    assert cuda.done == ["capture"] and stream.waited == 1
    cuda.done.clear()
    shown = []
    for first in (10, 50):
        tick.rows[:, 0] = torch.arange(first, first + 4)
        shown.append(tick.run(3))
        assert cuda.done == ["replay", "record", "wait"]
        cuda.done.clear()
    tick.rows[:, 0] = 200
    stays = tick.run(4, stay=True)
    tick.rows[:, 0] = 0
    tick.run(4)
    # what has been given stays what it was
    assert [p[:, 0, 0, 0].tolist() for p in shown] == [[10, 11, 12], [50, 51, 52]]
    assert stays.shape == (4, 256, 256, 3) and stays[:, 7, 7, 1].tolist() == [200] * 4


def test_an_eager_tick_does_the_same() -> None:
    tick = EagerTick(body, torch.zeros(4, 3), CPU)
    tick.rows[:, 0] = torch.arange(4)
    first = tick.run(2)
    tick.rows[:, 0] = 9
    assert first[:, 0, 0, 0].tolist() == [0, 1] and tick.run(4, stay=True)[:, 3, 3, 0].tolist() == [9] * 4


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_weights(tmp_path_factory.mktemp("weights"))


class Made(TorchDispatchMode):
    """The operations that make tensors of numbers of the host, or read numbers back."""

    names = ("lift_fresh", "lift_fresh_copy", "scalar_tensor", "_local_scalar_dense", "nonzero", "is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        if func._schema.name.split("::")[1] in self.names:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_recorded_batch_needs_nothing_of_the_host(
    weights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, graphed = tiny(weights, 2), tiny(weights, 2)
    bodies = []

    def captured(body: Any, rows: Tensor, device: Any, stream: Any, pool: Any) -> EagerTick:
        bodies.append(body)
        return EagerTick(body, rows, device)

    monkeypatch.setattr(device_tick, "CapturedTick", captured)
    # as on a GPU, as far as that can be done without one
    graphed._gpu = True
    graphed._ready = {size: graphed._prepared(size, None) for size in (1, 2)}
    graphed._gpu = False
    assert len(bodies) == 2
    for device in (plain, graphed):
        settled(device, range(2))
    for begins in (1, 0, 0):
        for rows in ([row(1, 3, begins=begins)], [row(0, 4, begins=begins), row(1, 5, begins=0)]):
            for a, b in zip(plain.draw(rows), graphed.draw(rows), strict=True):
                assert np.array_equal(a, b)
    with torch.no_grad(), Made() as made:
        bodies[1](graphed._ready[2].rows)
    assert made.found == [] and made.count > 500
    # and what is not recorded does
    with torch.no_grad(), Made() as made:
        plain._body(plain._core)(plain._ready[2].rows)
    assert made.found


def test_what_cannot_be_captured_runs_without_a_graph_and_says_so(
    weights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tiny(weights, 1)
    said: list[str] = []
    device._say = said.append

    def failing(*args: object) -> EagerTick:
        raise RuntimeError("operation not permitted when stream is capturing\nand much more")

    monkeypatch.setattr(device_tick, "CapturedTick", failing)
    device._gpu = True
    device._ready = {1: device._prepared(1, None)}
    device._gpu = False
    assert said == [
        "a batch of 1 runs without a CUDA graph, more slowly (operation not permitted when stream is capturing)"
    ]
    settled(device, range(1))
    assert device.draw([row(0)])[0].shape == (256, 256, 3)
