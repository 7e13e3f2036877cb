"""@fused: an operation declared by its body of plain operations, which a kernel may do at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, overload

from . import backend as backends
from . import checks
from .callsite import user_line
from .differentiate import grad
from .events import newest, state
from .graph import Node, recording
from .lines import of_body
from .outputs import Call
from .primitive import PRIMITIVES, Primitive
from .tensor import Tensor, as_tensor
from .weak import SCALARS, WEAK, tensors_or_weak


class Fused(Primitive):
    """A function written in plain operations that a kernel may do in one go.

    The body is the definition, the fallback, the source of the gradient and the oracle of the
    tests. It must be pure: no random draw, no state.

    Args:
        body: the function of tensors.
        whole: a plan keeps a call that a kernel takes, instead of opening the body. Its gradient is
            then best given as rules (of which the body's remains the oracle), whole as well.
    """

    def __init__(self, body: Callable[..., Any], *, whole: bool = False) -> None:
        super().__init__(body, first=0)
        self.body = body
        self.whole = whole
        self.reference = _on_arrays(body)
        backends.programs[self.name] = of_body(self)  # which kernels are made of

    def __call__(self, *args: Any, **static: Any) -> Tensor:
        if len(args) > self._arity:
            static = checks.by_position(self, args[self._arity :], static)
        if static:
            checks.options(self, static)
        args = args[: self._arity]
        for x in args:
            if not isinstance(x, Tensor) and x.__class__ not in WEAK:
                args = tuple(tensors_or_weak(args, False))
                break
        arrays: list[Any] = []  # what the kernel gets
        nodes: list[Node | None] = []
        kinds: set[type] = set()  # of the tensors' arrays
        traced = 0  # bit i: argument i carries a gradient
        for x in args:
            if isinstance(x, Tensor):
                kinds.add(x.data.__class__)
                if x.node is not None:
                    traced |= 1 << len(nodes)
                nodes.append(x.node)
                arrays.append(x.data)
            else:
                nodes.append(None)
                arrays.append(x)
        if not kinds and any(x is not None for x in args):
            return self(*(x if x is None else as_tensor(x) for x in args), **static)
        backend = backends.of_type(kinds.pop()) if len(kinds) == 1 else None
        if backend is None:  # of no tensor, of two kinds, or of one that is not loaded
            backend = checks.backend_of(self, args)
        kernel = backend.kernels.get(self.name)
        observers = state.observers
        if kernel is None or (observers and any(o.opens(self) for o in observers)):
            return self._opened(args, static)
        out = kernel(*arrays, **static)
        if out is NotImplemented:
            return self._opened(args, static)
        backend.hits[self.name] += 1
        for observer in observers:
            observer.called(self, args, static, out)
        if traced and state.recording:
            line = user_line() if observers else None
            return self._record(args, nodes, static, out, traced, line)
        if out.__class__ is tuple:
            return tuple(map(Tensor, out))  # type: ignore[return-value]
        return Tensor(out)

    def _opened(self, args: tuple[Any, ...], static: dict[str, Any]) -> Tensor:
        """Run the body and return its result; observers receive its beginning and its end."""
        observers, out = state.observers, None
        for observer in observers:
            observer.entering(self, args, static)
        try:
            out = self.body(*args, **static)
        finally:
            for observer in observers:
                observer.leaving(self, out)
        return out  # type: ignore[no-any-return]

    def _rule(self, arg: str) -> tuple[Callable[..., Any], tuple[str, ...]]:
        if self.rules or self.rule_for_all is not None:
            return super()._rule(arg)
        return (self.body, tuple(self.args))  # pull differentiates the body

    def pull(self, node: Node, g: Any, needed: set[Node] | None) -> list[tuple[Node, Tensor]]:
        if self.rules or self.rule_for_all is not None or node.saved is None:
            return super().pull(node, g, needed)
        if newest[0] > node.number:
            checks.stale(self, node, node.saved)
        # Run the body again on stand-ins for the arguments. With create_graph a stand-in hangs on
        # the argument's own node, so that the result is differentiable further.
        create = state.recording
        wanted = [i for i, p in enumerate(node.parents)
                  if p is not None and (needed is None or p in needed)]  # fmt: skip
        inner = list(node.saved)
        with recording(True):
            for i in wanted:
                x = inner[i]
                inner[i] = PRIMITIVES["identity"](x) if create else x.detach(requires_grad=True)
            y = self.body(*inner, **node.static)
        ys, gs = g.reached(y) if isinstance(node, Call) else ([y], [g])
        reached = [(y, g) for y, g in zip(ys, gs, strict=True) if y.node is not None]
        if not reached:  # of the outputs that count, none depends on what is wanted
            return []
        ys, gs = map(list, zip(*reached, strict=True))
        gradients = grad(ys, [inner[i] for i in wanted], gs, create_graph=create)
        return [(node.parents[i], gx) for i, gx in zip(wanted, gradients, strict=True)]  # type: ignore[misc]


def _on_arrays(body: Callable[..., Any]) -> Callable[..., Any]:
    """The body as a reference: of arrays, in whichever module they are."""

    @functools.wraps(body)
    def reference(xp: Any, *arrays: Any, **static: Any) -> Any:
        args = (x if x is None or x.__class__ in SCALARS else Tensor(x) for x in arrays)
        with recording(False):
            out = body(*args, **static)
        return tuple(y.data for y in out) if out.__class__ is tuple else out.data

    return reference


@overload
def fused(body: Callable[..., Any]) -> Fused: ...
@overload
def fused(**options: Any) -> Callable[[Callable[..., Any]], Fused]: ...
def fused(body: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Declare a fused operation: `@fused` or `@fused(whole=True)`; see Fused."""
    return Fused(body) if body is not None else functools.partial(Fused, **options)
