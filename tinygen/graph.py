"""The graph: nodes, the walk back over them, `no_grad`.

A tensor that carries a gradient has a node. The node of a leaf has no primitive; any other node
says which primitive made the tensor, from which parents, and what its rules need. `pull_back` walks
the nodes from the last made to the first and lets each primitive's rules turn the cotangent of its
output into cotangents of its inputs. What a cotangent is, and how to add two, it need not know: for
tensors see differentiate.py.
"""

from __future__ import annotations

import contextlib
import inspect
import operator
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Self, TypeVar

from .events import clock, state

if TYPE_CHECKING:
    from .primitive import Primitive
    from .tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])


class Node:
    """How one tensor was made: a leaf has no primitive and keeps the gradient that backward adds.

    `parents` has an entry for each array argument of `primitive`: its node, or None where no
    gradient flows. `saved` holds what the rules asked for by name, and nothing else; `recipe`
    (see primitive.py) says what is what. A node never refers to its tensor, so a graph has no
    reference cycle.
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
        # Where the user called: known while someone watches. Of a node whose saved values are
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


def reachable(roots: Iterable[Node]) -> list[Node]:
    """Every node from which a root was made, the last made first: a topological order."""
    seen = set(roots)
    stack = list(seen)
    while stack:
        for node in stack.pop().parents:
            if node is not None and node not in seen:
                seen.add(node)
                stack.append(node)
    return sorted(seen, key=_number, reverse=True)


def on_path(order: list[Node], targets: set[Node]) -> set[Node]:
    """The targets and the nodes made from one: only these need a cotangent."""
    needed = set(targets)
    for node in reversed(order):
        if not needed.isdisjoint(node.parents):
            needed.add(node)
    return needed


def pull_back(
    cotangents: dict[Node, Any], targets: set[Node] | None, create_graph: bool, called_at: Any
) -> dict[Node, Any]:
    """Cotangents of `targets` (of every leaf where None), given those of the outputs.

    Saved values are kept where `called_at` is None; else it is noted in the nodes, for messages.
    """
    order = reachable(cotangents)
    needed = None if targets is None else on_path(order, targets)
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
            if state.observers:
                state.pulling = node
            for parent, g_parent in primitive.pull(node, g, needed):
                before = cotangents.get(parent)
                cotangents[parent] = g_parent if before is None else before + g_parent
            if called_at is not None:
                node.saved, node.line = None, called_at
    finally:
        state.pulling, state.recording, state.first = outer
    return cotangents
