"""Installing: wheel and editable install, each imported from the clone's root and from elsewhere.

Everything happens in copies and in environments that hold NumPy and setuptools alone, linked from
the one the tests run in: no network, and nothing of this environment's tinygen is in sight.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
FOLDERS = {"tinygen": ROOT / "tinygen", "tinygen_kernels": ROOT / "kernels"}
USE = "import tinygen as tg; print((tg.tensor([1.0, 2.0]) * 3).sum().item(), tg.__file__)"


def _missing() -> str | None:
    """What building without a network needs and this environment lacks."""
    for name, least in (("pip", 23), ("setuptools", 77)):
        try:
            have = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return f"{name} is not installed"
        if int(have.split(".")[0]) < least:
            return f"{name} {have} is installed, {least} or newer is needed"
    return None


_why = _missing()
builds = pytest.mark.skipif(_why is not None, reason=f"cannot build a wheel: {_why}")


def run(*command: object, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """A command's result; variables that would let it see this environment are cleared."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    clean = {k: v for k, v in os.environ.items() if k not in hidden}
    return subprocess.run(
        [str(c) for c in command],
        cwd=cwd, env={**clean, **env}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def pip(*arguments: object, python: Path | None = None) -> None:
    target = [] if python is None else ["--python", python]
    done = run(sys.executable, "-m", "pip", "--disable-pip-version-check", *target, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def environment(folder: Path) -> Path:
    """A new virtual environment with NumPy and what builds packages; returns its Python."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    windows = os.name == "nt"
    python = folder / ("Scripts/python.exe" if windows else "bin/python")
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(python, "-c", where).stdout.strip())
    for name in ("numpy", "setuptools", "wheel", "packaging"):
        try:
            parts = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        for top in {file.parts[0] for file in parts.files or ()} - {"..", "__pycache__"}:
            source, target = Path(str(parts.locate_file(top))), site / top
            if not windows:
                target.symlink_to(source)
            elif source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)
    return python


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project without anything that was built in it."""
    folder = tmp_path_factory.mktemp("copy") / "clone"
    folder.mkdir()
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder)
    for name in ("tinygen", "kernels", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with NumPy and without tinygen."""
    return environment(tmp_path_factory.mktemp("bare") / "env")


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = tmp_path_factory.mktemp("source") / "clone"
    shutil.copytree(clone, source)  # building leaves a build folder behind
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder, source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel was installed."""
    target = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--target", target, wheel)
    return target


# ---- what is declared and packed -----------------------------------------------------------------


@pytest.mark.quick
def test_every_package_is_listed():
    found = {
        ".".join((name, *init.parent.relative_to(folder).parts))
        for name, folder in FOLDERS.items()
        for init in folder.rglob("__init__.py")
    }
    assert set(PACKAGES) == found
    assert len(PACKAGES) == len(set(PACKAGES))


@pytest.mark.quick
def test_every_module_lies_in_a_package():
    """A folder of modules without __init__.py would import from a clone and miss in the wheel."""
    data = FOLDERS["tinygen"] / "export" / "runtime"  # goes into exported files, is not imported
    for folder in FOLDERS.values():
        for module in set(folder.rglob("*.py")) - set(data.rglob("*.py")):
            assert (module.parent / "__init__.py").exists(), module.relative_to(ROOT)


@pytest.mark.slow
@builds
def test_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith("/METADATA"))).decode()
        (licence,) = [n for n in names if n.endswith("/licenses/LICENSE")]
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert "tinygen/py.typed" in names
    tops = {n.split("/")[0] for n in names if ".dist-info/" not in n}
    assert tops == {"tinygen", "tinygen_kernels"}
    assert not [n for n in names if "test_" in n or "/tests/" in n]
    for name, folder in FOLDERS.items():
        for file in folder.rglob("[!.]*"):  # modules and what they read
            if file.is_file() and "__pycache__" not in file.parts:
                assert f"{name}/{file.relative_to(folder).as_posix()}" in names
    assert re.search(r"^License-Expression: MIT$", metadata, re.MULTILINE)
    needed = re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE)
    assert [n for n in needed if "extra ==" not in n] == ["numpy>=2"]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, built from a copy of the checkout and unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    hidden = shutil.ignore_patterns(
        "__pycache__", ".git", ".venv*", "*.egg-info", ".*_cache", ".hypothesis", "build", "dist"
    )

    def ignore(path: str, names: list[str]) -> set[str]:  # tinygen/runs is a room of the house
        return hidden(path, names) | ({"runs"} if Path(path) == ROOT else set())

    shutil.copytree(ROOT, folder / "clone", ignore=ignore)
    code = f"import setuptools.build_meta as b; print(b.build_sdist({str(folder)!r}))"
    done = run(sys.executable, "-c", code, cwd=folder / "clone")
    assert done.returncode == 0, done.stderr
    (archive,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, folder / "unpacked", filter="data")
    (top,) = (folder / "unpacked").iterdir()
    return top


@pytest.mark.slow
@builds
def test_the_source_distribution_holds_all_that_its_tests_read(unpacked, tmp_path):
    """Each file of the checkout is in it, and tests that read other folders pass there."""
    for name in ("tests", "bench", "examples", "tinygen", "kernels"):
        for file in (ROOT / name).rglob("[!.]*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert (unpacked / file.relative_to(ROOT)).is_file(), file
    for name in (".ci/run", ".gitignore", "README.md", "LICENSE", "MANIFEST.in"):
        assert (unpacked / name).is_file(), name
    kernels = tmp_path / "site"
    kernels.mkdir()
    (kernels / "tinygen_kernels").symlink_to(unpacked / "kernels")
    tests = [f"tests/test_{name}.py" for name in ("budgets", "readme", "conventions")]
    done = run(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, cwd=unpacked,
        PYTHONPATH=os.pathsep.join(map(str, (unpacked, kernels))), HYPOTHESIS_PROFILE="dev",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


# ---- importing -----------------------------------------------------------------------------------


def _imports_everything(python: Path, cwd: Path, **env: str) -> Path:
    """Compute something, import every package; returns the folder tinygen came from."""
    code = f"{USE}; import importlib; [importlib.import_module(p) for p in {PACKAGES!r}]"
    done = run(python, "-W", "error", "-c", code, cwd=cwd, **env)
    assert done.returncode == 0, done.stderr
    value, file = done.stdout.strip().split(" ", 1)
    assert value == "9.0"
    return Path(file).resolve().parent.parent


@pytest.mark.slow
@builds
@pytest.mark.parametrize("place", ["elsewhere", "the clone"])
def test_wheel_imports(place, installed, bare, clone, tmp_path):
    cwd = clone if place == "the clone" else tmp_path
    came_from = _imports_everything(bare, cwd, PYTHONPATH=str(installed))
    # From the clone's root Python finds the clone's tinygen first, with the installed kernels.
    assert came_from == (clone if place == "the clone" else installed).resolve()


@pytest.mark.slow
@builds
def test_editable_install_imports(clone, tmp_path):
    source = tmp_path / "a clone with spaces"
    shutil.copytree(clone, source)
    python = environment(tmp_path / "env")
    pip("install", "--no-deps", "--no-index", "--no-build-isolation", "-e", source, python=python)
    for cwd in (source, tmp_path):
        assert _imports_everything(python, cwd) == source.resolve()
    # It is the clone that is imported: a change there is seen.
    version = source / "tinygen" / "version.py"
    version.write_text('__version__ = "9.9"\n', encoding="utf-8")
    done = run(python, "-c", "import tinygen; print(tinygen.__version__)", cwd=tmp_path)
    assert done.stdout.strip() == "9.9"


@pytest.mark.slow
@builds
def test_missing_kernels_are_an_error_with_the_pip_line(bare, clone):
    """A clone that was not installed: tinygen is found in the current folder, its kernels not."""
    done = run(bare, "-c", USE, cwd=clone)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError:")
    assert "pip install -e ." in last


@pytest.mark.slow
@builds
@pytest.mark.parametrize("command", [(), ("train", "vae"), ("--help",)])
def test_command_line_without_its_extra(command, installed, bare, tmp_path):
    done = run(bare, "-m", "tinygen", *command, cwd=tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 2
    assert 'pip install "tinygen[app]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


# ---- what importing costs ------------------------------------------------------------------------

COST = """
import sys, time
import numpy
before, start = set(sys.modules), time.process_time()
import tinygen
took = time.process_time() - start
tops = sorted({name.split(".")[0] for name in set(sys.modules) - before})
import json
print(json.dumps([took, [t for t in tops if t not in sys.stdlib_module_names]]))
"""
ALLOWED = {"tinygen", "tinygen_kernels", "numpy", "__main__"}
HEAVY_STDLIB = ("asyncio", "multiprocessing", "sqlite3", "tkinter", "unittest", "xml", "http")


def _cost() -> tuple[float, list[str]]:
    done = run(sys.executable, "-c", COST, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    took, tops = json.loads(done.stdout)
    return took, tops


@pytest.mark.quick
def test_import_loads_nothing_heavy():
    """Where all extras are installed, `import tinygen` still loads NumPy alone."""
    _, tops = _cost()
    assert set(tops) <= ALLOWED
    code = f"import tinygen, sys; print([n for n in {HEAVY_STDLIB!r} if n in sys.modules])"
    numpy_too = code.replace("tinygen", "numpy")
    assert run(sys.executable, "-c", code, cwd=ROOT).stdout == (
        run(sys.executable, "-c", numpy_too, cwd=ROOT).stdout
    )


def test_import_is_quick():
    """Within 0.1 s of processor time on top of NumPy: of three medians of seven, the least."""
    _cost()  # compiles the modules
    medians = []
    for _ in range(3):  # other programs slow this one down for a while, less likely three times
        medians.append(statistics.median(_cost()[0] for _ in range(7)))
        if medians[-1] < 0.1:
            return
    pytest.fail(f"import tinygen takes {min(medians):.3f} s on top of NumPy; expected under 0.1 s")


USES = """
import tinygen as tg

x = tg.tensor([[1.0, 2.0]])
y: tg.Tensor = tg.matmul(x, tg.tanh(x).T)
images = tg.conv2d(x.reshape(1, 1, 2, 1), tg.ones((1, 1, 1, 3)))
distance: float = tg.metrics.fid(x, x)
model: tg.models.Model = tg.models.VAE((8, 8, 1))
step = tg.compile(lambda x: tg.losses.mse(x, x))
wrong: str = tg.matmul(x, x)
"""


def test_type_checkers_see_what_users_call(tmp_path):
    """All but the last line is right, the operations, too, whose list is made at import."""
    pytest.importorskip("mypy")
    (tmp_path / "uses.py").write_text(USES)
    command = ["mypy", "--strict", "--follow-imports=silent", "--cache-dir=cache", "uses.py"]
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )  # fmt: skip
    wrong = [x for x in done.stdout.splitlines() if x.startswith("uses.py")]
    last = len(USES.splitlines())
    assert len(wrong) == 1, done.stdout + done.stderr
    assert wrong[0].startswith(
        f"uses.py:{last}: error: Incompatible types in assignment (expression"
    )
