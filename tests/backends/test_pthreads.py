"""The executor in C: every index once, slots that never overlap, the same bits from models, and nothing that a race detector minds."""

import shutil
import subprocess
from dataclasses import replace

import pytest

from edgec.backends.header import EXECUTOR
from edgec.backends.pthreads import files
from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.edge_file import read_graph
from edgec.emission import emit
from edgec.passes.schedule import schedule
from edgec.passes.shared_loops import shared_loops
from edgec.passes.tile import tile
from edgec.repeats import alone

STRESS = r"""
#include "edgec_pthreads.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct { uint32_t count, slots, done[2000], in_slot[16], wrong; } job;

static void body(void *argument, uint32_t index, uint32_t slot) {
    job *const j = argument;
    if (index >= j->count || slot >= j->slots || __atomic_exchange_n(&j->in_slot[slot], 1, __ATOMIC_ACQUIRE)) j->wrong = 1;
    j->done[index]++;
    for (volatile uint32_t spin = 0; spin < index % 97; spin++) {}
    __atomic_store_n(&j->in_slot[slot], 0, __ATOMIC_RELEASE);
}

static int run(edgec_pthreads *pool, uint32_t slots, uint32_t jobs, uint32_t seed) {
    const edgec_executor *const lent = edgec_pthreads_executor(pool);
    for (uint32_t k = 0; k < jobs; k++) {
        seed = seed * 1664525u + 1013904223u;
        job *const j = calloc(1, sizeof *j);
        j->count = (seed >> 16) % (k % 8 ? 30 : 2000);
        j->slots = slots;
        lent->parallel_for(lent->context, body, j, j->count);
        for (uint32_t i = 0; i < 2000; i++) if (j->done[i] != (i < j->count)) j->wrong = 1;
        if (j->wrong) return 1;
        free(j);
        if (k % 200 == 199) nanosleep(&(struct timespec){0, 3000000}, NULL);     /* long enough for the others to fall asleep */
    }
    return 0;
}

static edgec_pthreads *shared;
static void *other(void *unused) { (void)unused; return run(shared, 4, 300, 7) ? &shared : NULL; }

int main(void) {
    for (uint32_t slots = 1; slots <= 16; slots += slots < 4 ? 1 : 4) {
        edgec_pthreads *const pool = edgec_pthreads_start(slots);
        if (!pool || edgec_pthreads_executor(pool)->slots != slots || run(pool, slots, 600, slots)) return 1;
        edgec_pthreads_stop(pool);
    }
    pthread_t thread;
    void *failed = NULL;
    shared = edgec_pthreads_start(4);
    if (pthread_create(&thread, NULL, other, NULL) || run(shared, 4, 300, 3)) return 2;
    pthread_join(thread, &failed);
    edgec_pthreads_stop(shared);
    edgec_pthreads_stop(NULL);
    if (failed || edgec_pthreads_start(0)) return 3;
    puts("every index once");
    return 0;
}
"""

APART = r"""
#define _GNU_SOURCE
#include "edgec_pthreads.h"
#include <sched.h>
#include <stdio.h>

typedef struct { int caller; uint32_t wrong, others; } job;

static void body(void *argument, uint32_t index, uint32_t slot) {
    job *const j = argument;
    (void)index;
    for (volatile int spin = 0; spin < 20000; spin++) {}
    if (slot && sched_getcpu() == j->caller) __atomic_store_n(&j->wrong, 1, __ATOMIC_RELAXED);
    if (slot) __atomic_fetch_add(&j->others, 1, __ATOMIC_RELAXED);
}

int main(void) {
    cpu_set_t all, one;
    job j = {0, 0, 0};
    if (sched_getaffinity(0, sizeof all, &all)) return 1;
    edgec_pthreads *const pool = edgec_pthreads_start(2);
    const edgec_executor *const lent = edgec_pthreads_executor(pool);
    for (int round = 0; CPU_COUNT(&all) > 1 && round < 200; round++) {
        for (j.caller = 0; j.caller < CPU_SETSIZE; j.caller++) {
            if (!CPU_ISSET(j.caller, &all)) continue;
            CPU_ZERO(&one);
            CPU_SET(j.caller, &one);
            if (sched_setaffinity(0, sizeof one, &one)) return 2;
            lent->parallel_for(lent->context, body, &j, 20);
        }
    }
    edgec_pthreads_stop(pool);
    if (j.wrong || (CPU_COUNT(&all) > 1 && !j.others)) return 3;
    puts("apart");
    return 0;
}
"""

MODEL = r"""
#include "net.h"
#include "edgec_pthreads.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float x[NET_IN_X_SIZE], expected[NET_OUT_Y_SIZE], y[NET_OUT_Y_SIZE];

static int32_t run(uint32_t slots, const edgec_executor *executor, float *out) {
    unsigned char *const memory = malloc(NET_ARENA_BYTES(slots) + NET_ARENA_ALIGN);
    unsigned char *const arena = memory + (NET_ARENA_ALIGN - (uintptr_t)memory % NET_ARENA_ALIGN);
    const net_context call = {.size = sizeof call, .in = {.x = x}, .out = {.y = out}, .arena = arena, .executor = executor};
    const int32_t status = net_run(&call);
    free(memory);
    return status;
}

int main(void) {
    for (uint32_t i = 0; i < NET_IN_X_SIZE; i++) x[i] = (float)(i * 7 % 23) / 8 - 1;
    if (run(1, 0, expected)) return 1;
    for (uint32_t slots = 1; slots <= 5; slots++) {
        edgec_pthreads *const pool = edgec_pthreads_start(slots);
        for (int again = 0; again < 20; again++) {
            memset(y, 1, sizeof y);
            if (run(slots, edgec_pthreads_executor(pool), y) || memcmp(y, expected, sizeof y)) return 2;
        }
        edgec_pthreads_stop(pool);
    }
    puts("the same bits");
    return 0;
}
"""

NET = """graph net(%x: f32[1,16,24,24]) -> (%y) {
  @u: f32[32,16,3,3]
  @s: f32[32,1,1]
  %a = Conv(%x, @u) pads=[1,1,1,1] : f32[1,32,24,24]
  %b = Mul(%a, @s) : f32[1,32,24,24]
  %y = Softmax(%b) axis=1 : f32[1,32,24,24]
}"""
STEPS = """graph net(%x: f32[5,1,20]) -> (%y) {
  @w: f32[1,512,20]
  @r: f32[1,512,128]
  @b: f32[1,1024]
  %y = LSTM(%x, @w, @r, @b) hidden_size=128 : f32[5,1,1,128]
}"""
WARNINGS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-pthread")


def require(*tools: str) -> None:
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")


def build_and_run(folder, gcc: str, *options: str, main: str, run: tuple[str, ...] = (), objects: tuple[str, ...] = ()) -> str:
    for name, data in files().items():
        (folder / name).write_bytes(data)
    (folder / "main.c").write_text(main)
    subprocess.run([gcc, *WARNINGS, *options, "main.c", "edgec_pthreads.c", *objects, "-o", "program"], cwd=folder, check=True)
    done = subprocess.run([*run, "./program"], cwd=folder, capture_output=True, text=True, timeout=300)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


def model(folder, target: str, net: str) -> tuple[str, ...]:
    machine = replace(find(target), hand_over=1)
    program = lower(optimise_graph(read_graph(net, "test"), machine), machine)
    artifact = emit(program, machine, "net", workers=0)
    tiled = [tile(kernel, machine, inside=n) for kernel, n in zip(program.steps, alone(program.steps))]
    threaded, _ = shared_loops(program, tiled, machine, lambda kernel: schedule)
    assert artifact.interface.slot_bytes > 0 if net is NET else any(kernel.repeat for kernel in threaded.steps)
    artifact.write(folder, {"obj", "header"})
    return ("net.o",)


def test_every_index_once(tmp_path):
    require("gcc")
    assert build_and_run(tmp_path, "gcc", main=STRESS) == "every index once\n"


def test_others_keep_off_the_processor_of_the_caller(tmp_path):
    require("gcc")
    assert build_and_run(tmp_path, "gcc", main=APART) == "apart\n"


def test_a_race_detector_finds_nothing(tmp_path):
    require("gcc")
    probe = subprocess.run(["gcc", "-fsanitize=thread", "-x", "c", "-", "-o", "probe"], input="int main(void) { return 0; }", text=True,
                           cwd=tmp_path, capture_output=True)
    if probe.returncode or subprocess.run([tmp_path / "probe"], capture_output=True).returncode:
        pytest.skip("gcc has no thread sanitizer here")
    assert build_and_run(tmp_path, "gcc", "-fsanitize=thread", "-g", main=STRESS) == "every index once\n"


@pytest.mark.parametrize("net", [NET, STEPS], ids=["layers", "steps"])
def test_models_compute_the_same_bits(tmp_path, net):
    require("gcc")
    assert build_and_run(tmp_path, "gcc", main=MODEL, objects=model(tmp_path, "native", net)) == "the same bits\n"


@pytest.mark.parametrize("net", [NET, STEPS], ids=["layers", "steps"])
@pytest.mark.parametrize("target, gcc, qemu", [("aarch64", "aarch64-linux-gnu-gcc", "qemu-aarch64"),
                                               ("cortex-a7", "arm-linux-gnueabihf-gcc", "qemu-arm")])
def test_models_compute_the_same_bits_on_arm(tmp_path, target, gcc, qemu, net):
    require(gcc, qemu)
    options = find(target).emulator.gcc_flags
    assert build_and_run(tmp_path, gcc, *options, main=MODEL, run=(qemu,), objects=model(tmp_path, target, net)) == "the same bits\n"


def test_the_struct_is_that_of_every_model():
    assert EXECUTOR in files()["edgec_pthreads.h"].decode()


def test_the_header_is_also_cpp(tmp_path):
    require("g++")
    (tmp_path / "edgec_pthreads.h").write_bytes(files()["edgec_pthreads.h"])
    (tmp_path / "main.cpp").write_text('#include "edgec_pthreads.h"\nint main() { return edgec_pthreads_start(0) != 0; }\n')
    subprocess.run(["g++", "-std=c++11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "main.cpp"], cwd=tmp_path, check=True)
