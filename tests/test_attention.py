"""Attention's kernel where its blocks begin and end, its layer, and plans that keep it whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.backend import get
from tinygen.primitive import PRIMITIVES
from tinygen.random import Generator

blocks = pytest.importorskip("tinygen_kernels.cpu.pixels", exc_type=ImportError)
CPU = get("numpy")


def draw(seed: int, *shape: int, dtype: str = "float32") -> Any:
    return Generator(seed).normal(shape, dtype)


def pulled(f: Any, g: Any, *arrays: Any) -> list[np.ndarray]:
    """f's result, and the gradients for its arrays with the cotangent g."""
    leaves = [x.detach(requires_grad=True) for x in arrays]
    y = f(*leaves)
    return [y.numpy(), *(x.numpy() for x in tg.grad([y], leaves, [g]))]


@pytest.mark.parametrize(
    ("m", "s", "d", "e", "causal"),
    [(130, 130, 24, 20, True), (130, 130, 40, 17, False), (49, 49, 16, 16, True),
     (70, 33, 5, 64, False), (1, 65, 1, 3, False)],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_of_queries(m: int, s: int, d: int, e: int, causal: bool, dtype: str) -> None:
    """Sizes that no tile, vector or block divides, of arrays whose heads lie side by side."""
    shapes = {"q": (2, m, 3, d), "k": (2, s, 3, d), "v": (2, s, 3, e), "g": (2, m, 3, e)}
    q, k, v, g = (
        tg.transpose(draw(i, *shape, dtype=dtype), (0, 2, 1, 3))
        for i, shape in enumerate(shapes.values())
    )

    def f(q: Any, k: Any, v: Any) -> Any:
        return tg.attention(q, k, v, causal)

    before = CPU.hits["attend"], CPU.hits["attend_dx"]
    got = pulled(f, g, q, k, v)
    assert (CPU.hits["attend"], CPU.hits["attend_dx"]) > before
    with CPU.without_kernels():
        want = pulled(f, *(x.astype("float64") for x in (g, q, k, v)))
    for a, b in zip(got, want, strict=True):
        near = 2e-6 if dtype == "float32" else 1e-13
        np.testing.assert_allclose(a, b, rtol=0, atol=near * max(1.0, np.abs(b).max()))


def test_a_later_place_changes_nothing_before_it() -> None:
    x = draw(0, 1, 70, 24)
    later = tg.put(x, 9.0 * x[:, 66], 66, axis=1)
    a, b = (tg.self_attention(v, 2, causal=True).numpy() for v in (x, later))
    np.testing.assert_array_equal(a[:, :66], b[:, :66])
    assert (a[:, 66:] != b[:, 66:]).all()


def test_who_may_look_nowhere_gets_0() -> None:
    x = draw(5, 2, 3, 4)
    y, *gradients = pulled(lambda x: tg.attention(x, x, x, mask=False), x, x)
    assert not y.any()
    assert not gradients[0].any()


def test_parts_side_by_side_are_attention_of_each_head() -> None:
    x, g = draw(1, 2, 10, 36), draw(2, 2, 10, 12)

    def apart(x: Any) -> Any:
        q, k, v = x.reshape(2, 10, 3, 2, 6).transpose(2, 0, 3, 1, 4)
        return tg.attention(q, k, v).transpose(0, 2, 1, 3).reshape(2, 10, 12)

    for a, b in zip(
        pulled(lambda x: tg.self_attention(x, 2), g, x), pulled(apart, g, x), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_plan_keeps_it_whole() -> None:
    net = nn.Attention(16, heads=4, rng=Generator(0))
    x = draw(3, 4, 7, 7, 16)

    def step(x: Any) -> Any:
        net.zero_grad()
        loss = tg.square(net(x)).mean()
        loss.backward()
        return loss, [p.grad for p in net.parameters()]

    compiled = tg.compile(step)
    compiled(x)
    loss, gradients = compiled(x * 2.0)
    wanted, others = step(x * 2.0)
    np.testing.assert_allclose(loss.numpy(), wanted.numpy(), rtol=1e-6)
    for g, other in zip(gradients, others, strict=True):
        np.testing.assert_allclose(g.numpy(), other.numpy(), rtol=0, atol=1e-6)
    names = [call.name for call in compiled.plan.calls]
    assert (names.count("attend_self"), names.count("attend_self_dx")) == (1, 1)


def test_the_layer_refuses_what_it_cannot_divide() -> None:
    with pytest.raises(ValueError, match=r"Attention: 10 features in 4 heads; expected a divisor"):
        nn.Attention(10, heads=4)
    with pytest.raises(ValueError, match=r"Attention\(4, 1, .*\): input \(3, 4\); expected \(n"):
        nn.Attention(4)(tg.ones((3, 4)))
    with pytest.raises(ValueError, match=r"input \(3, 0, 4\); .* one place or more"):
        nn.Attention(4)(tg.zeros((3, 0, 4)))


@pytest.mark.parametrize("block", [(1, 1), (2, 2), (3, 2), (1, 3)])
def test_blocks_of_pixels_are_what_their_bodies_say(block: tuple[int, int]) -> None:
    x, c = draw(4, 2, 6, 6, 36).numpy(), {"block": block}
    for name in ("pixels_repeated", "pixels_added", "pixels_to_channels", "channels_to_pixels"):
        got = getattr(blocks, name)(x, **c)
        want = PRIMITIVES[name].reference(np, x, **c)
        np.testing.assert_allclose(got, want, rtol=0, atol=0 if name != "pixels_added" else 1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [8, 16, 20, 64])
def test_sums_of_four_pixels_are_added_in_pairs(channels: int, dtype: Any) -> None:
    """The same bits whether or not the channels fill vectors; what is not a number stays apart."""
    x = np.random.default_rng(channels).standard_normal((3, 6, 10, channels)).astype(dtype)
    x[1, 2, 3, 4], x[2, 0, 0, 1] = np.nan, np.inf
    a, b, c, d = (x[:, i::2, j::2] for i in (0, 1) for j in (0, 1))
    call = blocks.pixels_added.bind(x, block=(2, 2))
    call()
    np.testing.assert_array_equal(call.out, (a + b) + (c + d))
