// Normalisation, a scale and a shift of each sample, and SiLU; see normalise.cuh.
//
//     y = (x - mean) / s weight + bias,   z = y (1 + scale) + shift,   out = z sigmoid(z)
//
// x (n, p, g, k); modulation (n or 1, 2, g, k): scale and shift, `apart` numbers from sample to
// sample, 0 where all have the same. All of it is z = u by + plus, u = (x - mean) / s, with two
// numbers a channel. Forward, memory sees x and out, and back the cotangent and dx besides: z is
// made again. Back, with dz = above (sigmoid(z) + z sigmoid(z) (1 - sigmoid(z))) and sums over p:
//
//     a = sum dz u,  b = sum dz
//     dscale = weight a + bias b,  dshift = b
//     dweight = (1 + scale) a,  dbias = (1 + scale) b        of each sample
//     dx = (by dz - mean(by b) - u mean(by a)) / s           means over the group
#include "maths.cuh"
#include "normalise.cuh"

// What a channel has of the norm's and the sample's scale and shift.
template <class T>
struct Channel {
    T weight, bias, more, by, plus;

    __device__ Channel(const T* weights, const T* biases, const T* modulation, long long apart,
                       const Group& at, int g, int c) {
        const T* scale = modulation + blockIdx.x / g * apart + at.channel + c;
        weight = weights[at.channel + c];
        bias = biases[at.channel + c];
        more = T(1) + scale[0];
        by = weight * more;
        plus = bias * more + scale[at.stride];
    }
};

template <class T>
__global__ void normalise_silu(const T* x, const T* weight, const T* bias, const T* modulation,
                               T* out, long long p, int g, int k, int width, long long apart,
                               T eps) {
    Group at = group_of(p, g, k, width);
    T s, mean = moments(x, at, eps, &s);
    for (EACH_COLUMN_OF(at, c)) {
        Channel<T> own(weight, bias, modulation, apart, at, g, c);
        for (EACH_ROW_OF(at, here, c)) {
            T z = (x[here] - mean) / s * own.by + own.plus;
            out[here] = z * sigmoid(z);
        }
    }
}

// The derivative of SiLU at z.
template <class T>
__device__ inline T silu_slope(T z) {
    T share = sigmoid(z);
    return share + z * share * (T(1) - share);
}

// dweight and dbias are (n, g k): of each sample.
template <class T>
__global__ void normalise_silu_dx(const T* above, const T* x, const T* weight, const T* bias,
                                  const T* modulation, T* dx, T* dweight, T* dbias,
                                  T* dmodulation, long long p, int g, int k, int width,
                                  long long apart, T eps) {
    Group at = group_of(p, g, k, width);
    T s, mean = moments(x, at, eps, &s), along = 0, level = 0;
    for (int first = 0; first < k; first += width) {
        int c = first + at.column;
        Channel<T> own(weight, bias, modulation, apart, at, g, c < k ? c : 0);
        T a = 0, b = 0;
        if (c < k)
            for (EACH_ROW_OF(at, here, c)) {
                T u = (x[here] - mean) / s;
                T dz = above[here] * silu_slope(u * own.by + own.plus);
                a += dz * u;
                b += dz;
            }
        add_rows(at, a, b);
        if (at.row == 0 && c < k) {
            long long sample = blockIdx.x / g, to = sample * at.stride + at.channel + c;
            dweight[to] = own.more * a;
            dbias[to] = own.more * b;
            T* scale = dmodulation + to + sample * at.stride;
            scale[0] = own.weight * a + own.bias * b;
            scale[at.stride] = b;
            along += own.by * a;
            level += own.by * b;
        }
    }
    level = block_reduce<SUM>(level) / T(at.count());
    along = block_reduce<SUM>(along) / T(at.count());
    for (EACH_COLUMN_OF(at, c)) {
        Channel<T> own(weight, bias, modulation, apart, at, g, c);
        for (EACH_ROW_OF(at, here, c)) {
            T u = (x[here] - mean) / s;
            T dz = above[here] * silu_slope(u * own.by + own.plus);
            dx[here] = (dz * own.by - level - u * along) / s;
        }
    }
}
