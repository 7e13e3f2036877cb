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
def test_lines_of_functions():
    source = '''class A:
    @property
    def f(self):
        """Free."""
        # free

        def g():
            return (
                1
            )

        return g


async def h(): ...
'''
    assert core_size.function_lines(source) == {"A.f": 6, "A.f.g": 4, "h": 1}


@pytest.fixture
def house(tmp_path):
    """Write a file below a root of its own and count there: (exit status, problems)."""

    def count(name, text, capsys):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        status = core_size.main(tmp_path)
        return status, capsys.readouterr().err

    return count


@pytest.mark.quick
@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("tinygen/models/big.py", 180),
        ("tinygen/models/networks/big.py", 180),
        ("tinygen/data/big.py", 350),
        ("tinygen/big.py", 350),
        ("kernels/cpu/big.py", 350),
        ("kernels/cuda/big.cuh", 350),
    ],
)
def test_a_file_over_budget_is_named(name, limit, house, capsys):
    line = "int x;\n" if name.endswith(".cuh") else "x = 1\n"
    assert house(name, line * limit, capsys) == (0, "")
    status, problems = house(name, line * (limit + 1), capsys)
    assert status == 1
    assert problems.endswith(f"{name}: {limit + 1} code lines, at most {limit}\n")


@pytest.mark.quick
def test_a_function_over_budget_is_named(house, capsys):
    body = "def f():\n" + "    x = 1\n" * 69
    assert house("tinygen/data/long.py", body, capsys) == (0, "")
    free = "    # a reason\n\n" * 20
    assert house("tinygen/data/long.py", body + free, capsys) == (0, "")
    status, problems = house("kernels/cpu/long.py", body + "    x = 1\n", capsys)
    assert (status, problems) == (1, "kernels/cpu/long.py: f: 71 code lines, at most 70\n")


@pytest.mark.quick
def test_the_reading_path_counts_together(house, capsys):
    for name in core_size.PATH:
        assert house(name, "x = 1\n" * 144, capsys) == (0, "")  # nine files
    status, problems = house(core_size.PATH[0], "x = 1\n" * 149, capsys)
    assert (status, problems) == (1, "the reading path: 1301 code lines, at most 1300\n")


@pytest.mark.quick
def test_files_that_become_artefacts_have_no_limit(house, capsys):
    text = "def f():\n" + "    x = 1\n" * 400
    assert house("tinygen/export/runtime/generator.py", text, capsys) == (0, "")
    assert house("tinygen/export/page.py", text, capsys)[0] == 1
