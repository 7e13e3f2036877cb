"""Matrix products of a plan, with what can be done while their blocks are in a core's cache.

1. A group of elementwise operations that a product feeds runs on each finished block of it.
2. A sum of products (the gradient of a weight that was used twice) is one product.
3. Adam of a weight takes the gradient strip by strip from its product: it is never stored.
4. Products of one weight (a network applied to real and to fake images) run side by side, so that
   the weight is read once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..backend import Backend
from ..trace.record import Call, Storage, Value
from .fuse import Fusion, position


@dataclass(eq=False)
class Products:
    """Several products as one call.

    Attributes:
        parts: products of one layout, alone or with a group of elementwise operations.
        total: the value of their sum; None for products of one right-hand side.
        update: the call of Adam that takes the sum, which then is not stored.
    """

    parts: list[Call]
    total: Value | None = None
    update: Call | None = None
    source: str = field(default="", init=False)

    @property
    def mutated(self) -> tuple[Value, ...]:
        return () if self.update is None else tuple(self.update.mutated)

    @property
    def names(self) -> list[str]:
        names = [name for part in self.parts for name in part.names]
        return names if self.update is None else [*names, self.update.primitive.name]

    @property
    def products(self) -> list[Call]:
        return [product for part in self.parts for product in part.products]

    def __str__(self) -> str:
        count = f"{len(self.parts)} x " if len(self.parts) > 1 else ""
        last = "" if self.update is None else f"+{self.update.primitive.name}"
        return f"{count}{self.parts[0].name}{last}"

    def call(self) -> Call:
        """The call that stands for all."""
        first = self.parts[0]
        args = [v for part in self.parts for v in part.args]
        outs = [v for part in self.parts for v in part.outs]
        if self.total is not None:
            outs = [self.total] if self.update is None else []
        line = self.parts[-1].line
        if self.update is not None:
            args += [v for v in self.update.args if v != self.total]
            line = self.update.line
        return Call(first.primitive, args, {}, outs, line, self)

    def bind(self, arrays: list[Any], outs: list[Any], backend: Backend) -> Any:
        """The kernel on its memory."""
        from tinygen_kernels.cpu import matmul, optim

        xs, ys, ends, targets, keep = [], [], [], [], []
        for part in self.parts:
            n, m = len(part.args), len(part.outs)
            mine, arrays = arrays[:n], arrays[n:]
            xs.append(mine[0])
            ys.append(mine[1])
            if self.total is None:
                made = (
                    part.fused.loop(mine[2:], outs[:m], backend) if part.fused is not None else None
                )
                ends.append((0, 0) if made is None else (made.block.address, _address(made.args)))
                targets.append(outs[m - 1].reshape(part.products[0].outs[0].shape))
                outs = outs[m:]
                keep.append(made)
        update = None
        if self.update is not None:
            update = optim.adam_of_product(*arrays, **self.update.static)
        elif self.total is not None:
            targets = [outs[0]]
        self.source = "\n".join(p.fused.source for p in self.parts if p.fused is not None)
        call = matmul.products(xs, ys, targets, epilogues=ends or None, update=update)
        call.keep = (call.keep, keep)
        return call


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def join(calls: list[Call], needed: set[Storage]) -> list[Call]:
    """The passes on products that have their groups."""
    calls = _summed(calls, needed)
    calls = _updating(calls, needed)
    calls = _side_by_side(calls)
    return [Products([call]).call() if _is_hosted(call) else call for call in calls]


def _is_hosted(call: Call) -> bool:
    return isinstance(call.fused, Fusion) and call.fused.product is not None


def _plain(call: Call) -> bool:
    """Whether a call is a product of two matrices and nothing else, fit for the kernel."""
    if call.fused is not None or not call.primitive.traits.product:
        return False
    values = [*call.args, *call.outs]
    return (
        all(isinstance(v, Value) and len(v.shape) == 2 and v.size for v in values)
        and len({v.dtype.name for v in values} & {"float32", "float64"}) == 1
        and all(s >= 0 and s % v.dtype.itemsize == 0 for v in values for s in v.strides)
        and all(v.dtype.itemsize in v.strides for v in values)
        and call.outs[0].contiguous
    )


def _layout(call: Call) -> tuple[Any, ...]:
    return tuple((v.shape, v.strides, v.dtype) for v in (*call.args[:2], call.outs[-1]))


def _may_wait(calls: list[Call], back: int, at: int) -> bool:
    """Whether the product at `back` may run at `at` instead."""
    made, reads = set(calls[back].writes()), set(calls[back].reads())
    for between in calls[back + 1 : at]:
        if not made.isdisjoint(between.reads()):
            return False
        if not reads.isdisjoint(v.storage for v in between.mutated):
            return False
    return True


def _readers(calls: list[Call], storage: Storage) -> list[int]:
    return [i for i, call in enumerate(calls) if storage in set(call.reads())]


# ---- a group at the end of a product -------------------------------------------------------------


def host(calls: list[Call], needed: set[Storage]) -> list[Call]:
    """Groups joined to the product that made one of their inputs."""
    calls = list(calls)
    at = 0
    while at < len(calls):
        call = calls[at]
        if isinstance(call.fused, Fusion) and call.fused.product is None:
            for back in range(at - 1, -1, -1):
                if _hosts(calls[back], call.fused) and _may_wait(calls, back, at):
                    calls[at] = _joined(calls[back], call, calls, at, needed)
                    del calls[back]
                    at -= 1
                    break
        at += 1
    return calls


def _hosts(product: Call, fusion: Fusion) -> bool:
    """Whether a call is a matrix product that fills an input of the group."""
    if not _plain(product):
        return False
    made = product.outs[0]
    if made.shape != fusion.grid:
        return False
    mine = [position(v) == position(made) for v in fusion.inputs if v.storage is made.storage]
    return bool(mine) and all(mine)  # a part of it would be read before it is whole


def _joined(product: Call, call: Call, calls: list[Call], at: int, needed: set[Storage]) -> Call:
    """One call for a product and its group; the last out is the memory of the product itself."""
    fusion: Fusion = call.fused
    made = product.outs[0]
    later = any(made.storage in set(c.reads()) for c in calls[at + 1 :])
    outputs = list(fusion.outputs)
    same = [v for v in outputs if v.storage.nbytes == made.storage.nbytes and v.dtype == made.dtype]
    memory = made
    if not later and made.storage not in needed and same:
        memory = replace(same[0], shape=made.shape, strides=made.strides)  # written in its place
    own = position(made)
    inputs = [memory if position(v) == own else v for v in fusion.inputs]
    hosted = Fusion(fusion.members, fusion.inputs, fusion.outputs, fusion.grid, product)
    args = [*product.args, *inputs]
    return Call(product.primitive, args, {}, [*outputs, memory], call.line, hosted)


# ---- sums, and Adam ------------------------------------------------------------------------------


def _summed(calls: list[Call], needed: set[Storage]) -> list[Call]:
    """A product that only adds other products to itself, with these, as one."""
    calls = list(calls)
    at = 0
    while at < len(calls):
        found = _terms(calls, at, needed)
        if found:
            terms, call = [calls[i] for i in found], calls[at]
            terms.append(call.products[0])
            calls[at] = Products(terms, call.fused.outputs[0]).call()
            for i in reversed(found):
                del calls[i]
            at -= len(found)
        at += 1
    return calls


def _terms(calls: list[Call], at: int, needed: set[Storage]) -> list[int]:
    """The products that the one at `at` adds to itself; none if it does anything else."""
    call = calls[at]
    fusion = call.fused
    if not isinstance(fusion, Fusion) or fusion.product is None or len(fusion.outputs) != 1:
        return []
    if any(member.primitive.traits.ufunc != "add" for member in fusion.members):
        return []
    product, out = fusion.product, fusion.outputs[0]
    if len(fusion.members) != len(fusion.inputs) - 1 or out.shape != product.outs[0].shape:
        return []
    found = []
    for v in fusion.inputs:
        if position(v) == position(product.outs[0]):
            continue
        makers = [i for i in range(at) if v.storage in set(calls[i].writes())]
        if len(makers) != 1 or v.storage in needed or _readers(calls, v.storage) != [at]:
            return []
        maker = calls[makers[0]]
        if not _plain(maker) or _layout(maker) != _layout(product):
            return []
        if v != maker.outs[0] or not _may_wait(calls, makers[0], at):
            return []
        found.append(makers[0])
    return sorted(found)


def _updating(calls: list[Call], needed: set[Storage]) -> list[Call]:
    """Adam joined to the product, or the sum of products, that makes its gradient."""
    calls = list(calls)
    at = 0
    while at < len(calls):
        call = calls[at]
        back = _gradient(calls, at, needed) if call.primitive.traits.update == "adam" else None
        if back is not None:
            product = calls[back]
            parts = [product] if product.fused is None else product.fused.parts
            calls[at] = Products(parts, product.outs[0], call).call()
            del calls[back]
            at -= 1
        at += 1
    return calls


def _gradient(calls: list[Call], at: int, needed: set[Storage]) -> int | None:
    """Where the gradient of the update at `at` is made, if by products for it alone."""
    call = calls[at]
    if call.fused is not None:
        return None
    p, grad, m, v = call.args[:4]
    made_here = [i for i in range(at) if grad.storage in set(calls[i].writes())]
    if len(made_here) != 1 or grad.storage in needed or _readers(calls, grad.storage) != [at]:
        return None
    back = made_here[0]
    product = calls[back]
    sums = isinstance(product.fused, Products) and product.fused.total is not None
    fits = all(x.contiguous and x.shape == p.shape and x.dtype == p.dtype for x in (p, grad, m, v))
    if not (sums or _plain(product)) or not fits or product.outs[0] != grad:
        return None
    return back if _may_wait(calls, back, at) else None


# ---- products of one weight ----------------------------------------------------------------------


def _side_by_side(calls: list[Call]) -> list[Call]:
    """Products of the same right-hand side at the place of the first of them.

    What the later one needs and the first does not give is moved up before it.
    """
    calls = list(calls)
    at = 0
    while at < len(calls):
        call = calls[at]
        if _shares(call):
            for back in range(at - 1, -1, -1):
                before = calls[back]
                if call.args[1].storage in {v.storage for v in before.mutated}:
                    break
                if not _shares(before) or before.args[1] != call.args[1]:
                    continue
                moved = None if _layout(before) != _layout(call) else _needed(calls, back, at)
                if moved is not None:
                    together = isinstance(before.fused, Products)
                    parts = [*(before.fused.parts if together else [before]), call]
                    stay = [c for i, c in enumerate(calls) if i > back and i not in moved]
                    stay = [c for c in stay if c is not call]
                    up = [calls[i] for i in moved]
                    calls = [*calls[:back], *up, Products(parts).call(), *stay]
                    at -= 1
                    break
        at += 1
    return calls


def _shares(call: Call) -> bool:
    """Whether a call is a product that others with its right-hand side may join."""
    if isinstance(call.fused, Products):
        return call.fused.total is None
    return _is_hosted(call) or _plain(call)


def _needed(calls: list[Call], back: int, at: int) -> list[int] | None:
    """The calls between two that the later needs; None if it cannot move up to the earlier."""
    reads = set(calls[at].reads())
    found: list[int] = []
    for i in range(at - 1, back, -1):
        if not reads.isdisjoint(calls[i].writes()):
            if calls[i].mutated:
                return None
            found.append(i)
            reads.update(calls[i].reads())
    return found[::-1] if reads.isdisjoint(calls[back].writes()) else None
