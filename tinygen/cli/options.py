"""Options of the command line from the dataclasses that declare them, a panel of the help each.

An option that was not typed is None here, whatever its default: the code behind the command knows
the default, and a resumed run has its own. The help shows it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, replace
from typing import Annotated, Any, TypeVar, get_args, get_origin

import typer

from ..options import SAME, Option, OptionError, Options, described

T = TypeVar("T", bound=Options)
Typed = dict[type[Options], dict[str, Any]]  # what was typed: values by name, for each class
# Options of other commands by name, each with those commands, or with what to write in its place.
Elsewhere = Mapping[str, tuple[Option, Sequence[str] | str]]


@dataclass(frozen=True)
class Group:
    """The options of one class in a command, in a panel of its help.

    Attributes:
        title: of the panel.
        kind: the class.
        defaults: in words, for options whose default is another in this command.
        without: options that another class of the command has in their place.
        only: what options are of, where that is less than their help says: "the last stage".
    """

    title: str
    kind: type[Options]
    defaults: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    only: Mapping[str, str] = field(default_factory=dict)

    @property
    def options(self) -> list[Option]:
        """Those that the command line has."""
        every = described(self.kind)
        return [each for each in every if each.flags != "" and each.name not in self.without]


def flags(option: Option) -> list[str]:
    """What is typed for an option: --its-name, --its-name and --no-its-name, or its own."""
    if option.flags is not None:
        return option.flags.split("/")
    name = f"--{option.name.replace('_', '-')}"
    return [name, f"--no-{name[2:]}"] if option.kind is bool else [name]


def refuse_doubles(command: str, groups: Iterable[Group]) -> None:
    """ValueError where two classes of a command have an option, or a flag, of one name."""
    owners: dict[str, str] = {}
    for group in groups:
        for option in group.options:
            for word in dict.fromkeys([option.name, *flags(option)]):
                if word in owners:
                    raise ValueError(
                        f"{command}: {word} is an option of both {owners[word]} and "
                        f"{group.kind.__qualname__}; rename one, or keep one from the command line "
                        'with flags=""'
                    )
                owners[word] = group.kind.__qualname__


def function(
    name: str,
    groups: Sequence[Group],
    run: Callable[[Typed], None],
    elsewhere: Elsewhere | None = None,
) -> Callable[..., None]:
    """The function of a command for typer, with the options of some classes.

    `run` gets what was typed. What is typed of `elsewhere` is refused with a message that says
    where it belongs, or what to write.
    """
    refuse_doubles(name, groups)
    owner = {option.name: (group.kind, option) for group in groups for option in group.options}
    others = {k: v for k, v in (elsewhere or {}).items() if k not in owner}

    def call(**given: Any) -> None:
        typed: Typed = {group.kind: {} for group in groups}
        given = {k: v for k, v in given.items() if v is not None and v != []}
        _refuse_others(name, groups[0], {k: v for k, v in others.items() if k in given})
        for word, value in given.items():
            kind, option = owner[word]
            typed[kind][word] = _read(option, value)
        run(typed)

    parameters = [p for group in groups for p in _parameters(group)]
    parameters += [_parameter(option, hidden=True) for option, _ in others.values()]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def command(
    name: str, groups: Sequence[Group], run: Callable[[Typed], None], help: str,
    elsewhere: Elsewhere | None = None,
) -> Any:  # fmt: skip
    """A command without the program around it; see `function`."""
    single = typer.Typer(
        add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False
    )
    single.command(name, help=help)(function(name, groups, run, elsewhere))
    return typer.main.get_command(single)


def checked(kind: type[T], typed: Mapping[str, Any]) -> T:
    """An object of an Options class from what was typed; ValueError naming the flag."""
    try:
        return kind(**typed)
    except OptionError as wrong:
        (option,) = (each for each in described(kind) if each.name == wrong.name)
        expected = wrong.expected.removesuffix(", or None")  # which cannot be typed
        what = f"{flags(option)[0]} {wrong.value}, expected {expected}"
        raise ValueError(what) from None


def _parameters(group: Group) -> Iterator[inspect.Parameter]:
    for option in group.options:
        of = group.only.get(option.name)
        shown = replace(option, help=f"{option.help.removesuffix('.')}; {of}.") if of else option
        help = in_full(shown, group.defaults.get(option.name))
        yield _parameter(option, panel=group.title, help=help)


def _parameter(
    option: Option, *, panel: str | None = None, help: str = "", hidden: bool = False
) -> inspect.Parameter:
    written = str if get_origin(option.kind) is tuple else option.kind
    if get_args(option.kind)[:1] == (str,) and written is str:  # a text each time it is typed
        written = list[str]
    about: Any
    if _is_argument(option):
        about = typer.Argument(help=help, metavar=option.flags, show_default=False)
    else:
        about = typer.Option(
            "/".join(flags(option)), help=help, rich_help_panel=panel, hidden=hidden,
            show_default=False, metavar=option.metavar,
        )  # fmt: skip
    needed = _is_argument(option) and option.default is MISSING
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if needed else None,
        annotation=Annotated[written if needed else written | None, about],
    )  # fmt: skip


def _is_argument(option: Option) -> bool:
    """Whether it is positional: it has no flag."""
    return bool(option.flags) and not str(option.flags).startswith("-")


def in_full(option: Option, default: str | None = None) -> str:
    """The help of an option with its choices, its range and its default in parentheses.

    Square brackets would be taken for a colour.
    """
    notes = []
    if option.choices and option.metavar is not None:  # else they are shown beside the name
        notes.append(", ".join(option.choices))
    elif option.rule is not None:
        notes.append(option.rule.words)
    default = default_of(option) if default is None else default
    notes += [f"default {default}"] if default else []
    said = "; ".join(notes)
    if not option.help:
        return f"{said[:1].upper()}{said[1:]}." if said else ""
    return f"{option.help.removesuffix('.')} ({said})." if notes else option.help


def default_of(option: Option) -> str:
    """The default in words; "" where there is nothing to say."""
    if option.shown:
        return option.shown
    lone = option.kind is bool and len(flags(option)) == 1
    if option.default is MISSING or option.default is None or lone:
        return ""
    if option.kind is bool:
        return flags(option)[0 if option.default else 1]
    text = in_words(option.default)
    if option.on_processor is not SAME:
        text += f"; without a GPU {in_words(option.on_processor)}"
    return text


def in_words(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, tuple):
        return ",".join(in_words(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _read(option: Option, value: Any, name: str = "") -> Any:
    """A value as it was typed: numbers that are written with commas become a tuple.

    name: what a message calls the option, if not by its flag.
    """
    if get_origin(option.kind) is not tuple:
        return value
    number, *more = get_args(option.kind)
    if number is str:
        return tuple(value)
    try:
        numbers = tuple(number(text) for text in value.split(","))
        if more != [...] and len(numbers) != 1 + len(more):
            raise ValueError
    except ValueError:
        name = name or flags(option)[0]
        raise ValueError(f"{name} {value!r}, expected {option.form}") from None
    return numbers


def named(option: str, texts: Iterable[str], what: str) -> dict[str, str]:
    """{name: text} of texts name=text, each typed with the option; ValueError for others."""
    found: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (name and sign and value) or name in found:
            raise ValueError(f"{option} {text!r}, expected {what}")
        found[name] = value
    return found


def read_text(option: Option, text: str) -> Any:
    """The value of an option from its text; ValueError where it is none."""
    if get_origin(option.kind) is tuple:
        return _read(option, text, option.name)
    words = {"true": True, "false": False}
    try:
        if option.kind is bool:
            return words[text.lower()]
        return option.kind(text) if option.kind in (int, float) else text
    except (KeyError, ValueError):
        expected = "true or false" if option.kind is bool else option.expected
        raise ValueError(f"{option.name} {text!r}, expected {expected}") from None


def _refuse_others(name: str, group: Group, met: Elsewhere) -> None:
    if met:
        took = ", ".join(flags(option)[0] for option, _ in met.values())
        takes = ", ".join(sorted(flags(option)[0] for option in group.options))
        hints = "; ".join(
            where if isinstance(where, str) else f"{flags(option)[0]} belongs to {', '.join(where)}"
            for option, where in met.values()
        )
        raise ValueError(f"{name} has no option {took}; it takes {takes}; {hints}")
