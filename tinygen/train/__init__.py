"""Training: the loop, checkpoints, the run folder, pictures, evaluation."""

from .checkpoint import build_model
from .evaluate import Figure, Gauge, evaluate, has_figures
from .extractor import ClassifierExtractor, find_extractor
from .folder import RunFolder
from .loop import Diverged, fit
from .run import Run, open_run
from .settings import Settings

__all__ = [
    "ClassifierExtractor", "Diverged", "Figure", "Gauge", "Run", "RunFolder", "Settings",
    "build_model", "evaluate", "find_extractor", "fit", "has_figures", "open_run",
]  # fmt: skip
