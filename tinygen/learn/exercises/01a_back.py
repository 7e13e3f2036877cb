"""The walk back, over numbers that are used more than once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..exercise import Case, Exercise, Wrong

NUMBER = """
class Number:
    def __init__(self, value, came_from=()):
        self.value = value
        self.came_from = came_from  # pairs: (a number it was made from, the slope for it)
        self.grad = 0.0

    def __add__(self, other):
        return Number(self.value + other.value, [(self, 1.0), (other, 1.0)])

    def __mul__(self, other):
        return Number(self.value * other.value, [(self, other.value), (other, self.value)])
"""
ORDER = """

def order_of(result):
    order = []  # every number comes after those that it was made from

    def visit(number):
        if number not in order:
            for source, _ in number.came_from:
                visit(source)
            order.append(number)

    visit(result)
    return order
"""


def cases() -> Iterator[Case]:
    def grads(a: Any, *values: float, f: Any) -> list[float]:
        numbers = [a.Number(v) for v in values]
        a.backward(f(*numbers))
        return [n.grad for n in numbers]

    def reused(a: Any) -> Any:
        x = a.Number(0.7)
        y = x * x
        z = y + y * x
        return x, z

    def twice(a: Any) -> list[float]:
        x, z = reused(a)
        a.backward(z)
        return [x.grad, z.grad]

    yield Case("x y at (3, 2)", lambda a: grads(a, 3.0, 2.0, f=lambda x, y: x * y))
    yield Case("x y z at (3, 2, 5)", lambda a: grads(a, 3.0, 2.0, 5.0, f=lambda x, y, z: x * y * z))
    yield Case("b = a + a at 1.5", lambda a: grads(a, 1.5, f=lambda x: x + x))
    yield Case(
        "b = a + a; c = b + b at 1.5",
        lambda a: grads(a, 1.5, f=lambda x: (lambda b: b + b)(x + x)),
        lambda: [4.0],
    )
    yield Case("y = x x; z = y + y x at 0.7", twice, lambda: [2 * 0.7 + 3 * 0.7**2, 1.0])


EXERCISE = Exercise(
    title="The walk back",
    minutes=8,
    task="""
Write `backward(result)`: it leaves in each number's `.grad` the slope of the result with respect to
it. `order_of(result)` lists all numbers so that each comes after those that it was made from.
""",
    start=NUMBER + ORDER + """

def backward(result):
    result.grad = 1.0
""",
    reference=NUMBER + ORDER + """

def backward(result):
    result.grad = 1.0
    for number in reversed(order_of(result)):
        for source, slope in number.came_from:
            source.grad += number.grad * slope
""",
    wrong=(
        Wrong(
            "A number that was used twice has two paths, and both count: add, do not overwrite.",
            was="source.grad +=", now="source.grad =",
        ),
        Wrong(
            "A number may pass its gradient on only when it is complete: after all that use it.",
            was="reversed(order_of(result))", now="order_of(result)",
        ),
        Wrong(
            "Each call passes on what the calls before have passed on already: b = a + a gives too "
            "much. Let each number pass its gradient on once, when it is complete.",
            code=NUMBER + """

def backward(result):
    def push(number):
        for source, slope in number.came_from:
            source.grad += number.grad * slope
            push(source)

    result.grad = 1.0
    push(result)
""",
        ),
        Wrong(
            "The slope of the result with respect to itself is 1: nothing flows from 0.",
            was="    result.grad = 1.0\n", now="",
        ),
        Wrong(
            "What came from behind is missing: along a path slopes are multiplied.",
            was="number.grad * slope", now="slope",
        ),
        Wrong(
            "Along a path slopes are multiplied; only different paths are added.",
            was="number.grad * slope", now="number.grad + slope",
        ),
        Wrong(
            "The value of a number is not its gradient: pass on number.grad.",
            was="number.grad * slope", now="number.value * slope",
        ),
    ),
    cases=cases,
    questions=(
        ("b = a + a; c = b + b. What is the slope of c with respect to a?",
         "4: there are four paths from a to c, with the slope 1 each."),
    ),
    hint="Walk through the numbers from the last to the first; each hands its gradient to those it "
    "came from, times the slope.",
    why="A gradient is a sum over paths, and the product of the slopes along each. Walking back in "
    "the reverse of an order that follows the computation, each number is complete when it is its "
    "turn, so that one visit is enough, however many paths there are.",
    engine=("tinygen/graph.py", "def pull_back"),
)  # fmt: skip
