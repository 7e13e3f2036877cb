"""`checkpoint`: memory for time. A function that keeps nothing, and runs again in backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import checks
from .callsite import user_line
from .differentiate import beside, grad
from .events import Observer, newest, state, watching
from .graph import Node, recording
from .outputs import Call, outputs_of
from .primitive import Recipe
from .tensor import Tensor


class _Once(Observer):
    """What the first run of a checkpoint shows: tensors that it reads from outside, and draws."""

    of_the_step = True

    def __init__(self) -> None:
        self.tensors: dict[int, Tensor] = {}
        self.drawn: dict[int, tuple[Any, Tensor, int]] = {}

    def called(self, operation: Any, args: Any, static: Any, out: Any) -> None:
        self.meet(args)

    def meet(self, tensors: Sequence[Any]) -> None:
        found = (x for x in tensors if isinstance(x, Tensor) and x.node is not None)
        self.tensors.update({id(x): x for x in found})

    def drawing(self, generator: Any) -> None:
        self.drawn.setdefault(id(generator), (generator, generator.base, generator.offset))

    def changing(self, owner: Any) -> None:
        raise RuntimeError(
            f"checkpoint: {user_line()} changes memory in place, and would again when the "
            "function runs a second time; change it outside of the checkpoint"
        )


class _Checkpoint:
    """What made the results of a checkpoint, as far as the walk back is concerned."""

    name = "checkpoint"

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], seen: _Once) -> None:
        self.f, self.args, self.drawn = f, args, list(seen.drawn.values())

    def arg(self, i: int) -> str:
        return f"tensor {i}"

    def pull(self, node: Node, g: Any, needed: set[Node] | None) -> list[tuple[Node, Tensor]]:
        """Run the function again, recorded, and differentiate it."""
        this: Any = self
        if node.saved is None:
            raise checks.released(this, node)
        if any(generator.base is not base for generator, base, _ in self.drawn):
            raise RuntimeError(
                "checkpoint: a generator that the function drew from was set to another state; "
                "compute the gradient before that"
            )
        if newest[0] > node.number:
            checks.stale(this, node, node.saved)
        create, outer = state.recording, [x.node for x in node.saved]
        offsets = [generator.offset for generator, _, _ in self.drawn]
        pulled: list[tuple[Node, Tensor]] = []
        try:  # for the time of the run each tensor that is differentiated by is a leaf, or like one
            for x, parent in zip(node.saved, node.parents, strict=True):
                x.node = None
                if parent is not None and (needed is None or parent in needed):
                    x.node = beside(x, parent if create else None).node
                    pulled.append((parent, Tensor(x.data, x.node)))
            for generator, _, offset in self.drawn:
                generator.offset = offset
            with recording(True):
                y = self.f(*self.args)
            many = isinstance(y, tuple)
            ys = [Tensor(one.data, one.node) for one in (y if many else (y,))]  # as they are now
        finally:
            for x, before in zip(node.saved, outer, strict=True):
                x.node = before
            for (generator, _, _), offset in zip(self.drawn, offsets, strict=True):
                generator.offset = offset
        ys, gs = g.reached(ys) if isinstance(node, Call) else (ys, [g])
        gradients = grad(ys, [x for _, x in pulled], gs, create_graph=create)
        return [(parent, gx) for (parent, _), gx in zip(pulled, gradients, strict=True)]


def checkpoint(f: Callable[..., Any], *args: Any) -> Any:
    """f(*args), which keeps nothing for the gradient: backward runs f again.

    Memory for time: of a deep network in pieces, what the rules need is alive for one piece only.
    Gradients flow to the arguments and to all tensors that f reads from outside, such as the
    parameters of a module. What f draws at random it draws again. A compiled step finds that both
    runs compute the same, and keeps the first.

    Args:
        f: function that returns a tensor or a tuple of tensors; it changes nothing in place.
        args: its arguments.

    Raises:
        RuntimeError: f changes memory in place; or, in backward, what f read was changed since, or
            a generator that it drew from was set to another state.
        TypeError: f gives something else than tensors.

    Source: Chen et al., "Training deep nets with sublinear memory cost", 2016.
    """
    seen = _Once()
    with recording(False), watching(seen):
        y = f(*args)
    many = isinstance(y, tuple)
    ys = y if many else (y,)
    for one in ys:
        if not isinstance(one, Tensor):
            raise TypeError(
                f"checkpoint: the function gives {type(one).__name__} {one!r:.40}; expected a "
                "tensor, or a tuple of tensors"
            )
    seen.meet(args)
    seen.meet(ys)
    tensors = list(seen.tensors.values())
    if not tensors or not state.recording:
        return y
    saved = [*tensors, *(base for _, base, _ in seen.drawn.values())]
    recipe = Recipe(tuple(("value", i) for i in range(len(saved))), (), None)
    by: Any = _Checkpoint(f, args, seen)
    parents = tuple(x.node for x in saved)
    if not many:
        return Tensor(y.data, Node(by, parents, recipe, saved, {}, y.shape))
    likes = tuple((one.shape, one.dtype) for one in ys)
    call = Call(by, parents, recipe, saved, {}, (), likes=likes)
    return outputs_of(call, tuple(one.data for one in ys))
