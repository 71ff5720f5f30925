/* CPU-bound kernels. Each is timed by the guest's own clock; a line is "name nanoseconds checksum". */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint32_t rotate(uint32_t value, int bits) { return value >> bits | value << (32 - bits); }

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static void sha256_block(uint32_t state[8], const uint8_t *block) {
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t b = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + a + w[i - 7] + b;
    }
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t e = rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25);
        uint32_t t1 = s[7] + e + ((s[4] & s[5]) ^ (~s[4] & s[6])) + K[i] + w[i];
        uint32_t a = rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22);
        uint32_t t2 = a + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) state[i] += s[i];
}

/* Integer arithmetic in a small working set. */
static uint32_t sha256(void) {
    static uint8_t data[1 << 16];
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7);
    for (int pass = 0; pass < 800; pass++)
        for (size_t i = 0; i < sizeof data; i += 64) sha256_block(state, data + i);
    return state[0];
}

/* Floating point. */
static uint32_t mandelbrot(void) {
    uint32_t inside = 0;
    for (int y = 0; y < 480; y++)
        for (int x = 0; x < 640; x++) {
            double a = x / 320.0 - 1.5, b = y / 240.0 - 1.0, r = 0, i = 0;
            int n = 0;
            for (; n < 500 && r * r + i * i < 4.0; n++) {
                double next = r * r - i * i + a;
                i = 2 * r * i + b;
                r = next;
            }
            inside += n == 500;
        }
    return inside;
}

static uint8_t *allocate(size_t size) {
    uint8_t *memory = malloc(size);
    if (!memory) exit(1);
    return memory;
}

/* Strided stores over 64 MiB. */
static uint32_t sieve(void) {
    const size_t size = 64 << 20;
    uint8_t *composite = allocate(size);
    uint32_t primes = 0;
    memset(composite, 0, size);
    for (size_t i = 2; i < size; i++) {
        if (composite[i]) continue;
        primes++;
        for (size_t j = i * i; i < 8192 && j < size; j += i) composite[j] = 1;
    }
    free(composite);
    return primes;
}

/* Dependent loads all over 64 MiB: each misses the TLB. */
static uint32_t chase(void) {
    const uint32_t count = 16 << 20;
    uint32_t *next = (uint32_t *)allocate((size_t)count * 4), place = 0;
    for (uint32_t i = 0; i < count; i++) next[i] = (i * 1664525u + 1013904223u) % count; /* one cycle through all */
    for (uint32_t i = 0; i < 6 << 20; i++) place = next[place];
    free(next);
    return place;
}

/* Copies of 32 MiB at a time. */
static uint32_t copy(void) {
    const size_t size = 32 << 20;
    uint8_t *from = allocate(size), *to = allocate(size);
    memset(from, 1, size);
    for (int pass = 0; pass < 24; pass++) {
        memcpy(to, from, size);
        from[pass] = to[size - 1 - pass] + 1;
    }
    uint32_t sum = to[0] + from[23];
    free(from);
    free(to);
    return sum;
}

/* New pages: memory that has never been touched, in chunks of 1 MiB that are kept. */
static uint32_t grow(void) {
    uint32_t sum = 0;
    for (int chunk = 0; chunk < 192; chunk++) {
        uint8_t *memory = allocate(1 << 20);
        for (size_t i = 0; i < 1 << 20; i += 4096) memory[i] = (uint8_t)chunk;
        sum += memory[(size_t)chunk * 4096];
    }
    return sum;
}

static const struct {
    const char *name;
    uint32_t (*run)(void);
} KERNELS[] = {{"sha256", sha256}, {"mandelbrot", mandelbrot}, {"sieve", sieve},
               {"chase", chase},   {"copy", copy},             {"grow", grow}};

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int main(void) {
    for (size_t i = 0; i < sizeof KERNELS / sizeof *KERNELS; i++) {
        int64_t start = now();
        uint32_t result = KERNELS[i].run();
        printf("%s %lld %u\n", KERNELS[i].name, (long long)(now() - start), result);
    }
    return 0;
}
