"""A teacher: a larger upsampler, trained before, whose pictures and motion a smaller one learns from (superface, 3.2).

It sees the very windows that the student sees, with the same losses of packets, hints and voice: what it draws is what
can be known of them, which is a steadier aim than the truth. The truth's own losses stay beside it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..errors import UserError
from ..layers import channels_last
from ..upsampler import CONFIGS, Upsampler
from ..weight_files import filled
from .whole_upsampler import WholeUpsampler, run_whole
from .widen import stored_config
from .windows import Made, Windows


class Teacher:
    """Draws without gradient, in bfloat16 unless told otherwise; changes nothing of the network but its mode."""

    def __init__(self, network: nn.Module, device: torch.device, bfloat16: bool = True) -> None:
        frozen = channels_last(network.to(device)).eval().requires_grad_(False)
        self._whole, self._device, self._bfloat16 = WholeUpsampler(frozen), device, bfloat16

    @torch.no_grad()
    def __call__(self, w: Windows) -> Made:
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._bfloat16):
            return run_whole(self._whole, w)


def load_teacher(path: Path, device: torch.device) -> Teacher:
    """From safetensors that name the config they are of, as trainings write them. Raises UserError."""
    if not path.is_file():
        raise UserError(f"no such weights file: {path}")
    name = stored_config(path)
    if name not in CONFIGS:
        raise UserError(f"{path} does not say of which config its weights are: give a file that a training wrote")
    return Teacher(filled(Upsampler(CONFIGS[name]), path), device)
