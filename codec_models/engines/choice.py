"""Which engine runs here: the one that was asked for, or the quickest that works.

Every engine is compared with torch's numbers before it serves (`parity.py`); one that cannot run or computes something
else is left out, and said to be.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from dataclasses import dataclass

from ..errors import UserError
from .engine import Engine
from .parity import verify

BACKENDS = ("auto", "torch", "onnx", "openvino")
PRECISIONS = ("fp32", "bf16", "int8")


@dataclass(frozen=True, slots=True)
class Candidate:
    """name: as in `BACKENDS`; what: runtime and device, for people; make: the engine, for a precision or its best."""

    name: str
    what: str
    make: Callable[[str | None, int], Engine]


def candidates() -> Iterator[Candidate]:
    """All engines, the quickest first; one that lacks its packages raises ImportError when it is made."""
    yield Candidate("torch", "torch on the GPU", _torch_cuda)
    yield Candidate("openvino", "OpenVINO", _openvino)
    yield Candidate("torch", "torch", _torch_cpu)
    yield Candidate("onnx", "ONNX Runtime", _onnx)


def choose(
    backend: str = "auto",
    say: Callable[[str], None] = lambda line: None,
    precision: str | None = None,
    threads: int | None = None,
) -> Engine:
    """An engine that computes what torch does. backend: of `BACKENDS`; precision: of `PRECISIONS`, None for the best
    here. threads: of a CPU, None for half of its cores (the rest of the call needs the others).

    `say` gets a line for each quicker engine that is installed and cannot be used. Raises UserError where none works,
    or not the one that was asked for by name.
    """
    if backend not in BACKENDS:
        raise UserError(f"no backend called {backend}; known are {', '.join(BACKENDS)}")
    if precision is not None and precision not in PRECISIONS:
        raise UserError(f"no precision called {precision}; known are {', '.join(PRECISIONS)}")
    threads = threads or max(1, min(4, (os.cpu_count() or 2) // 2))
    missing, failed = [], []
    for candidate in candidates():
        if backend not in ("auto", candidate.name):
            continue
        try:
            engine = candidate.make(precision, threads)
            verify(engine)
            return engine
        except NotHere:
            continue
        except ImportError as e:
            missing.append(f"{candidate.what} needs the package {(e.name or 'of that name').split('.')[0]}")
        except UserError as e:
            failed.append(f"{candidate.what}: {e}")
            say(f"not used: {failed[-1]}")
    reasons = "; ".join([*failed, *missing]) or "none for this device"
    hint = "pip install 'pinhole-call[receiver]'" if missing else "choose another --backend or --precision"
    raise UserError(f"no runtime for the networks works here ({reasons}): {hint}")


class NotHere(Exception):
    """This machine has not the device."""


def has_gpu() -> bool:
    """Whether torch can use an NVIDIA GPU; a driver is looked for first, as to load torch takes seconds."""
    if not any(find_library(name) for name in ("cuda", "nvcuda")):
        return False
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def _torch_cuda(precision: str | None, threads: int) -> Engine:
    if not has_gpu():
        raise NotHere
    return _torch(precision, threads, "cuda")


def _torch_cpu(precision: str | None, threads: int) -> Engine:
    return _torch(precision, threads, "cpu")


def _torch(precision: str | None, threads: int, device: str) -> Engine:
    # read when torch is loaded: threads that wait must not take the cores from the rest of the call
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if precision == "int8":
        raise UserError("the precisions of torch are fp32 and bf16")
    from .torch_engine import TorchEngine

    return TorchEngine(device=device, bfloat16=None if precision is None else precision == "bf16", threads=threads)


def _openvino(precision: str | None, threads: int) -> Engine:
    from .openvino_engine import OpenVinoEngine, native_precision

    return OpenVinoEngine(precision or native_precision(), threads)


def _onnx(precision: str | None, threads: int) -> Engine:
    if precision not in (None, "fp32"):
        raise UserError("the precision of ONNX Runtime is fp32")
    from .onnx_engine import OnnxEngine

    return OnnxEngine(threads)
