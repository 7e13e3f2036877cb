"""Operations with several outputs: each output hangs, as a Part, on the node of the Call."""

from __future__ import annotations

from typing import Any

from .graph import Node
from .tensor import Tensor


class Call(Node):
    """The node of a call with several outputs, and the shape and dtype of each."""

    __slots__ = ("likes",)

    def __init__(self, *node: Any, likes: tuple[tuple[Any, Any], ...]) -> None:
        super().__init__(*node)
        self.likes = likes


class Part(Node):
    """The node of output number `index` of a call."""

    __slots__ = ("index",)

    def __init__(self, call: Call, index: int) -> None:
        super().__init__(PICK, (call,), None, None, {}, call.likes[index][0])
        self.index = index


class _Pick:
    """What makes a part of a call, as far as the walk back is concerned."""

    name = "pick"

    def pull(self, node: Part, g: Tensor, needed: Any) -> list[tuple[Node, Cotangents]]:
        """The cotangent of one output as the call's."""
        call: Any = node.parents[0]
        return [(call, Cotangents(g if i == node.index else None for i in range(len(call.likes))))]


PICK: Any = _Pick()


class Cotangents(tuple[Tensor | None, ...]):
    """A cotangent for each output of a call; None for an output that none has reached."""

    __slots__ = ()

    def __add__(self, other: Any) -> Cotangents:
        pairs = zip(self, other, strict=True)
        return Cotangents(b if a is None else a if b is None else a + b for a, b in pairs)

    def reached(self, outputs: Any) -> tuple[list[Tensor], list[Tensor]]:
        """The outputs that have a cotangent, and those."""
        pairs = [(y, g) for y, g in zip(outputs, self, strict=True) if g is not None]
        return [y for y, _ in pairs], [g for _, g in pairs]

    def whole(self, call: Call) -> tuple[Tensor, ...]:
        """With zeros in place of None."""
        one = next(g for g in self if g is not None)
        return tuple(
            one._zeros(*like) if g is None else g for g, like in zip(self, call.likes, strict=True)
        )


def outputs_of(call: Call, arrays: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """The outputs of a call, as tensors on its node."""
    return tuple(Tensor(a, Part(call, i)) for i, a in enumerate(arrays))
