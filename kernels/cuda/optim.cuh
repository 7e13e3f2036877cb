// Updates of parameters in one pass over memory, in place; a thread takes elements a grid apart, so
// neighbouring threads read neighbouring words.
//
//     sgd_step            p -= lr (g + decay p)
//     sgd_momentum_step   d = g + decay p;  v = momentum v + d;  p -= lr v, or lr (d + momentum v)
//     adam_begin          t += 1; scale, floor, shrink from t and lr                     one thread
//     adam_step           m += (1 - beta1) (g - m);  v += (1 - beta2) (g^2 - v)
//                         p -= scale m / (sqrt(v) + floor)
//     ema_step            a += (1 - decay) (p - a)
//
// Memory bounds them: Adam moves 28 bytes an element in float32 and computes 10 operations. The
// learning rate and the step count are read on the device when the kernel runs, so a captured graph
// follows them; what depends on them alone is computed once, in float64, by adam_begin.
#include "common.cuh"

template <class T>
__global__ void sgd_step(T* p, const T* grad, const double* lr, T decay, long long n) {
    T rate = T(*lr);
    for (EACH(i, n)) p[i] -= rate * (grad[i] + decay * p[i]);
}

template <class T>
__global__ void sgd_momentum_step(T* p, const T* grad, T* velocity, const double* lr, T decay,
                                  T momentum, int nesterov, long long n) {
    T rate = T(*lr);
    for (EACH(i, n)) {
        T d = grad[i] + decay * p[i];
        T v = momentum * velocity[i] + d;
        velocity[i] = v;
        p[i] -= rate * (nesterov ? d + momentum * v : v);
    }
}

// constants: scale, floor, shrink; see the reference in tinygen/optim.py.
template <class T>
__global__ void adam_begin(long long* t, const double* lr, T* constants, double beta1,
                           double beta2, double eps, double decay) {
    double step = double(*t += 1);
    double c = sqrt(1 - pow(beta2, step));
    constants[0] = T(*lr * c / (1 - pow(beta1, step)));
    constants[1] = T(eps * c);
    constants[2] = T(1 - *lr * decay);
}

template <class T>
__global__ void adam_step(T* p, const T* grad, T* m, T* v, const T* constants, T beta1, T beta2,
                          T decay, int decoupled, long long n) {
    T scale = constants[0], floor = constants[1], shrink = constants[2];
    for (EACH(i, n)) {
        T w = p[i], g = grad[i];
        if (decoupled)
            w *= shrink;
        else
            g += decay * w;
        T mean = m[i] + beta1 * (g - m[i]);  // beta1, beta2: 1 minus Adam's
        T square = v[i] + beta2 * (g * g - v[i]);
        m[i] = mean;
        v[i] = square;
        p[i] = w - scale * (mean / (sqrt(square) + floor));
    }
}

template <class T>
__global__ void ema_step(T* average, const T* p, T rate, long long n) {
    for (EACH(i, n)) average[i] += rate * (p[i] - average[i]);
}
