"""Optimizers, learning-rate schedules, gradient clipping, and averages of weights.

An update is a primitive that writes in place. The learning rate and the step count reach it as
small arrays, not as constants, so that a recorded step follows them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from . import ops, spelling
from .backend import XP, Array
from .graph import no_grad
from .nn.module import Buffer, Module, Parameter, arrays_of, assign, require, restore
from .primitive import primitive
from .tensor import Tensor

Params = Module | Mapping[str, Parameter] | Iterable[Parameter]

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


# ---- the updates ---------------------------------------------------------------------------------


@primitive(update="sgd", mutates=("p",))
def sgd_step(xp: XP, p: Array, grad: Array, lr: Array, *, weight_decay: float) -> Array:
    """p -= lr (grad + weight_decay p)."""
    lr = lr.astype(p.dtype)
    for w, d, step in _pieces(xp, p, grad):
        xp.multiply(w, weight_decay, out=step)
        step += d
        step *= lr
        w -= step
    return p


@primitive(update="momentum", mutates=("p", "velocity"))
def sgd_momentum_step(
    xp: XP, p: Array, grad: Array, velocity: Array, lr: Array,
    *, momentum: float, nesterov: bool, weight_decay: float,
) -> Array:  # fmt: skip
    """d = grad + weight_decay p; v = momentum v + d; p -= lr v, or lr (d + momentum v)."""
    lr = lr.astype(p.dtype)
    for w, d, v, step in _pieces(xp, p, grad, velocity):
        xp.multiply(w, weight_decay, out=step)
        step += d
        v *= momentum
        v += step
        w -= lr * (step + momentum * v if nesterov else v)
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
    t += 1
    # The correction of v, taken out of the root: sqrt(v / c^2) + eps = (sqrt(v) + eps c) / c.
    c = xp.sqrt(1 - beta2**t)
    scale = (lr * c / (1 - beta1**t)).astype(p.dtype)
    floor = (eps * c).astype(p.dtype)
    shrink = (1 - lr * weight_decay).astype(p.dtype)
    for w, d, mean, square, step in _pieces(xp, p, grad, m, v):
        if weight_decay and decoupled:
            w *= shrink
        elif weight_decay:
            d = d + weight_decay * w
        xp.subtract(d, mean, out=step)
        step *= 1 - beta1
        mean += step
        xp.square(d, out=step)
        step -= square
        step *= 1 - beta2
        square += step
        xp.sqrt(square, out=step)
        step += floor
        xp.divide(mean, step, out=step)
        step *= scale
        w -= step
    return p


# ---- optimizers ----------------------------------------------------------------------------------


def _at_least_0(who: str, **values: float) -> None:
    for name, value in values.items():
        require(who, name, value, 0 <= value < math.inf, "a finite number >= 0")


def _named(who: str, params: Any, *kinds: Any) -> dict[str, Any]:
    """What is of these kinds, by name; one that is taken or lacking is made unique by its place."""
    if isinstance(params, Module):
        params = params._named(*kinds)
    elif isinstance(params, Tensor) or callable(params):
        cure = f"[{params.name or 'w'}]" if isinstance(params, Tensor) else "net.parameters()"
        what = "a tensor" if isinstance(params, Tensor) else "a function"
        raise TypeError(f"{who}: the parameters are {what}; expected several: give {cure}")
    pairs: Any = params.items() if isinstance(params, Mapping) else ((None, p) for p in params)
    found: dict[str, Any] = {}
    for i, (name, p) in enumerate(pairs):
        if not isinstance(p, kinds):
            made = getattr(getattr(p, "node", None), "primitive", None)
            what = f"{type(p).__name__} {p!r:.60}"
            what = f"the result of {spelling.called(made.name)}" if made else what
            raise TypeError(
                f"{who}: entry {i} of the parameters is {what}; expected an nn.Parameter, a leaf: "
                "give net.parameters(), or nn.Parameter(x) for a tensor of your own"
            )
        if any(p is q for q in found.values()):
            raise ValueError(f"{who}: parameter {p.name or i!r} is given twice; give each once")
        label = name or p.name or "parameter"
        found[f"{label}#{i}" if label in found or label == "parameter" else label] = p
    if not found:
        raise ValueError(f"{who}: no parameters; expected at least one, for example from a layer")
    return found


def _scalar_like(x: Tensor, value: Any, dtype: str) -> Tensor:
    """A 0-d array of state on the backend of x."""
    return Tensor(x.backend.asarray(np.array(value, dtype=dtype)))


class Optimizer:
    """What optimizers share: named parameters, state arrays, the learning rate.

    A parameter belongs to the optimizer made last for it; an earlier one raises when stepped.
    Subclasses define `state_of` and `update`.

    Args:
        params: net.parameters(), a module, or a dict of parameters.
        lr: the learning rate, >= 0.
        options: constants of the update.
    """

    def __new__(cls, *args: Any, **options: Any) -> Self:
        spelling.constructed(cls, args, options)
        return super().__new__(cls)

    def __init__(self, params: Params, lr: float, **options: Any) -> None:
        who = type(self).__name__
        _at_least_0(who, lr=lr)
        self.options = options
        self._named = _named(who, params, Parameter)
        self.params = list(self._named.values())
        self._lr = _scalar_like(self.params[0], lr, "float64")
        self._arrays = [self.state_of(p) for p in self.params]
        self._state = {"lr": self._lr}  # what is saved
        for name, arrays in zip(self._named, self._arrays, strict=True):
            self._state |= {f"{name}.{key}": x for key, x in arrays.items()}
        self._claim = object()
        for p in self.params:
            p.claim = self._claim

    def state_of(self, p: Parameter) -> dict[str, Tensor]:
        """The arrays that are kept for a parameter, by name."""
        return {}

    def update(self, p: Parameter, g: Tensor, *arrays: Tensor) -> None:
        """Change a parameter by its gradient, and the arrays kept for it."""
        raise NotImplementedError

    @property
    def lr(self) -> float:
        """The learning rate; set it before a step to change it."""
        return float(self._lr.item())

    @lr.setter
    def lr(self, value: float) -> None:
        _at_least_0(type(self).__name__, lr=value)
        assign(self._lr, _scalar_like(self._lr, value, "float64"))

    def step(self, grads: Sequence[Tensor | None] | None = None) -> None:
        """Update every parameter that has a gradient.

        Args:
            grads: one for each parameter, in their order, as tinygen.grad returns them; None
                takes each parameter's .grad. Parameters whose gradient is None, and frozen ones
                (requires_grad False), are left alone.

        Raises:
            RuntimeError: no gradient at all; a parameter that a later optimizer has taken over.
            ValueError: grads do not fit the parameters.
        """
        who = f"{type(self).__name__}.step"
        for name, p in self._named.items():
            if p.claim is not self._claim:
                raise RuntimeError(
                    f"{who}: parameter {name!r} was taken over by an optimizer made later; step "
                    "that one, or make this one again"
                )
        if grads is None:
            grads = [p.grad if p.requires_grad else None for p in self.params]
        else:
            self._check(who, grads)
        if all(g is None for g in grads):
            raise RuntimeError(f"{who}: no parameter has a gradient; call loss.backward() first")
        with no_grad():
            for p, g, arrays in zip(self.params, grads, self._arrays, strict=True):
                if g is not None:
                    self.update(p, g, *arrays.values())

    def _check(self, who: str, grads: Sequence[Tensor | None]) -> None:
        if len(grads) != len(self.params):
            what = f"{len(grads)} gradients for {len(self.params)} parameters"
            raise ValueError(f"{who}: {what}; expected one each, in order (None to skip one)")
        for (name, p), g in zip(self._named.items(), grads, strict=True):
            if g is not None and (g.shape, g.dtype) != (p.shape, p.dtype):
                raise ValueError(
                    f"{who}: the gradient of {name!r} is {g.shape} {g.dtype}, the parameter "
                    f"{p.shape} {p.dtype}; expected the same shape and dtype"
                )

    def zero_grad(self) -> None:
        """Forget the gradient of every parameter."""
        for p in self.params:
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Learning rate, step counts and moments as NumPy copies, named "0.weight.m" and so on."""
        return arrays_of(self._state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the optimizer that gave `state` stood.

        Raises:
            ValueError: names, shapes or dtypes differ; nothing is changed then.
        """
        restore(f"{type(self).__name__}.load_state_dict", self._state, state, strict=True)

    def __repr__(self) -> str:
        count = sum(p.size for p in self.params)
        return f"{type(self).__name__}(lr={self.lr:g}, {count:,} parameters)"


class SGD(Optimizer):
    """Stochastic gradient descent: p -= lr g, with momentum and weight decay as options.

    d = g + weight_decay p;  v = momentum v + d;  p -= lr v, or lr (d + momentum v) with nesterov.

    Args:
        params: net.parameters(), a module, or a dict of parameters.
        lr: the learning rate, >= 0.
        momentum: in [0, 1); 0 keeps no velocity.
        nesterov: look ahead by the momentum; needs momentum > 0.
        weight_decay: >= 0.

    Raises:
        ValueError: a number out of its range, no parameters, one given twice.
        TypeError: something that is not an nn.Parameter.

    Source: Sutskever et al., 2013, in the form where lr multiplies the velocity.
    """

    def __init__(
        self, params: Params, lr: float, momentum: float = 0.0, nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        require("SGD", "momentum", momentum, 0 <= momentum < 1, "0 <= momentum < 1")
        require("SGD", "nesterov", nesterov, momentum > 0 or not nesterov, "momentum > 0 with it")
        _at_least_0("SGD", weight_decay=weight_decay)
        options = {"momentum": momentum, "nesterov": bool(nesterov)} if momentum else {}
        super().__init__(params, lr, weight_decay=weight_decay, **options)

    def state_of(self, p: Parameter) -> dict[str, Tensor]:
        return {"velocity": p.zeros_like()} if "momentum" in self.options else {}

    def update(self, p: Parameter, g: Tensor, *velocity: Tensor) -> None:
        step = sgd_momentum_step if velocity else sgd_step
        step(p, g, *velocity, self._lr, **self.options)


class Adam(Optimizer):
    """Adam: steps of about lr, scaled by running moments of the gradient.

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
    p -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps),  t counted for each parameter.

    Args:
        params: net.parameters(), a module, or a dict of parameters.
        lr: the learning rate, >= 0.
        betas: decay of the moments, each in [0, 1).
        eps: >= 0, added to the root.
        weight_decay: >= 0; weight_decay p is added to g (see AdamW for the decoupled form).

    Raises:
        ValueError: a number out of its range, no parameters, one given twice.
        TypeError: something that is not an nn.Parameter.

    Source: Kingma and Ba, 2015, algorithm 1.
    """

    decoupled = False

    def __init__(
        self, params: Params, lr: float = 1e-3, betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        who = type(self).__name__
        valid = np.shape(betas) == (2,) and all(0 <= beta < 1 for beta in betas)
        require(who, "betas", betas, valid, "two numbers, each 0 <= beta < 1")
        _at_least_0(who, eps=eps, weight_decay=weight_decay)
        super().__init__(
            params, lr, beta1=betas[0], beta2=betas[1], eps=eps, weight_decay=weight_decay,
            decoupled=self.decoupled,
        )  # fmt: skip

    def state_of(self, p: Parameter) -> dict[str, Tensor]:
        return {"m": p.zeros_like(), "v": p.zeros_like(), "step": _scalar_like(p, 0, "int64")}

    def update(self, p: Parameter, g: Tensor, *moments: Tensor) -> None:
        adam_step(p, g, *moments, self._lr, **self.options)


class AdamW(Adam):
    """Adam with decoupled weight decay: p -= lr weight_decay p before each step of Adam.

    Arguments, errors and defaults are Adam's. Source: Loshchilov and Hutter, 2019, algorithm 2.
    """

    decoupled = True


# ---- schedules -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Schedule:
    """The learning rate as a pure function of the step: warm-up, then constant or decaying.

    For step < warmup: lr (step + 1) / warmup. After it, with f running from 0 to 1 at `steps`:
    lr (constant), lr + (final - lr) f (linear), final + (lr - final) (1 + cos(pi f)) / 2 (cosine);
    beyond `steps`, final.

        optimizer.lr = schedule.lr_at(step)

    Args:
        lr: the largest rate, >= 0.
        kind: "constant", "linear" or "cosine".
        steps: steps in all, warm-up included; needed unless constant.
        warmup: steps of warm-up, >= 0.
        final: the rate at the end of the decay, >= 0.

    Raises:
        ValueError: an unknown kind, or a number out of its range.

    Source: Loshchilov and Hutter, 2017, equation 5, without restarts (cosine).
    """

    lr: float
    kind: str = "constant"
    steps: int | None = None
    warmup: int = 0
    final: float = 0.0

    def __post_init__(self) -> None:
        known = ("constant", "linear", "cosine")
        require("Schedule", "kind", self.kind, self.kind in known, f"one of {', '.join(known)}")
        _at_least_0("Schedule", lr=self.lr, warmup=self.warmup, final=self.final)
        ends = self.steps is not None and self.steps > self.warmup
        require("Schedule", "steps", self.steps, ends or self.kind == "constant",
                 f"more than the warm-up of {self.warmup} for a {self.kind} decay")  # fmt: skip

    def lr_at(self, step: int) -> float:
        """The learning rate of step number `step`, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.kind == "constant" or self.steps is None:
            return self.lr
        f = min(1.0, (step - self.warmup) / (self.steps - self.warmup))
        if self.kind == "linear":
            return self.lr + (self.final - self.lr) * f
        return self.final + (self.lr - self.final) * (1 + math.cos(math.pi * f)) / 2


# ---- clipping ------------------------------------------------------------------------------------


def _with_grads(who: str, params: Params) -> list[tuple[Parameter, Tensor]]:
    live = [p for p in _named(who, params, Parameter).values() if p.requires_grad]
    found = [(p, p.grad) for p in live if p.grad is not None]
    if not found:
        raise RuntimeError(f"{who}: no parameter has a gradient; call loss.backward() first")
    return found


def clip_grad_norm(params: Params, max_norm: float) -> Tensor:
    """Scale all gradients by min(1, max_norm / (|g| + 1e-6)), |g| the norm of all together.

    Returns |g| before scaling, a 0-d float64 tensor. A gradient that is not finite gives a norm
    that is not either: check it before the step.

    Raises:
        RuntimeError: no parameter has a gradient.
        ValueError: max_norm is not above 0.

    Source: Pascanu, Mikolov and Bengio, 2013, algorithm 1.
    """
    require("clip_grad_norm", "max_norm", max_norm, max_norm > 0, "a number > 0")
    clipped = _with_grads("clip_grad_norm", params)
    with no_grad():
        squares = [ops.sum(ops.square(ops.astype(g, "float64"))) for _, g in clipped]
        norm = ops.sqrt(ops.sum(ops.stack(squares)))
        scale = ops.minimum(max_norm / (norm + 1e-6), 1.0)
        for p, g in clipped:
            p.grad = g * ops.astype(scale, g.dtype)
    return norm


def clip_grad_value(params: Params, value: float) -> None:
    """Limit every element of every gradient to [-value, value].

    Raises RuntimeError if no parameter has a gradient, ValueError if value is not above 0.
    """
    require("clip_grad_value", "value", value, value > 0, "a number > 0")
    clipped = _with_grads("clip_grad_value", params)
    with no_grad():
        for p, g in clipped:
            p.grad = ops.clip(g, low=-value, high=value)


# ---- averages of weights -------------------------------------------------------------------------


@primitive(mutates=("average",))
def ema_step(xp: XP, average: Array, p: Array, rate: Array) -> Array:
    """average += rate (p - average)."""
    rate = rate.astype(p.dtype)
    for a, w, step in _pieces(xp, average, p):
        xp.subtract(w, a, out=step)
        step *= rate
        a += step
    return average


class EMA:
    """An exponential moving average of weights: average = decay average + (1 - decay) p.

        ema.update()               # after each optimizer step
        with ema.swapped():        # the module computes with the averages in this block
            images = generator(z)

    The average starts at the current weights; `set_decay` before an update changes how fast it
    forgets them. Of a module, the buffers are averaged as well: running statistics belong to the
    weights that they were met with. Integers and booleans stay as they are: they have no mean.

    Args:
        params: a module, net.parameters(), or a dict of parameters (and buffers).
        decay: in [0, 1], typically 0.999.

    Raises:
        ValueError: decay out of its range, or no parameters.
        RuntimeError: any use but reading weights while the averages are swapped in.

    Source: Polyak and Juditsky, 1992; the exponential form as in Karras et al., 2018.
    """

    def __init__(self, params: Params | Mapping[str, Tensor], decay: float) -> None:
        found = _named("EMA", params, Parameter, Buffer)
        self._named = {name: p for name, p in found.items() if p.dtype.kind == "f"}
        self._averages = {name: p.copy() for name, p in self._named.items()}
        self._rate = _scalar_like(next(iter(self._averages.values())), 0, "float64")
        self._inside = False
        self.set_decay(decay)

    def set_decay(self, decay: float) -> None:
        """How much of the average the next updates keep, in [0, 1]."""
        require("EMA", "decay", decay, 0 <= decay <= 1, "0 <= decay <= 1")
        assign(self._rate, _scalar_like(self._rate, 1 - decay, "float64"))

    def _refuse_inside(self, what: str) -> None:
        if self._inside:
            raise RuntimeError(f"EMA.{what}: averages swapped in; leave the swapped() block first")

    def update(self) -> None:
        """Move the averages towards the current weights."""
        self._refuse_inside("update")
        with no_grad():
            for name, p in self._named.items():
                ema_step(self._averages[name], p, self._rate)

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Within the block the parameters hold the averages; after it, exactly what they held.

        The values change in place. Do not train within the block.
        """
        self._refuse_inside("swapped")
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        """Exchange averages and weights, in place."""
        self._inside = not self._inside
        with no_grad():
            for name, p in self._named.items():
                before = p.copy()
                assign(p, self._averages[name])
                assign(self._averages[name], before)

    def copy_to_model(self) -> None:
        """Make the averages the weights, for good: what a finished training hands over."""
        self._refuse_inside("copy_to_model")
        restore("EMA.copy_to_model", self._named, self._averages, strict=True)

    def state_dict(self) -> dict[str, Any]:
        """The averages by parameter name, as NumPy copies."""
        self._refuse_inside("state_dict")
        return arrays_of(self._averages)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the averages. Raises ValueError if names, shapes or dtypes differ."""
        self._refuse_inside("load_state_dict")
        restore("EMA.load_state_dict", self._averages, state, strict=True)


if not TYPE_CHECKING:
    __getattr__ = spelling.names("tinygen.optim", spelling.OPTIM)
