"""What an exercise is: a task, a reference, and the wrong solutions that people write.

One file in `exercises/` is one exercise. `05c_row.py` is the third of lesson 05, and its name is
the name of the file that a student gets. The file defines `EXERCISE`:

    from ..exercise import Case, Exercise, Wrong

    def cases():                                  # a generator: what is looked at, in order
        for x in (0.5, -2.0):
            yield Case(f"x = {x}", lambda a, x=x: a.slope(x))

    EXERCISE = Exercise(
        title="The slope of a square",            # a few words, no full stop
        minutes=3,
        task="Write the slope of x^2.",           # becomes the docstring of the student's file
        start="def slope(x):\n    return 0.0",    # a program, which must fail
        reference="def slope(x):\n    return 2 * x",
        wrong=(                                   # at least four; each has a hint of its own
            Wrong("That is x^2 itself. Ask how it changes.", was="2 * x", now="x * x"),
            Wrong("The slope grows with x.", code="def slope(x):\n    return 2.0"),
        ),
        questions=(("Where is the slope 0?", "At x = 0, the lowest place."),),
        hint="Take (x + h)^2 - x^2, divide by h, and let h become 0.",
        why="The two factors of x * x change one after the other, and each gives x.",
        engine=("tinygen/ops/elementwise.py", "2 * x"),   # a file, and words of the line meant
        cases=cases,
    )

An answer is a program. It runs once, as a module `a`, and then each case looks at it: `case.look`
is given the module and returns what it found, a number, a text, a tensor, an array, None, or a
list, tuple or dict of these. The same is done with the reference, and what the two show is
compared. So a case needs no expected value. `case.truth`, where it is given, is a second opinion
on the reference, for example a difference quotient; the self-test compares them.

A wrong solution is the reference with the words `was` replaced by `now` (they must stand in it),
or a program of its own, `code`. It must fail, and its failure is how a student's answer is known:
by the first case that fails, the way it fails, and the numbers it shows. So two wrong solutions
must show different numbers somewhere; if they do not, add a case that tells them apart.

A case that sees more than numbers raises `Finding("no gradient arrives at w")`.

Rules for cases: every call makes its own inputs, from a seed; a case takes under 0.1 s, a training
loop under 1 s; nothing is read from a file; nothing is printed; numbers are small and uneven (0.7,
not 1), so that wrong factors show. The labels say what was tried ("x = 0.5", "shapes (2, 3) and
(3,)"). Each wrong solution ends: an endless loop is the checker's own test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Answer = Any  # the module that an answer's program became


class Finding(Exception):  # noqa: N818 - it is no error of ours
    """Raised by a case that knows in words what is wrong with an answer; they are shown alone."""


@dataclass(frozen=True)
class Case:
    """One look at an answer.

    Args:
        label: what was tried, in words that follow "for".
        look: what the answer shows; called with the module of the answer.
        truth: what the reference must show, found in another way.
        tolerance: allowed difference, relative to 1 + |value|; None for 1e-7, and 1e-4 where a
            float32 array is shown.
        order: of the derivative that is looked at: 0 none, 1 a gradient, 2 a gradient of one.
    """

    label: str
    look: Callable[[Answer], Any]
    truth: Callable[[], Any] | None = None
    tolerance: float | None = None
    order: int = 0


@dataclass(frozen=True)
class Wrong:
    """A solution that people write and that is wrong, with what to say of it.

    Args:
        hint: one or two sentences that lead on without giving the answer.
        was: words of the reference, to be replaced by `now`, each time they occur.
        now: what stands there instead.
        code: a program of its own, in place of `was` and `now`.
    """

    hint: str
    was: str = ""
    now: str = ""
    code: str = ""

    def program(self, reference: str) -> str:
        """The wrong program."""
        if self.code:
            return self.code
        if not self.was or self.was not in reference:
            raise ValueError(f"{self.was!r} does not stand in the reference, so nothing is wrong")
        return reference.replace(self.was, self.now)


@dataclass(frozen=True)
class Exercise:
    """A task with its reference and its wrong solutions; see the top of this file.

    Args:
        title: a few words.
        minutes: that it takes.
        task: what to do; the docstring of the student's file.
        start: the program to begin with. It must fail.
        reference: a program that is right.
        wrong: solutions that are wrong, with their hints.
        cases: yields what is looked at, the simplest first.
        hint: the way, for one who is stuck without an idea.
        why: one paragraph, read after success.
        engine: a file of tinygen and words of the line where the engine does the same.
        questions: pairs of a question to answer before the program runs, and its answer.
        needs: what the cases need besides NumPy: "numba", "compiler".
        name: of its file, without the ending; set when it is found.
    """

    title: str
    minutes: int
    task: str
    start: str
    reference: str
    wrong: tuple[Wrong, ...]
    cases: Callable[[], Iterable[Case]]
    hint: str
    why: str
    engine: tuple[str, str]
    questions: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()
    name: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """Its short name, as in `tinygen learn check 05c`."""
        return self.name.partition("_")[0]

    @property
    def lesson(self) -> int:
        """The step of examples/steps that it belongs to."""
        return int(self.key[:2])
