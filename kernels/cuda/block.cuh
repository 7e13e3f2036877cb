// Reductions by the threads of a warp and of a block: a fixed tree, so always the same bits.
//
//     share         what one thread reads of a row, combined          registers
//     warp_reduce   over neighbouring lanes of a warp                 shuffles
//     block_reduce  over all threads of a block                       shuffles, shared memory
//
// A tree also keeps rounding small: errors grow with its depth, the logarithm of the count.
#pragma once
#include "common.cuh"

enum Op { SUM, MAX, MIN, PROD };

template <Op op, class T>
__device__ inline T both(T a, T b) {
    if (op == SUM) return a + b;
    if (op == PROD) return a * b;
    bool first = op == MAX ? a > b : a < b;
    return first || a != a ? a : b;  // NaN stays
}

// What changes nothing: -0 + x is x, also for x = -0.
template <Op op, class T>
__device__ inline T start() {
    T infinity = T(__int_as_float(0x7F800000));
    return op == SUM ? T(-0.0f) : op == PROD ? T(1) : op == MAX ? -infinity : infinity;
}

// What softmax subtracts: the largest element, where it is a number.
template <class T>
__device__ inline T finite_or_0(T top) {
    return isfinite(top) ? top : T(0);
}

// Elements first, first + by, first + 2 by... below n of x, which lie `stride` apart, or their
// squares, made and combined in S. Four chains of operations at a time: their loads are under way
// together.
template <Op op, class T, class S = T, bool SQUARED = false>
__device__ inline S share(const T* x, long long first, long long n, int by, long long stride = 1) {
    auto made = [](S value) { return SQUARED ? value * value : value; };
    S a = start<op, S>(), b = a, c = a, d = a;
    long long i = first, step = by * stride;
    const T* at = x + first * stride;
    for (; i + 3 * by < n; i += 4 * by, at += 4 * step) {
        a = both<op>(a, made(at[0]));
        b = both<op>(b, made(at[step]));
        c = both<op>(c, made(at[2 * step]));
        d = both<op>(d, made(at[3 * step]));
    }
    for (; i < n; i += by, at += step) a = both<op>(a, made(*at));
    return both<op>(both<op>(a, b), both<op>(c, d));
}

// Each group of `width` lanes (a power of two) gets its result, in every lane. All 32 must come.
template <Op op, class T>
__device__ inline T warp_reduce(T value, int width = 32) {
    for (int by = width / 2; by; by /= 2)
        value = both<op>(value, __shfl_xor_sync(0xFFFFFFFFu, value, by));
    return value;
}

// The result of all threads, in every thread. blockDim.x is 32 to 1024, a power of two. Warps
// reduce, lay down their values, and every warp reduces those: two barriers instead of ten.
template <Op op, class T>
__device__ inline T block_reduce(T value) {
    __shared__ T of_warp[32];
    int warps = blockDim.x / 32;
    value = warp_reduce<op>(value);
    __syncthreads();  // an earlier call's values have been read
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    return warp_reduce<op>(of_warp[threadIdx.x % warps], warps);
}
