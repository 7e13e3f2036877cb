"""Gradient descent: a line through points, and a border between two clouds.

Learning is the same three lines each time: compute a loss from the parameters, ask for its
gradient, move the parameters a little against it. Linear regression predicts a number, and its loss
is the squared error. Logistic regression predicts a probability. Its loss is the negative logarithm
of the probability that it gave to what really happened.

Look at: how the line comes to rest on the exact solution; and the picture: the shade is the
probability that the model gives to "white", points are the data.
Exercise: give the line the learning rates 0.1, 0.2, 0.25 and 0.3. At which does the loss explode?
What do the first steps of `a` do just before that, and why? (Step 09 has a picture of it.)
"""

import sys
from pathlib import Path

import numpy as np

import tinygen as tg

RATE = 0.05  # of the line


def fit(loss, parameters, rate, steps, report):
    for step in range(steps + 1):
        value = loss(*parameters)
        gradients = tg.grad(value, parameters)
        if step in report:
            print(f"   step {step:4}: loss {value.item():8.4f}", end="")
            print("   parameters", *(np.round(p.numpy(), 3) for p in parameters))
        parameters = [
            (p - rate * g).detach(requires_grad=True)
            for p, g in zip(parameters, gradients, strict=True)
        ]
    return parameters


def line(rng):
    x = 4 * rng.uniform((50,))
    y = 1.7 * x - 2 + 0.5 * rng.normal((50,))
    start = [tg.tensor(0.0, requires_grad=True) for _ in range(2)]
    print("A line y = a x + b through points drawn around 1.7 x - 2")
    fit(lambda a, b: ((a * x + b - y) ** 2).mean(), start, RATE, 300, (0, 1, 2, 3, 4, 5, 100, 300))
    print("   solved exactly (least squares):", np.polyfit(x.numpy(), y.numpy(), 1).round(3), "\n")


def border(rng, out, half=100):
    x = rng.normal((2 * half, 2)).numpy().copy()  # two clouds, black and white, around
    x[:half] -= 1  # (-1, -1)
    x[half:] += 1  # and (1, 1)
    label = tg.tensor(np.arange(2 * half) >= half).astype("float32")
    points = tg.tensor(x)

    def loss(w, b):  # -log p(white) for the white ones and -log p(black) for the others
        logit = points @ w + b
        return (tg.softplus(logit) - logit * label).mean()

    start = [tg.zeros(2).detach(requires_grad=True), tg.tensor(0.0, requires_grad=True)]
    print("A border between two clouds: p(white) = sigmoid(x . w + b)")
    w, b = fit(loss, start, 0.5, 200, (0, 1, 10, 100, 200))
    right = ((points @ w + b).numpy() > 0) == (label.numpy() > 0.5)
    print(f"   on the right side of the border: {right.mean():.1%}")

    ticks = np.linspace(-4, 4, 240, dtype=np.float32)
    xs, ys = np.meshgrid(ticks, -ticks)  # y grows upwards
    place = tg.tensor(np.stack([xs.ravel(), ys.ravel()], axis=1))
    picture = 0.2 + 0.6 * tg.sigmoid(place @ w + b).numpy().reshape(240, 240)
    for i, (px, py) in enumerate(x):
        row, column = round((4 - py) * 30), round((px + 4) * 30)
        picture[max(row - 2, 0) : row + 2, max(column - 2, 0) : column + 2] = i >= half
    tg.images.grid(picture).save(out / "08_border.png")


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    out.mkdir(parents=True, exist_ok=True)
    line(tg.random.Generator(0).stream("line"))
    border(tg.random.Generator(0).stream("clouds"), out)
