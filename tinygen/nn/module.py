"""Modules: layers and networks that hold parameters, running state and generators."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, TypeVar

import numpy as np

from .. import spelling
from ..backend import XP, Array
from ..graph import no_grad
from ..primitive import primitive
from ..random import Generator
from ..tensor import Tensor, as_array

T = TypeVar("T")


def _own_array(data: Any) -> Array:
    """A contiguous array of its own holding `data`: what is updated in place is written flat."""
    array = as_array(data)
    return array if array.flags.c_contiguous else array.copy(order="C")


class Parameter(Tensor):
    """A leaf tensor that training changes; a Module finds it among its attributes.

    Its `data` is written into by optimizers and never replaced. Floats become float32 unless
    float64; `name` is its path in the module that last listed it.

    Args:
        data: numbers, an array or a tensor; copied.

    Raises:
        TypeError: integers or booleans, which carry no gradient.
    """

    __slots__ = ("claim", "name")

    def __init__(self, data: Any) -> None:
        super().__init__(_own_array(data))
        self.requires_grad = True
        self.name = None
        self.claim: object = None  # the mark of the optimizer that updates it


class Buffer(Tensor):
    """Running state of a module: saved and loaded with it, but not trained."""

    __slots__ = ("name",)

    def __init__(self, data: Any) -> None:
        super().__init__(_own_array(data))
        self.name = None


# ---- named arrays: saving and loading ------------------------------------------------------------


def require(who: str, name: str, value: Any, holds: bool, expected: str) -> None:
    """ValueError for a value out of its range."""
    if not holds:
        raise ValueError(f"{who}: {name} is {value!r}; expected {expected}")


@primitive(mutates=("target",))
def assign(xp: XP, target: Array, source: Array) -> Array:
    """target = source, in place."""
    target[...] = source
    return target


@assign.check
def _(target: Array, source: Array) -> None:
    if target.shape != source.shape or target.dtype != source.dtype:
        raise ValueError(
            f"assign: source {source.shape} {source.dtype} does not fit target {target.shape} "
            f"{target.dtype}; expected the same shape and dtype"
        )


def arrays_of(held: Mapping[str, Tensor]) -> dict[str, Any]:
    """A NumPy copy of each tensor, by name."""
    return {name: np.array(x.numpy()) for name, x in held.items()}


def restore(who: str, held: Mapping[str, Tensor], state: Mapping[str, Any], strict: bool) -> None:
    """Write the arrays in `state` into the tensors of the same names, all of them or none."""
    given = {k: np.asarray(v.numpy() if isinstance(v, Tensor) else v) for k, v in state.items()}
    both = [name for name in held if name in given]
    kinds = [(name, *(f"{x[name].shape} {x[name].dtype}" for x in (given, held))) for name in both]
    wrong = [f"{name} is {got}, expected {wanted}" for name, got, wanted in kinds if got != wanted]
    problems = {
        "missing": [name for name in held if name not in given] if strict else [],
        "unexpected": [name for name in given if name not in held] if strict else [],
        "mismatched": wrong,
    }
    words = [f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names]
    if words:
        hint = "; strict=False ignores missing and unexpected names" if not wrong else ""
        raise ValueError(
            f"{who}: the state does not fit; {'; '.join(words)}. Nothing was changed; expected "
            f"the state of the same architecture{hint}"
        )
    with no_grad():
        for name in both:
            assign(held[name], Tensor(held[name].backend.asarray(given[name])))


# ---- modules -------------------------------------------------------------------------------------


def _walk(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Whatever `value` holds, itself included, with paths; each thing once, in the order set."""
    members: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Module):
        members = value.members().items()
    elif isinstance(value, dict):
        members = value.items()
    elif isinstance(value, (list, tuple)):
        members = enumerate(value)
    elif isinstance(value, (set, frozenset)):
        if any(isinstance(v, (Module, Parameter, Buffer)) for v in value):
            raise TypeError(f"{path}: modules in a set, whose order varies; keep them in a list")
        return
    elif not isinstance(value, (Parameter, Buffer, Generator)):
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    yield path, value
    for key, member in members:
        yield from _walk(member, f"{path}.{key}" if path else str(key), seen)


class Module:
    """A function with parameters: subclass it, set attributes, and define `forward`.

    Parameters, buffers, generators and modules are found among the attributes, also in lists,
    tuples and dicts, in the order in which they were set. A thing held twice is listed once.
    Calling super().__init__() is not needed.

    Attributes:
        training: whether layers such as Dropout behave as in training; see train and eval.
        shown: names of the attributes between the parentheses where the module is printed.
    """

    training: bool = True
    shown: tuple[str, ...] = ()

    def __new__(cls, *args: Any, **options: Any) -> Self:
        spelling.constructed(cls, args, options)
        return super().__new__(cls)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; defined by each subclass."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # ---- what it holds ---------------------------------------------------------------------------

    def members(self) -> dict[str, Any]:
        """What is searched for modules, parameters, buffers and generators: the attributes."""
        return vars(self)

    def _named(self, *kinds: type[T]) -> dict[str, T]:
        found: dict[str, T] = {}
        for path, held in _walk(self, "", set()):
            if isinstance(held, kinds):
                if path in found:
                    who = type(self).__name__
                    raise ValueError(f"{who}: two attributes have the path {path!r}; rename one")
                found[path] = held
                if isinstance(held, (Parameter, Buffer)):
                    held.name = path
        return found

    def named_modules(self) -> dict[str, Module]:
        """Every module by its path, this one first under the path ''."""
        return self._named(Module)

    def named_parameters(self) -> dict[str, Parameter]:
        """Every parameter by its path, for example "0.weight"; also sets their `name`."""
        return self._named(Parameter)

    def parameters(self) -> list[Parameter]:
        """Every parameter, in the order of named_parameters."""
        return list(self.named_parameters().values())

    def named_buffers(self) -> dict[str, Buffer]:
        """Every buffer (running state) by its path; also sets their `name`."""
        return self._named(Buffer)

    def buffers(self) -> list[Buffer]:
        """Every buffer, in the order of named_buffers."""
        return list(self.named_buffers().values())

    def named_generators(self) -> dict[str, Generator]:
        """Every random generator by its path: what a checkpoint needs beside the state_dict."""
        return self._named(Generator)

    # ---- training --------------------------------------------------------------------------------

    def train(self, on: bool = True) -> Self:
        """Switch this module and all in it to training (or not); returns itself."""
        for module in self.named_modules().values():
            module.training = on
        return self

    def eval(self) -> Self:
        """Switch this module and all in it to evaluation; returns itself."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradient of every parameter."""
        for parameter in self.parameters():
            parameter.grad = None

    # ---- saving and loading ----------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Parameters and buffers by path, as NumPy copies."""
        return arrays_of(self._named(Parameter, Buffer))

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Write arrays into the parameters and buffers of the same names, in place.

        Args:
            state: name -> array, as state_dict returns.
            strict: names must be the same on both sides; else only common names are loaded.

        Raises:
            ValueError: names are missing or unexpected, or a shape or dtype differs. All of it
                is checked before anything is written.
        """
        held = self._named(Parameter, Buffer)
        restore(f"{type(self).__name__}.load_state_dict", held, state, strict)

    # ---- printing --------------------------------------------------------------------------------

    def label(self) -> str:
        """The module's name and main arguments, for example "Dense(784, 400)"."""
        return f"{type(self).__name__}({', '.join(str(getattr(self, a)) for a in self.shown)})"

    def __repr__(self) -> str:
        """A tree of modules with the shapes and the number of their parameters."""
        modules = self.named_modules()
        tensors: dict[str, dict[str, Tensor]] = {path: {} for path in modules}
        for path, x in self._named(Parameter, Buffer).items():
            home = _home(path, modules)
            tensors[home][path.removeprefix(f"{home}.")] = x
        rows = [("", "", "parameters")]
        depth = {"": 0}
        for path, module in modules.items():
            head = module.label()
            if path:
                home = _home(path, modules)
                depth[path] = depth[home] + 1
                head = f"{'  ' * depth[path]}{path.removeprefix(f'{home}.')}: {head}"
            shapes = ", ".join(f"{name} {x.shape}" for name, x in tensors[path].items())
            count = _count(tensors[path].values())
            rows.append((head, shapes, f"{count:,}" if count else ""))
        rows.append(("total", "", f"{_count(self.parameters()):,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return "\n".join(
            f"{a.ljust(widths[0])}  {b.ljust(widths[1])}  {c.rjust(widths[2])}".rstrip()
            for a, b, c in rows
        )


def _home(path: str, modules: Iterable[str]) -> str:
    """The path of the module that holds what is at `path`."""
    return max((m for m in modules if path.startswith(f"{m}.")), key=len, default="")


def _count(tensors: Iterable[Tensor]) -> int:
    return sum(x.size for x in tensors if isinstance(x, Parameter))
