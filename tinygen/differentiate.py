"""Derivatives of functions of tensors: `grad` and `backward`; derivatives.py makes more of them.

The rules that the walk back runs are ordinary tensor code, so recording them (`create_graph=True`)
gives gradients of gradients, to any order.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from . import checks
from . import tensor as _tensor
from .callsite import called_at
from .events import state
from .graph import Leaf, Node, pull_back
from .primitive import PRIMITIVES
from .tensor import Tensor, tensor


def _seeds(
    outputs: Sequence[Tensor], grad_outputs: Sequence[Tensor | None], who: str
) -> dict[Node, Any]:
    """The cotangents that the walk starts from: ones for a scalar, else what the user gave."""
    checks.count_of_cotangents(who, outputs, grad_outputs)
    seeds: dict[Node, Any] = {}
    for y, g in zip(outputs, grad_outputs, strict=True):
        checks.output(who, y, g)
        if g is None:
            g = y.ones_like()
        else:
            g = g if isinstance(g, Tensor) else tensor(g, dtype=y.dtype)
            checks.cotangent(who, y, g)
        node: Any = y.node
        seeds[node] = g if node not in seeds else seeds[node] + g
    return seeds


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> tuple[Tensor, ...]:
    """Gradients of `outputs` with respect to each of `inputs`, as a tuple of tensors.

    g_i = sum_k  grad_outputs_k . d outputs_k / d inputs_i,  of the shape of inputs_i.

    Only rules on a path from an input to an output run. An input that no output depends on gets
    zeros. `create_graph=True` records the computation, so that its result can be differentiated
    again; `retain_graph` (default: create_graph) keeps the saved values for a second call.

    Raises ValueError for an output that is not a scalar without grad_outputs, for an input
    without a node, and for a graph whose saved values were released.
    """
    ys = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    xs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    gs = [grad_outputs] if isinstance(outputs, Tensor) else grad_outputs
    if isinstance(outputs, Tensor) and isinstance(grad_outputs, (list, tuple)):
        gs = list(grad_outputs)
    nodes = checks.nodes_of("grad", xs)
    targets = set(nodes)
    retain = create_graph if retain_graph is None else retain_graph
    seeds = _seeds(ys, [None] * len(ys) if gs is None else list(gs), "grad")
    for observer in state.observers:
        observer.walking_back(ys, targets, False, create_graph)
    found = pull_back(seeds, targets, create_graph, None if retain else called_at())
    return tuple(found[n] if n in found else x.zeros_like() for n, x in zip(nodes, xs, strict=True))


def backward(
    output: Tensor,
    grad: Any = None,
    inputs: Sequence[Tensor] | None = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradient of `output` to `.grad` of every leaf it was made from (or of `inputs`)."""
    targets = None if inputs is None else set(checks.nodes_of("backward", inputs))
    retain = create_graph if retain_graph is None else retain_graph
    seeds = _seeds([output], [grad], "backward")
    for observer in state.observers:
        observer.walking_back([output], targets, True, create_graph)
    found = pull_back(seeds, targets, create_graph, None if retain else called_at())
    given: set[int] = set()  # storages already handed out: no two .grad share memory
    for node, g in found.items():
        if targets is not None and node not in targets:
            continue
        if isinstance(node, Leaf) and node.frozen:
            continue
        if node.grad is not None:
            node.grad = node.grad + g
        else:
            own = g is not grad and g.owner() is g.data and id(g.data) not in given
            node.grad = g if own or create_graph else g.copy()
        given.add(id(node.grad.owner()))


def beside(x: Tensor, node: Node | None) -> Tensor:
    """A tensor to differentiate by in place of x: a leaf, or one that passes its part to node."""
    if node is None:
        return x.detach(requires_grad=True)
    out: Tensor = PRIMITIVES["identity"](Tensor(x.data, node))
    return out


setattr(_tensor, "differentiate", sys.modules[__name__])  # noqa: B010  (for Tensor.backward)
