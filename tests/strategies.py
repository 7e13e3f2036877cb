"""What the tests draw: shapes, values inside a domain, memory layouts, and the backends.

Hypothesis draws the shape and a seed, NumPy fills in the values: shrinking then finds the smallest
shape, and values are generic (no accidental zeros) unless a domain asks otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tinygen import backend

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Domain:
    """Where values are drawn from: [low, high], at least `margin` away from the points `avoid`."""

    low: float = -2.0
    high: float = 2.0
    avoid: tuple[float, ...] = ()
    margin: float = 0.1
    grid: float | None = None  # values `grid` apart plus less than a quarter of it: no ties
    shift: float = 0.0  # of the grid, so that two arguments never meet

    def fill(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        size = math.prod(shape)
        if self.grid is not None:
            steps = rng.permutation(size) - size // 2 + rng.uniform(0, 0.25, size) + self.shift
            return np.asarray(self.grid * steps).reshape(shape)
        values = rng.uniform(self.low, self.high, size)
        for point in self.avoid:
            side = np.where(values >= point, 1.0, -1.0)
            near = np.abs(values - point) < self.margin
            values = np.where(near, point + side * self.margin * (1 + rng.random(size)), values)
        return values.reshape(shape)


REAL = Domain()
POSITIVE = Domain(0.2, 3.0)
NOT_ZERO = Domain(-2.0, 2.0, avoid=(0.0,), margin=0.25)
DISTINCT = Domain(grid=0.3)


@dataclass(frozen=True)
class Sample:
    """One call: the arrays and the keyword options."""

    arrays: tuple[np.ndarray, ...]
    options: dict[str, Any]

    def __post_init__(self) -> None:  # NumPy turns 0-d arrays into scalars at every turn
        object.__setattr__(self, "arrays", tuple(map(np.asarray, self.arrays)))

    def cast(self, dtype: str) -> Sample:
        """The same call with floating-point arrays in another dtype."""
        arrays = tuple(np.asarray(a, dtype) if a.dtype.kind == "f" else a for a in self.arrays)
        return Sample(arrays, self.options)

    def floats(self) -> list[int]:
        return [i for i, a in enumerate(self.arrays) if a.dtype.kind == "f"]


rngs = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def shapes(low: int = 0, high: int = 4, dims: tuple[int, int] = (0, 3)) -> st.SearchStrategy[Shape]:
    """Shapes with sizes from low to high and so many axes; zero sizes and 0-d included."""
    return st.lists(st.integers(low, high), min_size=dims[0], max_size=dims[1]).map(tuple)


@st.composite
def broadcastable(draw: Any, count: int) -> list[Shape]:
    """Shapes that broadcast against each other: axes dropped from the left, or of size 1."""
    full = draw(shapes())
    out = []
    for _ in range(count):
        cut = draw(st.integers(0, len(full)))
        kept = full[cut:]
        ones = draw(st.lists(st.booleans(), min_size=len(kept), max_size=len(kept)))
        out.append(tuple(1 if one else n for n, one in zip(kept, ones, strict=True)))
    return out


def elementwise(*domains: Domain, **options: st.SearchStrategy[Any]) -> st.SearchStrategy[Sample]:
    """Arrays that broadcast against each other, one from each domain, with drawn options."""

    def build(rng: Any, forms: list[Shape], drawn: dict[str, Any]) -> Sample:
        arrays = tuple(d.fill(rng, s) for d, s in zip(domains, forms, strict=True))
        return Sample(arrays, drawn)

    forms = shapes().map(lambda s: [s]) if len(domains) == 1 else broadcastable(len(domains))
    return st.builds(build, rngs, forms, st.fixed_dictionaries(options))


@st.composite
def with_axes(
    draw: Any, domain: Domain = REAL, low: int = 0, several: bool = True, everything: bool = True
) -> Sample:
    """An array with an `axis`: an int, a tuple or None, of either sign."""
    shape = draw(shapes(low, 4, (0 if everything else 1, 3)))
    n = len(shape)
    one = st.integers(-n, n - 1) if n else st.nothing()
    some = st.lists(st.integers(0, n - 1), unique=True, max_size=n).map(tuple) if n else st.just(())
    kinds = [one] + [some] * several + [st.none()] * everything
    axis = draw(st.one_of(*kinds))
    return Sample((domain.fill(draw(rngs), shape),), {"axis": axis})


def with_keepdims(samples: st.SearchStrategy[Sample]) -> st.SearchStrategy[Sample]:
    """Samples with `keepdims` among their options."""
    return st.builds(
        lambda s, keep: Sample(s.arrays, {**s.options, "keepdims": keep}), samples, st.booleans()
    )


# ---- memory layouts: the same values, stored otherwise -------------------------------------------


def reversed_layout(a: np.ndarray) -> np.ndarray:
    """Negative strides along every axis."""
    return np.asarray(np.flip(np.flip(a).copy()))


def permuted_layout(a: np.ndarray) -> np.ndarray:
    """The axes stored in the opposite order."""
    return np.asfortranarray(a) if a.ndim else a


def stepped_layout(a: np.ndarray) -> np.ndarray:
    """Every second element of a larger array, along every axis."""
    wide = np.full(tuple(2 * n for n in a.shape), 77, dtype=a.dtype)
    view = wide[(*(slice(None, None, 2) for _ in a.shape), ...)]
    view[...] = a
    return view


LAYOUTS: list[Callable[[np.ndarray], np.ndarray]] = [
    reversed_layout,
    permuted_layout,
    stepped_layout,
]

# ---- backends: each is a parameter, one that is missing a visible skip ---------------------------


def _backends() -> list[Any]:
    found = []
    for name in ("numpy", "cupy", "emulated"):
        try:
            backend.get(name)
            found.append(pytest.param(name))
        except (backend.DeviceError, ImportError) as error:
            reason = f"{'no GPU' if name == 'cupy' else 'no emulated GPU'}: {error}"
            found.append(pytest.param(name, marks=pytest.mark.skip(reason=reason)))
    return found


BACKENDS = _backends()
AVAILABLE = {p.values[0] for p in BACKENDS if not p.marks}
