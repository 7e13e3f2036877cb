"""A convolution: one small window, the same weights wherever it looks.

A dense layer has a weight for every pixel and has to learn a stroke anew at each place. A
convolution slides a window of a few pixels over the image: each output pixel is the weighted sum of
what the window sees there. Its gradient with regard to the image goes the other way, from each
output pixel back into the window it came from. That is the transposed convolution, with which
generators make a small image larger.

Look at: the edges that a window of six weights finds. Then two numbers that are equal, because one
operation is the other's way back. And which of two networks still reads digits that were moved?
Exercise: give the dense network four times the neurons. Does it read moved digits then?
"""

import numpy as np

import tinygen as tg
from tinygen import losses, nn, optim


def show(image, marks="=- +#"):
    """Signs and sizes of the numbers as characters, every second row."""
    levels = np.rint((image / np.abs(image).max() + 1) * 2).astype(int)
    print("\n".join("".join(marks[v] * 2 for v in row) for row in levels[4:-4:2, 4:-4]))


def accuracy(net, x, labels):
    with tg.no_grad():
        return np.mean(net(x).numpy().argmax(1) == labels)


def main():
    rng = tg.random.Generator(0)
    images, table = tg.data.strokes(n=4000, seed=0)
    x, labels = tg.tensor(images.astype(np.float32) / 255), np.asarray(table["digit"])

    # Left minus right: large where a stroke ends on its right, small where it begins.
    window = tg.tensor([[1.0, -1.0]] * 3).reshape(3, 2, 1, 1)
    edges = tg.conv2d(x[:1], window, padding="same")
    show(edges.numpy()[0, :, :, 0])

    y = rng.normal(edges.shape)
    print("\n<conv(x), y> =", f"{(edges * y).sum().item():.3f}", end=" = <x, conv_transpose(y)> = ")
    back = tg.conv_transpose2d(y, window.swapaxes(2, 3), padding="same")
    print(f"{(x[:1] * back).sum().item():.3f}")

    nets = {
        "dense": nn.Sequential(
            nn.Flatten(), nn.Dense(784, 24, rng=rng), nn.ReLU(), nn.Dense(24, 10, rng=rng)
        ),
        "convolutional": nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=2, padding="same", rng=rng), nn.ReLU(),
            nn.Conv2d(8, 24, 5, stride=2, padding="same", rng=rng), nn.ReLU(),
            nn.MaxPool2d(3, stride=2), nn.Flatten(), nn.Dense(216, 10, rng=rng),
        ),
    }  # fmt: skip
    moved = tg.tensor(np.roll(x.numpy(), (2, -2), axis=(1, 2)))
    for name, net in nets.items():
        optimizer = optim.Adam(net.parameters(), lr=3e-3)
        for i in range(300):
            batch = slice(i * 50 % 3000, i * 50 % 3000 + 50)
            loss = losses.cross_entropy(net(x[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        weights = sum(p.size for p in net.parameters())
        fresh, shifted = (accuracy(net, images[3000:], labels[3000:]) for images in (x, moved))
        print(
            f"{name:>13}: {weights:6} weights, reads {fresh:.1%}, moved by 2 pixels {shifted:.1%}"
        )


if __name__ == "__main__":
    main()
