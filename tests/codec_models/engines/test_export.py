"""Export and calibration, on the shipped weights in a folder of the test's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting needs torch: pip install -e '.[training]'")
onnx = pytest.importorskip("onnx", reason="exporting needs onnx: pip install -e '.[dev]'", exc_type=ImportError)
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install -e '.[receiver]'")

from codec_models.engines.engine import NETWORKS
from codec_models.engines.export import export_all, stored_tensors
from codec_models.engines.files import FOLDER, checked, onnx_path
from codec_models.engines.onnx_engine import OnnxEngine
from codec_models.engines.parity import verify
from codec_models.engines.quantise import convolutions, quantise
from codec_models.engines.samples import chain, host_inputs

pytestmark = [pytest.mark.unit, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("exported")
    for stem in ("upsampler", "teeth", "interpolation"):
        shutil.copy(FOLDER / f"{stem}.safetensors", made)
    export_all(made, lambda line: None)
    return made


def test_every_network_is_exported_and_right(folder: Path) -> None:
    assert {path.stem for path in folder.glob("*.onnx")} == set(NETWORKS)
    assert verify(OnnxEngine(folder=folder), folder).error < 1e-4


@pytest.mark.parametrize("network", NETWORKS)
def test_the_form_of_the_files(folder: Path, network: str) -> None:
    model = onnx.load(str(checked(network, folder=folder)), load_external_data=False)
    assert [entry.version for entry in model.opset_import] == [17]
    signature = NETWORKS[network]
    assert [value.name for value in model.graph.input] == list(signature.inputs)
    assert [value.name for value in model.graph.output] == list(signature.outputs)
    for value in model.graph.input:
        axes = [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        assert axes == ["batch", *signature.inputs[value.name]]
    inline = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    assert inline < 30_000, "large weights stay in the safetensors file"
    # 4-D sampling is all that TensorRT knows
    shapes = {
        v.name: len(v.type.tensor_type.shape.dim) for v in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    assert all(shapes.get(n.input[0], 4) == 4 for n in model.graph.node if n.op_type == "GridSample")


def test_a_batch_of_several_is_each_one_alone(folder: Path) -> None:
    import onnxruntime

    rng = np.random.default_rng(0)
    for network in ("mouth", "interpolation_at", "teeth"):
        signature = NETWORKS[network]
        one, _ = chain(OnnxEngine(folder=folder), host_inputs())
        # the same tick three times, the middle one disturbed: its neighbours stay what they were
        given = {name: np.repeat(one[network][name], 3, 0) for name in signature.inputs}
        first = next(iter(signature.inputs))
        given[first][1] += rng.normal(0, 0.01, given[first][1].shape).astype(np.float32)
        session = onnxruntime.InferenceSession(
            str(onnx_path(network, folder=folder)), providers=["CPUExecutionProvider"]
        )
        alone = session.run(None, {name: one[network][name] for name in signature.inputs})
        for whole, part in zip(session.run(None, given), alone, strict=True):
            assert np.allclose(whole[[0, 2]], np.repeat(part, 2, 0), atol=1e-5)
            assert np.isfinite(whole).all()


def test_the_places_of_weights_are_those_of_the_file(folder: Path) -> None:
    path = folder / "teeth.safetensors"
    places, content = stored_tensors(path), path.read_bytes()
    from safetensors.numpy import load_file

    for name, value in load_file(path).items():
        place = places[name]
        assert content[place.offset : place.offset + place.length] == value.tobytes() and place.shape == value.shape


def test_integers_stay_near_and_are_integers(folder: Path) -> None:
    inputs, exact = chain(OnnxEngine(folder=folder), host_inputs())
    path = quantise("teeth", [inputs["teeth"]], folder, lambda line: None)
    model = onnx.load(str(path), load_external_data=False)
    kinds = [node.op_type for node in model.graph.node]
    assert path.name == "teeth.int8.onnx" and kinds.count("QuantizeLinear") == kinds.count("DequantizeLinear") > 20
    assert {node.input[0].split(".")[-1] for node in convolutions(model)} == {"rounded"}
    import onnxruntime

    session = onnxruntime.InferenceSession(str(checked("teeth", True, folder)), providers=["CPUExecutionProvider"])
    change = session.run(None, inputs["teeth"])[0]
    wanted = exact["teeth"]["change"]
    assert 0 < np.square(change - wanted).mean() < 0.01 * np.square(wanted).mean()
    with pytest.raises(ValueError, match="at least one sample"):
        quantise("teeth", [], folder, lambda line: None)
