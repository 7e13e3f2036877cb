"""SGD, momentum and Adam go down the same ravine.

The ravine is 30 times steeper across than along. Plain gradient descent must take steps small
enough for the steep direction, and so it crawls along the flat one. Momentum remembers where it
was going; Adam divides each direction by the size of the gradients seen there.

Look at: the table of losses; and the film (SGD, momentum, Adam from top to bottom), with paths from
the left to the lowest point, in green. Dark is low, and each dot is a step. A browser plays it.
Exercise: set ANGLE to 45, which turns the ravine and the start together. Which of the three
notices, and why that one? (The picture shows the path in the ravine's own directions.)
"""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen import nn, optim

HEIGHT, WIDTH, STEPS = 200, 560, 60
LEFT, RIGHT, TOP = -2.3, 0.7, 0.5  # the part of the plane that is drawn
ANGLE = 0  # by which the ravine is turned, in degrees


def loss(place):
    x, y = place  # along the ravine and across
    return 0.5 * (x**2 + 30 * y**2)


def descend(make_optimizer):
    sine, cosine = np.sin(np.radians(ANGLE)), np.cos(np.radians(ANGLE))
    turn = np.array([[cosine, -sine], [sine, cosine]], np.float32)
    place = nn.Parameter(turn @ np.float32([-2.0, 0.4]))
    optimizer = make_optimizer([place])
    path = [turn.T @ place.numpy()]
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss(turn.T @ place).backward()
        optimizer.step()
        path.append(turn.T @ place.numpy())
    return np.array(path)


def draw(path):
    """The heights as shades, and the path in orange with a dot for each step: a frame a step."""
    xs, ys = np.meshgrid(np.linspace(LEFT, RIGHT, WIDTH), np.linspace(TOP, -TOP, HEIGHT))
    level = np.sqrt(0.5 * (xs**2 + 30 * ys**2))
    shade = 40 + 25 * np.floor(level * 3)
    picture = np.repeat(shade[:, :, None], 3, axis=2).clip(0, 255).astype(np.uint8)

    def blot(point, size, colour):
        column = round(float((point[0] - LEFT) / (RIGHT - LEFT) * WIDTH))
        row = round(float((TOP - point[1]) / (2 * TOP) * HEIGHT))
        picture[row - size : row + size + 1, column - size : column + size + 1] = colour

    blot((0, 0), 3, (90, 220, 120))  # the lowest point
    for start, end in pairwise(path):
        yield picture.copy()
        for t in np.linspace(0, 1, 80):
            blot(start + t * (end - start), 0, (255, 150, 40))
        blot(end, 2, (255, 150, 40))
    yield picture


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    out.mkdir(parents=True, exist_ok=True)
    ways = {
        "SGD": lambda p: optim.SGD(p, lr=0.06),
        "momentum": lambda p: optim.SGD(p, lr=0.03, momentum=0.8),
        "Adam": lambda p: optim.Adam(p, lr=0.12),
    }
    paths = {name: descend(make) for name, make in ways.items()}
    print("loss after    ", *(f"{n:9}" for n in (0, 5, 10, 20, 40, 60)), "steps")
    for name, path in paths.items():
        print(f"{name:14}", *(f"{loss(path[n]):9.5f}" for n in (0, 5, 10, 20, 40, 60)))
    together = zip(*map(draw, paths.values()), strict=True)
    frames = [tg.images.grid(np.stack(three), columns=1, pad=6, scale=1) for three in together]
    tg.images.Film(frames).save(out / "09_ravine.png")
