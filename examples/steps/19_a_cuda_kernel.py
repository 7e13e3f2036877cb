"""A CUDA kernel on a laptop: written, broken, and told why it broke, without a GPU.

Look at: the same matrix product with and without its barrier, and what the emulator says.
Exercise: set REMOVED to "second". Then swap `threadIdx.y` and `threadIdx.x` in the line of i and j,
which is still right: how many times further apart do neighbouring threads then read?
"""

import numpy as np

import tinygen as tg
from tinygen_kernels.cuda.emulator import KernelError

# A block of 8 x 8 threads makes an 8 x 8 tile of z = x y. For each 8 columns of x and 8 rows of y,
# every thread fetches one number of both into memory that its block shares; then each number is
# used 8 times. Nobody may read a tile before all have written it, nor write the next one before all
# have read this one: that is what the two barriers are for.
TILES = """
__global__ void product(const float* x, const float* y, float* z, int n) {
    __shared__ float a[8][8], b[8][8];
    int row = 8 * blockIdx.y, column = 8 * blockIdx.x;
    int i = threadIdx.y, j = threadIdx.x;
    float sum = 0;
    for (int k = 0; k < n; k += 8) {
        a[i][j] = x[(row + i) * n + k + j];
        b[i][j] = y[(k + i) * n + column + j];
        __syncthreads();
        for (int m = 0; m < 8; ++m) sum += a[threadIdx.y][m] * b[m][threadIdx.x];
        __syncthreads();
    }
    z[(row + threadIdx.y) * n + column + threadIdx.x] = sum;
}
"""

N, REMOVED = 32, "first"
rng = np.random.default_rng(0)
X, Y = (rng.standard_normal((N, N)).astype(np.float32) for _ in range(2))


def product(source, grid=(N // 8, N // 8)):
    """X Y by a kernel on the current backend."""
    x, y = tg.tensor(X), tg.tensor(Y)
    z = tg.full((N, N), float("nan"))
    device.launch(source, "product", grid, (8, 8), x, y, z, np.int32(N), file="product.cuh")
    return z.numpy()


with tg.use_backend("emulated") as device:
    error = np.abs(product(TILES) - X @ Y).max()
    print(f"right:               largest error {error:.1e}")

    # Without the first barrier a thread reads what others have not written yet, without the second
    # it writes over what others have not read. On a GPU that may go well for years; here every
    # thread runs until it must wait, so it goes wrong at once.
    barrier = "        __syncthreads();\n"
    load, multiply, end = TILES.split(barrier)
    parts = (
        (load, multiply + barrier, end) if REMOVED == "first" else (load + barrier, multiply, end)
    )
    broken = "".join(parts)
    wrong = np.mean(~(np.abs(product(broken) - X @ Y) < 1e-3))
    print(f"no {REMOVED + ' barrier:':18}{wrong:.0%} of the results are wrong, or not a number")

    # Asked to look at every access, the emulator tells who met whom, and where.
    with device.checked():
        try:
            product(broken)
        except KernelError as found:
            print(f"\n{found}")
        try:
            product(TILES, grid=(N // 8 + 1, N // 8))  # a block too many
        except KernelError as found:
            print(f"\n{found}")
