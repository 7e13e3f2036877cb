// CUDA C++ on the processor: the part of the language that the kernels of this folder use.
//
// A kernel's source is compiled as it stands by the host's compiler, after this header. Every CUDA
// thread is a fiber (engine.cpp): it runs until it returns or waits, so a block whose threads
// share memory without a barrier goes wrong every time, not now and then.
//
//   __shared__       static memory of the module, one block's at a time, filled with NaN before it
//   __syncthreads    the fiber waits until all threads of its block wait
//   shuffles, mma    the lanes of a warp lay down their values, wait for each other, and read
//
// Compiled with -fsanitize=thread every read and write of a kernel is a call to engine.cpp, which
// finds what is outside an array and what two threads touch without a barrier in between.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>
#include <utility>

#define EMULATED 1
#define UNCHECKED __attribute__((no_sanitize("thread")))

#define __global__ static
#define __device__  // also of member functions; the module keeps all names to itself
#define __host__
#define __constant__ static const
#define __shared__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
UNCHECKED static inline float2 make_float2(float x, float y) { return {x, y}; }
UNCHECKED static inline float4 make_float4(float x, float y, float z, float w) {
    return {x, y, z, w};
}

// ---- what engine.cpp provides ---------------------------------------------------------------

namespace emulated {

struct Current {  // where the thread that runs stands
    uint3 thread, block;
    dim3 block_size, grid_size;
};
extern Current current;

void wait_block();
void wait_grid();
void wait_warp(unsigned mask);
unsigned lane();                     // 0 to 31
char* laid_down(unsigned of_lane);   // 64 bytes that the lanes of this warp can all read
void* dynamic_shared();
void misaligned(const void* at, size_t bytes, int write);

struct Entry {  // a kernel of a module
    const char* name;
    const char* types;  // two letters an argument: '*' or '.', then the kind of number
    void (*run)(void** arguments);
};

template <class T>
constexpr char kind() {
    using U = std::remove_const_t<T>;
    if (std::is_same_v<U, float>) return 'f';
    if (std::is_same_v<U, double>) return 'd';
    if (std::is_same_v<U, bool> || std::is_same_v<U, uint8_t>) return 'b';
    if (!std::is_integral_v<U>) return '?';
    if (sizeof(U) == 4) return std::is_signed_v<U> ? 'i' : 'u';
    return sizeof(U) == 8 ? (std::is_signed_v<U> ? 'l' : 'L') : '?';
}
template <class T>
constexpr char letter(int i) {
    if (!std::is_pointer_v<T>) return i ? kind<T>() : '.';
    return i ? kind<std::remove_pointer_t<T>>() : '*';
}

template <auto kernel>
struct Caller;
template <class... A, void (*kernel)(A...)>
struct Caller<kernel> {
    static constexpr char types[] = {letter<A>(0)..., 0, letter<A>(1)..., 0};
    template <size_t... i>
    UNCHECKED static void call(void** a, std::index_sequence<i...>) {
        kernel(*static_cast<std::decay_t<A>*>(a[i])...);
    }
    UNCHECKED static void run(void** a) { call(a, std::index_sequence_for<A...>{}); }
};

}  // namespace emulated

#define threadIdx emulated::current.thread
#define blockIdx emulated::current.block
#define blockDim emulated::current.block_size
#define gridDim emulated::current.grid_size
constexpr int warpSize = 32;

// ---- waiting ----------------------------------------------------------------------------------

static inline void __syncthreads() { emulated::wait_block(); }
static inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) { emulated::wait_warp(mask); }
static inline void grid_barrier() { emulated::wait_grid(); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}

// ---- a warp's exchanges -----------------------------------------------------------------------

template <class T>
UNCHECKED static inline T exchanged(unsigned mask, T value, unsigned source) {
    memcpy(emulated::laid_down(emulated::lane()), &value, sizeof value);
    emulated::wait_warp(mask);
    T result;
    memcpy(&result, emulated::laid_down(source), sizeof result);
    emulated::wait_warp(mask);  // nobody lays down the next value before all have read
    return result;
}
template <class T>
UNCHECKED static inline T __shfl_sync(unsigned mask, T v, int source, int width = 32) {
    unsigned l = emulated::lane();
    return exchanged(mask, v, (l & ~(width - 1u)) + (source & (width - 1u)));
}
template <class T>
UNCHECKED static inline T __shfl_xor_sync(unsigned mask, T v, int with, int width = 32) {
    unsigned l = emulated::lane(), s = l ^ with;
    return exchanged(mask, v, s / width > l / width ? l : s);
}
template <class T>
UNCHECKED static inline T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) {
    unsigned l = emulated::lane();
    return exchanged(mask, v, (l & (width - 1u)) + by < unsigned(width) ? l + by : l);
}
template <class T>
UNCHECKED static inline T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) {
    unsigned l = emulated::lane();
    return exchanged(mask, v, (l & (width - 1u)) >= by ? l - by : l);
}
UNCHECKED static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    int mine = predicate != 0;
    memcpy(emulated::laid_down(emulated::lane()), &mine, sizeof mine);
    emulated::wait_warp(mask);
    unsigned votes = 0;
    for (unsigned l = 0; l < 32; ++l) {
        int theirs = 0;
        if (mask >> l & 1) memcpy(&theirs, emulated::laid_down(l), sizeof theirs);
        votes |= unsigned(theirs) << l;
    }
    emulated::wait_warp(mask);
    return votes;
}
static inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
static inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, p) == mask; }

// ---- atomics: one thread runs at a time, so plain code will do --------------------------------

int atomicAdd(int* at, int v);
unsigned atomicAdd(unsigned* at, unsigned v);
unsigned long long atomicAdd(unsigned long long* at, unsigned long long v);
float atomicAdd(float* at, float v);
double atomicAdd(double* at, double v);
int atomicMax(int* at, int v);
unsigned atomicMax(unsigned* at, unsigned v);
int atomicMin(int* at, int v);
unsigned atomicMin(unsigned* at, unsigned v);
int atomicExch(int* at, int v);
unsigned atomicExch(unsigned* at, unsigned v);
int atomicCAS(int* at, int expected, int v);
unsigned atomicCAS(unsigned* at, unsigned expected, unsigned v);

// ---- functions of the device ------------------------------------------------------------------

template <class To, class From>
UNCHECKED static inline To same_bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    To out;
    memcpy(&out, &x, sizeof out);
    return out;
}
static inline unsigned __float_as_uint(float x) { return same_bits<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return same_bits<float>(x); }
static inline int __float_as_int(float x) { return same_bits<int>(x); }
static inline float __int_as_float(int x) { return same_bits<float>(x); }
static inline unsigned __umulhi(unsigned x, unsigned y) { return uint64_t(x) * y >> 32; }
#define __expf expf  // the C library has such names, too
#define __logf logf
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float __fdividef(float x, float y) { return x / y; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
template <class T>
static inline T __ldg(const T* at) {
    return *at;
}
template <class T>
static inline T min(T x, T y) {
    return y < x ? y : x;
}
template <class T>
static inline T max(T x, T y) {
    return x < y ? y : x;
}
