"""Networks with random weights, small where they may be, and streams for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from codec_models.bitstream.face import FaceTick
from codec_models.bitstream.hints import Hints
from codec_models.bitstream.still import IdentityStill
from codec_models.engines.samples import face_points
from codec_models.teeth import Teeth
from codec_models.upsampler import Upsampler, UpsamplerConfig

TINY = UpsamplerConfig(width=2, visual=4, visual_blocks=1, audio=8)
Tick = tuple[FaceTick, NDArray[np.int16] | None]


def write_weights(folder: Path) -> tuple[Path, Path]:
    """Of a tiny upsampler, and of teeth whose change is seen."""
    torch.manual_seed(0)
    upsampler, teeth = folder / "upsampler.safetensors", folder / "teeth.safetensors"
    save_file({k: v.half() for k, v in Upsampler(TINY).state_dict().items()}, upsampler)
    model = Teeth()
    torch.nn.init.normal_(model.out.weight, std=0.1)
    save_file(model.state_dict(), teeth)
    return upsampler, teeth


def still(seed: int = 0, points: bool = True) -> IdentityStill:
    rng = np.random.default_rng(seed)
    picture = np.kron(rng.integers(60, 190, (16, 16, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    return IdentityStill(picture, face_points() if points else None)


def stream(count: int, seed: int = 1) -> list[Tick]:
    """Ticks with frames, hints and voice, some of each missing."""
    rng = np.random.default_rng(seed)
    out: list[Tick] = []
    for k in range(count):
        picture = None if k % 4 == 2 else rng.integers(60, 190, (8, 8, 3)).astype(np.uint8)
        head = (0.5 + 0.01 * (k % 8), 0.5, -1.6, 0.02 * (k % 6), 0.1, -0.05)
        hints = None if k % 5 == 3 else Hints(0.02 * (k % 7), 0.5, 0.1, 0.01 * (k % 9), 0.1, -0.1, *head)
        voice = None if k % 6 == 4 else rng.integers(-8000, 8000, 1920).astype(np.int16)
        out.append((FaceTick(picture, hints), voice))
    return out


def levels(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    """The largest difference of two pictures."""
    return int(np.abs(a.astype(int) - b.astype(int)).max())
