"""Every operation: a reference in any array module, with its gradient rule beside it."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from .. import spelling as _spelling
from .. import tensor as _tensor
from ..primitive import Primitive
from . import create as create
from .attention import *
from .contract import *
from .conv import *
from .create import *
from .elementwise import *
from .index import *
from .linalg import *
from .masks import *
from .norm import *
from .order import *
from .padding import *
from .pixels import *
from .pool import *
from .reduce import *
from .rounding import *
from .shape import *
from .totals import *


def _method(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The operation as a method: its first argument is the tensor."""

    @functools.wraps(operation, assigned=("__name__", "__doc__"), updated=())
    def method(self: Any, *args: Any, **static: Any) -> Any:
        return operation(self, *args, **static)

    return method


def _reflected(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The operation as the operator of a tensor on the right: 2 % x."""
    return lambda self, other: operation(other, self)


# Functions that are methods, too; their first argument is the tensor.
METHODS = """abs all any argmax argsort astype avg_pool2d broadcast_to ceil clip cos cumsum
    depth_to_space erf exp expand_dims flip floor gelu isfinite isinf isnan leaky_relu log
    log_softmax logsumexp max max_pool2d mean min norm one_hot pad power prod
    reflection_pad2d relu resize2d round sigmoid silu sin softmax softplus sort
    space_to_depth sqrt square squeeze std sum swapaxes take take_along_axis tanh top_k
    upsample2d var"""
# Operators whose other operand may be a number: x % 2 and 2 % x.
OPERATORS = {
    "mod": "remainder", "floordiv": "floor_divide", "and": "logical_and", "or": "logical_or",
    "xor": "logical_xor",
}  # fmt: skip

# What other operations are made of; users call those.
_INNER = """add_along_axis basic_slice cast cast_discrete concat count expand linear_fused mask_and
    mask_or matmul_nd place power_n power_xy slice_axis surround unbroadcast"""


def _is_operation(name: str, value: Any) -> bool:
    own = isinstance(value, Primitive) or getattr(value, "__module__", "").startswith(__name__)
    return own and not name.startswith("_") and name not in _INNER.split()


# Not by assigning to __all__: type checkers would take what they cannot evaluate for no names.
globals()["__all__"] = [_k for _k, _value in globals().items() if _is_operation(_k, _value)]
for _k in globals()["__all__"]:
    _value = globals()[_k]
    if isinstance(_value, Primitive):
        continue  # which says so itself
    if {"axis", "pad_width"} & {*inspect.signature(_value).parameters}:
        globals()[_k] = _spelling.spelled(_value)  # others call it `dim`, and `pad`
setattr(_tensor, "ops", sys.modules[__name__])  # noqa: B010
for _name in METHODS.split():
    setattr(_tensor.Tensor, _name, _method(globals()[_name]))
for _k, _name in OPERATORS.items():
    setattr(_tensor.Tensor, f"__{_k}__", _method(globals()[_name]))
    setattr(_tensor.Tensor, f"__r{_k}__", _reflected(globals()[_name]))
setattr(_tensor.Tensor, "__invert__", _method(globals()["logical_not"]))  # noqa: B010
_spelling.explain(_tensor.Tensor, _spelling.TENSOR)
