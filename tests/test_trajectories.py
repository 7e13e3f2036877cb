"""Training follows PyTorch: the losses of whole runs, recorded by record_trajectories.py.

Same weights, images and noise, so every difference is one of arithmetic. In float64 fifty steps
agree to 1e-8; in float32 the runs drift apart, and ten steps are compared. What is compared is the
models' own train_step, with their layers, losses and optimizers.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import record_trajectories as recorded

import tinygen as tg
from tinygen import models, nn

RECORD = json.loads(recorded.FILE.read_text(encoding="utf-8"))
TOLERANCE = {"float64": 1e-8, "float32": 1e-4}


class GivenNoise:
    """Stands for a generator: what it draws was decided before."""

    def __init__(self) -> None:
        self.next: tg.Tensor | None = None

    def normal(self, shape, dtype=None):
        given, self.next = self.next, None  # a second draw in a step would be a mistake
        assert given is not None
        assert given.shape == tuple(shape)
        return given


def set_weights(part: nn.Module, layers: list, dtype: str) -> None:
    """Give the dense layers of `part`, in order, new parameters of the given dtype."""
    found = [m for m in part.named_modules().values() if isinstance(m, nn.Dense)]
    for layer, (weight, bias) in zip(found, layers, strict=True):
        assert layer.weight.shape == weight.shape
        assert layer.bias.shape == bias.shape
        layer.weight = nn.Parameter(weight.astype(dtype))
        layer.bias = nn.Parameter(bias.astype(dtype))


def run(model: models.Model, weights: dict, batches, dtype: str) -> dict[str, list[float]]:
    """The losses of so many steps from these weights on these batches."""
    for name, layers in weights.items():
        set_weights(getattr(model, name), layers, dtype)
    assert {p.dtype.name for p in model.parameters()} == {dtype}
    model.noise_rng = GivenNoise()
    optimizers = model.optimizers()
    out: dict[str, list[float]] = {}
    for step in range(recorded.STEPS[dtype]):
        images, noise = (a.astype(dtype) for a in batches(step))
        model.noise_rng.next = tg.tensor(noise)
        x = tg.tensor(images.reshape(-1, *model.shape))
        for name, loss in model.train_step(x, None, optimizers).items():
            assert loss.dtype.name == dtype
            out.setdefault(name, []).append(float(loss))
    return out


def compare(have: dict[str, list[float]], name: str, dtype: str) -> None:
    for loss, expected in RECORD["runs"][name][dtype].items():
        assert len(expected) == recorded.STEPS[dtype]
        np.testing.assert_allclose(
            have[loss], expected, rtol=TOLERANCE[dtype], atol=0, err_msg=f"{name} {loss} {dtype}"
        )


@pytest.mark.quick
def test_both_sides_start_from_the_same_numbers():
    assert RECORD["format"] == recorded.FORMAT
    assert recorded.numbers("check", 3).tolist() == RECORD["numbers"]["first"]
    assert recorded.noise("check", 3).tolist() == RECORD["numbers"]["noise"]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gan_follows_pytorch(dtype):
    model = models.GAN((28, 28, 1), dropout=0.0, r1=0.0, rng=tg.random.Generator(0))
    compare(run(model, recorded.gan_weights(), recorded.gan_batch, dtype), "gan", dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_vae_follows_pytorch(dtype):
    model = models.VAE((28, 28, 1), rng=tg.random.Generator(0))
    compare(run(model, recorded.vae_weights(), recorded.vae_batch, dtype), "vae", dtype)
