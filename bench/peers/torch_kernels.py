"""PyTorch's side of bench/kernels.py: the same operations on the same numbers.

    python bench/peers/torch_kernels.py '{}'

| line                                        | answer                                             |
|---------------------------------------------|----------------------------------------------------|
| (at the start)                              | {"ready": version and threads}                     |
| {"do": "result", "case": name}              | {"result": fingerprint of one call, null if random}|
| {"do": "run", "case": name, "seconds": s}   | {"s": seconds a call, over about s seconds}        |

Updates are those of torch.optim with fused=True, the Python around them included. Results are
written into arrays that are there where PyTorch has a way to say so.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from cases import (
    ADAM,
    BLOCK,
    CONVOLUTIONS,
    CONVOLVED,
    KERNEL,
    LR,
    MOMENTUM,
    PAIRS,
    POOLED,
    POOLINGS,
    SLOPE,
    WHOLE,
    Case,
    P,
    cases,
    convolutions,
    fingerprint,
    seconds_of,
)  # fmt: skip
from worker import channel

Made = tuple[Callable[[], Any], list[torch.Tensor] | None]  # what runs; what it changes in place

ELEMENTWISE = {
    "exp": torch.exp, "log": torch.log, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "erf": torch.erf,
}  # fmt: skip
ACTIVATIONS = {
    "relu": F.relu, "softplus": F.softplus, "silu": F.silu, "gelu": F.gelu,
    "leaky_relu": lambda x: F.leaky_relu(x, SLOPE),
}  # fmt: skip
DRAWN = {
    "random_words": lambda shape: torch.randint(2**31, shape, dtype=torch.int32),
    "random_uniform": torch.rand, "random_normal": torch.randn,
    "random_bernoulli": lambda shape: torch.rand(shape) < P,
    "random_integers": lambda shape: torch.randint(1000, shape),
}  # fmt: skip


def reduction(case: Case, x: torch.Tensor) -> Callable[[], Any]:
    if case.op == "sum_to":
        shape = case.static["shape"]
        axis = 0 if len(shape) == 1 else 1
        return lambda: torch.sum(x, dim=axis).reshape(shape)
    function = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}[case.op]
    axis = case.static["axis"]
    if axis is None:
        return lambda: function(x)
    return lambda: function(x, dim=axis)


def update(case: Case, tensors: list[torch.Tensor]) -> Made:
    p, g = tensors[:2]
    if case.op == "ema_step":
        return lambda: p.lerp_(g, LR), [p]
    p.requires_grad_(True)
    p.grad = g
    optimizer: Any
    if case.op == "adam_step":
        betas = (ADAM["beta1"], ADAM["beta2"])
        optimizer = torch.optim.Adam([p], lr=LR, betas=betas, eps=ADAM["eps"], fused=True)
        optimizer.state[p] = {
            "step": torch.tensor(0.0), "exp_avg": tensors[2], "exp_avg_sq": tensors[3]
        }  # fmt: skip
    elif case.op == "sgd_momentum_step":
        optimizer = torch.optim.SGD([p], lr=LR, momentum=MOMENTUM["momentum"], fused=True)
        optimizer.state[p] = {"momentum_buffer": tensors[2]}
    else:
        optimizer = torch.optim.SGD([p], lr=LR, fused=True)
    return optimizer.step, [p, *tensors[2:]]


def convolution(case: Case) -> Callable[[], Any]:
    """As the DCGAN's layers run it in channels_last, with the zeros and cuts of their "same".

    The backward half sees images that were padded in the forward one, or pads a gradient of what
    was cut, as autograd does.
    """
    static = case.static
    n, s, (before, after) = static["size"], static["stride"], static["zeros"]
    around = (before, after, before, after)
    arrays = [torch.from_numpy(np.ascontiguousarray(a)) for a in case.arrays()]
    images = [a.permute(0, 3, 1, 2) for a in arrays if a.shape[0] == CONVOLVED]
    if case.op == "conv2d_dw":
        w = torch.zeros(images[1].shape[1], images[0].shape[1], KERNEL, KERNEL)
    else:
        w = arrays[1].permute((2, 3, 0, 1) if static["transposed"] else (3, 2, 0, 1))
    last, back = torch.channels_last, torch.ops.aten.convolution_backward
    w, x = w.contiguous(memory_format=last), images[0]
    if static["transposed"]:
        if case.op == "conv2d_dx":
            return lambda: images_last(F.conv_transpose2d(x, w, None, s, before)[..., :n, :n])
        few, lack = n // s, after - before  # rows of the input; rows that were cut at the end
        args = ([0], [s, s], [before, before], [1, 1], True, [0, 0], 1)
        grown = lambda: F.pad(x, (0, lack, 0, lack)) if lack else x
        if case.op == "conv2d_nd":
            given = torch.zeros(len(x), len(w), few, few).contiguous(memory_format=last)
            return lambda: images_last(back(grown(), given, w, *args, [True, False, False])[0])
        mask = [False, True, False]
        return lambda: back(grown(), images[1], w, *args, mask)[1].permute(2, 3, 0, 1)
    args = ([0], [s, s], [0, 0], [1, 1], False, [0, 0], 1)
    if case.op == "conv2d_nd":
        return lambda: images_last(F.conv2d(F.pad(x, around), w, None, s))
    if case.op == "conv2d_dx":
        given = torch.zeros(len(x), w.shape[1], n, n).contiguous(memory_format=last)
        given, mask, cut = F.pad(given, around), [True, False, False], tuple(-z for z in around)
        return lambda: images_last(F.pad(back(x, given, w, *args, mask)[0], cut))
    padded, mask = F.pad(x, around), [False, True, False]
    return lambda: back(images[1], padded, w, *args, mask)[1].permute(2, 3, 1, 0)


def pooling(case: Case) -> Callable[[], Any]:
    """In channels_last; the places of the maxima are those of a pooling done before."""
    arrays = [torch.from_numpy(a).permute(0, 3, 1, 2) for a in case.arrays()]
    x, side, aten = arrays[0], [POOLED, POOLED], torch.ops.aten
    if case.op == "max_pool2d_nd":
        return lambda: images_last(F.max_pool2d(x, POOLED))
    if case.op == "avg_pool2d_nd":
        return lambda: images_last(F.avg_pool2d(x, POOLED))
    if case.op == "avg_pool2d_dx":
        n, c, rows, columns = x.shape
        given = torch.zeros(n, c, POOLED * rows, POOLED * columns)
        given = given.contiguous(memory_format=torch.channels_last)
        args = (side, side, [0, 0], False, True, None)
        return lambda: images_last(aten.avg_pool2d_backward(x, given, *args))
    _, places = F.max_pool2d(arrays[1], POOLED, return_indices=True)
    if case.op == "max_pool2d_pick":
        return lambda: images_last(x.flatten(2).gather(2, places.flatten(2)).view(places.shape))
    args = (side, side, [0, 0], [1, 1], False, places)
    back = aten.max_pool2d_with_indices_backward
    return lambda: images_last(back(x, arrays[1], *args))


def images_last(x: torch.Tensor) -> torch.Tensor:
    """(n, c, h, w) as (n, h, w, c)."""
    return x.permute(0, 2, 3, 1)


INDEXED: dict[str, Callable[..., torch.Tensor]] = {
    "take": lambda x, i, shape: F.embedding(i, x),
    "scatter_add": lambda x, i, shape: torch.ops.aten.embedding_dense_backward(
        x, i, shape[0], -1, False
    ),
    "take_along_axis": lambda x, i, shape: x.gather(1, i),
    "add_along_axis": lambda x, i, shape: torch.zeros(shape).scatter_add_(1, i, x),
}


def norm_groups(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int
) -> torch.Tensor:
    return images_last(F.group_norm(x.permute(0, 3, 1, 2), groups, weight, bias, 1e-5))


def norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Of rows (n, c), or of groups (n, pixels, groups, channels) as images in channels_last."""
    if x.ndim == 2:
        return F.layer_norm(x, weight.shape, weight, bias, 1e-5)
    n, pixels, groups, channels = x.shape
    image = x.reshape(n, pixels, 1, groups * channels)
    return norm_groups(image, weight.flatten(), bias.flatten(), groups).reshape(x.shape)


def norm_silu(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, modulation: torch.Tensor
) -> torch.Tensor:
    return F.silu(norm(x, weight, bias) * (1 + modulation[:, :1]) + modulation[:, 1:])


def attention_of_places(x: torch.Tensor, heads: int) -> torch.Tensor:
    n, places, width = x.shape
    parts = x.reshape(n, places, 3, heads, width // 3 // heads).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(*parts)
    return y.transpose(1, 2).reshape(n, places, width // 3)


def upsampled(x: torch.Tensor) -> torch.Tensor:
    return images_last(F.interpolate(x.permute(0, 3, 1, 2), scale_factor=BLOCK))


def to_channels(x: torch.Tensor) -> torch.Tensor:
    """PyTorch's pixel_unshuffle orders channels in another way."""
    n, h, w, c = x.shape
    parts = x.reshape(n, h // BLOCK, BLOCK, w // BLOCK, BLOCK, c).permute(0, 1, 3, 2, 4, 5)
    return parts.reshape(n, h // BLOCK, w // BLOCK, BLOCK * BLOCK * c)


def to_pixels(x: torch.Tensor) -> torch.Tensor:
    n, h, w, c = x.shape
    parts = x.reshape(n, h, w, BLOCK, BLOCK, c // BLOCK**2).permute(0, 1, 3, 2, 4, 5)
    return parts.reshape(n, h * BLOCK, w * BLOCK, c // BLOCK**2)


def whole(case: Case, tensors: list[torch.Tensor]) -> Callable[[], Any]:
    """Forward, or only what backward does of a function that was called before."""
    function: Callable[..., torch.Tensor]
    function = {
        "normalise": norm, "normalise_silu": norm_silu, "attend": F.scaled_dot_product_attention,
        "normalise_groups": lambda *xs: norm_groups(*xs, case.static["groups"]),
        "attend_self": lambda x: attention_of_places(x, case.static["heads"]),
        "pixels_repeated": upsampled, "pixels_to_channels": to_channels,
        "channels_to_pixels": to_pixels, "concat": lambda *xs: torch.cat(xs, dim=3),
        "pixels_added": upsampled, "squares_along": lambda x: torch.square(x).sum(dim=1),
        "product_along": lambda x: x.prod(dim=case.static["axis"]),
        "product_without": lambda x: x.prod(dim=case.static["axis"]),
    }[case.op.removesuffix("_dx")]  # fmt: skip
    if case.op == "pixels_added":  # the gradient of the images that were repeated
        n, h, w, c = case.shapes[0]
        tensors = [*tensors, torch.zeros(n, h // BLOCK, w // BLOCK, c)]
    elif case.op == "product_without":
        tensors = [torch.ones(case.shapes[0][1 - case.static["axis"]]), *tensors]
    elif not case.op.endswith("_dx"):
        return lambda: function(*tensors)
    g, *inputs = tensors
    if case.op in ("normalise_dx", "normalise_groups_dx"):
        inputs.append(torch.zeros_like(inputs[1]))
    with torch.enable_grad():
        inputs = [x.requires_grad_(True) for x in inputs]
        y = function(*inputs)
    return lambda: torch.autograd.grad(y, inputs, g, retain_graph=True)


def prepared(case: Case) -> Made:
    if case.op in CONVOLUTIONS:
        return convolution(case), None
    if case.op in POOLINGS:
        return pooling(case), None
    if case.op in DRAWN:
        return lambda: DRAWN[case.op](case.shapes[0]), None
    tensors = [torch.from_numpy(a) for a in case.arrays()[: len(case.shapes)]]
    x = tensors[0]
    if case.op == "dropout":
        return lambda: F.dropout(x, P), None
    if case.op in ("sgd_step", "sgd_momentum_step", "adam_step", "ema_step"):
        return update(case, tensors)
    if case.op == "gather_images":
        low, high = case.static["low"], case.static["high"]

        def gather() -> torch.Tensor:
            values = x[tensors[1]].to(torch.float32).div_(255)
            return values if (low, high) == (0, 1) else values.mul_(high - low).add_(low)

        return gather, None
    if case.op == "matmul_nd":
        product = torch.empty(*case.shapes[0][:-1], case.shapes[1][-1])
        return lambda: torch.matmul(x, tensors[1], out=product), None
    if case.op in WHOLE:
        return whole(case, tensors), None
    if case.op in PAIRS:
        return lambda: getattr(torch, case.op)(x, tensors[1]), None
    if case.op in INDEXED:
        return lambda: INDEXED[case.op](x, tensors[1], case.static.get("shape")), None
    if case.op in ("softmax", "log_softmax", "logsumexp"):
        function = getattr(torch, case.op)
        return lambda: function(x, dim=-1), None
    if case.op in ELEMENTWISE:
        out, elementwise = torch.empty_like(x), ELEMENTWISE[case.op]
        return lambda: elementwise(x, out=out), None
    if case.op in ACTIVATIONS:
        return lambda: ACTIVATIONS[case.op](x), None
    if case.op != "fused":
        return reduction(case, x), None
    bias = tensors[1]
    if case.title == "bias+leaky_relu":
        return lambda: F.leaky_relu(x + bias, SLOPE), None
    return lambda: F.dropout(F.leaky_relu(x + bias, SLOPE), P), None


def main() -> None:
    say = channel()
    known = {case.name: case for case in [*cases(), *convolutions(CONVOLVED)]}
    made: dict[str, Made] = {}
    about = {"version": torch.__version__, "threads": torch.get_num_threads()}
    say({"ready": {"python": platform.python_version(), **about}})
    with torch.no_grad():
        for line in sys.stdin:
            request = json.loads(line)
            case = known[request["case"]]
            if request["do"] == "result":
                run, changed = prepared(case)
                out = run()
                found = changed or (out if isinstance(out, tuple) else [out])
                random = "dropout" in case.title
                say({"result": None if random else fingerprint(t.detach().numpy() for t in found)})
                continue
            if case.name not in made:
                made.clear()  # one case at a time in memory
                made[case.name] = prepared(case)
            say({"s": seconds_of(made[case.name][0], request["seconds"])})


if __name__ == "__main__":
    main()
