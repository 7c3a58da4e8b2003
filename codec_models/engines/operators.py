"""Whether TensorRT's ONNX parser takes a network: a static check of every operator, where there is no TensorRT.

    python -m codec_models.engines.operators FILE.onnx ...

Source: the operator support matrix of onnx-tensorrt, docs/operators.md, as of TensorRT 10.15 (opset 9 to 24; earlier
releases of 10 end at opset 20 or 22, which is beyond ours). Listed are the operators that networks like ours are made
of, with the restrictions given there; what is not listed is reported, and to be looked up there.
ScatterElements with a reduction is a plugin there, not in the core, and is reported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import UserError, run_command
from .onnx_reader import Graph, Model, Node, read_model

OPSETS = range(9, 21)
"""That every release of TensorRT 10 takes."""
_DOUBLE = 11
"""ONNX element type."""

_PLAIN = (
    *("Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil"),
    *("Celu", "Clip", "Concat", "ConstantOfShape", "Conv", "ConvTranspose", "Cos", "Cosh", "DepthToSpace", "Div"),
    *("Einsum", "Elu", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND"),
    *("Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "GroupNormalization"),
    *("HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "IsInf", "IsNaN", "LeakyRelu", "Less"),
    *("LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or"),
    *("PRelu", "Pad", "Pow", "Range", "Reciprocal", "Relu", "Reshape", "Round", "Selu", "Shape", "Sigmoid", "Sign"),
    *("Sin", "Sinh", "Size", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze"),
    *("Sub", "Sum", "Tan", "Tanh", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where", "Xor"),
)
_REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"),
    *("ReduceSum", "ReduceSumSquare"),
)
_COORDINATES = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")
_NEAREST = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


class _Known:
    """What a graph tells of its tensors. constants: those that are there when the engine is built."""

    def __init__(self, graph: Graph, outer: _Known | None, opset: int) -> None:
        self.opset = opset
        self.ranks: dict[str, int] = {**(outer.ranks if outer else {}), **graph.ranks}
        self.constants: set[str] = {*(outer.constants if outer else ()), *graph.initializers}
        for node in graph.nodes:
            # a parameter that is stored in 16 bits is cast when the engine is built
            if node.op == "Constant" or (node.op in ("Cast", "Identity") and self.constants.issuperset(node.inputs)):
                self.constants.update(node.outputs)


Rule = Callable[[Node, _Known], "str | None"]


def _grid_sample(node: Node, known: _Known) -> str | None:
    # below opset 20 it is defined for pictures alone
    if known.opset >= 20:
        ranks = [known.ranks.get(name) for name in node.inputs[:1]]
        if ranks != [4]:
            return f"its input must have 4 axes, {ranks[0] if ranks and ranks[0] else 'how many is not told'} here"
    elif any(known.ranks.get(name, 4) != 4 for name in node.inputs):
        return "its input must have 4 axes"
    mode = node.attributes.get("mode", "bilinear")
    return None if mode in ("bilinear", "linear", "nearest") else f"the mode {mode} has no check of ours"


def _resize(node: Node, known: _Known) -> str | None:
    at = node.attributes
    for name, allowed, usual in (
        ("mode", ("nearest", "linear"), "nearest"),
        ("coordinate_transformation_mode", _COORDINATES, "half_pixel"),
        ("keep_aspect_ratio_policy", ("stretch",), "stretch"),
    ):
        if at.get(name, usual) not in allowed:
            return f"{name} {at[name]} is not supported"
    if at.get("mode", "nearest") == "nearest" and at.get("nearest_mode", "round_prefer_floor") not in _NEAREST:
        return f"nearest_mode {at['nearest_mode']} is not supported"
    if at.get("antialias", 0):
        return "antialiasing is not supported"
    return None


def _scatter(node: Node, known: _Known) -> str | None:
    reduction = node.attributes.get("reduction", "none")
    return None if reduction == "none" else f"reduction {reduction} is not in TensorRT's core"


def _pool(node: Node, known: _Known) -> str | None:
    if len(node.attributes.get("kernel_shape") or ()) not in (2, 3):
        return "2-D or 3-D pooling only"
    if any(k != 1 for k in node.attributes.get("dilations") or ()):
        return "dilations are not supported"
    return "the output of indices is not supported" if len(node.outputs) > 1 else None


def _reduction(node: Node, known: _Known) -> str | None:
    axes = node.inputs[1:2]
    return None if not axes or not axes[0] or axes[0] in known.constants else "its axes must be constant"


def _cumulative(node: Node, known: _Known) -> str | None:
    return None if node.inputs[1:2] and node.inputs[1] in known.constants else "its axis must be constant"


def _constant(node: Node, known: _Known) -> str | None:
    wrong = {"sparse_value", "value_string", "value_strings"} & node.attributes.keys()
    return f"{sorted(wrong)[0]} is not supported" if wrong else None


def _quantised(node: Node, known: _Known) -> str | None:
    return None if all(name in known.constants for name in node.inputs[1:]) else "its scale must be constant"


def _layer_norm(node: Node, known: _Known) -> str | None:
    return "only its first output is supported" if len(node.outputs) > 1 else None


def _condition(node: Node, known: _Known) -> str | None:
    ranks = []
    for branch in ("then_branch", "else_branch"):
        graph = node.attributes.get(branch)
        if not isinstance(graph, Graph):
            return "it has no branches"
        ranks.append([graph.ranks.get(name) for name in graph.outputs])
    if None in ranks[0] or ranks[0] != ranks[1]:
        return "both branches must give tensors with the same number of axes, and say so"
    return None


_RULES: dict[str, Rule] = {
    "AveragePool": _pool,
    "Constant": _constant,
    "CumSum": _cumulative,
    "DequantizeLinear": _quantised,
    "GridSample": _grid_sample,
    "If": _condition,
    "LayerNormalization": _layer_norm,
    "MaxPool": _pool,
    "QuantizeLinear": _quantised,
    "Resize": _resize,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
    **dict.fromkeys(_REDUCTIONS, _reduction),
}
SUPPORTED = frozenset((*_PLAIN, *_RULES))


def problems(model: Model) -> list[str]:
    """What TensorRT 10 would not take, one line each, in the order of the nodes; none where all is well."""
    found = []
    if model.opset not in OPSETS:
        found.append(f"opset {model.opset}: TensorRT 10 takes {OPSETS[0]} to {OPSETS[-1]}")
    return found + _of_graph(model.graph, None, model.opset)


def _of_graph(graph: Graph, outer: _Known | None, opset: int) -> list[str]:
    known = _Known(graph, outer, opset)
    found = [f"{name}: 64-bit floats are not supported" for name, kind in graph.initializers.items() if kind == _DOUBLE]
    for node in graph.nodes:
        what = f"{node.op} {node.name}".strip()
        if node.domain not in ("", "ai.onnx"):
            found.append(f"{what}: operators of {node.domain} are not supported")
        elif node.op not in SUPPORTED:
            found.append(f"{what}: this operator is not known to be supported")
        else:
            rule = _RULES.get(node.op)
            told = rule(node, known) if rule is not None else None
            if node.op == "Cast" and node.attributes.get("to") == _DOUBLE:
                told = "64-bit floats are not supported"
            if told is not None:
                found.append(f"{what}: {told}")
        for inner in node.attributes.values():
            if isinstance(inner, Graph):
                found += _of_graph(inner, known, opset)
    return found


def check_file(path: Path) -> list[str]:
    """As `problems`, of a file. Raises UserError where it cannot be read."""
    try:
        return problems(read_model(path))
    except OSError as e:
        raise UserError(f"{path} cannot be read ({e.strerror}): give the path of an ONNX file") from None
    except ValueError as e:
        raise UserError(f"{path}: {e}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Check files; status 1 where TensorRT would refuse one. Raises UserError."""
    paths = [Path(a) for a in (sys.argv[1:] if arguments is None else arguments)]
    if not paths:
        raise UserError("which files? give the paths of ONNX files")
    bad = 0
    for path in paths:
        found = check_file(path)
        bad += bool(found)
        print(f"{path.name}: {'every operator is supported' if not found else f'{len(found)} problems'}")
        for line in found:
            print(f"  {line}")
    return int(bad > 0)


if __name__ == "__main__":
    run_command(main)
