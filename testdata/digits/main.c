/* Classifies one handwritten digit with the compiled network: the program that `make demo` links.

   Nothing but digits.h and stdio, so it is the same program under Linux and on a board:
       gcc main.c digits.o -o main && ./main */
#include <stdio.h>
#include "digits.h"

/* Held-out sample 5 of digits.npz, sixteen shades of grey as in the data set, and what was written. */
enum { LABEL = 3 };
static const unsigned char pixels[DIGITS_IN_IMAGE_SIZE] = {
     0,  1, 12, 15,  5,  0,  0,  0,
     0,  4, 15,  8, 15,  3,  0,  0,
     0,  0,  3,  1, 14,  4,  0,  0,
     0,  0,  4, 14, 16,  1,  0,  0,
     0,  0,  1, 10, 14, 15,  4,  0,
     0,  0,  0,  0,  0, 12,  8,  0,
     0,  4,  8,  4, 10, 16,  4,  0,
     0,  2, 12, 16, 13,  6,  0,  0,
};

static unsigned char arena[DIGITS_ARENA_BYTES(1)] __attribute__((aligned(DIGITS_ARENA_ALIGN)));
static float image[DIGITS_IN_IMAGE_SIZE], probabilities[DIGITS_OUT_PROBABILITIES_SIZE];

int main(void) {
    const digits_inputs in = {image};
    const digits_outputs out = {probabilities};
    int32_t status;
    unsigned best = 0, i;

    for (i = 0; i < DIGITS_IN_IMAGE_SIZE; i++) image[i] = pixels[i] / 16.0f;
    status = digits(&in, &out, arena);
    if (status) {
        printf("digits_run returned %ld\n", (long)status);
        return 2;
    }
    for (i = 1; i < DIGITS_OUT_PROBABILITIES_SIZE; i++)
        if (probabilities[i] > probabilities[best]) best = i;
    printf("predicted class: %u (%u %%), written: %d\n", best, (unsigned)(100 * probabilities[best] + 0.5f), LABEL);
    return best == LABEL ? 0 : 1;
}
