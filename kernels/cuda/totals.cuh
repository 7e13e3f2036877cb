// Sums of squares, and products of all elements but one; products alone are a reduction
// (reduce.cuh).
//
//     squares_warps     out[i] = sum_j x[i, j]^2, a group of lanes a row           short rows
//     squares_blocks    the same, a block a row, or a piece of one                 long rows
//     without_rows      out[i, j] = prod_k x[i, k] over k other than j: a group of lanes a row
//     without_columns   the same along the first axis: a thread a column
//
// x (m, n), row by row. S, in which squares are made and added, is double for the sum of all of an
// array. Nothing is divided: a product of the others is that of all before times that of all after,
// so it is right where elements are 0. All orders are fixed by the shape.
#include "block.cuh"

// Block (width, height): `width` lanes of a warp share a row, the block takes `height` rows.
template <class S, class T>
__global__ void squares_warps(const T* x, S* out, long long rows, long long n) {
    long long row = blockIdx.x * (long long)blockDim.y + threadIdx.y;
    S sum = 0;
    if (row < rows) sum = share<SUM, T, S, true>(x + row * n, threadIdx.x, n, blockDim.x);
    sum = warp_reduce<SUM>(sum, blockDim.x);  // lanes without a row come along
    if (row < rows && threadIdx.x == 0) out[row] = sum;
}

// Block a * pieces + p: elements p * each to (p + 1) * each of row a.
template <class S, class T>
__global__ void squares_blocks(const T* x, S* out, long long n, long long each, int pieces) {
    long long row = blockIdx.x / pieces, begin = blockIdx.x % pieces * each;
    long long count = begin + each < n ? each : n - begin;
    S sum = share<SUM, T, S, true>(x + row * n + begin, threadIdx.x, count, blockDim.x);
    sum = block_reduce<SUM>(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

// The product of the lanes before this one, of `width`; `value` becomes that of all of them.
template <class T>
__device__ inline T before(T& value, int width) {
    T up_to = value;
    for (int by = 1; by < width; by *= 2) {
        T other = __shfl_up_sync(0xFFFFFFFFu, up_to, by, width);
        if (int(threadIdx.x) >= by) up_to *= other;
    }
    value = __shfl_sync(0xFFFFFFFFu, up_to, width - 1, width);
    T previous = __shfl_up_sync(0xFFFFFFFFu, up_to, 1, width);
    return threadIdx.x ? previous : T(1);
}

// Block (width, height): `width` lanes of a warp share a row; they go along it, and back from its
// end with the first lane on the last element.
template <class T>
__global__ void without_rows(const T* x, T* out, long long rows, int n) {
    long long row = blockIdx.x * (long long)blockDim.y + threadIdx.y;
    int width = blockDim.x, lane = threadIdx.x;
    const T* from = x + row * n;
    T *to = out + row * n, running = 1;
    for (int begin = 0; begin < n; begin += width) {
        bool there = row < rows && begin + lane < n;
        T all = there ? from[begin + lane] : T(1), mine = before(all, width);
        if (there) to[begin + lane] = running * mine;
        running *= all;
    }
    running = 1;
    __syncwarp();  // what other lanes have written is there
    for (int begin = 0; begin < n; begin += width) {
        int at = n - 1 - begin - lane;
        bool there = row < rows && at >= 0;
        T all = there ? from[at] : T(1), mine = before(all, width);
        if (there) to[at] *= running * mine;
        running *= all;
    }
}

template <class T>
__global__ void without_columns(const T* x, T* out, int rows, long long columns) {
    for (EACH(c, columns)) {
        T running = 1;
        for (long long r = 0; r < rows; ++r) {
            out[r * columns + c] = running;
            running *= x[r * columns + c];
        }
        running = 1;
        for (long long r = rows - 1; r >= 0; --r) {
            out[r * columns + c] *= running;
            running *= x[r * columns + c];
        }
    }
}
