"""Random numbers that are the same everywhere, and do not depend on who else draws.

A usual generator is a tape: each draw moves it on, so an extra draw anywhere changes everything
after it. tinygen's is a function: number i of draw d of a stream is computed from (seed, stream, d,
i) and nothing else. That is done in integers, so it is the same on every machine.

Look at: the numbers in hexadecimal. Your neighbour's screen shows the same digits, to the last.
Exercise: throw points at the unit square and estimate pi from those within the quarter circle, with
the seeds 0 to 9, for 10^2 and 10^4 points each. How far apart are the ten answers? So how many
points does one more digit cost? (One seed alone may be lucky.)
"""

import numpy as np

import tinygen as tg


def main():
    rng = tg.random.Generator(seed=2024)
    print("Four normal numbers of seed 2024, exactly:")
    print("  ", *(float(v).hex() for v in rng.normal((4,)).numpy()))

    print("\nThe first numbers do not depend on how many are drawn")
    for n in (3, 5, 1_000_000):
        numbers = tg.random.Generator(7).uniform((n,)).numpy()
        print(f"   {n:>9,} drawn: {numbers[:3].round(6)} ...")

    print("\nStreams: a source of its own for each purpose")
    for extra in (0, 1000):
        root = tg.random.Generator(7)
        noise, dropout = root.stream("noise"), root.stream("dropout")
        dropout.uniform((extra,))  # however much is drawn here ...
        print(f"   after {extra:4} draws of dropout, noise begins {noise.normal((3,)).numpy()}")
    print("   So looking at more pictures during training cannot change the weights.")

    print("\nA state fits in one line, and a copy goes on from there")
    rng = tg.random.Generator(7)
    rng.normal((100,))
    copy = tg.random.Generator(0)
    copy.load_state_dict(rng.state_dict())
    print(f"   {rng.state_dict()}")
    print(f"   equal: {np.array_equal(rng.normal((1000,)).numpy(), copy.normal((1000,)).numpy())}")

    print("\nA hundred thousand normal numbers, counted (each # is 500)")
    values = tg.random.Generator(1).normal((100_000,)).numpy()
    counts, edges = np.histogram(values, bins=17, range=(-4.25, 4.25))
    for count, left in zip(counts, edges, strict=False):
        print(f"   {left + 0.25:5.1f} {'#' * round(count / 500)}")
    print(f"   mean {values.mean():.4f}, standard deviation {values.std():.4f}")


if __name__ == "__main__":
    main()
