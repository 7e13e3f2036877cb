"""The models: what they draw, what their losses do, and the mistakes that are easy to make."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import losses, models
from tinygen.models import CGAN, CVAE, GAN, VAE
from tinygen.tensor import Tensor

SHAPE = (6, 5, 1)
SMALL = {
    VAE: {"hidden": (16,), "latent": 3},
    CVAE: {"hidden": (16,), "latent": 3, "classes": 4},
    GAN: {"hidden": (12, 16), "latent": 5},
    CGAN: {"hidden": (12, 16), "latent": 5, "classes": 4},
}


def small(kind, seed=0, shape=SHAPE, **more):
    return kind(shape, rng=tg.random.Generator(seed), **{**SMALL[kind], **more})


def batch(model, n=8, seed=0):
    rng = np.random.default_rng(seed)
    low, high = model.value_range
    x = (rng.random((n, *model.shape)) * (high - low) + low).astype(np.float32)
    labels = Tensor(rng.integers(0, 4, n)) if model.conditional else None
    return Tensor(x), labels


@pytest.mark.quick
@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("shape", [(6, 5, 1), (4, 4, 3), (1, 1, 1)])
def test_draws_images_of_the_data_shape_in_its_range(kind, shape):
    model = small(kind, shape=shape)
    model.eval()
    labels = Tensor(np.arange(7) % 4) if model.conditional else None
    images = model.generate(model.noise(7), labels).numpy()
    assert images.shape == (7, *shape)
    assert images.dtype == np.float32
    low, high = model.value_range
    assert low <= images.min() <= images.max() <= high


@pytest.mark.quick
@pytest.mark.parametrize("kind", SMALL)
def test_a_step_changes_every_weight_and_returns_finite_losses(kind):
    model = small(kind)
    before = model.state_dict()
    x, labels = batch(model)
    values = model.train_step(x, labels, model.optimizers())
    assert all(np.isfinite(float(v)) for v in values.values())
    after = model.state_dict()
    same = [k for k in before if np.array_equal(before[k], after[k])]
    assert not same, f"not updated: {same}"
    assert all(v.dtype == np.float32 for v in after.values())


@pytest.mark.parametrize("kind", SMALL)
def test_same_seed_same_weights_other_seed_others(kind):
    a, b, c = small(kind, 0), small(kind, 0), small(kind, 1)
    first = next(iter(a.state_dict()))
    assert np.array_equal(a.state_dict()[first], b.state_dict()[first])
    assert not np.array_equal(a.state_dict()[first], c.state_dict()[first])


@pytest.mark.parametrize("kind", SMALL)
def test_drawing_changes_neither_weights_nor_later_training(kind):
    runs = []
    for draw in (False, True):
        model = small(kind)
        optimizers = model.optimizers()
        x, labels = batch(model)
        for _ in range(3):
            if draw:
                rng = tg.random.Generator(9)
                y = Tensor(np.zeros(4, np.int64)) if model.conditional else None
                with tg.no_grad():
                    model.eval().generate(model.noise(4, rng), y)
                model.train()
            model.train_step(x, labels, optimizers)
        runs.append(model.state_dict())
    assert all(np.array_equal(runs[0][k], runs[1][k]) for k in runs[0])


def test_the_published_sizes():
    vae = VAE((28, 28, 1))
    shapes = [p.shape for p in vae.parameters() if p.ndim == 2]
    assert shapes == [(784, 400), (400, 20), (400, 20), (20, 400), (400, 784)]
    gan = GAN((28, 28, 1))
    g = [p.shape for p in gan.generator.parameters() if p.ndim == 2]
    d = [p.shape for p in gan.discriminator.parameters() if p.ndim == 2]
    assert g == [(100, 256), (256, 512), (512, 1024), (1024, 784)]
    assert d == [(784, 1024), (1024, 512), (512, 256), (256, 1)]


# ---- VAE -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_mse_is_half_the_squared_error_plus_beta_kl(beta):
    """The article's loss: 1/2 sum (x - xhat)^2 + alpha KL, exactly."""
    model = small(VAE, likelihood="mse", beta=beta)
    x, _ = batch(model)
    loss = model.loss(x, None, tg.random.Generator(5))
    mu, logvar = (t.numpy().astype(np.float64) for t in model.encode(x))
    eps = tg.random.Generator(5).normal(mu.shape).numpy()
    z = Tensor((mu + np.exp(logvar / 2) * eps).astype(np.float32))
    xhat = model.generate(z).numpy().astype(np.float64)
    squared = 0.5 * ((x.numpy() - xhat) ** 2).sum(axis=(1, 2, 3)).mean()
    kl = 0.5 * (mu**2 + np.exp(logvar) - logvar - 1).sum(axis=1).mean()
    assert float(loss) == pytest.approx(squared + beta * kl, rel=1e-5)
    assert float(loss.parts["reconstruction"]) == pytest.approx(squared, rel=1e-5)
    assert float(loss.parts["kl"]) == pytest.approx(kl, rel=1e-5)


def test_codes_have_the_variance_that_the_encoder_says():
    model = small(VAE)
    x, _ = batch(model, n=1)
    mu, logvar = model.encode(x)
    many_mu = Tensor(np.repeat(mu.numpy(), 20_000, axis=0))
    many_logvar = Tensor(np.repeat(logvar.numpy(), 20_000, axis=0))
    z = losses.reparameterise(many_mu, many_logvar, tg.random.Generator(1)).numpy()
    np.testing.assert_allclose(z.var(axis=0), np.exp(logvar.numpy()[0]), rtol=0.05)


def test_prior_sampling_leaves_the_encoder_alone():
    model = small(VAE)
    z = model.noise(4)
    before = model.generate(z).numpy()
    for p in (*model.encoder.parameters(), *model.to_mu.parameters()):
        p.data[...] = np.nan
    assert np.array_equal(model.generate(z).numpy(), before)


def test_importance_sampling_tightens_the_bound():
    """E[ELBO] <= E[IWAE_k] <= E[IWAE_50 k], up to the noise of the estimates."""
    model = small(VAE, likelihood="gaussian", sigma=0.2)
    optimizers = model.optimizers(lr=1e-2)
    rng = np.random.default_rng(0)
    ramps = np.linspace(0, 1, 30).reshape(SHAPE)
    x = Tensor((rng.random((64, 1, 1, 1)) * ramps).astype(np.float32))
    for _ in range(60):
        model.train_step(x, None, optimizers)
    bounds = [
        float(model.log_likelihood(x, None, tg.random.Generator(2), samples=k).mean())
        for k in (1, 5, 200)
    ]
    assert bounds[0] < bounds[1] < bounds[2]


def test_importance_sampling_is_exact_for_a_linear_gaussian_model():
    """With p(x|z) = N(Wz, s^2) the log-likelihood has a closed form: N(x; 0, WW' + s^2 I)."""
    model = small(VAE, likelihood="gaussian", sigma=0.7, latent=2, hidden=(4,))
    rng = np.random.default_rng(0)
    pixels = int(np.prod(SHAPE))
    w = 0.3 * rng.standard_normal((2, pixels))
    x = 0.5 * rng.standard_normal((3, pixels))
    model.log_p_x = lambda z, x, labels: Tensor(  # the decoder replaced by the linear one
        (
            -0.5 * ((x.numpy().reshape(len(x.numpy()), -1) - z.numpy() @ w) ** 2).sum(1) / 0.49
            - 0.5 * pixels * np.log(2 * np.pi * 0.49)
        ).astype(np.float32)
    )
    # the exact posterior is N(A x, S), diagonal after rotating z
    s = np.linalg.inv(np.eye(2) + w @ w.T / 0.49)
    values, vectors = np.linalg.eigh(s)
    w = vectors.T @ w
    mean = x @ (w.T / 0.49) * values
    model.encode = lambda x, labels=None: (
        Tensor(mean.astype(np.float32)),
        Tensor(np.broadcast_to(np.log(values), mean.shape).astype(np.float32)),
    )
    images = Tensor(x.reshape(3, *SHAPE).astype(np.float32))
    found = model.log_likelihood(images, None, tg.random.Generator(0), samples=1)
    covariance = w.T @ w + 0.49 * np.eye(pixels)
    sign, logdet = np.linalg.slogdet(covariance)
    exact = -0.5 * (
        np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x)
        + logdet
        + pixels * np.log(2 * np.pi)
    )
    assert sign == 1
    np.testing.assert_allclose(found, exact, atol=2e-4)


# ---- GAN -----------------------------------------------------------------------------------------


def test_each_player_moves_only_itself():
    """The discriminator's update leaves the generator alone, and the other way round."""
    model = small(GAN, dropout=0.0)
    optimizers = model.optimizers()
    assert set(optimizers) == {"discriminator", "generator"}

    frozen = model.discriminator.state_dict()
    optimizers["discriminator"].step = lambda *_: None
    x, _ = batch(model)
    generator = model.generator.state_dict()
    model.train_step(x, None, optimizers)
    after = model.discriminator.state_dict()
    assert all(np.array_equal(frozen[k], after[k]) for k in frozen)
    moved = model.generator.state_dict()
    assert any(not np.array_equal(generator[k], moved[k]) for k in generator)
    grads = [p.grad for p in model.discriminator.parameters()]
    before = [g.numpy().copy() for g in grads]
    fake = model.generate(model.noise(8))
    model.adversary.generator(model.judge(fake)).backward(inputs=model.generator.parameters())
    assert all(np.array_equal(b, g.numpy()) for b, g in zip(before, grads, strict=True))


def test_the_discriminator_learns_to_tell_and_the_generator_to_be_taken_for_real():
    model = small(GAN, dropout=0.0)
    for p in model.parameters():  # as wide as these few units need to let a signal through
        p.data *= 15
    x, _ = batch(model)
    fake = model.generate(model.noise(8)).detach()

    def margin():
        return float(model.judge(x).mean()) - float(model.judge(fake).mean())

    before = margin()
    d = tg.optim.SGD(model.discriminator.parameters(), lr=0.01)
    model.adversary.discriminator(model.judge(x), model.judge(fake)).backward()
    d.step()
    assert margin() > before

    z = model.noise(8)
    before = float(model.judge(model.generate(z)).mean())
    g = tg.optim.SGD(model.generator.parameters(), lr=0.01)
    loss = model.adversary.generator(model.judge(model.generate(z)))
    loss.backward(inputs=model.generator.parameters())
    g.step()
    assert float(model.judge(model.generate(z)).mean()) > before


def test_toy_game_separates_real_from_fake():
    model = small(GAN, dropout=0.0)
    optimizers = model.optimizers(lr=1e-3)
    x = Tensor(np.full((16, *SHAPE), 0.8, np.float32))
    for _ in range(200):
        values = model.train_step(x, None, optimizers)
        assert float(values["d_loss"]) >= 0
    drawn = model.eval().generate(model.noise(16)).numpy()
    assert abs(drawn.mean() - 0.8) < 0.4  # it has moved towards the data


@pytest.mark.parametrize(
    ("loss", "r1", "gradient_penalty"),
    [("non_saturating", 1.0, 0.0), ("hinge", 1.0, 0.0), ("wasserstein", 0.0, 10.0)],
)
def test_the_slope_of_the_discriminator_is_held(loss, r1, gradient_penalty):
    model = small(CGAN, loss=loss)
    assert (model.r1, model.gradient_penalty) == (r1, gradient_penalty)
    x, labels = batch(model)
    fake = model.generate(model.noise(8), labels).detach()
    penalty = model.penalty(x, fake, labels)
    inputs = [p for p in model.discriminator.parameters() if p.ndim == 2]
    gradients = tg.grad(penalty, inputs)
    assert all(np.abs(g.numpy()).max() > 0 for g in gradients)  # it reaches every weight
    assert float(small(CGAN, r1=0.0).penalty(x, fake, labels)) == 0.0


def test_uniform_prior_and_sgd():
    model = small(GAN, prior="uniform", optimizer="sgd", lr=0.1)
    z = model.noise(1000).numpy()
    assert -1 <= z.min() < -0.9
    assert 0.9 < z.max() < 1
    assert isinstance(model.optimizers()["generator"], tg.optim.SGD)
    x, _ = batch(model)
    model.train_step(x, None, model.optimizers())


@pytest.mark.parametrize("kind", [CVAE, CGAN])
def test_the_label_changes_what_is_drawn(kind):
    model = small(kind).eval()
    z = model.noise(4)
    a = model.generate(z, Tensor(np.zeros(4, np.int64))).numpy()
    b = model.generate(z, Tensor(np.ones(4, np.int64))).numpy()
    assert not np.allclose(a, b)


@pytest.mark.quick
@pytest.mark.parametrize("kind", SMALL)
def test_images_in_another_range_or_shape_are_refused(kind):
    model = small(kind)
    x, labels = batch(model)
    other = x * 2 - 1 if model.value_range == (0.0, 1.0) else Tensor(np.clip(x.numpy(), 0, 1))
    for bad, message in (
        (other, "expected the range"),
        (x * 255, "expected the range"),
        (x.reshape(x.shape[0], -1), r"expected \(batch, 6, 5, 1\)"),
        (x.astype("int64"), "of float32"),
    ):
        with pytest.raises(ValueError, match=message):
            model.train_step(bad, labels, model.optimizers())
    model.train_step(x, labels, model.optimizers())


# ---- wrong use -----------------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VAE((28, 28)), "expected \\(height, width, channels\\)"),
        (lambda: VAE(SHAPE, hidden=()), "hidden"),
        (lambda: VAE(SHAPE, likelihood="poisson"), "bernoulli, gaussian, mse"),
        (lambda: VAE(SHAPE, beta=-1), "beta -1"),
        (lambda: VAE(SHAPE, latent=0), "latent 0"),
        (lambda: GAN(SHAPE, prior="cauchy"), "normal, uniform"),
        (lambda: GAN(SHAPE, optimizer="rmsprop"), "adam, sgd"),
        (lambda: GAN(SHAPE, r1=-1.0), "r1 -1.0"),
        (lambda: VAE(SHAPE, beta=float("nan")), "beta nan"),
        (lambda: VAE(SHAPE, likelihood="gaussian", sigma=float("inf")), "sigma inf"),
        (lambda: GAN(SHAPE, loss="ns"), "non_saturating"),
        (lambda: CGAN(SHAPE), "classes is None"),
        (lambda: CVAE(SHAPE, classes=1), "expected 2 or more"),
        (lambda: models.find("diffusion"), "known models: vae, cvae, gan, cgan"),
        (lambda: small(CGAN).generate(Tensor(np.zeros((2, 5), np.float32))), "give labels"),
    ],
)
def test_wrong_arguments_say_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()
