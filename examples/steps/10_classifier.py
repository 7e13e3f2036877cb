"""A small network learns to read digits.

Two layers: 784 pixels become 64 features, and these become ten scores, one a digit. The loss is the
cross-entropy, the negative logarithm of the probability given to the right digit. It is measured on
images of the training set, and what counts is measured on images never seen.

Look at: the accuracy on new images, far above the 10 % of guessing after one pass. Then the picture
of images that it still gets wrong; what it took them for is printed. Would you have read each
correctly?
Exercise: take out nn.ReLU(). What remains is a linear model. How much did the kink bring?
"""

import sys
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen import losses, nn, optim


def accuracy(net, data):
    with tg.no_grad():
        logits = net(tg.tensor(data.images.astype(np.float32) / 255))
    guess = logits.argmax(axis=1).numpy()
    return (guess == data.labels).mean(), guess


def main(out):
    data = tg.data.load("strokes", n=8000)
    print(data)
    rng = tg.random.Generator(0)
    net = nn.Sequential(
        nn.Flatten(), nn.Dense(784, 64, rng=rng), nn.ReLU(), nn.Dense(64, 10, rng=rng)
    )
    print(net, "\n")
    optimizer = optim.Adam(net.parameters(), lr=2e-3)
    for epoch in range(5):
        total = 0.0
        for batch in data.batches(64, seed=0, epoch=epoch):
            loss = losses.cross_entropy(net(batch.images), batch.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        seen, new = accuracy(net, data)[0], accuracy(net, data.test)[0]
        mean = total / (len(data) // 64)
        print(f"epoch {epoch + 1}: loss {mean:.3f}, right: {seen:.1%} of seen, {new:.1%} of new")

    _, guess = accuracy(net, data.test)
    wrong = np.flatnonzero(guess != data.test.labels)[:40]
    print("\nread wrongly, in the order of the picture (is -> taken for):")
    for i in range(0, len(wrong), 10):
        row = wrong[i : i + 10]
        print("  ", "  ".join(f"{data.test.labels[k]} -> {guess[k]}" for k in row))
    tg.images.grid(data.test.images[wrong], columns=10).save(out / "10_mistakes.png")


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    out.mkdir(parents=True, exist_ok=True)
    main(out)
