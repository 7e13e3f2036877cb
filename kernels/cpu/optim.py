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
arguments, then all workers use them. Each takes float32 or float64, C-contiguous. A learning rate
of NaN skips the step: nothing changes, not even the count.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import carray

from ..binding import kernel
from .runtime import (
    Call,
    Native,
    Table,
    array,
    both_exact,
    both_update,
    doubles,
    exact,
    first,
    float64_pointer,
    flush_subnormals,
    inline,
    int64_pointer,
    native_exact,
    number,
    pointer_of,
    restore,
    size_of,
    word,
    workers_for,
)

SGD = Table("p g lr n decay")
MOMENTUM = Table("p g v lr n decay momentum nesterov")
EMA = Table("a p rate n")
# `columns`: of p, for strips. The last three follow from t and lr; the first phase sets them.
ADAM = Table("p g m v t lr n columns beta1 beta2 eps decay decoupled scale floor shrink")

# ---- the loops, on a worker's shares; `p.dtype.type` is the type in which all is computed --------


@exact
def _sgd(p, g, lr, decay):  # type: ignore[no-untyped-def]
    kind = p.dtype.type
    lr, decay = kind(lr), kind(decay)
    if np.isnan(lr):
        return
    before = flush_subnormals()
    for i in range(p.size):
        p[i] -= lr * (g[i] + decay * p[i])
    restore(before)


@exact
def _momentum(p, g, v, lr, decay, momentum, nesterov):  # type: ignore[no-untyped-def]
    kind = p.dtype.type
    lr, decay, momentum = kind(lr), kind(decay), kind(momentum)
    if np.isnan(lr):
        return
    before = flush_subnormals()
    for i in range(p.size):
        d = g[i] + decay * p[i]
        velocity = momentum * v[i] + d
        v[i] = velocity
        p[i] -= lr * (d + momentum * velocity if nesterov else velocity)
    restore(before)


@exact
def _adam(p, g, m, v, args):  # type: ignore[no-untyped-def]
    kind, decay = p.dtype.type, number(args, ADAM.decay)
    rate1, rate2 = kind(1 - number(args, ADAM.beta1)), kind(1 - number(args, ADAM.beta2))
    coupled, decay = word(args, ADAM.decoupled) == 0 and decay != 0, kind(decay)
    scale, floor = kind(number(args, ADAM.scale)), kind(number(args, ADAM.floor))
    shrink = kind(number(args, ADAM.shrink))
    if np.isnan(scale):
        return
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


# ---- a worker's share, for each type of number ---------------------------------------------------


@inline
def _mine(kind, args, i, n, worker, workers):  # type: ignore[no-untyped-def]
    """A worker's share of the array of n numbers at entry i: from index 0 on, the loops become
    vector code; from an offset on, they do not."""
    return array(kind, args, i, n)[first(n, worker, workers) : first(n, worker + 1, workers)]


@both_exact
def _sgd_share(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    n, lr = word(args, SGD.n), doubles(args, SGD.lr, 1)[0]
    p = _mine(kind, args, SGD.p, n, worker, workers)
    g = _mine(kind, args, SGD.g, n, worker, workers)
    _sgd(p, g, lr, number(args, SGD.decay))


@both_exact
def _momentum_share(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    n, lr = word(args, MOMENTUM.n), doubles(args, MOMENTUM.lr, 1)[0]
    p = _mine(kind, args, MOMENTUM.p, n, worker, workers)
    g = _mine(kind, args, MOMENTUM.g, n, worker, workers)
    v = _mine(kind, args, MOMENTUM.v, n, worker, workers)
    decay, momentum = number(args, MOMENTUM.decay), number(args, MOMENTUM.momentum)
    _momentum(p, g, v, lr, decay, momentum, word(args, MOMENTUM.nesterov) != 0)


@both_exact
def _adam_share(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    n = word(args, ADAM.n)
    p = _mine(kind, args, ADAM.p, n, worker, workers)
    g = _mine(kind, args, ADAM.g, n, worker, workers)
    m = _mine(kind, args, ADAM.m, n, worker, workers)
    v = _mine(kind, args, ADAM.v, n, worker, workers)
    _adam(p, g, m, v, args)


@both_exact
def _ema_share(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    n, rate = word(args, EMA.n), doubles(args, EMA.rate, 1)[0]
    a = _mine(kind, args, EMA.a, n, worker, workers)
    p = _mine(kind, args, EMA.p, n, worker, workers)
    _ema(a, p, rate)


@native_exact
def _adam_count(worker, workers, args):  # type: ignore[no-untyped-def]
    """t += 1, and what follows from it; the root is taken out as in the reference."""
    t, table = int64_pointer(word(args, ADAM.t)), float64_pointer(args)
    lr = doubles(args, ADAM.lr, 1)[0]
    if np.isnan(lr):
        table[ADAM.scale] = lr
        return
    t[0] += 1
    steps = float(t[0])
    beta1, beta2, decay = (
        number(args, ADAM.beta1), number(args, ADAM.beta2), number(args, ADAM.decay)
    )  # fmt: skip
    c = np.sqrt(1 - beta2**steps)
    table[ADAM.scale] = lr * c / (1 - beta1**steps)
    table[ADAM.floor] = number(args, ADAM.eps) * c
    table[ADAM.shrink] = 1 - lr * decay if word(args, ADAM.decoupled) else 1.0


# ---- Adam on a strip of a gradient, as a product finishes it -------------------------------------


@both_update
def _adam_block(r0, r1, c0, c1, args, origin, row, kind):  # type: ignore[no-untyped-def]
    n, size = c1 - c0, size_of(kind)
    for r in range(r0, r1):
        at = (r * word(args, ADAM.columns) + c0) * size
        p = carray(pointer_of(kind, word(args, ADAM.p) + at), n)
        m = carray(pointer_of(kind, word(args, ADAM.m) + at), n)
        v = carray(pointer_of(kind, word(args, ADAM.v) + at), n)
        g = carray(pointer_of(kind, origin + r * row + c0 * size), n)
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
    options = (beta1, beta2, eps, weight_decay, decoupled)
    table = _adam_table(p, 0, m, v, t, lr, *options)  # the gradient comes strip by strip
    return Update(Call(_adam_count, table, out=p), _adam_block[p.dtype])


def _adam_table(
    p: Any, g: Any, m: Any, v: Any, t: Any, lr: Any,
    beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
) -> list[Any]:  # fmt: skip
    return ADAM.fill(
        p=p, g=g, m=m, v=v, t=t, lr=lr, n=p.size, columns=p.shape[-1] if p.ndim else 1,
        beta1=float(beta1), beta2=float(beta2), eps=float(eps), decay=float(weight_decay),
        decoupled=bool(decoupled), scale=0.0, floor=0.0, shrink=0.0,
    )  # fmt: skip


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
    table = SGD.fill(p=p, g=grad, lr=lr, n=p.size, decay=float(weight_decay))
    return Call(_sgd_share[p.dtype], table, out=p, workers=workers_for(3 * p.size))


@kernel
def sgd_momentum_step(
    p: Any, grad: Any, velocity: Any, lr: Any,
    *, momentum: float, nesterov: bool, weight_decay: float, out: Any = None,
) -> Any:  # fmt: skip
    if not (_fit(p, grad, velocity) and _scalar(lr, np.float64)):
        return NotImplemented
    table = MOMENTUM.fill(
        p=p, g=grad, v=velocity, lr=lr, n=p.size, decay=float(weight_decay),
        momentum=float(momentum), nesterov=bool(nesterov),
    )  # fmt: skip
    return Call(_momentum_share[p.dtype], table, out=p, workers=workers_for(5 * p.size))


@kernel
def adam_step(
    p: Any, grad: Any, m: Any, v: Any, t: Any, lr: Any,
    *, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
    out: Any = None,
) -> Any:  # fmt: skip
    if not (_fit(p, grad, m, v) and _scalar(t, np.int64) and _scalar(lr, np.float64)):
        return NotImplemented
    table = _adam_table(p, grad, m, v, t, lr, beta1, beta2, eps, weight_decay, decoupled)
    then = [(_adam_share[p.dtype], workers_for(7 * p.size))]
    return Call(_adam_count, table, out=p, then=then)


@kernel
def ema_step(average: Any, p: Any, rate: Any, *, out: Any = None) -> Any:
    if not (_fit(average, p) and _scalar(rate, np.float64)):
        return NotImplemented
    table = EMA.fill(a=average, p=p, rate=rate, n=p.size)
    return Call(_ema_share[p.dtype], table, out=average, workers=workers_for(3 * p.size))
