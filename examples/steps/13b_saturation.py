"""Saturation: what a discriminator that is far ahead leaves for the generator to learn from.

Here the discriminator D learns alone, from real values around 2 and generated ones around -2, and
soon it is sure. The generator learns from the slope of its loss at its own values. For the loss of
the first paper, log(1 - D), that slope is D times the slope of D's logit. So the surer D is that a
value is generated, the less is left. For -log D (non-saturating) it is 1 - D times the same.

Look at: the two slopes while D learns. Then a generator of one number, which moves all its values
along: how far does it get in 200 steps against the D of the end? SGD steps by the slope. Adam
divides the slope by its usual size (step 09), so that it moves after all, and overshoots.
Exercise: give the real values the mean -1.5 instead of 2, so that the hills overlap. How sure does
D get, and which slope is left now?
"""

import numpy as np

import tinygen as tg
from tinygen import losses, nn, optim

BATCH, STEPS, SHOWN = 256, 400, (0, 10, 20, 40, 80, 160, 400)
REAL, GENERATED, WIDTH = 2.0, -2.0, 0.5
KINDS = ("minimax", "non_saturating")


def network(rng):
    layers = [nn.Dense(n, m, rng=rng) for n, m in ((1, 32), (32, 32), (32, 1))]
    return nn.Sequential(layers[0], nn.LeakyReLU(0.2), layers[1], nn.LeakyReLU(0.2), layers[2])


def slopes(discriminator, values):
    """The mean size of the slope of the generator's loss at its values, for both losses."""
    for kind in KINDS:
        leaf = values.detach(requires_grad=True)
        (slope,) = tg.grad(losses.gan(kind).generator(discriminator(leaf)), [leaf])
        yield abs(slope * BATCH).mean().item()  # of a single value: the loss is a mean over BATCH


def learn_alone(root):
    """A discriminator that learns while the generator stands still."""
    data, noise = root.stream("data"), root.stream("noise")
    discriminator = network(root.stream("weights"))
    optimizer = optim.Adam(discriminator, lr=2e-3)
    print("step   D says real, of generated   slope: minimax   non-saturating")
    for step in range(STEPS + 1):
        real = REAL + WIDTH * data.normal((BATCH, 1))
        fake = GENERATED + WIDTH * noise.normal((BATCH, 1))
        if step in SHOWN:
            verdict = tg.sigmoid(discriminator(fake)).mean().item()
            left = " ".join(f"{slope:16.4f}" for slope in slopes(discriminator, fake))
            print(f"{step:4} {verdict:28.4f} {left}")
        optimizer.zero_grad()
        losses.gan("minimax").discriminator(discriminator(real), discriminator(fake)).backward()
        optimizer.step()
    return discriminator


def move(discriminator, kind, make_optimizer, noise):
    """The mean of the generated values after 200 steps of a generator that only shifts them."""
    shift = nn.Parameter(np.float32(GENERATED))
    optimizer = make_optimizer([shift])
    for _ in range(200):
        fake = shift + WIDTH * noise.normal((BATCH, 1))
        optimizer.zero_grad()
        losses.gan(kind).generator(discriminator(fake)).backward(inputs=[shift])
        optimizer.step()
    return shift.item()


if __name__ == "__main__":
    root = tg.random.Generator(0)
    discriminator = learn_alone(root)
    print(f"\nfrom {GENERATED}, in 200 steps towards the real values at {REAL}")
    for name, make in (("SGD", optim.SGD), ("Adam", optim.Adam)):
        for kind in KINDS:
            noise = root.stream("more noise")
            end = move(discriminator, kind, lambda p, make=make: make(p, lr=0.05), noise)
            print(f"   {name:5} {kind:15} {end:6.2f}")
