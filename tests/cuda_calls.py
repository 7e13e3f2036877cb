"""Calls of the kernels of kernels/cuda, on the emulated device with all its checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

import tinygen as tg
from tinygen.primitive import PRIMITIVES


def on_device(a: Any) -> Any:
    """The array on the device."""
    with tg.use_backend("emulated"):
        return tg.tensor(a).data


def run(call: Any) -> Any:
    """The result of a bound call in NumPy, or all of them."""
    assert call is not NotImplemented
    call()
    return [o.get() for o in call.out] if isinstance(call.out, tuple) else call.out.get()


def kernels(call: Any) -> list[str]:
    """The names of what it launches."""
    return [one.name.split("<")[0] for one in call.launches]


def agree(call: Any, name: str, arrays: Sequence[Any], near: float, **options: Any) -> None:
    """Each result beside that of the operation's body in NumPy and float64: `near` times the
    largest number apart, or times 1."""
    found = run(call)
    with tg.use_backend("numpy"):
        wants = PRIMITIVES[name].body(*(tg.tensor(a.astype("float64")) for a in arrays), **options)
    found, wants = (a if isinstance(a, (list, tuple)) else [a] for a in (found, wants))
    for got, of in zip(found, wants, strict=True):
        want = of.numpy()
        assert (got.shape, got.dtype) == (want.shape, arrays[0].dtype)
        np.testing.assert_allclose(got, want, rtol=0, atol=near * max(1, abs(want).max()))


def bits_in_any_order(work: Callable[[], Iterable[Any]]) -> set[bytes]:
    """All the bits that the results of `work` have, for three orders of the device's threads."""
    found = set()
    with tg.use_backend("emulated") as device:
        for order in (0, 1, 2):
            with device.checked(order=order):
                found.add(b"".join(out.get().tobytes() for out in work()))
    return found
