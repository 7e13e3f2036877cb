"""Functions compiled by Numba, kept in the cache folder: checked entries in place of Numba's own.

Numba's cache unpickles its files and hands their machine code to LLVM as they are, and a damaged
one then ends the process ("Aborted."). Here an entry is read by ..cache, which answers nothing for
a file that is not what was written. Numba's part of it is the pair `_reduce` and `_rebuild`, which
make a pickle of a compiled function and a compiled function of a pickle.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.caching import NullCache
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.serialize import dumps

from .. import cache
from .lean import lean, undisturbed
from .vectors import FEATURES, VECTOR_BYTES


@functools.cache
def _sources() -> str:
    """A name for this state of the kernels' sources, of the compiler and of the vectors."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    versions = (numba.__version__, llvmlite.__version__, np.__version__)
    for part in (*versions, platform.machine(), FEATURES, VECTOR_BYTES):
        digest.update(str(part).encode())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """The folder of the code compiled from these very sources, on this very processor."""
    return cache.cache_root() / f"kernels-{_sources()}"


def _known_by(value: Any) -> Any:
    """What stands for a value that a function closes over: functions are known by their names."""
    function = getattr(value, "py_func", None)
    return value if function is None else (function.__module__, function.__qualname__)


class Kept(NullCache):  # type: ignore[misc]
    """What Numba asks for a function before it compiles it, and gives it afterwards."""

    def __init__(self, body: Callable[..., Any], **options: Any) -> None:
        code, cells = body.__code__, body.__closure__ or ()
        self._stem = f"{body.__module__.split('.')[-1]}.{body.__name__}-{code.co_firstlineno}"
        self._what = (body.__module__, body.__qualname__, sorted(options.items()), _sources())
        self._parts = (code.co_code, dumps([_known_by(cell.cell_contents) for cell in cells]))

    def _entry(self, signature: Any, codegen: Any) -> tuple[Path, bytes]:
        """Where it lies, and what it is for."""
        key = repr((self._what, str(signature), codegen.magic_tuple())).encode()
        key += b"".join(hashlib.sha256(part).digest() for part in self._parts)
        name = f"{self._stem}-{hashlib.sha256(key).hexdigest()[:16]}.kernel"
        return cache_folder() / name, key

    def holds(self, sig: Any, target_context: Any) -> bool:
        """Whether the cache has a whole entry."""
        path, key = self._entry(sig, target_context.codegen())
        return cache.usable(path.parent) and cache.read(path, key) is not None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The function from the cache, or None."""
        target_context.refresh()
        path, key = self._entry(sig, target_context.codegen())
        data = cache.read(path, key) if cache.usable(path.parent) else None
        if data is None:
            return None
        try:
            return CompileResult._rebuild(target_context, *pickle.loads(data))
        except Exception:  # whatever it is: it can be compiled
            return None

    def save_overload(self, sig: Any, cres: Any) -> None:
        """Keep it, if it can be kept."""
        cres.library.get_pointer_to_function(cres.fndesc.llvm_cfunc_wrapper_name)  # see lean.py
        if cres.library.has_dynamic_globals:
            return
        path, key = self._entry(sig, cres.codegen)
        if cache.usable(path.parent):
            cache.write(path, key, dumps(cres._reduce()))


def _kept_c(body: Callable[..., Any], options: dict[str, Any]) -> Kept:
    return Kept(body, **{k: str(v) for k, v in options.items()})


def is_kept(body: Callable[..., Any], signature: Any, **options: Any) -> bool:
    """Whether `c_function` finds it in the cache."""
    return _kept_c(body, options).holds(signature, cpu_target.target_context)


def c_function(body: Callable[..., Any], signature: Any, **options: Any) -> Any:
    """numba.cfunc(signature, **options)(body), by way of the cache."""
    made = CFunc(body, (signature.args, signature.return_type), locals={}, options=options)
    made._cache = _kept_c(body, options)
    with global_compiler_lock, lean(), undisturbed():
        made.compile()
    return made


def function(body: Callable[..., Any], signature: Any, **options: Any) -> Any:
    """numba.njit(signature, **options)(body), by way of the cache."""
    made = numba.njit(**options)(body)
    made._cache = Kept(body, **options)
    with undisturbed():
        made.compile(signature)
    made.disable_compile()
    return made
