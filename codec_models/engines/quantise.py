"""Writes networks in 8-bit integers: ONNX files with QuantizeLinear and DequantizeLinear around the convolutions.

Weights: symmetric int8, one scale for each output channel, rounded when the file is loaded, so that the 16-bit weights
beside it serve here too. Inputs: uint8 with a zero point, the range of each taken from sample inputs (calibration).
Convolutions whose result is a place in the picture, or goes into one, and the last one, whose result is its colour,
keep their precision.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from .engine import NETWORKS
from .files import FOLDER, checked, onnx_path, weights_of

KEPT = ("landmarks", "audio", "join64", "refine64", "/flow/", "still_flow", "draw256.3", "/mask/", "/gain/", "/out/")
"""Parts of the names of convolutions that stay as they are. The two before the flow alone bring the picture from 43 to
52 dB of float32's (by a script, on 18 ticks), for half a millisecond or so."""
QUANTISED = ("tick", "teeth", "teeth_alone")
Feeds = Iterable[Mapping[str, NDArray[np.float32]]]


@dataclass(slots=True)
class Range:
    """Least and greatest value of a tensor in each sample."""

    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def add(self, values: NDArray[np.float32]) -> None:
        self.low.append(float(values.min()))
        self.high.append(float(values.max()))

    def scale(self) -> tuple[float, int]:
        """Step of the levels, and the level of zero."""
        low, high = min(0.0, min(self.low)), max(0.0, max(self.high))
        step = max(high - low, 1e-6) / 255
        return step, int(np.clip(round(-low / step), 0, 255))


def convolutions(model: ModelProto) -> list[NodeProto]:
    """Those that are made to work in integers."""
    return [n for n in model.graph.node if n.op_type == "Conv" and not any(part in n.name for part in KEPT)]


def observed(
    network: str, feeds: Feeds, folder: Path = FOLDER
) -> tuple[dict[str, Range], dict[str, NDArray[np.float32]]]:
    """Ranges of the inputs of all convolutions over the samples, and the weights of those, by tensor name."""
    model = onnx.load(str(checked(network, folder=folder)), load_external_data=False)
    nodes = convolutions(model)
    inputs = sorted({n.input[0] for n in nodes})
    weights = sorted({n.input[1] for n in nodes})
    known = {v.name for v in (*model.graph.output, *model.graph.input)}
    model.graph.output.extend(ValueInfoProto(name=name) for name in (*inputs, *weights) if name not in known)
    ranges = {name: Range() for name in inputs}
    values: dict[str, NDArray[np.float32]] = {}
    with tempfile.TemporaryDirectory() as work:
        stem = f"{weights_of(network)}.safetensors"
        (Path(work) / stem).write_bytes((folder / stem).read_bytes())
        path = Path(work) / "observed.onnx"
        onnx.save(model, str(path))
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for feed in feeds:
            given = {name: feed[name] for name in NETWORKS[network].inputs}
            made = session.run([*inputs, *([] if values else weights)], given)
            for name, value in zip(inputs, made, strict=False):
                ranges[name].add(value)
            if not values:
                values = dict(zip(weights, made[len(inputs) :], strict=True))
    if not values:
        raise ValueError("calibration needs at least one sample")
    return ranges, values


def quantised(model: ModelProto, ranges: Mapping[str, Range], weights: Mapping[str, NDArray[np.float32]]) -> ModelProto:
    """The same network with its convolutions between QuantizeLinear and DequantizeLinear."""
    nodes: list[NodeProto] = []
    constants: dict[str, TensorProto] = {}
    done: dict[str, str] = {}

    def constant(name: str, value: NDArray[np.generic]) -> str:
        constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def rounded(name: str, scale: NDArray[np.float32], zero: NDArray[np.generic], axis: int | None) -> str:
        if name not in done:
            names = [constant(f"{name}.scale", scale), constant(f"{name}.zero", zero)]
            levels = f"{name}.levels"
            for kind, given, result in (("Quantize", name, levels), ("Dequantize", levels, f"{name}.rounded")):
                node = helper.make_node(f"{kind}Linear", [given, *names], [result])
                if axis is not None:
                    node.attribute.append(helper.make_attribute("axis", axis))
                nodes.append(node)
            done[name] = f"{name}.rounded"
        return done[name]

    chosen = {n.output[0] for n in convolutions(model)}
    for node in model.graph.node:
        if node.output[0] in chosen:
            step, zero = ranges[node.input[0]].scale()
            data = rounded(node.input[0], np.array(step, np.float32), np.array(zero, np.uint8), None)
            kernel = weights[node.input[1]]
            steps = np.maximum(np.abs(kernel).reshape(len(kernel), -1).max(1), 1e-8).astype(np.float32) / np.float32(
                127
            )
            node.input[1] = rounded(node.input[1], steps, np.zeros(len(kernel), np.int8), 0)
            node.input[0] = data
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants.values())
    return model


def quantise(network: str, feeds: Feeds, folder: Path = FOLDER, say: Callable[[str], None] = print) -> Path:
    """Write a network's form in integers beside the others. feeds: inputs of the network, batch 1. Returns its path."""
    ranges, weights = observed(network, feeds, folder)
    model = quantised(onnx.load(str(checked(network, folder=folder)), load_external_data=False), ranges, weights)
    path = onnx_path(network, True, folder)
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path))
    say(f"{path.name}: {len(weights)} convolutions in integers, {path.stat().st_size / 1000:.0f} kB")
    return path
