// What the windows of a convolution see: where the number of a place and a tap lies in an image.
//
//     Digits         a place (image, row, column) or a tap (row, column, channel), and its number
//     Walk           one direction, down or across: the input that an output meets at a tap
//     Windows        the numbers of images, for each place and tap
//     Weights        the numbers of a kernel, for each tap and channel of the result
//     WindowStage, WeightStage, PlaceStage     on their way to shared memory, four at a time
//
// A thread divides a number into digits once, then counts on from there.
#pragma once
#include "stage.cuh"

struct Sizes {
    int N, H, W, C, OH, OW, O, KH, KW, SH, SW, DH, DW, PT, PL, groups;
    int w_a, w_b, w_c, w_o;  // strides of w, whichever way around it is kept
    int phases, depth;       // depth: how much of k a block sums
};
#define SIZES                                                                                     \
    int N, int H, int W, int C, int OH, int OW, int O, int KH, int KW, int SH, int SW, int DH,    \
        int DW, int PT, int PL, int groups, int w_a, int w_b, int w_c, int w_o, int phases,       \
        int depth
#define GIVEN                                                                                     \
    Sizes {                                                                                       \
        N, H, W, C, OH, OW, O, KH, KW, SH, SW, DH, DW, PT, PL, groups, w_a, w_b, w_c, w_o,        \
            phases, depth                                                                         \
    }

// A number as three digits; the last two count up to `seconds` and `thirds`.
struct Digits {
    int first, second, third;

    __device__ static Digits of(int i, int seconds, int thirds) {
        int lines = i / thirds;
        return {lines / seconds, lines % seconds, i % thirds};
    }
    __device__ void step(int by, int seconds, int thirds) {
        for (third += by; third >= thirds; third -= thirds)
            if (++second == seconds) second = 0, ++first;
    }
};

// One direction, down or across: which inputs the outputs of a phase meet. Its outputs are first,
// first + step... Number u of them meets at its tap t the input begin + u along + t by; and tap t
// is number tap + t jump of the kernel.
struct Walk {
    int inputs, outputs, taps, first, step, begin, along, by, tap, jump;
};

__device__ inline Walk forth(int inputs, int outputs, int kernel, int stride, int dilation,
                             int before) {
    return {inputs, outputs, kernel, 0, 1, -before, stride, dilation, 0, 1};
}

// The gradient's: inputs are places, outputs pixels, those of the phase a stride apart.
__device__ inline Walk back(int inputs, int outputs, int kernel, int stride, int dilation,
                            int before, int phase) {
    int tap = 0, jump = 1;
    while (jump * dilation % stride) ++jump;
    while (tap < jump && (phase + before - tap * dilation) % stride) ++tap;
    return {inputs, (outputs - phase + stride - 1) / stride,
            tap < jump ? (kernel - tap + jump - 1) / jump : 0, phase, stride,
            (phase + before - tap * dilation) / stride, 1, -(jump * dilation / stride), tap, jump};
}

// Images as windows see them: a number for each place and tap.
template <class T>
struct Windows {
    const T* from;  // the group's first channel
    Walk down, across;
    int images, channels, all_channels;

    __device__ int places() const { return images * down.outputs * across.outputs; }
    __device__ int taps() const { return down.taps * across.taps * channels; }
    __device__ Digits place(int i) const { return Digits::of(i, down.outputs, across.outputs); }
    __device__ Digits tap(int i) const { return Digits::of(i, max(across.taps, 1), channels); }
    __device__ void next_place(Digits& p, int by) const {
        p.step(by, down.outputs, across.outputs);
    }
    __device__ void next_tap(Digits& t, int by) const { t.step(by, across.taps, channels); }

    // Where the number lies; -1 outside of images and taps.
    __device__ int offset(Digits p, Digits t) const {
        int i = down.begin + p.second * down.along + t.first * down.by;
        int j = across.begin + p.third * across.along + t.second * across.by;
        bool inside = p.first < images && t.first < down.taps && t.second < across.taps &&
                      i >= 0 && i < down.inputs && j >= 0 && j < across.inputs;
        int pixel = (p.first * down.inputs + i) * across.inputs + j;
        return inside ? pixel * all_channels + t.third : -1;
    }
    __device__ T at(Digits p, Digits t) const {
        int i = offset(p, t);
        return i < 0 ? T(0) : from[i];
    }
};

// The kernel: a number for each tap that a phase meets, and for each channel n of the result.
template <class T>
struct Weights {
    const T* from;
    int rows, columns, lanes;  // taps down and across, channels of the result
    int by_row, by_column, by_channel, by_lane;

    __device__ int offset(Digits t, int n) const {
        return t.first * by_row + t.second * by_column + t.third * by_channel + n * by_lane;
    }
    __device__ bool has(Digits t, int n) const {
        return t.first < rows && t.second < columns && n < lanes;
    }
    __device__ T at(Digits t, int n) const { return has(t, n) ? from[offset(t, n)] : T(0); }
};

// ---- on their way to shared memory --------------------------------------------------------------

// Of windows: four neighbours are channels of a tap, if the number of channels is a multiple of 4.
template <int ROWS, int BK, bool TAPS_ARE_K, int THREADS>
struct WindowStage : Stage<ROWS, BK, TAPS_ARE_K, THREADS> {
    using Base = Stage<ROWS, BK, TAPS_ARE_K, THREADS>;
    using Base::COUNT;
    const Windows<float>& windows;
    bool fours;
    Digits place[COUNT], tap;

    __device__ WindowStage(const Windows<float>& w, int r0, int k0) : windows(w) {
        fours = size_t(w.from) % 16 == 0 && w.channels % 4 == 0;
        tap = w.tap((TAPS_ARE_K ? k0 : r0) + this->inner());
#pragma unroll
        for (int i = 0; i < COUNT; ++i)
            place[i] = w.place((TAPS_ARE_K ? r0 : k0) + this->outer(i));
    }

    __device__ void fetch() {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            this->held[i] = make_float4(0, 0, 0, 0);
            if (fours) {
                int at = windows.offset(place[i], tap);
                if (at >= 0) this->held[i] = load4(windows.from + at);
            } else {
                Digits t = tap;
                float v[4];
#pragma unroll
                for (int j = 0; j < 4; ++j, windows.next_tap(t, 1)) v[j] = windows.at(place[i], t);
                this->held[i] = make_float4(v[0], v[1], v[2], v[3]);
            }
            if (!TAPS_ARE_K) windows.next_place(place[i], BK);
        }
        if (TAPS_ARE_K) windows.next_tap(tap, BK);
    }
};

// Of w: four neighbours are channels along k or along n.
template <int ROWS, int BK, bool ALONG_K, int THREADS>
struct WeightStage : Stage<ROWS, BK, ALONG_K, THREADS> {
    using Base = Stage<ROWS, BK, ALONG_K, THREADS>;
    using Base::COUNT;
    const Windows<float>& windows;
    const Weights<float>& w;
    bool fours;
    int n0;
    Digits tap[ALONG_K ? 1 : COUNT];

    __device__ WeightStage(const Windows<float>& windows_, const Weights<float>& w_, int n0_,
                           int k0)
        : windows(windows_), w(w_), n0(n0_) {
        int inner = ALONG_K ? w.by_channel : w.by_lane, outer = ALONG_K ? w.by_lane : w.by_channel;
        fours = size_t(w.from) % 16 == 0 && inner == 1 && (outer | w.by_row | w.by_column) % 4 == 0;
        fours = fours && (ALONG_K ? windows.channels : w.lanes) % 4 == 0;
#pragma unroll
        for (int i = 0; i < (ALONG_K ? 1 : COUNT); ++i)
            tap[i] = windows.tap(k0 + (ALONG_K ? this->inner() : this->outer(i)));
    }

    __device__ void fetch() {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            int n = n0 + (ALONG_K ? this->outer(i) : this->inner());
            Digits t = tap[ALONG_K ? 0 : i];
            this->held[i] = make_float4(0, 0, 0, 0);
            if (fours) {
                if (w.has(t, n)) this->held[i] = load4(w.from + w.offset(t, n));
            } else {
                float v[4];
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    v[j] = w.at(t, ALONG_K ? n : n + j);
                    if (ALONG_K) windows.next_tap(t, 1);
                }
                this->held[i] = make_float4(v[0], v[1], v[2], v[3]);
            }
            if (!ALONG_K) windows.next_tap(tap[i], BK);
        }
        if (ALONG_K) windows.next_tap(tap[0], BK);
    }
};

// Of y: four neighbours are channels along n.
template <int ROWS, int BK, int THREADS>
struct PlaceStage : Stage<ROWS, BK, false, THREADS> {
    int channels, n0, n, k0, places;

    __device__ PlaceStage(const float* y, int channels_, int n0_, int n_, int k0_, int places_)
        : channels(channels_), n0(n0_), n(n_), k0(k0_), places(places_) {
        this->start(y, channels, n0, k0);
    }
    __device__ void fetch() {
        Stage<ROWS, BK, false, THREADS>::fetch(channels, n0, n, k0, places);
        k0 += BK;
    }
};
