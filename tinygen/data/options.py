"""Which images to train on, and how they are read: the options of `data.load`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..options import Options, option


def range_option(help: str) -> Any:
    """The option of a value range, wherever data are read."""
    return option(
        None, help=help, shown="found in the values", form="LOW,HIGH such as 0,4095",
        metavar="LOW,HIGH",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Source(Options):
    """What `load` takes, by the same names but for `data`; `load` itself checks it."""

    data: str = option(
        "strokes",
        help="strokes (built in), mnist, fashion-mnist, or the path of a folder with images or IDX "
        "files, of a .npy or .npz file.",
        metavar="NAME|PATH",
    )
    size: int | None = option(None, help="Scale images to this height and width.")
    channels: int | None = option(None, help="1 for grey, 3 for colour; converts.")
    n: int | None = option(None, help="How many training images.", shown="all; strokes 20,000")
    value_range: tuple[float, float] | None = range_option(
        "Values of black and white in arrays and in images of more than 8 bits."
    )
    paper: Literal["white", "black"] | None = option(
        None, help="Background of transparent images.", shown="the one on which they show"
    )
    skip_broken: bool = option(
        False, help="Leave out image files that cannot be read.", flags="--skip-broken"
    )
