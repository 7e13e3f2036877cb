"""Where no thread can be started, as in a browser's Python: training gives the same bits."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

import tinygen as tg
from tinygen import data, models, train


def _fit(out: Any = None) -> dict[str, Any]:
    images = data.load("strokes", n=60, size=12)
    model = models.find("vae")(images.shape, rng=tg.random.Generator(0), hidden=(16,), latent=3)
    run = train.fit(model, images, 2, out=out, batch_size=20, compiled=False, progress=False)
    return run.model.state_dict()


def test_fit_without_threads(monkeypatch: Any, tmp_path: Any) -> None:
    expected, tried = _fit(), []

    def none(thread: threading.Thread) -> None:
        tried.append(thread.name)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    weights = _fit(tmp_path / "run")
    assert "tinygen batches" in tried  # else this tests nothing
    assert weights.keys() == expected.keys()
    assert all(np.array_equal(weights[k], expected[k]) for k in expected)
    assert (tmp_path / "run" / "samples.png").exists()
