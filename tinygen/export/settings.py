"""Settings of a drawing that a file leaves open: numbers with a default and a range."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models import Draws
from ..options import Option, described


@dataclass(frozen=True)
class Setting:
    """What may be chosen whenever a file draws: a number, from low to high.

    Attributes:
        default: an int where it is a whole number.
        expected, help: in words.
    """

    name: str
    default: float
    low: float
    high: float
    expected: str
    help: str

    @property
    def whole(self) -> bool:
        return isinstance(self.default, int)

    def array(self, value: Any = None) -> NDArray[Any]:
        """A value as the graph takes it, the default for None."""
        value = self.default if value is None else value
        return np.array(value, np.int64 if self.whole else np.float32)

    def about(self) -> dict[str, Any]:
        """JSON-able; a bound that there is none of is null."""
        low, high = (None if math.isinf(v) else v for v in (self.low, self.high))
        return {
            "name": self.name, "whole": self.whole, "default": self.default, "low": low,
            "high": high, "expected": self.expected, "help": self.help,
        }  # fmt: skip


def open_settings(model: Draws, given: Collection[str]) -> tuple[Setting, ...]:
    """The settings that are numbers, of a model's drawings; without those that are given."""
    found = []
    for option in described(type(model).Settings):
        number = option.kind in (int, float) and not isinstance(option.default, bool)
        if number and not option.optional and option.name not in {*given, *model.idle}:
            setting = _setting(option)
            if len(three_values(setting)) == 3:
                found.append(setting)
    return tuple(found)


def _setting(option: Option) -> Setting:
    low, high = -math.inf, math.inf
    if option.rule is not None:
        low, high = option.rule.low, option.rule.high
    return Setting(option.name, option.default, low, high, option.expected, option.help)


def three_values(setting: Setting) -> list[float]:
    """Three values to record a drawing with, the default first, that are no special cases."""
    more: tuple[float, ...] = (setting.default + 1, setting.default + 3)
    if not setting.whole:  # at other distances, so that it is clear which setting a number is of
        more = (*(setting.default + v for v in (1, 2.5)), setting.default / 2, setting.default / 4)
    inside = [v for v in more if setting.low < v < setting.high]
    return [setting.default, *inside[:2]]
