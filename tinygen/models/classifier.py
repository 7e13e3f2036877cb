"""A small convolutional classifier (after LeCun, Bottou, Bengio and Haffner, 1998).

It draws nothing: it says what an image shows, p(y|x). Its last hidden layer describes an image in a
few numbers, and the measures of generated images (tinygen.metrics) compare those. The layers for
28 x 28 grey images of ten classes:

    28 x 28 x 1 -> 14 x 14 x 16 -> 7 x 7 x 32 -> 84 features -> 10 logits
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import losses, nn, optim
from ..graph import no_grad
from ..ops import softmax
from ..optim import Optimizer
from ..options import above, at_least, half_open, option
from ..random import Generator
from ..tensor import Tensor
from .base import ImageModel
from .contract import Describes, Figure
from .networks.convolutions import describer


class Classifier(ImageModel, Describes):
    """Convolutions of 5 x 5 with ReLU and average pooling, dense features, a logit for each class.

    For images of any size, grey or colour. Labels are for training only.
    """

    @dataclass(frozen=True, kw_only=True)
    class Options(ImageModel.Options):
        features: int = option(
            84, at_least(1), "Length of the description of an image, the last hidden layer."
        )
        width: float = option(1.0, above(0), "Scales the channels of the convolutions, 16 and 32.")
        dropout: float = option(0.4, half_open(0, 1), "Dropout before and after the features.")
        lr: float = option(1e-3, above(0), "Learning rate of Adam.", flags="")

    name = "classifier"
    parts = ("body", "head")
    unit = "percent right"
    conditional = True
    epochs = 8
    ema = 0.999

    options: Options

    def build(self) -> None:
        features, dropout = self.options.features, self.options.dropout
        self.described = features
        self.body = describer(self.ends, features, self.options.width, dropout)
        self.head = nn.Sequential(
            nn.Dropout(dropout, rng=self.dropout_rng),
            nn.Dense(features, self.classes, rng=self.init_rng),
        )

    def optimizers(self, lr: float | None = None) -> dict[str, Optimizer]:
        return {
            "classifier": optim.Adam(self.parameters(), lr=self.options.lr if lr is None else lr)
        }

    def logits(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, H, W, C)."""
        out: Tensor = self.head(self.body(self.check_images(x)))
        return out

    @no_grad()
    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, described) and class probabilities (B, classes) of images (B, H, W, C)."""
        features = self.body(self.check_images(image))
        return features, softmax(self.head(features), axis=-1)

    def train_step(
        self, x: Tensor, labels: Tensor | None, optimizers: dict[str, Optimizer]
    ) -> dict[str, Tensor]:
        loss = losses.cross_entropy(self.logits(x), labels)
        optimizers["classifier"].zero_grad()
        loss.backward()
        optimizers["classifier"].step()
        return {"loss": loss.detach()}

    @no_grad()
    def figures(self, batch: dict[str, Tensor], rng: Generator) -> dict[str, Figure]:
        """The accuracy: 100 for each image whose likeliest class is its label, else 0."""
        right = self.logits(batch["image"]).numpy().argmax(axis=1) == batch["label"].numpy()
        how = "all images of the split, the likeliest class against the label"
        return {"accuracy": Figure(self.place(100.0 * right), self.unit, True, how)}
