"""Layers of images: PyTorch's numbers, second gradients through a critic, compiled steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import record_layers as recorded
from strategies import BACKENDS

import tinygen as tg
from tinygen import losses, nn, optim
from tinygen.random import Generator
from tinygen.testing import check_grads

rng = np.random.default_rng(0)


def images(*shape: int, dtype: str = "float32") -> np.ndarray:
    return rng.normal(size=shape).astype(dtype)


# ---- PyTorch's numbers ---------------------------------------------------------------------------

MADE = json.loads(recorded.FILE.read_text(encoding="utf-8"))
EPS = {"eps": recorded.EPS}
LAYERS: dict[str, Callable[[], Any]] = {
    "conv2d": lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), groups=2),
    "conv_transpose2d": lambda: nn.ConvTranspose2d(4, 6, (3, 4), 2, 1, output_padding=1, groups=2),
    "batch_norm": lambda: nn.BatchNorm(4, recorded.MOMENTUM, **EPS),
    "group_norm": lambda: nn.GroupNorm(2, 4, **EPS),
    "instance_norm": lambda: nn.InstanceNorm(4, **EPS),
    "layer_norm": lambda: nn.LayerNorm(4, **EPS),
    "max_pool2d": lambda: nn.MaxPool2d((3, 2), 2, 1),
    "avg_pool2d": lambda: nn.AvgPool2d(3, 2, 1),
    "bilinear_larger": lambda: lambda x: tg.resize2d(x, (9, 12), "bilinear"),
    "bilinear_smaller": lambda: lambda x: tg.resize2d(x, (3, 5), "bilinear"),
    "nearest": lambda: lambda x: tg.resize2d(x, (3, 10), "nearest"),
    "reflection_pad2d": lambda: nn.ReflectionPad2d(((2, 0), (3, 1))),
    "spectral_norm": lambda: nn.SpectralNorm(nn.Conv2d(4, 6, (3, 2))),
}


def close(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.quick
@pytest.mark.parametrize("case", sorted(LAYERS))
def test_values_and_gradients_equal_pytorchs(case: str) -> None:
    given, want = recorded.arguments(case), MADE["cases"][case]
    layer = LAYERS[case]()
    x = tg.tensor(given.pop("x"), requires_grad=True)
    parameters = {name: nn.Parameter(value) for name, value in given.items()}
    for name, parameter in parameters.items():
        setattr(getattr(layer, "layer", layer), name, parameter)
    if case == "spectral_norm":
        u = recorded.centred("u", 6)
        layer.u, layer.v = nn.Buffer(u / np.linalg.norm(u)), nn.Buffer(np.zeros(24))
        layer(x)
    y = layer(x)
    assert list(y.shape) == want["shape"]
    close(recorded.sums("y", y.numpy()), want["y"])
    (y * recorded.centred(f"{case} cotangent", *y.shape)).sum().backward()
    for name, leaf in {"x": x, **parameters}.items():
        assert leaf.grad is not None
        close(recorded.sums(name, leaf.grad.numpy()), want[name])


@pytest.mark.quick
def test_batch_norm_of_images_in_evaluation_equals_pytorchs() -> None:
    want = MADE["cases"]["batch_norm"]
    x = recorded.arguments("batch_norm")["x"]
    layer = nn.BatchNorm(4, recorded.MOMENTUM, recorded.EPS)
    layer.weight, layer.bias = nn.Parameter(np.ones(4)), nn.Parameter(np.zeros(4))
    layer.running_mean, layer.running_var = nn.Buffer(np.zeros(4)), nn.Buffer(np.ones(4))
    layer(x)
    close(layer.running_mean.numpy(), want["mean"])
    close(layer.running_var.numpy(), want["var"])
    close(recorded.sums("evaluated", layer.eval()(x).numpy()), want["evaluated"])
    close(layer.running_var.numpy(), want["var"])


@pytest.mark.quick
def test_batch_norm_needs_more_than_one_pixel_in_training() -> None:
    layer = nn.BatchNorm(4)
    with pytest.raises(ValueError, match=r"BatchNorm\(4\): input \(1, 1, 1, 4\) has 1 row"):
        layer(tg.ones((1, 1, 1, 4)))
    assert layer(tg.ones((1, 1, 2, 4))).shape == (1, 1, 2, 4)
    assert layer.eval()(tg.ones((1, 1, 1, 4))).shape == (1, 1, 1, 4)


# ---- convolutions --------------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.parametrize(
    ("layer", "variance"),
    [
        (lambda i: nn.Conv2d(24, 48, 5, init=i), {"he_normal": 2 / 600, "glorot": 2 / 1800}),
        (lambda i: nn.Conv2d(24, 96, 5, groups=2, init=i),
         {"he_normal": 2 / 300, "glorot": 2 / 1500}),
        (lambda i: nn.ConvTranspose2d(48, 24, 5, init=i),
         {"he_normal": 2 / 1200, "glorot": 2 / 1800}),
        (lambda i: nn.ConvTranspose2d(96, 24, 5, groups=2, init=i),
         {"he_normal": 2 / 1200, "glorot": 2 / 1500}),
    ],
)  # fmt: skip
def test_fans_count_the_kernel_and_the_channels_of_a_group(
    layer: Any, variance: dict[str, float]
) -> None:
    tg.random.manual_seed(0)
    for init, want in variance.items():
        w = layer(init).weight.numpy()
        assert abs(w.mean()) < 5 * (want / w.size) ** 0.5
        np.testing.assert_allclose(w.var(), want, rtol=0.05)


@pytest.mark.quick
def test_shapes_of_weights_and_of_same_padding() -> None:
    g = Generator(0)
    conv = nn.Conv2d(6, 4, (3, 2), stride=(2, 3), padding="same", groups=2, bias=False, rng=g)
    up = nn.ConvTranspose2d(6, 4, (3, 2), stride=(2, 3), padding="same", groups=2, rng=g)
    assert conv.weight.shape == (3, 2, 3, 4)
    assert up.weight.shape == (3, 2, 6, 2)
    assert list(conv.named_parameters()) == ["weight"]
    assert list(up.named_parameters()) == ["weight", "bias"]
    x = tg.ones((2, 5, 7, 6))
    assert conv(x).shape == (2, 3, 3, 4)
    assert up(x).shape == (2, 10, 21, 4)
    assert "Conv2d(6, 4, (3, 2), (2, 3), same)  weight (3, 2, 3, 4)" in repr(conv)
    manual = nn.Conv2d(6, 4, (3, 2), groups=2, rng=Generator(0))
    np.testing.assert_array_equal(conv.weight.numpy(), manual.weight.numpy())


@pytest.mark.quick
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(0, 4, 3), r"Conv2d: in_channels is 0; expected an int >= 1"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), r"Conv2d: 3 channels to 4 in 2 groups; .*divisible"),
        (lambda: nn.ConvTranspose2d(4, 3, 3, groups=2), r"ConvTranspose2d: 4 channels to 3 in 2"),
        (lambda: nn.Conv2d(3, 4, 2.5), r"Conv2d: kernel_size is 2.5; expected an int >= 1"),
        (lambda: nn.Conv2d(3, 4, 3, padding="reflect"), r"Conv2d: padding is 'reflect'; .*'same'"),
        (lambda: nn.Conv2d(3, 4, 3, init="xavier"), r"init: 'xavier'"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, output_padding=-1), r"output_padding is -1"),
        (lambda: nn.Conv2d(3, 4, 3)(tg.ones((2, 8, 8, 1))),
         r"Conv2d\(3, 4, \(3, 3\), .*: input \(2, 8, 8, 1\) float32; expected \(n, .*, width, 3\)"),
        (lambda: nn.Conv2d(3, 4, 3)(tg.ones((8, 8, 3))), r"x \(8, 8, 3\).*expected x \(N, H, W, C"),
        (lambda: nn.Conv2d(3, 4, 3)(tg.ones((1, 2, 8, 3))), r"output of 0 x 6"),
        (lambda: nn.MaxPool2d(0), r"MaxPool2d: kernel is 0"),
        (lambda: nn.AvgPool2d(2, padding="full"), r"AvgPool2d: padding is 'full'"),
        (lambda: nn.Upsample(0), r"Upsample: scale is 0"),
        (lambda: nn.Upsample(2, "cubic")(tg.ones((1, 2, 2, 1))), r"mode is 'cubic'"),
        (lambda: nn.ReflectionPad2d(-1), r"ReflectionPad2d: padding is -1; expected a count"),
        (lambda: nn.ZeroPad2d("same"), r"ZeroPad2d: padding is 'same'; expected a count"),
        (lambda: nn.GroupNorm(3, 4), r"GroupNorm: 4 features in 3 groups; expected a divisor"),
        (lambda: nn.GroupNorm(4, 4)(tg.ones((2, 4))), r"GroupNorm\(4, 4\): input .* has 1 pixels"),
        (lambda: nn.GroupNorm(2, 4)(tg.ones(4)), r"expected \(n, \.\.\., features\)"),
        (lambda: nn.GroupNormSiLU(2, 4)(tg.ones((2, 3, 4)), tg.ones((2, 4))),
         r"GroupNormSiLU\(2, 4\): input \(2, 3, 4\) with modulation \(2, 4\); expected \(2, 8\)"),
        (lambda: nn.InstanceNorm(0), r"InstanceNorm: features is 0"),
        (lambda: nn.InstanceNorm(4)(tg.ones((2, 1, 1, 4))), r"InstanceNorm\(4\): .* 1 pixels"),
    ],
)  # fmt: skip
def test_errors_name_the_layer_and_what_it_expects(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# ---- pooling, resizing, padding ------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.parametrize("name", BACKENDS)
def test_max_pooling_of_nan_infinities_and_ties(name: str) -> None:
    nan, inf = np.nan, np.inf
    x = np.array([[1.0, nan, 0.0, 0.0], [nan, 2.0, -inf, inf], [-inf, -inf, 5.0, 5.0]])
    x = np.concatenate([x, [[-inf, -3.0, 5.0, 5.0]]]).reshape(1, 4, 4, 1)
    t = tg.tensor(x).to(name)
    t.requires_grad = True
    y = tg.max_pool2d(t, 2)
    np.testing.assert_array_equal(y.numpy()[0, :, :, 0], [[nan, inf], [-3.0, 5.0]])
    y.sum().backward()
    where = np.argwhere(t.grad.numpy()[0, :, :, 0])
    assert where.tolist() == [[0, 1], [1, 3], [2, 2], [3, 1]]


@pytest.mark.quick
def test_padding_is_never_the_maximum_and_not_in_the_mean() -> None:
    x = np.full((1, 3, 3, 2), -4.0, np.float32)
    for layer in (nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(2, padding="same")):
        np.testing.assert_array_equal(layer(x).numpy(), np.full((1, 2, 2, 2), -4.0))


@pytest.mark.quick
def test_layers_are_their_operations() -> None:
    x = images(2, 5, 6, 3)
    np.testing.assert_array_equal(
        nn.ZeroPad2d((1, 2))(x).numpy(), np.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0)))
    )
    np.testing.assert_array_equal(
        nn.ReflectionPad2d(2)(x).numpy(), np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), "reflect")
    )
    np.testing.assert_array_equal(
        nn.Upsample((2, 3))(x).numpy(), x.repeat(2, axis=1).repeat(3, axis=2)
    )
    for mode in ("nearest", "bilinear"):
        constant = nn.Upsample(3, mode)(np.full((1, 2, 4, 1), 0.7, np.float32)).numpy()
        np.testing.assert_allclose(constant, np.full((1, 6, 12, 1), 0.7), rtol=1e-6)


@pytest.mark.quick
def test_a_nan_stays_where_it_is_when_the_nearest_pixel_is_taken() -> None:
    x = np.ones((1, 2, 2, 1))
    x[0, 0, 0] = np.nan
    assert np.isnan(tg.resize2d(x, 4, "nearest").numpy()).sum() == 4


# ---- normalisation -------------------------------------------------------------------------------


@pytest.mark.quick
def test_moments_of_groups_and_channels() -> None:
    x = images(3, 4, 5, 6) * 3 + 1
    by_group = nn.GroupNorm(2, 6)(x).numpy().reshape(3, 20, 2, 3)
    np.testing.assert_allclose(by_group.mean(axis=(1, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(by_group.std(axis=(1, 3)), 1, rtol=1e-4)
    by_channel = nn.InstanceNorm(6)(x).numpy()
    np.testing.assert_allclose(by_channel.mean(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(by_channel.std(axis=(1, 2)), 1, rtol=1e-4)
    rows = nn.GroupNorm(2, 6)(x[:, 0, 0]).numpy().reshape(3, 2, 3)
    np.testing.assert_allclose(rows.mean(axis=2), 0, atol=1e-6)


@pytest.mark.quick
def test_a_norm_scaled_and_shifted_by_each_sample_is_its_parts() -> None:
    x, both = images(3, 4, 5, 6), images(3, 12)
    layer, parts = nn.GroupNormSiLU(2, 6), nn.GroupNorm(2, 6)
    for norm in (layer, parts):
        norm.weight, norm.bias = (nn.Parameter(np.linspace(a, 2, 6, dtype="f4")) for a in (1, -1))
    y = parts(x).numpy()
    scale, shift = both[:, None, None, :6], both[:, None, None, 6:]
    want = tg.silu(tg.tensor(y * (1 + scale) + shift))
    np.testing.assert_allclose(layer(x, tg.tensor(both)).numpy(), want.numpy(), atol=2e-6)
    np.testing.assert_allclose(layer(x).numpy(), tg.silu(parts(x)).numpy(), atol=2e-6)


@pytest.mark.quick
@pytest.mark.parametrize(
    "layer", [nn.Conv2d(3, 5, 3), nn.ConvTranspose2d(3, 5, (2, 3), 2), nn.Dense(3, 5)]
)
def test_sigma_becomes_the_largest_singular_value(layer: Any) -> None:
    normed = nn.SpectralNorm(layer, rng=Generator(1))
    weight = layer.weight
    matrix = weight.numpy().reshape(-1, 5)
    x = images(2, 6, 6, 3)
    plain = layer(x).numpy()
    for _ in range(200):
        y = normed(x).numpy()
    sigma = np.linalg.norm(matrix, ord=2)
    np.testing.assert_allclose(normed.v.numpy() @ matrix @ normed.u.numpy(), sigma, rtol=1e-5)
    np.testing.assert_allclose(y, plain / sigma, rtol=1e-4, atol=1e-5)  # biases are 0
    assert layer.weight is weight
    kept = normed.u.numpy().copy()
    np.testing.assert_allclose(normed.eval()(x).numpy(), y, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(normed.u.numpy(), kept)


@pytest.mark.quick
def test_one_power_iteration_a_training_forward() -> None:
    normed = nn.SpectralNorm(nn.Dense(4, 3))
    matrix, u = normed.layer.weight.numpy(), normed.u.numpy().copy()
    np.testing.assert_allclose(np.linalg.norm(u), 1, rtol=1e-6)
    normed(images(2, 4))
    v = matrix @ u / np.linalg.norm(matrix @ u)
    np.testing.assert_allclose(normed.v.numpy(), v, rtol=1e-5, atol=1e-6)
    u = v @ matrix / np.linalg.norm(v @ matrix)
    np.testing.assert_allclose(normed.u.numpy(), u, rtol=1e-5, atol=1e-6)


@pytest.mark.quick
def test_spectral_norm_keeps_names_state_and_two_forwards() -> None:
    a, b = (nn.SpectralNorm(nn.Conv2d(2, 3, 3), rng=Generator(s)) for s in (0, 1))
    assert list(a.named_parameters()) == ["layer.weight", "layer.bias"]
    assert list(a.named_buffers()) == ["u", "v"]
    x = images(2, 5, 5, 2)
    loss = (a(x) * a(-x)).sum()  # the second forward moves u and v; the first keeps its own
    loss.backward()
    assert a.layer.weight.grad is not None
    b.load_state_dict(a.state_dict())
    np.testing.assert_array_equal(b(x).numpy(), a(x).numpy())
    with pytest.raises(ValueError, match="input"):
        a(images(2, 5, 5, 1))
    assert isinstance(a.layer.weight, nn.Parameter)
    for layer in (nn.ReLU(), nn.BatchNorm(3), "Dense"):
        with pytest.raises(TypeError, match=r"SpectralNorm: .*expected a layer"):
            nn.SpectralNorm(layer)  # type: ignore[arg-type]


@pytest.mark.quick
def test_no_gradient_flows_through_the_singular_vectors() -> None:
    normed = nn.SpectralNorm(nn.Dense(4, 3, bias=False)).eval()
    normed.layer.weight, u, v = (
        nn.Parameter(images(*s, dtype="float64")) for s in ((4, 3), (3,), (4,))
    )
    normed.u, normed.v = nn.Buffer(u), nn.Buffer(v)
    x = images(2, 4, dtype="float64")

    def by_hand(w: Any) -> Any:
        return tg.matmul(x, w / tg.sum(tg.matmul(v.detach(), w) * u.detach()))

    y = normed(x)
    close(y.numpy(), by_hand(normed.layer.weight).numpy())
    (got,) = tg.grad(y.sum(), [normed.layer.weight])
    (want,) = tg.grad(by_hand(normed.layer.weight).sum(), [normed.layer.weight])
    close(got.numpy(), want.numpy())


# ---- second gradients ----------------------------------------------------------------------------


def critic() -> nn.Sequential:
    """Smooth, so that finite differences are near its slopes."""
    g = Generator(0)
    return nn.Sequential(
        nn.ReflectionPad2d(1), nn.Conv2d(1, 2, 3, 2, bias=False, rng=g), nn.InstanceNorm(2),
        nn.Tanh(),
        nn.Upsample(2, "bilinear"), nn.SpectralNorm(nn.Conv2d(2, 4, 3, groups=2, rng=g), rng=g),
        nn.SiLU(), nn.AvgPool2d(2, 1), nn.GroupNorm(2, 4), nn.MaxPool2d(2, 1),
        nn.ConvTranspose2d(4, 2, 2, 2, "same", rng=g), nn.LayerNorm(2, 0.5), nn.Tanh(),
        nn.Flatten(), nn.Dense(32, 1, rng=g),
    ).eval()  # fmt: skip


def place(model: Any, path: str, value: Any) -> None:
    """Set what the model holds at that path."""
    *way, last = path.split(".")
    for name in way:
        model = model[int(name)] if name.isdigit() else getattr(model, name)
    setattr(model, last, value)


@pytest.mark.parametrize("kind", ["gradient_penalty", "r1_penalty"])
def test_penalties_reach_every_weight_of_a_convolutional_critic(kind: str) -> None:
    model = critic()
    real, fake = (0.7 * images(2, 6, 6, 1, dtype="float64") for _ in range(2))
    names = list(model.named_parameters())
    for name, buffer in model.named_buffers().items():
        place(model, name, nn.Buffer(buffer.numpy().astype("float64")))
    start = [p.numpy() + 0.1 * images(*p.shape, dtype="float64") for p in model.parameters()]

    def penalty(*weights: Any) -> Any:
        for name, w in zip(names, weights, strict=True):
            place(model, name, w)
        if kind == "r1_penalty":
            return losses.r1_penalty(model, real)
        return losses.gradient_penalty(model, real, fake, Generator(3))

    check_grads(penalty, start, order=1)
    leaves = [tg.tensor(w, requires_grad=True) for w in start]
    slopes = tg.grad(penalty(*leaves), leaves)
    still = [n for n, s in zip(names, slopes, strict=True) if not np.abs(s.numpy()).max() > 1e-8]
    assert still == ["14.bias"]  # the constant of the score


# ---- compiled ------------------------------------------------------------------------------------


class Game:
    """A convolutional GAN with every layer of images in it, and its plain training step."""

    def __init__(self) -> None:
        g = Generator(0)
        self.noise = g.stream("noise")
        self.g = nn.Sequential(
            nn.Dense(4, 2 * 2 * 6, rng=g), nn.Reshape(2, 2, 6), nn.BatchNorm(6), nn.ReLU(),
            nn.ConvTranspose2d(6, 4, 4, 2, "same", bias=False, rng=g), nn.InstanceNorm(4),
            nn.ReLU(), nn.Upsample(2), nn.ReflectionPad2d(1), nn.Conv2d(4, 1, 3, rng=g), nn.Tanh(),
        )  # fmt: skip
        self.d = nn.Sequential(
            nn.ZeroPad2d(1), nn.SpectralNorm(nn.Conv2d(1, 4, 4, 2, rng=g), rng=g),
            nn.LeakyReLU(0.2), nn.MaxPool2d(2, 1), nn.Conv2d(4, 4, 3, 1, 1, groups=2, rng=g),
            nn.GroupNorm(2, 4), nn.LeakyReLU(0.2), nn.Upsample(2, "bilinear"), nn.AvgPool2d(3, 3),
            nn.Flatten(), nn.SpectralNorm(nn.Dense(16, 1, rng=g), rng=g),
        )  # fmt: skip
        self.og = optim.SGD(self.g.parameters(), 0.05)
        self.od = optim.SGD(self.d.parameters(), 0.05)
        self.loss = losses.gan("non_saturating")

    def step(self, x: Any) -> Any:
        fake = self.g(self.noise.normal((x.shape[0], 4)))
        d_loss = self.loss.discriminator(self.d(x), self.d(fake.detach()))
        d_loss = d_loss + losses.r1_penalty(self.d, x)
        self.od.zero_grad()
        d_loss.backward()
        self.od.step()
        g_loss = self.loss.generator(self.d(fake))
        self.og.zero_grad()
        g_loss.backward()
        self.og.step()
        return d_loss, g_loss

    def arrays(self) -> list[np.ndarray]:
        return [*self.g.state_dict().values(), *self.d.state_dict().values()]


ELSEWHERE = [p for p in BACKENDS if p.values != ("numpy",)]
SLOW = [pytest.param(*p.values, marks=[*p.marks, pytest.mark.slow]) for p in ELSEWHERE]


@pytest.mark.parametrize("fuse", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["numpy", *SLOW])
def test_a_compiled_step_is_the_step(name: str, fuse: bool) -> None:
    with tg.use_backend(name):
        plain, planned = Game(), Game()
        step = tg.compile(planned.step, fuse=fuse)
        for _ in range(3):
            x = tg.tensor(images(3, 8, 8, 1))
            for a, b in zip(plain.step(x), step(x), strict=True):
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4 if fuse else 0)
    for a, b in zip(plain.arrays(), planned.arrays(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3 if fuse else 0, atol=1e-5 if fuse else 0)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_every_backend_plays_the_same_game(name: str) -> None:
    x = images(3, 8, 8, 1)
    here = Game()
    want = [v.item() for v in here.step(tg.tensor(x))]
    with tg.use_backend(name):
        there = Game()
        got = [v.item() for v in there.step(tg.tensor(x))]
    np.testing.assert_allclose(got, want, rtol=1e-4)
