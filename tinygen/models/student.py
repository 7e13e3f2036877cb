"""A flow in one step: a student learns from what its teacher drew (Luhman and Luhman, 2021, arXiv
2101.02388), and from a critic.

The teacher, a trained flow, draws a picture x for noise z and a label y, in many steps and with
guidance. Student and teacher have the same network. The student begins with the teacher's weights
and learns the whole way at once, from its start at t = 0:

    x' = z + v(z, 0, y),    loss = E |x' - x| + E |x' - x|^2 + c E log(1 + exp(-D(x', y))).

The pairs (z, y) -> x are drawn before. They say which picture belongs to which noise, and where the
network cannot express that, the first two terms ask for the middle of what is possible: blur. The
last term asks for what the critic D takes for an image of the data. D learns beside the student to
tell the two apart, as in the adversarial models, with a penalty on its slope. The critic sees
pixels and labels only: no network that images are measured with has a part in the training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import losses, optim
from ..ops import abs as absolute
from ..ops import clip, one_hot, square
from ..ops.create import full
from ..optim import Optimizer
from ..options import Options as BaseOptions
from ..options import above, at_least, option
from ..tensor import Tensor
from .adversarial import r1_of_some
from .contract import Column, Losses, Stage, minimise
from .flow import NoiseToImage
from .networks import Ends
from .networks.pyramid import LabelledPlayers, Players
from .registry import register

PAIRS = "pairs"  # the data set that holds the teacher's drawings
REAL = "real"  # the one of the critic: what the teacher learned from
R1 = 1.0  # weight of the penalty on the critic's slope at real images


@dataclass(frozen=True, kw_only=True)
class Options(BaseOptions):
    """Whose student it is, and how it learns. The network is that of the teacher."""

    width: int = option(32, at_least(1), "Channels of the U-Net at half size.", flags="")
    blocks: int = option(1, at_least(1), "Residual blocks at each size.", flags="")
    teacher: str = option("", help="The folder of its teacher.", flags="")
    sha256: str = option("", help="Of the teacher's model.safetensors.", flags="")
    pairs: int = option(10_000, at_least(2), "How many pictures the teacher draws.")
    drawn: str = option("", help="The settings that the teacher draws with.", flags="")
    critic: float = option(0.0, at_least(0), "Weight of the critic's verdict; 0 for no critic.")
    lr: float = option(1e-3, above(0), "Learning rate of Adam.", flags="")


class Student(NoiseToImage):
    """One step from noise to a picture, learned from the drawings of a flow.

    `critic` is the weight c; a run of a version without one has 0, and no critic.
    """

    name, Options = "student", Options
    epochs = 10

    def build(self) -> None:
        super().build()
        if self.options.critic:
            kind = LabelledPlayers if self.known else Players
            ends = Ends(self.name, self.shape, 0, self.known, self.init_rng, self.dropout_rng)
            self.critic = kind.discriminator(ends, kind.Options(width=self.options.width / 64))
            self.game = losses.gan("non_saturating")

    def describe(self) -> dict[str, Any]:
        told = super().describe()
        if not self.options.critic:
            del told["options"]["critic"]  # runs from before there was one go on
        return told

    def stages(self) -> tuple[Stage, ...]:
        reads: tuple[Column, ...] = (
            Column("noise", "words", PAIRS), Column("image", source=PAIRS, range=self.value_range),
        )  # fmt: skip
        reads += tuple(Column("label", "label", PAIRS, count=self.known) for _ in self.given)
        if self.options.critic:
            reads += (Column("real", source=REAL, field="image", range=self.value_range),)
            reads += tuple(
                Column("real label", "label", REAL, "label", count=self.known) for _ in self.given
            )
        learns = ("net", "critic") if self.options.critic else ("net",)
        return (
            Stage(
                "learn", reads, learns, self.step, self.optimizers, None, self.epochs,
                self.batch_size, ema=self.ema, averages=("net",), course=self.course,
                clip=self.clip,
            ),
        )  # fmt: skip

    def optimizers(self, lr: float | None) -> dict[str, Optimizer]:
        """Adam for the student and, if it has one, for its critic."""
        found = super().optimizers(lr)
        if self.options.critic:
            lr = self.options.lr if lr is None else lr
            found["critic"] = optim.Adam(self.critic.parameters(), lr=lr, betas=(0.5, 0.99))
        return found

    def step(self, batch: dict[str, Tensor], optimizers: dict[str, Optimizer]) -> Losses:
        """One update of the student, and one of its critic if it has one."""
        label = batch.get("label")
        drawn = self.whole_way(batch["noise"], label)
        off = drawn - batch["image"]
        loss = (absolute(off) + square(off)).mean()
        told = {"loss": loss.detach()}
        if self.options.critic:
            shown = clip(drawn, low=-1.0, high=1.0)
            told["critic"] = self.teach(batch, shown.detach(), optimizers["critic"])
            verdict = self.game.generator(self.score(shown, label))
            told["verdict"] = verdict.detach()
            loss = loss + self.options.critic * verdict
        optimizers["net"].zero_grad()
        loss.backward(inputs=self.net.parameters())
        optimizers["net"].step()
        return told

    # ---- the critic --------------------------------------------------------------------------

    def score(self, x: Tensor, label: Tensor | None) -> Tensor:
        """How sure the critic is that these are images of the data, and of their labels: (n, 1)."""
        logits: Tensor = self.critic(
            x, *(() if label is None else (one_hot(label, self.known, x.dtype.name),))
        )
        return logits

    def teach(self, batch: dict[str, Tensor], drawn: Tensor, optimizer: Optimizer) -> Tensor:
        """One update of the critic; its loss."""
        real, label = batch["real"], batch.get("real label")
        judged = self.score(real, label), self.score(drawn, batch.get("label"))
        loss = self.game.discriminator(*judged)
        slope = r1_of_some(self.score, real, label)
        minimise(loss + R1 * slope, {"critic": optimizer})
        detached: Tensor = loss.detach()
        return detached

    # ---- drawing -----------------------------------------------------------------------------

    def whole_way(self, noise: Tensor, label: Tensor | None) -> Tensor:
        """noise + v(noise, 0, label)."""
        start = full(shape=(), value=0.0, dtype=noise.dtype, backend=noise.backend.name)
        way: Tensor = noise + self.net(noise, start, label)
        return way

    def draw(self, noise: Tensor | None, *, label: Tensor | None = None) -> Tensor:
        assert noise is not None
        return clip(self.whole_way(noise, self.check_label(noise, label)), low=-1.0, high=1.0)


register(Student, command="distill")
