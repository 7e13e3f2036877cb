"""Philox 4x32-10 in loops of vectors; the layout of draws is that of tinygen/random.py."""

from __future__ import annotations

import numpy as np

from .runtime import inline

U = np.uint64
LOW = np.uint64(0xFFFFFFFF)
A, B = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL0, WEYL1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
HALF = np.uint64(32)
SPARE = 34  # words behind those asked for: up to 3 before them, and 31 to a whole number of vectors


@inline
def fill_words(out, key, draw, start, count):  # type: ignore[no-untyped-def]
    """Words start ... start + count of a draw, at out[skip:]; returns skip, which is below 4.

    `out` has SPARE words more than count. Blocks of four are made eight at a time, as many as a
    vector holds numbers of 64 bits: a rest, one by one, would take longer than what it leaves out.
    """
    skip = start & 3
    block = start >> 2
    d0, d1 = draw & LOW, draw >> HALF
    for j in range(((skip + count + 31) >> 5) << 3):
        number = U(block + j)
        x0, x1, x2, x3 = number & LOW, number >> HALF, d0, d1
        k0, k1 = key & LOW, key >> HALF
        for _ in range(10):
            a, b = x0 * A, x2 * B
            x0, x1, x2, x3 = (b >> HALF) ^ x1 ^ k0, b & LOW, (a >> HALF) ^ x3 ^ k1, a & LOW
            k0, k1 = (k0 + WEYL0) & LOW, (k1 + WEYL1) & LOW
        out[4 * j] = np.uint32(x0)
        out[4 * j + 1] = np.uint32(x1)
        out[4 * j + 2] = np.uint32(x2)
        out[4 * j + 3] = np.uint32(x3)
    return skip
