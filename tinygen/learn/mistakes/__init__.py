"""Mistakes that raise no error, and how each shows while a program runs.

A check looks at what an observer receives: operations, the start of a backward pass, an optimizer's
step, values that are read. It speaks only where a correct program would not look the same; what
correct programs do that looks odd stands beside the check, and in its test.
"""

from __future__ import annotations

from .base import MISTAKES as MISTAKES
from .base import Check as Check
from .base import Pass as Pass
from .layers import BatchNormInPenalty, DropoutOn, Saturated
from .loop import Detach, Held, Idle, Rate, ZeroGrad
from .losses import AllPairs, FirstLoss, Range, Twice
from .values import Data, Number

CHECKS: tuple[type[Check], ...] = (
    ZeroGrad, Detach, Rate, Idle, Held, AllPairs, Twice, FirstLoss, Range, DropoutOn,
    BatchNormInPenalty, Saturated, Number, Data,
)  # fmt: skip
