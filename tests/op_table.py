"""One row an operation: how to draw a call, what it must compute, what it must refuse.

The references are NumPy and `math`, written from the definitions and never through tinygen. A new
primitive, fused operation or loss needs a row here: tests/test_ops.py fails until it has one, and
runs every template over it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from hypothesis import strategies as st
from strategies import (
    DISTINCT,
    NOT_ZERO,
    POSITIVE,
    REAL,
    Domain,
    Sample,
    broadcastable,
    elementwise,
    rngs,
    shapes,
    with_axes,
    with_keepdims,
)

import tinygen as tg
from tinygen import losses, nn, optim
from tinygen.ops.conv import Window
from tinygen.primitive import PRIMITIVES
from tinygen.random import Generator


@dataclass(frozen=True)
class Bad:
    """A call that must raise: arguments (arrays become tensors), the exception, its message."""

    args: tuple[Any, ...]
    error: type[Exception]
    match: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """Everything the templates need to know of one operation.

    Attributes:
        call: f(*tensors, **options), as a user calls it.
        reference: the same on arrays, from the definition.
        samples: Hypothesis strategy of calls inside the domain.
        order: to which gradients are checked; 0 where there is none.
        domains: of the arguments of an elementwise operation, which then broadcast.
        edges: calls to try always: 0-d, zero-size, ties. Elementwise operations have their own.
        extremes: values for every argument of an elementwise operation, compared with the
            reference but not differentiated.
        view: the result may share memory with the first argument.
        mutates: positions of the arguments written in place; the reference returns a dict of
            their new values.
        rtol: allowed in float64.
        ulps: of the largest result (times the number of terms), allowed in float32.
    """

    name: str
    call: Callable[..., Any]
    reference: Callable[..., Any]
    samples: st.SearchStrategy[Sample]
    order: int = 2
    domains: tuple[Domain, ...] = ()
    edges: tuple[Sample, ...] = ()
    extremes: tuple[float, ...] = ()
    view: bool = False
    mutates: tuple[int, ...] = ()
    rtol: float = 1e-10
    ulps: float = 8.0
    errors: tuple[Bad, ...] = ()

    def __repr__(self) -> str:
        return f"<row {self.name}>"


ROWS: list[Row] = []
EXTREME = (0.0, -0.0, 1.0, -1.0, 1e-30, 20.0, -20.0, 1e3, -1e3, math.inf, -math.inf, math.nan)
INT = np.array([1, 2, 3])
VEC = np.array([1.0, 2.0, 3.0], dtype=np.float32)
MAT = np.arange(6, dtype=np.float32).reshape(2, 3)


def add(name: str, reference: Callable[..., Any], samples: Any, **more: Any) -> None:
    """A row for the operation of that name."""
    call = more.pop("call", None) or PRIMITIVES.get(name) or getattr(tg, name)
    ROWS.append(Row(name, call, reference, samples, **more))


def pointwise(
    name: str, reference: Callable[..., Any], *domains: Domain, options: Any = None, **more: Any
) -> None:
    """A row for an elementwise operation, its arguments drawn from the domains."""
    options = options or {}
    add(name, reference, elementwise(*domains, **options), domains=domains, **more)


def sample(*arrays: Any, **options: Any) -> Sample:
    return Sample(arrays, options)


def dims(count: int) -> st.SearchStrategy[np.ndarray]:
    """Arrays with so many axes, generic values."""
    return st.builds(REAL.fill, rngs, shapes(0, 4, (count, count)))


# ---- arithmetic ----------------------------------------------------------------------------------

pointwise("identity", lambda x: x, REAL, view=True, extremes=EXTREME)
pointwise(
    "add", lambda x, y: x + y, REAL, REAL, extremes=EXTREME,
    errors=(
        Bad((VEC, np.ones(3)), TypeError,
            r"add: dtypes do not mix: x \(3,\) float32, y \(3,\) float64.*astype"),
        Bad((VEC, INT), TypeError, r"add: dtypes do not mix.*int64.*astype"),
        Bad((INT, 0.5), TypeError, r"add: dtypes do not mix.*y = 0.5"),
        Bad((VEC, MAT.T), ValueError, r"add: shapes do not broadcast: x \(3,\)"),
        Bad((VEC,), TypeError, r"add: 1 arguments, expected 2 \(x, y\)"),
        Bad((VEC, VEC, VEC), TypeError, r"add: 3 arguments, expected at most 2 \(x, y\)"),
        Bad((VEC, None), TypeError, r"add: y is None; expected a tensor"),
        Bad((VEC, "one"), TypeError, r"tensor: values of type .* are not numbers"),
        Bad((VEC, VEC), TypeError, r"add: unknown option axis; it takes no options", {"axis": 0}),
    ),
)  # fmt: skip
pointwise("sub", lambda x, y: x - y, REAL, REAL, extremes=EXTREME)
pointwise("neg", lambda x: -x, REAL, extremes=EXTREME)
pointwise("mul", lambda x, y: x * y, REAL, REAL, extremes=EXTREME, order=3)
pointwise("div", lambda x, y: x / y, REAL, NOT_ZERO, extremes=EXTREME, ulps=16)
pointwise(
    "guarded_mul", lambda c, s: np.where(c == 0, 0.0, c * s), NOT_ZERO, REAL, extremes=EXTREME
)
pointwise(
    "guarded_div", lambda c, y: np.where(c == 0, 0.0, c / y), NOT_ZERO, NOT_ZERO,
    extremes=EXTREME, ulps=16,
)  # fmt: skip
pointwise("square", lambda x: x**2, REAL, extremes=EXTREME, order=3)

# ---- comparisons ---------------------------------------------------------------------------------

_COARSE = elementwise(Domain(grid=1.0), Domain(grid=1.0)).map(
    lambda s: Sample(tuple(np.round(a) for a in s.arrays), {})  # many equal pairs
)
for _name, _compare in {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
}.items():
    add(_name, _compare, _COARSE, order=0, domains=(REAL, REAL), extremes=EXTREME,
        errors=(
            Bad((VEC, np.ones(3)), TypeError, f"{_name}: dtypes do not mix"),
            Bad((VEC, np.ones(2, np.float32)), ValueError, f"{_name}: shapes do not broadcast"),
        ))  # fmt: skip
pointwise("isfinite", np.isfinite, REAL, order=0, extremes=EXTREME)
pointwise("sign", np.sign, REAL, order=0, extremes=EXTREME)

add("isnan", np.isnan, elementwise(REAL), order=0, edges=(
    sample(np.array([1.0, math.nan, math.inf])), sample(np.array([1, 2]))))  # fmt: skip
add("isinf", np.isinf, elementwise(REAL), order=0, edges=(
    sample(np.array([1.0, math.nan, math.inf, -math.inf])), sample(np.array([1, 2]))))  # fmt: skip

# ---- masks ---------------------------------------------------------------------------------------

_MASKS = elementwise(REAL, REAL).map(lambda s: Sample(tuple(a > 0 for a in s.arrays), {}))
for _name, _join in {
    "logical_and": lambda x, y: np.array(x * y),
    "logical_or": lambda x, y: np.array(x + y),
    "logical_xor": lambda x, y: np.array(x != y),
}.items():
    if _name != "logical_xor":
        add(_name.replace("logical", "mask"), _join, _MASKS, order=0)
    add(_name, _join, _MASKS, order=0, edges=(sample(np.zeros((0, 2), bool), np.ones(2, bool)),),
        errors=(
            Bad((VEC > 1, VEC), TypeError, rf"{_name}: an operand has dtype float32, expected b"),
            Bad((VEC > 1, 1), TypeError, rf"{_name}: an operand has dtype int\w*, expected bool"),
            Bad((VEC > 1, np.ones(2, bool)), ValueError, r"shapes do not broadcast: x \(3,\)"),
        ))  # fmt: skip
add(
    "logical_not", lambda x: np.array(x == 0), order=0,
    samples=elementwise(REAL).map(lambda s: Sample((s.arrays[0] > 0,), {})),
    errors=(Bad((INT,), TypeError, r"logical_not: an operand has dtype int64, expected bool"),),
)  # fmt: skip
_SOME = with_keepdims(with_axes()).map(lambda s: Sample((s.arrays[0] > 0.5,), s.options))
for _name, _whether in {"any": np.any, "all": np.all}.items():
    add(_name, _whether, _SOME, order=0,
        edges=(sample(np.zeros((0, 2), bool), axis=0), sample(np.array([0.0, math.nan]), axis=0),
               sample(np.array([[0, 2], [3, 4]]), axis=1)),
        errors=(Bad((MAT,), ValueError, rf"{_name}: axis 5 does not fit an array with 2 axes",
                    {"axis": 5}),))  # fmt: skip

# ---- whole numbers -------------------------------------------------------------------------------

_BETWEEN = Domain(-3.0, 3.0, avoid=tuple(n / 2 for n in range(-6, 7)))
_WHOLE = (*EXTREME, 0.5, -0.5, 1.5, 2.5, -2.5, 8388607.5)
for _name, _rounded in {"floor": np.floor, "ceil": np.ceil, "round": np.round}.items():
    pointwise(
        _name, lambda x, straight_through=False, f=_rounded: f(x), _BETWEEN, extremes=_WHOLE,
        call=lambda *x, name=_name, **options: getattr(tg, name)(*x, **options),
        errors=(
            Bad((INT,), TypeError, r"expected floating-point values.*int64.*astype"),
            Bad((VEC,), TypeError, rf"{_name}.*decimals", {"decimals": 2}),
        ),
    )  # fmt: skip
_FLOATS = (0.0, 1.0, -1.0, 0.1, 3.5, -7.25, 1e3, math.inf, -math.inf, math.nan)
_NO_MASK = (
    Bad((VEC > 1, VEC > 1), TypeError, r"x is of dtype bool; expected floats or integers"),
    Bad((INT, 0.5), TypeError, r"dtypes do not mix"),
    Bad((VEC, MAT.T), ValueError, r"shapes do not broadcast"),
)
_INTEGERS = tuple(
    sample(np.array([7, -7, 0, 5], kind), np.array([3, 3, 2, 0], kind))
    for kind in ("int8", "int32", "int64")
)
add("floor_divide", np.floor_divide, order=0, edges=_INTEGERS, extremes=_FLOATS, errors=_NO_MASK,
    samples=elementwise(REAL, NOT_ZERO), domains=(REAL, NOT_ZERO))  # fmt: skip
# x % y is differentiable where x / y is no whole number.
add("remainder", np.remainder, elementwise(Domain(4.2, 4.8), Domain(0.95, 1.04)), edges=_INTEGERS,
    domains=(Domain(4.2, 4.8), Domain(0.95, 1.04)), extremes=_FLOATS, errors=_NO_MASK,
    ulps=32)  # fmt: skip

# ---- choosing ------------------------------------------------------------------------------------


def _choose(c: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    c, x, y = np.broadcast_arrays(c, x, y)
    out = [a if chosen else b for chosen, a, b in zip(c.flat, x.flat, y.flat, strict=True)]
    return np.array(out, dtype=x.dtype).reshape(c.shape)


add(
    "where", _choose,
    elementwise(REAL, REAL, REAL).map(lambda s: Sample((s.arrays[0] > 0, *s.arrays[1:]), {})),
    edges=(sample(True, 1.0, 2.0), sample(np.zeros((0, 2), bool), np.ones(2), np.ones((0, 1)))),
    errors=(
        Bad((VEC, VEC, VEC), TypeError, r"where: the condition has dtype float32, expected bool"),
        Bad((1, VEC, VEC), TypeError, r"where: the condition has dtype int, expected bool"),
        Bad((VEC > 0, VEC, np.ones(3)), TypeError, r"where: dtypes do not mix"),
    ),
)  # fmt: skip
pointwise("maximum", np.maximum, DISTINCT, Domain(grid=0.3, shift=0.5), extremes=EXTREME)
pointwise("minimum", np.minimum, DISTINCT, Domain(grid=0.3, shift=0.5), extremes=EXTREME)
_ENDS = Domain(-2.0, 2.0, avoid=(-1.0, 0.5))
pointwise(
    "clip", lambda x, low=None, high=None: np.minimum(
        np.maximum(x, -np.inf if low is None else low), np.inf if high is None else high), _ENDS,
    options={"low": st.sampled_from([None, -1.0, -1]), "high": st.sampled_from([None, 0.5])},
    extremes=EXTREME,
    errors=(
        Bad((VEC,), ValueError, r"clip: low 1.0 is above high 0", {"low": 1.0, "high": 0}),
        Bad((INT,), TypeError, r"clip: x \(3,\) int64, low = 0.5; expected an int", {"low": 0.5}),
    ),
)  # fmt: skip
pointwise("abs", lambda x: np.where(x < 0, -x, x) + 0.0, NOT_ZERO, extremes=EXTREME)
pointwise("relu", lambda x: np.where(x < 0, 0.0, x), NOT_ZERO, extremes=EXTREME)
pointwise(
    "leaky_relu", lambda x, slope=0.01: np.where(x < 0, slope * x, x), NOT_ZERO,
    options={"slope": st.sampled_from([0.2, 0.01, np.float64(0.2)])}, extremes=EXTREME,
)  # fmt: skip

# ---- exponentials, roots, waves ------------------------------------------------------------------

pointwise(
    "exp", lambda x: np.power(math.e, x), REAL, extremes=EXTREME,
    errors=(Bad((INT,), TypeError, r"exp: expected floating-point values.*int64.*astype"),),
)  # fmt: skip
pointwise("log", np.log, POSITIVE, extremes=EXTREME)
pointwise("sqrt", np.sqrt, POSITIVE, extremes=EXTREME)
pointwise("sin", np.sin, REAL, extremes=EXTREME)
pointwise("cos", np.cos, REAL, extremes=EXTREME)
pointwise("tanh", np.vectorize(math.tanh, otypes=[np.float64]), REAL, extremes=EXTREME)
pointwise("sigmoid", lambda x: 1 / (1 + np.exp(-x)), REAL, extremes=EXTREME)
pointwise("softplus", lambda x: np.logaddexp(0.0, x), REAL, extremes=EXTREME)
_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])
pointwise("erf", _erf, REAL, extremes=EXTREME)
_FINITE = tuple(v for v in EXTREME if not math.isinf(v) and v != -20)  # 1 + erf(-14) is 0
pointwise("silu", lambda x: x / (1 + np.exp(-x)), REAL, extremes=_FINITE)
pointwise("gelu", lambda x: x * 0.5 * _erfc(-x / math.sqrt(2)), REAL, extremes=_FINITE)

# ---- powers --------------------------------------------------------------------------------------

pointwise(
    "power_n", lambda x, n: x ** np.float64(n), POSITIVE,
    options={"n": st.sampled_from([0, 3, -1, -2, 0.5, 1.5, -0.5])}, ulps=32,
)  # fmt: skip
pointwise("power_xy", lambda x, y: np.exp(y * np.log(x)), POSITIVE, REAL, ulps=32)
add(
    "power", lambda x, n: np.array([v ** float(n) for v in x.flat]).reshape(x.shape),
    elementwise(NOT_ZERO, n=st.sampled_from([0, 1, 2, 3, 5, -1, -2, np.int64(3), np.float64(2)])),
    call=lambda x, n: tg.power(x, n), ulps=128, view=True,  # x ** 1 is x
    edges=(sample(np.array([-1.5, 0.0, 2.0]), n=2), sample(np.array([0.0, 1.0]), n=3)),
    errors=(
        Bad((INT,), TypeError, r"power: expected floating-point values", {"n": 3}),
        Bad((VEC,), TypeError, r"power: dtypes do not mix", {"n": np.ones(3)}),
    ),
)  # fmt: skip

# ---- dtype ---------------------------------------------------------------------------------------

pointwise("cast", lambda x, dtype: x, REAL, options={"dtype": st.just("float64")})
add("cast_discrete", lambda x, dtype: x.astype(dtype), order=0,
    samples=elementwise(REAL, dtype=st.sampled_from(["int64", "bool", "int32"])))  # fmt: skip
add(
    "astype", lambda x, dtype: x.astype(dtype), call=lambda x, dtype: tg.astype(x, dtype),
    samples=elementwise(REAL, dtype=st.sampled_from([np.float64, "float64", "d"])), view=True,
    errors=(
        Bad((VEC,), TypeError, r"astype: float16 is not supported", {"dtype": "float16"}),
        Bad((VEC,), TypeError, r"astype: complex128 is not supported", {"dtype": complex}),
        Bad((VEC,), TypeError, r"astype: <U4 is not supported|astype: .* not supported",
            {"dtype": "<U4"}),
    ),
)  # fmt: skip

add(
    "full_like", lambda x, value: np.full_like(x, value), order=0,
    samples=elementwise(REAL, value=st.sampled_from([0, 1.5, -2])),
    call=lambda x, value: tg.full_like(x, value),
)  # fmt: skip

# ---- made of numbers -----------------------------------------------------------------------------

_MADE = st.sampled_from(["float32", "float64", "int64", "bool"])


def _here(name: str) -> Callable[..., Any]:
    """The primitive, on the backend that is current."""
    return lambda **options: PRIMITIVES[name](**options, backend=tg.backend.current().name)


add(
    "full", lambda shape, value, dtype: np.full(shape, value, dtype), order=0, call=_here("full"),
    samples=st.builds(lambda s, v, d: Sample((), {"shape": s, "value": v, "dtype": d}),
                      shapes(0, 3), st.sampled_from([0, -1.5, 2, True]), _MADE),
    errors=(
        Bad((), TypeError, r"tensor: dtype float16 is not supported",
            {"shape": (2,), "value": 0, "dtype": "float16"}),
        Bad((), TypeError, r"full: value is a tensor \(\)",
            {"shape": (2,), "value": tg.tensor(1.0), "dtype": "float32"}),
        Bad((), TypeError, r"full: missing option", {"shape": (2,)}),
    ),
)  # fmt: skip
add(
    "arange", lambda start, stop, step, dtype: np.arange(start, stop, step).astype(dtype), order=0,
    call=_here("arange"),
    samples=st.builds(
        lambda a, n, s, d: Sample((), {"start": a, "stop": a + n, "step": s, "dtype": d}),
        st.sampled_from([0, -2, 0.5]), st.integers(0, 5), st.sampled_from([1, 2, 0.25]), _MADE),
)  # fmt: skip

# ---- reductions ----------------------------------------------------------------------------------


def _axis_errors(name: str, axis: int = 5) -> tuple[Bad, ...]:
    return (
        Bad((MAT,), ValueError, rf"{name}: axis {axis} does not fit an array with 2 axes",
            {"axis": axis}),
    )  # fmt: skip


def _empty(name: str) -> Bad:
    return Bad((np.zeros((0, 3), np.float32),), ValueError,
               rf"{name}: shape \(0, 3\) has no elements along axis 0", {"axis": 0})  # fmt: skip


_AT_LEAST_ONE = with_keepdims(with_axes(low=1))
_TIES = with_keepdims(with_axes(DISTINCT, low=1))
_ROW_EDGES = (
    sample(2.5, axis=None),
    sample(np.zeros((0, 3)), axis=1),
    sample(np.array([[1.5], [2.5]]), axis=-1),
)
add(
    "sum", np.sum, with_keepdims(with_axes()), order=2,
    edges=(*_ROW_EDGES, sample(np.zeros((2, 0)), axis=None), sample(np.zeros((2, 0)), axis=(1,))),
    errors=(
        *_axis_errors("sum"),
        Bad((MAT,), ValueError, r"sum: axis \(0, 0\) names an axis twice", {"axis": (0, 0)}),
        Bad((MAT, 0), TypeError, r"sum: axis given both by position and by name", {"axis": 1}),
        Bad((MAT, 0, True, 1), TypeError, r"sum: 4 arguments, expected at most 3"),
        Bad((MAT,), TypeError, r"sum: unknown option dim; write axis for dim", {"dim": 1}),
        Bad((), TypeError, r"sum: 0 arguments, expected 1 \(x\)"),
    ),
)  # fmt: skip
add("mean", np.mean, _AT_LEAST_ONE, edges=_ROW_EDGES,
    errors=(*_axis_errors("mean"), _empty("mean"),
            Bad((INT,), TypeError, r"mean: expected floating-point values")))  # fmt: skip
add(
    "var", lambda x, axis, keepdims=False, correction=0: np.var(
        x, axis=axis, keepdims=keepdims, ddof=correction), _AT_LEAST_ONE,
    edges=(*_ROW_EDGES, sample(np.arange(4.0) ** 2, axis=0, correction=1)), ulps=32,
    errors=(
        *((Bad((MAT,), ValueError, r"axis 5 does not fit", {"axis": 5})),),
        Bad((VEC,), ValueError, r"var: 3 elements along axis 0 .* more than the correction 3",
            {"axis": 0, "correction": 3}),
    ),
)  # fmt: skip
add(
    "std", lambda x, axis, keepdims=False, correction=0: np.std(
        x, axis=axis, keepdims=keepdims, ddof=correction), ulps=64,
    samples=with_keepdims(with_axes(DISTINCT, low=2)).filter(lambda s: _counted(s) > 1),
    edges=(sample(np.zeros((0, 3)), axis=1), sample(np.arange(4.0) ** 2, axis=0, correction=1)),
    errors=(
        Bad((VEC,), ValueError, r"3 elements along axis 0 .* more than the correction 3",
            {"axis": 0, "correction": 3}),
        Bad((INT,), TypeError, r"expected floating-point values"),
    ),
)  # fmt: skip


def _counted(s: Sample) -> int:
    """How many elements a result is made from."""
    axis, shape = s.options["axis"], s.arrays[0].shape
    axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return math.prod(shape[a] for a in axes)


def _norm(x: np.ndarray, axis: Any, keepdims: bool = False, ord: float = 2) -> np.ndarray:
    if ord == math.inf:
        return np.abs(x).max(axis, keepdims=keepdims)
    return (np.abs(x) ** ord).sum(axis, keepdims=keepdims) ** (1 / ord)


add(
    "norm", _norm, st.builds(
        lambda s, ord: Sample(s.arrays, {**s.options, "ord": ord}),
        _TIES, st.sampled_from([2, 1, math.inf])),
    edges=_ROW_EDGES, ulps=32,
    errors=(
        Bad((MAT,), ValueError, r"norm: ord is 3; expected 1, 2 or inf", {"ord": 3}),
        Bad((INT,), TypeError, r"norm: x \(3,\) int64; expected floats: .astype"),
        Bad((MAT,), ValueError, r"axis 5 does not fit", {"axis": 5}),
        Bad((np.zeros((0, 3)),), ValueError, r"no elements along axis 0",
            {"axis": 0, "ord": math.inf}),
    ),
)  # fmt: skip
add(
    "prod", np.prod, with_keepdims(with_axes()), ulps=32, view=True,
    edges=(
        *_ROW_EDGES, sample(np.zeros((2, 0)), axis=None), sample(np.array([2.0, 0.0, 3.0]), axis=0),
        sample(np.array([[2.0, 0.0, 3.0, 0.0, 1.5], [0.0] * 5]), axis=1),
        sample(np.array([[2, 3], [4, 5]], np.int32), axis=0),
    ),
    errors=(*_axis_errors("prod"),),
)  # fmt: skip
_MATRICES = st.builds(
    lambda rng, m, n, axis: Sample((REAL.fill(rng, (m, n)),), {"axis": axis}),
    rngs, st.integers(1, 3), st.integers(1, 5), st.integers(0, 1),
)  # fmt: skip
add("product_along", lambda x, axis: x.prod(axis), _MATRICES, ulps=32, view=True)
add(
    "product_without",
    lambda x, axis: np.stack(
        [np.delete(x, i, axis).prod(axis) for i in range(x.shape[axis])], axis
    ),
    _MATRICES, ulps=32,
)  # fmt: skip
_ROWS_ONLY = _MATRICES.map(lambda s: Sample(s.arrays, {}))
add("squares_along", lambda x: np.square(x).sum(axis=1), _ROWS_ONLY, ulps=32)
add("max", np.max, _TIES, edges=(*_ROW_EDGES,), errors=(*_axis_errors("max"), _empty("max")))
add("min", np.min, _TIES, edges=(*_ROW_EDGES,), errors=(*_axis_errors("min"), _empty("min")))
add("argmax", np.argmax, order=0, samples=with_keepdims(with_axes(DISTINCT, 1, several=False)),
    edges=(sample(np.array([1.0, 3.0, 3.0]), axis=0), sample(np.zeros((0, 2)), axis=1)),
    errors=(*_axis_errors("argmax"), _empty("argmax")))  # fmt: skip
_ONE_AXIS = with_axes(several=False, everything=False)
add("cumsum", np.cumsum, _ONE_AXIS, edges=(sample(np.zeros((0, 2)), axis=0),),
    errors=(*_axis_errors("cumsum"),
            Bad((MAT,), TypeError, r"cumsum: missing option axis; it takes axis")))  # fmt: skip


def _softmax(x: np.ndarray, axis: Any = -1) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


_SOFT = with_axes(low=1)
_SOFT_EDGES = (sample(np.zeros((0, 2))), sample(np.array([2.0])))
add("softmax", _softmax, _SOFT, edges=_SOFT_EDGES,
    errors=(*_axis_errors("softmax"), _empty("softmax")))  # fmt: skip
add("log_softmax", lambda x, axis=-1: np.log(_softmax(x, axis)), _SOFT, edges=_SOFT_EDGES,
    errors=(*_axis_errors("log_softmax"), _empty("log_softmax")))  # fmt: skip
add(
    "logsumexp",
    lambda x, axis=None, keepdims=False: np.log(np.exp(x).sum(axis=axis, keepdims=keepdims)),
    with_keepdims(_SOFT), edges=(sample(1.5),),
    errors=(*_axis_errors("logsumexp"), _empty("logsumexp")),
)  # fmt: skip

add(
    "sum_of_squares", lambda x, dtype: np.sum(x.astype(dtype) ** 2),
    st.builds(lambda rng, shape: sample(REAL.fill(rng, shape), dtype="float64"), rngs, shapes()),
)  # fmt: skip

# ---- shapes --------------------------------------------------------------------------------------


def _sum_to(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(shape, x.dtype)
    lead = x.ndim - len(shape)
    for index in np.ndindex(x.shape):
        out[tuple(0 if n == 1 else i for i, n in zip(index[lead:], shape, strict=True))] += x[index]
    return out


@st.composite
def _to_and_from(draw: Any, big: bool) -> Sample:
    """An array and a shape one of which broadcasts to the other; `big`: the array is the larger."""
    (small,) = draw(broadcastable(1))
    full = tuple(draw(st.integers(0, 3)) if n == 1 else n for n in small)
    full = (*draw(shapes(0, 3, (0, 1))), *full)
    return Sample(
        (REAL.fill(draw(rngs), full if big else small),), {"shape": small if big else full}
    )


add(
    "broadcast_to",
    lambda x, shape: x + np.zeros(shape), _to_and_from(big=False), view=True,
    errors=(
        Bad((VEC,), ValueError, r"broadcast_to: shape \(3,\) does not broadcast to \(3, 2\)",
            {"shape": (3, 2)}),
        Bad((MAT,), ValueError, r"broadcast_to: shape \(2, 3\) does not broadcast to \(3,\)",
            {"shape": (3,)}),
    ),
)  # fmt: skip
add("sum_to", _sum_to, _to_and_from(big=True), view=True)


def _reordered(x: np.ndarray, shape: Any) -> np.ndarray:
    out = np.empty(x.size, x.dtype)
    for i, index in enumerate(itertools.product(*map(range, x.shape))):
        out[i] = x[index]
    sizes = [shape] if isinstance(shape, (int, np.integer)) else list(shape)
    if -1 in sizes:
        sizes[sizes.index(-1)] = x.size // math.prod(n for n in sizes if n != -1)
    out.shape = tuple(sizes)
    return out


@st.composite
def _reshapes(draw: Any) -> Sample:
    x = draw(dims(draw(st.integers(0, 3))))
    shapes_ = [x.size, (x.size,), (1, *x.shape, 1), x.shape[::-1], [*x.shape]]
    shapes_ += [-1, (-1, 1), np.int64(-1)] if x.size else []
    return Sample((x,), {"shape": draw(st.sampled_from(shapes_))})


add(
    "reshape", _reordered, _reshapes(), view=True,
    edges=(sample(np.zeros((0, 3)), shape=(3, 0)), sample(np.zeros((0, 3)), shape=(-1, 3))),
    errors=(
        Bad((MAT,), ValueError, r"reshape: shape \(2, 3\) has 6 elements.*\(4, 2\)",
            {"shape": (4, 2)}),
        Bad((MAT,), ValueError, r"reshape: shape .* at most one -1", {"shape": (-1, -1)}),
        Bad((MAT,), ValueError, r"reshape: shape .* do not fit \(-2, -3\)", {"shape": (-2, -3)}),
        Bad((MAT,), ValueError, r"reshape: shape .* do not fit \(4, -1\)", {"shape": (4, -1)}),
    ),
)  # fmt: skip


@st.composite
def _orders(draw: Any) -> Sample:
    n = draw(st.integers(0, 3))
    order = st.permutations(range(n)).map(lambda p: tuple(p))
    signed = order.map(lambda p: tuple(a - n for a in p))
    return Sample((draw(dims(n)),), {"axes": draw(st.one_of(st.none(), order, signed))})


def _transposed(x: np.ndarray, axes: Any = None) -> np.ndarray:
    order = tuple(range(x.ndim))[::-1] if axes is None else tuple(a % x.ndim for a in axes)
    out = np.empty(tuple(x.shape[a] for a in order), x.dtype)
    for index in np.ndindex(out.shape):
        source = [0] * x.ndim
        for position, a in enumerate(order):
            source[a] = index[position]
        out[index] = x[tuple(source)]
    return out


add(
    "transpose", _transposed, _orders(), view=True,
    errors=(
        Bad((MAT,), ValueError, r"transpose: axes \(0, 0\) are not an order of the 2 axes",
            {"axes": (0, 0)}),
        Bad((MAT,), ValueError, r"transpose: axes \(0,\) are not an order", {"axes": (0,)}),
    ),
)  # fmt: skip


@st.composite
def _two_axes(draw: Any) -> Sample:
    n = draw(st.integers(1, 3))
    axis = st.integers(-n, n - 1)
    return Sample((draw(dims(n)),), {"axis1": draw(axis), "axis2": draw(axis)})


def _swapped(x: np.ndarray, axis1: int, axis2: int) -> np.ndarray:
    order = list(range(x.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return _transposed(x, tuple(order))


add("swapaxes", _swapped, _two_axes(), view=True,
    errors=(Bad((MAT, 0, 2), ValueError, r"swapaxes: axis 2 does not fit"),
            Bad((MAT, 0), TypeError, r"swapaxes: missing option axis2")))  # fmt: skip


def _expanded(x: np.ndarray, axis: Any) -> np.ndarray:
    axes = axis if isinstance(axis, tuple) else (axis,)
    n = x.ndim + len(axes)
    at, sizes = {a % n for a in axes}, iter(x.shape)
    return x.copy().reshape([1 if i in at else next(sizes) for i in range(n)])


@st.composite
def _new_axes(draw: Any) -> Sample:
    n = draw(st.integers(0, 2))
    one = st.integers(-n - 1, n)
    pair = st.lists(st.integers(0, n + 1), min_size=2, max_size=2, unique=True).map(tuple)
    return Sample((draw(dims(n)),), {"axis": draw(st.one_of(one, pair))})


add("expand_dims", _expanded, _new_axes(), view=True,
    errors=(Bad((MAT, 4), ValueError, r"expand_dims: axis 4 does not fit an array with 3 axes"),
            Bad((MAT, (0, 0)), ValueError, r"expand_dims: axis .* twice")))  # fmt: skip


@st.composite
def _unit_axes(draw: Any) -> Sample:
    shape = draw(st.lists(st.sampled_from([1, 1, 2, 0]), max_size=3).map(tuple))
    ones = [i for i, n in enumerate(shape) if n == 1]
    several = st.lists(st.sampled_from(ones), unique=True).map(tuple) if ones else st.just(())
    one = st.sampled_from([*ones, *(i - len(shape) for i in ones)]) if ones else st.none()
    return Sample(
        (REAL.fill(draw(rngs), shape),), {"axis": draw(st.one_of(st.none(), several, one))}
    )


def _squeezed(x: np.ndarray, axis: Any = None) -> np.ndarray:
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    gone = {a % x.ndim for a in axes if x.shape[a] == 1}
    return x.copy().reshape([n for i, n in enumerate(x.shape) if i not in gone])


add("squeeze", _squeezed, _unit_axes(), view=True,
    errors=(Bad((MAT, 0), ValueError, r"squeeze: axis 0 of shape \(2, 3\) has size 2, expected 1"),
            Bad((MAT, 2), ValueError, r"squeeze: axis 2 does not fit")))  # fmt: skip
add("flip", lambda x, axis=None: np.flip(x, axis), with_axes(), view=True,
    errors=_axis_errors("flip"))  # fmt: skip


@st.composite
def _joined(draw: Any, new: bool) -> Sample:
    many = st.just((20, 2))  # rows enough for a kernel
    shape = draw(st.one_of(shapes(0, 3, (0 if new else 1, 2)), many))
    n = len(shape) + new
    axis = draw(st.integers(-n, n - 1))
    rng = draw(rngs)
    pieces = []
    for _ in range(draw(st.integers(1, 3))):
        sizes = list(shape)
        if not new:
            sizes[axis] = draw(st.integers(0, 3))
        pieces.append(REAL.fill(rng, tuple(sizes)))
    return Sample(tuple(pieces), {"axis": axis})


_JOIN_ERRORS = (
    Bad((), ValueError, r"concatenate: no tensors given"),
    Bad((MAT, VEC), ValueError, r"concatenate: shapes \(2, 3\), \(3,\) differ outside axis 0"),
    Bad((MAT, MAT.T), ValueError, r"concatenate: shapes \(2, 3\), \(3, 2\) differ outside axis 0"),
    Bad((VEC, np.ones(3)), TypeError, r"concatenate: dtypes do not mix: xs\[0\] .* xs\[1\]"),
    Bad((VEC, VEC), ValueError, r"concatenate: axis 1 does not fit", {"axis": 1}),
)
add("concat", lambda *xs, axis: np.concatenate(xs, axis), _joined(new=False))
add("concatenate", lambda *xs, axis: np.concatenate(xs, axis), _joined(new=False),
    call=lambda *xs, axis=0: tg.concatenate(xs, axis), errors=_JOIN_ERRORS)  # fmt: skip
add("stack", lambda *xs, axis: np.stack(xs, axis), _joined(new=True),
    call=lambda *xs, axis=0: tg.stack(xs, axis),
    errors=(Bad((MAT, VEC), ValueError, r"stack: shapes \(2, 3\), \(3,\) differ"),))  # fmt: skip


@st.composite
def _padded(draw: Any, modes: tuple[bool, ...] = (False, True)) -> Sample:
    x = draw(dims(draw(st.integers(0, 3))))
    mirrored = draw(st.sampled_from(modes))
    most = [max(n - 1, 0) if mirrored else 2 for n in x.shape]
    if mirrored and 0 in x.shape:
        most = [0] * x.ndim
    width = tuple((draw(st.integers(0, m)), draw(st.integers(0, m))) for m in most)
    if mirrored:
        return Sample((x,), {"pad_width": width, "mode": "reflect"})
    return Sample((x,), {"pad_width": width, "value": draw(st.sampled_from([0.0, 1.5, -1]))})


def _surrounded(
    x: np.ndarray, pad_width: Any, value: float = 0.0, mode: str = "constant"
) -> np.ndarray:
    if mode == "reflect":
        return np.pad(x, pad_width, "reflect") if x.ndim else x
    sizes = [b + n + a for n, (b, a) in zip(x.shape, pad_width, strict=True)]
    out = np.full(sizes, value, x.dtype)
    out[tuple(slice(b, b + n) for n, (b, _) in zip(x.shape, pad_width, strict=True))] = x
    return out


add("surround", _surrounded, _padded((False,)))
add(
    "pad", _surrounded, _padded(),
    errors=(
        Bad((MAT, ((1, 1),)), ValueError, r"pad: pad_width .* for each of the 2 axes"),
        Bad((VEC, ((-1, 1),)), ValueError, r"pad: pad_width .* counts >= 0"),
        Bad((VEC, 1), ValueError, r"pad: pad_width 1 for shape \(3,\)"),
        Bad((INT, ((1, 1),)), TypeError, r"pad: .* value = 0.5; expected an int", {"value": 0.5}),
        Bad((VEC, ((1, 1),), 0.0, "edge"), ValueError, r"pad: mode is 'edge'; expected 'constant'"),
        Bad(
            (MAT, ((0, 0), (3, 0))), ValueError, r"pad: padding \(3, 0\) along axis 1 .* size 3",
            {"mode": "reflect"},
        ),
        Bad((VEC, 1), ValueError, r"pad: pad_width 1 for shape \(3,\)", {"mode": "reflect"}),
    ),
)  # fmt: skip

# ---- indexing ------------------------------------------------------------------------------------

INDICES: tuple[Any, ...] = (  # of an array with shape (4, 3, 2)
    0, -1, (1, 2), (3, -1, 0), slice(None), slice(1, 3), slice(None, None, -1), slice(3, 0, -2),
    (slice(None), 1), (..., 0), (0, ...), (None, 1), (..., None), (1, None, slice(0, 2)),
    (slice(None), slice(None, None, 2), -1), (), (None, ..., None), slice(2, 2), slice(-3, None),
    np.int64(2), (slice(0, 100), np.int32(1)),
)  # fmt: skip
GATHERS: tuple[Any, ...] = (
    [0, 0, 3], np.array([-1, 2]), (slice(None), [2, 1, 0, 2]), (..., [1, 1]), [[0, 1], [3, 3]],
    (slice(1, 3), [0, 2]), (1, [0, 2]), (slice(None), 1, [0, 1, 1]), (None, [3]), np.array(2),
    np.array([1, 2], dtype=np.uint8), [], (slice(None, None, -1), ..., np.array([0])),
)  # fmt: skip


def _indexed(indices: tuple[Any, ...]) -> st.SearchStrategy[Sample]:
    return st.builds(
        lambda rng, i: Sample((REAL.fill(rng, (4, 3, 2)),), {"index": indices[i]}),
        rngs, st.integers(0, len(indices) - 1),
    )  # fmt: skip


def _getitem(x: np.ndarray, index: Any) -> np.ndarray:
    if isinstance(index, list) and not index:
        index = np.zeros(0, int)
    return x[index]


add(
    "getitem", _getitem, _indexed(INDICES + GATHERS), view=True,
    call=lambda x, index: x[index] if not _is_empty(index) else x[np.zeros(0, int)],
    edges=tuple(sample(np.arange(24.0).reshape(4, 3, 2), index=i) for i in INDICES + GATHERS),
    errors=(
        Bad((MAT,), IndexError, r"getitem: index 2 is outside axis 0 of shape \(2, 3\)",
            {"index": 2}),
        Bad((MAT,), IndexError, r"getitem: index -4 is outside axis 1", {"index": (0, -4)}),
        Bad((MAT,), IndexError, r"getitem: 3 indices for shape \(2, 3\), expected at most 2",
            {"index": (0, 0, 0)}),
        Bad((MAT,), IndexError, r"getitem: `...` appears twice", {"index": (..., ...)}),
        Bad((MAT,), TypeError, r"getitem: a boolean mask .*tinygen.where", {"index": MAT > 2}),
        Bad((MAT,), TypeError, r"getitem: a boolean mask", {"index": True}),
        Bad((MAT,), TypeError, r"getitem: more than one array of indices",
            {"index": ([0, 1], [0, 1])}),
        Bad((MAT,), TypeError, r"take: indices have dtype float32, expected integers",
            {"index": 0.5}),
        Bad((MAT,), IndexError, r"take: .* expected indices from -2 to 1", {"index": [2]}),
    ),
)  # fmt: skip


def _is_empty(index: Any) -> bool:
    return isinstance(index, list) and not index


def _plain_index(index: tuple[Any, ...]) -> tuple[Any, ...]:
    turn: dict[str, Any] = {"int": int, "new": lambda: None, "slice": slice}
    return tuple(turn[kind](*rest) for kind, *rest in index)


_SLICES = (
    (("slice", None, None, -1),),
    (("int", 1), ("new",), ("slice", 1, None, None)),
    (("slice", 0, 4, 2), ("int", -1), ("slice", 2, 0, -1)),
    (("slice", 2, 2, None),),
)


def _placed(x: np.ndarray, index: Any, shape: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(shape, x.dtype)
    out[_plain_index(index)] += x
    return out


add(
    "basic_slice", lambda x, index: x[_plain_index(index)], view=True,
    samples=st.builds(lambda rng, i: Sample((REAL.fill(rng, (4, 3, 2)),), {"index": i}),
                      rngs, st.sampled_from(_SLICES)),
)  # fmt: skip
add(
    "place", _placed,
    st.builds(
        lambda rng, i: Sample((REAL.fill(rng, np.zeros((4, 3, 2))[_plain_index(i)].shape),),
                              {"index": i, "shape": (4, 3, 2)}),
        rngs, st.sampled_from(_SLICES)),
)  # fmt: skip


@st.composite
def _gathered(draw: Any, scatter: bool) -> Sample:
    """take and its adjoint: an array (or the gathered one), indices of 0 to 2 axes, an axis."""
    shape = draw(shapes(1, 4, (1, 3)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    rng, form, n = draw(rngs), draw(shapes(0, 3, (0, 2))), shape[axis]
    indices = rng.integers(0 if scatter else -n, n, form)
    if not scatter:
        return Sample((REAL.fill(rng, shape), indices), {"axis": axis})
    at = axis % len(shape)
    values = REAL.fill(rng, shape[:at] + form + shape[at + 1 :])
    return Sample((values, indices), {"axis": axis, "shape": shape})


def _taken(x: np.ndarray, indices: np.ndarray, axis: int = 0) -> np.ndarray:
    front = np.moveaxis(x, axis, 0)
    picked = np.array([front[i] for i in indices.flat]).reshape(indices.shape + front.shape[1:])
    places = range(axis % x.ndim, axis % x.ndim + indices.ndim)
    return np.moveaxis(picked, range(indices.ndim), places)


def _scattered(x: np.ndarray, indices: np.ndarray, axis: int, shape: tuple[int, ...]) -> np.ndarray:
    out, at = np.zeros(shape, x.dtype), axis % len(shape)
    for index in np.ndindex(x.shape):
        i = indices[index[at : at + indices.ndim]]
        out[(*index[:at], int(i), *index[at + indices.ndim :])] += x[index]
    return out


add(
    "take", _taken, _gathered(scatter=False),
    edges=(sample(np.array([1.0, 2.0, 3.0]), np.array([1, 1, 1, -3]), axis=0),),
    errors=(
        Bad((VEC, [0, 3]), IndexError, r"take: .* x has shape \(3,\), expected .* from -3 to 2"),
        Bad((VEC, VEC), TypeError, r"take: indices have dtype float32, expected integers.*astype"),
        Bad((VEC, 0.5), TypeError, r"take: indices have dtype float64, expected integers"),
        Bad((VEC, True), TypeError, r"take: indices have dtype bool, expected integers"),
        Bad((VEC, None), TypeError, r"take: indices is None"),
        Bad((2.5, INT), TypeError, r"take: x is the number 2.5; expected a tensor"),
        Bad((np.zeros((0, 2)), [0]), IndexError, r"take: .* \(0, 2\), expected no index along"),
        Bad((VEC, 0), ValueError, r"take: axis 1 does not fit", {"axis": 1}),
    ),
)  # fmt: skip
add(
    "scatter_add", _scattered, _gathered(scatter=True),
    edges=(sample(np.array([1.0, 2.0, 3.0]), np.array([1, 1, 1]), axis=0, shape=(2,)),),
    errors=(
        Bad((VEC, VEC), TypeError, r"scatter_add: indices have dtype float32, expected integers",
            {"axis": 0, "shape": (3,)}),
        Bad((VEC, [0, 1]), ValueError, r"scatter_add: x \(3,\) .* expected \(2,\)",
            {"axis": 0, "shape": (3,)}),
        Bad((VEC, [0, 1, 7]), IndexError,
            r"scatter_add: index 7 .* the result has shape \(3,\), expected .* from -3 to 2",
            {"axis": 0, "shape": (3,)}),
        Bad((2.5, INT), TypeError, r"scatter_add: x is the number 2.5", {"axis": 0, "shape": (3,)}),
    ),
)  # fmt: skip


@st.composite
def _along_axis(draw: Any, scatter: bool) -> Sample:
    """take_along_axis and its adjoint: indices for each place."""
    shape, rng = draw(shapes(1, 4, (1, 3))), draw(rngs)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    form, n = list(shape), shape[axis]
    form[axis] = draw(st.integers(0, 4))
    indices = rng.integers(-n, n, form)
    if scatter:
        return Sample((REAL.fill(rng, tuple(form)), indices), {"axis": axis, "shape": shape})
    return Sample((REAL.fill(rng, shape), indices), {"axis": axis})


def _taken_along(x: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
    out = np.empty(indices.shape, x.dtype)
    for index in np.ndindex(indices.shape):
        source = list(index)
        source[axis] = int(indices[index])
        out[index] = x[tuple(source)]
    return out


def _added_along(x: np.ndarray, indices: np.ndarray, axis: int, shape: Any) -> np.ndarray:
    out = np.zeros(shape, x.dtype)
    for index in np.ndindex(indices.shape):
        target = list(index)
        target[axis] = int(indices[index])
        out[tuple(target)] += x[index]
    return out


_ALONG = (
    Bad(
        (MAT, INT),
        ValueError,
        r"indices \(3,\) do not fit \(2, 3\) along axis 0; expected eq",
        {"axis": 0},
    ),
    Bad(
        (MAT, MAT), TypeError, r"indices have dtype float32, expected integers.*astype", {"axis": 0}
    ),
    Bad((MAT, np.zeros((2, 3), int)), ValueError, r"axis 2 does not fit", {"axis": 2}),
    Bad((2.5, INT), TypeError, r"take_along_axis: x is the number 2.5", {"axis": 0}),
)
add(
    "take_along_axis", _taken_along, _along_axis(scatter=False),
    edges=(sample(np.array([1.0, 2.0]), np.array([1, 1, -2], np.int8), axis=0),),
    errors=(
        *_ALONG,
        Bad((MAT, np.array([[0], [3]])), IndexError,
            r"take_along_axis: indices from 0 to 3; x has shape \(2, 3\), expected .* -3 to 2",
            {"axis": 1}),
    ),
)  # fmt: skip
add(
    "add_along_axis", _added_along, _along_axis(scatter=True),
    errors=(
        Bad((MAT, np.zeros((2, 1), int)), ValueError,
            r"add_along_axis: x \(2, 3\) and indices \(2, 1\); expected one shape",
            {"axis": 1, "shape": (2, 3)}),
        Bad((2.5, INT), TypeError, r"add_along_axis: x is the number", {"axis": 0, "shape": (3,)}),
    ),
)  # fmt: skip

# ---- order ---------------------------------------------------------------------------------------

_ONE = with_axes(DISTINCT, low=1, several=False, everything=False)
_ORDERED = st.builds(
    lambda s, down: Sample(s.arrays, {**s.options, "descending": down}), _ONE, st.booleans()
)
_LONG = np.random.default_rng(0).integers(-9, 9, (3, 40, 5)).astype(np.float32)
_LONG[0, :7, 0] = math.inf, -0.0, 0.0, -math.inf, 1e-40, -1e-40, 0.0
_MANY_TIES = (
    sample(_LONG, axis=1),
    sample(_LONG, axis=-1, descending=True),
    sample(_LONG, axis=0),
    sample(np.array([2.0, 1.0, 2.0, 1.0, 3.0]), axis=0),
    sample(np.array([2.0, 1.0, 2.0, 1.0, 3.0]), axis=0, descending=True),
    sample(np.zeros((0, 2)), axis=0),
    sample(np.array([[3, 1], [2, 2]]), axis=-1),
)
_ORDER_ERRORS = (
    Bad((MAT,), ValueError, r"axis 5 does not fit an array with 2 axes", {"axis": 5}),
    Bad((MAT,), ValueError, r"sort: axis is None; expected an integer", {"axis": None}),
)


def _argsorted(x: np.ndarray, axis: int = -1, descending: bool = False) -> np.ndarray:
    def order(row: np.ndarray) -> Any:
        return sorted(range(len(row)), key=lambda i: -row[i] if descending else row[i])

    rows = np.moveaxis(x, axis, -1)
    out = [order(rows[i]) for i in np.ndindex(rows.shape[:-1])]
    return np.moveaxis(np.array(out, np.int64).reshape(rows.shape), -1, axis)


def _top(x: np.ndarray, k: int, axis: int = -1) -> tuple[np.ndarray, np.ndarray]:
    indices = np.take(_argsorted(x, axis, True), range(k), axis)
    return _taken_along(x, indices, axis), indices


@st.composite
def _tops(draw: Any) -> Sample:
    s = draw(_ONE)
    return Sample(s.arrays, {**s.options, "k": draw(st.integers(1, s.arrays[0].shape[
        s.options["axis"]]))})  # fmt: skip


add("argsort", _argsorted, _ORDERED, order=0, edges=_MANY_TIES, errors=_ORDER_ERRORS)
add("sort", lambda x, axis=-1, descending=False: np.take_along_axis(
    x, _argsorted(x, axis, descending), axis), _ORDERED, edges=_MANY_TIES[-2:],
    errors=_ORDER_ERRORS)  # fmt: skip
add(
    "top_k", _top, _tops(), edges=(sample(np.array([1.0, 4.0, 3.0]), k=2),),
    errors=(
        Bad((MAT, 4), ValueError, r"top_k: k is 4, along axis -1 of shape \(2, 3\) are 3 elements"),
        Bad((MAT, 0), ValueError, r"top_k: k is 0, .*; expected an int from 1 to 3"),
        Bad((MAT, 1.0), ValueError, r"top_k: k is 1.0"),
        Bad((MAT, 1), ValueError, r"axis 5 does not fit", {"axis": 5}),
    ),
)  # fmt: skip


@st.composite
def _put_somewhere(draw: Any) -> Sample:
    shape, rng = draw(shapes(1, 4, (1, 3))), draw(rngs)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    n, at = shape[axis], axis % len(shape)
    value = REAL.fill(rng, shape[:at] + shape[at + 1 :])
    return Sample((REAL.fill(rng, shape), value, rng.integers(-n, n, ())), {"axis": axis})


def _put(x: np.ndarray, value: np.ndarray, i: np.ndarray, axis: int) -> np.ndarray:
    at = axis % x.ndim
    parts = [np.take(x, k, at) for k in range(x.shape[at])]
    parts[int(i)] = value
    return np.stack(parts, at)


add(
    "put", _put, _put_somewhere(),
    errors=(
        Bad((MAT, VEC[:2], 3), IndexError, r"put: place 3 is outside axis 1 .*from -3 to 2",
            {"axis": 1}),
        Bad((MAT, VEC, 0), ValueError, r"put: value \(3,\) does not fit x \(2, 3\).*\(2,\)",
            {"axis": 1}),
        Bad((MAT, VEC, VEC), TypeError, r"put: place \(3,\) float32; expected", {"axis": 0}),
        Bad((MAT, VEC, 0.5), TypeError, r"put: place 0.5; expected an integer", {"axis": 0}),
        Bad((MAT, VEC, True), TypeError, r"put: place True; expected an integer", {"axis": 0}),
        Bad((MAT, VEC.astype("f8"), 0), TypeError, r"put: dtypes do not mix", {"axis": 0}),
        Bad((MAT, VEC, 0), ValueError, r"put: axis 2 does not fit", {"axis": 2}),
        Bad((2.5, VEC, 0), TypeError, r"put: x is the number 2.5; expected", {"axis": 0}),
    ),
)  # fmt: skip
add(
    "one_hot", lambda labels, classes: np.eye(classes, dtype=np.float32)[labels], order=0,
    samples=st.builds(lambda rng, s: Sample((rng.integers(0, 3, s),), {"classes": 3}),
                      rngs, shapes()),
    errors=(
        Bad((INT, 3), ValueError, r"one_hot: labels from 1 to 3, expected from 0 to 2"),
        Bad(([-1, 0], 3), ValueError, r"one_hot: labels from -1 to 0"),
        Bad((VEC, 3), TypeError, r"one_hot: indices have dtype float32, expected integers"),
    ),
)  # fmt: skip

# ---- matrix products -----------------------------------------------------------------------------


@st.composite
def _products(draw: Any, vectors: bool) -> Sample:
    n, k, m = (draw(st.integers(0, 4)) for _ in range(3))
    left, right = draw(broadcastable(2))
    x, y = (*left[-1:], n, k), (*right[-1:], k, m)
    if vectors:
        x, y = draw(st.sampled_from([((k,), y), (x, (k,)), ((k,), (k,)), (x, y)]))
    rng = draw(rngs)
    return Sample((REAL.fill(rng, x), REAL.fill(rng, y)), {})


def _matmul(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    a, b = (x[None] if x.ndim == 1 else x), (y[:, None] if y.ndim == 1 else y)
    out = (a[..., :, :, None] * b[..., None, :, :]).sum(-2)
    out = out[..., 0, :] if x.ndim == 1 else out
    return out[..., 0] if y.ndim == 1 else out


add(
    "matmul_nd", _matmul, _products(vectors=False),
    errors=(
        Bad((MAT, MAT), ValueError, r"matmul: inner dimensions differ: x \(2, 3\) @ y \(2, 3\)"),
        Bad((np.zeros((2, 1, 3)), np.zeros((3, 3, 1))), ValueError,
            r"matmul: leading axes do not broadcast: x \(2, 1, 3\) @ y \(3, 3, 1\)"),
    ),
)  # fmt: skip
add(
    "matmul", _matmul, _products(vectors=True),
    edges=(sample(np.zeros((2, 0)), np.zeros((0, 3))), sample(np.ones(3), np.arange(3.0))),
    errors=(
        Bad((np.ones((4, 3)), np.ones((5, 2))), ValueError,
            r"matmul: inner dimensions differ: x \(4, 3\) @ y \(5, 2\); expected "
            r"x.shape\[-1\] == y.shape\[-2\]"),
        Bad((VEC, 2.0), ValueError, r"matmul: .* a 0-d operand"),
        Bad((MAT, np.ones((3, 2))), TypeError, r"matmul: dtypes do not mix"),
    ),
)  # fmt: skip


@st.composite
def _layers(draw: Any, rows: bool) -> Sample:
    k, m, rng = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(rngs)
    lead = draw(shapes(0, 3, (1, 1) if rows else (0, 2)))
    arrays = [REAL.fill(rng, (*lead, k)), REAL.fill(rng, (k, m)), REAL.fill(rng, (m,))]
    return Sample(tuple(arrays if rows or draw(st.booleans()) else arrays[:2]), {})


def _linear(x: np.ndarray, w: np.ndarray, b: Any = 0.0) -> np.ndarray:
    return np.einsum("...k,km->...m", x, w) + b


add("linear_fused", _linear, _layers(rows=True))
add(
    "linear", _linear, _layers(rows=False),
    errors=(
        Bad((MAT, MAT), ValueError, r"linear: x \(2, 3\) does not fit w \(2, 3\); expected w"),
        Bad((MAT, MAT.T, VEC), ValueError, r"linear: b \(3,\) does not fit w \(3, 2\)"),
        Bad((1.0, MAT), ValueError, r"linear: x \(\) does not fit"),
    ),
)  # fmt: skip

# ---- images: one output pixel after the other, padding as pixels that are not there --------------


def _meets(i: int, a: int, stride: int, dilation: int, before: int, n: int) -> int | None:
    """The pixel that place a of window i lies on; None outside the image."""
    at = i * stride + a * dilation - before
    return at if 0 <= at < n else None


def _meetings(size: Any, kernel: Any, outputs: Any, window: Any) -> list[tuple[int, ...]]:
    """(i, j, a, b, row, column) for each place of each window that lies on the image."""
    found = []
    for i, j, a, b in itertools.product(*map(range, (*outputs, *kernel))):
        (sy, sx), ((top, _), (left, _)), (dy, dx) = window[:3]
        row = _meets(i, a, sy, dy, top, size[0])
        column = _meets(j, b, sx, dx, left, size[1])
        if row is not None and column is not None:
            found.append((i, j, a, b, row, column))
    return found


def _outputs(size: Any, kernel: Any, window: Any) -> tuple[int, ...]:
    """How many windows fit, counted."""
    counts = []
    for n, k, s, p, d in zip(size, kernel, *window[:3], strict=True):
        last = n + sum(p) - ((k - 1) * d + 1)
        counts.append(len(range(0, last + 1, s)))
    return tuple(counts)


def _blocks(groups: int, channels: int, outputs: int) -> list[tuple[slice, slice]]:
    """The input and the output channels of each group."""
    c, o = channels // groups, outputs // groups
    return [(slice(g * c, g * c + c), slice(g * o, g * o + o)) for g in range(groups)]


def _as_kept(w: np.ndarray, window: Any) -> np.ndarray:
    """The kernel of a transposed convolution has its channels the other way around."""
    return np.moveaxis(w, 3, 2) if window.transposed else w


def _conv(x: np.ndarray, w: np.ndarray, window: Any) -> np.ndarray:
    w = _as_kept(w, window)
    size, kernel, groups = x.shape[1:3], w.shape[:2], window[3]
    outputs = _outputs(size, kernel, window)
    y = np.zeros((len(x), *outputs, w.shape[3]), x.dtype)
    for i, j, a, b, row, column in _meetings(size, kernel, outputs, window):
        for ins, outs in _blocks(groups, x.shape[3], w.shape[3]):
            y[:, i, j, outs] += np.einsum("nc,co->no", x[:, row, column, ins], w[a, b, :, outs])
    return y


def _conv_dx(y: np.ndarray, w: np.ndarray, size: Any, window: Any) -> np.ndarray:
    w = _as_kept(w, window)
    channels = w.shape[2] * window[3]
    x = np.zeros((len(y), *size, channels), y.dtype)
    for i, j, a, b, row, column in _meetings(size, w.shape[:2], y.shape[1:3], window):
        for ins, outs in _blocks(window[3], channels, w.shape[3]):
            x[:, row, column, ins] += np.einsum("no,co->nc", y[:, i, j, outs], w[a, b, :, outs])
    return x


def _conv_dw(x: np.ndarray, y: np.ndarray, kernel: Any, window: Any) -> np.ndarray:
    w = np.zeros((*kernel, x.shape[3] // window[3], y.shape[3]), x.dtype)
    for i, j, a, b, row, column in _meetings(x.shape[1:3], kernel, y.shape[1:3], window):
        for ins, outs in _blocks(window[3], x.shape[3], y.shape[3]):
            w[a, b, :, outs] += np.einsum("nc,no->co", x[:, row, column, ins], y[:, i, j, outs])
    return _as_kept(w, window)


def _both(value: Any) -> tuple[Any, Any]:
    return value if isinstance(value, tuple) else (value, value)


def _sides(padding: Any, same: list[int]) -> tuple[tuple[int, int], ...]:
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        return tuple((max(n, 0) // 2, max(n, 0) - max(n, 0) // 2) for n in same)  # type: ignore
    rows, columns = _both(padding)
    return _both(rows), _both(columns)


def _same(size: Any, kernel: Any, stride: Any, dilation: Any) -> list[int]:
    """TensorFlow's rule: as many zeros as ceil(n / stride) windows reach beyond the image."""
    return [
        (math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    ]


def _conv2d(
    x: Any, w: Any, b: Any = 0.0, stride: Any = 1, padding: Any = "valid", dilation: Any = 1,
    groups: int = 1,
) -> np.ndarray:  # fmt: skip
    stride, dilation = _both(stride), _both(dilation)
    same = _same(x.shape[1:3], w.shape[:2], stride, dilation)
    return _conv(x, w, Window(stride, _sides(padding, same), dilation, groups)) + b


def _conv_transpose2d(
    x: Any, w: Any, b: Any = 0.0, stride: Any = 1, padding: Any = "valid", output_padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> np.ndarray:  # fmt: skip
    stride, dilation, more = _both(stride), _both(dilation), _both(output_padding)
    reach = [(k - 1) * d + 1 for k, d in zip(w.shape[:2], dilation, strict=True)]
    sides = _sides(padding, [r - s for r, s in zip(reach, stride, strict=True)])
    size = tuple(
        n * s if padding == "same" else (n - 1) * s + r - sum(p) + m
        for n, s, r, p, m in zip(x.shape[1:3], stride, reach, sides, more, strict=True)
    )
    window = (stride, sides, dilation, groups)
    out = np.zeros((len(x), *size, w.shape[3] * groups), x.dtype)
    for i, j, a, b_, row, column in _meetings(size, w.shape[:2], x.shape[1:3], window):
        for ins, outs in _blocks(groups, x.shape[3], out.shape[3]):
            out[:, row, column, outs] += np.einsum("nc,co->no", x[:, i, j, ins], w[a, b_, ins, :])
    return out + b


_SIDE = st.tuples(st.integers(0, 2), st.integers(0, 2))
_FEW = st.tuples(st.integers(1, 2), st.integers(1, 2))
_KERNELS = st.tuples(st.integers(1, 3), st.integers(1, 3))
_STRIDES = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def _window_on_image(draw: Any, dilated: bool = True) -> tuple[Any, Any, Window]:
    """(size, kernel, window): one window or more fits; the kernel may be larger than the image."""
    kernel, stride = draw(_KERNELS), draw(_STRIDES)
    dilation = draw(_FEW) if dilated else (1, 1)
    padding = tuple(draw(_SIDE) for _ in kernel)
    if not dilated:  # of pooling, whose windows each hold a pixel
        padding = tuple(
            tuple(min(v, k - 1) for v in p) for p, k in zip(padding, kernel, strict=True)
        )
    size = tuple(
        max(1, (k - 1) * d + 1 - sum(p)) + draw(st.integers(0, 3))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    )
    return size, kernel, Window(stride, padding, dilation, 1)


@st.composite
def _convolving(draw: Any, which: str) -> Sample:
    """conv2d_nd(x, w), conv2d_dx(y, w) or conv2d_dw(x, y): the two arrays are named by `which`."""
    size, kernel, window = draw(_window_on_image())
    n, (c, o), groups, rng = (
        draw(st.integers(0, 2)),
        draw(_FEW),
        draw(st.integers(1, 2)),
        draw(rngs),
    )
    window = window._replace(groups=groups, transposed=draw(st.booleans()))
    w = (o * groups, c) if window.transposed else (c, o * groups)
    forms = {
        "x": (n, *size, c * groups),
        "w": (*kernel, *w),
        "y": (n, *_outputs(size, kernel, window), o * groups),
    }
    more = {"yw": {"size": size}, "xy": {"kernel": kernel}}.get(which, {})
    return Sample(tuple(REAL.fill(rng, forms[a]) for a in which), {"window": window, **more})


add("conv2d_nd", _conv, _convolving("xw"))
add("conv2d_dx", _conv_dx, _convolving("yw"))
add("conv2d_dw", _conv_dw, _convolving("xy"))


@st.composite
def _conv_layers(draw: Any, transposed: bool) -> Sample:
    """x, w and perhaps b, with options as users write them."""
    size, kernel, window = draw(_window_on_image())
    stride, sides, dilation = window[:3]
    n, (c, o), groups, rng = (
        draw(st.integers(0, 2)),
        draw(_FEW),
        draw(st.integers(1, 2)),
        draw(rngs),
    )
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    kinds = [sides, "same"]
    if transposed:  # sides are cut off: something must be left
        full = [(m - 1) * s + r for m, s, r in zip(size, stride, reach, strict=True)]
        if min(f - sum(p) for f, p in zip(full, sides, strict=True)) < 1:
            kinds = ["same", "valid", 0]
    elif min(m - r for m, r in zip(size, reach, strict=True)) >= 0:
        kinds += ["valid", 1, (0, 2)]
    options = {"stride": stride, "padding": draw(st.sampled_from(kinds)), "dilation": dilation}
    if transposed and options["padding"] != "same" and draw(st.booleans()):
        options["output_padding"] = tuple(s - 1 for s in stride)
    w = (c * groups, o) if transposed else (c, o * groups)
    forms = [(n, *size, c * groups), (*kernel, *w), (o * groups,)][: draw(st.integers(2, 3))]
    return Sample(tuple(REAL.fill(rng, f) for f in forms), {**options, "groups": groups})


_IMAGE = np.ones((1, 4, 5, 2), np.float32)
_KERNEL = np.ones((3, 3, 2, 4), np.float32)


def _conv_errors(who: str, taking: str) -> tuple[Bad, ...]:
    return (
        Bad((_IMAGE[0], _KERNEL), ValueError,
            rf"{who}: x \(4, 5, 2\), w .*expected x \(N, H, W, C\) and w \(KH, KW, {taking}\)"),
        Bad((_IMAGE[..., :1], _KERNEL), ValueError, rf"{who}: .* w takes 2 channels .* x has 1"),
        Bad((_IMAGE, _KERNEL, VEC), ValueError, rf"{who}: .* b \(3,\); expected \(4,\)"),
        Bad((_IMAGE, _KERNEL), ValueError, rf"{who}: .*groups is 0; expected an int",
            {"groups": 0}),
        Bad((_IMAGE, _KERNEL), ValueError, rf"{who}: stride is 0; expected an int >= 1",
            {"stride": 0}),
        Bad((_IMAGE, _KERNEL), ValueError, rf"{who}: dilation is \(1, 2, 3\); expected",
            {"dilation": (1, 2, 3)}),
        Bad((_IMAGE, _KERNEL), ValueError, rf"{who}: padding is 'full'; expected 'same'",
            {"padding": "full"}),
        Bad((_IMAGE, _KERNEL), ValueError, rf"{who}: padding is \(1, -1\); .* counts >= 0",
            {"padding": (1, -1)}),
        Bad((_IMAGE, _KERNEL.astype(float)), TypeError, r"conv.*2d: dtypes do not mix"),
        Bad((_IMAGE.astype(int), _KERNEL.astype(int)), TypeError, r"conv.*2d: expected floating"),
    )  # fmt: skip


add(
    "conv2d", _conv2d, _conv_layers(transposed=False),
    edges=(
        sample(np.zeros((0, 3, 3, 1)), np.ones((3, 3, 1, 2))),
        sample(np.full((1, 1, 2, 1), 2.0), np.ones((3, 5, 1, 1)), padding="same"),
        sample(np.arange(5.0).reshape(1, 5, 1, 1), np.ones((2, 1, 1, 1)), stride=2, padding="same"),
    ),
    errors=(
        *_conv_errors("conv2d", "C / groups, O"),
        Bad((_IMAGE, _KERNEL), ValueError, r"conv2d: .*w takes 6 channels", {"groups": 3}),
        Bad((_IMAGE, _KERNEL), ValueError, r"conv2d: image 4 x 5, kernel 3 x 3, .* output of 0 x 1",
            {"dilation": 2}),
    ),
)  # fmt: skip
add(
    "conv_transpose2d", _conv_transpose2d, _conv_layers(transposed=True),
    edges=(
        sample(np.zeros((0, 3, 3, 1)), np.ones((3, 3, 1, 2))),
        sample(np.full((1, 1, 2, 1), 2.0), np.ones((1, 2, 1, 1)), stride=3, padding="same"),
    ),
    errors=(
        *_conv_errors("conv_transpose2d", "C, O / groups"),
        Bad((_IMAGE, _KERNEL), ValueError, r"output_padding \(2, 2\); expected below the stride",
            {"output_padding": 2, "stride": 2}),
        Bad((_IMAGE, _KERNEL), ValueError, r"output_padding \(1, 1\); .* 0 with 'same'",
            {"output_padding": 1, "stride": 2, "padding": "same"}),
        Bad((_IMAGE[:, :0], _KERNEL), ValueError, r"conv_transpose2d: .* expected H >= 1"),
        Bad((_IMAGE, _KERNEL), ValueError, r"conv_transpose2d: .* leave an output of 0 x 1",
            {"padding": 3}),
    ),
)  # fmt: skip


def _windows_of(size: Any, kernel: Any, window: Any) -> dict[Any, list[tuple[int, int]]]:
    """The pixels (row, column) of each window (i, j), in order."""
    found: dict[Any, list[tuple[int, int]]] = {}
    outputs = _outputs(size, kernel, window)
    for i, j, _, _, row, column in _meetings(size, kernel, outputs, window):
        found.setdefault((i, j), []).append((row, column))
    return found


def _largest(x: np.ndarray, kernel: Any, window: Any) -> dict[Any, tuple[int, int]]:
    """The pixel with the first maximum of each window, by (image, i, j, channel)."""
    return {
        (n, i, j, c): pixels[int(np.argmax([x[n, row, column, c] for row, column in pixels]))]
        for (i, j), pixels in _windows_of(x.shape[1:3], kernel, window).items()
        for n in range(len(x))
        for c in range(x.shape[3])
    }


def _max_pick(v: np.ndarray, x: np.ndarray, kernel: Any, window: Any) -> np.ndarray:
    y = np.zeros((len(x), *_outputs(x.shape[1:3], kernel, window), x.shape[3]), v.dtype)
    for (n, i, j, c), (row, column) in _largest(x, kernel, window).items():
        y[n, i, j, c] = v[n, row, column, c]
    return y


def _max_dx(y: np.ndarray, x: np.ndarray, kernel: Any, window: Any) -> np.ndarray:
    out = np.zeros(x.shape, y.dtype)
    for (n, i, j, c), (row, column) in _largest(x, kernel, window).items():
        out[n, row, column, c] += y[n, i, j, c]
    return out


def _mean_pool(x: np.ndarray, kernel: Any, window: Any) -> np.ndarray:
    y = np.zeros((len(x), *_outputs(x.shape[1:3], kernel, window), x.shape[3]), x.dtype)
    for (i, j), pixels in _windows_of(x.shape[1:3], kernel, window).items():
        y[:, i, j] = np.mean([x[:, row, column] for row, column in pixels], axis=0)
    return y


def _mean_dx(y: np.ndarray, size: Any, kernel: Any, window: Any) -> np.ndarray:
    x = np.zeros((len(y), *size, y.shape[3]), y.dtype)
    for (i, j), pixels in _windows_of(size, kernel, window).items():
        for row, column in pixels:
            x[:, row, column] += y[:, i, j] / len(pixels)
    return x


@st.composite
def _pooled(draw: Any, which: str, *names: str) -> Sample:
    """Arrays of the images' form (x: no ties) or of the pooled ones (y)."""
    size, kernel, window = draw(_window_on_image(dilated=False))
    n, c, rng = draw(st.integers(0, 2)), draw(st.integers(1, 2)), draw(rngs)
    forms = {"x": (n, *size, c), "v": (n, *size, c), "y": (n, *_outputs(size, kernel, window), c)}
    arrays = tuple((DISTINCT if a == "x" else REAL).fill(rng, forms[a]) for a in which)
    known = {"size": size, "kernel": kernel, "window": window}
    return Sample(arrays, {name: known[name] for name in names})


add("max_pool2d_nd", lambda x, kernel, window: _max_pick(x, x, kernel, window),
    _pooled("x", "kernel", "window"))  # fmt: skip
add("max_pool2d_dx", _max_dx, _pooled("yx", "kernel", "window"))
add("max_pool2d_pick", _max_pick, _pooled("vx", "kernel", "window"))
add("avg_pool2d_nd", _mean_pool, _pooled("x", "kernel", "window"))
add("avg_pool2d_dx", _mean_dx, _pooled("y", "size", "kernel", "window"))


@st.composite
def _pools(draw: Any) -> Sample:
    drawn = draw(_pooled("x", "kernel", "window"))
    kernel, window = drawn.options["kernel"], drawn.options["window"]
    kinds: list[Any] = [window.padding, "same"]
    if all(n >= k for n, k in zip(drawn.arrays[0].shape[1:3], kernel, strict=True)):
        kinds += ["valid", 0]
    options = {"kernel": kernel, "padding": draw(st.sampled_from(kinds))}
    stride = draw(st.sampled_from([None, window.stride, window.stride[0]]))
    return Sample(drawn.arrays, {**options, "stride": stride})


def _pool(pool: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def reference(x: Any, kernel: Any, stride: Any = None, padding: Any = "valid") -> np.ndarray:
        kernel = _both(kernel)
        stride = kernel if stride is None else _both(stride)
        same = _same(x.shape[1:3], kernel, stride, (1, 1))
        return pool(x, kernel, (stride, _sides(padding, same), (1, 1), 1))

    return reference


for _name, _reference in {
    "max_pool2d": lambda x, kernel, window: _max_pick(x, x, kernel, window),
    "avg_pool2d": _mean_pool,
}.items():
    add(
        _name, _pool(_reference), _pools(),
        edges=(
            sample(np.zeros((0, 4, 4, 2)), kernel=2), sample(np.zeros((1, 4, 4, 0)), kernel=2),
            sample(np.array([[[[3.0], [1.0]]]]), kernel=3, padding="same"),
        ),
        errors=(
            Bad((_IMAGE[0],), ValueError, rf"{_name}: x \(4, 5, 2\); expected images \(N, H, W, C",
                {"kernel": 2}),
            Bad((_IMAGE[:, :0],), ValueError, rf"{_name}: x \(1, 0, 5, 2\); .* H and W >= 1",
                {"kernel": 1}),
            Bad((_IMAGE,), ValueError, rf"{_name}: kernel is 0; expected an int >= 1",
                {"kernel": 0}),
            Bad((_IMAGE,), ValueError, rf"{_name}: stride is 1.5", {"kernel": 2, "stride": 1.5}),
            Bad((_IMAGE,), ValueError, rf"{_name}: image 4 x 5, kernel 5 x 5, .* output of 0 x 1",
                {"kernel": 5}),
            Bad((_IMAGE,), ValueError, rf"{_name}: padding .* makes windows without a pixel",
                {"kernel": 2, "padding": 2}),
            Bad((_IMAGE.astype(int),), TypeError, rf"{_name}: expected floating", {"kernel": 2}),
        ),
    )  # fmt: skip


def _resampled(x: np.ndarray, axis: int, m: int, mode: str) -> np.ndarray:
    """m pixels along an axis, each found on its own."""
    n, pixels = x.shape[axis], np.moveaxis(x, axis, 0)
    out = []
    for i in range(m):
        if mode == "nearest":
            out.append(pixels[(2 * i + 1) * n // (2 * m)])
            continue
        at = min(max((i + 0.5) * n / m - 0.5, 0.0), n - 1.0)
        low = math.floor(at)
        high = min(low + 1, n - 1)
        out.append(pixels[low] * (1 - (at - low)) + pixels[high] * (at - low))
    return np.moveaxis(np.array(out), 0, axis)


def _resized(x: Any, size: Any, mode: str = "bilinear") -> np.ndarray:
    height, width = _both(size)
    return _resampled(_resampled(x, 1, height, mode), 2, width, mode)


def _images(least: int = 1, **options: Any) -> st.SearchStrategy[Sample]:
    return st.builds(
        lambda rng, n, h, w, c, o: Sample((REAL.fill(rng, (n, h, w, c)),), o),
        rngs, st.integers(0, 2), st.integers(least, 4), st.integers(least, 4), st.integers(0, 2),
        st.fixed_dictionaries(options),
    )  # fmt: skip


_MODES = st.sampled_from(["nearest", "bilinear"])
_SIZES = st.one_of(st.integers(1, 7), st.tuples(st.integers(1, 7), st.integers(1, 7)))
_RESIZING = (
    Bad((_IMAGE[0], 2), ValueError, r"x \(4, 5, 2\); expected images \(N, H, W, C\)"),
    Bad((_IMAGE[:, :0], 2), ValueError, r"x \(1, 0, 5, 2\); expected images"),
    Bad((_IMAGE, 2, "cubic"), ValueError, r"mode is 'cubic'; expected 'nearest' or 'bilinear'"),
    Bad((_IMAGE.astype(int), 2, "bilinear"), TypeError, r"dtypes do not mix"),
)
add(
    "resize2d", _resized, _images(size=_SIZES, mode=_MODES),
    errors=(*_RESIZING, Bad((_IMAGE, (2, 0)), ValueError, r"resize2d: size is \(2, 0\); expected")),
)  # fmt: skip
add(
    "upsample2d",
    lambda x, scale, mode: _resized(
        x, tuple(s * n for s, n in zip(_both(scale), x.shape[1:3], strict=True)), mode
    ),
    _images(scale=st.one_of(st.integers(1, 3), _FEW), mode=_MODES),
    errors=(*_RESIZING, Bad((_IMAGE, 0.5), ValueError, r"upsample2d: scale is 0.5; expected")),
)


def _reflected(x: np.ndarray, padding: Any) -> np.ndarray:
    for axis, (before, after) in zip((1, 2), map(_both, _both(padding)), strict=True):
        n = x.shape[axis]
        places = [abs(i) for i in range(-before, n + after)]
        x = np.stack([x.take(min(i, 2 * n - 2 - i), axis) for i in places], axis)
    return x


add(
    "reflection_pad2d", _reflected,
    _images(3, padding=st.one_of(st.integers(0, 2), _SIDE, st.tuples(_SIDE, _SIDE))),
    errors=(
        Bad((_IMAGE, 4), ValueError, r"reflection_pad2d: padding \(4, 4\) along axis 1 .* size 4"),
        Bad((_IMAGE, "same"), ValueError, r"reflection_pad2d: padding is 'same'; expected a count"),
        Bad((_IMAGE[0], 1), ValueError, r"reflection_pad2d: x \(4, 5, 2\); expected images"),
    ),
)  # fmt: skip


# ---- blocks of pixels ----------------------------------------------------------------------------


def _blocks_of(size: Any, block: Any) -> Any:
    """(row, column) of each pixel of a large image; of its small one; its place in the block."""
    (h, w), (a, b) = size, block
    for i, j in itertools.product(range(h), range(w)):
        yield (i, j), (i // a, j // b), i % a * b + j % b


def _repeated(x: np.ndarray, block: Any) -> np.ndarray:
    return np.repeat(np.repeat(x, block[0], 1), block[1], 2)


def _added(x: np.ndarray, block: Any) -> np.ndarray:
    n, h, w, c = x.shape
    out = np.zeros((n, h // block[0], w // block[1], c), x.dtype)
    for (i, j), (k, m), _ in _blocks_of((h, w), block):
        out[:, k, m] += x[:, i, j]
    return out


def _to_channels(x: np.ndarray, block: Any) -> np.ndarray:
    n, h, w, c = x.shape
    (a, b) = block
    out = np.zeros((n, h // a, w // b, a * b, c), x.dtype)
    for (i, j), (k, m), place in _blocks_of((h, w), block):
        out[:, k, m, place] = x[:, i, j]
    return out.reshape(n, h // a, w // b, a * b * c)


def _to_pixels(x: np.ndarray, block: Any) -> np.ndarray:
    (n, h, w, c), (a, b) = x.shape, block
    out = np.zeros((n, a * h, b * w, c // (a * b)), x.dtype)
    for (i, j), (k, m), place in _blocks_of((a * h, b * w), block):
        out[:, i, j] = x[:, k, m].reshape(n, a * b, c // (a * b))[:, place]
    return out


@st.composite
def _in_blocks(draw: Any, grow: tuple[bool, bool], name: str = "block") -> Sample:
    """Images of sizes that blocks divide; `grow`: whether pixels or channels are a multiple."""
    a, b = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    n, h, w, c = (draw(st.integers(low, 3)) for low in (0, 1, 1, 0))
    size = (a * h, b * w) if grow[0] else (h, w)
    x = REAL.fill(draw(rngs), (n, *size, c * a * b if grow[1] else c))
    factor = (a, b) if name == "block" or a != b or draw(st.booleans()) else a
    return Sample((x,), {name: factor})


add("pixels_repeated", _repeated, _in_blocks((False, False)))
add("pixels_added", _added, _in_blocks((True, False)))
add("pixels_to_channels", _to_channels, _in_blocks((True, False)), view=True)
add("channels_to_pixels", _to_pixels, _in_blocks((False, True)), view=True)
for _name, _reference, _grow, _message in (
    ("space_to_depth", _to_channels, (True, False), "image 4 x 5 in blocks of 3 x 1; expected"),
    ("depth_to_space", _to_pixels, (False, True), "2 channels for blocks of 3 x 1 .* of 3"),
):
    add(
        _name, lambda x, factor, f=_reference: f(x, _both(factor)), _in_blocks(_grow, "factor"),
        view=True,
        errors=(
            Bad((_IMAGE, (3, 1)), ValueError, f"{_name}: {_message}"),
            Bad((_IMAGE[0], 2), ValueError, rf"{_name}: x \(4, 5, 2\); expected images"),
            Bad((_IMAGE, 0), ValueError, rf"{_name}: factor is 0; expected an int >= 1"),
            Bad((_IMAGE, 1.5), ValueError, rf"{_name}: factor is 1.5"),
        ),
    )  # fmt: skip

# ---- attention -----------------------------------------------------------------------------------


def _attended(q: np.ndarray, k: Any, v: Any, causal: bool = False, mask: Any = None) -> np.ndarray:
    """A query at a time."""
    n, m = q.shape[-2], k.shape[-2]
    seen = np.tri(n, m, dtype=bool) if causal else np.ones((n, m), bool) if mask is None else mask
    seen = np.broadcast_to(seen, (*q.shape[:-1], m))
    out = np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)
    for at in np.ndindex(q.shape[:-1]):
        keys, values = (x[at[:-1]][seen[at]] for x in (k, v))
        weights = np.exp(keys @ q[at] / q.shape[-1] ** 0.5)
        out[at] = weights / weights.sum() @ values
    return out


def _attended_dx(y: Any, q: Any, k: Any, v: Any, causal: bool) -> tuple[np.ndarray, ...]:
    """From the derivative of a share by a fit: share_i (1 if i is j - share_j)."""
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    scale = q.shape[-1] ** -0.5
    for at in np.ndindex(q.shape[:-1]):
        lead, m = at[:-1], at[-1] + 1 if causal else k.shape[-2]
        weights = np.exp(k[lead][:m] @ q[at] * scale)
        shares = weights / weights.sum()
        dfit = (np.diag(shares) - np.outer(shares, shares)) @ (v[lead][:m] @ y[at]) * scale
        dq[at] = dfit @ k[lead][:m]
        dk[lead][:m] += np.outer(dfit, q[at])
        dv[lead][:m] += np.outer(shares, y[at])
    return dq, dk, dv


def _heads_of(x: np.ndarray, parts: int, heads: int) -> list[np.ndarray]:
    cut = x.reshape(*x.shape[:2], parts, heads, -1)
    return [np.moveaxis(cut[:, :, i], 2, 1) for i in range(parts)]


def _beside(*parts: np.ndarray) -> np.ndarray:
    flat = [np.moveaxis(p, 1, 2).reshape(p.shape[0], p.shape[2], -1) for p in parts]
    return np.concatenate(flat, 2)


@st.composite
def _queries(draw: Any, back: bool = False, masks: bool = False) -> Sample:
    lead, rng = draw(st.sampled_from([(), (1,), (2,), (1, 2), (2, 1, 2)])), draw(rngs)
    n, m, d, e = (draw(st.integers(1, 4)) for _ in range(4))
    causal = draw(st.booleans())
    m = n if causal else m
    arrays = [REAL.fill(rng, (*lead, *tail)) for tail in ((n, d), (m, d), (m, e))]
    options: dict[str, Any] = {"causal": causal}
    if masks and not causal and draw(st.booleans()):
        options["mask"] = np.arange(n * m).reshape(n, m) % (m + 1) != 1 if m > 1 else True
    return Sample((*([REAL.fill(rng, (*lead, n, e))] if back else []), *arrays), options)


@st.composite
def _beside_each_other(draw: Any, back: bool = False) -> Sample:
    n, places, heads, d = (draw(st.integers(1, 3)) for _ in range(4))
    rng = draw(rngs)
    x = REAL.fill(rng, (n, places, 3 * heads * d))
    options = {"heads": heads, "causal": draw(st.booleans())}
    return Sample((REAL.fill(rng, (n, places, heads * d)), x) if back else (x,), options)


def _self_attended(x: np.ndarray, heads: int, causal: bool = False) -> np.ndarray:
    return _beside(_attended(*_heads_of(x, 3, heads), causal))


add("attend", _attended, _queries(), ulps=32)
add("attend_dx", _attended_dx, _queries(back=True), ulps=64)
add("attend_self", _self_attended, _beside_each_other(), ulps=32)
add(
    "attend_self_dx",
    lambda y, x, heads, causal: _beside(
        *_attended_dx(*_heads_of(y, 1, heads), *_heads_of(x, 3, heads), causal)
    ),
    _beside_each_other(back=True), ulps=64,
)  # fmt: skip
_Q = np.ones((2, 4, 3), np.float32)
add(
    "attention", _attended, _queries(masks=True), ulps=32,
    errors=(
        Bad((_Q, _Q, _Q[:1]), ValueError, r"attention: q \(2, 4, 3\), .* equal leading axes"),
        Bad((_Q, _Q[..., :2], _Q), ValueError, r"attention: .* k \(2, 4, 2\).* expected"),
        Bad((_Q, _Q, _Q[:, :2]), ValueError, r"attention: .* v \(2, 2, 3\).* expected"),
        Bad((VEC, VEC, VEC), ValueError, r"attention: q \(3,\), .*; expected \(..., n, d\)"),
        Bad((_Q, _Q[:, :0], _Q[:, :0]), ValueError, r"attention: k \(2, 0, 3\); expected one"),
        Bad((_Q, _Q[:, :2], _Q[:, :2]), ValueError, r"attention: causal with 4 queries, 2 keys",
            {"causal": True}),
        Bad((_Q, _Q, _Q), ValueError, r"attention: causal with a mask as well",
            {"causal": True, "mask": True}),
        Bad((_Q, _Q, _Q), TypeError, r"attention: mask of float32; expected booleans",
            {"mask": _Q[0, :, :1]}),
        Bad((_Q, _Q, _Q), ValueError, r"attention: mask \(3, 4\) does not .* \(2, 4, 4\)",
            {"mask": np.ones((3, 4), bool)}),
        Bad((_Q[:, :1], _Q, _Q), ValueError, r"attention: mask \(4, 4\) does not .* \(2, 1, 4\)",
            {"mask": np.ones((4, 4), bool)}),  # it would give each query's row to four
        Bad((_Q[0], _Q[0], _Q[0]), ValueError, r"attention: mask \(2, 4, 4\) does not",
            {"mask": np.ones((2, 4, 4), bool)}),
        Bad((_Q, _Q.astype("f8"), _Q), TypeError, r"attention: q float32, k float64, v float32"),
        Bad((_Q.astype(int),) * 3, TypeError, r"attention: q int64, .*; expected one floating"),
    ),
)  # fmt: skip
add(
    "self_attention", _self_attended, _beside_each_other(), ulps=32,
    errors=(
        Bad((_Q, 2), ValueError, r"self_attention: qkv \(2, 4, 3\) with 2 heads; .* by 6"),
        Bad((_Q[0], 1), ValueError, r"self_attention: qkv \(4, 3\) with 1 heads; expected \(n"),
        Bad((_Q[:, :0], 1), ValueError, r"self_attention: qkv \(2, 0, 3\)"),
        Bad((_Q, 0), ValueError, r"self_attention: heads is 0; expected an int >= 1"),
        Bad((_Q, 1.0), ValueError, r"self_attention: heads is 1.0"),
        Bad((_Q.astype(int), 1), TypeError, r"self_attention: qkv int64; expected one floating"),
    ),
)  # fmt: skip

# ---- einsum --------------------------------------------------------------------------------------

_FORMULAS = (
    "ij,jk->ik", "bij,bjk->bik", "bhid,bhjd->bhij", "ij,ij->", "i,j->ij", "ij->ji", "ij->j",
    "bi,ij,bj->b", "ij,jk", "ab,bc,cd->da", "i,i->i", "bqc,kc->bkq", "ij,k->i", "ijk->",
)  # fmt: skip


@st.composite
def _contracted(draw: Any) -> Sample:
    formula, rng = draw(st.sampled_from(_FORMULAS)), draw(rngs)
    sizes = {c: draw(st.integers(1, 3)) for c in sorted(set(formula) - set(",->"))}
    terms = formula.partition("->")[0].split(",")
    arrays = tuple(REAL.fill(rng, tuple(sizes[c] for c in term)) for term in terms)
    return Sample(arrays, {"formula": formula})


def _formula_errors(*cases: Any) -> tuple[Bad, ...]:
    return tuple(
        Bad(arrays, ValueError, match, {"formula": formula}) for formula, arrays, match in cases
    )


add(
    "einsum", lambda *xs, formula: np.einsum(formula, *xs), _contracted(),
    call=lambda *xs, formula: tg.einsum(formula, *xs), view=True, ulps=32,
    errors=_formula_errors(
        ("ii->i", (MAT,), r"einsum: 'ii' in 'ii->i' has a letter twice; diagonals and traces"),
        ("...i->i", (MAT,), r"einsum: formula '...i->i'; expected letters"),
        (None, (MAT,), r"einsum: formula None; expected letters"),
        ("ij,jk->ik", (MAT,), r"einsum: formula .* is of 2 arrays, 1 given"),
        ("ij->ik", (MAT,), r"einsum: 'k' in the result of 'ij->ik' is on no array"),
        ("i->i", (MAT,), r"einsum: 'i' in 'i->i' names 1 axes of shape \(2, 3\)"),
        ("ij,jk->ik", (MAT, MAT), r"einsum: 'j' .* is 3 on one array and 2 on shape \(2, 3\)"),
    ),
)  # fmt: skip

# ---- random: from the definition of Philox 4x32-10, one word at a time, in Python's integers -----


def philox_words(key: int, draw: int, count: int) -> list[int]:
    """The first words of a draw (tinygen/random.py gives the layout)."""
    out: list[int] = []
    for block in range((count + 3) // 4):
        c = [block & 0xFFFFFFFF, block >> 32, draw & 0xFFFFFFFF, draw >> 32]
        k = [key & 0xFFFFFFFF, key >> 32]
        for _ in range(10):
            p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [q >> 32 ^ c[1] ^ k[0], q & 0xFFFFFFFF, p >> 32 ^ c[3] ^ k[1], p & 0xFFFFFFFF]
            k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
        out += c
    return out[:count]


def _from_words(finish: Callable[..., Any], dtype: Any = None) -> Callable[..., np.ndarray]:
    def reference(key: Any, base: Any, offset: int, shape: Any, **options: Any) -> np.ndarray:
        kind = options.pop("dtype", dtype)
        words = philox_words(int(key[0]), int(base[0]) + offset, math.prod(shape))
        return np.array([finish(w, **options) for w in words], dtype=kind).reshape(shape)

    return reference


_KEYS = st.integers(0, 2**64 - 1).map(lambda k: np.array([k], dtype=np.uint64))
_BASES = st.integers(0, 2**40).map(lambda b: np.array([b], dtype=np.uint64))
_OFFSETS = st.integers(0, 5)


def _draws(**options: Any) -> st.SearchStrategy[Sample]:
    options = {"offset": _OFFSETS, "shape": shapes(0, 5), **options}
    return st.builds(
        lambda k, b, o: Sample((k, b), o), _KEYS, _BASES, st.fixed_dictionaries(options)
    )


_FLOATS = st.sampled_from(["float32", "float64"])
add("random_words", _from_words(lambda w: w, np.uint32), _draws(), order=0)
add("random_uniform", _from_words(lambda w: (w >> 8) / 2**24), _draws(dtype=_FLOATS), order=0)
add("random_normal", _from_words(lambda w: NormalDist().inv_cdf((w + 0.5) / 2**32)),
    _draws(dtype=_FLOATS), order=0, rtol=1e-6)  # fmt: skip
add("random_bernoulli", _from_words(lambda w, p: (w >> 8) / 2**24 < p, bool),
    _draws(p=st.sampled_from([0.0, 0.3, 1.0])), order=0)  # fmt: skip
add("random_integers", _from_words(lambda w, high: w * high >> 32, np.int64),
    _draws(high=st.sampled_from([1, 10, 2**32])), order=0)  # fmt: skip


def _permuted(key: Any, base: Any, offset: int, n: int) -> np.ndarray:
    w = philox_words(int(key[0]), int(base[0]) + offset, 2 * n)
    return np.array(sorted(range(n), key=lambda i: w[2 * i] | w[2 * i + 1] << 32), dtype=np.int64)


add(
    "random_permutation", _permuted, order=0,
    samples=_draws(n=st.integers(0, 9)).map(
        lambda s: Sample(s.arrays, {"n": s.options["n"], "offset": s.options["offset"]})),
)  # fmt: skip


def _dropped(x: np.ndarray, key: Any, base: Any, offset: int, p: float) -> np.ndarray:
    words = philox_words(int(key[0]), int(base[0]) + offset, x.size)
    keep = np.array([(w >> 8) / 2**24 >= p for w in words], bool).reshape(x.shape)
    return np.where(keep, x / (1 - p), 0.0)


add(
    "dropout", _dropped,
    st.builds(
        lambda rng, s, k, b, o, p: Sample((REAL.fill(rng, s), k, b), {"offset": o, "p": p}),
        rngs, shapes(), _KEYS, _BASES, _OFFSETS, st.sampled_from([0.0, 0.3, 0.9]),
    ),
    errors=(
        Bad((VEC, np.array([1], np.uint64), np.array([1], np.uint64)), ValueError,
            r"dropout: p is 1.0; expected .* 0 <= p < 1", {"offset": 0, "p": 1.0}),
    ),
)  # fmt: skip
add(
    "advance", lambda base, by: {0: base + np.uint64(by)}, mutates=(0,), order=0,
    samples=st.builds(lambda b, n: Sample((b,), {"by": n}), _BASES, _OFFSETS),
)  # fmt: skip

# ---- nn ------------------------------------------------------------------------------------------


@st.composite
def _normalised(draw: Any, back: bool) -> Sample:
    """x, weight and bias; `back`: the cotangent, x and weight. Layer, instance, batch and group."""
    rng = draw(rngs)
    if draw(st.booleans()):
        shape, axis = draw(shapes(1, 3, (4, 4))), (1, 3)
        weights = shape[2:]
    else:
        shape = draw(shapes(2, 4, (1, 3)))
        axis = draw(st.sampled_from([(0,), (-1,), tuple(range(max(1, len(shape) - 1)))]))
        over = {a % len(shape) for a in axis}
        kept = tuple(1 if a in over else n for a, n in enumerate(shape))
        weights = draw(st.sampled_from([kept, shape[-1:]]))
    x, weight = 2 * DISTINCT.fill(rng, shape), REAL.fill(rng, weights)
    arrays = (REAL.fill(rng, shape), x, weight) if back else (x, weight, REAL.fill(rng, weights))
    return Sample(arrays, {"axis": axis, "eps": draw(st.sampled_from([1e-2, 0.3]))})


def _normalise(x: Any, weight: Any, bias: Any, axis: Any, eps: float) -> np.ndarray:
    mean, var = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
    return (x - mean) * (var + eps) ** -0.5 * weight + bias


def _normalise_dx(y: Any, x: Any, weight: Any, axis: Any, eps: float) -> tuple[np.ndarray, ...]:
    """By the chain rule, through var and mean in turn."""
    n = x.size / x.sum(axis, keepdims=True).size
    d = x - x.mean(axis, keepdims=True)
    s = (x.var(axis, keepdims=True) + eps) ** 0.5
    h = y * np.broadcast_to(weight, x.shape)
    dvar = (h * d).sum(axis, keepdims=True) * -0.5 * s**-3
    dmean = -h.sum(axis, keepdims=True) / s
    gone = range(x.ndim - weight.ndim)
    over = (*gone, *(a for a in range(x.ndim) if a not in gone and
                     weight.shape[a - len(gone)] != x.shape[a]))  # fmt: skip
    dweight, dbias = (v.sum(over, keepdims=True).reshape(weight.shape) for v in (y * d / s, y))
    return h / s + dvar * 2 * d / n + dmean / n, dweight, dbias


add("normalise", _normalise, _normalised(back=False), ulps=64)
add("normalise_dx", _normalise_dx, _normalised(back=True), ulps=256)


@st.composite
def _in_groups(draw: Any, back: bool) -> Sample:
    """The same in groups of channels: images, rows of pixels, and features alone."""
    rng, (n, h, w, k) = draw(rngs), draw(shapes(1, 3, (4, 4)))
    groups = draw(st.sampled_from([1, 2, 3]))
    shape = (n, *draw(st.sampled_from([(h, w), (h * w,), ()])), groups * k)
    x, (weight, bias) = 2 * DISTINCT.fill(rng, shape), REAL.fill(rng, (2, groups * k))
    arrays = (REAL.fill(rng, shape), x, weight) if back else (x, weight, bias)
    return Sample(arrays, {"groups": groups, "eps": draw(st.sampled_from([1e-2, 0.3]))})


def _grouped(norm: Any) -> Any:
    """A norm's reference for arrays whose last axis is groups of channels."""

    def reference(*arrays: Any, groups: int, eps: float) -> Any:
        rows = [a.reshape(*a.shape[:1], -1, groups, a.shape[-1] // groups) if a.ndim > 1
                else a.reshape(groups, -1) for a in arrays]  # fmt: skip
        out = norm(*rows, (1, 3), eps)
        if not isinstance(out, tuple):
            return out.reshape(arrays[0].shape)
        return tuple(o.reshape(a.shape) for o, a in zip(out, (*arrays[1:], arrays[2]), strict=True))

    return reference


add("normalise_groups", _grouped(_normalise), _in_groups(back=False), ulps=64)
add("normalise_groups_dx", _grouped(_normalise_dx), _in_groups(back=True), ulps=256)


@st.composite
def _modulated(draw: Any, back: bool) -> Sample:
    """x, weight, bias and modulation; `back`: the cotangent before them."""
    rng, shape = draw(rngs), draw(shapes(1, 3, (4, 4)))
    n = draw(st.sampled_from([1, shape[0]]))
    x = 2 * DISTINCT.fill(rng, shape)
    others = [REAL.fill(rng, s) for s in (shape[2:], shape[2:], (n, 2, *shape[2:]))]
    arrays = (REAL.fill(rng, shape), x, *others) if back else (x, *others)
    return Sample(arrays, {"eps": draw(st.sampled_from([1e-2, 0.3]))})


def _normalise_silu(x: Any, weight: Any, bias: Any, modulation: Any, eps: float) -> np.ndarray:
    y = _normalise(x, weight, bias, (1, 3), eps)
    z = y * (1 + modulation[:, :1]) + modulation[:, 1:]
    return z / (1 + np.exp(-z))


def _normalise_silu_dx(
    g: Any, x: Any, weight: Any, bias: Any, modulation: Any, eps: float
) -> tuple[np.ndarray, ...]:
    y = _normalise(x, weight, bias, (1, 3), eps)
    z = y * (1 + modulation[:, :1]) + modulation[:, 1:]
    dz = g * (1 + np.exp(-z) * (1 + z)) / (1 + np.exp(-z)) ** 2
    back = _normalise_dx(dz * (1 + modulation[:, :1]), x, weight, (1, 3), eps)
    return *back, np.stack([(dz * y).sum(1), dz.sum(1)], 1)


add("normalise_silu", _normalise_silu, _modulated(back=False), ulps=256)
add("normalise_silu_dx", _normalise_silu_dx, _modulated(back=True), ulps=512)


def writing(count: int, *extra: Domain, **options: Any) -> st.SearchStrategy[Sample]:
    """`count` arrays of one shape, then 0-d ones from the other domains."""

    def build(rng: Any, shape: Any, drawn: dict[str, Any]) -> Sample:
        arrays = [REAL.fill(rng, shape) for _ in range(count)]
        return Sample((*arrays, *(d.fill(rng, ()) for d in extra)), drawn)

    return st.builds(build, rngs, shapes(), st.fixed_dictionaries(options))


add("assign", lambda target, source: {0: source}, writing(2), mutates=(0,), order=0,
    errors=(
        Bad((VEC, MAT), ValueError, r"assign: source \(2, 3\) float32 does not fit target \(3,\)"),
        Bad((VEC, np.ones(3)), ValueError, r"assign: source \(3,\) float64 does not fit"),
        Bad((1.0, VEC), TypeError, r"assign: it writes into target, which is float"),
        Bad(([1.0], VEC), TypeError, r"assign: it writes into target, which is list"),
    ))  # fmt: skip
add(
    "update_running",
    lambda mean, var, new_mean, new_var, momentum: {
        0: (1 - momentum) * mean + momentum * new_mean, 1: (1 - momentum) * var + momentum * new_var
    },
    writing(4, momentum=st.sampled_from([0.1, 0.5, 1.0])), mutates=(0, 1), order=0,
)  # fmt: skip

# ---- optim ---------------------------------------------------------------------------------------

_RATE = Domain(0.01, 0.1)
_DECAYS = st.sampled_from([0.0, 0.1])
add("sgd_step", lambda p, grad, lr, weight_decay: {0: p - lr * (grad + weight_decay * p)},
    writing(2, _RATE, weight_decay=_DECAYS), mutates=(0,), order=0)  # fmt: skip


def _momentum(
    p: Any, grad: Any, velocity: Any, lr: Any, momentum: float, nesterov: bool, weight_decay: float
) -> dict[int, Any]:
    d = grad + weight_decay * p
    v = momentum * velocity + d
    return {0: p - lr * (d + momentum * v if nesterov else v), 2: v}


add("sgd_momentum_step", _momentum, mutates=(0, 2), order=0,
    samples=writing(3, _RATE, momentum=st.just(0.9), nesterov=st.booleans(), weight_decay=_DECAYS),
)  # fmt: skip


def _adam(
    p: Any, grad: Any, m: Any, v: Any, t: Any, lr: Any, beta1: float, beta2: float, eps: float,
    weight_decay: float, decoupled: bool,
) -> dict[int, Any]:  # fmt: skip
    g = grad if decoupled else grad + weight_decay * p
    m, v, t = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2, t + 1
    step = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return {0: p - lr * step - (lr * weight_decay * p if decoupled else 0), 2: m, 3: v, 4: t}


add(
    "adam_step", _adam, mutates=(0, 2, 3, 4), order=0,
    samples=writing(
        4, Domain(3, 5), _RATE, beta1=st.sampled_from([0.5, 0.9]), beta2=st.just(0.99),
        eps=st.sampled_from([1e-8, 1e-3]), weight_decay=_DECAYS, decoupled=st.booleans(),
    ).map(lambda s: Sample(
        (*s.arrays[:3], np.abs(s.arrays[3]) + 0.1, np.round(s.arrays[4]), s.arrays[5]), s.options)),
)  # fmt: skip
add(
    "ema_step",
    lambda average, p, rate: {0: (1 - rate) * average + rate * p},
    writing(2, Domain(0.0, 1.0)),
    mutates=(0,),
    order=0,
)

# ---- losses --------------------------------------------------------------------------------------

_UNIT = Domain(0.0, 1.0)
_PAIR = (Bad((np.ones((4, 1)), np.ones(4)), ValueError, r"\(4, 1\).*\(4,\)"),
         Bad((np.ones(3), np.ones(3, np.float32)), TypeError, r"float64.*float32"))  # fmt: skip
_REDUCE = {"mean": np.mean, "sum": np.sum, "none": lambda x: x}


def _bce(logits: Any, targets: Any) -> np.ndarray:
    p = 1 / (1 + np.exp(-logits))
    return -(targets * np.log(p) + (1 - targets) * np.log(1 - p))


def _alike(*domains: Domain, low: int = 1, least: int = 0, **options: Any) -> Any:
    """Arrays of one shape, one from each domain."""
    return st.builds(
        lambda rng, s, o: Sample(tuple(d.fill(rng, s) for d in domains), o),
        rngs, shapes(low, 4, (least, 3)), st.fixed_dictionaries(options),
    )  # fmt: skip


def reduced(name: str, terms: Callable[..., Any], *domains: Domain, errors: Any = _PAIR) -> None:
    add(name, lambda *a, reduction: _REDUCE[reduction](terms(*a)), call=getattr(losses, name),
        samples=_alike(*domains, reduction=st.sampled_from(sorted(_REDUCE))), ulps=16,
        errors=(*errors, Bad((VEC, VEC), ValueError, rf"{name}: reduction is 'avg'",
                             {"reduction": "avg"})))  # fmt: skip


add("bce_logits_terms", _bce, _alike(REAL, _UNIT, low=0), ulps=16)
reduced("bce_with_logits", _bce, REAL, _UNIT, errors=(
    *_PAIR, Bad((VEC, 2.0), ValueError, r"bce_with_logits: the target is 2.0")))  # fmt: skip
reduced("mse", lambda x, y: (x - y) ** 2, REAL, REAL)
reduced("l1", lambda x, y: np.abs(x - y), DISTINCT, Domain(grid=0.3, shift=0.5))


@st.composite
def _classified(draw: Any) -> Sample:
    lead, n, rng = draw(shapes(1, 3, (0, 2))), draw(st.integers(1, 4)), draw(rngs)
    kind = draw(st.sampled_from(["int64", "uint8"]))
    arrays = (REAL.fill(rng, (*lead, n)), rng.integers(0, n, lead).astype(kind))
    return Sample(arrays, {"reduction": draw(st.sampled_from(sorted(_REDUCE)))})


def _cross_entropy(logits: Any, labels: Any, reduction: str) -> Any:
    p = _softmax(logits)
    terms = [-math.log(p[(*i, int(labels[i]))]) for i in np.ndindex(labels.shape)]
    return _REDUCE[reduction](np.array(terms).reshape(labels.shape))


add("cross_entropy", _cross_entropy, _classified(), call=losses.cross_entropy, ulps=16,
    errors=(
        Bad((MAT, np.zeros(3, int)), ValueError, r"cross_entropy: logits \(2, 3\) and labels \(3,"),
        Bad((MAT, np.zeros(2)), TypeError, r"cross_entropy: labels \(2,\) float64; expected int"),
        Bad((MAT, np.array([0, 3])), ValueError, r"labels from 0 to 3, expected from 0 to 2"),
    ))  # fmt: skip


def _kl(mu: Any, logvar: Any) -> np.ndarray:
    return (mu**2 + np.exp(logvar) - logvar - 1) / 2


def _nll(mean: Any, x: Any, logvar: Any) -> np.ndarray:
    sigma = np.exp(logvar / 2)
    return -np.log(np.exp(-((x - mean) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi)))


add("gaussian_kl_terms", _kl, _alike(REAL, REAL, low=0))
add("gaussian_nll_terms", _nll, _alike(REAL, REAL, REAL, low=0), ulps=64)
add("gaussian_sample", lambda mu, logvar, noise: mu + np.sqrt(np.exp(logvar)) * noise,
    _alike(REAL, REAL, REAL, low=0))  # fmt: skip
_BATCH = (*_PAIR, Bad((1.0, 1.0), ValueError, r"shape \(\) has no samples; expected \(batch"))
for _name, _terms, _domains in (
    ("gaussian_kl", _kl, (REAL, REAL)),
    ("bernoulli_nll", _bce, (REAL, _UNIT)),
    ("gaussian_nll", _nll, (REAL, REAL, REAL)),
):
    add(_name, lambda *a, f=_terms: f(*a).sum() / len(a[0]), _alike(*_domains, least=1),
        call=getattr(losses, _name), ulps=32,
        errors=_BATCH if len(_domains) == 2 else ())  # fmt: skip


def _noise(key: int, shape: Any) -> np.ndarray:
    normal = NormalDist()
    values = [normal.inv_cdf((w + 0.5) / 2**32) for w in philox_words(key, 0, math.prod(shape))]
    return np.array(values).reshape(shape)


add("reparameterise", lambda mu, logvar: mu + np.sqrt(np.exp(logvar)) * _noise(5, mu.shape),
    _alike(REAL, REAL), call=lambda mu, logvar: losses.reparameterise(mu, logvar, Generator(5)),
    rtol=1e-7, errors=_PAIR)  # fmt: skip


@st.composite
def _vae(draw: Any) -> Sample:
    n, codes, rng = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(rngs)
    shape = (n, *draw(shapes(1, 3, (1, 2))))
    arrays = [d.fill(rng, shape) for d in (REAL, _UNIT)]
    arrays += [REAL.fill(rng, (n, codes)) for _ in range(2)]
    kind = draw(st.sampled_from(["bernoulli", "gaussian", "mse"]))
    return Sample(
        tuple(arrays), {"beta": draw(st.sampled_from([0.0, 1.0, 4.0])), "likelihood": kind}
    )


def _elbo(logits: Any, x: Any, mu: Any, logvar: Any, beta: float, likelihood: str) -> Any:
    terms = {"bernoulli": _bce, "gaussian": lambda m, x: _nll(m, x, 0.0),
             "mse": lambda m, x: (x - m) ** 2 / 2}[likelihood](logits, x)  # fmt: skip
    return (terms.sum() + beta * _kl(mu, logvar).sum()) / len(x)


add("vae", _elbo, _vae(), call=losses.vae, ulps=32,
    errors=(
        Bad((MAT, MAT, MAT, MAT), ValueError, r"vae: likelihood is 'poisson'",
            {"likelihood": "poisson"}),
        Bad((MAT, MAT, MAT, MAT), ValueError, r"vae: beta is -1", {"beta": -1}),
        Bad((MAT, MAT, VEC, VEC), ValueError, r"vae: logits \(2, 3\) and mu \(3,\)"),
    ))  # fmt: skip

_NO_KINK = Domain(-3.0, 3.0, avoid=(1.0, -1.0))


def _gan(real: Any, fake: Any, kind: str, target: float) -> Any:
    p, q = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    entropy = -target * np.log(p) - (1 - target) * np.log(1 - p)
    d, g = {
        "minimax": (entropy.mean() - np.log(1 - q).mean(), np.log(1 - q).mean()),
        "non_saturating": (entropy.mean() - np.log(1 - q).mean(), -np.log(q).mean()),
        "least_squares": (
            ((real - target) ** 2).mean() / 2 + (fake**2).mean() / 2, ((fake - 1) ** 2).mean() / 2
        ),
        "wasserstein": (fake.mean() - real.mean(), -fake.mean()),
        "hinge": (
            np.maximum(1 - real, 0).mean() + np.maximum(1 + fake, 0).mean(), -fake.mean()
        ),
    }[kind]  # fmt: skip
    return d, g


def _play(real: Any, fake: Any, kind: str, target: float = 1.0) -> Any:
    game = losses.gan(kind, target)
    return game.discriminator(real, fake), game.generator(fake)


@st.composite
def _games(draw: Any) -> Sample:
    form, rng = draw(shapes(1, 3, (0, 1))), draw(rngs)
    arrays = tuple(_NO_KINK.fill(rng, (draw(st.integers(1, 4)), *form)) for _ in range(2))
    kind, target = draw(st.sampled_from([
        ("minimax", 1.0), ("minimax", 0.9), ("non_saturating", 1.0), ("non_saturating", 0.8),
        ("least_squares", 1.0), ("least_squares", 0.9), ("wasserstein", 1.0), ("hinge", 1.0),
    ]))  # fmt: skip
    return Sample(arrays, {"kind": kind, "target": target})


add("gan", _gan, _games(), call=_play, ulps=32,
    errors=(
        Bad((VEC, VEC), ValueError, r"gan: kind is 'best'; expected one of", {"kind": "best"}),
        Bad((VEC, VEC), ValueError, r"gan\('hinge'\): real_target is 0.9; expected 1",
            {"kind": "hinge", "target": 0.9}),
        Bad((VEC, MAT), ValueError, r"discriminator: real_logits \(3,\) .* fake_logits \(2, 3\)",
            {"kind": "hinge"}),
        Bad((INT, INT), TypeError, r"int64", {"kind": "hinge"}),
    ))  # fmt: skip


def _critic(w: Any) -> Callable[[Any], Any]:
    return lambda x: tg.sum(tg.tanh(x @ w), axis=1)


def _slopes(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """d/dx of sum_j tanh(x w_j), one row a sample."""
    return (1 - np.tanh(x @ w) ** 2) @ w.T


@st.composite
def _criticised(draw: Any, count: int) -> Sample:
    """The critic's weights as the argument; the images are data, not differentiated."""
    n, k, m, rng = *(draw(st.integers(1, 4)) for _ in range(3)), draw(rngs)
    images = tuple(REAL.fill(rng, (n, k)) for _ in range(count))
    return Sample((NOT_ZERO.fill(rng, (k, m)),), {"images": images})


def _penalty(w: np.ndarray, images: Any) -> Any:
    words = philox_words(11, 0, len(images[0]))
    e = np.array([(word >> 8) / 2**24 for word in words])[:, None]
    slope = _slopes(e * images[0] + (1 - e) * images[1], w)
    return ((np.sqrt((slope**2).sum(1) + 1e-12) - 1) ** 2).mean()


def _like(w: Any, images: Any) -> list[Any]:
    return [tg.tensor(a).astype(w.dtype).to(w.backend.name) for a in images]


add("gradient_penalty", _penalty, _criticised(2), ulps=64,
    call=lambda w, images: losses.gradient_penalty(_critic(w), *_like(w, images), Generator(11)),
    errors=(
        Bad((MAT.T,), ValueError, r"gradient_penalty: .*\(2, 3\).*\(1, 3\)",
            {"images": (MAT, MAT[:1])}),
        Bad((MAT.T,), ValueError, r"gradient_penalty: real \(3,\); expected \(batch, features",
            {"images": (VEC, VEC)}),
    ))  # fmt: skip
add("r1_penalty", lambda w, images: (_slopes(images[0], w) ** 2).sum(1).mean() / 2, _criticised(1),
    call=lambda w, images: losses.r1_penalty(_critic(w), *_like(w, images)), ulps=64,
    errors=(
        Bad((MAT.T,), ValueError, r"r1_penalty: real \(3,\)", {"images": (VEC,)}),
    ))  # fmt: skip

assert nn.Module is not None  # importing nn and optim registers their primitives
assert optim.SGD is not None
