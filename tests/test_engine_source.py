"""What the source may not do: rules that touch arrays, writes into .data, imports upwards."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinygen
import tinygen_kernels

pytestmark = pytest.mark.quick
PACKAGE = Path(tinygen.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {f: ast.parse(f.read_text(encoding="utf-8")) for f in FILES}
IDS = [f.relative_to(PACKAGE).as_posix() for f in FILES]


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', '?')}"


def decorators(function: ast.FunctionDef) -> list[str]:
    return [ast.unparse(d) for d in function.decorator_list]


def functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """The module's plain functions: those that are not primitives, fused or checks."""
    return {
        n.name: n for n in tree.body
        if isinstance(n, ast.FunctionDef) and not decorators(n)
    }  # fmt: skip


# ---- rules ---------------------------------------------------------------------------------------

# Functions that rules may call although they touch an array module: they make constants.
CONSTANTS = {"full_like", "as_tensor", "Tensor", "tensor"}
TYPES = {"generic", "dtype", "integer", "bool_", "shape"}  # of NumPy: looked at, not computed with
FINE = {("power", ".item")}  # a NumPy scalar as exponent becomes a Python number
BESIDE = {"testing.py", "export", "random.py", "optim.py"}  # what they make is there before a step
RAW = {"data", "owner", "numpy", "item", "tolist", "xp", "reference", "__array__"}


def rules(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Every function given to .vjp or .vjp_all."""
    local = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        if call.func.attr not in ("vjp", "vjp_all"):
            continue
        for value in [*call.args, *(k.value for k in call.keywords)]:
            name = ast.unparse(call.func.value)
            yield name, local[value.id] if isinstance(value, ast.Name) else value


def faults(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """What a rule may not contain."""
    for n in ast.walk(node):
        if isinstance(n, ast.Attribute) and n.attr in RAW:
            yield n, f".{n.attr}"
        elif isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name):
            if n.value.id in ("np", "numpy", "xp") and n.attr not in TYPES:
                yield n, ast.unparse(n)
        elif isinstance(n, ast.AugAssign):
            yield n, "an assignment in place"
        elif isinstance(n, (ast.Global, ast.Nonlocal)):
            yield n, "a name outside"
        elif isinstance(n, ast.Assign):
            for target in n.targets:
                if isinstance(target, (ast.Subscript, ast.Attribute)):
                    yield n, f"a write into {ast.unparse(target)}"


def called(node: ast.AST) -> set[str]:
    return {
        n.func.id
        for n in ast.walk(node)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }


def test_rules_are_tensor_code() -> None:
    helpers: dict[str, tuple[Path, ast.FunctionDef]] = {}
    for path, tree in TREES.items():
        if path.parent.name == "ops":
            helpers |= {name: (path, f) for name, f in functions(tree).items()}
    found, seen, count = [], set(), 0
    for path, tree in TREES.items():
        local = {**helpers, **{n: (path, f) for n, f in functions(tree).items()}}
        queue = [(path, f"the rule of {name}", rule) for name, rule in rules(tree)]
        count += len(queue)
        while queue:
            at, label, node = queue.pop()
            own = label.split(",")[0]
            for n, what in faults(node):
                if (own, what) not in FINE:
                    found.append(f"{where(at, n)}: {label} uses {what}")
            for name in called(node) & local.keys() - CONSTANTS - seen:
                seen.add(name)
                file, function = local[name]
                queue.append((file, f"{name}, called by {label},", function))
    assert count > 60
    assert {"expand", "unbroadcast", "power", "slice_axis", "_within"} <= seen
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "f.vjp(x=lambda g, x: g * Tensor(x.data))",
        "f.vjp(x=lambda g, x: np.exp(x))",
        "f.vjp_all(lambda g, x: (g * x.numpy(),))",
        "def rule(g):\n    cache['g'] = g\n    return g\nf.vjp(x=rule)",
        "def rule(g, x):\n    x += g\n    return x\nf.vjp(x=rule)",
        "f.vjp(x=lambda g, x: g * float(x.item()))",
    ],
)
def test_the_source_test_sees(source: str) -> None:
    (pair,) = rules(ast.parse(source))
    assert list(faults(pair[1]))


# ---- writes --------------------------------------------------------------------------------------


def _mutating(function: ast.AST) -> bool:
    return isinstance(function, ast.FunctionDef) and any(
        "mutates" in d for d in decorators(function)
    )


def writes(node: ast.AST) -> Iterator[ast.AST]:
    """Writes into some .data, .numpy() or .grad's array outside a primitive that declares them."""
    for child in ast.iter_child_nodes(node):
        if _mutating(child):
            continue
        targets: list[ast.AST] = []
        if isinstance(child, ast.Assign):
            targets = list(child.targets)
        elif isinstance(child, ast.AugAssign):
            targets = [child.target]
            if isinstance(child.target, ast.Attribute) and child.target.attr == "data":
                yield child
        elif isinstance(child, ast.Call):
            targets = [k.value for k in child.keywords if k.arg == "out"]
            name = ast.unparse(child.func)
            if name.endswith(("copyto", "put", "putmask", "add.at")) and child.args:
                targets.append(child.args[0])
            if name.endswith((".data.fill", ".data.sort", ".data.put", ".data.setfield")):
                yield child
            targets = [ast.Subscript(t) if not isinstance(t, ast.Subscript) else t for t in targets]
        for target in targets:
            for t in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(t, ast.Subscript) and _reaches_data(t.value):
                    yield child
                if isinstance(t, ast.Attribute) and t.attr == "data" and _rebinds(t, child):
                    yield child
        yield from writes(child)


def _reaches_data(node: ast.AST) -> bool:
    while isinstance(node, (ast.Subscript, ast.Attribute, ast.Call)):
        attr = getattr(node, "attr", None) or getattr(getattr(node, "func", None), "attr", None)
        if attr == "data" or (isinstance(node, ast.Call) and attr == "numpy"):
            return True
        node = node.func if isinstance(node, ast.Call) else node.value
    return False


def _rebinds(target: ast.Attribute, assignment: ast.AST) -> bool:
    return not (isinstance(target.value, ast.Name) and target.value.id == "self")


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_nothing_writes_into_data(path: Path) -> None:
    assert [f"{where(path, n)}: {ast.unparse(n)}" for n in writes(TREES[path])] == []


@pytest.mark.parametrize(
    "source",
    ["x.data[...] = 1", "p.data[0] += g", "p.data -= g", "np.add(a, b, out=p.data)",
     "np.copyto(p.data, a)", "x.grad.data[:] = 0", "p.data.fill(0)", "p.numpy()[0] = 1",
     "p.data = a", "def f():\n    y.data[i], z = 1, 2"],
)  # fmt: skip
def test_the_write_test_sees(source: str) -> None:
    assert list(writes(ast.parse(source)))


# ---- tensors -------------------------------------------------------------------------------------


def made_beside(tree: ast.AST) -> Iterator[ast.AST]:
    """Tensors of arrays that come straight from an array module: no observer would see those."""
    for n in ast.walk(tree):
        if isinstance(n, ast.Call) and ast.unparse(n.func) == "Tensor" and n.args:
            inner = {ast.unparse(c.func) for c in ast.walk(n.args[0]) if isinstance(c, ast.Call)}
            if any(re.match(r"(.*\.)?(xp|np)\.", name) for name in inner):
                yield n


@pytest.mark.parametrize(
    "path", [f for f in FILES if f.relative_to(PACKAGE).parts[0] not in BESIDE],
    ids=lambda f: f.relative_to(PACKAGE).as_posix(),
)  # fmt: skip
def test_no_tensor_is_made_beside_dispatch(path: Path) -> None:
    assert [f"{where(path, n)}: {ast.unparse(n)}" for n in made_beside(TREES[path])] == []


@pytest.mark.parametrize(
    "source",
    ["Tensor(x.backend.xp.zeros(x.shape))", "Tensor(2 * xp.arange(3))", "Tensor(np.ones(2))"],
)
def test_the_tensor_test_sees(source: str) -> None:
    assert list(made_beside(ast.parse(source)))


# ---- imports -------------------------------------------------------------------------------------

# From the ground up. A room imports from the floors below its own, never from its neighbours. The
# one door upwards is Tensor's: its methods call the operations, which put themselves there.
FLOORS = (
    "callsite conventions events lock options output program schema signals spelling version",
    "backend io",
    "graph images",
    "tensor",
    "lines outputs traits weak",
    "checks",
    "primitive",
    "differentiate",
    "derivatives fused random recompute testing",
    "ops",
    "data metrics nn protocols",
    "rates updates",
    "losses optim",
    "trace",
    "plan",
    "sampling",
    "models",
    "runs",
    "study export train",
    "learn tasks",
    "cli",
    "__init__ __main__",
)
LEVELS = {room: level for level, floor in enumerate(FLOORS) for room in floor.split()}


def imports(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """The parts of tinygen that a file imports, inside functions too, but not for types only."""
    folder = path.relative_to(PACKAGE).parent.parts
    skipped: set[ast.AST] = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped |= {n for statement in node.body for n in ast.walk(statement)}
        if node in skipped:
            continue
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = folder[: len(folder) - node.level + 1]
                parts = (*base, *(node.module or "").split(".")) if node.module else base
            elif (node.module or "").split(".")[0] == "tinygen":
                parts = tuple((node.module or "").split(".")[1:])
            else:
                continue
            for name in [parts[0]] if parts else [a.name for a in node.names]:
                yield node, name
        elif isinstance(node, ast.Import):
            for a in node.names:
                if a.name.startswith("tinygen."):
                    yield node, a.name.split(".")[1]


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_imports_go_down(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in LEVELS, f"give {own} a level"
    for node, name in imports(path):
        level = LEVELS.get(name, -1)  # a name such as __version__ of the package itself
        below = name == own or level < LEVELS[own]
        assert below, f"{where(path, node)}: {own} imports {name}, which is not below it"


def test_kernels_import_nothing_from_tinygen() -> None:
    for path in Path(tinygen_kernels.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(n == "tinygen" or n.startswith("tinygen.") for n in names), path


def test_importing_tinygen_loads_nothing_heavy() -> None:
    heavy = "numba cupy typer rich PIL matplotlib pooch scipy torch pytest hypothesis safetensors"
    code = f"import sys, tinygen; print([m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists() -> None:
    assert [n for n in tinygen.__all__ if not hasattr(tinygen, n)] == []
    assert len(set(tinygen.__all__)) == len(tinygen.__all__)


# ---- what a reader may ask of a model ------------------------------------------------------------

FAMILIES = {"VAE", "CVAE", "ConvVAE", "GAN", "CGAN", "DCGAN", "CDCGAN", "ConvGAN", "Adversarial",
            "Classifier", "Variational"}  # fmt: skip


def asks(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Tests for a family of models, and for an attribute by its name."""
    for n in ast.walk(tree):
        if not isinstance(n, ast.Call) or not isinstance(n.func, ast.Name):
            continue
        if n.func.id in ("isinstance", "issubclass"):
            names = {x.attr if isinstance(x, ast.Attribute) else getattr(x, "id", "")
                     for x in ast.walk(n.args[1])}  # fmt: skip
            if names & FAMILIES:
                yield n, "a family of models; ask for a role: Draws, Encodes, Likely, Describes"
        if n.func.id == "hasattr" and not of_python(n.args[1]):
            yield n, "hasattr; ask for a role or a class"


def of_python(name: ast.AST) -> bool:
    """Whether an attribute is of a protocol of Python's: __len__, or what a named tuple has."""
    text = name.value if isinstance(name, ast.Constant) else ""
    return text in ("_fields", "_make") or (text[:2] == text[-2:] == "__" and len(text) > 4)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_readers_ask_for_roles(path: Path) -> None:
    """Nobody but models/ knows a family, and nobody guesses at an attribute."""
    met = list(asks(TREES[path]))
    if path.relative_to(PACKAGE).parts[0] == "models":
        met = [(n, what) for n, what in met if what.startswith("hasattr")]
    assert [f"{where(path, n)}: {ast.unparse(n)}: {what}" for n, what in met] == []


@pytest.mark.parametrize(
    "source",
    [
        "isinstance(m, VAE)",
        "isinstance(m, (A, models.GAN))",
        "hasattr(m, 'encode')",
        "hasattr(m, name)",
    ],
)
def test_the_role_test_sees(source: str) -> None:
    assert list(asks(ast.parse(source)))


@pytest.mark.parametrize("name", ["__len__", "_fields"])
def test_protocols_of_python_may_be_asked_for(name: str) -> None:
    assert not list(asks(ast.parse(f"hasattr(m, '{name}')")))
