// What happens to an element of a product before it is stored.
//
//     v = sum + bias[n]             where BIAS is set: one number for each column
//     v = f(v)                      f is none, relu, leaky_relu, tanh or sigmoid
//     v = v f'(y)                   instead, where MASK is set: y = f(x) is what the forward pass
//                                   saved, an array of the product's shape
//     v = v + c                     where ACCUMULATE is set: c is what the memory holds
//
// A kernel of its own for each would read and write the product again: for K = 784 in float32
// these 8 bytes an element take as long as a third of the product itself. All threads have the
// same `code`, so that its branches cost nothing next to the sums.
#pragma once
#include "common.cuh"

enum Code { NONE, RELU, LEAKY_RELU, TANH, SIGMOID, ACTIVATION = 7, BIAS = 8, MASK = 16,
            ACCUMULATE = 32 };

template <class T>
__device__ inline T activated(T x, int f, T slope) {
    if (f == RELU) return x <= T(0) ? T(0) : x;  // NaN stays NaN
    if (f == LEAKY_RELU) return x > T(0) ? x : slope * x;
    if (f == TANH) return tanh(x);
    if (f == SIGMOID) {
        T e = exp(-fabs(x));  // at most 1: no overflow
        return (x >= T(0) ? T(1) : e) / (T(1) + e);
    }
    return x;
}

// v f'(x), where y = f(x); for leaky_relu y > 0 says that x > 0, as its slope is not negative.
template <class T>
__device__ inline T masked(T v, T y, int f, T slope) {
    if (f == RELU) return y > T(0) ? v : T(0);
    if (f == LEAKY_RELU) return y > T(0) ? v : slope * v;
    if (f == TANH) return v * (T(1) - y * y);
    if (f == SIGMOID) return v * (y * (T(1) - y));
    return v;
}

#ifndef OWN_EPILOGUE  // epilogue.py writes others
template <class T>
struct Epilogue {
    const T *bias, *saved;  // (N,) and as the product; anything where `code` does not ask for them
    int code;
    T slope;

    // What to store where `c` has the flat index i and the column n.
    __device__ T of(T v, const T* c, long long i, int n) const {
        if (code == 0) return v;
        if (code & BIAS) v += bias[n];
        int f = code & ACTIVATION;
        v = code & MASK ? masked(v, saved[i], f, slope) : activated(v, f, slope);
        return code & ACCUMULATE ? v + c[i] : v;
    }
};
#endif
