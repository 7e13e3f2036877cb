"""The help of `tinygen train`, options from dataclasses, and the flags that the README names."""

import itertools
import re
import shlex
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path

import pytest
from record_help import COLUMNS, FOLDER, plain

from tinygen import backend, models, train
from tinygen.cli import app
from tinygen.cli.evaluate import Measuring
from tinygen.cli.options import Group, command, flags, in_full, in_words, refuse_doubles
from tinygen.cli.sample import Target
from tinygen.cli.train import Place, groups_of, options_by_name
from tinygen.data import load, pictures
from tinygen.data.options import Source
from tinygen.options import Options, described, option
from tinygen.runs.drawing import Drawing

pytestmark = pytest.mark.quick
ROOT = Path(__file__).parent.parent
SCREEN = 50  # lines


@pytest.mark.parametrize("name", ["train", *models.MODELS])
def test_the_help_is_as_recorded_and_fits_two_screens(name, tinygen, monkeypatch):
    """Where the change is meant: python tests/record_help.py."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    code, out, _ = tinygen("train", *([name] if name != "train" else []), "--help")
    assert code == 0
    assert plain(out) == (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    assert len(plain(out).splitlines()) <= 2 * SCREEN


@pytest.mark.parametrize("columns", [50, 80, 300])
def test_paragraphs_flow_at_every_width(columns, tinygen, monkeypatch):
    """A line ends where the next word would not fit, whatever the lines of the source are.

    Not of `learn`, which needs no typer: argparse writes its help.
    """
    monkeypatch.setenv("COLUMNS", str(columns))
    commands = {each.name for each in app.app.registered_commands}
    for name in (*sorted(commands - {"learn"}), "train", "train flow", "train gan"):
        text = plain(tinygen(*name.split(), "--help")[1]).split("Usage:")[1].split("╭")[0]
        for paragraph in text.split("\n\n")[1:]:
            lines = paragraph.strip("\n").split("\n")
            for line, after in itertools.pairwise(lines):
                assert len(line) + 1 + len(after.split()[0]) > columns - 2, (name, paragraph)
        if columns >= 80:  # examples are a line each
            examples = [p for p in text.split("\n\n") if p.startswith(" tinygen ")]
            assert all("\n" not in each.strip("\n") for each in examples), examples


@pytest.mark.parametrize("name", models.MODELS)
def test_the_help_shows_the_defaults_of_the_model(name):
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", (FOLDER / f"{name}.txt").read_text("utf-8")).split())
    kind = models.find(name)
    own = (getattr(kind, name) for name in ("epochs", "batch_size", "ema", "clip"))
    for value in (*own, kind.course.kind, kind.course.warmup, kind.Options.lr):
        assert f"default {in_words(value)})" in text
    for group in groups_of(kind):
        for each in group.options:
            assert flags(each)[0] in text
    others = options_by_name().keys() - {f.name for f in fields(kind.Options)}
    shown = set(re.findall(r"--([a-z][\w-]*)", text))
    assert not shown & {name.replace("_", "-") for name in others}


def test_an_option_of_another_model_is_refused_with_its_owners(tinygen):
    for words, message in (
        (["vae", "--r1", "1"], "--r1 belongs to gan, cgan, dcgan, cdcgan, conv-gan"),
        (["gan", "--planes"], "gan has no option --projection; it takes"),
        (["gan", "--planes"], "--projection belongs to cdcgan"),
        (["dcgan", "--features", "3", "--sigma=2"], "--sigma belongs to vae, cvae, conv-vae; --f"),
        (["diffusion"], "no model is called 'diffusion'; known models: flow, vae"),
    ):
        code, out, err = tinygen("train", *words)
        assert code == 2
        assert message in err, (out, err)


@dataclass(frozen=True, kw_only=True)
class Paint(Options):
    colour: str = option("red", help="Of the paint.")
    size: tuple[int, ...] | None = option(None, help="Of drops.", form="sizes: 1,2")
    hidden: int = option(3, help="Not on the command line.", flags="")


@dataclass(frozen=True, kw_only=True)
class Wall(Options):
    colour: str = option("white", help="Of the wall.")


@dataclass(frozen=True, kw_only=True)
class Wash(Options):
    wash: bool = option(False, help="Before or after.", flags="--wash/--colour")


def test_two_options_of_one_name_are_an_error_at_registration():
    with pytest.raises(ValueError, match="paint: colour is an option of both Paint and Wall"):
        command("paint", [Group("", Paint), Group("", Wall)], print, "")
    with pytest.raises(ValueError, match="--colour is an option of both Paint and Wash"):
        refuse_doubles("paint", [Group("", Paint), Group("", Wash)])


def test_only_what_was_typed_reaches_a_command():
    seen = []
    paint = command("paint", [Group("", Paint)], seen.append, "")
    for words in ([], ["--size", "3, 4"], ["--colour", "blue"]):
        paint(words, standalone_mode=False)
    assert seen == [{Paint: {}}, {Paint: {"size": (3, 4)}}, {Paint: {"colour": "blue"}}]
    for text in ("3 4", "", "a,b", "3,"):
        with pytest.raises(ValueError, match=r"--size '.*', expected sizes: 1,2"):
            paint(["--size", text], standalone_mode=False)
    with pytest.raises(Exception, match="--hidden"):
        paint(["--hidden", "3"], standalone_mode=False)


def test_help_in_full():
    (size,) = (each for each in described(models.VAE.Options) if each.name == "latent")
    assert in_full(size) == "Length of the latent code (1 or more; default 20)."
    assert in_full(size, "9") == "Length of the latent code (1 or more; default 9)."

    @dataclass(frozen=True)
    class Plain:  # a dataclass without `option`
        width: int = 3

    (width,) = described(Plain)
    assert in_full(width) == "Default 3."


# ---- the classes beside the functions that take them ---------------------------------------------


def test_the_options_of_data_are_those_of_load():
    takes = signature(load).parameters
    names = {"source" if f.name == "data" else f.name: f for f in fields(Source)}
    assert names.keys() == takes.keys() - {"labels", "seed"}
    for name, f in names.items():
        if name != "source":
            assert f.default == takes[name].default, name


def test_the_settings_are_those_of_fit():
    takes = signature(train.fit).parameters
    settled = {each.name for each in described(train.Settings) if each.flags == ""}
    assert settled == {"asked_warmup"}  # by fit itself, from what it was given
    for each in described(train.Settings):
        if each.name in settled:
            continue
        assert each.name in takes
        assert takes[each.name].default in (each.default, None), each.name


def test_other_commands_show_and_name_their_flags(tinygen):
    assert tinygen("sample", "nowhere", "--spread", "-1")[2] == (
        "error: --spread -1.0, expected 0 or more\n"
    )
    assert "error: --nll-images -1, expected" in tinygen("evaluate", "x", "--nll-images", -1)[2]
    for name, kinds in (("sample", (Drawing, Target)), ("evaluate", (Measuring,))):
        text = " ".join(tinygen(name, "--help")[1].split())
        for kind in kinds:
            assert all(flags(each)[0] in text for each in described(kind))
    assert "(1 or more; default 100)" in text


def test_choices_are_those_of_the_code():
    choices = {each.name: each.choices for each in (*described(Place), *described(Source))}
    assert choices["backend"] == backend.BACKENDS
    assert choices["precision"] == backend.PRECISIONS
    assert choices["paper"] == pictures.PAPERS


def known(kind):
    """The flags of the command that trains a model."""
    return {word for g in groups_of(kind) for each in g.options for word in flags(each)}


def test_flags_in_the_pages_exist():
    """Those of `tinygen train MODEL` belong to that model."""
    pages = [ROOT / "README.md", *(ROOT / "examples").glob("*.md")]
    known_models = [page for page in pages if page.name != "HOWTO.md"]  # it makes models of its own
    text = "\n".join(page.read_text(encoding="utf-8") for page in known_models)
    met = 0
    for name, words in re.findall(r"tinygen train ([\w-]+)(?![\w./:-])([^#`|;&\n]*)", text):
        used = {word for word in shlex.split(words) if word.startswith("--")} - {"--help"}
        assert used <= known(models.find(name)), (name, words)
        met += len(used)
    assert met > 15
    prose = set(re.findall(r"`(--[a-z][\w-]*)", text))
    of_others = {"--interpolate", "--traverse", "--around", "--label", "--best", "--to", "--part",
                 "--licence", "--self-test", "--lower-conv-transpose", "--n", "--help",
                 "--more-data", "--numpy"}  # fmt: skip
    assert prose - of_others <= set().union(*map(known, models.MODELS.values()))
