"""Who watches, and what changes: the recording flag, observers, the clock, changes in place.

This module imports nothing of tinygen, so that all of it can tell what happens here. Whoever wants
to know writes an Observer with the methods of interest, and watches for as long as a block lasts:

    class Names(Observer):
        def called(self, operation, args, static, out):
            print(operation.name)

    with watching(Names()):
        loss = step(images)

Several may watch at once, and watching never changes what runs.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .graph import Node

clock = itertools.count(1)  # numbers nodes and in-place changes in the order they happen


class Observer:
    """Receives the events of a thread. Each method does nothing until it is overridden.

    A method may raise an error to stop the event. It must not call operations, because they are
    events, too; `x.data` has the values.

    Attributes:
        every_operation: a replayed plan does not do: compiled functions run as they stand.
        every_step: a compiled training does not do either: train runs its steps as they stand.
        of_the_step: is part of what runs, so that it may begin within a compiled function.
    """

    every_operation = False
    every_step = False
    of_the_step = False

    def called(
        self, operation: Any, args: tuple[Any, ...], static: dict[str, Any], out: Any
    ) -> None:
        """An operation was done: on tensors and Python scalars, with `out`, one array or several.

        While a rule runs, `state.pulling` is the node whose gradient is computed.
        """

    def entering(self, operation: Any, args: tuple[Any, ...], static: dict[str, Any]) -> None:
        """The body of a fused operation is about to run: no kernel did it whole."""

    def leaving(self, operation: Any, out: Any) -> None:
        """It ran and returned `out`; None where it raised."""

    def turned(self, i: int, state: tuple[Any, ...]) -> None:
        """Turn i of a loop (tinygen.repeat) is done, with this state."""

    def region(self, n: int, body: Any, state: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """A loop of n turns begins: the last state where the observer keeps its body, else None."""

    def opens(self, operation: Any) -> bool:
        """Whether it wants the calls of a fused operation's body: then no kernel runs it whole."""
        return False

    def walking_back(self, outputs: Any, targets: Any, fills: bool, create_graph: bool) -> None:
        """A backward pass from these tensors begins; `fills`: it adds to .grad.

        It leads to the nodes in `targets`, or to every leaf where that is None.
        """

    def stepping(self, optimizer: Any, grads: Any) -> None:
        """An optimizer is about to update its parameters by these gradients, one each or None."""

    def changing(self, owner: Any) -> None:
        """The memory of this array is about to be changed in place."""

    def drawing(self, generator: Any) -> None:
        """A random.Generator is about to draw."""

    def crossing(self, what: str) -> None:
        """Values cross between host and tensors: "read" from one, or "make" one."""

    def replaying(self, plan: Any) -> None:
        """A compiled function is about to replay this plan, whose operations call no observer."""

    def joined(self, other: Observer) -> None:
        """Another observer is about to watch, too."""


class _State(threading.local):
    """What a thread is doing: whether it records, and who watches."""

    recording = True
    observers: tuple[Observer, ...] = ()
    first: Node | None = None  # where the backward pass that is going on began
    pulling: Node | None = None  # the node whose rules are running, while someone watches


state = _State()


class watching(contextlib.ContextDecorator):  # noqa: N801  (read as a statement)
    """Within the block `observer` receives the thread's events: beside the others, or `alone`."""

    def __init__(self, observer: Observer, alone: bool = False) -> None:
        self._given = observer, alone
        self._before: list[tuple[Observer, ...]] = []  # one entry for each block entered

    def __enter__(self) -> Observer:
        observer, alone = self._given
        before = state.observers
        for other in before:
            other.joined(observer)
        self._before.append(before)
        state.observers = (observer,) if alone else (*before, observer)
        return observer

    def __exit__(self, *_: object) -> None:
        state.observers = self._before.pop()

    def _recreate_cm(self) -> watching:
        return watching(*self._given)  # each call of a decorated function has its own


def crossing(what: str) -> None:
    """Tell the observers that values cross between host and tensors: "read" or "make"."""
    for observer in state.observers:
        observer.crossing(what)


# ---- changes in place ----------------------------------------------------------------------------

# Storages changed in place: id of the owning array -> (when, by which primitive, the owner).
changed: dict[int, tuple[int, str, Any]] = {}
replayed: dict[int, Any] = {}  # the plans that ran since: their changes are still to be entered
newest = [0]  # when the last change was: nodes made since need no look


def changing(owner: Any, by: str) -> None:
    """Remember that the primitive `by` changes the memory of this array now."""
    for observer in state.observers:
        observer.changing(owner)
    key = id(owner)
    alive = weakref.ref(owner, lambda _, key=key: changed.pop(key, None))  # type: ignore[misc]
    newest[0] = next(clock)
    changed[key] = (newest[0], by, alive)
