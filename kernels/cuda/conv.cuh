// Convolutions of images, and the two gradients.
//
//     y[n, i, j, o] = sum over a, b, c of x[n, i SH + a DH - PT, j SW + b DW - PL, c] w[a, b, c, o]
//
//     x (N, H, W, C)   w (KH, KW, C / groups, O)   y (N, OH, OW, O)     pixels outside of x are 0
//
// Each of the three is a matrix product C[m, n] = sum over k of A[m, k] B[k, n], for each group of
// channels, in which one operand is not in memory as it stands there: it holds an image's numbers
// once for every window that they are in.
//
//              m                    n             k                           A         B
//     conv     places (n, i, j)     channels o    taps and channels (a, b, c)   x         w
//     dx       pixels (n, h, w)     channels c    taps and channels (a, b, o)   y         w
//     dw       taps and channels c  channels o    places (n, i, j)              x         y
//
// Writing that operand down (im2col) takes KH KW times the images' memory. Here a block computes
// where a number lies when it brings it into shared memory: the sums are made as in matmul.cuh,
// without the copy. From plain to fast:
//
//   conv_naive    a thread makes one element
//   conv_dots     a warp makes the up to FEW elements of one row m, as dot products along k:
//                 an image has one or three channels, of which a tile would stay empty
//   conv_tiles    a block makes a tile of elements, a thread several (scalar_product in tiles.cuh)
//   conv_vector   the same with four channels a load, a tile ahead (vector_tiles in matmul.cuh)
//
// What they share:
//
//   Windows   where the number of a place and a tap lies: windows.cuh.
//   Phases    dx gathers: a pixel h meets the place (h + PT - a DH) / SH, where that is whole, with
//             the tap a. Pixels a stride apart meet the same taps; these are a phase, a product of
//             its own. So every number is written once, in one order of sums, and no multiply-add
//             meets the zeros that a transposed convolution by way of a stretched image would have.
//   Groups    blockIdx.z is a group of channels, a phase, and a part of k as in matmul.cuh: where
//             rows and columns make few blocks (dw: the kernel is small, the places are many), k is
//             cut into parts and sum_parts adds them in their order.
#include "block.cuh"
#include "matmul.cuh"
#include "windows.cuh"

// ---- the three products -------------------------------------------------------------------------

// conv, or dx (BACK). ALONG_K: w's contiguous axis is that of k.
template <class T, bool BACK, bool ALONG_K>
struct Gather {
    using Number = T;
    static constexpr bool A_K = true, B_K = ALONG_K;
    static constexpr int lane = 1;  // from a channel of the result to the next
    Windows<T> windows;
    Weights<T> weights;
    Part part;
    int M, N, K, pixels, columns, all_lanes;
    long long base;  // of the part, and of the group in it

    __device__ Gather(const T* a, const T* w, Sizes s) {
        int lanes = (BACK ? s.C : s.O) / s.groups, channels = (BACK ? s.O : s.C) / s.groups;
        int matrices = s.groups * s.phases, matrix = blockIdx.z % matrices;
        int group = matrix % s.groups, phase = matrix / s.groups;
        Walk down = forth(s.H, s.OH, s.KH, s.SH, s.DH, s.PT);
        Walk across = forth(s.W, s.OW, s.KW, s.SW, s.DW, s.PL);
        if (BACK) {
            down = back(s.OH, s.H, s.KH, s.SH, s.DH, s.PT, phase / s.SW);
            across = back(s.OW, s.W, s.KW, s.SW, s.DW, s.PL, phase % s.SW);
        }
        windows = {a + group * channels, down, across, s.N, channels, channels * s.groups};
        const T* first = w + down.tap * s.w_a + across.tap * s.w_b;
        weights = {first + group * (s.O / s.groups) * s.w_o, down.taps, across.taps, lanes,
                   down.jump * s.w_a, across.jump * s.w_b, BACK ? s.w_o : s.w_c,
                   BACK ? s.w_c : s.w_o};
        M = windows.places(), N = lanes, K = windows.taps();
        part = part_of(matrices, s.depth, K);
        pixels = BACK ? s.H : s.OH, columns = BACK ? s.W : s.OW, all_lanes = lanes * s.groups;
        long long size = s.N * (long long)pixels * columns * all_lanes;
        base = blockIdx.z / matrices * size + group * lanes;
    }

    __device__ Digits row(int m) const { return windows.place(m); }
    __device__ Digits sum_from(int k) const { return windows.tap(k); }
    __device__ void next(Digits& k, int by) const { windows.next_tap(k, by); }
    __device__ T left(Digits m, Digits k) const { return windows.at(m, k); }
    __device__ T right(Digits k, int n) const { return weights.at(k, n); }
    __device__ int place(int m) const {
        if (BACK) {
            Digits p = windows.place(m);
            int i = windows.down.first + p.second * windows.down.step;
            int j = windows.across.first + p.third * windows.across.step;
            m = (p.first * pixels + i) * columns + j;
        }
        return m * all_lanes;
    }
};

// dw, with the strides that w has: those of a transposed convolution are (KH, KW, O, C / groups).
template <class T>
struct Correlate {
    using Number = T;
    static constexpr bool A_K = false, B_K = false;
    Windows<T> windows;
    const T* y;  // (places, all_lanes), from the group's first channel
    Part part;
    int M, N, K, all_lanes, by_row, by_column, by_channel, lane;
    long long base;

    __device__ Correlate(const T* x, const T* y_, Sizes s) {
        int channels = s.C / s.groups;
        part = part_of(s.groups, s.depth, s.N * s.OH * s.OW);
        windows = {x + part.matrix * channels, forth(s.H, s.OH, s.KH, s.SH, s.DH, s.PT),
                   forth(s.W, s.OW, s.KW, s.SW, s.DW, s.PL), s.N, channels, s.C};
        M = windows.taps(), N = s.O / s.groups, K = windows.places(), all_lanes = s.O;
        y = y_ + part.matrix * N;
        by_row = s.w_a, by_column = s.w_b, by_channel = s.w_c, lane = s.w_o;
        base = blockIdx.z / s.groups * ((long long)M * all_lanes) + part.matrix * N * lane;
    }

    __device__ Digits row(int m) const { return windows.tap(m); }
    __device__ Digits sum_from(int k) const { return windows.place(k); }
    __device__ void next(Digits& k, int by) const { windows.next_place(k, by); }
    __device__ T left(Digits m, Digits k) const { return windows.at(k, m); }
    __device__ T right(Digits k, int n) const {
        int i = (k.first * windows.down.outputs + k.second) * windows.across.outputs + k.third;
        return i < K && n < N ? y[i * all_lanes + n] : T(0);
    }
    __device__ int place(int m) const {
        Digits t = windows.tap(m);
        return t.first * by_row + t.second * by_column + t.third * by_channel;
    }
};

// ---- 1. one thread, one element -----------------------------------------------------------------

template <class P>
__global__ void conv_naive(const typename P::Number* left, const typename P::Number* right,
                           typename P::Number* to, SIZES) {
    P p(left, right, GIVEN);
    for (EACH(i, p.M * (long long)p.N)) {
        int m = i / p.N, n = i % p.N;
        Digits row = p.row(m), k = p.sum_from(0);
        typename P::Number sum = 0;
        for (int count = 0; count < p.K; ++count, p.next(k, 1))
            sum += p.left(row, k) * p.right(k, n);
        to[p.base + p.place(m) + n * p.lane] = sum;
    }
}

// ---- 2. one warp, one row -----------------------------------------------------------------------

constexpr int FEW = 4;  // columns n, at most

template <class P>  // blocks of 32 x any
__global__ void conv_dots(const typename P::Number* left, const typename P::Number* right,
                          typename P::Number* to, SIZES) {
    using T = typename P::Number;
    P p(left, right, GIVEN);
    int m = blockIdx.x * blockDim.y + threadIdx.y;
    if (m >= p.M) return;  // the whole warp
    Digits row = p.row(m), k = p.sum_from(threadIdx.x);
    T sum[FEW] = {};
    for (int i = threadIdx.x; i < p.K; i += 32, p.next(k, 32)) {
        T value = p.left(row, k);
#pragma unroll
        for (int n = 0; n < FEW; ++n)
            if (n < p.N) sum[n] += value * p.right(k, n);
    }
#pragma unroll
    for (int n = 0; n < FEW; ++n) {
        T total = warp_reduce<SUM>(sum[n]);
        if (threadIdx.x == 0 && n < p.N) to[p.base + p.place(m) + n * p.lane] = total;
    }
}

// ---- 3. tiles in registers ----------------------------------------------------------------------

template <class P, int BM, int BN, int BK, int TM, int TN>
__launch_bounds__(BM / TM * (BN / TN))
__global__ void conv_tiles(const typename P::Number* left, const typename P::Number* right,
                           typename P::Number* to, SIZES) {
    using T = typename P::Number;
    P p(left, right, GIVEN);
    int m0 = blockIdx.x * BM, n0 = blockIdx.y * BN;
    if (m0 >= p.M) return;  // a phase of fewer pixels than another
    auto a = [&](int m, int k) { return p.left(p.row(m), p.sum_from(k)); };
    auto b = [&](int n, int k) { return p.right(p.sum_from(k), n); };
    __shared__ int rows[BM];  // where they lie, computed once; read after a barrier
    for (int i = threadIdx.x; i < BM; i += blockDim.x) rows[i] = p.place(m0 + i);
    to += p.base;
    auto put = [&](int m, int n, T sum) { to[rows[m - m0] + n * p.lane] = sum; };
    scalar_product<T, BM, BN, BK, TM, TN, P::A_K, P::B_K>(a, b, p.part.begin, p.part.end, m0, p.M,
                                                          n0, p.N, put);
}

// ---- 4. four numbers a load, and the next tile on its way ---------------------------------------

// The stages that bring tiles of A and of B, to run.
template <int BM, int BN, int BK, int THREADS, bool BACK, bool ALONG_K, class F>
__device__ inline void with_stages(const Gather<float, BACK, ALONG_K>& p, int m0, int n0, F run) {
    WindowStage<BM, BK, true, THREADS> a(p.windows, m0, p.part.begin);
    WeightStage<BN, BK, ALONG_K, THREADS> b(p.windows, p.weights, n0, p.part.begin);
    run(a, b);
}

template <int BM, int BN, int BK, int THREADS, class F>
__device__ inline void with_stages(const Correlate<float>& p, int m0, int n0, F run) {
    WindowStage<BM, BK, false, THREADS> a(p.windows, m0, p.part.begin);
    PlaceStage<BN, BK, THREADS> b(p.y, p.all_lanes, n0, p.N, p.part.begin, p.K);
    run(a, b);
}

template <class P, int BM, int BN, int BK, int TM, int TN>
__launch_bounds__(BM / TM * (BN / TN), 2)
__global__ void conv_vector(const float* left, const float* right, float* to, SIZES) {
    constexpr int ACROSS = BN / TN, DOWN = BM / TM, THREADS = ACROSS * DOWN;
    constexpr int LDA = BM + 4, LDB = BN + 4, SIZE_A = BK * LDA, SIZE = SIZE_A + BK * LDB;
    __align__(16) __shared__ float shared[2 * SIZE];  // twice a tile of A and one of B
    __shared__ int rows[BM];
    static_assert(DOWN * (BN + PAD) <= 2 * SIZE, "store_sums");
    int x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
    P p(left, right, GIVEN);
    int m0 = blockIdx.x * BM, n0 = blockIdx.y * BN;
    if (m0 >= p.M) return;
    for (int i = threadIdx.x; i < BM; i += THREADS) rows[i] = p.place(m0 + i);
    float sum[TM / 4][4][TN / 4][4] = {};
    with_stages<BM, BN, BK, THREADS>(p, m0, n0, [&](auto& next_a, auto& next_b) {
        next_a.fetch(), next_b.fetch();
        int now = 0;  // where the buffer begins that is multiplied
        for (int k0 = p.part.begin; k0 < p.part.end; k0 += BK, now = SIZE - now) {
            float *tile_a = shared + now, *tile_b = tile_a + SIZE_A;
            next_a.template place_by_k<LDA>(tile_a);
            next_b.template place_by_k<LDB>(tile_b);
            __syncthreads();  // it is full; and nobody reads the other one any more
            if (k0 + BK < p.part.end) next_a.fetch(), next_b.fetch();
            multiply_tile<BK, TM, TN, LDA, LDB, ACROSS, DOWN>(tile_a, tile_b, x, y, sum);
        }
    });
    to += p.base;
    auto put = [&](int m, int n, float value) { to[rows[m - m0] + n * p.lane] = value; };
    store_sums<BM, BN, TM, TN>(shared, sum, p.M, p.N, m0, n0, put);
}
