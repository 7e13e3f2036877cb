"""What a code knows: the share of a thing that its numbers explain together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ..exercise import Answer, Case, Exercise, Wrong


def things(n: int, numbers: int, kind: str) -> tuple[Any, Any]:
    """Codes, and what is known of the images."""
    rng = np.random.default_rng(n)
    code = rng.standard_normal((n, numbers))
    if numbers > 1:
        code[:, 1] += 0.8 * code[:, 0]  # the numbers of a code need not be independent
    truth = {
        "one number": 2 * code[:, 0] + rng.standard_normal(n),
        "a turned code": code @ np.array([1.0, -1.0][:numbers]) + 0.5 * rng.standard_normal(n),
        "nothing": rng.standard_normal(n),
        "far from 0": 50 + 3 * code[:, -1] + rng.standard_normal(n),
    }[kind]
    return code + 4.0, truth


def look(answer: Answer, n: int, numbers: int, kind: str) -> Any:
    return answer.share(*things(n, numbers, kind))


def known(n: int, numbers: int, kind: str) -> Any:
    """By the correlations: r' C^-1 r."""
    code, truth = things(n, numbers, kind)
    table = np.corrcoef(np.column_stack([code, truth]), rowvar=False)
    among, beside = table[:-1, :-1], table[:-1, -1]
    return beside @ np.linalg.solve(among, beside)


def cases() -> Iterator[Case]:
    for n, numbers, kind in (
        (30, 1, "one number"),
        (40, 2, "a turned code"),
        (35, 2, "nothing"),
        (45, 2, "far from 0"),
    ):
        yield Case(
            f"{n} images, a code of {numbers}, {kind}",
            partial(look, n=n, numbers=numbers, kind=kind),
            partial(known, n, numbers, kind),
        )


EXERCISE = Exercise(
    title="What a code knows",
    minutes=10,
    task="""
Each image has a code, a row of the array `code`, and a thing that is known of it, such as its
slant, in the vector `truth`. Which share of the slant's variance do all numbers of the code explain
together? Fit truth = code a + b by least squares (np.linalg.lstsq). Compare the variance of what is
left with that of truth. 1 says that the code knows the slant, 0 that it does not.
""",
    start="""
import numpy as np


def share(code, truth):
    return np.corrcoef(code[:, 0], truth)[0, 1]
""",
    reference="""
import numpy as np


def share(code, truth):
    known = np.column_stack([code, np.ones(len(code))])
    rest = truth - known @ np.linalg.lstsq(known, truth, rcond=None)[0]
    return 1 - rest.var() / truth.var()
""",
    wrong=(
        Wrong(
            "A correlation of one number depends on how the code happens to be turned, and has a "
            "sign. Let all numbers explain together.",
            code="import numpy as np\n\n\ndef share(code, truth):\n"
            "    return np.corrcoef(code[:, 0], truth)[0, 1]\n",
        ),
        Wrong(
            "For one number it is right. The share of the best single number is too little where "
            "the thing lies across two of them.",
            code="import numpy as np\n\n\ndef share(code, truth):\n"
            "    return max(np.corrcoef(column, truth)[0, 1] ** 2 for column in code.T)\n",
        ),
        Wrong(
            "For one number it is right. Shares add up only if the numbers of the code have "
            "nothing in common.",
            code="import numpy as np\n\n\ndef share(code, truth):\n"
            "    return sum(np.corrcoef(column, truth)[0, 1] ** 2 for column in code.T)\n",
        ),
        Wrong(
            "The line has to go through 0 without a constant, and codes and slants need not.",
            was="np.column_stack([code, np.ones(len(code))])", now="code",
        ),
        Wrong(
            "That is the share that is left. Which one is asked for?",
            was="1 - rest", now="rest",
        ),
        Wrong(
            "Standard deviations do not add up, variances do.",
            was="rest.var() / truth.var()", now="rest.std() / truth.std()",
        ),
        Wrong(
            "The squares of truth itself depend on where its 0 lies. Measure from its mean.",
            was="truth.var()", now="(truth**2).mean()",
        ),
        Wrong(
            "The numbers of the code are explained by the slant here; it is the other way round.",
            code="""
import numpy as np


def share(code, truth):
    known = np.column_stack([truth, np.ones(len(code))])
    rest = code - known @ np.linalg.lstsq(known, code, rcond=None)[0]
    return 1 - rest.var() / code.var()
""",
        ),
    ),
    cases=cases,
    hint="Put a column of ones beside the code: its factor is the constant.",
    questions=(
        ("A code is turned by 45 degrees, and so is the decoder's first layer. What changes in the "
         "images, in the correlation of number 1 with the slant, and in the share of both?",
         "Nothing in the images; the correlation changes, the share does not."),
    ),
    why=(
        "The loss of a VAE does not see how its code is turned, so one axis has no meaning of its "
        "own, and all of them together have. A share is checked on what is known of the images; a "
        "map that looks meaningful is not yet a measurement."
    ),
    engine=("examples/steps/17_a_map_of_threes.py", "1 - rest.var() / truth.var()"),
)  # fmt: skip
