"""Compiled code against the interpreter, and where they part: the first tensor that differs, with its kernel.

    verify(graph, drawn_inputs(graph), target="native").outputs      # (Difference('y', ...),)

A whole model hides its intermediate results in the arena. To find the first wrong one, the same kernels are compiled once more with every
temporary as an output, and each is compared with what the program interpreter has for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Mapping, Sequence

import numpy as np

from edgec.accesses import program_buffers
from edgec.backends.target import Target, find
from edgec.compiler import emit, lower, optimise_graph
from edgec.graph import Graph
from edgec.interpreter import interpret
from edgec.kernel import Buffer, Kernel, Program
from edgec.passes.layout import replace_buffers
from edgec.program_interpreter import run_buffers, run_program
from edgec.program_text import print_kernel, unique_names
from edgec.types import DType, dtype_of

TOLERANCES = {"f64": 1e-9, "f32": 1e-4, "f16": 2e-2, "bf16": 1e-1}  # relative to the largest value of the tensor


@dataclass(frozen=True)
class Difference:
    """How far an array is from what it should be: largest expected value, largest difference, and their ratio."""

    name: str
    largest: float
    difference: float
    relative: float
    same: bool


@dataclass(frozen=True)
class Verdict:
    """The differences of all outputs; when one is too large, `first` says where it begins."""

    outputs: tuple[Difference, ...]
    first: str = ""

    @property
    def same(self) -> bool:
        return all(d.same for d in self.outputs)


def verify(graph: Graph, inputs: Mapping[str, np.ndarray], *, target: str | Target = "native", tolerance: float | None = None,
           passes: Sequence[str] = (), optimize: str = "3", **options: Any) -> Verdict:
    """Compile and run a graph on inputs by name, and compare with the interpreter. CompileError as `compile` and `interpret` raise it."""
    machine = target if isinstance(target, Target) else find(target)
    expected = interpret(graph, inputs)
    program = lower(optimise_graph(graph, machine, passes=passes), machine)
    found = emit(program, machine, "model", optimize, **options).run(inputs)
    outputs = tuple(compare(name, found[name], expected[name], tolerance) for name in expected)
    if all(d.same for d in outputs):
        return Verdict(outputs)
    return Verdict(outputs, _first_difference(program, machine, inputs, expected, tolerance, lambda p: emit(p, machine, "model", optimize, **options)))


def compare(name: str, found: np.ndarray, expected: np.ndarray, tolerance: float | None = None) -> Difference:
    """The difference of two arrays; integers must be equal, NaN and infinities in the same places."""
    dtype = dtype_of(expected.dtype)
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return Difference(name, np.inf, np.inf, np.inf, False)
    a, b = found.astype(np.float64), expected.astype(np.float64)
    same_special = np.array_equal(np.where(np.isfinite(a), 0, a), np.where(np.isfinite(b), 0, b), equal_nan=True)
    finite = np.isfinite(a) & np.isfinite(b)
    largest = float(np.abs(b, where=finite, out=np.zeros_like(b)).max(initial=0))
    difference = float(np.abs(a - b, where=finite, out=np.zeros_like(b)).max(initial=0))
    relative = difference / largest if largest else difference
    return Difference(name, largest, difference, relative, same_special and relative <= _allowed(dtype, tolerance))


def _allowed(dtype: DType, tolerance: float | None) -> float:
    if not dtype.is_float:
        return 0.0
    return TOLERANCES[dtype.name] if tolerance is None else tolerance


def drawn_inputs(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Normally distributed inputs (integers: 0 or 1, which every index allows); symbolic dimensions at their largest."""
    generator = np.random.default_rng(seed)
    found = {}
    for value in graph.inputs:
        numbers = generator.standard_normal(value.type.max_shape)
        found[value.name] = (numbers if value.dtype.is_float else numbers > 0).astype(value.dtype.numpy)
    return found


def _first_difference(program: Program, target: Target, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray],
                      tolerance: float | None, build: Any) -> str:
    """What to tell about the first wrong tensor."""
    interpreted = run_program(program, inputs)
    wrong = [name for name in expected if not compare(name, interpreted[name], expected[name], tolerance).same]
    if wrong:
        return f"the program in numpy differs from the model too, at output {wrong[0]}: a pass before code generation is wrong"
    opened, renamed = open_program(program)
    found, should = build(opened).run(inputs), run_buffers(program, inputs)
    for kernel in program.steps:
        for target_buffer in kernel.targets:
            name = renamed[target_buffer.root]
            difference = compare(target_buffer.name, *(_window(target_buffer, a) for a in (found[name], should[target_buffer])), tolerance)
            if not difference.same:
                return _report(kernel, target_buffer, difference)
    return "every kernel alone is right: what differs comes from buffers that share memory (liveness)"
