// Four neighbouring elements at a time, as one thread takes them.
//
//     load_four     y[k] = from[i + k], k = 0 ... 3           i a multiple of 4, n elements in all
//     store_four    to[i + k] = y[k]
//     step          (row, column) of the next element
//
// Four floats are one load of 16 bytes: a quarter of the memory instructions, and four times the
// bytes under way for each thread, which is what hides the latency of memory. Where an array does
// not start at such an address, and at its end, the elements come one by one. Behind the end the
// last element stands for those that are not there, so that the code between needs no branch.
#pragma once
#include "common.cuh"

template <class T>
struct alignas(sizeof(T) < 4 ? 4 * sizeof(T) : 16) Four {
    T at[4];
};

template <class T>
__device__ inline bool whole(const T* start, long long i, long long n) {
    return i + 4 <= n && reinterpret_cast<size_t>(start) % alignof(Four<T>) == 0;
}

template <class T>
__device__ inline Four<T> load_four(const T* from, long long i, long long n) {
    if (whole(from, i, n)) return *reinterpret_cast<const Four<T>*>(from + i);
    Four<T> y;
    for (int k = 0; k < 4; ++k) y.at[k] = from[min(i + k, n - 1)];
    return y;
}

template <class T>
__device__ inline void store_four(T* to, long long i, long long n, const Four<T>& y) {
    if (whole(to, i, n)) {
        *reinterpret_cast<Four<T>*>(to + i) = y;
        return;
    }
    for (int k = 0; k < 4; ++k)
        if (i + k < n) to[i + k] = y.at[k];
}

// Behind the last element it stays in the last row.
template <class Index>
__device__ inline void step(Index& row, Index& column, Index rows, Index columns) {
    if (++column < columns) return;
    column = 0;
    if (row + 1 < rows) ++row;
}
