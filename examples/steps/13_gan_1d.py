"""A GAN in one dimension: a forger and an expert, and you see both think.

The generator bends random numbers into values; the discriminator tells real values from generated
ones. Each learns from the other. Where the discriminator finds too few generated values it says
"real", and its slope there is what moves the generator.

Look at: r and g, the counts of real and generated values (two hills; the generator starts as one).
D is the discriminator's probability that a value is real, 0.5 everywhere when the hills agree.
Exercise: set ALONE to 200, so that D learns alone first. Which of the two slopes is left at step 0?
Train with losses.gan("minimax") then: why does it arrive all the same? (Adam, step 09.)
"""

import numpy as np

import tinygen as tg
from tinygen import losses, nn, optim

STEPS, BATCH, ALONE, SHOWN = 1500, 128, 0, (0, 100, 500, 1500)
EDGES = np.linspace(-4, 4, 17)


def real_values(n, rng):
    """Two hills, at -1.5 (narrow, one in three) and at 1.5 (wide)."""
    left = rng.bernoulli(1 / 3, (n, 1))
    noise = rng.normal((n, 1))
    return tg.where(left, -1.5 + 0.4 * noise, 1.5 + 0.7 * noise)


def network(bend, rng):
    a, b, c = (nn.Dense(n, m, rng=rng) for n, m in ((1, 32), (32, 32), (32, 1)))
    return nn.Sequential(a, bend, b, bend, c)


def slopes(discriminator, fake):
    """The mean slope at generated values, for two losses of the generator."""
    fake = fake.detach(requires_grad=True)
    for kind in ("minimax", "non_saturating"):
        (slope,) = tg.grad(losses.gan(kind).generator(discriminator(fake)), [fake])
        yield f"{kind} {abs(slope * BATCH).mean().item():.3f}"


def show(step, real, fake, verdict):
    share = [np.histogram(v.numpy(), bins=EDGES)[0] / v.size for v in (real, fake)]
    apart = 0.5 * np.abs(share[0] - share[1]).sum()
    print(f"step {step}: the two distributions differ by {apart:.2f} (0 is the same, 1 the most)")
    for i, d in enumerate(verdict):
        r, g = (round(60 * s[i]) for s in share)
        print(f"{EDGES[i] + 0.25:6.2f}  {'r' * r:16}{'g' * min(g, 28):28}  D {d:4.2f}")


def main():
    root = tg.random.Generator(0)
    data, noise, weights = map(root.stream, ("data", "noise", "weights"))
    generator, discriminator = network(nn.ReLU(), weights), network(nn.LeakyReLU(0.2), weights)
    game = losses.gan("non_saturating")
    g_optimizer = optim.Adam(generator, lr=1e-3, betas=(0.5, 0.999))
    d_optimizer = optim.Adam(discriminator, lr=2e-3, betas=(0.5, 0.999))
    middles = np.float32(EDGES[:-1, None] + 0.25)
    for step in range(-ALONE, STEPS + 1):
        real, fake = real_values(BATCH, data), generator(noise.normal((BATCH, 1)))
        # The expert: real up, generated down. detach() keeps the forger out of it.
        d_optimizer.zero_grad()
        game.discriminator(discriminator(real), discriminator(fake.detach())).backward()
        d_optimizer.step()
        if step in SHOWN:
            print(f"\nslope of the generator's loss: {', '.join(slopes(discriminator, fake))}")
        if step >= 0:  # The forger: be taken for real.
            g_optimizer.zero_grad()
            game.generator(discriminator(fake)).backward(inputs=generator.parameters())
            g_optimizer.step()
        if step in SHOWN:
            with tg.no_grad():
                many = generator(root.stream("show").normal((5000, 1)))
                verdict = tg.sigmoid(discriminator(middles)).numpy()[:, 0]
            show(step, real_values(5000, root.stream("more data")), many, verdict)


if __name__ == "__main__":
    main()
