"""Calibration of the networks in 8-bit integers: which values occur in them, on windows of the training clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..engines.engine import NETWORKS, Arrays
from ..engines.files import FOLDER
from ..engines.quantise import QUANTISED, quantise
from ..engines.torch_engine import TorchEngine
from .data import WindowSampler
from .progress import Progress

Feeds = Mapping[str, NDArray[np.float32]]


def network_inputs(sampler: WindowSampler, count: int, engine: TorchEngine) -> Iterator[dict[str, Feeds]]:
    """Inputs of the quantised networks in `count` random windows, batch 1, as in a call with one still."""
    for _ in range(count):
        w = sampler.batch(1)
        face = {
            "picture": w.stills[:, 0],
            "low": w.still_low[:, 0],
            "points": w.still_points[:, 0],
            "has_points": w.still_found[:, :1],
        }
        tick: Arrays = {"window": w.low, "mel": w.mel, "hints": w.hints, "has": w.has}
        tick |= engine.run("still", face)
        drawn = engine.run("tick", tick)
        of_still = engine.run("teeth_still", {name: face[name] for name in ("picture", "points")})
        beside = {"redness": of_still["redness"], "yaw": of_still["yaw"]}
        # the gate fully open: what it lets through makes no difference to what the network computes
        gate = {"gate": w.has.new_full((1,), -1.0), "known": w.has.new_zeros(1)}
        mouth = engine.run("mouth", {**drawn, **gate, **beside}) | {"reference": of_still["reference"]}
        yield {
            name: {key: _host(engine, pool[key]) for key in NETWORKS[name].inputs}
            for name, pool in (("tick", tick), ("teeth", mouth), ("teeth_alone", mouth))
        }


def calibrate(sampler: WindowSampler, count: int, folder: Path = FOLDER) -> list[Path]:
    """Write the networks of `quantise.QUANTISED` in 8-bit integers beside their weights. Returns the paths."""
    engine = TorchEngine(folder / "upsampler.safetensors", bfloat16=False, teeth=folder / "teeth.safetensors")
    progress = Progress(True)
    kept: list[dict[str, Feeds]] = []
    for made in network_inputs(sampler, count, engine):
        kept.append(made)
        progress.show(f"windows: {len(kept)}/{count}")
    return [quantise(name, (made[name] for made in kept), folder, progress.say) for name in QUANTISED]


def _host(engine: TorchEngine, tensor: Tensor) -> NDArray[np.float32]:
    return np.asarray(engine.numpy(tensor), np.float32)
