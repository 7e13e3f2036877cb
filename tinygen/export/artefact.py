"""What goes into an exported file, whatever the form: graphs, noise, names, and a self-test.

A file draws picture i of a seed from the same numbers as the checkpoint: entries i * latent and on
of draw 0 of the stream "pictures" (see random.py for the stream's key and what words become).

The self-test is code 0 of seed 0, label 0, and the picture that it must give, computed in float64;
of the part that encodes, the mean code of that picture.
"""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import use_backend
from ..data.labels import numbers_of
from ..images import to_uint8
from ..models import Draws, Encodes, Model
from ..models.contract import chosen, label_of
from ..sampling.noise import PICTURES, Prior, codes_of_seed
from ..tensor import Tensor
from ..version import __version__
from .graphs import ExportError, Packed, blob, drawing, encoding, law_of
from .settings import Setting

FORMAT = 1  # of the exported files
PARTS = ("draw", "encode", "both")
PARTS_BEFORE = {"decoder": "draw", "encoder": "encode"}  # names of earlier versions: their new ones
UNSTATED = "not stated; ask whoever trained it"


@dataclass(frozen=True)
class SelfTest:
    """What the file must reproduce: codes to the bit, pictures within one grey level.

    Attributes:
        code: float32 (latent,), of the seed and number 0.
        image: uint8 (H, W, C), what is drawn from it.
        mean: float32 (latent,), the mean code of that image; None where nothing encodes.
    """

    seed: int
    label: int
    code: NDArray[np.float32]
    image: NDArray[np.uint8]
    mean: NDArray[np.float32] | None


@dataclass(frozen=True)
class Artefact:
    """A trained model as every form writes it.

    Attributes:
        title: the run's name as a person gave it; any text, to be escaped where it is written.
        name: the same as an identifier: ASCII letters, digits and underscores.
        model: the name of the architecture.
        weights: a hash of the run's weights.
        shape: (H, W, C) of an image. latent: length of a code. prior: "normal" or "uniform".
        value_range: of the images that it draws and encodes.
        classes: names of the labels (any text), empty without labels.
        graphs: the parts that it has, by name: "draw", which draws an image from a code, and
            "encode", which gives the mean and the log-variance of an image's code in a row.
        precision: of the weights: "float32", "float16" or "int8".
        licence: terms of the weights and of the data they come from.
        about: how it was trained, for people: name -> text or number.
        test: see SelfTest.
        smooth: whether a code between two codes means something: interpolation, sliders.
        chosen: the settings of its drawings, by name; those that are in `settings` are defaults.
    """

    title: str
    name: str
    model: str
    weights: str
    shape: tuple[int, int, int]
    latent: int
    prior: str
    value_range: tuple[float, float]
    classes: tuple[str, ...]
    graphs: dict[str, Packed]
    precision: str
    licence: str
    about: dict[str, Any]
    test: SelfTest
    smooth: bool = True
    chosen: dict[str, Any] = field(default_factory=dict)

    @property
    def pixels(self) -> int:
        """The number of values of an image, H W C."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the weights and biases as stored."""
        return sum(len(blob(part)) for part in self.graphs.values())

    @property
    def counted(self) -> bool:
        """Whether a person may ask for a class by its place, from 0.

        Not where classes are called by other numbers: of 1, 2, 3, a 2 must not mean the third.
        """
        places = map(str, range(len(self.classes)))
        return self.classes == tuple(places) or not any(
            number is not None for number in numbers_of(self.classes)
        )

    @property
    def settings(self) -> tuple[Setting, ...]:
        """What may be chosen at each drawing, of its settings."""
        return self.graphs["draw"].settings if "draw" in self.graphs else ()

    def label_text(self, label: int) -> str:
        """What a program takes to draw a label: its number where classes are counted."""
        return str(label) if self.counted else self.classes[label]

    def codes(self, n: int, seed: int) -> NDArray[np.float32]:
        """n codes (n, latent) of a seed, as every form draws them."""
        return codes_of_seed(self.prior, n, self.latent, seed)

    def arguments(
        self, x: NDArray[Any], labels: NDArray[Any] | int | None = None
    ) -> tuple[NDArray[Any], ...]:
        """What a part takes: codes or images, and labels (n,) where the model has classes."""
        if not self.classes:
            return (x,)
        return x, np.broadcast_to(0 if labels is None else labels, len(x)).astype(np.int64)

    def draw(
        self, codes: NDArray[Any], labels: NDArray[Any] | int | None = None, **settings: float
    ) -> NDArray[np.float32]:
        """Images (n, H, W, C) of codes (n, latent) in the model's range, as a file draws them."""
        with use_backend("numpy") as backend:
            run = self.graphs["draw"].on(backend)
            inputs: list[Any] = [Tensor(x) for x in self.arguments(codes, labels)]
            inputs += [each.array(settings.get(each.name)) for each in self.settings]
            images: NDArray[np.float32] = run(*inputs)[-1].numpy()
        return images

    @property
    def drawn_with(self) -> str:
        """The settings of its drawings, for people; "" where there are none."""
        return ", ".join(f"{k} {v}" for k, v in self.chosen.items())

    def describe(self) -> dict[str, Any]:
        """What a file says of itself, JSON-able."""
        return {
            "format": FORMAT, "made by": f"tinygen {__version__}", "title": self.title,
            "model": self.model, "weights": self.weights, "image": list(self.shape),
            "latent": self.latent, "prior": self.prior, "classes": list(self.classes),
            "precision": self.precision,
            **self._settings(), **{k: part.lines() for k, part in self.graphs.items()},
            "licence of the code": "MIT", "licence of weights and data": self.licence,
            **self.about,
        }  # fmt: skip

    def _settings(self) -> dict[str, Any]:
        """What it is drawn with, what of that may be chosen, and why more may not; for people."""
        packed = self.graphs.get("draw")
        said = {
            "drawn with": self.drawn_with,
            "open settings": [each.name for each in self.settings],
            "fixed settings": [f"{k}: {v}" for k, v in packed.fixed.items()] if packed else [],
        }
        return {k: v for k, v in said.items() if v}


def stream_words() -> tuple[int, int]:
    """(low, high): the 32-bit halves of the hash of the stream's name, see Generator.stream."""
    digest = hashlib.sha256(PICTURES.encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def identifier(title: str) -> str:
    """A name for files and functions: at most 60 ASCII letters, digits and underscores."""
    ascii_only = title.lower().encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", ascii_only).strip("_")[:60].rstrip("_")
    return name if name and not name[0].isdigit() else f"model_{name}".rstrip("_")


def prepare(
    model: Model, title: str, weights: str, *, classes: tuple[str, ...] = (),
    part: str = "draw", precision: str = "float32", licence: str = UNSTATED,
    about: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None,
) -> Artefact:  # fmt: skip
    """A trained model as an Artefact.

    Args:
        model: in eval mode, with the weights to draw with.
        title: the run's name.
        weights: a hash of the weights.
        classes: names of the labels of a conditional model; their numbers where it is empty.
        part: "draw" (which draws), "encode" (of a VAE), or "both".
        precision: of the weights.
        licence: terms of weights and data.
        about: how it was trained; no path or user name, and no name that a file gives itself.
        settings: of its drawings, by name, where they are not the model's own.

    Raises:
        ExportError: a model that draws nothing, an encoder of a model without one, a module that no
            form has, a network that gives no image.
        ValueError: an unknown part or precision, weights that do not fit it, a name for each of
            another number of classes, a fact of `about` under a name that the file gives itself.
    """
    if part in PARTS_BEFORE:
        new = PARTS_BEFORE[part]
        warnings.warn(f"the part {part} is called {new} now", DeprecationWarning, stacklevel=2)
        part = new
    if part not in PARTS:
        raise ValueError(f"part {part!r}, expected one of {', '.join(PARTS)}")
    if not isinstance(model, Draws):
        raise ExportError(f"{model.name} draws no images; export a generator, a VAE or a GAN")
    if part != "draw" and not isinstance(model, Encodes):
        raise ExportError(
            f"{model.name} has no encoder: it is no VAE, nor another model that Encodes (export "
            "the part draw instead)"
        )
    label = label_of(model.given)
    count = 0 if label is None else model.classes
    names = tuple(classes or map(str, range(count))) if count else ()
    if len(names) != count:
        raise ValueError(f"{len(names)} names of classes, expected {count}")
    graphs = {"draw": drawing(model, precision, settings)}
    if part != "draw":
        graphs["encode"] = encoding(model, precision)
    assert model.noise is not None
    latent, law = math.prod(model.noise.shape), law_of(model.noise)
    test = _self_test(graphs, latent, law, model.value_range, bool(count))
    if part == "encode":
        del graphs["draw"]
    made = Artefact(
        title, identifier(title), model.name, weights, model.shape, latent, law, model.value_range,
        names, graphs, precision, licence, {}, test, model.noise.smooth,
        chosen(model, settings or {}) if "draw" in graphs else {},
    )  # fmt: skip
    if taken := made.describe().keys() & (about or {}).keys():
        raise ValueError(
            f"about has {', '.join(sorted(taken))}, which a file says of itself; choose other names"
        )
    return replace(made, about=dict(about or {}))


def _self_test(
    graphs: Mapping[str, Packed], latent: int, law: Prior, span: tuple[float, float], labelled: bool
) -> SelfTest:
    """Code 0 of seed 0 with label 0, what it draws, and the mean code of that; in float64."""
    code, labels = codes_of_seed(law, 1, latent, 0), [np.zeros(1, np.int64)] * labelled
    image = to_uint8(graphs["draw"](code, *labels, floats="float64"), span)
    mean = None
    if "encode" in graphs:
        low, high = span
        both = graphs["encode"](image / 255 * (high - low) + low, *labels, floats="float64")
        mean = both[0, :latent].astype(np.float32)
    return SelfTest(0, 0, code[0], image[0], mean)
