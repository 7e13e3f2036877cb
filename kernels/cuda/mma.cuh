// A warp's product of two small matrices on the tensor cores: D += A B, 16 x 8 x 8 in TF32.
//
// The 32 lanes hold the three matrices together, each lane a few elements (its fragment). With
// g = lane / 4 and t = lane % 4:
//
//     A (16, 8)   a[0] = A[g, t]   a[1] = A[g + 8, t]   a[2] = A[g, t + 4]   a[3] = A[g + 8, t + 4]
//     B (8, 8)    b[0] = B[t, g]   b[1] = B[t + 4, g]
//     D (16, 8)   d[0] = D[g, 2t]  d[1] = D[g, 2t + 1]  d[2], d[3]: the same in row g + 8
//
// One instruction makes 1024 multiply-adds, where 32 lanes without tensor cores make 32. TF32 is a
// float32 with 10 bits of mantissa instead of 23: the product of two is exact in float32, and sums
// are kept in float32. Rounding A and B moves a product by at most about 2^-10 of sum |a| |b|.
//
// TENSOR_CORES is defined where there are such instructions: compute capability 8.0 and later, and
// the emulator, where a lane lays down its fragment and reads those of the others.
#pragma once
#include "common.cuh"

#ifdef EMULATED
#define TENSOR_CORES

// x rounded to the nearest TF32; half-way cases go away from zero.
UNCHECKED static float tf32(float x) {
    unsigned bits = __float_as_uint(x);
    if ((bits & 0x7F800000u) == 0x7F800000u) return x;  // infinity and NaN
    return __uint_as_float((bits + 0x1000u) & 0xFFFFE000u);
}

UNCHECKED static float* fragments(unsigned of_lane) {  // a, then b
    return reinterpret_cast<float*>(emulated::laid_down(of_lane));
}
UNCHECKED static float chopped(float x) {  // the bits that TF32 does not have are not looked at
    return __uint_as_float(__float_as_uint(x) & 0xFFFFE000u);
}

// d += A B; all 32 lanes call it together. The numbers in a and b come from tf32().
UNCHECKED static void mma(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
    unsigned lane = emulated::lane(), g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) fragments(lane)[i] = chopped(a[i]);
    for (int i = 0; i < 2; ++i) fragments(lane)[4 + i] = chopped(b[i]);
    __syncwarp();
    for (unsigned i = 0; i < 4; ++i) {
        unsigned row = g + i / 2 * 8, column = 2 * t + i % 2;
        for (unsigned k = 0; k < 8; ++k) {
            float from_a = fragments(row % 8 * 4 + k % 4)[row / 8 + k / 4 * 2];
            d[i] += from_a * fragments(column * 4 + k % 4)[4 + k / 4];
        }
    }
    __syncwarp();  // nobody lays down the next fragment before all have read
}

#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define TENSOR_CORES

__device__ inline float tf32(float x) {
    unsigned rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
    return __uint_as_float(rounded);
}

__device__ inline void mma(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}
#endif
