// Pooling of images: the largest or the mean pixel of each window, channel by channel.
//
//     x (N, H, W, C) -> y (N, OH, OW, C)       windows of KH x KW pixels, SH, SW apart
//
//     max_pool         y = the largest pixel; NaN if any is
//     max_pool_pick    y = v where x is largest, the first of equal ones row by row
//     max_pool_back    x' = the sum of what y holds for those windows whose largest pixel this is
//     avg_pool         y = the mean of those pixels of the window that are in the image
//     avg_pool_back    x' = the sum, over the windows that hold the pixel, of y / their pixels
//
// A thread makes one element; neighbours are neighbouring channels, so a warp reads and writes
// whole lines. Memory bounds all of them: each number is read once from it, then from the cache.
// A gradient gathers: a pixel looks at the windows that hold it, and finds their largest pixel
// again. Nothing has to be kept from the forward pass, and no two threads write the same number.
#include "common.cuh"

#define SIZES                                                                                     \
    int N, int H, int W, int C, int OH, int OW, int KH, int KW, int SH, int SW, int DH, int DW,   \
        int PT, int PL
#define GIVEN {H, W, C, OH, OW, KH, KW, SH, SW, DH, DW, PT, PL}

struct Windows {
    int H, W, C, OH, OW, KH, KW, SH, SW, DH, DW, PT, PL;

    // The pixel (row H W + column) of image 0 that tap `tap` of window (i, j) meets; -1 outside.
    __device__ int pixel(int i, int j, int tap) const {
        int h = i * SH - PT + tap / KW * DH, w = j * SW - PL + tap % KW * DW;
        return h >= 0 && h < H && w >= 0 && w < W ? h * W + w : -1;
    }
    // The window (row OW + column) whose tap `tap` meets pixel (h, w); -1 for none.
    __device__ int window(int h, int w, int tap) const {
        h += PT - tap / KW * DH, w += PL - tap % KW * DW;
        if (h < 0 || w < 0 || h % SH || w % SW) return -1;
        return h / SH < OH && w / SW < OW ? h / SH * OW + w / SW : -1;
    }
    __device__ int taps() const { return KH * KW; }

    // The largest pixel of a window and its tap; `image` is the channel's first pixel.
    template <class T>
    __device__ int largest(const T* image, int i, int j, T& value) const {
        value = -T(__int_as_float(0x7F800000));
        int found = 0;
        for (int tap = 0; tap < taps(); ++tap) {
            int at = pixel(i, j, tap);
            if (at < 0) continue;
            T here = image[at * (long long)C];
            if (here > value || (here != here && value == value)) value = here, found = tap;
        }
        return found;
    }
};

// An element of a dense (N, rows, columns, C), and where its channel begins in images of `pixels`.
struct Element {
    int channel, column, row;
    long long image;

    __device__ Element(long long i, int rows, int columns, int C) {
        channel = i % C, i /= C;
        column = i % columns, i /= columns;
        row = i % rows, image = i / rows;
    }
    __device__ long long first(long long pixels, int C) const {
        return image * pixels * C + channel;
    }
};

template <class T>
__global__ void max_pool(const T* x, T* y, SIZES) {
    Windows windows GIVEN;
    for (EACH(i, N * (long long)OH * OW * C)) {
        Element e(i, OH, OW, C);
        T value;
        windows.largest(x + e.first(H * W, C), e.row, e.column, value);
        y[i] = value;
    }
}

template <class T>
__global__ void max_pool_pick(const T* v, const T* x, T* y, SIZES) {
    Windows windows GIVEN;
    for (EACH(i, N * (long long)OH * OW * C)) {
        Element e(i, OH, OW, C);
        long long first = e.first(H * W, C);
        T value;
        int at = windows.pixel(e.row, e.column,
                               windows.largest(x + first, e.row, e.column, value));
        y[i] = at < 0 ? T(0) : v[first + at * (long long)C];
    }
}

template <class T>
__global__ void max_pool_back(const T* y, const T* x, T* to, SIZES) {
    Windows windows GIVEN;
    for (EACH(i, N * (long long)H * W * C)) {
        Element e(i, H, W, C);
        T sum = 0, value;
        for (int tap = 0; tap < windows.taps(); ++tap) {
            int at = windows.window(e.row, e.column, tap);
            if (at < 0) continue;
            int largest = windows.largest(x + e.first(H * W, C), at / OW, at % OW, value);
            if (largest == tap) sum += y[e.first(OH * OW, C) + at * (long long)C];
        }
        to[i] = sum;
    }
}

template <class T>
__device__ inline T counted(const Windows& windows, int i, int j) {
    int count = 0;
    for (int tap = 0; tap < windows.taps(); ++tap) count += windows.pixel(i, j, tap) >= 0;
    return T(count);
}

template <class T>
__global__ void avg_pool(const T* x, T* y, SIZES) {
    Windows windows GIVEN;
    for (EACH(i, N * (long long)OH * OW * C)) {
        Element e(i, OH, OW, C);
        const T* image = x + e.first(H * W, C);
        T sum = 0;
        for (int tap = 0; tap < windows.taps(); ++tap) {
            int at = windows.pixel(e.row, e.column, tap);
            if (at >= 0) sum += image[at * (long long)C];
        }
        y[i] = sum / counted<T>(windows, e.row, e.column);
    }
}

template <class T>
__global__ void avg_pool_back(const T* y, T* to, SIZES) {
    Windows windows GIVEN;
    for (EACH(i, N * (long long)H * W * C)) {
        Element e(i, H, W, C);
        const T* image = y + e.first(OH * OW, C);
        T sum = 0;
        for (int tap = 0; tap < windows.taps(); ++tap) {
            int at = windows.window(e.row, e.column, tap);
            if (at >= 0) sum += image[at * (long long)C] / counted<T>(windows, at / OW, at % OW);
        }
        to[i] = sum;
    }
}
