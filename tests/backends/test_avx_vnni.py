"""AVX-VNNI: quantized networks use its dot products; run bit for bit in their twins' encoding where only AVX-512-VNNI is present.

The instructions of both extensions are the same but for the encoding, which an assembler changes on request (`{vex}`, `{evex}`).
"""

import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest

import edgec
from edgec.backends.codegen import compile_module
from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.interpreter import interpret
from edgec.passes.integers import integer_form
from edgec.passes.tile import tile
from edgec.testing import arrows as testing_arrows
from edgec.testing.integers import integer_operators
from edgec.testing.quantized import byte_inputs, quantized_network

TARGET = find("alderlake")
TWIN = {"avx512vnni", "avx512vl"} <= set(find("native").features)


def assembly(seed: int) -> str:
    return edgec.compile(quantized_network(seed), TARGET.name, optimize="1", workers=0, keep=("asm",)).asm


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_bytes_are_multiplied_by_it(seed):
    """In VEX encoding, and nothing of AVX-512 beside it."""
    asm = assembly(seed)
    assert "{vex}\tvpdpbusd\t" in asm
    assert not re.search(r"vpmaddwd|vpmaddubsw|%zmm|%[xy]mm(1[6-9]|[23]\d)|%k[0-7]", asm)


def test_words_of_16_bits_are_multiplied_by_it():
    assert "{vex}\tvpdpwssd\t" in assembly(2)


@pytest.mark.skipif(not TWIN, reason="this computer has no AVX-512-VNNI on short vectors")
@pytest.mark.parametrize("make, seed", [*((quantized_network, n) for n in range(6)), *((integer_operators, n) for n in (501, 502))])
def test_every_bit_in_the_encoding_of_the_twin(make, seed, tmp_path, monkeypatch):
    """Networks, and every integer operator."""
    changed = []

    def in_that_encoding(text, target, optimize):
        built = compile_module(text, target, optimize, ("asm",))
        source, code = tmp_path / "kernel.s", tmp_path / "kernel.o"
        source.write_text(built.asm.replace("{vex}\t", "{evex}\t"))
        changed.append(built.asm.count("{vex}\tvpdp"))
        subprocess.run(["gcc", "-c", source, "-o", code], check=True, timeout=120)
        return replace(built, object=code.read_bytes())

    monkeypatch.setattr(testing_arrows, "compile_module", in_that_encoding)
    graph = make(seed)
    arrays = byte_inputs(graph, seed)
    program = lower(optimise_graph(graph, TARGET), TARGET)
    tiled = [tile(kernel, TARGET) for kernel in program.steps]
    found = testing_arrows.run_machine_code(program, tiled, TARGET, arrays)
    assert sum(changed)
    for name, expected in interpret(integer_form(graph), arrays).items():
        np.testing.assert_array_equal(found[name], expected)
