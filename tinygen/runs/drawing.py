"""What to draw with a trained model, as the command line asks for it."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import SEED, Options, at_least, option


@dataclass(frozen=True, kw_only=True)
class Drawing(Options):
    """What to draw with a trained model; see the methods of Run."""

    n: int = option(64, at_least(1), "How many images.")
    label: str | None = option(
        None, help="Draw this class, by its name or number.", shown="all, for models with labels"
    )
    seed: int = option(0, SEED, "Image i of a seed is always the same.")
    interpolate: bool = option(
        False, help="Rows that turn from one image into another.", flags="--interpolate"
    )
    traverse: bool = option(
        False, help="Rows in which one entry of the code changes.", flags="--traverse"
    )
    film: bool = option(
        False, help="A picture that moves: from noise to images, step by step.", flags="--film"
    )
    vary: str | None = option(
        None, help="Columns that differ in a setting, such as guidance=0,1,2,4.",
        metavar="NAME=VALUES",
    )  # fmt: skip
    around: str | None = option(None, help="Draw variations of this image (VAEs).", metavar="FILE")
    spread: float = option(1.0, at_least(0), "With --around: how far they vary.")
    set: tuple[str, ...] | None = option(
        None, help="A setting of the model's drawings, such as steps=50. Once for each.",
        metavar="NAME=VALUE",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        ways = (self.interpolate, self.traverse, self.film, self.vary, self.around is not None)
        if sum(map(bool, ways)) > 1:
            raise ValueError("choose one of --interpolate, --traverse, --film, --vary and --around")
