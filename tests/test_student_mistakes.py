"""The mistakes that students make, and what they are told: the words, or that nothing is said.

A case is a small program with a mistake in it. It must raise an error whose text holds the words
given here; or it is right after all, and gives the value given here; or it is SILENT: wrong without
a word, which only somebody who watches the whole program could notice. Silent cases are few, and
each says what happens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen import losses, models, nn, optim

pytestmark = pytest.mark.quick


@dataclass
class Case:
    name: str
    run: Callable[[], Any]
    error: type[Exception] | None = None
    words: tuple[str, ...] = ()
    never: str = ""  # a cure that would be wrong
    silent: str = ""  # what happens


CASES: list[Case] = []


def told(error: type[Exception], *words: str, never: str = "") -> Callable[[Any], Any]:
    """The program is stopped by an error that says these words, in this order."""

    def add(run: Callable[[], Any]) -> Any:
        CASES.append(Case(run.__name__, run, error, words, never))
        return run

    return add


def silent(what: str) -> Callable[[Any], Any]:
    """Nothing is said; the program itself asserts what happens."""

    def add(run: Callable[[], Any]) -> Any:
        CASES.append(Case(run.__name__, run, silent=what))
        return run

    return add


def right(run: Callable[[], Any]) -> Any:
    """No mistake here: the program asserts that its result is right."""
    CASES.append(Case(run.__name__, run))
    return run


# ---- what the programs are made of ---------------------------------------------------------------


def rng(seed: int = 0) -> tg.random.Generator:
    return tg.random.Generator(seed)


def net(inputs: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Dense(inputs, 8, rng=rng(0)), nn.ReLU(), nn.Dense(8, 1, rng=rng(1)))


X = rng(10).normal((16, 4))
Y = rng(11).normal((16, 1))
LOGITS = rng(12).normal((4, 10))
LABELS = np.array([1, 2, 3, 4])


def leaf(*values: float) -> tg.Tensor:
    return tg.tensor(list(values), requires_grad=True)


def fit(lr: float, steps: int = 40) -> list[float]:
    """Losses of a small regression."""
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=lr)
    found = []
    for _ in range(steps):
        loss = losses.mse(model(X), Y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


class Pair:
    """A generator and a discriminator with their optimizers."""

    def __init__(self) -> None:
        self.G = nn.Sequential(nn.Dense(4, 4, rng=rng(2)))
        self.D = net()
        self.of_G = optim.Adam(self.G.parameters(), lr=1e-3)
        self.of_D = optim.Adam(self.D.parameters(), lr=1e-3)
        self.game = losses.gan("non_saturating")

    def train_d(self, fake: tg.Tensor) -> None:
        loss = self.game.discriminator(self.D(X), self.D(fake))
        self.of_D.zero_grad()
        loss.backward()
        self.of_D.step()

    def train_g(self, fake: tg.Tensor) -> None:
        loss = self.game.generator(self.D(fake))
        self.of_G.zero_grad()
        loss.backward()
        self.of_G.step()


def strokes() -> np.ndarray:
    images, _ = tg.data.strokes(n=4, seed=0)
    return images


# ---- the loop ------------------------------------------------------------------------------------


@silent("gradients add up: each step is the sum of all slopes so far")
def no_zero_grad() -> None:
    w = nn.Parameter([1.0])
    optimizer = optim.SGD([w], lr=0.1)
    for _ in range(2):
        (w * w).sum().backward()
        optimizer.step()
    assert w.item() == pytest.approx(1 - 0.2 - (0.2 + 0.16))  # and not 0.8 - 0.16


@right
def zero_grad() -> None:
    found = fit(0.1)
    assert found[-1] < 0.7 * found[0]


@told(RuntimeError, "SGD.step: no parameter has a gradient", "call loss.backward() first")
def zero_grad_between_backward_and_step() -> None:
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    losses.mse(model(X), Y).backward()
    optimizer.zero_grad()
    optimizer.step()


@told(RuntimeError, "Adam.step: no parameter has a gradient", "call loss.backward() first")
def step_without_backward() -> None:
    optim.Adam(net().parameters(), lr=0.1).step()


@told(
    RuntimeError, "released by an earlier backward pass, at", "test_student_mistakes.py",
    "generator", "D(fake.detach())", "or call the earlier pass with retain_graph=True",
)  # fmt: skip
def no_detach_with_the_same_fake() -> None:
    pair = Pair()
    fake = pair.G(X)
    pair.train_d(fake)
    pair.train_g(fake)


@silent("the discriminator's pass fills the generator's .grad, which zero_grad then throws away")
def no_detach_with_a_new_fake() -> None:
    pair = Pair()
    pair.train_d(pair.G(X))
    assert all(p.grad is not None for p in pair.G.parameters())


@silent("x.data is the array itself, and not guarded: the slope is that of a value never used")
def writing_into_data() -> None:
    x = leaf(1.0, 2.0, 3.0)
    y = (x * x).sum()
    x.data[0] = 10
    y.backward()
    assert x.grad.tolist() == [20.0, 4.0, 6.0]


@told(ValueError, "read-only")
def writing_into_numpy() -> None:
    x = leaf(1.0, 2.0, 3.0)
    y = (x * x).sum()
    x.numpy()[0] = 10
    y.backward()


@told(TypeError, "a tensor (3,) is not changed in place", "tg.where(mask, value, x)")
def assigning_to_an_element() -> None:
    x = leaf(1.0, 2.0, 3.0)
    x[0] = 5.0


@told(AttributeError, "the result of sub has no .grad", ".detach(requires_grad=True)", "optimizer")
def updating_by_hand_in_place() -> None:
    w = leaf(1.0, 2.0, 3.0)
    (w * w).sum().backward()
    w -= 0.1 * w.grad
    (w * w).sum().backward()
    w -= 0.1 * w.grad


@told(
    AttributeError, "a tensor (3,) that is the result of sub has no .grad",
    "w = (w - 0.1 * w.grad).detach(requires_grad=True)",
)  # fmt: skip
def updating_by_hand() -> None:
    w = leaf(1.0, 2.0, 3.0)
    for _ in range(3):
        (w * w).sum().backward()
        w = w - 0.1 * w.grad


@told(
    RuntimeError, "matmul: ", "parameter '2.weight'", "(8, 1)", "changed in place by SGD.step",
    "before the update", never="_nd",
)  # fmt: skip
def stepping_between_two_losses() -> None:
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    first, second = losses.mse(model(X), Y), losses.mse(model(X), Y * 2)
    first.backward()
    optimizer.step()
    second.backward()


# ---- shapes --------------------------------------------------------------------------------------


@told(ValueError, "Dense(4, 8): input (16, 5) float32", "expected (..., 4)", never="reshape")
def wrong_size_into_dense() -> None:
    net()(rng().normal((16, 5)))


@told(ValueError, "Dense(784, 10): input (2, 28, 28, 1) float32", "nn.Flatten() first")
def images_into_dense() -> None:
    nn.Sequential(nn.Dense(784, 10, rng=rng()))(rng().normal((2, 28, 28, 1)))


@told(
    ValueError, "Conv2d(1, 8,", "input (2, 1, 28, 28) float32", "expected (n, height, width, 1)",
    "x.transpose(0, 2, 3, 1)", never="reshape",
)  # fmt: skip
def channels_first() -> None:
    nn.Conv2d(1, 8, 3, rng=rng())(rng().normal((2, 1, 28, 28)))


@told(
    ValueError, "Conv2d(3, 8,", "input (2, 3, 32, 32) float32", "expected (n, height, width, 3)",
    "x.transpose(0, 2, 3, 1)", never="reshape",
)  # fmt: skip
def colour_channels_first() -> None:
    nn.Conv2d(3, 8, 3, rng=rng())(rng().normal((2, 3, 32, 32)))


@told(
    ValueError, "mse: shapes of prediction (16, 1) and target (16,)", "never broadcast",
    "target.reshape((16, 1))",
)  # fmt: skip
def column_against_row_in_a_loss() -> None:
    losses.mse(net()(X), Y.reshape(-1))


@silent("a column against a row is a table of all pairs, which arithmetic allows")
def column_against_row() -> None:
    assert (net()(X) - Y.reshape(-1)).shape == (16, 16)


# ---- losses and labels ---------------------------------------------------------------------------


@silent("the softmax of a softmax is nearly even, so the loss cannot come down")
def softmax_and_cross_entropy() -> None:
    sure = tg.one_hot(LABELS, classes=10) * 100.0
    assert losses.cross_entropy(sure, LABELS).item() < 1e-6
    assert losses.cross_entropy(tg.softmax(sure), LABELS).item() > 1.0


@right
def log_softmax_and_cross_entropy() -> None:
    """The log softmax of a log softmax is itself."""
    twice = losses.cross_entropy(tg.log_softmax(LOGITS), LABELS).item()
    assert twice == pytest.approx(losses.cross_entropy(LOGITS, LABELS).item(), rel=1e-6)


@silent("a probability is taken for a logit: the loss of a sure and right answer stays at 0.31")
def sigmoid_and_bce_with_logits() -> None:
    sure, ones = tg.full((4, 1), 100.0), tg.ones((4, 1))
    assert losses.bce_with_logits(sure, ones).item() < 1e-6
    assert losses.bce_with_logits(tg.sigmoid(sure), ones).item() == pytest.approx(0.3133, abs=1e-4)


@told(
    ValueError, "cross_entropy: logits (4, 10) and labels (4, 10)", "class numbers and not one-hot",
)  # fmt: skip
def one_hot_labels() -> None:
    losses.cross_entropy(LOGITS, np.eye(10, dtype=np.float32)[:4])


@told(TypeError, "cross_entropy: labels (4,) float64", "expected integers", ".astype('int64')")
def float_labels() -> None:
    losses.cross_entropy(LOGITS, LABELS.astype(float))


@told(
    ValueError, "cross_entropy: logits (4, 10) and labels (4,)", "labels from 1 to 10",
    "expected from 0 to 9", "labels - 1",
)  # fmt: skip
def labels_from_one() -> None:
    losses.cross_entropy(LOGITS, np.array([1, 2, 3, 10]))


@silent("the loss becomes nan: printed, but not explained")
def learning_rate_too_high() -> None:
    with np.errstate(all="ignore"):
        assert math.isnan(fit(1e3)[-1])


@silent("units are dropped in evaluation too: two answers to one question")
def no_eval_with_dropout() -> None:
    model = nn.Sequential(nn.Dense(4, 8, rng=rng()), nn.Dropout(0.5, rng=rng(1)), nn.Dense(8, 1))
    assert model(X).tolist() != model(X).tolist()


@told(ValueError, "BatchNorm(8): input (1, 8)", "batch of 2 or more in training, or call .eval()")
def batch_norm_of_one_row() -> None:
    nn.Sequential(nn.Dense(4, 8, rng=rng()), nn.BatchNorm(8))(X[:1])


# ---- the graph -----------------------------------------------------------------------------------


@told(
    RuntimeError, "mul: ", "released by an earlier backward pass, at", "test_student_mistakes.py",
    "retain_graph=True", never="detach",
)  # fmt: skip
def backward_twice() -> None:
    x = tg.tensor(3.0, requires_grad=True)
    y = x * x
    y.backward()
    y.backward()


@told(ValueError, "grad: the output tensor(27.", "carries no gradient", "create_graph=True")
def second_derivative_without_create_graph() -> None:
    x = tg.tensor(3.0, requires_grad=True)
    (slope,) = tg.grad(x * x * x, [x])
    tg.grad(slope, [x])


@told(TypeError, "Dense(4, 8): input (16, 4) float64, parameters float32", "x.astype('float32')")
def float64_data() -> None:
    net()(X.numpy().astype(np.float64))


@told(TypeError, "Dense(4, 8): input (16, 4) float64, parameters float32", "x.astype('float32')")
def numbers_of_numpy() -> None:
    net()(np.random.default_rng(0).normal(size=(16, 4)))


# ---- random numbers ------------------------------------------------------------------------------


@told(AttributeError, "'Dense' object has no attribute 'w'", "weight")
def another_name_of_the_weight() -> None:
    _ = nn.Dense(4, 8).w


@right
def two_layers_without_rng_differ() -> None:
    first, second = nn.Dense(4, 4), nn.Dense(4, 4)
    assert not np.array_equal(first.weight.numpy(), second.weight.numpy())


@right
def dropout_without_rng() -> None:
    assert 0 < (nn.Dropout(0.5)(tg.ones(1000)).numpy() == 0).mean() < 1


@told(TypeError, "reparameterise() missing 1 required positional argument: 'rng'")
def reparameterise_without_rng() -> None:
    losses.reparameterise(X, X)


# ---- ranges of images ----------------------------------------------------------------------------


@told(TypeError, "Dense(784, 10): input (4, 784) uint8, parameters float32", "astype('float32')")
def bytes_into_a_network() -> None:
    nn.Sequential(nn.Flatten(), nn.Dense(784, 10, rng=rng()))(tg.tensor(strokes()))


@told(
    ValueError, "bernoulli_nll: x (4, 28, 28, 1) has values from 0 to 255", "expected from 0 to 1",
    "by 255",
)  # fmt: skip
def bytes_into_bernoulli_nll() -> None:
    x = strokes().astype(np.float32)
    losses.bernoulli_nll(tg.zeros(x.shape), x)


@told(
    ValueError, "bernoulli_nll: x (4, 28, 28, 1) has values from -1 to 1", "expected from 0 to 1",
    "(x + 1) / 2",
)  # fmt: skip
def signed_images_into_bernoulli_nll() -> None:
    x = strokes().astype(np.float32) / 127.5 - 1
    losses.bernoulli_nll(tg.zeros(x.shape), x)


@right
def grid_of_tanh() -> None:
    shown = tg.images.grid(tg.tanh(rng().normal((4, 28, 28, 1))), pad=0, scale=1).array
    assert abs(shown.mean() - 127.5) < 10


@told(ValueError, "vae: images with values from 200 to 200, expected the range [0, 1]")
def bytes_into_a_model() -> None:
    model = models.VAE((28, 28, 1))
    model.train_step(tg.full((4, 28, 28, 1), 200.0), None, model.optimizers())


# ---- backward ------------------------------------------------------------------------------------


@told(ValueError, "backward: the output has shape (2,)", ".sum()")
def backward_of_a_vector() -> None:
    x = leaf(1.0, 2.0)
    (x * x).backward()


@told(ValueError, "backward: the output tensor(6.", "requires_grad=True")
def backward_without_requires_grad() -> None:
    (tg.tensor([1.0, 2.0]) * 2).sum().backward()


@told(AttributeError, "the result of mul has no .grad", "tg.grad(loss, [y])")
def grad_of_a_result() -> None:
    x = tg.tensor(2.0, requires_grad=True)
    y = x * x
    (y * 3).backward()
    _ = y.grad


@right
def numpy_function_of_a_tensor() -> None:
    """It is tinygen's, with its gradient, or refused; a bare array would be wrong."""
    x = leaf(1.0, 2.0)
    try:
        y = np.exp(x)
    except TypeError:
        return
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp([1.0, 2.0]), rtol=1e-5)


@told(TypeError, "mean")
def numpy_mean_of_a_tensor() -> None:
    np.mean(leaf(1.0, 2.0))


@silent("a Python number carries no gradient; float(loss) in a report is the same and is right")
def math_function_of_a_tensor() -> None:
    assert math.exp(tg.tensor(1.0, requires_grad=True)) == pytest.approx(math.e)


@told(TypeError, "a tensor of int64 carries no gradient", ".astype('float32')")
def gradient_of_integers() -> None:
    tg.tensor([1, 2, 3], requires_grad=True)


@right
def adding_up_losses() -> None:
    model, total = net(), 0.0
    for _ in range(3):
        total = total + losses.mse(model(X), Y)
    total.backward()
    once = net()
    losses.mse(once(X), Y).backward()
    np.testing.assert_allclose(
        model[0].weight.grad.numpy(), 3 * once[0].weight.grad.numpy(), rtol=1e-5
    )


# ---- modules and optimizers ----------------------------------------------------------------------


@right
def layers_in_a_list() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.layers = [nn.Dense(4, 4, rng=rng()), nn.Dense(4, 4, rng=rng())]

    assert len(Net().parameters()) == 4


@right
def calling_super() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Dense(4, 4, rng=rng())

    assert len(Net().parameters()) == 2


@right
def a_network_for_its_parameters() -> None:
    assert len(optim.Adam(net(), lr=1e-3).params) == 4


@told(ValueError, "Adam: no parameters; expected at least one")
def no_parameters() -> None:
    optim.Adam([], lr=1e-3)


@told(ValueError, "Adam: lr is -1; expected a finite number >= 0")
def negative_learning_rate() -> None:
    optim.Adam(net().parameters(), lr=-1)


@told(ValueError, "shape (2,) is no condition", "tg.where(condition, a, b)", ".any()")
def vector_as_a_condition() -> None:
    if tg.tensor([1.0, 2.0]) > 0:
        pass


# ---- names of other libraries --------------------------------------------------------------------


@told(TypeError, "sum: unknown option dim", "write axis for dim")
def dim() -> None:
    tg.ones((2, 3)).sum(dim=1)


@told(AttributeError, "'Tensor' object has no attribute 'view'", "x.reshape(")
def view() -> None:
    tg.ones((2, 3)).view(6)


@right
def numpy_without_detach() -> None:
    assert leaf(1.0).numpy().tolist() == [1.0]


@right
def transpose_of_three_axes() -> None:
    assert tg.ones((2, 3, 4)).T.shape == (4, 3, 2)


@told(AttributeError, "'tinygen.nn' has no attribute 'Linear'", "nn.Dense(")
def linear() -> None:
    _ = nn.Linear


@told(TypeError, "Tensor: data is [1.0, 2.0]", "tg.tensor(")
def tensor_of_a_list() -> None:
    tg.Tensor([1.0, 2.0]) + 1


@told(ValueError, "gradient_penalty: the critic's layer '1' is BatchNorm(8)", "nn.LayerNorm")
def batch_norm_in_a_critic() -> None:
    critic = nn.Sequential(nn.Dense(4, 8, rng=rng()), nn.BatchNorm(8), nn.ReLU(), nn.Dense(8, 1))
    losses.gradient_penalty(critic, X, X * 2, rng())


@right
def numpy_times_tensor() -> None:
    product = np.full((16, 4), 2.0, np.float32) * X
    assert isinstance(product, tg.Tensor)
    np.testing.assert_array_equal(product.numpy(), 2 * X.numpy())


@right
def parts_of_a_vae_loss() -> None:
    flat = tg.zeros((4, 784))
    loss = losses.vae(flat, flat, tg.ones((4, 2)), tg.zeros((4, 2)))
    assert loss.parts["kl"].item() == 1.0  # summed over the code, averaged over the batch
    assert loss.item() == pytest.approx(784 * math.log(2) + 1.0, rel=1e-6)


# ---- the cases run -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_answered(case: Case) -> None:
    if case.error is None:
        case.run()
        return
    with pytest.raises(case.error) as error:
        case.run()
    text = str(error.value)
    assert re.search(".*".join(map(re.escape, case.words)), text, re.DOTALL), text
    assert not case.never or case.never not in text


def test_few_mistakes_are_silent() -> None:
    assert len(CASES) == len({case.name for case in CASES}) == 63
    assert sum(bool(case.silent) for case in CASES) <= 9
