// Attention of heads, y = softmax(q k^T / sqrt(d)) v, and back: q (n, d), k (m, d), v (m, e).
//
//     attend       y                    a block: some queries, some columns of y
//     attend_dq    dq, and for attend_dkv of each query `level` and `along`
//     attend_dkv   dk and dv            a block: some keys, some columns of dk, or of dv
//
// With the cotangent g of y, fit = q k^T scale, scale = 1 / sqrt(d), dfit = g v^T:
//
//     share = exp(fit - level),  level = log sum_j exp(fit_j),  along = sum_j share_j dfit_j
//     f = share (dfit - along) scale;   dq = f k,  dk = f^T q,  dv = share^T g
//
// A tile is 16 R x 16 R fits: of 256 threads each has R x R, its rows and columns 16 apart. Fits of
// a tile are made, used as the left side of a product and forgotten; memory never holds them. Their
// largest value so far is subtracted from the next ones, and what was added up before is made
// smaller when it grows (the softmax "online"). Back, the fits are made again.
// `causal`: query i sees keys 0 to i; tiles that nobody sees are left out.
//
// Results wider than 16 C columns take further blocks, which make the fits again. Each number is
// written by one thread, and tiles follow in order: always the same bits. Sources: Dao et al.,
// 2022; Milakov and Gimelshein, 2018.
#include "block.cuh"

constexpr int SIDE = 16;  // threads along each side of a tile
constexpr int DEEP = 32;  // numbers of a row that lie in shared memory at a time

// The rows of one head, `step` numbers apart.
template <class T>
struct Rows {
    T* at;
    long long step;
    int count, width;
};

// Those of the block's head; from sample to sample and from head to head there are `by_sample` and
// `by_head` numbers.
template <class T>
__device__ inline Rows<T> rows_of(T* start, int tiles, int heads, long long by_sample,
                                  long long by_head, long long step, int count, int width) {
    int piece = blockIdx.x / tiles;
    return {start + piece / heads * by_sample + piece % heads * by_head, step, count, width};
}

// to[r][c] = from[row + r][column + c], 0 beyond its end; rows of `to` are PITCH apart.
template <int HEIGHT, int WIDTH, int PITCH, class T>
__device__ inline void lay(const Rows<const T>& from, int row, int column, T* to) {
    for (int i = threadIdx.x; i < HEIGHT * WIDTH; i += SIDE * SIDE) {
        int r = i / WIDTH, c = i % WIDTH;
        bool there = row + r < from.count && column + c < from.width;
        to[r * PITCH + c] = there ? from.at[(row + r) * from.step + column + c] : T(0);
    }
}

// A thread's place in a tile: its first row and its first column.
__device__ inline int first_row() { return threadIdx.x / SIDE; }
__device__ inline int first_column() { return threadIdx.x % SIDE; }

// out = a's rows from a_row on times b's from b_row on, transposed. `stage` has 32 R (DEEP + 1)
// numbers: the odd pitch gives each lane a bank of its own.
template <int R, class T>
__device__ inline void fits_of(const Rows<const T>& a, int a_row, const Rows<const T>& b,
                               int b_row, T* stage, T (&out)[R][R]) {
    constexpr int TILE = SIDE * R, PITCH = DEEP + 1;
    T *left = stage, *right = stage + TILE * PITCH;
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
        for (int j = 0; j < R; ++j) out[i][j] = 0;
    for (int begin = 0; begin < a.width; begin += DEEP) {
        __syncthreads();  // what lay here has been read
        lay<TILE, DEEP, PITCH>(a, a_row, begin, left);
        lay<TILE, DEEP, PITCH>(b, b_row, begin, right);
        __syncthreads();
        int deep = min(DEEP, a.width - begin);
        for (int k = 0; k < deep; ++k) {
            T x[R], y[R];
#pragma unroll
            for (int i = 0; i < R; ++i) {
                x[i] = left[(first_row() + SIDE * i) * PITCH + k];
                y[i] = right[(first_column() + SIDE * i) * PITCH + k];
            }
#pragma unroll
            for (int i = 0; i < R; ++i)
#pragma unroll
                for (int j = 0; j < R; ++j) out[i][j] += x[i] * y[j];
        }
    }
}

// out += w times b's rows from b_row on, their columns from `column` on. w goes to `stage`, which
// it fits into; `side` has 16 R x 16 C numbers.
template <int R, int C, class T>
__device__ inline void add_weighed(const T (&w)[R][R], const Rows<const T>& b, int b_row,
                                   int column, T* stage, T* side, T (&out)[R][C]) {
    constexpr int TILE = SIDE * R, PITCH = TILE + 1, WIDTH = SIDE * C;
    __syncthreads();  // what lay here has been read
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
        for (int j = 0; j < R; ++j)
            stage[(first_row() + SIDE * i) * PITCH + first_column() + SIDE * j] = w[i][j];
    lay<TILE, WIDTH, WIDTH>(b, b_row, column, side);
    __syncthreads();
    int rows = min(TILE, b.count - b_row);
    for (int k = 0; k < rows; ++k) {
        T x[R], y[C];
#pragma unroll
        for (int i = 0; i < R; ++i) x[i] = stage[(first_row() + SIDE * i) * PITCH + k];
#pragma unroll
        for (int c = 0; c < C; ++c) y[c] = side[k * WIDTH + first_column() + SIDE * c];
#pragma unroll
        for (int i = 0; i < R; ++i)
#pragma unroll
            for (int c = 0; c < C; ++c) out[i][c] += x[i] * y[c];
    }
}

template <int R, int C, class T>
__device__ inline void write(const T (&from)[R][C], const Rows<T>& to, int row, int column) {
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
        for (int c = 0; c < C; ++c) {
            int r = row + first_row() + SIDE * i, at = column + first_column() + SIDE * c;
            if (r < to.count && at < to.width) to.at[r * to.step + at] = from[i][c];
        }
}

// Shared memory of all three: for fits_of and weights, and for the right side of add_weighed.
#define SHARED                                                   \
    __shared__ T stage[2 * SIDE * R * (DEEP + 1)], side[SIDE * R * SIDE * C]

// One row's share of a tile: its largest fit so far becomes `top`, the fits their exponentials
// beside it. Returns what makes sums of before smaller.
template <int R, class T>
__device__ inline T exponentials(T (&fit)[R], T& top) {
    T before = top;
#pragma unroll
    for (int j = 0; j < R; ++j) top = both<MAX>(top, fit[j]);
    top = warp_reduce<MAX>(top, SIDE);
    T base = finite_or_0(top);
#pragma unroll
    for (int j = 0; j < R; ++j) fit[j] = exp(fit[j] - base);
    return exp(before - base);
}

// fit = fit scale, -infinity where the query does not see the key; rows are queries.
template <int R, class T>
__device__ inline void hide(T (&fit)[R][R], int query, int key, int m, int causal, T scale) {
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
        for (int j = 0; j < R; ++j) {
            int at = key + first_column() + SIDE * j;
            bool seen = at < m && (!causal || at <= query + first_row() + SIDE * i);
            fit[i][j] = seen ? fit[i][j] * scale : start<MAX, T>();
        }
}

template <int R, int C, class T>
__global__ void attend(const T* q, const T* k, const T* v, T* y, int heads, int n, int m, int d,
                       int e, int causal, T scale, long long q1, long long q2, long long q3,
                       long long k1, long long k2, long long k3, long long v1, long long v2,
                       long long v3, long long y1, long long y2, long long y3) {
    SHARED;
    constexpr int TILE = SIDE * R;
    int tiles = (n + TILE - 1) / TILE, query = blockIdx.x % tiles * TILE;
    int column = blockIdx.y * SIDE * C, seen = causal ? min(m, query + TILE) : m;
    auto queries = rows_of(q, tiles, heads, q1, q2, q3, n, d);
    auto keys = rows_of(k, tiles, heads, k1, k2, k3, m, d);
    auto values = rows_of(v, tiles, heads, v1, v2, v3, m, e);
    T out[R][C] = {}, fit[R][R], top[R], total[R];
#pragma unroll
    for (int i = 0; i < R; ++i) top[i] = start<MAX, T>(), total[i] = 0;
    for (int key = 0; key < seen; key += TILE) {
        fits_of<R>(queries, query, keys, key, stage, fit);
        hide<R>(fit, query, key, m, causal, scale);
#pragma unroll
        for (int i = 0; i < R; ++i) {
            T less = exponentials<R>(fit[i], top[i]);
            total[i] *= less;
#pragma unroll
            for (int j = 0; j < R; ++j) total[i] += fit[i][j];
#pragma unroll
            for (int c = 0; c < C; ++c) out[i][c] *= less;
        }
        add_weighed<R, C>(fit, values, key, column, stage, side, out);
    }
#pragma unroll
    for (int i = 0; i < R; ++i) {
        total[i] = warp_reduce<SUM>(total[i], SIDE);
#pragma unroll
        for (int c = 0; c < C; ++c) out[i][c] /= total[i];
    }
    write<R, C>(out, rows_of(y, tiles, heads, y1, y2, y3, n, e), query, column);
}

// level and along are (samples heads, n).
template <int R, int C, class T>
__global__ void attend_dq(const T* above, const T* q, const T* k, const T* v, T* dq, T* levels,
                          T* alongs, int heads, int n, int m, int d, int e, int causal, T scale,
                          long long g1, long long g2, long long g3, long long q1, long long q2,
                          long long q3, long long k1, long long k2, long long k3, long long v1,
                          long long v2, long long v3, long long o1, long long o2, long long o3) {
    SHARED;
    constexpr int TILE = SIDE * R;
    int tiles = (n + TILE - 1) / TILE, query = blockIdx.x % tiles * TILE;
    int column = blockIdx.y * SIDE * C, seen = causal ? min(m, query + TILE) : m;
    auto cotangents = rows_of(above, tiles, heads, g1, g2, g3, n, e);
    auto queries = rows_of(q, tiles, heads, q1, q2, q3, n, d);
    auto keys = rows_of(k, tiles, heads, k1, k2, k3, m, d);
    auto values = rows_of(v, tiles, heads, v1, v2, v3, m, e);
    T fit[R][R], dfit[R][R], top[R], level[R], along[R];
    auto make_fits = [&](int key) {  // fit and dfit of a tile, the same both times
        fits_of<R>(queries, query, keys, key, stage, fit);
        fits_of<R>(cotangents, query, values, key, stage, dfit);
        hide<R>(fit, query, key, m, causal, scale);
    };
#pragma unroll
    for (int i = 0; i < R; ++i) top[i] = start<MAX, T>(), level[i] = along[i] = 0;
    for (int key = 0; key < seen; key += TILE) {  // sums first, as f needs them
        make_fits(key);
#pragma unroll
        for (int i = 0; i < R; ++i) {
            T less = exponentials<R>(fit[i], top[i]);
            level[i] *= less, along[i] *= less;
#pragma unroll
            for (int j = 0; j < R; ++j) level[i] += fit[i][j], along[i] += fit[i][j] * dfit[i][j];
        }
    }
#pragma unroll
    for (int i = 0; i < R; ++i) {
        T total = warp_reduce<SUM>(level[i], SIDE);
        along[i] = warp_reduce<SUM>(along[i], SIDE) / total;
        level[i] = finite_or_0(top[i]) + log(total);
        int at = query + first_row() + SIDE * i;
        if (first_column() == 0 && blockIdx.y == 0 && at < n) {
            long long to = blockIdx.x / tiles * (long long)n + at;
            levels[to] = level[i];
            alongs[to] = along[i];
        }
    }
    T out[R][C] = {};
    for (int key = 0; key < seen; key += TILE) {
        make_fits(key);
#pragma unroll
        for (int i = 0; i < R; ++i)
#pragma unroll
            for (int j = 0; j < R; ++j)
                fit[i][j] = exp(fit[i][j] - level[i]) * (dfit[i][j] - along[i]) * scale;
        add_weighed<R, C>(fit, keys, key, column, stage, side, out);
    }
    write<R, C>(out, rows_of(dq, tiles, heads, o1, o2, o3, n, d), query, column);
}

// The first blocks along y make dk, the others dv. Rows of a tile are keys here.
template <int R, int C, class T>
__global__ void attend_dkv(const T* above, const T* q, const T* k, const T* v, const T* levels,
                           const T* alongs, T* dk, T* dv, int heads, int n, int m, int d, int e,
                           int causal, T scale, long long g1, long long g2, long long g3,
                           long long q1, long long q2, long long q3, long long k1, long long k2,
                           long long k3, long long v1, long long v2, long long v3, long long o1,
                           long long o2, long long o3, long long p1, long long p2, long long p3) {
    SHARED;
    constexpr int TILE = SIDE * R;
    int tiles = (m + TILE - 1) / TILE, key = blockIdx.x % tiles * TILE;
    int strips = (d + SIDE * C - 1) / (SIDE * C), strip = blockIdx.y;
    bool of_keys = strip < strips;
    auto cotangents = rows_of(above, tiles, heads, g1, g2, g3, n, e);
    auto queries = rows_of(q, tiles, heads, q1, q2, q3, n, d);
    auto keys = rows_of(k, tiles, heads, k1, k2, k3, m, d);
    auto values = rows_of(v, tiles, heads, v1, v2, v3, m, e);
    const T* level = levels + blockIdx.x / tiles * (long long)n;
    const T* along = alongs + blockIdx.x / tiles * (long long)n;
    int column = (of_keys ? strip : strip - strips) * SIDE * C;
    Rows<const T> right = queries;
    if (!of_keys) right = cotangents;
    T out[R][C] = {}, fit[R][R], dfit[R][R];
    for (int query = causal ? key : 0; query < n; query += TILE) {
        fits_of<R>(keys, key, queries, query, stage, fit);
        if (of_keys) fits_of<R>(values, key, cotangents, query, stage, dfit);
#pragma unroll
        for (int j = 0; j < R; ++j) {
            int from = query + first_column() + SIDE * j;
            T its_level = from < n ? level[from] : T(0), its_along = from < n ? along[from] : T(0);
#pragma unroll
            for (int i = 0; i < R; ++i) {
                bool seen = from < n && (!causal || key + first_row() + SIDE * i <= from);
                T share = seen ? exp(fit[i][j] * scale - its_level) : T(0);
                fit[i][j] = of_keys ? share * (dfit[i][j] - its_along) * scale : share;
            }
        }
        add_weighed<R, C>(fit, right, query, column, stage, side, out);
    }
    if (of_keys)
        write<R, C>(out, rows_of(dk, tiles, heads, o1, o2, o3, m, d), key, column);
    else
        write<R, C>(out, rows_of(dv, tiles, heads, p1, p2, p3, m, e), key, column);
}
