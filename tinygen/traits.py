"""What an operation is, as its declaration says; plans and exports go by this, never by its name.

    @primitive(moves="shape")
    def reshape(xp, x, *, shape): ...

tests/test_traits.py finds by its behaviour which operation has which trait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .primitive import Primitive

MOVES = ("shape", "axes", "spread", "joined")


class Traits(NamedTuple):
    """Traits of an operation.

    Attributes:
        pointwise: an element of the result is made of the elements at its place. Where the kernels
            have an expression for it, plans join it with others.
        draws: the result is random, a function of the `key`, `base` and `offset` of a Generator.
        copies: the result holds the argument's values, in memory of its own.
        moves: the result has the arguments' elements, all of them: "shape", in the same order, in
            another shape; "axes", with the axes in another order; "spread", repeated along axes;
            "joined", one array after the other.
        axes: the option `axis` may be several axes.
        places: arguments that are places along an axis, which may count from its end.
        product: the result is the matrix product of the two arguments.
        convolution: of (images, kernel, output) the places among the arguments and the result.
        update: which update of p by grad it does for an optimizer: "adam", "sgd", "momentum".
        ufunc: the reference is this function of the array module, which takes `out`.
    """

    pointwise: bool = False
    draws: bool = False
    copies: bool = False
    moves: str = ""
    axes: bool = False
    places: tuple[str, ...] = ()
    product: bool = False
    convolution: tuple[int, int, int] | None = None
    update: str = ""
    ufunc: str = ""

    @property
    def weighs(self) -> bool:
        """Whether the second argument is a matrix or a kernel that the first is multiplied by."""
        return self.product or (self.convolution is not None and self.convolution[1] == 1)

    @property
    def convolves(self) -> bool:
        """Whether the result is a convolution's output; else one of its gradients, or no part."""
        return self.convolution is not None and self.convolution[2] == 2


def check(p: Primitive) -> None:
    """Refuse an operation that draws, or updates for an optimizer, and does not say so."""
    draws, update = p.traits.draws, p.traits.update
    if draws != ({"key", "base"} <= {*p.args} and "offset" in p.defaults):
        raise TypeError(
            f"{p.name}: draws={draws}; an operation that draws is declared with draws=True, and "
            "takes the arrays key and base and the option offset of a Generator"
        )
    if bool(update) != (p.args[:2] == ["p", "grad"] and "p" in p.mutates):
        raise TypeError(
            f"{p.name}: update={update!r}; the update of an optimizer is declared with its name, "
            "such as update='adam', and writes into its first argument, p, by its second, grad"
        )
    if p.traits.moves not in ("", *MOVES):
        raise TypeError(f"{p.name}: moves={p.traits.moves!r}; expected one of {', '.join(MOVES)}")
    if not {*p.traits.places} <= p.nondiff:
        raise TypeError(
            f"{p.name}: places={p.traits.places}; places are array arguments without a gradient: "
            "name them in nondiff, too"
        )
