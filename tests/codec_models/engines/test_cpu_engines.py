"""Engines without torch, on the shipped networks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("openvino", reason="needs openvino: pip install -e '.[receiver]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install -e '.[receiver]'")

from codec_models.bitstream.face import FaceTick, area_8x8
from codec_models.bitstream.hints import Hints
from codec_models.bitstream.still import IdentityStill
from codec_models.engines.engine import NETWORKS, Engine
from codec_models.engines.files import FOLDER
from codec_models.engines.onnx_engine import OnnxEngine
from codec_models.engines.openvino_engine import PRECISIONS, OpenVinoEngine, native_precision
from codec_models.engines.parity import BOUNDS, REFERENCE, compare, verify
from codec_models.engines.samples import chain, face_points, host_inputs, soft
from codec_models.errors import UserError
from codec_models.network import NetworkReconstructor
from codec_models.slow_stream import SlowStream

pytestmark = pytest.mark.unit


def openvino_precisions() -> list[str]:
    """Those that this processor computes in."""
    return [p for p in PRECISIONS if p != "bf16" or native_precision() == "bf16"]


ENGINES: dict[str, Callable[[], Engine]] = {
    "onnxruntime fp32": OnnxEngine,
    **{f"openvino {p}": lambda p=p: OpenVinoEngine(p) for p in openvino_precisions()},
}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]()


def test_it_computes_what_torch_does(engine: Engine) -> None:
    parity = verify(engine)
    precision = engine.backend.split()[-1]
    assert parity.error <= BOUNDS[precision] and (precision == "fp32") == (parity.error < 1e-4)


def test_outputs_have_the_shapes_of_the_signature_and_stay_valid(engine: Engine) -> None:
    inputs, results = chain(engine, host_inputs())
    for network, signature in NETWORKS.items():
        assert tuple(results[network]) == signature.outputs
        for name, value in results[network].items():
            assert value.shape[0] == 1, (network, name)
    kept = results["tick"]["picture"].copy()
    engine.run("tick", {**inputs["tick"], "window": inputs["tick"]["window"] * 0.5})
    assert np.array_equal(results["tick"]["picture"], kept)
    for network in NETWORKS:
        for name, shape in NETWORKS[network].inputs.items():
            assert inputs[network][name].shape == (1, *shape), (network, name)


def still(seed: int = 3) -> IdentityStill:
    picture = soft(np.random.default_rng(seed), 1, 256, 20)[0].transpose(1, 2, 0)
    return IdentityStill(np.asarray(picture * 127.5 + 128, np.uint8), face_points())


def ticks(count: int) -> list[tuple[FaceTick, NDArray[np.int16] | None]]:
    rng = np.random.default_rng(1)
    low = area_8x8(still().picture).astype(int)
    out: list[tuple[FaceTick, NDArray[np.int16] | None]] = []
    for k in range(count):
        picture = None if k % 4 == 2 else (low + rng.integers(-9, 9, (8, 8, 3))).clip(0, 255).astype(np.uint8)
        hints = Hints(0.02 * (k % 7), 0.5, 0.1, 0.1, 0, 0, 0.5 + 0.01 * (k % 5), 0.5, -1.4, 0.02 * (k % 3), 0, 0)
        out.append((FaceTick(picture, hints), None if k % 6 == 4 else rng.integers(-8000, 8000, 1920).astype(np.int16)))
    return out


def test_a_stream_is_the_one_that_torch_draws(engine: Engine) -> None:
    pytest.importorskip("torch", reason="the reference needs torch: pip install -e '.[training]'")
    from codec_models.engines.torch_engine import TorchEngine

    pictures = []
    for one in (TorchEngine(bfloat16=False), engine):
        network = NetworkReconstructor(one)
        network.set_identity(still())
        pictures.append(np.stack([network.tick(*tick) for tick in ticks(8)]).astype(int))
        assert network.teeth is not None and network.teeth.gate is not None and float(network.teeth.gate[0]) > 0
    apart = np.abs(pictures[0] - pictures[1])
    # of 255 levels; rounding alone is half a level
    mean, most = {"fp32": (0.01, 2), "bf16": (0.6, 40), "int8": (3, 90)}[engine.backend.split()[-1]]
    assert apart.mean() < mean and apart.max() <= most
    assert pictures[0].std() > 10


def test_interpolation_is_the_one_of_torch(engine: Engine) -> None:
    pytest.importorskip("torch", reason="the reference needs torch: pip install -e '.[training]'")
    from codec_models.engines.torch_engine import TorchEngine

    streams = [SlowStream(e, 1, fps=5) for e in (TorchEngine(bfloat16=False), engine)]
    came = 0
    for k, (face, _) in enumerate(ticks(40)):
        given = FaceTick(face.picture if k % 5 == 0 else None, face.hints)
        a, b = (stream.push(given) for stream in streams)
        if a is not None and a.picture is not None:
            assert b is not None and b.picture is not None
            assert np.abs(a.picture.astype(int) - b.picture).max() <= 1
            came += 1
    assert came > 25


def test_one_still_at_a_time(engine: Engine) -> None:
    with pytest.raises(ValueError, match="1 to 1"):
        NetworkReconstructor(engine, stills=2)
    _, results = chain(engine, host_inputs())
    with pytest.raises(ValueError):
        engine.together([results["still"], results["still"]])


@pytest.mark.parametrize("make", [OnnxEngine, OpenVinoEngine])
def test_a_broken_file_gets_one_line(tmp_path: Path, make: Callable[..., Engine]) -> None:
    for path in FOLDER.iterdir():
        if path.suffix in (".onnx", ".safetensors"):
            shutil.copy(path, tmp_path)
    content = (tmp_path / "mouth.onnx").read_bytes()
    # the stamp stays, the network is cut in the middle
    (tmp_path / "mouth.onnx").write_bytes(content[: len(content) // 2] + content[-200:])
    engine = make(folder=tmp_path)
    with pytest.raises(UserError) as caught:
        engine.run("mouth", {})
    assert "\n" not in str(caught.value) and "mouth.onnx" in str(caught.value)


class Wrong(OnnxEngine):
    """Silently wrong: what it samples lies half a pixel aside, as GridSample has been on some runtimes."""

    def run(self, network: str, inputs: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:  # type: ignore[override]
        made = super().run(network, inputs)
        if network == "tick":
            made["picture"] = (made["picture"] + np.roll(made["picture"], 1, 3)) / 2
        return made


def test_an_engine_that_is_silently_wrong_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"onnxruntime fp32 on cpu computes something else .* picture of tick"
    ) as caught:
        verify(Wrong())
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no reference"):
        verify(OnnxEngine(), tmp_path)
    (tmp_path / REFERENCE).write_bytes(b"nothing")
    with pytest.raises(UserError, match="no reference"):
        compare(OnnxEngine(), tmp_path)


def test_precisions_that_are_not_there() -> None:
    with pytest.raises(UserError, match="no precision called fp64; known are fp32, bf16, int8"):
        OpenVinoEngine("fp64")


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_without_torch(backend: str) -> None:
    """A receiver draws where torch cannot be imported."""
    code = f"""
import sys
sys.modules["torch"] = None
import numpy as np
from codec_models.bitstream.face import FaceTick
from codec_models.bitstream.still import IdentityStill
from codec_models.engines.samples import face_points
from codec_models.reconstruction import reconstructor
drawing = reconstructor("network", backend={backend!r})
drawing.fps = 5
picture = np.add.outer(np.arange(256), np.arange(256) * 0)[..., None].repeat(3, 2).astype(np.uint8)
drawing.set_identity(IdentityStill(picture, face_points()))
low = picture.reshape(8, 32, 8, 32, 3).mean((1, 3)).astype(np.uint8)
shown = [drawing.tick(FaceTick(low if k % 5 == 0 else None, None), None) for k in range(7)]
print(drawing.backend, "on", drawing.device, shown[-1].shape, int(np.abs(shown[-1].astype(int) - picture).mean()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words[0].startswith(backend) and "(256, 256, 3)" in done.stdout and int(words[-1]) < 12
