"""What a file must say: a check of keys, types and ranges that names the place of what is wrong.

A schema is a function of (value, place) that raises SchemaError; those here make one of others.

    POINT = record({"x": number(), "y": number(), "name?": text})     # name? may be missing
    check({"x": 1, "y": "2"}, POINT, "point.json")
    ValueError: point.json is damaged: y is '2', expected a number

Keys that a record does not know are left alone: a newer version may have written them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Schema = Callable[[Any, str], None]
LENGTH = 10_000  # of texts


class SchemaError(ValueError):
    """A value that a schema does not allow; says where, what was met and what was expected."""

    def __init__(self, place: str, value: Any, expected: str) -> None:
        met = ascii(value)
        met = met if len(met) <= 60 else met[:57] + "..."
        super().__init__(f"{place or 'it'} is {met}, expected {expected}")


def check(value: Any, schema: Schema, where: Any, cure: str = "") -> None:
    """ValueError naming the file `where`, and the place in it that is wrong; ends with a cure."""
    try:
        schema(value, "")
    except SchemaError as error:
        raise ValueError(f"{where} is damaged: {error}" + (f"; {cure}" if cure else "")) from None


def anything(value: Any, place: str) -> None:
    """Any value."""


def text(value: Any, place: str) -> None:
    """A text that is not longer than a name, a path or a sentence or two can be."""
    if not isinstance(value, str) or len(value) > LENGTH:
        raise SchemaError(place, value, "a text")


def truth(value: Any, place: str) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise SchemaError(place, value, "true or false")


def whole(least: int = 0, most: int = 2**63 - 1) -> Schema:
    """An integer from `least` to `most`."""

    def schema(value: Any, place: str) -> None:
        if type(value) is not int or not least <= value <= most:
            raise SchemaError(place, value, f"an integer from {least} to {most}")

    return schema


def number(least: float = -math.inf, most: float = math.inf, *, finite: bool = True) -> Schema:
    """An integer or a float within a range; NaN and infinities only where they are `finite`=False.

    Integers too large for a float are none.
    """

    def schema(value: Any, place: str) -> None:
        expected = "a number"
        if least > -math.inf or most < math.inf:
            expected += f" from {least:g} to {most:g}"
        if (type(value) is int and abs(value) > 1e308) or type(value) not in (int, float):
            raise SchemaError(place, value, expected)
        if not math.isfinite(value) and not finite:
            return
        if not math.isfinite(value) or not least <= value <= most:
            raise SchemaError(place, value, expected)

    return schema


def either(*values: Any) -> Schema:
    """One of some values."""

    def schema(value: Any, place: str) -> None:
        if value not in values:
            raise SchemaError(place, value, f"one of {', '.join(map(repr, values))}")

    return schema


def optional(inner: Schema) -> Schema:
    """None, or what another schema allows."""

    def schema(value: Any, place: str) -> None:
        if value is not None:
            inner(value, place)

    return schema


def listed(inner: Schema, least: int = 0, most: int = 10_000_000) -> Schema:
    """A list of so many values that another schema allows."""

    def schema(value: Any, place: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            count = f"{least}" if least == most else f"{least} or more"
            raise SchemaError(place, value, f"a list of {count} values")
        for i, v in enumerate(value):
            inner(v, f"{place}[{i}]")

    return schema


def together(*inner: Schema) -> Schema:
    """A list of as many values as there are schemas, one for each."""

    def schema(value: Any, place: str) -> None:
        if not isinstance(value, list) or len(value) != len(inner):
            raise SchemaError(place, value, f"a list of {len(inner)} values")
        for i, (v, one) in enumerate(zip(value, inner, strict=True)):
            one(v, f"{place}[{i}]")

    return schema


def keyed(inner: Schema) -> Schema:
    """An object whose values another schema allows."""

    def schema(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise SchemaError(place, value, "an object")
        for k, v in value.items():
            text(k, place)
            inner(v, _inner(place, k))

    return schema


def record(fields: Mapping[str, Schema]) -> Schema:
    """An object with some keys, a schema for each; one that ends in "?" may be missing."""

    def schema(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise SchemaError(place, value, "an object")
        for key, inner in fields.items():
            name = key.removesuffix("?")
            if name in value:
                inner(value[name], _inner(place, name))
            elif name == key:
                raise SchemaError(place, value, f"the key {name!r} in it")

    return schema


def _inner(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
