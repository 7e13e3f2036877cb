"""Train the classifiers that measure generated images, and write the files that tinygen ships.

    python bench/classifiers.py strokes
    python bench/classifiers.py mnist --source FOLDER      # of the IDX files; downloaded without it

What `tinygen train classifier --data NAME` does, with its defaults; then the weights are rounded to
float16, measured on all held-out images as they will be used, and written with their metadata to
tinygen/metrics/lenet_NAME_vVERSION.safetensors. Prints the SHA-256 that tinygen/train/extractor.py
has to state. A figure depends on these weights: whoever changes them raises the version.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen import models, train
from tinygen.data import Dataset, load
from tinygen.data.dataset import scaled
from tinygen.runs.files import FORMAT

VERSION = 1
FOLDER = Path(__file__).resolve().parent.parent / "tinygen" / "metrics"


def accuracy(model: models.Classifier, data: Dataset) -> float:
    """Percent of the images that are taken for their label."""
    right = 0
    for i in range(0, len(data), 250):
        part = slice(i, i + 250)
        x = model.place(scaled(data.images[part], model.value_range))
        right += int((model.features(x)[1].numpy().argmax(axis=1) == data.labels[part]).sum())
    return 100 * right / len(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the data set: strokes or mnist")
    parser.add_argument("--source", help="what to load instead of the name")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    data = load(asked.source or asked.name)
    assert data.test is not None
    assert data.classes is not None
    rng = tg.random.Generator(asked.seed)
    model = models.Classifier(data.shape, classes=len(data.classes), rng=rng)
    run = train.fit(model, data, asked.epochs, seed=asked.seed)
    print(f"float32: {accuracy(model, data.test):.2f} % of {len(data.test):,} held-out images")
    weights = {k: v.astype(np.float16) for k, v in model.state_dict().items()}
    model.load_state_dict({k: v.astype(np.float32) for k, v in weights.items()})
    reached = accuracy(model, data.test)
    about = data.describe()
    metadata = {
        "format": FORMAT, "kind": "model", "tinygen": tg.__version__,
        "name": f"lenet-{asked.name}", "version": VERSION,
        "model": model.describe(), "value_range": list(model.value_range),
        "data": {**{k: about[k] for k in ("n", "shape", "classes", "fingerprint", "test_n")},
                 "name": asked.name},
        "accuracy": reached, "epoch": len(run.epochs), "seed": asked.seed,
    }  # fmt: skip
    path = FOLDER / f"lenet_{asked.name}_v{VERSION}.safetensors"
    tg.save(path, weights, metadata)
    blob = path.read_bytes()
    print(f"float16: {reached:.2f} %, {run.seconds:.0f} s of training")
    print(f"{path.name}  {len(blob):,} bytes")
    print(f"INCLUDED: {about['fingerprint']}, {hashlib.sha256(blob).hexdigest()}")


if __name__ == "__main__":
    main()
