"""A model as text: the description and the weights that the Python file and the page carry.

The description is JSON. The weights are bytes in base64: those of graphs.blob, part after part.
A file holds the SHA-256 of the text of the description, and this the one of the text of the
weights: both are checked when they are read.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import numpy as np

from . import graphs
from .artefact import Artefact, stream_words


def carried(artefact: Artefact) -> tuple[dict[str, Any], str]:
    """(the description with its parts, see graphs.py, and the "sha256" of the text of the weights,
    that text)."""
    text = base64.b64encode(b"".join(map(graphs.blob, artefact.graphs.values()))).decode()
    parts = {name: graphs.described(part) for name, part in artefact.graphs.items()}
    return {**description(artefact), "parts": parts, "sha256": sha256(text)}, text


def sha256(text: str) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def description(artefact: Artefact) -> dict[str, Any]:
    """What a program needs beside the weights, JSON-able.

    Keys: about (artefact.describe()), image (H, W, C), latent, prior, range, classes, counted
    (whether a text may be a class's place), precision, settings (see Setting.about; the last
    arguments of the part draw), stream (two words, see artefact.stream_words), test.
    """
    test = artefact.test
    return {
        "about": artefact.describe(), "image": list(artefact.shape), "latent": artefact.latent,
        "prior": artefact.prior, "range": list(artefact.value_range),
        "classes": list(artefact.classes), "counted": artefact.counted,
        "precision": artefact.precision,
        "settings": [each.about() for each in artefact.settings],
        "stream": list(stream_words()),
        "test": {
            "seed": test.seed, "label": test.label, "code": encoded(test.code),
            "image": encoded(test.image),
            "mean": None if test.mean is None else encoded(test.mean),
        },
    }  # fmt: skip


def encoded(array: Any) -> str:
    """The bytes of an array, little endian, in base64."""
    array = np.asarray(array)
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def utf8(text: str) -> str:
    """The text as UTF-8 can write it: half characters, as of broken file names, as \\udc80."""
    return text.encode("utf-8", "backslashreplace").decode()


def as_json(value: Any) -> str:
    """JSON in ASCII, the same text for the same value, that neither ends nor opens an HTML tag."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
