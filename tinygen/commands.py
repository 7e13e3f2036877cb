"""The commands of `tinygen`: train, sample, evaluate, info; deploy.py has more."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from . import deploy, losses, models, train
from .backend import BACKENDS, PRECISIONS, DeviceError, show_config, use_backend
from .backend import get as get_backend
from .data import Dataset, load
from .data.files import check_room, printable
from .data.labels import numbers_of
from .data.pixels import PAPERS
from .metrics import Quality
from .output import guarded, stdout
from .program import command, quoted, resume_command
from .random import Generator
from .terminal import BestOption, RunArgument, console
from .train import pictures
from .train.folder import place_of
from .version import __version__

app = typer.Typer(
    name="tinygen",
    help="Train image generators from scratch, look at what they draw, and measure them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


# The values that options take, from the tables that the code itself uses.
ModelName = StrEnum("ModelName", list(models.MODELS))  # type: ignore[misc]
Likelihood = StrEnum("Likelihood", models.vae.LIKELIHOODS)  # type: ignore[misc]
Prior = StrEnum("Prior", models.prior.PRIORS)  # type: ignore[misc]
OptimizerName = StrEnum("OptimizerName", models.adversarial.OPTIMIZERS)  # type: ignore[misc]
LossName = StrEnum("LossName", list(losses.GAN_LOSSES))  # type: ignore[misc]
Schedule = StrEnum("Schedule", train.loop.SCHEDULES)  # type: ignore[misc]
CONSTANT = Schedule("constant")
BackendName = StrEnum("BackendName", BACKENDS)  # type: ignore[misc]
NUMPY = BackendName("numpy")
Precision = StrEnum("Precision", PRECISIONS)  # type: ignore[misc]
Paper = StrEnum("Paper", PAPERS)  # type: ignore[misc]
FLOAT32 = Precision("float32")


def run() -> None:
    """Run the app; what a user can mend is said in a line or two, without a traceback."""
    with guarded():
        _run()


def _run() -> None:
    try:
        app(prog_name="tinygen")
    except train.Diverged as error:
        _fail(error, 1)
    except (ValueError, OSError, DeviceError) as error:
        _fail(error, 2)
    except MemoryError as error:
        _fail(f"there is not enough memory: {str(error) or 'for what was asked'}", 2)
    except ImportError as error:
        if "numba" not in str(error).lower():
            raise
        _fail(
            f"{error}; install a Numba that fits (`pip install -U numba`), or do without it: "
            "`pip uninstall numba`",
            2,
        )


def _fail(error: object, code: int) -> None:
    text = str(error)
    if isinstance(error, OSError) and error.strerror is not None:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = text.replace("`tinygen ", f"`{command()} ")  # as it can be typed here
    text = printable(text, keep="\n")
    console(stderr=True).print(f"error: {text}", markup=False, style="red")
    sys.exit(code)


def _version(asked: bool) -> None:
    if asked:
        print(f"tinygen {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


LARGE = 1 << 16  # pixels: of smaller images any model fits


# ---- train ---------------------------------------------------------------------------------------

TRAIN, DATA, MODEL = "Training", "Data", "Model (its own default where not given)"
VAES, GANS = "VAEs (likewise)", "GANs (likewise)"


@app.command("train")
def train_command(
    context: typer.Context,
    model: Annotated[
        ModelName,
        typer.Argument(
            metavar="MODEL", help=f"One of {', '.join(models.MODELS)}.", show_default=False
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="strokes (built in), mnist, fashion-mnist, or the path of a folder with images "
            "or IDX files, of a .npy or .npz file.",
            rich_help_panel=DATA,
        ),
    ] = "strokes",
    size: Annotated[
        int | None,
        typer.Option(help="Scale images to this height and width.", rich_help_panel=DATA),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(help="1 for grey, 3 for colour; converts.", rich_help_panel=DATA),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n", help="How many training images (strokes 20,000).", rich_help_panel=DATA
        ),
    ] = None,
    value_range: Annotated[
        str | None,
        typer.Option(
            metavar="LOW,HIGH",
            help="What is black and white in arrays and deep images (found in the values).",
            rich_help_panel=DATA,
        ),
    ] = None,
    paper: Annotated[
        Paper | None,
        typer.Option(
            help="What lies behind transparent images (that on which they show).",
            rich_help_panel=DATA,
        ),
    ] = None,
    skip_broken: Annotated[
        bool,
        typer.Option(
            "--skip-broken",
            help="Leave out image files that cannot be read.",
            rich_help_panel=DATA,
        ),
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the data (VAEs 10, GANs 30, classifier 8).", rich_help_panel=TRAIN
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Images an update (VAEs, conv-gan and classifier 128; other GANs 64).",
            rich_help_panel=TRAIN,
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Learning rate (VAEs and the classifier 1e-3; gan, cgan 2e-4; dcgan, cdcgan "
            "5e-4; conv-gan 1e-4).",
            rich_help_panel=TRAIN,
        ),
    ] = None,
    schedule: Annotated[
        Schedule, typer.Option(help="How the learning rate falls.", rich_help_panel=TRAIN)
    ] = CONSTANT,
    warmup: Annotated[
        int,
        typer.Option(help="Steps over which the learning rate rises.", rich_help_panel=TRAIN),
    ] = 0,
    ema: Annotated[
        float | None,
        typer.Option(
            help="Draw with an average of the weights of this decay, e.g. 0.999; 0 for none "
            "(convolutional GANs and classifier 0.999, others 0).",
            rich_help_panel=TRAIN,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Of weights, noise and order: the same seed, the same bits (on one machine).",
            rich_help_panel=TRAIN,
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run; by default a new one, runs/MODEL-DATA.", rich_help_panel=TRAIN
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in --out (or the newest).", rich_help_panel=TRAIN
        ),
    ] = False,
    evaluate_every: Annotated[
        int,
        typer.Option(
            help="Measure 2,000 drawn images after so many epochs, warn of mode collapse, and keep "
            "the weights with the lowest KID as the best; 0 for never.",
            rich_help_panel=TRAIN,
        ),
    ] = 0,
    classifier: Annotated[
        Path | None,
        typer.Option(
            help="Run of a classifier to measure with, for other data than mnist and strokes.",
            show_default=False,
            rich_help_panel=TRAIN,
        ),
    ] = None,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile/--no-compile",
            help="Run each step as a recorded plan, or operation by operation.",
            rich_help_panel=TRAIN,
        ),
    ] = True,
    backend: Annotated[
        BackendName,
        typer.Option(
            help="Where to compute: numpy (the processor), cupy (an NVIDIA GPU) or emulated (the "
            "GPU's kernels on the processor: slow, exact).",
            rich_help_panel=TRAIN,
        ),
    ] = NUMPY,
    precision: Annotated[
        Precision,
        typer.Option(
            help="Of the operands of matrix products on a GPU: tf32 and bf16 use tensor cores, "
            "with 10 and 7 bits after the point; weights stay float32.",
            rich_help_panel=TRAIN,
        ),
    ] = FLOAT32,
    hidden: Annotated[
        str | None,
        typer.Option(
            help="Widths of the hidden layers, e.g. 512,256: a VAE's encoder, a GAN's generator.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(
            help="Scales the channels of convolutional models (1; dcgan and cdcgan without a GPU "
            "0.5, a quarter of the arithmetic).",
            rich_help_panel=MODEL,
        ),
    ] = None,
    latent: Annotated[
        int | None, typer.Option(help="Length of the latent code.", rich_help_panel=MODEL)
    ] = None,
    features: Annotated[
        int | None,
        typer.Option(help="classifier: length of its description.", rich_help_panel=MODEL),
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(
            help="Weight of the KL term (alpha, where the loss is mse).", rich_help_panel=VAES
        ),
    ] = None,
    likelihood: Annotated[
        Likelihood | None,
        typer.Option(help="What a pixel is; mse is half the squared error.", rich_help_panel=VAES),
    ] = None,
    sigma: Annotated[
        float | None,
        typer.Option(help="Width of the gaussian likelihood.", rich_help_panel=VAES),
    ] = None,
    loss: Annotated[
        LossName | None,
        typer.Option(metavar="NAME", help=f"{', '.join(losses.GAN_LOSSES)}.", rich_help_panel=GANS),
    ] = None,
    r1: Annotated[
        float | None,
        typer.Option(
            help="Weight of the slope penalty at real images (1, or 0 where the next two bound "
            "the slope).",
            rich_help_panel=GANS,
        ),
    ] = None,
    gradient_penalty: Annotated[
        float | None,
        typer.Option(
            help="Weight of the WGAN-GP penalty (0; wasserstein 10).", rich_help_panel=GANS
        ),
    ] = None,
    spectral_norm: Annotated[
        bool | None,
        typer.Option(
            "--spectral-norm/--no-spectral-norm",
            help="Divide the discriminator's weights by their largest singular values (no).",
            rich_help_panel=GANS,
        ),
    ] = None,
    critic_steps: Annotated[
        int | None,
        typer.Option(
            help="Updates of the discriminator for one of the generator, each on a batch of its "
            "own (1).",
            rich_help_panel=GANS,
        ),
    ] = None,
    d_lr: Annotated[
        float | None,
        typer.Option(
            help="The discriminator's own learning rate (--lr; dcgan, cdcgan four times it).",
            rich_help_panel=GANS,
        ),
    ] = None,
    optimizer: Annotated[
        OptimizerName | None, typer.Option(help="Optimizer (adam).", rich_help_panel=GANS)
    ] = None,
    prior: Annotated[
        Prior | None, typer.Option(help="Distribution of the noise (normal).", rich_help_panel=GANS)
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(
            help="Dropout of the discriminator (gan 0.3, dcgan 0) or of the classifier (0.4).",
            rich_help_panel=GANS,
        ),
    ] = None,
    projection: Annotated[
        bool | None,
        typer.Option(
            "--projection/--planes",
            help="cdcgan: how the discriminator is told the label (projection).",
            rich_help_panel=GANS,
        ),
    ] = None,
) -> None:
    """Train a model on images; leave a folder with samples, curves and the weights.

    [dim]tinygen train vae[/dim]                          on the built-in strokes, a minute or two

    [dim]tinygen train gan --data mnist --epochs 30[/dim]

    [dim]tinygen train dcgan --data mnist --epochs 10[/dim]

    [dim]tinygen train vae --data photos/ --size 32 --hidden 512,256[/dim]

    [dim]tinygen train classifier --data photos/ --size 32[/dim]  to measure generators with
    """
    given = {
        "hidden": None if hidden is None else _widths(hidden), "latent": latent, "beta": beta,
        "likelihood": likelihood, "sigma": sigma, "prior": prior, "loss": loss,
        "optimizer": optimizer, "dropout": dropout, "r1": r1, "gradient_penalty": gradient_penalty,
        "spectral_norm": spectral_norm, "critic_steps": critic_steps, "d_lr": d_lr,
        "width": width, "projection": projection, "features": features,
    }  # fmt: skip
    options: dict[str, Any] = {
        k: str(v) if isinstance(v, StrEnum) else v for k, v in given.items() if v is not None
    }
    how: dict[str, Any] = {
        "epochs": epochs, "batch_size": batch_size, "lr": lr, "schedule": str(schedule),
        "warmup": warmup, "ema": ema, "seed": seed, "compiled": compiled,
        "evaluate_every": evaluate_every, "classifier": classifier,
    }  # fmt: skip
    source: dict[str, Any] = {
        "source": data, "size": size, "channels": channels, "n": n,
        "value_range": None if value_range is None else _range(value_range),
        "paper": None if paper is None else str(paper), "skip_broken": skip_broken,
    }  # fmt: skip
    if resume:
        out = out or _newest(model)
        config = train.RunFolder(out).read_config_to_resume()
        if config["model"]["name"] != model:
            raise ValueError(
                f"{out} holds a run of {config['model']['name']}, not of {model}; resume it with "
                f"`tinygen train {config['model']['name']} --out {quoted(out)} --resume`"
            )
        default = ("DEFAULT", "DEFAULT_MAP")
        asked = {k for k in context.params if _source(context, k) not in default}
        options = {**config["model"]["options"], **options}
        how = {k: v if k in asked else config["training"].get(k, v) for k, v in how.items()}
        if config["data"]["source"] is not None:
            source = _same_source(out, source, config["data"], asked)
        backend, precision = _same_place(out, config, backend, precision, asked)
    make: Any = models.find(model)
    _refuse_foreign(make, options)
    if backend != BackendName("cupy") and not resume:
        options = {**make.on_processor, **options}
    get_backend(str(backend))  # fail early if the device is missing
    dataset = load(source.pop("source"), **source)
    show = console()
    _show_data(show, dataset)
    if out is None:
        out = _new_folder(model, dataset)
    if make.conditional:
        train.loop.check_labels(make, dataset)
    classes = len(dataset.classes) if dataset.classes is not None else None
    _check_room(make, dataset, classes, options)
    with use_backend(str(backend), str(precision)):
        rng = Generator(how["seed"])
        if resume:  # the options come from a file
            stored = {"name": str(model), "shape": dataset.shape, "classes": classes}
            network = train.build_model({**stored, "options": options}, rng)
        else:
            network = make(dataset.shape, classes=classes, rng=rng, **options)
        weights = sum(p.size for p in network.parameters())
        show.print(f"model  {model}, {weights:,} parameters; run folder {out}", markup=False)
        result = train.fit(network, dataset, out=out, resume=resume, **how)
    if result.interrupted:
        raise typer.Exit(128 + result.signal)
    if not isinstance(network, models.Draws):
        show.print(f"\nmistakes  {out / 'mistakes.png'}", markup=False)
        show.print(f"next      {command('evaluate', out)}", markup=False)
        judge = command("evaluate", "RUN", "--classifier", out)
        show.print(f"          {judge}", markup=False)
        return
    show.print(f"\nsamples  {out / 'samples.png'}", markup=False)
    draw = command("sample", out, "--n", 64, "--out", "grid.png")
    show.print(f"next     {draw}", markup=False)


def _check_room(make: Any, data: Dataset, classes: int | None, options: dict[str, Any]) -> None:
    """Refuse a model of images so large that its training does not fit in memory.

    The weights of large images are estimated by those of small ones: they grow with the pixels.
    """
    height, width, channels = data.shape
    if height * width <= LARGE:
        return
    few, many = (
        sum(p.size for p in make((side, side, channels), classes=classes, rng=Generator(0),
                                 **options).parameters())
        for side in (32, 64)
    )  # fmt: skip
    weights = few + (many - few) * (height * width - 32**2) // (64**2 - 32**2)
    check_room(
        f"{make.name} for images of {width} x {height}: {weights:,} weights",
        16 * weights,  # float32 values, their gradients and two averages of these
        "give a smaller size, for example --size 64",
    )


def _show_data(show: Console, dataset: Dataset) -> None:
    """What was read, and how."""
    show.print(f"data   {dataset!r}", markup=False)
    for line in dataset.report.lines():
        style = "yellow" if line.startswith("warning") else None
        show.print(f"       {line}", markup=False, style=style)


def _same_source(
    out: Path, given: dict[str, Any], data: dict[str, Any], asked: set[str]
) -> dict[str, Any]:
    """What the data of a run are loaded with; they may lie elsewhere now (--data)."""
    options = data["options"]
    for name in ("size", "channels", "n", "value_range", "paper"):
        had, wanted = options.get(name), given[name]
        had = had[0] if isinstance(had, list) and had[0] == had[1] else had
        if name in asked and wanted != had:
            word = f"--{name.replace('_', '-')}"
            was = f"without {word}" if had is None else f"with {word} {had}"
            raise ValueError(f"{out} was trained {was}; a run is resumed with the same data")
    if given["skip_broken"]:  # a file that came later may be broken; that it is, changes nothing
        options = {**options, "skip_broken": True}
    return {**options, "source": given["source"] if "data" in asked else data["source"]}


def _same_place(
    out: Path, config: dict[str, Any], backend: BackendName, precision: Precision, asked: set[str]
) -> tuple[BackendName, Precision]:
    """Where a run is computed on: where it was before, unless something else was asked for."""
    before, rounded = place_of(config)
    if "backend" not in asked:
        backend = BackendName(before)
        try:
            get_backend(before)
        except DeviceError as error:
            raise DeviceError(
                f"{error}; {out} was computed there; with --backend numpy it goes on without, and "
                "its last bits may differ"
            ) from None
    if "precision" not in asked and backend == before:
        precision = Precision(rounded)
    return backend, precision


def _source(context: typer.Context, name: str) -> str:
    """Where the value of an option came from: COMMANDLINE, DEFAULT, ..."""
    source = context.get_parameter_source(name)
    return "DEFAULT" if source is None else source.name


def _range(text: str) -> list[float]:
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise ValueError(f"--value-range {text!r}, expected LOW,HIGH such as 0,4095") from None
    return [low, high]


def _widths(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", text):
        raise ValueError(f"--hidden {text!r}, expected widths separated by commas: 512,256")
    return tuple(int(n) for n in text.split(","))


def _refuse_foreign(build: Any, options: dict[str, Any]) -> None:
    """Options of another model are an error, not ignored."""
    known = build.option_names()
    foreign = [k for k in options if k not in known]
    if foreign:
        took, takes = (
            ", ".join("--" + k.replace("_", "-") for k in names)
            for names in (foreign, sorted(known - {"lr", "betas"}))
        )
        raise ValueError(f"{build.name} has no option {took}; it takes {takes}")


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


# ---- sample --------------------------------------------------------------------------------------


@app.command("sample")
def sample_command(
    run_folder: RunArgument,
    n: Annotated[int, typer.Option("--n", help="How many images.", min=1)] = 64,
    out: Annotated[Path, typer.Option(help="The PNG file to write.")] = Path("samples.png"),
    label: Annotated[
        str | None,
        typer.Option(help="Draw this class, by its name or number (models trained with labels)."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Image i of a seed is always the same.", min=0)] = 0,
    interpolate: Annotated[
        bool, typer.Option("--interpolate", help="Rows that turn from one image into another.")
    ] = False,
    traverse: Annotated[
        bool, typer.Option("--traverse", help="Rows in which one entry of the code changes.")
    ] = False,
    around: Annotated[
        Path | None, typer.Option(help="Draw variations of this image (VAEs).")
    ] = None,
    spread: Annotated[float, typer.Option(help="With --around: how far they vary.", min=0)] = 1.0,
    best: BestOption = False,
) -> None:
    """Draw new images with a trained model and write them as one picture.

    [dim]tinygen sample runs/vae-strokes --n 64 --out grid.png[/dim]

    [dim]tinygen sample runs/cgan-mnist --label 7 --out sevens.png[/dim]
    """
    result = train.open_run(run_folder, best=best)
    if sum((interpolate, traverse, around is not None)) > 1:
        raise ValueError("choose one of --interpolate, --traverse and --around")
    columns = None
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out {out}: pictures are written as PNG; name a file ending in .png")
    rows = max(1, n // 10)
    if interpolate:
        columns = min(n, 10)
        images = result.interpolate(rows, columns, label, seed)
    elif traverse:
        columns = min(n, 10)
        images = result.traverse(rows, columns, label, seed)
    elif around is not None:
        height, width, channels = result.model.shape
        how = result.data.get("options", {})
        image = load_image(
            around, (height, width), channels, how.get("paper"), how.get("value_range")
        )
        images = result.around(image, n, spread, label, seed)
    else:
        images = result.sample(n, label, seed)
        by_label = pictures.label_column(result.model) is not None
        columns = pictures.COLUMNS if by_label and label is None else None
    text = pictures.note(result.model, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    result.picture(images, columns).save(out, text)
    console().print(f"{len(images)} images in {out}", markup=False)


def load_image(
    path: Path,
    size: tuple[int, int],
    channels: int,
    paper: str | None = None,
    value_range: tuple[float, float] | None = None,
) -> NDArray[Any]:
    """One image file as uint8 (H, W, C) of the given size and channels."""
    from .data import pixels

    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected a PNG or JPEG image")
    image: NDArray[Any] = pixels.read_image(path, size, channels, paper, value_range)
    return image


# ---- export, verify, explore ---------------------------------------------------------------------

app.command("export")(deploy.export_command)
app.command("verify")(deploy.verify_command)
app.command("explore")(deploy.explore_command)


# ---- warmup --------------------------------------------------------------------------------------


@app.command("warmup")
def warmup_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Models to prepare; all by default."),
    ] = None,
) -> None:
    """Compile the kernels of the models now, so that the first training starts at once.

    The code is kept in the user's cache folder (or $TINYGEN_CACHE), under a name that changes with
    the kernels' sources, the compiler and the processor.
    """
    from .backend import current
    from .plan import fuse

    if not fuse.available(current()):
        raise ValueError(
            "there is nothing to compile without Numba, and trainings run on NumPy alone; for the "
            'fast kernels run `pip install "tinygen[fast]"`'
        )
    show = console()
    builds: list[Any] = [models.find(name) for name in names or models.MODELS]
    for build in builds:
        began = time.perf_counter()
        data = load("strokes", n=2 * build.batch_size)
        train.fit(build(data.shape, classes=10, rng=Generator(0)), data, 1, progress=False)
        name = build.name
        show.print(f"{name:<10} {time.perf_counter() - began:5.1f} s", markup=False)
    from tinygen_kernels.cache import usable
    from tinygen_kernels.cpu.kept import cache_folder

    if usable(cache_folder()):  # else the reason was said
        show.print(f"kept in {cache_folder()}", markup=False)


# ---- info ----------------------------------------------------------------------------------------


@app.command("info")
def info_command(
    run_folder: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)
    ] = None,
    system: Annotated[
        bool, typer.Option("--system", help="Show versions, processor, GPU and backends instead.")
    ] = False,
) -> None:
    """Show what a run is: architecture with shapes and parameters, data, results."""
    if system:
        print(show_config())
        return
    if run_folder is None:
        raise ValueError("info: name the folder of a run, or ask for --system")
    result = train.open_run(run_folder)
    config = train.RunFolder(run_folder).read_config()
    show = console()
    model = result.model
    noise = model.noise if isinstance(model, models.Draws) else None
    code = "" if noise is None else f", code {math.prod(noise.shape)}"
    show.print(f"[bold]{model.name}[/bold]  images {model.shape}{code}"
               + (f", {model.classes} classes" if model.classes else ""))  # fmt: skip
    show.print(repr(model), markup=False)
    table = Table(show_header=False, box=None, pad_edge=False)
    data = config["data"]
    shape = " x ".join(str(v) for v in data["shape"])

    def row(name: str, text: str) -> None:
        table.add_row(name, escape(text))

    row("options", ", ".join(f"{k} {v}" for k, v in model.options.items()))
    if model.classes and data.get("classes"):
        row("classes", _numbered(data["classes"]))
    held_out = f"{data['test_n']:,} held out, hash {data['fingerprint'][:12]}"
    row("data", f"{data['name']}: {data['n']:,} images of {shape}, {held_out}")
    row("training", ", ".join(f"{k} {v}" for k, v in config["training"].items()))
    row("versions", ", ".join(f"{k} {v}" for k, v in config["versions"].items()))
    row("weights", f"hash {pictures.fingerprint(model)}")
    if result.epochs:
        last = result.epochs[-1]
        figures = ", ".join(f"{k} {v:.4g}" for k, v in last["losses"].items())
        if last.get("validation") is not None:
            figures += f", held out {last['validation']:.2f} {model.unit}".rstrip()
        done = f"epoch {last['epoch']} of {config['training']['epochs']}, step {last['step']}"
        row("results", f"{done}: {figures}")
    kept = train.RunFolder(run_folder).read_evaluation(pictures.fingerprint(model))
    for f in kept["figures"]:
        unit = f.get("unit", train.Figure.unit)
        figure = f"{f['name']}, {f['split']}: {f['value']:.2f} ± {f['error']:.2f} {unit}"
        row("", f"{figure} ({f['protocol']})")
    if kept["quality"] is not None:
        measured = (
            f"{m['name']} {m['value']:.4g}"
            + ("" if m["floor"] is None else f" (real {m['floor']:.4g})")
            for m in kept["quality"]["measures"]
            if m["name"] in train.loop.TOLD
        )
        row("", f"{', '.join(measured)} ({kept['quality']['protocol']})")
    show.print(table)
    if result.interrupted:
        again = resume_command(model.name, run_folder, *place_of(config))
        show.print(f"not finished; go on with `{again}`", markup=False)


def _numbered(classes: list[str]) -> str:
    """The classes with their numbers, where they are not called by numbers."""
    if any(number is not None for number in numbers_of(classes)):
        return ", ".join(classes)
    return ", ".join(f"{k} {name}" for k, name in enumerate(classes))


# ---- evaluate ------------------------------------------------------------------------------------


@app.command("evaluate")
def evaluate_command(
    run_folder: RunArgument,
    data: Annotated[
        str | None,
        typer.Option(
            help="Other data than it was trained on; scaled to the size of its images.",
            show_default=False,
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            help="How many images to draw and measure; 0 leaves it out (10,000, or as many as are "
            "held out if those are fewer).",
            show_default=False,
            min=0,
        ),
    ] = None,
    classifier: Annotated[
        Path | None,
        typer.Option(
            help="Run of a classifier to measure them with, for other data than mnist and strokes.",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[int, typer.Option(help="VAEs: codes an image for the NLL.", min=1)] = 100,
    nll_images: Annotated[
        int, typer.Option(help="VAEs: images of each split for the NLL; 0 leaves it out.", min=0)
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Of the noise.", min=0)] = 0,
    best: BestOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure what a model draws against held-out images, beside real training images (floor).

    FID, KID, precision, recall, density, coverage, classes, near copies, by the features of a small
    classifier. Of a VAE also the negative ELBO and the importance-sampled NLL; of a classifier its
    accuracy.
    """
    result = train.open_run(run_folder, best=best)
    model = result.model
    dataset = result.load_data(data)
    if data is not None:
        _show_data(console(stderr=as_json), dataset)
    bar = Progress(transient=True, console=Console(stderr=True) if as_json else None)
    tasks: dict[str, Any] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done)

    own = train.has_figures(model)
    figures: list[train.Figure] = []
    extractor = quality = None
    why = ""  # nothing was measured of what it draws
    with bar:
        if classifier is not None or (n != 0 and isinstance(model, models.Draws)):
            try:
                extractor = train.find_extractor(dataset, classifier)
                quality = train.Gauge(model, dataset, extractor, n, seed=seed).measure(report)
            except ValueError as error:
                if classifier is not None or not own:
                    raise
                why = str(error)
        if own or quality is None:
            figures = train.evaluate(
                result, dataset, samples=samples, nll_images=nll_images, seed=seed, report=report
            )
    kept: dict[str, Any] = {
        "weights": pictures.fingerprint(model),
        "figures": [dataclasses.asdict(f) for f in figures],
        "quality": None if quality is None else quality.describe(),
    }
    safe = data is None and _keep(train.RunFolder(run_folder), kept)  # before anything is printed
    if as_json:
        print(json.dumps(kept, indent=2))
    else:
        _show_evaluation(figures, quality, extractor, why)
    lost = stdout().lost
    if lost is not None and not safe:
        raise OSError(f"the figures are lost: they could not be shown ({lost.strerror}), nor kept")


def _show_evaluation(
    figures: list[train.Figure],
    quality: Quality | None,
    extractor: train.ClassifierExtractor | None,
    why: str,
) -> None:
    show = console()
    if figures:
        _show_figures(show, figures)
    if quality is not None and extractor is not None:
        _show_quality(show, quality, extractor)
    if why:
        show.print(f"what it draws was not measured: {why}", markup=False)


def _keep(folder: train.RunFolder, kept: dict[str, Any]) -> bool:
    """Keep figures in the run; a full disk gives a note only, as the figures are shown, too."""
    try:
        folder.write_evaluation(kept)
    except OSError as error:
        console(stderr=True).print(
            f"warning: the figures were not kept: {error}", markup=False, soft_wrap=True,
            style="yellow",
        )  # fmt: skip
        return False
    return True


def _show_figures(show: Console, figures: list[train.Figure]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("figure", "split"):
        table.add_column(column)
    for column in (figures[0].unit, "images"):
        table.add_column(column, justify="right")
    for f in figures:
        table.add_row(f.name, f.split, f"{f.value:.2f} ± {f.error:.2f}", f"{f.images:,}")
    show.print(table)
    for protocol in dict.fromkeys(f"{f.name}: {f.protocol}" for f in figures):
        show.print(f"[dim]{protocol}[/dim]")


def _show_quality(show: Console, quality: Quality, extractor: train.ClassifierExtractor) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("what it draws")
    for column in ("generated", "floor"):
        table.add_column(column, justify="right")
    table.add_column("better")
    for row in quality.rows():
        table.add_row(*row)
    show.print(table)
    show.print(quality.protocol, markup=False, style="dim")
    show.print(f"classifier {extractor}, {extractor.sha256}", markup=False, style="dim")
    for fault in quality.diagnosis.splitlines():
        show.print(f"warning: {fault}", markup=False, style="yellow")
