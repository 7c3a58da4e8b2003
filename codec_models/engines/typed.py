"""ONNX networks as TensorRT takes them: without what it refuses, and with the types that it is to compute in.

TensorRT's networks are strongly typed: it computes each operator in the type that the file gives it, and chooses none.
In `halved`, convolutions and products get 16-bit floats by casts around them; all else stays in 32 bits, and so do the
landmarks, the motion and the colours, whose coordinates would lose pixels. Needs the onnx package.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

EXACT_SCOPES = ("landmarks", "still_landmarks", "sparse", "enlarge", "motion")
"""Modules, by the names that the exporter gives to nodes (`/model/sparse/MatMul`), that stay in 32 bits."""
_HALVED = ("Conv", "Gemm", "MatMul")
_HALF = ".as_half"


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model changed in place. Axes whose length the exporter does not know are squeezed under an `If`: all of ours
    but the batch are fixed, so the squeezing branch is the one. And what it would compare in 64 bits stays in 32.
    """
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes.extend(_squeeze(node) if node.op_type == "If" else [node])
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.DOUBLE:
                attribute.i = TensorProto.FLOAT
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _squeeze(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The nodes of the branch that squeezes, or the node itself where it is another kind of `If`."""
    branches = {a.name: a.g for a in node.attribute}
    other, squeeze = branches["else_branch"], branches["then_branch"]
    if [n.op_type for n in other.node] != ["Identity"] or squeeze.node[-1].op_type != "Squeeze":
        return [node]
    inner = [onnx.NodeProto.FromString(n.SerializeToString()) for n in squeeze.node]
    inner[-1].output[0] = node.output[0]
    return inner


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model changed in place; its weights must be inside. Inputs and outputs stay in 32 bits.

    Raises ValueError where nodes have no names of modules, by which those are found that stay in 32 bits.
    """
    graph = model.graph
    chosen = [node for node in graph.node if node.op_type in _HALVED]
    if chosen and not any(node.name.count("/") >= 2 for node in chosen):
        raise ValueError("the nodes of this network do not tell which module they are of")
    stored = {tensor.name: tensor for tensor in graph.initializer}
    # a parameter that is stored in 16 bits and cast: the 16 bits are there already
    source = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Cast" and n.input[0] in stored}
    halves: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []

    def half(name: str) -> str:
        if name not in halves:
            tensor = stored.get(source.get(name, name))
            if tensor is not None and tensor.data_type == TensorProto.FLOAT16:
                halves[name] = tensor.name
            elif tensor is not None and tensor.data_type == TensorProto.FLOAT:
                values = numpy_helper.to_array(tensor).astype(np.float16)
                graph.initializer.append(numpy_helper.from_array(values, name + _HALF))
                halves[name] = name + _HALF
            else:
                nodes.append(helper.make_node("Cast", [name], [name + _HALF], name + "/half", to=TensorProto.FLOAT16))
                halves[name] = name + _HALF
        return halves[name]

    for node in graph.node:
        if node.op_type not in _HALVED or set(_scopes(node.name)) & set(EXACT_SCOPES):
            nodes.append(node)
            continue
        given = [half(name) if name else name for name in node.input]
        out, name = node.output[0], f"{node.output[0]}{_HALF}_out"
        changed = helper.make_node(node.op_type, given, [name], node.name)
        changed.attribute.extend(node.attribute)
        nodes += [changed, helper.make_node("Cast", [name], [out], node.name + "/whole", to=TensorProto.FLOAT)]
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    return model


def _scopes(name: str) -> list[str]:
    """Modules of a node's name; the exporter numbers a module's later uses: `sparse_1`."""
    parts = name.split("/")[:-1]
    return [part.rsplit("_", 1)[0] if part.rsplit("_", 1)[-1].isdigit() else part for part in parts]


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Weights in 32 bits, and casts to those, that nothing takes any more."""
    while True:
        used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        idle = [n for n in graph.node if n.op_type == "Cast" and not used.intersection(n.output)]
        for node in idle:
            graph.node.remove(node)
        if not idle:
            break
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)
