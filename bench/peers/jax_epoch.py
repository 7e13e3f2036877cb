"""MNIST's VAE in JAX from start to picture; prints the test set's negative ELBO as JSON."""

from __future__ import annotations

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import mnist
import numpy as np
import optax
import workload as w
from jax_step import bce, dense, relu


def loss_of(p: Any, x: jax.Array, key: jax.Array) -> jax.Array:
    """The negative ELBO, in nats an image."""
    h = jax.nn.relu(dense(x, p["encoder"], relu))
    mu, logvar = dense(h, p["mu"], relu), dense(h, p["logvar"], relu)
    eps = jax.random.normal(key, mu.shape)
    logits = dense(mu + jnp.exp(0.5 * logvar) * eps, p["decoder"], relu)
    kl = 0.5 * (jnp.square(mu) + jnp.exp(logvar) - logvar - 1)
    return (bce(logits, x).sum() + kl.sum()) / x.shape[0]


def main() -> None:
    options = mnist.arguments(("jit",))
    train = mnist.scaled(mnist.images(options.data, "train"))
    test = mnist.scaled(mnist.images(options.data, "t10k"))
    adam = optax.adam(w.VAE_LR, *w.VAE_BETAS, w.EPS)
    p = jax.tree.map(jnp.asarray, w.Workload("vae", mnist.BATCH).weights())
    key, state, rng = jax.random.key(0), adam.init(p), np.random.default_rng(0)

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(p: Any, state: Any, key: jax.Array, x: jax.Array) -> Any:
        key, now = jax.random.split(key)
        loss, grads = jax.value_and_grad(loss_of)(p, x, now)
        updates, state = adam.update(grads, state)
        return optax.apply_updates(p, updates), state, key, loss

    for epoch in range(options.epochs):
        order, seen = rng.permutation(len(train)), []
        for i in range(0, len(train) - mnist.BATCH + 1, mnist.BATCH):
            batch = train[order[i : i + mnist.BATCH]]
            p, state, key, loss = step(p, state, key, batch)
            seen.append(float(loss))
        print(f"epoch {epoch + 1}: {np.mean(seen):.2f}", flush=True)
    measure = jax.jit(loss_of)
    keys = jax.random.split(key, len(test) // mnist.EVALUATED + 1)
    parts = np.split(test, range(mnist.EVALUATED, len(test), mnist.EVALUATED))
    test_loss = np.mean([float(measure(p, x, k)) for x, k in zip(parts, keys[1:], strict=False)])
    codes = jax.random.normal(keys[0], (mnist.DRAWN, w.VAE_LATENT))
    samples = jax.nn.sigmoid(dense(codes, p["decoder"], relu))
    mnist.draw(options.out, np.asarray(samples))
    print(json.dumps({"test": float(test_loss), "version": jax.__version__}))


if __name__ == "__main__":
    main()
