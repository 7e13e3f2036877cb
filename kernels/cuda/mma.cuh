// A warp's product of two small matrices on the tensor cores: D += A B, in one instruction.
//
// Float32 operands are rounded to a format with fewer bits of mantissa. The product of two such
// numbers is exact in float32, and sums are kept in float32, so an element moves by at most about
//
//     Tf32   10 bits and the exponent of float32    2^-10 of sum |a| |b|    D (16, 8), k = 8
//     Bf16    7 bits and the exponent of float32    2^-7  of sum |a| |b|    D (16, 8), k = 16
//
// A register, a word of 32 bits, holds one Tf32 or two Bf16 that are neighbours along k. Counted in
// words both instructions multiply A (16, 8) by B (8, 8). The 32 lanes hold the matrices together,
// each lane a few words (its fragment). With g = lane / 4 and t = lane % 4:
//
//     A    a[0] = A[g, t]    a[1] = A[g + 8, t]    a[2] = A[g, t + 4]    a[3] = A[g + 8, t + 4]
//     B    b[0] = B[t, g]    b[1] = B[t + 4, g]
//     D    d[0] = D[g, 2t]   d[1] = D[g, 2t + 1]   d[2], d[3]: the same in row g + 8
//
// One instruction makes 1024 multiply-adds in Tf32 and 2048 in Bf16, where 32 lanes without tensor
// cores make 32. A format has
//
//     IN_WORD        how many numbers a word holds
//     word(x, y)     the word of x, and where it holds two of y, rounded
//     mma(d, a, b)   d += A B; all 32 lanes call it together
//
// TENSOR_CORES is defined where there are such instructions: compute capability 8.0 and later, and
// the emulator, where a lane lays down its fragment and reads those of the others.
#pragma once
#include "common.cuh"

struct Tf32;  // elsewhere only names, which empty kernels have as well
struct Bf16;

#ifdef EMULATED
#define TENSOR_CORES

UNCHECKED static unsigned* fragments(unsigned of_lane) {  // a, then b
    return reinterpret_cast<unsigned*>(emulated::laid_down(of_lane));
}

template <class Format>
UNCHECKED static void multiplied(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    unsigned lane = emulated::lane(), g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) fragments(lane)[i] = a[i];
    for (int i = 0; i < 2; ++i) fragments(lane)[4 + i] = b[i];
    __syncwarp();
    for (unsigned i = 0; i < 4; ++i) {
        unsigned row = g + i / 2 * 8, column = 2 * t + i % 2;
        for (unsigned k = 0; k < 8; ++k) {
            unsigned from_a = fragments(row % 8 * 4 + k % 4)[row / 8 + k / 4 * 2];
            unsigned from_b = fragments(column * 4 + k % 4)[4 + k / 4];
            for (int j = 0; j < Format::IN_WORD; ++j)
                d[i] += Format::number(from_a, j) * Format::number(from_b, j);
        }
    }
    __syncwarp();  // nobody lays down the next fragment before all have read
}

struct Tf32 {
    static constexpr int IN_WORD = 1;
    UNCHECKED static unsigned word(float x, float) {  // half-way cases go away from zero
        return x != x ? 0x7FFFFFFFu : (__float_as_uint(x) + 0x1000u) & 0xFFFFE000u;
    }
    UNCHECKED static float number(unsigned word, int) {  // the other bits are not looked at
        return __uint_as_float(word & 0xFFFFE000u);
    }
    UNCHECKED static void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
        multiplied<Tf32>(d, a, b);
    }
};

struct Bf16 {
    static constexpr int IN_WORD = 2;
    UNCHECKED static unsigned rounded(float x) {  // the upper half of x; half-way cases to even
        unsigned bits = __float_as_uint(x);
        if (x != x) return 0x7FFFu;
        return (bits + 0x7FFFu + (bits >> 16 & 1)) >> 16;  // past the largest number: infinity
    }
    UNCHECKED static unsigned word(float x, float y) { return rounded(x) | rounded(y) << 16; }
    UNCHECKED static float number(unsigned word, int j) {
        return __uint_as_float(j ? word & 0xFFFF0000u : word << 16);
    }
    UNCHECKED static void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
        multiplied<Bf16>(d, a, b);
    }
};

#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define TENSOR_CORES

#define MMA(instruction)                                                                         \
    __device__ static void mma(float(&d)[4], const unsigned(&a)[4], const unsigned(&b)[2]) {     \
        asm volatile("mma.sync.aligned." instruction                                             \
                     " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"          \
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                            \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));        \
    }

struct Tf32 {
    static constexpr int IN_WORD = 1;
    __device__ static unsigned word(float x, float) {
        unsigned w;
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(w) : "f"(x));
        return w;
    }
    MMA("m16n8k8.row.col.f32.tf32.tf32.f32")
};

struct Bf16 {
    static constexpr int IN_WORD = 2;
    __device__ static unsigned word(float x, float y) {
        unsigned w;  // the instruction's first number becomes the upper half
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(y), "f"(x));
        return w;
    }
    MMA("m16n8k16.row.col.f32.bf16.bf16.f32")
};
#undef MMA
#endif
