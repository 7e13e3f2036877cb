"""tinygen against ONNX's operator test vectors: node tests, and models that PyTorch exported.

Every vector of an operator in onnx_nodes.OPERATORS passes, or is in a table below with the reason;
those in the tables must fail, so that no reason outlives its cause. Not among them are vectors
called `_expanded`: the same numbers once more, the operator written in terms of others.
"""

from __future__ import annotations

import functools
import importlib
import re
import warnings
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_nodes import OPERATORS, run
from strategies import BACKENDS

import tinygen as tg

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
# Written down with four decimals, the images and their means: those are compared to 1e-4.
FOUR_DECIMALS = ("test_averagepool_2d_ceil_last_window_starts_on_pad",)
PYTORCH = "PyTorch"  # stands for its models, in place of an operator
SLOW = ("AveragePool", "MaxPool")  # ONNX pools large volumes in Python to make the vectors

# What we do not have, by operator: the vectors' names, and why.
NOT_2D = "images have two directions"
DILATED = "windows of poolings have no gaps"
HALF_PIXEL = "positions are half_pixel's"
INTEGER = "floating-point only"
LATER_PIXEL = "on the edge between two pixels, ours is the later, ONNX's default the earlier"
LEFT_OUT: dict[str, dict[str, str]] = {
    "ArgMax": {"*_select_last_index": "ties go to the first"},
    "AveragePool": {"*_[13]d_*": NOT_2D, "*_2d_dilations": DILATED},
    "Clip": {"*_min_greater_than_max": "an error: low above high"},
    "ConvTranspose": {"*_[13]d": NOT_2D},
    "CumSum": {"*_int32*": "sums of integers are int64, as NumPy's"},
    "Div": {"*_int*": INTEGER, "*_uint*": INTEGER},
    "Equal": {"*_string*": "numbers only"},
    "Gelu": {"*_tanh_*": "exact only"},
    "Max": {"*_float16": "float16 becomes float32"},
    "MaxPool": {"*_[13]d_*": NOT_2D, "*_2d_dilations": DILATED, "*_uint8": INTEGER},
    "Min": {"*_float16": "float16 becomes float32"},
    "OneHot": {
        "*_with_axis": "labels are integers",
        "*_with_negative_axis": "labels are integers",
        "*_negative_indices": "an error: a label outside",
        "*_out_of_range_indices": "an error: a label outside",
        "*_bfloat16_*": "float32 and float64 only",
    },
    "Pad": {"*_edge_pad": "no such mode", "*_wrap_pad": "no such mode"},
    "Pow": {"*_types_*": "floating-point only, both of one dtype"},
    "ReduceLogSumExp": {"*_empty_set": "an error: no elements"},
    "ReduceMax": {"*_empty_set*": "an error: no elements"},
    "ReduceMin": {"*_empty_set": "an error: no elements"},
    "Resize": {
        "*_cubic*": "no such mode",
        "*_antialias": "no such option; avg_pool2d averages",
        "*_align_corners": HALF_PIXEL,
        "*_asymmetric": HALF_PIXEL,
        "*_half_pixel_symmetric": HALF_PIXEL,
        "*_pytorch_half_pixel": HALF_PIXEL,
        "*_tf_crop_and_resize*": HALF_PIXEL,
        "*_nearest_ceil_*": "the nearest pixel only",
        "*_not_larger": "sizes are as given",
        "*_not_smaller": "sizes are as given",
        "*_downsample_scales_nearest": "0.6 of 4 pixels: ours takes the scale that sizes have",
        "*_downsample_scales_linear": "0.6 of 4 pixels: ours takes the scale that sizes have",
        "*_upsample_sizes_nearest": LATER_PIXEL,
        "*_upsample_sizes_nearest_axes_*": LATER_PIXEL,
        "*_downsample_sizes_nearest": LATER_PIXEL,
    },
    PYTORCH: {
        "test_AvgPool3d*": NOT_2D,
        "test_Conv[13]d*": NOT_2D,
        "test_MaxPool[13]d*": NOT_2D,
        "test_operator_maxpool": NOT_2D,
        "test_MaxPool2d_*_dilation": DILATED,
        "test_ReplicationPad2d": "no such mode",
    },
}
# How many of the outputs are compared, and why not all.
PARTLY: dict[str, dict[str, tuple[int, str]]] = {
    "BatchNormalization": {
        "*_training_mode": (2, "the running variance has Bessel's correction, as PyTorch's"),
    },
    "MaxPool": {"*_with_argmax_*": (1, "no indices")},
}


@dataclass(frozen=True)
class Vector:
    name: str
    graph: Any
    inputs: dict[str, Any]
    outputs: dict[str, Any]


@functools.cache
def files() -> dict[str, str]:
    """The file in which ONNX keeps an operator's node tests, by operator."""
    from onnx.backend.test.case import node  # onnx takes a second to import

    return {
        operator: file.stem
        for file in Path(str(node.__file__)).parent.glob("*.py")
        for operator in re.findall(r"^class (\w+)\(Base\)", file.read_text("utf-8"), re.MULTILINE)
    }


@functools.cache
def node_tests(operator: str) -> list[Vector]:
    """ONNX's vectors for one operator, made as it imports the file of that operator."""
    from onnx.backend.test.case import node

    have = len(node._NodeTestCases)
    with warnings.catch_warnings():  # NumPy's, where a vector is about a division by zero
        warnings.simplefilter("ignore", RuntimeWarning)
        importlib.import_module(f"{node.__name__}.{files()[operator]}")
    cases = [c for c in node._NodeTestCases[have:] if "_expanded" not in c.name]
    assert {n.op_type for c in cases for n in c.model.graph.node} == {operator}
    return [
        Vector(c.name, graph, *(
            dict(zip((v.name for v in names), arrays, strict=True))
            for names, arrays in zip((graph.input, graph.output), c.data_sets[0], strict=True)
        ))
        for c in cases for graph in [c.model.graph]
    ]  # fmt: skip


@functools.cache
def pytorchs() -> list[Vector]:
    """Models that PyTorch exported, with its numbers: those of operators that we have."""
    import onnx
    from onnx.backend.test import loader

    def arrays(folder: Path, kind: str) -> list[Any]:
        files = [folder / f"{kind}_{i}.pb" for i in range(len(list(folder.glob(f"{kind}_*.pb"))))]
        return [onnx.numpy_helper.to_array(onnx.load_tensor(file)) for file in files]

    out = []
    for folder in sorted(Path(loader.DATA_DIR).glob("pytorch-*/*")):
        graph = onnx.load(folder / "model.onnx").graph
        if all(node.op_type in OPERATORS for node in graph.node):
            (data,) = folder.glob("test_data_set_*")
            weights = {w.name: onnx.numpy_helper.to_array(w) for w in graph.initializer}
            names = [i.name for i in graph.input]
            inputs = weights | dict(zip(names, arrays(data, "input"), strict=False))
            outputs = zip((o.name for o in graph.output), arrays(data, "output"), strict=True)
            out.append(Vector(folder.name, graph, inputs, dict(outputs)))
    return out


def vectors(operator: str) -> list[Vector]:
    return pytorchs() if operator == PYTORCH else node_tests(operator)


# ---- running them --------------------------------------------------------------------------------


def difference(vector: Vector, outputs: int | None = None) -> str | None:
    """What is wrong with our results, or with the first of them; None if nothing is."""
    try:
        values = {name: tg.tensor(value) for name, value in vector.inputs.items()}
        values = run(vector.graph, values)
        close = CLOSE | ({"atol": 1e-4} if vector.name in FOUR_DECIMALS else {})
        for name, want in list(vector.outputs.items())[:outputs]:
            have = values[name].numpy()
            assert (have.dtype, have.shape) == (want.dtype, want.shape), have.dtype
            np.testing.assert_allclose(have, want, **close)
    except Exception as error:  # of any kind: what we do not have fails in many ways
        return f"{type(error).__name__}: {error}"
    return None


def named(found: list[Vector], rows: dict[str, Any]) -> dict[str, Any]:
    """The rows' values by vector; each row is about at least one."""
    out: dict[str, Any] = {}
    for pattern, value in rows.items():
        names = [v.name for v in found if fnmatchcase(v.name, pattern)]
        assert names, f"no vector is called {pattern}"
        out |= dict.fromkeys(names, value)
    return out


def test_the_tables_are_about_operators_that_we_have() -> None:
    assert {*LEFT_OUT, *PARTLY} <= {*OPERATORS, PYTORCH}


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(
    "operator",
    [*(pytest.param(o, marks=pytest.mark.slow) if o in SLOW else o for o in OPERATORS), PYTORCH],
)
def test_vectors(operator: str, name: str) -> None:
    found = vectors(operator)
    left_out = named(found, LEFT_OUT.get(operator, {}))
    partly = named(found, PARTLY.get(operator, {}))
    wrong = {}
    with tg.use_backend(name):
        for vector in found:
            outputs, _ = partly.get(vector.name, (None, ""))
            wrong[vector.name] = difference(vector, outputs)
            assert outputs is None or difference(vector), f"all of {vector.name} agrees"
    unlisted = {name: why for name, why in wrong.items() if why and name not in left_out}
    assert not unlisted
    stale = {name: why for name, why in left_out.items() if not wrong[name]}
    assert not stale
