"""PyTorch, on a CPU or an NVIDIA GPU: the reference that every other runtime is compared with.

Set OMP_WAIT_POLICY=PASSIVE before this module is imported where other processes share the cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..memory import keep_memory
from ..mouth import put
from ..network import NetworkReconstructor
from ..precision import has_bfloat16, precision, round_weights
from ..teeth import LIVE as LIVE_TEETH
from ..teeth import TeethConfig
from ..teeth_gate import GateConfig
from ..upsampler import LIVE, UpsamplerConfig
from .engine import NETWORKS, Arrays
from .graphs import DETAIL, interpolation_graphs, outputs, teeth_graphs, upsampler_graphs


class TorchEngine:
    """weights, teeth, interpolation: safetensors of exactly the parameters; None for those that come with the program.

    bfloat16: reduced precision for convolutions and products; None: where the hardware computes in it. detail: see
    `graphs.TeethGraph`. threads: of a CPU, None for half of its cores. Networks are loaded when they first run or
    by `load`. Raises UserError where weights cannot be used.
    """

    several = True

    def __init__(
        self,
        weights: Path | None = None,
        config: UpsamplerConfig = LIVE,
        device: str = "cpu",
        bfloat16: bool | None = None,
        teeth: Path | None = None,
        teeth_config: TeethConfig = LIVE_TEETH,
        interpolation: Path | None = None,
        gate: GateConfig | None = None,
        detail: float = DETAIL,
        threads: int | None = None,
    ) -> None:
        keep_memory()
        if torch.device(device).type == "cpu":
            # the rest of the call needs the other half of the cores
            torch.set_num_threads(threads or max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) // 2)))
        self._bfloat16 = has_bfloat16(device) if bfloat16 is None else bfloat16
        self.device = device
        self.backend = f"torch {'bf16' if self._bfloat16 else 'fp32'}"
        self._device = torch.device(device)
        self._networks: dict[str, nn.Module] = {}
        reduced = self._bfloat16
        self._makers: dict[str, Callable[[], dict[str, nn.Module]]] = {}
        for names, make in (
            (("still", "tick"), lambda: upsampler_graphs(weights, config)),
            (
                ("teeth_still", "mouth", "teeth", "teeth_alone"),
                lambda: teeth_graphs(teeth, teeth_config, gate, detail, reduced),
            ),
            (("interpolation_encode", "interpolation_at"), lambda: interpolation_graphs(interpolation)),
        ):
            self._makers.update(dict.fromkeys(names, make))

    def load(self, network: str) -> nn.Module:
        """The network's module, ready to run. Raises UserError."""
        if network not in self._networks:
            for name, module in self._makers[network]().items():
                if self._bfloat16 and not name.startswith("interpolation"):
                    round_weights(module)
                self._networks[name] = module.to(self._device).eval()
        return self._networks[network]

    @torch.inference_mode()
    def run(self, network: str, inputs: Mapping[str, Tensor]) -> Arrays:
        module, signature = self.load(network), NETWORKS[network]
        given = [inputs[name] for name in signature.inputs]
        # the still of the teeth reduces its own network alone
        reduced = self._bfloat16 and not signature.exact and network != "teeth_still"
        with precision(self._device, reduced):
            made = outputs(module(*given))
        return dict(zip(signature.outputs, made, strict=True))

    def array(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)

    def numpy(self, array: Tensor) -> NDArray[Any]:
        return np.asarray(array.float().cpu().numpy() if array.is_floating_point() else array.cpu().numpy())

    def together(self, parts: Sequence[Arrays]) -> Arrays:
        return {name: torch.cat([part[name] for part in parts], 1) for name in parts[0]}

    @torch.inference_mode()
    def added(self, picture: Tensor, change: Tensor, corner: Tensor) -> Tensor:
        return put(picture, change, corner)

    @torch.inference_mode()
    def shown(self, picture: Tensor) -> NDArray[np.uint8]:
        scaled = picture[0].mul(127.5).add_(128.0).clamp_(0, 255).to(torch.uint8)
        return np.ascontiguousarray(scaled.cpu().numpy().transpose(1, 2, 0))


def torch_network(
    weights: Path | None = None,
    config: UpsamplerConfig = LIVE,
    device: str = "cpu",
    stills: int = 1,
    bfloat16: bool | None = None,
    teeth: bool | Path = True,
) -> NetworkReconstructor:
    """A reconstruction on torch. teeth: whether the mouth is restored, or weights of that network. Raises UserError."""
    engine = TorchEngine(weights, config, device, bfloat16, teeth if isinstance(teeth, Path) else None)
    return NetworkReconstructor(engine, stills, teeth is not False)
