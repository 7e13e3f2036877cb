// The products of a block in register tiles: what matrix products and convolutions share.
//
//     scalar_product     a whole product, elements one by one from functions a(m, k) and b(n, k)
//     multiply_tile      a tile of A times one of B, four numbers a load
//     store_sums, store_rows     results go through shared memory to put(m, n, value)
//
// A block of BM / TM x BN / TN threads makes the elements m0 to m0 + BM, n0 to n0 + BN; a thread
// TM x TN of them, from tiles of BK along k. Functions give 0 outside of the operands; they are
// parameters of templates, so that the compiler puts their code where they are called.
#pragma once
#include "common.cuh"

// ---- results ------------------------------------------------------------------------------------

// The last step of a block. Threads hold elements of C here and there; those of some rows at a time
// have been put into shared memory, as staged[row][n] (BN + PAD numbers a row). From there they go
// to their places, neighbouring threads on neighbouring columns: warps write whole lines.
// Row r of HEIGHT stands for m = first + r / RUN * JUMP + r % RUN.
constexpr int PAD = 8;

template <int HEIGHT, int BN, int RUN, int JUMP, int THREADS, class T, class Put>
__device__ inline void store_rows(const T* staged, int M, int N, int first, int n0,
                                  const Put& put) {
    __syncthreads();  // all rows are there
#pragma unroll 1
    for (int i = threadIdx.x; i < HEIGHT * BN; i += THREADS) {
        int row = i / BN, n = n0 + i % BN, m = first + row / RUN * JUMP + row % RUN;
        if (m < M && n < N) put(m, n, staged[row * (BN + PAD) + i % BN]);
    }
    __syncthreads();  // and may be written over
}

// ---- one by one ---------------------------------------------------------------------------------

// The ROWS x BK numbers of an operand from row r0 and k0 on, as tile[k][row], with ROWS + 1 numbers
// between one k and the next. (For B, rows are n.) ALONG_K: neighbouring threads take neighbours
// along k.
template <int ROWS, int BK, bool ALONG_K, int THREADS, class T, class At>
__device__ inline void load_tile(T* tile, int r0, int k0, const At& at) {
    for (int i = threadIdx.x; i < ROWS * BK; i += THREADS) {
        int row = ALONG_K ? i / BK : i % ROWS, k = ALONG_K ? i % BK : i / ROWS;
        tile[k * (ROWS + 1) + row] = at(r0 + row, k0 + k);
    }
}

template <class T, int BM, int BN, int BK, int TM, int TN, bool A_K, bool B_K, class A, class B,
          class Put>
__device__ inline void scalar_product(const A& a, const B& b, int begin, int end, int m0, int M,
                                      int n0, int N, const Put& put) {
    constexpr int ACROSS = BN / TN, DOWN = BM / TM, THREADS = ACROSS * DOWN;
    constexpr int LDA = BM + 1, LDB = BN + 1;
    __shared__ T shared[BK * (LDA + LDB)];
    static_assert(DOWN * (BN + PAD) <= BK * (LDA + LDB), "store_rows");
    T *tile_a = shared, *tile_b = shared + BK * LDA;
    int x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
    T sum[TM][TN] = {};
    for (int k0 = begin; k0 < end; k0 += BK) {
        load_tile<BM, BK, A_K, THREADS>(tile_a, m0, k0, a);
        load_tile<BN, BK, B_K, THREADS>(tile_b, n0, k0, b);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < BK; ++k) {
            T left[TM], right[TN];
#pragma unroll
            for (int i = 0; i < TM; ++i) left[i] = tile_a[k * LDA + y + i * DOWN];
#pragma unroll
            for (int j = 0; j < TN; ++j) right[j] = tile_b[k * LDB + x + j * ACROSS];
#pragma unroll
            for (int i = 0; i < TM; ++i)
#pragma unroll
                for (int j = 0; j < TN; ++j) sum[i][j] += left[i] * right[j];
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < TM; ++i) {  // the rows y + i DOWN of all threads
#pragma unroll
        for (int j = 0; j < TN; ++j) shared[y * (BN + PAD) + x + j * ACROSS] = sum[i][j];
        store_rows<DOWN, BN, DOWN, 0, THREADS>(shared, M, N, m0 + i * DOWN, n0, put);
    }
}

// ---- four at a time -----------------------------------------------------------------------------

// A thread's rows and columns are groups of four: the first group of all threads, then the second.
__device__ inline int place_of(int i, int thread, int threads) {
    return (i * threads + thread) * 4;
}

// sum += a tile of A times one of B, as tile[k][row].
template <int BK, int TM, int TN, int LDA, int LDB, int ACROSS, int DOWN>
__device__ inline void multiply_tile(const float* tile_a, const float* tile_b, int x, int y,
                                     float (&sum)[TM / 4][4][TN / 4][4]) {
#pragma unroll
    for (int k = 0; k < BK; ++k) {
        float4 left[TM / 4], right[TN / 4];
#pragma unroll
        for (int i = 0; i < TM / 4; ++i)
            left[i] = load4(tile_a + k * LDA + place_of(i, y, DOWN));
#pragma unroll
        for (int j = 0; j < TN / 4; ++j)
            right[j] = load4(tile_b + k * LDB + place_of(j, x, ACROSS));
#pragma unroll
        for (int i = 0; i < TM; ++i) {
            float4 four = left[i / 4];
            float u = i % 4 == 0 ? four.x : i % 4 == 1 ? four.y : i % 4 == 2 ? four.z : four.w;
#pragma unroll
            for (int j = 0; j < TN / 4; ++j) {
                float(&to)[4] = sum[i / 4][i % 4][j];
                to[0] += u * right[j].x, to[1] += u * right[j].y;
                to[2] += u * right[j].z, to[3] += u * right[j].w;
            }
        }
    }
}

// What the threads have summed goes to put; the tiles in `shared` are no longer needed.
template <int BM, int BN, int TM, int TN, class Put>
__device__ inline void store_sums(float* shared, const float (&sum)[TM / 4][4][TN / 4][4], int M,
                                  int N, int m0, int n0, const Put& put) {
    constexpr int ACROSS = BN / TN, DOWN = BM / TM, THREADS = ACROSS * DOWN;
    int x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < TM; ++i) {  // of each thread's group of four rows one
#pragma unroll
        for (int j = 0; j < TN / 4; ++j) {
            const float(&v)[4] = sum[i / 4][i % 4][j];
            store4(shared + y * (BN + PAD) + place_of(j, x, ACROSS),
                   make_float4(v[0], v[1], v[2], v[3]));
        }
        int first = m0 + place_of(i / 4, 0, DOWN) + i % 4;
        store_rows<DOWN, BN, 1, 4, THREADS>(shared, M, N, first, n0, put);
    }
}
