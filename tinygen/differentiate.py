"""Derivatives of functions of tensors: `grad`, `backward`, and what is made of them.

The rules that the walk back runs are ordinary tensor code, so recording them (`create_graph=True`)
gives gradients of gradients, to any order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import checks
from . import tensor as _tensor
from .callsite import called_at
from .events import state
from .graph import Leaf, Node, pull_back, recording
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


# ---- what is made of gradients -------------------------------------------------------------------

Inputs = Tensor | Sequence[Tensor]


def beside(x: Tensor, node: Node | None) -> Tensor:
    """A tensor to differentiate by in place of x: a leaf, or one that passes its part to node."""
    if node is None:
        return x.detach(requires_grad=True)
    out: Tensor = PRIMITIVES["identity"](Tensor(x.data, node))
    return out


def _run(who: str, f: Callable[..., Any], inputs: Inputs) -> tuple[list[Tensor], Any, bool]:
    """Stand-ins for the inputs, f of them, and whether the result is differentiated further.

    An input that carries a gradient has a stand-in on its own node, so that it gets its part.
    """
    xs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    further = state.recording and any(x.node is not None for x in xs)
    with recording(True):
        stand_ins = [beside(x, x.node) for x in xs]
        y = f(*stand_ins)
    for one in y if isinstance(y, tuple) else (y,):
        checks.output(who, one, one)
    return stand_ins, y, further


def _along(gradients: Any, inputs: Any, along: Any, further: bool) -> tuple[Tensor, ...]:
    """Gradients of <gradients, along>: zeros where none depends on an input."""
    vs = [along] if isinstance(along, Tensor) else list(along)
    live = [(g, v) for g, v in zip(gradients, vs, strict=True) if g.node is not None]
    if not live:
        return tuple(x.zeros_like() for x in inputs)
    ys, gs = zip(*live, strict=True)
    return grad(ys, inputs, gs, create_graph=further)


def jvp(f: Callable[..., Any], inputs: Inputs, tangents: Inputs) -> tuple[Any, Any]:
    """The value of f and its derivative along `tangents`: (y, J v) with J = dy / dx.

    J v is the gradient of <J^T u, v> with respect to u: two backward passes, and no rule of its
    own for any operation. Both results have the structure that f returns, a tensor or a tuple.

    Args:
        f: function of the inputs, as many tensors.
        inputs: where: a tensor or several.
        tangents: v, of the shapes of the inputs.

    Raises:
        ValueError: f's result carries no gradient, or a tangent has another shape.
    """
    xs, y, further = _run("jvp", f, inputs)
    ys = y if isinstance(y, tuple) else (y,)
    us = [one.ones_like().detach(requires_grad=True) for one in ys]
    pulled = grad(ys, xs, us, create_graph=True)
    along = _along(pulled, us, tangents, further)
    values = tuple(one if further else one.detach() for one in ys)
    return (values, along) if isinstance(y, tuple) else (values[0], along[0])


def hvp(f: Callable[..., Tensor], inputs: Inputs, along: Inputs) -> tuple[Tensor, Any]:
    """The value of f, one number, and its Hessian times a vector: (y, H v), H = d^2 y / dx^2.

    H v is the gradient of <dy / dx, v>. Given several inputs, H v is a tuple.

    Raises:
        ValueError: f's result is no scalar or carries no gradient, or v has another shape.
    """
    xs, y, further = _run("hvp", f, inputs)
    products = _along(grad(y, xs, create_graph=True), xs, along, further)
    return y if further else y.detach(), products[0] if isinstance(inputs, Tensor) else products


def jacobian(f: Callable[..., Tensor], inputs: Inputs) -> Any:
    """All derivatives of f, one backward pass an element: dy_i / dx_j at [i, j].

    Of the shape (*y.shape, *x.shape); given several inputs, a tuple. For a scalar f it is grad; of
    large results take jvp or grad, which need one pass.

    Raises:
        ValueError: f's result carries no gradient, or has no elements.
    """
    xs, y, further = _run("jacobian", f, inputs)
    if not y.size:
        raise ValueError(f"jacobian: f gives shape {y.shape}; expected at least one element")
    place, ones = PRIMITIVES["place"], y.ones_like()
    rows = []
    for position in np.ndindex(y.shape):
        index = tuple(("int", i) for i in position)
        one = place(PRIMITIVES["basic_slice"](ones, index=index), index=index, shape=y.shape)
        rows.append(grad(y, xs, one, create_graph=further, retain_graph=True))
    found = tuple(
        PRIMITIVES["concat"](*(g.reshape(-1) for g in of_x)).reshape(*y.shape, *x.shape)
        for x, of_x in zip(xs, zip(*rows, strict=True), strict=True)
    )
    return found[0] if isinstance(inputs, Tensor) else found


setattr(_tensor, "differentiate", sys.modules[__name__])  # noqa: B010  (for Tensor.backward)
