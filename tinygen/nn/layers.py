"""Layers. Features are on the last axis; images are (n, height, width, channels)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .. import ops, random
from ..backend import XP, Array
from ..checks import INTEGER, features_elsewhere
from ..graph import no_grad
from ..primitive import primitive
from ..random import Generator
from ..tensor import Tensor, as_tensor, ones, zeros
from . import init as initialisers
from .init import Initialiser
from .module import Buffer, Module, Parameter, require

__all__ = [
    "GELU", "Attention", "BatchNorm", "Dense", "Dropout", "Embedding", "Flatten", "Identity",
    "LayerNorm", "LeakyReLU", "ReLU", "Reshape", "Sequential", "SiLU", "Sigmoid", "Softplus",
    "Tanh",
]  # fmt: skip


def size(layer: str, name: str, value: Any) -> int:
    whole = isinstance(value, INTEGER) and not isinstance(value, bool)
    require(layer, name, value, whole and value >= 1, "an int >= 1")
    return int(value)


def with_features(layer: Module, data: Any, features: int, weight: Tensor) -> Tensor:
    """The input as a tensor, with `features` on its last axis and the dtype of the weight."""
    x: Tensor = as_tensor(data)
    if x.ndim < 1 or x.shape[-1] != features:
        wanted = "n, height, width" if weight.ndim == 4 else "..."
        raise ValueError(
            f"{layer.label()}: input {x.shape} {x.dtype}; expected ({wanted}, {features}); "
            + features_elsewhere(x.shape, features, images=weight.ndim == 4)
        )
    if x.dtype != weight.dtype:
        raise TypeError(
            f"{layer.label()}: input {x.shape} {x.dtype}, parameters {weight.dtype}; "
            f"convert with x.astype({weight.dtype.name!r})"
        )
    return x


# ---- containers and shapes -----------------------------------------------------------------------


class Sequential(Module):
    """Layers one after the other: y = layer_n(... layer_1(x)).

    Indexing gives a layer, slicing a Sequential of the same layers. Parameters are named by the
    place of their layer: "0.weight".

    Raises:
        TypeError: something that is not a Module.
    """

    def __init__(self, *layers: Module) -> None:
        for i, layer in enumerate(layers):
            if not isinstance(layer, Module):
                what = f"entry {i} is {layer!r:.80}"
                cure = "without the list: nn.Sequential(*layers)"
                cure = cure if isinstance(layer, (list, tuple)) else "a layer: nn.ReLU()"
                raise TypeError(f"Sequential: {what}; expected {cure}")
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    def members(self) -> dict[str, Any]:
        rest = {key: value for key, value in vars(self).items() if key != "layers"}
        return {**{str(i): layer for i, layer in enumerate(self.layers)}, **rest}

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential(*self.layers[index])
        return self.layers[index]


class Identity(Module):
    """y = x."""

    def forward(self, x: Any) -> Tensor:
        return as_tensor(x)


class Flatten(Module):
    """(n, a, b, ...) -> (n, a b ...), in row-major order: of images, height, width, channels."""

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if x.ndim < 1:
            raise ValueError(f"Flatten(): input {x.shape}; expected (n, ...)")
        return ops.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


class Reshape(Module):
    """(n, ...) -> (n, *shape): the same elements of each sample in another shape.

    Args:
        shape: sizes without the batch's; one may be -1.
    """

    def __init__(self, *shape: int) -> None:
        if not all(isinstance(n, int) and (n > 0 or n == -1) for n in shape):
            raise ValueError(f"Reshape: {shape}; expected sizes > 0 (or -1) without the batch's")
        self.shape = shape

    def label(self) -> str:
        return f"Reshape({', '.join(map(str, self.shape))})"

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        have, want = math.prod(x.shape[1:]), math.prod(n for n in self.shape if n > 0)
        if x.ndim < 1 or (have % want if -1 in self.shape else have != want):
            who = self.label()
            raise ValueError(f"{who}: input {x.shape}; expected {want} elements a sample")
        return ops.reshape(x, (len(x), *(have // want if n < 0 else n for n in self.shape)))


# ---- layers with weights -------------------------------------------------------------------------


class Dense(Module):
    """y = x W + b.

    Shapes: x (..., in_features), W (in_features, out_features), b (out_features,), y
    (..., out_features).

    Args:
        bias: whether there is a b; it starts at zero.
        init: initialiser of W, a name of nn.init or a function of (shape, rng).
        rng: generator of the initial weights; the default generator if None.

    Raises:
        ValueError: a size below 1, an unknown initialiser; an input of another last size.
        TypeError: an input of another dtype than the weights.
    """

    shown = ("in_features", "out_features")

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True,
        init: str | Initialiser = "glorot", rng: Generator | None = None,
    ) -> None:  # fmt: skip
        self.in_features = size("Dense", "in_features", in_features)
        self.out_features = size("Dense", "out_features", out_features)
        self.weight = Parameter(initialisers.start(init, (in_features, out_features), rng))
        self.bias = Parameter(zeros(out_features)) if bias else None

    def forward(self, inputs: Any) -> Tensor:
        x = with_features(self, inputs, self.in_features, self.weight)
        return ops.linear(x, self.weight, self.bias)


class Embedding(Module):
    """A learned vector for each of `count` labels: y = W[labels].

    Shapes: labels (...) integers in [0, count), W (count, features), y (..., features).

    Args:
        std: W starts as N(0, std^2).
        rng: generator of the initial vectors; the default generator if None.

    A negative label counts from the end, as an index does.

    Raises:
        TypeError: labels that are not integers.
        IndexError: a label outside [-count, count).
    """

    shown = ("count", "features")

    def __init__(
        self, count: int, features: int, std: float = 1.0, rng: Generator | None = None
    ) -> None:
        self.count = size("Embedding", "count", count)
        self.features = size("Embedding", "features", features)
        self.weight = Parameter(initialisers.normal((count, features), rng, std=std))

    def forward(self, labels: Any) -> Tensor:
        labels = as_tensor(labels)
        if labels.dtype.kind not in "iu":
            what = f"{self.label()}: labels {labels.shape} {labels.dtype}"
            raise TypeError(f"{what}; expected integers; convert with .astype('int64')")
        try:
            return ops.take(self.weight, labels, axis=0)
        except IndexError:
            low, high = labels.numpy().min(), labels.numpy().max()
            raise IndexError(
                f"{self.label()}: labels {labels.shape} from {low} to {high}; expected from 0 to "
                f"{self.count - 1}"
            ) from None


class Attention(Module):
    """Every place looks at every other, in several ways at once: y = attention(x W_qkv) W_out.

    Shapes: x and y (n, ..., features); all axes between are places: words of a text, pixels of an
    image. `qkv` is Dense(features, 3 features), queries, keys and values side by side, in each the
    heads; `out` is Dense(features, features).

    Args:
        heads: how many ways; each has features / heads numbers a place.
        causal: a place looks at itself and those before only, row by row.
        rng: generator of the initial weights; the default generator if None.

    Raises:
        ValueError: features not divisible by heads; an input without places, or of another size.

    Source: Vaswani et al., 2017, section 3.2.2.
    """

    shown = ("features", "heads", "causal")

    def __init__(
        self, features: int, heads: int = 1, causal: bool = False, rng: Generator | None = None
    ) -> None:
        self.features = size("Attention", "features", features)
        self.heads = size("Attention", "heads", heads)
        if features % heads:
            raise ValueError(f"Attention: {features} features in {heads} heads; expected a divisor")
        self.causal = bool(causal)
        self.qkv = Dense(features, 3 * features, rng=rng)
        self.out = Dense(features, features, rng=rng)

    def forward(self, inputs: Any) -> Tensor:
        x = with_features(self, inputs, self.features, self.qkv.weight)
        places = math.prod(x.shape[1:-1])
        if x.ndim < 3 or not places:
            raise ValueError(
                f"{self.label()}: input {x.shape}; expected (n, ..., {self.features}) with one "
                "place or more"
            )
        qkv = self.qkv(ops.reshape(x, (x.shape[0], places, self.features)))
        y = self.out(ops.self_attention(qkv, self.heads, self.causal))
        return ops.reshape(y, x.shape)


# ---- normalisation -------------------------------------------------------------------------------


@primitive(mutates=("mean", "var"))
def update_running(
    xp: XP, mean: Array, var: Array, new_mean: Array, new_var: Array, *, momentum: float
) -> Array:
    """running = (1 - momentum) running + momentum new, in place, for both moments."""
    for running, new in ((mean, new_mean), (var, new_var)):
        running *= 1 - momentum
        running += momentum * new
    return mean


class BatchNorm(Module):
    """y = (x - mean) / sqrt(var + eps) weight + bias, moments over every axis but the last.

    In training the moments are the batch's (var without Bessel's correction) and the running ones
    move by `momentum` towards them (var with the correction); in evaluation the running ones are
    used. Shapes: x and y (..., features), n >= 2 rows in training.

    Args:
        momentum: share of the new batch in the running moments, in [0, 1].
        eps: added to the variance.

    Raises:
        ValueError: an input of another last size; a single row in training.

    Source: Ioffe and Szegedy, 2015, algorithm 1.
    """

    shown = ("features",)

    def __init__(self, features: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        self.features = size("BatchNorm", "features", features)
        require("BatchNorm", "momentum", momentum, 0 <= momentum <= 1, "from 0 to 1")
        require("BatchNorm", "eps", eps, 0 < eps < math.inf, "a finite number > 0")
        self.momentum = momentum
        self.eps = eps
        self.weight = Parameter(ones(features))
        self.bias = Parameter(zeros(features))
        self.running_mean = Buffer(zeros(features))
        self.running_var = Buffer(ones(features))

    def forward(self, inputs: Any) -> Tensor:
        x = with_features(self, inputs, self.features, self.weight)
        if not self.training:
            scale = self.weight / ops.sqrt(self.running_var + self.eps)
            return (x - self.running_mean) * scale + self.bias
        rows = x.size // self.features
        if rows < 2:
            raise ValueError(
                f"{self.label()}: input {x.shape} has {rows} row, whose variance is not defined; "
                "expected a batch of 2 or more in training, or call .eval()"
            )
        axis = tuple(range(x.ndim - 1))
        mean = ops.mean(x, axis=axis, keepdims=True)
        centred = x - mean
        var = ops.mean(ops.square(centred), axis=axis, keepdims=True)
        y = centred / ops.sqrt(var + self.eps) * self.weight + self.bias
        with no_grad():
            mean, var = ops.reshape(mean, self.features), ops.reshape(var, self.features)
            update_running(
                self.running_mean, self.running_var, mean, var * (rows / (rows - 1)),
                momentum=self.momentum,
            )  # fmt: skip
        return y


class LayerNorm(Module):
    """y = (x - mean) / sqrt(var + eps) weight + bias, moments over the last axis of each row.

    Shapes: x and y (..., features). Raises ValueError for an input of another last size.
    Source: Ba, Kiros and Hinton, 2016, equation 4.
    """

    shown = ("features",)

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        self.features = size("LayerNorm", "features", features)
        require("LayerNorm", "eps", eps, 0 < eps < math.inf, "a finite number > 0")
        self.eps = eps
        self.weight = Parameter(ones(features))
        self.bias = Parameter(zeros(features))

    def forward(self, inputs: Any) -> Tensor:
        x = with_features(self, inputs, self.features, self.weight)
        return ops.normalise(x, self.weight, self.bias, axis=(-1,), eps=self.eps)


# ---- dropout and activations ---------------------------------------------------------------------


class Dropout(Module):
    """In training, each element is 0 with probability p and x / (1 - p) else; then y = x.

    Args:
        p: probability of a zero, 0 <= p < 1.
        rng: generator of the masks. If None the layer gets one of its own, whose key the default
            generator draws now.

    Raises:
        ValueError: p is not in [0, 1).

    Source: Srivastava et al., 2014, with the scaling done in training.
    """

    shown = ("p",)

    def __init__(self, p: float, rng: Generator | None = None) -> None:
        require("Dropout", "p", p, 0 <= p < 1, "the probability of a zero, 0 <= p < 1")
        self.p = p
        if rng is None:
            default = random.default_generator()
            rng = default.stream("dropout", int(default.integers(2**32)))
        self.rng = rng

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        return self.rng.dropout(x, self.p) if self.training and self.p else x


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Tensor:
        return ops.relu(x)


class LeakyReLU(Module):
    """x where x > 0, slope x elsewhere."""

    shown = ("slope",)

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope

    def forward(self, x: Any) -> Tensor:
        return ops.leaky_relu(x, slope=self.slope)


class Tanh(Module):
    """The hyperbolic tangent, in (-1, 1)."""

    def forward(self, x: Any) -> Tensor:
        return ops.tanh(x)


class Sigmoid(Module):
    """1 / (1 + e^-x), in (0, 1). The losses take logits: no Sigmoid before them."""

    def forward(self, x: Any) -> Tensor:
        return ops.sigmoid(x)


class Softplus(Module):
    """log(1 + e^x), above 0."""

    def forward(self, x: Any) -> Tensor:
        return ops.softplus(x)


class SiLU(Module):
    """x sigmoid(x)."""

    def forward(self, x: Any) -> Tensor:
        return ops.silu(as_tensor(x))


class GELU(Module):
    """x Phi(x), Phi the normal distribution function; exact."""

    def forward(self, x: Any) -> Tensor:
        return ops.gelu(as_tensor(x))
