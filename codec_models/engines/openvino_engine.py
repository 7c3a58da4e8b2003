"""OpenVINO on a CPU: the quickest runtime there in float32, bfloat16 and 8-bit integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from ..errors import UserError
from ..memory import keep_memory
from .engine import NETWORKS, Arrays
from .files import FOLDER, checked, onnx_path
from .host_arrays import HostArrays

PRECISIONS = ("fp32", "bf16", "int8")


@dataclass(slots=True)
class _Compiled:
    """request: of one compiled network; given: the arrays that its inputs hold now, by name."""

    request: Any
    given: dict[str, NDArray[Any]]


class OpenVinoEngine(HostArrays):
    """precision: fp32, bf16, or int8: 8-bit integers where they were calibrated, and bf16 or fp32 elsewhere, whichever
    the processor computes in. threads: of the processor. folder: of the ONNX files and weights.

    What works on coordinates, and what runs once a still, is always in float32. Networks are compiled when they first
    run or by `load`. Raises UserError where the files are missing or do not belong together, and on a precision that
    the processor only emulates.
    """

    def __init__(self, precision: str = "fp32", threads: int = 1, folder: Path = FOLDER) -> None:
        keep_memory()
        self._core = openvino.Core()
        native = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision not in PRECISIONS:
            raise UserError(f"no precision called {precision}; known are {', '.join(PRECISIONS)}")
        if precision == "bf16" and "BF16" not in native:
            raise UserError("this processor does not compute in bfloat16: take fp32 or int8")
        self.backend = f"openvino {precision}"
        self._integers = precision == "int8"
        self._reduced = "bf16" if precision != "fp32" and "BF16" in native else "f32"
        self._threads, self._folder = threads, folder
        self._networks: dict[str, _Compiled] = {}

    def load(self, network: str) -> _Compiled:
        """Compile a network where that is not done yet. Raises UserError."""
        known = self._networks.get(network)
        if known is not None:
            return known
        signature = NETWORKS[network]
        integers = self._integers and onnx_path(network, True, self._folder).is_file()
        path = checked(network, integers, self._folder)
        exact = signature.exact or signature.once
        options = {
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32" if exact else self._reduced,
            # calls in other processes want the same cores
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model = self._core.read_model(path)
            model.reshape({name: [1, *shape] for name, shape in signature.inputs.items()})
            request = self._core.compile_model(model, "CPU", options).create_infer_request()
        except RuntimeError as e:
            raise UserError(f"OpenVINO cannot load {path} ({_first_line(e)})") from None
        self._networks[network] = made = _Compiled(request, {})
        return made

    def run(self, network: str, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        compiled, signature = self.load(network), NETWORKS[network]
        for name in signature.inputs:
            array = inputs[name]
            if compiled.given.get(name) is not array:
                # shared: not copied, and kept alive here as long as the request reads it
                compiled.request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
                compiled.given[name] = array
        compiled.request.infer()
        return {name: np.array(compiled.request.get_tensor(name).data) for name in signature.outputs}


def native_precision() -> str:
    """The quickest that costs no quality worth mentioning, as the plugin says what this processor computes in."""
    native = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in native else "int8" if "INT8" in native else "fp32"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
