"""How a function becomes differentiable and fast: @primitive, .vjp, .check, @fused, dispatch.

    @primitive(broadcasts=True)
    def mul(xp, x, y):                  # the reference, in any array module; arrays positional
        return x * y
    mul.vjp(x=lambda g, y: g * y,       # a rule asks by name for what it needs,
            y=lambda g, x: g * x)       # and only what some rule asks for is kept alive

A rule is tensor code: it sees tensors, never raw arrays. Names it may ask for: the array
arguments, the keyword-only (static) ones, `g` (the cotangent), `ans` (the output), and `x_shape`,
`x_dtype` for an argument x.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from . import backend as backends
from .backend import Array, Backend, DeviceError
from .graph import Node, clock, grad, recording, state
from .tensor import Tensor, as_tensor

PRIMITIVES: dict[str, Primitive] = {}
SCALARS = frozenset((float, int, bool))
WEAK = SCALARS | {type(None)}
_CACHE_LIMIT = 4096  # signatures remembered for one primitive before starting over

# Storages changed in place: id of the owning array -> (when, by which primitive, the owner).
_changed: dict[int, tuple[int, str, Any]] = {}


def _mark_changed(owner: Array, name: str) -> None:
    key = id(owner)
    alive = weakref.ref(owner, lambda _: _changed.pop(key, None))
    _changed[key] = (next(clock), name, alive)


class Primitive:
    """A named function of arrays with a reference, checks, and a rule for each argument.

    Called with tensors (or arrays, or Python scalars, which take the other operands' dtype) it
    returns a tensor, and records a node if a gradient may be wanted.

    Args:
        fn: the reference `fn(xp, x, y, ..., *, static...)`.
        broadcasts: arguments broadcast against each other; gradients are summed back centrally.
        nondiff: names of array arguments that carry no gradient; "all" for the whole function.
        mutates: names of arguments written in place. Such a primitive has no rule, is never
            recorded, refuses arguments that were recorded for a gradient (leaves are welcome), and
            makes stale saved values an error.
        floats: the arguments must be floating-point.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        broadcasts: bool = False,
        nondiff: tuple[str, ...] | str = (),
        mutates: tuple[str, ...] = (),
        floats: bool = False,
        first: int = 1,
    ) -> None:
        self.reference = fn
        self.name = self.__name__ = fn.__name__
        self.__doc__ = fn.__doc__
        parameters = list(inspect.signature(fn).parameters.values())[first:]
        self.__signature__ = inspect.Signature(parameters)  # what help() shows: without xp
        self.args = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        starred = [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]
        self.variadic = bool(starred)
        self.args += starred
        self.defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        self.optional = {p.name for p in parameters if p.default is None and p.name in self.args}
        self.required = len(self.args) - len(self.optional)
        if starred and len(self.args) > 1:
            raise TypeError(f"{self.name}: *{starred[0]} must be the only array argument")
        for name in (*self.args, *self.defaults):
            if name in ("g", "ans") or name.endswith(("_shape", "_dtype")):
                raise TypeError(
                    f"{self.name}: the argument name {name!r} is reserved for rules; rename it"
                )
        self.broadcasts = broadcasts
        self.nondiff = frozenset(self.args if nondiff == "all" else nondiff)
        self.mutates = frozenset(mutates)
        self.floats = floats
        for name in self.nondiff | self.mutates:
            if name not in self.args:
                raise TypeError(f"{self.name}: no array argument is called {name!r}")
        self._unrecorded = bool(self.mutates) or self.nondiff.issuperset(self.args)
        self.rules: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {}
        self.rule_for_all: tuple[Callable[..., Any], tuple[str, ...]] | None = None
        self.checker: tuple[Callable[..., None], tuple[str, ...]] | None = None
        self._checked_static: tuple[str, ...] = ()
        self._backends: dict[Any, Backend] = {}  # by signature: the checks passed, run here
        self._recipes: dict[int, Recipe] = {}  # by the set of traced arguments
        self._arity = sys.maxsize if self.variadic else len(self.args)
        if self.name in PRIMITIVES:
            raise ValueError(f"a primitive called {self.name!r} is registered already")
        PRIMITIVES[self.name] = self

    # ---- declaration -------------------------------------------------------------------------

    def vjp(self, **rules: Callable[..., Any]) -> None:
        """Register the rule of each differentiable argument, all in one call."""
        self._refuse_rule()
        for arg, rule in rules.items():
            if arg not in self.args or arg in self.nondiff:
                raise TypeError(f"{self.name}.vjp: {arg!r} is not a differentiable argument")
            self.rules[arg] = (rule, self._asked(rule))
        missing = [a for a in self.args if a not in self.rules and a not in self.nondiff]
        if missing:
            raise TypeError(
                f"{self.name}.vjp: no rule for {', '.join(missing)}; give one, or declare it "
                "nondiff"
            )

    def vjp_all(self, rule: Callable[..., Any]) -> None:
        """Register one rule that returns a tuple with the gradients of all arguments."""
        self._refuse_rule()
        self.rule_for_all = (rule, self._asked(rule))

    def _refuse_rule(self) -> None:
        if self.mutates:
            raise TypeError(
                f"{self.name}: it writes into {', '.join(sorted(self.mutates))}, and a primitive "
                "that changes its arguments has no gradient; return new arrays instead"
            )

    def check(self, checker: Callable[..., None]) -> Callable[..., None]:
        """Register a function that raises on bad shapes; runs once a new signature.

        It asks by name for arguments (it may look at .shape and .dtype only) and static ones.
        """
        wanted = tuple(inspect.signature(checker).parameters)
        unknown = [name for name in wanted if name not in (*self.args, *self.defaults)]
        if unknown:
            raise TypeError(f"{self.name}: a check asks for {', '.join(unknown)}")
        self.checker = (checker, wanted)
        self._checked_static = tuple(name for name in wanted if name in self.defaults)
        return checker

    def _asked(self, rule: Callable[..., Any]) -> tuple[str, ...]:
        wanted = tuple(inspect.signature(rule).parameters)
        known = {"g", "ans", *self.args, *self.defaults}
        known |= {a + end for a in self.args for end in ("_shape", "_dtype")}
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise TypeError(
                f"{self.name}: a rule asks for {', '.join(unknown)}; "
                f"it may ask for {', '.join(sorted(known))}"
            )
        return wanted

    # ---- calling -----------------------------------------------------------------------------

    def __call__(self, *args: Any, **static: Any) -> Tensor:
        if len(args) > self._arity:
            return self(*args[: self._arity], **self._by_position(args[self._arity :], static))
        arrays: list[Any] = []  # what the reference gets
        nodes: list[Node | None] = []
        signature: list[Any] = []
        traced = 0  # bit i: argument i carries a gradient
        bit = 1
        for x in args:
            if isinstance(x, Tensor):
                a = x.data
                arrays.append(a)
                signature.append(a.__class__)
                signature.append(a.shape)
                signature.append(a.dtype)
                node = x.node
                nodes.append(node)
                if node is not None:
                    traced |= bit
            elif x.__class__ in WEAK:
                arrays.append(x)
                nodes.append(None)
                signature.append(x.__class__)
            else:
                if self.mutates:
                    self._check_mutable(args)
                return self(*map(_tensor_or_weak, args), **static)
            bit += bit
        signature.extend(static)  # the names: an option unknown or missing is found once, too
        for name in self._checked_static:
            signature.append(static.get(name, self.defaults[name]))
        key = tuple(signature)
        try:
            backend = self._backends.get(key)
        except TypeError:  # a list among the static arguments
            return self(*args, **{k: _frozen(v) for k, v in static.items()})
        if backend is None:
            if not any(isinstance(x, Tensor) for x in args) and any(x is not None for x in args):
                return self(*(x if x is None else as_tensor(x) for x in args), **static)
            backend = self._admit(key, args, static)
        if traced and self.mutates:
            self._refuse_recorded(args)

        # The one dispatch point: a kernel if one takes the call, else the reference.
        kernel = backend.kernels.get(self.name)
        out = NotImplemented if kernel is None else kernel(*arrays, **static)
        if out is NotImplemented:
            out = self.reference(backend.xp, *arrays, **static)
            if out.__class__ is not backend.array_type:  # NumPy turns 0-d results into scalars
                many = out.__class__ is tuple
                out = tuple(map(backend.xp.asarray, out)) if many else backend.xp.asarray(out)
        else:
            backend.hits[self.name] += 1

        if self.mutates:
            self._after_mutation(args)
        if state.observer is not None:
            state.observer(self, args, static, out)
        if traced and not self._unrecorded and state.recording:
            return self._record(args, nodes, static, out, traced)
        if out.__class__ is tuple:
            return tuple(map(Tensor, out))  # type: ignore[return-value]
        return Tensor(out)

    def _by_position(self, extra: tuple[Any, ...], static: dict[str, Any]) -> dict[str, Any]:
        """Static arguments given by position, in the order of the declaration."""
        if len(extra) > len(self.defaults):
            raise TypeError(
                f"{self.name}: {self._arity + len(extra)} arguments, expected at most "
                f"{self._arity + len(self.defaults)} ({', '.join([*self.args, *self.defaults])})"
            )
        named = dict(zip(self.defaults, extra, strict=False))
        if named.keys() & static.keys():
            twice = ", ".join(sorted(named.keys() & static.keys()))
            raise TypeError(f"{self.name}: {twice} given both by position and by name")
        return {**named, **static}

    def _record(
        self, args: tuple[Any, ...], nodes: list[Any], static: dict[str, Any], out: Any, traced: int
    ) -> Tensor:
        """The output with a node that holds what the rules of the traced arguments ask for."""
        recipe = self._recipes.get(traced)
        if recipe is None:
            recipe = self._recipes[traced] = self._plan(traced, len(args))
        if not recipe.pulls:
            return Tensor(out)
        saved: list[Any] = []
        for kind, i in recipe.saves:
            if kind == "value":
                saved.append(args[i])
            elif kind == "ans":
                saved.append(out)  # the raw array: a tensor here would be a reference cycle
            elif kind == "values":
                saved.append(args)
            elif kind == "shape":
                saved.append(np.shape(args[i]))
            elif kind == "dtype":
                saved.append(args[i].dtype)
            else:
                saved.append(tuple(getattr(x, kind[:-1]) for x in args))
        if self.nondiff:
            nodes = [None if self._arg(i) in self.nondiff else n for i, n in enumerate(nodes)]
        if out.__class__ is tuple:
            likes = tuple((o.shape, o.dtype) for o in out)
            call = Node(self, tuple(nodes), recipe, saved, {**static, OUTPUTS: likes}, ())
            if state.observer is not None:
                call.line = user_line()
            return self._outputs(call, out)  # type: ignore[return-value]
        node = Node(self, tuple(nodes), recipe, saved, static, out.shape)
        if state.observer is not None:
            node.line = user_line()
        return Tensor(out, node)

    def _arg(self, i: int) -> str:
        return self.args[0] if self.variadic else self.args[i]

    def _plan(self, traced: int, count: int) -> Recipe:
        """What to keep, and which rules will run, when the arguments in `traced` have nodes."""
        saves: dict[tuple[str, int], int] = {}  # what is kept -> where in Node.saved
        pulls: list[tuple[int, Callable[..., Any], tuple[Any, ...]]] = []
        for i in range(count):
            if not traced >> i & 1 or self._arg(i) in self.nondiff:
                continue
            rule, wanted = self._rule(self._arg(i))
            fetches: list[Any] = []
            for name in wanted:
                entry = self._entry(name)
                fetches.append(name if entry is None else saves.setdefault(entry, len(saves)))
            pulls.append((i, rule, tuple(fetches)))
        return Recipe(tuple(saves), tuple(pulls), saves.get(("ans", 0)))

    def _entry(self, name: str) -> tuple[str, int] | None:
        """How a rule's `name` is kept: None for the cotangent and the static arguments."""
        if name == "ans":
            return ("ans", 0)
        if name in self.args:
            return ("values", 0) if self.variadic else ("value", self.args.index(name))
        if name.endswith(("_shape", "_dtype")):
            arg, _, kind = name.rpartition("_")
            return (kind + "s", 0) if self.variadic else (kind, self.args.index(arg))
        return None

    def _rule(self, arg: str) -> tuple[Callable[..., Any], tuple[str, ...]]:
        if self.rule_for_all is not None:
            return self.rule_for_all
        if arg not in self.rules:
            raise NotImplementedError(
                f"{self.name} has no gradient rule for {arg!r}; register one with "
                f"{self.name}.vjp({arg}=...), or call it on x.detach()"
            )
        return self.rules[arg]

    # ---- checks, once a signature ------------------------------------------------------------

    def _admit(self, key: Any, args: tuple[Any, ...], static: dict[str, Any]) -> Backend:
        """Check the arguments and find the backend; remembered for this signature."""
        if not self.variadic and len(args) < self.required:
            raise TypeError(
                f"{self.name}: {len(args)} arguments, expected {self.required} "
                f"({', '.join(self.args)})"
            )
        unknown = [name for name in static if name not in self.defaults]
        empty = inspect.Parameter.empty
        lacking = [k for k, v in self.defaults.items() if v is empty and k not in static]
        if unknown or lacking:
            problem = "unknown option " if unknown else "missing option "
            raise TypeError(
                f"{self.name}: {problem}{', '.join(unknown or lacking)}; it takes "
                f"{', '.join(self.defaults) or 'no options'}"
            )
        for i, x in enumerate(args):
            if x is None and self._arg(i) not in self.optional:
                raise TypeError(
                    f"{self.name}: {self._arg(i)} is None; expected a tensor, an array or a number"
                )
        backend = self._backend_of(args)
        if self.mutates:
            self._check_mutable(args)
        else:
            self._check_dtypes(args)
        if self.broadcasts:
            try:
                np.broadcast_shapes(*(np.shape(x) for x in args))
            except ValueError:
                raise ValueError(
                    f"{self.name}: shapes do not broadcast: {self._describe(args)}; expected "
                    "equal sizes (or 1) counted from the last axis; reshape one of them"
                ) from None
        if self.checker is not None:
            checker, wanted = self.checker
            named = {self.args[0]: args} if self.variadic else dict(zip(self.args, args))  # noqa: B905
            have = {**self.defaults, **static, **named}
            checker(**{name: have.get(name) for name in wanted})
        if len(self._backends) >= _CACHE_LIMIT:
            self._backends.clear()
        self._backends[key] = backend
        return backend

    def _backend_of(self, args: tuple[Any, ...]) -> Backend:
        found: dict[str, str] = {}
        for i, x in enumerate(args):
            if isinstance(x, Tensor):
                found.setdefault(x.backend.name, self._arg(i))
        if len(found) > 1:
            (a, x), (b, y) = list(found.items())[:2]
            raise DeviceError(
                f"{self.name}: {x} is on {a!r} and {y} on {b!r}; move one with "
                f"{y}.to({a!r}) or {x}.to({b!r})"
            )
        return backends.get(next(iter(found))) if found else backends.current()

    def _check_dtypes(self, args: tuple[Any, ...]) -> None:
        comparison = self.broadcasts and self._unrecorded
        free = [x for i, x in enumerate(args) if comparison or self._arg(i) not in self.nondiff]
        kinds = {x.dtype.name for x in free if isinstance(x, Tensor)}
        floats = {k for k in kinds if k.startswith("float")}
        weak_float = any(x.__class__ is float for x in free)
        if len(floats) > 1 or ((floats or weak_float) and kinds - floats):
            raise TypeError(
                f"{self.name}: dtypes do not mix: {self._describe(args)}; expected one "
                "floating-point dtype; convert one side, for example x.astype('float32')"
            )
        if self.floats and kinds - floats:
            raise TypeError(
                f"{self.name}: expected floating-point values, got {self._describe(args)}; "
                "convert with x.astype('float32')"
            )

    def _describe(self, args: tuple[Any, ...]) -> str:
        """The arguments in words: `x (4, 3) float32, y = 2.0`."""
        words = []
        for i, x in enumerate(args):
            name = f"{self.args[0]}[{i}]" if self.variadic else self._arg(i)
            words.append(
                f"{name} {x.shape} {x.dtype}" if isinstance(x, Tensor) else f"{name} = {x!r}"
            )
        return ", ".join(words)

    def _check_mutable(self, args: tuple[Any, ...]) -> None:
        for i, x in enumerate(args):
            if self._arg(i) in self.mutates and not isinstance(x, Tensor):
                raise TypeError(
                    f"{self.name}: it writes into {self._arg(i)}, which is {type(x).__name__}; "
                    "expected a tensor"
                )

    def _refuse_recorded(self, args: tuple[Any, ...]) -> None:
        for i, x in enumerate(args):
            node = x.node if isinstance(x, Tensor) else None
            made = None if node is None else node.primitive
            if made is not None and (state.recording or self._arg(i) in self.mutates):
                raise ValueError(
                    f"{self.name}: {self._arg(i)} {x.shape} was recorded for a gradient (it is the "
                    f"result of {made.name}), which an in-place change would make wrong; give "
                    f"{self._arg(i)}.detach()"
                )

    def _after_mutation(self, args: tuple[Any, ...]) -> None:
        for name in self.mutates:
            x = args[self.args.index(name)]
            _mark_changed(x.owner(), self.name)

    # ---- the backward half -------------------------------------------------------------------

    def pull(self, node: Node, g: Any, needed: set[Node] | None) -> list[tuple[Node, Tensor]]:
        """The cotangent of each parent in `needed`, given `g`, the cotangent of the output."""
        saved = node.saved
        if saved is None:
            raise RuntimeError(
                f"{self.name}: the values saved for this gradient were released by an earlier "
                "backward pass; call it with retain_graph=True to differentiate twice"
            )
        recipe = node.recipe
        if _changed:
            self._refuse_stale(node, saved)
        if recipe.ans is not None:
            ans = saved[recipe.ans]
            one = ans.__class__ is not tuple
            saved = list(saved)
            saved[recipe.ans] = Tensor(ans, node) if one else self._outputs(node, ans)
        if OUTPUTS in node.static:
            g = _gather(g, node.static[OUTPUTS])
        out: list[tuple[Node, Tensor]] = []
        shared: Any = None
        for i, rule, fetches in recipe.pulls:
            parent = node.parents[i]
            if needed is not None and parent not in needed:
                continue
            gradient = shared
            if gradient is None:
                values = []
                for f in fetches:
                    if f.__class__ is int:
                        values.append(saved[f])
                    elif f == "g":
                        values.append(g)
                    else:
                        values.append(node.static[f] if f in node.static else self.defaults[f])
                gradient = rule(*values)
            if gradient.__class__ is tuple:  # one rule for all arguments
                shared, gradient = gradient, gradient[i]
            if gradient.data.shape != parent.shape:
                if not self.broadcasts:
                    raise RuntimeError(
                        f"{self.name}: the rule for {self._arg(i)!r} returned shape "
                        f"{gradient.shape}, the argument has shape {parent.shape}"
                    )
                gradient = PRIMITIVES["sum_to"](gradient, shape=parent.shape)
            out.append((parent, gradient))
        return out

    def _outputs(self, call: Node, arrays: tuple[Any, ...]) -> tuple[Tensor, ...]:
        """The outputs of a call with several, as tensors on that call's node."""
        return tuple(
            Tensor(a, Node(pick, (call,), i, None, {}, a.shape)) for i, a in enumerate(arrays)
        )

    def _refuse_stale(self, node: Node, saved: list[Any]) -> None:
        for (kind, i), value in zip(node.recipe.saves, saved, strict=True):
            for v in value if value.__class__ is tuple else (value,):
                array = v.data if isinstance(v, Tensor) else v
                base = getattr(array, "base", None)
                owner = array if base.__class__ is not array.__class__ else base
                change = _changed.get(id(owner))
                if change is None or change[0] < node.number:
                    continue
                name = "ans" if kind == "ans" else self._arg(i)
                label = f" (parameter {v.name!r})" if isinstance(v, Tensor) and v.name else ""
                raise RuntimeError(
                    f"{self.name}: its saved {name}{label} of shape {array.shape} was changed in "
                    f"place by {change[1]} after it was used; compute the gradient before the "
                    "update, or run the forward pass again"
                )

    def __repr__(self) -> str:
        return f"<primitive {self.name}({', '.join([*self.args, *self.defaults])})>"


class Recipe(NamedTuple):
    """What a node keeps and which rules it will run."""

    saves: tuple[tuple[str, int], ...]
    pulls: tuple[tuple[int, Callable[..., Any], tuple[Any, ...]], ...]
    ans: int | None  # where among the saved values the output is


# ---- primitives with several outputs: each output hangs on the node of the call ------------------

OUTPUTS = "(outputs)"  # the key in Node.static of the outputs' shapes and dtypes


class _Parts(dict[int, Any]):
    """The cotangents of a call's outputs, by index, as they arrive."""

    def __add__(self, other: _Parts) -> _Parts:
        both = self.keys() & other.keys()
        return _Parts({**self, **other, **{i: self[i] + other[i] for i in both}})


def _gather(parts: _Parts, likes: tuple[tuple[Any, Any], ...]) -> tuple[Tensor, ...]:
    """One cotangent for each output: zeros where none arrived."""
    xp = next(iter(parts.values())).backend.xp
    return tuple(
        parts[i] if i in parts else Tensor(xp.zeros(*like)) for i, like in enumerate(likes)
    )


class _Pick:
    """Makes an output's cotangent one part of the call's; the recipe of its node is the index."""

    name = "pick"

    def pull(self, node: Node, g: Any, needed: set[Node] | None) -> list[tuple[Any, Any]]:
        return [(node.parents[0], _Parts({node.recipe: g}))]


pick: Any = _Pick()


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def _tensor_or_weak(x: Any) -> Any:
    """NumPy scalars are weak like Python's; any other data become a tensor."""
    if isinstance(x, Tensor) or x.__class__ in WEAK:
        return x
    return x.item() if isinstance(x, np.generic) else as_tensor(x)


class Fused(Primitive):
    """A function written in plain operations that a kernel may do in one go.

    The body is the definition, the fallback, the source of the gradient and the oracle of the
    tests. It must be pure: no random draw, no state.
    """

    def __init__(self, body: Callable[..., Any]) -> None:
        super().__init__(body, first=0)
        self.body = body

    def __call__(self, *args: Any, **static: Any) -> Tensor:
        if len(args) > self._arity:
            static = self._by_position(args[self._arity :], static)
        args = tuple(map(_tensor_or_weak, args[: self._arity]))
        if not any(isinstance(x, Tensor) for x in args):
            args = tuple(x if x is None else as_tensor(x) for x in args)
        backend = self._backend_of(args)
        kernel = backend.kernels.get(self.name)
        if kernel is None:
            return self.body(*args, **static)  # type: ignore[no-any-return]
        out = kernel(*(x.data if isinstance(x, Tensor) else x for x in args), **static)
        if out is NotImplemented:
            return self.body(*args, **static)  # type: ignore[no-any-return]
        backend.hits[self.name] += 1
        if state.observer is not None:
            state.observer(self, args, static, out)
        nodes = [x.node if isinstance(x, Tensor) else None for x in args]
        traced = sum(1 << i for i, n in enumerate(nodes) if n is not None)
        if traced and state.recording:
            return self._record(args, nodes, static, out, traced)
        if out.__class__ is tuple:
            return tuple(map(Tensor, out))  # type: ignore[return-value]
        return Tensor(out)

    def _rule(self, arg: str) -> tuple[Callable[..., Any], tuple[str, ...]]:
        if self.rules or self.rule_for_all is not None:
            return super()._rule(arg)
        return (self.body, tuple(self.args))  # pull differentiates the body

    def pull(self, node: Node, g: Any, needed: set[Node] | None) -> list[tuple[Node, Tensor]]:
        if self.rules or self.rule_for_all is not None or node.saved is None:
            return super().pull(node, g, needed)
        if _changed:
            self._refuse_stale(node, node.saved)
        # Run the body again on stand-ins for the arguments. With create_graph a stand-in hangs on
        # the argument's own node, so that the result is differentiable further.
        create = state.recording
        wanted = [i for i, p in enumerate(node.parents)
                  if p is not None and (needed is None or p in needed)]  # fmt: skip
        inner = list(node.saved)
        static = {k: v for k, v in node.static.items() if k != OUTPUTS}
        with recording(True):
            for i in wanted:
                x = inner[i]
                inner[i] = PRIMITIVES["identity"](x) if create else x.detach(requires_grad=True)
            y = self.body(*inner, **static)
        if OUTPUTS in node.static:
            y, g = [y[i] for i in g], list(g.values())
        gradients = grad(y, [inner[i] for i in wanted], g, create_graph=create)
        return [(node.parents[i], gx) for i, gx in zip(wanted, gradients, strict=True)]  # type: ignore[misc]


@overload
def primitive(fn: Callable[..., Any]) -> Primitive: ...
@overload
def primitive(**options: Any) -> Callable[[Callable[..., Any]], Primitive]: ...
def primitive(fn: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Declare a primitive: `@primitive` or `@primitive(broadcasts=True, ...)`; see Primitive."""
    if fn is not None:
        return Primitive(fn)
    return lambda fn: Primitive(fn, **options)


def fused(body: Callable[..., Any]) -> Fused:
    """Declare a fused operation by its body of plain operations; see Fused."""
    return Fused(body)


_PACKAGE = str(Path(__file__).parent)


def user_line() -> str:
    """File and line of the innermost frame that is not the engine's own."""
    frame: Any = sys._getframe(1)
    engine = tuple(
        f"{_PACKAGE}/{part}" for part in ("primitive", "graph", "tensor", "ops", "testing")
    )
    while frame.f_back is not None and frame.f_code.co_filename.startswith(engine):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


__all__ = ["PRIMITIVES", "Fused", "Primitive", "fused", "primitive", "user_line"]
