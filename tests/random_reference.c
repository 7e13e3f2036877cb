/* The random numbers of tinygen in C, written from their definition and not from the Python.

       cc -O2 -ffp-contract=off random_reference.c -o random_reference -lm
       ./random_reference KEY DRAW COUNT > values

   writes COUNT uniforms (float32), normals (float32) and normals (float64), raw bytes, of the
   draw number DRAW of the stream with this key. */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t word(uint64_t key, uint64_t draw, uint64_t i) {
    uint64_t b = i / 4;
    uint32_t x[4] = {(uint32_t)b, (uint32_t)(b >> 32), (uint32_t)draw, (uint32_t)(draw >> 32)};
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        uint64_t a = (uint64_t)x[0] * 0xD2511F53u, b = (uint64_t)x[2] * 0xCD9E8D57u;
        uint32_t next0 = (uint32_t)(b >> 32) ^ x[1] ^ k0, next2 = (uint32_t)(a >> 32) ^ x[3] ^ k1;
        x[0] = next0, x[1] = (uint32_t)b, x[2] = next2, x[3] = (uint32_t)a;
    }
    return x[i % 4];
}

static double normal(uint32_t w) {
    double h = w < 0x80000000u ? -0.5 - (double)w : (double)~w + 0.5;
    int e;
    double m = frexp(fabs(h), &e), r = (m - 1) / (m + 1), z = r * r;
    double l = ((((0.3611495316534145 * z + 0.30590518673588324) * z + 0.4132137396269725) * z
        + 0.5770443396136213) * z + 0.9617971700865757) * z + 2.885390079858712;
    double u = (31 - e) - r * l;
    double p = ((((1.3833917855877442 * u + 156.64337416248748) * u + 3763.276714618121) * u
        + 27508.63775501264) * u + 67892.86931321931) * u + 49651.33027078408;
    double q = (((((u + 117.74493470721416) * u + 3111.28304757976) * u + 27450.89148835632) * u
        + 95427.78760206971) * u + 135562.6931563642) * u + 65790.04814907639;
    return copysign(u * sqrt(p / q), h);
}

int main(int argc, char **argv) {
    if (argc != 4) return fprintf(stderr, "usage: random_reference KEY DRAW COUNT\n"), 2;
    uint64_t key = strtoull(argv[1], NULL, 10), draw = strtoull(argv[2], NULL, 10);
    uint64_t count = strtoull(argv[3], NULL, 10);
    for (int part = 0; part < 3; part++)
        for (uint64_t i = 0; i < count; i++) {
            uint32_t w = word(key, draw, i);
            double x = part ? normal(w) : (w >> 8) / 16777216.0;
            float narrow = (float)x;
            fwrite(part == 2 ? (void *)&x : (void *)&narrow, part == 2 ? 8 : 4, 1, stdout);
        }
    return 0;
}
