"""Gradients by hand beside those of the engine, one line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import tinygen as tg


def compared(
    mine: Mapping[str, Any], result: tg.Tensor, steps: Mapping[str, tg.Tensor]
) -> list[tuple[str, bool, bool, str]]:
    """A row for each step: its name, whether equal, whether close, and the largest difference."""
    wanted = dict(zip(steps, tg.grad(result, list(steps.values()), retain_graph=True), strict=True))
    rows = []
    for name, right in wanted.items():
        if name not in mine:
            rows.append((name, False, False, "missing"))
            continue
        got, want = np.asarray(getattr(mine[name], "data", mine[name])), right.numpy()
        if got.shape != want.shape:
            rows.append((name, False, False, f"shape {got.shape}, expected {want.shape}"))
            continue
        apart = float(np.abs(got - want).max(initial=0))
        close = np.allclose(got, want, rtol=1e-6, atol=1e-9)
        rows.append((name, bool(np.array_equal(got, want)), bool(close), f"{apart:.1e}"))
    return rows


def compare(mine: Mapping[str, Any], result: tg.Tensor, steps: Mapping[str, tg.Tensor]) -> bool:
    """Print `name | exact | close | largest difference` for each step; True if all are close.

    Args:
        mine: gradients of `result`, written by hand, by the name of the step.
        result: the last number of a computation that was recorded.
        steps: the intermediate tensors of that computation, by name, in their order.
    """
    rows = compared(mine, result, steps)
    width = max(4, *(len(name) for name, *_ in rows))
    print(f"{'name':{width}} | exact | close | largest difference")
    for name, exact, close, apart in rows:
        words = ["yes" if flag else "no" for flag in (exact, close)]
        print(f"{name:{width}} | {words[0]:5} | {words[1]:5} | {apart}")
    return all(close for _, _, close, _ in rows)
