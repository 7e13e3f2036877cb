"""The way along a velocity from t = 0, noise, to t = 1, an image: dz/dt = v(z, t)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ..tensor import Tensor
from ..trace.repeat import repeat

Method = Literal["euler", "heun"]
Velocity = Callable[[Tensor, Tensor], Tensor]  # of (z, t), t a 0-d tensor
Turn = Callable[[Tensor, Tensor], Tensor]  # from z at time t to the next


def solve(
    velocity: Velocity, z: Tensor, steps: int, method: Method = "euler", *, first: int = 0,
    last: int | None = None,
) -> Tensor:  # fmt: skip
    """z after `steps` equal steps from t = 0 to t = 1, or after those from `first` to `last` - 1.

    Euler: z + h v(z, t). Heun: z + h / 2 (v(z, t) + v(z', t + h)) with Euler's z', two evaluations
    a step; its step to t = 1 is Euler's, for a net hardly learns t = 1, where no noise is left.

    Raises:
        ValueError: an unknown method; fewer than one step; first or last not among the steps.
    """
    if method not in ("euler", "heun"):
        raise ValueError(f"solve: method {method!r}, expected euler or heun")
    last = steps if last is None else last
    if steps < 1 or not 0 <= first <= last <= steps:
        raise ValueError(
            f"solve: steps from {first} to {last} of {steps}, expected 1 step or more, and "
            "0 <= first <= last <= steps"
        )
    h = 1 / steps

    def turns(begin: int, end: int, turn: Turn, z: Tensor) -> Tensor:
        def one(i: Tensor, z: Tensor) -> tuple[Tensor]:
            return (turn(z, (i.astype("float32") + float(begin)) * h),)

        return repeat(max(end - begin, 0), one, (z,))[0]

    def euler(z: Tensor, t: Tensor) -> Tensor:
        return z + h * velocity(z, t)

    def heun(z: Tensor, t: Tensor) -> Tensor:
        v = velocity(z, t)
        return z + (0.5 * h) * (v + velocity(z + h * v, t + h))

    change = first if method == "euler" else max(first, min(last, steps - 1))
    return turns(change, last, euler, turns(first, change, heun, z))
