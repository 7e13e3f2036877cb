// softmax, log_softmax and logsumexp of rows, safe for any finite input.
//
//     x (rows, n) -> out (rows, n), or (rows,) for LOGSUMEXP
//     top = max x, 0 where it is infinite or NaN;  e = exp(x - top);  total = sum e
//     SOFTMAX e / total;  LOG_SOFTMAX x - top - log total;  LOGSUMEXP log total + top
//
//     softmax_warps   a group of lanes a row, the row in registers: device memory is read once and
//                     written once, and no barrier is needed     n to 128, or to 1024
//     softmax_blocks  a block a row, which passes over the row three times: for its maximum, its
//                     sum and the result. The second and third time most of it is in cache.
//
// A long row alone would keep one block busy and the device idle. For logsumexp it is cut into
// pieces, a block each, and a second launch takes the logsumexp of their results: it is the same.
// The other two leave rows of more than 2^17 elements to the array module, if there are only a few.
#include "block.cuh"

enum Form { SOFTMAX, LOG_SOFTMAX, LOGSUMEXP };

// Block (width, height): `width` lanes of a warp share a row, each with PER elements, width apart.
template <int PER, class T>
__global__ void softmax_warps(const T* x, T* out, int form, long long rows, int n) {
    long long row = blockIdx.x * (long long)blockDim.y + threadIdx.y;
    int lane = threadIdx.x, width = blockDim.x;
    const T* from = x + row * n;
    T v[PER], top = start<MAX, T>(), total = 0;
#pragma unroll
    for (int k = 0; k < PER; ++k) {  // no element: -infinity, whose exponential is 0
        int i = k * width + lane;
        v[k] = row < rows && i < n ? from[i] : start<MAX, T>();
        top = both<MAX>(top, v[k]);
    }
    top = finite_or_0(warp_reduce<MAX>(top, width));
#pragma unroll
    for (int k = 0; k < PER; ++k) {
        v[k] -= top;
        T e = exp(v[k]);
        total += e;
        if (form == SOFTMAX) v[k] = e;
    }
    total = warp_reduce<SUM>(total, width);  // lanes without a row came along to here
    if (row >= rows) return;
    T log_total = log(total);
    if (form == LOGSUMEXP) {
        if (lane == 0) out[row] = log_total + top;
        return;
    }
#pragma unroll
    for (int k = 0; k < PER; ++k) {
        int i = k * width + lane;
        if (i < n) out[row * n + i] = form == SOFTMAX ? v[k] / total : v[k] - log_total;
    }
}

// Block a * pieces + p: elements p * each to (p + 1) * each of row a. With up to 1024 threads, who
// must make do with 64 registers each.
template <class T>
__launch_bounds__(1024)
__global__ void softmax_blocks(const T* x, T* out, int form, long long n, long long each,
                               int pieces) {
    long long row = blockIdx.x / pieces, begin = row * n + blockIdx.x % pieces * each;
    long long left = (row + 1) * n - begin, count = each < left ? each : left;
    const T* from = x + begin;
    T top = share<MAX>(from, threadIdx.x, count, blockDim.x), total = 0;
    top = finite_or_0(block_reduce<MAX>(top));
    for (long long i = threadIdx.x; i < count; i += blockDim.x) total += exp(from[i] - top);
    total = block_reduce<SUM>(total);
    T log_total = log(total);
    if (form == LOGSUMEXP) {
        if (threadIdx.x == 0) out[blockIdx.x] = log_total + top;
        return;
    }
    for (long long i = threadIdx.x; i < count; i += blockDim.x) {
        T shifted = from[i] - top;
        out[begin + i] = form == SOFTMAX ? exp(shifted) / total : shifted - log_total;
    }
}
