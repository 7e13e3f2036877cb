"""A GAN in one dimension: a forger and an expert, and you see both think.

The generator bends random numbers into values; the discriminator tells real values from
generated ones. Each learns from the other. Where the discriminator finds too few generated
values it says "real", and its slope there is what moves the generator.

Look at: r and g, the counts of real and generated values (two hills; the generator starts as one),
and D, the discriminator's probability that a value is real. When the hills agree, it can only
guess, and D is 0.5 everywhere.
Exercise: take losses.gan("minimax"). Its generator has hardly a slope where D is sure. Slower?
"""

import numpy as np

import tinygen as tg
from tinygen import losses, nn, optim

STEPS, BATCH = 1500, 128
EDGES = np.linspace(-4, 4, 17)


def real_values(n, rng):
    """Two hills, at -1.5 (narrow, one in three) and at 1.5 (wide)."""
    left = rng.bernoulli(1 / 3, (n, 1))
    noise = rng.normal((n, 1))
    return tg.where(left, -1.5 + 0.4 * noise, 1.5 + 0.7 * noise)


def show(step, real, fake, verdict):
    share = [np.histogram(v.numpy(), bins=EDGES)[0] / v.size for v in (real, fake)]
    apart = 0.5 * np.abs(share[0] - share[1]).sum()
    print(f"\nstep {step}: the two distributions differ by {apart:.2f} (0 is the same, 1 the most)")
    for i, d in enumerate(verdict):
        r, g = (round(60 * s[i]) for s in share)
        middle = (EDGES[i] + EDGES[i + 1]) / 2
        print(f"{middle:6.2f}  {'r' * r:16}{'g' * min(g, 28):28}  D {d:4.2f}")


def main():
    root = tg.random.Generator(0)
    data, noise, weights = root.stream("data"), root.stream("noise"), root.stream("weights")
    generator = nn.Sequential(
        nn.Dense(1, 32, rng=weights), nn.ReLU(),
        nn.Dense(32, 32, rng=weights), nn.ReLU(), nn.Dense(32, 1, rng=weights),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Dense(1, 32, rng=weights), nn.LeakyReLU(0.2),
        nn.Dense(32, 32, rng=weights), nn.LeakyReLU(0.2), nn.Dense(32, 1, rng=weights),
    )  # fmt: skip
    game = losses.gan("non_saturating")
    g_optimizer = optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    d_optimizer = optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    middles = ((EDGES[:-1] + EDGES[1:]) / 2).astype(np.float32).reshape(-1, 1)
    for step in range(STEPS + 1):
        real = real_values(BATCH, data)
        fake = generator(noise.normal((BATCH, 1)))
        # The expert: real up, generated down. detach() keeps the forger out of it.
        d_loss = game.discriminator(discriminator(real), discriminator(fake.detach()))
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()
        # The forger: be taken for real.
        g_loss = game.generator(discriminator(fake))
        g_optimizer.zero_grad()
        g_loss.backward(inputs=generator.parameters())
        g_optimizer.step()
        if step in (0, 100, 500, STEPS):
            with tg.no_grad():
                many = generator(root.stream("show").normal((5000, 1)))
                verdict = tg.sigmoid(discriminator(middles)).numpy()[:, 0]
            show(step, real_values(5000, root.stream("more data")), many, verdict)


if __name__ == "__main__":
    main()
