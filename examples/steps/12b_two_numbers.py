"""The clouds of a code of two numbers, with the KL term and without it.

The encoder of a VAE gives each image a cloud in the plane: a normal distribution around mu, of
width sigma. The same network learns twice from the same start, the second time without the KL
term. Then nothing asks for width or order: clouds shrink to dots, far apart, with nothing between
them. With the KL term clouds are wider, touch each other, and lie nearer to 0.

Look at: the picture, with the KL term on the left. Above are the clouds of 400 new images, a colour
a digit. Each square is as large as its clouds, and the white ring has radius 2 in both: 86 % of
N(0, 1) is within it. Below is what random codes of N(0, 1) become.
Exercise: set KL to (10.0, 1.0). Which colours lie on each other then, and what does the code lose?
"""

import sys
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen import losses, nn, optim

KL, EPOCHS, RATE, SIDE, NEW = (1.0, 0.0), 20, 3e-3, 280, 400
COLOURS = {0: (1, 0.45, 0.3), 1: (1, 0.9, 0.3), 4: (0.3, 0.7, 1)}  # of the digits


def train(data, weight):
    root = tg.random.Generator(0)
    noise, rng = root.stream("noise"), root.stream("weights")
    a, b, c, d = (nn.Dense(n, m, rng=rng) for n, m in ((784, 128), (128, 4), (2, 128), (128, 784)))
    encoder = nn.Sequential(nn.Flatten(), a, nn.ReLU(), b)
    decoder = nn.Sequential(c, nn.ReLU(), d, nn.Reshape(28, 28, 1))
    optimizer = optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=RATE)
    for epoch in range(EPOCHS):
        optimizer.lr = RATE * (1 - epoch / EPOCHS)
        for batch in data.batches(64, seed=0, epoch=epoch):
            code = encoder(batch.images)
            mu, logvar = code[:, :2], code[:, 2:]
            logits = decoder(losses.reparameterise(mu, logvar, noise))
            kl = losses.gaussian_kl(mu, logvar)
            optimizer.zero_grad()
            (losses.bernoulli_nll(logits, batch.images) + weight * kl).backward()
            optimizer.step()
    return encoder, decoder


def clouds(mu, sigma, labels):
    """The plane with a cloud of 40 points for each image, in the colour of its digit."""
    reach = max(3, 1.1 * np.abs(mu).max())
    edges = np.linspace(-reach, reach, SIDE + 1)
    points = mu + sigma * tg.random.Generator(2).normal((40, *mu.shape)).numpy()
    plane = np.zeros((SIDE, SIDE, 3))
    for digit, colour in COLOURS.items():
        x, y = points[:, labels == digit].reshape(-1, 2).T
        counts = np.histogram2d(-y, x, bins=edges)[0]
        plane = np.maximum(plane, np.minimum(counts / 3, 1)[:, :, None] * np.array(colour))
    plane[np.abs(np.hypot(edges[1:], edges[1:, None]) - 2) < reach / SIDE] = 1  # the ring
    return plane


def main(out):
    images, table = tg.data.strokes(n=6000, seed=0)
    chosen = np.isin(table["digit"], list(COLOURS))
    images, labels = images[chosen], table["digit"][chosen][:NEW]
    planes, sheets = [], []
    print("KL times   spread of mu   sigma   mu within the ring")
    for weight in KL:
        encoder, decoder = train(tg.data.Dataset("three digits", images[NEW:]), weight)
        with tg.no_grad():
            code = encoder(images[:NEW].astype(np.float32) / 255).numpy()
            drawn = tg.sigmoid(decoder(tg.random.Generator(1).normal((100, 2)))).numpy()
        mu, sigma = code[:, :2], np.exp(code[:, 2:] / 2)
        within = np.mean(np.hypot(*mu.T) < 2)
        print(f"{weight:8} {mu.std():14.2f} {sigma.mean():7.3f} {within:20.0%}")
        planes.append(clouds(mu, sigma, labels))
        sheet = drawn.reshape(10, 10, 28, 28).swapaxes(1, 2).reshape(SIDE, SIDE, 1)
        sheets.append(sheet.repeat(3, axis=2))
    tg.images.grid(np.stack([*planes, *sheets]), columns=2, pad=6).save(out / "12b_clouds.png")


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    out.mkdir(parents=True, exist_ok=True)
    main(out)
