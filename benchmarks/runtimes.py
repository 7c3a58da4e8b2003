"""The runtimes that are measured, each precision by itself, or the reason why one is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from codec_models.engines.engine import Engine
from codec_models.errors import UserError

BACKENDS = ("torch", "onnx", "openvino", "tensorrt")


@dataclass(frozen=True, slots=True)
class Runtime:
    """backend: of `BACKENDS`. make: the engine, on so many threads of a CPU; raises ImportError, UserError. gpu: it
    runs on one. together: whether several calls can be in one batch.
    """

    backend: str
    precision: str
    make: Callable[[int], Engine]
    gpu: bool = False
    together: bool = False

    @property
    def name(self) -> str:
        return f"{self.backend} {self.precision}{' on a GPU' if self.gpu else ''}"


@dataclass(frozen=True, slots=True)
class Missing:
    """What was not measured, and why."""

    name: str
    reason: str


def runtimes(backends: Sequence[str] = BACKENDS) -> list[Runtime]:
    """All that there is code for, of these backends."""
    return [r for r in _all() if r.backend in backends]


def _all() -> Iterator[Runtime]:
    for precision in ("fp32", "bf16"):
        yield Runtime("torch", precision, lambda threads, p=precision: _torch(p, threads), together=True)  # type: ignore[misc]
    yield Runtime("onnx", "fp32", _onnx)
    for precision in ("fp32", "bf16", "int8"):
        yield Runtime("openvino", precision, lambda threads, p=precision: _openvino(p, threads))  # type: ignore[misc]
    for precision in ("fp32", "bf16", "fp16"):
        yield Runtime("torch", precision, lambda threads, p=precision: _torch_gpu(p), gpu=True, together=True)  # type: ignore[misc]
    yield Runtime("tensorrt", "fp16", lambda threads: _tensorrt(), gpu=True, together=True)


def _torch(precision: str, threads: int) -> Engine:
    from codec_models.engines.torch_engine import TorchEngine
    from codec_models.precision import has_bfloat16

    if precision == "bf16" and not has_bfloat16("cpu"):
        raise UserError("this processor does not compute in bfloat16")
    return TorchEngine(bfloat16=precision == "bf16", threads=threads)


def _onnx(threads: int) -> Engine:
    from codec_models.engines.onnx_engine import OnnxEngine

    return OnnxEngine(threads)


def _openvino(precision: str, threads: int) -> Engine:
    from codec_models.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(precision, threads)


def _torch_gpu(precision: str) -> Engine:
    import torch

    from codec_models.engines.torch_engine import TorchEngine

    if not torch.cuda.is_available():
        raise UserError("there is no NVIDIA GPU that torch can use")
    if precision == "fp16":
        raise UserError("network by network torch has fp32 and bf16; fp16 is the whole tick's")
    return TorchEngine(device="cuda", bfloat16=precision == "bf16")


def _tensorrt() -> Engine:
    from codec_models.engines.tensorrt_engine import TensorRTEngine

    return TensorRTEngine()
