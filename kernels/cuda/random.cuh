// Random draws, and dropout: element i of n has word i of draw base + offset under a key, w.
//
//     random_words        w
//     random_uniform      (w >> 8) 2^-24                      exact in float32
//     random_normal       u sqrt(P(u) / Q(u)), signed         u = -log2 of the two-sided tail
//     random_bernoulli    (w >> 8) < limit                    limit = ceil(2^24 p)
//     random_integers     (w high) >> 32
//     dropout             x / keep where (w >> 8) >= limit, else 0;  keep = 1 - p
//     advance             base += by, which wraps at 2^64     one thread
//
// One block of Philox is four words, so a thread makes four neighbouring elements and stores them
// at once. Key and base are read on the device when the kernel runs: a captured graph follows them.
//
// The bits are those of tinygen/random.py: each operation is rounded on its own, in the order of
// the reference, and this source is compiled so that no product shares a rounding with a sum. The
// normal is computed in float64 whatever its type, 42 operations, two of them divisions and one a
// root, which bound it (a GPU for games has one float64 unit for 64 of float32); the others are
// bound by the rounds of Philox and by memory.
#include "four.cuh"
#include "philox.cuh"

typedef unsigned long long Counter;

// out[i] = become(word i). The key is read in the loop, from the cache: kept from before it, the
// round keys would take 20 registers.
template <class T, class Become>
__device__ inline void draw(T* out, const Counter* key, const Counter* base, Counter offset,
                            long long n, Become become) {
    for (EACH(block, (n + 3) / 4)) {
        Words w = philox(block, *base + offset, *key);
        Four<T> y;
#pragma unroll
        for (int j = 0; j < 4; ++j) y.at[j] = become(w.at[j]);
        store_four(out, 4 * block, n, y);
    }
}

__global__ void random_words(unsigned* out, const Counter* key, const Counter* base,
                             Counter offset, long long n) {
    draw(out, key, base, offset, n, [](unsigned w) { return w; });
}

template <class T>
__global__ void random_uniform(T* out, const Counter* key, const Counter* base, Counter offset,
                               long long n) {
    draw(out, key, base, offset, n, [](unsigned w) { return T(w >> 8) * T(1.0 / (1 << 24)); });
}

// The coefficients and the order of operations are those of tinygen/random.py.
__device__ inline double normal_of(unsigned w) {
    double h = -0.5 - double(int(w));  // |h| 2^-31 is the two-sided tail, 2^-u
    int e;
    double m = frexp(fabs(h), &e);
    double r = (m - 1.0) / (m + 1.0);
    double z = r * r;
    double p = z * 0.3611495316534145 + 0.30590518673588324;
    p = p * z + 0.4132137396269725;
    p = p * z + 0.5770443396136213;
    p = p * z + 0.9617971700865757;
    p = p * z + 2.885390079858712;
    double u = (31.0 - e) - r * p;  // r p is log2(m)
    p = u * 1.3833917855877442 + 156.64337416248748;
    p = p * u + 3763.276714618121;
    p = p * u + 27508.63775501264;
    p = p * u + 67892.86931321931;
    p = p * u + 49651.33027078408;
    double q = u + 117.74493470721416;
    q = q * u + 3111.28304757976;
    q = q * u + 27450.89148835632;
    q = q * u + 95427.78760206971;
    q = q * u + 135562.6931563642;
    q = q * u + 65790.04814907639;
    return copysign(u * sqrt(p / q), h);
}

template <class T>
__global__ void random_normal(T* out, const Counter* key, const Counter* base, Counter offset,
                              long long n) {
    draw(out, key, base, offset, n, [](unsigned w) { return T(normal_of(w)); });
}

__global__ void random_bernoulli(bool* out, const Counter* key, const Counter* base,
                                 Counter offset, unsigned limit, long long n) {
    draw(out, key, base, offset, n, [=](unsigned w) { return (w >> 8) < limit; });
}

__global__ void random_integers(long long* out, const Counter* key, const Counter* base,
                                Counter offset, Counter high, long long n) {
    draw(out, key, base, offset, n, [=](unsigned w) { return (long long)(w * high >> 32); });
}

// out may be x: a thread reads its four elements before it writes them.
template <class T>
__global__ void dropout(T* out, const T* x, const Counter* key, const Counter* base,
                        Counter offset, unsigned limit, T keep, long long n) {
    for (EACH(block, (n + 3) / 4)) {
        Words w = philox(block, *base + offset, *key);
        Four<T> y = load_four(x, 4 * block, n);
#pragma unroll
        for (int j = 0; j < 4; ++j) y.at[j] = (w.at[j] >> 8) >= limit ? y.at[j] / keep : T(0);
        store_four(out, 4 * block, n, y);
    }
}

__global__ void advance(Counter* base, Counter by) { *base += by; }
