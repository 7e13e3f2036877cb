"""Record what PyTorch's layers of images compute, for test_nn_conv.py.

    pip install torch && python tests/record_layers.py

Run by hand: PyTorch is no dependency of the tests. The arguments are computed by `arguments` on
both sides, in tinygen's layouts: images (n, height, width, channels), kernels (height, width, in,
out). Of each result and of each gradient three weighted sums are stored, in data/layers.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from record_trajectories import numbers

FILE = Path(__file__).parent / "data" / "layers.json"
FORMAT = 1
MOMENTUM, EPS = 0.3, 1e-3

_IMAGES = (2, 5, 6, 4)
_AFFINE = {"x": _IMAGES, "weight": (4,), "bias": (4,)}
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "conv2d": {"x": _IMAGES, "weight": (3, 2, 2, 6), "bias": (6,)},
    "conv_transpose2d": {"x": _IMAGES, "weight": (3, 4, 4, 3), "bias": (6,)},
    "batch_norm": _AFFINE,
    "group_norm": _AFFINE,
    "instance_norm": _AFFINE,
    "layer_norm": _AFFINE,
    "max_pool2d": {"x": _IMAGES},
    "avg_pool2d": {"x": _IMAGES},
    "bilinear_larger": {"x": _IMAGES},
    "bilinear_smaller": {"x": _IMAGES},
    "nearest": {"x": _IMAGES},
    "reflection_pad2d": {"x": _IMAGES},
    "spectral_norm": {"x": _IMAGES, "weight": (3, 2, 4, 6), "bias": (6,)},
}

# ---- the same numbers on both sides --------------------------------------------------------------


def centred(name: str, *shape: int) -> np.ndarray:
    """Uniform float64 numbers in [-1, 1), functions of the name."""
    return 2 * numbers(name, *shape) - 1


def arguments(case: str) -> dict[str, np.ndarray]:
    """The images and the parameters of a case."""
    return {name: centred(f"{case} {name}", *shape) for name, shape in SHAPES[case].items()}


def sums(what: str, values: np.ndarray) -> list[float]:
    """Three weighted sums, which no other order of the elements has."""
    return [float((values * centred(f"{what} {i}", *values.shape)).sum()) for i in range(3)]


# ---- PyTorch's side ------------------------------------------------------------------------------


def _cases(torch: Any) -> dict[str, Callable[..., Any]]:
    """Functions of channels-first images and parameters."""
    f = torch.nn.functional

    def batch_norm(x: Any, weight: Any, bias: Any) -> Any:
        return f.batch_norm(x, None, None, weight, bias, True, MOMENTUM, EPS)

    def resize(size: tuple[int, int], mode: str) -> Callable[[Any], Any]:
        more = {} if mode == "nearest-exact" else {"align_corners": False}
        return lambda x: f.interpolate(x, size=size, mode=mode, **more)

    def spectral_norm(x: Any, weight: Any, bias: Any) -> Any:
        """The second of two calls in training, from u = centred("u") made a unit vector."""
        layer = torch.nn.utils.spectral_norm(torch.nn.Conv2d(4, 6, (3, 2)))
        layer.weight_u = f.normalize(torch.tensor(centred("u", 6)), dim=0)
        layer.weight_v = layer.weight_v.double()
        del layer.weight_orig, layer.bias
        layer.weight_orig, layer.bias = weight.permute(3, 2, 0, 1), bias
        layer(x)
        return layer(x)

    return {
        "conv2d": lambda x, weight, bias: f.conv2d(
            x, weight.permute(3, 2, 0, 1), bias, stride=(2, 1), padding=(1, 2), groups=2
        ),
        "conv_transpose2d": lambda x, weight, bias: f.conv_transpose2d(
            x, weight.permute(2, 3, 0, 1), bias, stride=2, padding=1, output_padding=1, groups=2
        ),
        "batch_norm": batch_norm,
        "group_norm": lambda x, weight, bias: f.group_norm(x, 2, weight, bias, EPS),
        "instance_norm": lambda x, weight, bias: f.instance_norm(
            x, weight=weight, bias=bias, eps=EPS
        ),
        "layer_norm": lambda x, weight, bias: f.layer_norm(
            x.permute(0, 2, 3, 1), (4,), weight, bias, EPS
        ).permute(0, 3, 1, 2),
        "max_pool2d": lambda x: f.max_pool2d(x, (3, 2), stride=2, padding=1),
        "avg_pool2d": lambda x: f.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
        "bilinear_larger": resize((9, 12), "bilinear"),
        "bilinear_smaller": resize((3, 5), "bilinear"),
        "nearest": resize((3, 10), "nearest-exact"),
        "reflection_pad2d": lambda x: f.pad(x, (3, 1, 2, 0), mode="reflect"),
        "spectral_norm": spectral_norm,
    }  # fmt: skip


def main() -> None:
    import torch

    torch.set_num_threads(1)
    made: dict[str, Any] = {}
    for case, layer in _cases(torch).items():
        leaves = {k: torch.tensor(v).requires_grad_() for k, v in arguments(case).items()}
        rest = [leaves[k] for k in leaves if k != "x"]
        y = layer(leaves["x"].permute(0, 3, 1, 2), *rest).permute(0, 2, 3, 1)
        (y * torch.tensor(centred(f"{case} cotangent", *y.shape))).sum().backward()
        made[case] = {"shape": list(y.shape), "y": sums("y", y.detach().numpy())}
        made[case] |= {k: sums(k, v.grad.numpy()) for k, v in leaves.items()}

    x = torch.tensor(arguments("batch_norm")["x"]).permute(0, 3, 1, 2)
    norm = torch.nn.BatchNorm2d(4, EPS, MOMENTUM, affine=False, dtype=torch.float64)
    norm(x)
    evaluated = norm.eval()(x).permute(0, 2, 3, 1).numpy()
    made["batch_norm"] |= {"mean": norm.running_mean.tolist(), "var": norm.running_var.tolist()}
    made["batch_norm"]["evaluated"] = sums("evaluated", evaluated)

    out = {"format": FORMAT, "torch": torch.__version__, "cases": made}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    print(f"{FILE.name}: {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
