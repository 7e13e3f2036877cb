"""Losses: formulas, signs, shapes, extremes, and gradients to order 2."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import losses, nn, optim
from tinygen.random import Generator
from tinygen.testing import check_grads

pytestmark = pytest.mark.quick
KINDS = ["minimax", "non_saturating", "least_squares", "wasserstein", "hinge"]
LOGITS = st.floats(-30, 30)


def draws(*shapes: tuple[int, ...], seed: int = 0) -> list[Any]:
    g = np.random.default_rng(seed)
    return [g.normal(size=shape) for shape in shapes]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(x, dtype=np.float64)))


# ---- plain losses --------------------------------------------------------------------------------


@given(logit=LOGITS, target=st.floats(0, 1))
def test_bce_is_its_formula(logit: float, target: float) -> None:
    p, q = sigmoid(logit), sigmoid(-logit)
    expected = -target * math.log(p) - (1 - target) * math.log(q)
    got = losses.bce_with_logits(np.array([logit]), np.array([target]))
    np.testing.assert_allclose(float(got), expected, rtol=1e-9, atol=1e-12)


def test_bce_takes_integers_booleans_and_numbers() -> None:
    logits = tg.tensor([[0.5], [-2.0], [3.0]])
    expected = losses.bce_with_logits(logits, tg.tensor([[1.0], [0.0], [1.0]]))
    for targets in (np.array([[1], [0], [1]]), np.array([[True], [False], [True]])):
        assert float(losses.bce_with_logits(logits, targets)) == float(expected)
    ones = losses.bce_with_logits(logits, tg.ones((3, 1)))
    for number in (1, 1.0, True, np.float64(1)):
        assert float(losses.bce_with_logits(logits, number)) == float(ones)
    wide = tg.tensor(np.array([0.5]))
    assert losses.bce_with_logits(wide, 0.9).dtype == np.float64
    with pytest.raises(ValueError, match=r"the target is 2.0; expected 0 <= target <= 1"):
        losses.bce_with_logits(logits, 2)


@pytest.mark.parametrize(("targets", "cure"), [
    ([[-1.0, 1.0]], "for targets of -1 and 1 write (targets + 1) / 2"),
    (np.array([[0, 255]], np.uint8), "of pixels divide 0..255 by 255"),
    (np.array([[2, 1]]), "for numbers of classes take losses.cross_entropy"),
    (np.array([[-1, 0]], np.int8), "for targets of -1 and 1"),
])  # fmt: skip
def test_bce_refuses_what_is_no_probability(targets: Any, cure: str) -> None:
    for compiled in (False, True):
        loss = tg.compile(losses.bce_with_logits) if compiled else losses.bce_with_logits
        with pytest.raises(ValueError, match=r"has values from .* expected from 0 to 1") as told:
            loss(tg.zeros((1, 2)), tg.tensor(targets))
        assert cure in str(told.value)


def test_bce_takes_what_is_a_hair_outside() -> None:
    for targets in ([-0.01, 1.02], [np.nextafter(np.float32(1), 2), 0.0], [True, False], [1, 0]):
        assert math.isfinite(losses.bce_with_logits(tg.zeros((2,)), tg.tensor(targets)))
    assert losses.bce_with_logits(tg.zeros((0,)), tg.zeros((0,)), reduction="sum").item() == 0


def test_bce_at_zero_has_the_whole_slope() -> None:
    x = tg.tensor([0.0], requires_grad=True)
    (slope,) = tg.grad(losses.bce_with_logits(x, 1), [x])
    assert slope.tolist() == [-0.5]


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_bce_is_finite_at_the_extremes(logit: float, target: int) -> None:
    x = tg.tensor([logit], requires_grad=True)
    loss = losses.bce_with_logits(x, target)
    assert float(loss) == (0.0 if (logit > 0) == bool(target) else 1e4)
    assert tg.grad(loss, [x])[0].tolist() == [float(logit > 0) - target]


@pytest.mark.parametrize(
    "loss",
    [
        losses.bce_with_logits, losses.mse, losses.l1, losses.gaussian_kl, losses.bernoulli_nll,
        lambda x, y: losses.gaussian_nll(x, y, 0.0),
        lambda x, y: losses.gaussian_nll(x, x, y),
        lambda x, y: losses.reparameterise(x, y, Generator(0)),
        lambda x, y: losses.vae(x, y, tg.zeros((8, 2)), tg.zeros((8, 2)), likelihood="mse"),
        lambda x, y: losses.gradient_penalty(nn.Identity(), x, y, Generator(0)),
    ],
)  # fmt: skip
def test_shapes_never_broadcast(loss: Any) -> None:
    x, y = tg.zeros((8, 1)), tg.zeros(8)
    with pytest.raises(ValueError, match=r"\(8, 1\) and \w+ \(8,\).*reshape\(\(8, 1\)\)"):
        loss(x, y)
    with pytest.raises(ValueError, match=r"\(8, 28, 28, 1\) and \w+ \(8, 784\) differ and never"):
        loss(tg.zeros((8, 28, 28, 1)), tg.zeros((8, 784)))
    with pytest.raises(TypeError, match=r"float32 and .* float64; expected one dtype"):
        loss(x, np.zeros((8, 1)))
    with pytest.raises(TypeError, match="expected floats"):
        loss(np.zeros((8, 1), dtype=np.int64), x)


def test_reductions() -> None:
    x, y = draws((3, 2), (3, 2))
    for loss, terms in ((losses.mse, (x - y) ** 2), (losses.l1, abs(x - y))):
        np.testing.assert_allclose(loss(x, y).numpy(), terms.mean())
        np.testing.assert_allclose(loss(x, y, reduction="sum").numpy(), terms.sum())
        np.testing.assert_allclose(loss(x, y, reduction="none").numpy(), terms)
        with pytest.raises(ValueError, match="reduction is 'avg'; expected 'mean', 'sum' or"):
            loss(x, y, reduction="avg")


def test_cross_entropy() -> None:
    (x,) = draws((4, 2, 5))
    labels = np.random.default_rng(1).integers(0, 5, size=(4, 2))
    p = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    expected = -np.log(np.take_along_axis(p, labels[..., None], -1)[..., 0])
    for kind in (np.uint8, np.int64):
        got = losses.cross_entropy(x, labels.astype(kind), reduction="none")
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12)
    far = losses.cross_entropy(tg.tensor([[1e4, -1e4, 0.0]]), np.array([1]))
    assert float(far) == 2e4
    with pytest.raises(ValueError, match="class numbers and not one-hot rows"):
        losses.cross_entropy(tg.zeros((3, 4)), np.zeros((3, 4)))
    with pytest.raises(TypeError, match=r"labels \(3,\) float64; expected integers"):
        losses.cross_entropy(tg.zeros((3, 4)), np.zeros(3))
    with pytest.raises(ValueError, match="labels from 0 to 4, expected from 0 to 3"):
        losses.cross_entropy(tg.zeros((2, 4)), np.array([0, 4]))


def _smoothed(x: Any, labels: Any, e: float, ignored: int | None) -> tuple[Any, Any]:
    """Terms and which count, as the formula says, one label at a time."""
    rows, k = x.reshape(-1, x.shape[-1]), x.shape[-1]
    terms = []
    for row, label in zip(rows, labels.reshape(-1), strict=True):
        log_p = row - row.max() - np.log(np.exp(row - row.max()).sum())
        t = np.full(k, e / k)
        if label != ignored:
            t[label] += 1 - e
        terms.append(0.0 if label == ignored else -(t * log_p).sum())
    return np.reshape(terms, labels.shape), labels != (k + 7 if ignored is None else ignored)


@pytest.mark.parametrize("ignored", [None, -100, 2])
@pytest.mark.parametrize("e", [0.0, 0.1, 0.7])
def test_cross_entropy_smoothed_and_over_what_counts(e: float, ignored: int | None) -> None:
    (x,) = draws((4, 3, 5))
    labels = np.random.default_rng(2).integers(0, 5, size=(4, 3))
    labels[0, 1] = labels[2] = 2 if ignored is None else ignored
    terms, counts = _smoothed(x, labels, e, ignored)
    options: Any = {"label_smoothing": e, "ignore_index": ignored}
    for reduction, expected in (
        ("none", terms), ("sum", terms.sum()), ("mean", terms.sum() / counts.sum()),
    ):  # fmt: skip
        loss = lambda z, reduction=reduction: losses.cross_entropy(z, labels, reduction, **options)
        np.testing.assert_allclose(loss(x).numpy(), expected, rtol=1e-12)
        check_grads(loss, [tg.tensor(x)], order=2)
    compiled = tg.compile(lambda z, y: losses.cross_entropy(z, y, **options))
    for _ in range(2):
        np.testing.assert_allclose(
            float(compiled(tg.tensor(x), tg.tensor(labels))), terms.sum() / counts.sum()
        )


def test_labels_that_do_not_count_hide_their_logits() -> None:
    """NaN and infinity behind them reach neither the value nor the gradients, at any order."""
    x = np.random.default_rng(0).normal(size=(4, 3))
    x[1], x[2] = np.nan, np.inf
    z, labels = tg.tensor(x, requires_grad=True), np.array([0, 255, 255, 2], np.uint8)
    loss = losses.cross_entropy(z, labels, ignore_index=255, label_smoothing=0.1)
    (g,) = tg.grad(loss, [z], create_graph=True)
    (h,) = tg.grad(tg.sum(g * g), [z])
    alone = losses.cross_entropy(x[[0, 3]], labels[[0, 3]], label_smoothing=0.1)
    assert float(loss) == pytest.approx(float(alone), rel=1e-12)
    assert g.numpy()[1:3].tolist() == h.numpy()[1:3].tolist() == np.zeros((2, 3)).tolist()
    assert np.isfinite(h.numpy()).all()


def test_a_mean_over_no_labels_is_zero() -> None:
    x = tg.tensor(np.ones((3, 4)), requires_grad=True)
    loss = losses.cross_entropy(x, np.full(3, -1), ignore_index=-1)
    assert float(loss) == 0
    assert tg.grad(loss, [x])[0].tolist() == np.zeros((3, 4)).tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0; expected 0 <= label_smoothing < 1"),
        ({"label_smoothing": float("nan")}, "label_smoothing is nan"),
        ({"ignore_index": 1.5}, "ignore_index is 1.5; expected a label, such as -1"),
        ({"ignore_index": 3}, "labels from -1 to 1, expected from 0 to 3"),
        ({"ignore_index": -1, "reduction": "avg"}, "reduction is 'avg'"),
    ],
)
def test_cross_entropy_refuses(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        losses.cross_entropy(tg.zeros((3, 4)), np.array([0, -1, 1]), **options)


# ---- VAE -----------------------------------------------------------------------------------------


def test_kl_equals_monte_carlo_and_its_zero() -> None:
    mu, logvar = np.array([[0.7, -1.2]]), np.array([[0.4, -0.9]])
    z = mu + np.exp(logvar / 2) * np.random.default_rng(0).normal(size=(400_000, 2))
    log_q = -0.5 * (logvar + (z - mu) ** 2 / np.exp(logvar))
    estimate = (log_q + 0.5 * z**2).sum(1)
    error = estimate.std() / math.sqrt(len(z))
    assert abs(float(losses.gaussian_kl(mu, logvar)) - estimate.mean()) < 4 * error
    assert float(losses.gaussian_kl(tg.zeros((5, 3)), tg.zeros((5, 3)))) == 0


@given(st.floats(-5, 5), st.floats(-8, 8))
def test_kl_is_not_negative(mu: float, logvar: float) -> None:
    assert float(losses.gaussian_kl(np.array([[mu]]), np.array([[logvar]]))) >= -1e-12


def test_variance_of_the_sample_is_exp_logvar() -> None:
    n = 200_000
    logvar = np.array([-2.0, 0.0, 1.5])
    mu = np.array([1.0, 0.0, -3.0])
    z = losses.reparameterise(*(np.tile(v, (n, 1)) for v in (mu, logvar)), Generator(0)).numpy()
    np.testing.assert_allclose(z.var(axis=0), np.exp(logvar), rtol=4 * math.sqrt(2 / n))
    np.testing.assert_allclose(z.mean(axis=0), mu, atol=4 * math.exp(0.75) / math.sqrt(n))


def test_likelihoods_sum_over_features_and_average_over_the_batch() -> None:
    l, x, lv = draws((3, 4, 2), (3, 4, 2), (3, 4, 2))  # noqa: E741
    u = sigmoid(x)
    bernoulli = -(u * np.log(sigmoid(l)) + (1 - u) * np.log(sigmoid(-l))).sum() / 3
    np.testing.assert_allclose(losses.bernoulli_nll(l, u).numpy(), bernoulli)
    normal = 0.5 * (math.log(2 * math.pi) + lv + (x - l) ** 2 / np.exp(lv)).sum() / 3
    np.testing.assert_allclose(losses.gaussian_nll(l, x, lv).numpy(), normal)
    unit = 0.5 * (math.log(2 * math.pi) + (x - l) ** 2).sum() / 3
    for zero in (0, 0.0, tg.tensor(np.array(0.0))):
        np.testing.assert_allclose(losses.gaussian_nll(l, x, zero).numpy(), unit)
    with pytest.raises(ValueError, match="has no samples"):
        losses.bernoulli_nll(tg.zeros((0, 3)), tg.zeros((0, 3)))


def test_vae_and_its_parts() -> None:
    out, x, mu, logvar = draws((4, 6), (4, 6), (4, 2), (4, 2))
    kl = float(losses.gaussian_kl(mu, logvar))
    half = 0.5 * ((x - out) ** 2).sum() / 4
    expected = {
        "bernoulli": float(losses.bernoulli_nll(out, sigmoid(x))),
        "gaussian": half + 6 * 0.5 * math.log(2 * math.pi),
        "mse": half,  # "half the squared error plus alpha KL"
    }
    for likelihood, reconstruction in expected.items():
        target = sigmoid(x) if likelihood == "bernoulli" else x
        loss = losses.vae(out, target, mu, logvar, 2.5, likelihood)
        np.testing.assert_allclose(float(loss), reconstruction + 2.5 * kl, rtol=1e-12)
        assert isinstance(loss, tg.Tensor)
        assert list(loss.parts) == ["reconstruction", "kl"]
        np.testing.assert_allclose(float(loss.parts["reconstruction"]), reconstruction)
        np.testing.assert_allclose(float(loss.parts["kl"]), kl)
    with pytest.raises(ValueError, match="expected one of bernoulli, gaussian, mse"):
        losses.vae(out, x, mu, logvar, likelihood="laplace")
    with pytest.raises(ValueError, match="beta is -1"):
        losses.vae(out, x, mu, logvar, beta=-1)
    with pytest.raises(ValueError, match=r"logits \(4, 6\) and mu \(3, 2\); expected equal"):
        losses.vae(out, x, mu[:3], logvar[:3])


def test_vae_loss_reaches_encoder_and_decoder() -> None:
    mu = tg.zeros((2, 3))
    mu.requires_grad = True
    decoder = nn.Dense(3, 4, rng=Generator(0))
    logits = decoder(losses.reparameterise(mu, tg.zeros((2, 3)), Generator(1)))
    losses.vae(logits, tg.ones((2, 4)), mu, tg.zeros((2, 3))).backward()
    assert mu.grad is not None
    assert decoder.weight.grad is not None
    assert np.abs(mu.grad.numpy()).min() > 0


def test_the_bound_is_log_p_for_the_exact_posterior() -> None:
    """x = w z + s e: -ELBO = -log N(x; 0, w^2 + s^2) for the exact posterior, more for others."""
    w, s, x, n = 1.5, 0.5, 0.8, 200_000
    total = w * w + s * s
    exact = 0.5 * (math.log(2 * math.pi * total) + x * x / total)

    def negative_elbo(mu: float, var: float) -> float:
        mus, logvars = np.full((n, 1), mu), np.full((n, 1), math.log(var))
        z = losses.reparameterise(mus, logvars, Generator(0))
        noise = math.log(s * s)
        return float(
            losses.vae(z * w, np.full((n, 1), x), mus, logvars, 1.0, "gaussian", x_logvar=noise)
        )

    assert abs(negative_elbo(w * x / total, s * s / total) - exact) < 0.01
    assert negative_elbo(0.0, 1.0) > exact + 1


# ---- GANs ----------------------------------------------------------------------------------------


@given(r=LOGITS, f=LOGITS)
def test_gan_losses_are_their_formulas(r: float, f: float) -> None:
    real, fake = np.array([[r]]), np.array([[f]])
    log = lambda x: math.log(sigmoid(x))
    expected = {
        "minimax": (-log(r) - log(-f), log(-f)),
        "non_saturating": (-log(r) - log(-f), -log(f)),
        "least_squares": ((r - 1) ** 2 / 2 + f**2 / 2, (f - 1) ** 2 / 2),
        "wasserstein": (f - r, -f),
        "hinge": (max(0, 1 - r) + max(0, 1 + f), -f),
    }
    for kind in KINDS:
        game = losses.gan(kind)
        d, g = game.discriminator(real, fake), game.generator(fake)
        assert game.name == kind
        np.testing.assert_allclose([float(d), float(g)], expected[kind], rtol=1e-9, atol=1e-12)
        assert kind == "wasserstein" or float(d) >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_gan_losses_are_finite_at_the_extremes(kind: str) -> None:
    game = losses.gan(kind)
    for r in (-1e4, 0.0, 1e4):
        for f in (-1e4, 0.0, 1e4):
            real = tg.tensor([[r]], requires_grad=True)
            fake = tg.tensor([[f]], requires_grad=True)
            loss = game.discriminator(real, fake) + game.generator(fake)
            slopes = [float(g) for g in tg.grad(loss, [real, fake])]
            assert np.isfinite([float(loss), *slopes]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gan_signs(kind: str) -> None:
    """A step down D's loss raises D(x) and lowers D(G(z)); one down G's loss raises D(G(z))."""
    real = tg.tensor([[0.3], [-0.4]], requires_grad=True)
    fake = tg.tensor([[-0.2], [0.5]], requires_grad=True)
    game = losses.gan(kind)
    up, down = tg.grad(game.discriminator(real, fake), [real, fake])
    assert (up.numpy() < 0).all()
    assert ((down.numpy() > 0) | ((kind == "least_squares") & (fake.numpy() < 0))).all()
    (g,) = tg.grad(game.generator(fake), [fake])
    assert (g.numpy() < 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_of_each_player(kind: str) -> None:
    d, g = nn.Dense(2, 1, init="zeros"), nn.Dense(3, 2, rng=Generator(1))
    real, z = tg.full((16, 2), 2.0), Generator(2).normal((16, 3))
    game = losses.gan(kind)

    def gap() -> float:
        return float(d(real).mean() - d(g(z)).mean())

    before = gap()
    game.discriminator(d(real), d(g(z).detach())).backward()
    assert all(p.grad is None for p in g.parameters())
    optim.SGD(d.parameters(), lr=0.01).step()
    assert gap() > before
    before = float(d(g(z)).mean())
    d.zero_grad()
    game.generator(d(g(z))).backward(inputs=g.parameters())
    assert all(p.grad is None for p in d.parameters())
    optim.SGD(g.parameters(), lr=0.01).step()
    assert float(d(g(z)).mean()) > before


@pytest.mark.parametrize("kind", ["minimax", "non_saturating", "wasserstein", "hinge"])
def test_the_game_with_swapped_labels_is_the_same(kind: str) -> None:
    """Calling real images 0 and fakes 1 only turns the sign of the logits."""
    real, fake = (tg.tensor(v, requires_grad=True) for v in draws((5, 1), (5, 1)))
    game = losses.gan(kind)
    one = tg.grad(game.discriminator(real, fake), [real, fake])
    other = tg.grad(game.discriminator(-fake, -real), [real, fake])
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


@pytest.mark.parametrize("kind", ["non_saturating", "least_squares", "hinge"])
def test_a_discriminator_learns_to_tell(kind: str) -> None:
    d = nn.Sequential(nn.Dense(2, 16, rng=Generator(0)), nn.ReLU(), nn.Dense(16, 1))
    optimizer = optim.Adam(d.parameters(), lr=0.01)
    rng, game = Generator(4), losses.gan(kind)
    for _ in range(200):
        real, fake = rng.normal((32, 2)) + 1.5, rng.normal((32, 2)) - 1.5
        optimizer.zero_grad()
        loss = game.discriminator(d(real), d(fake))
        loss.backward()
        optimizer.step()
    assert float(d(real).mean()) - float(d(fake).mean()) > 0.5


def test_gan_smoothing_and_errors() -> None:
    real, fake = tg.tensor([[2.0]]), tg.tensor([[-1.0]])
    smooth = losses.gan("non_saturating", real_target=0.9)
    expected = losses.bce_with_logits(real, 0.9) + losses.bce_with_logits(fake, 0)
    np.testing.assert_allclose(float(smooth.discriminator(real, fake)), float(expected), rtol=1e-6)
    assert float(smooth.generator(fake)) == float(losses.gan("non_saturating").generator(fake))
    assert repr(smooth) == "GANLoss(name='non_saturating', real_target=0.9)"
    squares = losses.gan("least_squares", real_target=0.9).discriminator(real, fake)
    np.testing.assert_allclose(float(squares), 0.5 * 1.1**2 + 0.5, rtol=1e-6)
    with pytest.raises(ValueError, match=r"kind is 'vanilla'; expected one of minimax, non_satur"):
        losses.gan("vanilla")
    with pytest.raises(ValueError, match=r"real_target is 0.9; expected 1, as it has no labels"):
        losses.gan("hinge", real_target=0.9)
    with pytest.raises(ValueError, match="0 < real_target <= 1"):
        losses.gan("minimax", real_target=1.2)
    with pytest.raises(ValueError, match=r"real_logits \(4, 784\).*fake_logits \(4, 1\)"):
        losses.gan("hinge").discriminator(tg.zeros((4, 784)), tg.zeros((4, 1)))
    with pytest.raises(ValueError, match=r"real_logits \(4, 1\).*fake_logits \(4,\)"):
        losses.gan("hinge").discriminator(tg.zeros((4, 1)), tg.zeros(4))
    with pytest.raises(TypeError, match=r"logits \(1,\) int64"):
        losses.gan("hinge").generator(np.array([1]))
    losses.gan("hinge").discriminator(tg.zeros((4, 1)), tg.zeros((6, 1)))  # batches may differ


# ---- penalties -----------------------------------------------------------------------------------


def test_penalties_of_a_linear_critic() -> None:
    """Over all axes of an image, not only the last: the slope of sum(w x) is w everywhere."""
    w, real, fake = draws((4, 3, 2), (6, 4, 3, 2), (6, 4, 3, 2))
    critic = lambda x: (x * w).sum(axis=(1, 2, 3))
    size = np.sqrt((w**2).sum())
    gp = losses.gradient_penalty(critic, real, fake, Generator(0))
    np.testing.assert_allclose(float(gp), (size - 1) ** 2, rtol=1e-9)
    np.testing.assert_allclose(float(losses.r1_penalty(critic, real)), size**2 / 2, rtol=1e-12)


def test_penalty_is_taken_between_real_and_fake() -> None:
    """One uniform number for each sample: every point is on its own segment."""
    seen = []

    def critic(x: tg.Tensor) -> tg.Tensor:
        seen.append(x.numpy())
        return x.sum(axis=1)

    fake = tg.tensor(np.full((1000, 3), 5.0), requires_grad=True)
    losses.gradient_penalty(critic, np.full((1000, 3), 3.0), fake, Generator(0))
    e = (5 - seen[0]) / 2
    np.testing.assert_allclose(e, np.broadcast_to(e[:, :1], e.shape))
    assert e.min() >= 0
    assert e.max() <= 1
    assert abs(e.mean() - 0.5) < 0.04
    assert abs(e.var() - 1 / 12) < 0.01
    assert fake.grad is None


def test_penalty_of_a_flat_critic_is_finite() -> None:
    w = nn.Parameter(np.zeros((3, 1), dtype=np.float32))
    critic = lambda x: x @ w
    x = tg.ones((4, 3))
    loss = losses.gradient_penalty(critic, x, x, Generator(0)) + losses.r1_penalty(critic, x)
    assert abs(float(loss) - 1) < 1e-5
    loss.backward()
    assert w.grad is not None
    assert np.isfinite(w.grad.numpy()).all()


@pytest.mark.parametrize("activation", [nn.Tanh, nn.SiLU, nn.LeakyReLU])
@pytest.mark.parametrize("which", ["gradient_penalty", "r1_penalty"])
def test_penalty_reaches_the_weights(which: str, activation: Any) -> None:
    """The slope of the penalty by a weight equals differences, and is not zero."""
    shapes = ((3, 5), (5,), (5, 1))
    real, fake = draws((4, 3), (4, 3), seed=1)

    def penalty(*weights: Any) -> Any:
        w0, b0, w1 = weights
        critic = lambda x: activation()(x @ w0 + b0) @ w1
        if which == "r1_penalty":
            return losses.r1_penalty(critic, real)
        return losses.gradient_penalty(critic, real, fake, Generator(3))

    values = draws(*shapes, seed=2)
    check_grads(penalty, values, order=2)
    leaves = [tg.tensor(v, requires_grad=True) for v in values]
    slopes = [g.numpy() for g in tg.grad(penalty(*leaves), leaves)]
    assert np.abs(slopes[0]).max() > 1e-3
    assert np.abs(slopes[2]).max() > 1e-3
    moved = values[0].copy()
    moved[1, 2] += 1e-6
    difference = (float(penalty(moved, *values[1:])) - float(penalty(*values))) / 1e-6
    np.testing.assert_allclose(slopes[0][1, 2], difference, rtol=1e-3, atol=1e-6)


def test_penalty_trains_a_module() -> None:
    """WGAN with penalty: the weights of every layer but the last bias get a gradient."""
    critic = nn.Sequential(
        nn.Dense(2, 8, init="normal", rng=Generator(0)),
        nn.LeakyReLU(0.2),
        nn.Dense(8, 1, init="normal", rng=Generator(1)),
    )
    real, fake = Generator(2).normal((16, 2)), Generator(3).normal((16, 2))
    optimizer = optim.Adam(critic.parameters(), lr=0.02)
    rng, first = Generator(4), 0.0
    for i in range(60):
        optimizer.zero_grad()
        penalty = losses.gradient_penalty(critic, real, fake, rng)
        first = first or float(penalty)
        penalty.backward()
        if i == 0:
            gradients = {k: p.grad for k, p in critic.named_parameters().items()}
            assert np.abs(gradients["0.weight"].numpy()).max() > 0
            assert np.abs(gradients["2.weight"].numpy()).max() > 0
        optimizer.step()
    assert float(penalty) < 0.2 * first


def test_penalty_errors() -> None:
    x = tg.zeros((4, 3))
    with pytest.raises(ValueError, match=r"gradient_penalty: real \(4,\); expected \(batch, feat"):
        losses.gradient_penalty(lambda v: v, tg.zeros(4), tg.zeros(4), Generator(0))
    with pytest.raises(ValueError, match=r"the critic made \(\) from \(4, 3\)"):
        losses.r1_penalty(lambda v: v.sum(), x)
    with pytest.raises(ValueError, match="not made from any tensor"):
        losses.r1_penalty(lambda v: v.detach(), x)


# ---- gradients -----------------------------------------------------------------------------------

BATCH = (4, 3)
CASES: dict[str, tuple[Any, int]] = {
    "bce": (lambda x: losses.bce_with_logits(x, np.eye(4, 3)), 1),
    "bce_targets": (lambda x, y: losses.bce_with_logits(x, tg.sigmoid(y)), 2),
    "mse": (losses.mse, 2),
    "l1": (losses.l1, 2),
    "cross_entropy": (lambda x: losses.cross_entropy(x, np.array([0, 2, 1, 1])), 1),
    "gaussian_kl": (losses.gaussian_kl, 2),
    "bernoulli_nll": (lambda x, y: losses.bernoulli_nll(x, tg.sigmoid(y)), 2),
    "gaussian_nll": (losses.gaussian_nll, 3),
    "reparameterise": (lambda m, v: losses.reparameterise(m, v, Generator(0)), 2),
    "vae": (lambda x, m, v: losses.vae(x, np.full(BATCH, 0.3), m, v, 0.5), 3),
    "vae_gaussian": (lambda x, y, m, v: losses.vae(x, y, m, v, 1.0, "gaussian"), 4),
    "vae_mse": (lambda x, y, m, v: losses.vae(x, y, m, v, 2.0, "mse"), 4),
    "smoothed": (losses.gan("minimax", 0.9).discriminator, 2),
    **{f"{kind}_d": (losses.gan(kind).discriminator, 2) for kind in KINDS},
    **{f"{kind}_g": (losses.gan(kind).generator, 1) for kind in KINDS},
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_to_order_2(name: str) -> None:
    loss, count = CASES[name]
    check_grads(loss, draws(*[BATCH] * count, seed=7), order=2)
