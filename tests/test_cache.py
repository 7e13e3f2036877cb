"""The cache of compiled kernels: whatever is wrong with it, kernels run and results are right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinygen_kernels import cache

pytest.importorskip("numba")
posix = pytest.mark.skipif(os.name != "posix", reason="rights of files and pipes as in POSIX")

# Two compiled functions, one of them from a generated source; how often a compiler ran.
WORK = """
import sys
import numpy as np
from numba.core import event
class Count(event.Listener):
    passes = 0
    def on_start(self, e): self.passes += 1
    def on_end(self, e): pass
count = Count()
event.register("numba:run_pass", count)
from tinygen_kernels.cpu import elementwise
x = np.linspace(-1, 1, 200, dtype=np.float32).reshape(2, 100)
out = np.empty_like(x)
fused = elementwise.fused((("mul", (("in", 0), 3.0), ()),), (0,), [x], [out])
elementwise.elementwise_call(fused, 2, 100)()
print(np.array_equal(out, x * np.float32(3)), count.passes > 0)
"""
MADE = ("True True", "True False")  # the result is right, and was compiled or came from the cache


def work(home: Path, code: str = WORK) -> tuple[str, str]:
    """(standard output, standard error) of a new process with a cache folder."""
    environment = {**os.environ, "TINYGEN_CACHE": str(home), "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip(), done.stderr


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the entries of WORK."""
    home = tmp_path_factory.mktemp("filled") / "cache"
    assert work(home) == (MADE[0], "")
    return home


@pytest.fixture
def home(filled: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    shutil.copytree(filled, tmp_path / "cache")
    return tmp_path / "cache"


def entries(home: Path) -> list[Path]:
    return sorted(home.rglob("*.kernel"))


def flipped(content: bytes, place: float) -> bytes:
    at = min(int(place * len(content)), len(content) - 1)
    return content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda b: b"",
    "a byte": lambda b: b[:1],
    "cut in half": lambda b: b[: len(b) // 2],
    "cut by a byte": lambda b: b[:-1],
    "longer": lambda b: b + b"\0",
    "zeros": lambda b: bytes(len(b)),
    "zeros at the end": lambda b: b[:-4096] + bytes(4096),
    "text": lambda b: b"not a kernel",
    "a bit of the magic": lambda b: flipped(b, 0),
    "a bit of the hash": lambda b: flipped(b, 20 / len(b)),
    "a bit of the pickle": lambda b: flipped(b, 45 / len(b)),
    "a bit of the code": lambda b: flipped(b, 0.5),
    "the last bit": lambda b: flipped(b, 1),
    "a pickle alone": lambda b: b[40:],
}


@posix
def test_folder_and_entries_are_for_their_owner_alone(filled: Path) -> None:
    for folder in (filled, *(p for p in filled.iterdir() if p.is_dir())):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert len(entries(filled)) == 3
    assert {p.stat().st_mode & 0o777 for p in entries(filled)} == {0o600}
    assert work(filled) == (MADE[1], "")


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_compiled_again_and_replaced(damage: str, home: Path) -> None:
    for path in entries(home):
        path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert work(home) == (MADE[0], "")
    assert work(home) == (MADE[1], "")


# A kernel of a helper of our own and of a function that Python calls too, while a profile watches.
COMPILER = """
import gc, sys
import numba
import numpy as np
from numba import types
from numba.core.registry import cpu_target
from tinygen_kernels.cpu import kept
from tinygen_kernels.cpu.words import float64_pointer, inline
@numba.njit
def twice(x): return 2 * x
@inline
def more(x): return twice(x) + 1
def body(worker, workers, args):
    x = float64_pointer(args)
    x[0] = more(x[0])
seen = set()
def watch(frame, event, arg):
    seen.add(frame.f_globals["__name__"])
sys.setprofile(watch)
made = kept.c_function(body, types.void(*[types.intp] * 3))
watched = sys.getprofile() is watch
sys.setprofile(None)
x = np.array([20.5])
made.ctypes(0, 1, x.ctypes.data)
print(x[0] == 42, twice(4.0) == 8.0, twice(4) == 8)
print(watched and "numba.core.typeinfer" not in seen, gc.isenabled())
print(vars(cpu_target.target_context.codegen()).get("_library_class"))
"""


def test_the_compiler_works_unwatched_and_leaves_numba_as_it_was(tmp_path: Path) -> None:
    for _ in range(2):  # compiled, and from the cache
        said, _ = work(tmp_path, COMPILER)
        assert said.split() == ["True"] * 5 + ["None"]


@pytest.mark.parametrize("missing", [None, "_optimize_final_module"])
def test_where_numba_has_other_names_it_compiles_in_its_own_way(
    missing: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from numba.core.codegen import JITCodeLibrary
    from numba.core.registry import cpu_target

    from tinygen_kernels.cpu import lean

    codegen = cpu_target.target_context.codegen()
    if missing is not None:  # as a release that has renamed it
        names = {n: getattr(JITCodeLibrary, n) for n in lean.USED if n != missing}
        renamed = type("JITCodeLibrary", (), names)
        monkeypatch.setattr(lean, "JITCodeLibrary", renamed)
        monkeypatch.setattr(type(codegen), "_library_class", renamed)
    with lean.lean():
        assert ("_library_class" in vars(codegen)) == (missing is None)
    assert "_library_class" not in vars(codegen)


def exchange(a: Path, b: Path) -> None:
    """Each of two entries under the name of the other."""
    mine, other = a.read_bytes(), b.read_bytes()
    a.write_bytes(other)
    b.write_bytes(mine)


def pipe(a: Path, b: Path) -> None:
    a.unlink()
    os.mkfifo(a)


def link_to_a_device(a: Path, b: Path) -> None:
    a.unlink()
    a.symlink_to("/dev/zero")


def link_to_itself(a: Path, b: Path) -> None:
    a.unlink()
    a.symlink_to(a.name)


def folder(a: Path, b: Path) -> None:
    a.unlink()
    (a / "x").mkdir(parents=True)


@posix
@pytest.mark.slow
@pytest.mark.parametrize("change", [exchange, pipe, link_to_a_device, link_to_itself, folder])
def test_another_thing_in_the_place_of_an_entry(
    change: Callable[[Path, Path], None], home: Path
) -> None:
    a, b, _ = entries(home)
    change(a, b)
    out, err = work(home)
    assert out == MADE[0]
    assert err.count("\n") == (change is folder)  # it cannot be replaced
    assert work(home)[0] == MADE[change is not folder]


MUTANTS = """
import random, sys
import numba
from pathlib import Path
from numba import types
from tinygen_kernels.cpu import kept
def body(worker, workers, args):
    pass
share = types.void(*[types.intp] * 3)
kept.c_function(body, share)
(path,) = kept.cache_folder().glob("*.body-*.kernel")
whole = path.read_bytes()
context = numba.core.registry.cpu_target.target_context
look = lambda: kept.Kept(body).load_overload(share, context)
assert look() is not None
r = random.Random(0)
for i in range(500):
    b = bytearray(whole)
    kind, at = i % 5, r.randrange(len(b))
    if kind == 0:
        b[at] ^= 1 << r.randrange(8)
    elif kind == 1:
        del b[at:]
    elif kind == 2:
        b[at : at + 64] = r.randbytes(64)
    elif kind == 3:
        b[at:at] = r.randbytes(r.randrange(1, 9))
    else:
        del b[at : at + r.randrange(1, 99)]
    path.write_bytes(b)
    assert bytes(b) == whole or look() is None, i
path.write_bytes(whole)
assert look() is not None
print("all missed")
"""


@pytest.mark.slow
def test_mutants_of_an_entry_are_missed(tmp_path: Path) -> None:
    """In a process of its own: a mutant that got through would end it."""
    assert work(tmp_path / "cache", MUTANTS) == ("all missed", "")


# ---- folders -------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_can_write_is_refused(mode: int, home: Path) -> None:
    """Nothing is read from it, nothing is written to it, and one line says so."""
    home.chmod(mode)
    before = {p: p.read_bytes() for p in entries(home)}
    out, err = work(home)
    assert out == MADE[0]
    assert err.count("\n") == 1
    assert "can be written by others" in err
    assert "chmod 700" in err
    assert {p: p.read_bytes() for p in entries(home)} == before


@posix
def test_a_folder_within_it_that_others_can_write_is_refused(home: Path) -> None:
    entries(home)[0].parent.chmod(0o777)
    out, err = work(home)
    assert out == MADE[0]
    assert "can be written by others" in err


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives away")
@pytest.mark.parametrize("what", ["the folder", "an entry"])
def test_what_belongs_to_another_user_is_refused(what: str, home: Path) -> None:
    for path in [home] if what == "the folder" else entries(home):
        os.chown(path, 12345, 12345)
    out, err = work(home)
    assert out == MADE[0]
    assert ("belongs to another user" in err) == (what == "the folder")


@posix
def test_an_entry_that_others_can_write_is_compiled_again(home: Path) -> None:
    for path in entries(home):
        path.chmod(0o666)
    assert work(home) == (MADE[0], "")
    assert {p.stat().st_mode & 0o777 for p in entries(home)} == {0o600}


@pytest.mark.slow
def test_a_full_disk_is_said_once_and_kernels_run(tmp_path: Path) -> None:
    full = (
        "import errno, os\n"
        "def replace(*a): raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "os.replace = replace\n"
    )
    out, err = work(tmp_path / "cache", full + WORK)
    assert out == MADE[0]
    assert err.count("\n") == 1
    assert "not kept" in err
    assert "No space left" in err
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]  # nothing half-written stays


def test_a_file_in_the_place_of_the_folder_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out, err = work(tmp_path / "file")
    assert out == MADE[0]
    assert err.count("\n") == 1
    assert "not kept" in err


# ---- entries that loaders open themselves --------------------------------------------------------


@pytest.fixture
def emulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for libraries, in this process."""
    monkeypatch.setenv("TINYGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "emulated"


def test_a_library_bears_its_hash(emulated: Path) -> None:
    assert cache.read_named(emulated, "add-1", ".so") is None
    path = cache.write_named(emulated, "add-1", b"machine code", ".so")
    assert path.parent == emulated
    assert cache.read_named(emulated, "add-1", ".so") == path
    assert cache.read_named(emulated, "add-2", ".so") is None
    for name, damage in DAMAGE.items():
        path.write_bytes(damage(b"machine code" * 1000))
        assert cache.read_named(emulated, "add-1", ".so") is None, name
    assert cache.write_named(emulated, "add-1", b"machine code", ".so") == path
    assert path.read_bytes() == b"machine code"


EMULATED = """
import numpy as np, tinygen as tg
from tinygen_kernels.cuda.emulator import build
calls = []
run = build._run
build._run = lambda stem, *a: (calls.append(stem), run(stem, *a))
with tg.use_backend("emulated"):
    x = tg.tensor(np.ones((4, 4), np.float32))
    print((x + x).sum().item() == 32, bool(calls))
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_damaged_libraries_and_headers_are_made_again(tmp_path: Path) -> None:
    home = tmp_path / "cache"
    assert work(home, EMULATED) == (MADE[0], "")
    assert work(home, EMULATED) == (MADE[1], "")
    for damage in ("cut in half", "a bit of the code"):
        for path in (home / "emulated").iterdir():
            path.write_bytes(DAMAGE[damage](path.read_bytes()))
        assert work(home, EMULATED) == (MADE[0], "")
        assert work(home, EMULATED) == (MADE[1], "")
    home.chmod(0o777)
    out, err = work(home, EMULATED)
    assert out == MADE[0]
    assert err.count("\n") == 1


def test_an_entry_is_for_its_key_alone(emulated: Path) -> None:
    assert cache.usable(emulated)
    assert cache.write(emulated / "a", b"key", b"data")
    assert cache.read(emulated / "a", b"key") == b"data"
    assert cache.read(emulated / "a", b"kez") is None
    assert cache.read(emulated / "b", b"key") is None
    random = np.random.default_rng(0)
    whole = (emulated / "a").read_bytes()
    for _ in range(500):
        mutant = bytearray(whole)
        mutant[random.integers(len(whole))] ^= 1 << int(random.integers(8))
        (emulated / "a").write_bytes(mutant)
        assert cache.read(emulated / "a", b"key") is None
