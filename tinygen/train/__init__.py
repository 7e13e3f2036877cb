"""Training: the loop, checkpoints, the run folder, pictures, evaluation."""

from .evaluate import Figure, evaluate
from .folder import RunFolder
from .loop import Diverged, Settings, fit
from .run import Run, open_run

__all__ = ["Diverged", "Figure", "Run", "RunFolder", "Settings", "evaluate", "fit", "open_run"]
