"""An autoencoder squeezes an image through a code of 16 numbers.

The encoder turns 784 pixels into a code, the decoder turns the code back into pixels, and both
learn to make the result equal to the image. What the code cannot hold is lost. So the network has
to find out by itself what matters: which digit, how slanted, how thick.

Look at: the picture. Rows 1 to 4 are new images, each above what came back. Rows 5 and 6 come from
codes half-way between two images, rows 7 and 8 from random codes with the mean and spread of real
ones. The decoder is good at codes that it has met, and at others it is a matter of luck, since
nothing in the loss asks for it. An autoencoder compresses; step 12 makes it invent.
Exercise: make the code 2 numbers, then 64. What is lost first, and what gets worse?
"""

import sys
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen import losses, nn, optim

CODE, EPOCHS = 16, 6


def main(out):
    data = tg.data.load("strokes", n=8000)
    rng = tg.random.Generator(0)
    encoder = nn.Sequential(
        nn.Flatten(), nn.Dense(784, 256, rng=rng), nn.ReLU(), nn.Dense(256, CODE, rng=rng)
    )
    decoder = nn.Sequential(
        nn.Dense(CODE, 256, rng=rng), nn.ReLU(), nn.Dense(256, 784, rng=rng), nn.Reshape(28, 28, 1)
    )
    optimizer = optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-3)
    for epoch in range(EPOCHS):
        total = 0.0
        for batch in data.batches(64, seed=0, epoch=epoch):
            logits = decoder(encoder(batch.images))
            loss = losses.bernoulli_nll(logits, batch.images)  # cross-entropy of pixels, summed
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: {total / (len(data) // 64):6.1f} nats an image")

    with tg.no_grad():
        x = data.test.images[:20].astype(np.float32) / 255
        code = encoder(x).numpy()
        all_codes = encoder(data.images[:2000].astype(np.float32) / 255).numpy()
        between = (code + np.roll(code, 1, axis=0)) / 2
        random = rng.normal((20, CODE)).numpy() * all_codes.std(axis=0) + all_codes.mean(axis=0)
        back, halfway, invented = (tg.sigmoid(decoder(c)).numpy() for c in (code, between, random))
    print(f"\na digit, and the {CODE} numbers that stand for it:")
    for k in range(3):
        print(f"   {data.test.labels[k]}:", *(f"{v:5.1f}" for v in code[k]))
    sheet = np.concatenate([x[:10], back[:10], x[10:], back[10:], halfway, invented])
    tg.images.grid(sheet, columns=10).save(out / "11_autoencoder.png")


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    out.mkdir(parents=True, exist_ok=True)
    main(out)
