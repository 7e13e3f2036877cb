"""Names of other libraries: each is answered with one that exists, and none hides one of ours."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen import losses, nn, optim, spelling
from tinygen.primitive import PRIMITIVES

pytestmark = pytest.mark.quick

x = tg.ones((2, 3))
OWNERS = [
    (x, spelling.TENSOR), (nn.Parameter(1.0), spelling.TENSOR), (tg, spelling.TINYGEN),
    (nn, spelling.NN), (optim, spelling.OPTIM), (losses, spelling.LOSSES),
    (nn.Dense(2, 2), spelling.MODULE),
]  # fmt: skip


@pytest.mark.parametrize(("owner", "table"), OWNERS, ids=lambda v: getattr(v, "__name__", ""))
def test_every_name_is_answered_and_none_hides_ours(owner: Any, table: dict[str, str]) -> None:
    for name, ours in table.items():
        assert not hasattr(owner, name)
        assert name not in dir(owner)
        with pytest.raises(AttributeError, match=re.escape(ours)):
            getattr(owner, name)
        with pytest.raises(AttributeError, match=rf"no attribute '{name}_of_nobody'$"):
            getattr(owner, f"{name}_of_nobody")


def test_what_is_named_exists() -> None:
    roots = {"tg": tg, "nn": nn, "optim": optim, "losses": losses, "x": x, "rng": None}
    roots["rng"] = tg.random.Generator(0)
    count = 0
    for _, table in OWNERS:
        for text in table.values():
            for path in re.findall(r"\b(?:tg|nn|optim|losses|x|rng)(?:\.[A-Za-z_]\w*)+", text):
                found: Any = roots[path.split(".")[0]]
                for part in path.split(".")[1:]:
                    if found is x and part == "node":
                        break  # None, but there
                    found = getattr(found, part)
                count += 1
    assert count > 200


def test_options_of_other_libraries_name_ours() -> None:
    cases: list[tuple[Any, str]] = [
        (lambda: x.sum(dim=1), "sum: .*write axis for dim"),
        (lambda: x.mean(axis=1, keepdim=True), "mean: .*write keepdims for keepdim"),
        (lambda: x.softmax(dim=-1), "softmax: .*write axis for dim"),
        (lambda: tg.var(x, dim=0, unbiased=False), "var: .*write axis for dim; .*correction=0"),
        (lambda: x.var(keepdim=True), "var: .*write keepdims for keepdim"),
        (lambda: tg.concatenate([x, x], dim=1), "concatenate: .*write axis for dim"),
        (lambda: tg.stack([x, x], dim=0), "stack: .*write axis for dim"),
        (lambda: x.clip(min=0), "clip: .*write low for min"),
        (lambda: tg.one_hot([1], num_classes=3), "one_hot: .*write classes for num_classes"),
        (lambda: tg.zeros((2,), requires_grad=True), r"zeros: .*\.detach\(requires_grad=True\)"),
        (lambda: tg.tensor([1.0], device="cuda"), "tensor: .*tg.use_backend"),
        (lambda: nn.ReLU(inplace=True), "ReLU: .*leave it out"),
        (lambda: nn.BatchNorm(num_features=3), "BatchNorm: .*write features for num_features"),
        (lambda: nn.Dense(3, 2, activation="relu"), r"Dense: .*nn\.ReLU\(\)"),
        (lambda: nn.Dense(3, units=2), "Dense: .*write out_features for units"),
        (lambda: nn.Dropout(rate=0.5), "Dropout: .*write p for rate"),
        (lambda: nn.LeakyReLU(negative_slope=0.2), "LeakyReLU: .*write slope for negative"),
        (lambda: optim.Adam([], learning_rate=0.1), "Adam: .*write lr for learning_rate"),
        (lambda: optim.SGD(parameters=[], lr=0.1), "SGD: .*write params for parameters"),
        (lambda: losses.cross_entropy(x, target=[1, 2]), "cross_entropy: .*write labels for t"),
        (lambda: losses.mse(input=x, target=x), "mse: .*write prediction for input"),
        (lambda: nn.Tanh(0.5), "Tanh: 1 arguments given, expected none"),
    ]
    for call, words in cases:
        with pytest.raises(TypeError, match=words):
            call()


def test_names_that_a_program_gives_itself_are_free() -> None:
    class Net(nn.Module):
        def __init__(self, w: float, **options: float) -> None:
            self.w = nn.Parameter([w])
            self.options = options

        def to(self, place: str) -> str:
            return place

    net = Net(2.0, activation=3.0)
    assert net.w.item() == 2.0
    assert "w" in dir(net)
    assert net.to("there") == "there"
    assert net.options == {"activation": 3.0}
    assert copy.deepcopy(net).w.item() == 2.0
    assert pickle.loads(pickle.dumps(tg.ones(2))).tolist() == [1.0, 1.0]
    assert np.asarray(copy.copy(x)).shape == (2, 3)


def test_every_operation_is_named_as_a_person_calls_it() -> None:
    public = {*tg.__all__, *dir(losses)}
    layers = {"BatchNorm", "Dropout", "a norm layer"}
    for name, p in PRIMITIVES.items():
        if not p.reference.__module__.startswith("tinygen."):
            continue  # of a test
        called = spelling.called(name)
        method = called.partition(".")
        known = (
            called in public | layers
            or called.removeprefix("the gradient of ").removeprefix("the weight's gradient of ")
            in public | {"x[...]"}
            or hasattr(getattr(optim, method[0], tg.random.Generator), method[2] or "?")
            or called.startswith(("a generator's draw", "load_state_dict"))
        )
        assert known, (name, called)
    assert all(name in PRIMITIVES or name == "getitem" for name in spelling.CALLED)


# ---- siblings of the mistakes that were answered wrongly -----------------------------------------


def told(call: Any) -> str:
    with pytest.raises(Exception) as error:
        call()
    return str(error.value)


def images(*shape: int) -> tg.Tensor:
    return tg.random.Generator(0).normal(shape)


@pytest.mark.parametrize(
    ("layer", "shape", "cure"),
    [
        (nn.Conv2d(3, 4, 3), (2, 3, 8, 8), "x.transpose(0, 2, 3, 1)"),
        (nn.ConvTranspose2d(16, 4, 3), (2, 16, 7, 7), "x.transpose(0, 2, 3, 1)"),
        (nn.BatchNorm(8), (2, 8, 5, 5), "x.transpose(0, 2, 3, 1)"),
        (nn.GroupNorm(2, 8), (2, 8, 5, 5), "x.transpose(0, 2, 3, 1)"),
        (nn.Conv2d(3, 4, 3), (3, 8, 8), "x.transpose(1, 2, 0).expand_dims(0)"),
        (nn.Conv2d(1, 4, 3), (16, 8, 8), "x.expand_dims(-1)"),
        (nn.Conv2d(1, 4, 3), (16, 64), "nn.Reshape(height, width, 1)"),
        (nn.Conv2d(16, 4, 3), (2, 16, 16, 32), "the sizes differ"),  # not channels first
        (nn.BatchNorm(16), (2, 16, 16, 32), "the sizes differ"),
        (nn.Dense(64, 4), (2, 8, 8, 1), "nn.Flatten() first"),
        (nn.Dense(4, 2), (4, 16), "samples are rows here: x.T"),
        (nn.Dense(1, 2), (16,), "x.expand_dims(-1)"),
        (nn.Dense(3, 2), (16, 5), "the sizes differ"),
    ],
    ids=str,
)
def test_an_input_that_does_not_fit_gets_the_cure_that_fits(
    layer: nn.Module, shape: tuple[int, ...], cure: str
) -> None:
    text = told(lambda: layer(images(*shape)))
    assert text.startswith(layer.label())
    assert str(shape) in text
    assert cure in text
    assert "or reshape" not in text


def test_kernels_of_another_order_are_told() -> None:
    good = images(2, 9, 9, 3)
    swapped = good.transpose(0, 3, 1, 2)
    kernel = images(5, 5, 3, 8)
    assert "x.transpose(0, 2, 3, 1)" in told(lambda: tg.conv2d(swapped, kernel))
    other = kernel.transpose(3, 2, 0, 1)  # (out, in, h, w)
    assert told(lambda: tg.conv2d(good, other)).endswith("here: w.transpose(2, 3, 1, 0)")
    both = "x.transpose(0, 2, 3, 1) and w.transpose(2, 3, 1, 0)"
    assert both in told(lambda: tg.conv2d(swapped, other))
    up = images(5, 5, 3, 8).transpose(2, 3, 0, 1)  # (in, out, h, w)
    assert "w.transpose(2, 3, 0, 1)" in told(lambda: tg.conv_transpose2d(good, up))
    plain = told(lambda: tg.conv2d(good, images(3, 3, 16, 16)))
    assert "transpose" not in plain


def leaf(value: float) -> tg.Tensor:
    return tg.tensor(value, requires_grad=True)


def test_a_part_shared_by_two_losses_is_told_from_a_loss_used_twice() -> None:
    x = leaf(2.0)
    shared = x.exp()
    first, second = shared * 3, shared.tanh()
    first.backward()
    text = told(second.backward)
    assert re.search(r"exp: .*at .*test_spelling\.py:\d+; .*detach.*add them.*retain_graph", text)
    again = told(first.backward)
    assert "detach" not in again
    assert "retain_graph=True" in again
    y = x * x
    tg.grad(y, [x])
    assert "detach" not in told(lambda: tg.grad(y, [x]))
    total = tg.normalise(images(4, 3).detach(requires_grad=True), 1.0, 0.0, axis=(0,), eps=1).sum()
    total.backward()
    assert "detach" not in told(total.backward)


def test_the_line_of_the_first_pass_is_the_programs_own() -> None:
    y = leaf(2.0) ** 2
    here = "def test_the_line_of_the_first_pass"

    def deep() -> None:
        y.backward()  # the line that is named

    deep()
    text = told(y.backward)
    number = int(re.search(r"test_spelling\.py:(\d+)", text).group(1))  # type: ignore[union-attr]
    with open(__file__, encoding="utf-8") as file:
        lines = file.readlines()
    assert "# the line that is named" in lines[number - 1]
    assert here not in lines[number - 1]


@pytest.mark.parametrize("how", ["detached", "no_grad", "plain gradient", "of a gradient"])
def test_an_output_without_a_graph_names_every_reason(how: str) -> None:
    x = leaf(3.0)
    with tg.no_grad():
        unrecorded = x * x
    (slope,) = tg.grad(x**3, [x])
    output = {
        "detached": (x * x).detach(), "no_grad": unrecorded, "plain gradient": slope,
        "of a gradient": ((slope - 1.0) ** 2).sum(),
    }[how]  # fmt: skip
    for call in (output.backward, lambda: tg.grad(output, [x])):
        text = told(call)
        for reason in ("requires_grad=True", "no_grad()", "detach()", "create_graph=True"):
            assert reason in text
    assert tg.grad(tg.grad(x**3, [x], create_graph=True)[0], [x])[0].item() == 18.0


def test_gradients_that_a_result_does_keep_are_shown() -> None:
    x = leaf(2.0)
    y = x * x
    (y * 3).backward(inputs=[y])
    assert y.grad.item() == 3.0
    assert x.grad is None
    assert tg.tensor(1.0).grad is None


def test_images_out_of_range_are_told_by_every_bernoulli_likelihood() -> None:
    zeros, code = tg.zeros((4, 9)), tg.zeros((4, 2))
    fine = tg.random.Generator(0).uniform((4, 9))
    for x, cure in ((fine * 255, "by 255"), (fine * 2 - 1, "(x + 1) / 2"), (fine * 6, "by 255")):
        for name, call in (
            ("bernoulli_nll", lambda x=x: losses.bernoulli_nll(zeros, x)),
            ("vae", lambda x=x: losses.vae(zeros, x, code, code)),
        ):
            text = told(call)
            assert text.startswith(f"{name}: x (4, 9) has values from ")
            assert cure in text
        assert losses.vae(zeros, x, code, code, likelihood="gaussian").item() > 0
    for x in (fine, fine * 1.02, fine > 0.5, tg.full((4, 9), float("nan"))):
        losses.bernoulli_nll(zeros, x)
    assert told(lambda: losses.vae(zeros, fine[:, :3], code, code)).startswith("vae: shapes")
    assert told(lambda: losses.vae(zeros, fine, code, code[:2])).startswith("vae: shapes")


def test_a_critic_with_batch_norm_is_refused_only_where_it_is_in_training() -> None:
    critic = nn.Sequential(nn.Dense(4, 8), nn.Sequential(nn.BatchNorm(8)), nn.Dense(8, 1))
    real, fake = images(6, 4), images(6, 4) + 1.0
    rng = tg.random.Generator(0)
    assert "'1.0'" in told(lambda: losses.gradient_penalty(critic, real, fake, rng))
    losses.gradient_penalty(critic.eval(), real, fake, rng)
    normed = nn.Sequential(nn.Dense(4, 8), nn.LayerNorm(8), nn.Dense(8, 1))
    losses.gradient_penalty(normed, real, fake, rng)


def test_what_an_optimizer_does_not_take_is_told() -> None:
    net = nn.Dense(2, 2)
    assert "net.parameters()" in told(lambda: optim.Adam(net.parameters))
    assert "[weight]" in told(lambda: optim.SGD(net.named_parameters()["weight"], lr=0.1))
    assert "the result of x[...]" in told(lambda: optim.SGD([net.weight[0]], lr=0.1))
    assert "nn.Sequential(*layers)" in told(lambda: nn.Sequential([net]))


def test_rules_and_labels_name_what_was_given() -> None:
    @tg.primitive
    def thrice(xp: Any, x: Any) -> Any:
        return 3 * x

    assert "thrice.vjp(x=" in told(lambda: thrice.vjp(lambda g: 3 * g))
    thrice.vjp(x=lambda g: 3 * g)
    PRIMITIVES.pop("thrice")
    labels = nn.Embedding(10, 4)
    assert told(lambda: labels(np.array([1, 10]))).startswith(
        "Embedding(10, 4): labels (2,) from 1"
    )
    for value in (tg.ones((2, 2)), images(3)):
        assert str(value.shape) in told(lambda value=value: 1 if value else 0)
    for data in ([1.0], (1, 2), 3.0, True):
        assert "tg.tensor(" in told(lambda data=data: tg.Tensor(data))
