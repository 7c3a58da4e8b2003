"""The networks as ONNX files beside their weights: names, and the check that they belong together.

An ONNX file here holds a network's structure alone. Its weights stay where torch has them, in the safetensors file of
the same folder: the parts of that file are named by place and length, as ONNX allows (external data). So no weight is
stored twice, and both runtimes read the same 16-bit numbers. The ONNX file carries the SHA-256 of that safetensors
file; weights that have been exchanged since are refused. Needs neither onnx nor torch.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from ..errors import UserError
from .engine import NETWORKS

FOLDER = Path(__file__).parents[1] / "weights"
STAMP = b"weights-sha256:"
"""Before the digest in the ONNX file, in its documentation string."""
AGAIN = "make the files anew with `python -m codec_models.engines export`"
_LIMIT = 32 << 20
"""Bytes; nothing that is meant here is larger."""


def weights_of(network: str) -> str:
    """Stem of the safetensors file that a network's weights are in."""
    if network.startswith("interpolation"):
        return "interpolation"
    return "upsampler" if network in ("still", "tick") else "teeth"


def onnx_path(network: str, quantised: bool = False, folder: Path = FOLDER) -> Path:
    """Where the ONNX file of a network is. quantised: its form in 8-bit integers. Raises KeyError."""
    assert NETWORKS[network]
    return folder / f"{network}{'.int8' if quantised else ''}.onnx"


@cache
def digest(path: Path, size: int, changed: int) -> str:
    """SHA-256 of a file, in hexadecimal, of this size and time of change."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights_digest(network: str, folder: Path = FOLDER) -> str:
    """SHA-256 of the safetensors file of a network. Raises UserError."""
    path = folder / f"{weights_of(network)}.safetensors"
    try:
        stat = path.stat()
        if stat.st_size > _LIMIT:
            raise UserError(f"{path} is larger than any of our weights: {AGAIN}")
        return digest(path, stat.st_size, stat.st_mtime_ns)
    except OSError as e:
        raise UserError(f"no weights at {path} ({e.strerror}): install the program anew") from None


def checked(network: str, quantised: bool = False, folder: Path = FOLDER) -> Path:
    """The path of a network's ONNX file, which is there and belongs to the weights beside it. Raises UserError."""
    path = onnx_path(network, quantised, folder)
    try:
        if path.stat().st_size > _LIMIT:
            raise UserError(f"{path} is larger than any of our networks: {AGAIN}")
        content = path.read_bytes()
    except OSError as e:
        raise UserError(f"no network at {path} ({e.strerror}): {AGAIN}") from None
    if STAMP + weights_digest(network, folder).encode() not in content:
        raise UserError(f"{path} does not belong to the weights beside it: {AGAIN}")
    return path
