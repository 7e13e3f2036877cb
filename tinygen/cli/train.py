"""`tinygen train MODEL`: a command for each model, with its own options and defaults."""

from __future__ import annotations

import functools
import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import typer
from typer.core import TyperGroup

from .. import models, train
from ..backend import DeviceError, use_backend
from ..backend import get as get_backend
from ..data import Dataset, load
from ..data.files import check_room
from ..data.options import Source
from ..models import Form, ImageModel, Model
from ..models.base import OneStage
from ..options import Option, Options, defaults_on_processor, described, option
from ..program import command as typed_here
from ..program import quoted
from ..random import Generator
from ..runs.folder import place_of
from ..train import Settings
from .console import console, print_data
from .options import Group, Typed, checked, command, flags, in_words, named, refuse_doubles

LAST = "of several stages, the last one's"
LARGE = 1 << 16  # pixels: of smaller images any model fits


@dataclass(frozen=True, kw_only=True)
class Place(Options):
    """Where a training is computed, and where its run lies."""

    out: str | None = option(
        None, help="Folder of the run.", shown="a new one, runs/MODEL-DATA", metavar="FOLDER"
    )
    resume: bool = option(
        False, help="Continue the run in --out, or the newest run of this model.", flags="--resume"
    )
    backend: Literal["numpy", "cupy", "emulated"] = option(
        "numpy",
        help="Where to compute: the processor, an NVIDIA GPU, or the GPU's kernels on the "
        "processor, slow and exact.",
        metavar="NAME",
    )
    precision: Literal["float32", "tf32", "bf16"] = option(
        "float32",
        help="Of the operands of matrix products on a GPU: tf32 and bf16 use tensor cores, with 10 "
        "and 7 bits after the point; weights stay float32.",
        metavar="NAME",
    )


@dataclass(frozen=True, kw_only=True)
class Together(Options):
    """What else a model of several data sets or stages takes."""

    more_data: tuple[str, ...] | None = option(
        None, help="Another data set that the model reads, by the name it has there: all of "
        "it, read as --data is. Once for each.", metavar="NAME=DATA",
    )  # fmt: skip
    part: tuple[str, ...] | None = option(
        None, help="A part of the model that comes trained from another run; stages that would "
        "learn nothing else are left out. Once for each.", metavar="NAME=RUN",
    )  # fmt: skip


# ---- a command a model ---------------------------------------------------------------------------


class Models(TyperGroup):
    """`tinygen train`: builds the command of a model when it is first used."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return list(models.MODELS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        return model_command(models.find(cmd_name))


app = typer.Typer(cls=Models, no_args_is_help=True)


@app.callback()
def _train() -> None:
    """Train a model on images; leave a folder with samples, curves and the weights.

    [dim]tinygen train flow[/dim]           the best images; on the built-in strokes

    [dim]tinygen train vae[/dim]            on the built-in strokes, a minute or two

    [dim]tinygen train gan --data mnist --epochs 30[/dim]

    [dim]tinygen train dcgan --data mnist --epochs 10[/dim]

    [dim]tinygen train vae --data photos/ --size 32 --hidden 512,256[/dim]

    [dim]tinygen train classifier --data photos/ --size 32[/dim]  to measure generators with

    [dim]tinygen train MODEL --help[/dim]   shows the options of a model
    """


def groups_of(kind: type[Model]) -> list[Group]:
    """The options of a model's command, with the defaults that the model sets."""
    last = ("epochs", "batch_size", "lr", "ema", "clip")
    defaults: dict[str, Any] = dict.fromkeys((*last, "schedule", "warmup"), "the model's own")
    one = issubclass(kind, OneStage)  # stage; others may have several
    if issubclass(kind, OneStage):
        defaults = kind.training_defaults()
    own = {f.name: f.default for f in fields(kind.Options)}
    if "lr" in own:
        defaults["lr"] = own["lr"]
    words = {k: in_words(own.get(k, v)) for k, v in defaults.items()}
    return [
        Group(f"Options of {kind.name}", kind.Options, without=("lr",)),  # that of Settings
        Group("Training", Settings, words, only={} if one else dict.fromkeys(last, LAST)),
        Group("Data", Source),
        *([] if one else [Group("Several data sets and stages", Together)]),
        Group("Run", Place),
    ]


def model_command(kind: type[Model]) -> Any:
    """The command that trains one kind of model."""
    about = re.split(r"(?<=\.)\s", (kind.__doc__ or f"Train {kind.name}."), maxsplit=1)[0]
    about = " ".join(about.split())
    return command(
        kind.name, groups_of(kind), functools.partial(run, kind), about, options_by_name()
    )


def options_by_name() -> dict[str, tuple[Option, list[str]]]:
    """The options of all models, each with the names of the models that have it."""
    found: dict[str, tuple[Option, list[str]]] = {}
    for kind in models.MODELS.values():
        for each in Group("", kind.Options).options:
            found.setdefault(each.name, (each, []))[1].append(kind.name)
    return found


for _kind in models.MODELS.values():
    refuse_doubles(f"train {_kind.name}", groups_of(_kind))


# ---- a training ----------------------------------------------------------------------------------


@dataclass
class Job:
    """What to train, and how: from the command line or, to resume, from a run as well."""

    kind: type[Model]
    options: dict[str, Any]
    settings: dict[str, Any]
    source: dict[str, Any]  # for data.load
    backend: str
    precision: str
    out: Path | None
    resume: bool = False
    more: dict[str, dict[str, Any]] = field(default_factory=dict)  # for data.load, by name
    parts: dict[str, str] = field(default_factory=dict)  # runs that they come from

    def load(self) -> dict[str, Dataset]:
        """The data sets, by name."""
        sources = {"train": self.source, **self.more}
        return {name: load(**source) for name, source in sources.items()}

    def build(self, forms: dict[str, Form]) -> Model:
        """The model with new weights."""
        rng = Generator(self.settings.get("seed", Settings.seed))
        if self.resume:  # the options come from a file
            stored = {"name": self.kind.name, "options": self.options}
            more = {k: asdict(v) for k, v in forms.items() if k != "train"}
            return train.build_model({**stored, **asdict(forms["train"]), "forms": more}, rng)
        return self.kind.build_from(forms, self.options, rng)


def run(kind: type[Model], typed: Typed) -> None:
    """Train a model as the command line says."""
    job = resumed_job(kind, typed) if typed[Place].get("resume") else new_job(kind, typed)
    get_backend(job.backend)  # fail before any file is read or written if the device is missing
    sets, screen = job.load(), console()
    for each in sets.values():
        print_data(screen, each)
    dataset = sets["train"]
    out = job.out or _new_folder(kind.name, dataset)
    if issubclass(kind, ImageModel) and kind.conditional:
        train.loop.check_labels(kind, dataset)
    forms = {name: Form(x.shape, len(x.classes or ())) for name, x in sets.items()}
    _check_room(job, forms)
    with use_backend(job.backend, job.precision):
        network = job.build(forms)
        if isinstance(network, models.Draws) and not job.resume:
            _refuse_idle(network, typed[kind.Options])
        weights = sum(p.size for p in network.parameters())
        screen.print(f"model  {kind.name}, {weights:,} parameters; run folder {out}", markup=False)
        settings = train.as_given(network, job.settings) if job.resume else job.settings
        result = train.fit(network, sets, out=out, resume=job.resume, parts=job.parts, **settings)
    if result.interrupted:
        raise typer.Exit(128 + result.signal)
    name = models.typed(kind)
    own = [] if kind.name == name else ["--model", name]
    if not isinstance(network, models.Draws):
        screen.print(f"\nmistakes  {out / 'mistakes.png'}", markup=False)
        screen.print(f"next      {typed_here(*own, 'evaluate', out)}", markup=False)
        measure = typed_here(*own, "evaluate", "RUN", "--classifier", out)
        screen.print(f"          {measure}", markup=False)
        return
    screen.print(f"\nsamples  {out / 'samples.png'}", markup=False)
    draw = typed_here(*own, "sample", out, "--n", 64, "--out", "grid.png")
    screen.print(f"next     {draw}", markup=False)


def _refuse_idle(network: Any, typed: dict[str, Any]) -> None:
    """ValueError for an option that was typed and changes nothing in this model."""
    for each in described(network.Options):
        if each.name in typed and each.name in network.idle:
            value, why = in_words(typed[each.name]), network.idle[each.name]
            raise ValueError(
                f"{flags(each)[0]} {value} changes nothing in {network.name}: {why}; leave it out"
            )


def new_job(kind: type[Model], typed: Typed) -> Job:
    """A training of a new model."""
    place = Place(**typed[Place])
    options = {**defaults_on(kind, place.backend), **typed[kind.Options]}
    checked(kind.Options, options)  # before any data are read
    checked(Settings, {"epochs": 1, "batch_size": 1, **typed[Settings]})
    source, (more, parts) = _source(typed[Source]), _together(typed)
    return Job(
        kind, options, typed[Settings], source, place.backend, place.precision,
        None if place.out is None else Path(place.out),
        more={k: {**source, "source": v, "n": None} for k, v in more.items()}, parts=parts,
    )  # fmt: skip


def defaults_on(kind: type[Model], backend: str) -> dict[str, Any]:
    """The options that a backend gives other defaults than the model's own."""
    return {} if backend == "cupy" else defaults_on_processor(kind.Options)


def resumed_job(kind: type[Model], typed: Typed) -> Job:
    """The training of a run, with what was typed besides; refuses what does not fit it."""
    place = typed[Place]
    out = Path(place["out"]) if "out" in place else _newest(kind.name)
    config = train.RunFolder(out).read_config_to_resume()
    stored = config["model"]
    if stored["name"] != kind.name:
        raise ValueError(
            f"{out} holds a run of {stored['name']}, not of {kind.name}; resume it with "
            f"`tinygen train {stored['name']} --out {quoted(out)} --resume`"
        )
    settings = train.known_of(config["training"])
    source = _source(typed[Source])
    if config["data"]["source"] is not None:
        source = _same_source(out, typed[Source], config["data"])
    elif "data" not in typed[Source]:
        raise ValueError(
            f"{out} was trained on arrays from memory; name the data with --data, or go on in "
            "Python, by train.fit(..., resume=True)"
        )
    backend, precision = _same_place(out, config, place)
    (moved, parts), more = _together(typed), config.get("more_data", {})
    return Job(
        kind, {**stored["options"], **typed[kind.Options]}, {**settings, **typed[Settings]},
        source, backend, precision, out, resume=True, parts=parts,
        more={k: {**v["options"], "source": moved.get(k, v["source"])} for k, v in more.items()},
    )  # fmt: skip


def _together(typed: Typed) -> tuple[dict[str, str], dict[str, str]]:
    """The other data sets by name, and the runs that parts come from."""
    given = typed.get(Together, {})
    more = named("--more-data", given.get("more_data", ()), "NAME=DATA, each name once")
    if "train" in more:
        raise ValueError("--more-data train=...: the data set 'train' is that of --data")
    return more, named("--part", given.get("part", ()), "NAME=RUN, each name once")


def _source(typed: dict[str, Any]) -> dict[str, Any]:
    """The arguments of data.load."""
    return {"source": Source.data} | {"source" if k == "data" else k: v for k, v in typed.items()}


def _same_source(out: Path, typed: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """What the data of a run are loaded with; they may lie elsewhere now (--data)."""
    options = data["options"]
    for name in ("size", "channels", "n", "value_range", "paper"):
        had, wanted = options.get(name), typed.get(name)
        had = had[0] if isinstance(had, list) and had[0] == had[1] else had
        wanted = list(wanted) if isinstance(wanted, tuple) else wanted
        if name in typed and wanted != had:
            word = f"--{name.replace('_', '-')}"
            was = f"without {word}" if had is None else f"with {word} {had}"
            raise ValueError(f"{out} was trained {was}; a run is resumed with the same data")
    if "skip_broken" in typed:  # a file that was added since may be broken, which changes nothing
        options = {**options, "skip_broken": True}
    return {**options, "source": typed.get("data", data["source"])}


def _same_place(out: Path, config: dict[str, Any], typed: dict[str, Any]) -> tuple[str, str]:
    """Backend and precision of a resumed run: those of before, unless others were typed."""
    before, rounded = place_of(config)
    backend = typed.get("backend", before)
    if "backend" not in typed:
        try:
            get_backend(before)
        except DeviceError as error:
            raise DeviceError(
                f"{error}; {out} was computed there; with --backend numpy it goes on without, and "
                "its last bits may differ"
            ) from None
    same = rounded if backend == before else Place.precision
    return backend, typed.get("precision", same)


def _check_room(job: Job, forms: dict[str, Form]) -> None:
    """Refuse a model of images so large that its training does not fit in memory.

    The weights of large images are estimated by those of small ones: they grow with the pixels.
    """
    height, width, _ = forms["train"].shape
    if height * width <= LARGE:
        return
    few, many = (
        sum(p.size for p in job.build(_sized(forms, side)).parameters()) for side in (32, 64)
    )
    weights = few + (many - few) * (height * width - 32**2) // (64**2 - 32**2)
    check_room(
        f"{job.kind.name} for images of {width} x {height}: {weights:,} weights",
        16 * weights,  # float32 values, their gradients and two averages of these
        "give a smaller size, for example --size 64",
    )


def _sized(forms: dict[str, Form], side: int) -> dict[str, Form]:
    """The forms of images of another size."""
    return {k: replace(v, shape=(side, side, v.shape[2])) for k, v in forms.items()}


def _new_folder(model: str, data: Dataset) -> Path:
    """runs/MODEL-DATA, or with -2, -3, ... where that exists."""
    name = re.sub(r"[^\w.-]+", "-", f"{model}-{data.name}")
    path = Path("runs") / name
    count = 1
    while path.exists():
        count += 1
        path = Path("runs") / f"{name}-{count}"
    return path


def _newest(model: str) -> Path:
    """The run of this model in runs/ that was written to last."""
    found = sorted(Path("runs").glob(f"{model}-*/config.json"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise ValueError(
            f"no run of {model} in the folder runs/ to resume; name its folder with --out"
        )
    return found[-1].parent
