"""Weak numbers: those that take the dtype of the tensors beside them, as Python's own do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .tensor import Tensor, as_tensor

SCALARS = frozenset((float, int, bool))
WEAK = SCALARS | {type(None)}


def _tensor_or_weak(x: Any) -> Any:
    """NumPy scalars are weak like Python's; any other data become a tensor."""
    if isinstance(x, Tensor) or x.__class__ in WEAK:
        return x
    return x.item() if isinstance(x, np.generic) else as_tensor(x)


class Weak:
    """A number that takes the dtype of the tensors beside it, and is more than its value.

    `exact` gives the value, `like(x)` what an operation that broadcasts it against x works with.
    """

    def exact(self) -> Any:
        raise NotImplementedError

    def like(self, x: Tensor) -> Any:
        raise NotImplementedError


def tensors_or_weak(args: Sequence[Any], broadcasts: bool) -> list[Any]:
    """The arguments of an operation as tensors and weak numbers."""
    if any(isinstance(x, Weak) for x in args):
        beside = next((x for x in args if isinstance(x, Tensor)), None) if broadcasts else None
        args = [
            x if not isinstance(x, Weak) else x.exact() if beside is None else x.like(beside)
            for x in args
        ]
    return list(map(_tensor_or_weak, args))
