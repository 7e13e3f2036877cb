"""Updates of parameters and of averages: primitives that write in place.

The learning rate and the step count reach them as small arrays, not as constants, so that a
recorded step follows them. A rate of NaN says that the step is skipped: then an update changes
nothing, not even its count.
"""

from __future__ import annotations

from collections.abc import Iterator

from .backend import XP, Array
from .primitive import primitive

_BLOCK = 32_768  # elements worked on together: the pieces of p, g, m, v stay in a core's cache


def _pieces(xp: XP, *arrays: Array) -> Iterator[tuple[Array, ...]]:
    """The arrays cut into flat pieces, each time with scratch space of the size of a piece."""
    first = arrays[0]
    if xp.name != "numpy" or not all(a.flags.c_contiguous for a in arrays):
        yield (*arrays, xp.empty(first.shape, first.dtype))
        return
    flats = [a.reshape(-1) for a in arrays]
    scratch = xp.empty(min(_BLOCK, first.size), first.dtype)
    for i in range(0, first.size, _BLOCK):
        pieces = [a[i : i + _BLOCK] for a in flats]
        yield (*pieces, scratch[: pieces[0].size])


def _skips(xp: XP, lr: Array) -> bool:
    """Whether the step is skipped, where looking costs nothing: not on a device."""
    return xp.name == "numpy" and bool(xp.isnan(lr))


def _unless(xp: XP, skipped: Array, step: Array) -> Array:
    """The step; on a device, where `skipped` is not looked at, 0 for one that is skipped."""
    return step if xp.name == "numpy" else xp.where(skipped, step.dtype.type(0), step)


@primitive(update="sgd", mutates=("p",))
def sgd_step(xp: XP, p: Array, grad: Array, lr: Array, *, weight_decay: float) -> Array:
    """p -= lr (grad + weight_decay p)."""
    if _skips(xp, lr):
        return p
    lr = lr.astype(p.dtype)
    skipped = xp.isnan(lr)
    for w, d, step in _pieces(xp, p, grad):
        xp.multiply(w, weight_decay, out=step)
        step += d
        step *= lr
        w -= _unless(xp, skipped, step)
    return p


@primitive(update="momentum", mutates=("p", "velocity"))
def sgd_momentum_step(
    xp: XP, p: Array, grad: Array, velocity: Array, lr: Array,
    *, momentum: float, nesterov: bool, weight_decay: float,
) -> Array:  # fmt: skip
    """d = grad + weight_decay p; v = momentum v + d; p -= lr v, or lr (d + momentum v)."""
    if _skips(xp, lr):
        return p
    lr = lr.astype(p.dtype)
    skipped = xp.isnan(lr)
    keep = momentum if xp.name == "numpy" else xp.where(skipped, p.dtype.type(1), momentum)
    for w, d, v, step in _pieces(xp, p, grad, velocity):
        xp.multiply(w, weight_decay, out=step)
        step += d
        v *= keep
        v += _unless(xp, skipped, step)
        w -= _unless(xp, skipped, lr * (step + momentum * v if nesterov else v))
    return p


@primitive(update="adam", mutates=("p", "m", "v", "t"))
def adam_step(
    xp: XP, p: Array, grad: Array, m: Array, v: Array, t: Array, lr: Array,
    *, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
) -> Array:  # fmt: skip
    """One update of Adam, with weight decay added to the gradient g or, decoupled, taken off p.

    t += 1;  m += (1 - beta1) (g - m);  v += (1 - beta2) (g^2 - v)
    p -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
    """
    if _skips(xp, lr):
        return p
    skipped = xp.isnan(lr)
    t += 1 - skipped.astype(t.dtype)
    # The correction of v, taken out of the root: sqrt(v / c^2) + eps = (sqrt(v) + eps c) / c.
    c = xp.sqrt(1 - beta2**t)
    scale = (lr * c / (1 - beta1**t)).astype(p.dtype)
    floor = (eps * c).astype(p.dtype)
    shrink = (1 - _unless(xp, skipped, lr * weight_decay)).astype(p.dtype)
    for w, d, mean, square, step in _pieces(xp, p, grad, m, v):
        if weight_decay and decoupled:
            w *= shrink
        elif weight_decay:
            d = d + weight_decay * w
        xp.subtract(d, mean, out=step)
        step *= 1 - beta1
        mean += _unless(xp, skipped, step)
        xp.square(d, out=step)
        step -= square
        step *= 1 - beta2
        square += _unless(xp, skipped, step)
        xp.sqrt(square, out=step)
        step += floor
        xp.divide(mean, step, out=step)
        step *= scale
        w -= _unless(xp, skipped, step)
    return p


@primitive(mutates=("average",))
def ema_step(xp: XP, average: Array, p: Array, rate: Array) -> Array:
    """average += rate (p - average)."""
    rate = rate.astype(p.dtype)
    for a, w, step in _pieces(xp, average, p):
        xp.subtract(w, a, out=step)
        step *= rate
        a += step
    return average
