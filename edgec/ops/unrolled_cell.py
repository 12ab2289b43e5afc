"""A recurrent cell run over time with graph operators: one `Scan` a direction, or the cell itself where there is one time step.

`recurrent.py` says what a cell does in one step; here are the operators around it: parts of weights, masks of ended sequences, the body.

    run_cell(emit, step, Sequences(projected, live), states, weights, backward=False, name="lstm.forward")   # (h, c, y of all steps)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgec.errors import Loc
from edgec.graph import Graph, Op, Value, constant, graph_input, run_reference
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.cast import Cast
from edgec.ops.cell_activation import Emit, literal
from edgec.ops.comparison import Less, Where
from edgec.ops.control_flow import Scan
from edgec.ops.gather import Gather
from edgec.ops.generate import ConstantOfShape, Range
from edgec.ops.joining import Concat
from edgec.ops.matmul import MatMul
from edgec.ops.reshape import Shape, Squeeze, Unsqueeze
from edgec.ops.slicing import Slice
from edgec.types import DType, i32

Step = Callable[..., Sequence[Value]]  # step(emit, projected input, states, weights) -> new states, the first of which is the output


@dataclass(frozen=True)
class Emitter:
    """Builds operators at one place of the model, and at once computes those whose operands are all constants (weights in another form).

    `product` says how a matrix product with constant weights is written, where that is not a MatMul.
    """

    loc: Loc | None
    product: Callable[[Value, Value], Value] | None = None

    def __call__(self, cls: type[Op], *operands: object, **attributes: object) -> Value:
        if self.product and cls is MatMul and operands[1].is_constant and not operands[0].is_constant:
            return self.product(*operands)
        op = cls(*operands, _loc=self.loc, **attributes)
        if op.operands and all(v.is_constant for v in op.operands):
            return constant(run_reference(op, [v.array for v in op.operands])[0], op.operands[0].name, self.loc)
        return op.output


@dataclass(frozen=True)
class Sequences:
    """What a cell reads step by step: the projected inputs [t, b, n], and where sequences have not ended, bool [t, b, 1]."""

    projected: Value
    live: Value | None = None

    @property
    def present(self) -> tuple[Value, ...]:
        return (self.projected,) if self.live is None else (self.projected, self.live)


def numbers(*values: int) -> Value:
    return constant(np.array(values, np.int64))


def piece(emit: Emit, x: Value, start: int, end: int) -> Value:
    """x[..., start:end]."""
    return emit(Slice, x, numbers(start), numbers(end), numbers(-1))


def pieces(emit: Emit, x: Value, count: int) -> list[Value]:
    """The last axis in `count` equal parts."""
    size = x.shape[-1] // count
    return [piece(emit, x, n * size, (n + 1) * size) for n in range(count)]


def entry(emit: Emit, x: Value, place: int, axis: int = 0) -> Value:
    """x at one place of an axis, which is dropped; an axis of one place needs no more than that."""
    if x.shape[axis] == 1:
        return emit(Squeeze, x, numbers(axis))
    return emit(Gather, x, constant(np.array(place, np.int64)), axis=axis)


def joined(emit: Emit, rows: Sequence[Value], axis: int) -> Value:
    """Values stacked along a new axis."""
    rows = [emit(Unsqueeze, row, numbers(axis)) for row in rows]
    return rows[0] if len(rows) == 1 else emit(Concat, tuple(rows), axis=axis)


def converted(emit: Emit, x: Value, dtype: DType) -> Value:
    """x in an element type, itself where it has that type."""
    return x if x.dtype is dtype else emit(Cast, x, to=CODE_OF_DTYPE[dtype])


def zeros(emit: Emit, x: Value, hidden: int) -> Value:
    """The state [b, hidden] that a cell starts with, for an input x [t, b, n]."""
    batch, dtype = x.shape[1], x.dtype.numpy
    if isinstance(batch, int):
        return constant(np.zeros((batch, hidden), dtype))
    shape = emit(Concat, (emit(Shape, x, start=1, end=2), numbers(hidden)), axis=0)
    return emit(ConstantOfShape, shape, value=np.zeros(1, dtype))


def live_steps(emit: Emit, x: Value, lengths: Value | None) -> Value | None:
    """Where a sequence of x [t, b, n] has not ended: t < lengths[b] as bool [t, b, 1]. None where all are surely as long as x."""
    steps = x.shape[0]
    if lengths is None or isinstance(steps, int) and lengths.is_constant and (lengths.array >= steps).all():
        return None
    if isinstance(steps, int):
        times = constant(np.arange(steps, dtype=np.int32).reshape(-1, 1, 1))
    else:
        limit = emit(Squeeze, emit(Shape, x, start=0, end=1), numbers(0))
        count = emit(Range, constant(np.int64(0)), limit, constant(np.int64(1)))
        times = emit(Unsqueeze, converted(emit, count, i32), numbers(1, 2))
    return emit(Less, times, emit(Unsqueeze, lengths, numbers(0, 2)))


def run_cell(emit: Emit, step: Step, sequences: Sequences, states: Sequence[Value], weights: Sequence[Value], backward: bool,
             name: str) -> tuple[Value, ...]:
    """(last states..., outputs [t, b, hidden]) of a cell; a sequence keeps its state past its end and gives zeros there."""
    if sequences.projected.shape[0] == 1:
        now = Sequences(*(emit(Squeeze, v, numbers(0)) for v in sequences.present))
        *last, y = masked(emit, step, now, states, weights)
        return (*last, emit(Unsqueeze, y, numbers(0)))
    captured = tuple(v for v in dict.fromkeys(weights) if not v.is_constant)
    body = cell_body(emit, step, sequences, states, weights, captured, name)
    inputs = sequences.present
    return Scan((*states, *inputs), captured, body, len(inputs), scan_input_directions=(int(backward),) * len(inputs),
                scan_output_directions=(int(backward),), _name=name, _loc=emit.loc).results


def cell_body(emit: Emit, step: Step, sequences: Sequences, states: Sequence[Value], weights: Sequence[Value], captured: Sequence[Value],
              name: str) -> Graph:
    """One step as a closed graph: (states..., slices of the sequences..., weights that are no constants) -> (states..., output)."""
    formal = lambda what, type_: graph_input(f"{name}.{what}", type_, emit.loc, tag=1)
    before = [formal(f"state{n}", v.type) for n, v in enumerate(states)]
    now = [formal(what, v.type.with_shape(v.shape[1:])) for what, v in zip(("x", "live"), sequences.present)]
    inner = {v: formal(f"weight{n}", v.type) for n, v in enumerate(captured)}
    results = masked(emit, step, Sequences(*now), before, [inner.get(v, v) for v in weights])
    return Graph((*before, *now, *inner.values()), results, (*(f"state{n}" for n in range(len(states))), "y"), f"{name}.step")


def masked(emit: Emit, step: Step, now: Sequences, states: Sequence[Value], weights: Sequence[Value]) -> tuple[Value, ...]:
    """(new states..., output) of one step, with the old states and zeros where a sequence has ended."""
    new = tuple(step(emit, now.projected, states, weights))
    if now.live is None:
        return (*new, new[0])
    kept = (emit(Where, now.live, after, before) for after, before in zip(new, states))
    return (*kept, emit(Where, now.live, new[0], literal(0.0, new[0])))
