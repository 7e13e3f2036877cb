"""The pictures that a training leaves: samples, reconstructions, loss curves."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset
from ..data.dataset import scaled
from ..graph import no_grad
from ..images import Picture, grid
from ..io import write_bytes
from ..models import Column, Describes, Draws, Encodes, Model, feed
from ..models.contract import chosen, label_of
from .folder import RunFolder

COLUMNS = 10


def label_column(model: Model) -> Column | None:
    """The label that a drawing is given; None for a model that draws without."""
    return label_of(model.given) if isinstance(model, Draws) else None


def rows_of_labels(model: Model, n: int) -> NDArray[Any] | None:
    """Labels for n images in rows of COLUMNS, row k of label k; None for a model without labels."""
    column = label_column(model)
    return None if column is None else (np.arange(n, dtype=np.int64) // COLUMNS) % column.count


def sheet_size(model: Model) -> int:
    """How many images samples.png shows: 100, one row a label; fewer of large images."""
    column = label_column(model)
    rows = COLUMNS if column is None else min(column.count, 20)
    return COLUMNS * (rows if model.shape[0] <= 64 else min(rows, 4))


@no_grad()
def draw(
    model: Model, z: NDArray[Any] | None, labels: NDArray[Any] | None = None,
    given: Mapping[str, NDArray[Any]] | None = None, **settings: Any,
) -> NDArray[Any]:  # fmt: skip
    """Images (n, H, W, C) in the model's range, drawn as in use (eval mode).

    z: noise (n, ...), or in rows as files have it; None for a model that takes none.  labels: class
    numbers (n,).  given: the other columns that it takes.  settings: those of its class Settings.
    """
    assert isinstance(model, Draws)
    settings = chosen(model, settings)
    column, inputs = label_column(model), dict(given or {})
    if z is not None and model.noise is not None:
        z = z.reshape(len(z), *model.noise.shape)
    if column is not None and labels is not None:
        inputs[column.name] = labels
    arrays = [*inputs.values(), *([] if z is None else [z])]
    was_training = model.training
    model.eval()
    parts = []
    for i in range(0, len(arrays[0]), 256):
        rows = slice(i, i + 256)
        noise = None if z is None else model.place(z[rows])
        some = {name: model.place(array[rows]) for name, array in inputs.items()}
        parts.append(model.draw(noise, **some, **settings).numpy())
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


# ---- the pictures of a run folder ----------------------------------------------------------------


def sheets(model: Model, sets: feed.Sets, seed: int) -> dict[str, Picture]:
    """What a training leaves of this model, by the name of the file."""
    found = {}
    data = sets["train"].test or sets["train"]
    if isinstance(model, Draws):
        found["samples"] = samples(model, sets, seed)
    if isinstance(model, Draws) and isinstance(model, Encodes) and model.code is not None:
        found["reconstructions"] = reconstructions(model, data)
    if isinstance(model, Describes) and data.labels is not None:
        found["mistakes"] = mistakes(model, data)
    return found | _more(model, sets)


def samples(model: Model, sets: feed.Sets, seed: int) -> Picture:
    """The sheet of samples: from the same noise, and for the same things given, each time."""
    assert isinstance(model, Draws)
    n, given = sheet_size(model), {}
    for column in model.given:
        if column.kind != "label":
            data = sets[column.source].test or sets[column.source]
            places = np.resize(feed.some(data, n), n)
            given[column.name] = feed.values(column, data, places)
    z = None if model.noise is None else model.noise.of_seed(n, seed)
    images = draw(model, z, rows_of_labels(model, n), given)
    return grid(images, columns=COLUMNS, value_range=model.value_range)


@no_grad()
def _more(model: Model, sets: feed.Sets) -> dict[str, Picture]:
    """The pictures that the model itself adds, of held-out images."""
    reads = model.stages()[-1].reads
    held_out = feed.held_out(sets, reads) or sets
    n = min(50, feed.length(reads, held_out))
    at = {source: feed.some(held_out[source], n) for source in feed.sources(reads)}
    was_training = model.training
    model.eval()
    batch = {k: model.place(v) for k, v in feed.batch_at(reads, held_out, at).items()}
    made = {k: v.numpy() for k, v in model.pictures(batch).items()}
    model.train(was_training)
    return {
        name: grid(images, columns=COLUMNS, value_range=model.value_range)
        for name, images in made.items()
    }


@no_grad()
def reconstructions(model: Model, data: Dataset, n: int = 50) -> Picture:
    """Rows of real images, each followed by its reconstructions."""
    assert isinstance(model, Draws)
    assert isinstance(model, Encodes)
    n = min(n, len(data)) if len(data) >= COLUMNS else len(data)
    n -= n % min(COLUMNS, n)
    at = feed.some(data, n)
    x = scaled(data.images[at], model.value_range)
    given = {c.name: model.place(feed.values(c, data, at)) for c in model.given}
    code = model.encode(model.place(x), **given)[0]
    made = model.draw(code, **given, **chosen(model, {})).numpy()
    columns = min(COLUMNS, n)
    pairs = [
        half for i in range(0, n, columns) for half in (x[i : i + columns], made[i : i + columns])
    ]
    what = "rows in turn: real images, and synthetic ones generated from them by a model"
    both = np.concatenate(pairs)
    return grid(both, columns=columns, value_range=model.value_range, description=what)


@no_grad()
def mistakes(model: Model, data: Dataset, n: int = 100) -> Picture:
    """The images of the data whose label the model gives the least probability."""
    assert isinstance(model, Describes)
    assert data.labels is not None
    was_training = model.training
    model.eval()
    parts = []
    for i in range(0, len(data), 250):
        x = model.place(scaled(data.images[i : i + 250], model.value_range))
        parts.append(model.features(x)[1].numpy())
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
