"""Record the losses of a dense GAN and a VAE trained by PyTorch, for test_trajectories.py.

    pip install torch && python tests/record_trajectories.py

Run by hand: PyTorch is no dependency of the tests. What the runs start from (weights, images,
noise) is computed by `numbers` below, on both sides, so that only the losses are stored, in
data/trajectories.json: 50 steps in float64, and the first 10 in float32.

- GAN: 100-256-512-1024-784 with ReLU and tanh against 784-1024-512-256-1 with LeakyReLU 0.2, no
  dropout; binary cross-entropy on logits, non-saturating; Adam 2e-4, betas (0.5, 0.999). A step
  trains the discriminator on real images and on fake.detach(), then the generator on the same fake.
- VAE: 784-400-(20, 20) and 20-400-784 with ReLU; Bernoulli on logits and KL to N(0, I), summed over
  pixels and codes, averaged over the batch; Adam 1e-3.
"""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parent / "data" / "trajectories.json"
FORMAT = 1
STEPS = {"float64": 50, "float32": 10}
BATCH = 8
PIXELS = 784
GENERATOR = (100, 256, 512, 1024, PIXELS)
DISCRIMINATOR = (PIXELS, 1024, 512, 256, 1)
HIDDEN, LATENT = 400, 20

# ---- the same numbers on both sides --------------------------------------------------------------


def numbers(name: str, *shape: int) -> np.ndarray:
    """Uniform float64 numbers in [0, 1), the same wherever 64-bit integers wrap.

    Number i is the top 53 bits of SplitMix64's output i + 1 for a seed made of the letters of
    `name` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
    """
    seed = np.uint64(int.from_bytes(name.encode()[:32].ljust(32), "big") % (2**64 - 59))
    z = seed + np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return ((z >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def noise(name: str, *shape: int) -> np.ndarray:
    """Nearly normal numbers: twelve uniform ones added in order, minus 6."""
    total = np.full(shape, -6.0)
    for part in numbers(name, 12, *shape):
        total += part
    return total


def dense(name: str, n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight (in, out) in +-sqrt(6 / (in + out)) and a small bias (out,)."""
    limit = math.sqrt(6 / (n_in + n_out))
    weight = (2 * numbers(f"{name} weight", n_in, n_out) - 1) * limit
    return weight, (2 * numbers(f"{name} bias", n_out) - 1) * 0.1


def stack(name: str, sizes: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weight and bias of each dense layer between the given widths."""
    return [dense(f"{name} {i}", a, b) for i, (a, b) in enumerate(pairwise(sizes))]


def gan_weights() -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """The dense layers of the two players."""
    return {
        "generator": stack("gan G", GENERATOR),
        "discriminator": stack("gan D", DISCRIMINATOR),
    }


def vae_weights() -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """The dense layers of the VAE's parts."""
    return {
        "encoder": stack("vae encoder", (PIXELS, HIDDEN)),
        "to_mu": [dense("vae mu", HIDDEN, LATENT)],
        "to_logvar": [dense("vae logvar", HIDDEN, LATENT)],
        "decoder": stack("vae decoder", (LATENT, HIDDEN, PIXELS)),
    }


def gan_batch(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (batch, pixels) in [-1, 1) and noise (batch, 100) of a step."""
    images = 2 * numbers(f"gan images {step}", BATCH, PIXELS) - 1
    return images, noise(f"gan noise {step}", BATCH, GENERATOR[0])


def vae_batch(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (batch, pixels) in [0, 1) and noise (batch, codes) of a step."""
    images = numbers(f"vae images {step}", BATCH, PIXELS)
    return images, noise(f"vae noise {step}", BATCH, LATENT)


# ---- PyTorch's side ------------------------------------------------------------------------------


def _parameters(torch: Any, layers: list[Any], dtype: Any) -> list[list[Any]]:
    """[weight (in, out), bias] of each layer, to be trained."""
    return [[torch.tensor(a, dtype=dtype).requires_grad_() for a in layer] for layer in layers]


def _flat(layers: list[list[Any]]) -> list[Any]:
    return [parameter for layer in layers for parameter in layer]


def record_gan(torch: Any, dtype: Any, steps: int) -> dict[str, list[float]]:
    """The losses of both players at each step."""
    functional = torch.nn.functional
    parts = {name: _parameters(torch, ls, dtype) for name, ls in gan_weights().items()}
    adam = {
        name: torch.optim.Adam(_flat(layers), lr=2e-4, betas=(0.5, 0.999))
        for name, layers in parts.items()
    }

    def generate(z: Any) -> Any:
        *hidden, (w, b) = parts["generator"]
        for weight, bias in hidden:
            z = torch.relu(z @ weight + bias)
        return torch.tanh(z @ w + b)

    def judge(x: Any) -> Any:
        *hidden, (w, b) = parts["discriminator"]
        for weight, bias in hidden:
            x = functional.leaky_relu(x @ weight + bias, 0.2)
        return x @ w + b

    def entropy(logits: Any, target: float) -> Any:
        goal = torch.full_like(logits, target)
        return functional.binary_cross_entropy_with_logits(logits, goal)

    out: dict[str, list[float]] = {"d_loss": [], "g_loss": []}
    for step in range(steps):
        images, z = (torch.tensor(a, dtype=dtype) for a in gan_batch(step))
        fake = generate(z)
        d_loss = entropy(judge(images), 1.0) + entropy(judge(fake.detach()), 0.0)
        adam["discriminator"].zero_grad()
        d_loss.backward()
        adam["discriminator"].step()
        g_loss = entropy(judge(fake), 1.0)
        adam["generator"].zero_grad()
        g_loss.backward()
        adam["generator"].step()
        out["d_loss"].append(d_loss.item())
        out["g_loss"].append(g_loss.item())
    return out


def record_vae(torch: Any, dtype: Any, steps: int) -> dict[str, list[float]]:
    """The loss and its two terms at each step."""
    functional = torch.nn.functional
    parts = {name: _parameters(torch, ls, dtype) for name, ls in vae_weights().items()}
    adam = torch.optim.Adam([p for layers in parts.values() for p in _flat(layers)], lr=1e-3)
    out: dict[str, list[float]] = {"loss": [], "reconstruction": [], "kl": []}
    for step in range(steps):
        images, eps = (torch.tensor(a, dtype=dtype) for a in vae_batch(step))
        ((w, b),) = parts["encoder"]
        hidden = torch.relu(images @ w + b)
        ((w, b),) = parts["to_mu"]
        mu = hidden @ w + b
        ((w, b),) = parts["to_logvar"]
        logvar = hidden @ w + b
        (w1, b1), (w2, b2) = parts["decoder"]
        logits = torch.relu((mu + torch.exp(logvar / 2) * eps) @ w1 + b1) @ w2 + b2
        entropy = functional.binary_cross_entropy_with_logits(logits, images, reduction="sum")
        reconstruction = entropy / BATCH
        kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum() / BATCH
        loss = reconstruction + kl
        adam.zero_grad()
        loss.backward()
        adam.step()
        for name, value in (("loss", loss), ("reconstruction", reconstruction), ("kl", kl)):
            out[name].append(value.item())
    return out


def main() -> None:
    import torch

    torch.set_num_threads(1)
    runs = {}
    for name, record in (("gan", record_gan), ("vae", record_vae)):
        runs[name] = {
            dtype: record(torch, getattr(torch, dtype), steps) for dtype, steps in STEPS.items()
        }
    checks = {"first": numbers("check", 3).tolist(), "noise": noise("check", 3).tolist()}
    made = {"format": FORMAT, "torch": torch.__version__, "numbers": checks, "runs": runs}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(f"{FILE.name}: {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
