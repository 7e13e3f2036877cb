"""MNIST's DCGAN in PyTorch, trained as tinygen's Adversarial and fit train theirs.

The weights start from Glorot's uniform distribution, biases from 0; the penalty is R1 on the first
quarter of a batch; the generator's average, buffers included, warms up as tinygen's EMA does.
Images are in channels_last, Adam is fused.
"""

from __future__ import annotations

import time

import mnist
import numpy as np
import quality
import torch
import torch_dcgan
from torch import nn
from torch.nn import functional as F
from workload import Workload

DRAWN = 500  # at once


def initialise(net: nn.Module) -> None:
    for layer in net.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def bce(logits: torch.Tensor, target: float) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def r1_penalty(D: nn.Module, real: torch.Tensor) -> torch.Tensor:
    """E |dD / dx|^2 / 2 (Mescheder et al., 2018, equation 9)."""
    x = real.detach().requires_grad_()
    (slope,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    return 0.5 * slope.square().flatten(1).sum(1).mean()


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and running moments by name."""
    return {k: t for k, t in net.state_dict().items() if t.is_floating_point()}


def as_tinygen(name: str, net: nn.Module) -> dict[str, np.ndarray]:
    """The state of a network in tinygen's names and shapes."""
    out = {}
    for key, value in state(net).items():
        layer, array = net.get_submodule(key.rpartition(".")[0]), value.numpy()
        if key.endswith("weight"):
            if isinstance(layer, nn.Linear):
                array = array.T
            elif isinstance(layer, nn.Conv2d):
                array = array.transpose(2, 3, 1, 0)
            elif isinstance(layer, nn.ConvTranspose2d):
                array = array.transpose(2, 3, 0, 1)
        out[f"{name}.{key}"] = np.ascontiguousarray(array)
    return out


def main() -> None:
    options = quality.arguments()
    torch.manual_seed(options.seed)
    load = Workload("dcgan", options.batch_size, dropout=options.dropout, width=options.width)
    G, D = torch_dcgan.networks(load)
    initialise(G)
    initialise(D)
    how = {"betas": (options.beta1, options.beta2), "fused": True}
    g_opt = torch.optim.Adam(G.parameters(), lr=options.lr, **how)
    d_opt = torch.optim.Adam(D.parameters(), lr=options.d_lr, **how)
    average = {name: t.clone() for name, t in state(G).items()}
    pixels = 2 * mnist.scaled(mnist.images(options.data, "train")) - 1
    train = torch.from_numpy(pixels.reshape(-1, 1, 28, 28))
    size, step, start = options.batch_size, 0, time.perf_counter()
    for epoch in range(options.epochs):
        order, seen = torch.randperm(len(train)), []
        for i in range(0, len(train) - size + 1, size):
            x = train[order[i : i + size]]
            fake = G(torch.randn(size, load.latent))
            d_loss = bce(D(x), 1.0) + bce(D(fake.detach()), 0.0)
            total = d_loss
            if options.r1:
                total = total + options.r1 * r1_penalty(D, x[: -(-size // 4)])
            d_opt.zero_grad()
            total.backward()
            d_opt.step()
            g_loss = bce(D(fake), 1.0)
            g_opt.zero_grad()
            g_loss.backward()
            g_opt.step()
            decay = min(options.ema, (1 + step) / (10 + step))
            for name, t in state(G).items():
                average[name].lerp_(t, 1 - decay)
            step += 1
            seen.append((d_loss.item(), g_loss.item()))
        losses = ", ".join(f"{value:.3f}" for value in np.mean(seen, axis=0))
        print(f"epoch {epoch + 1}: losses {losses}", flush=True)
    seconds = time.perf_counter() - start
    G.load_state_dict(average, strict=False)
    G.eval()
    with torch.no_grad():
        z = torch.randn(options.images, load.latent)
        drawn = torch.cat([G(part) for part in z.split(DRAWN)]).permute(0, 2, 3, 1).numpy()
    weights = {**as_tinygen("generator", G), **as_tinygen("discriminator", D)}
    about = {"seconds": round(seconds, 1), "steps": step, "version": torch.__version__}
    quality.finish(options.out, quality.to_bytes(drawn), weights, about)


if __name__ == "__main__":
    main()
