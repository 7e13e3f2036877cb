// The checks of memory: what -fsanitize=thread calls at every read and write of a kernel.
//
// They are those of a race detector: for each word the last write and read since the launch
// began, with the counts of barriers at that time. Two accesses of different threads, one a write,
// with no barrier between them that both passed, are an error even if the result came out right.
#include "engine.h"

#include <dlfcn.h>

namespace emulated {

struct Access {  // the last read or write of a word; thread 0 for none, else its number + 1
    uint64_t thread = 0;
    unsigned block_turn, warp_turn, grid_turn;
    const void* at;
    bool atomic;
    unsigned char mask;  // of the word's four bytes
};
struct Word {
    Access wrote, read[2];  // of two threads, so that any writer meets another's
};
static std::vector<Word> words[2];  // of shared and of dynamic shared memory
static std::vector<std::vector<Word>> of_arrays;

void forget_all() {
    words[0].resize((launch->shared_end - launch->shared + 3) / 4);
    words[1].resize((launch->dynamic_bytes + 3) / 4);
    of_arrays.assign(launch->arrays, {});
    for (int i = 0; i < launch->arrays; ++i)
        of_arrays[i].resize((launch->array[i].high - launch->array[i].low + 3) / 4);
}

void forget_block() {
    for (auto& w : words) w.assign(w.size(), Word());
}

static uint64_t global_number(uint3 block, unsigned number) {
    const unsigned* n = launch->grid;
    uint64_t b = block.x + uint64_t(n[0]) * (block.y + uint64_t(n[1]) * block.z);
    return b * per_block + number + 1;
}

static bool ordered(const Access& before, uint64_t thread) {  // a barrier lies in between
    if (!before.thread || before.thread == thread) return true;
    uint64_t theirs = (before.thread - 1) / per_block, mine = (thread - 1) / per_block;
    if (theirs != mine) return before.grid_turn != grid_turn;
    if (before.block_turn != place->turn) return true;
    bool same_warp = (before.thread - 1) % per_block / 32 == (thread - 1) % per_block / 32;
    return same_warp && before.warp_turn != running->warp_turn;
}

static void raced(const Access& before, bool was_write, int array, int64_t offset, int bytes,
                  bool write, const void* at) {
    set_problem(RACE, *running, at);
    uint64_t other = before.thread - 1;
    unsigned i = unsigned(other % per_block);
    const unsigned* n = launch->block;
    copy3(report->other_thread, {i % n[0], i / n[0] % n[1], i / n[0] / n[1]});
    copy3(report->other_block, block_at(unsigned(other / per_block)));
    report->other_at = before.at;
    report->other_write = was_write;
    report->array = array, report->offset = offset, report->bytes = bytes, report->write = write;
    to_scheduler();  // and never back
}

static void visit(std::vector<Word>& of, int array, int64_t offset, int bytes, bool write,
                  bool atomic, const void* at) {
    uint64_t me = global_number(place->block, running->number);
    for (int64_t w = offset / 4; w <= (offset + bytes - 1) / 4; ++w) {
        Word& word = of[w];
        unsigned char mask = 0;
        for (int64_t b = 0; b < 4; ++b)
            if (4 * w + b >= offset && 4 * w + b < offset + bytes) mask |= 1 << b;
        bool apart = (atomic && word.wrote.atomic) || !(word.wrote.mask & mask);
        if (!apart && !ordered(word.wrote, me))
            return raced(word.wrote, true, array, offset, bytes, write, at);
        Access now{me, place->turn, running->warp_turn, grid_turn, at, atomic, mask};
        for (Access& read : word.read) {
            bool free = ordered(read, me) || !(read.mask & mask);
            if (write && !free && !(atomic && read.atomic))
                return raced(read, false, array, offset, bytes, write, at);
            if (!write && free) {
                read = now;
                break;
            }
        }
        if (write) word.wrote = now;
    }
}

static void outside(const char* p, int bytes, bool write, const void* at) {
    int nearest = -1;
    int64_t best = INT64_MAX, offset = 0;
    for (int i = 0; i < launch->arrays; ++i) {
        const Array& a = launch->array[i];
        int64_t gap = p < a.low ? a.low - p : p - a.high;
        if (gap < best) best = gap, nearest = i, offset = p - a.low;
    }
    if (dynamic.size() && p >= dynamic.data() - 4096 && p < dynamic.data() + dynamic.size() + 4096)
        nearest = -2, offset = p - dynamic.data();
    set_problem(OUTSIDE, *running, at);
    report->array = nearest, report->offset = offset, report->bytes = bytes, report->write = write;
    to_scheduler();  // and never back
}

static bool within(const char* p, int bytes, const void* low, size_t size) {
    const char* start = static_cast<const char*>(low);
    return p >= start && p + bytes <= start + size;
}

static void touch(const void* address, int bytes, bool write, bool atomic, const void* at) {
    if (!launch || !launch->checked || report->problem) return;
    const char* p = static_cast<const char*>(address);
    if (within(p, bytes, stacks, stacks_bytes) || within(p, bytes, &current, sizeof current) ||
        within(p, bytes, exchange, sizeof exchange))
        return;
    if (within(p, bytes, launch->shared, launch->shared_end - launch->shared))
        return visit(words[0], -1, p - launch->shared, bytes, write, atomic, at);
    if (within(p, bytes, dynamic.data(), dynamic.size()))
        return visit(words[1], -2, p - dynamic.data(), bytes, write, atomic, at);
    for (int i = 0; i < launch->arrays; ++i) {
        const Array& a = launch->array[i];
        if (within(p, bytes, a.low, a.high - a.low))
            return visit(of_arrays[i], i, p - a.low, bytes, write, atomic, at);
    }
    Dl_info image;  // constants of the module
    if (!write && dladdr(p, &image)) return;
    outside(p, bytes, write, at);
}

void misaligned(const void* address, size_t bytes, int write) {
    set_problem(MISALIGNED, *running, __builtin_return_address(0));
    report->bytes = int(bytes), report->write = write;
    report->offset = int64_t(reinterpret_cast<uintptr_t>(address) % bytes);
    to_scheduler();
}

}  // namespace emulated

#define AT __builtin_return_address(0)
#define ACCESS(n)                                                                       \
    extern "C" void __tsan_read##n(void* p) { emulated::touch(p, n, false, false, AT); } \
    extern "C" void __tsan_write##n(void* p) { emulated::touch(p, n, true, false, AT); } \
    extern "C" void __tsan_unaligned_read##n(void* p) { __tsan_read##n(p); }              \
    extern "C" void __tsan_unaligned_write##n(void* p) { __tsan_write##n(p); }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
extern "C" void __tsan_read_range(void* p, size_t n) {
    emulated::touch(p, int(n), false, false, AT);
}
extern "C" void __tsan_write_range(void* p, size_t n) {
    emulated::touch(p, int(n), true, false, AT);
}
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}

template <class T, class F>
static T exchanged_for(T* at, F make, const void* line) {
    emulated::touch(at, sizeof(T), true, true, line);
    T before = *at;
    *at = make(before);
    return before;
}
#define ATOMIC(T, name, ...)                                                        \
    T name(T* at, T v) {                                                            \
        return exchanged_for(at, [&](T x) { (void)x; return __VA_ARGS__; }, AT);    \
    }
ATOMIC(int, atomicAdd, x + v)
ATOMIC(unsigned, atomicAdd, x + v)
ATOMIC(unsigned long long, atomicAdd, x + v)
ATOMIC(float, atomicAdd, x + v)
ATOMIC(double, atomicAdd, x + v)
ATOMIC(int, atomicMax, x < v ? v : x)
ATOMIC(unsigned, atomicMax, x < v ? v : x)
ATOMIC(int, atomicMin, v < x ? v : x)
ATOMIC(unsigned, atomicMin, v < x ? v : x)
ATOMIC(int, atomicExch, v)
ATOMIC(unsigned, atomicExch, v)
int atomicCAS(int* at, int expected, int v) {
    return exchanged_for(at, [&](int x) { return x == expected ? v : x; }, AT);
}
unsigned atomicCAS(unsigned* at, unsigned expected, unsigned v) {
    return exchanged_for(at, [&](unsigned x) { return x == expected ? v : x; }, AT);
}
