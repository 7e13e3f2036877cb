// Sums, means, products and extremes over adjacent axes, and the place of the largest element.
//
//     x (outer, n, inner) -> out (outer, inner):  out[a, b] = x[a, 0, b] + ... + x[a, n - 1, b]
//
// Every element is read once, so memory bounds them all: what counts is that neighbouring threads
// read neighbouring words, and that enough threads are at work. From plain to fast:
//
//     reduce_thread   one thread a result          n of a few, any inner
//     reduce_warps    a group of lanes a row       many short rows, inner = 1
//     reduce_blocks   one block a row or piece     long rows, inner = 1
//     reduce_columns  32 columns, 8 rows a block   inner > 1: a warp reads 32 neighbours of a row
//     argmax          one block a row              inner = 1
//
// Where results are few and n is large, one launch would leave most of the device idle: x is cut
// into (outer, pieces, each, inner), the first launch makes (outer, pieces, inner), a second one
// reduces that. All orders are fixed by the shape; no result depends on which block was first.
//
// A mean divides by n at the end; otherwise the divisor is 1.
#include "block.cuh"

template <Op op, class T>
__global__ void reduce_thread(const T* x, T* out, long long results, long long n, long long inner,
                              T divisor) {
    for (EACH(o, results)) {
        const T* from = x + o / inner * n * inner + o % inner;
        out[o] = share<op>(from, 0, n, 1, inner) / divisor;
    }
}

// Block (width, height): `width` lanes of a warp share a row, the block takes `height` rows.
template <Op op, class T>
__global__ void reduce_warps(const T* x, T* out, long long rows, long long n, T divisor) {
    long long row = blockIdx.x * (long long)blockDim.y + threadIdx.y;
    T value = start<op, T>();
    if (row < rows) value = share<op>(x + row * n, threadIdx.x, n, blockDim.x);
    value = warp_reduce<op>(value, blockDim.x);  // lanes without a row come along
    if (row < rows && threadIdx.x == 0) out[row] = value / divisor;
}

// Block a * pieces + p: elements p * each to (p + 1) * each of row a.
template <Op op, class T>
__global__ void reduce_blocks(const T* x, T* out, long long n, long long each, int pieces,
                              T divisor) {
    long long row = blockIdx.x / pieces, begin = blockIdx.x % pieces * each;
    long long count = begin + each < n ? each : n - begin;
    T value = share<op>(x + row * n + begin, threadIdx.x, count, blockDim.x);
    value = block_reduce<op>(value);
    if (threadIdx.x == 0) out[blockIdx.x] = value / divisor;
}

// Block (width, height) of 256 threads, both powers of two: thread (i, j) takes column i and rows
// j, j + height...; then the columns' `height` values are added as a tree in shared memory.
// Block (a * pieces + p) * strips + s: piece p of rows and strip s of columns of x[a].
template <Op op, class T>
__global__ void reduce_columns(const T* x, T* out, long long n, long long each, int pieces,
                               long long inner, int strips, T divisor) {
    __shared__ T values[256];
    long long line = blockIdx.x / strips, column = blockIdx.x % strips * blockDim.x + threadIdx.x;
    long long begin = line % pieces * each, count = begin + each < n ? each : n - begin;
    T* mine = values + threadIdx.y * blockDim.x + threadIdx.x;
    if (column < inner) {
        const T* from = x + (line / pieces * n + begin) * inner + column;
        *mine = share<op>(from, threadIdx.y, count, blockDim.y, inner);
    }
    __syncthreads();
    for (int half = blockDim.y / 2; half; half /= 2) {
        if (threadIdx.y < half && column < inner)
            *mine = both<op>(*mine, mine[half * blockDim.x]);
        __syncthreads();
    }
    if (threadIdx.y == 0 && column < inner) out[line * inner + column] = *mine / divisor;
}

// The first of the largest elements, NaN counting as the largest: each thread's own first, then
// the block's largest value, then the first place that has it. Up to 1024 threads.
template <class T>
__launch_bounds__(1024)
__global__ void argmax(const T* x, long long* out, int n) {
    const T* row = x + blockIdx.x * (long long)n;
    int at = n;  // none yet
    T best = start<MAX, T>();
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        T value = row[i];
        if (at == n || value > best || (value != value && best == best)) at = i, best = value;
    }
    T top = block_reduce<MAX>(best);
    at = block_reduce<MIN>(best == top || best != best ? at : n);
    if (threadIdx.x == 0) out[blockIdx.x] = at;
}
