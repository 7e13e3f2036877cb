"""Parts of a model that come from another run, trained there and frozen here: a tokenizer."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

from ..models import Model, Stage
from ..models.contract import held
from ..runs import RunFolder
from ..runs.files import read

Parts = Mapping[str, str | os.PathLike[str]]  # attribute of the model -> the folder of a run


def adopt(model: Model, parts: Parts) -> dict[str, str]:
    """Give the parts the weights that a run draws with; returns the hash of each run's file.

    Raises:
        ValueError: the model or the run has no such part, or another one of that name; nothing of
            that part is changed then.
    """
    hashes = {}
    for part, path in parts.items():
        file, mine = RunFolder(path).model, held(model, (part,))
        if not mine:
            raise ValueError(
                f"{model.name} has no part {part!r} with weights; its parts: "
                f"{', '.join(dict.fromkeys(k.split('.')[0] for k in model.state_dict()))}"
            )
        if not file.is_file():
            raise ValueError(f"{path} holds no trained run, which {part!r} is to come from")
        saved = read(file, "model")
        given = {k: v for k, v in saved.items() if k in mine}
        missing = [k for k in mine if k not in given]
        if missing:
            raise ValueError(
                f"{path} is a run of {saved.metadata['model']['name']}, which has no "
                f"{', '.join(missing[:3])}; take {part!r} from a run of a model that has it"
            )
        model.load_state_dict(given, strict=False)
        hashes[part] = hashlib.sha256(file.read_bytes()).hexdigest()
    return hashes


def first_stage(stages: tuple[Stage, ...], taken: tuple[str, ...]) -> int:
    """The number of the first stage that learns something which was not taken from elsewhere."""
    for number, stage in enumerate(stages):
        if not set(stage.learns) <= set(taken):
            return number
    raise ValueError(
        f"all that the model learns, {', '.join(taken)}, comes from other runs; nothing is left to "
        "train"
    )
