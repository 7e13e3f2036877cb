// Philox 4x32-10, the generator of all random numbers: four 32-bit words from a counter and a key.
//
// Block b of draw d under key k is philox(counter = (b low, b high, d low, d high), key = (k low,
// k high)); it makes words 4b ... 4b + 3 (the layout is that of tinygen/random.py). Ten rounds of
//
//     (x0, x1, x2, x3) -> (hi(B x2) ^ x1 ^ k0, lo(B x2), hi(A x0) ^ x3 ^ k1, lo(A x0))
//
// need two 32-bit products each, whole, and no memory: a thread makes the words it uses.
// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11.
#pragma once

struct Words {
    unsigned at[4];
};

__device__ inline Words philox(unsigned long long block, unsigned long long draw,
                               unsigned long long key) {
    const unsigned A = 0xD2511F53u, B = 0xCD9E8D57u;
    unsigned x0 = unsigned(block), x1 = unsigned(block >> 32);
    unsigned x2 = unsigned(draw), x3 = unsigned(draw >> 32);
    unsigned k0 = unsigned(key), k1 = unsigned(key >> 32);
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        unsigned high_a = __umulhi(A, x0), low_a = A * x0;
        unsigned high_b = __umulhi(B, x2), low_b = B * x2;
        x0 = high_b ^ x1 ^ k0;
        x1 = low_b;
        x2 = high_a ^ x3 ^ k1;
        x3 = low_a;
        k0 += 0x9E3779B9u;  // the golden ratio
        k1 += 0xBB67AE85u;  // sqrt(3) - 1
    }
    return {{x0, x1, x2, x3}};
}

// Word i % 4 of a block. Chosen by comparing: an array with a moving index has an address, and what
// has an address lies in memory.
__device__ inline unsigned word_of(const Words& words, long long i) {
    int k = int(i & 3);
    return k == 0 ? words.at[0] : k == 1 ? words.at[1] : k == 2 ? words.at[2] : words.at[3];
}
