// A tile of a matrix on its way from global to shared memory, in the registers of a block.
//
//     next.start(from, ...)     where the thread's first numbers are
//     next.fetch(...)           global memory to registers; the loads are under way while the block
//                               multiplies the tile before, as nothing needs their results yet
//     next.place_...(tile)      registers to shared memory: here the thread waits for its loads
//
// A load brings four numbers, a quarter of the instructions of single ones; at the edges of the
// matrix, and where addresses are not multiples of 16 bytes, numbers come one by one.
#pragma once
#include "common.cuh"
#include "mma.cuh"

// The next ROWS x BK numbers of an operand, in the registers of a block's threads: each holds COUNT
// times four neighbours along the contiguous axis (`inner`; the other one is `outer`).
template <int ROWS, int BK, bool ALONG_K, int THREADS>
struct Stage {
    static constexpr int FOURS = (ALONG_K ? BK : ROWS) / 4, COUNT = ROWS * BK / 4 / THREADS;
    float4 held[COUNT];
    const float* at;  // of the first four

    __device__ static int outer(int i) { return threadIdx.x / FOURS + i * (THREADS / FOURS); }
    __device__ static int inner() { return threadIdx.x % FOURS * 4; }

    __device__ void start(const float* from, int ld, int r0, int k0) {
        int o = (ALONG_K ? r0 : k0) + outer(0), n = (ALONG_K ? k0 : r0) + inner();
        at = from + o * (long long)ld + n;
    }

    // The rows r0 to r0 + ROWS from k0 on; of the next k at the next call.
    __device__ void fetch(int ld, int r0, int rows, int k0, int k_end) {
        // True for all threads or for none.
        bool whole = size_t(at) % 16 == 0 && ld % 4 == 0 && r0 + ROWS <= rows && k0 + BK <= k_end;
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const float* p = at + i * (THREADS / FOURS) * (long long)ld;
            int outside = ALONG_K ? rows - r0 : k_end - k0, past = ALONG_K ? k_end - k0 : rows - r0;
            int left = outer(i) < outside ? past - inner() : 0;
            if (whole)
                held[i] = load4(p);
            else
                held[i] = make_float4(left > 0 ? p[0] : 0, left > 1 ? p[1] : 0,
                                      left > 2 ? p[2] : 0, left > 3 ? p[3] : 0);
        }
        at += ALONG_K ? BK : BK * (long long)ld;
    }

    // Into tile[k][row], whose rows are LD apart.
    template <int LD>
    __device__ void place_by_k(float* tile) const {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            float4 v = held[i];
            if (ALONG_K) {  // k runs along the four: they go to different rows
                float* to = tile + inner() * LD + outer(i);
                to[0] = v.x, to[LD] = v.y, to[2 * LD] = v.z, to[3 * LD] = v.w;
            } else {
                store4(tile + outer(i) * LD + inner(), v);
            }
        }
    }

    // As they lie in memory, rounded to TF32.
    template <int LD>
    __device__ void place_rounded(float* tile) const {
#ifdef TENSOR_CORES
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            float4 v = held[i];
            store4(tile + outer(i) * LD + inner(),
                   make_float4(tf32(v.x), tf32(v.y), tf32(v.z), tf32(v.w)));
        }
#endif
    }
};
