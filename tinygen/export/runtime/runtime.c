/* toy.c: a trained image generator in one C99 file; it needs the C library and -lm alone.

       cc -O3 -march=native -DTOY_MAIN toy.c -o toy -lm
       ./toy --n 16 --seed 1 --out grid.png            ./toy --self-test

   As a part of a program, compile this file with the rest, and take its declarations from toy.h
   beside it. (Without that file: define TOY_HEADER, then include "toy.c".)

   Nothing is allocated and nothing is kept between calls: threads may draw at the same time, each
   with a workspace of its own.

       static float workspace[TOY_WORKSPACE];
       unsigned char pixels[TOY_PIXELS];
       toy_generate(1, 0, -1, pixels, workspace);      // image 0 of seed 1

   The same seed, number and label give the same picture here as in all other forms of this model.
   Do not compile with -ffast-math. A convolution takes 24 KB of the stack. Made by tinygen:

@summary@

   SPDX-License-Identifier: MIT
   Copyright (c) 2026 The tinygen authors. That is the code: toy_about tells the terms of the
   weights. */

#ifndef TOY_DECLARED
#define TOY_DECLARED

#include <stdint.h>

/* An image is TOY_PIXELS grey levels 0 to 255, row after row, the channels of a pixel together.
   A code is TOY_LATENT numbers. A label is 0 to TOY_CLASSES - 1; -1 is none. */
/* @sizes@ */

/* In C, a compiler that sees an array that is shorter, or a null pointer, gives a warning. */
#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 199901L && !defined(_MSC_VER)
#define TOY_LEAST(n) static n
#else
#define TOY_LEAST(n) n
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What the functions below return: TOY_OK, or what is wrong. */
#define TOY_OK 0
#define TOY_BAD_LABEL 1     /* not in the range above; without labels it must be -1 */
#define TOY_BAD_INDEX 2     /* no seed has so many images */
#define TOY_BAD_CODE 3      /* a number of the code is infinite or not a number */
#if HAS_SETTINGS
#define TOY_BAD_SETTING 8   /* of a drawing: see TOY_SETTINGS */
#endif
#define TOY_TEST_WEIGHTS 4  /* of the self-test */
#define TOY_TEST_CODE 5
#define TOY_TEST_IMAGE 6
#define TOY_TEST_MEAN 7

/* The same in words. */
const char *toy_message(int result);

#if HAS_DRAW
/* Draws image `index` of a seed. Without a label, images come in rows of ten with the labels 0, 1,
   2 and so on. workspace: TOY_WORKSPACE floats, here and below. */
int toy_generate(uint64_t seed, uint64_t index, int label /* @takes@ */,
        unsigned char pixels[TOY_LEAST(TOY_PIXELS)],
        float workspace[TOY_LEAST(TOY_WORKSPACE)]);

/* Draws the image of a code. */
int toy_decode(const float code[TOY_LEAST(TOY_LATENT)], int label /* @takes@ */,
        unsigned char pixels[TOY_LEAST(TOY_PIXELS)],
        float workspace[TOY_LEAST(TOY_WORKSPACE)]);

#endif
/* The code of image `index` of a seed. */
int toy_code(uint64_t seed, uint64_t index, float code[TOY_LEAST(TOY_LATENT)]);

#if HAS_LABELS
/* The label of the class with this name (UTF-8), or TOY_CLASSES, which is no label, if there is
   none. */
int toy_label(const char *name);

/* The names of the classes, TOY_CLASSES of them. */
extern const char *const toy_classes[];

#endif
#if HAS_ENCODE
/* The mean and the log-variance of an image's code, TOY_LATENT numbers each. */
int toy_encode(const unsigned char pixels[TOY_LEAST(TOY_PIXELS)], int label,
        float mean[TOY_LEAST(TOY_LATENT)], float logvar[TOY_LEAST(TOY_LATENT)],
        float workspace[TOY_LEAST(TOY_WORKSPACE)]);

#endif
/* Checks that this program gives what the model gave when it was exported. */
int toy_self_test(float workspace[TOY_LEAST(TOY_WORKSPACE)]);

/* What the model is, as JSON: pieces to be printed one after the other, then a null pointer. */
extern const char *const toy_about[];

#ifdef __cplusplus
}
#endif
#endif

#ifndef TOY_HEADER

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__cplusplus) || defined(_MSC_VER)
#define RESTRICT __restrict
#else
#define RESTRICT restrict
#endif

/* @constants@ */

/* ---- random numbers ---------------------------------------------------------------------------

   Philox 4x32-10 (Salmon et al., 2011) makes four words of a counter and a key. Word i of a stream
   is word i mod 4 of counter i div 4, so that every image can be drawn without those before it. */

static void philox(const uint32_t counter[4], uint64_t key, uint32_t out[4]) {
    uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3];
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    int round;
    for (round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)x0 * 0xD2511F53u, b = (uint64_t)x2 * 0xCD9E8D57u;
        x0 = (uint32_t)(b >> 32) ^ x1 ^ k0;
        x1 = (uint32_t)b;
        x2 = (uint32_t)(a >> 32) ^ x3 ^ k1;
        x3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

#if HAS_NORMAL
/* p x + c with both operations rounded: a compiler may fuse them, and the codes of a seed would no
   longer be the same everywhere. */
static double step(double p, double x, double c) {
    const volatile double product = p * x;
    return product + c;
}

/* The normal quantile at (w + 1/2) / 2^32. The tail beyond it on both sides is 2^-u, and it is
   u sqrt(P(u) / Q(u)); log2 of the fraction m is an odd polynomial of (m - 1) / (m + 1). */
static double noise(uint32_t w) {
    const double h = w < 0x80000000u ? -0.5 - (double)w : (double)~w + 0.5;
    double r, z, l, u, p, q;
    int e;
    r = frexp(fabs(h), &e);
    r = (r - 1) / (r + 1);
    z = r * r;
    l = step(0.3611495316534145, z, 0.30590518673588324);
    l = step(l, z, 0.4132137396269725);
    l = step(l, z, 0.5770443396136213);
    l = step(l, z, 0.9617971700865757);
    l = step(l, z, 2.885390079858712);
    u = step(-r, l, 31.0 - e);
    p = step(1.3833917855877442, u, 156.64337416248748);
    p = step(p, u, 3763.276714618121);
    p = step(p, u, 27508.63775501264);
    p = step(p, u, 67892.86931321931);
    p = step(p, u, 49651.33027078408);
    q = u + 117.74493470721416;
    q = step(q, u, 3111.28304757976);
    q = step(q, u, 27450.89148835632);
    q = step(q, u, 95427.78760206971);
    q = step(q, u, 135562.6931563642);
    q = step(q, u, 65790.04814907639);
    return copysign(u * sqrt(p / q), h);
}
#else
/* Between -1 and 1: 24 bits of the word. */
static double noise(uint32_t w) {
    return (double)(w >> 8) / 8388608.0 - 1.0;
}
#endif

int toy_code(uint64_t seed, uint64_t index, float code[TOY_LEAST(TOY_LATENT)]) {
    const uint32_t stream[4] = {STREAM_LOW, STREAM_HIGH, 0, 0};
    const uint64_t first = index * TOY_LATENT;
    uint32_t words[4];
    uint64_t key;
    int k;
    if (index >= UINT64_MAX / TOY_LATENT)
        return TOY_BAD_INDEX;
    philox(stream, seed ^ 0x74696E7967656E31u, words);
    key = words[0] | (uint64_t)words[1] << 32;
    for (k = 0; k < TOY_LATENT; k++) {
        const uint64_t place = first + (uint64_t)k, block = place / 4;
        if (k == 0 || place % 4 == 0) {
            const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), 0, 0};
            philox(counter, key, words);
        }
        code[k] = (float)noise(words[place % 4]);
    }
    return TOY_OK;
}

/* ---- weights ----------------------------------------------------------------------------------*/

#if HAS_FLOAT16
/* float16: 1 bit of sign, 5 of exponent, 10 of fraction. The exponent counts from -112 of float32's
   on; numbers without one (below 2^-14) get one and lose it again. */
typedef uint16_t Weight;

static inline float value(Weight w) {
    const uint32_t size = (uint32_t)(w & 0x7FFF) << 13, least = 113u << 23;
    const uint32_t normal = size + (112u << 23), tiny = size + least;
    float a, b, c;
    memcpy(&a, &normal, 4);
    memcpy(&b, &tiny, 4);
    memcpy(&c, &least, 4);
    a = size < 1u << 23 ? b - c : a;
    return w & 0x8000 ? -a : a;
}
#elif HAS_INT8
/* int8: steps of a size that each output has for itself. */
typedef signed char Weight;

static inline float value(Weight w) {
    return (float)w;
}
#else
typedef float Weight;

static inline float value(Weight w) {
    return w;
}
#endif

/* ---- products ---------------------------------------------------------------------------------

   y = a linear map of x. Images are (row, column, channel); a dense product sees one pixel. A dense
   weight is (input, output), that of a convolution (row, column, input, output). "before" says how
   many zeros are above and left of the image or, of a transposed convolution, how many rows and
   columns are cut there. */

typedef enum { DENSE, CONV, CONV_TRANSPOSE } Kind;

typedef struct {
    Kind kind;
    int height, width, channels; /* of x */
    int rows, columns, outputs;  /* of y */
    int kernel[2], stride[2], before[2], dilation[2];
    const Weight *weight;
#if HAS_INT8
    const float *scale; /* what a step of each output is */
#endif
} Layer;

#if HAS_DENSE
/* y[k] += x[0] w[0][k] + ... + x[7] w[7][k] for n numbers: y is read once for eight rows of
   weights, and compilers make vectors of it. */
#define ROWS 8

static void add_rows(float *RESTRICT y, int n, const float *x, const Weight *const *w) {
    const float x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
    const float x4 = x[4], x5 = x[5], x6 = x[6], x7 = x[7];
    const Weight *RESTRICT w0 = w[0], *RESTRICT w1 = w[1], *RESTRICT w2 = w[2], *RESTRICT w3 = w[3];
    const Weight *RESTRICT w4 = w[4], *RESTRICT w5 = w[5], *RESTRICT w6 = w[6], *RESTRICT w7 = w[7];
    int k;
    for (k = 0; k < n; k++)
        y[k] += x0 * value(w0[k]) + x1 * value(w1[k]) + x2 * value(w2[k]) + x3 * value(w3[k]) +
                x4 * value(w4[k]) + x5 * value(w5[k]) + x6 * value(w6[k]) + x7 * value(w7[k]);
}

/* y += x W. A zero adds nothing, and ReLU and labels leave many: their rows are not even read. */
static void dense(const Layer *layer, const float *x, float *y) {
    const int n = layer->outputs;
    const Weight *w[ROWS];
    float some[ROWS];
    int i, found = 0;
    for (i = 0; i < layer->channels; i++) {
        if (x[i] == 0)
            continue;
        some[found] = x[i];
        w[found] = layer->weight + (size_t)i * (size_t)n;
        if (++found == ROWS) {
            add_rows(y, n, some, w);
            found = 0;
        }
    }
    if (found == 0)
        return;
    for (; found < ROWS; found++) {
        some[found] = 0;
        w[found] = w[0];
    }
    add_rows(y, n, some, w);
}
#endif

#if HAS_CONVOLUTION
static float dot(const float *x, const Weight *w, int n) {
    float part[16] = {0}, sum = 0; /* sixteen sums side by side, which become vectors */
    int k, j;
    for (k = 0; k + 16 <= n; k += 16)
        for (j = 0; j < 16; j++)
            part[j] += x[k + j] * value(w[k + j]);
    for (; k < n; k++)
        sum += x[k] * value(w[k]);
    for (j = 0; j < 16; j++)
        sum += part[j];
    return sum;
}

/* A few numbers that one instruction takes; a single one where the compiler has no such type. */
#if defined(__GNUC__) && defined(__AVX__)
typedef float Vector __attribute__((vector_size(32)));
#elif defined(__GNUC__)
typedef float Vector __attribute__((vector_size(16)));
#else
typedef float Vector;
#endif
#define LANES ((int)(2 * sizeof(Vector) / sizeof(float)))

#define PIXELS 4   /* that share a weight */
#define PAIRS 256  /* of pixels at a time */
#define WIDE 64    /* outputs at a time */
#define PANEL 4096 /* weights at a time */

/* A pixel of x and one of y that a weight connects. */
typedef struct {
    const float *x;
    float *y;
} Pair;

/* A part of a weight as floats: some inputs and outputs, each input's in a row of `width`, which
   zeros fill up. */
typedef struct {
    int inputs, outputs, width;
    float w[PANEL];
} Panel;

static void take(Panel *panel, const Weight *weight, int n) {
    float *w = panel->w;
    int c, k;
    panel->width = (panel->outputs + LANES - 1) / LANES * LANES;
    for (c = 0; c < panel->inputs; c++, weight += n, w += panel->width) {
        for (k = 0; k < panel->outputs; k++)
            w[k] = value(weight[k]);
        for (; k < panel->width; k++)
            w[k] = 0;
    }
}

/* y += x W for four pairs, from input c of x on, for LANES or fewer outputs of the panel from k on
   and those of y from m + k on. The sums stay in registers: a weight is read once for all four. */
static void add_panel(const Pair *pairs, const Panel *panel, int c, int m, int k) {
    const float *x0 = pairs[0].x + c, *x1 = pairs[1].x + c;
    const float *x2 = pairs[2].x + c, *x3 = pairs[3].x + c, *w = panel->w + k;
    const int some = panel->outputs - k < LANES ? panel->outputs - k : LANES;
    Vector sums[PIXELS][2], a0, a1, b0, b1, c0, c1, d0, d1;
    int i, p;
    for (p = 0; p < PIXELS; p++)
        if (some == LANES)
            memcpy(sums[p], pairs[p].y + m + k, sizeof sums[p]);
        else {
            memset(sums[p], 0, sizeof sums[p]);
            memcpy(sums[p], pairs[p].y + m + k, (size_t)some * sizeof *w);
        }
    a0 = sums[0][0], a1 = sums[0][1], b0 = sums[1][0], b1 = sums[1][1];
    c0 = sums[2][0], c1 = sums[2][1], d0 = sums[3][0], d1 = sums[3][1];
    for (i = 0; i < panel->inputs; i++, w += panel->width) {
        Vector u, v;
        memcpy(&u, w, sizeof u);
        memcpy(&v, w + LANES / 2, sizeof v);
        a0 += x0[i] * u, a1 += x0[i] * v;
        b0 += x1[i] * u, b1 += x1[i] * v;
        c0 += x2[i] * u, c1 += x2[i] * v;
        d0 += x3[i] * u, d1 += x3[i] * v;
    }
    sums[0][0] = a0, sums[0][1] = a1, sums[1][0] = b0, sums[1][1] = b1;
    sums[2][0] = c0, sums[2][1] = c1, sums[3][0] = d0, sums[3][1] = d1;
    for (p = 0; p < PIXELS; p++)
        if (some == LANES)
            memcpy(pairs[p].y + m + k, sums[p], sizeof sums[p]);
        else
            memcpy(pairs[p].y + m + k, sums[p], (size_t)some * sizeof *w);
}

/* y += x W for the pairs that one tap of a weight connects. Where the last four are fewer, their
   first stands in for the others. A weight of one output is a row, and a sum over it is faster. */
static void connect(const Layer *layer, const Weight *weight, Pair *pairs, int found) {
    const int inputs = layer->channels, n = layer->outputs, wide = n < WIDE ? n : WIDE;
    Panel panel;
    int c, k, m, p, deep;
    if (n == 1) {
        for (p = 0; p < found; p++)
            pairs[p].y[0] += dot(pairs[p].x, weight, inputs);
        return;
    }
    for (; found % PIXELS; found++)
        pairs[found] = pairs[found / PIXELS * PIXELS];
    deep = PANEL / ((wide + LANES - 1) / LANES * LANES);
    for (c = 0; c < inputs; c += deep)
        for (m = 0; m < n; m += wide) {
            panel.inputs = inputs - c < deep ? inputs - c : deep;
            panel.outputs = n - m < wide ? n - m : wide;
            take(&panel, weight + (size_t)c * (size_t)n + (size_t)m, n);
            for (k = 0; k < panel.outputs; k += LANES)
                for (p = 0; p < found; p += PIXELS)
                    add_panel(pairs + p, &panel, c, m, k);
        }
}

/* Both convolutions connect pixel (i, j) of a coarse image by the weight at (a, b) with the pixel

       (i stride + a dilation - before, j stride + b dilation - before)

   of a fine one: a convolution sums from fine to coarse, a transposed one from coarse to fine. */
static void convolve(const Layer *layer, const float *x, float *y) {
    const int up = layer->kind == CONV_TRANSPOSE, inputs = layer->channels, n = layer->outputs;
    const int rows = up ? layer->height : layer->rows; /* of the coarse image */
    const int columns = up ? layer->width : layer->columns;
    const int fine_rows = up ? layer->rows : layer->height;
    const int fine_columns = up ? layer->columns : layer->width;
    const Weight *weight = layer->weight;
    Pair pairs[PAIRS];
    int a, b, i, j, found = 0;
    for (a = 0; a < layer->kernel[0]; a++)
        for (b = 0; b < layer->kernel[1]; b++) {
            for (i = 0; i < rows; i++) {
                const int p = i * layer->stride[0] + a * layer->dilation[0] - layer->before[0];
                if (p < 0 || p >= fine_rows)
                    continue;
                for (j = 0; j < columns; j++) {
                    const int q = j * layer->stride[1] + b * layer->dilation[1] - layer->before[1];
                    const int coarse = i * columns + j, fine = p * fine_columns + q;
                    if (q < 0 || q >= fine_columns)
                        continue;
                    pairs[found].x = x + (size_t)(up ? coarse : fine) * (size_t)inputs;
                    pairs[found].y = y + (size_t)(up ? fine : coarse) * (size_t)n;
                    if (++found == PAIRS) {
                        connect(layer, weight, pairs, found);
                        found = 0;
                    }
                }
            }
            connect(layer, weight, pairs, found);
            found = 0;
            weight += (size_t)inputs * (size_t)n;
        }
}
#endif

#if HAS_EXP
/* e^x to about a unit of the last place: 2^k (1 + r + r^2 P(r)), x = k log 2 + r. Without branches
   and calls, so that loops over it become vectors; so are the functions made of it. */
static inline float exponential(float x) {
    const float least = x > -87.0f ? x : -87.0f, t = least < 88.0f ? least : 88.0f;
    const int k = (int)(t * 1.44269504f + (t < 0 ? -0.5f : 0.5f));
    const float r = t - (float)k * 0.693359375f + (float)k * 2.12194440e-4f;
    const float p = (((0.001381319f * r + 0.00836941f) * r + 0.041668456f) * r + 0.16666515f) * r;
    const uint32_t bits = (uint32_t)(k + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return power * ((p + 0.49999994f) * (r * r) + r + 1.0f);
}
#endif

#if HAS_LINEAR
/* The product y for x, of one row or image. */
static void linear(const Layer *layer, const float *RESTRICT x, float *RESTRICT y) {
    const int pixels = layer->rows * layer->columns, n = layer->outputs;
#if HAS_INT8
    const float *scale = layer->scale;
    float *pixel = y;
    int i, k;
#endif
    memset(y, 0, (size_t)pixels * (size_t)n * sizeof *y);
#if HAS_DENSE
    if (layer->kind == DENSE)
        dense(layer, x, y);
#endif
#if HAS_CONVOLUTION
    if (layer->kind != DENSE)
        convolve(layer, x, y);
#endif
#if HAS_INT8
    for (i = 0; i < pixels; i++, pixel += n)
        for (k = 0; k < n; k++)
            pixel[k] *= scale[k];
#endif
}
#endif

/* ---- the model --------------------------------------------------------------------------------*/

/* What the model is made of stands after the program, at the end of this file: for each part the
   sum of its weights, and a function that computes it in a workspace m, at whose beginning the code
   or the image lies. It returns where the result is. */
#if HAS_DRAW
static const float *draw_graph(float label /* @takes@ */, float *m);
static uint32_t draw_sum(void);
#endif
#if HAS_ENCODE
static const float *encode_graph(float label, float *m);
static uint32_t encode_sum(void);
static const float *mean_expected(void);
#endif
static const float *code_expected(void);
static const unsigned char *image_expected(void);

#if HAS_LABELS
static int is_label(int label) {
    return label >= 0 && label < TOY_CLASSES;
}

int toy_label(const char *name) {
    int label = 0;
    while (label < TOY_CLASSES && strcmp(name, toy_classes[label]) != 0)
        label++;
    return label;
}
#else
/* This model has no labels. */
static int is_label(int label) {
    return label == -1;
}
#endif

#if HAS_SETTINGS
/* Whether all are numbers that the drawing takes. */
static int are_settings(int label /* @takes@ */) {
    (void)label;
    return 1 /* @ranges@ */;
}
#endif

#if HAS_DRAW
static int grey_level(float y) {
    const double level = ((double)y - LOW) * (255 / (HIGH - LOW));
    return level > 0 ? level < 255 ? (int)rint(level) : 255 : 0;
}

/* Draws the code at the start of the workspace. */
static void draw(int label /* @takes@ */, unsigned char *pixels, float *workspace) {
    const float *y = draw_graph((float)label /* @passed@ */, workspace);
    int k;
    for (k = 0; k < TOY_PIXELS; k++)
        pixels[k] = (unsigned char)grey_level(y[k]);
}

int toy_generate(uint64_t seed, uint64_t index, int label /* @takes@ */,
        unsigned char pixels[TOY_LEAST(TOY_PIXELS)],
        float workspace[TOY_LEAST(TOY_WORKSPACE)]) {
    const int result = toy_code(seed, index, workspace);
    if (result != TOY_OK)
        return result;
#if HAS_LABELS
    if (label == -1)
        label = (int)(index / 10 % TOY_CLASSES);
#endif
    if (!is_label(label))
        return TOY_BAD_LABEL;
#if HAS_SETTINGS
    if (!are_settings(0 /* @passed@ */))
        return TOY_BAD_SETTING;
#endif
    draw(label /* @passed@ */, pixels, workspace);
    return TOY_OK;
}

int toy_decode(const float code[TOY_LEAST(TOY_LATENT)], int label /* @takes@ */,
        unsigned char pixels[TOY_LEAST(TOY_PIXELS)],
        float workspace[TOY_LEAST(TOY_WORKSPACE)]) {
    int k;
    if (!is_label(label))
        return TOY_BAD_LABEL;
    for (k = 0; k < TOY_LATENT; k++)
        if (!(fabsf(code[k]) <= FLT_MAX))
            return TOY_BAD_CODE;
#if HAS_SETTINGS
    if (!are_settings(0 /* @passed@ */))
        return TOY_BAD_SETTING;
#endif
    memcpy(workspace, code, TOY_LATENT * sizeof *code);
    draw(label /* @passed@ */, pixels, workspace);
    return TOY_OK;
}
#endif

#if HAS_ENCODE
/* Puts an image at the start of the workspace. */
static void start_encode(const unsigned char *pixels, float *workspace) {
    int k;
    for (k = 0; k < TOY_PIXELS; k++)
        workspace[k] = (float)(pixels[k] / 255.0 * (HIGH - LOW) + LOW);
}

int toy_encode(const unsigned char pixels[TOY_LEAST(TOY_PIXELS)], int label,
        float mean[TOY_LEAST(TOY_LATENT)], float logvar[TOY_LEAST(TOY_LATENT)],
        float workspace[TOY_LEAST(TOY_WORKSPACE)]) {
    const float *y;
    if (!is_label(label))
        return TOY_BAD_LABEL;
    start_encode(pixels, workspace);
    y = encode_graph((float)label, workspace);
    memcpy(mean, y, TOY_LATENT * sizeof *y);
    memcpy(logvar, y + TOY_LATENT, TOY_LATENT * sizeof *y);
    return TOY_OK;
}
#endif

/* ---- the self-test ----------------------------------------------------------------------------*/

/* The sum of (2 i + 1) bits of number i, over all weights in turn: no change of one goes unseen. */
typedef struct {
    uint32_t sum, factor;
} Check;

static void check_floats(Check *check, const float *x, int n) {
    uint32_t bits;
    int k;
    for (k = 0; k < n; k++, check->factor += 2) {
        memcpy(&bits, x + k, 4);
        check->sum += check->factor * bits;
    }
}

#if HAS_ROUNDED
static void check_weights(Check *check, const Weight *x, int n) {
    int k;
    for (k = 0; k < n; k++, check->factor += 2) {
        const int32_t bits = x[k];
        check->sum += check->factor * (uint32_t)bits;
    }
}
#endif

/* Whether the weights are those of the model. */
static int is_whole(void) {
#if HAS_DRAW
    if (draw_sum() != DRAW_CHECK)
        return 0;
#endif
#if HAS_ENCODE
    if (encode_sum() != ENCODE_CHECK)
        return 0;
#endif
    return 1;
}

int toy_self_test(float workspace[TOY_LEAST(TOY_WORKSPACE)]) {
    const unsigned char *image = image_expected();
    const float *y;
    int k;
    if (!is_whole())
        return TOY_TEST_WEIGHTS;
    toy_code(TEST_SEED, 0, workspace);
    if (memcmp(workspace, code_expected(), TOY_LATENT * sizeof *workspace) != 0)
        return TOY_TEST_CODE;
#if HAS_DRAW
    y = draw_graph(TEST_LABEL /* @usual@ */, workspace);
    for (k = 0; k < TOY_PIXELS; k++)
        if (abs(grey_level(y[k]) - image[k]) > 1)
            return TOY_TEST_IMAGE;
#endif
#if HAS_ENCODE
    start_encode(image, workspace);
    y = encode_graph(TEST_LABEL, workspace);
    for (k = 0; k < TOY_LATENT; k++)
        if (!(fabsf(y[k] - mean_expected()[k]) <= 1e-3f))
            return TOY_TEST_MEAN;
#endif
    return TOY_OK;
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *toy_message(int result) {
    switch (result) {
    case TOY_OK:
        return "all is well";
    case TOY_BAD_LABEL:
#if HAS_LABELS
        return "no such label: it is less than " TEXT(TOY_CLASSES) ", from 0 on";
#else
        return "a label, and the model has none: it draws any class as it likes";
#endif
    case TOY_BAD_INDEX:
        return "no seed has so many images";
    case TOY_BAD_CODE:
        return "a number of the code is infinite or not a number";
#if HAS_SETTINGS
    case TOY_BAD_SETTING:
        return "a setting out of range: " TOY_SETTINGS;
#endif
    case TOY_TEST_WEIGHTS:
        return "the weights are not those of the model: the file is damaged or was changed";
    case TOY_TEST_CODE:
        return "seed 0 gives another code than it should: was it compiled with -ffast-math?";
    case TOY_TEST_IMAGE:
        return "the picture is more than one grey level from what it should be";
    case TOY_TEST_MEAN:
        return "the mean code of the picture is more than 0.001 from what it should be";
    default:
        return "unknown result";
    }
}

/* ---- the program ------------------------------------------------------------------------------*/

#ifdef TOY_MAIN

#include <errno.h>
#include <stdio.h>

static FILE *shown; /* where --trace writes what each operation gives */
#define SHOW(x, n) (shown ? (void)fwrite(x, sizeof(float), n, shown) : (void)0)

#define MOST_IMAGES 1000000
#define MOST_COLUMNS 100
#define PAD 2    /* pixels around the images of a picture */
#define PAPER 64 /* their grey level */

static const char usage[] =
    "usage: toy [options]\n"
#if HAS_DRAW
    "  --n N          how many images (16)\n"
    "  --seed SEED    image i of a seed is always the same (0)\n"
#if HAS_LABELS
    "  --label NAME   draw this class only, by name or number; without, rows of ten of each\n"
#endif
#if HAS_SETTINGS
    "  settings of the drawings, each as --NAME NUMBER: " TOY_SETTINGS "\n"
#endif
    "  --out FILE     write the images as one PNG picture (samples.png)\n"
    "  --columns N    how many are in a row of it\n"
    "  --raw FILE     write their grey levels, a byte each\n"
#endif
    "  --trace FILE   write what each layer gives for the first image, as float32\n"
    "  --self-test    check that this program gives what the model gave\n"
    "  --about        what the model is, as JSON\n"
    "FILE may be - for the standard output.\n";

static float workspace[TOY_WORKSPACE];
#if HAS_SETTINGS
static const char *const setting_names[] = {/* @names@ */ 0};
static double settings[] = {/* @values@ */ 0};

/* Which setting an option is, or -1. */
static int setting_of(const char *option) {
    int k;
    for (k = 0; setting_names[k]; k++)
        if (strncmp(option, "--", 2) == 0 && strcmp(option + 2, setting_names[k]) == 0)
            return k;
    return -1;
}
#endif

/* ---- files: written beside their place and moved there when they are whole */

typedef struct {
    FILE *file;
    const char *path;
    char temporary[4096];
} Output;

static int is(const char *a, const char *b) {
    return strcmp(a, b) == 0;
}

static int complain(const char *what, const char *how) {
    fprintf(stderr, "toy: %s%s\n", what, how);
    return 2;
}

static int cannot_write(const char *path) {
    fprintf(stderr, "toy: cannot write %s: %s\n", path, strerror(errno));
    return 1;
}

/* Returns 0, or 1 after a message; so does close_output. */
static int open_output(Output *output, const char *path) {
    output->path = path;
    output->file = stdout;
    if (is(path, "-"))
        return 0;
    if (strlen(path) + sizeof ".part" > sizeof output->temporary) {
        errno = ENAMETOOLONG;
        return cannot_write(path);
    }
    strcpy(output->temporary, path);
    strcat(output->temporary, ".part");
    output->file = fopen(output->temporary, "wb");
    return output->file ? 0 : cannot_write(path);
}

/* Puts the file in its place or, where it is not wanted after all, removes what there is of it. */
static int close_output(Output *output, int wanted) {
    int failed = fflush(output->file) != 0 || ferror(output->file);
    if (!is(output->path, "-")) {
        failed = fclose(output->file) != 0 || failed;
#ifdef _WIN32
        if (wanted && !failed)
            remove(output->path); /* rename does not replace a file there */
#endif
        failed = failed || (wanted && rename(output->temporary, output->path) != 0);
        if (failed)
            cannot_write(output->path);
        if (failed || !wanted)
            remove(output->temporary);
    } else if (failed) {
        cannot_write(output->path);
    }
    return failed;
}

#if HAS_DRAW
/* ---- PNG: chunks, each with a checksum. The pixels are one block of deflate (RFC 1951) with its
   fixed codes: a byte, or how many bytes are as those of the pixel before, or of the row above. */

#define ROW_BYTES (1 + (PAD + MOST_COLUMNS * (TOY_WIDTH + PAD)) * 4 * TOY_CHANNELS)
#define MOST_ALIKE 257   /* bytes of a match */
#define MOST_BACK 32768u /* bytes that a match can go back */

typedef struct {
    FILE *file;
    uint32_t crc;  /* of the chunk so far */
    uint32_t a, b; /* Adler-32 of the pixels so far */
    uint32_t bits; /* of a byte that is not whole yet */
    int waiting;   /* how many they are */
    size_t used;   /* bytes of the next chunk */
    unsigned char packed[4096];
    unsigned char rows[2][ROW_BYTES]; /* the newest and the one above, each after its filter, 0 */
    int newest, above;                /* the second is -1 where there is no row above */
} Png;

static void put(Png *png, const void *data, size_t n) {
    const unsigned char *bytes = (const unsigned char *)data;
    size_t i;
    int bit;
    fwrite(data, 1, n, png->file);
    for (i = 0; i < n; i++) {
        png->crc ^= bytes[i];
        for (bit = 0; bit < 8; bit++)
            png->crc = png->crc >> 1 ^ (png->crc & 1 ? 0xEDB88320u : 0);
    }
}

static void put_number(Png *png, uint32_t x) {
    const unsigned char bytes[4] = {(unsigned char)(x >> 24), (unsigned char)(x >> 16 & 255),
                                    (unsigned char)(x >> 8 & 255), (unsigned char)(x & 255)};
    put(png, bytes, 4);
}

static void begin_chunk(Png *png, const char *kind, size_t length) {
    put_number(png, (uint32_t)length);
    png->crc = 0xFFFFFFFFu;
    put(png, kind, 4);
}

static void end_chunk(Png *png) {
    put_number(png, ~png->crc);
}

static void put_text(Png *png, const char *key, const char *text) {
    begin_chunk(png, "tEXt", strlen(key) + 1 + strlen(text));
    put(png, key, strlen(key) + 1);
    put(png, text, strlen(text));
    end_chunk(png);
}

/* The bytes that are packed so far, as a chunk. */
static void put_packed(Png *png) {
    begin_chunk(png, "IDAT", png->used);
    put(png, png->packed, png->used);
    end_chunk(png);
    png->used = 0;
}

/* n bits, at most 16, the lowest first. */
static void put_bits(Png *png, uint32_t bits, int n) {
    png->bits |= bits << png->waiting;
    for (png->waiting += n; png->waiting >= 8; png->waiting -= 8) {
        if (png->used == sizeof png->packed)
            put_packed(png);
        png->packed[png->used++] = (unsigned char)(png->bits & 255);
        png->bits >>= 8;
    }
}

/* A code of n bits, the highest first. */
static void put_code(Png *png, uint32_t code, int n) {
    while (n-- > 0)
        put_bits(png, code >> n & 1, 1);
}

/* A byte (0 to 255), the end (256), or the class of a length. */
static void put_symbol(Png *png, uint32_t symbol) {
    if (symbol < 144)
        put_code(png, 48 + symbol, 8);
    else if (symbol < 256)
        put_code(png, 256 + symbol, 9);
    else if (symbol < 280)
        put_code(png, symbol - 256, 7);
    else
        put_code(png, symbol - 88, 8);
}

/* The next `length` bytes, 3 to MOST_ALIKE, are those of `distance` before. Lengths and distances
   come in classes, four (two) to each power of two, and as bits that say which of its class. */
static void put_match(Png *png, uint32_t length, uint32_t distance) {
    int more = 0;
    length -= 3;
    distance -= 1;
    while (length >> more >= 8)
        more++;
    put_symbol(png, 257 + 4 * (uint32_t)more + (length >> more));
    put_bits(png, length & ((1u << more) - 1), more);
    for (more = 0; distance >> more >= 4; more++)
        ;
    put_code(png, 2 * (uint32_t)more + (distance >> more), 5);
    put_bits(png, distance & ((1u << more) - 1), more);
}

/* How many bytes, at most n, are the same. */
static size_t alike(const unsigned char *x, const unsigned char *y, size_t n) {
    size_t k = 0;
    while (k < n && x[k] == y[k])
        k++;
    return k;
}

/* The newest row, of n bytes. */
static void put_row(Png *png, size_t n) {
    const unsigned char *row = png->rows[png->newest];
    const unsigned char *above = png->above < 0 || n > MOST_BACK ? NULL : png->rows[png->above];
    size_t i;
    for (i = 0; i < n; i++) {
        png->a = (png->a + row[i]) % 65521;
        png->b = (png->b + png->a) % 65521;
    }
    for (i = 0; i < n;) {
        const size_t most = n - i < MOST_ALIKE ? n - i : MOST_ALIKE, pixel = TOY_CHANNELS;
        const size_t left = i < pixel ? 0 : alike(row + i, row + i - pixel, most);
        const size_t up = above ? alike(row + i, above + i, most) : 0;
        const size_t length = up > left ? up : left;
        if (length < 3) {
            put_symbol(png, row[i++]);
        } else {
            put_match(png, (uint32_t)length, (uint32_t)(up > left ? n : pixel));
            i += length;
        }
    }
    png->above = png->newest;
}

static void begin_png(Png *png, uint32_t width, uint32_t height, uint64_t seed) {
    const unsigned char rest[5] = {8, TOY_CHANNELS == 1 ? 0 : 2, 0, 0, 0}; /* grey or RGB */
    char text[24];
    put(png, "\x89PNG\r\n\x1a\n", 8);
    begin_chunk(png, "IHDR", 13);
    put_number(png, width);
    put_number(png, height);
    put(png, rest, 5);
    end_chunk(png);
    put_text(png, "Software", TEXT_SOFTWARE);
    put_text(png, "Description", TEXT_DESCRIPTION);
    put_text(png, "Model", TEXT_MODEL);
    snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
    put_text(png, "Seed", text);
    put_bits(png, 0x78, 8); /* zlib's header */
    put_bits(png, 0x01, 8);
    put_bits(png, 1, 1); /* the last block, */
    put_bits(png, 1, 2); /* with the fixed codes */
}

static void end_png(Png *png) {
    const uint32_t sum = png->b << 16 | png->a;
    put_symbol(png, 256);
    put_bits(png, 0, -png->waiting & 7);
    put_bits(png, sum >> 24, 8);
    put_bits(png, sum >> 16 & 255, 8);
    put_bits(png, sum >> 8 & 255, 8);
    put_bits(png, sum & 255, 8);
    put_packed(png);
    begin_chunk(png, "IEND", 0);
    end_chunk(png);
}

/* Rows `top` to `bottom` of `count` images side by side, each pixel scale x scale. */
static void put_images(Png *png, const unsigned char *images, int count, int columns, int scale,
                       int top, int bottom) {
    const int width = PAD + columns * (TOY_WIDTH + PAD);
    int y, x, c, k;
    for (y = top; y < bottom; y++) {
        unsigned char *to;
        png->newest = !png->newest;
        to = png->rows[png->newest] + 1;
        for (x = 0; x < width; x++) {
            const int image = (x - PAD) / (TOY_WIDTH + PAD);
            const int inner = x - PAD - image * (TOY_WIDTH + PAD);
            const int paper = x < PAD || inner >= TOY_WIDTH || image >= count || y < 0;
            const int from = image * TOY_PIXELS + (y * TOY_WIDTH + inner) * TOY_CHANNELS;
            for (k = 0; k < scale; k++)
                for (c = 0; c < TOY_CHANNELS; c++)
                    *to++ = paper ? PAPER : images[from + c];
        }
        for (k = 0; k < scale; k++)
            put_row(png, (size_t)(to - png->rows[png->newest]));
    }
}

/* Draws n images, a row of the picture at a time, into a PNG file, or raw, or both. */
static void draw_images(int n, uint64_t seed, int label, int columns, FILE *picture, FILE *raw) {
    static unsigned char images[MOST_COLUMNS * TOY_PIXELS];
    const int width = PAD + columns * (TOY_WIDTH + PAD);
    const int rows = (n + columns - 1) / columns;
    const int wide = (width + 599) / width, scale = wide < 4 ? wide : 4; /* at least 600 pixels */
    static Png png;
    int first, k;
    if (picture) {
        const int height = PAD + rows * (TOY_HEIGHT + PAD);
        png.file = picture;
        png.a = 1;
        png.above = -1;
        begin_png(&png, (uint32_t)(width * scale), (uint32_t)(height * scale), seed);
        put_images(&png, images, 0, columns, scale, -PAD, 0);
    }
    for (first = 0; first < n; first += columns) {
        const int count = n - first < columns ? n - first : columns;
        for (k = 0; k < count; k++)
            toy_generate(seed, (uint64_t)(first + k), label /* @program@ */, images + k * TOY_PIXELS,
                    workspace);
        if (raw)
            fwrite(images, TOY_PIXELS, (size_t)count, raw);
        if (picture) {
            put_images(&png, images, count, columns, scale, 0, TOY_HEIGHT);
            put_images(&png, images, 0, columns, scale, -PAD, 0);
        }
    }
    if (picture)
        end_png(&png);
}

/* Images in a row where nobody says: ten where each row has its label, else as many as rows. */
static uint64_t columns_for(uint64_t n, int label) {
    uint64_t k = 1;
    if (TOY_CLASSES > 0 && label == -1)
        return 10;
    while (k * k < n && k < MOST_COLUMNS)
        k++;
    return k;
}
#endif

/* Writes what each operation gives: those of the drawing of the first image or, of an encoder
   alone, for the image of the self-test. */
static void trace(uint64_t seed, int label, FILE *file) {
    shown = file;
#if HAS_DRAW
    toy_code(seed, 0, workspace);
    draw_graph((float)(label == -1 ? 0 : label) /* @program@ */, workspace);
#else
    start_encode(image_expected(), workspace);
    encode_graph(TEST_LABEL, workspace);
    (void)seed;
    (void)label;
#endif
    shown = NULL;
}

/* Whether a text is a number from `least` to `most`, which it puts there. */
static int is_number(const char *text, uint64_t least, uint64_t most, uint64_t *number) {
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && *number >= least &&
           *number <= most;
}

/* Reads a number from `least` to `most`. Returns 0, or 2 after a message. */
static int read_number(const char *option, const char *text, uint64_t least, uint64_t most,
                       uint64_t *number) {
    if (is_number(text, least, most, number))
        return 0;
    fprintf(stderr, "toy: %s %s: expected a whole number from %llu to %llu\n", option, text,
            (unsigned long long)least, (unsigned long long)most);
    return 2;
}

int main(int argc, char **argv) {
    static Output traced;
    const char *trace_to = NULL;
    uint64_t seed = 0;
    int label = -1, about = 0, test = 0, failed = 0, i;
#if HAS_DRAW
    static Output picture, bytes;
    const char *out = NULL, *raw = NULL;
    uint64_t n = 16, columns = 0;
#if HAS_LABELS
    const char *chosen = NULL;
    uint64_t given;
#endif
#endif
    for (i = 1; i < argc; i++) {
        const char *option = argv[i], **path = NULL;
        uint64_t *number = NULL, least = 1, most = UINT64_MAX;
        if (is(option, "--help")) {
            fputs(usage, stdout);
            return 0;
#if HAS_SETTINGS
        } else if (setting_of(option) >= 0) {
            char *end;
            if (i + 1 == argc)
                return complain(option, " needs a value");
            settings[setting_of(option)] = strtod(argv[++i], &end);
            if (end == argv[i] || *end != '\0' || !are_settings(0 /* @program@ */)) {
                fprintf(stderr, "toy: %s %s: expected %s\n", option, argv[i], TOY_SETTINGS);
                return 2;
            }
#endif
        } else if (is(option, "--about")) {
            about = 1;
        } else if (is(option, "--self-test")) {
            test = 1;
        } else if (is(option, "--trace")) {
            path = &trace_to;
#if HAS_DRAW
        } else if (is(option, "--out")) {
            path = &out;
        } else if (is(option, "--raw")) {
            path = &raw;
        } else if (is(option, "--n")) {
            number = &n;
            most = MOST_IMAGES;
        } else if (is(option, "--columns")) {
            number = &columns;
            most = MOST_COLUMNS;
        } else if (is(option, "--seed")) {
            number = &seed;
            least = 0;
#endif
#if HAS_DRAW && HAS_LABELS
        } else if (is(option, "--label")) {
            path = &chosen;
#else
        } else if (is(option, "--label")) {
            return complain("--label: ", "this has no labels to draw");
#endif
        } else {
            return complain("unknown option ", option);
        }
        if (!path && !number)
            continue;
        if (++i == argc)
            return complain(option, " needs a value");
        if (path)
            *path = argv[i];
        else if (read_number(option, argv[i], least, most, number))
            return 2;
    }
#if HAS_DRAW && HAS_LABELS
    if (chosen) {
        label = toy_label(chosen);
        if (label == TOY_CLASSES && COUNTED && is_number(chosen, 0, TOY_CLASSES - 1, &given))
            label = (int)given;
        if (label == TOY_CLASSES) {
            fprintf(stderr, "toy: --label %s: ", chosen);
            if (COUNTED)
                fprintf(stderr, "expected a whole number from 0 to %d, or ", TOY_CLASSES - 1);
            else
                fprintf(stderr, "expected ");
            fprintf(stderr, "the name of a class; --about lists them\n");
            return 2;
        }
    }
#endif
#if HAS_DRAW
    if (!about && !test && !out && !raw && !trace_to)
        out = "samples.png";
    if (columns == 0)
        columns = columns_for(n, label);
    if (columns > n)
        columns = n;
    if (out && TOY_CHANNELS != 1 && TOY_CHANNELS != 3)
        return complain("--out: ", "a picture has 1 or 3 channels; take --raw");
    if (out && n / columns > INT32_MAX / 4 / (TOY_HEIGHT + PAD) - 2)
        return complain("--out: ", "too many rows for one picture; take --raw, or fewer images");
#else
    if (!about && !test && !trace_to) {
        fputs(usage, stderr);
        return 2;
    }
#endif
    if (!test && !is_whole()) {
        complain("", toy_message(TOY_TEST_WEIGHTS));
        return 1;
    }
    for (i = 0; about && toy_about[i]; i++)
        fputs(toy_about[i], stdout);
    if (test) {
        const int result = toy_self_test(workspace);
        fprintf(stderr, "toy: self-test %s: %s\n", result == TOY_OK ? "passed" : "FAILED",
                toy_message(result));
        if (result != TOY_OK)
            return 1;
    }
    if (trace_to) {
        if (open_output(&traced, trace_to))
            return 1;
        trace(seed, label, traced.file);
        failed = close_output(&traced, 1);
    }
#if HAS_DRAW
    if (out)
        failed |= open_output(&picture, out);
    if (raw && !failed)
        failed |= open_output(&bytes, raw);
    if ((out || raw) && !failed)
        draw_images((int)n, seed, label, (int)columns, picture.file, bytes.file);
    if (picture.file)
        failed |= close_output(&picture, !failed);
    if (bytes.file)
        failed |= close_output(&bytes, !failed);
    if ((out || raw) && !failed)
        fprintf(stderr, "toy: %llu images in %s%s%s\n", (unsigned long long)n, out ? out : "",
                out && raw ? " and " : "", raw ? raw : "");
#endif
    return failed;
}
#endif
/* @model@ */
#endif
