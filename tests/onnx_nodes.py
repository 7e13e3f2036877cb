"""ONNX's operators in terms of tinygen's: what test_onnx.py computes its test vectors with.

Each function is one operator: its inputs as tensors in ONNX's order, None for one left out, its
attributes as keywords with ONNX's defaults. An attribute that a function does not name is a
TypeError, a value for which we have nothing a NotImplementedError: nothing is ignored. Images are
turned from (N, C, H, W) to (N, H, W, C) and back here, and kernels to ours.

Source: ONNX's operators, https://onnx.ai/onnx/operators/; some attributes are those of opset 6,
which PyTorch's models have, and are inputs in later ones.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinygen as tg
from tinygen import Tensor, nn

Pair = tuple[int, int]
OPERATORS: dict[str, Callable[..., Any]] = {}


def named(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        OPERATORS[name] = function
        return function

    return add


def has(**given: tuple[Any, Any]) -> None:
    """Each attribute (value, the only one that we have) is that one."""
    for name, (value, ours) in given.items():
        if value != ours:
            raise NotImplementedError(f"{name} {value!r}, tinygen has {ours!r}")


def channels_last(x: Tensor) -> Tensor:
    return tg.transpose(x, axes=(0, *range(2, x.ndim), 1))


def channels_first(x: Tensor) -> Tensor:
    return tg.transpose(x, axes=(0, x.ndim - 1, *range(1, x.ndim - 1)))


def whole(values: Any) -> tuple[int, ...]:
    """Integers of an attribute, or of an input."""
    return tuple(int(v) for v in np.ravel(values.numpy() if isinstance(values, Tensor) else values))


def axes_of(*given: Any) -> tuple[int, ...] | None:
    """The axes that an input or an attribute names; None for no or none given."""
    found = next((v for v in given if v is not None), ())
    return whole(found) or None


# ---- convolutions and pooling --------------------------------------------------------------------


def padding(
    auto_pad: str, pads: Sequence[int], size: Sequence[int], kernel: Sequence[int],
    strides: Sequence[int], dilations: Sequence[int] = (1, 1),
) -> Any:  # fmt: skip
    """ONNX's padding (top, left, bottom, right, or a name) as conv2d takes it."""
    has(directions=(len(size), 2))
    if auto_pad == "NOTSET":
        return tuple(zip(pads[:2], pads[2:], strict=True))
    if auto_pad != "SAME_LOWER":
        return {"SAME_UPPER": "same", "VALID": "valid"}[auto_pad]
    missing = [
        max((math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)
    ]
    return tuple((m - m // 2, m // 2) for m in missing)  # the odd one before


@named("Conv")
def conv(
    x: Tensor, w: Tensor, b: Tensor | None = None, *, auto_pad: str = "NOTSET",
    dilations: Pair = (1, 1), group: int = 1, kernel_shape: Any = None,
    pads: Sequence[int] = (0, 0, 0, 0), strides: Pair = (1, 1),
) -> Tensor:  # fmt: skip
    assert kernel_shape in (None, w.shape[2:])
    place = padding(auto_pad, pads, x.shape[2:], w.shape[2:], strides, dilations)
    kernel = tg.transpose(w, axes=(2, 3, 1, 0))
    return channels_first(
        tg.conv2d(channels_last(x), kernel, b, strides, place, dilations, groups=group)
    )


@named("ConvTranspose")
def conv_transpose(
    x: Tensor, w: Tensor, b: Tensor | None = None, *, auto_pad: str = "NOTSET",
    dilations: Pair = (1, 1), group: int = 1, kernel_shape: Any = None,
    output_padding: Pair = (0, 0), output_shape: Any = None, pads: Sequence[int] = (0, 0, 0, 0),
    strides: Pair = (1, 1),
) -> Tensor:  # fmt: skip
    assert kernel_shape in (None, w.shape[2:])
    place: Any = padding(auto_pad, pads, x.shape[2:], w.shape[2:], strides, dilations)
    kernel = tg.transpose(w, axes=(2, 3, 0, 1))
    if output_shape is not None:  # what is too much is cut, what is missing is added at the end
        spare = [
            s * (n - 1) + m + (k - 1) * d + 1 - o
            for n, k, s, d, m, o in zip(
                x.shape[2:], w.shape[2:], strides, dilations, output_padding, output_shape,
                strict=True,
            )
        ]  # fmt: skip
        place = tuple((max(m, 0) - max(m, 0) // 2, max(m, 0) // 2) for m in spare)
        output_padding = tuple(p - min(m, 0) for p, m in zip(output_padding, spare, strict=True))
    return channels_first(
        tg.conv_transpose2d(
            channels_last(x), kernel, b, strides, place, output_padding, dilations, group
        )
    )


def pooling(
    ceil_mode: int, dilations: Pair, auto_pad: str, pads: Sequence[int], size: Sequence[int],
    kernel: Pair, strides: Pair,
) -> Any:  # fmt: skip
    """The padding of a pooling: with ceil_mode, more at the end for a last window that does not
    fit, if it begins before the padding there."""
    place = padding(auto_pad, pads, size, kernel, strides)
    has(dilations=(dilations, (1, 1)))
    if not ceil_mode:
        return place
    more = []
    for n, k, s, (before, after) in zip(size, kernel, strides, place, strict=True):
        last = math.ceil((before + n + after - k) / s) * s
        last -= s if last >= before + n else 0
        more.append((before, max(last + k - before - n, 0)))
    return tuple(more)


@named("MaxPool")
def max_pool(
    x: Tensor, *, kernel_shape: Pair, auto_pad: str = "NOTSET", ceil_mode: int = 0,
    dilations: Pair = (1, 1), pads: Sequence[int] = (0, 0, 0, 0), storage_order: int = 0,
    strides: Pair = (1, 1),
) -> Tensor:  # fmt: skip
    """The values; `storage_order` is of the indices, which we have not."""
    size = x.shape[2:]
    place = pooling(ceil_mode, dilations, auto_pad, pads, size, kernel_shape, strides)
    return channels_first(tg.max_pool2d(channels_last(x), kernel_shape, strides, place))


@named("AveragePool")
def average_pool(
    x: Tensor, *, kernel_shape: Pair, auto_pad: str = "NOTSET", ceil_mode: int = 0,
    count_include_pad: int = 0, dilations: Pair = (1, 1), pads: Sequence[int] = (0, 0, 0, 0),
    strides: Pair = (1, 1),
) -> Tensor:  # fmt: skip
    size = x.shape[2:]
    place = pooling(ceil_mode, dilations, auto_pad, pads, size, kernel_shape, strides)
    images = channels_last(x)
    if count_include_pad:  # zeros that count are pixels of the image
        images, place = tg.pad(images, pad_width=((0, 0), *place, (0, 0))), "valid"
    return channels_first(tg.avg_pool2d(images, kernel_shape, strides, place))


@named("GlobalAveragePool")
def global_average_pool(x: Tensor) -> Tensor:
    return tg.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@named("GlobalMaxPool")
def global_max_pool(x: Tensor) -> Tensor:
    return tg.max(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@named("Resize")
def resize(
    x: Tensor, roi: Any = None, scales: Any = None, sizes: Any = None, *, antialias: int = 0,
    axes: Any = None, coordinate_transformation_mode: str = "half_pixel",
    keep_aspect_ratio_policy: str = "stretch", mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:  # fmt: skip
    """Ours is round_prefer_ceil; the default differs where a centre meets an edge of two pixels."""
    has(
        antialias=(antialias, 0),
        coordinate_transformation_mode=(coordinate_transformation_mode, "half_pixel"),
        keep_aspect_ratio_policy=(keep_aspect_ratio_policy, "stretch"),
    )
    if mode == "cubic" or not nearest_mode.startswith("round"):
        raise NotImplementedError(f"{mode}, {nearest_mode}")
    size = list(x.shape)
    for i, axis in enumerate(axes or range(x.ndim)):
        new = whole(sizes)[i] if sizes is not None else size[axis] * float(scales[i])
        size[axis] = math.floor(new)
    assert size[:2] == list(x.shape[:2])
    ours = {"nearest": "nearest", "linear": "bilinear"}[mode]
    return channels_first(tg.resize2d(channels_last(x), tuple(size[2:]), ours))


@named("Upsample")
def upsample(x: Tensor, scales: Tensor, *, mode: str) -> Tensor:
    has(mode=(mode, "nearest"))
    n, c, *scale = whole(scales)
    assert (n, c) == (1, 1)
    return channels_first(tg.upsample2d(channels_last(x), tuple(scale), "nearest"))


@named("Pad")
def pad(
    x: Tensor, pad_input: Any = None, fill: Any = None, axes: Any = None, *, pads: Any = None,
    mode: str = "constant", value: float = 0.0,
) -> Tensor:  # fmt: skip
    counts = whole(pads if pad_input is None else pad_input)
    width = [(0, 0)] * x.ndim
    for i, axis in enumerate(range(x.ndim) if axes is None else whole(axes)):
        width[axis] = (counts[i], counts[i + len(counts) // 2])
    if mode == "reflect" and width[:2] == [(0, 0), (0, 0)]:
        return channels_first(tg.reflection_pad2d(channels_last(x), tuple(width[2:])))
    has(mode=(mode, "constant"))
    return tg.pad(x, pad_width=tuple(width), value=value if fill is None else float(fill))


# ---- normalisation -------------------------------------------------------------------------------


def given(layer: Any, **tensors: Tensor) -> Any:
    """The layer with these parameters, and buffers where it has those."""
    for name, value in tensors.items():
        setattr(layer, name, type(getattr(layer, name))(value))
    return layer


@named("BatchNormalization")
def batch_normalization(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, *, epsilon: float = 1e-5,
    is_test: int = 1, momentum: float = 0.9, training_mode: int = 0,
) -> tuple[Tensor, ...]:  # fmt: skip
    """momentum: the share of the old moments."""
    layer = given(
        nn.BatchNorm(x.shape[1], momentum=1 - momentum, eps=epsilon),
        weight=weight, bias=bias, running_mean=mean, running_var=var,
    )  # fmt: skip
    assert is_test
    layer.train(bool(training_mode))
    y = channels_first(layer(channels_last(x)))
    return (y, layer.running_mean) if training_mode else (y,)


@named("InstanceNormalization")
def instance_normalization(
    x: Tensor, weight: Tensor, bias: Tensor, *, epsilon: float = 1e-5
) -> Tensor:
    layer = given(nn.InstanceNorm(x.shape[1], eps=epsilon), weight=weight, bias=bias)
    return channels_first(layer(channels_last(x)))


@named("GroupNormalization")
def group_normalization(
    x: Tensor, weight: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5
) -> Tensor:
    layer = given(nn.GroupNorm(num_groups, x.shape[1], eps=epsilon), weight=weight, bias=bias)
    return channels_first(layer(channels_last(x)))


@named("LayerNormalization")
def layer_normalization(
    x: Tensor, weight: Tensor, bias: Tensor, *, axis: int = -1, epsilon: float = 1e-5
) -> tuple[Tensor, ...]:
    """Over the axes from `axis` on, which are joined to one for the layer; (y, mean, 1 / std)."""
    features, axes = weight.size, tuple(range(axis % x.ndim, x.ndim))
    weight, bias = tg.reshape(weight, -1), tg.reshape(bias, -1)
    layer = given(nn.LayerNorm(features, eps=epsilon), weight=weight, bias=bias)
    y = tg.reshape(layer(tg.reshape(x, (-1, features))), x.shape)
    std = tg.sqrt(tg.var(x, axis=axes, keepdims=True) + epsilon)
    return y, tg.mean(x, axis=axes, keepdims=True), 1 / std


@named("Softmax")
def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return tg.softmax(x, axis=axis)


@named("LogSoftmax")
def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return tg.log_softmax(x, axis=axis)


# ---- products ------------------------------------------------------------------------------------

OPERATORS["MatMul"] = tg.matmul


@named("Gemm")
def gemm(
    a: Tensor, b: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, beta: float = 1.0,
    broadcast: int = 1, transA: int = 0, transB: int = 0,
) -> Tensor:  # fmt: skip
    a, b = a.T if transA else a, b.T if transB else b
    if alpha == beta == 1 and (c is None or c.shape == (b.shape[1],)):
        return tg.linear(a, b, c)
    product = alpha * tg.matmul(a, b)
    return product if c is None else product + beta * c


# ---- element by element --------------------------------------------------------------------------

OPERATORS |= {
    "Abs": tg.abs, "Cos": tg.cos, "Equal": tg.equal, "Erf": tg.erf, "Exp": tg.exp,
    "Greater": tg.greater, "GreaterOrEqual": tg.greater_equal, "Less": tg.less,
    "LessOrEqual": tg.less_equal, "Log": tg.log, "Neg": tg.neg, "Pow": tg.power,
    "Reciprocal": lambda x: 1 / x, "Relu": tg.relu, "Sigmoid": tg.sigmoid, "Sign": tg.sign,
    "Sin": tg.sin, "Softplus": tg.softplus, "Sqrt": tg.sqrt, "Tanh": tg.tanh, "Where": tg.where,
}  # fmt: skip


def binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def run(x: Tensor, y: Tensor, *, axis: int | None = None, broadcast: int = 1) -> Tensor:
        if axis is not None:  # opset 6: y's axes are those of x from `axis` on
            y = tg.reshape(y, (*y.shape, *[1] * (x.ndim - axis - y.ndim)))
        return function(x, y)

    return run


for _name, _function in {"Add": tg.add, "Sub": tg.sub, "Mul": tg.mul, "Div": tg.div}.items():
    OPERATORS[_name] = binary(_function)

for _name, _function in {"Max": tg.maximum, "Min": tg.minimum, "Sum": tg.add}.items():
    OPERATORS[_name] = lambda *xs, function=_function: functools.reduce(function, xs)


@named("Mean")
def mean(*xs: Tensor) -> Tensor:
    return tg.mean(tg.stack(xs), axis=0)


@named("Clip")
def clip(x: Tensor, low: Any = None, high: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = (a if a is None else a.item() for a in (low, high))
    return tg.clip(x, low=min if low is None else low, high=max if high is None else high)


@named("LeakyRelu")
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return tg.leaky_relu(x, slope=alpha)


@named("Gelu")
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    has(approximate=(approximate, "none"))
    return tg.gelu(x)


@named("Swish")
def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    has(alpha=(alpha, 1.0))
    return tg.silu(x)


# ---- reductions ----------------------------------------------------------------------------------


def reduction(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(
        x: Tensor, axes_input: Any = None, *, axes: Any = None, keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:  # fmt: skip
        over = axes_of(axes_input, axes)
        if over is None and noop_with_empty_axes:
            return x
        return function(x, axis=over, keepdims=bool(keepdims))

    return run


OPERATORS |= {
    "ReduceLogSumExp": reduction(tg.logsumexp),
    "ReduceMax": reduction(tg.max),
    "ReduceMean": reduction(tg.mean),
    "ReduceMin": reduction(tg.min),
    "ReduceSum": reduction(tg.sum),
}


@named("ArgMax")
def argmax(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    has(select_last_index=(select_last_index, 0))
    return tg.argmax(x, axis=axis, keepdims=bool(keepdims))


@named("CumSum")
def cumsum(x: Tensor, over: Tensor, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    axis = int(over)
    ordered = tg.flip(x, axis=axis) if reverse else x
    sums = tg.cumsum(ordered, axis=axis)
    sums = sums - ordered if exclusive else sums
    return tg.flip(sums, axis=axis) if reverse else sums


# ---- shapes and indices --------------------------------------------------------------------------


@named("Constant")
def constant(*, value: np.ndarray) -> Tensor:
    return tg.tensor(value)


@named("Transpose")
def transpose(x: Tensor, *, perm: Any = None) -> Tensor:
    return tg.transpose(x, axes=perm)


@named("Reshape")
def reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    sizes = whole(shape)  # a 0 stands for the size that x has there
    kept = (x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(sizes))
    return tg.reshape(x, tuple(kept))


@named("Flatten")
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    rows = math.prod(x.shape[: axis if axis >= 0 else x.ndim + axis])
    return tg.reshape(x, (rows, -1))


@named("Concat")
def concat(*xs: Tensor, axis: int) -> Tensor:
    return tg.concatenate(xs, axis=axis)


@named("Slice")
def slice_(
    x: Tensor, start: Any = None, end: Any = None, along: Any = None, step: Any = None, *,
    starts: Any = None, ends: Any = None, axes: Any = None,
) -> Tensor:  # fmt: skip
    first = whole(starts if start is None else start)
    last = whole(ends if end is None else end)
    over = axes_of(along, axes) or range(len(first))
    steps = (1,) * len(first) if step is None else whole(step)
    index = [slice(None)] * x.ndim
    for axis, *limits in zip(over, first, last, steps, strict=True):
        index[axis] = slice(*limits)
    return x[tuple(index)]


@named("Squeeze")
def squeeze(x: Tensor, along: Any = None, *, axes: Any = None) -> Tensor:
    return tg.squeeze(x, axis=axes_of(along, axes))


@named("Unsqueeze")
def unsqueeze(x: Tensor, along: Any = None, *, axes: Any = None) -> Tensor:
    return tg.expand_dims(x, axis=axes_of(along, axes))


@named("Expand")
def expand(x: Tensor, shape: Tensor) -> Tensor:
    return tg.broadcast_to(x, shape=np.broadcast_shapes(x.shape, whole(shape)))


@named("Gather")
def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    return tg.take(x, indices, axis=axis)


@named("OneHot")
def one_hot(labels: Tensor, depth: Tensor, values: Tensor, *, axis: int = -1) -> Tensor:
    hot = tg.one_hot(labels, classes=int(depth), dtype="bool")
    order = list(range(labels.ndim))
    order.insert(axis % hot.ndim, labels.ndim)
    return tg.where(tg.transpose(hot, axes=tuple(order)), values[1], values[0])


# ---- a graph -------------------------------------------------------------------------------------


def attribute(proto: Any) -> Any:
    """An attribute's value: text as str, several numbers as a tuple, a tensor as an array."""
    from onnx import helper, numpy_helper  # onnx takes a second to import

    value = helper.get_attribute_value(proto)
    if proto.type == proto.TENSOR:
        return numpy_helper.to_array(value)
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, (int, float)) else tuple(value)


def run(graph: Any, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """`values` with what the nodes compute, in order, by name."""
    for node in graph.node:
        attributes = {a.name: attribute(a) for a in node.attribute}
        inputs = [values[name] if name else None for name in node.input]
        out = OPERATORS[node.op_type](*inputs, **attributes)
        values.update(zip(node.output, out if isinstance(out, tuple) else (out,), strict=False))
    return values
