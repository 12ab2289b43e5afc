"""Operators whose work a C function does that the user links in: a class says its symbol and signature, compiled code calls it.

    class Blur(CFunction):                 # void my_blur(const float *x, float *result, int32_t rows, int32_t columns)
        domain, symbol = "com.example", "my_blur"
        x: Value
        def infer(self): return self.x.type
        def reference(self, x): return ...

The function is given a pointer to the dense elements of every operand, in order, one to those of the result, and whole numbers. The object
then has exactly these symbols undefined. `segments` cuts a graph where they are called: whatever lies between is compiled as ever, from
dense tensors to dense tensors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from edgec.errors import ModelError, Unsupported
from edgec.expr import Expr, cast, const
from edgec.graph import Constant, Graph, Input, Op, Value, graph_input
from edgec.lowering import Reader
from edgec.types import SMALL, bool_, string

C_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
HIGHEST = (1 << 31) - 1


class CFunction(Op):
    """Base of operators that are a call of the C function `symbol`; `numbers` says which whole numbers it is given (int32_t)."""

    abstract = True
    symbol: ClassVar[str] = ""

    def numbers(self) -> Sequence[int]:
        """By default every size of every operand, in order."""
        return [size for v in self.operands for size in v.shape]

    def lower(self, at: tuple[Expr, ...], *operands: Any) -> Expr:
        """What passes are told of the call: it reads its operands. No code is made of it."""
        dtype, total = self.output.dtype, const(0, self.output.dtype)
        for reader in (r for each in operands for r in (each if isinstance(each, tuple) else (each,)) if isinstance(r, Reader)):
            first = reader(*(0 for _ in reader.shape))
            total = total | cast(first, dtype) if dtype is bool_ else total + cast(first, dtype)
        return total


@dataclass(frozen=True, eq=False)
class External:
    """A call: the symbol, the C types of its arguments, and the numbers it is given."""

    symbol: str
    operands: tuple[str, ...]  # names of element types
    result: str
    numbers: tuple[int, ...]

    @property
    def signature(self) -> tuple[Any, ...]:
        return self.symbol, self.operands, self.result, len(self.numbers)


def external(op: CFunction) -> External:
    """The call that an op is; CompileError where it cannot be one."""
    place = {"loc": op.loc}
    if not C_NAME.fullmatch(op.symbol):
        raise ModelError(f"{type(op).__name__}: symbol is {op.symbol!r}, which is no C name", **place)
    values = (*op.operands, *op.results)
    if len(op.results) != 1 or not op.operands:
        raise Unsupported(f"{type(op).__name__} has {len(op.operands)} operands and {len(op.results)} results", **place,
                          hint="a C function takes some tensors and gives one")
    if not all(v.type.is_static and v.type.max_size for v in values):
        raise Unsupported(f"{type(op).__name__} of {', '.join(str(v.type) for v in values)}", **place,
                          hint="a C function needs fixed sizes")
    if any(v.dtype in (*SMALL, string) for v in values):
        raise Unsupported(f"{type(op).__name__} of elements that C has no type for", **place, hint="cast them first")
    numbers = tuple(op.numbers())
    if not all(isinstance(n, int) and -HIGHEST <= n <= HIGHEST for n in numbers):
        raise ModelError(f"{type(op).__name__}: numbers are {list(numbers)}, each must be an int32_t", **place)
    return External(op.symbol, tuple(v.dtype.name for v in op.operands), op.output.dtype.name, numbers)


def externals(graph: Graph) -> tuple[External, ...]:
    """The C functions that a graph calls, each once; ModelError for one with two signatures."""
    found: dict[str, External] = {}
    for op in graph.ops:
        if isinstance(op, CFunction):
            call = external(op)
            if found.setdefault(op.symbol, call).signature != call.signature:
                raise ModelError(f"the C function {op.symbol} is called with two signatures", loc=op.loc)
    return tuple(found.values())


@dataclass(frozen=True, eq=False)
class Segment:
    """A part of a graph between calls (or one call): its own graph, and the values of the whole graph that its inputs and outputs are."""

    graph: Graph
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    call: External | None = None
    places: tuple[int, ...] = ()  # of a call: which input each operand is


def segments(graph: Graph) -> list[Segment]:
    """The parts of a graph in the order in which they run."""
    if graph.symbols or graph.states:
        raise Unsupported("a C function in a model with open dimensions or state", hint="give every dimension a fixed size")
    level = _levels(graph)
    found: list[Segment] = []
    for number in range(max(level.values(), default=0) + 1):
        here = [op for op in graph.ops if level[op] == number and not isinstance(op, (Input, Constant))]
        inner = [op for op in here if not isinstance(op, CFunction)]
        outputs = _wanted(graph, inner, number == 0)
        if outputs:
            found.append(_segment(graph, outputs, set(inner)))
        found += [_segment(graph, list(op.results), {op}, external(op)) for op in here if isinstance(op, CFunction)]
    return found


def _levels(graph: Graph) -> dict[Op, int]:
    """How many calls, at the most, come before each op on the way to it."""
    found: dict[Op, int] = {}
    for op in graph.ops:
        found[op] = max([0, *(found[v.op] + isinstance(v.op, CFunction) for v in op.operands)])
    return found


def _wanted(graph: Graph, inner: Sequence[Op], first: bool) -> list[Value]:
    """The results of some ops that others, or the caller, want; of the first part also outputs that nothing computes."""
    own, ends = set(inner), set(graph.outputs)
    found = [v for op in inner for v in op.results if v in ends or any(user not in own for user in graph.users.get(v, ()))]
    return found + [v for v in dict.fromkeys(graph.outputs) if first and isinstance(v.op, (Input, Constant))]


def _segment(graph: Graph, outputs: Sequence[Value], own: set[Op], call: External | None = None) -> Segment:
    done: dict[Value, Value] = {}
    given: dict[Value, Value] = {}
    for op in graph.ops:
        if op in own:
            for value in op.operands:
                if value not in done:
                    new = value if value.is_constant and call is None else graph_input(value.name, value.type, value.loc, len(given) + 1)
                    done[value] = new
                    if new is not value:
                        given[value] = new
            done.update(zip(op.results, op.with_operands([done[v] for v in op.operands]).results))
    for value in outputs:
        if value not in done:
            new = graph_input(value.name, value.type, value.loc, len(given) + 1)
            done[value] = value if value.is_constant else given.setdefault(value, new)
    names = tuple(f"{v.name}.{n}" for n, v in enumerate(outputs))
    inputs = tuple(given)
    places = tuple(inputs.index(v) for op in own for v in op.operands) if call else ()
    return Segment(Graph(tuple(given.values()), tuple(done[v] for v in outputs), names, graph.name), inputs, tuple(outputs), call, places)
