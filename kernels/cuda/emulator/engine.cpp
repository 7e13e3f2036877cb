// The emulator's engine: fibers, barriers, and the checks of memory. One library for all modules.
//
// A launch runs block after block; a cooperative one (whose blocks may wait for each other) has all
// of them under way at once. Within a block each thread that can run does so, in order or in an
// order drawn from a number, until it returns or waits; when none can, the barriers that all have
// reached are opened. If there is none, that is an error of the kernel, and the launch ends.
#include "engine.h"

#include <stdlib.h>
#include <sys/mman.h>

namespace emulated {

Current current;
const Launch* launch;
Report* report;
Thread* running;
Place* place;
static jmp_buf scheduler;
static std::vector<Thread> threads;
static std::vector<Place> places;
std::vector<char> dynamic;
char* stacks;
size_t stacks_bytes;
unsigned grid_turn, per_block;
char exchange[32][32][64];
constexpr size_t STACK = 128 * 1024, DYNAMIC_LIMIT = 227 * 1024;

// ---- switching --------------------------------------------------------------------------------

void to_scheduler() {
    if (!_setjmp(running->here)) _longjmp(scheduler, 1);
}

static void live() {  // a fiber's life: one thread after another
    for (;;) {
        launch->kernel(launch->arguments);
        running->wait = DONE;
        to_scheduler();
    }
}

static void resume(Thread& t) {
    running = &t;
    current.thread = t.index;
    if (_setjmp(scheduler)) return;
    if (t.started) _longjmp(t.here, 1);
    t.started = true;
    setcontext(&t.start);
}

static void make_threads(size_t count) {
    if (count > threads.size()) {
        if (stacks) munmap(stacks, stacks_bytes);
        stacks_bytes = count * STACK;
        void* got = mmap(nullptr, stacks_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (got == MAP_FAILED) abort();
        stacks = static_cast<char*>(got);
        threads = std::vector<Thread>(count);
    }
    for (size_t i = 0; i < threads.size(); ++i) {
        Thread& t = threads[i];
        if (t.started) continue;
        getcontext(&t.start);
        t.start.uc_stack.ss_sp = stacks + i * STACK;
        t.start.uc_stack.ss_size = STACK;
        t.start.uc_link = nullptr;
        makecontext(&t.start, live, 0);
    }
}

void copy3(unsigned* out, uint3 v) {
    out[0] = v.x, out[1] = v.y, out[2] = v.z;
}

void set_problem(Problem problem, const Thread& t, const void* at) {
    report->problem = problem;
    report->at = at;
    copy3(report->thread, t.index);
    copy3(report->block, place->block);
}

// ---- waiting ----------------------------------------------------------------------------------

static void stop(Wait wait, const void* at) {
    running->wait = wait;
    running->at = at;
    to_scheduler();
    current.thread = running->index;
}

void wait_block() { stop(BLOCK, __builtin_return_address(0)); }
void wait_grid() { stop(GRID, __builtin_return_address(0)); }
void wait_warp(unsigned mask) {
    running->mask = mask;
    stop(WARP, __builtin_return_address(0));
}
unsigned lane() { return running->number % 32; }
char* laid_down(unsigned of_lane) { return exchange[running->number / 32][of_lane % 32]; }
void* dynamic_shared() { return dynamic.data(); }

static bool open_warps(Thread* block) {
    bool opened = false;
    for (unsigned i = 0; i < per_block; ++i) {
        Thread& t = block[i];
        if (t.wait != WARP) continue;
        unsigned first = i / 32 * 32;
        bool all = t.mask >> (i - first) & 1;
        for (unsigned l = 0; l < 32 && first + l < per_block; ++l) {
            const Thread& other = block[first + l];
            if (t.mask >> l & 1) all = all && other.wait == WARP && other.mask == t.mask;
        }
        if (!all) continue;
        for (unsigned l = 0; l < 32 && first + l < per_block; ++l) {
            if (t.mask >> l & 1) {
                block[first + l].wait = READY;
                block[first + l].warp_turn++;
            }
        }
        opened = true;
    }
    return opened;
}

static void stuck(Thread* block) {  // some wait for threads that never come
    const Thread *waits = nullptr, *other = nullptr;
    for (unsigned i = 0; i < per_block; ++i) {
        const Thread& t = block[i];
        if (!waits && t.wait != DONE && t.wait != GRID) waits = &t;
    }
    if (!waits) waits = block;
    for (unsigned i = 0; i < per_block; ++i) {
        const Thread& t = block[i];
        bool needed = waits->wait != WARP || (i / 32 == waits->number / 32 &&
                                              (waits->mask >> (i % 32) & 1));
        if (!other && needed && (t.wait != waits->wait || t.mask != waits->mask) && &t != waits)
            other = &t;
    }
    if (!other) other = waits;
    set_problem(other->wait == DONE ? EXITED : DIVERGED, *waits, waits->at);
    report->write = waits->wait;
    report->other_wait = other->wait;
    report->other_at = other->at;
    copy3(report->other_thread, other->index);
}

// ---- running ----------------------------------------------------------------------------------

static uint64_t drawn;  // xorshift64
static unsigned draw(unsigned below) {
    drawn ^= drawn << 13, drawn ^= drawn >> 7, drawn ^= drawn << 17;
    return unsigned(drawn >> 33) % below;
}

static void shuffle(std::vector<unsigned>& order) {
    for (size_t i = 0; i < order.size(); ++i) order[i] = unsigned(i);
    if (!launch->order) return;
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[draw(unsigned(i))]);
}

static void run_block(Thread* block) {  // until all returned or wait for the other blocks
    static std::vector<unsigned> order;
    order.resize(per_block);
    for (;;) {
        shuffle(order);
        for (unsigned i : order) {
            if (block[i].wait != READY) continue;
            resume(block[i]);
            if (report->problem) return;
        }
        if (open_warps(block)) continue;
        unsigned at[5] = {0, 0, 0, 0, 0};
        for (unsigned i = 0; i < per_block; ++i) at[block[i].wait]++;
        if (at[DONE] == per_block || at[GRID] == per_block) return;
        if (at[BLOCK] != per_block) return stuck(block);
        for (unsigned i = 0; i < per_block; ++i) block[i].wait = READY;
        place->turn++;
    }
}

static void enter(size_t i, bool fresh) {
    place = &places[i];
    current.block = place->block;
    if (fresh) {
        memset(launch->shared, 0xFF, launch->shared_end - launch->shared);
        memset(dynamic.data(), 0xFF, dynamic.size());
        if (launch->checked) forget_block();
    } else if (places.size() > 1) {
        memcpy(launch->shared, place->shared.data(), place->shared.size());
        memcpy(dynamic.data(), place->dynamic.data(), place->dynamic.size());
    }
}

static void leave() {
    if (places.size() < 2) return;
    place->shared.assign(launch->shared, launch->shared_end);
    place->dynamic.assign(dynamic.begin(), dynamic.end());
}

static void run_places() {  // the blocks that are under way, to their end
    for (bool fresh = true;; fresh = false) {
        for (size_t b = 0; b < places.size(); ++b) {
            enter(b, fresh);
            run_block(&threads[b * per_block]);
            if (report->problem) return;
            leave();
        }
        size_t done = 0, count = places.size() * per_block;
        for (size_t i = 0; i < count; ++i) done += threads[i].wait == DONE;
        if (done == count) return;
        if (done) {
            for (size_t b = 0; b < places.size(); ++b) {
                place = &places[b];
                if (threads[b * per_block].wait == GRID) break;
            }
            Thread* waits = &threads[size_t(place - places.data()) * per_block];
            set_problem(EXITED, *waits, waits->at);
            report->write = GRID, report->other_wait = DONE;
            return;
        }
        for (size_t i = 0; i < count; ++i) threads[i].wait = READY;
        for (Place& p : places) p.turn++;
        grid_turn++;
    }
}

static void set_threads() {
    const unsigned* n = launch->block;
    for (size_t b = 0; b < places.size(); ++b) {
        for (unsigned i = 0; i < per_block; ++i) {
            Thread& t = threads[b * per_block + i];
            t.wait = READY;
            t.number = i;
            t.mask = t.warp_turn = 0;
            t.index = {i % n[0], i / n[0] % n[1], i / n[0] / n[1]};
        }
        places[b].turn = 0;
    }
}

uint3 block_at(unsigned i) {
    const unsigned* n = launch->grid;
    return {i % n[0], i / n[0] % n[1], i / n[0] / n[1]};
}

extern "C" int emulated_launch(const Launch* what, Report* tell) {
    launch = what, report = tell;
    *report = Report();
    const unsigned *g = what->grid, *b = what->block;
    unsigned blocks = g[0] * g[1] * g[2], together = what->cooperative ? blocks : 1;
    per_block = b[0] * b[1] * b[2];
    current.block_size = {b[0], b[1], b[2]};
    current.grid_size = {g[0], g[1], g[2]};
    make_threads(size_t(together) * per_block);
    dynamic.resize(what->dynamic_bytes);
    places.assign(together, Place());
    grid_turn = 0, drawn = what->order;
    if (what->checked) forget_all();
    std::vector<unsigned> order(blocks);
    shuffle(order);
    for (unsigned i = 0; i < blocks && !report->problem; i += together) {
        for (unsigned k = 0; k < together; ++k) places[k].block = block_at(order[i + k]);
        set_threads();
        run_places();
    }
    if (report->problem)  // fibers stopped half-way begin anew
        for (Thread& t : threads) t.started = false;
    launch = nullptr;
    return report->problem;
}

extern "C" void emulated_sizes(uint64_t* out) { out[0] = sizeof(Launch), out[1] = sizeof(Report); }

}  // namespace emulated

