"""What a kernel is to its callers, on every backend: it runs when called, or says what would run.

    @kernel
    def relu(x, *, out=None):           # binds: returns a call, or NotImplemented to decline
        ...

`relu(x)` runs it now and returns the call's `out`; `relu.bind(x, out=y)` returns the call, which a
plan runs again and again.

To bind takes as long as some small kernels run. `@kernel(again=True)` says that a call depends on
nothing but its signature: the types, shapes and strides of the arrays, and the options. Then a call
that has run is spare, and serves the next arrays of that signature: `call.again(arrays)` makes it a
function of them, which has new results each time. It holds none of the arrays that it was made or
run with. It is taken out of the dictionary while it runs, so no two threads share one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

SPARE = 32  # signatures of which a kernel has a spare call, before it starts over


class Kernel:
    """A fast version of one operation: called, it runs; `bind` only says what would run.

    Called with a first array of fewer than `eager_from` elements, or a number, it declines: binding
    would cost more than NumPy takes. `bind`, paid once by a plan, serves any size.

    `again`: its calls depend on their signature alone.
    """

    def __init__(self, bind: Callable[..., Any], eager_from: int = 0, again: bool = False) -> None:
        self.bind = bind
        self.eager_from = eager_from
        self._again = again
        self._spare: dict[Any, Callable[..., Any]] = {}  # by signature: calls that have run
        self.__name__ = bind.__name__
        self.__doc__ = bind.__doc__

    def __call__(self, *arrays: Any, **static: Any) -> Any:
        if self.eager_from and getattr(arrays[0], "size", 0) < self.eager_from:
            return NotImplemented
        signature = _signature(arrays, static) if self._again else None
        if signature is not None:
            spare = self._spare.pop(signature, None)
            if spare is not None:
                out = spare(arrays)
                self._spare[signature] = spare
                return out
        call = self.bind(*arrays, **static)
        if call is NotImplemented:
            return call
        call()
        spare = None if signature is None else call.again(arrays)
        if spare is not None:
            if len(self._spare) >= SPARE:
                self._spare.clear()
            self._spare[signature] = spare
        return call.out

    def __repr__(self) -> str:
        return f"<kernel {self.__name__}>"


def _signature(arrays: tuple[Any, ...], static: dict[str, Any]) -> Any:
    """What the call depends on, as a key; None where an argument is no array, or none can be."""
    key: list[Any] = []
    for x in arrays:
        if x.__class__ is not np.ndarray:
            return None
        key += (x.dtype, x.shape, x.strides)
    key += static.items()
    signature = tuple(key)
    try:
        hash(signature)
    except TypeError:  # a list, or an array `out`
        return None
    return signature


def kernel(
    bind: Callable[..., Any] | None = None, *, eager_from: int = 0, again: bool = False
) -> Any:
    """Make a Kernel of the function that binds: `@kernel`, or `@kernel(eager_from=2048)`."""
    if bind is None:
        return functools.partial(Kernel, eager_from=eager_from, again=again)
    return Kernel(bind, eager_from, again)
