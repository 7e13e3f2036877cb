"""The core stays small: the budgets of bench/core_size.py, and that the counter counts right."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _load():
    spec = importlib.util.spec_from_file_location("core_size", ROOT / "bench" / "core_size.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["core_size"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


core_size = _load()

SAMPLE = '''"""A module.

Three free lines."""

# a comment is free
import os  # a line of code


def f(x: int) -> str:
    """Free,
    both lines."""
    text = """not a docstring:

    all four lines count
    """
    return text + (
        "and"  # five tokens on three lines
    )
'''


@pytest.mark.quick
def test_within_budget(capsys):
    assert core_size.main(ROOT) == 0, capsys.readouterr().err


@pytest.mark.quick
def test_free_lines():
    assert sorted(core_size.python_lines(SAMPLE)) == [6, 9, 12, 13, 14, 15, 16, 17, 18]


@pytest.mark.quick
def test_refusals_are_free():
    source = """mean.check(
    axes("mean")
)
@take.check
def _(x):
    raise ValueError
def check(x):
    return take.check
"""
    assert sorted(core_size.python_lines(source)) == [7, 8]


@pytest.mark.quick
def test_cuda_lines():
    source = '/* two\n free */\nint x; // code\n// free\n\nconst char *s = "// code";\n'
    assert sorted(core_size.c_lines(source)) == [3, 6]


@pytest.mark.quick
@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("x = 1\ny = 2\n", []),
        ("x = 1; y = 2\n", [1]),
        ("if x: y = 2\n", [1]),
        ("def f(): ...\n", []),
        ("a = 1\nb = '" + 100 * "x" + "'\n", [2]),
    ],
)
def test_crammed_lines(source, bad):
    assert [line for line, _ in core_size.crammed(source)] == bad


@pytest.mark.quick
def test_a_file_over_budget_is_named(tmp_path, capsys):
    for name in ("tinygen/models", "kernels"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "tinygen/models/big.py").write_text("x = 1\n" * 181)
    assert core_size.main(tmp_path) == 1
    assert "tinygen/models/big.py: 181 code lines, at most 180" in capsys.readouterr().err
    (tmp_path / "tinygen/models/big.py").write_text("x = 1\n" * 180)
    assert core_size.main(tmp_path) == 0
