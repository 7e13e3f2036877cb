// Normalisation, y = (x - mean) / sqrt(var + eps) weight + bias, and back.
//
//     x (n, p, g, k)    moments over p and k, of each of n samples and g groups of k channels
//     layer (n, 1, 1, k)    group (n, p, g, k)
//
// A block takes a sample's group: a pass for the mean, one for the variance (that of x - mean:
// squares of x alone would cancel), one for the result; after the first the group is in cache.
// Back, with d = x - mean, s = sqrt(var + eps), h = above weight:
//
//     dx = (h - mean(h)) / s - d mean(h d) / s^3
//     dweight = sum above d / s,  dbias = sum above
//
// A block adds up its own p rows of dweight and dbias, by channel; reduce.cuh adds the samples. All
// orders are fixed by the shape.
#include "block.cuh"

// Where a block's group begins, how wide a row of all groups is, and how many elements it has.
struct Group {
    long long begin, stride, count;
    int k, channel;
};

__device__ inline Group group_of(long long p, int g, int k) {
    long long sample = blockIdx.x / g;
    int channel = blockIdx.x % g * k;
    return {sample * p * g * k + channel, (long long)g * k, p * k, k, channel};
}

__device__ inline long long place(const Group& at, long long i) {
    return at.begin + i / at.k * at.stride + i % at.k;
}

// The mean, and sqrt(var + eps).
template <class T>
__device__ inline T moments(const T* x, const Group& at, T eps, T* deviation) {
    T sum = 0, squares = 0;
    for (long long i = threadIdx.x; i < at.count; i += blockDim.x) sum += x[place(at, i)];
    T mean = block_reduce<SUM>(sum) / T(at.count);
    for (long long i = threadIdx.x; i < at.count; i += blockDim.x) {
        T d = x[place(at, i)] - mean;
        squares += d * d;
    }
    *deviation = sqrt(block_reduce<SUM>(squares) / T(at.count) + eps);
    return mean;
}

template <class T>
__global__ void normalise(const T* x, const T* weight, const T* bias, T* y, long long p, int g,
                          int k, T eps) {
    Group at = group_of(p, g, k);
    T s, mean = moments(x, at, eps, &s);
    for (long long i = threadIdx.x; i < at.count; i += blockDim.x) {
        long long here = place(at, i);
        int c = at.channel + i % k;
        y[here] = (x[here] - mean) / s * weight[c] + bias[c];
    }
}

// dweight and dbias are (n, g k): of each sample. `width` columns of channels at a time, the other
// threads are as many rows; all are powers of two.
template <class T>
__global__ void normalise_dx(const T* above, const T* x, const T* weight, T* dx, T* dweight,
                             T* dbias, long long p, int g, int k, int width, T eps) {
    __shared__ T of_weight[256], of_bias[256];
    Group at = group_of(p, g, k);
    T s, mean = moments(x, at, eps, &s), h_sum = 0, hd_sum = 0;
    for (long long i = threadIdx.x; i < at.count; i += blockDim.x) {
        long long here = place(at, i);
        T h = above[here] * weight[at.channel + i % k];
        h_sum += h;
        hd_sum += h * (x[here] - mean);
    }
    T h_mean = block_reduce<SUM>(h_sum) / T(at.count);
    T along = block_reduce<SUM>(hd_sum) / T(at.count) / (s * s);
    for (long long i = threadIdx.x; i < at.count; i += blockDim.x) {
        long long here = place(at, i);
        T h = above[here] * weight[at.channel + i % k];
        dx[here] = (h - h_mean - (x[here] - mean) * along) / s;
    }
    int column = threadIdx.x % width, row = threadIdx.x / width, height = blockDim.x / width;
    for (int first = 0; first < k; first += width) {
        int c = first + column;
        T a = 0, b = 0;
        for (long long r = row; r < p && c < k; r += height) {
            long long here = at.begin + r * at.stride + c;
            a += above[here] * (x[here] - mean);
            b += above[here];
        }
        of_weight[threadIdx.x] = a;
        of_bias[threadIdx.x] = b;
        __syncthreads();
        for (int half = height / 2; half; half /= 2) {
            if (row < half) {
                of_weight[threadIdx.x] += of_weight[threadIdx.x + half * width];
                of_bias[threadIdx.x] += of_bias[threadIdx.x + half * width];
            }
            __syncthreads();
        }
        if (row == 0 && c < k) {
            long long to = blockIdx.x / g * at.stride + at.channel + c;
            dweight[to] = of_weight[column] / s;
            dbias[to] = of_bias[column];
        }
        __syncthreads();  // before the next columns lie there
    }
}
