"""Ticks of several calls on one device, together: all that a call needs between two ticks stays there.

A call has a slot: features of its still, its reference mouth, its gate. A batch gathers those of its calls, runs the
whole tick (`whole_tick.py`) and puts the gates back. In: 9 kB a call; out: the picture's bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import UserError
from ..teeth import LIVE as LIVE_TEETH
from ..teeth import TeethConfig
from ..upsampler import LIVE, UpsamplerConfig
from .agreement import check_agreement
from .cuda_graph import CapturedTick, EagerTick, SizedTick
from .device_memory import free_memory
from .engine import IDENTITY, Arrays
from .graphs import DETAIL, teeth_graphs, upsampler_graphs
from .recorded import recorded
from .samples import host_inputs
from .tick_row import ROW, TickRow, divided
from .torch_engine import TorchEngine
from .whole_tick import WHOLE, WholeTick, absent_reference, shown

Core = Callable[..., tuple[Tensor, Tensor, Tensor]]
"""Tensors in the order of `WHOLE` -> picture, new gate, points."""
Say = Callable[[str], None]
_EXACT = ("still_points", "still_low", "still_hints")
_NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
MOST = 256
"""Rows in a batch."""


@dataclass(frozen=True, slots=True)
class DeviceTickConfig:
    """dtype: of convolutions and products; None: float16 on a GPU, then bfloat16, then float32, the first that agrees
    with float32 on a CPU (`agreement.py`), and on a CPU as `TorchEngine` has it. sizes: of batches, ascending; a batch
    is filled up to the next one. None: powers of two up to the slots on a GPU; all on a CPU, where filling up costs.
    weights, teeth, their configs and detail: as in `TorchEngine`. compiled: run through torch.compile as well.
    """

    device: str = "cpu"
    dtype: torch.dtype | None = None
    sizes: tuple[int, ...] | None = None
    weights: Path | None = None
    config: UpsamplerConfig = field(default_factory=lambda: LIVE)
    teeth: Path | None = None
    teeth_config: TeethConfig = field(default_factory=lambda: LIVE_TEETH)
    detail: float = DETAIL
    compiled: bool = False


class DeviceTick:
    """slots: calls that have room. core: runs the whole tick in place of torch, for any batch size, on the current
    stream; it is not checked here. say: gets one line where something cannot be had. One thread at a time.

    Raises UserError where the weights cannot be used or the device has no room.
    """

    def __init__(
        self, slots: int, config: DeviceTickConfig | None = None, core: tuple[str, Core] | None = None, say: Say = print
    ) -> None:
        self._config = config = config or DeviceTickConfig()
        if not slots >= 1:
            raise ValueError(f"{slots} slots: at least 1")
        self.slots, self.device, self._say = slots, config.device, say
        self._device = torch.device(config.device)
        self._gpu = self._device.type == "cuda"
        if self._gpu and not torch.cuda.is_available():
            raise UserError("no NVIDIA GPU that torch can use: use another device, or install torch for CUDA")
        self.sizes = config.sizes or _sizes(slots, self._gpu)
        self._stream: Any = torch.cuda.Stream(self._device) if self._gpu else None  # type: ignore[no-untyped-call]
        with self._on_stream():
            self._choose(core)
            self._furnish()
            self._ready: dict[int, SizedTick] = {}
            pool = torch.cuda.graph_pool_handle() if self._gpu else None
            # the largest first: what it takes serves the others
            for size in reversed(self.sizes):
                self._ready[size] = self._prepared(size, pool)

    @property
    def slot_bytes(self) -> int:
        """Memory of the device that a call takes, beside the stills that it keeps (`still_bytes` each)."""
        return sum(bank[0].nbytes for bank in (*self._banks.values(), *self._beside.values(), self._gates))

    @property
    def still_bytes(self) -> int:
        return sum(bank[0].nbytes for bank in self._banks.values())

    def free_memory(self) -> int | None:
        """Bytes of the device, or of the machine, that are free; None where that is not known."""
        return free_memory(self._device)

    @torch.no_grad()
    def run(self, network: str, inputs: Mapping[str, Any]) -> Arrays:
        """A network that runs once a still, on arrays of the host or the device -> on the device, for `exchange`."""
        with self._on_stream():
            made = self._engine.run(network, {name: self.array(value) for name, value in inputs.items()})
            if network == "still":
                made = {name: self._kept(name, value) for name, value in made.items()}
            self._wait()
            return made

    def array(self, values: Any) -> Tensor:
        return values if isinstance(values, Tensor) else self._engine.array(np.asarray(values, np.float32))

    def numpy(self, array: Any) -> NDArray[Any]:
        with self._on_stream():
            return array if isinstance(array, np.ndarray) else self._engine.numpy(array)

    @torch.no_grad()
    def exchange(self, slot: int, identity: Arrays | None, reference: Arrays | None) -> None:
        """Give a slot another still, of the network `still`, or another reference mouth, of the network `teeth_still`;
        an empty one takes it away. None: it stays.
        """
        with self._on_stream():
            if identity is not None:
                for name, bank in self._banks.items():
                    bank[slot].copy_(identity[name][0])
            if reference is not None:
                for name, bank in self._beside.items():
                    if name == "known":
                        bank[slot] = float(bool(reference))
                    elif reference:
                        bank[slot].copy_(reference[name][0])
                    else:
                        bank[slot].copy_(self._absent if name == "reference" else bank[slot] * 0)

    @torch.no_grad()
    def draw(self, rows: Sequence[TickRow], stay: bool = False) -> Sequence[Any]:
        """The next tick of each row's call -> pictures (256, 256, 3) uint8 in their order, of the host or, with stay,
        of the device. Each slot once, as many rows as fit in the largest batch.
        """
        with self._on_stream():
            for row in rows:
                self.exchange(row.slot, row.identity, row.reference)
            size = next(size for size in self.sizes if size >= len(rows))
            tick = self._ready[size]
            into = tick.rows.numpy()
            for k, row in enumerate(rows):
                into[k, :-1], into[k, -1] = row.values, row.slot
            into[len(rows) :] = self._idle
            pictures = tick.run(len(rows), stay)
        return list(pictures if stay else pictures.numpy())

    def _choose(self, core: tuple[str, Core] | None) -> None:
        """The core, and the engine that runs what is run once a still."""
        config = self._config
        exact = self._networks(torch.float32, "cpu")
        inputs = sample_inputs(self._stills("cpu", False), exact)
        if core is not None:
            backend, self._core = core
            self.backend, self._kept_as = backend, torch.float32
            self._engine = self._stills(config.device, False)
        else:
            cpu_default = torch.bfloat16 if "bf16" in TorchEngine().backend else torch.float32
            wanted = [config.dtype] if config.dtype else [torch.float16, torch.bfloat16, torch.float32]
            for dtype in wanted if self._gpu or config.dtype else [cpu_default]:
                model = self._networks(dtype, config.device)
                self.backend = f"torch {_NAMES[dtype]}"
                self._kept_as = torch.float32 if dtype is torch.float32 else torch.float16
                self._engine = self._stills(config.device, dtype is torch.bfloat16)
                self._core = torch.compile(model) if config.compiled else model
                try:
                    self._check(exact, model, inputs)
                    break
                except UserError as e:
                    if dtype is wanted[-1]:
                        raise
                    self._say(f"{e}; trying the next precision")
        self._absent = absent_reference(exact.teeth.model).to(self._device)
        self._sample = inputs

    def _stills(self, device: str, bfloat16: bool) -> TorchEngine:
        c = self._config
        return TorchEngine(c.weights, c.config, device, bfloat16, c.teeth, c.teeth_config, detail=c.detail)

    def _networks(self, dtype: torch.dtype, device: str) -> WholeTick:
        c = self._config
        graphs = {**upsampler_graphs(c.weights, c.config), **teeth_graphs(c.teeth, c.teeth_config, detail=c.detail)}
        return WholeTick(graphs, dtype).to(device).eval()

    @torch.no_grad()
    def _check(self, exact: WholeTick, model: WholeTick, inputs: Mapping[str, Tensor]) -> None:
        if exact.dtype is model.dtype and not self._gpu:
            return
        given = [self._kept(name, inputs[name].to(self._device)) for name in WHOLE.inputs]
        results = [exact(*(inputs[name] for name in WHOLE.inputs)), model(*given)]
        right, made = ({n: v.float().cpu().numpy() for n, v in zip(WHOLE.outputs, r, strict=True)} for r in results)
        check_agreement(f"the tick with {self.backend} on {self.device}", made, right)

    def _kept(self, name: str, value: Tensor) -> Tensor:
        """Of a still: features that a still has for every pixel, in 16 bits where the networks compute in those."""
        return value.to(self._kept_as) if name in IDENTITY and name not in _EXACT else value

    def _furnish(self) -> None:
        """Room for all slots and one more, for rows that fill a batch up."""
        count = self.slots + 1
        identity = {name: self._kept(name, self._sample[name][:1]) for name in IDENTITY}
        need = count * (sum(t.nbytes for t in identity.values()) + self._absent.nbytes)
        free = self.free_memory()
        if free is not None and need > free:
            raise UserError(
                f"{self.slots} calls take {need >> 20} MB of {self.device}, {free >> 20} MB are free: allow fewer calls"
            )

        def room(like: Tensor) -> Tensor:
            return like.to(self._device).repeat(count, *[1] * (like.dim() - 1))

        self._banks = {name: room(value) for name, value in identity.items()}
        zeros = torch.zeros(1)
        self._beside = {name: room(zeros) for name in ("redness", "yaw", "known")}
        self._beside["reference"] = room(self._absent[None].cpu())
        self._gates = room(zeros)
        self._idle = np.zeros(ROW + 1, np.float32)
        self._idle[-1] = self.slots

    def _prepared(self, size: int, pool: Any) -> SizedTick:
        rows = torch.from_numpy(np.tile(self._idle, (size, 1)))
        if not self._gpu:
            return EagerTick(self._body(self._core), rows, self._device)
        try:
            core = self._core
            if isinstance(core, WholeTick):
                core = recorded(core, self._inputs(rows.to(self._device))[0])
            return CapturedTick(self._body(core), rows, self._device, self._stream, pool)
        except RuntimeError as e:
            reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
            self._say(f"a batch of {size} runs without a CUDA graph, more slowly ({reason})")
            return EagerTick(self._body(self._core), rows, self._device)

    def _inputs(self, rows: Tensor) -> tuple[list[Tensor], Tensor]:
        """Those of the core in their order, and the slots (size,)."""
        given, slots = divided(rows)
        begins, gates = given.pop("begins"), self._gates.index_select(0, slots)
        # not `where` with a number, which would be copied from the host
        given["gate"] = gates * (1 - begins) - begins
        for name, bank in (*self._beside.items(), *self._banks.items()):
            given[name] = bank.index_select(0, slots)
        return [given[name] for name in WHOLE.inputs], slots

    def _body(self, core: Core) -> Callable[[Tensor], Tensor]:
        @torch.no_grad()
        def body(rows: Tensor) -> Tensor:
            given, slots = self._inputs(rows)
            picture, gate, _ = core(*given)
            self._gates.index_copy_(0, slots, gate)
            return shown(picture)

        return body

    def _on_stream(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _wait(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()


def _sizes(slots: int, gpu: bool) -> tuple[int, ...]:
    most = min(slots, MOST)
    if not gpu:
        return tuple(range(1, most + 1))
    return (*(1 << k for k in range(most.bit_length()) if 1 << k < most), most)


def sample_inputs(engine: TorchEngine, whole: WholeTick, batch: int = 2) -> dict[str, Tensor]:
    """Inputs of `WHOLE` as a call has them, the last row without a reference mouth; on the engine's device."""
    host = host_inputs(batch)
    given = {network: {name: engine.array(v) for name, v in inputs.items()} for network, inputs in host.items()}
    identity = engine.run("still", given["still"])
    beside = engine.run("teeth_still", given["teeth_still"])
    known = torch.ones(batch)
    known[-1] = 0
    absent = absent_reference(whole.teeth.model)
    reference = torch.where(known[:, None] > 0, beside["reference"].cpu(), absent.cpu())
    made = {**given["tick"], **identity, "redness": beside["redness"], "yaw": beside["yaw"]}
    made |= {"known": known, "reference": reference, "gate": torch.full((batch,), -1.0), "restore": torch.ones(batch)}
    return {name: made[name].to(engine.device).clone() for name in WHOLE.inputs}
