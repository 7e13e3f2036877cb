"""Options declared once: what they refuse, what they keep, and the constructors made from them."""

import inspect
import json
from dataclasses import FrozenInstanceError, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import pytest

import tinygen as tg
from tinygen import losses, models
from tinygen.models.adversarial import LossName
from tinygen.options import (
    OptionError,
    Options,
    above,
    as_json,
    at_least,
    between,
    defaults_on_processor,
    described,
    half_open,
    joined,
    option,
)
from tinygen.runs import build_model

pytestmark = pytest.mark.quick
SHAPE = (12, 12, 1)
SMALL: dict[str, Any] = {"width": 0.1, "hidden": (6,), "latent": 3, "features": 5}
KINDS = list(models.MODELS.values())
OF_ONE_STAGE = [kind for kind in KINDS if issubclass(kind, models.ImageModel)]


@dataclass(frozen=True, kw_only=True)
class Brush(Options):
    tip: Literal["round", "flat"] = option("round", help="Shape of the tip.")
    width: float = option(1.0, above(0), "Width in pixels.", on_processor=0.5)
    strokes: int = option(help="How many.", rule=at_least(1))
    wet: bool = option(False, help="Whether the paint is.")
    hairs: tuple[int, ...] = option((3, 4), at_least(2), "Of each bundle.")
    reach: tuple[float, float] = option((0, 1), between(0, 9), "From and to.")
    fade: float | None = option(None, half_open(0, 1), "How it ends.", shown="as it began")
    name: str | None = option(None, help="What it is called.")
    more: Any = option(None, help="Anything.")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tip": "fan"}, "tip is 'fan', expected one of round, flat"),
        ({"width": 0}, "width is 0, expected above 0"),
        ({"width": float("nan")}, "width is nan, expected above 0"),
        ({"width": float("inf")}, "width is inf, expected above 0"),
        ({"width": "2"}, "width is '2', expected above 0"),
        ({"width": True}, "width is True, expected above 0"),
        ({"strokes": 0}, "strokes is 0, expected an integer, 1 or more"),
        ({"strokes": 2.5}, "strokes is 2.5, expected an integer, 1 or more"),
        ({"strokes": None}, "strokes is None, expected an integer, 1 or more"),
        ({"wet": 1}, "wet is 1, expected True or False"),
        ({"hairs": ()}, r"hairs is \(\), expected one or more integers, each 2 or more"),
        ({"hairs": (3, 1)}, r"hairs is \(3, 1\), expected one or more integers"),
        ({"hairs": "34"}, "hairs is '34', expected one or more integers"),
        ({"reach": (1,)}, r"reach is \(1,\), expected two numbers, each from 0 to 9"),
        ({"reach": 1}, "reach is 1, expected two numbers"),
        ({"fade": 1}, "fade is 1, expected from 0 to below 1, or None"),
        ({"name": 3}, "name is 3, expected a text, or None"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_was_expected(given, message):
    with pytest.raises(OptionError, match=message):
        Brush(**{"strokes": 1, **given})


def test_values_are_kept_as_python_has_them():
    numbers = Brush(
        strokes=np.int64(3), width=np.float32(0.5), hairs=np.array([5, 6]), reach=[0, np.float64(2)]
    )
    assert numbers == Brush(strokes=3, width=0.5, hairs=(5, 6), reach=(0, 2.0))
    assert type(numbers.strokes) is int
    assert {type(n) for n in numbers.hairs} == {int}
    assert Brush(strokes=1, hairs=4).hairs == (4,)
    stored = json.loads(json.dumps(as_json(numbers)))
    assert Brush(**stored) == numbers
    assert stored == as_json(numbers)  # lists, as a file gives them back
    with pytest.raises(FrozenInstanceError):
        numbers.width = 2.0


def test_an_option_describes_itself():
    by_name = {each.name: each for each in described(Brush)}
    assert by_name["tip"].choices == ("round", "flat")
    assert by_name["fade"].optional
    assert not by_name["width"].optional
    assert defaults_on_processor(Brush) == {"width": 0.5}

    @dataclass(frozen=True, kw_only=True)
    class Fan(Brush):
        ribs: int = option(9, help="Of the fan.")
        width: float = option(2.0, above(0), "Width of the fan.")

    assert [each.name for each in described(Fan)][:3] == ["ribs", "width", "tip"]  # its own first
    assert defaults_on_processor(Fan) == {}


def test_a_plain_dataclass_describes_itself_and_other_types_are_refused():
    @dataclass
    class Plain:
        steps: int = 8
        guided: bool = False

    steps, guided = described(Plain)
    assert (steps.kind, steps.default, steps.help, guided.kind) == (int, 8, "", bool)

    @dataclass
    class Wrong:
        steps: list[int] | None = None

    with pytest.raises(TypeError, match=r"option steps: list\[int\] is no type of an option"):
        described(Wrong)


# ---- models --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_of_a_model_has_a_help_a_range_and_a_default(kind):
    for each in described(kind.Options):
        assert each.help.endswith("."), each.name
        assert each.rule is not None or each.choices or each.kind is bool, each.name
        assert each.default is not None or each.shown, each.name
        each.checked(each.default)


@pytest.mark.parametrize("kind", OF_ONE_STAGE)
def test_the_signature_is_that_of_the_options(kind):
    parameters = inspect.signature(kind).parameters
    names = [f.name for f in fields(kind.Options)]
    assert list(parameters) == ["shape", *names, "classes", "rng"]
    assert {n: parameters[n].default for n in names} == {
        f.name: f.default for f in fields(kind.Options)
    }


@pytest.mark.parametrize("kind", OF_ONE_STAGE)
def test_one_object_or_keywords_and_a_file_give_the_same_model(kind):
    names = [f.name for f in fields(kind.Options)]
    given = {k: v for k, v in SMALL.items() if k in names}
    made = [
        kind(SHAPE, classes=3, rng=tg.random.Generator(4), **given),
        kind(SHAPE, kind.Options(**given), classes=3, rng=tg.random.Generator(4)),
    ]
    description = json.loads(json.dumps(made[0].describe()))
    made.append(build_model(description, tg.random.Generator(4)))
    assert description == made[2].describe()
    first = made[0].state_dict()
    for other in made[1:]:
        assert other.options == made[0].options
        assert all(np.array_equal(v, first[k]) for k, v in other.state_dict().items())


def test_options_of_another_model_and_unknown_ones_are_refused():
    with pytest.raises(TypeError, match=r"vae: its options are GAN\.Options.*VAE\.Options"):
        models.VAE(SHAPE, models.GAN.Options())
    with pytest.raises(TypeError, match=r"VAE\.Options and latent"):
        models.VAE(SHAPE, models.VAE.Options(), latent=3)
    with pytest.raises(TypeError, match=r"VAE.*latnt.*latent"):
        models.VAE(SHAPE, latnt=3)


def test_choices_are_those_of_the_functions_that_take_them():
    assert set(get_args(LossName)) == set(losses.GAN_LOSSES)
    for kind in get_args(models.vae.Likelihood):
        x = tg.random.Generator(0).uniform((2, 3))
        losses.vae(x, x, x[:, :1], x[:, :1], likelihood=kind)


def test_options_of_two_classes_are_joined():
    @dataclass(frozen=True, kw_only=True)
    class Paper(Options):
        grain: float | None = option(None, at_least(0), "Roughness.", shown="smooth")

    Both = joined(Brush, Paper, width=2.0, shown={"grain": "rough"})
    both = Both(grain=1, strokes=2)
    assert (both.width, both.grain) == (2.0, 1)
    assert isinstance(both, Brush)
    assert [o.name for o in described(Both)] == [f.name for f in (*fields(Brush), *fields(Paper))]
    assert described(Both)[-1].shown == "rough"
    assert described(Paper)[-1].shown == "smooth"
    with pytest.raises(OptionError, match="width is -1"):
        Both(width=-1, strokes=2)
