"""`tinygen distill RUN`: a student that draws in one step what a flow draws in many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import typer
from rich.progress import Progress

from .. import train
from ..backend import use_backend
from ..data import Dataset
from ..models import Form, Model, Student, student
from ..models.contract import chosen
from ..models.flow import Flow
from ..options import Options, at_least, option
from ..program import command as typed_here
from ..program import quoted
from ..random import Generator
from ..runs import Run, pairs
from ..runs.folder import place_of
from ..train import RunFolder, Settings
from .console import console, open_run
from .options import Group, Typed, checked, function, in_words
from .sample import settings_of


@dataclass(frozen=True, kw_only=True)
class Distilling(Options):
    """Whose student is trained, on what, and where its run lies."""

    run: str | None = option(
        None, help="Folder of the teacher, a run of flow.", flags="RUN",
        shown="to resume, the teacher of the run",
    )  # fmt: skip
    out: str | None = option(
        None, help="Folder of the student's run.", shown="RUN-student", metavar="FOLDER"
    )
    resume: bool = option(False, help="Continue the student's run in --out.", flags="--resume")
    pairs: int = option(
        student.Options.pairs, at_least(2), "How many pictures the teacher draws to learn from."
    )
    critic: float = option(
        0.1, at_least(0), "How much a critic of its pictures counts beside the pairs; 0 for none."
    )
    set: tuple[str, ...] | None = option(
        None, help="A setting of the teacher's drawings, such as steps=16. Once for each.",
        metavar="NAME=VALUE",
    )  # fmt: skip


@dataclass
class Job:
    """The training of a student: of a teacher, with the student's options."""

    teacher: Run
    options: dict[str, Any]
    settings: dict[str, Any]  # of the training
    out: Path
    resume: bool


def distill(typed: Typed) -> None:
    """Train a student as the command line says."""
    asked = checked(Distilling, typed[Distilling])
    if asked.run is None and not (asked.resume and asked.out):
        raise ValueError(
            "name the teacher, the folder of a run of flow: `tinygen distill RUN`; or a student to "
            "go on with: `tinygen distill --out FOLDER --resume`"
        )
    out = Path(asked.out or f"{Path(asked.run or '')}-student")
    fit(resumed(asked, typed, out) if asked.resume else new(asked, typed[Settings], out))


def opened(path: str) -> Run:
    """The teacher; ValueError for a run that is none."""
    run = open_run(path)
    if not isinstance(run.model, Flow):
        raise ValueError(
            f"{path} holds a run of {run.model.name}; only a flow has steps to save: train one "
            "with `tinygen train flow`"
        )
    return run


def new(asked: Distilling, settings: dict[str, Any], out: Path) -> Job:
    """The training of a new student."""
    path = str(asked.run)
    teacher = opened(path)
    if RunFolder(out).used():
        raise ValueError(
            f"{out} is there already; name another folder with --out, or go on with "
            f"`tinygen distill {quoted(path)} --out {quoted(out)} --resume`"
        )
    model: Any = teacher.model
    options = {
        "width": model.options.width, "blocks": model.options.blocks,
        "teacher": path, "sha256": pairs.sha256_of(teacher),
        "pairs": asked.pairs, "drawn": in_one_line(model, asked.set or ()),
        "critic": asked.critic,
    }  # fmt: skip
    return Job(teacher, options, settings, out, False)


def resumed(asked: Distilling, typed: Typed, out: Path) -> Job:
    """The training of a run; refuses another teacher, and other drawings of it."""
    config = RunFolder(out).read_config_to_resume()
    stored = config["model"]
    if stored["name"] != Student.name:
        raise ValueError(f"{out} holds a run of {stored['name']}, which is no student")
    options = stored["options"]
    path = asked.run or options["teacher"]
    if not asked.run and not Path(path).is_dir():
        raise ValueError(
            f"{out} is a student of {path}, which is no folder here; name the folder of its "
            f"teacher: `tinygen distill FOLDER --out {quoted(out)} --resume`"
        )
    teacher = opened(path)
    found = pairs.sha256_of(teacher)
    if found != options["sha256"]:
        raise ValueError(
            f"{out} is a student of {options['teacher']} as it was with the SHA-256 "
            f"{options['sha256'][:12]}, and {path} has {found[:12]}; name that teacher, or "
            "begin a student of this one in another folder"
        )
    drawn = in_one_line(teacher.model, stored_settings(teacher.model, options))
    given = None if asked.set is None else in_one_line(teacher.model, asked.set)
    for word, was, now in (
        ("--pairs", options["pairs"], typed[Distilling].get("pairs")), ("--set", drawn, given),
        ("--critic", options.get("critic", 0.0), typed[Distilling].get("critic")),
    ):  # fmt: skip
        if now not in (None, was):
            raise ValueError(f"{out} learns with {word} {was}; a run is resumed with the same")
    settings = train.known_of(config["training"])
    return Job(teacher, options, {**settings, **typed[Settings]}, out, True)


def stored_settings(model: Model, options: Mapping[str, Any]) -> list[str]:
    """The settings that a student's pairs are drawn with, as texts NAME=VALUE.

    Older versions kept those, too, that change nothing in this teacher, which it now refuses.
    """
    texts = options["drawn"].split()
    return [text for text in texts if text.partition("=")[0] not in cast(Any, model).idle]


def in_one_line(model: Model, texts: Sequence[str]) -> str:
    """All settings of a teacher's drawings, as --set takes them; those not in `texts` by default.

    What the student learned stays known so, even if another version draws with other defaults.
    """

    def word(value: Any) -> str:
        return ",".join(map(word, value)) if isinstance(value, tuple) else f"{value}"

    drawn = chosen(cast(Any, model), settings_of(model, texts))
    return " ".join(f"{name}={word(value)}" for name, value in drawn.items())


def fit(job: Job) -> None:
    """Draw the pairs, and train."""
    screen, teacher, model = console(), job.teacher, cast(Flow, job.teacher.model)
    real = teacher.load_data()
    assert teacher.folder is not None
    backend, precision = place_of(teacher.folder.read_config())
    with use_backend(backend, precision):
        made = draw(job)
        sets = {"train": real, student.PAIRS: made}
        if job.options.get("critic"):
            sets[student.REAL] = pairs.as_many(real, len(made))
        forms = {name: Form(data.shape, len(data.classes or ())) for name, data in sets.items()}
        forms["train"] = Form(model.shape, model.classes)
        seed = job.settings.get("seed", Settings.seed)
        learner = Student(forms, student.Options(**job.options), Generator(seed))
        learner.net.load_state_dict(model.net.state_dict())
        settings = train.as_given(learner, job.settings) if job.resume else job.settings
        result = train.fit(learner, sets, out=job.out, resume=job.resume, **settings)
    if result.interrupted:
        raise typer.Exit(128 + result.signal)
    screen.print(f"\nsamples  {job.out / 'samples.png'}", markup=False)
    screen.print(f"next     {typed_here('evaluate', job.out)}", markup=False)


def draw(job: Job) -> Dataset:
    """What the teacher draws for the student, with a bar, and where it lies."""
    n, teacher = job.options["pairs"], job.teacher
    settings = settings_of(teacher.model, stored_settings(teacher.model, job.options))
    with Progress(transient=True, console=console()) as bars:
        bar = bars.add_task("the teacher draws", total=n)
        seed = job.settings.get("seed", Settings.seed)
        made, where = pairs.kept_pairs(
            teacher, n, seed, settings, lambda k, _: bars.update(bar, completed=k),
            sha256=job.options["sha256"],
        )  # fmt: skip
    console().print(where, markup=False, soft_wrap=True)
    return made


HELP = """Train a student that draws in one step what a flow draws in many.

The teacher draws pictures, and the student learns them from their noise; a critic beside it learns
to tell its pictures from the data, which keeps them sharp. It is a run as others: sample, evaluate
and export it.

[dim]tinygen distill runs/flow-mnist[/dim]

[dim]tinygen distill runs/flow-mnist --set guidance=2 --pairs 50000 --epochs 40[/dim]
"""
defaults = Student.training_defaults() | {"lr": student.Options.lr}
distill_command = function(
    "distill",
    [
        Group("Student", Distilling),
        Group("Training", Settings, {k: in_words(v) for k, v in defaults.items()}),
    ],
    distill,
)
