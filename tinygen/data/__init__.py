"""Images to train on: sources (strokes, IDX files, folders, arrays) and batches of them."""

from .dataset import Batch, Batches, DataError, Dataset
from .source import load
from .strokes import STROKES_VERSION, strokes

__all__ = ["STROKES_VERSION", "Batch", "Batches", "DataError", "Dataset", "load", "strokes"]
