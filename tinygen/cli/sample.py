"""`tinygen sample`: new images of a trained model, as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..data.files import printable
from ..data.report import Report
from ..images import Film, Picture
from ..models import MODELS, Draws, Model
from ..models.contract import chosen
from ..options import Options, described, option
from ..runs import Run, pictures
from ..runs.drawing import Drawing
from .console import BEST, console, open_run
from .options import Elsewhere, Group, Typed, checked, function, named, read_text


@dataclass(frozen=True, kw_only=True)
class Target(Options):
    """Which run draws, and what it writes."""

    run: str = option(help="Folder of a run.", flags="RUN")
    out: str = option("samples.png", help="The PNG file to write.", metavar="FILE")
    best: bool = option(False, help=BEST, flags="--best")


def sample(typed: Typed) -> None:
    """Draw and write a picture as the command line says."""
    target, drawing = checked(Target, typed[Target]), checked(Drawing, typed[Drawing])
    run, out = open_run(target.run, best=target.best), Path(target.out)
    if "spread" in typed[Drawing] and drawing.around is None:
        raise ValueError("--spread says how far images vary with --around FILE; give both")
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out {out}: pictures are written as PNG; name a file ending in .png")
    text = pictures.note(run.model, drawing.seed)
    if drawing.film:
        settings = settings_of(run.model, drawing.set or ())
        frames = run.film(drawing.n, drawing.label, drawing.seed, **settings)
        columns = columns_of(run, drawing)
        made: Picture = Film([run.picture(frame, columns) for frame in frames])
        what = f"{frames.shape[1]} images in {len(frames)} frames"
    else:
        images, columns = draw(run, drawing)
        made, what = run.picture(images, columns), f"{len(images)} images"
    out.parent.mkdir(parents=True, exist_ok=True)
    made.save(out, text)
    console().print(f"{what} in {out}", markup=False)


def columns_of(run: Run, drawing: Drawing) -> int | None:
    """How many columns a sheet of samples has: ten where each row shows a class."""
    by_class = pictures.label_column(run.model) is not None and drawing.label is None
    return pictures.COLUMNS if by_class else None


def draw(run: Run, drawing: Drawing) -> tuple[NDArray[Any], int | None]:
    """The requested images, and the number of columns to show them in."""
    n, label, seed = drawing.n, drawing.label, drawing.seed
    rows, columns = max(1, n // 10), min(n, 10)
    settings = settings_of(run.model, drawing.set or ())
    if drawing.interpolate:
        return run.interpolate(rows, columns, label, seed, settings), columns
    if drawing.traverse:
        return run.traverse(rows, columns, label, seed, settings), columns
    if drawing.around is not None:
        height, width, channels = run.model.shape
        how = run.data.get("options", {})
        read_as = (how.get("paper"), how.get("value_range"))
        image = load_image(Path(drawing.around), (height, width), channels, *read_as)
        return run.around(image, n, drawing.spread, label, seed, settings), None
    if drawing.vary is not None:
        name, values = varied(run.model, drawing.vary, settings)
        rows, by_class = max(1, n // len(values)), pictures.label_column(run.model)
        if by_class is not None and label is None and rows > by_class.count:
            rows -= rows % by_class.count  # each class as often
        return run.vary(name, values, rows, label, seed, settings), len(values)
    return run.sample(n, label, seed, **settings), columns_of(run, drawing)


def settings_of(model: Model, texts: Sequence[str]) -> dict[str, Any]:
    """Settings of a drawing from texts NAME=VALUE; ValueError for those the model does not have."""
    given = named("--set", texts, "NAME=VALUE, each name once")
    if not isinstance(model, Draws):
        return {}
    kinds = {each.name: each for each in described(type(model).Settings)}
    read = {k: read_text(kinds[k], v) if k in kinds else v for k, v in given.items()}
    return {k: v for k, v in chosen(model, read).items() if k in given}


def varied(model: Model, text: str, fixed: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The setting that --vary names, and its values; ValueError where --set has it, too."""
    what = "NAME=VALUES, such as steps=2,4,8"
    ((name, texts),) = named("--vary", [text], what).items()
    if "" in texts.split(","):
        raise ValueError(f"--vary {text!r}, expected {what}")
    if name in fixed:
        raise ValueError(f"--vary {text!r} and --set {name}=...: leave one of them out")
    return name, [settings_of(model, [f"{name}={value}"]).get(name) for value in texts.split(",")]


def settings_as_options() -> Elsewhere:
    """The settings of all models as options, which they are not: each with what to write."""
    kinds = (kind for kind in MODELS.values() if issubclass(kind, Draws))
    settings = (each for kind in kinds for each in described(kind.Settings))
    return {each.name: (each, f"write --set {each.name}=VALUE") for each in settings}


HELP = """Draw new images with a trained model and write them as one picture.

[dim]tinygen sample runs/vae-strokes --n 64 --out grid.png[/dim]

[dim]tinygen sample runs/cgan-mnist --label 7 --out sevens.png[/dim]

[dim]tinygen sample runs/flow-mnist --film --out film.png[/dim]     from noise to digits

[dim]tinygen sample runs/flow-mnist --vary guidance=0,1,2,4,8[/dim]
"""
sample_command = function(
    "sample", [Group("Drawing", Drawing), Group("Run", Target)], sample, settings_as_options()
)


def load_image(
    path: Path,
    size: tuple[int, int],
    channels: int,
    paper: str | None = None,
    value_range: tuple[float, float] | None = None,
) -> NDArray[Any]:
    """One image file as uint8 (H, W, C) of the given size and channels."""
    from ..data.pictures import read_image

    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected a PNG or JPEG image")
    report = Report()
    image: NDArray[Any] = read_image(path, size, channels, paper, value_range, report)
    for line in report.remarks():
        console().print(f"{printable(path.name)}: {line}", markup=False)
    return image
