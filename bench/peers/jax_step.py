"""A training step in JAX: one jit of the whole step, its state donated.

Variants, comma-separated: the generator ("threefry", "rbg", "unsafe_rbg") and Adam ("optax", or
"own", the same arithmetic written out over the tree of weights).
"""

from __future__ import annotations

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import optax
import workload as w
from jax_unet import LAYOUT, flow
from worker import Peer, serve
from workload import Workload

PRNGS = {"threefry": "threefry2x32", "rbg": "rbg", "unsafe_rbg": "unsafe_rbg"}


def own_adam(lr: float, b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam, Kingma and Ba (2015), algorithm 1."""

    def init(params: Any) -> Any:
        zeros = functools.partial(jax.tree.map, jnp.zeros_like)
        return jnp.zeros((), jnp.int32), zeros(params), zeros(params)

    def update(grads: Any, state: Any) -> Any:
        t, m, v = state
        t = t + 1
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, grads)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, v, grads)
        c1, c2 = 1 - b1**t, 1 - b2**t
        updates = jax.tree.map(lambda m, v: -lr * (m / c1) / (jnp.sqrt(v / c2) + eps), m, v)
        return updates, (t, m, v)

    return optax.GradientTransformation(init, update)


def dense(x: jax.Array, layers: Any, activate: Any) -> jax.Array:
    for i, (weight, bias) in enumerate(layers):
        x = x @ weight + bias
        if i < len(layers) - 1:
            x = activate(i, x)
    return x


def bce(logits: jax.Array, target: Any) -> jax.Array:
    return jax.nn.softplus(logits) - logits * target


def relu(_: int, x: jax.Array) -> jax.Array:
    return jax.nn.relu(x)


def condition(x: jax.Array, labels: jax.Array, classes: int) -> jax.Array:
    if not classes:
        return x
    code = jax.nn.one_hot(labels, classes, dtype=x.dtype) * x.shape[1] ** 0.5
    return jnp.concatenate([x, code], axis=1)


def conv(x: jax.Array, layer: Any) -> jax.Array:
    """Stride 2, "same"."""
    weight, bias = layer
    return jax.lax.conv_general_dilated(x, weight, (2, 2), "SAME", dimension_numbers=LAYOUT) + bias


def conv_transpose(x: jax.Array, layer: Any, stride: int) -> jax.Array:
    """The adjoint of a convolution with that stride; JAX's takes the window turned around."""
    weight, strides = layer[0][::-1, ::-1], (stride, stride)
    return jax.lax.conv_transpose(x, weight, strides, "SAME", dimension_numbers=LAYOUT)


def norm(x: jax.Array, layer: Any) -> jax.Array:
    """Batch normalisation in training, without its running moments, which no loss depends on."""
    (scale, shift), axes = layer, tuple(range(x.ndim - 1))
    rest = x - x.mean(axes)
    return rest * jax.lax.rsqrt(jnp.square(rest).mean(axes) + w.NORM_EPS) * scale + shift


def dcgan_generator(z: jax.Array, layers: Any) -> jax.Array:
    leaky = lambda x: jax.nn.leaky_relu(x, w.DCGAN_SLOPE)
    h = leaky(norm(z @ layers[0][0], layers[1]))
    h = h.reshape(len(z), w.DCGAN_SIDE, w.DCGAN_SIDE, -1)
    h = leaky(norm(conv_transpose(h, layers[2], 1), layers[3]))
    h = leaky(norm(conv_transpose(h, layers[4], 2), layers[5]))
    return jnp.tanh(conv_transpose(h, layers[6], 2))


def dcgan_discriminator(x: jax.Array, layers: Any, activate: Any) -> jax.Array:
    h = activate(1, conv(activate(0, conv(x, layers[0])), layers[1]))
    return h.reshape(len(x), -1) @ layers[2][0] + layers[2][1]


def gan(load: Workload, adam: Any) -> tuple[Any, Any]:
    (lr, betas), images = load.rates, load.model == "dcgan"
    opt = adam(lr, *betas, w.EPS)
    weights = jax.tree.map(jnp.asarray, load.weights())
    d0, g0 = weights["discriminator"], weights["generator"]

    def judge(d: Any, key: jax.Array, x: jax.Array, labels: jax.Array) -> jax.Array:
        keys = jax.random.split(key, len(d))

        def activate(i: int, h: jax.Array) -> jax.Array:
            h = jax.nn.leaky_relu(h, w.DCGAN_SLOPE if images else w.SLOPE)
            if not load.dropout:
                return h
            keep = jax.random.bernoulli(keys[i], 1 - load.dropout, h.shape)
            return jnp.where(keep, h / (1 - load.dropout), 0)

        if images:
            return dcgan_discriminator(x, d, activate)
        return dense(condition(x, labels, load.classes), d, activate)

    def step(state: Any, x: jax.Array, labels: jax.Array, z: jax.Array | None) -> Any:
        d, g, d_state, g_state, key = state
        key, k_z, k_real, k_fake, k_again = jax.random.split(key, 5)
        if z is None:
            z = jax.random.normal(k_z, (load.batch, load.latent), load.dtype)

        def generate(g: Any) -> jax.Array:
            if images:
                return dcgan_generator(z, g)
            return jnp.tanh(dense(condition(z, labels, load.classes), g, relu))

        def d_loss(d: Any, fake: jax.Array) -> jax.Array:
            real = bce(judge(d, k_real, x, labels), 1.0).mean()
            return real + bce(judge(d, k_fake, fake, labels), 0.0).mean()

        def g_loss(fake: jax.Array) -> jax.Array:
            return bce(judge(d, k_again, fake, labels), 1.0).mean()

        fake, back = jax.vjp(generate, g)
        dl, d_grads = jax.value_and_grad(d_loss)(d, fake)
        updates, d_state = opt.update(d_grads, d_state)
        d = optax.apply_updates(d, updates)
        gl, slope = jax.value_and_grad(g_loss)(fake)
        updates, g_state = opt.update(back(slope)[0], g_state)
        g = optax.apply_updates(g, updates)
        return (d, g, d_state, g_state, key), (dl, gl)

    return step, (d0, g0, opt.init(d0), opt.init(g0))


def vae(load: Workload) -> tuple[Any, Any]:
    """The loss, and the first weights."""

    def loss(p: Any, x: jax.Array, labels: jax.Array, eps: jax.Array) -> jax.Array:
        h = jax.nn.relu(dense(x, p["encoder"], relu))
        mu, logvar = dense(h, p["mu"], relu), dense(h, p["logvar"], relu)
        logits = dense(mu + jnp.exp(0.5 * logvar) * eps, p["decoder"], relu)
        kl = 0.5 * (jnp.square(mu) + jnp.exp(logvar) - logvar - 1)
        return (bce(logits, x).sum() + kl.sum()) / load.batch

    return loss, jax.tree.map(jnp.asarray, load.weights())


LOSSES = {"vae": vae, "unet": flow}


def one_loss(load: Workload, adam: Any) -> tuple[Any, Any]:
    """The step of a model of one loss, and its first weights and state of Adam."""
    (lr, betas), (loss, p0) = load.rates, LOSSES[load.model](load)
    opt = adam(lr, *betas, w.EPS)

    def step(state: Any, x: jax.Array, labels: jax.Array, noise: jax.Array | None) -> Any:
        p, opt_state, key = state
        key, now = jax.random.split(key)
        if noise is None:
            noise = jax.random.normal(now, (load.batch, load.latent), load.dtype)
        value, grads = jax.value_and_grad(loss)(p, x, labels, noise)
        updates, opt_state = opt.update(grads, opt_state)
        return (optax.apply_updates(p, updates), opt_state, key), (value,)

    return step, (p0, opt.init(p0))


def build(load: Workload) -> Peer:
    if load.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    prng, own = (load.variant or "threefry,optax").split(",")
    adam = own_adam if own == "own" else optax.adam
    raw, first = (one_loss if load.model in LOSSES else gan)(load, adam)
    key = jax.random.key(0, impl=PRNGS[prng])
    state = [(*first, key)]
    compiled = jax.jit(raw, donate_argnums=0)
    batches = [(jnp.asarray(x), jnp.asarray(y)) for x, y in load.batches()]

    def step(batch: Any, noise: Any) -> tuple[Any, ...]:
        state[0], losses = compiled(state[0], *batch, noise)
        return losses if load.device == "gpu" else tuple(float(loss) for loss in losses)

    @functools.cache
    def analysis() -> Any:
        return compiled.lower(state[0], *batches[0], None).compile().memory_analysis()

    def memory() -> int | None:
        """What XLA planned: arguments, results that are no donated arguments, temporaries."""
        plan = analysis()
        if plan is None:
            return None
        results = plan.output_size_in_bytes - plan.alias_size_in_bytes
        return int(plan.argument_size_in_bytes + results + plan.temp_size_in_bytes)

    def temporaries() -> int | None:
        plan = analysis()
        return None if plan is None else int(plan.temp_size_in_bytes)

    def about() -> dict[str, Any]:
        known = hasattr(os, "sched_getaffinity")
        return {
            "version": f"{jax.__version__} (optax {optax.__version__})",
            "threads": len(os.sched_getaffinity(0)) if known else None,
            "variant": f"{prng}, {'optax.adam' if own == 'optax' else 'adam written out'}",
        }

    return Peer(step, batches, jnp.asarray, memory, temporaries, about)


if __name__ == "__main__":
    serve(build)
