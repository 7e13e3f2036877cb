"""Optimizers, learning-rate schedules, gradient clipping, and averages of weights.

The updates themselves are in updates.py, the learning rates over the steps in rates.py.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from . import ops, spelling
from .events import state
from .graph import no_grad
from .nn.module import Buffer, Module, Parameter, arrays_of, assign, require, restore
from .ops.totals import sum_of_squares
from .rates import Course as Course
from .rates import Schedule as Schedule
from .rates import at_least_0
from .tensor import Tensor
from .updates import adam_step as adam_step
from .updates import ema_step as ema_step
from .updates import sgd_momentum_step as sgd_momentum_step
from .updates import sgd_step as sgd_step

__all__ = ["EMA", "SGD", "Adam", "AdamW", "Clipped", "Course", "Group", "Optimizer", "Schedule",
           "clip_grad_norm", "clip_grad_value"]  # fmt: skip

Params = Module | Mapping[str, Parameter] | Iterable[Parameter]
Groups = Params | Iterable[Mapping[str, Any]]

# ---- optimizers ----------------------------------------------------------------------------------


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


@dataclass
class Group:
    """Parameters of an optimizer that are updated alike.

    Attributes:
        params: the parameters by name.
        options: the constants of their update.
        own: the learning rate that it has when the optimizer has the one that it was made with.
    """

    params: dict[str, Parameter]
    options: dict[str, Any]
    own: float
    rate: Tensor  # the learning rate, where the parameters are
    arrays: list[dict[str, Tensor]]

    @property
    def lr(self) -> float:
        """The learning rate of the group."""
        return float(self.rate.item())


def _grouped(who: str, params: Any) -> list[tuple[dict[str, Parameter], dict[str, Any]]]:
    """The parameters of each group by name, unique in all, and what the group says of itself."""
    whole = isinstance(params, (Module, Mapping, Tensor)) or callable(params)
    entries = params if whole else list(params)
    if whole or not any(isinstance(x, Mapping) for x in entries):
        return [(_named(who, entries, Parameter), {})]
    groups: list[tuple[dict[str, Parameter], dict[str, Any]]] = []
    taken: dict[str, Parameter] = {}
    for i, entry in enumerate(entries):
        if not isinstance(entry, Mapping) or "params" not in entry:
            what = f"keys {', '.join(entry)}" if isinstance(entry, Mapping) else repr(entry)[:60]
            raise TypeError(
                f"{who}: group {i} is {what}; expected a dict with 'params' and the options of "
                "the group, or parameters alone, without groups"
            )
        named = {}
        for name, p in _named(f"{who}: group {i}", entry["params"], Parameter).items():
            if any(p is q for q in taken.values()):
                raise ValueError(f"{who}: parameter {name!r} is in two groups; give each once")
            places = itertools.count(len(taken))
            unique = name
            while unique in taken:
                unique = f"{name}#{next(places)}"
            taken[unique] = named[unique] = p
        groups.append((named, {k: v for k, v in entry.items() if k != "params"}))
    return groups


class Optimizer:
    """What optimizers share: named parameters, state arrays, the learning rate.

    A parameter belongs to the optimizer made last for it; an earlier one raises when stepped.
    Subclasses define `settled`, `state_of` and `update`.

    Args:
        params: net.parameters(), a module, or a dict of parameters; or a list of groups, each a
            dict of "params" and of what is otherwise with them: any option of the optimizer.
        lr: the learning rate, >= 0.
        options: of the update, for groups that do not say otherwise.

    Attributes:
        groups: the groups of parameters; one where none were given.
        clip_norm: where above 0, `step` scales all gradients as clip_grad_norm does, and skips the
            step if their norm is not finite.
        skips: how many steps were skipped so far, a 0-d tensor where the parameters are.
    """

    def __new__(cls, *args: Any, **options: Any) -> Self:
        spelling.constructed(cls, args, options)
        return super().__new__(cls)

    def __init__(self, params: Groups, lr: float, **options: Any) -> None:
        who = type(self).__name__
        at_least_0(who, lr=lr)
        self.options = self.settled(who, **options)
        self._base = lr
        self.clip_norm = 0.0
        self.groups = []
        for i, (named, own) in enumerate(_grouped(who, params)):
            given = own.keys() - options.keys() - {"lr"}
            if given:
                known = ", ".join(["lr", *options])
                raise ValueError(
                    f"{who}: group {i} has no option {', '.join(sorted(given))}; expected of "
                    f"{known}"
                )
            own_lr = own.pop("lr", lr)
            at_least_0(f"{who}: group {i}", lr=own_lr)
            moves = lr > 0 or own_lr == lr
            expected = "the optimizer's lr above 0, which groups move with"
            require(f"{who}: group {i}", "lr", own_lr, moves, expected)
            settled = self.options  # the same dict: a change of it serves all that say nothing else
            if own:
                settled = self.settled(f"{who}: group {i}", **{**options, **own})
            rate = _scalar_like(next(iter(named.values())), own_lr, "float64")
            arrays = [self.state_of(p, settled) for p in named.values()]
            self.groups.append(Group(named, settled, own_lr, rate, arrays))
        self._named = {k: p for group in self.groups for k, p in group.params.items()}
        self.params = list(self._named.values())
        self._lr = _scalar_like(self.params[0], lr, "float64")
        self.skips = _scalar_like(self.params[0], 0, "int64")
        self._state = {"lr": self._lr}  # what is saved
        for i, group in enumerate(self.groups):
            if group.own == lr:  # it moves as the optimizer's
                group.rate = self._lr
            else:
                self._state[f"lr#{i}"] = group.rate
            for name, kept in zip(group.params, group.arrays, strict=True):
                self._state |= {f"{name}.{key}": x for key, x in kept.items()}
        self._claim = object()
        for p in self.params:
            p.claim = self._claim

    def settled(self, who: str, **options: Any) -> dict[str, Any]:
        """The constants of an update from the options as given; ValueError for one out of range."""
        return options

    def state_of(self, p: Parameter, options: dict[str, Any]) -> dict[str, Tensor]:
        """The arrays that are kept for a parameter, by name."""
        return {}

    def update(
        self, p: Parameter, g: Tensor, lr: Tensor, options: dict[str, Any], *arrays: Tensor
    ) -> None:
        """Change a parameter by its gradient, and the arrays kept for it; not if lr is NaN."""
        raise NotImplementedError

    @property
    def lr(self) -> float:
        """The learning rate; setting it before a step moves those of all groups in proportion."""
        return float(self._lr.item())

    @lr.setter
    def lr(self, value: float) -> None:
        at_least_0(type(self).__name__, lr=value)
        assign(self._lr, _scalar_like(self._lr, value, "float64"))
        for group in self.groups:
            if group.rate is not self._lr:
                own = group.own if value == self._base else group.own * (value / self._base)
                assign(group.rate, _scalar_like(self._lr, own, "float64"))

    @property
    def skipped(self) -> int:
        """How many steps were skipped because the norm of the gradients was not finite."""
        return int(self.skips.item())

    def step(self, grads: Sequence[Tensor | None] | None = None) -> None:
        """Update every parameter that has a gradient.

        A step is skipped, and counted in `skipped`, if the norm of the gradients is not finite and
        clip_grad_norm(..., skip_nonfinite=True) or `clip_norm` asks for that: no parameter, moment
        or step count changes then.

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
        for observer in state.observers:
            observer.stepping(self, grads)
        with no_grad():
            if self.clip_norm:
                grads = _clipped(grads, self.clip_norm)
            given = iter(grads)
            finite = self._finite(grads)
            for group in self.groups:
                lr = group.rate if finite is None else ops.where(finite, group.rate, np.nan)
                for p, arrays in zip(group.params.values(), group.arrays, strict=True):
                    g = next(given)
                    if g is not None:
                        self.update(p, g, lr, group.options, *arrays.values())

    def _finite(self, grads: Sequence[Tensor | None]) -> Tensor | None:
        """Whether the norms that this step depends on are finite; counts it if not."""
        norms = {id(g.norm): g.norm for g in grads if isinstance(g, Clipped)}
        if not norms:
            return None
        finite = ops.isfinite(ops.sum(ops.stack(list(norms.values()))))
        assign(self.skips, ops.where(finite, self.skips, self.skips + 1))
        return finite

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
        """Learning rates, step counts and moments as NumPy copies, named "0.weight.m" and so on.

        "lr#1" is the rate of group 1 if it has its own; "skipped" is there once a step was skipped.
        """
        return arrays_of(self._state | ({"skipped": self.skips} if self.skipped else {}))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the optimizer that gave `state` stood.

        Raises:
            ValueError: names, shapes or dtypes differ; nothing is changed then.
        """
        state = {"skipped": np.zeros((), np.int64), **state}
        held = self._state | {"skipped": self.skips}
        restore(f"{type(self).__name__}.load_state_dict", held, state, strict=True)

    def __repr__(self) -> str:
        count = sum(p.size for p in self.params)
        groups = f", {len(self.groups)} groups" if len(self.groups) > 1 else ""
        return f"{type(self).__name__}(lr={self.lr:g}, {count:,} parameters{groups})"


class SGD(Optimizer):
    """Stochastic gradient descent: p -= lr g, with momentum and weight decay as options.

    d = g + weight_decay p;  v = momentum v + d;  p -= lr v, or lr (d + momentum v) with nesterov.

    Args:
        params: net.parameters(), a module, or a dict of parameters; or groups, see Optimizer.
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
        self, params: Groups, lr: float, momentum: float = 0.0, nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
        )

    def settled(self, who: str, **options: Any) -> dict[str, Any]:
        momentum, nesterov, decay = (options[k] for k in ("momentum", "nesterov", "weight_decay"))
        require(who, "momentum", momentum, 0 <= momentum < 1, "0 <= momentum < 1")
        require(who, "nesterov", nesterov, momentum > 0 or not nesterov, "momentum > 0 with it")
        at_least_0(who, weight_decay=decay)
        moves = {"momentum": momentum, "nesterov": bool(nesterov)} if momentum else {}
        return {"weight_decay": decay, **moves}

    def state_of(self, p: Parameter, options: dict[str, Any]) -> dict[str, Tensor]:
        return {"velocity": p.zeros_like()} if "momentum" in options else {}

    def update(
        self, p: Parameter, g: Tensor, lr: Tensor, options: dict[str, Any], *velocity: Tensor
    ) -> None:
        step = sgd_momentum_step if velocity else sgd_step
        step(p, g, *velocity, lr, **options)


class Adam(Optimizer):
    """Adam: steps of about lr, scaled by running moments of the gradient.

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
    p -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps),  t counted for each parameter.

    Args:
        params: net.parameters(), a module, or a dict of parameters; or groups, see Optimizer.
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
        self, params: Groups, lr: float = 1e-3, betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def settled(self, who: str, **options: Any) -> dict[str, Any]:
        betas, eps, decay = options["betas"], options["eps"], options["weight_decay"]
        valid = np.shape(betas) == (2,) and all(0 <= beta < 1 for beta in betas)
        require(who, "betas", betas, valid, "two numbers, each 0 <= beta < 1")
        at_least_0(who, eps=eps, weight_decay=decay)
        return {
            "beta1": betas[0], "beta2": betas[1], "eps": eps, "weight_decay": decay,
            "decoupled": self.decoupled,
        }  # fmt: skip

    def state_of(self, p: Parameter, options: dict[str, Any]) -> dict[str, Tensor]:
        return {"m": p.zeros_like(), "v": p.zeros_like(), "step": _scalar_like(p, 0, "int64")}

    def update(
        self, p: Parameter, g: Tensor, lr: Tensor, options: dict[str, Any], *moments: Tensor
    ) -> None:
        adam_step(p, g, *moments, lr, **options)


class AdamW(Adam):
    """Adam with decoupled weight decay: p -= lr weight_decay p before each step of Adam.

    Arguments, errors and defaults are Adam's. Source: Loshchilov and Hutter, 2019, algorithm 2.
    """

    decoupled = True


# ---- clipping ------------------------------------------------------------------------------------


def _with_grads(who: str, params: Params) -> list[tuple[Parameter, Tensor]]:
    live = [p for p in _named(who, params, Parameter).values() if p.requires_grad]
    found = [(p, p.grad) for p in live if p.grad is not None]
    if not found:
        raise RuntimeError(f"{who}: no parameter has a gradient; call loss.backward() first")
    return found


class Clipped(Tensor):
    """A gradient that was scaled, which knows the norm that its step depends on."""

    __slots__ = ("norm",)

    def __init__(self, scaled: Tensor, norm: Tensor) -> None:
        super().__init__(scaled.data)
        self.norm = norm


def _scaled(grads: Sequence[Tensor], max_norm: float) -> tuple[list[Tensor], Tensor]:
    """The gradients scaled to a norm of at most max_norm, and the norm that they had."""
    norm = ops.sqrt(ops.sum(ops.stack([sum_of_squares(g, dtype="float64") for g in grads])))
    scale = ops.minimum(max_norm / (norm + 1e-6), 1.0)
    return [g * ops.astype(scale, g.dtype) for g in grads], norm


def _clipped(grads: Sequence[Tensor | None], max_norm: float) -> list[Tensor | None]:
    """The gradients that there are scaled, for a step that is skipped if they are not finite."""
    scaled, norm = _scaled([g for g in grads if g is not None], max_norm)
    left = iter(scaled)
    return [None if g is None else Clipped(next(left), norm) for g in grads]


def clip_grad_norm(
    params: Params, max_norm: float, *, skip_nonfinite: bool = False
) -> Tensor:  # fmt: skip
    """Scale all gradients by min(1, max_norm / (|g| + 1e-6)), |g| the norm of all together.

        optim.clip_grad_norm(net, 1.0, skip_nonfinite=True)
        optimizer.step()           # changes nothing if |g| is NaN or infinite
        optimizer.skipped          # how often that was so

    Returns |g| before scaling, a 0-d float64 tensor. A gradient that is not finite gives a norm
    that is not either: check it before the step, or let the step check it.

    Args:
        params: net.parameters(), a module, or a dict of parameters.
        max_norm: > 0; infinity scales nothing.
        skip_nonfinite: the next optimizer step with these gradients leaves parameters, moments and
            step counts as they are if |g| is not finite. Within a compiled step, too, if that has
            both the clipping and the optimizer's step.

    Raises:
        RuntimeError: no parameter has a gradient.
        ValueError: max_norm is not above 0.

    Source: Pascanu, Mikolov and Bengio, 2013, algorithm 1.
    """
    require("clip_grad_norm", "max_norm", max_norm, max_norm > 0, "a number > 0")
    clipped = _with_grads("clip_grad_norm", params)
    with no_grad():
        scaled, norm = _scaled([g for _, g in clipped], max_norm)
        for (p, _), g in zip(clipped, scaled, strict=True):
            p.grad = Clipped(g, norm) if skip_nonfinite else g
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


class EMA:
    """An exponential moving average of weights: average = decay average + (1 - decay) p.

        ema.update()               # after each optimizer step
        with ema.swapped():        # the module computes with the averages in this block
            images = generator(z)

    The average starts at the current weights; `set_decay` before an update changes how fast it
    forgets them. With `warmup` the decay of update n is min(decay, (1 + n) / (10 + n)), so that
    random ones are soon forgotten. Of a module, the buffers are averaged as well: running
    statistics belong to the weights that they were met with. Integers and booleans stay as they
    are: they have no mean.

    Args:
        params: a module, net.parameters(), or a dict of parameters (and buffers).
        decay: in [0, 1], typically 0.999.
        warmup: count the updates and let the decay grow with them; the count is in the state.

    Raises:
        ValueError: decay out of its range, or no parameters.
        RuntimeError: any use but reading weights while the averages are swapped in.

    Source: Polyak and Juditsky, 1992; the exponential form as in Karras et al., 2018.
    """

    def __init__(
        self, params: Params | Mapping[str, Tensor], decay: float, *, warmup: bool = False
    ) -> None:
        found = _named("EMA", params, Parameter, Buffer)
        self._named = {name: p for name, p in found.items() if p.dtype.kind == "f"}
        self._averages = {name: p.copy() for name, p in self._named.items()}
        self._rate = _scalar_like(next(iter(self._averages.values())), 0, "float64")
        self._inside = False
        self.decay = decay
        self.set_decay(decay)
        self._state = dict(self._averages)  # what is saved
        self._count = _scalar_like(self._rate, 0, "int64") if warmup else None
        if self._count is not None:
            self._state["updates"] = self._count

    def set_decay(self, decay: float) -> None:
        """How much of the average the next updates keep, in [0, 1]."""
        require("EMA", "decay", decay, 0 <= decay <= 1, "0 <= decay <= 1")
        assign(self._rate, _scalar_like(self._rate, 1 - decay, "float64"))

    def decay_at(self, n: int) -> float:
        """With a warm-up: min(decay, (1 + n) / (10 + n)), for update number n from 0 on."""
        return min(self.decay, (1 + n) / (10 + n))

    def _refuse_inside(self, what: str) -> None:
        if self._inside:
            raise RuntimeError(f"EMA.{what}: averages swapped in; leave the swapped() block first")

    def update(self) -> None:
        """Move the averages towards the current weights."""
        self._refuse_inside("update")
        with no_grad():
            if self._count is not None:
                n = ops.astype(self._count, "float64")
                assign(self._rate, 1 - ops.minimum((1 + n) / (10 + n), self.decay))
                assign(self._count, self._count + 1)
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
        """The averages by parameter name, and "updates" with a warm-up, as NumPy copies."""
        self._refuse_inside("state_dict")
        return arrays_of(self._state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the averages. Raises ValueError if names, shapes or dtypes differ."""
        self._refuse_inside("load_state_dict")
        restore("EMA.load_state_dict", self._state, state, strict=True)


if not TYPE_CHECKING:
    __getattr__ = spelling.names("tinygen.optim", spelling.OPTIM)
