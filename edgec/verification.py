"""Compiled code against the interpreter, and where they part: the first tensor that differs, with its kernel.

    verify(graph, drawn_inputs(graph), target="native").outputs      # (Difference('y', ...),)

A whole model hides its intermediate results in the arena. To find the first wrong one, the same kernels are compiled once more with every
temporary as an output, and each is compared with what the program interpreter has for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgec.accesses import program_buffers
from edgec.backends.artifact import Artifact
from edgec.backends.target import Target
from edgec.buffer_memory import Memory
from edgec.compiler import lower, machine_for, optimise_graph
from edgec.emission import emit
from edgec.graph import Graph, Value
from edgec.interpreter import interpret
from edgec.kernel import Buffer, Kernel, Program
from edgec.passes.integers import integer_form
from edgec.passes.layout import replace_buffers
from edgec.passes.liveness import liveness
from edgec.program_interpreter import run_buffers, run_program
from edgec.program_text import print_kernel, unique_names
from edgec.text_slots import DEFAULT_BYTES, to_slots
from edgec.types import DType, dtype_of

TOLERANCES = {"f64": 1e-9, "f32": 1e-4, "f16": 2e-2, "bf16": 1e-1}  # relative to the largest value of the tensor
PRECISIONS = {"bf16": 1e-1, "f16": 5e-2}  # the same, for models of f32 whose contractions take operands of this type


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
           passes: Sequence[str] = (), without: Sequence[str] = (), optimize: str = "3", precision: str = "f32",
           max_flash_growth: float | None = None, string_bytes: int = DEFAULT_BYTES, **options: Any) -> Verdict:
    """Compile and run a graph on inputs by name, and compare with the interpreter. CompileError as `compile` and `interpret` raise it.

    With a lower `precision` the differences are those from f32, and by default PRECISIONS says how large they may be.
    """
    machine = machine_for(target, optimize, max_flash_growth)
    expected = interpret(integer_form(graph), inputs)
    lowered = optimise_graph(graph, machine, passes=passes, precision=precision, string_bytes=string_bytes)
    program = lower(lowered, machine, without=without)
    inputs, expected = slotted(inputs, lowered.inputs), slotted(expected, lowered.outputs, lowered.output_names)
    tolerance = PRECISIONS.get(precision) if tolerance is None else tolerance

    def build(each: Program) -> Artifact:
        return emit(each, machine, "model", optimize, **options)

    found = build(program).run(inputs)
    outputs = tuple(compare(name, found[name], expected[name], tolerance) for name in expected)
    if all(d.same for d in outputs):
        return Verdict(outputs)
    return Verdict(outputs, _first_difference(program, inputs, expected, tolerance, build))


def slotted(arrays: Mapping[str, np.ndarray], values: Sequence[Value], names: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Text as the slots that compiled code has in its place, all else as it is; the values are those of the lowered graph."""
    sizes = {name: value.shape[-1] for name, value in zip(names or [v.name for v in values], values) if value.type.rank}
    return {name: to_slots(a, sizes[name], f"'{name}'") if np.asarray(a).dtype.kind in "UO" else a for name, a in arrays.items()}


def compare(name: str, found: np.ndarray, expected: np.ndarray, tolerance: float | None = None) -> Difference:
    """The difference of two arrays; integers must be equal, NaN and infinities in the same places."""
    dtype = dtype_of(expected.dtype)
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return Difference(name, np.inf, np.inf, np.inf, False)
    a, b = found.astype(np.float64), expected.astype(np.float64)
    same_special = np.array_equal(np.where(np.isfinite(a), 0, a), np.where(np.isfinite(b), 0, b), equal_nan=True)
    finite = np.isfinite(a) & np.isfinite(b)
    largest = float(np.abs(b, where=finite, out=np.zeros_like(b)).max(initial=0))
    difference = float(np.abs(np.subtract(a, b, where=finite, out=np.zeros_like(b))).max(initial=0))
    relative = difference / largest if largest else difference
    return Difference(name, largest, difference, relative, same_special and relative <= _allowed(dtype, tolerance))


def _allowed(dtype: DType, tolerance: float | None) -> float:
    if not dtype.is_float:
        return 0.0
    return TOLERANCES[dtype.name] if tolerance is None else tolerance


def _first_difference(program: Program, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], tolerance: float | None,
                      build: Callable[[Program], Artifact]) -> str:
    """What to tell about the first wrong tensor."""
    interpreted = run_program(program, inputs)
    wrong = [name for name in expected if not compare(name, interpreted[name], expected[name], tolerance).same]
    if wrong:
        return f"the program in numpy differs from the model too, at output '{wrong[0]}': the mistake is before code generation"
    opened = open_program(program)
    memory, should = _native_memory(opened, build(opened), inputs), run_buffers(opened, inputs)
    for kernel in opened.steps:
        for buffer in kernel.targets:
            if buffer.root.kind != "scratch":
                difference = compare(buffer.name, memory.array(buffer), should[buffer], tolerance)
                if not difference.same:
                    return _report(kernel, difference)
    return "every kernel alone is right: the difference comes from buffers that share memory (liveness)"


def open_program(program: Program) -> Program:
    """The same kernels with every temporary as an output under a name of its own, so that nothing is overwritten."""
    buffers = program_buffers(program)
    names = unique_names(buffers)
    new: dict[Buffer, Buffer] = {}
    for buffer in buffers:
        if buffer.parent is not None and buffer.parent in new:
            new[buffer] = replace(buffer, parent=new[buffer.parent])
        elif buffer.kind == "temporary" and buffer.parent is None:
            new[buffer] = replace(buffer, kind="output", name=names[buffer])
    outputs = (*program.outputs, *(b for b in new.values() if b.parent is None))
    return liveness(replace(replace_buffers(program, new), outputs=outputs, arena={}))


def _native_memory(program: Program, artifact: Artifact, inputs: Mapping[str, np.ndarray]) -> Memory:
    """The memory that the compiled program leaves, outputs taken as they lie there."""
    memory = Memory(program, inputs)
    for name, array in artifact.run(inputs).items():
        memory.fill(next(b for b in program.outputs if b.name == name), array.ravel())
    return memory


def _report(kernel: Kernel, difference: Difference) -> str:
    place = f" ({kernel.loc})" if kernel.loc else ""
    return (f"the first tensor that differs is '{difference.name}', by {difference.difference:.3g} of {difference.largest:.3g}\n"
            f"it is stored by{place}:\n\n{print_kernel(kernel)}")
