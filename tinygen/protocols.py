"""What a tensor is to Python and NumPy functions that know nothing of gradients.

A ufunc that tinygen has too is tinygen's: np.exp(x) is tinygen.exp(x). Any other function of NumPy
gets the values. Where its result would lose a gradient it is refused, and the message says what to
call instead.
"""

from __future__ import annotations

import numbers
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from . import ops
from . import tensor as _tensor
from .events import state
from .ops.create import refuse_overflow as refuse_overflow
from .tensor import Tensor

# NumPy's names of operations that are called otherwise here.
_NAMES = {
    "absolute": "abs", "amax": "max", "amin": "min", "bitwise_and": "logical_and",
    "bitwise_or": "logical_or", "bitwise_xor": "logical_xor", "divide": "div",
    "invert": "logical_not", "multiply": "mul", "negative": "neg", "rint": "round",
    "subtract": "sub",
}  # fmt: skip

_LOOKS = {np.shape: "shape", np.ndim: "ndim", np.size: "size"}  # they read no values


class UfuncProtocol:
    """`Tensor.__array_ufunc__`: of the type, the function that NumPy calls; of a tensor, None.

    NumPy asks the type. Classes that stand between, such as masked arrays, ask the object; None
    tells them to leave `array * tensor` to the tensor.
    """

    def __get__(self, instance: Any, owner: type) -> Any:
        return _ufunc if instance is None else None


def _ufunc(self: Tensor, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    name = ufunc.__name__
    own = _own(name)
    if own is not None and method == "__call__" and not options:
        return own(*inputs)
    words = f"np.{name}" if method == "__call__" else f"np.{name}.{method}"
    return _on_values(words, getattr(ufunc, method), own, inputs, options)


def array_function(self: Tensor, function: Any, types: Any, args: Any, options: Any) -> Any:
    """`Tensor.__array_function__`: NumPy's functions that are no ufuncs."""
    if function in _LOOKS and len(args) == 1 and not options:
        return getattr(args[0], _LOOKS[function])
    module = function.__module__.replace("numpy", "np", 1)
    own = None if function.__name__.endswith("_like") else _own(function.__name__)
    return _on_values(f"{module}.{function.__name__}", function, own, args, options)


def _own(name: str) -> Any:
    """tinygen's operation that goes by this name in NumPy."""
    name = _NAMES.get(name, name)
    return getattr(ops, name) if name in vars(ops)["__all__"] else None


def _on_values(words: str, function: Callable[..., Any], own: Any, args: Any, options: Any) -> Any:
    """The function on plain arrays; refused where a gradient would be lost."""
    live: list[Tensor] = []
    args, options = _values(args, live), _values(options, live)
    keeps = not live or not state.recording or words.endswith("_like")
    if keeps or not _has_floats(options.get("out")):
        with np.errstate(all="ignore"):
            result = function(*args, **options)
        if keeps or not _has_floats(result):
            return result
    x = live[0]
    instead = "operations of tinygen" if own is None else f"tinygen.{own.__name__}"
    raise TypeError(
        f"{words}: the result would lose the gradient of a tensor {x.shape} {x.dtype}; use "
        f"{instead}, or give x.numpy(), the values alone"
    )


def _values(given: Any, live: list[Tensor]) -> Any:
    """Tensors replaced by their values; those that carry a gradient are listed in `live`."""
    if isinstance(given, Tensor):
        if given.requires_grad:
            live.append(given)
        return given.numpy()
    if type(given) is dict:
        return {k: _values(v, live) for k, v in given.items()}
    if type(given) in (list, tuple):
        return type(given)(_values(v, live) for v in given)
    return given


def _has_floats(result: Any) -> bool:
    if isinstance(result, (list, tuple)):
        return any(map(_has_floats, result))
    return isinstance(result, float) or getattr(result, "dtype", np.dtype(bool)).kind in "fc"


def comparable(other: object) -> bool:
    """Whether == compares element by element: a tensor is not equal to None or to a text."""
    numeric = (Tensor, numbers.Number, np.ndarray, np.generic, list, tuple)
    return isinstance(other, numeric) or hasattr(other, "__array__")


def refuse_lost(data: Any) -> None:
    """Refuse data whose mask or gradient a new tensor would not have."""
    if np.ma.is_masked(data):
        raise TypeError(
            "tensor: the array is masked, and a tensor has no mask; give array.filled(value), or "
            "array.compressed() for the entries that count"
        )
    if isinstance(data, (list, tuple)) and not set(map(type, data)) <= {float, int, bool}:
        for entry in data:
            if isinstance(entry, Tensor) and entry.requires_grad and state.recording:
                raise TypeError(
                    f"tensor: a copy would lose the gradient of a tensor {entry.shape} "
                    f"{entry.dtype}; use it as it is, several with tinygen.stack or "
                    "tinygen.concatenate, or give x.detach()"
                )
            refuse_lost(entry)


def shown(x: Tensor, by: int) -> str:
    """The values as text; dots in a message of the engine's while a plan is recorded."""
    asks = sys._getframe(by + 1).f_globals.get("__name__", "")
    if any(o.every_operation for o in state.observers) and asks.startswith("tinygen."):
        return "..."
    return np.array2string(x.numpy(), precision=4, threshold=60, prefix="tensor(")


def refuse_result(x: Tensor) -> None:
    """Refuse to make an array of what was computed for a gradient, as np.array([x, y]) would.

    NumPy does not say whether x stands alone, so that np.asarray(x) is refused, too; np.array(x),
    a copy, is not, nor what only looks: numpy.testing.
    """
    if state.recording and x.node is not None and x.node.primitive is not None:
        asks = sys._getframe(2).f_globals.get("__name__", "")
        if not asks.startswith("numpy.testing"):
            raise TypeError(
                f"np.array, np.asarray: the array would lose the gradient of a tensor {x.shape} "
                f"{x.dtype}; join tensors with tinygen.stack or tinygen.concatenate, or give "
                "x.numpy(), the values alone"
            )


setattr(_tensor, "protocols", sys.modules[__name__])  # noqa: B010
setattr(Tensor, "__array_ufunc__", UfuncProtocol())  # noqa: B010
setattr(Tensor, "__array_function__", array_function)  # noqa: B010
