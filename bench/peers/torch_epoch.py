"""MNIST's VAE in PyTorch from start to picture; prints the test set's negative ELBO as JSON."""

from __future__ import annotations

import json

import mnist
import numpy as np
import torch
import workload as w
from torch import nn
from torch.nn import functional as F
from torch_step import dense


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        weights = w.Workload("vae", mnist.BATCH).weights()
        self.encoder = dense(weights["encoder"], list, [nn.ReLU()])
        self.to_mu = dense(weights["mu"], list)
        self.to_logvar = dense(weights["logvar"], list)
        self.decoder = dense(weights["decoder"], lambda: [nn.ReLU()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The negative ELBO, in nats an image."""
        h = self.encoder(x)
        mu, logvar = self.to_mu(h), self.to_logvar(h)
        logits = self.decoder(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
        nll = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum()
        return (nll + kl) / len(x)


def main() -> None:
    options = mnist.arguments(("eager", "fused", "compile"))
    torch.manual_seed(0)
    train = torch.from_numpy(mnist.scaled(mnist.images(options.data, "train")))
    test = torch.from_numpy(mnist.scaled(mnist.images(options.data, "t10k")))
    model = VAE()
    fused = None if options.way == "eager" else True
    optimizer = torch.optim.Adam(model.parameters(), lr=w.VAE_LR, betas=w.VAE_BETAS, fused=fused)
    loss_of = torch.compile(model) if options.way == "compile" else model
    for epoch in range(options.epochs):
        order, seen = torch.randperm(len(train)), []
        for i in range(0, len(train) - mnist.BATCH + 1, mnist.BATCH):
            loss = loss_of(train[order[i : i + mnist.BATCH]])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        print(f"epoch {epoch + 1}: {np.mean(seen):.2f}", flush=True)
    with torch.no_grad():
        test_loss = np.mean([model(x).item() for x in test.split(mnist.EVALUATED)])
        samples = torch.sigmoid(model.decoder(torch.randn(mnist.DRAWN, w.VAE_LATENT)))
    mnist.draw(options.out, samples.numpy())
    print(json.dumps({"test": float(test_loss), "version": torch.__version__}))


if __name__ == "__main__":
    main()
