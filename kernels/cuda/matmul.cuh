// Matrix products: C[m, n] = sum over k of A[m, k] B[k, n].       A (M, K), B (K, N), C (M, N)
//
// Every sum takes M N K multiply-adds, however it is made; what differs is where the numbers come
// from. A ladder, in which each rung keeps the thought of the one below:
//
//   naive           a thread makes one element of C. A multiply-add reads two numbers from global
//                   memory: the loads are the limit, at a few percent of the arithmetic.
//   shared_tiles    a block makes TILE x TILE elements. It brings the numbers that they share into
//                   shared memory once, a tile of A and one of B at a time: each is read from
//                   global memory by one thread and used by TILE. Now the loads from shared memory
//                   are the limit: still two for a multiply-add.
//   register_tiles  a thread makes TM x TN elements. It reads TM + TN numbers from shared memory
//                   for TM TN multiply-adds: with 4 x 4 half a load each, with 8 x 8 a quarter.
//   vector_tiles    the same, four numbers a load; and while a tile is multiplied, the next is on
//                   its way from global memory into registers (stage.cuh), then into a second
//                   buffer, so that a step needs one barrier and nobody waits for memory: now
//                   arithmetic is the limit.
//   tensor_tiles    the same with tensor cores (mma.cuh): a warp makes WM x WN elements, 16 x 8 at
//                   an instruction, from numbers rounded to TF32; or to bf16, of which a word of
//                   shared memory holds two, so that half the loads feed as many multiply-adds.
//
// What the upper three share:
//
//   Layouts    An operand is a matrix one of whose axes is contiguous; the numbers along it are ld
//              apart from those of the next row. A_K, B_K: the contiguous axis is k. So A @ B is
//              <true, false>, A.T @ B <false, false> and A @ B.T <true, true>, and none is copied.
//              Neighbouring threads load along the contiguous axis, whichever it is.
//   Edges      What lies outside of A and B counts as 0, what lies outside of C is not stored.
//   Batches    blockIdx.z is a matrix of the batch, a_batch and b_batch numbers after the last; 0
//              where the operand is one matrix for all.
//   Parts      Few elements with a long k are too few blocks to fill a GPU. Then blockIdx.z is also
//              a part of k, `depth` long, c is scratch memory (parts, batches, M, N), and sum_parts
//              adds the parts in their order: the same bits each time, unlike with atomics.
//   Epilogue   Elements pass through shared memory, so that warps write whole lines, and on the way
//              get bias, activation, mask and what C held: epilogue.cuh.
//
// Products of tiles in shared memory are in tiles.cuh: convolutions make theirs in the same way.
//
// A sum runs over k in increasing order within a part. The shared tiles have a few columns more
// than they need: otherwise numbers one below the other would lie in the same bank.
#include "common.cuh"
#include "epilogue.cuh"
#include "mma.cuh"
#include "stage.cuh"
#include "tiles.cuh"

// ---- 1. one thread, one element -----------------------------------------------------------------

// a_row and a_col are the strides of A. Threads of a warp take neighbouring columns n, so that what
// they read of B and write to C lies side by side.
template <class T>
__global__ void naive(const T* a, const T* b, T* c, int M, int N, int K, int a_row, int a_col,
                      int b_row, int b_col) {
    int n = blockIdx.x * blockDim.x + threadIdx.x, m = blockIdx.y * blockDim.y + threadIdx.y;
    if (m >= M || n >= N) return;
    T sum = 0;
    for (int k = 0; k < K; ++k) sum += a[m * a_row + k * a_col] * b[k * b_row + n * b_col];
    c[m * N + n] = sum;
}

// ---- 2. tiles in shared memory ------------------------------------------------------------------

template <class T, int TILE>  // a block has TILE x TILE threads
__global__ void shared_tiles(const T* a, const T* b, T* c, int M, int N, int K, int a_row,
                             int a_col, int b_row, int b_col) {
    __shared__ T tile_a[TILE][TILE + 1], tile_b[TILE][TILE + 1];
    int x = threadIdx.x, y = threadIdx.y;
    int n = blockIdx.x * TILE + x, m = blockIdx.y * TILE + y;
    T sum = 0;
    for (int k0 = 0; k0 < K; k0 += TILE) {
        tile_a[y][x] = m < M && k0 + x < K ? a[m * a_row + (k0 + x) * a_col] : T(0);
        tile_b[y][x] = k0 + y < K && n < N ? b[(k0 + y) * b_row + n * b_col] : T(0);
        __syncthreads();  // all of the tile is there
        for (int k = 0; k < TILE; ++k) sum += tile_a[y][k] * tile_b[k][x];
        __syncthreads();  // nobody needs it any more
    }
    if (m < M && n < N) c[m * N + n] = sum;
}

// ---- what the upper rungs share -----------------------------------------------------------------

// What blockIdx.z stands for: a matrix of the batch, and the range of k that is summed.
struct Part {
    int matrix, begin, end;
};
__device__ inline Part part_of(int batches, int depth, int K) {
    int part = blockIdx.z / batches, begin = part * depth;
    return {int(blockIdx.z % batches), begin, K - begin < depth ? K : begin + depth};
}

// Where an element of C goes, through the epilogue.
template <class T>
struct Put {
    T* c;
    int N;
    Epilogue<T> epilogue;

    __device__ void operator()(int m, int n, T sum) const {
        long long at = m * (long long)N + n;
        c[at] = epilogue.of(sum, c, at, n);
    }
};

// ---- 3. tiles in registers ----------------------------------------------------------------------

template <class T, int BM, int BN, int BK, int TM, int TN, bool A_K, bool B_K>
__launch_bounds__(BM / TM * (BN / TN))
__global__ void register_tiles(const T* a, const T* b, T* c, const T* bias, const T* saved, int M,
                               int N, int K, int lda, int ldb, long long a_batch,
                               long long b_batch, int batches, int depth, int code, T slope) {
    int m0 = blockIdx.x * BM, n0 = blockIdx.y * BN;
    Part part = part_of(batches, depth, K);
    a += part.matrix * a_batch, b += part.matrix * b_batch, c += blockIdx.z * ((long long)M * N);
    auto left = [&](int m, int k) {
        return m < M && k < part.end ? a[A_K ? m * (long long)lda + k : k * (long long)lda + m] : 0;
    };
    auto right = [&](int n, int k) {
        return n < N && k < part.end ? b[B_K ? n * (long long)ldb + k : k * (long long)ldb + n] : 0;
    };
    Put<T> put{c, N, {bias, saved + part.matrix * ((long long)M * N), code, slope}};
    scalar_product<T, BM, BN, BK, TM, TN, A_K, B_K>(left, right, part.begin, part.end, m0, M, n0, N,
                                                    put);
}

// ---- 4. four numbers a load, and the next tile on its way ---------------------------------------

// The large tile takes all 128 registers that a thread has where two blocks run at once: even the
// address of C is computed after the loop. (bench/cuda_registers.py tells if some are spilled.)
template <int BM, int BN, int BK, int TM, int TN, bool A_K, bool B_K>
__launch_bounds__(BM / TM * (BN / TN), 2)
__global__ void vector_tiles(const float* a, const float* b, float* c, const float* bias,
                             const float* saved, int M, int N, int K, int lda, int ldb,
                             long long a_batch, long long b_batch, int batches, int depth,
                             int code, float slope) {
    constexpr int ACROSS = BN / TN, DOWN = BM / TM, THREADS = ACROSS * DOWN;
    constexpr int LDA = BM + 4, LDB = BN + 4, SIZE_A = BK * LDA, SIZE = SIZE_A + BK * LDB;
    __align__(16) __shared__ float shared[2 * SIZE];  // twice a tile of A and one of B
    static_assert(DOWN * (BN + PAD) <= 2 * SIZE, "store_rows");
    int x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
    int m0 = blockIdx.x * BM, n0 = blockIdx.y * BN;
    Part part = part_of(batches, depth, K);
    a += part.matrix * a_batch, b += part.matrix * b_batch;
    Stage<BM, BK, A_K, THREADS> next_a;
    Stage<BN, BK, B_K, THREADS> next_b;
    next_a.start(a, lda, m0, part.begin), next_b.start(b, ldb, n0, part.begin);
    next_a.fetch(lda, m0, M, part.begin, part.end);
    next_b.fetch(ldb, n0, N, part.begin, part.end);
    float sum[TM / 4][4][TN / 4][4] = {};
    int now = 0;  // where the buffer begins that is multiplied
    for (int k0 = part.begin; k0 < part.end; k0 += BK, now = SIZE - now) {
        float *tile_a = shared + now, *tile_b = tile_a + SIZE_A;
        next_a.template place_by_k<LDA>(tile_a);
        next_b.template place_by_k<LDB>(tile_b);
        __syncthreads();  // it is full; and nobody reads the other one any more
        if (k0 + BK < part.end) {
            next_a.fetch(lda, m0, M, k0 + BK, part.end);
            next_b.fetch(ldb, n0, N, k0 + BK, part.end);
        }
        multiply_tile<BK, TM, TN, LDA, LDB, ACROSS, DOWN>(tile_a, tile_b, x, y, sum);
    }
    c += blockIdx.z * ((long long)M * N);
    Put<float> put{c, N, {bias, saved + part.matrix * ((long long)M * N), code, slope}};
    store_sums<BM, BN, TM, TN>(shared, sum, M, N, m0, n0, put);
}

// ---- 5. tensor cores ----------------------------------------------------------------------------

// The tiles keep the operands' layout, in words of IN_WORD neighbours along k. Words are read one
// by one, so no order is better, and with LD the 32 that a warp reads at once lie in 32 banks.
template <class Format, int BM, int BN, int BK, int WM, int WN, bool A_K, bool B_K>
__launch_bounds__(BM / WM * (BN / WN) * 32, 2)
__global__ void tensor_tiles(const float* a, const float* b, float* c, const float* bias,
                             const float* saved, int M, int N, int K, int lda, int ldb,
                             long long a_batch, long long b_batch, int batches, int depth,
                             int code, float slope) {
#ifdef TENSOR_CORES
    constexpr int THREADS = BM / WM * (BN / WN) * 32;
    constexpr int IN_WORD = Format::IN_WORD, DEPTH = BK / IN_WORD;
    constexpr int LDA = A_K ? DEPTH + 4 : BM + 8, LDB = B_K ? DEPTH + 4 : BN + 8;
    constexpr int SIZE_A = (A_K ? BM : DEPTH) * LDA, SIZE = SIZE_A + (B_K ? BN : DEPTH) * LDB;
    __align__(16) __shared__ unsigned shared[2 * SIZE];
    static_assert(BM / WM * 16 * (BN + PAD) <= 2 * SIZE, "store_rows");
    int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    int wm = warp / (BN / WN) * WM, wn = warp % (BN / WN) * WN;  // where the warp's elements begin
    int m0 = blockIdx.x * BM, n0 = blockIdx.y * BN;
    Part part = part_of(batches, depth, K);
    a += part.matrix * a_batch, b += part.matrix * b_batch;
    Stage<BM, BK, A_K, THREADS, IN_WORD> next_a;
    Stage<BN, BK, B_K, THREADS, IN_WORD> next_b;
    next_a.start(a, lda, m0, part.begin), next_b.start(b, ldb, n0, part.begin);
    next_a.fetch(lda, m0, M, part.begin, part.end);
    next_b.fetch(ldb, n0, N, part.begin, part.end);
    float sum[WM / 16][WN / 8][4] = {};
    int now = 0;
    for (int k0 = part.begin; k0 < part.end; k0 += BK, now = SIZE - now) {
        unsigned *tile_a = shared + now, *tile_b = tile_a + SIZE_A;
        next_a.template place_rounded<Format, LDA>(tile_a);
        next_b.template place_rounded<Format, LDB>(tile_b);
        __syncthreads();
        if (k0 + BK < part.end) {
            next_a.fetch(lda, m0, M, k0 + BK, part.end);
            next_b.fetch(ldb, n0, N, k0 + BK, part.end);
        }
#pragma unroll
        for (int k = t; k < DEPTH + t; k += 8) {
            unsigned left[WM / 16][4], right[WN / 8][2];
#pragma unroll
            for (int i = 0; i < WM / 16 * 4; ++i) {
                int row = wm + i / 4 * 16 + i % 2 * 8 + g, col = k + i % 4 / 2 * 4;
                left[i / 4][i % 4] = tile_a[A_K ? row * LDA + col : col * LDA + row];
            }
#pragma unroll
            for (int j = 0; j < WN / 8 * 2; ++j) {
                int col = wn + j / 2 * 8 + g, row = k + j % 2 * 4;
                right[j / 2][j % 2] = tile_b[B_K ? col * LDB + row : row * LDB + col];
            }
#pragma unroll
            for (int i = 0; i < WM / 16; ++i)
#pragma unroll
                for (int j = 0; j < WN / 8; ++j) Format::mma(sum[i][j], left[i], right[j]);
        }
    }
    c += blockIdx.z * ((long long)M * N);
    Put<float> put{c, N, {bias, saved + part.matrix * ((long long)M * N), code, slope}};
    float* rows = reinterpret_cast<float*>(shared);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < WM / 16; ++i) {  // 16 rows of each warp
#pragma unroll
        for (int j = 0; j < WN / 8; ++j) {
            float* to = rows + (wm / WM * 16 + g) * (BN + PAD) + wn + j * 8 + 2 * t;
            to[0] = sum[i][j][0], to[1] = sum[i][j][1];
            to += 8 * (BN + PAD);
            to[0] = sum[i][j][2], to[1] = sum[i][j][3];
        }
        store_rows<BM / WM * 16, BN, 16, WM, THREADS>(rows, M, N, m0 + i * 16, n0, put);
    }
#endif
}

// ---- the parts of k -----------------------------------------------------------------------------

// c[i] = the sum of what `count` parts hold for i, in their order, through the epilogue.
template <class T>
__global__ void sum_parts(const T* parts, T* c, const T* bias, const T* saved, int count, int N,
                          long long n, int code, T slope) {
    Epilogue<T> epilogue{bias, saved, code, slope};
    for (EACH(i, n)) {
        T sum = parts[i];
        for (int p = 1; p < count; ++p) sum += parts[p * n + i];
        c[i] = epilogue.of(sum, c, i, int(i % N));
    }
}
