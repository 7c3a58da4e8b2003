"""The whole tick as one network, against the steps of a call; and recorded, against itself."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from torch import Tensor

from codec_models.engines.agreement import apart, check_agreement
from codec_models.engines.device_tick import sample_inputs
from codec_models.engines.graphs import teeth_graphs, upsampler_graphs
from codec_models.engines.recorded import recorded
from codec_models.engines.torch_engine import TorchEngine
from codec_models.engines.whole_tick import WHOLE, WholeTick, added, shown
from codec_models.errors import UserError
from codec_models.mouth import put

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    return TorchEngine(bfloat16=False)


def whole(dtype: torch.dtype = torch.float32) -> WholeTick:
    return WholeTick({**upsampler_graphs(), **teeth_graphs()}, dtype).eval()


@pytest.fixture(scope="module")
def inputs(engine: TorchEngine) -> dict[str, Tensor]:
    made = sample_inputs(engine, whole(), 3)
    # a stream that is under way, one that begins, one that has no reference
    made["gate"] = torch.tensor([0.4, -1.0, 0.9])
    return made


def in_order(inputs: dict[str, Tensor]) -> list[Tensor]:
    return [inputs[name] for name in WHOLE.inputs]


def by_steps(engine: TorchEngine, inputs: dict[str, Tensor], row: int) -> tuple[Tensor, Tensor]:
    """As `NetworkReconstructor` and `TeethStage` do it."""
    one = {name: value[row : row + 1] for name, value in inputs.items()}
    made = engine.run("tick", one)
    if not one["restore"][0]:
        return made["picture"], made["points"]
    mouth = engine.run("mouth", {**one, **made})
    crop = {name: mouth[name] for name in ("crop", "planes", "share")}
    if one["known"][0]:
        change = engine.run("teeth", {**crop, "reference": one["reference"]})["change"]
    else:
        change = engine.run("teeth_alone", crop)["change"]
    return engine.added(made["picture"], change, mouth["corner"]), mouth["new_gate"]


def test_every_row_is_what_the_steps_give(engine: TorchEngine, inputs: dict[str, Tensor]) -> None:
    assert inputs["known"].tolist() == [1, 1, 0]
    with torch.no_grad():
        pictures, gates, _ = whole()(*in_order(inputs))
    for row in range(3):
        picture, gate = by_steps(engine, inputs, row)
        assert float((pictures[row] - picture[0]).abs().max()) < 2e-5
        assert float((gates[row] - gate[0]).abs()) < 1e-6
        difference = np.abs(shown(pictures)[row].numpy().astype(int) - engine.shown(picture))
        assert difference.max() <= 1 and difference.mean() < 1e-3


def test_a_call_without_teeth_gets_what_the_upsampler_drew(engine: TorchEngine, inputs: dict[str, Tensor]) -> None:
    some = {**inputs, "restore": torch.tensor([1.0, 0.0, 1.0])}
    with torch.no_grad():
        pictures, _, _ = whole()(*in_order(some))
    picture, _ = by_steps(engine, some, 1)
    assert float((pictures[1] - picture[0]).abs().max()) < 1e-5
    with_teeth, _ = by_steps(engine, inputs, 1)
    assert float((pictures[1] - with_teeth[0]).abs().max()) > 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_within_the_bounds(inputs: dict[str, Tensor], dtype: torch.dtype) -> None:
    with torch.no_grad():
        right, made = (
            {n: v.numpy() for n, v in zip(WHOLE.outputs, model(*in_order(inputs)), strict=True)}
            for model in (whole(), whole(dtype))
        )
    check_agreement("sixteen bits", made, right)
    most, mean = (127.5 * v for v in apart(made["picture"], right["picture"]))
    assert 0 < mean < 0.2 and most < 3
    broken = {**made, "picture": np.roll(right["picture"], 3, 3)}
    with pytest.raises(UserError, match="sixteen bits is refused: its picture is off by"):
        check_agreement("sixteen bits", broken, right)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recorded_it_is_the_same(inputs: dict[str, Tensor], dtype: torch.dtype) -> None:
    model = whole(dtype)
    given = in_order(inputs)
    # recorded with other values than it is run with
    replay = recorded(model, [torch.zeros_like(t) if t.dim() < 3 else t.flip(0) for t in given])
    with torch.no_grad():
        for expected, got in zip(model(*given), replay(*given), strict=True):
            assert torch.equal(expected, got)
    kinds = {node.op for node in replay.graph.nodes}
    assert kinds == {"placeholder", "get_attr", "call_function", "output"}
    assert not any("lift_fresh" in node.name or "arange" in node.name for node in replay.graph.nodes)


def test_what_needs_the_host_is_not_recorded() -> None:
    with pytest.raises(RuntimeError):
        recorded(lambda x: x[:, : int(x.sum().item())], [torch.ones(2, 4)])
    with pytest.raises(RuntimeError, match="host"):
        recorded(lambda x: x + torch.rand(2, 2), [torch.ones(2, 2)])


def test_constants_are_kept_and_writing_is_none() -> None:
    def function(x: Tensor) -> Tensor:
        room = x.new_zeros(2, 2)
        room += x[:, [1, 0]] * x.new_tensor([2.0, 3.0])
        room.mul_(torch.arange(2) + 1)
        return room

    replay = recorded(function, [torch.zeros(2, 2)])
    for seed in (0, 1):
        x = torch.rand(2, 2, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(replay(x), function(x)) and torch.equal(replay(x), function(x))


@pytest.mark.parametrize("corner", [(0, 0), (160, 160), (37, 101), (160, 0)])
def test_adding_by_gathering_is_putting(corner: tuple[int, int]) -> None:
    torch.manual_seed(3)
    picture, change = torch.rand(2, 3, 256, 256), torch.rand(2, 3, 96, 96)
    at = torch.tensor([corner, (12, 60)])
    assert torch.equal(added(picture, change, at), put(picture, change, at))


def test_agreement_wants_every_output_and_every_number() -> None:
    right = {"picture": np.zeros((1, 3, 4, 4), np.float32), "features": np.linspace(0, 1, 50)}
    check_agreement("it", right, right)
    check_agreement("it", {**right, "features": right["features"] + 0.004}, right)
    for wrong, told in (
        ({"features": right["features"]}, "no picture"),
        ({**right, "picture": right["picture"][:, :1]}, "no picture"),
        ({**right, "picture": np.full((1, 3, 4, 4), np.nan)}, "picture is off by inf"),
        ({**right, "picture": right["picture"] + 0.01}, "picture is off by 1.27 levels"),
        ({**right, "features": right["features"] + 0.02}, "of the largest value"),
    ):
        with pytest.raises(UserError, match=told):
            check_agreement("it", wrong, right)
