"""One object for several levels: each level is the object compiled for it alone, and the processor's own answer chooses."""

import ctypes
import re
import shutil
import struct
import subprocess
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from edgec.backends.codegen import compile_module
from edgec.backends.dispatch import init_text, routine_sections
from edgec.backends.inspect_object import defined_globals, section_sizes, undefined_symbols, writable_sections
from edgec.backends.interface import BAD_CONTEXT, BAD_ISA, Interface, layout
from edgec.backends.join import join
from edgec.backends.levels import Level, at_least, bits
from edgec.backends.native import Loaded, place, runs_here
from edgec.backends.target import find
from edgec.cli import main
from edgec.compiler import compile
from edgec.drawn_inputs import drawn_inputs
from edgec.edge_file import read_graph
from edgec.errors import CompileError, Internal
from edgec.onnx.reader import load

DIGITS = Path(__file__).parents[1] / "testdata" / "digits" / "digits.onnx"
FAMILY = find("x86-64")
LEVELS = [find(level.target) for level in FAMILY.levels]
HERE = pytest.mark.skipif(not runs_here(FAMILY), reason="not an x86-64 processor")
OPEN = """graph g(%x: f32[n<=6,40]) -> (%y) {
  @w: f32[40,33]
  %m = MatMul(%x, @w) : f32[n,33]
  %y = Softmax(%m) axis=1 : f32[n,33]
}"""
GRAPHS = {"digits": lambda: load(DIGITS), "open": lambda: read_graph(OPEN, "open")}


@cache
def built(name: str):
    return compile(GRAPHS[name](), "x86-64", prefix="net", multiversion=True, optimize="1", workers=0)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("number", range(len(LEVELS)), ids=[level.name for level in LEVELS])
def test_each_level_computes_what_the_object_for_it_alone_does(name, number):
    if not runs_here(LEVELS[number]):
        pytest.skip(f"this processor has no {LEVELS[number].name}")
    graph, several = GRAPHS[name](), built(name)
    alone = compile(graph, LEVELS[number], prefix="net", optimize="1", workers=0)
    inputs = drawn_inputs(graph, 3)
    with Loaded(alone.object, alone.interface) as one, Loaded(several.object, several.interface, number) as found:
        expected, outputs = one.run(inputs), found.run(inputs)
    assert found.isa == number and all(np.array_equal(outputs[k], expected[k]) for k in expected)
    assert several.interface.arena_bytes >= alone.interface.arena_bytes


def test_nothing_is_missing_and_nothing_is_written():
    for artifact in map(built, GRAPHS):
        assert undefined_symbols(artifact.object) == [] and writable_sections(artifact.object) == []
        assert defined_globals(artifact.object) == ["net_init", "net_run"]


def test_equal_tables_are_stored_once():
    """Biases and the weights that need no packing are the same bytes for every level; packed ones are not."""
    def weights(artifact):
        return section_sizes(artifact.object)[".rodata.net_weights"]
    alone = [weights(compile(load(DIGITS), level, prefix="net", optimize="1", workers=0)) for level in LEVELS]
    assert max(alone) < weights(built("digits")) < sum(alone)


def test_the_manifest_and_the_header_name_the_levels():
    artifact = built("digits")
    assert artifact.manifest["levels"] == [level.name for level in LEVELS] and artifact.manifest["target"] == "x86-64"
    assert all(f"#define NET_ISA_{level.macro} {n}u\n" in artifact.header for n, level in enumerate(FAMILY.levels))
    alone = compile(load(DIGITS), "x86-64", optimize="0", workers=0)
    assert "_init" not in alone.header and "_ISA_" not in alone.header and "levels" not in alone.manifest


@HERE
def test_the_level_of_this_processor_is_chosen():
    artifact = built("digits")
    with Loaded(artifact.object, artifact.interface) as model:
        assert model.isa == max(n for n, level in enumerate(LEVELS) if runs_here(level))


@HERE
@pytest.mark.parametrize("isa", [len(LEVELS), 77, 0xFFFFFFFF])
def test_an_unknown_isa_is_refused(isa):
    artifact = built("digits")
    with Loaded(artifact.object, artifact.interface, isa) as model, pytest.raises(Internal, match="returned -4: the object holds no code"):
        model.run(drawn_inputs(load(DIGITS)))


@HERE
def test_a_caller_that_knows_no_isa_gets_the_lowest_level():
    """The member lies beyond the size that an old caller states, so what is there is not read, and init may not write it."""
    artifact, inputs = built("digits"), drawn_inputs(load(DIGITS), 1)
    where = layout(artifact.interface, 64)
    with Loaded(artifact.object, artifact.interface, 0) as model:
        expected = model.run(inputs)["probabilities"]
        struct.pack_into("I", model._context, 0, where.isa)
        struct.pack_into("I", model._context, where.isa, 99)
        np.testing.assert_array_equal(model.run(inputs)["probabilities"], expected)
        init = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(model._engine.get_function_address("net_init"))
        assert init(model._context_address) == BAD_CONTEXT and model.isa == 99


def initialised(levels: tuple[Level, ...]) -> tuple[int, int]:
    """Status of init and the number it stores (99 when none) for levels of one's own."""
    interface = Interface("net", (), (), levels=tuple(level.macro for level in levels))
    entry = compile_module(init_text(interface, levels, 64), FAMILY).object
    engine, address = place(join([entry], routine_sections(FAMILY.routines), {"net_init"}), "net_init")
    where = layout(interface, 64)
    context = bytearray(where.size)
    struct.pack_into("I", context, 0, where.size)
    struct.pack_into("I", context, where.isa, 99)
    status = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(address)(ctypes.addressof(ctypes.c_char.from_buffer(context)))
    engine.close()
    return status, struct.unpack_from("I", context, where.isa)[0]


@HERE
def test_checks_are_made_in_order_and_stop_at_the_first_that_fails():
    yes, no = at_least("cpuid", (0, 0), 0, 1), at_least("cpuid", (0, 0), 0, 0xFFFFFFFF)
    assert initialised((Level("a", ()), Level("b", (yes, yes)), Level("c", (yes, no)), Level("d", (yes,)))) == (0, 1)
    assert initialised((Level("a", (no,)), Level("b", (yes,)))) == (BAD_ISA, 99)
    assert initialised((Level("a", ()), Level("b", (no, yes)))) == (0, 0)


@HERE
@pytest.mark.parametrize("feature, check", [
    ("sse3", bits("cpuid", (1, 0), 2, 0)), ("fma", bits("cpuid", (1, 0), 2, 12)), ("movbe", bits("cpuid", (1, 0), 2, 22)),
    ("f16c", bits("cpuid", (1, 0), 2, 29)), ("bmi", bits("cpuid", (7, 0), 1, 3)), ("avx2", bits("cpuid", (7, 0), 1, 5)),
    ("lzcnt", bits("cpuid", (0x80000001, 0), 2, 5)), ("avx512vl", bits("cpuid", (7, 0), 1, 31)), ("xop", bits("cpuid", (0x80000001, 0), 2, 11))])
def test_the_routine_answers_what_the_processor_has(feature, check):
    """LLVM asks the same processor by its own code."""
    assert initialised((Level("a", ()), Level("b", (check,)))) == (0, int(llvm.get_host_cpu_features().get(feature, False)))


@pytest.mark.parametrize("name, instructions", [("cpuid", "push mov mov mov cpuid mov mov mov mov pop ret"),
                                                ("xgetbv", "mov mov xgetbv mov mov ret")])
def test_the_routines_are_the_instructions_they_say(name, instructions, tmp_path):
    if not shutil.which("llvm-objdump"):
        pytest.skip("llvm-objdump not installed")
    (tmp_path / "net.o").write_bytes(built("open").object)
    command = ["llvm-objdump", "-d", "--no-show-raw-insn", f"--section=.text.edgec_{name}", "net.o"]
    text = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert [word.removesuffix("q").removesuffix("l") for word in re.findall(r"^ *[0-9a-f]+: *\t([a-z]+)", text, re.MULTILINE)] == instructions.split()


PROGRAM = """
#include <stdio.h>
#include "net.h"
static unsigned char arena[NET_ARENA_BYTES(1)] __attribute__((aligned(NET_ARENA_ALIGN)));
static float image[NET_IN_IMAGE_SIZE], out[NET_OUT_PROBABILITIES_SIZE];
int main(void) {
    net_context call = {.size = sizeof call, .in = {image}, .out = {out}, .arena = arena, .isa = 99};
    int status = net_init(&call);
    float sum = 0;
    if (!status) status = 100 * net_run(&call);
    for (unsigned i = 0; i < NET_OUT_PROBABILITIES_SIZE; i++) sum += out[i];
    printf("%d %u %.3f", status, (unsigned)call.isa, sum);
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """A C program that prints the status of init or run, the level, and the sum of the outputs."""
    if not shutil.which(FAMILY.emulator.gcc) or not runs_here(FAMILY):
        pytest.skip("no C compiler for x86-64")
    folder = tmp_path_factory.mktemp("program")
    built("digits").write(folder, emit={"obj", "header"})
    (folder / "main.c").write_text(PROGRAM)
    subprocess.run(["gcc", "-static", "-Wall", "-Wextra", "-Werror", "main.c", "net.o", "-o", "program"], cwd=folder, check=True)
    return folder / "program"


def test_a_linked_program_chooses_and_runs(program):
    said = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    assert said == f"0 {max(n for n, level in enumerate(LEVELS) if runs_here(level))} 1.000"


V2_FEATURES = ("pni", "ssse3", "cx16", "sse4.1", "sse4.2", "popcnt", "lahf-lm")
V3_FEATURES = ("fma", "movbe", "xsave", "avx", "f16c", "bmi1", "avx2", "bmi2", "abm")
PROCESSORS = [("Nehalem", "0 0 1.000"), ("Haswell", "0 1 1.000"), ("core2duo", "-4 99 0.000")]
PROCESSORS += [(f"Haswell,-{feature}", "-4 99 0.000") for feature in V2_FEATURES]
PROCESSORS += [(f"Haswell,-{feature}", "0 0 1.000") for feature in V3_FEATURES]


@pytest.mark.parametrize("processor, expected", PROCESSORS, ids=[name for name, _ in PROCESSORS])
def test_every_feature_of_a_level_is_asked_for(program, processor, expected):
    """Emulated processors, whole ones and ones that lack a single feature."""
    if not shutil.which("qemu-x86_64"):
        pytest.skip("qemu-x86_64 not installed")
    done = subprocess.run(["qemu-x86_64", "-cpu", processor, str(program)], capture_output=True, text=True)
    assert done.stdout == expected


def test_one_machine_has_no_levels(capsys, tmp_path):
    with pytest.raises(CompileError, match="aarch64 is one machine.*\n.*compile for x86-64"):
        compile(read_graph(OPEN, "open"), "aarch64", multiversion=True)
    assert main(["compile", str(DIGITS), "--target", "cortex-m4", "--multiversion", "-o", str(tmp_path)]) == 1
    assert "cortex-m4 is one machine" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_on_the_command_line(capsys, tmp_path):
    arguments = ["compile", str(DIGITS), "--target", "x86-64", "--multiversion", "-O0", "--no-cache", "--workers", "0", "-o", str(tmp_path)]
    assert main(arguments) == 0
    assert defined_globals((tmp_path / "digits.o").read_bytes()) == ["digits_init", "digits_run"]


def test_the_cache_knows_one_level_from_several(tmp_path):
    graph = read_graph(OPEN, "open")
    options = {"prefix": "net", "optimize": "1", "workers": 0, "cache": tmp_path}
    one, several = compile(graph, "x86-64", **options), compile(graph, "x86-64", multiversion=True, **options)
    assert one.interface.levels == () and several.interface.levels == built("open").interface.levels
    assert compile(graph, "x86-64", multiversion=True, **options).object == several.object == built("open").object
