"""A network's operations written down once, its constants on the device: what a CUDA graph can capture.

Small constants (grids, scales, lists of landmarks) are made on the host in every run, and each is a copy from the host,
which a stream that is being captured refuses. Here the run is recorded operation by operation; all that does not depend
on the inputs is computed once and kept. Types and shapes are those of the inputs that it was recorded with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

_FRESH = (
    torch.ops.aten.new_zeros.default,
    torch.ops.aten.new_ones.default,
    torch.ops.aten.new_full.default,
    torch.ops.aten.zeros_like.default,
    torch.ops.aten.ones_like.default,
    torch.ops.aten.full_like.default,
)
"""Take nothing but type and shape of what they are given."""
_SAME = {torch.ops.aten.view.default: torch.ops.aten.reshape.default}
"""Another layout of the same shape must not fail; where a view will do, it is one."""


def recorded(function: Callable[..., Any], inputs: Sequence[Tensor]) -> fx.GraphModule:
    """The function of tensors as it runs on these inputs, on their device. Raises RuntimeError where it needs the host.

    What it gives for other inputs of the same shapes and types is the same as the function's.
    """
    with torch.no_grad():
        module = make_fx(functionalize(function, remove="mutations"))(*inputs)
        _fold(module, inputs[0].device)
    from_host = [node.name for node in module.graph.nodes if _needs_host(node)]
    if from_host:
        raise RuntimeError(f"the host is needed by {', '.join(from_host[:4])}")
    return module


def _fold(module: fx.GraphModule, device: torch.device) -> None:
    known: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            known[node] = _attribute(module, str(node.target))
        elif node.op == "call_function":
            given = node.all_input_nodes
            if node.target in _FRESH:
                like = node.meta["val"]
                first = torch.empty(tuple(like.shape), dtype=like.dtype, device=device)
                rest = {name: value for name, value in node.kwargs.items() if name != "device"}
                known[node] = node.target(first, *node.args[1:], **rest)
            elif all(other in known for other in given) and not _random(node):
                args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: known[n])
                known[node] = node.target(*args, **kwargs)
            elif node.target in _SAME:
                node.target = _SAME[node.target]
    kept: dict[fx.Node, fx.Node] = {}
    for node in list(module.graph.nodes):
        if node in known or node.op == "placeholder":
            continue
        for other in node.all_input_nodes:
            if other not in known:
                continue
            if other not in kept:
                name = f"constant_{len(kept)}"
                module.register_buffer(name, known[other].to(device), persistent=False)
                with module.graph.inserting_before(other):
                    kept[other] = module.graph.get_attr(name)
            node.replace_input_with(other, kept[other])
    for node in reversed(list(module.graph.nodes)):
        if node.op not in ("placeholder", "output") and not node.users:
            module.graph.erase_node(node)
    module.delete_all_unused_submodules()
    for name in list(vars(module).get("_buffers", {})) + list(vars(module).get("_parameters", {})):
        if not any(node.op == "get_attr" and node.target == name for node in module.graph.nodes):
            delattr(module, name)
    module.recompile()


def _attribute(module: fx.GraphModule, name: str) -> Any:
    value: Any = module
    for part in name.split("."):
        value = getattr(value, part)
    return value.detach() if isinstance(value, Tensor) else value


def _random(node: fx.Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _needs_host(node: fx.Node) -> bool:
    """Whether a recorded operation would copy from or to the host, change what it is given, or have no input."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    if node.target._schema.is_mutable or node.kwargs.get("device") is not None:
        return True
    return not node.all_input_nodes or node.target is torch.ops.aten._local_scalar_dense.default
