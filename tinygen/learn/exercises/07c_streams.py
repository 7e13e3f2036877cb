"""A source of random numbers of its own for each purpose."""

from __future__ import annotations

from collections.abc import Iterator

from ..exercise import Case, Exercise, Wrong


def cases() -> Iterator[Case]:
    yield Case("seed 1, no picture", lambda a: a.training(1, 0))
    yield Case("seed 1, five pictures a step", lambda a: a.training(1, 5))
    yield Case("the noise of seed 1, with 0 and 5 pictures", lambda a: [
        [x.numpy() for x in a.training(1, looks)[1]] for looks in (0, 5)
    ])  # fmt: skip
    yield Case("seed 7, two pictures a step", lambda a: a.training(7, 2))


EXERCISE = Exercise(
    title="Looking must not change the weights",
    minutes=6,
    task="""
A training draws weights, then noise in each of three steps; and `looks` times a step it draws codes
for pictures that nobody trains on. More pictures must not change anything else. Find what is wrong.
Take one stream of the generator for each purpose: "weights", "noise" and "pictures". Return the
weights and the list of the noises.
""",
    start="""
import tinygen as tg


def training(seed, looks):
    rng = tg.random.Generator(seed)
    weights = rng.normal((3,))
    noises = []
    for _ in range(3):
        noises.append(rng.normal((2,)))
        for _ in range(looks):
            rng.normal((4,))  # the code of a picture
    return weights, noises
""",
    reference="""
import tinygen as tg


def training(seed, looks):
    root = tg.random.Generator(seed)
    weights = root.stream("weights").normal((3,))
    noise, pictures = root.stream("noise"), root.stream("pictures")
    noises = []
    for _ in range(3):
        noises.append(noise.normal((2,)))
        for _ in range(looks):
            pictures.normal((4,))  # the code of a picture
    return weights, noises
""",
    wrong=(
        Wrong(
            "One generator for all is one tape: what is drawn for a picture is missing for the "
            "noise. Which method of the generator gives a source that does not depend on others?",
            code="""
import tinygen as tg


def training(seed, looks):
    rng = tg.random.Generator(seed)
    weights = rng.normal((3,))
    noises = []
    for _ in range(3):
        noises.append(rng.normal((2,)))
        for _ in range(looks):
            rng.normal((4,))
    return weights, noises
""",
        ),
        Wrong(
            "Three generators of one seed draw the same numbers: the first noise is the first "
            "weights. Sources must differ.",
            was='root.stream("weights")', now="tg.random.Generator(seed)",
        ),
        Wrong(
            "A stream that is made anew in each step starts anew in each step: all noises are "
            "equal. Where does it have to be made?",
            was="noises.append(noise.normal", now='noises.append(root.stream("noise").normal',
        ),
        Wrong(
            "Neighbouring seeds for each purpose: then the noise of seed 1 is the weights of seed "
            "2, and two runs share their numbers.",
            was='noise, pictures = root.stream("noise"), root.stream("pictures")',
            now="noise, pictures = tg.random.Generator(seed + 1), tg.random.Generator(seed + 2)",
        ),
        Wrong(
            "Every seed gives the same run. Where does `seed` go?",
            was="Generator(seed)", now="Generator(0)",
        ),
        Wrong(
            "The weights have their own source, but noise and pictures still share one.",
            was='noise, pictures = root.stream("noise"), root.stream("pictures")',
            now='noise = pictures = root.stream("noise")',
        ),
        Wrong(
            "Two streams of one name hold the same numbers: the first noise is in the weights.",
            was='root.stream("weights")', now='root.stream("noise")',
        ),
    ),
    cases=cases,
    hint="root.stream(name) is a generator of its own, the same for the same name and seed.",
    questions=(
        ("Why is a picture more every 100 steps enough to change all weights at the end?",
         "From then on every number of the shared generator is another one than before."),
    ),
    why=(
        "A stream's key is made from the root's key and the stream's name, and number i of draw d "
        "from that key, d and i alone. So nobody can disturb anybody, and a run with more pictures "
        "has the same weights, to the bit."
    ),
    engine=("tinygen/random.py", "def stream("),
)  # fmt: skip
