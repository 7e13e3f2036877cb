"""The differentiator: nodes, `grad`, `backward`, `no_grad`.

A tensor that carries a gradient has a node. The node of a leaf has no primitive; any other node
says which primitive made the tensor, from which parents, and what its rules need. `grad` walks the
nodes from the last made to the first and lets each primitive's rules turn the cotangent of its
output into cotangents of its inputs. The rules are ordinary tensor code, so recording them
(`create_graph=True`) gives gradients of gradients, to any order.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import operator
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from .primitive import Primitive
    from .tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])
clock = itertools.count(1)  # numbers nodes and in-place changes in the order they happen


class _State(threading.local):
    """What a thread is doing: whether it records, and who watches its operations."""

    recording = True
    observer: Callable[..., None] | None = None  # called after every operation, see testing.py
    first: Node | None = None  # where the backward pass that is going on began
    pulling: Node | None = None  # the node whose rules are running, while an observer watches


state = _State()


class Node:
    """How one tensor was made: a leaf has no primitive and keeps the gradient that backward adds.

    `parents` has an entry for each array argument of `primitive`: its node, or None where no
    gradient flows. `saved` holds what the rules asked for by name, and nothing else; `recipe`
    says what is what. A node never refers to its tensor, so a graph has no reference cycle.
    """

    __slots__ = (
        "__weakref__", "grad", "line", "number", "parents", "primitive", "recipe", "saved",
        "shape", "static",
    )  # fmt: skip

    def __init__(
        self,
        primitive: Primitive | None,
        parents: tuple[Node | None, ...],
        recipe: Any,
        saved: list[Any] | None,
        static: dict[str, Any],
        shape: tuple[int, ...],
    ) -> None:
        self.primitive = primitive
        self.parents = parents
        self.recipe = recipe
        self.saved = saved
        self.static = static
        self.shape = shape
        self.number = next(clock)
        self.grad: Tensor | None = None
        # Where the user called: known while an observer watches. Of a node whose saved values are
        # gone, where the backward pass was called that released them.
        self.line: Any = None

    def __reduce__(self) -> Any:
        made = self.primitive.name if self.primitive else "nothing"
        raise TypeError(
            f"a tensor that is the result of {made} is part of a graph, which cannot be copied or "
            "pickled; give x.detach(), the values alone"
        )


class Leaf(Node):
    """The node of a tensor that the user made, for as long as the tensor lives.

    What is recorded while it is `frozen` leaves no path to it. What was recorded before keeps its
    path: a backward pass goes through, but adds nothing to `grad` while the leaf is frozen.
    """

    __slots__ = ("frozen",)

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(None, (), None, None, {}, shape)
        self.frozen = False

    def __reduce__(self) -> Any:
        return Leaf, (self.shape,), (None, {"grad": self.grad, "frozen": self.frozen})


class recording(contextlib.ContextDecorator):  # noqa: N801  (read as a statement)
    """Within the block, or the decorated function, this thread records (True) or does not."""

    def __init__(self, on: bool) -> None:
        self._on = on
        self._before: list[bool] = []  # one entry for each block entered: blocks may nest

    def __enter__(self) -> None:
        self._before.append(state.recording)
        state.recording = self._on

    def __exit__(self, *_: object) -> None:
        state.recording = self._before.pop()

    def _recreate_cm(self) -> recording:
        return recording(self._on)  # each call of a decorated function, in any thread, has its own


def runs_in_pieces(function: Callable[..., Any]) -> bool:
    """Whether a call only begins the function: it is a generator or a coroutine."""
    kinds = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    return any(kind(function) for kind in kinds)


class no_grad(recording):  # noqa: N801
    """Within the block (or the decorated function) nothing is recorded for a gradient.

    As a decorator with or without brackets: `@no_grad` or `@no_grad()`.

    Raises:
        TypeError: it decorates a generator or a coroutine, whose body runs later, in pieces.
    """

    def __new__(cls, function: Callable[..., Any] | None = None) -> Self:
        made = super().__new__(cls)
        return made if function is None else cls()(function)  # type: ignore[return-value]

    def __init__(self, function: None = None) -> None:
        super().__init__(False)

    def __call__(self, function: F) -> F:
        """The function, run within the block."""
        if runs_in_pieces(function):
            raise TypeError(
                f"no_grad: {function.__name__} is a generator or a coroutine, whose body runs "
                "later and in pieces; write `with no_grad():` inside it"
            )
        return super().__call__(function)


_number = operator.attrgetter("number")


def _reachable(roots: Iterable[Node]) -> list[Node]:
    """Every node from which a root was made, the last made first: a topological order."""
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(p for p in node.parents if p is not None)
    return sorted(seen, key=_number, reverse=True)


def _on_path(order: list[Node], targets: set[Node]) -> set[Node]:
    """The targets and the nodes made from one: only these need a cotangent."""
    needed = set(targets)
    for node in reversed(order):
        if not needed.isdisjoint(node.parents):
            needed.add(node)
    return needed


def _pull_back(
    cotangents: dict[Node, Any], targets: set[Node] | None, create_graph: bool, called_at: Any
) -> dict[Node, Any]:
    """Cotangents of `targets` (of every leaf where None), given those of the outputs.

    Saved values are kept where `called_at` is None; else it is noted in the nodes, for messages.
    """
    order = _reachable(cotangents)
    needed = None if targets is None else _on_path(order, targets)
    outer = state.pulling, state.recording, state.first
    state.recording, state.first = create_graph, next(iter(order), None)
    try:
        for node in order:
            primitive = node.primitive
            if primitive is None or node not in cotangents:
                continue
            if needed is not None and node not in needed:
                continue
            kept = targets is not None and node in targets
            g = cotangents[node] if kept else cotangents.pop(node)
            if state.observer is not None:
                state.pulling = node
            for parent, g_parent in primitive.pull(node, g, needed):
                before = cotangents.get(parent)
                cotangents[parent] = g_parent if before is None else before + g_parent
            if called_at is not None:
                node.saved, node.line = None, called_at
    finally:
        state.pulling, state.recording, state.first = outer
    return cotangents


def _seeds(
    outputs: Sequence[Tensor], grad_outputs: Sequence[Tensor | None], who: str
) -> dict[Node, Any]:
    """The cotangents that the walk starts from: ones for a scalar, else what the user gave."""
    from . import checks
    from .tensor import Tensor, tensor

    checks.count_of_cotangents(who, outputs, grad_outputs)
    seeds: dict[Node, Any] = {}
    for y, g in zip(outputs, grad_outputs, strict=True):
        checks.output(who, y, g)
        if g is None:
            g = y.ones_like()
        else:
            g = g if isinstance(g, Tensor) else tensor(g, dtype=y.dtype)
            checks.cotangent(who, y, g)
        node: Any = y.node
        seeds[node] = g if node not in seeds else seeds[node] + g
    return seeds


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> tuple[Tensor, ...]:
    """Gradients of `outputs` with respect to each of `inputs`, as a tuple of tensors.

    g_i = sum_k  grad_outputs_k . d outputs_k / d inputs_i,  of the shape of inputs_i.

    Only rules on a path from an input to an output run. An input that no output depends on gets
    zeros. `create_graph=True` records the computation, so that its result can be differentiated
    again; `retain_graph` (default: create_graph) keeps the saved values for a second call.

    Raises ValueError for an output that is not a scalar without grad_outputs, for an input
    without a node, and for a graph whose saved values were released.
    """
    from . import checks
    from .tensor import Tensor

    ys = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    xs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    gs = [grad_outputs] if isinstance(outputs, Tensor) else grad_outputs
    if isinstance(outputs, Tensor) and isinstance(grad_outputs, (list, tuple)):
        gs = list(grad_outputs)
    nodes = checks.nodes_of("grad", xs)
    targets = set(nodes)
    retain = create_graph if retain_graph is None else retain_graph
    seeds = _seeds(ys, [None] * len(ys) if gs is None else list(gs), "grad")
    found = _pull_back(seeds, targets, create_graph, None if retain else checks.called_at())
    return tuple(found[n] if n in found else x.zeros_like() for n, x in zip(nodes, xs, strict=True))


def backward(
    output: Tensor,
    grad: Any = None,
    inputs: Sequence[Tensor] | None = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradient of `output` to `.grad` of every leaf it was made from (or of `inputs`)."""
    from . import checks

    targets = None if inputs is None else set(checks.nodes_of("backward", inputs))
    retain = create_graph if retain_graph is None else retain_graph
    seeds = _seeds([output], [grad], "backward")
    found = _pull_back(seeds, targets, create_graph, None if retain else checks.called_at())
    given: set[int] = set()  # storages already handed out: no two .grad share memory
    for node, g in found.items():
        if targets is not None and node not in targets:
            continue
        if isinstance(node, Leaf) and node.frozen:
            continue
        if node.grad is not None:
            node.grad = node.grad + g
        else:
            own = g is not grad and g.owner() is g.data and id(g.data) not in given
            node.grad = g if own or create_graph else g.copy()
        given.add(id(node.grad.owner()))
