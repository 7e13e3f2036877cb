"""Elementwise operations: one row each, its text on the CPU and in CUDA C++ side by side.

A text is an expression of the operands {0}, {1}, ... and of the options by name; an option that is
None is the open side of a range: -infinity for `low`, infinity for `high`. The texts of the CPU
are Python that Numba compiles: ZERO is 0 of the arrays' type, and the functions are those of
cpu/maths.py, NumPy's sqrt, floor and rint, and Python's abs. Those of CUDA call CUDA's functions
and those of cuda/maths.cuh; {zero} is 0 of the arrays' type. To add an operation is to add its row
here; plans then join it with its neighbours on every device.

A fused operation has no text. tinygen hands down its body as a program, the lines that running it
gave: (operation, operands, static) each. An operand is ("in", i), an argument; ("line", j), what
line j gave; or a number.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

Program = tuple[Any, ...]


class Row(NamedTuple):
    """An operation in both languages.

    Attributes:
        cpu, cuda: the texts.
        truth: the result is a boolean.
        alone: from how many elements on NumPy is slower than a kernel of its own, measured on two
            cores: outside a plan it has one then, and on GPUs one for any size. None: it has none.
        wide: the CPU's kernel of its own serves float64, too.
    """

    cpu: str
    cuda: str
    truth: bool = False
    alone: int | None = None
    wide: bool = False


class Body(NamedTuple):
    """A fused operation whose kernel is made of its body; see Row. None: on GPUs only."""

    alone: int | None = None
    wide: bool = False


_AT_LEAST = "({0} if {0} > {low} or {0} != {0} else {low})"
ROWS: dict[str, Row] = {
    "add": Row("{0} + {1}", "{0} + {1}"),
    "sub": Row("{0} - {1}", "{0} - {1}"),
    "mul": Row("{0} * {1}", "{0} * {1}"),
    "div": Row("{0} / {1}", "{0} / {1}"),
    "neg": Row("-{0}", "-{0}"),
    "abs": Row("abs({0})", "fabs({0})"),
    "square": Row("{0} * {0}", "{0} * {0}"),
    "sign": Row("sign({0})", "sign({0})"),
    "floor": Row("np.floor({0})", "floor({0})"),
    "round": Row("np.rint({0})", "rint({0})"),
    # alone, NumPy's take 50 ns an element: the C library's fmod
    "remainder": Row("remainder({0}, {1})", "modulo({0}, {1})", alone=256),
    "floor_divide": Row("floor_divide({0}, {1})", "whole_quotient({0}, {1})", alone=256),
    "sqrt": Row("sqrt({0})", "sqrt({0})"),
    "exp": Row("exp({0})", "exp({0})", alone=262_144),
    "log": Row("log({0})", "log({0})", alone=524_288),
    "tanh": Row("tanh({0})", "tanh({0})", alone=4_194_304),
    "erf": Row("erf({0})", "erf({0})", alone=256, wide=True),
    # alone, NumPy's take 0.5 ns an element, ours 1.1: within a loop they save passes over memory
    "sin": Row("sin({0})", "sin({0})"),
    "cos": Row("cos({0})", "cos({0})"),
    "isfinite": Row("{0} - {0} == ZERO", "{0} - {0} == {zero}", truth=True),
    "sigmoid": Row("sigmoid({0})", "sigmoid({0})", alone=16_384),
    "softplus": Row("softplus({0})", "softplus({0})", alone=16_384),
    "relu": Row(
        "({0} if {0} > ZERO or {0} != {0} else ZERO)", "relu({0})", alone=131_072, wide=True
    ),
    "leaky_relu": Row(
        "({0} if {0} > ZERO else {slope} * {0})",
        "leaky_relu({0}, {slope})",
        alone=32_768,
        wide=True,
    ),
    "where": Row("({1} if {0} else {2})", "{0} ? {1} : {2}"),
    "clip": Row(
        "({high} if " + _AT_LEAST + " > {high} else " + _AT_LEAST + ")",
        "minimum(maximum({0}, {low}), {high})",
    ),
    "maximum": Row("({0} if {0} > {1} or {0} != {0} else {1})", "maximum({0}, {1})"),
    "minimum": Row("({0} if {0} < {1} or {0} != {0} else {1})", "minimum({0}, {1})"),
    "guarded_mul": Row(
        "(ZERO if {0} == ZERO else {0} * {1})", "{0} == {zero} ? {zero} : {0} * {1}"
    ),
    "guarded_div": Row(
        "(ZERO if {0} == ZERO else {0} / {1})", "{0} == {zero} ? {zero} : {0} / {1}"
    ),
    "equal": Row("{0} == {1}", "{0} == {1}", truth=True),
    "not_equal": Row("{0} != {1}", "{0} != {1}", truth=True),
    "less": Row("{0} < {1}", "{0} < {1}", truth=True),
    "less_equal": Row("{0} <= {1}", "{0} <= {1}", truth=True),
    "greater": Row("{0} > {1}", "{0} > {1}", truth=True),
    "greater_equal": Row("{0} >= {1}", "{0} >= {1}", truth=True),
    "mask_and": Row("{0} and {1}", "{0} && {1}", truth=True),
    "mask_or": Row("{0} or {1}", "{0} || {1}", truth=True),
}
# float64 is served by the CPU's kernels where several passes of NumPy become one without an
# exponential: ours is the C library's there, an element at a time.
BODIES: dict[str, Body] = {
    "silu": Body(alone=4_096),
    "gelu": Body(alone=256, wide=True),
    "bce_logits_terms": Body(),
    "gaussian_kl_terms": Body(),
    "gaussian_nll_terms": Body(),
    "gaussian_sample": Body(),
}
# Pointwise operations without a row, and why; elsewhere in a plan each runs as its reference.
WITHOUT: dict[str, str] = {
    "cast": "a loop computes in one type, the arrays'",
    "cast_discrete": "a loop computes in one type, the arrays'",
    "identity": "a plan drops it, as it drops all views",
    "power_n": "to 2 ulp it takes a logarithm in float64: NumPy's vector code, 1.3 ns, is faster",
    "power_xy": "as power_n",
}
DRAWN = "dropout"  # the one operation of a loop that draws: words.py and random.cuh have its text
SERVED = frozenset((*ROWS, DRAWN))  # what a loop may be made of
ON_CPU: dict[str, Row | Body] = {k: v for k, v in (ROWS | BODIES).items() if v.alone is not None}
ON_GPU: dict[str, Row | Body] = {k: v for k, v in ROWS.items() if v.alone is not None} | BODIES


def value(option: str, given: Any) -> Any:
    """An option as a number: None is the open side of a range."""
    if given is None:
        return -math.inf if option == "low" else math.inf
    return given


def served(name: str, program: Program) -> Program:
    """The program of a body; ValueError if a line has no row."""
    lacking = {line[0] for line in program} - SERVED
    if lacking:
        raise ValueError(
            f"{name}: its body calls {', '.join(sorted(lacking))}, without a row in "
            "tinygen_kernels/pointwise.py; add one, or take it out of BODIES there"
        )
    return program
