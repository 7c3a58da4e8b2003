"""TensorRT on an NVIDIA GPU: engines that are built once, compared with torch, and kept.

`TensorRTEngine` runs the networks of `engine.NETWORKS` by name; `tensorrt_core` gives the whole tick as one engine, for
`device_tick.DeviceTick`. Each is built in 16 bits first, where the network allows it, then in 32; what differs from
torch in float32 on a CPU by more than `agreement.BOUNDS` is refused, in one line, and remembered (GridSample in 32 bits
inside a 16-bit network has been silently wrong since 10.14). Where nothing is left, torch runs the network.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .agreement import check_agreement
from .device_tick import Core, sample_inputs
from .engine import NETWORKS, Arrays
from .engine_cache import EngineCache, EngineKey, Refused
from .graphs import teeth_graphs, upsampler_graphs
from .network_files import WHOLE_NAME, NetworkFiles, ShippedNetworks, signature_of
from .onnx_reader import parse_model
from .operators import problems
from .samples import chain, host_inputs
from .tensorrt_plan import Plan, TensorRTError, build, load_tensorrt, progress_line
from .torch_engine import TorchEngine
from .whole_tick import WHOLE, WholeTick

Say = Callable[[str], None]
NETWORKS_OF_A_TICK = ("tick", "mouth", "teeth", "teeth_alone")
"""What is worth an engine; what runs once a still stays with torch."""
Samples = tuple[dict[str, Tensor], dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Gpu:
    """name, compute capability and driver, as an engine is bound to them."""

    name: str
    capability: str
    driver: str

    @classmethod
    def of(cls, device: str) -> Gpu:
        """Raises UserError where there is none."""
        if not torch.cuda.is_available():
            raise UserError("TensorRT needs an NVIDIA GPU that torch can use: choose another backend")
        about = torch.cuda.get_device_properties(torch.device(device))
        return cls(about.name, f"{about.major}.{about.minor}", driver_version())


def driver_version(path: Path = Path("/proc/driver/nvidia/version")) -> str:
    """As the kernel module tells; else the CUDA version that torch was built for."""
    try:
        found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", path.read_text())
    except OSError:
        found = None
    return found.group(1) if found else f"cuda {torch.version.cuda}"


class Builder:
    """Gives plans: from the cache, or built, compared and kept. half: try 16 bits first. Raises UserError where
    TensorRT or a GPU is missing.
    """

    def __init__(
        self,
        device: str = "cuda",
        half: bool = True,
        files: NetworkFiles | None = None,
        cache: EngineCache | None = None,
        say: Say = print,
        trt: Any = None,
        gpu: Gpu | None = None,
    ) -> None:
        self._trt = trt if trt is not None else load_tensorrt()
        self.device, self._half, self._say = device, half, say
        self._files = files or ShippedNetworks()
        self._gpu = gpu or Gpu.of(device)
        self._cache = cache or EngineCache(say=say)
        self.version = str(self._trt.__version__)

    def plan(
        self, network: str, batches: tuple[int, int, int], samples: Callable[[], Samples]
    ) -> tuple[Plan, str] | None:
        """The plan and its typing, fp16 or fp32. samples: inputs and right outputs, on the host, for as many rows as
        are compared at most. None, and a line why, where it is to be left to torch.
        """
        typings = ("fp16", "fp32") if self._half and not signature_of(network).exact else ("fp32",)
        reasons = []
        for typing in typings:
            try:
                return self._one(network, typing, batches, samples), typing
            except (TensorRTError, UserError) as e:
                reasons.append(f"{typing}: {e}")
        self._say(f"{network} runs on torch, not on TensorRT ({'; '.join(reasons)})")
        return None

    def _one(self, network: str, typing: str, batches: tuple[int, int, int], samples: Callable[[], Samples]) -> Plan:
        """Raises TensorRTError, UserError."""
        key = EngineKey(
            network, typing, self._files.digest(network), self._gpu.name, self._gpu.capability, self.version,
            self._gpu.driver, "-".join(map(str, batches)),
        )  # fmt: skip
        known = self._cache.read(key)
        if isinstance(known, Refused):
            raise TensorRTError(known.reason)
        if known is not None:
            try:
                return Plan(self._trt, known, self.device)
            except TensorRTError as e:
                self._say(f"the engine of {network} is not used ({e}): it is built again")
                self._cache.drop(key)
        content = self._files.content(network, typing == "fp16")
        wrong = problems(parse_model(content))
        if wrong:
            raise TensorRTError(f"TensorRT does not take it: {wrong[0]}")
        self._say(f"building {network} {typing} for {self._gpu.name}, once; this takes a minute or more")
        began = time.monotonic()
        shapes = signature_of(network).inputs
        plan_bytes = build(self._trt, content, shapes, batches, progress_line(f"{network} {typing}"))
        plan = Plan(self._trt, plan_bytes, self.device)
        try:
            self._compare(f"the {typing} engine of {network}", plan, samples())
        except UserError as e:
            self._cache.refuse(key, str(e))
            raise
        self._cache.write(key, plan_bytes)
        self._say(f"built {network} {typing} in {time.monotonic() - began:.0f} s")
        return plan

    def _compare(self, what: str, plan: Plan, samples: Samples) -> None:
        """Row by row and all together: kernels differ. Raises UserError, TensorRTError."""
        inputs, right = samples
        count = len(next(iter(inputs.values())))
        for first, last in sorted({(0, 1), (count - 1, count), (0, count)}):
            rows = slice(first, last)
            made = plan.run({name: value[rows].to(self.device) for name, value in inputs.items()})
            check_agreement(
                what,
                {name: value.float().cpu().numpy() for name, value in made.items()},
                {name: value[rows].float().numpy() for name, value in right.items()},
            )


class TensorRTEngine(TorchEngine):
    """Engine (see `engine.Engine`); its arrays are torch's on the GPU. networks: that get engines of TensorRT; all
    others, and those that are refused, run on torch. One call: a batch of one. Raises UserError where TensorRT or a GPU
    is missing.
    """

    def __init__(self, builder: Builder | None = None, networks: Collection[str] = NETWORKS_OF_A_TICK) -> None:
        self._builder = builder or Builder()
        super().__init__(device=self._builder.device, bfloat16=False)
        self._plans: dict[str, Plan] = {}
        typings = set()
        samples = _chain_samples()
        for network in networks:
            found = self._builder.plan(network, (1, 1, 1), lambda network=network: samples(network))  # type: ignore[misc]
            if found is not None:
                self._plans[network], typing = found
                typings.add(typing)
        # the least exact of them, by which `parity.py` judges
        self.backend = f"tensorrt {self._builder.version} {'fp16' if 'fp16' in typings else 'fp32'}"
        if not typings:
            self.backend = f"torch fp32 (TensorRT {self._builder.version} was refused)"

    @property
    def networks(self) -> tuple[str, ...]:
        """That run on TensorRT."""
        return tuple(self._plans)

    @torch.inference_mode()
    def run(self, network: str, inputs: Mapping[str, Tensor]) -> Arrays:
        plan = self._plans.get(network)
        # an engine is for one row and one still
        one = (
            all(len(inputs[name]) == 1 for name in NETWORKS[network].inputs)
            and inputs.get("memory", _ONE).shape[1] == 1
        )
        if plan is None or not one:
            return super().run(network, inputs)
        made = plan.run(inputs)
        return {name: made[name] for name in NETWORKS[network].outputs}


_ONE = torch.zeros(1, 1)


def tensorrt_core(builder: Builder, most: int) -> tuple[str, Core] | None:
    """The whole tick of up to `most` calls as one engine: name and core for `DeviceTick`. None where it is refused."""
    found = builder.plan(WHOLE_NAME, (1, max(1, most // 2), most), lambda: _whole_samples(min(most, 2)))
    if found is None:
        return None
    plan, typing = found

    def core(*inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        made = plan.run(dict(zip(WHOLE.inputs, inputs, strict=True)))
        picture, gate, points = (made[name] for name in WHOLE.outputs)
        return picture, gate, points

    return f"tensorrt {builder.version} {typing}", core


def build_engines(builder: Builder, calls: int = 1, say: Say = print) -> int:
    """Build all that a receiver needs, for so many calls; how many networks are on torch."""
    samples = _chain_samples()
    missing = 0
    for network in NETWORKS_OF_A_TICK:
        found = builder.plan(network, (1, 1, 1), lambda network=network: samples(network))  # type: ignore[misc]
        missing += found is None
    missing += tensorrt_core(builder, calls) is None
    say(
        "all engines are there" if not missing else f"{missing} of {len(NETWORKS_OF_A_TICK) + 1} networks stay on torch"
    )
    return missing


def _chain_samples() -> Callable[[str], Samples]:
    """Inputs and outputs of each network, from torch in float32 on a CPU; computed when first asked for."""
    made: dict[str, Samples] = {}

    def samples(network: str) -> Samples:
        if not made:
            engine = TorchEngine(bfloat16=False)
            inputs, outputs = chain(engine, host_inputs(1))
            made.update({name: (inputs[name], outputs[name]) for name in NETWORKS})
        return made[network]

    return samples


@torch.no_grad()
def _whole_samples(batch: int) -> Samples:
    whole = WholeTick({**upsampler_graphs(), **teeth_graphs()}).eval()
    inputs = sample_inputs(TorchEngine(bfloat16=False), whole, batch)
    return inputs, dict(zip(WHOLE.outputs, whole(*(inputs[name] for name in WHOLE.inputs)), strict=True))
