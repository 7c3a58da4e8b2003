"""What is shared where: on this machine, and what is said where it cannot be."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install -e '.[receiver]'")

import numpy as np

from codec_models.bitstream.face import FaceTick
from codec_models.bitstream.still import IdentityStill
from codec_models.engines import shared_device
from codec_models.engines.batch import BatchConfig
from codec_models.engines.choice import has_gpu
from codec_models.engines.onnx_engine import OnnxEngine
from codec_models.engines.samples import face_points
from codec_models.engines.shared_device import share
from codec_models.errors import UserError
from codec_models.network import NetworkReconstructor

pytestmark = pytest.mark.unit


def test_calls_on_a_processor_are_the_engines_own() -> None:
    batch = share(2, "onnx", config=BatchConfig(deadline=30.0, patience=60.0))
    calls, own = [batch.call(lookahead=None) for _ in range(2)], NetworkReconstructor(OnnxEngine())
    rng = np.random.default_rng(2)
    picture = np.kron(rng.integers(60, 190, (16, 16, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    face = FaceTick(rng.integers(60, 190, (8, 8, 3)).astype(np.uint8), None)
    for model in (*calls, own):
        model.set_identity(IdentityStill(picture, face_points()))
    for _ in range(2):
        expected = own.tick(face, None)
        assert all(np.array_equal(call.tick(face, None), expected) for call in calls)
    assert calls[0].backend == "onnxruntime fp32 + teeth" and calls[0].device == "cpu"
    batch.close()


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_tensorrt_wants_a_gpu() -> None:
    with pytest.raises(UserError, match="needs an NVIDIA GPU"):
        share(1, "tensorrt")


def test_a_backend_that_is_none() -> None:
    with pytest.raises(UserError, match="no backend called abacus"):
        share(1, "abacus")


def test_where_tensorrt_is_missing_it_is_said_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="a GPU is used through torch: pip install -e '.[training]'")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(shared_device, "has_gpu", lambda: True)
    with pytest.raises(UserError, match="TensorRT is not there"):
        share(1, "tensorrt")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU, which is used then")
    said: list[str] = []
    with pytest.raises(UserError, match="no NVIDIA GPU that torch can use"):
        share(1, "auto", said.append)
    assert len(said) == 1 and said[0].startswith("torch in place of TensorRT: TensorRT is not there")


@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu(), reason="needs an NVIDIA GPU that torch can use")
def test_a_gpu_is_taken() -> None:
    said: list[str] = []
    batch = share(2, "torch", said.append)
    assert batch.call().device.startswith("cuda") and not said
    batch.close()
