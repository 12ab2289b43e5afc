"""Runs a Program in numpy, kernel by kernel: what a compiled program is compared with, and how passes over programs are tested.

Buffers are real memory: a view writes into its parent, and with `arena=True` temporaries lie at their offsets in one block of bytes, so a
wrong plan shows as a wrong result. Outer points are computed in chunks that need at most `chunk_bytes`; along axes that a kernel's own
stores make sequential (a scratch buffer, a recurrence) they are taken one by one.

    run_program(fuse(graph), {"x": x})["y"]
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Iterator, Mapping

import numpy as np

from edgec.accesses import buffer_reads, stage_roots
from edgec.buffer_memory import Memory
from edgec.errors import Internal
from edgec.evaluate import evaluate
from edgec.expr import Expr, ReduceParts, as_expr, const, evaluate_dim, inside, read, transform, walk
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.types import DType, index

CHUNK_BYTES = 64 << 20
POINT_BYTES = 48  # of one point while it is evaluated: a few index arrays and values


def run_program(program: Program, arrays: Mapping[Any, np.ndarray], *, chunk_bytes: int = CHUNK_BYTES,
                arena: bool = False) -> dict[str, np.ndarray]:
    """Outputs by name, for inputs by name or Buffer. ModelError where inputs do not fit; Internal where a kernel leaves a buffer."""
    memory = run_memory(program, arrays, chunk_bytes=chunk_bytes, arena=arena)
    return {b.name: memory.array(b).copy() for b in program.outputs}


def run_buffers(program: Program, arrays: Mapping[Any, np.ndarray], *, chunk_bytes: int = CHUNK_BYTES) -> dict[Buffer, np.ndarray]:
    """Every buffer a kernel stores, as it is at the end, in order of their kernels: to find the first that differs."""
    memory = run_memory(program, arrays, chunk_bytes=chunk_bytes)
    return {target: memory.array(target).copy() for kernel in program.steps for target in kernel.targets}


def run_memory(program: Program, arrays: Mapping[Any, np.ndarray], *, chunk_bytes: int = CHUNK_BYTES, arena: bool = False) -> Memory:
    """The memory after all kernels have run."""
    memory = Memory(program, arrays, arena)
    for kernel in program.steps:
        run_kernel(kernel, memory, chunk_bytes)
    return memory


def run_kernel(kernel: Kernel, memory: Memory, chunk_bytes: int = CHUNK_BYTES) -> None:
    """Execute one kernel on the memory."""
    runner = _Runner(kernel, memory)
    try:
        for box in runner.boxes(chunk_bytes):
            runner.run(box)
    except IndexError as error:
        raise Internal(f"kernel {kernel.name}: {error}", loc=kernel.loc) from error


@dataclass(frozen=True, eq=False)
class _Local:
    """A stage's values in the current box: what reads of the stage become, with the outer point in front of the index."""

    dtype: DType
    shape: tuple[int, ...]


class _Runner:
    """One kernel with the numbers of its extents; boxes of outer points are run one after the other."""

    def __init__(self, kernel: Kernel, memory: Memory):
        self.kernel, self.memory, self.symbols = kernel, memory, memory.symbols
        self.extents = [evaluate_dim(a.extent, memory.bindings) for a in kernel.axes]
        self.locals = {s: _Local(s.dtype, (*self.extents, *(self.largest(a) for a in s.axes))) for s in kernel.stages if s.target is None}
        self.stages = [self.prepared(s) for s in kernel.stages]
        self.values: dict[_Local, np.ndarray] = {}
        self.starts: tuple[int, ...] = ()

    def largest(self, axis: Axis) -> int:
        """The extent of an inner axis, at most: it may depend on the outer point."""
        if isinstance(axis.extent, int) or self.varies(axis):
            return axis.max_extent
        return evaluate_dim(axis.extent, self.memory.bindings)

    def varies(self, axis: Axis) -> bool:
        return isinstance(axis.extent, Expr) and not axis.extent.free.isdisjoint(a.var for a in self.kernel.axes)

    def prepared(self, stage: Stage) -> Stage:
        """The stage with reads of earlier stages turned into reads of their local values, empty where an inner extent is shorter."""
        outer = tuple(a.var for a in self.kernel.axes)

        def local(node: Expr) -> Expr | None:
            return read(self.locals[node.data], (*outer, *node.args)) if node.op == "read" and node.data in self.locals else None

        value, *indices = transform((stage.value, *stage.indices), local)
        guards = [(a.var, a.extent) for a in stage.axes if self.varies(a)]
        return Stage(stage.name, stage.axes, inside(guards, value, const(0, value.dtype)), stage.target, tuple(indices))

    def boxes(self, chunk_bytes: int) -> Iterator[tuple[tuple[int, int], ...]]:
        """Boxes of outer points, (start, stop) for each axis, in row-major order."""
        sizes = [1 if sequential else extent for sequential, extent in zip(self.sequential(), self.extents)]
        point = POINT_BYTES * max((_points(s) * prod(self.largest(a) for a in s.axes) for s in self.stages), default=1)
        for n in range(len(sizes)):
            points = prod(sizes)
            if points * point > chunk_bytes:
                sizes[n] = max(1, min(sizes[n], chunk_bytes * sizes[n] // (points * point)))
        steps = [range(0, extent, max(1, size)) for extent, size in zip(self.extents, sizes)]
        for starts in product(*steps):
            yield tuple((a, min(a + size, extent)) for a, size, extent in zip(starts, sizes, self.extents))

    def sequential(self) -> list[bool]:
        """For each outer axis, whether one point may read what another stored."""
        pairs = [(stage, node) for stage in self.kernel.stages if stage.target for node in buffer_reads(self.kernel)
                 if node.data is stage.target or node.data.root is stage.target.root and self.overlap(node.data, stage.target)]
        return [not all(_keeps_apart(axis.var, stage, node) for stage, node in pairs) for axis in self.kernel.axes]

    def overlap(self, a: Buffer, b: Buffer) -> bool:
        return np.shares_memory(self.memory.array(a), self.memory.array(b))

    def run(self, box: tuple[tuple[int, int], ...]) -> None:
        self.starts = tuple(start for start, _ in box)
        for stage in self.stages:
            env, shape = self.grid(stage, box)
            value = np.broadcast_to(self.evaluate(stage.value, env), shape)
            if stage.target is None:
                self.values[self.locals[self.original(stage)]] = value
            else:
                self.store(stage, env, shape, value)

    def original(self, stage: Stage) -> Stage:
        return self.kernel.stages[self.stages.index(stage)]

    def grid(self, stage: Stage, box: tuple[tuple[int, int], ...]) -> tuple[dict[Expr, Any], tuple[int, ...]]:
        """Variables as arrays that broadcast to outer x inner points, and that shape."""
        ranges = [range(a, b) for a, b in box] + [range(self.largest(a)) for a in stage.axes]
        variables = [a.var for a in (*self.kernel.axes, *stage.axes)]
        env: dict[Expr, Any] = dict(self.symbols)
        for n, (variable, numbers) in enumerate(zip(variables, ranges)):
            env[variable] = np.arange(numbers.start, numbers.stop, dtype=np.int64).reshape((-1,) + (1,) * (len(ranges) - 1 - n))
        return env, tuple(map(len, ranges))

    def evaluate(self, expr: Expr, env: dict[Expr, Any]) -> np.ndarray:
        return evaluate(expr, env, self.load)

    def load(self, source: Any, indices: tuple[np.ndarray, ...]) -> np.ndarray:
        if isinstance(source, _Local):
            outer = tuple(i - start for i, start in zip(indices, self.starts))
            return self.values[source][(*outer, *indices[len(outer):])]
        return self.memory.array(source)[indices]

    def store(self, stage: Stage, env: dict[Expr, Any], shape: tuple[int, ...], value: np.ndarray) -> None:
        target = self.memory.array(stage.target)
        if stage.value.dtype is not stage.target.dtype:
            raise Internal(f"kernel {self.kernel.name} stores {stage.value.dtype} into {stage.target}", loc=self.kernel.loc)
        indices = tuple(np.broadcast_to(self.evaluate(i, env), shape) for i in stage.indices)
        mask = self.mask(stage, env, shape)
        if mask is not None:
            indices, value = tuple(i[mask] for i in indices), value[mask]
        for i, size in zip(indices, target.shape):
            if i.size and not 0 <= i.min() <= i.max() < size:
                raise IndexError(f"a store to {stage.target} leaves it: index {i.min()} to {i.max()} of {size}")
        target[indices] = value if indices else value.ravel()[-1]  # one place, which the last point keeps

    def mask(self, stage: Stage, env: dict[Expr, Any], shape: tuple[int, ...]) -> np.ndarray | None:
        """Where the inner point exists, when that depends on the outer point."""
        limits = [env[a.var] < evaluate(as_expr(a.extent, index), env, None) for a in stage.axes if self.varies(a)]
        return np.logical_and.reduce([np.broadcast_to(limit, shape) for limit in limits]) if limits else None


def _keeps_apart(axis: Expr, stage: Stage, node: Expr) -> bool:
    """Whether points that differ in `axis` store and read different elements, since both hold it at the same place of the index."""
    return node.data is stage.target and any(i is axis and j is axis for i, j in zip(stage.indices, node.args))


def _points(stage: Stage) -> int:
    """The most points of nested reductions that are evaluated at once for one point of the stage."""
    size: dict[int, int] = {}
    for node in walk(*stage_roots(stage)):
        inner = max((size[id(a)] for a in node.args), default=1)
        if node.op == "reduce":
            inner *= prod(max(e.hi, 1) for e in ReduceParts(node).extents)
        size[id(node)] = inner
    return max(size.values())
