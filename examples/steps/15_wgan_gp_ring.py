"""WGAN-GP: eight Gaussians on a ring, and a generator that has to find them all.

A plain GAN often settles on a few of them ("mode collapse"). Here the discriminator becomes a
critic: it gives a score, not a verdict, and a penalty on the gradient of its score holds its slope
near 1. To train on a gradient, one needs the gradient of a gradient (step 04).
Look at: the modes found and the range of the critic's score. Then the film: real points, generated
ones, and the score of every place, white for high. Why are there threads between modes?
Exercise: set PENALTY to 0, then to 10. What becomes of the modes, and of the range of the score?
"""

import sys
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen import losses, nn, optim

RADIUS, STD = 2.0, 0.02
STEPS, BATCH, CRITIC_STEPS, PENALTY, RATE = 800, 128, 3, 0.1, 2e-3
CENTRES = RADIUS * np.array([(np.cos(a), np.sin(a)) for a in np.arange(8) * np.pi / 4], np.float32)


def ring(n, rng):
    return tg.tensor(CENTRES)[rng.integers(8, (n,))] + STD * rng.normal((n, 2))


def count_modes(samples):
    """How many of the eight have at least 20 samples within 3 standard deviations."""
    distance = np.linalg.norm(samples[:, None] - CENTRES, axis=2)  # (samples, 8)
    return int(((distance < 3 * STD).sum(axis=0) >= 20).sum())


def mlp(outputs, rng):
    hidden = [(nn.Dense(n, 128, init="he", rng=rng), nn.ReLU()) for n in (2, 128, 128)]
    return nn.Sequential(*sum(hidden, ()), nn.Dense(128, outputs, rng=rng))


def train(seed, look=lambda step, samples, critic: None):
    root = tg.random.Generator(seed)
    data, noise, mix, weights = map(root.stream, ("data", "noise", "mix", "weights"))
    generator, critic = mlp(2, weights), mlp(1, weights)
    g_optimizer = optim.Adam(generator.parameters(), lr=RATE, betas=(0.5, 0.9))
    c_optimizer = optim.Adam(critic.parameters(), lr=RATE, betas=(0.5, 0.9))
    for step in range(1, STEPS + 1):
        g_optimizer.lr = c_optimizer.lr = RATE * (1 - step / (STEPS + 1))
        for _ in range(CRITIC_STEPS):
            real, fake = ring(BATCH, data), generator(noise.normal((BATCH, 2))).detach()
            penalty = PENALTY * losses.gradient_penalty(critic, real, fake, mix)
            c_optimizer.zero_grad()
            (critic(fake).mean() - critic(real).mean() + penalty).backward()
            c_optimizer.step()
        g_optimizer.zero_grad()
        score = critic(generator(noise.normal((BATCH, 2)))).mean()
        (-score).backward(inputs=generator.parameters())
        g_optimizer.step()
        if step % 50 == 0 or step == STEPS:
            samples = generator(root.stream("samples").normal((2500, 2))).numpy()
            look(step, samples, critic)
    return samples


frames = []


def picture(step, samples, critic):
    edges = np.linspace(-2.6, 2.6, 201, dtype=np.float32)
    score = critic(np.stack(np.meshgrid(edges[:-1], -edges[:-1]), axis=2)).numpy()[:, :, 0]
    least, most = score.min(), score.max()
    print(f"step {step:4}: {count_modes(samples)} of 8 modes, score from {least:.2f} to {most:.2f}")
    panels = [(score - least) / (most - least)]
    for points in (samples, ring(2500, tg.random.Generator(1)).numpy()):
        counts = np.histogram2d(-points[:, 1], points[:, 0], bins=edges)[0]
        panels.insert(0, np.minimum(counts / 3, 1))
    frames.append(tg.images.grid(np.stack(panels), columns=3, scale=1))


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    out.mkdir(parents=True, exist_ok=True)
    train(0, picture)
    tg.images.Film(frames, seconds=0.3, hold=2.0).save(out / "15_ring.png")
