"""An option is declared once: its default, its range and its help.

    Kind = Literal["round", "square"]

    @dataclass(frozen=True, kw_only=True)
    class Brush(Options):
        kind: Kind = option("round", help="Shape of the tip.")
        width: float = option(1.0, above(0), "Width in pixels.", on_processor=0.5)

    Brush(width=-1)      # OptionError: width is -1, expected above 0

Constructors, config.json, the command line with its help, and the README read it from there. A
value is checked against the annotation of its field and against its rule when an object is made.
NumPy's numbers become Python's and lists become tuples, so that equal options are equal objects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class OptionError(ValueError):
    """A value that an option does not allow: `name`, `value` and what was `expected`."""

    def __init__(self, name: str, value: Any, expected: str) -> None:
        super().__init__(f"{name} is {value!r}, expected {expected}")
        self.name, self.value, self.expected = name, value, expected


@dataclass(frozen=True)
class Rule:
    """A range of numbers: in words that follow "expected", as a test, and its ends."""

    words: str
    holds: Callable[[Any], bool]
    low: float = -math.inf
    high: float = math.inf


def at_least(low: float) -> Rule:
    """Numbers from `low` on."""
    return Rule(f"{low:g} or more", lambda v: v >= low, low)


def above(low: float) -> Rule:
    """Numbers greater than `low`."""
    return Rule(f"above {low:g}", lambda v: v > low, low)


def between(low: float, high: float, words: str = "") -> Rule:
    """Numbers from `low` to `high`, both included; `words` for another way to say it."""
    return Rule(words or f"from {low:g} to {high:g}", lambda v: low <= v <= high, low, high)


def half_open(low: float, high: float) -> Rule:
    """Numbers from `low` up to `high`, which is left out."""
    return Rule(f"from {low:g} to below {high:g}", lambda v: low <= v < high, low, high)


SAME: Any = object()  # the default without a GPU is the default
SEED = between(0, 2**64 - 1, "from 0 to 2^64 - 1")


def option(
    default: Any = MISSING,
    rule: Rule | None = None,
    help: str = "",
    *,
    on_processor: Any = SAME,
    shown: str = "",
    flags: str | None = None,
    form: str = "",
    metavar: str | None = None,
) -> Any:
    """A field of an Options class.

    Args:
        default: its value where none is given; without one, it must be given.
        rule: the numbers it may be, beside what the annotation says.
        help: a sentence or two for whoever chooses it.
        on_processor: the default of the command line where the model is computed without a GPU.
        shown: the default in words, where it is None because it depends on something else.
        flags: names on the command line, if they are others than --its-name, as "--a/--not-a";
            "NAME" for an argument without a flag; "" for none: only Python can set it.
        form: how its text is written on the command line, for types that have no usual form.
        metavar: what stands for its value in the help.
    """
    about = {
        "rule": rule, "help": help, "on_processor": on_processor, "shown": shown, "flags": flags,
        "form": form, "metavar": metavar,
    }  # fmt: skip
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Option:
    """What a field of an Options class says of itself; see `option`."""

    name: str
    kind: Any  # int, float, bool, str, Any, a Literal, or a tuple of numbers or texts
    optional: bool  # whether it may be None
    default: Any
    rule: Rule | None = None
    help: str = ""
    on_processor: Any = SAME
    shown: str = ""
    flags: str | None = None
    form: str = ""
    metavar: str | None = None

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values that a Literal allows; of other types none are listed."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    @property
    def expected(self) -> str:
        """What it may be, in words that follow "expected"."""
        words = "" if self.rule is None else self.rule.words
        if self.choices:
            text = f"one of {', '.join(self.choices)}"
        elif get_origin(self.kind) is tuple:
            number, *more = get_args(self.kind)
            count = "one or more" if more == [...] else ("no", "one", "two", "three")[1 + len(more)]
            noun = {int: "integers", str: "texts"}.get(number, "numbers")
            text = f"{count} {noun}" + (f", each {words}" if words else "")
        elif self.kind is int:
            text = "an integer" + (f", {words}" if words else "")
        elif self.kind is float:
            text = words or "a finite number"
        else:
            text = {bool: "True or False", str: "a text"}.get(self.kind, "a value")
        return text + (", or None" if self.optional else "")

    def checked(self, value: Any) -> Any:
        """The value as it is kept; OptionError where it may not be."""
        if value is None and self.optional:
            return None
        try:
            return self._many(value) if get_origin(self.kind) is tuple else self._one(value)
        except (TypeError, ValueError, OverflowError):
            raise OptionError(self.name, value, self.expected) from None

    def _many(self, value: Any) -> tuple[Any, ...]:
        number, *more = get_args(self.kind)
        if more == [...] and isinstance(value, Integral):
            value = (value,)
        if number is str and not all(isinstance(v, str) for v in value):
            raise TypeError
        kept = tuple(v if number is str else self._number(number, v) for v in value)
        if not kept or (more != [...] and len(kept) != 1 + len(more)):
            raise ValueError
        return kept

    def _one(self, value: Any) -> Any:
        if self.kind in (int, float):
            return self._number(self.kind, value)
        allowed = value in self.choices if self.choices else isinstance(value, _CLASSES[self.kind])
        if not allowed:
            raise ValueError
        return value

    def _number(self, kind: type, value: Any) -> Any:
        """A Python number: an integer stays one where a float is expected."""
        if isinstance(value, bool) or not isinstance(value, Integral if kind is int else Real):
            raise TypeError
        kept = int(value) if isinstance(value, Integral) else float(value)
        if not math.isfinite(kept) or (self.rule is not None and not self.rule.holds(kept)):
            raise ValueError
        return kept


_CLASSES: dict[Any, type] = {bool: bool, str: str, Any: object}


@dataclass(frozen=True, kw_only=True)
class Options:
    """A set of options, each a field made by `option`; an object holds checked values."""

    def __post_init__(self) -> None:
        for each in described(type(self)):
            self._keep(each.name, each.checked(getattr(self, each.name)))

    def _keep(self, name: str, value: Any) -> None:
        """Set a field while the object is being made."""
        object.__setattr__(self, name, value)


def as_json(options: Options) -> dict[str, Any]:
    """The options by name, as they are read back from a JSON file."""
    values = {f.name: getattr(options, f.name) for f in fields(options)}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def joined(*kinds: type[Options], shown: Mapping[str, str] | None = None, **defaults: Any) -> Any:
    """One class of options from several that share none, with other defaults for some.

    shown: of these the default in words, where it is None; see `option`.
    """
    made = []
    for kind in kinds:
        hints = get_type_hints(kind)
        for f in _own_first(kind):
            about = {**f.metadata, "shown": (shown or {}).get(f.name, f.metadata["shown"])}
            default = defaults.get(f.name, f.default)
            made.append((f.name, hints[f.name], field(default=default, metadata=about)))
    return make_dataclass("Options", made, bases=kinds, frozen=True, kw_only=True)


def defaults_on_processor(kind: type) -> dict[str, Any]:
    """The defaults of a class of options that are others where there is no GPU."""
    found = ((each.name, each.on_processor) for each in described(kind))
    return {name: value for name, value in found if value is not SAME}


def described(kind: type) -> tuple[Option, ...]:
    """What each field of a class of options says of itself; its own come before its base's.

    A dataclass with plain fields will do: these have no help, no range and --their-name.
    """
    if kind not in _DESCRIBED:
        hints = get_type_hints(kind)
        _DESCRIBED[kind] = tuple(_described(f, hints[f.name]) for f in _own_first(kind))
    return _DESCRIBED[kind]


_DESCRIBED: dict[Any, tuple[Option, ...]] = {}  # reading annotations takes a while


def _own_first(kind: Any) -> Iterable[Any]:
    """The fields of a class in the order of its declaration, then those of its bases."""
    left = {f.name: f for f in fields(kind)}
    for base in kind.__mro__:
        for name in vars(base).get("__annotations__", {}):
            if name in left and base is not Options:
                yield left.pop(name)


def _described(f: Any, hint: Any) -> Option:
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kind = next(k for k in kinds if k is not NoneType)
    numbers = get_args(kind)[:1] if get_origin(kind) is tuple else (kind,)
    if get_origin(kind) is not Literal and not {*numbers} <= {int, float, bool, str, Any}:
        raise TypeError(
            f"option {f.name}: {kind} is no type of an option; expected int, float, bool, str, "
            "a Literal, a tuple of numbers or texts, or one of these and None"
        )
    return Option(f.name, kind, NoneType in kinds, f.default, **f.metadata)
