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
// A sum runs over k in increasing order within a part. The shared tiles have a few columns more
// than they need: otherwise numbers one below the other would lie in the same bank.
#include "common.cuh"
#include "epilogue.cuh"
#include "mma.cuh"
#include "stage.cuh"

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

// The last step of a block. Threads hold elements of C here and there; those of some rows at a time
// have been put into shared memory, as staged[row][n] (BN + PAD numbers a row). From there they go
// through the epilogue to C, neighbouring threads on neighbouring columns: warps write whole lines.
// Row r of HEIGHT stands for m = first + r / RUN * JUMP + r % RUN.
constexpr int PAD = 8;

template <int HEIGHT, int BN, int RUN, int JUMP, int THREADS, class T>
__device__ inline void store_rows(const T* staged, T* c, int M, int N, int first, int n0,
                                  const Epilogue<T>& epilogue) {
    __syncthreads();  // all rows are there
#pragma unroll 1
    for (int i = threadIdx.x; i < HEIGHT * BN; i += THREADS) {
        int row = i / BN, n = n0 + i % BN, m = first + row / RUN * JUMP + row % RUN;
        long long at = m * (long long)N + n;
        if (m < M && n < N) c[at] = epilogue.of(staged[row * (BN + PAD) + i % BN], c, at, n);
    }
    __syncthreads();  // and may be written over
}

// ---- 3. tiles in registers ----------------------------------------------------------------------

// The ROWS x BK numbers of an operand from row r0 and k0 on, as tile[k][row], with ROWS + 1 numbers
// between one k and the next. (For B, rows are n.)
template <int ROWS, int BK, bool ALONG_K, int THREADS, class T>
__device__ inline void load_tile(T* tile, const T* from, int ld, int r0, int rows,
                                 int k0, int k_end) {
    for (int i = threadIdx.x; i < ROWS * BK; i += THREADS) {
        int row = ALONG_K ? i / BK : i % ROWS, k = ALONG_K ? i % BK : i / ROWS;
        long long outer = ALONG_K ? r0 + row : k0 + k, inner = ALONG_K ? k0 + k : r0 + row;
        bool inside = r0 + row < rows && k0 + k < k_end;
        tile[k * (ROWS + 1) + row] = inside ? from[outer * ld + inner] : T(0);
    }
}

template <class T, int BM, int BN, int BK, int TM, int TN, bool A_K, bool B_K>
__launch_bounds__(BM / TM * (BN / TN))
__global__ void register_tiles(const T* a, const T* b, T* c, const T* bias, const T* saved, int M,
                               int N, int K, int lda, int ldb, long long a_batch,
                               long long b_batch, int batches, int depth, int code, T slope) {
    constexpr int ACROSS = BN / TN, DOWN = BM / TM, THREADS = ACROSS * DOWN;
    constexpr int LDA = BM + 1, LDB = BN + 1;
    __shared__ T shared[BK * (LDA + LDB)];
    static_assert(DOWN * (BN + PAD) <= BK * (LDA + LDB), "store_rows");
    T *tile_a = shared, *tile_b = shared + BK * LDA;
    int x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
    int m0 = blockIdx.x * BM, n0 = blockIdx.y * BN;
    Part part = part_of(batches, depth, K);
    a += part.matrix * a_batch, b += part.matrix * b_batch;
    T sum[TM][TN] = {};
    for (int k0 = part.begin; k0 < part.end; k0 += BK) {
        load_tile<BM, BK, A_K, THREADS>(tile_a, a, lda, m0, M, k0, part.end);
        load_tile<BN, BK, B_K, THREADS>(tile_b, b, ldb, n0, N, k0, part.end);
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
    c += blockIdx.z * ((long long)M * N);
    Epilogue<T> epilogue{bias, saved + part.matrix * ((long long)M * N), code, slope};
#pragma unroll
    for (int i = 0; i < TM; ++i) {  // the rows y + i DOWN of all threads
#pragma unroll
        for (int j = 0; j < TN; ++j) shared[y * (BN + PAD) + x + j * ACROSS] = sum[i][j];
        store_rows<DOWN, BN, DOWN, 0, THREADS>(shared, c, M, N, m0 + i * DOWN, n0, epilogue);
    }
}

// ---- 4. four numbers a load, and the next tile on its way ---------------------------------------

// A thread's rows and columns are groups of four: the first group of all threads, then the second.
__device__ inline int place_of(int i, int thread, int threads) {
    return (i * threads + thread) * 4;
}

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
    c += blockIdx.z * ((long long)M * N);
    Epilogue<float> epilogue{bias, saved + part.matrix * ((long long)M * N), code, slope};
    __syncthreads();  // the tiles are no longer needed
#pragma unroll
    for (int i = 0; i < TM; ++i) {  // of each thread's group of four rows one
#pragma unroll
        for (int j = 0; j < TN / 4; ++j) {
            const float(&v)[4] = sum[i / 4][i % 4][j];
            store4(shared + y * (BN + PAD) + place_of(j, x, ACROSS),
                   make_float4(v[0], v[1], v[2], v[3]));
        }
        int first = m0 + place_of(i / 4, 0, DOWN) + i % 4;
        store_rows<DOWN, BN, 1, 4, THREADS>(shared, c, M, N, first, n0, epilogue);
    }
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
    Epilogue<float> epilogue{bias, saved + part.matrix * ((long long)M * N), code, slope};
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
        store_rows<BM / WM * 16, BN, 16, WM, THREADS>(rows, c, M, N, m0 + i * 16, n0, epilogue);
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
