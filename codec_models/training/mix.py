"""Weights between two trainings of one upsampler: how much of the adversarial part to take.

The plain losses draw what is nearest to the truth and soft, the adversarial ones what is sharp and somewhat farther.
Networks trained on from the same weights draw something between where their weights are averaged, layer by layer, so
that the trade can be chosen afterwards (network interpolation, ESRGAN: Wang et al. 2018, section 3.4).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError

from ..errors import UserError
from ..upsampler import CONFIGS, LIVE, Upsampler
from .checkpoint import load_weights, save_weights
from .widen import stored_config


def mix(start: Path, end: Path, share: float, out: Path) -> None:
    """Write the weights that lie a share (0 to 1) of the way from `start` to `end`.

    Both are safetensors of an upsampler of one config and descend from the same training; of strangers the mean draws
    nothing. Raises UserError where they differ in shape, and where the share is outside.
    """
    if not 0 <= share <= 1:
        raise UserError(f"a share of {share:g} is not between the two: give 0 to 1")
    config = stored_config(end)
    if config is not None and stored_config(start) not in (None, config):
        raise UserError(f"{start} and {end} are weights of different configs: give two of one training")
    networks = []
    for path in (start, end):
        networks.append(Upsampler(CONFIGS.get(config or "", LIVE)))
        load_weights(path, networks[-1])
    first, second = networks
    with torch.no_grad():
        torch._foreach_lerp_(list(first.parameters()), list(second.parameters()), share)
    try:
        save_weights(out, first, {"network": "upsampler", "config": config or "live"})
    except (OSError, SafetensorError):
        raise UserError(f"cannot write {out}: choose another path") from None
