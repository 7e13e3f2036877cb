"""Losses of generative models, all on logits: no sigmoid before them.

Shapes must be equal, and are never broadcast: (B,) against (B, 1) is an error. Integer and boolean
targets are taken as floats. Losses of a VAE are sums over all axes but the first (nats an image)
and means over the first, the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import ops, spelling
from .differentiate import grad
from .fused import fused
from .graph import no_grad
from .nn.layers import BatchNorm
from .nn.module import Module, require
from .ops.create import full_like
from .random import Generator
from .spelling import spelled
from .tensor import Tensor, as_tensor

__all__ = [
    "GANLoss", "Loss", "bce_with_logits", "bernoulli_nll", "cross_entropy", "gan", "gaussian_kl",
    "gaussian_nll", "gradient_penalty", "l1", "mse", "r1_penalty", "reparameterise", "vae",
]  # fmt: skip

# ---- checks --------------------------------------------------------------------------------------


def _floats(who: str, name: str, data: Any) -> Tensor:
    x = as_tensor(data)
    if x.dtype.kind != "f":
        raise TypeError(f"{who}: {name} {x.shape} {x.dtype}; expected floats: .astype('float32')")
    return x


def _same(who: str, **named: Any) -> tuple[Tensor, Tensor]:
    """Two tensors of one shape and dtype; the second may be integers, taken as floats."""
    (a, x), (b, y) = named.items()
    x, y = _floats(who, a, x), as_tensor(y)
    if x.shape != y.shape:
        hint = f"{b}.reshape({x.shape})" if x.size == y.size else "equal shapes"
        raise ValueError(
            f"{who}: shapes of {a} {x.shape} and {b} {y.shape} differ and never broadcast; "
            f"expected {hint}"
        )
    if y.dtype.kind != "f":
        y = ops.astype(y, x.dtype)
    if x.dtype != y.dtype:
        hint = f"{b}.astype({x.dtype.name!r})"
        raise TypeError(f"{who}: {a} is {x.dtype} and {b} {y.dtype}; expected one dtype: {hint}")
    return x, y


def _reduced(who: str, terms: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return terms
    if reduction == "sum":
        return ops.sum(terms)
    if reduction == "mean":
        return ops.mean(terms)
    raise ValueError(f"{who}: reduction is {reduction!r}; expected 'mean', 'sum' or 'none'")


def _per_sample(who: str, terms: Tensor) -> Tensor:
    """The sum over all axes but the first, averaged over the first."""
    if terms.ndim < 1 or terms.shape[0] == 0:
        raise ValueError(f"{who}: shape {terms.shape} has no samples; expected (batch >= 1, ...)")
    return ops.sum(terms) * (1 / terms.shape[0])


_SLACK = 0.05  # by which values may leave [0, 1], as those of images made smaller do


def _in_unit_range(who: str, name: str, x: Tensor, why: str, below: str, above: str) -> None:
    """ValueError for values outside [0, 1]: why they must not be, and the cure for either side."""
    if not x.size or x.backend.name != "numpy":
        return
    low, high = x.data.min(), x.data.max()
    if low < -_SLACK or high > 1 + _SLACK:
        raise ValueError(
            f"{who}: {name} {x.shape} has values from {low:g} to {high:g}; expected from 0 to 1, "
            f"{why}: {below if low < -_SLACK else above}"
        )


# ---- plain losses --------------------------------------------------------------------------------


@fused
def bce_logits_terms(logits: Tensor, targets: Tensor) -> Tensor:
    """softplus(l) - l t = -t log sigmoid(l) - (1 - t) log(1 - sigmoid(l))."""
    return ops.softplus(logits) - logits * targets


@spelled
def bce_with_logits(logits: Any, targets: Any, reduction: str = "mean") -> Tensor:
    """Binary cross-entropy: -t log sigmoid(l) - (1 - t) log(1 - sigmoid(l)), in nats.

    Finite for any finite logit. Reduced over all elements.

    Args:
        logits: any shape, floating-point.
        targets: the same shape, in [0, 1], integers and booleans accepted; or a Python number.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: shapes differ, targets outside [0, 1], an unknown reduction.
        TypeError: logits that are not floats, or floats of two dtypes.
    """
    who = "bce_with_logits"
    if isinstance(targets, (bool, int, float, np.generic)):
        target = float(targets)
        if not 0 <= target <= 1:
            raise ValueError(f"{who}: the target is {target!r}; expected 0 <= target <= 1")
        targets = full_like(_floats(who, "logits", logits), target)
    logits, targets = _same(who, logits=logits, targets=targets)
    loss = _reduced(who, bce_logits_terms(logits, targets), reduction)
    _in_unit_range(
        who, "targets", targets, "as each is a probability",
        "for targets of -1 and 1 write (targets + 1) / 2",
        "for numbers of classes take losses.cross_entropy; of pixels divide 0..255 by 255",
    )  # fmt: skip
    return loss


@spelled
def mse(prediction: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Squared error (prediction - target)^2, reduced over all elements.

    Shapes equal; reduction "mean", "sum" or "none". Raises ValueError for shapes that differ,
    TypeError for dtypes that do.
    """
    x, y = _same("mse", prediction=prediction, target=target)
    return _reduced("mse", ops.square(x - y), reduction)


@spelled
def l1(prediction: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Absolute error |prediction - target|, reduced over all elements.

    Shapes equal; reduction "mean", "sum" or "none". Raises ValueError for shapes that differ,
    TypeError for dtypes that do.
    """
    x, y = _same("l1", prediction=prediction, target=target)
    return _reduced("l1", ops.abs(x - y), reduction)


@spelled
def cross_entropy(
    logits: Any, labels: Any, reduction: str = "mean", *, label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> Tensor:  # fmt: skip
    """Cross-entropy of classes: -sum_c t_c log softmax(logits)_c, in nats.

    t is 1 at the label and 0 elsewhere; with label_smoothing e of K classes it is
    (1 - e) [c = label] + e / K. Shapes: logits (..., classes), labels (...) integers in
    [0, classes); one term a label, reduced by "mean", "sum" or "none".

    Args:
        logits: floats.
        labels: class numbers.
        reduction: "mean", over the labels that count; "sum"; or "none".
        label_smoothing: e in [0, 1): the share that is spread over all classes.
        ignore_index: labels of this number do not count: their term and its gradient are 0,
            whatever the logits are, and the mean is over the others. It need not be a class. Where
            no label counts, the mean is 0 and so is its gradient.

    Raises:
        ValueError: shapes that do not fit, a label out of range, a share out of its range, an
            unknown reduction.
        TypeError: labels that are not integers.

    Source: Szegedy et al., 2016, section 7 (smoothing).
    """
    who = "cross_entropy"
    logits, labels = _floats(who, "logits", logits), as_tensor(labels)
    if logits.ndim < 1 or labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"cross_entropy: logits {logits.shape} and labels {labels.shape}; expected logits "
            "(..., classes) and labels (...), class numbers and not one-hot rows"
        )
    if labels.dtype.kind not in "iu":
        what = f"labels {labels.shape} {labels.dtype}"
        raise TypeError(f"cross_entropy: {what}; expected integers: .astype('int64')")
    require(who, "label_smoothing", label_smoothing, 0 <= label_smoothing < 1,
            "0 <= label_smoothing < 1")  # fmt: skip
    counts = None
    if ignore_index is not None:
        whole = isinstance(ignore_index, (int, np.integer)) and not isinstance(ignore_index, bool)
        require(who, "ignore_index", ignore_index, whole, "a label, such as -1")
        labels = ops.astype(labels, "int64")
        counts = ops.not_equal(labels, int(ignore_index))
        labels = ops.where(counts, labels, 0)
    terms = _cross_entropies(logits, labels, label_smoothing, counts)
    if counts is None or reduction != "mean":
        return _reduced(who, terms, reduction)
    return ops.sum(terms) / ops.maximum(ops.sum(ops.astype(counts, terms.dtype)), 1.0)


def _cross_entropies(
    logits: Tensor, labels: Tensor, smoothing: float, counts: Tensor | None
) -> Tensor:
    """A term for each label; where `counts` is false, 0, with no way back to the logits."""
    classes = logits.shape[-1]
    try:
        chosen = ops.one_hot(labels, classes=classes, dtype="bool")
    except ValueError as error:
        what = str(error).partition(": ")[2]
        given = f"logits {logits.shape} and labels {labels.shape}"
        raise ValueError(f"cross_entropy: {given}: {what}") from None
    if counts is not None:
        logits = ops.where(counts.reshape(*counts.shape, 1), logits, 0.0)
    log_p = ops.log_softmax(logits, axis=-1)
    terms = -ops.sum(ops.where(chosen, log_p, 0.0), axis=-1)
    if smoothing:
        terms = (1 - smoothing) * terms - (smoothing / classes) * ops.sum(log_p, axis=-1)
    return terms if counts is None else ops.where(counts, terms, 0.0)


# ---- variational autoencoders --------------------------------------------------------------------


@fused
def gaussian_kl_terms(mu: Tensor, logvar: Tensor) -> Tensor:
    """(mu^2 + exp(logvar) - logvar - 1) / 2."""
    return 0.5 * (ops.square(mu) + ops.exp(logvar) - logvar - 1.0)


@fused
def gaussian_nll_terms(mean: Tensor, x: Tensor, logvar: Tensor) -> Tensor:
    """(log 2 pi + logvar + (x - mean)^2 / exp(logvar)) / 2."""
    return 0.5 * (math.log(2 * math.pi) + logvar + ops.square(x - mean) * ops.exp(-logvar))


@fused
def gaussian_sample(mu: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    """mu + exp(logvar / 2) noise."""
    return mu + ops.exp(0.5 * logvar) * noise


@spelled
def reparameterise(mu: Any, logvar: Any, rng: Generator) -> Tensor:
    """A sample of N(mu, exp(logvar)) that is differentiable: mu + exp(logvar / 2) eps.

    Shapes: mu, logvar and the result equal; eps is standard normal from `rng`, one draw. Raises
    ValueError or TypeError for shapes or dtypes that differ.
    Source: Kingma and Welling, 2014, section 2.4.
    """
    mu, logvar = _same("reparameterise", mu=mu, logvar=logvar)
    return gaussian_sample(mu, logvar, rng.normal(mu.shape, mu.dtype))


@spelled
def gaussian_kl(mu: Any, logvar: Any) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)) = sum (mu^2 + exp(logvar) - logvar - 1) / 2, in nats.

    Summed over all axes but the first, mean over the first. Shapes: mu and logvar (batch, ...).
    logvar is not clamped: the value and its slope are exact, and float32 overflows above 88.
    Raises ValueError or TypeError for shapes or dtypes that differ.
    Source: Kingma and Welling, 2014, appendix B.
    """
    return _kl("gaussian_kl", mu, logvar)


def _kl(who: str, mu: Any, logvar: Any) -> Tensor:
    return _per_sample(who, gaussian_kl_terms(*_same(who, mu=mu, logvar=logvar)))


@spelled
def bernoulli_nll(logits: Any, x: Any) -> Tensor:
    """-log p(x) of independent Bernoulli pixels: sum softplus(l) - l x, in nats a sample.

    Summed over all axes but the first, mean over the first. Shapes: (batch, ...) equal; x in
    [0, 1], where values between are allowed and give the cross-entropy. Raises ValueError or
    TypeError for shapes, dtypes or values of x that do not fit; on a GPU, where looking would stop
    the device, values are not looked at.
    Source: Kingma and Welling, 2014, appendix C.1.
    """
    return _bernoulli("bernoulli_nll", logits, x)


def _bernoulli(who: str, logits: Any, x: Any, _: Any = None) -> Tensor:
    logits, x = _same(who, logits=logits, x=x)
    _in_unit_range(
        who, "x", x, "as the likelihood is that of a share of white",
        "for images from -1 to 1 write (x + 1) / 2, or take a Gaussian likelihood",
        "divide 0..255 by 255",
    )  # fmt: skip
    return _per_sample(who, bce_logits_terms(logits, x))


@spelled
def gaussian_nll(mean: Any, x: Any, logvar: Any) -> Tensor:
    """-log N(x; mean, exp(logvar)) = sum (log 2 pi + logvar + (x - mean)^2 / exp(logvar)) / 2.

    Summed over all axes but the first, mean over the first; in nats a sample. Shapes: mean and x
    (batch, ...) equal; logvar a number, 0-d, or that shape; it is not clamped. Raises ValueError
    or TypeError for shapes or dtypes that do not fit.
    Source: Kingma and Welling, 2014, appendix C.2.
    """
    return _gaussian("gaussian_nll", mean, x, logvar)


def _gaussian(who: str, mean: Any, x: Any, logvar: Any) -> Tensor:
    mean, x = _same(who, mean=mean, x=x)
    if isinstance(logvar, (int, float, np.generic)):
        logvar = full_like(mean, float(logvar))
    if as_tensor(logvar).ndim:
        logvar = _same(who, mean=mean, logvar=logvar)[1]
    return _per_sample(who, gaussian_nll_terms(mean, x, logvar))


def _half_squared_error(who: str, mean: Any, x: Any, _: Any) -> Tensor:
    mean, x = _same(who, logits=mean, x=x)
    return 0.5 * _per_sample(who, ops.square(x - mean))


_LIKELIHOODS: dict[str, Callable[[str, Any, Any, Any], Tensor]] = {
    "bernoulli": _bernoulli,
    "gaussian": _gaussian,
    "mse": _half_squared_error,
}


class Loss(Tensor):
    """A loss that keeps its two terms: `parts["reconstruction"]` and `parts["kl"]`."""

    __slots__ = ("parts",)

    def __init__(self, total: Tensor, parts: dict[str, Tensor]) -> None:
        super().__init__(total.data, total.node)
        self.parts = parts


@spelled
def vae(
    logits: Any, x: Any, mu: Any, logvar: Any, beta: float = 1.0, likelihood: str = "bernoulli",
    *, x_logvar: Any = 0.0,
) -> Loss:  # fmt: skip
    """The negative evidence lower bound: -log p(x | z) + beta KL(q(z | x) || N(0, 1)).

    In nats an image: summed over pixels and codes, mean over the batch.

    Args:
        logits: the decoder's output (batch, ...): logits, or means for the other likelihoods.
        x: the images, of the same shape; in [0, 1] for "bernoulli".
        mu, logvar: the encoder's outputs (batch, codes).
        beta: >= 0; 1 is the bound itself.
        likelihood: "bernoulli"; "gaussian"; or "mse", half the squared error, which is the
            Gaussian of variance 1 without its constant.
        x_logvar: log of the variance of the "gaussian" likelihood, as gaussian_nll takes it.

    Returns:
        A 0-d tensor whose `.parts` holds "reconstruction" and "kl", before beta.

    Raises:
        ValueError: shapes that differ, beta below 0, an unknown likelihood.

    Source: Kingma and Welling, 2014, equation 10; beta: Higgins et al., 2017, equation 4.
    """
    if likelihood not in _LIKELIHOODS:
        known = ", ".join(_LIKELIHOODS)
        raise ValueError(f"vae: likelihood is {likelihood!r}; expected one of {known}")
    if not 0 <= beta < math.inf:
        raise ValueError(f"vae: beta is {beta!r}; expected a finite number >= 0")
    logits, mu = as_tensor(logits), as_tensor(mu)
    if logits.shape[:1] != mu.shape[:1]:
        raise ValueError(f"vae: logits {logits.shape} and mu {mu.shape}; expected equal batches")
    reconstruction = _LIKELIHOODS[likelihood]("vae", logits, x, x_logvar)
    kl = _kl("vae", mu, logvar)
    return Loss(reconstruction + beta * kl, {"reconstruction": reconstruction, "kl": kl})


# ---- generative adversarial networks -------------------------------------------------------------


def _called_real(logits: Tensor, target: float) -> Tensor:
    """Cross-entropy of calling it real with probability `target`; exact for target 1."""
    terms = ops.softplus(-logits)
    return terms if target == 1 else terms + (1 - target) * logits


@dataclass(frozen=True)
class _Game:
    """What is averaged over real logits (and their target), fake logits, and by the generator."""

    real: Callable[[Tensor, float], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    smooths: bool = False  # whether the target of real images may be other than 1


GAN_LOSSES = {
    "minimax": _Game(_called_real, ops.softplus, lambda f: -ops.softplus(f), smooths=True),
    "non_saturating": _Game(_called_real, ops.softplus, lambda f: ops.softplus(-f), smooths=True),
    "least_squares": _Game(
        lambda r, target: 0.5 * ops.square(r - target),
        lambda f: 0.5 * ops.square(f),
        lambda f: 0.5 * ops.square(f - 1.0),
        smooths=True,
    ),
    "wasserstein": _Game(lambda r, _: -r, lambda f: f, lambda f: -f),
    "hinge": _Game(lambda r, _: ops.relu(1.0 - r), lambda f: ops.relu(1.0 + f), lambda f: -f),
}


@dataclass(frozen=True)
class GANLoss:
    """The two losses of a game, each to be minimised; see gan."""

    name: str
    real_target: float = 1.0

    def discriminator(self, real_logits: Any, fake_logits: Any) -> Tensor:
        """The discriminator's loss, given its logits of real and of generated images.

        Shapes (n, ...) and (m, ...), equal but for the batch. The generator's graph is not cut
        here: give D(fake.detach()), or take gradients of D's parameters only.
        """
        who = f"gan({self.name!r}).discriminator"
        real, fake = (_floats(who, "logits", x) for x in (real_logits, fake_logits))
        if real.shape[1:] != fake.shape[1:] or real.ndim != fake.ndim or real.dtype != fake.dtype:
            raise ValueError(
                f"{who}: real_logits {real.shape} {real.dtype} and fake_logits {fake.shape} "
                f"{fake.dtype}; expected the outputs of one discriminator, equal but for the batch"
            )
        game = GAN_LOSSES[self.name]
        return ops.mean(game.real(real, self.real_target)) + ops.mean(game.fake(fake))

    def generator(self, fake_logits: Any) -> Tensor:
        """The generator's loss, given the discriminator's logits of generated images."""
        fake = _floats(f"gan({self.name!r}).generator", "fake_logits", fake_logits)
        return ops.mean(GAN_LOSSES[self.name].generator(fake))


@spelled
def gan(kind: str, real_target: float = 1.0) -> GANLoss:
    """The losses of a GAN, means over logits r of real and f of generated images.

    | kind           | discriminator                        | generator        |
    |----------------|--------------------------------------|------------------|
    | minimax        | softplus(-r) + softplus(f)           | -softplus(f)     |
    | non_saturating | softplus(-r) + softplus(f)           | softplus(-f)     |
    | least_squares  | (r - 1)^2 / 2 + f^2 / 2              | (f - 1)^2 / 2    |
    | wasserstein    | f - r                                | -f               |
    | hinge          | relu(1 - r) + relu(1 + f)            | -f               |

    softplus(-r) is -log D(x) and softplus(f) is -log(1 - D(G(z))) for D = sigmoid.

    Args:
        kind: one of the above.
        real_target: what real images should be called, in (0, 1]; 0.9 is one-sided label
            smoothing. Other than 1 for the first three kinds only.

    Raises:
        ValueError: an unknown kind, or a target that it does not take.

    Source: Goodfellow et al., 2014, equation 1 and section 3; Mao et al., 2017, equation 9;
    Arjovsky et al., 2017, equation 2; Lim and Ye, 2017; Salimans et al., 2016 (smoothing).
    """
    if kind not in GAN_LOSSES:
        raise ValueError(f"gan: kind is {kind!r}; expected one of {', '.join(GAN_LOSSES)}")
    if not 0 < real_target <= 1 or (real_target != 1 and not GAN_LOSSES[kind].smooths):
        expected = "0 < real_target <= 1" if GAN_LOSSES[kind].smooths else "1, as it has no labels"
        raise ValueError(f"gan({kind!r}): real_target is {real_target!r}; expected {expected}")
    return GANLoss(kind, real_target)


def _slope_squared(who: str, critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """|d critic / dx|^2 of each sample, over all its axes, recorded for a second gradient."""
    if x.ndim < 2:
        raise ValueError(f"{who}: real {x.shape}; expected (batch, features...)")
    x = x.detach(requires_grad=True)
    scores = critic(x)
    if scores.shape[:1] != x.shape[:1]:
        what = f"the critic made {scores.shape} from {x.shape}"
        raise ValueError(f"{who}: {what}; expected one score (or map of scores) a sample")
    (slope,) = grad(ops.sum(scores), [x], create_graph=True)
    return ops.sum(ops.square(slope), axis=tuple(range(1, x.ndim)))


@spelled
def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Any, fake: Any, rng: Generator
) -> Tensor:
    """E (|d critic / dx| - 1)^2 at x = e real + (1 - e) fake, e uniform in [0, 1) for each sample.

    The norm is over all axes but the first, sqrt(sum + 1e-12). Gradients flow to the critic's
    weights (not to `fake`) by a second backward. Usually added to the critic's loss times 10. The
    critic must treat samples on their own: no BatchNorm in it.

    Args:
        critic: from (batch, ...) to scores (batch, ...).
        real, fake: (batch, ...), equal shapes.
        rng: makes e, one draw.

    Raises:
        ValueError: shapes differ, the critic was run without recording, or is a module with a
            BatchNorm in training.

    Source: Gulrajani et al., 2017, equation 3 and algorithm 1.
    """
    real, fake = _same("gradient_penalty", real=real, fake=fake)
    for path, layer in (critic.named_modules() if isinstance(critic, Module) else {}).items():
        if isinstance(layer, BatchNorm) and layer.training:
            raise ValueError(
                f"gradient_penalty: the critic's layer {path!r} is {layer.label()}, so each score "
                "depends on the whole batch, and the slope at one sample has no meaning; expected "
                "samples on their own: take nn.LayerNorm, nn.GroupNorm or no norm"
            )
    with no_grad():
        e = rng.uniform((real.shape[0],) + (1,) * (real.ndim - 1), real.dtype)
        x = e * real + (1 - e) * fake
    norm = ops.sqrt(_slope_squared("gradient_penalty", critic, x) + 1e-12)
    return ops.mean(ops.square(norm - 1))


def r1_penalty(critic: Callable[[Tensor], Tensor], real: Any) -> Tensor:
    """E |d critic / dx|^2 / 2 at real samples, to be multiplied by gamma (1 to 10).

    The norm is over all axes but the first; gradients flow to the critic's weights by a second
    backward. Shapes: real (batch, ...), critic's scores (batch, ...). Raises ValueError if the
    critic was run without recording. A critic that ignores its input has slope 0.
    Source: Mescheder, Geiger and Nowozin, 2018, equation 9.
    """
    slopes = _slope_squared("r1_penalty", critic, _floats("r1_penalty", "real", real))
    return 0.5 * ops.mean(slopes)


if not TYPE_CHECKING:
    __getattr__ = spelling.names("tinygen.losses", spelling.LOSSES)
