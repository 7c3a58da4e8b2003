"""Whether an engine computes what torch does: run on `samples.py`, compared with what torch gave when exporting.

So a runtime that is silently wrong on some machine is refused there, without torch. Kept are some numbers of each
output, evenly spread; the error is the RMS difference over the RMS of the reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..errors import UserError
from .engine import NETWORKS, Arrays, Engine
from .files import FOLDER
from .samples import chain, host_inputs

REFERENCE = "reference.safetensors"
BOUNDS = {"fp32": 2e-3, "bf16": 0.03, "fp16": 0.02, "int8": 0.12}
"""Relative error that an engine of that precision may have; the networks run in a chain, so errors add up. Measured
with the shipped weights, the worst network each: see `python -m codec_models.engines list`."""
_KEPT = 256
_SMALLEST = 1e-3
"""A reference smaller than this counts as this large: a gate of 0 has no relative error."""


@dataclass(frozen=True, slots=True)
class Parity:
    """error: the largest of all outputs, of `output` of `network`."""

    error: float
    network: str
    output: str


def kept(values: NDArray[np.generic]) -> NDArray[np.float32]:
    """Some numbers of an array, evenly spread over it."""
    flat = np.asarray(values, np.float32).reshape(-1)
    return np.asarray(flat[np.linspace(0, flat.size - 1, min(_KEPT, flat.size)).astype(int)], np.float32)


def write_reference(engine: Engine, folder: Path = FOLDER) -> Path:
    """Keep what this engine computes, torch in float32, for others to be compared with."""
    _, results = chain(engine, host_inputs())
    numbers = {f"{network}.{name}": kept(v) for network, made in _numpy(engine, results).items() for name, v in made}
    save_file(numbers, folder / REFERENCE)
    return folder / REFERENCE


def compare(engine: Engine, folder: Path = FOLDER) -> Parity:
    """The engine's largest error on the samples. Raises UserError where there is nothing to compare with."""
    path = folder / REFERENCE
    try:
        reference = load_file(path)
    except (OSError, SafetensorError) as e:
        raise UserError(f"no reference at {path} ({e}): install the program anew") from None
    _, results = chain(engine, host_inputs())
    worst = Parity(0.0, "", "")
    for network, made in _numpy(engine, results).items():
        for name, values in made:
            wanted, got = reference.get(f"{network}.{name}"), kept(values)
            if wanted is None or wanted.shape != got.shape:
                return Parity(float("inf"), network, name)
            size = max(float(np.sqrt(np.square(wanted).mean())), _SMALLEST)
            error = float(np.sqrt(np.square(got - wanted).mean())) / size
            if not error <= worst.error:
                worst = Parity(error if np.isfinite(error) else float("inf"), network, name)
    return worst


def verify(engine: Engine, folder: Path = FOLDER) -> Parity:
    """`compare`, refusing an engine that is off by more than its precision allows. Raises UserError."""
    parity = compare(engine, folder)
    precision = next((p for p in BOUNDS if re.search(rf"\b{p}\b", engine.backend)), "fp32")
    if not parity.error <= BOUNDS[precision]:
        raise UserError(
            f"{engine.backend} on {engine.device} computes something else than torch: {parity.output} of "
            f"{parity.network} is off by {100 * parity.error:.2g} %, at most {100 * BOUNDS[precision]:g} % is allowed"
        )
    return parity


def _numpy(engine: Engine, results: dict[str, Arrays]) -> dict[str, list[tuple[str, NDArray[np.generic]]]]:
    return {
        network: [(name, engine.numpy(made[name])) for name in NETWORKS[network].outputs]
        for network, made in results.items()
    }
