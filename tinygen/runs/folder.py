"""The files of a run: where each lies, and how each is written.

config.json             the options, the data and the versions
log.jsonl               a line every 50 steps, the mean losses of these steps; one an epoch, with
                        those of the epoch; and one when images were measured
model.safetensors       the weights to draw with
samples.png             images drawn from the same codes after each epoch; history/ keeps all
reconstructions.png     rows of test images, each followed by its reconstructions (VAEs)
mistakes.png            images of the test set that a classifier is most mistaken about
losses.png              the log as curves
evaluation.json         the figures of `tinygen evaluate`, with their protocols
checkpoints/            what --resume needs: the last two, and the best
.training.lock          there while a training runs
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .. import lock
from ..io import (
    Arrays,
    opened,
    parse_json,
    plain,
    read_bytes,
    read_json,
    read_metadata,
    save,
    write_text,
)
from . import files

KEEP = 2  # rolling checkpoints
LOG_LIMIT = 2_000_000_000  # bytes
KEEP_FIGURES = 8  # sets of weights whose figures stay in evaluation.json


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.log = self.path / "log.jsonl"
        self.model = self.path / "model.safetensors"
        self.checkpoints = self.path / "checkpoints"
        self.history = self.path / "history"
        self.evaluation = self.path / "evaluation.json"
        self.lock = self.path / ".training.lock"
        self._config_text = ""  # what this process wrote to config.json

    @contextlib.contextmanager
    def training(self, new: dict[str, Any] | None) -> Iterator[bool]:
        """Keep other trainings out of the folder during the block; reading goes on as before.

        `new` is the configuration of a new run; None to go on with the run that is there. Gives
        whether the file system has locks, without which others are not kept out. What a dead
        training left half-written is removed.

        Raises lock.HeldError (an OSError) while another training runs here, FileExistsError where a
        new run finds a used folder, ValueError where there is no run to go on with, TypeError for a
        configuration that has no form in JSON; the folder is not touched then.
        """
        if new is None:
            self.read_config()
        else:
            text = _text(new)
            if not self.lock.exists():  # otherwise the error names who holds it
                self._refuse_used()
            self.path.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            try:
                certain = stack.enter_context(lock.holding(self.lock))
            except lock.HeldError as holder:
                raise lock.HeldError(
                    f"{self.path} is being trained by {holder}; wait until it ends, or train into "
                    "another folder with --out"
                ) from None
            lock.remove_leftovers(self.path)
            if new is not None:
                self._refuse_used()  # another training may have begun and ended since
                self.write_config(text)
            yield certain

    def used(self) -> bool:
        """Whether the folder holds a run, or anything else; or is a file."""
        return self.path.exists() and (not self.path.is_dir() or not self._unused())

    def _refuse_used(self) -> None:
        """FileExistsError if the folder is used."""
        if self.used():
            raise FileExistsError(
                f"{self.path} exists and is not empty; continue that run with --resume, or name "
                "another folder with --out"
            )

    def _unused(self) -> bool:
        """Whether the folder has only what a training leaves that stopped before config.json."""
        for path in self.path.iterdir():
            empty = path in (self.checkpoints, self.history) and path.is_dir()
            ours = path == self.lock or lock.is_temporary(path.name)
            if not ours and not (empty and not any(path.iterdir())):
                return False
        return True

    # ---- configuration and log ---------------------------------------------------------------

    def write_config(self, config: dict[str, Any] | str) -> None:
        """Write config.json, from a dict or its text."""
        self._config_text = config if isinstance(config, str) else _text(config)
        write_text(self.config, self._config_text)

    def read_config(self) -> dict[str, Any]:
        """config.json; raises ValueError if this is no run folder."""
        try:
            return files.config(read_json(self.config, files.NO_CONFIG), self.config)
        except (FileNotFoundError, NotADirectoryError):
            begun = self.path.is_dir() and self._unused() and any(self.path.iterdir())
            if self.model.exists() or any(self.checkpoints.glob("step-*.safetensors")):
                raise ValueError(
                    f"{self.path} has the weights of a run, but its config.json is gone; "
                    f"{files.NO_CONFIG}"
                ) from None
            raise ValueError(
                f"{self.path} is not the folder of a run: it has no config.json; "
                + ("its training stopped before it began, so begin again without --resume"
                   if begun else "expected the folder that `tinygen train` wrote, for example "
                   "runs/vae-strokes")
            ) from None  # fmt: skip

    def read_config_to_resume(self) -> dict[str, Any]:
        """config.json, which says of the model what the files of its weights say."""
        config = self.read_config()
        steps = sorted(self.checkpoints.glob("step-*.safetensors"), reverse=True)
        for path in (self.model, *steps):
            try:
                stored = read_metadata(path)["model"]
            except (ValueError, KeyError, OSError):
                continue  # reported when it is needed
            if stored != config["model"]:
                raise ValueError(
                    f"{self.config} is damaged: its model is not that of {path}; {files.NO_CONFIG}"
                )
            break
        return config

    def write_evaluation(self, kept: dict[str, Any]) -> None:
        """Keep measured figures, beside those of other weights; what is not measured now stays.

        Keys: weights, the hash of those that were measured; figures, the model's own; quality,
        what was measured of the images that it draws, or None. A damaged file is replaced. Others
        who measure at the same time wait for each other.
        """
        with lock.holding(self.path / ".evaluation.lock", wait=True):
            self._merge_evaluation(kept)

    def _merge_evaluation(self, kept: dict[str, Any]) -> None:
        try:
            earlier = self._evaluations()
        except ValueError:
            earlier = []
        known = next((e for e in earlier if e["weights"] == kept["weights"]), {})
        kept = {**kept, **known, **{k: v for k, v in kept.items() if v}}
        others = [e for e in earlier if e["weights"] != kept["weights"]][: KEEP_FIGURES - 1]
        text = {**kept, "others": others} if others else kept
        write_text(self.evaluation, json.dumps(text, indent=2) + "\n")

    def read_evaluation(self, weights: str) -> dict[str, Any]:
        """What was measured of these weights; no figures if others were measured."""
        nothing: dict[str, Any] = {"weights": weights, "figures": [], "quality": None}
        found = [e for e in self._evaluations() if e["weights"] == weights]
        return {**nothing, **found[0]} if found else nothing

    def _evaluations(self) -> list[dict[str, Any]]:
        """What was measured, the newest first; ValueError for a damaged file."""
        if not self.evaluation.exists():
            return []
        return files.measured(read_json(self.evaluation, files.MEASURE_ANEW), self.evaluation)

    def append_log(self, entry: dict[str, Any]) -> int:
        """Add a line to the log; returns the length of the log in bytes."""
        self.path.mkdir(parents=True, exist_ok=True)  # someone may have tidied up
        with _naming(self.log), self.log.open("ab") as file:
            file.write((json.dumps(entry) + "\n").encode())
            return file.tell()

    def read_log(self) -> list[dict[str, Any]]:
        """The log's entries; a line that is damaged, or cut off by a crash, is left out."""
        entries = []
        text = read_bytes(self.log, LOG_LIMIT) if self.log.exists() else b""
        for line in text.split(b"\n"):
            with contextlib.suppress(ValueError):
                entries.append(files.log_entry(parse_json(line)))
        return entries

    def cut_log(self, length: int) -> int:
        """Cut the log back to what it was at a checkpoint; returns how many bytes it lacks."""
        if self.log.exists():
            with opened(self.log):  # a pipe or a device is refused
                pass
        with _naming(self.log), self.log.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.truncate(min(length, size))
            file.seek(max(min(length, size) - 1, 0))
            if file.read(1) not in (b"", b"\n"):  # a damaged line would swallow the next one
                file.write(b"\n")
        return max(length - size, 0)

    # ---- checkpoints -------------------------------------------------------------------------

    def write_checkpoint(self, saved: Arrays, *, best: bool) -> None:
        """Write a checkpoint and drop the oldest ones; `best` keeps a copy under that name.

        The copy first: a checkpoint says what the best was, and is resumed from after a crash.
        """
        step = saved.metadata["position"]["step"]
        path = self.checkpoints / f"step-{step:09d}.safetensors"
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        if self._config_text and not self.config.exists():
            write_text(self.config, self._config_text)
        self._keep_log()
        if best:
            save(self.checkpoints / "best.safetensors", saved, saved.metadata)
        save(path, saved, saved.metadata)
        for old in sorted(self.checkpoints.glob("step-*.safetensors"))[:-KEEP]:
            with contextlib.suppress(OSError):  # what cannot be deleted is no reason to stop
                old.unlink()

    def _keep_log(self) -> None:
        """Have the disk keep the log: a checkpoint says how long it is."""
        if self.log.exists():
            with _naming(self.log), self.log.open("r+b") as file:
                os.fsync(file.fileno())

    def newest_checkpoint(
        self,
        fits: Callable[[Arrays], None] = lambda saved: None,
        note: Callable[[str], None] = lambda text: None,
    ) -> Arrays | None:
        """The newest whole checkpoint that `fits` does not refuse with a ValueError, or None.

        Where one is damaged, or cannot be read, the one before it is taken, and `note` is called
        with a line that says so; a damaged one is put aside under another name.
        """
        damaged: list[tuple[Path, Exception]] = []
        for path in sorted(self.checkpoints.glob("step-*.safetensors"), reverse=True):
            try:
                saved = files.read(path, "checkpoint")
                fits(saved)
            except (ValueError, OSError) as error:
                if "has format" in str(error):
                    raise
                damaged.append((path, error))
                continue
            for bad, why in damaged:
                note(f"note: {_reason(bad, why)}; going on from the one before, {path.name}")
                if isinstance(why, ValueError):
                    with contextlib.suppress(OSError):
                        bad.replace(bad.with_suffix(".damaged"))
            return saved
        if damaged:
            reasons = "; ".join(_reason(*one) for one in damaged)
            raise ValueError(
                f"no checkpoint of {self.path} can be gone on from: {reasons}; what it learned is "
                "still drawn by its model.safetensors; to train on, train into another folder"
            )
        return None


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """An OSError that does not say which file it is about, as one of writing, says so."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _reason(path: Path, error: Exception) -> str:
    text = str(error)
    return text if str(path) in text else f"{path}: {text}"


def place_of(config: dict[str, Any]) -> tuple[str, str]:
    """Where a run was computed, by its configuration: the backend and the precision."""
    words = str(config.get("machine", {}).get("backend", "")).split()
    return (words[0], words[1]) if len(words) == 2 else ("numpy", "float32")


def _text(config: dict[str, Any]) -> str:
    return json.dumps(config, indent=2, ensure_ascii=False, default=plain) + "\n"
