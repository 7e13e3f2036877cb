"""The vectors that code is compiled for: this processor's, or narrower ones (../vectors.py).

    512 bits    AVX-512
    256         AVX2
    128         SSE, NEON

This module sets Numba's processor features before anything is compiled. So the vectors that the
compiler makes of loops are no wider than the requested ones.
"""

from __future__ import annotations

from numba import config
from numba.core.codegen import get_host_cpu_features

from .. import vectors


def _features(bits: int | None) -> str:
    """What code may use, as LLVM writes it: +avx2,-avx512f,..."""
    found = str(config.CPU_FEATURES or get_host_cpu_features())
    if bits is None:
        return found
    wide = ("+avx512", "+avx10")
    kept = [f"-{name[1:]}" if name.startswith(wide) else name for name in found.split(",")]
    return ",".join(kept if bits == 256 else [*kept, "+prefer-128-bit"])


_asked = vectors.asked()
FEATURES = _features(_asked)
if _asked is not None:
    config.CPU_FEATURES = FEATURES

_widest = 64 if "+avx512f" in FEATURES else 32 if "+avx2" in FEATURES else 16
VECTOR_BYTES = _widest if _asked is None else min(_widest, _asked // 8)
