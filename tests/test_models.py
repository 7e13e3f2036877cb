"""The models: what they draw, what their losses do, and the mistakes that are easy to make."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import data, losses, models, nn, train
from tinygen.models import CDCGAN, CGAN, CVAE, DCGAN, GAN, VAE, ConvGAN, ConvVAE
from tinygen.models.contract import held
from tinygen.random import Generator
from tinygen.tensor import Tensor

SHAPE = (6, 5, 1)
SHAPES = {ConvVAE: (8, 4, 1), DCGAN: (8, 4, 1), CDCGAN: (8, 4, 1), ConvGAN: (11, 10, 1)}
SMALL = {
    VAE: {"hidden": (16,), "latent": 3},
    CVAE: {"hidden": (16,), "latent": 3, "classes": 4},
    GAN: {"hidden": (12, 16), "latent": 5},
    CGAN: {"hidden": (12, 16), "latent": 5, "classes": 4},
    ConvVAE: {"hidden": (12,), "latent": 3, "width": 0.1},
    DCGAN: {"latent": 5, "width": 0.05},
    CDCGAN: {"latent": 5, "width": 0.05, "classes": 4},
    ConvGAN: {"hidden": (12, 16), "latent": 5, "width": 0.05},
}
GANS = [kind for kind in SMALL if issubclass(kind, models.Adversarial)]
CONVOLUTIONAL = list(SHAPES)


def small(kind, seed=0, shape=None, **more):
    shape = SHAPES.get(kind, SHAPE) if shape is None else shape
    return kind(shape, rng=tg.random.Generator(seed), **{**SMALL[kind], **more})


def batch(model, n=8, seed=0):
    rng = np.random.default_rng(seed)
    low, high = model.value_range
    x = (rng.random((n, *model.shape)) * (high - low) + low).astype(np.float32)
    labels = Tensor(rng.integers(0, 4, n)) if model.conditional else None
    return Tensor(x), labels


@pytest.mark.quick
@pytest.mark.parametrize(
    ("kind", "shape"),
    [(kind, shape) for kind in SMALL for shape in (
        [(12, 12, 3), (12, 16, 1)] if kind in SHAPES else [(6, 5, 1), (4, 4, 3), (1, 1, 1)])],
)  # fmt: skip
def test_draws_images_of_the_data_shape_in_its_range(kind, shape):
    model = small(kind, shape=shape)
    model.eval()
    labels = Tensor(np.arange(7) % 4) if model.conditional else None
    images = model.generate(model.codes(7), labels).numpy()
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
                    model.eval().generate(model.codes(4, rng), y)
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


def kernels(part):
    """What the layers with weights are, in order: (kernel, in, out, stride) or (in, out)."""
    found = []
    for m in part.named_modules().values():
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
            found.append((m.kernel_size[0], m.in_channels, m.out_channels, m.stride[0]))
        elif isinstance(m, nn.Dense):
            found.append((m.in_features, m.out_features))
    return found


def test_the_published_sizes_of_convolutional_models():
    """TensorFlow's DCGAN tutorial, Keras' VAE, and the third article's discriminator."""
    dcgan = DCGAN((28, 28, 1))
    assert kernels(dcgan.generator) == [
        (100, 12544), (5, 256, 128, 1), (5, 128, 64, 2), (5, 64, 1, 2),
    ]  # fmt: skip
    assert kernels(dcgan.discriminator) == [(5, 1, 64, 2), (5, 64, 128, 2), (6272, 1)]
    assert sum(p.size for p in dcgan.generator.parameters()) == 2_305_472
    assert sum(p.size for p in dcgan.discriminator.parameters()) == 212_865
    vae = ConvVAE((28, 28, 1), hidden=(16,), latent=2)
    assert kernels(vae.encoder) == [(3, 1, 32, 2), (3, 32, 64, 2), (3136, 16)]
    assert kernels(vae.decoder)[-3:] == [(3, 64, 64, 2), (3, 64, 32, 2), (3, 32, 1, 1)]
    gan = ConvGAN((28, 28, 1))
    assert kernels(gan.generator) == [(100, 128), (128, 256), (256, 512), (512, 784)]
    assert kernels(gan.discriminator) == [(3, 1, 64, 1), (3, 64, 128, 1), (3200, 1)]


@pytest.mark.parametrize(
    ("size", "strides"), [(28, [1, 2, 2]), (32, [1, 2, 2]), (64, [1, 2, 2, 2]), (8, [1, 2, 2])]
)
def test_a_larger_image_is_a_doubling_more(size, strides):
    model = small(DCGAN, shape=(size, size, 3))
    assert [k[3] for k in kernels(model.generator)[1:]] == strides
    assert len(kernels(model.discriminator)) == len(strides)
    images = model.eval().generate(model.codes(2))
    assert images.shape == (2, size, size, 3)
    assert model.score(images).shape == (2, 1)


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
def test_width_scales_the_channels(kind):
    quarter, whole = (kind((28, 28, 1), width=w, classes=10) for w in (0.25, 1.0))
    a, b = (
        [k for part in m.named_modules().values() if isinstance(part, (nn.Conv2d,))
         for k in [part.out_channels]] for m in (quarter, whole)
    )  # fmt: skip
    assert a == [n // 4 for n in b]


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
    z = model.codes(4)
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


@pytest.mark.parametrize("kind", GANS)
def test_each_player_moves_only_itself(kind):
    """The discriminator's update leaves the generator alone, and the other way round."""
    model = small(kind)
    optimizers = model.optimizers()
    assert set(optimizers) == {"discriminator", "generator"}
    names = [set(o._named) for o in optimizers.values()]
    assert not any(p is q for p in optimizers["generator"].params
                   for q in optimizers["discriminator"].params)  # fmt: skip
    assert sum(map(len, names)) == len(model.parameters())

    frozen = model.discriminator.state_dict()
    optimizers["discriminator"].step = lambda *_: None
    x, labels = batch(model)
    generator = model.generator.state_dict()
    model.train_step(x, labels, optimizers)
    after = model.discriminator.state_dict()
    assert all(np.array_equal(frozen[k], after[k]) for k in frozen)
    moved = model.generator.state_dict()
    assert any(not np.array_equal(generator[k], moved[k]) for k in generator)
    grads = [p.grad for p in model.discriminator.parameters()]
    before = [g.numpy().copy() for g in grads]
    fake = model.generate(model.codes(8), labels)
    loss = model.adversary.generator(model.score(fake, labels))
    loss.backward(inputs=model.generator.parameters())
    assert all(np.array_equal(b, g.numpy()) for b, g in zip(before, grads, strict=True))

    frozen = {k: p.numpy().copy() for k, p in model.generator.named_parameters().items()}
    optimizers = model.optimizers()
    optimizers["generator"].step = lambda *_: None
    discriminator = model.discriminator.state_dict()
    model.train_step(x, labels, optimizers)
    for k, p in model.generator.named_parameters().items():
        assert np.array_equal(p.numpy(), frozen[k])
    moved = model.discriminator.state_dict()
    assert all(not np.array_equal(discriminator[k], moved[k]) for k in moved)


@pytest.mark.parametrize(("kind", "more"), [(GAN, {"dropout": 0.0}), (DCGAN, {"dropout": 0.0}),
                                            (ConvGAN, {})])  # fmt: skip
def test_the_discriminator_learns_to_tell_and_the_generator_to_be_taken_for_real(kind, more):
    model = small(kind, **more)
    if kind is GAN:
        for p in model.parameters():  # as wide as these few units need to let a signal through
            p.data *= 15
    x, _ = batch(model)
    fake = model.generate(model.codes(8)).detach()

    def margin():
        return float(model.score(x).mean()) - float(model.score(fake).mean())

    before = margin()
    d = tg.optim.SGD(model.discriminator.parameters(), lr=0.01)
    model.adversary.discriminator(model.score(x), model.score(fake)).backward()
    d.step()
    assert margin() > before

    z = model.codes(8)
    before = float(model.score(model.generate(z)).mean())
    g = tg.optim.SGD(model.generator.parameters(), lr=0.01)
    loss = model.adversary.generator(model.score(model.generate(z)))
    loss.backward(inputs=model.generator.parameters())
    g.step()
    assert float(model.score(model.generate(z)).mean()) > before


def test_toy_game_separates_real_from_fake():
    model = small(GAN, dropout=0.0)
    optimizers = model.optimizers(lr=1e-3)
    x = Tensor(np.full((16, *SHAPE), 0.8, np.float32))
    for _ in range(200):
        values = model.train_step(x, None, optimizers)
        assert float(values["d_loss"]) >= 0
    drawn = model.eval().generate(model.codes(16)).numpy()
    assert abs(drawn.mean() - 0.8) < 0.4  # it has moved towards the data


@pytest.mark.parametrize(
    ("loss", "r1", "gradient_penalty"),
    [("non_saturating", 1.0, 0.0), ("hinge", 1.0, 0.0), ("wasserstein", 0.0, 10.0)],
)
def test_the_slope_of_the_discriminator_is_held(loss, r1, gradient_penalty):
    model = small(CGAN, loss=loss)
    assert (model.options.r1, model.options.gradient_penalty) == (r1, gradient_penalty)
    x, labels = batch(model)
    fake = model.generate(model.codes(8), labels).detach()
    penalty = model.penalty(x, fake, labels)
    inputs = [p for p in model.discriminator.parameters() if p.ndim == 2]
    gradients = tg.grad(penalty, inputs)
    assert all(np.abs(g.numpy()).max() > 0 for g in gradients)  # it reaches every weight
    assert float(small(CGAN, r1=0.0).penalty(x, fake, labels)) == 0.0


def in_float64(module):
    """The module with all its numbers in float64."""
    for part in module.named_modules().values():
        for name, x in list(vars(part).items()):
            if isinstance(x, (nn.Parameter, nn.Buffer)):
                setattr(part, name, type(x)(x.numpy().astype(np.float64)))
    return module


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (DCGAN, {"gradient_penalty": 10.0}),
        (DCGAN, {"r1": 1.0}),
        (DCGAN, {"gradient_penalty": 10.0, "spectral_norm": True}),
        (CDCGAN, {"gradient_penalty": 10.0, "projection": False}),
        (CDCGAN, {"r1": 1.0}),
        (ConvGAN, {"gradient_penalty": 10.0, "r1": 1.0}),
    ],
)
def test_a_penalty_has_the_gradient_of_every_weight(kind, options):
    """Double backward through the whole critic against central differences, in float64."""
    dropout = {} if kind is ConvGAN else {"dropout": 0.0}
    model = in_float64(small(kind, **{"r1": 0.0, **options, **dropout}))
    model.discriminator.eval()  # else spectral normalisation would move on at each call
    x, labels = batch(model, n=4)
    rng = np.random.default_rng(1)
    x = Tensor(x.numpy().astype(np.float64))
    fake = Tensor(rng.uniform(-1, 1, x.shape))

    def penalty():
        model.noise_rng = tg.random.Generator(7)  # the same points between real and fake
        return model.penalty(x, fake, labels)

    weights = {k: p for k, p in model.discriminator.named_parameters().items() if p.ndim > 1}
    gradients = tg.grad(penalty(), list(weights.values()))
    for (name, p), gradient in zip(weights.items(), gradients, strict=True):
        direction = rng.standard_normal(p.shape)
        found = float((gradient.numpy() * direction).sum())
        here, step = p.numpy().copy(), 1e-6
        ends = []
        for sign in (1, -1):
            p.data[...] = here + sign * step * direction
            ends.append(float(penalty()))
        p.data[...] = here
        assert found != 0, name
        assert found == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5), name


@pytest.mark.parametrize("kind", GANS)
def test_a_spectral_norm_is_on_every_layer_of_the_discriminator(kind):
    model = small(kind, spectral_norm=True)
    assert (model.options.r1, model.options.gradient_penalty) == (0.0, 0.0)
    parts = model.discriminator.named_modules().values()
    layers = [m for m in parts if isinstance(m, (nn.Dense, nn.Conv2d))]
    assert len(layers) == sum(isinstance(m, nn.SpectralNorm) for m in parts) > 1
    again = small(kind, spectral_norm=True)  # its first vectors are drawn from the model's seed
    a, b = model.state_dict(), again.state_dict()
    assert all(np.array_equal(a[k], b[k]) for k in a)
    x, labels = batch(model)
    values = model.train_step(x, labels, model.optimizers())
    assert all(np.isfinite(float(v)) for v in values.values())
    assert small(kind, spectral_norm=True, loss="wasserstein").options.gradient_penalty == 0.0


@pytest.mark.parametrize("loss", losses.GAN_LOSSES)
@pytest.mark.parametrize("kind", [DCGAN, ConvGAN])
def test_every_loss_trains(kind, loss):
    model = small(kind, loss=loss)
    x, labels = batch(model)
    before = model.state_dict()
    values = model.train_step(x, labels, model.optimizers())
    assert all(np.isfinite(float(v)) for v in values.values())
    same = [k for k, v in model.state_dict().items() if np.array_equal(v, before[k])]
    last = list(model.discriminator.named_parameters())[-1]
    # where real and fake images weigh alike, nothing moves the last bias
    assert same == ([f"discriminator.{last}"] if loss in ("wasserstein", "hinge") else [])


@pytest.mark.parametrize("kind", [GAN, CDCGAN])
def test_critic_steps_take_a_batch_each(kind):
    model = small(kind, critic_steps=3, r1=0.0)
    assert model.batches_per_step == 3
    x, labels = batch(model, n=12)
    optimizers = model.optimizers()
    score, seen = model.score, []
    model.score = lambda x, y=None: seen.append((x.numpy(), y)) or score(x, y)
    model.train_step(x, labels, optimizers)
    steps = {
        name: {int(v) for k, v in o.state_dict().items() if k.endswith(".step")}
        for name, o in optimizers.items()
    }
    assert steps == {"discriminator": {3}, "generator": {1}}
    real, fake = seen[0:6:2], seen[1:6:2]
    assert np.array_equal(np.concatenate([r for r, _ in real]), x.numpy())
    if labels is not None:
        given = np.concatenate([y.numpy() for _, y in real])
        assert np.array_equal(given, labels.numpy())
    assert not np.allclose(fake[0][0], fake[1][0])  # on noise of its own
    assert np.array_equal(seen[6][0], fake[2][0])  # the generator answers for the last images
    with pytest.raises(ValueError, match="10 images for 3 critic steps, expected a multiple of 3"):
        model.train_step(x[:10], None if labels is None else labels[:10], optimizers)


def test_each_player_has_its_own_learning_rate():
    rates = {k: o.lr for k, o in small(DCGAN, d_lr=4e-4).optimizers().items()}
    assert rates == {"discriminator": 4e-4, "generator": 5e-4}
    rates = {k: o.lr for k, o in small(DCGAN, d_lr=4e-4).optimizers(lr=1e-3).items()}
    assert rates == {"discriminator": 4e-4, "generator": 1e-3}
    rates = {k: o.lr for k, o in small(DCGAN).optimizers(lr=1e-3).items()}
    assert rates == {"discriminator": 4e-3, "generator": 1e-3}  # the discriminator learns faster
    rates = {k: o.lr for k, o in small(GAN).optimizers(lr=1e-3).items()}
    assert rates == {"discriminator": 1e-3, "generator": 1e-3}


def test_what_is_averaged_of_a_gan_is_the_generator_with_its_running_statistics():
    averaged = lambda model: set(held(model, model.stages()[0].averaged))
    names = averaged(small(DCGAN))
    assert names == {f"generator.{k}" for k in small(DCGAN).generator.state_dict()}
    assert any(k.endswith("running_var") for k in names)
    assert averaged(small(VAE)) == set(small(VAE).state_dict())


def test_drawing_with_batch_normalisation_does_not_depend_on_the_batch():
    model = small(DCGAN)
    x, _ = batch(model)
    optimizers = model.optimizers(lr=1e-2)
    for _ in range(3):
        model.train_step(x, None, optimizers)
    z = model.codes(6)
    inside = model.generate(z).numpy()  # in training mode: with the moments of the batch
    one, many = (model.eval().generate(z[:k]).numpy() for k in (1, 6))
    np.testing.assert_allclose(one[0], many[0], atol=1e-6)
    assert not np.allclose(inside, many, atol=1e-3)


@pytest.mark.parametrize("projection", [False, True])
def test_the_discriminator_sees_the_label(projection):
    model = small(CDCGAN, projection=projection)
    x, labels = batch(model)
    model.eval()
    other = Tensor((labels.numpy() + 1) % 4)
    a, b = model.score(x, labels), model.score(x, other)
    assert a.shape == (8, 1)
    assert not np.allclose(a.numpy(), b.numpy())
    if projection:  # score(h) + (classes(h))[y]: four classes around one score
        d = model.discriminator
        h = d.features(x)
        scores = (d.score(h) + d.classes(h)).numpy()
        np.testing.assert_allclose(
            a.numpy()[:, 0], scores[np.arange(8), labels.numpy()], rtol=1e-5, atol=1e-6
        )
    for call in (lambda: model.score(x), lambda: model.train_step(x, None, model.optimizers())):
        with pytest.raises(ValueError, match="give labels"):
            call()


def test_colour_and_grey_are_not_mixed_up():
    strokes = data.load("strokes", n=20, size=12)
    with pytest.raises(ValueError, match=r"\(12, 12, 3\).*\(12, 12, 1\).*channels="):
        train.fit(small(DCGAN, shape=(12, 12, 3)), strokes, 1)
    grey, colour = Tensor(np.zeros((2, 12, 12, 1), np.float32)), small(DCGAN, shape=(12, 12, 3))
    with pytest.raises(ValueError, match=r"expected \(batch, 12, 12, 3\)"):
        colour.train_step(grey, None, colour.optimizers())


def test_uniform_prior_and_sgd():
    model = small(GAN, prior="uniform", optimizer="sgd", lr=0.1)
    z = model.codes(1000).numpy()
    assert -1 <= z.min() < -0.9
    assert 0.9 < z.max() < 1
    assert isinstance(model.optimizers()["generator"], tg.optim.SGD)
    x, _ = batch(model)
    model.train_step(x, None, model.optimizers())


@pytest.mark.parametrize("kind", [CVAE, CGAN, CDCGAN])
def test_the_label_changes_what_is_drawn(kind):
    model = small(kind).eval()
    z = model.codes(4)
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
        (x.reshape(x.shape[0], -1), r"expected \(batch, \d+, \d+, 1\)"),
        (x.astype("int64"), "of float32"),
    ):
        with pytest.raises(ValueError, match=message):
            model.train_step(bad, labels, model.optimizers())
    model.train_step(x, labels, model.optimizers())


# ---- wrong use -----------------------------------------------------------------------------------


@pytest.mark.quick
def test_no_images_are_no_error():
    nothing = tg.zeros((0, *SHAPE))
    assert small(VAE).encode(nothing)[0].shape[0] == 0
    assert small(GAN).score(nothing).shape == (0, 1)


def test_labels_may_be_a_list():
    model = small(CVAE)
    z = model.codes(2, Generator(0))
    np.testing.assert_array_equal(
        model.generate(z, [0, 2]).numpy(), model.generate(z, tg.tensor([0, 2])).numpy()
    )


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
        (lambda: models.find("diffusion"), "known models: flow, vae, cvae, conv-vae, gan"),
        (lambda: DCGAN((30, 28, 1)), r"30 x 28.*by 4 up to 32.*28 or 32 \(--size 32\)"),
        (lambda: DCGAN((60, 60, 1)), r"60 x 60.*by 8 up to 64.*56 or 64 \(--size 64\)"),
        (lambda: CDCGAN((3, 3, 1), classes=4), r"cdcgan: images of 3 x 3.*--size 4"),
        (lambda: CDCGAN((28, 28, 1)), "classes is None"),
        (lambda: ConvGAN((9, 28, 1)), "conv-gan: images of 9 x 28, expected 10 x 10 or more"),
        (lambda: ConvVAE((28, 30, 1)), r"28 x 30.*divisible by 4"),
        (lambda: DCGAN((28, 28, 1), width=0.0), "width 0.0"),
        (lambda: ConvVAE((28, 28, 1), width=float("nan")), "width nan"),
        (lambda: DCGAN((28, 28, 1), critic_steps=0), "critic_steps 0"),
        (lambda: DCGAN((30, 32, 1)), r"--size 32\)"),
        (lambda: DCGAN((28, 28, 1), betas=(0.5,)), r"betas \(0.5,\), expected two numbers"),
        (lambda: DCGAN((28, 28, 1), betas=0.5), "betas 0.5, expected two numbers"),
        (lambda: DCGAN((28, 28, 1), betas=(0.5, 2.0)), "betas"),
        (lambda: GAN(SHAPE, critic_steps=1.5), "critic_steps 1.5"),
        (lambda: GAN(SHAPE, d_lr=-1.0), "d_lr -1.0"),
        (lambda: GAN(SHAPE, lr=0.0), "lr 0.0"),
        (lambda: VAE(SHAPE, lr=-1.0), "lr -1.0, expected above 0"),
        (lambda: DCGAN((28, 28, 1), dropout=1.0), "dropout 1.0"),
        (lambda: small(CGAN).generate(Tensor(np.zeros((2, 5), np.float32))), "give labels"),
    ],
)
def test_wrong_arguments_say_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.quick
@pytest.mark.parametrize("kind", SMALL)
def test_a_model_knows_where_it_is_without_a_search(kind, monkeypatch):
    """Each training step asks; a walk through all modules would take longer than a replay."""
    model = small(kind)
    assert {p.backend for p in model.parameters()} == {model.backend}

    def walk(*_):
        raise AssertionError("the modules are searched")

    monkeypatch.setattr(nn.module, "_walk", walk)
    assert model.backend.name == "numpy"
    assert model.place(np.ones(3)).backend is model.backend


@pytest.mark.parametrize("kind", [CGAN, VAE])
def test_a_replayed_training_step_searches_no_modules(kind, monkeypatch):
    model = small(kind)
    images = np.zeros((32, *model.shape), np.uint8)
    settings = train.loop.Settings(epochs=9, batch_size=8, ema=0.99, compiled=True)
    noise = data.Dataset("noise", images, np.arange(32) % 4)
    training = train.loop.Session(model, noise, settings)
    with training.epoch_batches() as batches:
        first, second, *_ = list(batches)
    training.step(first)
    walked = []
    monkeypatch.setattr(nn.module, "_walk", lambda *_: walked.append(1) or iter(()))
    training.step(second)
    assert walked == []
