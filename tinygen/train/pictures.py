"""The pictures that a training leaves: samples, reconstructions, loss curves."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset
from ..data.dataset import scaled
from ..graph import no_grad
from ..images import Picture, grid
from ..io import write_bytes
from ..models import VAE, Classifier, Model
from ..random import Generator
from .folder import RunFolder

COLUMNS = 10


def rows_of_labels(model: Model, n: int) -> NDArray[Any] | None:
    """Labels for n images in rows of COLUMNS, row k of label k; None for a model without labels."""
    if not model.conditional:
        return None
    return (np.arange(n, dtype=np.int64) // COLUMNS) % model.classes


def sheet_size(model: Model) -> int:
    """How many images samples.png shows: 100, one row a label; fewer of large images."""
    rows = min(model.classes, 20) if model.conditional else COLUMNS
    return COLUMNS * (rows if model.shape[0] <= 64 else min(rows, 4))


@no_grad()
def draw(model: Model, z: NDArray[Any], labels: NDArray[Any] | None = None) -> NDArray[Any]:
    """Images (n, H, W, C) of latent codes, in the model's range, drawn as in use (eval mode)."""
    was_training = model.training
    model.eval()
    parts = []
    for i in range(0, len(z), 256):
        y = None if labels is None else model.place(labels[i : i + 256])
        parts.append(model.generate(model.place(z[i : i + 256]), y).numpy())
    model.train(was_training)
    return np.concatenate(parts) if parts else np.zeros((0, *model.shape), np.float32)


def fingerprint(model: Model) -> str:
    """A short hash of the weights, written into every picture."""
    digest = hashlib.sha256()
    for name, array in model.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def note(model: Model, seed: int) -> dict[str, object]:
    """What a picture's text chunks say besides that it is synthetic."""
    return {"Model": f"{model.name} {fingerprint(model)}", "Seed": seed}


def samples(model: Model, z: NDArray[Any]) -> Picture:
    """The sheet of samples from fixed codes."""
    images = draw(model, z, rows_of_labels(model, len(z)))
    return grid(images, columns=COLUMNS, value_range=model.value_range)


def some(data: Dataset, n: int) -> NDArray[np.int64]:
    """Places of n images of the data, always the same ones, from all over it."""
    if n >= len(data):
        return np.arange(len(data))
    return np.sort(Generator(0).stream("some images").permutation(len(data)).numpy()[:n])


def reconstructions(model: VAE, data: Dataset, n: int = 50) -> Picture:
    """Rows of images of the data, each above the row of what the model makes of them."""
    n = min(n, len(data)) if len(data) >= COLUMNS else len(data)
    n -= n % min(COLUMNS, n)
    at = some(data, n)
    x = scaled(data.images[at], model.value_range)
    labels = data.labels if model.conditional else None
    y = None if labels is None else model.place(labels[at])
    made = model.reconstruct(model.place(x), y).numpy()
    columns = min(COLUMNS, n)
    pairs = [
        half for i in range(0, n, columns) for half in (x[i : i + columns], made[i : i + columns])
    ]
    what = "rows in turn: real images, and synthetic ones generated from them by a model"
    both = np.concatenate(pairs)
    return grid(both, columns=columns, value_range=model.value_range, description=what)


@no_grad()
def mistakes(model: Classifier, data: Dataset, n: int = 100) -> Picture:
    """The images of the data whose label the classifier gives the least probability."""
    assert data.labels is not None
    was_training = model.training
    model.eval()
    parts = []
    for i in range(0, len(data), 250):
        x = model.place(scaled(data.images[i : i + 250], model.value_range))
        parts.append(model.describe(x)[1].numpy())
    model.train(was_training)
    p = np.concatenate(parts)[np.arange(len(data)), data.labels]
    worst = np.argsort(p, kind="stable")[:n]
    what = "real images whose label a classifier finds least likely, the least likely first"
    return grid(data.images[worst], columns=COLUMNS, description=what)


def save_losses(folder: RunFolder) -> bool:
    """Draw the log as losses.png; False where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    entries = folder.read_log()
    steps = [e for e in entries if e["kind"] == "steps"]
    epochs = [e for e in entries if e["kind"] == "epoch"]
    if not epochs:
        return False
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = [k for k in epochs[0]["losses"] if not k.startswith("d_real") and k != "d_fake"]
    for i, name in enumerate(names):
        colour = f"C{i}"
        if steps:
            axes.plot(*_curve(steps, name), color=colour, alpha=0.3, linewidth=0.8)
        axes.plot(*_curve(epochs, name), color=colour, marker="o", markersize=3, label=name)
    checked = [e for e in epochs if e.get("validation") is not None]
    if checked:
        x = [e["step"] for e in checked]
        y = [e["validation"] for e in checked]
        axes.plot(x, y, color="black", linestyle="--", label="held-out images")
    axes.set_xlabel("training steps")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    axes.grid(alpha=0.2)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120, format="png")
    write_bytes(folder.path / "losses.png", buffer.getvalue())
    return True


def _curve(entries: list[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of a loss; a damaged line may lack it."""
    points = [(e["step"], e["losses"][name]) for e in entries if name in e["losses"]]
    return [x for x, _ in points], [y for _, y in points]
