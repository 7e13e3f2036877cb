"""How a kernel for the processor is compiled, cached, given its arguments and run on all cores.

Every kernel is a C function of three integers,

    void kernel(worker, workers, args)

where `args` is the address of a table of 64-bit words: addresses of arrays, sizes, strides, and
numbers as bits of a float64. The function does its share of the work, as worker number `worker` of
`workers`. So a call is a row of three numbers (function, args, workers), a list of calls is an
array, and one small parallel function runs it without returning to Python between the calls. It is
the only function that knows of threads; kernels are compiled once, serially.

A share never decides a result: sums are cut into fixed pieces, whoever adds them. So results are
the same bits for any number of threads.

    RELU = Table("x out n")

    @both                                         # for float32 and for float64
    def _relu(worker, workers, args, kind):       # kind: a number of the arrays' type, 0
        n = word(args, RELU.n)
        x, y = array(kind, args, RELU.x, n), array(kind, args, RELU.out, n)
        for i in range(first(n, worker, workers), first(n, worker + 1, workers)):
            y[i] = max(x[i], kind)

    @kernel
    def relu(x, *, out=None):                     # binds: says what to run, runs nothing
        if x.dtype not in (np.float32, np.float64) or not x.flags.c_contiguous:
            return NotImplemented
        out = empty_like(x) if out is None else out
        table = RELU.fill(x=x, out=out, n=x.size)
        return Call(_relu[x.dtype], table, out=out, workers=workers_for(x.size))

`relu(x)` runs it now and returns `out`; `relu.bind(x, out=y)` returns the Call, for a plan.

This module is the door for kernels; the rooms are words.py (tables), compile.py (functions), run.py
(lists of calls and their workers) and cores.py.
"""

from __future__ import annotations

from .compile import (
    Both,
    Native,
    both,
    both_exact,
    both_update,
    compiling,
    native,
    native_block,
    native_exact,
    native_update,
)
from .cores import threads
from .run import Call, busiest, run_rows, workers_for, workspace
from .words import (
    Table,
    address_of,
    array,
    call_block,
    call_update,
    doubles,
    entry,
    exact,
    first,
    float32_pointer,
    float64_pointer,
    floats,
    flush_subnormals,
    inline,
    int64_pointer,
    lines,
    number,
    pointer_of,
    regrouped,
    restore,
    size_of,
    table_of,
    uint8_pointer,
    uint32_pointer,
    uint64_pointer,
    wide_vectors,
    word,
)

__all__ = [
    "Both", "Call", "Native", "Table", "address_of", "array", "both", "both_exact", "both_update",
    "busiest", "call_block", "call_update", "compiling", "doubles", "entry", "exact", "first",
    "float32_pointer", "float64_pointer", "floats", "flush_subnormals", "inline", "int64_pointer",
    "lines", "native", "native_block", "native_exact", "native_update", "number", "pointer_of",
    "regrouped", "restore", "run_rows", "size_of", "table_of", "threads", "uint8_pointer",
    "uint32_pointer", "uint64_pointer", "wide_vectors", "word", "workers_for", "workspace",
]  # fmt: skip
