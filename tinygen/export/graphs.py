"""The functions of a model as graphs, and a graph as data: JSON, and the bytes of its constants.

A form that interprets the data has a row for each kind of operation. `described` writes

    inputs: [{name, shape}], constants: [...], operations: [{op, args, outs, shape, ...options}],
    outputs: [...]

Arrays are numbered. Of an operation, `args` and `outs` are numbers of arrays; null is an argument
left out. A loop, `repeat`, has a body {inputs, operations, outputs}: its inputs are the number of
the turn and the state. A size is a number, or [a, b] for a n + b of n images. A constant is {shape,
value} or {shape, kind}: then its numbers are the next ones among the bytes, little endian, with a
float32 scale for each entry of the last axis where the kind is int8.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import Backend, use_backend
from ..graph import no_grad
from ..models import Model
from ..models.contract import chosen, label_of
from ..ops import concatenate
from ..ops.conv import Window
from ..ops.create import full
from ..primitive import PRIMITIVES
from ..sampling.noise import Noise, Prior
from ..spelling import called
from ..tensor import Tensor
from ..trace.graph import (
    SIZES,
    Affine,
    Graph,
    Op,
    Refused,
    Turns,
    Var,
    at,
    batch,
    evaluate,
    part,
    record,
    turns_of,
)  # fmt: skip
from ..trace.passes import simplify
from ..trace.repeat import repeat
from ..trace.settings import free
from .settings import Setting, open_settings, three_values
from .weights import Stored, store


class ExportError(ValueError):
    """A model, or a part of it, that cannot be exported; says why and what to do."""


@dataclass(frozen=True)
class Packed:
    """A graph whose constants are what a file holds.

    Attributes:
        graph: its constants have the values that are computed with.
        stored: of the weights of products, what is written: rounded to a precision, convolutions'
            in one layout, (KH, KW, inputs of a group, outputs).
        settings: the last inputs of the graph, which have defaults.
        fixed: why another setting of the drawings is none of them, by name.
    """

    graph: Graph
    stored: dict[Var, Stored]
    settings: tuple[Setting, ...] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)

    def trace(self, inputs: Sequence[NDArray[Any]], floats: str = "float32") -> list[NDArray[Any]]:
        """What each operation gives."""
        found = evaluate(self.graph, self.all(inputs), floats)
        return [found[op.outs[0]] for op in self.graph.ops]

    def __call__(self, *inputs: NDArray[Any], floats: str = "float32") -> NDArray[Any]:
        """The result for arguments of a batch."""
        return evaluate(self.graph, self.all(inputs), floats)[self.graph.outputs[0]]

    def all(self, inputs: Sequence[Any]) -> list[Any]:
        """The arguments with the defaults of settings that are not among them."""
        missing = len(self.graph.inputs) - len(inputs)
        rest = self.settings[len(self.settings) - missing :]
        return [*inputs, *(setting.array() for setting in rest)]

    def lines(self) -> list[str]:
        """The products with weights, for people: kind, sizes of the weight and of the result.

        A weight that is used several times, as in the steps of a flow, is listed once.
        """
        found: dict[Var, str] = {}
        for op in self.graph.every():
            weight = op.weight
            if weight is not None and weight.const is not None:
                sizes = (" x ".join(map(str, v.shape)) for v in (weight, op.outs[0]))
                found.setdefault(weight, f"{op.name} {' -> '.join(sizes)}")
        return [*found.values()]

    def on(self, backend: Backend, each: bool = False) -> Callable[..., list[Tensor]]:
        """A function of tensors on a backend: the results; `each`: all operations', then these.

        It can be compiled. An array is let go after its last reader, unless each is a result.
        """
        arrays = {v for op in self.graph.every() for v in op.args if v is not None}
        constants = {
            v: v.const.item() if not v.shape
            else Tensor(backend.asarray(np.array(v.const, v.dtype, order="C")))
            for v in (*arrays, *self.graph.outputs) if v.const is not None
        }  # fmt: skip
        wanted = [op.outs[0] for op in self.graph.ops] if each else []
        wanted += self.graph.outputs

        @no_grad()
        def run(*inputs: Tensor) -> list[Tensor]:
            given = self.all(inputs)
            n = batch(self.graph, given)
            values = (x if isinstance(x, Tensor) else x.item() for x in given)
            known: dict[Var, Any] = {
                **constants,
                **dict(zip(self.graph.inputs, values, strict=True)),
            }
            _do(self.graph.ops, known, n, wanted)
            found = ((v, known[v]) for v in wanted)
            return [
                x if isinstance(x, Tensor)
                else full(shape=(), value=x, dtype=v.dtype, backend=backend.name) for v, x in found
            ]  # fmt: skip

        return run


def _do(ops: Sequence[Op], known: dict[Var, Any], n: int, wanted: Collection[Var]) -> None:
    """Add what the operations give for a batch of n to the known arrays.

    Of these, the wanted ones are there at the end; others may be let go.
    """
    for op, over in zip(ops, _read_last(ops, wanted), strict=True):
        args: list[Any] = [None if v is None else known[v] for v in op.args]
        static = {k: at(x, n) for k, x in op.static.items()}
        if not (op.outs[0].shape or any(isinstance(x, Tensor) for x in args)):  # of settings
            numbers = [np.array(x, v.dtype) for x, v in zip(args, op.args, strict=True) if v]
            made: Any = PRIMITIVES[op.name].reference(np, *numbers, **static)
            known[op.outs[0]] = np.asarray(made).item()
        elif op.body is not None:
            turns = turns_of(static["n"], known.__getitem__)
            state = repeat(turns, _body(op.body, known, n), args)
            known.update(zip(op.outs, state, strict=True))
        elif op.name == "slice":
            known[op.outs[0]] = args[0][tuple(part(*p) for p in static["parts"])]
        elif op.traits.copies:
            known[op.outs[0]] = args[0].astype(static["dtype"])
        else:
            known[op.outs[0]] = PRIMITIVES[op.name](*args, **static)
        for v in over:
            known.pop(v, None)


def _read_last(ops: Sequence[Op], wanted: Collection[Var]) -> list[list[Var]]:
    """Of each operation, the arrays that it, with its body, reads or makes and no later one does.

    Those that are wanted are in none.
    """
    later, found = set(wanted), list[list[Var]]()
    for op in reversed(ops):
        over = [v for each in _with_body(op) for v in _met(each) if v not in later]
        found.append(over)
        later.update(over)
    return found[::-1]


def _with_body(op: Op) -> Iterator[Op]:
    yield op
    if op.body is not None:
        yield from op.body.every()


def _met(op: Op) -> Iterator[Var]:
    """The arrays that an operation reads or makes."""
    turns = op.static.get("n")
    yield from (v for v in op.args if v is not None)
    yield from op.outs
    yield from op.body.outputs if op.body is not None else ()
    yield from (turns.argument,) if isinstance(turns, Turns) else ()


def _body(body: Graph, known: dict[Var, Any], n: int) -> Callable[..., tuple[Tensor, ...]]:
    def turn(*state: Tensor) -> tuple[Tensor, ...]:
        inside = {**known, **dict(zip(body.inputs, state, strict=True))}
        _do(body.ops, inside, n, body.outputs)
        return tuple(inside[v] for v in body.outputs)

    return turn


# ---- from a model --------------------------------------------------------------------------------


def drawing(
    model: Any, precision: str = "float32", settings: Mapping[str, Any] | None = None
) -> Packed:
    """images (n, H, W, C) from codes (n, latent) and, of a conditional model, labels (n,).

    Settings of a drawing that are given are fixed in it. The others are arguments where they may be
    (see trace/settings.py), and else as the model has them.

    A code is the noise of an image in a row; of a uniform law it is from [-1, 1), as files draw it.
    """
    law, label = model.noise, label_of(model.given)
    if law is None:
        raise ExportError(f"{model.name} draws from no noise; a file draws what a seed says")
    others = [column.name for column in model.given if column is not label]
    if others:
        raise ExportError(
            f"{model.name} draws from {', '.join(others)}; a file draws from a seed and a label"
        )
    names = () if label is None else (label.name,)
    fixed = chosen(model, settings or {})

    def make(n: int) -> tuple[Tensor, ...]:
        with use_backend(model.backend.name):
            flat = Noise((math.prod(law.shape),), law_of(law), between=(-1.0, 1.0))
            code = flat.draw(n, model.rng(0))
        return (code, *_labels(model, n))

    def draw(code: Tensor, *labels: Tensor, **given: Any) -> Tensor:
        noise = code
        if law.law == "uniform" and law.between != (-1.0, 1.0):
            (low, high), noise = law.between, (code + 1.0) * 0.5  # exact: 24 bits
            noise = noise if law.between == (0.0, 1.0) else (high - low) * noise + low
        if len(law.shape) != 1:
            noise = noise.reshape(-1, *law.shape)
        result: Tensor = model.draw(
            noise, **dict(zip(names, labels, strict=True)), **{**fixed, **given}
        )
        return result

    packed = _packed(
        model, draw, make, ("code", "label"), precision, open_settings(model, settings or {})
    )
    shape = packed.graph.outputs[0].shape
    if shape != (Affine(1, 0), *model.shape):
        found = ", ".join(map(str, shape))
        raise ExportError(f"{model.name}: gives ({found}), expected images {model.shape}")
    return packed


def encoding(model: Any, precision: str = "float32") -> Packed:
    """Mean and log-variance of the code, in a row, from images (n, H, W, C) and labels (n,)."""
    low, high = model.value_range

    def make(n: int) -> tuple[Tensor, ...]:
        image = low + (high - low) * model.rng(0).uniform((n, *model.shape))
        return (image, *_labels(model, n))

    def encode(*given: Tensor) -> Tensor:
        return concatenate(model.encode(*given), axis=1)

    if model.code is None:
        raise ExportError(f"{model.name}: its encoder gives tokens; files have the mean of a code")
    with use_backend(model.backend.name) as backend, backend.without_kernels():
        model.encode(*make(2))  # it looks once at the range of its images
    return _packed(model, encode, make, ("image", "label"), precision)


def law_of(noise: Noise) -> Prior:
    """The law that a file draws codes by."""
    return "uniform" if noise.law == "uniform" else "normal"


def _labels(model: Any, n: int) -> tuple[Tensor, ...]:
    labelled = label_of(model.given) is not None
    return (model.place(np.arange(n) % model.classes),) if labelled else ()


def _packed(
    model: Model, f: Any, make: Any, names: Sequence[str], precision: str,
    may_be: Sequence[Setting] = (),
) -> Packed:  # fmt: skip
    """The graph of a function; `may_be`: settings of a drawing that may become its arguments."""
    try:  # without kernels: it is the same recording, and nothing is compiled for it
        with use_backend(model.backend.name) as backend, backend.without_kernels():
            graph = record(f, make, names, "export")
            values = {each.name: three_values(each) for each in may_be}
            made, fixed = free(graph, f, make(SIZES[0]), values, "export")
            simplify(graph)
    except (Refused, RuntimeError) as error:
        raise ExportError(f"{model.name}: {error}") from error
    settings = tuple(each for each in may_be if each.name in made)
    return replace(pack(graph, precision), settings=settings, fixed=fixed)


# ---- constants as they are stored ----------------------------------------------------------------


def pack(graph: Graph, precision: str) -> Packed:
    """The graph with its constants rounded: weights of products to a precision, else to float32.

    Equal constants become one: a network that is used twice is in the file once.
    """
    stored: dict[Var, Stored] = {}
    met: dict[Any, Var] = {}
    for op in graph.every():
        old = op.weight
        if old is not None and old.const is not None:
            kernel = _ordered(op, old.const)
            used = _once_each(met, old, (*_bits(kernel), _layout(op)))
            if used not in stored:
                stored[used] = rounded = store(kernel, precision)
                used.const = _ordered(op, rounded.array(), back=True)
            op.args[1] = used
    for op in graph.every():
        for k, v in enumerate(op.args):
            if v is not None and v.const is not None and v.shape and v not in stored:
                if v.dtype == "float32":
                    v.const = v.const.astype(np.float32)
                op.args[k] = _once_each(met, v, (v.dtype, *_bits(v.const)))
    return Packed(graph, stored)


def _once_each(met: dict[Any, Var], v: Var, key: Any) -> Var:
    """A constant that the graph may change, one for each key."""
    return met.setdefault(key, Var(v.shape, v.dtype, v.const, v.name))


def _bits(array: NDArray[Any]) -> tuple[Any, ...]:
    return array.shape, array.dtype.str, hashlib.sha256(array.tobytes()).digest()


def _layout(op: Op) -> tuple[Any, ...]:
    """What decides how a kernel lies in the file and in the graph."""
    window = op.static.get("window")
    return (op.name,) if window is None else (op.name, window.transposed, window.groups)


def _ordered(op: Op, kernel: NDArray[Any], back: bool = False) -> NDArray[Any]:
    """A kernel (KH, KW, inputs of a group, outputs) from it as an operation takes it, or back."""
    if op.traits.convolution is None:
        return kernel
    window: Window = op.static["window"]
    forward = op.traits.convolves
    swapped = window.transposed == forward  # a transposed kernel is (KH, KW, inputs, outputs) there
    if swapped and not back:
        kernel = kernel.swapaxes(2, 3)
    if not forward:  # there it is (.., inputs of all groups, outputs of one)
        groups, (*size, inputs, outputs) = window.groups, kernel.shape
        if back:
            parts = kernel.reshape(*size, inputs, groups, outputs // groups)
            kernel = parts.swapaxes(2, 3).reshape(*size, groups * inputs, outputs // groups)
        else:
            parts = kernel.reshape(*size, groups, inputs // groups, outputs)
            kernel = parts.swapaxes(2, 3).reshape(*size, inputs // groups, groups * outputs)
    if swapped and back:
        kernel = kernel.swapaxes(2, 3)
    return np.ascontiguousarray(kernel)


# ---- a graph as data -----------------------------------------------------------------------------


def named(packed: Packed, part: str) -> dict[Var, str]:
    """A name for each constant array: of product k "part.k.weight", of the sum after it
    "part.k.bias", of others "part.constant.k"."""
    names: dict[Var, str] = {}
    made: dict[Var, int] = {}  # by result of a product: which it is
    for op in packed.graph.every():
        x, y = (*op.args, None, None)[:2]
        if x is None or y is None or y.const is None:
            continue
        if op.traits.weighs:
            number = made[op.outs[0]] = len(made)
            names.setdefault(y, f"{part}.{number}.weight")
        elif op.traits.ufunc == "add" and x in made and y.shape:
            names.setdefault(y, f"{part}.{made[x]}.bias")
    arrays = [v for v in _numbers(packed.graph) if v.const is not None and v.shape]
    others = [v for v in arrays if v not in names]
    names |= {v: f"{part}.constant.{k}" for k, v in enumerate(others)}
    return {v: names[v] for v in arrays}


def described(packed: Packed, names: Mapping[Var, str] | None = None) -> dict[str, Any]:
    """The graph as JSON, see above; `names` of constants are their "name"."""
    graph, number = packed.graph, _numbers(packed.graph)
    constants = [_constant(packed, v) for v in number if v.const is not None]
    for v, about in zip((v for v in number if v.const is not None), constants, strict=True):
        if names and v in names:
            about["name"] = names[v]
    return {
        "inputs": [{"name": v.name, "shape": _sizes(v.shape)} for v in graph.inputs],
        "constants": constants,
        "operations": [_operation(op, number) for op in graph.ops],
        "outputs": [number[v] for v in graph.outputs],
    }


def blob(packed: Packed) -> bytes:
    """The bytes of the constants."""
    parts: list[bytes] = []
    for v in _numbers(packed.graph):
        if v.const is None or not v.shape:
            continue
        values, scale = held(packed, v)
        parts.append(values.tobytes())
        if scale is not None:
            parts.append(scale.astype("<f4").tobytes())
    return b"".join(parts)


def held(packed: Packed, v: Var) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """A constant array as a file holds it, little endian, and of int8 its scale."""
    values, scale = packed.stored.get(v, (v.const, None))
    assert values is not None
    return values.astype(np.dtype(_kind(values)).newbyteorder("<")), scale


def refuse(packed: Packed, known: Collection[str], form: str) -> None:
    """ExportError for an operation that a form has no row for."""
    for op in packed.graph.every():
        if op.name not in known:
            raise ExportError(
                f"{op.line}: the form {form} has no row for {called(op.name)}; it has "
                f"{', '.join(sorted(known))}. Use these instead, or deploy the run's "
                "model.safetensors with tinygen itself"
            )


def only_drawing(parts: Mapping[str, Packed], known: Collection[str], form: str) -> Packed:
    """What draws, for a form that does nothing else; ExportError if more is asked; see refuse."""
    if parts.keys() != {"draw"}:
        raise ExportError(f"the form {form} does not encode; export the part draw")
    refuse(parts["draw"], known, form)
    return parts["draw"]


def _numbers(graph: Graph) -> dict[Var, int]:
    """The number of each array: inputs, constants in the order in which they are met, the rest."""
    bodies = [op.body for op in graph.every() if op.body is not None]
    met = [v for op in graph.every() for v in op.args if v is not None]
    met += [v for each in (graph, *bodies) for v in each.outputs]
    constants = [v for v in met if v.const is not None]
    made = [v for op in graph.every() for v in op.outs]
    heads = [v for body in bodies for v in body.inputs]
    arrays = dict.fromkeys([*graph.inputs, *constants, *heads, *made])
    return {v: i for i, v in enumerate(arrays)}


def _constant(packed: Packed, v: Var) -> dict[str, Any]:
    assert v.const is not None
    if not v.shape:
        return {"shape": [], "value": v.const.item()}
    if v not in packed.stored:
        return {"shape": list(v.const.shape), "kind": _kind(v.const)}
    values = packed.stored[v].values
    return {"shape": list(values.shape), "kind": _kind(values)}


def _kind(values: NDArray[Any]) -> str:
    """How numbers are written: integers, and truths, as int32."""
    if values.dtype.kind == "f" or values.dtype == np.int8:
        return values.dtype.name
    return "int32"


def _operation(op: Op, number: dict[Var, int]) -> dict[str, Any]:
    out: dict[str, Any] = {
        "op": op.name, "args": [None if v is None else number[v] for v in op.args],
        "outs": [number[v] for v in op.outs], "shape": _sizes(op.outs[0].shape),
    }  # fmt: skip
    if op.body is not None:
        out["body"] = {
            "inputs": [number[v] for v in op.body.inputs],
            "operations": [_operation(inner, number) for inner in op.body.ops],
            "outputs": [number[v] for v in op.body.outputs],
        }
    for name, value in op.static.items():
        if isinstance(value, Window):
            out |= {
                "stride": list(value.stride), "dilation": list(value.dilation),
                "before": [before for before, _ in value.padding], "groups": value.groups,
            }  # fmt: skip
        elif isinstance(value, Turns):
            out[name] = [number[value.argument], value.a, value.b]
        elif name == "parts":
            out[name] = [_sizes(part) for part in value]
        elif name not in ("shape", "size", "keepdims"):  # the result's shape says it
            out[name] = list(value) if isinstance(value, tuple) else value
    return out


def _sizes(shape: Sequence[Any]) -> list[Any]:
    return [[k.a, k.b] if isinstance(k, Affine) else k for k in shape]
