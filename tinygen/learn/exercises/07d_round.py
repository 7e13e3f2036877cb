"""One round of the function that all random numbers come from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from tinygen.random import philox

from ..exercise import Answer, Case, Exercise, Wrong

WORDS = ((1, 2, 3, 4, 5, 6), (0xFFFFFFFF, 0x12345678, 0xDEADBEEF, 0xCAFEF00D, 0x9E3779B9, 77))


def ten(answer: Answer, x: Any, key: Any) -> Any:
    """Ten rounds; the key moves on by a constant after each."""
    for _ in range(10):
        x = answer.one_round(*x, *key)
        key = [(k + w) & 0xFFFFFFFF for k, w in zip(key, (0x9E3779B9, 0xBB67AE85), strict=True)]
    return [str(v) for v in x]  # exact


def exact(answer: Answer, words: tuple[int, ...]) -> list[str]:
    return [str(v) for v in answer.one_round(*words)]


def known(words: tuple[int, ...]) -> list[str]:
    return [str(v) for v in philox(*words)]


def cases() -> Iterator[Case]:
    for words in WORDS:
        shown = ", ".join(f"{w:#x}" for w in words)
        yield Case(f"the words {shown}", partial(exact, words=words))
    for words in WORDS:
        look = partial(ten, x=words[:4], key=words[4:])
        yield Case(f"ten rounds of {words[0]:#x}, ...", look, partial(known, words))


EXERCISE = Exercise(
    title="A round of Philox",
    minutes=8,
    task="""
A random number here is a function of its place. The function mixes four 32-bit words x0 ... x3 with
a key k0, k1 in ten rounds. Write one, with Python's whole numbers:

    a = 0xD2511F53 x0,   b = 0xCD9E8D57 x2      (products of up to 64 bits)
    (x0, x1, x2, x3) becomes (hi(b) ^ x1 ^ k0,  lo(b),  hi(a) ^ x3 ^ k1,  lo(a))

hi is the upper 32 bits, lo the lower 32 bits, and ^ is "either or" of the bits.
""",
    start="""
A, B, LOW = 0xD2511F53, 0xCD9E8D57, 0xFFFFFFFF


def one_round(x0, x1, x2, x3, k0, k1):
    a, b = A * x0, B * x2
    return x0, x1, x2, x3
""",
    reference="""
A, B, LOW = 0xD2511F53, 0xCD9E8D57, 0xFFFFFFFF


def one_round(x0, x1, x2, x3, k0, k1):
    a, b = A * x0, B * x2
    return (b >> 32) ^ x1 ^ k0, b & LOW, (a >> 32) ^ x3 ^ k1, a & LOW
""",
    wrong=(
        Wrong(
            "Python's numbers do not end at 32 bits: the lower half has to be cut out.",
            was="& LOW", now="",
        ),
        Wrong(
            "A float has 53 bits, and the product up to 64: the lowest bits are gone. Shift and "
            "mask whole numbers.",
            was="(b >> 32) ^ x1 ^ k0, b & LOW",
            now="int(b / 2**32) ^ x1 ^ k0, int(float(b) % 2**32)",
        ),
        Wrong(
            "That adds with carries; ^ compares bit by bit, and has none.",
            was="(b >> 32) ^ x1 ^ k0", now="((b >> 32) + x1 + k0 & LOW)",
        ),
        Wrong(
            "The two products are exchanged: x0 comes from b.",
            was="a, b = A * x0, B * x2", now="b, a = A * x0, B * x2",
        ),
        Wrong(
            "The key takes no part, so all streams would be the same.",
            code="A, B, LOW = 0xD2511F53, 0xCD9E8D57, 0xFFFFFFFF\n\n\n"
            "def one_round(x0, x1, x2, x3, k0, k1):\n    a, b = A * x0, B * x2\n"
            "    return (b >> 32) ^ x1, b & LOW, (a >> 32) ^ x3, a & LOW\n",
        ),
        Wrong(
            "Upper and lower halves are exchanged. Which of them does a shift to the right keep?",
            code="A, B, LOW = 0xD2511F53, 0xCD9E8D57, 0xFFFFFFFF\n\n\n"
            "def one_round(x0, x1, x2, x3, k0, k1):\n    a, b = A * x0, B * x2\n"
            "    return (b & LOW) ^ x1 ^ k0, b >> 32, (a & LOW) ^ x3 ^ k1, a >> 32\n",
        ),
        Wrong(
            "Nothing is mixed yet: the words come back as they are.",
            was="return (b >> 32) ^ x1 ^ k0, b & LOW, (a >> 32) ^ x3 ^ k1, a & LOW",
            now="return x0, x1, x2, x3",
        ),
    ),
    cases=cases,
    hint="Of a product p of two words p >> 32 is the upper half, p & 0xFFFFFFFF the lower.",
    questions=(
        ("Is there a number in which the generator remembers where it stands?",
         "Only the count of draws. Words are computed from their place, so any can be had alone."),
    ),
    why=(
        "Whole numbers have no rounding, so these ten rounds give the same bits in Python, NumPy, "
        "C, JavaScript and on a GPU. No word needs the one before: a million threads draw at once."
    ),
    engine=("tinygen/random.py", "x0, x1, x2, x3 = (b >> 32) ^ x1 ^ k0, b & _LOW"),
)  # fmt: skip
