"""Reduced precision: bfloat16 for convolutions and products, where the hardware computes in it."""

from __future__ import annotations

import torch
from torch import nn

_ROUNDED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def has_bfloat16(device: str) -> bool:
    """Whether the hardware multiplies in bfloat16; elsewhere it is emulated and slower than float32."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.device(device).type != "cpu":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def round_weights(model: nn.Module) -> None:
    """Round the weights of the layers that autocast runs in bfloat16: otherwise it would round them in every tick."""
    for module in model.modules():
        if isinstance(module, _ROUNDED):
            module.to(torch.bfloat16)


def precision(device: torch.device, bfloat16: bool) -> torch.autocast:
    """What networks run inside."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16)
