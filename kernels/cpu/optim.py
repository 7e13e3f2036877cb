"""Updates of parameters in one pass over memory: p, its gradient and its state, in place.

    sgd_step            p -= lr (g + decay p)
    sgd_momentum_step   d = g + decay p;  v = momentum v + d;  p -= lr v, or lr (d + momentum v)
    adam_step           t += 1;  m += (1 - beta1) (g - m);  v += (1 - beta2) (g^2 - v)
                        p -= scale m / (sqrt(v) + floor),  scale and floor from t and lr
    ema_step            a += rate (p - a)

An element needs nothing of its neighbours, so workers take equal shares and the loops become
vector code. What bounds them is memory: Adam moves 7 numbers an element, where the reference, in
ten passes over pieces that fit a core's cache, moves about 25 within the cache.

Learning rate, step count and EMA rate are read when the call runs, not when it is bound. Adam runs
in two phases: one worker counts the step and leaves scale, floor and shrink in the table of
arguments, then all workers use them. Each takes float32 or float64, C-contiguous.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import carray

from ..binding import kernel
from .runtime import (
    Call,
    Native,
    doubles,
    exact,
    first,
    float32_pointer,
    float64_pointer,
    floats,
    flush_subnormals,
    inline,
    int64_pointer,
    native_exact,
    native_update,
    number,
    restore,
    word,
    workers_for,
)  # fmt: skip

# ---- the loops, on a worker's shares; `p.dtype.type` is the type in which all is computed --------


@inline
def _share(x, worker, workers):  # type: ignore[no-untyped-def]
    """A view: from index 0 on, the loops become vector code; from an offset on, they do not."""
    return x[first(x.size, worker, workers) : first(x.size, worker + 1, workers)]


@exact
def _sgd(p, g, lr, decay):  # type: ignore[no-untyped-def]
    kind = p.dtype.type
    lr, decay = kind(lr), kind(decay)
    before = flush_subnormals()
    for i in range(p.size):
        p[i] -= lr * (g[i] + decay * p[i])
    restore(before)


@exact
def _momentum(p, g, v, lr, decay, momentum, nesterov):  # type: ignore[no-untyped-def]
    kind = p.dtype.type
    lr, decay, momentum = kind(lr), kind(decay), kind(momentum)
    before = flush_subnormals()
    for i in range(p.size):
        d = g[i] + decay * p[i]
        velocity = momentum * v[i] + d
        v[i] = velocity
        p[i] -= lr * (d + momentum * velocity if nesterov else velocity)
    restore(before)


@exact
def _adam(p, g, m, v, args):  # type: ignore[no-untyped-def]
    kind = p.dtype.type
    rate1, rate2 = kind(1 - number(args, 7)), kind(1 - number(args, 8))
    decay, coupled = kind(number(args, 10)), word(args, 11) == 0 and number(args, 10) != 0
    scale, floor, shrink = kind(number(args, 12)), kind(number(args, 13)), kind(number(args, 14))
    before = flush_subnormals()
    for i in range(p.size):
        w = p[i] * shrink
        d = g[i] + decay * w if coupled else g[i]
        mean = m[i] + rate1 * (d - m[i])
        square = v[i] + rate2 * (d * d - v[i])
        m[i] = mean
        v[i] = square
        p[i] = w - scale * (mean / (np.sqrt(square) + floor))
    restore(before)


@exact
def _ema(a, p, rate):  # type: ignore[no-untyped-def]
    rate = a.dtype.type(rate)
    before = flush_subnormals()
    for i in range(p.size):
        a[i] += rate * (p[i] - a[i])
    restore(before)


# ---- one function for each type of number --------------------------------------------------------
# Tables: sgd      p g lr n decay                       momentum  p g v lr n decay momentum nesterov
#         adam     p g m v t lr n beta1 beta2 eps decay decoupled | scale floor shrink
#         ema      a p rate n


@inline
def _floats(args, i, n, worker, workers):  # type: ignore[no-untyped-def]
    return _share(floats(args, i, n), worker, workers)


@inline
def _doubles(args, i, n, worker, workers):  # type: ignore[no-untyped-def]
    return _share(doubles(args, i, n), worker, workers)


@native_exact
def _sgd32(worker, workers, args):  # type: ignore[no-untyped-def]
    n, lr = word(args, 3), doubles(args, 2, 1)[0]
    p, g = _floats(args, 0, n, worker, workers), _floats(args, 1, n, worker, workers)
    _sgd(p, g, lr, number(args, 4))


@native_exact
def _momentum32(worker, workers, args):  # type: ignore[no-untyped-def]
    n, lr, nesterov = word(args, 4), doubles(args, 3, 1)[0], word(args, 7) != 0
    p, g = _floats(args, 0, n, worker, workers), _floats(args, 1, n, worker, workers)
    v = _floats(args, 2, n, worker, workers)
    _momentum(p, g, v, lr, number(args, 5), number(args, 6), nesterov)


@native_exact
def _adam32(worker, workers, args):  # type: ignore[no-untyped-def]
    n = word(args, 6)
    p, g = _floats(args, 0, n, worker, workers), _floats(args, 1, n, worker, workers)
    m, v = _floats(args, 2, n, worker, workers), _floats(args, 3, n, worker, workers)
    _adam(p, g, m, v, args)


@native_exact
def _ema32(worker, workers, args):  # type: ignore[no-untyped-def]
    n, rate = word(args, 3), doubles(args, 2, 1)[0]
    a, p = _floats(args, 0, n, worker, workers), _floats(args, 1, n, worker, workers)
    _ema(a, p, rate)


@native_exact
def _sgd64(worker, workers, args):  # type: ignore[no-untyped-def]
    n, lr = word(args, 3), doubles(args, 2, 1)[0]
    p, g = _doubles(args, 0, n, worker, workers), _doubles(args, 1, n, worker, workers)
    _sgd(p, g, lr, number(args, 4))


@native_exact
def _momentum64(worker, workers, args):  # type: ignore[no-untyped-def]
    n, lr, nesterov = word(args, 4), doubles(args, 3, 1)[0], word(args, 7) != 0
    p, g = _doubles(args, 0, n, worker, workers), _doubles(args, 1, n, worker, workers)
    v = _doubles(args, 2, n, worker, workers)
    _momentum(p, g, v, lr, number(args, 5), number(args, 6), nesterov)


@native_exact
def _adam64(worker, workers, args):  # type: ignore[no-untyped-def]
    n = word(args, 6)
    p, g = _doubles(args, 0, n, worker, workers), _doubles(args, 1, n, worker, workers)
    m, v = _doubles(args, 2, n, worker, workers), _doubles(args, 3, n, worker, workers)
    _adam(p, g, m, v, args)


@native_exact
def _ema64(worker, workers, args):  # type: ignore[no-untyped-def]
    n, rate = word(args, 3), doubles(args, 2, 1)[0]
    a, p = _doubles(args, 0, n, worker, workers), _doubles(args, 1, n, worker, workers)
    _ema(a, p, rate)


@native_exact
def _adam_count(worker, workers, args):  # type: ignore[no-untyped-def]
    """t += 1, and what follows from it; the root is taken out as in the reference."""
    t = int64_pointer(word(args, 4))
    t[0] += 1
    steps, lr = float(t[0]), doubles(args, 5, 1)[0]
    c = np.sqrt(1 - number(args, 8) ** steps)
    table = float64_pointer(args)
    table[12] = lr * c / (1 - number(args, 7) ** steps)
    table[13] = number(args, 9) * c
    table[14] = 1 - lr * number(args, 10) if word(args, 11) else 1.0


# ---- Adam on a strip of a gradient, as a product finishes it; p has args[1] columns --------------


@native_update
def _adam_block32(r0, r1, c0, c1, args, origin, row):  # type: ignore[no-untyped-def]
    for r in range(r0, r1):
        at = 4 * (r * word(args, 1) + c0)
        p = carray(float32_pointer(word(args, 0) + at), c1 - c0)
        m = carray(float32_pointer(word(args, 2) + at), c1 - c0)
        v = carray(float32_pointer(word(args, 3) + at), c1 - c0)
        g = carray(float32_pointer(origin + r * row + 4 * c0), c1 - c0)
        _adam(p, g, m, v, args)


@native_update
def _adam_block64(r0, r1, c0, c1, args, origin, row):  # type: ignore[no-untyped-def]
    for r in range(r0, r1):
        at = 8 * (r * word(args, 1) + c0)
        p = carray(float64_pointer(word(args, 0) + at), c1 - c0)
        m = carray(float64_pointer(word(args, 2) + at), c1 - c0)
        v = carray(float64_pointer(word(args, 3) + at), c1 - c0)
        g = carray(float64_pointer(origin + r * row + 8 * c0), c1 - c0)
        _adam(p, g, m, v, args)


class Update(NamedTuple):
    """Adam for matmul.products: `call` counts the step, `block` then serves strips of p."""

    call: Call
    block: Native


def adam_of_product(
    p: Any, m: Any, v: Any, t: Any, lr: Any,
    *, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
) -> Any:  # fmt: skip
    """The update of a matrix p whose gradient is a matrix product; NotImplemented if not served."""
    if p.ndim != 2 or not (_fit(p, m, v) and _scalar(t, np.int64) and _scalar(lr, np.float64)):
        return NotImplemented
    numbers = (float(beta1), float(beta2), float(eps), float(weight_decay), bool(decoupled))
    args = (p, p.shape[1], m, v, t, lr, p.size, *numbers, 0.0, 0.0, 0.0)
    block = _adam_block32 if p.dtype == np.float32 else _adam_block64
    return Update(Call(_adam_count, args, out=p), block)


# ---- the operations ------------------------------------------------------------------------------


def _fit(*arrays: Any) -> bool:
    """Whether all have one shape and one dtype that is served, without gaps."""
    x = arrays[0]
    return x.dtype in (np.float32, np.float64) and all(
        a.dtype == x.dtype and a.shape == x.shape and a.flags.c_contiguous for a in arrays
    )


def _scalar(x: Any, dtype: Any) -> bool:
    return bool(x.ndim == 0 and x.dtype == dtype)


@kernel
def sgd_step(p: Any, grad: Any, lr: Any, *, weight_decay: float, out: Any = None) -> Any:
    if not (_fit(p, grad) and _scalar(lr, np.float64)):
        return NotImplemented
    function = _sgd32 if p.dtype == np.float32 else _sgd64
    args = (p, grad, lr, p.size, float(weight_decay))
    return Call(function, args, out=p, workers=workers_for(3 * p.size))


@kernel
def sgd_momentum_step(
    p: Any, grad: Any, velocity: Any, lr: Any,
    *, momentum: float, nesterov: bool, weight_decay: float, out: Any = None,
) -> Any:  # fmt: skip
    if not (_fit(p, grad, velocity) and _scalar(lr, np.float64)):
        return NotImplemented
    function = _momentum32 if p.dtype == np.float32 else _momentum64
    args = (p, grad, velocity, lr, p.size, float(weight_decay), float(momentum), bool(nesterov))
    return Call(function, args, out=p, workers=workers_for(5 * p.size))


@kernel
def adam_step(
    p: Any, grad: Any, m: Any, v: Any, t: Any, lr: Any,
    *, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
    out: Any = None,
) -> Any:  # fmt: skip
    if not (_fit(p, grad, m, v) and _scalar(t, np.int64) and _scalar(lr, np.float64)):
        return NotImplemented
    numbers = (float(beta1), float(beta2), float(eps), float(weight_decay), bool(decoupled))
    args = (p, grad, m, v, t, lr, p.size, *numbers, 0.0, 0.0, 0.0)
    update = _adam32 if p.dtype == np.float32 else _adam64
    return Call(_adam_count, args, out=p, then=[(update, workers_for(7 * p.size))])


@kernel
def ema_step(average: Any, p: Any, rate: Any, *, out: Any = None) -> Any:
    if not (_fit(average, p) and _scalar(rate, np.float64)):
        return NotImplemented
    function = _ema32 if p.dtype == np.float32 else _ema64
    args = (average, p, rate, p.size)
    return Call(function, args, out=average, workers=workers_for(3 * p.size))
