"""A digit on demand: the VAE with a label, and what is left for the code.

Step 12 draws some digit; which one is up to chance. Here both networks are told the label, as ten
numbers of which one is 1. The code need no longer say which digit it is, and so it holds what the
label does not say: the handwriting.

Look at: the picture. The top row are ten images that the model never saw, and only their codes are
kept. Each column below asks for the digits 0 to 9 with that one code, in that hand: wide or narrow,
leaning or upright, thick or thin.
Exercise: make CODE 16. The loss falls; but does a hand still carry over to other digits? What did
the four numbers have no room for?
"""

import sys
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen import losses, nn, optim

CODE, EPOCHS, RATE = 4, 8, 3e-3


def with_label(x, labels):
    return tg.concatenate([x, tg.one_hot(labels, classes=10)], axis=1)


class ConditionalVAE(nn.Module):
    def __init__(self, rng):
        self.encoder = nn.Sequential(nn.Dense(784 + 10, 256, rng=rng), nn.ReLU())
        self.to_mu = nn.Dense(256, CODE, rng=rng)
        self.to_logvar = nn.Dense(256, CODE, rng=rng)
        self.decoder = nn.Sequential(
            nn.Dense(CODE + 10, 256, rng=rng), nn.ReLU(), nn.Dense(256, 784, rng=rng)
        )

    def loss(self, x, labels, rng):
        hidden = self.encoder(with_label(x, labels))
        mu, logvar = self.to_mu(hidden), self.to_logvar(hidden)
        z = losses.reparameterise(mu, logvar, rng)
        logits = self.decoder(with_label(z, labels))
        return losses.vae(logits, x, mu, logvar)  # the two terms that step 12 wrote out


def main(out):
    data = tg.data.load("strokes", n=8000)
    root = tg.random.Generator(0)
    noise = root.stream("noise")
    model = ConditionalVAE(root.stream("weights"))
    optimizer = optim.Adam(model.parameters(), lr=RATE)
    for epoch in range(EPOCHS):
        optimizer.lr = RATE * (1 - epoch / EPOCHS)
        total = kl = 0.0
        for batch in data.batches(64, seed=0, epoch=epoch):
            x, labels = tg.tensor(batch.images).reshape(-1, 784), tg.tensor(batch.labels)
            loss = model.loss(x, labels, noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            kl += loss.parts["kl"].item()
        n = len(data) // 64
        print(f"epoch {epoch + 1}: {total / n:6.1f} nats an image, {kl / n:5.1f} of them the code")

    x, own = data.test.images[:10].astype(np.float32) / 255, data.test.labels[:10]
    with tg.no_grad():
        hands = model.to_mu(model.encoder(with_label(x.reshape(10, 784), own))).numpy()
        codes, labels = np.tile(hands, (10, 1)), np.repeat(np.arange(10), 10)
        drawn = tg.sigmoid(model.decoder(with_label(codes, labels))).numpy()
    sheet = np.concatenate([x, drawn.reshape(-1, 28, 28, 1)])
    tg.images.grid(sheet, columns=10).save(out / "16_on_demand.png")


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    out.mkdir(parents=True, exist_ok=True)
    main(out)
