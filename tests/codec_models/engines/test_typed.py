"""Networks as TensorRT takes them: our own, changed and computed again."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="what is right comes from torch: pip install -e '.[training]'")
onnx = pytest.importorskip("onnx", reason="changing networks needs onnx: pip install -e '.[dev]'", exc_type=ImportError)
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install -e '.[receiver]'")

from fake_tensorrt import session
from onnx import TensorProto, helper

from codec_models.engines.agreement import apart, check_agreement
from codec_models.engines.engine import NETWORKS, Arrays
from codec_models.engines.network_files import WHOLE_NAME, ShippedNetworks
from codec_models.engines.onnx_reader import parse_model
from codec_models.engines.operators import problems
from codec_models.engines.samples import chain, host_inputs
from codec_models.engines.torch_engine import TorchEngine
from codec_models.engines.typed import halved, simplified

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def right() -> tuple[dict[str, Arrays], dict[str, Arrays]]:
    return chain(TorchEngine(bfloat16=False), host_inputs(2))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_passes_the_check_and_is_right(
    network: str, half: bool, right: tuple[dict[str, Arrays], dict[str, Arrays]]
) -> None:
    content = ShippedNetworks().content(network, half)
    assert problems(parse_model(content)) == []
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    inputs, outputs = ({k: v.numpy() for k, v in side[network].items()} for side in right)
    ready = session(content)
    given = {i.name: inputs[i.name] for i in ready.get_inputs()}
    made = dict(zip((o.name for o in ready.get_outputs()), ready.run(None, given), strict=True))
    check_agreement(network, made, outputs)
    if not half:
        assert all(apart(made[name], value)[1] < 1e-4 for name, value in outputs.items())


@pytest.mark.parametrize("half", [False, True])
def test_the_whole_tick_passes_the_check(half: bool) -> None:
    model = parse_model(ShippedNetworks().content(WHOLE_NAME, half))
    assert problems(model) == [] and {n.op for n in model.graph.nodes} >= {"GridSample", "GatherElements"}
    assert not any(n.op.startswith("Scatter") for n in model.graph.nodes)


def test_coordinates_stay_in_32_bits_and_convolutions_do_not() -> None:
    model = onnx.load_from_string(ShippedNetworks().content("tick", True))
    typed = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    types = {v.name: v.type.tensor_type.elem_type for v in typed.graph.value_info}
    types |= {t.name: t.data_type for t in model.graph.initializer}
    checked = {"half": 0, "whole": 0}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul", "GridSample", "Einsum"):
            continue
        exact = node.op_type in ("GridSample", "Einsum") or any(
            part in node.name for part in ("/landmarks/", "/sparse", "/enlarge/")
        )
        wanted = TensorProto.FLOAT if exact else TensorProto.FLOAT16
        assert {types[name] for name in node.output} == {wanted}, node.name
        assert {types.get(name, wanted) for name in node.input} == {wanted}, node.name
        checked["whole" if exact else "half"] += 1
    assert checked["half"] > 40 and checked["whole"] > 25
    # 16 bits that are stored are used as they are
    assert sum(t.data_type == TensorProto.FLOAT16 for t in model.graph.initializer) > 80


def test_digests_tell_networks_apart_and_stay() -> None:
    files = ShippedNetworks()
    digests = [files.digest(network) for network in (*NETWORKS, WHOLE_NAME)]
    assert len(set(digests)) == len(digests) and digests == [files.digest(n) for n in (*NETWORKS, WHOLE_NAME)]


def test_nodes_without_modules_are_not_halved() -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "x"], ["y"], "node_7")],
        "graph",
        [value("x", TensorProto.FLOAT, [2, 2])],
        [value("y", TensorProto.FLOAT, [2, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(ValueError, match="which module"):
        halved(model)


@pytest.mark.filterwarnings("ignore")  # of the exporter, about itself
def test_axes_of_one_are_squeezed_without_asking() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.avg_pool2d(x, (1, 4)).squeeze(2) * 2

    import io

    data, x = io.BytesIO(), torch.rand(2, 3, 1, 8)
    axes = {"x": {0: "batch", 2: "one"}}
    torch.onnx.export(Net(), (x,), data, input_names=["x"], opset_version=17, dynamic_axes=axes, dynamo=False)
    model = onnx.load_from_string(data.getvalue())
    assert "If" in [node.op_type for node in model.graph.node]
    simplified(model)
    assert "If" not in [node.op_type for node in model.graph.node]
    (made,) = session(model.SerializeToString()).run(None, {"x": x.numpy()})
    assert np.allclose(made, Net()(x).numpy())
