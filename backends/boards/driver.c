/* Runs a compiled model on samples from a file and writes what comes out to another; both hold little-endian words and raw arrays.

   samples.bin:  count, repeat, then per sample: its dimensions, (bytes, data) of each input, bytes of each output
   results.bin:  per sample: status, the sizes that the model computed, then the data of each output

   ports.h is generated for the model: its header, buffers for the ports and the arena, and `bind`, which fills a context. */
#include <stdint.h>
#include <stdio.h>
#include "ports.h"

static int read_exactly(FILE *file, void *to, uint32_t bytes) { return fread(to, 1, bytes, file) == bytes; }

static int run_sample(FILE *samples, FILE *results, uint32_t repeat) {
    int32_t dims[DIMS + 1], sizes[SIZES + 1], status = 0;
    uint32_t bytes, output_bytes[OUTPUTS + 1];
    if (!read_exactly(samples, dims, 4 * DIMS)) return 2;
    for (uint32_t i = 0; i < INPUTS; i++)
        if (!read_exactly(samples, &bytes, 4) || !read_exactly(samples, inputs[i], bytes)) return 2;
    if (!read_exactly(samples, output_bytes, 4 * OUTPUTS)) return 2;
    model_context context = {.size = sizeof context, .arena = arena};
    bind(&context, dims);
    for (uint32_t i = 0; i < repeat && !status; i++) status = model_run(&context);
    sizes_of(&context, sizes);
    if (fwrite(&status, 1, 4, results) != 4 || fwrite(sizes, 1, 4 * SIZES, results) != 4 * SIZES) return 3;
    for (uint32_t i = 0; i < OUTPUTS; i++)
        if (fwrite(outputs[i], 1, output_bytes[i], results) != output_bytes[i]) return 3;
    return 0;
}

int main(void) {
    FILE *samples = fopen("samples.bin", "rb"), *results = fopen("results.bin", "wb");
    uint32_t head[2];
    if (!samples || !results) return 1;
    setvbuf(samples, 0, _IONBF, 0);         /* whole arrays at once: under semihosting every read is a trap */
    setvbuf(results, 0, _IONBF, 0);
    if (!read_exactly(samples, head, sizeof head)) return 2;
    for (uint32_t sample = 0; sample < head[0]; sample++) {
        int failure = run_sample(samples, results, head[1]);
        if (failure) return failure;
    }
    return fclose(results) ? 3 : 0;
}
