// Functions of one or two numbers that CUDA C++ lacks, in float and in double. Those that it has
// (exp, log, tanh, erf, sqrt, fabs) are right to a few units in the last place in both types.
//
//     sigmoid(x)       1 / (1 + e^-x)                         e^-|x| is at most 1: no overflow
//     softplus(x)      log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)
//     relu, leaky_relu, clip, sign, maximum, minimum
//     modulo, whole_quotient                          x % y, x // y
//
// A NaN goes in and comes out, from either argument, as in NumPy (CUDA's max and min give the other
// number).
#pragma once

template <class T>
__device__ inline T maximum(T x, T y) {
    return x > y || x != x ? x : y;
}

template <class T>
__device__ inline T minimum(T x, T y) {
    return x < y || x != x ? x : y;
}

template <class T>
__device__ inline T sign(T x) {
    return x > T(0) ? T(1) : x < T(0) ? T(-1) : x == T(0) ? T(0) : x;
}

template <class T>
__device__ inline T relu(T x) {
    return x <= T(0) ? T(0) : x;
}

template <class T>
__device__ inline T leaky_relu(T x, T slope) {
    return x > T(0) ? x : slope * x;
}

template <class T>
__device__ inline T sigmoid(T x) {
    T e = exp(-fabs(x));
    return (x >= T(0) ? T(1) : e) / (T(1) + e);
}

template <class T>
__device__ inline T softplus(T x) {
    return relu(x) + log1p(exp(-fabs(x)));
}

// x % y and x // y of what NumPy has them of: the exact rest of the sign of x.
template <class T>
__device__ inline T modulo(T x, T y) {
    T r = fmod(x, y);
    if (r == T(0)) return copysign(T(0), y);
    return (y < T(0)) != (r < T(0)) ? r + y : r;
}

template <class T>
__device__ inline T whole_quotient(T x, T y) {
    if (y == T(0)) return x / y;
    T r = fmod(x, y), q = (x - r) / y;
    if (r != T(0) && (y < T(0)) != (r < T(0))) q = q - T(1);
    if (q == T(0)) return copysign(T(0), x / y);
    T low = floor(q);
    return q - low > T(0.5) ? low + T(1) : low;
}

template <class T>
__device__ inline T infinity() {
    return T(__int_as_float(0x7F800000));
}

template <class T>
__device__ inline T not_a_number() {
    return T(__int_as_float(0x7FC00000));
}
