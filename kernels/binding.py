"""What a kernel is to its callers, on every backend: it runs when called, or says what would run.

    @kernel
    def relu(x, *, out=None):           # binds: returns a call, or NotImplemented to decline
        ...

`relu(x)` runs it now and returns the call's `out`; `relu.bind(x, out=y)` returns the call, which a
plan runs again and again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


class Kernel:
    """A fast version of one operation: called, it runs; `bind` only says what would run.

    Called with a first array of fewer than `eager_from` elements, or a number, it declines: binding
    would cost more than NumPy takes. `bind`, paid once by a plan, serves any size.
    """

    def __init__(self, bind: Callable[..., Any], eager_from: int = 0) -> None:
        self.bind = bind
        self.eager_from = eager_from
        self.__name__ = bind.__name__
        self.__doc__ = bind.__doc__

    def __call__(self, *arrays: Any, **static: Any) -> Any:
        if self.eager_from and getattr(arrays[0], "size", 0) < self.eager_from:
            return NotImplemented
        call = self.bind(*arrays, **static)
        if call is NotImplemented:
            return call
        call()
        return call.out

    def __repr__(self) -> str:
        return f"<kernel {self.__name__}>"


def kernel(bind: Callable[..., Any] | None = None, *, eager_from: int = 0) -> Any:
    """Make a Kernel of the function that binds: `@kernel`, or `@kernel(eager_from=2048)`."""
    if bind is None:
        return functools.partial(Kernel, eager_from=eager_from)
    return Kernel(bind, eager_from)
