"""A GAN on images: two networks play, and digits appear.

The same game as in step 13, now with 784 pixels. Nothing here measures how an image differs from a
given one: the discriminator is the loss, and it learns as well. So the losses do not tell how good
the images are (both players may improve while neither loss moves): look at the images.

Look at: the picture, the same ten codes after 50, 100, ... steps, a row each. (500 are few: the
last row is still rough.) The film shows them, too. In the numbers, look at D's probability of
"real" for real and for generated images. 0.5 for both would be a draw.
Exercise: draw with the weights as they are (leave out average.swapped()). What did the average do?
"""

import sys
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen import losses, nn, optim

LATENT, STEPS, BATCH, RATE = 64, 500, 64, 1e-3


def players(rng, masks):
    generator = nn.Sequential(
        nn.Dense(LATENT, 256, rng=rng), nn.LeakyReLU(0.2),
        nn.Dense(256, 512, rng=rng), nn.LeakyReLU(0.2),
        nn.Dense(512, 784, rng=rng), nn.Tanh(), nn.Reshape(28, 28, 1),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Flatten(),
        nn.Dense(784, 512, rng=rng), nn.LeakyReLU(0.2), nn.Dropout(0.3, rng=masks),
        nn.Dense(512, 256, rng=rng), nn.LeakyReLU(0.2), nn.Dropout(0.3, rng=masks),
        nn.Dense(256, 1, rng=rng),
    )  # fmt: skip
    return generator, discriminator


def main(out):
    data = tg.data.load("strokes", n=10_000)
    root = tg.random.Generator(0)
    noise = root.stream("noise")
    generator, discriminator = players(root.stream("weights"), root.stream("dropout"))
    game = losses.gan("non_saturating")
    g_optimizer = optim.Adam(generator.parameters(), lr=RATE, betas=(0.5, 0.999))
    d_optimizer = optim.Adam(discriminator.parameters(), lr=RATE, betas=(0.5, 0.999))
    average = optim.EMA(generator, 0.97)  # of recent weights: it draws better than any of them
    fixed, rows, step, epoch = root.stream("pictures").normal((10, LATENT)), [], 0, 0
    print("step    D says real, of real and of generated images")
    while step < STEPS:
        for batch in data.batches(BATCH, seed=0, epoch=epoch, value_range=(-1.0, 1.0)):
            fake = generator(noise.normal((BATCH, LATENT)))
            real_logits = discriminator(batch.images)
            d_loss = game.discriminator(real_logits, discriminator(fake.detach()))
            d_optimizer.zero_grad()
            d_loss.backward()
            d_optimizer.step()
            fake_logits = discriminator(fake)
            g_loss = game.generator(fake_logits)
            g_optimizer.zero_grad()
            g_loss.backward(inputs=generator.parameters())  # D's weights need no gradient here
            g_optimizer.step()
            average.update()
            step += 1
            if step % 10 == 0:
                with tg.no_grad(), average.swapped():
                    rows.append(generator(fixed).numpy())
            if step % 50 == 0:
                verdicts = [tg.sigmoid(v).mean().item() for v in (real_logits, fake_logits)]
                print(f"{step:5}   {verdicts[0]:9.2f} {verdicts[1]:9.2f}")
            if step == STEPS:
                break
        epoch += 1
    sheet = tg.images.grid(np.concatenate(rows[4::5]), columns=10, value_range=(-1, 1))
    sheet.save(out / "14_gan.png")
    frames = [tg.images.grid(row, columns=5, value_range=(-1, 1)) for row in rows]
    tg.images.Film(frames).save(out / "14_film.png")


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    out.mkdir(parents=True, exist_ok=True)
    main(out)
