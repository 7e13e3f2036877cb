"""A training step in tinygen, as a user writes it.

Variants: "" is the compiled step, "numpy" the eager one on NumPy alone, as if numba were missing,
"eager" the eager one; on a GPU "emulated" stands in for it.
"""

from __future__ import annotations

import os
import sys
import tracemalloc
from typing import Any

import workload as w
from worker import Peer, blas_core, serve
from workload import Workload


def build(load: Workload) -> Peer:
    os.environ.pop("TINYGEN_COMPILE", None)
    if load.variant == "numpy":
        os.environ["TINYGEN_COMPILE"] = "0"
        sys.modules["numba"] = None  # type: ignore[assignment]
    if load.variant == "eager":
        os.environ["TINYGEN_COMPILE"] = "0"
    import numpy as np

    import tinygen as tg
    from tinygen import losses, nn, optim

    if load.device == "gpu":
        tg.use_backend("emulated" if load.variant == "emulated" else "cupy")

    def dense(layers: w.Layers, between: Any, last: list[Any] | None = None) -> nn.Sequential:
        """Dense layers with the given weights, each but the last followed by `between()`."""
        modules: list[nn.Module] = []
        for i, (weight, bias) in enumerate(layers):
            layer = nn.Dense(*weight.shape)
            layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
            modules += [layer, *(between() if i < len(layers) - 1 else last or [])]
        return nn.Sequential(*modules)

    def condition(x: tg.Tensor, labels: tg.Tensor) -> tg.Tensor:
        if not load.classes:
            return x
        code = tg.one_hot(labels, load.classes, load.dtype) * x.shape[1] ** 0.5
        return tg.concatenate([x, code], axis=1)

    def dense_networks(dropout: tg.random.Generator) -> tuple[nn.Module, nn.Module]:
        weights = load.weights()
        D = dense(
            weights["discriminator"],
            lambda: [nn.LeakyReLU(w.SLOPE), nn.Dropout(load.dropout, rng=dropout)],
        )
        return dense(weights["generator"], lambda: [nn.ReLU()], [nn.Tanh()]), D

    def gan(rng: tg.random.Generator) -> Any:
        dropout, (lr, betas) = rng.stream("dropout"), load.rates
        if load.model == "dcgan":
            from tinygen_dcgan import networks

            G, D = networks(load, dropout)
        else:
            G, D = dense_networks(dropout)
        options: dict[str, Any] = {"lr": lr, "betas": betas, "eps": w.EPS}
        d_opt, g_opt = optim.Adam(D.parameters(), **options), optim.Adam(G.parameters(), **options)
        game = losses.gan("non_saturating")

        def step(x: tg.Tensor, labels: tg.Tensor, z: tg.Tensor | None) -> Any:
            if z is None:
                z = rng.normal((load.batch, load.latent), load.dtype)
            fake = G(condition(z, labels))
            real_logits = D(condition(x, labels))
            d_loss = game.discriminator(real_logits, D(condition(fake.detach(), labels)))
            d_opt.zero_grad()
            d_loss.backward()
            d_opt.step()
            g_loss = game.generator(D(condition(fake, labels)))
            g_opt.zero_grad()
            g_loss.backward()
            g_opt.step()
            return d_loss, g_loss

        return step

    def vae(rng: tg.random.Generator) -> Any:
        weights = load.weights()
        encoder = dense(weights["encoder"], list, [nn.ReLU()])
        to_mu, to_logvar = dense(weights["mu"], list), dense(weights["logvar"], list)
        decoder = dense(weights["decoder"], lambda: [nn.ReLU()])
        parts = (encoder, to_mu, to_logvar, decoder)
        optimizer = optim.Adam(
            [p for part in parts for p in part.parameters()],
            lr=w.VAE_LR, betas=w.VAE_BETAS, eps=w.EPS,
        )  # fmt: skip

        def step(x: tg.Tensor, labels: tg.Tensor, eps: tg.Tensor | None) -> Any:
            h = encoder(x)
            mu, logvar = to_mu(h), to_logvar(h)
            if eps is None:
                z = losses.reparameterise(mu, logvar, rng)
            else:
                z = mu + tg.exp(0.5 * logvar) * eps
            loss = losses.vae(decoder(z), x, mu, logvar)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return (loss,)

        return step

    def unet(rng: tg.random.Generator) -> Any:
        from tinygen_unet import step_of

        return step_of(load, rng)

    def make() -> Any:
        kind = {"vae": vae, "unet": unet}.get(load.model, gan)
        compiled = tg.compile(kind(tg.random.Generator(0)))

        def step(batch: Any, noise: tg.Tensor | None) -> tuple[Any, ...]:
            losses = compiled(*batch, noise)
            return losses if load.device == "gpu" else tuple(float(loss) for loss in losses)

        step.compiled = compiled  # type: ignore[attr-defined]
        return step

    batches = [(tg.tensor(x), tg.tensor(y)) for x, y in load.batches()]

    def memory() -> int | None:
        """Peak of what NumPy and Python hold over a step, once the plan is made."""
        tracemalloc.start()
        own = [tuple(tg.tensor(np.array(t.numpy())) for t in batches[0])]
        step = make()
        for _ in range(2):
            step(own[0], None)
        tracemalloc.reset_peak()
        step(own[0], None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    first = make()

    def temporaries() -> int | None:
        """The arena of the plan: what lives within the step, places shared over time."""
        plan = first.compiled.plan
        return None if plan is None else plan.arena_bytes

    def about() -> dict[str, Any]:
        numba = sys.modules.get("numba")
        return {
            "version": tg.__version__,
            "numpy": np.__version__,
            "blas": blas_core(),
            "numba": numba.__version__ if numba else None,
            "threads": numba.get_num_threads() if numba else None,
            "variant": {"numpy": "eager, NumPy alone", "eager": "eager"}.get(
                load.variant, "compiled"
            ),
        }

    return Peer(first, batches, tg.tensor, memory, temporaries, about)


if __name__ == "__main__":
    serve(build)
