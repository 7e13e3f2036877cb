"""What does a code hold? A map of the digit 3, with the library doing the work.

With a code of two numbers all codes fit on a page. Nobody tells the model that handwriting leans;
but with two numbers to describe a 3, its slant is worth describing, and a little of its size. The
data know how each image was drawn, so we can check what was found. train.fit is the loop of the
steps before, with progress, checkpoints and a log; it returns a run, which draws.

Look at: the map: the first number grows to the right, the second upwards, in steps of equal
probability. Then the table: of each thing that is known of the images, the share (R^2) that both
numbers of the code together explain. One number alone means little: the code may come out turned.
Exercise: give the code a third number (CODE = 3). What does the model describe next?
"""

import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np

import tinygen as tg
from tinygen import models, train

SIDE, DIGIT, CODE = 11, 3, 2


def main(out):
    images, table = tg.data.strokes(n=12_000, seed=0)
    chosen = table["digit"] == DIGIT
    data = tg.data.Dataset("threes", images[chosen])
    print(data)
    model = models.VAE(data.shape, hidden=(200,), latent=CODE, rng=tg.random.Generator(0))
    run = train.fit(model, data, epochs=25, batch_size=32, lr=2e-3, seed=0, progress=False)
    for entry in run.epochs[::8]:
        parts = ", ".join(f"{name} {value:.1f}" for name, value in entry["losses"].items())
        print(f"epoch {entry['epoch']:2}: {parts}")

    with tg.no_grad():
        mu, _ = model.encode(tg.tensor(data.images.astype(np.float32) / 255))
    known = np.column_stack([mu.numpy(), np.ones(len(data))])
    print("\nshare explained by the code")
    for name in ("slant", "scale", "rotation", "thickness"):
        truth = table[name][chosen]
        rest = truth - known @ np.linalg.lstsq(known, truth, rcond=None)[0]
        print(f"   {name:9} {1 - rest.var() / truth.var():5.2f}")

    share = (np.arange(SIDE) + 0.5) / SIDE  # the middles of equal shares of N(0, 1)
    ticks = np.array([NormalDist().inv_cdf(p) for p in share], np.float32)
    across, up = np.meshgrid(ticks, ticks[::-1])
    with tg.no_grad():
        rest = [np.zeros(SIDE * SIDE, np.float32)] * (CODE - 2)  # a third number stays 0 on the map
        codes = np.stack([across.ravel(), up.ravel(), *rest], axis=1)
        drawn = model.generate(tg.tensor(codes))
    run.picture(drawn.numpy(), columns=SIDE).save(out / "17_map.png")


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    out.mkdir(parents=True, exist_ok=True)
    main(out)
