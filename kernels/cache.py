"""Where compiled kernels are kept between runs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache_root() -> Path:
    """$TINYGEN_CACHE, or the user's cache folder."""
    home = os.environ.get("TINYGEN_CACHE")
    if home:
        return Path(home)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "tinygen"


def writable(folder: Path) -> Path:
    """The folder, made if need be; where it cannot be written, a temporary one instead."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="tinygen-"))
    return folder if os.access(folder, os.W_OK) else Path(tempfile.mkdtemp(prefix="tinygen-"))
