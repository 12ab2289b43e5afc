"""The memory of a Program as numpy arrays: one flat block per root buffer, every buffer a strided window into it.

    memory = Memory(program, {"x": x});  memory.array(buffer)[...] = 1
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgec.accesses import program_buffers
from edgec.errors import Internal, ModelError, raise_all
from edgec.expr import Expr
from edgec.kernel import Buffer, Kernel, Program
from edgec.sweeps import evaluate_dim

POISON = 0xA5  # fresh memory: a large negative float, so that reading too early shows


class Memory:
    """Buffers with the actual sizes of symbolic dimensions; `bindings` are those by name, `symbols` the same by variable."""

    def __init__(self, program: Program, arrays: Mapping[Any, np.ndarray], arena: bool = False):
        """Inputs by Buffer or name; with `arena`, temporaries share `program.arena_bytes`. ModelError where inputs do not fit."""
        self.program = program
        given = {b: np.asarray(array) for b in program.inputs for array in [arrays.get(b, arrays.get(b.name))] if array is not None}
        self.bindings = bind_symbols(program, given)
        self.symbols = {symbol: self.bindings[symbol.data] for symbol in program.symbols if symbol.data in self.bindings}
        self._blocks: dict[Buffer, np.ndarray] = {}
        self._views: dict[Buffer, np.ndarray] = {}
        self.in_arena = arena
        self._arena = poisoned(program.arena_bytes) if arena else None
        for buffer, array in given.items():
            self.array(buffer)[...] = array
        for buffer in program_buffers(program):
            if buffer.data is not None:
                self.array(buffer)[...] = buffer.data

    def array(self, buffer: Buffer) -> np.ndarray:
        """The buffer in its logical shape; writing to it writes to the root's memory."""
        if buffer not in self._views:
            block = self.block(buffer.root)[buffer.offset if buffer.parent is not None else 0:]
            shape = tuple(self.number(d) for d in buffer.shape)
            strides = tuple(self.number(s) for s in buffer.strides)
            reach = 1 + sum((n - 1) * abs(s) for n, s in zip(shape, strides)) if 0 not in shape else 0
            if reach > block.size:
                raise Internal(f"{buffer} needs {reach} elements of {buffer.root}, which has {block.size} from offset {buffer.offset} on")
            self._views[buffer] = np.lib.stride_tricks.as_strided(block, shape, tuple(s * block.itemsize for s in strides))
        return self._views[buffer]

    def bind(self, variable: Expr, value: int) -> None:
        """Give a variable of a loop around kernels its value."""
        self.bindings[variable.data] = self.symbols[variable] = value

    def measure(self, kernel: Kernel) -> None:
        """Give the sizes that a kernel has computed their values; ModelError for one outside its bounds."""
        for size in self.program.sizes_of(kernel):
            value = int(self.array(size.buffer).ravel()[size.element])
            if not size.low <= value <= size.high:
                raise ModelError(f"the size {size.buffer.name}[{size.element}] is {value}, allowed are {size.low} to {size.high}")
            if isinstance(size.symbol, Expr) and self.bindings.get(size.symbol.data) != value:
                self.bind(size.symbol, value)
                depending = (b for b in self._views if any(isinstance(d, Expr) and size.symbol in d.free for d in (*b.shape, *b.strides)))
                for buffer in list(depending):  # a loop has computed the size anew
                    del self._views[buffer]

    def fill(self, root: Buffer, elements: np.ndarray) -> None:
        """Put elements into the memory of a root buffer, in the order in which they lie there."""
        self.block(root)[:elements.size] = elements

    def number(self, dimension: Any) -> int:
        """A dimension or stride in this run."""
        return evaluate_dim(dimension, self.bindings)

    def block(self, root: Buffer) -> np.ndarray:
        """The elements of a root buffer as they lie in memory, up to its largest size."""
        if root not in self._blocks:
            if self._arena is not None and root in self.program.arena:
                start = self.program.arena[root]
                block = self._arena[start:start + root.bytes]
                if block.size < root.bytes:
                    raise Internal(f"{root} at {start} leaves the arena of {self._arena.size} bytes")
            else:
                block = poisoned(root.bytes)
            self._blocks[root] = block.view(root.dtype.numpy)
        return self._blocks[root]


def poisoned(size: int) -> np.ndarray:
    """Bytes that no kernel has stored yet."""
    return np.full(size, POISON, np.uint8)


def bind_symbols(program: Program, given: Mapping[Buffer, np.ndarray]) -> dict[str, int]:
    """The value of each symbolic dimension, from the shapes of the inputs; ModelError lists every input that does not fit."""
    bindings: dict[str, int] = {}
    errors = [ModelError(f"input '{b.name}' is missing") for b in program.inputs if b not in given]
    for buffer, array in given.items():
        problem = _misfit(buffer, array, bindings)
        if problem:
            errors.append(ModelError(f"input {buffer} is given an array {array.dtype}{list(array.shape)}: {problem}"))
    raise_all(errors)
    return bindings


def _misfit(buffer: Buffer, array: np.ndarray, bindings: dict[str, int]) -> str:
    if array.dtype != buffer.dtype.numpy:
        return "other element type"
    if array.ndim != buffer.rank:
        return "other rank"
    for axis, (size, dim) in enumerate(zip(array.shape, buffer.shape)):
        if isinstance(dim, Expr) and dim.op == "var":
            if not dim.lo <= size <= dim.hi:
                return f"axis {axis} must have {dim.lo} to {dim.hi} elements"
            dim = bindings.setdefault(dim.data, size)
        if isinstance(dim, int) and dim != size:
            return f"axis {axis} must have {dim} elements"
    return ""
