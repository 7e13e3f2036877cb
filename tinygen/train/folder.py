"""The files of a run: where each lies, and how each is written.

config.json             what was asked for, on which data, with which versions
log.jsonl               a line every 50 steps, one an epoch, and one when images were measured
model.safetensors       the weights to draw with
samples.png             images drawn from the same codes after each epoch; history/ keeps all
reconstructions.png     images of the test set above what the model makes of them (VAEs)
mistakes.png            images of the test set that a classifier is most mistaken about
losses.png              the log as curves
evaluation.json         the figures of `tinygen evaluate`, with their protocols
checkpoints/            what --resume needs: the last two, and the best
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..io import Arrays, plain, save, write_text
from .checkpoint import check_format, read

KEEP = 2  # rolling checkpoints
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

    def create(self, config: dict[str, Any]) -> None:
        """Make the folder, with its configuration; FileExistsError if it holds anything.

        Raises TypeError for a configuration that has no form in JSON; nothing is made then.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise FileExistsError(
                f"{self.path} exists and is not empty; continue that run with --resume, or name "
                "another folder with --out"
            )
        text = _text(config)
        for folder in (self.path, self.checkpoints, self.history):
            folder.mkdir(parents=True, exist_ok=True)
        write_text(self.config, text)

    # ---- configuration and log ---------------------------------------------------------------

    def write_config(self, config: dict[str, Any]) -> None:
        write_text(self.config, _text(config))

    def read_config(self) -> dict[str, Any]:
        """config.json; raises ValueError if this is no run folder."""
        try:
            config: dict[str, Any] = json.loads(self.config.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(
                f"{self.path} is not the folder of a run: it has no config.json; expected the "
                "folder that `tinygen train` wrote, for example runs/vae-strokes"
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{self.config} is damaged: {error}") from None
        wanted = {"model": ("name", "shape", "options"), "data": ("fingerprint",), "training": ()}
        for part, keys in wanted.items():
            held = config.get(part) if isinstance(config, dict) else None
            if not isinstance(held, dict) or any(k not in held for k in keys):
                raise ValueError(f"{self.config} does not describe a run: its {part!r} is damaged")
        check_format(self.config, config)
        return config

    def write_evaluation(self, kept: dict[str, Any]) -> None:
        """Keep measured figures, beside those of other weights; what is not measured now stays.

        Keys: weights, the hash of those that were measured; figures, the model's own; quality,
        what was measured of the images that it draws, or None. A damaged file is replaced.
        """
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
        try:
            newest = json.loads(self.evaluation.read_text(encoding="utf-8"))
            found: list[dict[str, Any]] = [newest, *newest.pop("others", [])]
            if not all(isinstance(e["weights"], str) for e in found):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(
                f"{self.evaluation} is damaged; `tinygen evaluate` writes it anew"
            ) from None
        return found

    def append_log(self, entry: dict[str, Any]) -> int:
        """Add a line to the log; returns the length of the log in bytes."""
        with self.log.open("ab") as file:
            file.write((json.dumps(entry) + "\n").encode())
            return file.tell()

    def read_log(self) -> list[dict[str, Any]]:
        """The log's entries; a last line cut off by a crash is left out."""
        entries = []
        for line in self.log.read_bytes().splitlines() if self.log.exists() else []:
            try:
                entries.append(json.loads(line))
            except ValueError:
                break
        return entries

    def cut_log(self, length: int) -> None:
        """Cut the log back to what it was at a checkpoint."""
        self.log.touch()
        os.truncate(self.log, min(length, self.log.stat().st_size))

    # ---- checkpoints -------------------------------------------------------------------------

    def write_checkpoint(self, saved: Arrays, *, best: bool) -> None:
        """Write a checkpoint and drop the oldest ones; `best` keeps a copy under that name.

        The copy first: a checkpoint says what the best was, and is resumed from after a crash.
        """
        step = saved.metadata["position"]["step"]
        path = self.checkpoints / f"step-{step:09d}.safetensors"
        if best:
            save(self.checkpoints / "best.safetensors", saved, saved.metadata)
        save(path, saved, saved.metadata)
        for old in sorted(self.checkpoints.glob("step-*.safetensors"))[:-KEEP]:
            old.unlink()

    def newest_checkpoint(self) -> Arrays | None:
        """The newest whole checkpoint, or None; leftovers of a crash are removed."""
        for leftover in self.path.rglob(".*.tmp"):
            leftover.unlink()
        damaged: list[str] = []
        for path in sorted(self.checkpoints.glob("step-*.safetensors"), reverse=True):
            try:
                return read(path, "checkpoint")
            except ValueError as error:
                if "has format" in str(error):
                    raise
                damaged.append(str(error))
        if damaged:
            raise ValueError(f"no checkpoint of {self.path} can be read: {'; '.join(damaged)}")
        return None


def _text(config: dict[str, Any]) -> str:
    return json.dumps(config, indent=2, ensure_ascii=False, default=plain) + "\n"
