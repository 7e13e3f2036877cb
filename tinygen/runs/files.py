"""What each file of a run says: its keys, their types and ranges. All who read one check it here.

A key with "?" came later, or is for some runs only.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..data import load as load_data
from ..io import Arrays, load
from ..schema import (
    Schema,
    SchemaError,
    anything,
    check,
    keyed,
    listed,
    number,
    optional,
    record,
    text,
    together,
    truth,
    whole,
)
from ..version import __version__

FORMAT = 1  # of checkpoints, model files and config.json
SIZE = whole(1, 2**20)  # of an image, a list of widths, a code

SHAPE = together(SIZE, SIZE, SIZE)


def _option(value: Any, place: str) -> None:
    """An option of a model or of data: None, true or false, a number, a text, a list of numbers."""
    if value is None or isinstance(value, (bool, str)):
        return
    if isinstance(value, list):
        listed(number(-(2**64), 2**64), most=1000)(value, place)
    else:
        number(-(2**64), 2**64)(value, place)


COUNT = whole(0, 2**31)
MODEL = record(
    {
        "name": text, "shape": SHAPE, "classes": optional(COUNT), "options": keyed(_option),
        "forms?": keyed(record({"shape": SHAPE, "classes": COUNT, "words": COUNT})),
    }
)  # fmt: skip


def _key(value: Any, place: str) -> None:
    """The key of a random generator."""
    if not isinstance(value, str) or not re.fullmatch("0x[0-9a-f]{1,16}", value):
        raise SchemaError(place, value, "64 bits in hexadecimal")


DATA: dict[str, Schema] = {
    "name": text, "n": whole(1), "shape": SHAPE, "classes": optional(listed(text)),
    "fingerprint": text, "test_n": whole(),
}  # fmt: skip
OPTIONS: dict[str, Schema] = {  # of data.load
    "size?": together(SIZE, SIZE), "channels?": whole(1, 3), "n?": whole(1),
    "seed?": whole(0, 2**64 - 1), "value_range?": together(number(), number()),
}  # fmt: skip
SOURCE: dict[str, Schema] = {"source": optional(text), "options": record(OPTIONS)}


def _source(value: Any, place: str) -> None:
    """Data that can be loaded again, with the sizes and the count that they had."""
    record({**DATA, **SOURCE})(value, place)
    options, shape = value["options"], value["shape"]
    had = {"size": shape[:2], "channels": shape[2]}
    if value["source"] == "strokes":  # which are drawn, in any number
        had["n"] = value["n"]
    for name, option in options.items():
        _option(option, f"{place}.options.{name}")
        if name not in inspect.signature(load_data).parameters:
            raise SchemaError(f"{place}.options", options, "options that data.load has")
    for name, expected in had.items():
        if options.get(name, expected) != expected:
            raise SchemaError(f"{place}.options.{name}", options[name], f"{expected}, as it was")


TRAINING = record(
    {
        "epochs": whole(1), "seed": whole(0, 2**64 - 1), "batch_size?": whole(1),
        "lr?": optional(number(0)), "schedule?": text, "warmup?": number(0), "ema?": number(0, 1),
        "asked_warmup?": truth, "compiled?": truth, "evaluate_every?": whole(),
        "classifier?": optional(text),
    }
)  # fmt: skip
CONFIG = record(
    {
        "model": MODEL, "data": _source, "more_data?": keyed(_source),
        "parts?": keyed(text), "training": TRAINING,
        "classifier?": optional(text), "versions": keyed(text), "machine?": keyed(anything),
        "command?": listed(text),
    }
)  # fmt: skip
LOSSES = keyed(number())
PLACE: dict[str, Schema] = {"stage?": whole(), "epoch": whole(), "step": whole()}
LINE = {**PLACE, "stage?": text}  # the name of one; a place has its number
LOG: dict[str, Schema] = {  # by the kind of a line; other kinds are of a newer version
    "steps": record({**LINE, "losses": LOSSES}),
    "epoch": record({**LINE, "losses": LOSSES, "validation?": optional(number())}),
    "quality": record(
        {
            **LINE, "measures": keyed(optional(number(finite=False))),
            "floors": keyed(optional(number(finite=False))), "protocol": text,
        }
    ),
}  # fmt: skip
FIGURE = record(
    {
        "name": text, "split": text, "value": number(finite=False), "error": number(finite=False),
        "images": whole(), "protocol": text, "unit?": text,
    }
)  # fmt: skip
MEASURE = record(
    {"name": text, "value": number(finite=False), "floor": optional(number(finite=False))}
)
MEASURED = record(
    {
        "weights": text, "figures": listed(FIGURE),
        "quality": optional(record({"measures": listed(MEASURE), "protocol": text})),
    }
)  # fmt: skip
STORED = {  # the metadata of a safetensors file of each kind
    "checkpoint": record(
        {
            "model": MODEL,
            "position": record(
                {
                    **PLACE, "batch": whole(), "sums": listed(together(text, number())),
                    "recent?": listed(together(text, number())), "counted?": whole(),
                    "skipped?": whole(), "in_a_row?": whole(),
                    "best": optional(number()), "log_bytes": whole(),
                }
            ),
            "generators": keyed(
                record({"layout": whole(), "key": _key, "draws": whole(0, 2**64 - 1)})
            ),
        }
    ),
    "model": record(
        {
            **PLACE, "model": MODEL, "data": record(DATA),
            "value_range": together(number(), number()),
        }
    ),
    "classifier": record(
        {
            "model": MODEL,
            "data": record({"name": text, "shape": SHAPE, "classes": listed(text, least=1)}),
            "name?": text, "version?": whole(), "accuracy?": optional(number(0, 100)),
        }
    ),
}  # fmt: skip


def log_entry(value: Any) -> dict[str, Any]:
    """A line of the log; SchemaError if it is none."""
    record({"kind": text})(value, "")
    LOG.get(value["kind"], anything)(value, "")
    found: dict[str, Any] = value
    return found


def measured(value: Any, where: Path) -> list[dict[str, Any]]:
    """What evaluation.json says, the newest first; ValueError if it is damaged."""
    check(value, MEASURED, where, MEASURE_ANEW)
    check(value, record({"others?": listed(MEASURED)}), where, MEASURE_ANEW)
    return [{k: v for k, v in value.items() if k != "others"}, *value.get("others", [])]


def config(value: Any, where: Path) -> dict[str, Any]:
    """What config.json says; ValueError if it is damaged, or of a newer version."""
    check(value, record({}), where, NO_CONFIG)
    check_format(where, value)
    check(value, CONFIG, where, NO_CONFIG)
    found: dict[str, Any] = value
    return found


MEASURE_ANEW = "`tinygen evaluate` writes it anew"
NO_CONFIG = "put a copy of the file in its place, or train into another folder"


def read(path: Path, kind: str) -> Arrays:
    """Read a file of some kind, checked; raises ValueError saying what it is instead.

    kind: "checkpoint", "model" or "classifier" (a model file, too). The metadata are checked before
    any array is read, and that every number of the arrays is finite.
    """
    stored_as = "model" if kind == "classifier" else kind

    def before(metadata: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
        found = metadata.get("kind")
        if found != stored_as:
            raise ValueError(f"{path} is not a tinygen {stored_as} (its kind is {found!r:.60})")
        check_format(path, metadata)
        check(metadata, record({"model": MODEL}), path)
        if kind == "classifier" and metadata["model"]["name"] != kind:
            raise ValueError(
                f"{path} holds a model called {metadata['model']['name']!r:.60}, expected a "
                "classifier; train one with `tinygen train classifier`"
            )
        check(metadata, STORED[kind], path)

    saved = load(path, before)
    refuse_non_finite(saved, path)
    return saved


def refuse_non_finite(arrays: Mapping[str, Any], where: Any) -> None:
    """ValueError naming the tensor that holds NaN or an infinity, and how many of its numbers."""
    for name in non_finite(arrays):
        bad = int(arrays[name].size - np.isfinite(arrays[name]).sum())
        raise ValueError(
            f"{where}: {name} holds NaN or infinity ({bad:,} of {arrays[name].size:,} numbers); "
            "the training that wrote it went wrong: go on from another checkpoint, or train again"
        )


def non_finite(arrays: Mapping[str, Any]) -> list[str]:
    """The names of the arrays that hold NaN or an infinity."""
    return [k for k, v in arrays.items() if v.dtype.kind == "f" and not np.isfinite(v).all()]


def check_format(path: Any, stored: Mapping[str, Any]) -> None:
    """Refuse what a newer version wrote, and what has no format number."""
    form = stored.get("format")
    if type(form) is not int or form < 1:
        raise ValueError(f"{path} is damaged: its format number is {form!r:.60}")
    if form > FORMAT:
        raise ValueError(
            f"{path} has format {form}; this is tinygen {__version__}, which reads formats up to "
            f"{FORMAT}; update with `pip install --upgrade tinygen`"
        )
