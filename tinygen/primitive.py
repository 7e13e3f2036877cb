"""How a function becomes differentiable and fast: @primitive, .vjp, .check, dispatch.

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
from collections.abc import Callable
from typing import Any, NamedTuple, overload

from . import backend as backends
from . import checks, events, lines
from .backend import Backend, quiet
from .callsite import user_line
from .events import clock, newest, state
from .graph import Node
from .outputs import Call, outputs_of
from .tensor import Tensor, as_tensor
from .traits import Traits
from .weak import WEAK, tensors_or_weak

PRIMITIVES: dict[str, Primitive] = {}
_CACHE_LIMIT = 4096  # signatures remembered for one primitive before starting over
revised = [0]  # when a definition or a rule last took the place of another: older plans are void


class Primitive:
    """A named function of arrays with a reference, checks, and a rule for each argument.

    Called with tensors (or arrays, or Python scalars, which take the other operands' dtype) it
    returns a tensor, and records a node if a gradient may be wanted.

    Declared again from the same module under the same qualified name (a notebook cell that is run
    twice, importlib.reload), it takes the place of the one before, with its rules; kernels that
    were given for that one by hand are dropped. Rules that are given again replace the ones before.

    Args:
        fn: the reference `fn(xp, x, y, ..., *, static...)`.
        broadcasts: arguments broadcast against each other; gradients are summed back centrally.
        nondiff: names of array arguments that carry no gradient; "all" for the whole function.
        mutates: names of arguments written in place. Such a primitive has no rule, is never
            recorded, refuses arguments that were recorded for a gradient (leaves are welcome), and
            makes stale saved values an error.
        floats: the arguments must be floating-point.
        traits: what the operation is, see Traits. What broadcasts is pointwise.
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
        **traits: Any,
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
        self.broadcasts = broadcasts
        self.nondiff = frozenset(self.args if nondiff == "all" else nondiff)
        self.mutates = frozenset(mutates)
        self.floats = floats
        self.traits = Traits(**{"pointwise": broadcasts, **traits})
        self._unrecorded = bool(self.mutates) or self.nondiff.issuperset(self.args)
        self.rules: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {}
        self.rule_for_all: tuple[Callable[..., Any], tuple[str, ...]] | None = None
        self.checker: checks.Checker | None = None
        self._checked_static: tuple[str, ...] = ()
        self._number_options = tuple(p.name for p in parameters if _may_be_a_number(p))
        self._backends: dict[Any, Backend] = {}  # by signature: the checks passed, run here
        self._recipes: dict[int, Recipe] = {}  # by the set of traced arguments
        self._arity = sys.maxsize if self.variadic else len(self.args)
        self._ruled = 0  # when the rules were given: a node made before may have kept too little
        before = PRIMITIVES.get(self.name)
        checks.declaration(self, before)
        backends.declared(self.name, lines.one_line(self))
        if before is not None:
            before.name += " (replaced)"  # no kernel that is given for the new one serves it
            revised[0] = next(clock)
        PRIMITIVES[self.name] = self

    # ---- declaration -------------------------------------------------------------------------

    def vjp(self, *unnamed: Any, **rules: Callable[..., Any]) -> None:
        """Register the rule of each differentiable argument, all in one call."""
        checks.rules(self, tuple(rules), unnamed)
        self._give({k: (rule, checks.asked(self, rule, rule=True)) for k, rule in rules.items()})

    def vjp_all(self, rule: Callable[..., Any]) -> None:
        """Register one rule that returns a tuple with the gradients of all arguments."""
        checks.rules(self, [a for a in self.args if a not in self.nondiff])
        self._give({}, (rule, checks.asked(self, rule, rule=True)))

    def _give(self, rules: dict[str, Any], rule_for_all: Any = None) -> None:
        """Let these be the rules, in place of any before."""
        again = bool(self.rules) or self.rule_for_all is not None or bool(self._recipes)
        self.rules, self.rule_for_all = rules, rule_for_all
        self._recipes.clear()
        if again:
            self._ruled = revised[0] = next(clock)

    def check(self, checker: Callable[..., None]) -> Callable[..., None]:
        """Register a function that raises on bad shapes; runs once a new signature.

        It asks by name for arguments (it may look at .shape and .dtype only) and static ones.
        """
        wanted = checks.asked(self, checker, rule=False)
        self.checker = (checker, wanted)
        self._backends.clear()  # what an earlier check let pass
        self._checked_static = tuple(name for name in wanted if name in self.defaults)
        return checker

    def arg(self, i: int) -> str:
        """The name of array argument number i."""
        return self.args[0] if self.variadic else self.args[i]

    # ---- calling -----------------------------------------------------------------------------

    def __call__(self, *args: Any, **static: Any) -> Tensor:
        if len(args) > self._arity:
            more = checks.by_position(self, args[self._arity :], static)
            return self(*args[: self._arity], **more)
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
                    checks.mutable(self, args)
                return self(*tensors_or_weak(args, self.broadcasts), **static)
            bit += bit
        if static:
            signature.extend(static)  # the names: an option unknown or missing is found once, too
            for name in self._number_options:
                signature.append(static.get(name).__class__)  # a tensor as an option, too
            for name in self._checked_static:
                signature.append(static.get(name, self.defaults[name]))
        key = tuple(signature)
        try:
            backend = self._backends.get(key)
        except TypeError:  # a list among the static arguments
            return self(*args, **{k: checks.frozen(self, k, v) for k, v in static.items()})
        if backend is None:
            if not any(isinstance(x, Tensor) for x in args) and any(x is not None for x in args):
                return self(*(x if x is None else as_tensor(x) for x in args), **static)
            backend = checks.arguments(self, args, static)
            if len(self._backends) >= _CACHE_LIMIT:
                self._backends.clear()
            self._backends[key] = backend
        if self.mutates:
            self._announce(args, traced)

        # The one dispatch point: a kernel if one takes the call, else the reference.
        kernel = backend.kernels.get(self.name)
        out = NotImplemented if kernel is None else kernel(*arrays, **static)
        if out is NotImplemented:
            try:
                out = quiet.run(self.reference, backend.xp, *arrays, **static)
            except RuntimeError:
                out = quiet.inside(self.reference, backend.xp, *arrays, **static)
            if out.__class__ is not backend.array_type:  # NumPy turns 0-d results into scalars
                out = backend.as_arrays(out)
        else:
            backend.hits[self.name] += 1

        observers = state.observers
        if observers:
            for observer in observers:
                observer.called(self, args, static, out)
        if traced and not self._unrecorded and state.recording:
            line = user_line() if observers else None
            return self._record(args, nodes, static, out, traced, line)
        if out.__class__ is tuple:
            return tuple(map(Tensor, out))  # type: ignore[return-value]
        return Tensor(out)

    def _announce(self, args: tuple[Any, ...], traced: int) -> None:
        """Report which arguments are about to be written; refuse those that were recorded."""
        if traced:
            checks.recorded(self, args)
        for name in self.mutates:
            events.changing(args[self.args.index(name)].owner(), self.name)

    def _record(
        self, args: tuple[Any, ...], nodes: list[Any], static: dict[str, Any], out: Any,
        traced: int, line: str | None,
    ) -> Tensor:  # fmt: skip
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
                saved.append(getattr(args[i], "shape", ()))
            elif kind == "dtype":
                saved.append(args[i].dtype)
            else:
                saved.append(tuple(getattr(x, kind[:-1]) for x in args))
        if self.nondiff:
            nodes = [None if self.arg(i) in self.nondiff else n for i, n in enumerate(nodes)]
        if out.__class__ is tuple:
            likes = tuple((o.shape, o.dtype) for o in out)
            call = Call(self, tuple(nodes), recipe, saved, static, (), likes=likes)
            call.line = line
            return outputs_of(call, out)  # type: ignore[return-value]
        node = Node(self, tuple(nodes), recipe, saved, static, out.shape)
        node.line = line
        return Tensor(out, node)

    def _plan(self, traced: int, count: int) -> Recipe:
        """What to keep, and which rules will run, when the arguments in `traced` have nodes."""
        saves: dict[tuple[str, int], int] = {}  # what is kept -> where in Node.saved
        pulls: list[tuple[int, Callable[..., Any], tuple[Any, ...]]] = []
        for i in range(count):
            if not traced >> i & 1 or self.arg(i) in self.nondiff:
                continue
            rule, wanted = self._rule(self.arg(i))
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
            raise checks.no_rule(self, arg)
        return self.rules[arg]

    # ---- the backward half -------------------------------------------------------------------

    def pull(self, node: Node, g: Any, needed: set[Node] | None) -> list[tuple[Node, Tensor]]:
        """The cotangent of each parent in `needed`, given `g`, the cotangent of the output."""
        saved = node.saved
        if saved is None:
            raise checks.released(self, node)
        if node.number < self._ruled:
            raise checks.ruled_anew(self)
        recipe = node.recipe
        if newest[0] > node.number:
            checks.stale(self, node, saved)
        if recipe.ans is not None:
            ans = saved[recipe.ans]
            saved = list(saved)
            saved[recipe.ans] = (
                outputs_of(node, ans) if isinstance(node, Call) else Tensor(ans, node)
            )
        if isinstance(node, Call):
            g = g.whole(node)
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
                    raise checks.rule_shape(self, i, gradient.shape, parent.shape)
                gradient = PRIMITIVES["sum_to"](gradient, shape=parent.shape)
            out.append((parent, gradient))
        return out

    def __repr__(self) -> str:
        return f"<primitive {self.name}({', '.join([*self.args, *self.defaults])})>"


class Recipe(NamedTuple):
    """What a node keeps and which rules it will run."""

    saves: tuple[tuple[str, int], ...]
    pulls: tuple[tuple[int, Callable[..., Any], tuple[Any, ...]], ...]
    ans: int | None  # where among the saved values the output is


def _may_be_a_number(p: inspect.Parameter) -> bool:
    """Whether a keyword-only argument may be a float, so that someone may give a tensor."""
    bare = p.annotation is p.empty and p.default is p.empty
    floats = "float" in str(p.annotation) or p.default.__class__ is float
    return p.kind is p.KEYWORD_ONLY and (bare or floats)


@overload
def primitive(fn: Callable[..., Any]) -> Primitive: ...
@overload
def primitive(**options: Any) -> Callable[[Callable[..., Any]], Primitive]: ...
def primitive(fn: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Declare a primitive: `@primitive` or `@primitive(broadcasts=True, ...)`; see Primitive."""
    if fn is not None:
        return Primitive(fn)
    return lambda fn: Primitive(fn, **options)
