"""`tg.record`: everything that one training step computes, as a page that one can step through.

    with tg.record() as step:
        model.train_step(images, None, optimizers)
    step.save("step.html")                  # one file, offline
    step.save("step.json")                  # format tinygen-step/1
    print(step.differs(another))            # "call 41 add, discriminator.6.bias: ..."

An observer sees every call. It keeps no array: each is looked at while it is there (summary.py).
What is changed in place counts as a new array, with a version. No formula of a rule is written
down: the calls that the rule made are its formula (step_rules.py).
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
import weakref
from pathlib import Path
from typing import Any

from .. import backend as backends
from ..events import Observer, state, watching
from ..outputs import Part
from ..tensor import Tensor
from ..version import __version__
from . import where
from .formula import option
from .names import Names
from .step_rules import Heard, heard, passing, write_rules
from .summary import summary

FORMAT = "tinygen-step/1"
LONGEST = 40  # letters of an option's value
ABOUT = 400  # letters about an operation


class Step:
    """One recorded step.

    Attributes:
        document: the object of the format "tinygen-step/1", as `save` writes it: `calls` in the
            order they ran, and the `arrays` that they read and made, by number. A call has `op`,
            `in` (numbers of arrays; scalars as text), `out`, `of` (the call whose gradient is
            computed), `phase` (forward, backward or update), `module`, `line` and, in a backward
            pass, `rule`, the formula. What an array's entry has: see summary.summary.
    """

    def __init__(self, document: dict[str, Any] | None = None) -> None:
        empty: dict[str, Any] = {"format": FORMAT, "calls": [], "arrays": []}
        self.document = empty if document is None else document

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls, in the order they ran."""
        return self.document["calls"]  # type: ignore[no-any-return]

    @property
    def arrays(self) -> list[dict[str, Any]]:
        """The arrays that they read and made; a call knows them by their place here."""
        return self.document["arrays"]  # type: ignore[no-any-return]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the step as a page (.html) or as data (.json); returns the path.

        Raises:
            ValueError: another ending.
        """
        target = Path(path)
        if target.suffix == ".html":
            from .step_page import page  # the page's text: needed here only

            text = page(self.document, as_json(self.document))
        elif target.suffix == ".json":
            text = as_json(self.document)
        else:
            raise ValueError(
                f"save: a step is saved as .html (a page) or .json (data), not as {target.name!r}"
            )
        target.write_text(text, encoding="utf-8", newline="\n")
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Step:
        """A step that was saved as .json.

        Raises:
            ValueError: the file is of another format.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is no recorded step: {error}; expected its .json") from None
        found = document.get("format") if isinstance(document, dict) else None
        if found != FORMAT:
            raise ValueError(f"{path} is of the format {found!r}; expected {FORMAT!r}")
        return cls(document)

    def differs(self, other: Step | str | os.PathLike[str]) -> str | None:
        """The first call whose numbers are not the same bits in another step; None if none.

        It says which call (counted from 1), which array, and both means: "call 41 add,
        discriminator.6.bias: mean 0.0125 here, 0.0131 there".

        Args:
            other: a step, or the path of one saved as .json.
        """
        there = other if isinstance(other, Step) else Step.load(other)
        pairs = zip(self.calls, there.calls, strict=False)
        for k, (one, two) in enumerate(pairs):
            if one["op"] != two["op"]:
                return f"{title(k, one, self.arrays)}: there it is {two['op']}"
            for here, other_one in zip(_numbers(one), _numbers(two), strict=False):
                both = self._entry(here), there._entry(other_one)
                what = _difference(*both)
                if what:
                    return f"{title(k, one, self.arrays, here)}: {what}"
        counts = len(self.calls), len(there.calls)
        if counts[0] != counts[1]:
            longer = self if counts[0] > counts[1] else there
            k = min(counts)
            who = title(k, longer.calls[k], longer.arrays)
            return f"{who}: only {'here' if longer is self else 'there'}"
        return None

    def _entry(self, one: Any) -> Any:
        return one if isinstance(one, str) else self.arrays[one]

    def __repr__(self) -> str:
        phases = [call["phase"] for call in self.calls]
        parts = ", ".join(f"{phases.count(p)} {p}" for p in ("forward", "backward", "update"))
        model = self.document.get("model")
        return f"Step({f'{model}: ' if model else ''}{len(phases)} calls: {parts})"


def as_json(document: dict[str, Any]) -> str:
    """The document as text."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def title(k: int, call: dict[str, Any], arrays: list[dict[str, Any]], number: Any = None) -> str:
    """A call in a few words: its number (from 1), its operation, what it is about."""
    read = [i for i in call["in"] if isinstance(i, int)]
    first = [number] if isinstance(number, int) else []
    names = [arrays[i]["name"] for i in (*first, *read, *call["out"]) if "name" in arrays[i]]
    named = [n for n in names if "." in n] or names
    what = next(iter(named), "") or call.get("module", "") or call.get("line", "")
    return f"call {k + 1} {call['op']}" + (f", {what}" if what else "")


def _numbers(call: dict[str, Any]) -> list[Any]:
    return [*call["in"], *call["out"]]


def _difference(one: Any, two: Any) -> str:
    """How two arguments or results differ, in words; "" if they do not."""
    if isinstance(one, str) or isinstance(two, str):
        return "" if one == two else f"{_brief(one)} here, {_brief(two)} there"
    kinds = [f"{tuple(x['shape'])} {x['dtype']}" for x in (one, two)]
    if kinds[0] != kinds[1]:
        return f"{kinds[0]} here, {kinds[1]} there"
    if one["crc32"] == two["crc32"]:
        return ""
    for key in ("bad", "mean", "std", "min", "max"):
        if one[key] != two[key]:
            word = "not finite" if key == "bad" else key
            return f"{word} {one[key]} here, {two[key]} there"
    return "single values differ; the mean is the same"


def _brief(x: Any) -> str:
    return x if isinstance(x, str) else f"an array {tuple(x['shape'])}"


class record:  # noqa: N801  (read as a statement)
    """Record what is computed within the block: `with tg.record() as step: ...`.

    The block may hold a training step of a model, or any code with tensors. Nothing that it
    computes changes: weights are the same bits with and without recording. A compiled function that
    is called within runs as it stands, operation by operation. An error in the block is not
    held back; the step then has the calls until there.

    The step takes about ten times as long, since each array is summed up; none is kept.

    Returns:
        A Step, which is complete when the block ends: step.save("step.html").

    Raises:
        RuntimeError: the block is within a compiled function, whose replays show no operation.
    """

    def __enter__(self) -> Step:
        self._step = Step()
        self._recorder = Recorder(sys._getframe(1))
        self._watching = watching(self._recorder)
        self._watching.__enter__()
        return self._step

    def __exit__(self, *error: object) -> None:
        self._watching.__exit__(*error)
        self._step.document = self._recorder.document()
        del self._recorder


class _Known:
    """The arrays that are alive, by identity: their numbers, until they change or die."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}  # id of an array -> its entry
        self._versions: dict[int, int] = {}  # id of an owner -> how often it was changed
        self._views: dict[int, set[int]] = {}  # id of an owner -> ids of arrays on it
        self._owners: dict[int, int] = {}  # and back
        self._refs: dict[int, Any] = {}

    def put(self, array: Any, owner: Any, number: int) -> None:
        self._follow(array)
        self._follow(owner)
        self.numbers[id(array)] = number
        self._views.setdefault(id(owner), set()).add(id(array))
        self._owners[id(array)] = id(owner)

    def change(self, owner: Any) -> dict[int, int]:
        """Its arrays are no longer what they were: their numbers until now, by identity."""
        self._versions[id(owner)] = self.version(owner) + 1
        gone = self._views.pop(id(owner), set())
        return {key: self.numbers.pop(key) for key in gone if key in self.numbers}

    def version(self, owner: Any) -> int:
        return self._versions.get(id(owner), 0)

    def _follow(self, array: Any) -> None:
        key = id(array)
        if key not in self._refs:
            self._refs[key] = weakref.ref(array, lambda _: self._forget(key))

    def _forget(self, key: int) -> None:
        self._views.get(self._owners.pop(key, 0), set()).discard(key)
        for held in (self.numbers, self._versions, self._views, self._refs):
            held.pop(key, None)


class Recorder(Observer):
    """Writes down the calls of a thread; see record."""

    every_operation = True

    def __init__(self, last: Any) -> None:
        self._last = last  # the frame in which the block stands
        self.calls: list[dict[str, Any]] = []
        self.arrays: list[dict[str, Any]] = []
        self.batch: int | None = None
        self._operations: dict[str, Any] = {}
        self._source: dict[str, str] = {}
        self._known = _Known()
        self._names = Names()
        self._before: dict[int, int] = {}  # numbers of the arrays that the next call changes
        self._made: dict[int, int] = {}  # id of a call's options -> the call
        self._heard: list[Heard] = []  # of each call; the node of a call has the same options

    # ---- events ------------------------------------------------------------------------------

    def changing(self, owner: Any) -> None:
        if id(owner) not in self._known.numbers:
            self._enter(owner)
        self._before |= self._known.change(owner)

    def called(
        self, operation: Any, args: tuple[Any, ...], static: dict[str, Any], out: Any
    ) -> None:
        at = where.place(sys._getframe(1), self._last)
        changed = [i for i, name in enumerate(operation.args) if name in operation.mutates]
        names = self._names.of_update(operation, args) if operation.traits.update else {}
        read = [self._argument(x, at, names.get(i, ""), i in changed) for i, x in enumerate(args)]
        self._before.clear()
        made: list[int] = []
        for i in changed:
            made.append(self._result(args[i].data, self.arrays[read[i]].get("name", "")))
        if not changed:
            made = [self._result(y, "") for y in (out if out.__class__ is tuple else (out,))]
        node = state.pulling
        of = self._call_of(node)
        phase = _phase(operation, at, node)
        call = {"op": operation.name, "in": read, "out": made, "of": of, "phase": phase}
        call["module"] = self._names.module(at) if of is None else self.calls[of]["module"]
        if phase == "update" and read:
            call["module"] = self._home(read[0]) or call["module"]
        call["line"] = at.line
        if at.user:
            call["user"] = at.user
        if at.adds and node is not None:
            call["adds"] = at.adds
        if at.argument is not None:
            call["argument"] = at.argument
        told = {
            name: option(v)[:LONGEST] for name, v in static.items()
            if name != "backend" and v is not operation.defaults.get(name, call)
        }  # fmt: skip
        if told:
            call["options"] = told
        for line, frame in ((at.line, at.inner), (at.user, at.outer)):
            if line and line not in self._source:
                self._source[line] = where.source_of(frame)
        self._operations[operation.name] = operation
        self._made[id(static)] = len(self.calls)
        self._heard.append(heard(operation, args, static))
        self.calls.append(call)

    # ---- arrays ------------------------------------------------------------------------------

    def _enter(self, array: Any, name: str = "") -> int:
        """A new entry for an array as it is now."""
        place: Any = backends.of_type(type(array))
        owner = place.owner(array)
        entry = summary(place.to_host(array))
        return self._add(array, owner, entry, name)

    def _add(self, array: Any, owner: Any, entry: dict[str, Any], name: str) -> int:
        if name:
            entry["name"] = name
        version = self._known.version(owner)
        if version:
            entry["version"] = version
        self.arrays.append(entry)
        self._known.put(array, owner, len(self.arrays) - 1)
        return len(self.arrays) - 1

    def _argument(self, x: Any, at: where.Place, name: str, changed: bool) -> Any:
        if not isinstance(x, Tensor):
            return "None" if x is None else repr(x)[:LONGEST]
        name = self._names.of_tensor(x, at) or name
        number = self._before.get(id(x.data)) if changed else self._known.numbers.get(id(x.data))
        if number is not None:
            if name:
                self.arrays[number].setdefault("name", name)
            return number
        if changed:  # a view of what was changed: what it was is gone
            self.arrays.append({"shape": list(x.shape), "dtype": str(x.dtype), "crc32": 0})
            return len(self.arrays) - 1
        if not name and state.pulling is None:
            name = where.variable(x.data, at.frames)
            if self.batch is None and len(x.shape) > 1:
                self.batch = x.shape[0]
        return self._enter(x.data, name)

    def _result(self, array: Any, name: str) -> int:
        number = self._known.numbers.get(id(array))
        return self._enter(array, name) if number is None else number

    def _home(self, number: Any) -> str:
        """The module of a parameter, by its name."""
        name = self.arrays[number].get("name", "") if isinstance(number, int) else ""
        return str(name).rpartition(".")[0]

    # ---- gradients ---------------------------------------------------------------------------

    def _call_of(self, node: Any) -> int | None:
        """The call whose gradient is computed."""
        if isinstance(node, Part):
            node = node.parents[0]
        return None if node is None else self._made.get(id(node.static))

    def document(self) -> dict[str, Any]:
        """What was seen, as tinygen-step/1."""
        self._last = None
        write_rules(self.calls, self.arrays, self._heard)
        operations = {}
        for name, o in self._operations.items():
            operations[name] = {"args": o.args, "about": about(o), "passes": passing(o)}
            if o.rule_for_all is not None:
                operations[name]["together"] = True
        return {
            "format": FORMAT, "tinygen": __version__, "model": self._names.model,
            "batch": self.batch, "seed": None, "calls": self.calls, "arrays": self.arrays,
            "operations": operations, "modules": self._names.labels, "source": self._source,
        }  # fmt: skip


def about(operation: Any) -> str:
    """What an operation is: its docstring up to the first section."""
    text = inspect.cleandoc(operation.__doc__ or "")
    text = re.split(r"\n\s*(?:Args|Raises|Returns|Source|Attributes|Note)\b.*:", text)[0].strip()
    first, _, rest = text.partition("\n\n")
    return text if len(text) <= ABOUT else first if rest else text[:ABOUT]


def _phase(operation: Any, at: where.Place, node: Any) -> str:
    """Which part of a step a call belongs to."""
    if node is not None or at.differentiating:
        return "backward"
    if at.update or operation.traits.update or (operation.mutates and len(at.modules) < 2):
        return "update"
    return "forward"
