// A stand-in for CUDA's runtime and driver: what the host does, without a GPU.
//
// Memory is the host's; a kernel that is launched does nothing. Streams know whether they are being
// captured, and refuse what CUDA refuses then. Everything is counted. Values mean nothing here; the
// calls are those that a GPU would get.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INVALID = 1, NO_MEMORY = 2, NO_DEVICE = 101, CAPTURING = 900, INVALIDATED = 901 };
enum { DEVICES = 2, ALIGNMENT = 512 };

// ---- counters ----------------------------------------------------------------------------------

#define COUNTERS(X) \
    X(allocations) X(bytes) X(most_bytes) X(uploads) X(downloads) X(copies) X(launches) \
    X(graph_launches) X(graphs) X(graph_nodes) X(stream_waits) X(device_waits) X(modules) \
    X(modules_in_capture) X(blocking_copies) X(refused_launches)
#define AS_ENUM(name) name,
#define AS_TEXT(name) #name " "
enum { COUNTERS(AS_ENUM) HOW_MANY };
long stand_in_counts[HOW_MANY];
const char* stand_in_names(void) { return COUNTERS(AS_TEXT); }
static void count(int what) { __atomic_fetch_add(&stand_in_counts[what], 1, __ATOMIC_RELAXED); }

// ---- errors and devices ------------------------------------------------------------------------

static __thread int last, device;
static int told(int error) { return last = error; }
int cudaGetLastError(void) { int e = last; last = 0; return e; }
int cudaPeekAtLastError(void) { return last; }
const char* cudaGetErrorName(int e) { return e == NO_MEMORY ? "cudaErrorMemoryAllocation" : "error"; }
const char* cudaGetErrorString(int e) {
    return e == CAPTURING ? "operation not permitted when stream is capturing"
         : e == INVALIDATED ? "operation failed due to a previous error during capture"
         : e == NO_MEMORY ? "out of memory" : "refused by the stand-in";
}
int cudaDriverGetVersion(int* v) { *v = 13000; return 0; }
int cudaRuntimeGetVersion(int* v) { *v = 13000; return 0; }
int cudaGetDeviceCount(int* n) { *n = DEVICES; return 0; }
int cudaGetDevice(int* d) { *d = device; return 0; }
int cudaSetDevice(int d) {
    if (d < 0 || d >= DEVICES) return told(NO_DEVICE);
    device = d;
    return 0;
}
// The numbers of cudaDeviceAttr, and what an H200 answers.
int cudaDeviceGetAttribute(int* v, int attribute, int d) {
    static const int known[][2] = {
        {1, 1024}, {2, 1024}, {3, 1024}, {4, 64}, {5, 2147483647}, {6, 65535}, {7, 65535},
        {8, 49152}, {10, 32}, {16, 132}, {39, 2048}, {75, 9}, {76, 0}, {95, 1}, {97, 232448},
        {115, 1}};
    *v = 0;
    for (unsigned i = 0; i < sizeof known / sizeof *known; ++i)
        if (known[i][0] == attribute) *v = known[i][1];
    return 0;
}
int cudaGetDeviceProperties(void* p, int d) {  // the name stands first; the rest is not asked for
    memset(p, 0, 512);
    strcpy(p, "stand-in");
    return 0;
}
int cudaDeviceCanAccessPeer(int* can, int a, int b) { *can = 0; return 0; }

// ---- memory ------------------------------------------------------------------------------------

static int captures;  // how many streams are being captured
static long limit;    // bytes; 0 for none
void stand_in_limit(long n) { limit = n; }
typedef struct { size_t size; char rest[ALIGNMENT - sizeof(size_t)]; } Head;

int cudaMemGetInfo(size_t* left, size_t* all) {
    *all = (size_t)141 << 30;
    *left = *all - stand_in_counts[bytes];
    return 0;
}
int cudaMalloc(void** p, size_t n) {
    Head* head;
    if (limit && stand_in_counts[bytes] + (long)n > limit) return told(NO_MEMORY);
    if (posix_memalign((void**)&head, ALIGNMENT, n + sizeof *head)) return told(NO_MEMORY);
    head->size = n;
    *p = memset(head + 1, 0, n);
    count(allocations);
    stand_in_counts[bytes] += n;
    if (stand_in_counts[bytes] > stand_in_counts[most_bytes])
        stand_in_counts[most_bytes] = stand_in_counts[bytes];
    return 0;
}
int cudaFree(void* p) {
    if (!p) return 0;
    stand_in_counts[bytes] -= ((Head*)p - 1)->size;
    free((Head*)p - 1);
    return 0;
}
int cudaHostAlloc(void** p, size_t n, unsigned flags) { return posix_memalign(p, ALIGNMENT, n); }
int cudaFreeHost(void* p) { free(p); return 0; }
int cudaPointerGetAttributes(void* a, const void* p) {
    struct { int type, device; const void *on_device, *on_host; } found = {2, device, p, 0};
    memcpy(a, &found, sizeof found);
    return 0;
}

// ---- streams, events and graphs ----------------------------------------------------------------

typedef struct { int capturing, spoilt; long nodes; } Stream;
static Stream* known(void* s) { return (uintptr_t)s < 16 ? NULL : s; }  // 0, 1, 2: CUDA's own
static int captured(void* s) {  // a node instead of the work itself
    Stream* stream = known(s);
    if (!stream || !stream->capturing) return 0;
    return ++stream->nodes, 1;
}
int stand_in_captures(void* s) { return known(s) && known(s)->capturing; }

static int made(void** s) { *s = calloc(1, sizeof(Stream)); return 0; }
int cudaStreamCreate(void** s) { return made(s); }
int cudaStreamCreateWithFlags(void** s, unsigned flags) { return made(s); }
int cudaStreamCreateWithPriority(void** s, unsigned flags, int p) { return made(s); }
int cudaStreamDestroy(void* s) { return 0; }
int cudaStreamGetFlags(void* s, unsigned* flags) { *flags = 1; return 0; }
int cudaStreamQuery(void* s) { return 0; }
int cudaStreamSynchronize(void* s) {
    if (stand_in_captures(s)) return known(s)->spoilt = 1, told(CAPTURING);
    count(stream_waits);
    return 0;
}
int cudaDeviceSynchronize(void) {
    if (captures) return told(CAPTURING);
    count(device_waits);
    return 0;
}
int cudaStreamWaitEvent(void* s, void* e, unsigned flags) { return 0; }
int cudaEventCreate(void** e) { *e = malloc(8); return 0; }
int cudaEventCreateWithFlags(void** e, unsigned flags) { return cudaEventCreate(e); }
int cudaEventDestroy(void* e) { free(e); return 0; }
int cudaEventRecord(void* e, void* s) { return 0; }
int cudaEventQuery(void* e) { return 0; }
int cudaEventSynchronize(void* e) { count(device_waits); return 0; }
int cudaEventElapsedTime(float* ms, void* a, void* b) { *ms = 1; return 0; }

int cudaMemcpy(void* to, const void* from, size_t n, int kind) {
    count(blocking_copies);
    memmove(to, from, n);
    return 0;
}
int cudaMemcpyAsync(void* to, const void* from, size_t n, int kind, void* s) {
    if (captured(s)) return 0;
    count(kind == 1 ? uploads : kind == 2 ? downloads : copies);
    memmove(to, from, n);
    return 0;
}
int cudaMemset(void* p, int v, size_t n) { memset(p, v, n); return 0; }
int cudaMemsetAsync(void* p, int v, size_t n, void* s) {
    return captured(s) ? 0 : cudaMemset(p, v, n);
}

int cudaStreamBeginCapture(void* s, int mode) {
    Stream* stream = known(s);
    if (!stream || stream->capturing) return told(CAPTURING);
    *stream = (Stream){1, 0, 0};
    __atomic_fetch_add(&captures, 1, __ATOMIC_RELAXED);
    return 0;
}
int cudaStreamEndCapture(void* s, void** graph) {
    Stream* stream = known(s);
    if (!stream || !stream->capturing) return told(INVALID);
    stream->capturing = 0;
    __atomic_fetch_sub(&captures, 1, __ATOMIC_RELAXED);
    *graph = NULL;
    if (stream->spoilt) return told(INVALIDATED);
    long* nodes = *graph = malloc(sizeof *nodes);
    *nodes = stand_in_counts[graph_nodes] = stream->nodes;
    return 0;
}
int cudaStreamIsCapturing(void* s, int* state) {
    *state = !stand_in_captures(s) ? 0 : known(s)->spoilt ? 2 : 1;
    return 0;
}
int cudaGraphInstantiate(void** run, void* graph, unsigned long long flags) {
    *run = malloc(8);
    count(graphs);
    return 0;
}
int cudaGraphLaunch(void* run, void* s) { count(graph_launches); return 0; }
int cudaGraphUpload(void* run, void* s) { return 0; }
int cudaGraphDestroy(void* graph) { free(graph); return 0; }
int cudaGraphExecDestroy(void* run) { free(run); return 0; }

// ---- the driver: modules and launches ----------------------------------------------------------

int cuInit(unsigned flags) { return 0; }
int cuGetErrorName(int e, const char** text) { *text = "CUDA_ERROR"; return 0; }
int cuGetErrorString(int e, const char** text) { *text = "refused by the stand-in"; return 0; }
int cuCtxGetCurrent(void** context) { *context = (void*)4096; return 0; }
int cuCtxSetCurrent(void* context) { return 0; }
int cuCtxGetDevice(int* d) { *d = device; return 0; }
int cuModuleLoadData(void** module, const void* image) {
    *module = malloc(8);
    count(modules);
    if (captures) count(modules_in_capture);
    return 0;
}
int cuModuleUnload(void* module) { return 0; }
int cuModuleGetFunction(void** f, void* module, const char* name) { *f = strdup(name); return 0; }
int cuFuncGetAttribute(int* v, int attribute, void* f) {
    *v = attribute == 0 ? 1024 : attribute == 8 ? 49152 : 0;  // threads; dynamic shared memory
    return 0;
}
int cuFuncSetAttribute(void* f, int attribute, int v) { return 0; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* n, void* f, int block, size_t shared) {
    *n = 2;
    return 0;
}
int cuLaunchKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void* s, void** arguments, void** extra) {
    unsigned long long threads = (unsigned long long)bx * by * bz;
    if (!gx || !gy || !gz || !threads || gx > 2147483647u || gy > 65535 || gz > 65535
        || threads > 1024 || bz > 64 || shared > 49152) {
        fprintf(stderr, "stand-in: %s refused, grid %u %u %u, block %u %u %u, %u bytes\n",
                (char*)f, gx, gy, gz, bx, by, bz, shared);
        count(refused_launches);
        return INVALID;
    }
    if (!captured(s)) count(launches);
    return 0;
}
int cuLaunchCooperativeKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                              unsigned by, unsigned bz, unsigned shared, void* s, void** a) {
    return cuLaunchKernel(f, gx, gy, gz, bx, by, bz, shared, s, a, NULL);
}
