// Updates of parameters in one pass over memory, in place; a thread takes elements a grid apart, so
// neighbouring threads read neighbouring words.
//
//     sgd_step            p -= lr (g + decay p)
//     sgd_momentum_step   d = g + decay p;  v = momentum v + d;  p -= lr v, or lr (d + momentum v)
//     adam_begin          t += 1; scale, floor, shrink from t and lr                     one thread
//     adam_step           m += (1 - beta1) (g - m);  v += (1 - beta2) (g^2 - v)
//                         p -= scale m / (sqrt(v) + floor)
//     ema_step            a += rate (p - a)
//     update_running      mean = keep mean + share new, and var: a layer's moments follow a batch's
//     adam_begin_all, adam_step_all       the same for many parameters at once: on small networks a
//                         launch costs more than the update, and a step has a dozen of them
//
// Memory bounds them: Adam moves 28 bytes an element in float32 and computes 10 operations. The
// learning rate and the step count are read on the device when the kernel runs, so a captured graph
// follows them; what depends on them alone is computed once, in float64, by adam_begin. A rate of
// NaN skips the step: nothing changes, not even the count.
#include "common.cuh"

template <class T>
__global__ void sgd_step(T* p, const T* grad, const double* lr, T decay, long long n) {
    T rate = T(*lr);
    if (rate != rate) return;
    for (EACH(i, n)) p[i] -= rate * (grad[i] + decay * p[i]);
}

template <class T>
__global__ void sgd_momentum_step(T* p, const T* grad, T* velocity, const double* lr, T decay,
                                  T momentum, int nesterov, long long n) {
    T rate = T(*lr);
    if (rate != rate) return;
    for (EACH(i, n)) {
        T d = grad[i] + decay * p[i];
        T v = momentum * velocity[i] + d;
        velocity[i] = v;
        p[i] -= rate * (nesterov ? d + momentum * v : v);
    }
}

// constants: scale, floor, shrink; see the reference in tinygen/optim.py.
template <class T>
__device__ inline void begin(long long* t, double lr, T* constants, double beta1, double beta2,
                             double eps, double decay) {
    if (lr != lr) {
        constants[0] = T(lr);
        return;
    }
    double step = double(*t += 1);
    double c = sqrt(1 - pow(beta2, step));
    constants[0] = T(lr * c / (1 - pow(beta1, step)));
    constants[1] = T(eps * c);
    constants[2] = T(1 - lr * decay);
}

template <class T>
__global__ void adam_begin(long long* t, const double* lr, T* constants, double beta1,
                           double beta2, double eps, double decay) {
    begin(t, *lr, constants, beta1, beta2, eps, decay);
}

// beta1, beta2: 1 minus Adam's.
template <class T>
__device__ inline void adam(T* p, T g, T* m, T* v, const T* constants, T beta1, T beta2, T decay,
                            int decoupled) {
    T w = *p;
    if (decoupled)
        w *= constants[2];
    else
        g += decay * w;
    T mean = *m + beta1 * (g - *m);
    T square = *v + beta2 * (g * g - *v);
    *m = mean;
    *v = square;
    *p = w - constants[0] * (mean / (sqrt(square) + constants[1]));
}

template <class T>
__global__ void adam_step(T* p, const T* grad, T* m, T* v, const T* constants, T beta1, T beta2,
                          T decay, int decoupled, long long n) {
    T own[3] = {constants[0], constants[1], constants[2]};
    if (own[0] != own[0]) return;
    for (EACH(i, n)) adam(p + i, grad[i], m + i, v + i, own, beta1, beta2, decay, decoupled);
}

// table: a row (p, grad, m, v, t, n, first block) for each parameter, addresses as integers; one
// more row ends it with the number of blocks. Thread k begins parameter k.
template <class T>
__global__ void adam_begin_all(const long long* table, int parameters, const double* lr,
                               T* constants, double beta1, double beta2, double eps,
                               double decay) {
    int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k < parameters)
        begin((long long*)table[7 * k + 4], *lr, constants + 3 * k, beta1, beta2, eps, decay);
}

// A block takes EVERY elements of one parameter.
template <class T>
__global__ void adam_step_all(const long long* table, const T* constants, T beta1, T beta2,
                              T decay, int decoupled) {
    constexpr int EVERY = 1024;
    int k = 0;
    while (blockIdx.x >= table[7 * (k + 1) + 6]) ++k;
    const long long* row = table + 7 * k;
    T *p = (T*)row[0], *m = (T*)row[2], *v = (T*)row[3];
    const T* grad = (const T*)row[1];
    T own[3] = {constants[3 * k], constants[3 * k + 1], constants[3 * k + 2]};
    if (own[0] != own[0]) return;
    long long start = (blockIdx.x - row[6]) * EVERY, stop = min(start + EVERY, row[5]);
    for (long long i = start + threadIdx.x; i < stop; i += blockDim.x)
        adam(p + i, grad[i], m + i, v + i, own, beta1, beta2, decay, decoupled);
}

template <class T>
__global__ void ema_step(T* average, const T* p, const double* rate, long long n) {
    T share = T(*rate);
    for (EACH(i, n)) average[i] += share * (p[i] - average[i]);
}

template <class T>
__global__ void update_running(T* mean, T* var, const T* new_mean, const T* new_var, T keep,
                               T share, long long n) {
    for (EACH(i, n)) {
        mean[i] = keep * mean[i] + share * new_mean[i];
        var[i] = keep * var[i] + share * new_var[i];
    }
}
