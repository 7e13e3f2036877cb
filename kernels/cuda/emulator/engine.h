// What engine.cpp (running) and checks.cpp (looking) share.
#pragma once
#include "emulator.h"

#include <setjmp.h>
#include <ucontext.h>

#include <vector>

namespace emulated {

enum Wait { READY, BLOCK, WARP, GRID, DONE };
enum Problem { NONE, OUTSIDE, RACE, DIVERGED, EXITED, MISALIGNED };

struct Thread {
    jmp_buf here;
    ucontext_t start;
    bool started = false;
    Wait wait = DONE;
    uint3 index;
    unsigned number;       // in its block
    unsigned mask;         // of the lanes that it waits for
    unsigned warp_turn;    // how often its warp waited, for the checks
    const void* at;        // the instruction that waits
};

struct Place {  // one block that is under way
    uint3 block;
    unsigned turn;                       // how many barriers its threads passed
    std::vector<char> shared, dynamic;   // its memory while another block runs
};

struct Array {  // what an argument points into
    char *low, *high;
};

struct Launch {  // as in __init__.py
    void (*kernel)(void**);
    void** arguments;
    unsigned grid[3], block[3];
    uint64_t dynamic_bytes, order;
    int cooperative, checked, arrays;
    const Array* array;
    char *shared, *shared_end;
};

struct Report {  // as in report.py
    int problem, write, bytes, array;
    int64_t offset;
    unsigned thread[3], block[3], other_thread[3], other_block[3];
    int other_wait, other_write;
    const void *at, *other_at;
};

extern const Launch* launch;
extern Report* report;
extern Thread* running;
extern Place* place;  // of the block that runs
extern std::vector<char> dynamic;
extern char* stacks;
extern size_t stacks_bytes;
extern unsigned grid_turn, per_block;
extern char exchange[32][32][64];  // warp, lane, bytes

void to_scheduler();
void copy3(unsigned* out, uint3 v);
uint3 block_at(unsigned i);
void set_problem(Problem problem, const Thread& t, const void* at);
void forget_all();    // before a launch
void forget_block();  // before a block

}  // namespace emulated
