// What the kernels of this folder share. Compiled for a GPU by CuPy (NVRTC) or nvcc, and for the
// processor by the emulator, whose header comes first there.
#pragma once

// Shared memory whose size the launch decides. (`extern __shared__` cannot be a template's type.)
#ifdef EMULATED
#define DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(emulated::dynamic_shared())
#else
#define DYNAMIC_SHARED(T, name)                                        \
    extern __shared__ __align__(16) unsigned char dynamic_shared_[]; \
    T* name = reinterpret_cast<T*>(dynamic_shared_)
#endif

// for (EACH(i, n)): this thread's elements of n, a grid apart, so that any grid covers all.
#define EACH(i, n)                                                                \
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < (n);      \
    i += (long long)gridDim.x * blockDim.x

// A few numbers at once, as V: the address must be a multiple of their size.
template <class V, class T>
__device__ inline void store(T* to, V value) {
#ifdef EMULATED
    if ((uintptr_t)to % sizeof(V)) emulated::misaligned(to, sizeof(V), 1);
#endif
    *reinterpret_cast<V*>(to) = value;
}

// Four floats at once: the address must be a multiple of 16 bytes.
__device__ inline float4 load4(const float* from) {
#ifdef EMULATED
    if ((uintptr_t)from % 16) emulated::misaligned(from, 16, 0);
#endif
    return *reinterpret_cast<const float4*>(from);
}
__device__ inline void store4(float* to, float4 value) {
    store(to, value);
}
