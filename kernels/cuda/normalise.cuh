// Normalisation, y = (x - mean) / sqrt(var + eps) weight + bias, and back.
//
//     x (n, p, g, k)    moments over p and k, of each of n samples and g groups of k channels
//     layer (n, 1, 1, k)    group (n, p, g, k)
//
// A block takes a sample's group: a pass for the mean, one for the variance (that of x - mean:
// squares of x alone would cancel), one for the result; after the first the group is in cache. A
// thread stays with its channels, so that no place is found by a division.
// Back, with d = x - mean, s = sqrt(var + eps), h = above weight:
//
//     dx = (h - mean(h)) / s - d mean(h d) / s^3
//     dweight = sum above d / s,  dbias = sum above
//
// A block adds up its own p rows of dweight and dbias, by channel; reduce.cuh adds the samples. All
// orders are fixed by the shape.
#pragma once
#include "block.cuh"

// A block's group: where it begins, how wide a row of all groups is, and what of it a thread takes:
// columns `column`, column + width, ... and rows `row`, row + height, ...
struct Group {
    long long begin, stride, p;
    int k, channel, width, column, height, row;

    // How many elements it has.
    __device__ long long count() const { return p * k; }
};

// `width` columns of channels at a time, the other threads are as many rows; all are powers of two.
__device__ inline Group group_of(long long p, int g, int k, int width) {
    long long sample = blockIdx.x / g, stride = (long long)g * k;
    int channel = blockIdx.x % g * k;
    return {sample * p * stride + channel, stride, p, k, channel, width,
            int(threadIdx.x) % width, int(blockDim.x) / width, int(threadIdx.x) / width};
}

// for (EACH_ROW_OF(at, here, c)): the places of this thread's elements of column c.
#define EACH_ROW_OF(at, here, c)                                                 \
    long long r_ = (at).row, here = (at).begin + r_ * (at).stride + (c); r_ < (at).p; \
    r_ += (at).height, here += (at).height * (at).stride
// for (EACH_COLUMN_OF(at, c)): its columns.
#define EACH_COLUMN_OF(at, c) int c = (at).column; c < (at).k; c += (at).width

// The mean, and sqrt(var + eps).
template <class T>
__device__ inline T moments(const T* x, const Group& at, T eps, T* deviation) {
    T sum = 0, squares = 0;
    for (EACH_COLUMN_OF(at, c))
        for (EACH_ROW_OF(at, here, c)) sum += x[here];
    T mean = block_reduce<SUM>(sum) / T(at.count());
    for (EACH_COLUMN_OF(at, c))
        for (EACH_ROW_OF(at, here, c)) {
            T d = x[here] - mean;
            squares += d * d;
        }
    *deviation = sqrt(block_reduce<SUM>(squares) / T(at.count()) + eps);
    return mean;
}

// a and b added over the rows of the block's threads, in those of row 0. Up to 256 threads.
template <class T>
__device__ inline void add_rows(const Group& at, T& a, T& b) {
    __shared__ T of_a[256], of_b[256];
    of_a[threadIdx.x] = a;
    of_b[threadIdx.x] = b;
    __syncthreads();
    for (int half = at.height / 2; half; half /= 2) {
        if (at.row < half) {
            of_a[threadIdx.x] += of_a[threadIdx.x + half * at.width];
            of_b[threadIdx.x] += of_b[threadIdx.x + half * at.width];
        }
        __syncthreads();
    }
    a = of_a[threadIdx.x];
    b = of_b[threadIdx.x];
    __syncthreads();  // before the next columns lie there
}

template <class T>
__global__ void normalise(const T* x, const T* weight, const T* bias, T* y, long long p, int g,
                          int k, int width, T eps) {
    Group at = group_of(p, g, k, width);
    T s, mean = moments(x, at, eps, &s);
    for (EACH_COLUMN_OF(at, c)) {
        T w = weight[at.channel + c], b = bias[at.channel + c];
        for (EACH_ROW_OF(at, here, c)) y[here] = (x[here] - mean) / s * w + b;
    }
}

// dweight and dbias are (n, g k): of each sample.
template <class T>
__global__ void normalise_dx(const T* above, const T* x, const T* weight, T* dx, T* dweight,
                             T* dbias, long long p, int g, int k, int width, T eps) {
    Group at = group_of(p, g, k, width);
    T s, mean = moments(x, at, eps, &s), h_sum = 0, hd_sum = 0;
    for (int first = 0; first < k; first += width) {
        int c = first + at.column;
        T a = 0, b = 0;
        if (c < k)
            for (EACH_ROW_OF(at, here, c)) {
                a += above[here] * (x[here] - mean);
                b += above[here];
            }
        add_rows(at, a, b);
        if (at.row == 0 && c < k) {
            T w = weight[at.channel + c];
            long long to = blockIdx.x / g * at.stride + at.channel + c;
            dweight[to] = a / s;
            dbias[to] = b;
            hd_sum += w * a;
            h_sum += w * b;
        }
    }
    T h_mean = block_reduce<SUM>(h_sum) / T(at.count());
    T along = block_reduce<SUM>(hd_sum) / T(at.count()) / (s * s);
    for (EACH_COLUMN_OF(at, c)) {
        T w = weight[at.channel + c];
        for (EACH_ROW_OF(at, here, c))
            dx[here] = (above[here] * w - h_mean - (x[here] - mean) * along) / s;
    }
}
