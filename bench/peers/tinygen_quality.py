"""MNIST's DCGAN in tinygen, as `tinygen train dcgan` trains it."""

from __future__ import annotations

import time

import quality

import tinygen as tg
from tinygen.train import fit


def main() -> None:
    options = quality.arguments()
    data = tg.data.load(options.data)
    model = tg.models.DCGAN(
        data.shape, width=options.width, dropout=options.dropout, r1=options.r1, lr=options.lr,
        d_lr=options.d_lr, betas=(options.beta1, options.beta2),
        rng=tg.random.Generator(options.seed),
    )  # fmt: skip
    start = time.perf_counter()
    run = fit(
        model, data, options.epochs, batch_size=options.batch_size, ema=options.ema,
        seed=options.seed, progress=False,
    )  # fmt: skip
    about = {
        "seconds": round(time.perf_counter() - start, 1),
        "steps": options.epochs * (len(data) // options.batch_size), "version": tg.__version__,
    }  # fmt: skip
    drawn = run.sample(options.images, seed=options.seed)
    quality.finish(options.out, quality.to_bytes(drawn), run.model.state_dict(), about)


if __name__ == "__main__":
    main()
