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

// The next ROWS x BK numbers of an operand, in the registers of a block's threads: each holds COUNT
// times four neighbours along the contiguous axis (`inner`; the other one is `outer`). IN_WORD: how
// many neighbours along k go to shared memory as one word (mma.cuh); a thread holds them all.
template <int ROWS, int BK, bool ALONG_K, int THREADS, int IN_WORD = 1>
struct Stage {
    static constexpr int FOURS = (ALONG_K ? BK : ROWS) / 4, COUNT = ROWS * BK / 4 / THREADS;
    static constexpr int RUN = ALONG_K ? 1 : IN_WORD;  // neighbours along `outer`
    static_assert(COUNT % RUN == 0 && COUNT * 4 * THREADS == ROWS * BK, "all of the tile");
    float4 held[COUNT];
    const float* at;  // of the first four

    // From the thread's first four to the others, along `outer`.
    __device__ static constexpr int beyond(int i) {
        return i / RUN * (THREADS / FOURS * RUN) + i % RUN;
    }
    __device__ static int outer(int i) { return threadIdx.x / FOURS * RUN + beyond(i); }
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
            const float* p = at + beyond(i) * (long long)ld;
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

    // As they lie in memory, rounded to a format of the tensor cores: words along k are words of
    // tile[row][k / IN_WORD] or tile[k / IN_WORD][row], whose rows are LD words apart.
    template <class Format, int LD>
    __device__ void place_rounded(unsigned* tile) const {
#pragma unroll
        for (int i = 0; i < COUNT; i += RUN) {
            float4 v = held[i], w = held[i + RUN - 1];  // w: the k after, or v again
            unsigned* to = tile + outer(i) / RUN * LD + inner() / (IN_WORD / RUN);
            if (IN_WORD > RUN)
                store(to, uint2{Format::word(v.x, v.y), Format::word(v.z, v.w)});
            else
                store(to, uint4{Format::word(v.x, w.x), Format::word(v.y, w.y),
                                Format::word(v.z, w.z), Format::word(v.w, w.w)});
        }
    }
};
