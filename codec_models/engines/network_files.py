"""The networks that TensorRT builds engines from: those of the shipped ONNX files, and the whole tick in one."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Protocol

from ..errors import UserError
from .engine import NETWORKS, Signature
from .files import FOLDER, checked
from .whole_tick import WHOLE

WHOLE_NAME = "whole"
_PARTS = {WHOLE_NAME: ("tick", "mouth", "teeth")}
_VERSION = 1
"""Of what is done here to the files before an engine is built; part of what engines are known by."""
NEEDS_ONNX = "building engines needs the onnx package: pip install -e '.[dev]'"


def signature_of(network: str) -> Signature:
    return WHOLE if network == WHOLE_NAME else NETWORKS[network]


class NetworkFiles(Protocol):
    """Where engines come from."""

    def digest(self, network: str) -> str:
        """SHA-256, in hexadecimal, of all that the network's content follows from; quick. Raises UserError."""

    def content(self, network: str, half: bool) -> bytes:
        """The network as ONNX, its weights inside, with the types that TensorRT is to compute in. Raises UserError."""


class ShippedNetworks:
    """folder: of the ONNX files and weights that belong together (`files.py`)."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    def digest(self, network: str) -> str:
        made = hashlib.sha256(f"{network} {_VERSION}".encode())
        for part in _PARTS.get(network, (network,)):
            # the file carries the digest of its weights, which `checked` compares
            made.update(checked(part, folder=self._folder).read_bytes())
        return made.hexdigest()

    def content(self, network: str, half: bool) -> bytes:
        try:
            import onnx

            from .typed import halved, simplified
        except ImportError:
            raise UserError(NEEDS_ONNX) from None
        if network == WHOLE_NAME:
            model = onnx.load_from_string(_whole(self._folder))
        else:
            model = onnx.load(str(checked(network, folder=self._folder)))
        simplified(model)
        try:
            made: bytes = (halved(model) if half else model).SerializeToString()
        except ValueError as e:
            raise UserError(f"{network} cannot be computed in 16 bits ({e})") from None
        return made


@cache
def _whole(folder: Path) -> bytes:
    """The whole tick as ONNX, from torch."""
    from .device_tick import sample_inputs
    from .export import exported
    from .graphs import teeth_graphs, upsampler_graphs
    from .torch_engine import TorchEngine
    from .whole_tick import WholeTick

    upsampler, teeth = (folder / f"{stem}.safetensors" for stem in ("upsampler", "teeth"))
    whole = WholeTick({**upsampler_graphs(upsampler), **teeth_graphs(teeth)}).eval()
    inputs = sample_inputs(TorchEngine(upsampler, bfloat16=False, teeth=teeth), whole)
    made: bytes = exported(whole, WHOLE, tuple(inputs[name] for name in WHOLE.inputs)).SerializeToString()
    return made
