"""A kernel in CUDA itself: a matrix is turned, through memory that a block shares."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Answer, Case, Exercise, Wrong


def matrix(rows: int, columns: int) -> Any:
    return np.random.default_rng(rows).standard_normal((rows, columns)).astype(np.float32)


def look(answer: Answer, rows: int, columns: int) -> Any:
    """What the emulator makes of the kernel, every access being looked at."""
    device: Any
    with tg.use_backend("emulated") as device, device.checked():
        x, y = tg.tensor(matrix(rows, columns)), tg.full((columns, rows), float("nan"))
        grid = (-(-columns // 8), -(-rows // 8))
        sizes = np.int32(rows), np.int32(columns)
        device.launch(answer.KERNEL, "turned", grid, (8, 8), x, y, *sizes, file="turned.cuh")
        return y.numpy().copy()


def said(answer: Answer) -> str:
    """What the emulator complains of, in a word."""
    try:
        look(answer, 5, 11)
    except RuntimeError as error:
        return "a barrier" if "__syncthreads" in str(error) else "an access"
    return "nothing"


def cases() -> Iterator[Case]:
    for rows, columns in ((8, 8), (16, 8), (5, 11)):
        right = partial(np.transpose, matrix(rows, columns))
        yield Case(f"{rows} x {columns}", partial(look, rows=rows, columns=columns), right)
    yield Case("what the emulator complains of", said, lambda: "nothing")


START = '''
KERNEL = """
__global__ void turned(const float* x, float* y, int rows, int columns) {
    __shared__ float tile[8][8];
    int i = threadIdx.y, j = threadIdx.x;
    int row = 8 * blockIdx.y + i, column = 8 * blockIdx.x + j;
    tile[i][j] = x[row * columns + column];
    row = 8 * blockIdx.x + i, column = 8 * blockIdx.y + j;
    y[row * rows + column] = tile[j][i];
}
"""
'''
REFERENCE = '''
KERNEL = """
__global__ void turned(const float* x, float* y, int rows, int columns) {
    __shared__ float tile[8][8];
    int i = threadIdx.y, j = threadIdx.x;
    int row = 8 * blockIdx.y + i, column = 8 * blockIdx.x + j;
    if (row < rows && column < columns) tile[i][j] = x[row * columns + column];
    __syncthreads();
    row = 8 * blockIdx.x + i, column = 8 * blockIdx.y + j;
    if (row < columns && column < rows) y[row * rows + column] = tile[j][i];
}
"""
'''
EXERCISE = Exercise(
    title="A kernel in CUDA: turn a matrix",
    minutes=15,
    task="""
KERNEL is CUDA, and the emulator of step 19 runs it. x is a matrix (rows, columns), y becomes its
transpose. A block of 8 x 8 threads reads an 8 x 8 tile of x into shared memory and writes it,
turned, to y. So neighbouring threads (threadIdx.x) read neighbours and write neighbours. Two things
are missing: a barrier, and what keeps threads inside of matrices that 8 does not divide. This needs
a C++ compiler, g++ or clang++, and no GPU.
""",
    start=START,
    reference=REFERENCE,
    wrong=(
        Wrong(
            "A thread reads from the tile what another has not written yet. Where must all wait?",
            was="    __syncthreads();\n", now="",
        ),
        Wrong(
            "The barrier is there. Which threads of the last blocks have no element?",
            code=REFERENCE.replace("if (row < rows && column < columns) ", "").replace(
                "if (row < columns && column < rows) ", ""
            ),
        ),
        Wrong(
            "Only the threads that have an element come to this barrier. It is for all of a block.",
            was="tile[i][j] = x[row * columns + column];\n    __syncthreads();\n",
            now="{ tile[i][j] = x[row * columns + column]; __syncthreads(); }\n",
        ),
        Wrong(
            "Each tile goes to its new place, but inside it nothing is turned.",
            was="tile[j][i]", now="tile[i][j]",
        ),
        Wrong(
            "Each tile is turned, but all stay where they were: whose row of blocks is it in y?",
            was="row = 8 * blockIdx.x + i, column = 8 * blockIdx.y + j;",
            now="row = 8 * blockIdx.y + i, column = 8 * blockIdx.x + j;",
        ),
        Wrong(
            "y has rows of another length than x. How many elements lie between two of its rows?",
            was="y[row * rows + column]", now="y[row * columns + column]",
        ),
    ),
    cases=cases,
    hint="In y the numbers of rows and columns are exchanged, in every place where they occur.",
    questions=(
        ("Without the tile, y[column * rows + row] = x[row * columns + column] is right, too. How "
         "far apart do neighbouring threads then write?",
         "`rows` elements: a GPU moves whole lines of memory, and uses one number of each."),
    ),
    why=(
        "Shared memory can be read in any order without a price, the large memory only along a "
        "line. So the turn is done in the tile. The barrier stands outside of every `if`: a thread "
        "without an element has to come, too."
    ),
    engine=("kernels/cuda/matmul.cuh", "all of the tile is there"),
    needs=("compiler",),
)  # fmt: skip
