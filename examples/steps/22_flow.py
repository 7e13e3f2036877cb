"""A flow in two dimensions: noise becomes a shape, point by point, along paths that are learnt.

A point x of the data and a point e of noise are the ends of a straight line, z = (1 - t) e + t x.
The network learns the velocity x - e of the lines through a place z at time t. Many lines cross
there, so it learns their mean. To draw, a point of noise moves so from t = 0 to t = 1.

Look at: the loss, which stays far above 0, since no velocity suits all lines that cross. The
picture shows the same points at five times, and real ones at its end. In the film they move.
Exercise: set SHAPE to "ring". Then draw with STEPS = 1: what does one step make of it, and why?
"""

import sys
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen import nn, optim

SHAPE, TRAINING, BATCH, STEPS, RATE = "moons", 1500, 256, 40, 6e-3


def shape(n, rng):
    """Points (n, 2) of two half moons, or of a ring."""
    angle = rng.uniform((n, 1)) * (np.pi if SHAPE == "moons" else 2 * np.pi)
    points = tg.concatenate([tg.cos(angle), tg.sin(angle)], axis=1)
    if SHAPE == "moons":  # the second is the first, upside down and moved
        other = np.float32([1.0, 0.5]) - points
        points = tg.where(rng.bernoulli(0.5, (n, 1)), other, points) - np.float32([0.5, 0.25])
    return 2 * points + 0.08 * rng.normal((n, 2))


def velocity(net, z, t):
    waves = [wave(k * np.pi * t) for k in (1, 2) for wave in (tg.sin, tg.cos)]
    return net(tg.concatenate([z, t, *waves], axis=1))  # the time as a few waves


def train(root):
    data, noise, times, weights = map(root.stream, ("data", "noise", "times", "weights"))
    layers = [(nn.Dense(n, 128, init="he", rng=weights), nn.SiLU()) for n in (7, 128, 128)]
    net = nn.Sequential(*sum(layers, ()), nn.Dense(128, 2, rng=weights))
    optimizer, seen = optim.Adam(net.parameters(), lr=RATE), []
    for step in range(1, TRAINING + 1):
        optimizer.lr = RATE * (1 - step / (TRAINING + 1))
        x, e, t = shape(BATCH, data), noise.normal((BATCH, 2)), times.uniform((BATCH, 1))
        loss = ((velocity(net, (1 - t) * e + t * x, t) - (x - e)) ** 2).sum(axis=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    for name, part in (("first", seen[:100]), ("last", seen[-100:])):
        print(f"squared error of the {name} 100 steps: {np.mean(part):.3f}")
    return net


@tg.no_grad()
def flow(net, z):
    """The points at the times 0, 1 / STEPS, ... 1."""
    places = [z.numpy()]
    for k in range(STEPS):
        z = z + velocity(net, z, tg.full((len(z), 1), k / STEPS)) / STEPS
        places.append(z.numpy())
    return places


def main(out):
    root, edges = tg.random.Generator(0), np.linspace(-4, 4, 201)
    places = flow(train(root), root.stream("points").normal((4000, 2)))
    real = shape(4000, root.stream("real")).numpy()
    far = np.linalg.norm(places[-1][:500, None] - real, axis=2).min(axis=1).mean()
    print(f"mean distance of a drawn point from the nearest real one: {far:.3f}")
    counts = [np.histogram2d(-p[:, 1], p[:, 0], bins=edges)[0] for p in (*places, real)]
    frames = np.minimum(counts, 3) / 3
    still = [k * STEPS // 4 for k in range(5)]
    tg.images.grid(frames[[*still, -1]], columns=6).save(out / "22_flow.png")
    tg.images.Film([tg.images.grid(f, scale=2) for f in frames[:-1]]).save(out / "22_film.png")


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    out.mkdir(parents=True, exist_ok=True)
    main(out)
