"""einsum: sums of products, written by the letters of axes, made of products of matrices."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..tensor import Tensor, as_tensor
from .linalg import matmul
from .reduce import sum
from .shape import reshape, transpose

__all__ = ["einsum"]


def _read(formula: Any, count: int) -> tuple[list[str], str]:
    """The letters of each operand and of the result."""
    text = formula.replace(" ", "") if isinstance(formula, str) else ""
    left, arrow, result = text.partition("->")
    terms = left.split(",")
    letters = "".join(terms) + result
    if not left or not all(c.isascii() and c.isalpha() for c in letters):
        raise ValueError(
            f"einsum: formula {formula!r}; expected letters for axes, as 'ij,jk->ik' ('...' is not "
            "taken: give each axis a letter)"
        )
    if len(terms) != count:
        raise ValueError(f"einsum: formula {formula!r} is of {len(terms)} arrays, {count} given")
    for term in (*terms, result):
        if len(set(term)) < len(term):
            raise ValueError(
                f"einsum: {term!r} in {formula!r} has a letter twice; diagonals and traces are not "
                "taken: multiply by an identity matrix"
            )
    if not arrow:
        result = "".join(sorted(c for c in set(left) - {","} if left.count(c) == 1))
    unknown = sorted(set(result) - set(left))
    if unknown:
        raise ValueError(f"einsum: {unknown[0]!r} in the result of {formula!r} is on no array")
    return terms, result


def _sizes(formula: str, terms: list[str], tensors: list[Tensor]) -> dict[str, int]:
    """The size of each letter's axes."""
    sizes: dict[str, int] = {}
    for term, x in zip(terms, tensors, strict=True):
        if len(term) != x.ndim:
            raise ValueError(
                f"einsum: {term!r} in {formula!r} names {len(term)} axes of shape {x.shape}"
            )
        for letter, n in zip(term, x.shape, strict=True):
            if sizes.setdefault(letter, n) != n:
                raise ValueError(
                    f"einsum: {letter!r} in {formula!r} is {sizes[letter]} on one array and {n} on "
                    f"shape {x.shape}; expected equal sizes"
                )
    return sizes


def _ordered(x: Tensor, term: str, order: str) -> Tensor:
    return x if term == order else transpose(x, tuple(term.index(c) for c in order))


def _summed(x: Tensor, term: str, kept: Iterable[str]) -> tuple[Tensor, str]:
    """x summed over the letters that are not kept."""
    gone = tuple(i for i, c in enumerate(term) if c not in kept)
    return (sum(x, axis=gone) if gone else x), "".join(c for c in term if c in kept)


def _pair(
    x: Tensor, a: str, y: Tensor, b: str, kept: set[str], sizes: dict[str, int]
) -> tuple[Tensor, str]:
    """The product of two, summed over letters that nothing asks for any more."""
    x, a = _summed(x, a, kept | set(b))
    y, b = _summed(y, b, kept | set(a))
    both = [c for c in a if c in b]
    batch, inner = ("".join(c for c in both if (c in kept) is there) for there in (True, False))
    rows, columns = "".join(c for c in a if c not in b), "".join(c for c in b if c not in a)

    def matrices(z: Tensor, term: str, first: str, second: str) -> Tensor:
        z = _ordered(z, term, batch + first + second)
        lead = tuple(sizes[c] for c in batch)
        shape = (*lead, *(math.prod(sizes[c] for c in part) for part in (first, second)))
        return z if z.shape == shape else reshape(z, shape)

    product = matmul(matrices(x, a, rows, inner), matrices(y, b, inner, columns))
    made = batch + rows + columns
    shape = tuple(sizes[c] for c in made)
    return (product if product.shape == shape else reshape(product, shape)), made


def einsum(formula: str, *operands: Any) -> Tensor:
    """Sums of products by the letters of axes: einsum("bij,bjk->bik", x, y) is x @ y.

    An axis is multiplied with those of the same letter; letters that the result lacks are summed
    over. Without "->" the result has the letters that occur once, in alphabetical order.

    Args:
        formula: a term for each operand, separated by commas, then "->" and the result's.
        operands: one tensor or more, of one dtype. Several are multiplied from left to right: put
            first those whose product is small.

    Returns:
        A tensor with the result's axes.

    Raises:
        ValueError: a formula that cannot be read or does not fit; a letter twice in a term.

    Products are matrix products of transposed tensors, so rules and kernels are theirs. The same as
    NumPy's and PyTorch's einsum, without "...", diagonals and traces.
    """
    tensors: list[Tensor] = [as_tensor(x) for x in operands]
    terms, result = _read(formula, len(tensors))
    sizes = _sizes(formula, terms, tensors)
    x, made = tensors[0], terms[0]
    for i in range(1, len(tensors)):
        kept = set(result).union(*terms[i + 1 :])
        x, made = _pair(x, made, tensors[i], terms[i], kept, sizes)
    x, made = _summed(x, made, result)
    return _ordered(x, made, result)
