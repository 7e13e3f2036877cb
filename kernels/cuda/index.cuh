// Gathering along an axis, its adjoint, by one list of indices or by one for each place; one-hot
// codes, and batches of images.
//
//     take            out (outer, m, inner):  out[a, i] = x[a, index[i]],  x (outer, n, inner)
//     scatter_add     out (outer, n, inner):  out[a, j] = sum of x[a, i] over i with index[i] = j
//     take_along_axis out (outer, m, inner):  out[a, i, k] = x[a, index[a, i, k], k]
//     add_along_axis  out (outer, n, inner):  out[a, j, k] = sum of x[a, i, k] over i with
//                                             index[a, i, k] = j
//     one_hot         out (m, classes):       out[i, c] = 1 where c = label[i], else 0
//     gather_images   out (m, size):          out[i] = images[index[i]] / 255 * width + low
//
// All but scatter_add only move memory. A row of a block's threads takes a row of the result, so
// neighbours write neighbouring words, and the index is looked up once a row.
//
// A device has no exception for an index out of range; no such index is followed. Gathers and
// scatters count round the axis, -1 and n - 1 alike, as the array module's take does on a device:
// so they remain each other's adjoint. one_hot has a row of 0 there, as its reference.
// gather_images has NaN there: data that was never asked for would go unnoticed.
//
// Scatters must add in a fixed order, so there are no atomics; what owns an element looks through
// the index instead, from first to last:
//
//     wrap            index -> where (m), int32 from 0 to n - 1: the rest need not divide
//     scatter_thread  one thread an element reads every index     short rows
//     scatter_rows    a block a row: 256 threads look at 256 indices at once, then all of them
//                     add the rows that were found                long rows
#include "common.cuh"

// Block (width, height), grid (.., strips): a row to every threadIdx.y, its columns a grid apart.
#define EACH_ROW(row, rows)                                                        \
    long long row = blockIdx.x * (long long)blockDim.y + threadIdx.y; row < (rows); \
    row += (long long)gridDim.x * blockDim.y
#define EACH_COLUMN(b, columns)                                                        \
    long long b = blockIdx.y * (long long)blockDim.x + threadIdx.x; b < (columns); \
    b += (long long)gridDim.y * blockDim.x

template <class I>
__device__ inline long long wrapped(I index, long long n) {
    long long rest = index % n;
    return rest < 0 ? rest + n : rest;
}

template <class T, class I>
__global__ void take(const T* x, const I* index, T* out, long long outer, long long n, long long m,
                     long long inner) {
    for (EACH_ROW(row, outer * m)) {
        const T* from = x + (row / m * n + wrapped(index[row % m], n)) * inner;
        for (EACH_COLUMN(b, inner)) out[row * inner + b] = from[b];
    }
}

template <class I>
__global__ void wrap(const I* index, int* where, long long n, long long m) {
    for (EACH(i, m)) where[i] = int(wrapped(index[i], n));
}

template <class T>
__global__ void scatter_thread(const T* x, const int* where, T* out, long long size, int n, int m,
                               long long inner) {
    for (EACH(o, size)) {
        long long line = o / inner, b = o % inner;
        int j = int(line % n);
        const T* from = x + line / n * m * inner + b;
        T sum = 0;
        for (int i = 0; i < m; ++i)
            if (where[i] == j) sum += from[i * inner];
        out[o] = sum;
    }
}

// Block (line, s) of 256 threads, line = a * n + j: columns s * 256 to (s + 1) * 256 of out[a, j].
template <class T>
__global__ void scatter_rows(const T* x, const int* where, T* out, int n, int m,
                             long long inner) {
    __shared__ unsigned found[8];  // a bit for each of 256 indices
    long long line = blockIdx.x, b = blockIdx.y * 256LL + threadIdx.x;
    int j = int(line % n);
    const T* from = x + line / n * m * inner + b;
    T sum = 0;
    for (int first = 0; first < m; first += 256) {
        int i = first + threadIdx.x;
        unsigned mine = __ballot_sync(0xFFFFFFFFu, i < m && where[i] == j);
        if (threadIdx.x % 32 == 0) found[threadIdx.x / 32] = mine;
        __syncthreads();
        for (int word = 0; word < 8; ++word) {
            for (unsigned bits = found[word]; bits; bits &= bits - 1) {
                int lowest = __popc((bits & -bits) - 1);
                if (b < inner) sum += from[(first + word * 32 + lowest) * inner];
            }
        }
        __syncthreads();  // before the next 256 are laid down
    }
    if (b < inner) out[line * inner + b] = sum;
}

template <class T, class I>
__global__ void take_along_axis(const T* x, const I* index, T* out, long long size, long long n,
                                long long m, long long inner) {
    for (EACH(o, size)) {
        long long a = o / (m * inner), k = o % inner;
        out[o] = x[(a * n + wrapped(index[o], n)) * inner + k];
    }
}

template <class T>
__global__ void add_along_axis(const T* x, const int* where, T* out, long long size, long long n,
                               long long m, long long inner) {
    for (EACH(o, size)) {
        long long line = o / inner, a = line / n, start = a * m * inner + o % inner;
        int j = int(line % n);
        T sum = 0;
        for (long long i = 0; i < m; ++i)
            if (where[start + i * inner] == j) sum += x[start + i * inner];
        out[o] = sum;
    }
}

template <class T, class I>
__global__ void one_hot(const I* label, T* out, long long m, long long classes) {
    for (EACH_ROW(row, m)) {
        long long hot = label[row];
        for (EACH_COLUMN(c, classes)) out[row * classes + c] = T(c == hot);
    }
}

// The division, the product and the sum are rounded one by one, as in NumPy. Where `scaled` is 0
// the range is 0 to 1. Four levels at a time where addresses allow: 4 bytes are read, 16 written.
__device__ inline float grey(unsigned level, float width, float low, int scaled) {
    float value = float(level & 255) / 255.0f;
    return scaled ? value * width + low : value;
}

__global__ void gather_images(const unsigned char* images, const long long* index, float* out,
                              long long total, long long m, long long size, float width, float low,
                              int scaled) {
    bool fours = size % 4 == 0 && (size_t)images % 4 == 0 && (size_t)out % 16 == 0;
    float nan = __int_as_float(0x7FC00000);
    for (EACH_ROW(row, m)) {
        long long at = index[row] < 0 ? index[row] + total : index[row];
        const unsigned char* from = images + at * size;
        float* to = out + row * size;
        if (at < 0 || at >= total) {
            for (EACH_COLUMN(b, size)) to[b] = nan;
        } else if (fours) {
            const unsigned* levels = reinterpret_cast<const unsigned*>(from);
            for (EACH_COLUMN(b, size / 4)) {
                unsigned four = levels[b];
                store4(to + 4 * b, make_float4(grey(four, width, low, scaled),
                                               grey(four >> 8, width, low, scaled),
                                               grey(four >> 16, width, low, scaled),
                                               grey(four >> 24, width, low, scaled)));
            }
        } else {
            for (EACH_COLUMN(b, size)) to[b] = grey(from[b], width, low, scaled);
        }
    }
}
