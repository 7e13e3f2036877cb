"""Models of one's own as files: one that draws by a loop, one of two stages; no chain of layers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import varied

import tinygen as tg
from tinygen import nn, ops
from tinygen.export import Artefact, ExportError, prepare, render, verify
from tinygen.images import to_uint8
from tinygen.models import Column, Draws, Form, Model, Noise, find
from tinygen.random import Generator
from tinygen.runs import pictures
from tinygen.tensor import Tensor

EXAMPLE = Path(__file__).parents[1] / "examples" / "code_mixture.py"
FORMS = ("python", "js", "c", "html", "onnx", "safetensors")


@dataclass(frozen=True)
class Options:
    hidden: int = 24


class Flow(Model, Draws):
    """x(1) of dx/dt = v(x, t) by 20 steps of Euler from noise x(0)."""

    name, Options = "flow of one's own", Options
    given = (Column("label", kind="label"),)

    def __init__(
        self, forms: Mapping[str, Form], options: Options | None = None,
        rng: Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__(forms, options, rng)
        pixels, init = int(np.prod(self.shape)), self.init_rng
        self.net = nn.Sequential(
            nn.Dense(pixels + 1 + self.classes, self.options.hidden, rng=init), nn.SiLU(),
            nn.Dense(self.options.hidden, pixels, rng=init),
        )  # fmt: skip
        self.noise = Noise(self.shape)

    def draw(self, noise: Tensor | None, *, label: Any = None, steps: int = 20) -> Tensor:
        assert noise is not None
        hot = ops.one_hot(label, classes=self.classes)

        def turn(i: Tensor, x: Tensor) -> tuple[Tensor]:
            t = ops.broadcast_to(i.astype("float32") * (1 / steps), shape=(x.shape[0], 1))
            return (x + self.net(ops.concatenate([x, t, hot], axis=1)) * (1 / steps),)

        (x,) = tg.repeat(steps, turn, (noise.reshape(noise.shape[0], -1),))
        return x.sigmoid().reshape(-1, *self.shape)


class Given(Flow):
    """One that takes an image, too."""

    given = (Column("label", kind="label"), Column("photo"))


class Uniform(Flow):
    """A drawing from uniform noise, without labels, by another law than files draw by."""

    given = ()

    def __init__(self, forms: Mapping[str, Form], **more: Any) -> None:
        super().__init__(forms, **more)
        self.noise = Noise((4, 3), "uniform", between=(0.0, 3.0))

    def draw(self, noise: Tensor | None, **_: Any) -> Tensor:
        assert noise is not None
        some = tg.full((noise.shape[0], 1, 1), 0.2)  # of the size of a batch
        return ops.concatenate([noise, noise * some], axis=1).reshape(-1, 6, 4, 1) / 3.0


def flow(kind: type[Flow] = Flow, classes: int = 3) -> Any:
    rng = Generator(3)
    return varied(kind({"train": Form((6, 4, 1), classes)}, rng=rng))


def mixture() -> Any:
    kind = find(f"{EXAMPLE}:CodeMixture")
    options = kind.Options(hidden=12, codes=3, components=4)
    return kind({"train": Form((8, 8, 1))}, options, rng=Generator(2)).eval()


def made(model: Any, **more: Any) -> Artefact:
    return prepare(model, "one's own", "0123456789abcdef", **more)


def rows_of(model: Any, artefact: Artefact, names: tuple[str, ...]) -> list[verify.Row]:
    asked = verify.question(artefact, 5)
    assert isinstance(model, Draws)
    assert model.noise is not None
    noise = np.concatenate([model.noise.of_seed(1, seed) for seed in asked.seeds])
    labels = np.array(asked.labels) if artefact.classes else None
    reference = to_uint8(pictures.draw(model, noise, labels), artefact.value_range)
    assert len(np.unique(reference)) > 20
    return verify.verify(artefact, reference, asked, names)


@pytest.mark.parametrize("form", ["numpy", *FORMS])
@pytest.mark.parametrize("model", [flow, mixture, lambda: flow(Uniform, 0)])
def test_every_form_draws_what_the_model_draws(model: Any, form: str) -> None:
    drawn = model()
    artefact = made(drawn)
    for row in rows_of(drawn, artefact, (form,)):
        assert not row.failed, row
        if not row.skipped:
            assert (row.images, row.levels is not None and row.levels <= 1) == (5, True)
            assert row.error is not None
            assert row.error < 1e-5, row


def test_the_loop_is_written_once() -> None:
    artefact = made(flow())
    names = [op.name for op in artefact.graphs["draw"].graph.ops]
    assert names.count("repeat") == 1
    assert "matmul_nd" not in names
    assert artefact.describe()["draw"] == [
        "matmul_nd 28 x 24 -> n x 24", "matmul_nd 24 x 24 -> n x 24"
    ]  # fmt: skip
    assert (artefact.latent, artefact.prior, artefact.classes) == (24, "normal", ("0", "1", "2"))


@dataclass(frozen=True)
class Steps:
    steps: int = 20


class Chosen(Flow):
    """One whose steps can be chosen."""

    Settings = Steps


def test_every_form_says_what_it_is_drawn_with() -> None:
    model = flow(Chosen)
    usual, few = made(model), made(model, settings={"steps": 3})
    assert (usual.chosen, few.chosen) == ({"steps": 20}, {"steps": 3})
    assert "drawn with" not in made(flow()).describe()
    for form in FORMS:
        for artefact, steps in ((usual, 20), (few, 3)):
            files = b"".join(render(form, artefact).values())
            assert re.search(
                rb'"drawn with\\*": \\*"steps %d|drawn with.*steps %d' % ((steps,) * 2), files
            )
    assert "| drawn with | steps 3 |" in render("safetensors", few)[".md"].decode()
    assert (made(mixture()).smooth, usual.smooth) == (False, True)


def test_precisions_round_the_weights_of_a_loop() -> None:
    sizes = [made(flow(), precision=p).nbytes for p in ("float32", "float16", "int8")]
    assert sizes == sorted(sizes, reverse=True)


def test_what_a_file_cannot_take_is_refused() -> None:
    with pytest.raises(ExportError, match="draws from photo; a file draws from a seed and a label"):
        made(flow(Given))
    with pytest.raises(ExportError, match="flow of one's own has no encoder"):
        made(flow(), part="both")
