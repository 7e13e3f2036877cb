"""x // y and x % y for loops, to the bit as NumPy has them.

NumPy takes r = fmod(x, y), the rest that has the sign of x and is always exact, and rounds only
what it makes of that. The C library finds r bit by bit, some 50 ns. Here a float32 is a float64, in
which

    r <- r - round(r / y) y

is exact by a multiplication and a subtraction with one rounding, and leaves 2^-52 of r or half of y
at most. Two float32 are at most 2^277 times each other, so six such steps are enough for all: no
branch, and a loop is vector code. The sign comes last: a rest on the other side of 0 is |y| off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .maths import with_sign_of
from .words import exact

F = np.float32


@intrinsic
def _fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z, rounded once."""
    return types.float64(*[types.float64] * 3), lambda c, b, s, a: b.fma(*a)


@intrinsic
def _rint(typing: Any, x: Any) -> Any:
    """The nearest whole number, as an instruction; outside of vector code np.rint is a call."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.call(b.module.declare_intrinsic("llvm.rint", [ir.DoubleType()]), args)

    return types.float64(types.float64), emit


@intrinsic
def _into_the_loop(typing: Any) -> Any:
    """LLVM inlines a function that calls this, however long it is: a call is no vector code."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        b.function.attributes.add("alwaysinline")
        return context.get_dummy_value()

    return types.void(), emit


@exact
def _less(r, y, by):  # type: ignore[no-untyped-def]
    return _fma(-_rint(r * by), y, r)


@exact
def _narrow_rest(x, y):  # type: ignore[no-untyped-def]
    """fmod(x, y), but for the sign of a zero."""
    _into_the_loop()
    a, b = np.float64(x), np.float64(abs(y))
    by = 1.0 / b
    r = _less(_less(_less(_less(_less(_less(a, b, by), b, by), b, by), b, by), b, by), b, by)
    r = r + b if a > 0.0 and r < 0.0 else r
    r = r - b if a < 0.0 and r > 0.0 else r
    return x if b == np.inf and abs(a) < np.inf else F(r)


@exact
def _remainder(r, y, zero, signed):  # type: ignore[no-untyped-def]
    """signed: 0 with the sign of y."""
    return signed if r == zero else (r + y if (y < zero) != (r < zero) else r)


@exact
def _floor_divide(r, x, y, zero, signed, one, half):  # type: ignore[no-untyped-def]
    """signed: 0 with the sign of x / y."""
    q = (x - r) / y
    q = q - (one if r != zero and (y < zero) != (r < zero) else zero)
    low = np.floor(q)
    low = low + (one if q - low > half else zero)
    low = signed if q == zero else low
    return x / y if y == zero else low


@exact
def narrow_remainder(x, y):  # type: ignore[no-untyped-def]
    return _remainder(_narrow_rest(x, y), y, F(0), with_sign_of(y, F(0)))


@exact
def narrow_floor_divide(x, y):  # type: ignore[no-untyped-def]
    _into_the_loop()
    signed = with_sign_of(x / y, F(0))
    return _floor_divide(_narrow_rest(x, y), x, y, F(0), signed, F(1), F(0.5))


@exact
def wide_remainder(x, y):  # type: ignore[no-untyped-def]
    return _remainder(np.fmod(x, y), y, 0.0, np.copysign(0.0, y))


@exact
def wide_floor_divide(x, y):  # type: ignore[no-untyped-def]
    return _floor_divide(np.fmod(x, y), x, y, 0.0, np.copysign(0.0, x / y), 1.0, 0.5)
