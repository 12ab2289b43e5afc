"""What an operator's `lower` is given: readable operands. Reading an operand is calling it, so fusion is function composition.

    class Relu(Op):
        x: Value
        def lower(self, at, x):
            return maximum(x(*at), 0.0)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgec.expr import Expr, as_expr, const, inside
from edgec.graph import Graph, Op, Value, fields_of
from edgec.types import DType, TensorType, index

Resolve = Callable[[Value, tuple[Expr, ...]], Expr]


class Reader:
    """One operand of an operator being lowered."""

    __slots__ = ("_resolve", "value")

    def __init__(self, value: Value, resolve: Resolve):
        self.value, self._resolve = value, resolve

    @property
    def type(self) -> TensorType:
        return self.value.type

    @property
    def dtype(self) -> DType:
        return self.value.type.dtype

    @property
    def shape(self) -> tuple[Any, ...]:
        return self.value.type.shape

    @property
    def rank(self) -> int:
        return len(self.value.type.shape)

    def __call__(self, *at: Any, fill: Any = None) -> Expr:
        """The element at an index; with `fill`, the index may lie outside the tensor and then the result is fill."""
        if len(at) != self.rank:
            raise TypeError(f"{self.value} read with {len(at)} indices")
        at = tuple(as_expr(i, index) for i in at)
        value = self._resolve(self.value, at)
        return value if fill is None else inside(zip(at, self.shape), value, fill)

    def broadcast(self, at: Sequence[Expr]) -> Expr:
        """The element that numpy broadcasting pairs with index `at` of a result of equal or higher rank."""
        tail = at[len(at) - self.rank:] if self.rank else ()
        return self(*(0 if size == 1 else i for i, size in zip(tail, self.shape)))


def lower_op(op: Op, at: Sequence[Expr], resolve: Resolve) -> tuple[Expr, ...]:
    """The results of an op at one index, operands read through `resolve`."""
    arguments: list[Any] = []
    for f in fields_of(type(op)):
        value = getattr(op, f.name)
        if f.kind == "variadic":
            arguments.append(tuple(None if v is None else Reader(v, resolve) for v in value))
        elif f.kind != "attribute":
            arguments.append(None if value is None else Reader(value, resolve))
    result = op.lower(tuple(at), *arguments)
    return result if isinstance(result, tuple) else (result,)


def scalar(value: Value) -> Expr | None:
    """The literal a one-element constant stands for."""
    if value.is_constant and value.array.size == 1:
        return const(value.array.ravel()[0].item(), value.type.dtype)
    return None


@dataclass(frozen=True, eq=False)
class State:
    """A value carried from one iteration to the next: where it starts, what the body calls it, which result holds it in the end."""

    initial: Value
    inside: Value
    final: Value | None


@dataclass(frozen=True, eq=False)
class Slices:
    """A tensor walked along `axis`, one slice an iteration: outside of the body the tensor, inside a slice (None for results)."""

    outer: Value
    axis: int
    backward: bool
    inside: Value | None = None


@dataclass(frozen=True, eq=False)
class Recurrence:
    """What an operator with a method `recurrence` repeats: body outputs are the next states, then one slice per entry of `scans`.

    With a `condition` the loop goes on while that holds; the first output of the body is then the condition of the next iteration.
    """

    body: Graph
    length: Any
    states: tuple[State, ...]
    slices: tuple[Slices, ...]
    scans: tuple[Slices, ...]
    captured: tuple[tuple[Value, Value], ...]  # (outer value, the body's name for it)
    condition: Value | None = None


@dataclass(frozen=True, eq=False)
class Alternatives:
    """What an operator with a method `alternatives` computes: the results of the one graph whose bool the condition has.

    Every graph takes the `captured` values as its inputs.
    """

    condition: Value
    graphs: tuple[tuple[bool, Graph], ...]
    captured: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Update:
    """What an operator with a method `update` does at one point: store `value` to the result at `indices`, merged with what is there.

    The result starts as the operand `base`; nothing is stored where an (index, extent) pair of `guards` is out of range.
    """

    base: Value
    indices: tuple[Expr, ...]
    value: Expr
    combine: str = ""
    guards: tuple[tuple[Expr, Expr], ...] = ()


def selection_of(op: Op, at: Expr, resolve: Resolve) -> tuple[Expr, ...]:
    """Whether an op with a method `selection` chooses a point: its results are the places of those, and their number."""
    return (op.selection(at, *(Reader(operand, resolve) for operand in op.operands)),)


def update_of(op: Op, at: Sequence[Expr], resolve: Resolve) -> Update:
    """What an op stores at one of its points (`op.points` are their extents), operands read through `resolve`."""
    arguments = [None if getattr(op, f.name) is None else Reader(getattr(op, f.name), resolve)
                 for f in fields_of(type(op)) if f.kind in ("operand", "optional")]
    return op.update(tuple(at), *arguments)
