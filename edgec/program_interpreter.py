"""Runs a Program in numpy, kernel by kernel: what a compiled program is compared with, and how passes over programs are tested.

Buffers are real memory: a view writes into its parent, and with `arena=True` temporaries lie at their offsets in one block of bytes, so a
wrong plan shows as a wrong result. Outer points are computed in chunks that need at most `chunk_bytes`; along axes that a kernel's own
stores make sequential (a scratch buffer, a recurrence) they are taken one by one.

    run_program(fuse(graph), {"x": x})["y"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

import numpy as np

from edgec.accesses import buffer_reads, kernel_buffers, stage_roots
from edgec.buffer_memory import Memory, poisoned
from edgec.errors import Internal
from edgec.evaluate import NAMED, evaluate
from edgec.expr import Expr, ReduceParts, const, inside, read
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.repeats import groups
from edgec.sweeps import evaluate_dim, transform, walk
from edgec.types import DType

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
    def run(kernel: Kernel) -> None:
        run_kernel(kernel, memory, chunk_bytes)
        memory.measure(kernel)

    run_steps(program.steps, memory, run)
    return memory


def run_steps(steps: Sequence[Kernel], memory: Memory, run: Callable[[Kernel], None], depth: int = 0,
              numbers: Sequence[int] | None = None) -> None:
    """Call `run` for every step, loops around steps included: their variables have values in the memory meanwhile."""
    for axis, group in groups(steps, depth, numbers):
        if axis is None:
            for n in group:
                run(steps[n])
        else:
            for value in range(memory.number(axis.extent)):
                if axis.condition is not None and not memory.array(axis.condition).item():
                    break
                memory.bind(axis.var, value)
                run_steps(steps, memory, run, depth + 1, group)


def run_kernel(kernel: Kernel, memory: Memory, chunk_bytes: int = CHUNK_BYTES) -> None:
    """Execute one kernel on the memory; the loops around it are the caller's."""
    runner = _Runner(kernel, memory)
    try:
        for box in runner.boxes(chunk_bytes):
            runner.run(box)
    except IndexError as error:
        raise Internal(f"kernel {kernel.name}: {error}", loc=kernel.loc) from error


@dataclass(frozen=True, eq=False)
class _Private:
    """A scratch buffer with a copy for every outer point of the current box: its index has the outer point in front."""

    dtype: DType
    shape: tuple[int, ...]


class _Runner:
    """One kernel with the numbers of its extents; boxes of outer points are run one after the other."""

    def __init__(self, kernel: Kernel, memory: Memory):
        self.kernel, self.memory, self.symbols = kernel, memory, memory.symbols
        self.outer = tuple(a.var for a in kernel.axes)
        self.extents = [evaluate_dim(a.extent, memory.bindings) for a in kernel.axes]
        self.private = {b: _Private(b.dtype, (*self.extents, *memory.array(b).shape)) for b in self.scratch()}
        self.stages = [self.prepared(s) for s in kernel.stages]
        self.copies: dict[_Private, np.ndarray] = {}
        self.starts: tuple[int, ...] = ()

    def scratch(self) -> list[Buffer]:
        """The scratch buffers that may have copies; in an arena they are what they are, so that its plan is tested."""
        touched = {b: None for b in kernel_buffers(self.kernel) if b.root.kind == "scratch"}
        viewed = {b.root for b in touched if b.parent is not None}
        return [] if self.memory.in_arena else [b for b in touched if b.parent is None and b not in viewed]

    def largest(self, axis: Axis) -> int:
        """The extent of an inner axis, at most: it may depend on the outer point."""
        if isinstance(axis.extent, int) or self.varies(axis):
            return axis.max_extent
        return evaluate_dim(axis.extent, self.memory.bindings)

    def varies(self, axis: Axis) -> bool:
        return isinstance(axis.extent, Expr) and not axis.extent.free.isdisjoint(self.outer)

    def prepared(self, stage: Stage) -> Stage:
        """The stage over copies of scratch buffers, all its conditions as guards, and nothing evaluated outside of them."""
        def private(node: Expr) -> Expr | None:
            return read(self.private[node.data], (*self.outer, *node.args)) if node.op == "read" and node.data in self.private else None

        conditions = [e for a in stage.axes if self.varies(a) for e in (a.var, a.extent)] + [e for pair in stage.guards for e in pair]
        value, *rest = transform((stage.value, *stage.indices, *conditions), private)
        guards = tuple(zip(rest[len(stage.indices)::2], rest[len(stage.indices) + 1::2]))
        indices = [inside(guards, i, 0) for i in rest[:len(stage.indices)]]
        front = self.outer if stage.target in self.private else ()
        return replace(stage, value=inside(guards, value, const(0, value.dtype)), indices=(*front, *indices), guards=guards)

    def boxes(self, chunk_bytes: int) -> Iterator[tuple[tuple[int, int], ...]]:
        """Boxes of outer points, (start, stop) for each axis, in row-major order."""
        sizes = [1 if sequential else extent for sequential, extent in zip(self.sequential(), self.extents)]
        point = POINT_BYTES * max((_points(s) * prod(self.largest(a) for a in s.axes) for s in self.stages), default=1)
        point += sum(b.bytes for b in self.private)
        for n in range(len(sizes)):
            points = prod(sizes)
            if points * point > chunk_bytes:
                sizes[n] = max(1, min(sizes[n], chunk_bytes * sizes[n] // (points * point)))
        steps = [range(0, extent, max(1, size)) for extent, size in zip(self.extents, sizes)]
        for starts in product(*steps):
            yield tuple((a, min(a + size, extent)) for a, size, extent in zip(starts, sizes, self.extents))

    def sequential(self) -> list[bool]:
        """For each outer axis, whether points that differ in it alone may touch one element that some stage stores."""
        stores = [(s.target, s.indices) for s in self.kernel.stages if s.target not in self.private]
        reads = [(node.data, node.args) for node in buffer_reads(self.kernel) if node.data not in self.private]
        pairs = [(a, b) for n, a in enumerate(stores) for b in (*reads, *stores[n + 1:])
                 if self.overlap(a[0], b[0]) and not self.apart(a, b)]
        return [not all(_keeps_apart(axis, a, b) for a, b in pairs) for axis in self.outer]

    def overlap(self, a: Buffer, b: Buffer) -> bool:
        return a is b or a.root is b.root and np.shares_memory(self.memory.array(a), self.memory.array(b))

    def apart(self, a: Access, b: Access) -> bool:
        """Whether two accesses to one buffer differ at a place of the index that is a number during this run of the kernel."""
        fixed = [(i, j) for i, j in zip(a[1], b[1]) if a[0] is b[0] and i.free | j.free <= self.symbols.keys()]
        return any(self.memory.number(i) != self.memory.number(j) for i, j in fixed)

    def run(self, box: tuple[tuple[int, int], ...]) -> None:
        self.starts = tuple(start for start, _ in box)
        lengths = tuple(stop - start for start, stop in box)
        for private in self.private.values():
            shape = lengths + private.shape[len(lengths):]
            self.copies[private] = poisoned(prod(shape) * private.dtype.bytes).view(private.dtype.numpy).reshape(shape)
        for stage in self.stages:
            self.store(stage, *self.grid(stage, box))

    def grid(self, stage: Stage, box: tuple[tuple[int, int], ...]) -> tuple[dict[Expr, Any], tuple[int, ...]]:
        """Variables as arrays that broadcast to outer x inner points, and that shape."""
        ranges = [range(a, b) for a, b in box] + [range(self.largest(a)) for a in stage.axes]
        variables = [*self.outer, *(a.var for a in stage.axes)]
        env: dict[Expr, Any] = dict(self.symbols)
        for n, (variable, numbers) in enumerate(zip(variables, ranges)):
            env[variable] = np.arange(numbers.start, numbers.stop, dtype=np.int64).reshape((-1,) + (1,) * (len(ranges) - 1 - n))
        return env, tuple(map(len, ranges))

    def load(self, source: Any, indices: tuple[np.ndarray, ...]) -> np.ndarray:
        return self.memory.array(source)[indices] if isinstance(source, Buffer) else self.copies[source][self.moved(indices)]

    def moved(self, indices: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """An index whose front is an outer point, with that counted from the start of the box."""
        count = len(self.starts)
        return (*(i - start for i, start in zip(indices, self.starts)), *indices[count:])

    def store(self, stage: Stage, env: dict[Expr, Any], shape: tuple[int, ...]) -> None:
        """target[indices] (= | combine=) value at every point of the grid that the guards allow, in row-major order."""
        if stage.value.dtype is not stage.target.dtype:
            raise Internal(f"kernel {self.kernel.name} stores {stage.value.dtype} into {stage.target}", loc=self.kernel.loc)
        value, *indices = (np.broadcast_to(evaluate(e, env, self.load), shape) for e in (stage.value, *stage.indices))
        if stage.guards:
            mask = np.broadcast_to(self.allowed(stage, env), shape)
            value, indices = value[mask], [i[mask] for i in indices]
        target = self.memory.array(stage.target)
        if stage.target in self.private:
            target, indices = self.copies[self.private[stage.target]], self.moved(tuple(indices))
        for i, size in zip(indices, target.shape):
            if i.size and not 0 <= i.min() <= i.max() < size:
                raise IndexError(f"a store to {stage.target} leaves it: index {i.min()} to {i.max()} of {size}")
        if not indices:  # all points share the one element
            target, indices = target.reshape(1), [np.zeros(value.shape, np.int64)]
        if stage.combine:
            NAMED[stage.combine].at(target, tuple(indices), value)
        else:
            target[tuple(indices)] = value

    def allowed(self, stage: Stage, env: dict[Expr, Any]) -> np.ndarray:
        """Where every guard holds."""
        within = np.asarray(True)
        for pair in stage.guards:
            i, extent = (evaluate(e, env, self.load) for e in pair)
            within = within & (i >= 0) & (i < extent)
        return within


Access = tuple[Buffer, tuple[Expr, ...]]


def _keeps_apart(axis: Expr, store: Access, other: Access) -> bool:
    """Whether points that differ in `axis` touch different elements, since both hold it at the same place of the index."""
    return store[0] is other[0] and any(i is axis and j is axis for i, j in zip(store[1], other[1]))


def _points(stage: Stage) -> int:
    """The most points of nested reductions that are evaluated at once for one point of the stage."""
    size: dict[int, int] = {}
    for node in walk(*stage_roots(stage)):
        inner = max((size[id(a)] for a in node.args), default=1)
        if node.op == "reduce":
            inner *= prod(max(e.hi, 1) for e in ReduceParts(node).extents)
        size[id(node)] = inner
    return max(size.values())
