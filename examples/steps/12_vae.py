"""A variational autoencoder, written out: now the decoder can invent.

The encoder no longer names one code but a cloud of them, a normal distribution with mean mu and
variance exp(logvar); the decoder gets a point drawn from it. A second term of the loss, the KL
divergence, pulls every cloud towards N(0, 1). Clouds overlap and fill the space, so that any code
drawn from N(0, 1) means something. Loss = pixels wrong + information in the code.

Look at: the two terms (the second one grows: the code learns to say something, at a price); and the
picture: 100 digits that nobody wrote, decoded from random codes.
Exercise: multiply the KL term by 0, and then by 10. Which picture belongs to which, and why?
"""

import sys
from pathlib import Path

import tinygen as tg
from tinygen import nn, optim

CODE, EPOCHS, RATE = 12, 10, 3e-3


class VAE(nn.Module):
    def __init__(self, rng):
        self.encoder = nn.Sequential(nn.Flatten(), nn.Dense(784, 256, rng=rng), nn.ReLU())
        self.to_mu = nn.Dense(256, CODE, rng=rng)
        self.to_logvar = nn.Dense(256, CODE, rng=rng)
        self.decoder = nn.Sequential(
            nn.Dense(CODE, 256, rng=rng), nn.ReLU(),
            nn.Dense(256, 784, rng=rng), nn.Reshape(28, 28, 1),
        )  # fmt: skip

    def loss(self, x, rng):
        """The two terms of the negative evidence lower bound (ELBO), in nats an image."""
        hidden = self.encoder(x)
        mu, logvar = self.to_mu(hidden), self.to_logvar(hidden)
        # Reparameterise: the draw is outside, so that gradients flow through mu and logvar.
        z = mu + tg.exp(0.5 * logvar) * rng.normal(mu.shape)
        logits = self.decoder(z)
        # -log p(x|z) for pixels that are white with probability sigmoid(logit)
        reconstruction = (tg.softplus(logits) - logits * x).sum(axis=(1, 2, 3)).mean()
        # KL( N(mu, exp(logvar)) || N(0, 1) ), summed over the code
        kl = 0.5 * (mu**2 + tg.exp(logvar) - logvar - 1).sum(axis=1).mean()
        return reconstruction, kl


def main(out):
    data = tg.data.load("strokes", n=8000)
    root = tg.random.Generator(0)
    noise = root.stream("noise")
    vae = VAE(root.stream("weights"))
    optimizer = optim.Adam(vae.parameters(), lr=RATE)
    print("          pixels     KL    together, in nats an image")
    for epoch in range(EPOCHS):
        optimizer.lr = RATE * (1 - epoch / EPOCHS)  # smaller steps towards the end
        sums = [0.0, 0.0]
        for batch in data.batches(64, seed=0, epoch=epoch):
            reconstruction, kl = vae.loss(tg.tensor(batch.images), noise)
            optimizer.zero_grad()
            (reconstruction + kl).backward()
            optimizer.step()
            sums[0] += reconstruction.item()
            sums[1] += kl.item()
        a, b = (s / (len(data) // 64) for s in sums)
        print(f"epoch {epoch + 1:2}: {a:7.1f} {b:6.1f} {a + b:9.1f}")
    with tg.no_grad():
        images = tg.sigmoid(vae.decoder(root.stream("pictures").normal((100, CODE))))
    tg.images.grid(images, columns=10).save(out / "12_vae.png")


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    out.mkdir(parents=True, exist_ok=True)
    main(out)
