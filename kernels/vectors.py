"""How wide the vectors of the processor's kernels are to be, where the user says so."""

from __future__ import annotations

import os

NAME = "TINYGEN_VECTOR_BITS"


def asked() -> int | None:
    """The bits that TINYGEN_VECTOR_BITS names, None where it is not set.

    With 256 kernels use what a processor with AVX2 has, with 128 vectors as short as those of NEON;
    for trying out, where vectors are wider, what others have. Raises ValueError for anything else.
    """
    text = os.environ.get(NAME, "")
    if text not in ("", "256", "128"):
        raise ValueError(
            f"{NAME} is {text!r}; expected 256 or 128, or leave it unset for the widest vectors "
            "that this processor has"
        )
    return int(text) if text else None
