"""What we do with TensorRT, on a TensorRT of our own (`fake_tensorrt.py`) and, where there is one, on the real one."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="engines are compared with torch: pip install -e '.[training]'")
onnx = pytest.importorskip("onnx", reason="building engines needs onnx: pip install -e '.[dev]'", exc_type=ImportError)
pytest.importorskip("onnxruntime", reason="stands for TensorRT: pip install -e '.[receiver]'")

from fake_tensorrt import FakeTensorRT
from small_networks import levels, still, stream

from codec_models.engines import tensorrt_engine
from codec_models.engines.device_tick import DeviceTick, DeviceTickConfig
from codec_models.engines.engine_cache import EngineCache
from codec_models.engines.network_files import WHOLE_NAME, ShippedNetworks
from codec_models.engines.samples import chain, host_inputs
from codec_models.engines.tensorrt_engine import (
    Builder,
    Gpu,
    TensorRTEngine,
    build_engines,
    driver_version,
    tensorrt_core,
)
from codec_models.engines.tensorrt_plan import Plan, TensorRTError, build, load_tensorrt
from codec_models.engines.torch_engine import TorchEngine, torch_network
from codec_models.errors import UserError
from codec_models.network import NetworkReconstructor

pytestmark = pytest.mark.unit

H100 = Gpu("NVIDIA H100", "9.0", "570.86")


@pytest.fixture
def lines() -> list[str]:
    return []


def builder(
    trt: FakeTensorRT, folder: Path, lines: list[str], gpu: Gpu = H100, half: bool = True, files: object = None
) -> Builder:
    cache = EngineCache(folder, lines.append)
    return Builder("cpu", half, files, cache, lines.append, trt, gpu)  # type: ignore[arg-type]


@pytest.fixture(params=["10.13.3", "11.4.1"])
def trt(request: pytest.FixtureRequest) -> FakeTensorRT:
    return FakeTensorRT(request.param)


def test_a_call_is_drawn_as_on_torch(trt: FakeTensorRT, tmp_path: Path, lines: list[str]) -> None:
    engine = TensorRTEngine(builder(trt, tmp_path, lines))
    assert engine.backend == f"tensorrt {trt.__version__} fp16" and engine.device == "cpu"
    assert set(engine.networks) == {"tick", "mouth", "teeth", "teeth_alone"}
    assert len(trt.builds) == 4 and sum("building" in line for line in lines) == 4
    models = [NetworkReconstructor(engine), torch_network(bfloat16=False)]
    runs = len(trt.runs)
    for points in (False, True):
        for model in models:
            model.set_identity(still(3, points))
        for tick in stream(2):
            a, b = (model.tick(*tick) for model in models)
            # in 16 bits a pixel may be another level or two
            assert 0 < levels(a, b) <= 6 and np.abs(a.astype(int) - b).mean() < 0.3
    assert len(trt.runs) == runs + 12 and set(trt.runs) == {1}


def test_engines_are_built_once(tmp_path: Path, lines: list[str]) -> None:
    trt = FakeTensorRT()
    networks = ("mouth", "teeth_alone")
    TensorRTEngine(builder(trt, tmp_path, lines), networks)
    assert len(trt.builds) == 2
    again = TensorRTEngine(builder(trt, tmp_path, lines), networks)
    assert len(trt.builds) == 2 and again.networks == networks
    # another GPU, another version: others
    TensorRTEngine(builder(trt, tmp_path, lines, Gpu("NVIDIA L4", "8.9", "570.86")), networks)
    assert len(trt.builds) == 4
    TensorRTEngine(builder(FakeTensorRT("10.15.1"), tmp_path, lines), networks)
    assert len(list(tmp_path.glob("*.engine"))) == 6


def test_files_that_are_broken_or_not_taken_are_built_again(tmp_path: Path, lines: list[str]) -> None:
    trt = FakeTensorRT()
    TensorRTEngine(builder(trt, tmp_path, lines), ("mouth",))
    (path,) = tmp_path.glob("*.engine")
    path.write_bytes(path.read_bytes()[:-10])
    assert TensorRTEngine(builder(trt, tmp_path, lines), ("mouth",)).networks == ("mouth",)
    assert len(trt.builds) == 2 and any("damaged" in line for line in lines)
    # whole, and yet not an engine that this TensorRT takes
    one = builder(trt, tmp_path, lines)
    key_writer = EngineCache(tmp_path, lines.append)
    write = key_writer.write
    seen = []
    one._cache.read = lambda key: seen.append(key) or b"of some other kind"  # type: ignore[method-assign]
    assert one.plan("mouth", (1, 1, 1), lambda: samples_of("mouth")) is not None
    assert len(trt.builds) == 3 and any("does not take the engine" in line for line in lines)
    write(seen[0], b"of some other kind")
    assert TensorRTEngine(builder(trt, tmp_path, lines), ("mouth",)).networks == ("mouth",)
    assert len(trt.builds) == 4


def samples_of(network: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    inputs, outputs = chain(TorchEngine(bfloat16=False), host_inputs(1))
    return inputs[network], outputs[network]


def test_an_engine_that_is_silently_wrong_is_refused_and_remembered(tmp_path: Path, lines: list[str]) -> None:
    trt = FakeTensorRT(wrong={"change": 0.2})
    engine = TensorRTEngine(builder(trt, tmp_path, lines), ("teeth", "mouth"))
    assert engine.networks == ("mouth",)
    (told,) = [line for line in lines if "runs on torch" in line]
    assert "teeth" in told and "fp16" in told and "fp32" in told and "off by 25" in told and "\n" not in told
    inputs, outputs = samples_of("teeth")
    assert torch.allclose(engine.run("teeth", inputs)["change"], outputs["change"], atol=1e-5)
    builds = len(trt.builds)
    assert TensorRTEngine(builder(trt, tmp_path, lines), ("teeth", "mouth")).networks == ("mouth",)
    assert len(trt.builds) == builds


def test_where_16_bits_are_wrong_32_are_taken(tmp_path: Path, lines: list[str]) -> None:
    trt = FakeTensorRT(wrong={"change": 0.2})
    trt.wrong_only_half = True
    engine = TensorRTEngine(builder(trt, tmp_path, lines), ("teeth",))
    assert engine.networks == ("teeth",) and engine.backend.endswith("fp32") and len(trt.builds) == 2
    exact = TensorRTEngine(builder(FakeTensorRT(), tmp_path / "other", lines, half=False), ("teeth",))
    assert exact.backend.endswith("fp32")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(tmp_path: Path, lines: list[str], value: float) -> None:
    engine = TensorRTEngine(builder(FakeTensorRT(wrong={"change": value}), tmp_path, lines), ("teeth_alone",))
    assert engine.networks == () and "was refused" in engine.backend


def test_what_the_parser_or_the_builder_refuses_is_left_to_torch(tmp_path: Path, lines: list[str]) -> None:
    trt = FakeTensorRT()
    trt.parser_error = "In node 3 (importGridSample):\n  UNSUPPORTED_NODE"
    assert TensorRTEngine(builder(trt, tmp_path, lines), ("mouth",)).networks == ()
    assert "its parser refuses the network (In node 3 (importGridSample): UNSUPPORTED_NODE)" in lines[-1]
    trt.parser_error, trt.stop_building = None, True
    assert TensorRTEngine(builder(trt, tmp_path, lines), ("mouth",)).networks == ()
    assert "could not build" in lines[-1]


class Unsupported(ShippedNetworks):
    """Networks with an operator that the static check knows not."""

    def content(self, network: str, half: bool) -> bytes:
        model = onnx.load_from_string(super().content(network, half))
        model.graph.node[0].op_type = "Det"
        content: bytes = model.SerializeToString()
        return content


def test_the_static_check_comes_first(tmp_path: Path, lines: list[str]) -> None:
    trt = FakeTensorRT()
    assert builder(trt, tmp_path, lines, files=Unsupported()).plan("mouth", (1, 1, 1), lambda: ({}, {})) is None
    assert not trt.builds and "Det" in lines[-1] and "not known to be supported" in lines[-1]


@pytest.mark.slow
def test_the_whole_tick_as_one_engine(tmp_path: Path, lines: list[str]) -> None:
    trt = FakeTensorRT()
    made = tensorrt_core(builder(trt, tmp_path, lines), 3)
    assert made is not None and made[0] == "tensorrt 10.13.3 fp16"
    (config,) = trt.builds
    assert [shape[0] for shape in config.profiles[0].shapes["window"]] == [1, 1, 3]
    from test_device_tick import row, settled

    device = DeviceTick(3, DeviceTickConfig(dtype=torch.float32), core=made)
    exact = DeviceTick(3, DeviceTickConfig(dtype=torch.float32))
    assert device.backend == made[0]
    for d in (device, exact):
        settled(d, range(2))
    for begins in (1, 0):
        rows = [row(0, 1, begins=begins), row(1, 2, begins=begins)]
        for a, b in zip(device.draw(rows), exact.draw(rows), strict=True):
            assert levels(a, b) <= 6 and np.abs(a.astype(int) - b).mean() < 0.3
    wrong = builder(FakeTensorRT(wrong={"points": 0.5}), tmp_path / "wrong", lines)
    assert tensorrt_core(wrong, 1) is None and "points is off by 64 pixels" in lines[-1]


def test_all_engines_are_built_and_what_is_missing_counted(
    tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_engine, "tensorrt_core", lambda builder, most: ("tensorrt", None))
    assert build_engines(builder(FakeTensorRT(), tmp_path, lines), 4, lines.append) == 0
    assert lines[-1] == "all engines are there"
    wrong = FakeTensorRT(wrong={"picture": 1.0})
    assert build_engines(builder(wrong, tmp_path / "wrong", lines), 4, lines.append) == 1
    assert lines[-1] == "1 of 5 networks stay on torch"


def test_a_plan_wants_shapes_that_it_was_built_for() -> None:
    trt = FakeTensorRT()
    content = ShippedNetworks().content("teeth_alone", False)
    shapes = {"crop": (3, 96, 96), "planes": (2, 96, 96), "share": (1, 96, 96)}
    shown: list[str] = []
    plan = Plan(trt, build(trt, content, shapes, (1, 2, 2), shown.append), "cpu")
    assert shown == ["Building 1 of 2"]
    assert set(plan.inputs) == set(shapes) and plan.outputs == ("change",)
    for rows in (1, 2, 1):
        given = {name: torch.rand(rows, *shape) for name, shape in shapes.items()}
        assert plan.run(given)["change"].shape == (rows, 3, 96, 96)
    assert trt.contexts == 2
    with pytest.raises(TensorRTError, match="does not take crop of"):
        plan.run({name: torch.rand(3, *shape) for name, shape in shapes.items()})
    with pytest.raises(TensorRTError, match="does not take the engine"):
        Plan(trt, b"something else", "cpu")


def test_several_stills_run_on_torch(tmp_path: Path, lines: list[str]) -> None:
    trt = FakeTensorRT()
    engine = TensorRTEngine(builder(trt, tmp_path, lines), ("tick",))
    runs = len(trt.runs)
    inputs, outputs = samples_of("tick")
    two = {name: torch.cat([v, v], 1) if v.shape[1:2] == (1,) and name != "at" else v for name, v in inputs.items()}
    assert two["memory"].shape[1] == 2
    picture = engine.run("tick", two)["picture"]
    assert picture.shape == outputs["picture"].shape and len(trt.runs) == runs


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    made = types.ModuleType("tensorrt")
    before = sys.modules.get("tensorrt")
    sys.modules["tensorrt"] = made
    yield made
    sys.modules.pop("tensorrt")
    if before is not None:
        sys.modules["tensorrt"] = before


@pytest.mark.parametrize(
    ("version", "taken"), [("10.0.1", True), ("11.4.1", True), ("8.5.3.1", False), ("12.0", False)]
)
def test_versions(module: types.ModuleType, version: str, taken: bool) -> None:
    module.__dict__["__version__"] = version
    if taken:
        assert load_tensorrt() is module
    else:
        with pytest.raises(UserError, match="10 or 11 is needed"):
            load_tensorrt()


@pytest.mark.skipif("tensorrt" in sys.modules, reason="there is a TensorRT")
def test_without_tensorrt_or_a_gpu_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(UserError, match="TensorRT is not there") as caught:
        Builder()
    assert "\n" not in str(caught.value)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="needs an NVIDIA GPU"):
            Gpu.of("cuda")


def test_the_driver_is_the_kernels(tmp_path: Path) -> None:
    path = tmp_path / "version"
    path.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\nGCC version: 12"
    )
    assert driver_version(path) == "570.86.15"
    assert driver_version(tmp_path / "none").startswith("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that torch can use")
def test_the_real_one(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt", reason="needs TensorRT 10 or 11")
    said: list[str] = []
    real = Builder(cache=EngineCache(tmp_path, said.append), say=said.append)
    engine = TensorRTEngine(real)
    assert set(engine.networks) == {"tick", "mouth", "teeth", "teeth_alone"}, said
    core = tensorrt_core(real, 4)
    assert core is not None, said
    device = DeviceTick(4, DeviceTickConfig("cuda"), core=core, say=said.append)
    exact = DeviceTick(4, DeviceTickConfig(dtype=torch.float32))
    from test_device_tick import row, settled

    for d in (device, exact):
        settled(d, range(4))
    rows = [row(slot, slot) for slot in range(3)]
    for a, b in zip(device.draw(rows), exact.draw(rows), strict=True):
        assert levels(a, b) <= 8 and np.abs(a.astype(int) - b).mean() < 0.5
    assert not any("without a CUDA graph" in line for line in said), said
    assert WHOLE_NAME in str(list(tmp_path.iterdir()))
