"""A finished (or interrupted) run: the trained model, and what can be drawn with it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset, load
from ..data.dataset import scaled
from ..data.files import as_path
from ..data.labels import class_number
from ..data.report import listed
from ..data.source import NAMES
from ..data.strokes import DIGIT_WORDS
from ..images import Picture, grid
from ..models import Draws, Encodes, Model, Noise, feed
from ..models.contract import label_of
from ..models.registry import trained_by, typed
from ..program import resume_command
from ..random import Generator
from ..sampling import latent
from . import pictures
from .files import read
from .folder import RunFolder, place_of
from .stored import stored_model, weights_of


def _digit(name: str) -> str:
    """A class called by the word of a digit as its number; any other as it is."""
    word = name.casefold()
    return str(DIGIT_WORDS.index(word)) if word in DIGIT_WORDS else name


Label = int | str  # a class by its number or its name


class Run:
    """A trained model with its log.

    Attributes:
        model: in eval mode, with the weights to draw with.
        folder: where its files lie (a RunFolder), or None.
        history: the entries of the log, one dict each.
        data: a description of what it was trained on.
        interrupted: whether training was stopped before its last epoch.
        signal: the number of the signal that stopped it; 0 if none did, or before it was opened.
        unfinished: of a run that was opened before its training ended, how far it is and how to go
            on, in words; "" for others.
    """

    def __init__(
        self,
        model: Model,
        *,
        folder: RunFolder | None = None,
        history: list[dict[str, Any]] | None = None,
        data: dict[str, Any] | None = None,
        interrupted: bool = False,
        seconds: float = 0.0,
        seed: int = 0,
        signal: int = 0,
    ) -> None:
        self.model, self.folder = model, folder
        self.interrupted, self.signal = interrupted, signal
        self.history = history or []
        self.data = data or {}
        self.seconds, self.seed = seconds, seed
        self.unfinished = ""

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The log's entries that sum up an epoch."""
        return [e for e in self.history if e["kind"] == "epoch"]

    def __repr__(self) -> str:
        last = self.epochs[-1] if self.epochs else None
        figures = "" if last is None else "".join(
            f", {k} {v:.4g}" for k, v in last["losses"].items()
        )  # fmt: skip
        where = "" if self.folder is None else f" in {self.folder.path}"
        state = "interrupted" if self.interrupted else "done"
        return f"Run({self.model.name}{where}: {len(self.epochs)} epochs, {state}{figures})"

    def load_data(
        self, other: str | None = None, value_range: Sequence[float] | None = None
    ) -> Dataset:
        """The data that it was trained on, or other data, loaded by name or path and made to fit.

        Other images are scaled to the size of the model's and get its channels; a label means the
        class of the same name, or of its number where classes have none. value_range: what is
        black and white in them. Raises ValueError where the data that it was trained on are gone,
        have changed since, or were arrays in memory; and where other data lack the labels that the
        model needs, or have classes that it does not know.
        """
        if other is not None:
            height, width, channels = self.model.shape
            how = self.data.get("options", {})
            kept = {k: how[k] for k in ("paper", "skip_broken") if k in how}
            data = load(
                other, size=(height, width), channels=channels, value_range=value_range, **kept
            )
            was, now = how.get("value_range"), data.options.get("value_range")
            if value_range is None and was is not None and now is not None and was != now:
                data.reading.warn(
                    f"values are read as {now[0]:g} to {now[1]:g}, those of the training were as "
                    f"{was[0]:g} to {was[1]:g}; --value-range {was[0]:g},{was[1]:g} reads both "
                    "alike"
                )
            return self._by_class(data)
        if value_range is not None:
            raise ValueError("a value range is of other data only; name them with --data")
        source = self.data.get("source")
        if source is None:
            raise ValueError("the run was trained on arrays from memory; name the data with --data")
        if source not in NAMES and not os.path.exists(as_path(source)):
            raise ValueError(
                f"{source}, which the run was trained on, is not there any more; if it was moved, "
                "name it with --data"
            )
        dataset = load(source, **self.data["options"])
        if dataset.fingerprint != self.data["fingerprint"]:
            raise ValueError(
                f"{source} has changed since the training; name the data to measure on with --data"
            )
        return dataset

    def _by_class(self, data: Dataset) -> Dataset:
        """Other data with the labels of this run's classes, by their names."""
        known = self.data.get("classes")
        if known is None or not any(label_of(s.reads) for s in self.model.stages()):
            return data
        if data.classes is None:
            raise ValueError(
                f"{self.model.name} goes by labels, which {data.name!r} lacks; expected a "
                f"sub-folder for each class: {', '.join(known)}"
            )
        digits = [_digit(name) for name in known]
        numbers = [str(k) for k in range(len(known))]
        names: list[str] = list(data.classes)
        by_place = False
        if {_digit(name) for name in names} <= {*digits}:  # "two" is "2"
            names = [known[digits.index(_digit(name))] for name in names]
        elif list(known) == numbers and len(names) == len(known):
            by_place = not any(name.isdecimal() for name in names)
            names = numbers if by_place else names
        elif not any(name.isdecimal() for name in digits) and {*names} <= {*numbers}:
            by_place, names = True, [known[int(name)] for name in names]
        if by_place:
            pairs = [f"{own} is {name}" for own, name in zip(data.classes, names, strict=True)]
            data.reading.warn(
                f"classes go by their places: {listed(pairs, 20)}; where that is not meant, call "
                "them as the run does"
            )
        foreign = [name for name in names if name not in known]
        if foreign:
            raise ValueError(
                f"{data.name!r} has the classes {', '.join(data.classes)}; the run knows "
                f"{', '.join(known)}, and not {', '.join(foreign)}"
            )
        return data.with_classes(known, names)

    # ---- drawing -----------------------------------------------------------------------------

    def _labels(self, n: int, labels: Label | Sequence[Label] | None) -> NDArray[Any] | None:
        """Class numbers for n images: of classes given by number or name."""
        model, column = self.model, pictures.label_column(self.model)
        if column is None:
            if labels is not None:
                other = f"; train {model.with_labels} for that" if model.with_labels else ""
                raise ValueError(
                    f"{model.name} was trained without labels and cannot draw a chosen one{other}"
                )
            return None
        if labels is None:
            return pictures.rows_of_labels(model, n)
        classes = self.data.get("classes") or ()
        given = np.asarray(labels)
        if classes and given.dtype.kind in "iuU":
            named = [class_number(label, classes) for label in given.ravel().tolist()]
            given = np.array(named, np.int64).reshape(given.shape)
        if given.dtype.kind not in "iu" or given.shape not in ((), (n,)):
            raise ValueError(
                f"labels {labels!r}, expected a class by number or name, or one for each of {n} "
                "images"
            )
        chosen = np.broadcast_to(given.astype(np.int64), (n,)).copy()
        if n and (chosen.min() < 0 or chosen.max() >= column.count):
            raise ValueError(
                f"label {labels}, expected from 0 to {column.count - 1}"
                + (f" ({', '.join(self.data['classes'])})" if self.data.get("classes") else "")
            )
        return chosen

    def _draws(self) -> Draws:
        """The model, which draws; ValueError where it does not."""
        if not isinstance(self.model, Draws):
            raise ValueError(
                f"{self.model.name} classifies images and draws none; sample a generator, "
                "and measure it with this run: `tinygen evaluate RUN --classifier`"
            )
        return self.model

    def _noise(self) -> Noise:
        """What its drawings start from; ValueError for a model that takes none."""
        noise = self._draws().noise
        if noise is None:
            raise ValueError(
                f"{self.model.name} draws from what it is given alone, and from no code; call "
                "sample with that, as in sample(image=...)"
            )
        return noise

    def _walk(self) -> tuple[Noise, int]:
        """Noise between whose points one can walk, and the length of a code."""
        noise = self._noise()
        if not noise.smooth or len(noise.shape) != 1:
            raise ValueError(
                f"{self.model.name} starts from noise {noise.shape}, and what lies between two of "
                "them means nothing; sample it instead"
            )
        return noise, noise.shape[0]

    def codes(self, n: int, seed: int = 0) -> NDArray[Any]:
        """n latent codes of a seed, or what else it draws from; code i does not depend on n."""
        noise = self._noise()
        if n < 0:
            raise ValueError(f"n is {n}, expected 0 or more")
        return noise.of_seed(n, seed)

    def sample(
        self, n: int = 64, labels: Label | Sequence[Label] | None = None, seed: int = 0,
        **more: Any,
    ) -> NDArray[Any]:  # fmt: skip
        """n new images (n, H, W, C), float32 in the model's range.

        Image i of a seed does not depend on n. A conditional model draws `labels` (one for all, or
        one an image), class names or numbers; a number is the class of that name, if there is one.
        None gives rows of ten of each label. `more` is what else it takes by name: images in its
        range (n, H, W, C), and settings of a drawing (see the model's class Settings).
        """
        model = self._draws()
        given = {c.name: np.asarray(more.pop(c.name)) for c in model.given if c.name in more}
        if given:
            n = len(next(iter(given.values())))
        z = self.codes(n, seed) if model.noise is not None or not given else None
        return pictures.draw(self.model, z, self._labels(n, labels), given, **more)

    def film(
        self, n: int = 16, labels: Label | Sequence[Label] | None = None, seed: int = 0,
        **settings: Any,
    ) -> NDArray[Any]:  # fmt: skip
        """How the images of `sample` become: (frames, n, H, W, C); noise first, the images last.

        n up to 256. For models that draw in steps. Picture them with images.Film.
        """
        if not 1 <= n <= 256:
            raise ValueError(f"film: n is {n}, expected from 1 to 256")
        return pictures.film(self.model, self.codes(n, seed), self._labels(n, labels), **settings)

    def vary(
        self, name: str, values: Sequence[Any], rows: int = 10, labels: Label | None = None,
        seed: int = 0, settings: Mapping[str, Any] | None = None,
    ) -> NDArray[Any]:  # fmt: skip
        """rows x values images: in each row from the same noise, with each value of a setting.

        Row k of a conditional model draws class k, where `labels` does not say which. Raises
        ValueError for no values, and for what `sample` refuses.
        """
        if not values:
            raise ValueError(f"vary: no values of {name}; expected one or more")
        column = pictures.label_column(self.model)
        if column is not None and labels is None:
            chosen: Any = np.arange(rows) % column.count
        else:
            chosen = self._labels(rows, labels)
        z = self.codes(rows, seed)
        columns = [
            pictures.draw(self.model, z, chosen, **{**(settings or {}), name: value})
            for value in values
        ]
        return np.stack(columns, axis=1).reshape(-1, *self.model.shape)

    def interpolate(
        self, rows: int = 8, steps: int = 10, labels: Label | None = None, seed: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> NDArray[Any]:  # fmt: skip
        """rows x steps images: in each row the code turns from one random code to another.

        Codes of a normal prior turn along the great circle between them (slerp), so that those in
        between are as long as codes of the prior; codes of a uniform prior go straight.
        """
        codes = latent.walk(self._walk()[0], rows, steps, seed)
        column = pictures.label_column(self.model)
        if column is not None and labels is None:
            chosen: Any = np.repeat(np.arange(rows) % column.count, steps)
        else:
            chosen = self._labels(rows * steps, labels)
        return pictures.draw(self.model, codes, chosen, **(settings or {}))

    def traverse(
        self, dimensions: int = 10, steps: int = 10, labels: Label | None = None, seed: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> NDArray[Any]:  # fmt: skip
        """dimensions x steps images: in row k only entry k of the code changes, from -3 to 3.

        (From -1 to 1 for a uniform prior.) A conditional model draws label 0 where None is given.
        """
        noise, length = self._walk()
        codes = latent.traverse(noise, min(dimensions, length), steps, seed)
        if pictures.label_column(self.model) is not None and labels is None:
            chosen: Any = np.zeros(len(codes), np.int64)
        else:
            chosen = self._labels(len(codes), labels)
        return pictures.draw(self.model, codes, chosen, **(settings or {}))

    def around(
        self,
        image: NDArray[Any],
        n: int = 64,
        spread: float = 1.0,
        labels: Label | None = None,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> NDArray[Any]:
        """n images whose codes lie around that of an image uint8 (H, W, C); the first is its own.

        z = mu + spread sigma eps, mu and sigma those of q(z|image). Only for models that have an
        encoder (the VAEs).
        """
        model = self.model
        if not isinstance(model, Encodes) or model.code is None:
            raise ValueError(
                f"{model.name} has no encoder, so it cannot find the code of an image; "
                "train vae or cvae for that"
            )
        if tuple(image.shape) != model.shape or image.dtype != np.uint8:
            raise ValueError(
                f"around: the image is {image.dtype} {image.shape}, expected uint8 {model.shape}"
            )
        column = pictures.label_column(model)
        if column is not None and labels is None:
            raise ValueError(f"{model.name} reads an image given its label: say which (--label)")
        labels_n = self._labels(n, labels)
        given = {} if column is None or labels_n is None else {column.name: labels_n[:1]}
        x = model.place(scaled(image[None], model.value_range))
        mu, logvar = model.encode(x, **{k: model.place(v) for k, v in given.items()})
        codes = latent.around(mu.numpy(), logvar.numpy(), self.codes(n, seed), spread)
        return pictures.draw(model, codes, labels_n, **(settings or {}))

    def picture(self, images: NDArray[Any], columns: int | None = None) -> Picture:
        """Images of this run as one picture, in the range of its model."""
        return grid(images, columns=columns, value_range=self.model.value_range)

    @property
    def samples(self) -> Picture:
        """A sheet of 100 samples, which a notebook shows."""
        return self.picture(self.sample(pictures.sheet_size(self.model)), pictures.COLUMNS)


def open_run(path: str | os.PathLike[str], *, best: bool = False) -> Run:
    """The run in a folder that `fit` or the command line wrote, ready to draw.

    It has the newest weights or, with `best`, those of the epoch that did best: by KID where
    training measured what was drawn (evaluate_every), else by the figure on held-out images.

    Raises ValueError if the folder holds no run, or a file of it is damaged or of a newer format.
    """
    folder = RunFolder(path)
    config = folder.read_config()
    if not folder.model.exists():
        found = any(folder.checkpoints.glob("step-*.safetensors"))
        why = "it was deleted" if found else "its training stopped before the first checkpoint"
        again = resume_command(trained_by(config["model"]["name"]), folder.path, *place_of(config))
        raise ValueError(f"{folder.path} has no model.safetensors: {why}; write it with `{again}`")
    saved = read(folder.model, "model")
    epoch, stage = saved.metadata["epoch"], saved.metadata.get("stage", 0)
    model = stored_model(folder.model, saved, Generator(config["training"]["seed"]))
    if best:
        kept = folder.checkpoints / "best.safetensors"
        if not kept.exists():
            raise ValueError(
                f"{folder.path} has no best weights: no epoch was ranked. VAEs and classifiers are "
                "ranked after each by their figure on held-out images, others by KID where it is "
                "measured (--evaluate-every)"
            )
        model.load_state_dict(weights_of(read(kept, "checkpoint")))
    model.eval()
    source = {k: config["data"][k] for k in ("source", "options")}  # as it is now
    last = stage == len(model.stages()) - 1
    done = last and epoch >= config["training"]["epochs"]
    run = Run(
        model, folder=folder, history=folder.read_log(), data={**saved.metadata["data"], **source},
        interrupted=not done, seed=config["training"]["seed"],
    )  # fmt: skip
    if not done:
        command = trained_by(typed(type(model)))
        again = resume_command(command, folder.path, *place_of(config))
        steps = _steps(model, config, stage, saved.metadata["step"])
        run.unfinished = f"{folder.path} is not finished, it has done {steps}; go on with `{again}`"
    return run


def _steps(model: Model, config: dict[str, Any], stage: int, done: int) -> str:
    """How many of its steps a run has done, in words."""
    stages, training = model.stages(), config["training"]
    if len(stages) > 1:
        name = stages[min(stage, len(stages) - 1)].name
        return f"{done:,} step{'s' * (done != 1)}, and is in stage {name}"
    sets = {"train": config["data"], **config.get("more_data", {})}
    named = [source for source in feed.sources(stages[0].reads) if source in sets]
    entries = min((sets[source]["n"] for source in named), default=0)
    size = feed.step_size(stages[0], entries, training.get("batch_size", entries))
    return f"{done:,} of {training['epochs'] * (entries // size):,} steps"
