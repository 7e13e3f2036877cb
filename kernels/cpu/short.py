"""Loops over short arrays: indices from 0, which vector code needs."""

from __future__ import annotations

from .runtime import inline


@inline
def fill(to, value):  # type: ignore[no-untyped-def]
    for c in range(to.size):
        to[c] = value


@inline
def copy(x, to):  # type: ignore[no-untyped-def]
    for c in range(to.size):
        to[c] = x[c]


@inline
def times(x, value, to):  # type: ignore[no-untyped-def]
    """to = x value, a number."""
    for c in range(to.size):
        to[c] = x[c] * value


@inline
def add_times(x, value, to):  # type: ignore[no-untyped-def]
    """to = to + x value, a number."""
    for c in range(to.size):
        to[c] += x[c] * value


@inline
def multiply(x, y, to):  # type: ignore[no-untyped-def]
    """to = x y, element by element."""
    for c in range(to.size):
        to[c] = x[c] * y[c]


@inline
def add_products(x, y, to):  # type: ignore[no-untyped-def]
    """to = to + x y, element by element."""
    for c in range(to.size):
        to[c] += x[c] * y[c]
