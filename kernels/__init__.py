"""Fast versions of named operations, installed as the import package `tinygen_kernels`.

A kernel is a function for one primitive or fused operation of tinygen. It takes raw arrays and the
operation's keyword arguments, may decline by returning NotImplemented, and never changes dtype,
shape or meaning. `kernel.bind(...)` takes the same arguments and `out=`, and returns what would
run, for a plan. This package imports nothing from tinygen.

`TABLES[backend][operation] = "module:function"`; tinygen imports a module when its operation is
first called. The function of an operation in `MADE` makes the kernel, from the operation's name and
a function of its options that gives its program (pointwise.py): `function(name, program)`.
"""

from collections.abc import Iterable

from . import pointwise

_CPU = {
    "matmul": "matmul_nd",
    "conv": "conv2d_nd conv2d_dx",
    "conv_dw": "conv2d_dw",
    "pool": "max_pool2d_nd max_pool2d_dx max_pool2d_pick avg_pool2d_nd avg_pool2d_dx",
    "attention": "attend attend_dx attend_self attend_self_dx",
    "pixels": "pixels_repeated pixels_added pixels_to_channels channels_to_pixels",
    "reduce": "sum mean max min sum_to",
    "squares": "sum_of_squares",
    "concat": "concat",
    "totals": "squares_along product_along product_without",
    "softmax": "softmax log_softmax logsumexp",
    "normalise": "normalise normalise_dx normalise_groups normalise_groups_dx",
    "index": "take scatter_add take_along_axis add_along_axis",
    "normalise_silu": "normalise_silu normalise_silu_dx",
    "optim": "sgd_step sgd_momentum_step adam_step ema_step",
    "random": (
        "random_words random_uniform random_normal random_bernoulli random_integers dropout advance"
    ),
}

_CUDA = {
    "matmul": "matmul_nd linear_fused",
    "conv": "conv2d_nd conv2d_dx conv2d_dw",
    "pool": "max_pool2d_nd max_pool2d_dx max_pool2d_pick avg_pool2d_nd avg_pool2d_dx",
    "pixels": "pixels_repeated pixels_added pixels_to_channels channels_to_pixels",
    "reduce": "sum mean max min sum_to argmax",
    "totals": "squares_along sum_of_squares product_along product_without",
    "normalise": "normalise normalise_dx",
    "normalise_silu": "normalise_silu normalise_silu_dx",
    "attention": "attend attend_dx attend_self attend_self_dx",
    "softmax": "softmax log_softmax logsumexp",
    "index": "take scatter_add take_along_axis add_along_axis one_hot",
    "optim": "sgd_step sgd_momentum_step adam_step ema_step update_running",
    "random": (
        "random_words random_uniform random_normal random_bernoulli random_integers dropout advance"
    ),
}


MADE = frozenset((*pointwise.ON_CPU, *pointwise.ON_GPU))


def _table(place: str, families: dict[str, str], alone: Iterable[str]) -> dict[str, str]:
    named = {
        operation: f"tinygen_kernels.{place}.{module}:{operation}"
        for module, operations in families.items()
        for operation in operations.split()
    }
    return named | dict.fromkeys(alone, f"tinygen_kernels.{place}.activations:made")


TABLES = {
    "numpy": _table("cpu", _CPU, pointwise.ON_CPU),
    "cupy": _table("cuda", _CUDA, pointwise.ON_GPU),
    "emulated": _table("cuda", _CUDA, pointwise.ON_GPU),
}
