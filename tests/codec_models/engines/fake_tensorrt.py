"""A TensorRT of our own, as far as we use it: it checks the order and the arguments of calls, and computes.

An engine of it is the ONNX network itself; `execute_async_v3` runs that with ONNX Runtime on the memory at the
addresses that were set. `wrong` is added to what comes out under a name: an engine that is silently wrong.
"""

from __future__ import annotations

import ctypes
import json
from enum import Enum
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

_MAGIC = b"FAKE ENGINE "
_TYPES = {"tensor(float)": ("FLOAT", np.float32), "tensor(int64)": ("INT64", np.int64)}


class TensorIOMode(Enum):
    INPUT, OUTPUT = 1, 2


class DataType(Enum):
    FLOAT, INT64, FP8 = 1, 2, 3


class NetworkDefinitionCreationFlag(Enum):
    STRONGLY_TYPED = 1

    def __int__(self) -> int:
        return self.value


class MemoryPoolType(Enum):
    WORKSPACE = 1


class BuilderFlag(Enum):
    TF32 = 1


class IProgressMonitor:
    def __init__(self) -> None:
        self.made = True


class Logger:
    ERROR = 1

    def __init__(self, severity: int) -> None:
        assert severity == self.ERROR


class Error:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class Named:
    def __init__(self, name: str) -> None:
        self.name = name


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.content: bytes | None = None
        self.names: list[str] = []

    @property
    def num_inputs(self) -> int:
        return len(self.names)

    def get_input(self, index: int) -> Named:
        return Named(self.names[index])


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, name: str, least: Any, usual: Any, most: Any) -> None:
        assert len(least) == len(usual) == len(most) and least[1:] == usual[1:] == most[1:]
        assert least[0] <= usual[0] <= most[0]
        self.shapes[name] = [list(least), list(usual), list(most)]


class Config:
    def __init__(self) -> None:
        self.profiles: list[Profile] = []
        self.workspace = 0
        self.cleared: list[BuilderFlag] = []
        self.progress_monitor: Any = None

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        assert pool is MemoryPoolType.WORKSPACE
        self.workspace = size

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.cleared.append(flag)

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1


class FakeTensorRT:
    """The module. version: 10 wants the flag for strong typing, 11 must not be given it. builds: what was built."""

    Logger, TensorIOMode, DataType = Logger, TensorIOMode, DataType
    NetworkDefinitionCreationFlag, MemoryPoolType = NetworkDefinitionCreationFlag, MemoryPoolType
    BuilderFlag, IProgressMonitor = BuilderFlag, IProgressMonitor

    def __init__(self, version: str = "10.13.3", wrong: dict[str, float] | None = None) -> None:
        self.__version__ = version
        self.wrong = wrong or {}
        self.wrong_only_half = False
        self.parser_error: str | None = None
        self.builds: list[Config] = []
        self.runs: list[int] = []
        self.contexts = 0
        self.stop_building = False
        outer = self

        class Builder:
            def __init__(self, logger: Logger) -> None:
                assert isinstance(logger, Logger)

            def create_network(self, flags: int = 0) -> Network:
                assert flags == (2 if outer.__version__.startswith("10.") else 0)
                return Network(flags)

            def create_builder_config(self) -> Config:
                return Config()

            def create_optimization_profile(self) -> Profile:
                return Profile()

            def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
                assert network.content is not None, "nothing was parsed"
                assert config.workspace > 0 and config.cleared == [BuilderFlag.TF32]
                (profile,) = config.profiles
                assert set(profile.shapes) == set(network.names)
                monitor = config.progress_monitor
                assert monitor.made
                monitor.phase_start("Building", None, 2)
                monitor.phase_start("Inner", "Building", 5)
                assert monitor.step_complete("Inner", 0) and monitor.step_complete("Building", 0)
                monitor.phase_finish("Inner")
                monitor.phase_finish("Building")
                outer.builds.append(config)
                if outer.stop_building:
                    return None
                most = {name: shapes[2][0] for name, shapes in profile.shapes.items()}
                return _MAGIC + json.dumps(most).encode() + b"\n" + network.content

        class OnnxParser:
            def __init__(self, network: Network, logger: Logger) -> None:
                self._network = network
                self._errors: list[Error] = []

            @property
            def num_errors(self) -> int:
                return len(self._errors)

            def get_error(self, index: int) -> Error:
                return self._errors[index]

            def parse(self, content: bytes) -> bool:
                assert isinstance(content, bytes)
                if outer.parser_error is not None:
                    self._errors.append(Error(outer.parser_error))
                    return False
                self._network.content = content
                self._network.names = [i.name for i in session(content).get_inputs()]
                return True

        class Runtime:
            def __init__(self, logger: Logger) -> None:
                assert isinstance(logger, Logger)

            def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
                return Engine(outer, data) if data.startswith(_MAGIC) else None

        self.Builder, self.OnnxParser, self.Runtime = Builder, OnnxParser, Runtime


def session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # as it is written, so that 16 bits are 16 bits
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class Engine:
    def __init__(self, outer: FakeTensorRT, data: bytes) -> None:
        self.outer = outer
        head, self.content = data[len(_MAGIC) :].split(b"\n", 1)
        self.most: dict[str, int] = json.loads(head)
        self.session = session(self.content)
        self.inputs = {i.name: i for i in self.session.get_inputs()}
        self.outputs = {o.name: o for o in self.session.get_outputs()}

    @property
    def num_io_tensors(self) -> int:
        return len(self.inputs) + len(self.outputs)

    def get_tensor_name(self, index: int) -> str:
        return [*self.inputs, *self.outputs][index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[_TYPES[{**self.inputs, **self.outputs}[name].type][0]]

    def create_execution_context(self) -> Context:
        self.outer.contexts += 1
        return Context(self)


class Context:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._made: dict[str, NDArray[Any]] | None = None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        wanted = self._engine.inputs[name].shape
        if len(shape) != len(wanted) or any(isinstance(w, int) and w != s for w, s in zip(wanted, shape, strict=True)):
            return False
        if not 1 <= shape[0] <= self._engine.most[name]:
            return False
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> None:
        assert isinstance(address, int) and address
        assert name in self._shapes or name in self._engine.outputs, "the shape comes first"
        self._addresses[name] = address

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Of an output, once all inputs are there; here that takes a run."""
        assert set(self._shapes) == set(self._engine.inputs)
        given = {n: _at(self._addresses[n], s, _TYPES[self._engine.inputs[n].type][1]) for n, s in self._shapes.items()}
        names = list(self._engine.outputs)
        self._made = dict(zip(names, self._engine.session.run(names, given), strict=True))
        return tuple(self._made[name].shape)

    def execute_async_v3(self, stream: int) -> bool:
        assert isinstance(stream, int) and self._made is not None
        assert set(self._addresses) == {*self._engine.inputs, *self._engine.outputs}
        outer = self._engine.outer
        half = b".as_half" in self._engine.content
        for name, value in self._made.items():
            out = _at(self._addresses[name], value.shape, value.dtype.type)
            out[...] = value
            if half or not outer.wrong_only_half:
                out += np.asarray(outer.wrong.get(name, 0), out.dtype)
        outer.runs.append(next(iter(self._shapes.values()))[0])
        self._made = None
        return True


def _at(address: int, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    size = max(int(np.prod(shape)) * np.dtype(dtype).itemsize, 1)
    memory = (ctypes.c_byte * size).from_address(address)
    return np.frombuffer(memory, dtype, int(np.prod(shape))).reshape(shape)
