"""What the machine could do at best, measured; and what a network asks of it, counted.

The peak of arithmetic is that of a large matrix product (the best of some sizes), the peak of memory that of a large
copy, in torch, on the same threads and in the same precision. A runtime that multiplies better than torch, or saves
multiplications in 3x3 convolutions (Winograd), can be beyond it.

Work is counted on torch in float32 with one row: GFLOP (2 for a multiplication and an addition) of convolutions and
products; MB that must be moved at least (weights, inputs, outputs), and that are moved when every operation reads and
writes by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import Row
from codec_models.engines.device_tick import sample_inputs
from codec_models.engines.engine import NETWORKS
from codec_models.engines.graphs import teeth_graphs, upsampler_graphs
from codec_models.engines.samples import chain, host_inputs
from codec_models.engines.torch_engine import TorchEngine
from codec_models.engines.whole_tick import WholeTick

WHOLE_TICK = "whole tick"

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_SIDES, _SIDES_GPU = (512, 1024, 2048), (4096, 8192)
PEAK_S = 0.5
_COPY, _COPY_GPU = 64 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class Work:
    """Of one row. gflop; mb_least, mb_moved: see the module."""

    gflop: float
    mb_least: float
    mb_moved: float


def work(module: nn.Module, inputs: Mapping[str, Tensor]) -> Work:
    """What a network asks for with these inputs, of one row, in their order."""
    given = tuple(inputs.values())
    with torch.no_grad(), FlopCounterMode(display=False) as counter, _Traffic() as traffic:
        made = module(*given)
    parts = [*given, *tree_leaves(made), *module.parameters()]
    return Work(counter.get_total_flops() / 1e9, sum(t.nbytes for t in parts) / 1e6, traffic.bytes / 1e6)


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what operations read and write; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        alias = [r.alias_info for r in func._schema.returns]
        if not any(a is not None and not a.is_write for a in alias):
            self.bytes += sum(t.nbytes for t in tree_leaves((args, kwargs, made)) if isinstance(t, Tensor))
        return made


class Peaks:
    """Measured when first asked for. seconds: that each takes, `PEAK_S` by default."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = PEAK_S if seconds is None else seconds
        self._gflops: dict[tuple[str, str], float | None] = {}
        self._copies: dict[str, float] = {}

    def gflops(self, device: str, precision: str) -> float | None:
        """GFLOP/s of a matrix product; None where torch has none in this precision (int8 on most CPUs)."""
        key = device, precision
        if key not in self._gflops:
            self._gflops[key] = self._product(device, precision)
        return self._gflops[key]

    def gbytes(self, device: str) -> float:
        """GB/s that a copy reads and writes together."""
        if device not in self._copies:
            size = _COPY if device == "cpu" else _COPY_GPU
            source = torch.zeros(size, dtype=torch.uint8, device=device)
            into = torch.empty_like(source)
            self._copies[device] = 2 * size / self._best(lambda: into.copy_(source), device) / 1e9
        return self._copies[device]

    def _product(self, device: str, precision: str) -> float | None:
        found = [self._of_side(side, device, precision) for side in (_SIDES if device == "cpu" else _SIDES_GPU)]
        return max((f for f in found if f is not None), default=None)

    def _of_side(self, side: int, device: str, precision: str) -> float | None:
        if precision != "int8":
            a = torch.ones(side, side, dtype=_TYPES[precision], device=device)
            into = torch.empty_like(a)
            return 2 * side**3 / self._best(lambda: torch.mm(a, a, out=into), device) / 1e9
        whole = torch.ones(side, side, dtype=torch.int8, device=device)
        try:
            torch._int_mm(whole, whole)
        except (RuntimeError, NotImplementedError):
            return None
        return 2 * side**3 / self._best(lambda: torch._int_mm(whole, whole), device) / 1e9

    def _best(self, action: Callable[[], Any], device: str) -> float:
        """Seconds of the quickest run."""
        best, end = float("inf"), time.perf_counter() + self._seconds
        while best == float("inf") or time.perf_counter() < end:
            began = time.perf_counter()
            action()
            if device != "cpu":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - began)
        return best


@dataclass(frozen=True, slots=True)
class Limit:
    """gflop, mb_least, mb_moved of a row; gflops, gbytes a second of the machine, None where not known."""

    gflop: float
    mb_least: float
    mb_moved: float
    gflops: float | None
    gbytes: float

    def shares(self, ms: float) -> Row:
        """How much of what could be done is done, where a row takes so long: of the peak of arithmetic, and of the
        time that arithmetic and memory would take at their peaks, whichever is more.
        """
        made: Row = {"gflop": self.gflop, "mb_least": self.mb_least, "mb_moved": self.mb_moved}
        if self.gflops is not None:
            least = max(self.gflop / self.gflops, self.mb_least / 1e3 / self.gbytes) * 1e3
            made |= {
                "share_of_peak": self.gflop / (ms / 1e3) / self.gflops,
                "limit_ms": least,
                "share_of_limit": least / ms,
            }
        return made


class Limits:
    """What each network asks for, counted once on torch; and the machine's peaks."""

    def __init__(self) -> None:
        self.peaks = Peaks()
        self._work: dict[str, Work] = {}

    def of(self, network: str, device: str, precision: str) -> Limit:
        if not self._work:
            self._count()
        w = self._work[network]
        kind = "cpu" if device == "cpu" else "cuda"
        return Limit(w.gflop, w.mb_least, w.mb_moved, self.peaks.gflops(kind, precision), self.peaks.gbytes(kind))

    def _count(self) -> None:
        engine = TorchEngine(bfloat16=False, threads=1)
        inputs, _ = chain(engine, host_inputs())
        for network in NETWORKS:
            self._work[network] = work(engine.load(network), inputs[network])
        whole = WholeTick({**upsampler_graphs(), **teeth_graphs()}).eval()
        self._work[WHOLE_TICK] = work(whole, sample_inputs(engine, whole, 1))
