"""A recorded step as one page: opens from a file, asks nothing of a network.

pages/step.html is the frame of step.css, step.js and the step, compressed. The page's policy allows
its own script and style, by their hashes, and nothing from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
import zlib
from pathlib import Path
from typing import Any

PAGES = Path(__file__).parent / "pages"
_POLICY = (
    "default-src 'none'; script-src {script}; style-src {style}; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def page(document: dict[str, Any], data: str) -> str:
    """The page of a step.

    Args:
        document: as step.Step has it.
        data: the same as JSON.
    """
    model = document.get("model")
    style, script = (_source(f"step.{ending}") for ending in ("css", "js"))
    packed = base64.b64encode(zlib.compress(data.encode(), 9)).decode()
    pieces = {
        "title": html.escape(f"One training step of {model}" if model else "One step, recorded"),
        "policy": _POLICY.format(script=_hash(script), style=_hash(style)),
        "style": style, "script": script, "data": packed,
    }  # fmt: skip
    frame = re.sub(r"(?m)^ +", "", _source("step.html"))
    return re.sub(r"\{\{(\w+)\}\}", lambda found: pieces[found[1]], frame)


def _source(name: str) -> str:
    """A file of pages/, without empty lines and the long lines of headings."""
    text = re.sub(r"(?m)-{9,}$", "----", (PAGES / name).read_text("utf-8"))
    return re.sub(r"\n{2,}", "\n", text)


def _hash(text: str) -> str:
    """The name of a script or style in the page's policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
