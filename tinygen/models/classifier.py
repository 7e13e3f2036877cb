"""A small convolutional classifier (after LeCun, Bottou, Bengio and Haffner, 1998).

It draws nothing: it says what an image shows, p(y|x). Its last hidden layer describes an image in a
few numbers, and the measures of generated images (tinygen.metrics) compare those. The layers for
28 x 28 grey images of ten classes:

    28 x 28 x 1 -> 14 x 14 x 16 -> 7 x 7 x 32 -> 84 features -> 10 logits
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import losses, nn, optim
from ..graph import no_grad
from ..ops import softmax
from ..optim import Optimizer
from ..random import Generator
from ..tensor import Tensor
from .base import ImageModel, channels
from .contract import Describes, Figure


class Classifier(ImageModel, Describes):
    """Convolutions of 5 x 5 with ReLU and average pooling, dense features, a logit for each class.

    For images of any size, grey or colour. Labels are for training only.

    Args:
        features: length of the description of an image, the last hidden layer.
        width: scales the channels of the convolutions; 1 for 16 and 32.
        dropout: before and after the features.
        lr: learning rate of Adam.
    """

    name = "classifier"
    parts = ("body", "head")
    unit = "percent right"
    conditional = True
    epochs = 8
    ema = 0.999

    def __init__(
        self, shape: Sequence[int], *, features: int = 84, width: float = 1.0,
        dropout: float = 0.4, lr: float = 1e-3, classes: int | None = None,
        rng: Generator | None = None,
    ) -> None:  # fmt: skip
        first, second = channels(self.name, width, 16, 32)
        if type(features) is not int or features < 1 or not lr > 0:
            raise ValueError(
                f"{self.name}: features {features!r} and lr {lr!r}, expected an integer of 1 or "
                "more and a number above 0"
            )
        options = {"features": features, "width": width, "dropout": dropout, "lr": lr}
        super().__init__(shape, classes, 0, rng, options)
        self.described, self.lr = features, lr
        init, masks = self.init_rng, self.dropout_rng
        height, across, depth = self.shape
        pixels = -(-height // 4) * -(-across // 4)  # "same" pooling rounds up, twice
        self.body = nn.Sequential(
            nn.Conv2d(depth, first, 5, padding="same", init="he", rng=init),
            nn.ReLU(),
            nn.AvgPool2d(2, padding="same"),
            nn.Conv2d(first, second, 5, padding="same", init="he", rng=init),
            nn.ReLU(),
            nn.AvgPool2d(2, padding="same"),
            nn.Flatten(),
            nn.Dropout(dropout, rng=masks),
            nn.Dense(pixels * second, features, init="he", rng=init),
            nn.ReLU(),
        )
        self.head = nn.Sequential(
            nn.Dropout(dropout, rng=masks),
            nn.Dense(features, self.classes, rng=init),
        )

    def optimizers(self, lr: float | None = None) -> dict[str, Optimizer]:
        return {"classifier": optim.Adam(self.parameters(), lr=self.lr if lr is None else lr)}

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
