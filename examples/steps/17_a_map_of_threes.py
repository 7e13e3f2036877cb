"""What does a code hold? A map of the digit 3, with the library doing the work.

With a code of two numbers all codes fit on a page. Nobody tells the model that handwriting leans,
or that it is large or small; but with two numbers to describe a 3, these are worth describing.
The data know how each image was drawn, so we can check what was found. train.fit is the loop of
the steps before, with progress, checkpoints and a log; it returns a run, which draws.

Look at: the map (the first number grows to the right, the second upwards, in steps of equal
probability), and how far each number of the code goes along with what is known of the images.
Exercise: give the code a third number. What does the model describe next?
"""

import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np

import tinygen as tg
from tinygen import models, train

SIDE, DIGIT = 11, 3


def main(out):
    images, table = tg.data.strokes(n=12_000, seed=0)
    chosen = table["digit"] == DIGIT
    data = tg.data.Dataset("threes", images[chosen])
    print(data)
    model = models.VAE(data.shape, hidden=(200,), latent=2, rng=tg.random.Generator(0))
    run = train.fit(model, data, epochs=25, batch_size=32, lr=2e-3, seed=0, progress=False)
    for entry in run.epochs[::8]:
        parts = ", ".join(f"{name} {value:.1f}" for name, value in entry["losses"].items())
        print(f"epoch {entry['epoch']:2}: {parts}")

    with tg.no_grad():
        mu, _ = model.encode(tg.tensor(data.images.astype(np.float32) / 255))
    names = ("slant", "rotation", "scale", "thickness")
    print("\ncorrelation  ", *(f"{name:>9}" for name in names))
    for k in range(2):
        found = [np.corrcoef(mu.numpy()[:, k], table[name][chosen])[0, 1] for name in names]
        print(f"code number {k + 1}", *(f"{r:9.2f}" for r in found))

    share = (np.arange(SIDE) + 0.5) / SIDE  # the middles of equal shares of N(0, 1)
    ticks = np.array([NormalDist().inv_cdf(p) for p in share], np.float32)
    across, up = np.meshgrid(ticks, ticks[::-1])
    with tg.no_grad():
        drawn = model.generate(tg.tensor(np.stack([across.ravel(), up.ravel()], axis=1)))
    run.picture(drawn.numpy(), columns=SIDE).save(out / "17_map.png")


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    out.mkdir(parents=True, exist_ok=True)
    main(out)
