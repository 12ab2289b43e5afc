"""The kernel language: what each element is. A Program lists kernels over buffers.

    Program  ::= inputs outputs buffers: Buffer*  steps: Kernel*  symbols: var*  sizes: Size*  states: (input, output)*
    Size     ::= symbol buffer element               -- a symbol whose value a kernel computes; every other one comes with the call
    Buffer   ::= name dtype shape kind(input|output|constant|temporary|scratch|sizes) data? layout
    Kernel   ::= name axes: Axis* stages: Stage* repeat: Axis* block   -- neighbours in the same repeat are the body of one loop
    Axis     ::= var extent condition?           -- the outer axes, shared by all stages; a repeat may end on a condition
    Stage    ::= name axes: Axis* value: Expr target: Buffer indices: Expr* combine? guards?
                                                 -- inner axes; target[indices] (= | combine=) value at every point inside the guards

A stage's value reads buffers (`expr.read`) and holds reductions (`expr.reduce`). A target of kind "scratch" is an intermediate that lives
inside one outer point; later stages of the kernel read it. Neighbouring stages over the very same axes that do not read each other are
several results of one walk. With a `combine` a stage is an update: it merges into what the target holds, points in order of the axes.
With a `block` the last outer axis is walked that many points at a time, each stage for all of them before the next stage; scratch then
has a slot for each (an index i % block), so that rows of queries or of a table share vectors, registers and loads.

    softmax over rows: axes (n < 4); m[] = max_over(c; x[n,c]); e[c] = exp(x[n,c] - m[]); s[] = sum_over(c; e[c]); y[n,c] = e[c] / s[]
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from edgec import linear
from edgec.expr import Expr, as_expr, const, dim
from edgec.types import DType, index


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory for one tensor. Identity is equality.

    `order` lists the axes outermost first (dense row-major over that order; () is ONNX's order). With a `parent` the buffer is a view:
    element i lies at offset + sum(i_a * view_strides_a) of the parent's elements.
    """

    name: str
    dtype: DType
    shape: tuple[Any, ...]
    kind: str
    data: np.ndarray | None = None
    order: tuple[int, ...] = ()
    parent: Buffer | None = None
    offset: int = 0
    view_strides: tuple[Any, ...] = ()
    pad: int = 0  # elements left free after every run of the innermost axis, so that runs do not meet in one cache set

    @property
    def rank(self) -> int:
        return len(self.shape)

    @cached_property
    def max_shape(self) -> tuple[int, ...]:
        return tuple(d if isinstance(d, int) else d.hi for d in self.shape)

    @property
    def max_size(self) -> int:
        """Elements at the upper bound of symbolic dimensions."""
        return int(np.prod(self.max_shape, dtype=np.int64)) if self.shape else 1

    @property
    def memory_size(self) -> int:
        """Elements of memory at the upper bound, free ones included."""
        if not self.pad:
            return self.max_size
        inner = self.max_shape[(self.order or range(self.rank))[-1]]
        return self.max_size // inner * (inner + self.pad)

    @property
    def bytes(self) -> int:
        return self.memory_size * self.dtype.bytes

    @property
    def root(self) -> Buffer:
        """The buffer whose memory this is."""
        found = self
        while found.parent is not None:
            found = found.parent
        return found

    @cached_property
    def strides(self) -> tuple[Any, ...]:
        """Elements of the root between neighbours along each axis (ints, or index expressions over the symbols)."""
        if self.parent is not None:
            return self.view_strides
        found: list[Any] = [1] * self.rank
        step: Any = 1
        for number, axis in enumerate(reversed(self.order or range(self.rank))):
            found[axis] = step
            step = dim(step * self.shape[axis] + (self.pad if number == 0 else 0))
        return tuple(found)

    def flat(self, indices: tuple[Expr, ...]) -> Expr:
        """The element offset of an index in the root's memory."""
        strides = self.strides
        if all(type(stride) is int for stride in strides):
            return linear.weighted(self.offset, ((as_expr(i, index), stride) for i, stride in zip(indices, strides)))
        total = const(self.offset, index)
        for i, stride in zip(indices, strides):
            total = total + i * stride
        return total

    def __repr__(self) -> str:
        return f"{self.name}: {self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, eq=False)
class Axis:
    """A range of index points: `var` runs from 0 below `extent`.

    One around kernels may have a `condition`, a buffer of one bool: the loop ends before an iteration that finds it false. A loop of extent
    1 with a condition is an `if`.
    """

    var: Expr
    extent: Any  # int or index expression
    condition: Buffer | None = None

    @property
    def max_extent(self) -> int:
        return self.extent if isinstance(self.extent, int) else self.extent.hi


@dataclass(frozen=True, eq=False)
class Stage:
    """One named intermediate of a kernel (target None) or a store to a buffer."""

    name: str
    axes: tuple[Axis, ...]
    value: Expr
    target: Buffer | None = None
    indices: tuple[Expr, ...] = ()
    combine: str = ""  # "" stores; add, mul, min, max, or, and merge into what is there
    guards: tuple[tuple[Expr, Expr], ...] = ()  # (index, extent): the store happens where 0 <= index < extent for all

    @property
    def dtype(self) -> DType:
        return self.value.dtype

    @property
    def shape(self) -> tuple[Any, ...]:
        return tuple(a.extent for a in self.axes)


@dataclass(frozen=True, eq=False)
class Kernel:
    """One loop nest over shared outer axes."""

    name: str
    axes: tuple[Axis, ...]
    stages: tuple[Stage, ...]
    schedule: Any = None
    repeat: tuple[Axis, ...] = ()  # loops around the kernel; neighbours under the same axes run together, iteration by iteration
    loc: Any = None
    origins: tuple[Any, ...] = ()  # the places in the model of every operator that was fused into it
    external: ExternalCall | None = None  # its code is a call of a C function, and nothing else
    block: int = 0  # points of the last outer axis that are walked together, stage by stage (0: one by one)

    @property
    def targets(self) -> tuple[Buffer, ...]:
        return tuple(s.target for s in self.stages if s.target is not None)


@dataclass(frozen=True, eq=False)
class Size:
    """A number that a kernel computes and later ones take as a size: an element of a buffer of kind "sizes", within low..high.

    `symbol` is the variable it is the value of; a number where it can be that number only.
    """

    symbol: Any
    buffer: Buffer
    element: int
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class ExternalCall:
    """A C function (edgec.c_functions.External) and the buffers it is given: those of its operands, then that of its result."""

    function: Any
    pointers: tuple[Buffer, ...]


@dataclass(frozen=True, eq=False)
class Program:
    """Kernels over buffers, in execution order."""

    name: str
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    steps: tuple[Kernel, ...]
    symbols: tuple[Expr, ...] = ()
    arena: dict[Buffer, int] = field(default_factory=dict)  # byte offset of every temporary, after liveness
    arena_bytes: int = 0
    live_bytes: int = 0  # the largest live set: what no arena can be smaller than
    states: tuple[tuple[Buffer, Buffer], ...] = ()  # (input, output) kept between calls; once placed, the output is a view of the input
    sizes: tuple[Size, ...] = ()  # in the order in which kernels store them

    @property
    def given(self) -> tuple[Expr, ...]:
        """The symbols whose values come with the call; those of `sizes` stand behind them in `symbols`."""
        computed = {size.symbol for size in self.sizes}
        return tuple(s for s in self.symbols if s not in computed)

    def sizes_of(self, kernel: Kernel) -> tuple[Size, ...]:
        """What is known once a kernel has run."""
        return tuple(size for size in self.sizes if size.buffer in kernel.targets)

    def with_steps(self, steps: Any) -> Program:
        return replace(self, steps=tuple(steps))
