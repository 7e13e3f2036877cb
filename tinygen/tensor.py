"""Tensor: an array, the node that says how it was made, and its gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backend as backends
from .backend import Array, DeviceError
from .graph import Leaf, Node
from .spelling import called, spelled

if TYPE_CHECKING:
    from . import differentiate, ops, protocols
else:
    differentiate = ops = protocols = None  # they put themselves here when they are imported

Shape = int | Sequence[int]
_NUMBERS = frozenset((list, tuple, float, int, bool))  # what tensor() takes, and Tensor not


class Tensor:
    """An n-dimensional array that can remember how it was computed.

    Attributes:
        data: the array, NumPy's or another backend's. Do not write into it: nothing notices, and
            gradients that were recorded from it are then wrong.
        node: its place in the graph, or None if it carries no gradient.
    """

    __slots__ = ("__weakref__", "_frozen", "data", "node")  # _frozen: a frozen leaf's node
    name: str | None = None  # a Parameter has its path in the module here

    def __init__(self, data: Array, node: Node | None = None) -> None:
        if data.__class__ in _NUMBERS:
            raise TypeError(f"Tensor: data is {data!r:.60}, no array; write tg.tensor(...)")
        self.data = data
        self.node = node

    # ---- what it is --------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis; () of a single number."""
        return self.data.shape  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        """The number of elements, 1 of shape ()."""
        return self.data.size  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements, as NumPy has it: float32, int64, ..."""
        return self.data.dtype  # type: ignore[no-any-return]

    @property
    def backend(self) -> backends.Backend:
        """The backend that holds the array."""
        found = backends.of_type(type(self.data))
        if found is None:
            raise DeviceError(f"no loaded backend holds arrays of type {type(self.data)}")
        return found

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to or through this tensor; settable on leaves.

        Switched off, operations do not record the leaf, backward adds nothing to its `.grad`, and
        optimizers leave it alone. Its `.grad` and what was recorded before stay as they are:
        switched on again, all goes on as if it had never been off.
        """
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        if self.node is not None and self.node.primitive is not None:
            raise ValueError(
                "requires_grad can be set on leaves only; this tensor is the result of "
                f"{called(self.node.primitive.name)}; use .detach()"
            )
        if on and self.dtype.kind != "f":
            raise TypeError(
                f"a tensor of {self.dtype} carries no gradient; convert with .astype('float32')"
            )
        if on and self.node is None:
            leaf = getattr(self, "_frozen", None)
            self.node = leaf = leaf if leaf and leaf.shape == self.shape else Leaf(self.shape)
            leaf.frozen = False
        elif isinstance(self.node, Leaf) and not on:
            self.node.frozen = True
            self._frozen, self.node = self.node, None

    def owner(self) -> Array:
        """The array that owns the storage (views share it)."""
        return self.backend.owner(self.data)

    # ---- gradients ---------------------------------------------------------------------------

    @property
    def grad(self) -> Tensor | None:
        """After `backward`, the gradient of a leaf (or of one of its `inputs`) that carries one.

        None before it, and where no gradient is carried. The result of an operation keeps none,
        and raises AttributeError.
        """
        node = self.node or getattr(self, "_frozen", None)
        if node is None or node.grad is not None or node.primitive is None:
            return None if node is None else node.grad
        raise AttributeError(
            f"a tensor {self.shape} that is the result of {called(node.primitive.name)} has no "
            ".grad: backward keeps the gradients of leaves. For its gradient write "
            "tg.grad(loss, [y]). If it is a weight in a loop, make it a leaf again, "
            "w = (w - 0.1 * w.grad).detach(requires_grad=True), or take an optimizer"
        )

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        node = self.node or getattr(self, "_frozen", None)
        if self.node is None and value is not None:
            raise ValueError("a tensor without requires_grad has no .grad to set")
        if value is not None and value.shape != self.shape:
            raise ValueError(f"grad has shape {value.shape}, the tensor {self.shape}")
        if node is not None:
            node.grad = value

    def backward(
        self,
        grad: Any = None,
        inputs: Sequence[Tensor] | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
    ) -> None:
        """Add d self / d leaf to `.grad` of every leaf (or only of `inputs`).

        `grad` is the cotangent of this tensor, needed unless it holds one number.
        """
        differentiate.backward(
            self, grad, inputs, retain_graph=retain_graph, create_graph=create_graph
        )

    def detach(self, requires_grad: bool = False) -> Tensor:
        """The same values (sharing storage) outside the graph."""
        out = Tensor(self.data)
        if requires_grad:
            out.requires_grad = True
        return out

    # ---- to other forms ----------------------------------------------------------------------

    def numpy(self) -> Any:
        """The values as a NumPy array that cannot be written into: it may share storage.

        Give `x.numpy().copy()` for one of your own.
        """
        values = self.backend.to_host(self.data).view()
        values.flags.writeable = False
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if self.node is not None and not copy:  # np.array([x]) asks like np.asarray(x)
            protocols.refuse_result(self)
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def item(self) -> float | int | bool:
        """The value of a one-element tensor as a Python number."""
        if self.size != 1:
            raise ValueError(
                f"item: the tensor has shape {self.shape}; expected one element; for all of them "
                "write .tolist() or .numpy()"
            )
        return self.numpy().item()  # type: ignore[no-any-return]

    def tolist(self) -> Any:
        """The values as nested Python lists."""
        return self.numpy().tolist()

    def to(self, backend: str) -> Tensor:
        """The same values on another backend (itself if it is there already)."""
        target = backends.get(backend)
        if target is self.backend:
            return self
        if self.node is not None and self.node.primitive is not None:
            raise ValueError(
                f"to: gradients do not flow from {target.name!r} back to {self.backend.name!r}; "
                f"give x.detach().to({backend!r})"
            )
        return Tensor(target.asarray(self.numpy())).detach(requires_grad=self.requires_grad)

    def copy(self) -> Tensor:
        """A tensor outside the graph with storage of its own."""
        return ops.cast_discrete(self.detach(), dtype=self.dtype.name)

    def zeros_like(self) -> Tensor:
        """Zeros of the same shape, dtype and backend."""
        return ops.full_like(self, 0)

    def _zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
        """Zeros of another shape and dtype on the same backend."""
        return ops.create.full(shape=shape, value=0, dtype=dtype, backend=self.backend.name)

    def ones_like(self) -> Tensor:
        """Ones of the same shape, dtype and backend."""
        return ops.full_like(self, 1)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("a 0-d tensor has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: object) -> bool:
        return protocols.comparable(value) and bool((self == value).numpy().any())

    def __format__(self, spec: str) -> str:
        if spec and self.size != 1:
            raise ValueError(
                f"format: the tensor has shape {self.shape}; expected one element for {spec!r}; "
                "format the entries of x.tolist()"
            )
        return format(self.item(), spec) if spec else str(self)

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"an index must be an integer; the tensor is of {self.dtype}: int(x)")
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"a tensor of shape {self.shape} is no condition for `if`, `while`, `and` or "
                "`not`; expected one element. For each element write tg.where(condition, a, b); "
                "for one answer condition.numpy().all() or .any()"
            )
        return bool(self.item())

    def __repr__(self) -> str:
        text = protocols.shown(self, by=1)
        where = "" if self.backend.name == "numpy" else f", {self.backend.name}"
        flag = ", requires_grad=True" if self.requires_grad else ""
        named = f", name={self.name!r}" if self.name else ""
        return f"tensor({text}, shape={self.shape}, {self.dtype}{where}{flag}{named})"

    # ---- operators ---------------------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        return ops.add(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return ops.add(other, self)

    def __sub__(self, other: Any) -> Tensor:
        return ops.sub(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return ops.sub(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return ops.mul(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return ops.mul(other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return ops.div(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return ops.div(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return ops.power(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return ops.power(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return ops.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return ops.matmul(other, self)

    def __neg__(self) -> Tensor:
        return ops.neg(self)

    def __abs__(self) -> Tensor:
        return ops.abs(self)

    def __lt__(self, other: Any) -> Tensor:
        return ops.less(self, other)

    def __le__(self, other: Any) -> Tensor:
        return ops.less_equal(self, other)

    def __gt__(self, other: Any) -> Tensor:
        return ops.greater(self, other)

    def __ge__(self, other: Any) -> Tensor:
        return ops.greater_equal(self, other)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return ops.equal(self, other) if protocols.comparable(other) else NotImplemented

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return ops.not_equal(self, other) if protocols.comparable(other) else NotImplemented

    __hash__ = object.__hash__

    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            f"a tensor {self.shape} is not changed in place, as its gradient would be wrong; write "
            "tg.where(mask, value, x), or change the NumPy array before tg.tensor(array)"
        )

    # ---- methods for the functions of one array ------------------------------------------------

    @property
    def T(self) -> Tensor:  # noqa: N802
        """The transpose: the axes in reverse order."""
        return ops.transpose(self)

    def reshape(self, *shape: Any) -> Tensor:
        """`x.reshape(2, -1)` or `x.reshape((2, -1))`; see tinygen.reshape."""
        flat = shape[0] if len(shape) == 1 else shape
        return ops.reshape(self, flat)

    def transpose(self, *axes: Any) -> Tensor:
        """`x.transpose(1, 0, 2)`, `x.transpose((1, 0, 2))`, or all axes reversed."""
        flat = axes[0] if len(axes) == 1 and not isinstance(axes[0], (int, np.integer)) else axes
        return ops.transpose(self, axes=flat or None)

    if TYPE_CHECKING:  # tinygen.ops adds its METHODS, and these operators
        __mod__ = __floordiv__ = __and__ = __or__ = __xor__ = __add__
        __rmod__ = __rfloordiv__ = __rand__ = __ror__ = __rxor__ = __radd__
        __invert__ = __neg__

        def __getattr__(self, name: str) -> Any: ...


def as_array(data: Any, dtype: Any = None) -> Array:
    """Data as an array on the current backend: floats become float32 unless float64."""
    target = backends.current()
    if isinstance(data, Tensor):
        data = data.data if data.backend is target else data.numpy()
    if data.__class__ is not target.array_type:
        protocols.refuse_lost(data)
    if not isinstance(data, target.array_type):
        listed = not isinstance(data, (np.ndarray, np.generic))
        try:
            data = np.asarray(data)
        except ValueError as error:
            raise ValueError(f"tensor: the rows differ in length: {error}") from None
        if listed and data.dtype == np.float64 and dtype is None:
            dtype = np.float32  # Python's own floats
    kind, size = data.dtype.kind, data.dtype.itemsize
    if kind not in "fiub":
        raise TypeError(
            f"tensor: values of type {data.dtype} are not numbers that tinygen computes with; "
            "expected floats, integers or booleans"
        )
    wanted = np.dtype(dtype) if dtype is not None else data.dtype
    if dtype is None and kind == "f" and size not in (4, 8):
        wanted = np.dtype(np.float32)
    if wanted.kind not in "fiub" or (wanted.kind == "f" and wanted.itemsize not in (4, 8)):
        raise TypeError(f"tensor: dtype {wanted} is not supported; use float32 or float64")
    array = target.asarray(data, dtype=wanted.newbyteorder("="))
    if wanted.kind in "iu" and wanted != data.dtype and isinstance(data, (np.ndarray, np.generic)):
        protocols.refuse_overflow(data, wanted)
    return array


@spelled
def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor holding a copy of `data` (numbers, lists, arrays) on the current backend.

    Floats become float32, except float64 arrays, which stay; integers and booleans keep their
    type. Raises TypeError for data that are not numbers, and for what a copy would lose: the mask
    of a masked array, the gradient of a recorded result.
    """
    if isinstance(data, Tensor) and data.node is not None and data.node.primitive is not None:
        protocols.refuse_lost([data])
    out = Tensor(as_array(data, dtype))
    if requires_grad:
        out.requires_grad = True
    return out


def as_tensor(data: Any) -> Tensor:
    """`data` itself if it is a Tensor, else `tensor(data)`."""
    return data if isinstance(data, Tensor) else tensor(data)


@spelled
def zeros(shape: Shape, dtype: Any = "float32") -> Tensor:
    """A tensor of zeros."""
    return ops.create.filled(shape, 0.0, dtype or "float64")


@spelled
def ones(shape: Shape, dtype: Any = "float32") -> Tensor:
    """A tensor of ones."""
    return ops.create.filled(shape, 1.0, dtype or "float64")


@spelled
def full(shape: Shape, value: float, dtype: Any = None) -> Tensor:
    """A tensor of one repeated value; a float gives float32 unless dtype says otherwise."""
    protocols.refuse_lost((value,))
    return ops.create.filled(shape, value, dtype)


@spelled
def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None) -> Tensor:
    """start, start + step, ... up to but excluding stop; integers give int64, floats float32."""
    span = (0, start) if stop is None else (start, stop)
    return ops.create.counted(span[0], span[1], step, dtype)
