"""An order in which every number comes after those that it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..exercise import Case, Exercise, Wrong


class Number:
    """A number with a name, for the cases."""

    def __init__(self, name: str, *came_from: Any) -> None:
        self.name, self.came_from = name, came_from


def graph(kind: str) -> Number:
    x, y = Number("x"), Number("y")
    if kind == "a chain":
        return Number("c", Number("b", Number("a", x)))
    if kind == "two sources":
        return Number("c", x, Number("b", x, y))
    b = Number("b", x, x)
    if kind == "a number used twice":
        return Number("c", b, b)
    late = Number("late", x)
    return Number("top", late, Number("mid", Number("low", late)))  # late: near and far


KINDS = ("a chain", "a number used twice", "two sources", "a short and a long way to one number")


def cases() -> Iterator[Case]:
    def look(a: Any, kind: str) -> dict[str, Any]:
        names = [n.name for n in a.order_of(graph(kind))]
        ready = [
            all(s.name in names[:i] for s in n.came_from)
            for i, n in enumerate(a.order_of(graph(kind)))
        ]
        again = len(names) - len(set(names))
        return {
            "numbers that are missing": len(missing(kind)) - len(set(names)),
            "numbers listed again": again,
            "numbers that come before one they are made from": ready.count(False),
            "the last one": names[-1] if names else "none",
        }

    def missing(kind: str) -> set[str]:
        seen: set[str] = set()

        def walk(n: Any) -> None:
            seen.add(n.name)
            for s in n.came_from:
                walk(s)

        walk(graph(kind))
        return seen

    for kind in KINDS:
        yield Case(kind, lambda a, kind=kind: look(a, kind))


EXERCISE = Exercise(
    title="An order to walk in",
    minutes=8,
    task="""
Write `order_of(result)`: a list of all numbers that lead to the result, each once, and each after
those that it was made from (`number.came_from` is a tuple of them). The result comes last. Several
orders may be right.
""",
    start="""
def order_of(result):
    order = [result]
    return order
""",
    reference="""
def order_of(result):
    order = []

    def visit(number):
        if number not in order:
            for source in number.came_from:
                visit(source)
            order.append(number)

    visit(result)
    return order
""",
    wrong=(
        Wrong(
            "A number is put down before those that it was made from; put it down on leaving.",
            was="""            for source in number.came_from:
                visit(source)
            order.append(number)
""",
            now="""            order.append(number)
            for source in number.came_from:
                visit(source)
""",
        ),
        Wrong(
            "Numbers are put down again each time they are met: look whether one is there already.",
            was="if number not in order:", now="if True:",
        ),
        Wrong(
            "The right order, the other way round: the sources come first, the result last.",
            was="return order", now="return order[::-1]",
        ),
        Wrong(
            "Rows of a pyramid are no order: a number with a short and a long way to the result "
            "must come before all that use it.",
            code="""
def order_of(result):
    order, row = [], [result]
    while row:
        order += [n for n in row if n not in order]
        row = [s for n in row for s in n.came_from]
    return order[::-1]
""",
        ),
        Wrong(
            "Numbers that were made from nothing belong into the list, too.",
            was="order.append(number)",
            now="order += [number] if number.came_from else []",
        ),
        Wrong(
            "Only the first source of each number is followed.",
            was="for source in number.came_from:", now="for source in number.came_from[:1]:",
        ),
    ),
    cases=cases,
    questions=(
        ("top is made from late and mid, mid from low, low from late. Where may late stand?",
         "Before low, so before mid and top: third from the end at the latest, but one."),
    ),
    hint="A function that visits a number: first its sources, then the number itself, once.",
    why="Gradients are passed on once a number, so it has to be complete: all that use it must "
    "have had their turn. This is called a topological order. The engine gets it for "
    "nothing: it counts nodes as they are made, and what is made later has a greater number.",
    engine=("tinygen/graph.py", "self.number = next(clock)"),
)  # fmt: skip
