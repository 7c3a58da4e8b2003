"""TensorRT itself: building an engine from an ONNX network, and running one. For the Python API of versions 10 and 11.

Of the API only what both have and neither deprecates: strongly typed networks, named tensors, `execute_async_v3`. In
11 networks are always strongly typed and the flag for it is ignored, so it is given to 10 alone (migration guide from
10.x to 11.x). torch holds the memory.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .engine import Shape

Say = Callable[[str], None]
VERSIONS = (10, 11)
WORKSPACE = 2 << 30
"""Bytes that a building may try kernels in."""
_TYPES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "INT8": torch.int8,
    "UINT8": torch.uint8,
    "BOOL": torch.bool,
}


class TensorRTError(RuntimeError):
    """TensorRT could not build or run; one line."""


def load_tensorrt() -> Any:
    """The module `tensorrt`. Raises UserError where it is not installed, or another version is."""
    try:
        module = importlib.import_module("tensorrt")
    except (ImportError, OSError) as e:
        reason = str(e).strip().splitlines()[-1] if str(e).strip() else "it cannot be loaded"
        raise UserError(f"TensorRT is not there ({reason}): pip install tensorrt") from None
    version = str(getattr(module, "__version__", "0"))
    if _major(module) not in VERSIONS:
        raise UserError(f"TensorRT {version} is installed, 10 or 11 is needed: pip install 'tensorrt>=10,<12'")
    return module


def build(
    trt: Any, model: bytes, shapes: Mapping[str, Shape], batches: tuple[int, int, int], show: Callable[[str], None]
) -> bytes:
    """An engine from an ONNX network, its weights inside. shapes: of the inputs, without the batch axis; batches:
    least, usual and most rows. show: gets lines on how far it is. Raises TensorRTError.
    """
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    strongly = 0 if _major(trt) >= 11 else 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        errors = [str(parser.get_error(k).desc()) for k in range(parser.num_errors)]
        raise TensorRTError(f"its parser refuses the network ({_line(errors[0] if errors else 'no reason given')})")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
    # where 32 bits are asked for, coordinates need all of them
    rounding = getattr(trt.BuilderFlag, "TF32", None)
    if rounding is not None:
        config.clear_flag(rounding)
    profile = builder.create_optimization_profile()
    for k in range(network.num_inputs):
        name = network.get_input(k).name
        profile.set_shape(name, *((rows, *shapes[name]) for rows in batches))
    config.add_optimization_profile(profile)
    # must live as long as the building
    monitor = _monitor(trt, show)
    config.progress_monitor = monitor
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise TensorRTError("it could not build the network")
    return bytes(engine)


class Plan:
    """An engine, ready to run on a device. Raises TensorRTError where it cannot be loaded.

    Runs on the current stream, without waiting; a run can be captured in a CUDA graph once one of as many rows has been
    made. For each number of rows there is a context of its own, because a captured graph keeps its state.
    """

    def __init__(self, trt: Any, engine: bytes, device: str) -> None:
        self._trt, self._device = trt, torch.device(device)
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise TensorRTError("it does not take the engine")
        names = [self._engine.get_tensor_name(k) for k in range(self._engine.num_io_tensors)]
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        self.inputs = tuple(name for name in names if modes[name] == trt.TensorIOMode.INPUT)
        self.outputs = tuple(name for name in names if modes[name] == trt.TensorIOMode.OUTPUT)
        self._types = {name: _type(self._engine.get_tensor_dtype(name)) for name in names}
        self._contexts: dict[int, Any] = {}

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors on the device -> new ones there. Raises TensorRTError."""
        given = {name: inputs[name].to(self._types[name]).contiguous() for name in self.inputs}
        context = self._context(len(next(iter(given.values()))))
        for name, tensor in given.items():
            if not context.set_input_shape(name, tuple(tensor.shape)):
                raise TensorRTError(f"it does not take {name} of {tuple(tensor.shape)}")
            context.set_tensor_address(name, tensor.data_ptr())
        made = {}
        for name in self.outputs:
            shape = tuple(context.get_tensor_shape(name))
            made[name] = torch.empty(shape, dtype=self._types[name], device=self._device)
            context.set_tensor_address(name, made[name].data_ptr())
        if not context.execute_async_v3(self._stream()):
            raise TensorRTError("it did not run")
        return made

    def _context(self, rows: int) -> Any:
        if rows not in self._contexts:
            context = self._engine.create_execution_context()
            if context is None:
                raise TensorRTError(f"there is no memory on the device for {rows} rows")
            self._contexts[rows] = context
        return self._contexts[rows]

    def _stream(self) -> int:
        return int(torch.cuda.current_stream(self._device).cuda_stream) if self._device.type == "cuda" else 0


def _major(trt: Any) -> int:
    first = str(getattr(trt, "__version__", "0")).split(".")[0]
    return int(first) if first.isdigit() else 0


def _type(dtype: Any) -> torch.dtype:
    name = str(getattr(dtype, "name", dtype)).rsplit(".", 1)[-1]
    if name not in _TYPES:
        raise TensorRTError(f"it has tensors of type {name}")
    return _TYPES[name]


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


def _monitor(trt: Any, show: Callable[[str], None]) -> Any:
    """TensorRT calls it from threads of its own; phases lie within phases, the outermost is shown."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._outer: tuple[str, int] | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._outer = phase_name, num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if self._outer is not None and self._outer[0] == phase_name:
                show(f"{phase_name} {min(step + 1, self._outer[1])} of {self._outer[1]}")
            return True

        def phase_finish(self, phase_name: str) -> None:
            if self._outer is not None and self._outer[0] == phase_name:
                self._outer = None

    return Monitor()


def progress_line(title: str) -> Callable[[str], None]:
    """Shows how far a building is: one line that is redrawn on a terminal, nothing elsewhere."""

    def show(text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{title}: {text}\x1b[K")
            sys.stderr.flush()

    return show
