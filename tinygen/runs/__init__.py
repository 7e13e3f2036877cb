"""Finished runs: the folder, and what can be done with one: draw, evaluate, measure."""

from .evaluate import Estimate, evaluate, has_codes, has_figures
from .extractor import ClassifierExtractor, find_extractor
from .folder import RunFolder
from .quality import Gauge
from .run import Run, open_run
from .stored import build_model

__all__ = [
    "ClassifierExtractor", "Estimate", "Gauge", "Run", "RunFolder", "build_model", "evaluate",
    "find_extractor", "has_codes", "has_figures", "open_run",
]  # fmt: skip
