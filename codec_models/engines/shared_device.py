"""A device for one call or many, whatever is here: a GPU with graphs, on TensorRT or torch; else a CPU, any engine."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import UserError
from .batch import Batch, BatchConfig
from .choice import choose, has_gpu
from .serial_tick import SerialTick

BACKENDS = ("auto", "torch", "onnx", "openvino", "tensorrt")
GPU_BACKENDS = ("auto", "torch", "tensorrt")
_TYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
Say = Callable[[str], None]


def share(
    calls: int,
    backend: str = "auto",
    say: Say = lambda line: None,
    precision: str | None = None,
    config: BatchConfig | None = None,
) -> Batch:
    """A batch with room for so many calls. backend: of `BACKENDS`; auto takes a GPU where there is one, there TensorRT
    where it is installed and right. precision: fp32, bf16, fp16 on a GPU; elsewhere as in `choice.choose`.

    `say` gets a line for what is quicker and cannot be used. Raises UserError where nothing works, or not what was
    asked for by name.
    """
    if backend not in BACKENDS:
        raise UserError(f"no backend called {backend}; known are {', '.join(BACKENDS)}")
    if backend in GPU_BACKENDS and precision in (None, *_TYPES) and has_gpu():
        return _on_gpu(calls, backend, say, precision, config)
    if backend == "tensorrt":
        raise UserError("TensorRT needs an NVIDIA GPU that torch can use, in fp16 or fp32: choose another backend")
    return Batch(SerialTick(choose(backend, say, precision), calls), config)


def _on_gpu(calls: int, backend: str, say: Say, precision: str | None, config: BatchConfig | None) -> Batch:
    import torch

    from .device_tick import MOST, DeviceTick, DeviceTickConfig
    from .tensorrt_engine import Builder, tensorrt_core

    core = None
    if backend != "torch" and precision != "bf16":
        try:
            core = tensorrt_core(Builder(half=precision != "fp32", say=say), min(calls, MOST))
        except UserError as e:
            if backend == "tensorrt":
                raise
            say(f"torch in place of TensorRT: {e}")
    if core is None and backend == "tensorrt":
        raise UserError("TensorRT does not compute here what torch does: choose another backend")
    dtype = None if precision is None else getattr(torch, _TYPES[precision])
    return Batch(DeviceTick(calls, DeviceTickConfig("cuda", dtype), core, say), config)
