"""What each operation's gradient is at its kinks and ties: one table, printed and tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Convention:
    """One kink: `operation` at the arguments `at` has the gradients `gives`, one an argument."""

    operation: str
    place: str
    rule: str
    agrees: str
    at: tuple[Any, ...]  # numbers, or nested tuples of them
    gives: tuple[Any, ...]
    options: tuple[tuple[str, float], ...] = ()


BOTH = "PyTorch and JAX"
TABLE = (
    Convention("relu", "x = 0", "0", BOTH, (0.0,), (0.0,)),
    Convention(
        "leaky_relu", "x = 0", "the slope of the left side", "PyTorch", (0.0,), (0.2,),
        (("slope", 0.2),),
    ),
    Convention("abs", "x = 0", "0", "PyTorch", (0.0,), (0.0,)),
    Convention("maximum", "x = y", "half to each", BOTH, (1.0, 1.0), (0.5, 0.5)),
    Convention("minimum", "x = y", "half to each", BOTH, (1.0, 1.0), (0.5, 0.5)),
    Convention("clip", "x = low", "1", "PyTorch", (0.0,), (1.0,), (("low", 0.0), ("high", 1.0))),
    Convention("clip", "x = high", "1", "PyTorch", (1.0,), (1.0,), (("low", 0.0), ("high", 1.0))),
    Convention("max", "ties", "equal parts", BOTH, ((3.0, 1.0, 3.0),), ((0.5, 0.0, 0.5),)),
    Convention("min", "ties", "equal parts", BOTH, ((1.0, 3.0, 1.0),), ((0.5, 0.0, 0.5),)),
    Convention(
        "max_pool2d", "ties", "all to the first, row by row", BOTH, (((((1.0,), (3.0,)),) * 2,),),
        (((((0.0,), (1.0,)), ((0.0,), (0.0,))),),), (("kernel", 2),),
    ),
    Convention("sqrt", "x = 0", "infinite", BOTH, (0.0,), (np.inf,)),
    Convention("log", "x = 0", "infinite", BOTH, (0.0,), (np.inf,)),
    Convention("power", "x = 0, y > 0", "y x^(y-1) and 0", BOTH, (0.0, 2.0), (0.0, 0.0)),
    Convention("power", "x = 0, y = 0", "0 for x", BOTH, (0.0, 0.0), (0.0, 0.0)),
    Convention("std", "all equal", "0", "PyTorch", ((2.0, 2.0),), ((0.0, 0.0),)),
    Convention("norm", "x = 0", "0", "PyTorch", ((0.0, 0.0),), ((0.0, 0.0),)),
    Convention(
        "norm", "x = 0, ord 1", "0", "PyTorch", ((0.0, 2.0),), ((0.0, 1.0),), (("ord", 1),)
    ),
    Convention(
        "norm", "ties, ord inf", "equal parts", BOTH, ((-3.0, 3.0),), ((-0.5, 0.5),),
        (("ord", np.inf),),
    ),
    Convention("floor", "everywhere", "0", BOTH, (0.5,), (0.0,)),
    Convention(
        "floor", "straight_through", "1", "none of them", (0.5,), (1.0,),
        (("straight_through", True),),
    ),
    Convention("round", "everywhere", "0", BOTH, (0.5,), (0.0,)),
    Convention(
        "round", "straight_through", "1", "none of them", (0.5,), (1.0,),
        (("straight_through", True),),
    ),
    Convention("floor_divide", "everywhere", "0 and 0", "JAX", (7.0, 2.0), (0.0, 0.0)),
    Convention(
        "remainder", "x = n y", "1 and -floor(x / y)", "PyTorch", (6.0, 2.0), (1.0, -3.0)
    ),
)  # fmt: skip


class _Conventions(tuple[Convention, ...]):
    """The table; printing it shows it in columns."""

    def __repr__(self) -> str:
        rows = [("operation", "where", "gradient", "the same in")]
        rows += [(c.operation, c.place, c.rule, c.agrees) for c in self]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = ["  ".join(v.ljust(w) for v, w in zip(r, widths, strict=True)) for r in rows]
        lines += [
            "",
            "Where the cotangent is 0, so is the gradient of sqrt, log, exp, a power, a division.",
            "A NaN argument makes the value NaN.",
        ]
        return "\n".join(line.rstrip() for line in lines)


def conventions() -> _Conventions:
    """The gradient of every operation at its kinks and ties, as a table that prints well."""
    return _Conventions(TABLE)
