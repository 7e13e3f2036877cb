"""A flow in one step: a student learns from what its teacher drew (Luhman and Luhman, 2021, arXiv
2101.02388).

The teacher, a trained flow, draws a picture x for noise z and a label y, in many steps and with
guidance. Student and teacher have the same network. The student begins with the teacher's weights
and learns the whole way at once, from its start at t = 0:

    x' = z + v(z, 0, y),    loss = E |x' - x| + E |x' - x|^2,

over pairs (z, y) -> x that are drawn before. Each pair is a function, so that there is nothing to
average over but what the network cannot express.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ops import abs as absolute
from ..ops import clip, square
from ..ops.create import full
from ..optim import Optimizer
from ..options import Options as BaseOptions
from ..options import above, at_least, option
from ..tensor import Tensor
from .contract import Column, Losses, Stage, minimise
from .flow import NoiseToImage
from .registry import register

PAIRS = "pairs"  # the data set that holds the teacher's drawings


@dataclass(frozen=True, kw_only=True)
class Options(BaseOptions):
    """Whose student it is, and how it learns. The network is that of the teacher."""

    width: int = option(32, at_least(1), "Channels of the U-Net at half size.", flags="")
    blocks: int = option(1, at_least(1), "Residual blocks at each size.", flags="")
    teacher: str = option("", help="The folder of its teacher.", flags="")
    sha256: str = option("", help="Of the teacher's model.safetensors.", flags="")
    pairs: int = option(20_000, at_least(2), "How many pictures the teacher draws.")
    drawn: str = option("", help="The settings that the teacher draws with.", flags="")
    lr: float = option(5e-4, above(0), "Learning rate of Adam.", flags="")


class Student(NoiseToImage):
    """One step from noise to a picture, learned from the drawings of a flow."""

    name, Options = "student", Options
    epochs = 20

    def stages(self) -> tuple[Stage, ...]:
        label = tuple(Column("label", "label", PAIRS, count=self.known) for _ in self.given)
        reads = (
            Column("noise", "words", PAIRS), Column("image", source=PAIRS, range=self.value_range),
            *label,
        )  # fmt: skip
        return (
            Stage(
                "learn", reads, ("net",), self.step, self.optimizers, None, self.epochs,
                self.batch_size, ema=self.ema, course=self.course, clip=self.clip,
            ),
        )  # fmt: skip

    def step(self, batch: dict[str, Tensor], optimizers: dict[str, Optimizer]) -> Losses:
        off = self.whole_way(batch["noise"], batch.get("label")) - batch["image"]
        loss = (absolute(off) + square(off)).mean()
        minimise(loss, optimizers)
        return {"loss": loss.detach()}

    def whole_way(self, noise: Tensor, label: Tensor | None) -> Tensor:
        """noise + v(noise, 0, label)."""
        start = full(shape=(), value=0.0, dtype=noise.dtype, backend=noise.backend.name)
        way: Tensor = noise + self.net(noise, start, label)
        return way

    def draw(self, noise: Tensor | None, *, label: Tensor | None = None) -> Tensor:
        assert noise is not None
        return clip(self.whole_way(noise, self.check_label(noise, label)), low=-1.0, high=1.0)


register(Student, command="distill")
