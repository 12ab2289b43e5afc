/* Times candidates in turn and prints "candidate SECONDS" for each: processor seconds of one call, the least of several rounds.

   candidates.h is generated: every candidate's function over a table of pointers, and the memory behind them. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct parameter { size_t bytes; unsigned element, kind, constant; };     /* kind: 0 integer, 1 f32, 2 f64, 3 f16, 4 bf16 */
struct candidate { void (*again)(void **, intptr_t); const struct parameter *parameters; int count, rows; };
#include "candidates.h"

enum { COUNT = sizeof candidates / sizeof *candidates, ROUNDS = 10 };
static void **tables[COUNT];
static double best[COUNT];
static long passes[COUNT];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* Memory of a parameter: floats in -1 .. 1, integers 0 or 1, which every index allows. */
static void *filled(const struct parameter *p) {
    unsigned char *block = aligned_alloc(64, (p->bytes + 127) / 64 * 64);
    if (!block) exit(1);
    uint32_t random = 1;
    for (size_t at = 0; at + p->element <= p->bytes; at += p->element) {
        random = random * 1664525u + 1013904223u;
        float value = (int32_t)random / 2147483648.0f;
        double wide = value;
        uint16_t half = (random >> 31 ? 0xb800 : 0x3800), brain = (random >> 31 ? 0xbf00 : 0x3f00);
        uint64_t integer = random >> 31;
        const void *from[] = {&integer, &value, &wide, &half, &brain};
        memcpy(block + at, from[p->kind], p->element);                    /* a little-endian machine: the low bytes come first */
    }
    return block;
}

static double seconds(int n) {
    double start = now();
    for (long k = 0; k < passes[n]; k++) candidates[n].again(tables[n], candidates[n].rows);
    return (now() - start) / ((double)passes[n] * candidates[n].rows);
}

static void prepare(int n) {
    const struct candidate *c = candidates + n;
    tables[n] = malloc(sizeof(void *) * (size_t)(c->rows * c->count + 1));
    for (int row = 0; row < c->rows; row++)
        for (int k = 0; k < c->count; k++)
            tables[n][row * c->count + k] = row && !c->parameters[k].constant ? tables[n][k] : filled(c->parameters + k);
    passes[n] = 1;
    seconds(n);
    double once = seconds(n) * c->rows;
    passes[n] = 1 + (long)(0.002 / (once > 1e-7 ? once : 1e-7));
    best[n] = 1e30;
}

int main(void) {
    for (int n = 0; n < COUNT; n++) prepare(n);
    for (int round = 0; round < ROUNDS; round++)
        for (int n = 0; n < COUNT; n++) {
            double took = seconds(n);
            if (took < best[n]) best[n] = took;
        }
    for (int n = 0; n < COUNT; n++) printf("candidate %.9e\n", best[n]);
    return 0;
}
