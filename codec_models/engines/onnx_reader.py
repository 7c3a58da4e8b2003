"""Reads what an ONNX file is made of without the onnx package: nodes, attributes, constants; not the weights' values.

Field numbers are those of onnx.proto3 (ONNX IR version 3 to 10), the encoding is protocol buffers': a key of field
number and wire type, then a varint, 4 or 8 bytes, or a length and so many bytes. Bounded: what is not such a file
raises ValueError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_DEEPEST = 8
_LIMIT = 256 << 20


@dataclass(slots=True)
class Node:
    """op: operator; domain empty for ONNX's own. attributes: int, float, text, list, or Graph; others are None."""

    op: str = ""
    name: str = ""
    domain: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Graph:
    """initializers: name to ONNX element type. ranks: number of axes of tensors where the file tells."""

    nodes: list[Node] = field(default_factory=list)
    initializers: dict[str, int] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Model:
    """opset: of ONNX's own operators; 0 where there is none."""

    graph: Graph
    opset: int = 0


def read_model(path: Path) -> Model:
    """Raises OSError, ValueError."""
    if path.stat().st_size > _LIMIT:
        raise ValueError(f"{path.name} is too large for one of our networks")
    return parse_model(path.read_bytes())


def parse_model(data: bytes) -> Model:
    """Raises ValueError."""
    graph, opset = None, 0
    for number, value in _fields(data):
        if number == 7 and isinstance(value, bytes):
            graph = _graph(value, 0)
        elif number == 8 and isinstance(value, bytes):
            domain, version = "", 0
            for inner, part in _fields(value):
                if inner == 1:
                    domain = _text(part)
                elif inner == 2:
                    version = int(part) if isinstance(part, int) else 0
            if domain in ("", "ai.onnx"):
                opset = version
    if graph is None:
        raise ValueError("not an ONNX file: it has no graph")
    return Model(graph, opset)


def _graph(data: bytes, depth: int) -> Graph:
    if depth > _DEEPEST:
        raise ValueError("not an ONNX file of ours: graphs within graphs within graphs")
    graph = Graph()
    for number, value in _fields(data):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            graph.nodes.append(_node(value, depth))
        elif number == 5:
            name, kind, rank = _tensor(value)
            graph.initializers[name] = kind
            graph.ranks[name] = rank
        elif number in (11, 12, 13):
            name, known = _value_info(value)
            if known is not None:
                graph.ranks[name] = known
            if number != 13:
                (graph.inputs if number == 11 else graph.outputs).append(name)
    return graph


def _node(data: bytes, depth: int) -> Node:
    node = Node()
    for number, value in _fields(data):
        if number == 1:
            node.inputs.append(_text(value))
        elif number == 2:
            node.outputs.append(_text(value))
        elif number == 3:
            node.name = _text(value)
        elif number == 4:
            node.op = _text(value)
        elif number == 5 and isinstance(value, bytes):
            name, content = _attribute(value, depth)
            node.attributes[name] = content
        elif number == 7:
            node.domain = _text(value)
    return node


def _attribute(data: bytes, depth: int) -> tuple[str, Any]:
    name, content, several = "", None, []
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2 and isinstance(value, bytes) and len(value) == 4:
            content = struct.unpack("<f", value)[0]
        elif number == 3 and isinstance(value, int):
            content = _signed(value)
        elif number == 4:
            content = _text(value)
        elif number == 6 and isinstance(value, bytes):
            content = _graph(value, depth + 1)
        elif number == 8 and isinstance(value, int):
            several.append(_signed(value))
        elif number == 8 and isinstance(value, bytes):
            several += [_signed(v) for v in _packed(value)]
    return name, several if several else content


def _tensor(data: bytes) -> tuple[str, int, int]:
    name, kind, rank = "", 0, 0
    for number, value in _fields(data):
        if number == 1:
            rank += len(list(_packed(value))) if isinstance(value, bytes) else 1
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number == 8:
            name = _text(value)
    return name, kind, rank


def _value_info(data: bytes) -> tuple[str, int | None]:
    name, rank = "", None
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2 and isinstance(value, bytes):
            for kind, tensor in _fields(value):
                if kind != 1 or not isinstance(tensor, bytes):
                    continue
                for part, shape in _fields(tensor):
                    if part == 2 and isinstance(shape, bytes):
                        rank = sum(1 for dimension, _ in _fields(shape) if dimension == 1)
    return name, rank


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FOUR, _EIGHT):
            size = 4 if wire == _FOUR else 8
        else:
            raise ValueError("not an ONNX file: an unknown wire type")
        if at + size > len(data):
            raise ValueError("not an ONNX file, or cut off")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for k in range(10):
        if at >= len(data):
            raise ValueError("not an ONNX file, or cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * k)
        if byte < 0x80:
            return value, at
    raise ValueError("not an ONNX file: a number without end")


def _packed(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _text(value: int | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
