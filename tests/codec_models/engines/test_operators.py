"""The static check for TensorRT's parser, and the reader that it needs: on graphs made here, and on our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="graphs are made with onnx: pip install -e '.[dev]'", exc_type=ImportError)

from onnx import TensorProto, helper, numpy_helper

from codec_models.engines.engine import NETWORKS
from codec_models.engines.files import FOLDER
from codec_models.engines.onnx_reader import parse_model, read_model
from codec_models.engines.operators import SUPPORTED, check_file, main, problems
from codec_models.errors import UserError

pytestmark = pytest.mark.unit


def model(nodes: list[onnx.NodeProto], opset: int = 17, rank: int = 4, **initializers: np.ndarray) -> bytes:
    """Nodes from the input x, of so many axes, to the output y."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "graph",
        [value("x", TensorProto.FLOAT, ["batch", *[8] * (rank - 1)])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in initializers.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("other", 1)])
    content: bytes = made.SerializeToString()
    return content


def told(*args: object, **more: object) -> list[str]:
    return problems(parse_model(model(*args, **more)))  # type: ignore[arg-type]


def node(op: str, inputs: list[str] | None = None, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs or ["x"], ["y"], f"/a/{op}", **attributes)


def test_a_good_graph() -> None:
    grid = np.zeros((1, 8, 8, 2), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["a"], ["b"]),
        helper.make_node("GridSample", ["b", "grid"], ["c"], mode="bilinear", padding_mode="border"),
        helper.make_node("Resize", ["c", "", "scales"], ["d"], mode="linear"),
        helper.make_node("Constant", [], ["axes"], value=numpy_helper.from_array(np.array([1], np.int64))),
        helper.make_node("ReduceSum", ["d", "axes"], ["y"]),
    ]
    weights = {"w": np.zeros((8, 8, 3, 3), np.float32), "grid": grid, "scales": np.ones(4, np.float32)}
    assert told(nodes, **weights) == []


@pytest.mark.parametrize(
    ("nodes", "what"),
    [
        ([node("Det")], "Det /a/Det: this operator is not known"),
        ([node("NonMaxSuppression")], "not known"),
        ([node("Gelu", domain="other")], "operators of other"),
        ([node("Resize", ["x", "", "s"], mode="cubic")], "mode cubic"),
        ([node("Resize", ["x", "", "s"], mode="linear", antialias=1)], "antialiasing"),
        ([node("Resize", ["x", "", "s"], coordinate_transformation_mode="tf_crop_and_resize")], "tf_crop_and_resize"),
        ([node("ScatterElements", ["x", "i", "u"], reduction="add")], "reduction add"),
        ([node("ScatterND", ["x", "i", "u"], reduction="mul")], "reduction mul"),
        ([node("GridSample", ["x", "g"], mode="bicubic")], "mode bicubic"),
        ([node("MaxPool", kernel_shape=[3])], "2-D or 3-D"),
        ([node("AveragePool", kernel_shape=[3, 3], dilations=[2, 2])], "dilations"),
        ([node("ReduceMean", ["x", "given"])], "axes must be constant"),
        ([node("CumSum", ["x", "given"])], "axis must be constant"),
        ([node("QuantizeLinear", ["x", "given"])], "scale must be constant"),
        ([node("Cast", to=TensorProto.DOUBLE)], "64-bit floats"),
    ],
)
def test_bad_graphs(nodes: list[onnx.NodeProto], what: str) -> None:
    (problem,) = told(nodes)
    assert what in problem and "\n" not in problem


def test_scattering_without_reduction_and_constant_axes_are_taken() -> None:
    assert told([node("ScatterElements", ["x", "i", "u"])]) == []
    assert told([node("ReduceMean", ["x", "axes"])], axes=np.array([1])) == []
    assert told([helper.make_node("MaxPool", ["x"], ["y", "places"], kernel_shape=[2, 2])])


def test_pictures_are_sampled_volumes_are_not() -> None:
    sample = [node("GridSample", ["x", "g"])]
    assert told(sample) == []
    assert "must have 4 axes" in told(sample, rank=5)[0]
    assert "must have 4 axes, 5 here" in told(sample, opset=20, rank=5)[0]
    assert told([node("GridSample", ["x", "g"], mode="linear")], opset=20) == []
    hidden = [helper.make_node("Relu", ["x"], ["h"]), node("GridSample", ["h", "g"])]
    assert "how many is not told" in told(hidden, opset=20)[0]


@pytest.mark.parametrize(("opset", "taken"), [(8, False), (9, True), (17, True), (20, True), (21, False)])
def test_opsets(opset: int, taken: bool) -> None:
    assert (told([node("Relu")], opset) == []) is taken


@pytest.mark.parametrize("same", [True, False])
def test_branches_must_give_as_many_axes(same: bool) -> None:
    def branch(rank: int, op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1] * rank)
        return helper.make_graph([helper.make_node(op, ["x"], ["out"])], "branch", [], [out])

    condition = numpy_helper.from_array(np.array(True), "c")
    both = {"then_branch": branch(4, "Relu"), "else_branch": branch(4 if same else 3, "Neg")}
    nodes = [helper.make_node("Constant", [], ["c"], value=condition), node("If", ["c"], **both)]
    found = told(nodes)
    assert (found == []) is same and (same or "same number of axes" in found[0])


def test_operators_within_branches_are_looked_at() -> None:
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])
    inner = helper.make_graph([helper.make_node("Det", ["x"], ["out"])], "branch", [], [out])
    (problem,) = told([node("If", ["x"], then_branch=inner, else_branch=inner)])[:1]
    assert "Det" in problem


def test_the_reader_reads_what_the_onnx_package_wrote() -> None:
    path = FOLDER / "teeth.onnx"
    ours, theirs = read_model(path), onnx.load(str(path), load_external_data=False)
    assert ours.opset == 17 and len(ours.graph.nodes) == len(theirs.graph.node)
    for mine, other in zip(ours.graph.nodes, theirs.graph.node, strict=True):
        assert (mine.op, mine.name, mine.domain) == (other.op_type, other.name, other.domain)
        assert mine.inputs == list(other.input) and mine.outputs == list(other.output)
        for attribute in other.attribute:
            value = helper.get_attribute_value(attribute)
            if isinstance(value, int | float | bytes):
                value = value.decode() if isinstance(value, bytes) else value
                assert mine.attributes[attribute.name] == value
            elif isinstance(value, list):
                assert mine.attributes[attribute.name] == value
    assert ours.graph.initializers == {t.name: t.data_type for t in theirs.graph.initializer}
    assert ours.graph.inputs == [i.name for i in theirs.graph.input]
    assert ours.graph.ranks["crop"] == 4


def test_garbage_is_one_error() -> None:
    whole = model([node("Relu")])
    rng = np.random.default_rng(0)
    for cut in range(0, len(whole), 3):
        for content in (whole[:cut], bytes(rng.integers(0, 256, cut, np.uint8)), whole[:cut] + b"\xff" * 20):
            try:
                parse_model(content)
            except ValueError as e:
                assert "ONNX" in str(e)


def test_graphs_in_graphs_without_end_are_refused() -> None:
    def field(number: int, content: bytes) -> bytes:
        length, out = len(content), bytearray([number << 3 | 2])
        while length > 127:
            out.append(length & 127 | 128)
            length >>= 7
        return bytes(out) + bytes([length]) + content

    graph = b""
    for _ in range(50):
        graph = field(1, field(5, field(1, b"g") + field(6, graph)))
    with pytest.raises(ValueError, match="graphs within"):
        parse_model(field(7, graph))


def test_files_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.onnx", tmp_path / "bad.onnx"
    good.write_bytes(model([node("Relu")]))
    bad.write_bytes(model([node("Det")]))
    assert main([str(good)]) == 0 and main([str(good), str(bad)]) == 1
    assert "bad.onnx: 1 problems\n  Det" in capsys.readouterr().out
    with pytest.raises(UserError, match="cannot be read"):
        check_file(tmp_path / "none.onnx")
    bad.write_bytes(b"\x07" * 100)
    with pytest.raises(UserError, match="not an ONNX file"):
        check_file(bad)
    with pytest.raises(UserError, match="which files"):
        main([])


def test_the_table_has_what_our_networks_are_made_of() -> None:
    used = {n.op for network in NETWORKS for n in read_model(FOLDER / f"{network}.onnx").graph.nodes}
    assert {"Conv", "GridSample", "Resize", "GatherElements"} <= used <= SUPPORTED
