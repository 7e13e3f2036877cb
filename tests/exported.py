"""Small generators of every kind, as artefacts, for the tests of the exported forms."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygen import nn
from tinygen.export import Artefact, prepare, spec
from tinygen.models import GAN, Model, find
from tinygen.random import Generator
from tinygen.tensor import zeros

SHAPE = (12, 12, 1)
SMALL: dict[str, dict[str, Any]] = {
    "vae": {"hidden": (9,), "latent": 4},
    "cvae": {"hidden": (9,), "latent": 4},
    "conv-vae": {"hidden": (9,), "width": 0.1, "latent": 4},
    "gan": {"hidden": (9, 11), "latent": 6, "prior": "uniform"},
    "cgan": {"hidden": (9, 11), "latent": 6},
    "dcgan": {"width": 0.03, "latent": 5},
    "cdcgan": {"width": 0.03, "latent": 5},
    "conv-gan": {"hidden": (9, 11), "latent": 6},
    "odd": {},
}
AUTOENCODERS = ("vae", "cvae", "conv-vae")
# What breaks out of JSON, Python, C, HTML, YAML and Markdown where it is not escaped.
HOSTILE = (
    '</script><!-- """ \'\'\' \\" \\ */ // # ??/ `` ``` ~~~ --- | \\| [a](b) <b> {}%s%(n)s &amp;'
    ' $x$ \n---\r\n```\n"""\nimport os\x00\x1b[2J\u2028\u202e\x85 数字 é \U0001f600 \udc80 \\'
)


def odd(rng: Generator) -> nn.Sequential:
    """What no model has: each activation, each way to lay windows, shapes that change between."""
    return nn.Sequential(
        nn.Reshape(1, 1, 5),
        nn.ConvTranspose2d(5, 8, (3, 2), (2, 1), rng=rng),  # (3, 2, 8)
        nn.SiLU(),
        nn.Reshape(4, 3, 4),
        nn.ConvTranspose2d(4, 3, 3, (2, 3), 1, output_padding=(1, 0), rng=rng),  # 8 x 7
        nn.BatchNorm(3),
        nn.Softplus(),
        nn.Conv2d(3, 4, 3, (1, 2), ((0, 1), (2, 3)), (2, 1), rng=rng),  # (5, 5, 4)
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        nn.Dense(100, 48, rng=rng),
        nn.ReLU(),
        nn.Reshape(4, 4, 3),
        nn.ConvTranspose2d(3, 2, 2, 3, "same", rng=rng),  # kernel below stride: (12, 12, 2)
        nn.ReLU(),
        nn.ConvTranspose2d(2, 4, 3, 1, ((2, 2), (1, 1)), 0, (2, 1), groups=2, rng=rng),
        nn.Sigmoid(),
        nn.Conv2d(4, 3, 1, rng=rng),
        nn.Tanh(),
    )  # fmt: skip


@functools.cache
def small(kind: str, shape: tuple[int, int, int] = SHAPE, **more: Any) -> Model:
    """An untrained model whose images vary, in eval mode; statistics as after a training."""
    rng = Generator(7)
    if kind == "odd":
        model: Model = GAN((12, 12, 3), latent=5, rng=rng)
        model.generator = odd(rng)
    else:
        known = find(kind)
        classes = 3 if known.conditional else None
        model = known(shape, classes=classes, rng=rng, **{**SMALL[kind], **more})
    return varied(model)


def varied(model: Model, spread: float = 3.0) -> Model:
    """The model in eval mode, with weights whose images vary with the code: a product's result has
    `spread` times the variance of its argument."""
    model.eval()
    state = model.state_dict()
    noise = np.random.default_rng(0)
    for name, array in state.items():
        if name.endswith("running_var"):
            state[name] = noise.uniform(0.3, 2, array.shape).astype(np.float32)
        elif array.ndim == 1 and array.dtype == np.float32:
            state[name] = array + noise.normal(0, 0.3, array.shape).astype(np.float32)
        elif array.dtype == np.float32:
            wide = np.sqrt(spread / np.prod(array.shape[:-1])) / array.std()  # so that codes matter
            state[name] = (array * wide).astype(np.float32)
    model.load_state_dict(state)
    return model


@functools.cache
def made(kind: str, precision: str = "float32", part: str = "") -> Artefact:
    """The model as an artefact; of autoencoders both parts, if none is named."""
    part = part or ("both" if kind in AUTOENCODERS else "draw")
    classes = ("cat", "dog", "digit 3") if small(kind).conditional else ()
    return prepare(
        small(kind), f"{kind} test", "0123456789abcdef", classes=classes, part=part,
        precision=precision, licence="CC BY 4.0", about={"epochs": 3, "KID": 0.0125},
    )  # fmt: skip


# Kernels, strides, paddings, output_paddings and dilations of a transposed convolution of 4 x 3.
WINDOWS: list[tuple[Any, ...]] = [
    (5, 2, "same", 0, 1),
    (4, 2, 1, 0, 1),
    (3, 2, 1, 1, 1),
    (3, (3, 1), "valid", (2, 0), 1),
    ((1, 2), 3, "same", 0, 1),
    (3, 2, ((2, 0), (1, 3)), 0, (1, 2)),
    (2, (1, 2), (3, 0), 0, (3, 1)),
    (3, 4, ((5, 3), (4, 4)), 1, 1),
]


@functools.cache
def windowed(k: int) -> Artefact:
    """An artefact whose decoder is one such convolution."""
    kernel, stride, padding, more, dilation = WINDOWS[k]
    rng = Generator(k)
    layer = nn.ConvTranspose2d(2, 3, kernel, stride, padding, more, dilation, rng=rng)
    shape = layer(zeros((1, 4, 3, 2))).shape[1:]
    model = GAN(shape, latent=24, rng=rng)
    model.generator = nn.Sequential(nn.Reshape(4, 3, 2), layer, nn.Tanh())
    return prepare(model.eval(), "windows", "0")


@functools.cache
def hostile(kind: str = "cvae") -> Artefact:
    """An artefact all of whose texts are hostile."""
    part = "both" if kind in AUTOENCODERS else "draw"
    return prepare(
        small(kind), HOSTILE, "0123456789abcdef", classes=(HOSTILE, '"""', "\\"), part=part,
        licence=HOSTILE, about={HOSTILE: HOSTILE, "list": [HOSTILE, {"'''": None}]},
    )  # fmt: skip


# Of each text form: how its description, and the SHA-256 of that, stand in the file.
SEALS = {
    "python": r'(?s)MODEL = described\(r"""(.*?)""", "()(\w{64})"',
    "js": r'(?s)String\.raw`(.*?)`;\nconst SHA256 = "()(\w{64})"',
    "html": r'(?s)data-sha256="(\w{64})">(.*?)()</script>',
}


def sealed(form: str, source: str) -> str:
    """The file with the SHA-256 of its description put right after an edit of it."""
    found = re.search(SEALS[form], source)
    assert found is not None
    text = found[2] if form == "html" else found[1]
    old = found[1] if form == "html" else found[3]
    assert source.count(old) == 1
    return source.replace(old, spec.sha256(text))


def labels(artefact: Artefact, n: int) -> NDArray[np.int64]:
    return np.arange(n) % max(1, len(artefact.classes))


def images(artefact: Artefact, n: int, seed: int) -> NDArray[np.float32]:
    """What the decoder draws in float32, (n, H, W, C), image i with label i modulo classes."""
    return artefact.draw(artefact.codes(n, seed), labels(artefact, n))


def ends(artefact: Artefact, x: NDArray[Any], label: Any = 0) -> NDArray[Any]:
    """What the encoder gives for images (n, H, W, C) or (n, pixels), in float64."""
    inputs = artefact.arguments(x.reshape(-1, *artefact.shape), label)
    return artefact.graphs["encode"](*inputs, floats="float64")
