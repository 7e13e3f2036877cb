"""The program: its commands, and how user errors are printed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from typer.core import TyperGroup

from .. import models
from .. import train as training
from ..backend import DeviceError
from ..data.files import printable
from ..output import guarded
from ..program import command
from ..version import __version__
from . import distill, evaluate, explore, export, info, sample, train, verify, warmup
from .console import console


class Program(TyperGroup):
    """`tinygen`: training, which all others come after, is listed first."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return sorted(self.commands, key=lambda name: name != "train")


app = typer.Typer(
    name="tinygen",
    cls=Program,
    help="Train image generators from scratch, look at what they draw, and measure them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.add_typer(train.app, name="train")
app.command("sample", help=sample.HELP)(sample.sample_command)
app.command("export")(export.export_command)
app.command("distill", help=distill.HELP)(distill.distill_command)
app.command("verify")(verify.verify_command)
app.command("explore")(explore.explore_command)
app.command("warmup")(warmup.warmup_command)
app.command("info")(info.info_command)
app.command("evaluate", help=evaluate.HELP)(evaluate.evaluate_command)


@app.command(
    "learn", add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)  # fmt: skip
def _learn(context: typer.Context) -> None:
    """Learn from exercises that explain themselves, beside the lessons in examples/steps."""
    from ..learn.__main__ import main

    raise typer.Exit(main(context.args, "tinygen learn"))


def run() -> None:
    """Run the app; user errors are printed in a line or two, without a traceback."""
    with guarded():
        _run()


def _run() -> None:
    try:
        app(prog_name="tinygen")
    except training.Diverged as error:
        _fail(error, 1)
    except (ValueError, OSError, DeviceError) as error:
        _fail(error, 2, models.place_of(error))
    except MemoryError as error:
        _fail(f"there is not enough memory: {str(error) or 'choose smaller sizes'}", 2)
    except ImportError as error:
        if "numba" not in str(error).lower():
            raise
        _fail(
            f"{error}; install a Numba that fits (`pip install -U numba`), or do without it: "
            "`pip uninstall numba`",
            2,
        )


def _fail(error: object, code: int, place: str = "") -> None:
    text = str(error)
    if isinstance(error, OSError) and error.strerror is not None:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = f"{place}: {text}" if place else text
    text = text.replace("`tinygen ", f"`{command()} ")  # as it can be typed here
    text = printable(text, keep="\n")
    console(stderr=True).print(f"error: {text}", markup=False, style="red")
    sys.exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"tinygen {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model of your own that a run is of, as in my_file.py:MyModel; its file is run.",
            metavar="FILE:CLASS",
        ),
    ] = None,
) -> None:
    for name in model or ():
        models.find(name)
