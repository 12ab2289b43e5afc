"""The digits network from ONNX file to printed class: the C program of `make demo` on every target, and every target's answers.

    gcc main.c digits.o -o program && ./program     ->     predicted class: 3 (97 %), written: 3
"""
import re

import numpy as np
import pytest

import edgec
from edgec.backends.emulate import emulate
from edgec.backends.target import find

SAMPLES = 24
ALIKE = 1e-5        # probabilities; the network sums at most 144 products a layer, so f32 rounds far below this
EMBEDDED = 5        # the sample main.c holds


def assert_alike(found: np.ndarray, expected: np.ndarray):
    """The same probabilities up to rounding, hence the same classes wherever two of them do not tie."""
    assert found.shape == expected.shape and found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=ALIKE)


def test_program_prints_the_class(target, compiled, build, digits, tmp_path):
    program = build(compiled(target), {"main.c": (digits.folder / "main.c").read_text()}, tmp_path)
    done = program.run()
    assert (done.returncode, done.stderr) == (0, "")
    label, percent = digits.labels[EMBEDDED], 100 * digits.answers([EMBEDDED]).max()
    assert done.stdout == f"predicted class: {label} ({percent:.0f} %), written: {label}\n"


def test_program_embeds_a_real_sample(digits):
    text = (digits.folder / "main.c").read_text()
    pixels = re.search(r"pixels\[\w+\] = \{([^}]*)\}", text)[1]
    np.testing.assert_array_equal(np.float32(re.findall(r"\d+", pixels)).reshape(1, 8, 8) / 16, digits.images[EMBEDDED])
    assert f"LABEL = {digits.labels[EMBEDDED]} " in text
    assert sorted(re.findall(r"#include (\S+)", text)) == ['"digits.h"', "<stdio.h>"]


def test_answers_are_the_interpreters(target, compiled, digits):
    rows = range(SAMPLES)
    outputs = emulate(compiled(target), [{"image": digits.images[row:row + 1]} for row in rows]).outputs
    assert_alike(np.concatenate([output["probabilities"] for output in outputs]), digits.answers(rows))


def test_accuracy_is_the_published_one(compiled, digits):
    artifact = compiled(find("native"))
    found = np.concatenate([artifact.run({"image": image[None]})["probabilities"] for image in digits.images])
    assert_alike(found, digits.answers(range(len(digits.labels))))
    assert np.sum(found.argmax(axis=1) == digits.labels) == 440


def batches(digits, sizes):
    """(rows, inputs) for batches of these sizes, one after another through the data."""
    starts = np.cumsum([0, *sizes])
    return [(range(start, start + size), {"image": digits.images[start:start + size]}) for start, size in zip(starts, sizes)]


def assert_batches(artifact, digits, sizes):
    chosen = batches(digits, sizes)
    for (rows, _), output in zip(chosen, emulate(artifact, [inputs for _, inputs in chosen]).outputs):
        assert_alike(output["probabilities"], digits.answers(rows))


@pytest.mark.parametrize("name", ["native", "aarch64", "cortex-m4"])
@pytest.mark.parametrize("size", [1, 3])
def test_fixed_batch(compiled, digits, require, name, size):
    assert_batches(compiled(require(name), "digits_dyn.onnx", N=size), digits, [size] * 4)


def test_any_batch_up_to_eight(kind, compiled, digits):
    assert_batches(compiled(kind, "digits_dyn.onnx", N="1..8"), digits, [1, 2, 3, 4, 5, 6, 7, 8, 1])


REFUSES = """
#include <stdio.h>
#include "digits_dyn.h"
static unsigned char arena[DIGITS_DYN_ARENA_BYTES(1)] __attribute__((aligned(DIGITS_DYN_ARENA_ALIGN)));
static float image[DIGITS_DYN_IN_IMAGE_SIZE], probabilities[DIGITS_DYN_OUT_PROBABILITIES_SIZE];
int main(void) {
    for (int n = -1; n <= 10; n += 1) {
        digits_dyn_inputs in = {image, n};
        const digits_dyn_outputs out = {probabilities};
        printf("%d ", (int)digits_dyn(&in, &out, arena));
    }
    return 0;
}
"""


def test_the_object_itself_refuses_a_batch_out_of_range(kind, compiled, build, tmp_path):
    program = build(compiled(kind, "digits_dyn.onnx", N="1..8"), {"main.c": REFUSES}, tmp_path)
    assert program.run().stdout == "-2 -2 0 0 0 0 0 0 0 0 -2 -2 "


# Paints the stack below main, runs the model, and looks how far down the paint is gone; guards stand around arena and output.
MEMORY = """
#include <stdio.h>
#include <string.h>
#include "digits.h"
enum { PAINTED = 16384, GUARD = 256 };
typedef struct { unsigned char before[GUARD], bytes[(DIGITS_ARENA_BYTES(1) + 63) / 64 * 64], after[GUARD]; } guarded;
static guarded arena __attribute__((aligned(DIGITS_ARENA_ALIGN)));
static struct { float before[GUARD], values[DIGITS_OUT_PROBABILITIES_SIZE], after[GUARD]; } out;
static float image[DIGITS_IN_IMAGE_SIZE], same[DIGITS_IN_IMAGE_SIZE];
static volatile unsigned char *lowest;

__attribute__((noinline)) static void paint(void) {
    volatile unsigned char region[PAINTED];
    for (int i = 0; i < PAINTED; i++) region[i] = 0xA5;
    __asm__ volatile("" : "=r"(lowest) : "0"(region) : "memory");
}

int main(void) {
    digits_context context = {.size = sizeof context, .in = {image}, .out = {out.values}, .arena = arena.bytes};
    memset(&arena, 0xA5, sizeof arena);
    memset(&out, 0xA5, sizeof out);
    for (unsigned i = 0; i < DIGITS_IN_IMAGE_SIZE; i++) image[i] = same[i] = (float)(i % 17) / 16;
    paint();
    int status = digits_run(&context), used = PAINTED, touched = 0;
    while (used && lowest[PAINTED - used] == 0xA5) used--;
    for (int i = 0; i < GUARD; i++) touched += arena.before[i] != 0xA5 || arena.after[i] != 0xA5;
    for (int i = 0; i < GUARD; i++) touched += memcmp(&out.before[i], arena.before, 4) || memcmp(&out.after[i], arena.before, 4);
    printf("status %d, stack %d of %u, touched %d, input %s\\n", status, used, DIGITS_STACK_BYTES, touched,
           memcmp(image, same, sizeof image) ? "changed" : "kept");
    return 0;
}
"""


def test_memory_is_what_the_header_says(target, compiled, build, tmp_path):
    done = build(compiled(target), {"main.c": MEMORY}, tmp_path).run()
    used, promised = map(int, re.search(r"stack (\d+) of (\d+)", done.stdout).groups())
    assert done.stdout == f"status 0, stack {used} of {promised}, touched 0, input kept\n"
    assert 0 < used <= promised


TWO = """
#include <stdio.h>
#include "digits.h"
#include "other.h"
static unsigned char arena[DIGITS_ARENA_BYTES(1) + OTHER_ARENA_BYTES(1)] __attribute__((aligned(64)));
static float image[DIGITS_IN_IMAGE_SIZE], first[DIGITS_OUT_PROBABILITIES_SIZE], second[OTHER_OUT_PROBABILITIES_SIZE];
int main(void) {
    const digits_outputs to_first = {first};
    const other_outputs to_second = {second};
    image[20] = 1;
    int status = digits(&(digits_inputs){image}, &to_first, arena) | other(&(other_inputs){image}, &to_second, arena);
    for (int i = 0; i < 10; i++) status |= first[i] - second[i] > 1e-5f || second[i] - first[i] > 1e-5f;
    return status;
}
"""


@pytest.mark.parametrize("name", ["native", "cortex-m55"])
def test_two_models_in_one_program(compiled, build, digits, require, name, tmp_path):
    other = edgec.compile(digits.folder / "digits_dyn.onnx", require(name), bind={"N": 1}, prefix="other")
    other.write(tmp_path, emit={"obj", "header"})
    assert build(compiled(other.target), {"main.c": TWO}, tmp_path, "other.o").run().returncode == 0
