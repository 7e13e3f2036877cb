"""Training: the loop, its stages, checkpoints; with what finished runs offer, see runs/."""

from ..runs import (
    ClassifierExtractor,
    Estimate,
    Gauge,
    Run,
    RunFolder,
    build_model,
    evaluate,
    find_extractor,
    has_codes,
    has_figures,
    open_run,
)
from .loop import Diverged, fit
from .settings import Settings, as_given, known_of, own_warmup

__all__ = [
    "ClassifierExtractor", "Diverged", "Estimate", "Gauge", "Run", "RunFolder", "Settings",
    "as_given", "build_model", "evaluate", "find_extractor", "fit", "has_codes", "has_figures",
    "known_of", "open_run", "own_warmup",
]  # fmt: skip
