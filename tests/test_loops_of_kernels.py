"""Tiled loops against the kernels they come from, both interpreted: for drawn programs, on targets with and without vectors."""

import numpy as np
import pytest
from hypothesis import given, settings

from edgec.backends.target import find
from edgec.buffer_memory import Memory
from edgec.loops_interpreter import run_loops
from edgec.loops_parser import parse_loops
from edgec.loops_text import print_loops
from edgec.loops_verifier import verify_loops
from edgec.passes.tile import tile
from edgec.program_interpreter import run_memory, run_steps
from edgec.testing import programs, random_inputs

TARGETS = ("x86-64-v3", "cortex-m4", "aarch64")


def run_tiled(program, arrays, target):
    """The memory after running every kernel as loops, verified and read back from their text."""
    memory = Memory(program, arrays)

    def run(kernel):
        tiled = tile(kernel, find(target))
        verify_loops(tiled.loops)
        again = parse_loops(print_loops(tiled.loops))
        blocks = [b.data.ravel() if b.kind == "constant" else memory.block(b.root) for b in tiled.buffers]
        run_loops(again, blocks, memory.bindings)

    run_steps(program.steps, memory, run)
    return memory


@pytest.mark.parametrize("target", TARGETS)
@given(programs())
@settings(max_examples=25)
def test_loops_do_what_kernels_say(target, program):
    arrays = random_inputs(program)
    expected, found = run_memory(program, arrays), run_tiled(program, arrays, target)
    for output in program.outputs:
        np.testing.assert_allclose(found.array(output), expected.array(output), rtol=1e-4, atol=1e-4)
