"""A training step in tinygrad: TinyJit of the whole step (its CPU device needs clang).

Values are computed when asked for, so the generator's images, which serve two losses, are computed
for each of them: that is how a tinygrad user's step runs. A loss is realised together with the
update that it leads to, for alone it would be computed from the updated weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tinygrad
import workload as w
from tinygrad import Context, Device, Tensor, TinyJit
from tinygrad.nn import optim
from worker import Peer, serve
from workload import Workload

Layers = list[tuple[Tensor, Tensor]]


def parameters(load: Workload) -> dict[str, Layers]:
    def own(array: np.ndarray) -> Tensor:
        return Tensor(array.copy()).is_param_(True).realize()

    return {
        name: [(own(weight), own(bias)) for weight, bias in layers]
        for name, layers in load.weights().items()
    }


def dense(x: Tensor, layers: Layers, activate: Any) -> Tensor:
    for i, (weight, bias) in enumerate(layers):
        x = x @ weight + bias
        if i < len(layers) - 1:
            x = activate(x)
    return x


def bce(logits: Tensor, target: Any) -> Tensor:
    return logits.softplus() - logits * target


def gan(load: Workload) -> Any:
    nets = parameters(load)
    options: dict[str, Any] = dict(zip(("b1", "b2"), w.GAN_BETAS, strict=True))
    options |= {"lr": w.GAN_LR, "eps": w.EPS}
    d_opt, g_opt = (
        optim.Adam([t for pair in nets[name] for t in pair], **options)
        for name in ("discriminator", "generator")
    )

    def condition(x: Tensor, labels: Tensor) -> Tensor:
        if not load.classes:
            return x
        code = labels.one_hot(load.classes).cast(x.dtype) * x.shape[1] ** 0.5
        return x.cat(code, dim=1)

    def judge(x: Tensor, labels: Tensor) -> Tensor:
        def activate(h: Tensor) -> Tensor:
            return h.leaky_relu(w.SLOPE).dropout(load.dropout)

        return dense(condition(x, labels), nets["discriminator"], activate)

    def step(x: Tensor, labels: Tensor, z: Tensor | None) -> Any:
        if z is None:
            z = Tensor.randn(load.batch, load.latent)
        fake = dense(condition(z, labels), nets["generator"], Tensor.relu).tanh()
        d_loss = bce(judge(x, labels), 1.0).mean() + bce(judge(fake.detach(), labels), 0.0).mean()
        d_opt.zero_grad()
        d_loss.backward()
        d_loss.realize(*d_opt.schedule_step())
        g_loss = bce(judge(fake, labels), 1.0).mean()
        g_opt.zero_grad()
        g_loss.backward()
        g_loss.realize(*g_opt.schedule_step())
        return d_loss, g_loss

    return step


def vae(load: Workload) -> Any:
    nets = parameters(load)
    betas = dict(zip(("b1", "b2"), w.VAE_BETAS, strict=True))
    every = [t for layers in nets.values() for pair in layers for t in pair]
    optimizer = optim.Adam(every, lr=w.VAE_LR, eps=w.EPS, **betas)

    def step(x: Tensor, labels: Tensor, eps: Tensor | None) -> Any:
        h = dense(x, nets["encoder"], Tensor.relu).relu()
        mu, logvar = dense(h, nets["mu"], Tensor.relu), dense(h, nets["logvar"], Tensor.relu)
        if eps is None:
            eps = Tensor.randn(load.batch, load.latent)
        logits = dense(mu + (0.5 * logvar).exp() * eps, nets["decoder"], Tensor.relu)
        kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1)
        loss = (bce(logits, x).sum() + kl.sum()) / load.batch
        optimizer.zero_grad()
        loss.backward()
        return (loss.realize(*optimizer.schedule_step()),)

    return step


def build(load: Workload) -> Peer:
    raw = (vae if load.model == "vae" else gan)(load)
    jitted = TinyJit(lambda x, labels: raw(x, labels, None))

    def step(batch: Any, noise: Tensor | None) -> tuple[float, ...]:
        with Context(TRAINING=1):
            losses = jitted(*batch) if noise is None else raw(*batch, noise)
        return tuple(float(loss.item()) for loss in losses)

    batches = [(Tensor(x).realize(), Tensor(y).realize()) for x, y in load.batches()]

    def about() -> dict[str, Any]:
        version = getattr(tinygrad, "__version__", None)
        if version is None:
            from importlib.metadata import version as installed

            version = installed("tinygrad")
        return {"version": version, "variant": f"TinyJit, device {Device.DEFAULT}"}

    return Peer(step, batches, Tensor, about=about)


if __name__ == "__main__":
    serve(build)
