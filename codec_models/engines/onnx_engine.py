"""ONNX Runtime on a CPU: runs nearly everywhere, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from ..errors import UserError
from .engine import NETWORKS, Arrays
from .files import FOLDER, checked
from .host_arrays import HostArrays


class OnnxEngine(HostArrays):
    """In float32. threads, folder: as in `OpenVinoEngine`.

    Networks are loaded when they first run or by `load`. Raises UserError where the files are missing or do not belong
    together.
    """

    backend = "onnxruntime fp32"

    def __init__(self, threads: int = 1, folder: Path = FOLDER) -> None:
        self._threads, self._folder = threads, folder
        self._networks: dict[str, onnxruntime.InferenceSession] = {}

    def load(self, network: str) -> onnxruntime.InferenceSession:
        """Load a network where that is not done yet. Raises UserError."""
        known = self._networks.get(network)
        if known is not None:
            return known
        path = checked(network, folder=self._folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        options.add_free_dimension_override_by_name("batch", 1)
        # threads that wait must not take the cores from the rest of the call
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as e:  # its own errors derive from Exception alone
            raise UserError(f"onnxruntime cannot load {path} ({str(e).strip().splitlines()[-1][:200]})") from None
        self._networks[network] = session
        return session

    def run(self, network: str, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        signature = NETWORKS[network]
        made = self.load(network).run(list(signature.outputs), {name: inputs[name] for name in signature.inputs})
        return dict(zip(signature.outputs, made, strict=True))
