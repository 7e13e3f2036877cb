// Blocks of a x b pixels: repeated and added up, or rearranged into channels; images (N, H, W, C).
//
//     repeated          large[n, a i + p, b j + q, k] = small[n, i, j, k]
//     added             small[n, i, j, k] = sum_pq large[n, a i + p, b j + q, k]
//     pixels_moved      small[n, i, j, (p b + q) C + k] = large[n, a i + p, b j + q, k]
//     channels_moved    the other way
//
// A thread makes one element of the result, so neighbours write neighbouring words, and read runs
// of C or b C. Images lie row by row: row r of all small ones belongs to rows a r ... a r + a - 1
// of all large ones. w is the small ones' number of columns. Places are counted in 32 bits, as
// divisions of 64 bits would cost more than the memory does.
#include "common.cuh"

template <class T>
__global__ void repeated(const T* small, T* large, int size, int w, int c, int a, int b) {
    for (EACH(i, size)) {
        int at = int(i), k = at % c, pixel = at / c;
        int row = pixel / (w * b), column = pixel % (w * b);
        large[at] = small[(row / a * w + column / b) * c + k];
    }
}

// From pixel to pixel of the large images there are `apart` numbers: the gradient of channels that
// were put beside others is a part of theirs.
template <class T>
__global__ void added(const T* large, T* small, int size, int w, int c, int a, int b,
                      long long apart) {
    for (EACH(i, size)) {
        int at = int(i), k = at % c, pixel = at / c, row = pixel / w, column = pixel % w;
        const T* from = large + (row * a * w + column) * b * apart + k;
        T sum = 0;
        for (int p = 0; p < a; ++p)
            for (int q = 0; q < b; ++q) sum += from[(p * w * b + q) * apart];
        small[at] = sum;
    }
}

template <class T>
__global__ void pixels_moved(const T* large, T* small, int size, int w, int c, int a, int b) {
    for (EACH(i, size)) {
        int at = int(i), run = b * c, k = at % run, p = at / run % a, pixel = at / run / a;
        small[at] = large[((pixel / w * a + p) * w + pixel % w) * run + k];
    }
}

template <class T>
__global__ void channels_moved(const T* small, T* large, int size, int w, int c, int a, int b) {
    for (EACH(i, size)) {
        int at = int(i), run = b * c, k = at % run, column = at / run % w, row = at / run / w;
        large[at] = small[((row / a * w + column) * a + row % a) * run + k];
    }
}
