"""The arrows below a Program, for tests: its tiled loops in the interpreter and as machine code, under the usual or any legal schedule.

    tiled = [tile(kernel, target, choose=lambda nest, target: data.draw(schedules(nest, target))) for kernel in program.steps]
    assert_within(run_tiled(program, tiled, arrays), expected, bounds)
    assert_within(run_machine_code(program, tiled, target, arrays), expected, bounds)
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from hypothesis import strategies as st

from edgec.backends.codegen import compile_module
from edgec.backends.llvm import module_text
from edgec.backends.machine import initialise
from edgec.backends.target import Target
from edgec.buffer_memory import Memory
from edgec.kernel import Axis, Buffer, Program
from edgec.loops import For
from edgec.loops_interpreter import run_loops
from edgec.loops_verifier import verify_loops
from edgec.passes.legal import wide_axes
from edgec.passes.nest import Nest
from edgec.passes.schedule import Schedule
from edgec.passes.segments import Piece, Segment
from edgec.passes.tile import Tiled
from edgec.program_interpreter import run_steps

MAX_POINTS = 24  # of a drawn register tile
MAX_BODIES = 96  # of a drawn tile with its unrolled steps: written out for every one


def run_tiled(program: Program, tiled: Sequence[Tiled], arrays: Mapping[str, np.ndarray],
              ran: set[For] | None = None) -> dict[str, np.ndarray]:
    """Outputs by name, every kernel run by its loops in the interpreter; `ran` collects the loops that ran at least once."""
    def run(one: Tiled, flat: list[np.ndarray], bindings: Mapping[str, int]) -> None:
        verify_loops(one.loops)
        run_loops(one.loops, flat, bindings, ran)
    return _run(program, tiled, arrays, run)


def run_machine_code(program: Program, tiled: Sequence[Tiled], target: Target, arrays: Mapping[str, np.ndarray],
                     optimize: str = "1") -> dict[str, np.ndarray]:
    """Outputs by name, every kernel run as machine code of this computer, called directly."""
    compiled: dict[int, bytes] = {}  # a kernel in a loop is compiled once

    def run(one: Tiled, flat: list[np.ndarray], bindings: Mapping[str, int]) -> None:
        if id(one) not in compiled:
            compiled[id(one)] = compile_module(module_text(one.loops, target, "kernel"), target, optimize).object
        code = compiled[id(one)]
        word = ctypes.c_int64 if target.pointer_bits == 64 else ctypes.c_int32
        with Function(code, "kernel", [*[ctypes.c_void_p] * len(flat), *[word] * len(one.loops.symbols)]) as function:
            function(*(a.ctypes.data for a in flat), *(bindings[s.data] for s in one.loops.symbols))
    return _run(program, tiled, arrays, run)


Run = Callable[[Tiled, list[np.ndarray], Mapping[str, int]], None]


def _run(program: Program, tiled: Sequence[Tiled], arrays: Mapping[str, np.ndarray], run: Run) -> dict[str, np.ndarray]:
    memory = Memory(program, arrays)
    of = {id(kernel): one for kernel, one in zip(program.steps, tiled)}
    run_steps(program.steps, memory, lambda kernel: run(of[id(kernel)], [_flat(memory, buffer.root) for buffer in of[id(kernel)].buffers],
                                                        memory.bindings))
    return {b.name: memory.array(b).copy() for b in program.outputs}


def _flat(memory: Memory, root: Buffer) -> np.ndarray:
    """The whole memory of a buffer as one array; tables that packing made are no part of the program."""
    if root.kind == "constant":
        return np.array(root.data).ravel()
    return memory.array(Buffer(root.name, root.dtype, (root.max_size,), root.kind, parent=root, view_strides=(1,)))


class Function:
    """One function of an object, placed in this process's memory; close it, or use it in a `with`."""

    def __init__(self, code: bytes, symbol: str, arguments: Sequence[Any]):
        initialise()
        machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine()
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine, use_lmm=True)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        self._call = ctypes.CFUNCTYPE(None, *arguments)(self._engine.get_function_address(symbol))

    def __call__(self, *arguments: Any) -> None:
        self._call(*arguments)

    def __enter__(self) -> Function:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()


# ---------------------------------------------------------------------------------------------------------------- schedules

def schedules(nest: Nest, target: Target) -> st.SearchStrategy[Schedule]:
    """Schedules as `random_schedule` makes them, drawn and shrunk by hypothesis."""
    return st.randoms(use_true_random=False).map(lambda random: random_schedule(random, nest, target))


def random_schedule(random: Random, nest: Nest, target: Target) -> Schedule:
    """Any legal schedule of a nest, good or bad."""
    if nest.is_update:
        return Schedule(None, (), None, None, 1, nest.axes, (), 0, 1, 1)
    lanes = target.lanes(32)
    vector = random.choice([None, *(a for a in nest.axes if isinstance(a.extent, int) and a.extent > 1)])
    row = random.choice([None, *(a for a in nest.axes if a is not vector)])
    vectors = random.choice((1, 1, 2, 3)) if vector else 1
    rows = random.randint(1, min(row.max_extent, MAX_POINTS // vectors)) if row else 1
    reduce_vector = random.choice([None, *wide_axes(nest, lanes)]) if vector is None and lanes > 1 else None
    segments = _segments(random, vector, vectors, lanes, target.masks) if vector else ()
    rest = [a for a in nest.axes if a is not vector and a is not row]
    rest = random.sample(rest, len(rest))
    cut = random.randint(0, len(rest))
    outer, middle = tuple(rest[:cut]), tuple(rest[cut:])
    block = random.randint(0, middle[0].extent) if middle and isinstance(middle[0].extent, int) else 0
    copies = [n for n in (1, 2, 3, 4, 8, lanes) if n * rows * vectors <= MAX_BODIES]
    partials = random.choice((1, 1, 2, 4))
    return Schedule(vector, segments, reduce_vector, row, rows, outer, middle, block, partials, random.choice(copies))


def _segments(random: Random, axis: Axis, vectors: int, lanes: int, masks: bool) -> tuple[Segment, ...]:
    """The axis cut into runs of equal tiles: vectors of any power of two up to the machine's, a ragged end masked or in smaller vectors."""
    found: list[Segment] = []
    start = 0
    while start < axis.extent:
        rest = axis.extent - start
        width = random.choice([n for n in (1, 2, 4, 8, 16, 32) if n <= lanes])
        piece = Piece((width,) * vectors, width)
        if piece.width > rest:
            piece = _ragged(min(width, 1 << rest.bit_length()), rest, masks and random.random() < 0.5)
        count = random.randint(1, rest // piece.width)
        found.append(Segment(start, count, piece))
        start += count * piece.width
    return tuple(found)


def _ragged(lanes: int, rest: int, masks: bool) -> Piece:
    """A tile of `rest` elements, fewer than the tile before had."""
    full, tail = divmod(rest, lanes)
    if masks and tail:
        return Piece((lanes,) * (full + 1), tail)
    parts = [lanes] * full + [1 << n for n in reversed(range(tail.bit_length())) if tail >> n & 1]
    return Piece(tuple(parts), parts[-1])
