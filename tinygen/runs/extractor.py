"""The classifiers that generated images are measured with: the bundled ones and your own.

Any run of `tinygen train classifier` can be one. A figure says something beside figures of the same
classifier only, and so its name, version and hash go wherever a figure does.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..data import Dataset
from ..data.dataset import scaled
from ..io import read_bytes
from ..models import Describes, Model
from ..random import Generator
from .files import read
from .stored import stored_model

# data set: its fingerprint, the file in tinygen/metrics, the file's SHA-256; bench/classifiers.py
# writes the files
INCLUDED = {
    "mnist": (
        "f76411c5a9d29dddd12189070a9b06286d3e650fdb6e3c00371e8be169b51d63",
        "lenet_mnist_v1.safetensors",
        "b37383f29cbbbc60d5a84f941c01408b3adaf23e61922082de21c36653e70a69",
    ),
    "strokes": (
        "d87d414d8ac129a2bcdbce1b7191913ba8d8da8758bc467cda5f80cf80a311ac",
        "lenet_strokes_v1.safetensors",
        "b50392ef586e79a0947197e828e7e7d0c17dea361561052588b2b2fab06712fc",
    ),
}


class ClassifierExtractor:
    """A trained classifier in the form that metrics.measure takes.

    Attributes:
        name, version, sha256: which classifier it is, and the hash of its file.
        data: what it was trained on: name, shape, classes, fingerprint.
        accuracy: percent of the held-out images of that data; None where it is not recorded.
        model: the classifier, in eval mode.
        features: how many features it gives.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Of a model file, or of the folder of a run; ValueError if it holds no classifier."""
        file = Path(path)
        if file.is_dir():
            file = file / "model.safetensors"
        if not file.is_file():
            raise ValueError(
                f"{path} holds no trained classifier; expected the folder that `tinygen train "
                "classifier` wrote, or its model.safetensors"
            )
        saved = read(file, "classifier")
        about = saved.metadata
        model = stored_model(file, saved, Generator(0))
        if not isinstance(model, Describes):
            raise ValueError(f"{file} holds {model.name}, which says nothing of what images show")
        self.model: Model = model.eval()
        self._describe = model.features
        self.features = model.described
        self.data: dict[str, Any] = about["data"]
        self.name = str(about.get("name", f"classifier-{self.data['name']}"))
        self.version = int(about.get("version", 1))
        self.accuracy: float | None = about.get("accuracy")
        self.sha256 = hashlib.sha256(file.read_bytes()).hexdigest()

    def __call__(self, images: NDArray[np.uint8], /) -> tuple[NDArray[Any], NDArray[Any]]:
        """Features (B, d) and probabilities (B, classes) of images uint8 (B, H, W, C)."""
        x = self.model.place(scaled(images, self.model.value_range))
        features, p = self._describe(x)
        return features.numpy(), p.numpy()

    def __repr__(self) -> str:
        known = "" if self.accuracy is None else f", {self.accuracy:.2f} % accuracy"
        return f"{self.name} v{self.version} ({self.sha256[:12]}{known})"


def included(name: str) -> ClassifierExtractor:
    """The classifier of a data set that comes with tinygen; KeyError for none, else checked."""
    _, file, sha256 = INCLUDED[name]
    path = Path(metrics.__file__).parent / file
    found = hashlib.sha256(read_bytes(path, 10_000_000)).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path} is not the file that belongs to this tinygen: its SHA-256 is {found}, "
            f"expected {sha256}; install tinygen again"
        )
    return ClassifierExtractor(path)


def find_extractor(
    data: Dataset, classifier: str | os.PathLike[str] | None = None
) -> ClassifierExtractor:
    """What to measure images like `data` with: the classifier of a path, or one of tinygen's own.

    Raises ValueError where there is none, or it was trained on images of another shape or with
    other classes; the message says how to train one.
    """
    if classifier is not None:
        found = ClassifierExtractor(classifier)
    elif (name := _included_for(data)) is not None:
        found = included(name)
    else:
        raise ValueError(f"tinygen has no classifier for {_in_words(data)}; {_train_one(data)}")
    about = found.data
    if tuple(about["shape"]) != data.shape:
        raise ValueError(
            f"the classifier {found.name} is for {about['name']!r}, images of shape "
            f"{tuple(about['shape'])}, and not for {_in_words(data)}; {_train_one(data)}"
        )
    if data.classes is not None and list(data.classes) != list(about["classes"]):
        raise ValueError(
            f"the classifier {found.name} knows the classes {', '.join(about['classes'])}, and "
            f"{data.name!r} has {', '.join(data.classes)}; {_train_one(data)}"
        )
    return found


def _included_for(data: Dataset) -> str | None:
    """Which of tinygen's classifiers was trained on this very data, or on data of its name.

    Files of that name without labels may show anything.
    """
    for name, (fingerprint, _, _) in INCLUDED.items():
        if fingerprint == data.fingerprint:
            return name
    known = data.name in INCLUDED and (data.source == data.name or data.labels is not None)
    return data.name if known else None


def _in_words(data: Dataset) -> str:
    return f"{data.name!r}, images of shape {data.shape}"


def _train_one(data: Dataset) -> str:
    """How to train a classifier for the data."""
    if data.labels is None:
        return (
            "a classifier needs labels to learn from, which these data lack; train one on such "
            "images with labels (a folder with a sub-folder for each class)"
        )
    words = ["--data", data.source or "PATH"]
    size = data.options.get("size")
    if size is not None and size[0] == size[1]:
        words += ["--size", str(size[0])]
    if "channels" in data.options:
        words += ["--channels", str(data.options["channels"])]
    command = f"tinygen train classifier {shlex.join(words)} --out runs/classifier"
    return f"train one with `{command}` and name it with --classifier runs/classifier"
