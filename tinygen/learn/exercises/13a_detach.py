"""Two players, and each may learn only in its own half. Find who learns in the other's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tinygen as tg
from tinygen import nn, optim

from ..exercise import Answer, Case, Exercise, Wrong
from ..formulas import numbers


def look(answer: Answer, steps: int) -> Any:
    """The weights of both players after some steps."""
    forger, expert = (nn.Parameter(numbers(seed, 2, n)) for seed, n in ((0, 2), (1, 1)))
    players = optim.SGD([forger], lr=0.2), optim.SGD([expert], lr=0.3)
    for step in range(steps):
        answer.step(
            lambda z: tg.tanh(z @ forger), lambda x: x @ expert + (x @ expert) ** 2, *players,
            numbers(10 + step, 5, 2) + 1.0, numbers(20 + step, 5, 2),
        )  # fmt: skip
    return {"generator": forger.detach(), "discriminator": expert.detach()}


def gradient(answer: Answer) -> Any:
    """What the generator's gradient holds when a step has ended, or has stopped."""
    forger = nn.Parameter(numbers(0, 2, 2))
    players = optim.SGD([forger], lr=0.2), optim.SGD([nn.Parameter(numbers(1, 1))], lr=0.3)
    expert = players[1].params[0]
    with contextlib.suppress(RuntimeError):
        answer.step(
            lambda z: tg.tanh(z @ forger), lambda x: expert * (x + x**2), *players,
            numbers(10, 5, 2), numbers(20, 5, 2),
        )  # fmt: skip
    return forger.grad if forger.grad is not None else "none"


def cases() -> Iterator[Case]:
    yield Case("one step of both", lambda a: look(a, 1))
    yield Case("five steps of both", lambda a: look(a, 5))
    yield Case("the generator's gradient after a step", gradient, order=1)


EXERCISE = Exercise(
    title="A planted mistake: the forger helps the expert",
    minutes=8,
    task="""
One step of a GAN: first the discriminator learns to tell real from generated, then the generator
learns to be taken for real. It runs and complains of nothing, but the generator learns slowly: its
gradient is not that of its own loss. Find the mistake and mend it. The generator must learn from
its own loss alone, on the same `fake`, seen by the discriminator after its step.
""",
    start="""
from tinygen import losses

game = losses.gan("non_saturating")


def step(generator, discriminator, g_optimizer, d_optimizer, real, noise):
    g_optimizer.zero_grad()
    d_optimizer.zero_grad()
    fake = generator(noise)
    d_loss = game.discriminator(discriminator(real), discriminator(fake))
    d_loss.backward(retain_graph=True)
    d_optimizer.step()
    g_loss = game.generator(discriminator(fake))
    g_loss.backward()
    g_optimizer.step()
""",
    reference="""
from tinygen import losses

game = losses.gan("non_saturating")


def step(generator, discriminator, g_optimizer, d_optimizer, real, noise):
    g_optimizer.zero_grad()
    d_optimizer.zero_grad()
    fake = generator(noise)
    d_loss = game.discriminator(discriminator(real), discriminator(fake.detach()))
    d_loss.backward()
    d_optimizer.step()
    g_loss = game.generator(discriminator(fake))
    g_loss.backward()
    g_optimizer.step()
""",
    wrong=(
        Wrong(
            "d_loss goes back through `fake` into the generator: its gradient then holds both "
            "losses, and they pull in opposite directions. retain_graph only hides that.",
            was="(fake.detach()))\n    d_loss.backward()",
            now="(fake))\n    d_loss.backward(retain_graph=True)",
        ),
        Wrong(
            "The walk of d_loss went through the generator and used its graph up. The cure is not "
            "to keep the graph, but not to go there.",
            was="fake.detach()", now="fake",
        ),
        Wrong(
            "Now the generator's own loss cannot reach it either. In which of the two halves does "
            "the generator learn?",
            was="game.generator(discriminator(fake))",
            now="game.generator(discriminator(fake.detach()))",
        ),
        Wrong(
            "The discriminator steps when the generator's loss has filled its gradient, too: it "
            "learns to be deceived.",
            was="    d_optimizer.step()\n    g_loss = game.generator(discriminator(fake))\n"
            "    g_loss.backward()\n",
            now="    g_loss = game.generator(discriminator(fake))\n    g_loss.backward()\n"
            "    d_optimizer.step()\n",
        ),
        Wrong(
            "The discriminator has moved, but the generator is judged by what it said before.",
            code="""
from tinygen import losses

game = losses.gan("non_saturating")


def step(generator, discriminator, g_optimizer, d_optimizer, real, noise):
    g_optimizer.zero_grad()
    d_optimizer.zero_grad()
    fake = generator(noise)
    g_loss = game.generator(discriminator(fake))
    g_loss.backward()
    d_optimizer.zero_grad()
    d_loss = game.discriminator(discriminator(real), discriminator(fake.detach()))
    d_loss.backward()
    d_optimizer.step()
    g_optimizer.step()
""",
        ),
        Wrong(
            "Real and generated stand the other way round: forgeries are learnt to be real.",
            was="discriminator(real), discriminator(fake.detach())",
            now="discriminator(fake.detach()), discriminator(real)",
        ),
        Wrong(
            "The generator learns from the discriminator's loss, with its sign: it makes the "
            "expert's task easy.",
            was="g_loss = game.generator(discriminator(fake))",
            now="g_loss = game.discriminator(discriminator(real), discriminator(fake))",
        ),
    ),
    cases=cases,
    hint="Print the generator's gradient right after d_loss.backward(). What should it be?",
    questions=(
        ("How large is the generator's gradient of d_loss + g_loss where D says 0.5?",
         "0: the two losses pull with the same force in opposite directions, at logit 0."),
    ),
    why=(
        "detach() is the border between the halves: the same numbers, with no way back. The "
        "discriminator's weights get a gradient from g_loss, too; it is thrown away by the next "
        "zero_grad, or never computed with backward(inputs=generator.parameters())."
    ),
    engine=("tinygen/losses.py", "The generator's graph is not cut"),
)  # fmt: skip
