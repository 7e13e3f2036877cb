"""`tinygen warmup`: the kernels of the models, compiled before the first training."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from .. import models, train
from ..data import load
from ..models.contract import Form
from ..random import Generator
from .console import console
from .train import defaults_on


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
    from ..backend import current
    from ..plan import fuse

    if not fuse.available(current()):
        raise ValueError(
            "there is nothing to compile without Numba, and trainings run on NumPy alone; for the "
            'fast kernels run `pip install "tinygen[fast]"`'
        )
    screen = console()
    builds: list[Any] = [models.find(name) for name in names or models.MODELS]
    for build in builds:
        began = time.perf_counter()
        data = load("strokes", n=2 * build.batch_size)
        forms = {"train": Form(data.shape, classes=10)}
        options = defaults_on(build, current().name)  # what `tinygen train` builds
        model = build.build_from(forms, options, Generator(0))
        train.fit(model, data, 1, progress=False)
        name = build.name
        screen.print(f"{name:<10} {time.perf_counter() - began:5.1f} s", markup=False)
    from tinygen_kernels.cache import usable
    from tinygen_kernels.cpu.kept import cache_folder

    if usable(cache_folder()):  # otherwise the reason was printed
        screen.print(f"kept in {cache_folder()}", markup=False)
