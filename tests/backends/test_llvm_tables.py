"""Bytes picked from a table of 256: the same on every width and target, by vpermi2b where there is one, lane by lane elsewhere."""

from dataclasses import replace

import numpy as np
import pytest

from edgec.backends.codegen import compile_module
from edgec.backends.llvm import module_text
from edgec.backends.llvm_tables import picking_row
from edgec.backends.target import find
from edgec.compiler import lower
from edgec.graph_parser import parse_graph
from edgec.interpreter import interpret
from edgec.loops_parser import parse_loops
from edgec.loops_text import print_loops
from edgec.loops_verifier import verify_loops
from edgec.passes.tile import tile
from edgec.testing.arrows import run_machine_code, run_tiled
from edgec.types import DTYPES

NATIVE = find("native")
MACHINES = {"native": NATIVE, "native-256": replace(NATIVE, vector_bits=256, masks=False), "native-128": replace(NATIVE, vector_bits=128),
            **{name: find(name) for name in ("x86-64-v2", "x86-64-v3")}}


def looked_up(source: str, result: str, count: int):
    """A graph that looks bytes up in a drawn table, and an input with all of them."""
    random = np.random.default_rng(count)
    table = random.integers(0, 256, 256).astype(np.uint8).view(DTYPES[result].numpy)
    graph = parse_graph(f"""graph g(%x: {source}[2,{count}]) -> (%y) {{
      @t: {result}[256]
      %y = edgec.Lookup(%x, @t) : {result}[2,{count}]
    }}""", {"t": table})
    return graph, {"x": np.resize(np.arange(256, dtype=np.uint8), (2, count)).view(DTYPES[source].numpy)}


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("source, result", [("u8", "u8"), ("u8", "i8"), ("i8", "u8"), ("i8", "i8")])
@pytest.mark.parametrize("count", [5, 16, 77, 300])
def test_every_byte_of_a_table_is_found(name, source, result, count):
    target, (graph, arrays) = MACHINES[name], looked_up(source, result, count)
    program = lower(graph, target)
    tiled = [tile(kernel, target) for kernel in program.steps]
    expected = interpret(graph, arrays)["y"]
    for found in (run_tiled(program, tiled, arrays), run_machine_code(program, tiled, target, arrays)):
        np.testing.assert_array_equal(found["y"], expected)


def test_loops_pick_whole_vectors_and_read_back():
    loops = tile(lower(looked_up("u8", "u8", 300)[0], NATIVE).steps[-1], NATIVE).loops
    text = print_loops(loops)
    assert "[cast<index>(" in text and "vector(" not in text
    assert print_loops(parse_loops(text)) == text
    verify_loops(loops)


@pytest.mark.skipif(picking_row(NATIVE) is None, reason="this computer picks no bytes within registers")
def test_a_row_picks_them():
    loops = tile(lower(looked_up("u8", "u8", 300)[0], NATIVE).steps[-1], NATIVE).loops
    assembly = compile_module(module_text(loops, NATIVE, "kernel"), NATIVE, "3", ("asm",)).asm
    assert "vpermi2b" in assembly or "vpermt2b" in assembly
