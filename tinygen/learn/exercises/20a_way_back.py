"""The way back of a window that slides: a kernel of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ..exercise import Answer, Case, Exercise, Wrong


def sizes(n: int, k: int, stride: int) -> tuple[Any, Any]:
    """The gradient of the outputs and the weights."""
    rng = np.random.default_rng(n)
    return rng.standard_normal((n - k) // stride + 1), rng.standard_normal(k)


def apply(function: Callable[..., Any], n: int, k: int, stride: int) -> Any:
    return function(*sizes(n, k, stride), n, stride)


def look(answer: Answer, n: int, k: int, stride: int) -> Any:
    return apply(answer.back, n, k, stride)


def right(g: Any, w: Any, n: int, stride: int) -> Any:
    """By the definition: the slope of the sum of g y, one pixel at a time."""
    slopes = []
    for pixel in np.eye(n):
        y = [w @ pixel[stride * o : stride * o + len(w)] for o in range(len(g))]
        slopes.append(g @ y)
    return np.array(slopes)


def cases() -> Iterator[Case]:
    for n, k, stride in ((3, 3, 1), (5, 2, 1), (6, 2, 2), (8, 3, 2), (9, 2, 3)):
        yield Case(
            f"{n} pixels, a window of {k}, stride {stride}",
            partial(look, n=n, k=k, stride=stride),
            partial(apply, right, n, k, stride),
            order=1,
        )


EXERCISE = Exercise(
    title="A window's way back",
    minutes=10,
    task="""
A window of weights w slides over a row of n pixels. Output o sees the pixels from stride * o on:
y[o] = w[0] x[stride o] + w[1] x[stride o + 1] + ... Write the gradient of the pixels, of shape
(n,), given g, that of the outputs. Loops over numbers are what a kernel is made of, so write loops.
This needs NumPy alone.
""",
    start="""
import numpy as np


def back(g, w, n, stride):
    x = np.zeros(n)
    return x
""",
    reference="""
import numpy as np


def back(g, w, n, stride):
    x = np.zeros(n)
    for o in range(len(g)):
        for k in range(len(w)):
            x[stride * o + k] += w[k] * g[o]
    return x
""",
    wrong=(
        Wrong(
            "A pixel that two windows saw has two paths. What becomes of the first?",
            was="+=", now="=",
        ),
        Wrong(
            "Right as long as the window moves by one. Where does window o begin?",
            was="stride * o + k", now="o + k",
        ),
        Wrong(
            "The window is turned round. The first weight met the first pixel on the way there, "
            "and so it does on the way back.",
            was="w[k]", now="w[-1 - k]",
        ),
        Wrong(
            "The sum over the paths is divided by their number. A gradient adds them up.",
            was="    return x",
            now="    seen = np.zeros(n)\n    for o in range(len(g)):\n"
            "        seen[stride * o : stride * o + len(w)] += 1\n"
            "    return x / np.maximum(seen, 1)",
        ),
        Wrong(
            "g is not used: what comes from behind has to be passed on.",
            was="w[k] * g[o]", now="w[k]",
        ),
        Wrong(
            "The weights are not used: how strongly did the output feel this pixel?",
            was="w[k] * g[o]", now="g[o]",
        ),
        Wrong(
            "Only the first weight of each window passes something back.",
            was="for k in range(len(w)):", now="for k in range(1):",
        ),
        Wrong(
            "That is the window applied once more, from outputs to outputs. On the way back each "
            "output gives to the pixels that it saw.",
            code="""
import numpy as np


def back(g, w, n, stride):
    x = np.zeros(n)
    for i in range(n):
        for k in range(len(w)):
            if stride * i + k < len(g):
                x[i] += w[k] * g[stride * i + k]
    return x
""",
        ),
    ),
    cases=cases,
    hint="Take one output: to which pixels does it pass its g, and with which factor?",
    questions=(
        ("9 pixels, a window of 2, stride 3: which pixels get the gradient 0?",
         "2, 5 and 8: no window sees them."),
    ),
    why=(
        "The way back has the same two loops and the same factors, with reading and writing "
        "exchanged: that is the transposed convolution. On a GPU two threads would add to one "
        "pixel; so a kernel gives each pixel a thread, which collects from the windows that saw it."
    ),
    engine=("tinygen/ops/conv.py", "x=lambda g, w, x_shape, window: conv2d_dx("),
)  # fmt: skip
