"""What is made of gradients: `jvp`, `hvp`, `jacobian`.

Each runs a function on stand-ins of its inputs and differentiates what comes out. The rules are
those of the operations: nothing here is a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import checks
from .differentiate import beside, grad
from .events import state
from .graph import recording
from .primitive import PRIMITIVES
from .tensor import Tensor, as_tensor, tensor

Inputs = Tensor | Sequence[Tensor]


def _listed(who: str, inputs: Any) -> list[Tensor]:
    """The inputs as tensors, each a float."""
    if isinstance(inputs, (Tensor, np.ndarray)):
        return [as_tensor(inputs)]
    if not isinstance(inputs, (list, tuple)) or not inputs:
        raise TypeError(f"{who}: the inputs are {inputs!r:.60}; expected a tensor, or several")
    for i, x in enumerate(inputs):
        if not isinstance(x, (Tensor, np.ndarray)):
            raise TypeError(f"{who}: input {i} is {x!r:.60}; expected a tensor: tg.tensor(x)")
    return [as_tensor(x) for x in inputs]


def _vectors(who: str, xs: list[Tensor], inputs: Any, vectors: Any) -> list[Tensor]:
    """A vector for each input, of its shape and dtype."""
    several = isinstance(inputs, (list, tuple))
    vs = list(vectors) if several and isinstance(vectors, (list, tuple)) else [vectors]
    if len(vs) != len(xs):
        raise ValueError(f"{who}: {len(vs)} vectors for {len(xs)} inputs; expected one each")
    made = []
    for i, (x, v) in enumerate(zip(xs, vs, strict=True)):
        v = v if isinstance(v, Tensor) else tensor(v, dtype=x.dtype)
        if (v.shape, v.dtype) != (x.shape, x.dtype):
            raise ValueError(
                f"{who}: vector {i} is {v.shape} {v.dtype}, its input {x.shape} {x.dtype}; "
                "expected the same shape and dtype"
            )
        made.append(v)
    return made


def _run(who: str, f: Callable[..., Any], xs: list[Tensor]) -> tuple[list[Tensor], Any, bool]:
    """Stand-ins for the inputs, f of them, and whether the result is differentiated further.

    An input that carries a gradient has a stand-in on its own node, so that it gets its part.
    """
    further = state.recording and any(x.node is not None for x in xs)
    with recording(True):
        stand_ins = [beside(x, x.node) for x in xs]
        y = f(*stand_ins)
    ys = y if isinstance(y, tuple) else (y,)
    for one in ys:
        if not isinstance(one, Tensor):
            what = f"{type(one).__name__} {one!r:.40}"
            raise TypeError(f"{who}: f gives {what}; expected a tensor, or a tuple of tensors")
    if not any(one.node is not None for one in ys):
        checks.output(who, ys[0] if ys else y, None)
    return stand_ins, y, further


def _along(gradients: Any, inputs: Any, vs: Any, further: bool) -> tuple[Tensor, ...]:
    """Gradients of <gradients, vs>: zeros where none depends on an input."""
    live = [(g, v) for g, v in zip(gradients, vs, strict=True) if g.node is not None]
    if not live:
        return tuple(x.zeros_like() for x in inputs)
    ys, gs = zip(*live, strict=True)
    return grad(ys, inputs, gs, create_graph=further)


def jvp(f: Callable[..., Any], inputs: Inputs, tangents: Inputs) -> tuple[Any, Any]:
    """The value of f and its derivative along `tangents`: (y, J v) with J = dy / dx.

    J v = d <J^T u, v> / du: two backward passes, as J^T u is linear in u, and no rule of its own
    for any operation. Both results have the structure that f returns, a tensor or a tuple; an
    output that depends on no input has the derivative 0.

        y, slope = tg.jvp(network, x, direction)

    Args:
        f: function of the inputs, as many tensors.
        inputs: where: a tensor or several.
        tangents: v, of the shapes and dtypes of the inputs.

    Raises:
        ValueError: no result of f carries a gradient; a tangent has another shape or dtype, or
            there are more or fewer than inputs.
        TypeError: an input is no tensor of floats, or f gives something else than tensors.
    """
    xs = _listed("jvp", inputs)
    vs = _vectors("jvp", xs, inputs, tangents)
    xs, y, further = _run("jvp", f, xs)
    ys = y if isinstance(y, tuple) else (y,)
    live = [one for one in ys if one.node is not None]
    us = [one.ones_like().detach(requires_grad=True) for one in live]
    pulled = grad(live, xs, us, create_graph=True)
    found = iter(_along(pulled, us, vs, further))
    along = tuple(one.zeros_like() if one.node is None else next(found) for one in ys)
    values = tuple(one if further else one.detach() for one in ys)
    return (values, along) if isinstance(y, tuple) else (values[0], along[0])


def hvp(f: Callable[..., Tensor], inputs: Inputs, along: Inputs) -> tuple[Tensor, Any]:
    """The value of f, one number, and its Hessian times a vector: (y, H v), H = d^2 y / dx^2.

    H v = d <dy / dx, v> / dx: two backward passes. Given several inputs, H v is a tuple, and H
    that of all together: the cross terms are in it.

    Args:
        f: function of the inputs that gives one number, a 0-d tensor.
        inputs: where: a tensor or several.
        along: v, of the shapes and dtypes of the inputs.

    Raises:
        ValueError: f's result is no scalar or carries no gradient; v has another shape or dtype.
        TypeError: an input is no tensor of floats, or f gives something else than a tensor.
    """
    xs = _listed("hvp", inputs)
    vs = _vectors("hvp", xs, inputs, along)
    xs, y, further = _run("hvp", f, xs)
    _one("hvp", y)
    products = _along(grad(y, xs, create_graph=True), xs, vs, further)
    several = isinstance(inputs, (list, tuple))
    return y if further else y.detach(), products if several else products[0]


def _one(who: str, y: Any) -> None:
    if isinstance(y, tuple):
        what = f"a tuple of {len(y)}"
        raise TypeError(f"{who}: f gives {what}; expected one tensor: take a function for each")


def jacobian(f: Callable[..., Tensor], inputs: Inputs) -> Any:
    """All derivatives of f, one backward pass an element: dy_i / dx_j at [i, j].

    Of the shape (*y.shape, *x.shape); given several inputs, a tuple. For a scalar f it is grad; of
    large results take jvp or grad, which need a pass or two.

    Args:
        f: function of the inputs that gives a tensor.
        inputs: where: a tensor or several.

    Raises:
        ValueError: f's result carries no gradient, or has no elements.
        TypeError: an input is no tensor of floats, or f gives something else than a tensor.
    """
    xs, y, further = _run("jacobian", f, _listed("jacobian", inputs))
    _one("jacobian", y)
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
    return found if isinstance(inputs, (list, tuple)) else found[0]
