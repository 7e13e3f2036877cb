"""Every operation: a reference in any array module, with its gradient rule beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .. import tensor as _tensor
from .conventions import Convention, conventions
from .elementwise import (
    abs,
    add,
    astype,
    clip,
    cos,
    div,
    equal,
    erf,
    exp,
    full_like,
    gelu,
    greater,
    greater_equal,
    guarded_div,
    guarded_mul,
    identity,
    isfinite,
    leaky_relu,
    less,
    less_equal,
    log,
    maximum,
    minimum,
    mul,
    neg,
    not_equal,
    power,
    relu,
    sigmoid,
    sign,
    silu,
    sin,
    softplus,
    sqrt,
    square,
    sub,
    tanh,
    where,
)
from .index import getitem, one_hot, scatter_add, take
from .linalg import linear, matmul
from .reduce import (
    argmax,
    cumsum,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    softmax,
    sum,
    var,
)
from .shape import (
    broadcast_to,
    concatenate,
    expand_dims,
    flip,
    pad,
    reshape,
    squeeze,
    stack,
    sum_to,
    swapaxes,
    transpose,
)


def _method(operation: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **static: Any) -> Any:
        return operation(self, *args, **static)

    method.__doc__ = operation.__doc__
    return method


setattr(_tensor, "ops", sys.modules[__name__])  # noqa: B010
for _name in _tensor.METHODS.split():
    setattr(_tensor.Tensor, _name, _method(globals()[_name]))

__all__ = [
    "Convention",
    "abs",
    "add",
    "argmax",
    "astype",
    "broadcast_to",
    "clip",
    "concatenate",
    "conventions",
    "cos",
    "cumsum",
    "div",
    "equal",
    "erf",
    "exp",
    "expand_dims",
    "flip",
    "full_like",
    "gelu",
    "getitem",
    "greater",
    "greater_equal",
    "guarded_div",
    "guarded_mul",
    "identity",
    "isfinite",
    "leaky_relu",
    "less",
    "less_equal",
    "linear",
    "log",
    "log_softmax",
    "logsumexp",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "mul",
    "neg",
    "not_equal",
    "one_hot",
    "pad",
    "power",
    "relu",
    "reshape",
    "scatter_add",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softmax",
    "softplus",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "sub",
    "sum",
    "sum_to",
    "swapaxes",
    "take",
    "tanh",
    "transpose",
    "var",
    "where",
]
