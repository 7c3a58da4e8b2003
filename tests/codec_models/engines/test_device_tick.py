"""Slots and batches on a device, against calls of their own on torch. A CPU runs the same as a GPU, without graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from numpy.typing import NDArray
from small_networks import TINY, levels, still, stream, write_weights

from codec_models.engines import device_tick
from codec_models.engines.batch import Batch, BatchConfig
from codec_models.engines.device_tick import DeviceTick, DeviceTickConfig
from codec_models.engines.samples import host_inputs
from codec_models.engines.serial_tick import SerialTick
from codec_models.engines.tick_row import PARTS, ROW, TickRow, divided, packed
from codec_models.engines.torch_engine import TorchEngine, torch_network
from codec_models.errors import UserError

pytestmark = pytest.mark.unit

NO_GPU = not torch.cuda.is_available()
gpu = pytest.mark.skipif(NO_GPU, reason="needs an NVIDIA GPU that torch can use")
LONG = BatchConfig(deadline=30.0, patience=60.0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_weights(tmp_path_factory.mktemp("weights"))


def tiny(weights: tuple[Path, Path], slots: int, sizes: tuple[int, ...] | None = None) -> DeviceTick:
    upsampler, teeth = weights
    config = DeviceTickConfig(dtype=torch.float32, sizes=sizes, weights=upsampler, config=TINY, teeth=teeth)
    return DeviceTick(slots, config)


def row(slot: int, seed: int = 0, **more: object) -> TickRow:
    parts = {"begins": 1, "restore": 1, **host_inputs(1, seed)["tick"], **more}
    return TickRow(slot, packed(parts))


def settled(device: DeviceTick, slots: range) -> None:
    """Another still and reference in each slot."""
    for slot in slots:
        given = host_inputs(1, slot + 10)
        device.exchange(slot, device.run("still", given["still"]), device.run("teeth_still", given["teeth_still"]))


def test_a_row_comes_apart_again() -> None:
    parts = {name: np.random.default_rng(3).random(shape, np.float32) for name, shape in PARTS.items()}
    values = packed(parts)
    assert values.shape == (ROW,)
    for rows in (np.append(values, 7)[None], torch.from_numpy(np.append(values, 7)[None])):
        apart, slots = divided(rows)
        assert int(slots[0]) == 7 and list(apart) == list(PARTS)
        for name in PARTS:
            assert np.array_equal(np.asarray(apart[name][0]), parts[name])
    with pytest.raises(ValueError, match="mel has 3 numbers"):
        packed({**parts, "mel": np.zeros(3)})


def test_a_batch_gives_each_call_what_it_gets_alone(weights: tuple[Path, Path]) -> None:
    alone, together, filled = tiny(weights, 3), tiny(weights, 3), tiny(weights, 3, (4,))
    for device in (alone, together, filled):
        settled(device, range(3))
    for tick in range(3):
        rows = [row(slot, 5 * slot + tick, begins=tick == 0) for slot in (2, 0, 1)]
        one = [alone.draw([r])[0] for r in rows]
        for device in (together, filled):
            assert all(levels(a, b) <= 1 for a, b in zip(one, device.draw(rows), strict=True))
    assert levels(one[0], one[1]) > 20


def test_slots_keep_their_own_still_reference_and_gate(weights: tuple[Path, Path]) -> None:
    device = tiny(weights, 2)
    settled(device, range(2))
    first = device.draw([row(0), row(1)])
    # the other slot's change is not seen
    given = host_inputs(1, 40)
    device.exchange(1, device.run("still", given["still"]), {})
    again = device.draw([row(0), row(1)])
    assert np.array_equal(again[0], first[0]) and levels(again[1], first[1]) > 5
    # a gate under way is not one that begins
    going = device.draw([row(0, begins=0)])[0]
    assert np.array_equal(going, first[0])
    device._gates[0] = 0.0
    assert levels(device.draw([row(0, begins=0)])[0], first[0]) > 0


def test_pictures_that_are_kept_are_not_overwritten(weights: tuple[Path, Path]) -> None:
    device = tiny(weights, 1)
    settled(device, range(1))
    first = device.draw([row(0, 1)])[0]
    copy = first.copy()
    stays = device.draw([row(0, 1)], stay=True)[0]
    assert isinstance(stays, torch.Tensor) and np.array_equal(stays.numpy(), copy)
    device.draw([row(0, 2)])
    assert np.array_equal(first, copy)


def test_calls_on_a_shared_device_are_calls_of_their_own(weights: tuple[Path, Path]) -> None:
    upsampler, teeth = weights
    engine = TorchEngine(upsampler, TINY, bfloat16=False, teeth=teeth)
    for device in (tiny(weights, 2), SerialTick(engine, 2)):
        check_calls(Batch(device, LONG), weights, TINY)


@pytest.mark.slow
def test_the_shipped_networks_do_the_same_together() -> None:
    batch = Batch(DeviceTick(2, DeviceTickConfig(dtype=torch.float32)), LONG)
    shown, expected = [], []
    call, own = batch.call(), torch_network(bfloat16=False)
    for model in (call, own):
        model.set_identity(still(5))
    for tick in stream(4):
        shown.append(call.tick(*tick))
        expected.append(own.tick(*tick))
    batch.close()
    assert all(levels(a, b) <= 1 for a, b in zip(shown, expected, strict=True))
    assert levels(shown[0], shown[-1]) > 5


def check_calls(batch: Batch, weights: tuple[Path, Path], config: object) -> None:
    """Calls of all kinds in turn: one with a reference, one without, a new still on the way, a restart."""
    upsampler, teeth = weights
    calls = [batch.call(lookahead=None), batch.call(lookahead=None)]
    own = [torch_network(upsampler, TINY, bfloat16=False, teeth=teeth) for _ in calls]
    for models in (calls, own):
        models[0].set_identity(still(0))
        models[1].set_identity(still(1, points=False))
    streams = [stream(9, seed) for seed in (1, 2)]
    seen: list[NDArray[np.uint8]] = []
    for k in range(9):
        if k == 4:
            for models in (calls, own):
                models[1].set_identity(still(2))
        if k == 6:
            for models in (calls, own):
                models[0].reset()
        for which in (0, 1):
            picture, right = calls[which].tick(*streams[which][k]), own[which].tick(*streams[which][k])
            assert levels(picture, right) <= 1
            seen.append(picture)
    assert levels(seen[0], seen[1]) > 20
    for call in calls:
        call.close()
    batch.close()


def test_too_many_calls_for_the_memory_are_one_line(
    weights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_tick, "free_memory", lambda device: 1 << 20)
    with pytest.raises(UserError, match="allow fewer calls") as caught:
        tiny(weights, 50)
    assert "\n" not in str(caught.value)


def test_sizes_fill_up_by_twos_on_a_gpu_only() -> None:
    assert device_tick._sizes(5, False) == (1, 2, 3, 4, 5)
    assert device_tick._sizes(5, True) == (1, 2, 4, 5)
    assert device_tick._sizes(64, True) == (1, 2, 4, 8, 16, 32, 64)
    assert device_tick._sizes(1000, True)[-1] == device_tick.MOST


def test_a_precision_that_does_not_agree_is_not_taken(
    weights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(what: str, made: object, right: object) -> None:
        raise UserError(f"{what} is refused")

    monkeypatch.setattr(device_tick, "check_agreement", refuse)
    upsampler, teeth = weights
    with pytest.raises(UserError, match="the tick with torch fp16 on cpu is refused"):
        DeviceTick(1, DeviceTickConfig(dtype=torch.float16, weights=upsampler, config=TINY, teeth=teeth))


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
def test_without_a_gpu_it_is_one_line() -> None:
    with pytest.raises(UserError, match="no NVIDIA GPU"):
        DeviceTick(1, DeviceTickConfig("cuda"))


@gpu
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_graphs_give_what_a_cpu_gives(dtype: torch.dtype) -> None:
    lines: list[str] = []
    device = DeviceTick(5, DeviceTickConfig("cuda", dtype), say=lines.append)
    exact = DeviceTick(5, DeviceTickConfig(dtype=torch.float32))
    assert not lines and device.sizes == (1, 2, 4, 5)
    for d in (device, exact):
        settled(d, range(5))
    for count in (1, 3, 5, 2):
        for begins in (1, 0):
            rows = [row(slot, slot, begins=begins) for slot in range(count)]
            for a, b in zip(device.draw(rows), exact.draw(rows), strict=True):
                assert levels(a, b) <= 8 and np.abs(a.astype(int) - b).mean() < 0.5
    stays = device.draw([row(0, 1)], stay=True)[0]
    assert stays.is_cuda and np.array_equal(stays.cpu().numpy(), device.draw([row(0, 1)])[0])


@gpu
@pytest.mark.gpu
def test_calls_share_a_gpu() -> None:
    batch = Batch(DeviceTick(4, DeviceTickConfig("cuda")), LONG)
    own = [torch_network(bfloat16=False), torch_network(bfloat16=False)]
    calls = [batch.call(), batch.call()]
    for k in (0, 1):
        for model in (calls[k], own[k]):
            model.set_identity(still(k))
    for ticks in zip(stream(6, 1), stream(6, 2), strict=True):
        for k in (0, 1):
            a, b = calls[k].tick(*ticks[k]), own[k].tick(*ticks[k])
            assert levels(a, b) <= 8 and np.abs(a.astype(int) - b).mean() < 0.5
    batch.close()
