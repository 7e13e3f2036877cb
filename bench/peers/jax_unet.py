"""The U-Net of workload.py in JAX, and its loss of flow matching; see tinygen_unet.py."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import workload as w
from workload import Workload

W, EMB, GROUPS, HEADS = w.UNET_WIDTH, w.UNET_EMBEDDING, w.UNET_GROUPS, w.UNET_HEADS
LAYOUT = ("NHWC", "HWIO", "NHWC")
BLOCKS = {  # channels in and out
    "down1": (W, W), "down2": (2 * W, 2 * W), "mid1": (2 * W, 2 * W), "mid2": (2 * W, 2 * W),
    "up2": (4 * W, 2 * W), "up1": (2 * W, W),
}  # fmt: skip


def first_weights(dtype: str) -> dict[str, jax.Array]:
    """Those that every peer starts from."""
    out: dict[str, jax.Array] = {}

    def put(name: str, *shape: int, bias: bool = True) -> None:
        out[f"{name}.weight"] = jnp.asarray(w.named(f"{name}.weight", shape, dtype))
        if bias:
            out[f"{name}.bias"] = jnp.asarray(w.named(f"{name}.bias", shape[-1:], dtype))

    put("time1", 2 * W, EMB)
    put("time2", EMB, EMB)
    put("label", w.CLASSES + 1, EMB, bias=False)
    for name, (a, b) in BLOCKS.items():
        put(f"{name}.norm1", a)
        put(f"{name}.conv1", 3, 3, a, b)
        put(f"{name}.ada", EMB, 2 * b)
        put(f"{name}.norm2", b)
        put(f"{name}.conv2", 3, 3, b, b)
        if a != b:
            put(f"{name}.skip", 1, 1, a, b)
    put("attention.norm", 2 * W)
    put("attention.qkv", 2 * W, 6 * W)
    put("attention.out", 2 * W, 2 * W)
    put("stem", 3, 3, 4, W)
    put("shrink", 3, 3, W, 2 * W)
    put("grow", 3, 3, 2 * W, W)
    put("norm", W)
    put("head", 3, 3, W, 4)
    return out


def conv(p: Any, name: str, x: jax.Array, stride: int = 1) -> jax.Array:
    weight = p[f"{name}.weight"]
    pad = [(k // 2, k // 2) for k in weight.shape[:2]]
    y = jax.lax.conv_general_dilated(x, weight, (stride, stride), pad, dimension_numbers=LAYOUT)
    return y + p[f"{name}.bias"]


def dense(p: Any, name: str, x: jax.Array) -> jax.Array:
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def norm(p: Any, name: str, x: jax.Array) -> jax.Array:
    n, height, width, c = x.shape
    groups = x.reshape(n, height * width, GROUPS, c // GROUPS)
    rest = groups - groups.mean((1, 3), keepdims=True)
    scale = jax.lax.rsqrt(jnp.square(rest).mean((1, 3), keepdims=True) + w.NORM_EPS)
    return (rest * scale).reshape(x.shape) * p[f"{name}.weight"] + p[f"{name}.bias"]


def block(p: Any, name: str, x: jax.Array, e: jax.Array) -> jax.Array:
    h = conv(p, f"{name}.conv1", jax.nn.silu(norm(p, f"{name}.norm1", x)))
    scale, shift = jnp.split(dense(p, f"{name}.ada", e)[:, None, None], 2, axis=3)
    h = jax.nn.silu(norm(p, f"{name}.norm2", h) * (1 + scale) + shift)
    skip = conv(p, f"{name}.skip", x) if f"{name}.skip.weight" in p else x
    return skip + conv(p, f"{name}.conv2", h)


def attention(p: Any, x: jax.Array) -> jax.Array:
    n, height, width, c = x.shape
    rows = norm(p, "attention.norm", x).reshape(n, height * width, c)
    qkv = dense(p, "attention.qkv", rows).reshape(n, height * width, 3, HEADS, c // HEADS)
    y = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
    return x + dense(p, "attention.out", y.reshape(n, height * width, c)).reshape(x.shape)


def to_channels(x: jax.Array) -> jax.Array:
    n, height, width, _ = x.shape
    x = x.reshape(n, height // 2, 2, width // 2, 2)
    return x.transpose(0, 1, 3, 2, 4).reshape(n, height // 2, width // 2, 4)


def to_pixels(x: jax.Array) -> jax.Array:
    n, height, width, _ = x.shape
    x = x.reshape(n, height, width, 2, 2).transpose(0, 1, 3, 2, 4)
    return x.reshape(n, 2 * height, 2 * width, 1)


def larger(x: jax.Array) -> jax.Array:
    n, height, width, c = x.shape
    wide = jnp.broadcast_to(x[:, :, None, :, None], (n, height, 2, width, 2, c))
    return wide.reshape(n, 2 * height, 2 * width, c)


def unet(p: Any, z: jax.Array, t: jax.Array, labels: jax.Array) -> jax.Array:
    angle = t[:, None] * 1000 * w.unet_frequencies().astype(z.dtype)
    e = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], 1)
    e = dense(p, "time2", jax.nn.silu(dense(p, "time1", e))) + p["label.weight"][labels]
    e = jax.nn.silu(e)
    h1 = conv(p, "stem", to_channels(z))
    h2 = block(p, "down1", h1, e)
    h3 = block(p, "down2", conv(p, "shrink", h2, 2), e)
    h = block(p, "mid2", attention(p, block(p, "mid1", h3, e)), e)
    h = conv(p, "grow", larger(block(p, "up2", jnp.concatenate([h, h3], 3), e)))
    h = block(p, "up1", jnp.concatenate([h, h2], 3), e)
    return to_pixels(conv(p, "head", jax.nn.silu(norm(p, "norm", h))))


def flow(load: Workload) -> tuple[Any, Any]:
    """The loss, and the first weights."""

    def loss(p: Any, x: jax.Array, labels: jax.Array, noise: jax.Array) -> jax.Array:
        e = noise[:, : w.PIXELS].reshape(x.shape)
        t = jax.nn.sigmoid(noise[:, w.PIXELS])
        s = t[:, None, None, None]
        return jnp.square(unet(p, (1 - s) * e + s * x, t, labels) - (x - e)).mean()

    return loss, first_weights(load.dtype)
