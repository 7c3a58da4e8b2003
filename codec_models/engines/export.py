"""Writes the networks as ONNX (opset 17) for runtimes without torch; see `files.py` for where the weights stay.

Needs torch and the onnx package: for who trains or changes networks, not for a call.
"""

from __future__ import annotations

import io
import json
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from .engine import NETWORKS, Signature
from .files import FOLDER, STAMP, onnx_path, weights_digest, weights_of
from .graphs import interpolation_graphs, teeth_graphs, upsampler_graphs
from .parity import write_reference
from .samples import chain, host_inputs
from .torch_engine import TorchEngine
from .typed import simplified

OPSET = 17
_INLINE = 256
"""Numbers; a parameter with fewer is written into the ONNX file itself."""
_TYPES = {"F16": TensorProto.FLOAT16, "F32": TensorProto.FLOAT}


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a tensor lies in a safetensors file: ONNX element type, shape, offset and length in bytes."""

    kind: int
    shape: tuple[int, ...]
    offset: int
    length: int


def stored_tensors(path: Path) -> dict[str, Stored]:
    """Places of all tensors in a safetensors file of 16- or 32-bit floats. Raises KeyError on other types."""
    with path.open("rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
    return {
        name: Stored(
            _TYPES[entry["dtype"]],
            tuple(entry["shape"]),
            8 + size + entry["data_offsets"][0],
            entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def export_all(folder: Path = FOLDER, say: Callable[[str], None] = print) -> list[Path]:
    """Write every network's ONNX file beside the weights in `folder`; those weights are taken. Returns the paths."""
    weights = {stem: folder / f"{stem}.safetensors" for stem in ("upsampler", "teeth", "interpolation")}
    engine = TorchEngine(
        weights["upsampler"], bfloat16=False, teeth=weights["teeth"], interpolation=weights["interpolation"]
    )
    modules = {
        **upsampler_graphs(weights["upsampler"]),
        **teeth_graphs(weights["teeth"]),
        **interpolation_graphs(weights["interpolation"]),
    }
    # two in the batch, or the exporter takes a batch of one for a constant
    inputs, _ = chain(engine, host_inputs(2))
    paths = []
    for network, signature in NETWORKS.items():
        given = tuple(inputs[network][name].clone() for name in signature.inputs)
        model = exported(modules[network], signature, given)
        linked(model, stored_tensors(weights[weights_of(network)]), weights[weights_of(network)].name)
        model.doc_string = (STAMP + weights_digest(network, folder).encode()).decode()
        path = onnx_path(network, folder=folder)
        onnx.save(model, str(path))
        onnx.checker.check_model(str(path))
        say(f"{path.name}: {len(model.graph.node)} nodes, {path.stat().st_size / 1000:.0f} kB")
        paths.append(path)
    return [*paths, write_reference(engine, folder)]


def exported(module: nn.Module, signature: Signature, given: tuple[torch.Tensor, ...]) -> onnx.ModelProto:
    """A module as ONNX with a free batch axis, its parameters by their own names."""
    names = [*signature.inputs, *signature.outputs]
    data = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(
            module.eval(),
            given,
            data,  # type: ignore[arg-type]  # a file object works too
            input_names=list(signature.inputs),
            output_names=list(signature.outputs),
            dynamic_axes={name: {0: "batch"} for name in names},
            opset_version=OPSET,
            do_constant_folding=False,
            dynamo=False,
        )
    model = simplified(onnx.load_from_string(data.getvalue()))
    _fix_shapes(model, signature)
    return model


def _fix_shapes(model: onnx.ModelProto, signature: Signature) -> None:
    """All axes of the inputs but the batch are fixed, and said so."""
    for value in model.graph.input:
        shape = signature.inputs[value.name]
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, ["batch", *shape]))


def linked(model: onnx.ModelProto, stored: dict[str, Stored], location: str) -> None:
    """Replace the values of large parameters by their places in a safetensors file."""
    casts = []
    for tensor in list(model.graph.initializer):
        name = next((tensor.name[k:] for k in _starts(tensor.name) if tensor.name[k:] in stored), None)
        values = numpy_helper.to_array(tensor)
        if name is None or values.size < _INLINE or tensor.data_type != TensorProto.FLOAT:
            continue
        place = stored[name]
        if place.shape != tuple(values.shape):
            raise ValueError(f"{tensor.name} {values.shape} is {place.shape} in the weights")
        outside = TensorProto(
            name=tensor.name if place.kind == TensorProto.FLOAT else f"{tensor.name}.half",
            data_type=place.kind,
            dims=place.shape,
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in (("location", location), ("offset", place.offset), ("length", place.length)):
            outside.external_data.add(key=key, value=str(value))
        model.graph.initializer.remove(tensor)
        model.graph.initializer.append(outside)
        if place.kind != TensorProto.FLOAT:
            casts.append(helper.make_node("Cast", [outside.name], [tensor.name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])


def _starts(name: str) -> list[int]:
    """Where a parameter's own name may begin: after each dot of the name that the exporter gave."""
    return [0, *(k + 1 for k, letter in enumerate(name) if letter == ".")]
