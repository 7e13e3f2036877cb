"""A forward pass of nine lines, differentiated by hand and compared with the engine.

A network of two layers gives ten scores to each image, and the loss is the cross-entropy, written
out in small lines. Under each line of the way back stands one rule and nothing else. A product
gives its gradient times the other factor, a sum passes it on, and what was stretched is added up.
In the code, d_h is the gradient of the loss with respect to h, of h's shape.

Look at: the table. `exact` means equal bit by bit; `close` means equal but for rounding, since the
engine may work in another order. Then set FORGET to True, which leaves one path out: which rows are
wrong, and why those?
Exercise: the lines from the scores s to the loss have one short gradient together, which is d_s =
(p - hot) / n. Put it in place of the line of d_s. Which rows tell you that it is right?
"""

import numpy as np

import tinygen as tg

FORGET = False  # the second path that leads to e


def forward(x, hot, w1, b1, w2, b2):
    """The loss, and everything on the way to it, by name."""
    a = x @ w1
    h = tg.tanh(a + b1)
    c = h @ w2
    s = c + b2  # the scores of ten classes
    e = tg.exp(s)
    total = e.sum(axis=1, keepdims=True)
    p = e / total  # softmax
    q = (p * hot).sum(axis=1)  # the probability of the right class
    loss = -tg.log(q).mean()
    return {name: value for name, value in locals().items() if name not in ("x", "hot")}


def backward(x, hot, w1, b1, w2, b2, a, h, c, s, e, total, p, q, loss):
    """The same lines from the last to the first, in plain NumPy."""
    n = len(x)
    d_q = -1 / (n * q)  # the mean: 1 / n each; the logarithm: 1 / q
    d_p = d_q[:, None] * hot  # the sum over classes was a shrinking, so this is a stretching
    d_total = -(d_p * p / total).sum(axis=1, keepdims=True)  # was stretched over the classes
    d_e = d_p / total + (0 if FORGET else d_total)  # two paths: the fraction, and the total
    d_s = d_e * e  # exp is its own slope
    d_b2 = d_s.sum(axis=0)  # was stretched over the images
    d_c = d_s
    d_w2 = h.T @ d_c
    d_h = d_c @ w2.T
    d_a = d_h * (1 - h * h)
    d_b1 = d_a.sum(axis=0)
    d_w1 = x.T @ d_a
    return {name[2:]: value for name, value in locals().items() if name.startswith("d_")}


def main():
    rng = tg.random.Generator(0)
    images, table = tg.data.strokes(n=32, seed=0)
    x = tg.tensor(images.astype(np.float32).reshape(32, 784) / 255)
    hot = tg.one_hot(tg.tensor(table["digit"]), classes=10)
    shapes = {"w1": (784, 16), "b1": (16,), "w2": (16, 10), "b2": (10,)}
    weights = {k: (0.1 * rng.normal(v)).detach(requires_grad=True) for k, v in shapes.items()}

    made = forward(x, hot, **weights)
    names = [name for name in made if name != "loss"]
    engine = dict(zip(names, tg.grad(made["loss"], [made[k] for k in names]), strict=True))
    ours = backward(x.numpy(), hot.numpy(), **{k: v.numpy() for k, v in made.items()})
    print(f"loss {made['loss'].item():.4f}\n")
    print("name   shape       exact  close  largest difference")
    for name in reversed(names):
        want, got = engine[name].numpy(), ours[name]
        close = np.allclose(got, want, rtol=1e-4, atol=1e-7)
        far = np.abs(got - want).max()
        print(f"{name:6} {want.shape!s:11} {np.array_equal(got, want)!s:6} {close!s:6} {far:.1e}")


if __name__ == "__main__":
    main()
