"""Branches and loops for the random graphs of graphs.py: If, Scan and Loop over a few operators that keep shapes.

Conditions and counts are those of inputs, which are exact: what is computed may be rounded in more than one way, and go two ways.

    branches(drawing)       # the results of an If over two of the values that `drawing` has so far
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.graph import Graph, Value, constant, graph_input
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops import arithmetic, cast, comparison, control_flow, reduction
from edgec.types import TensorType, bool_, i64

LARGEST = 750  # elements of the state of a loop


def _switch(d: Any) -> Value:
    """A condition that an input decides."""
    x = d.inputs[0]
    most = reduction.ReduceMax(x, constant(np.arange(x.type.rank, dtype=np.int64)), keepdims=0).output
    return comparison.Less(most, constant(np.array(d.integer(-2, 5), d.dtype.numpy))).output


def _formal(d: Any, type_: TensorType) -> Value:
    """An input of a graph inside this one."""
    d.tags += 1
    return graph_input("inner", type_, tag=d.tags)


def _small(d: Any, x: Value, other: Value | None = None) -> Value:
    """One or two operators that keep the shape, perhaps with another value of that shape."""
    for _ in range(d.integer(1, 2)):
        shape = tuple(d.pick((1, n)) for n in x.shape)
        kinds = [lambda v: arithmetic.Neg(v).output, lambda v: arithmetic.Abs(v).output,
                 lambda v: arithmetic.Add(v, d.whole(*shape)).output]
        kinds += [lambda v: arithmetic.Sub(v, other).output, lambda v: arithmetic.Max((other, v)).output] if other is not None else []
        x = d.pick(kinds)(x)
    return x


def branches(d: Any) -> tuple[Value, ...] | None:
    """Two branches over two values of one shape, one or two results; some large enough that only one branch is run."""
    x = d.source()
    if not x.type.is_static:
        return None
    given = (x, d.pick([v for v in d.known if v.shape == x.shape]))
    count, graphs = d.integer(1, 2), []
    for name in ("then", "other"):
        formal = tuple(_formal(d, v.type) for v in given)
        results = tuple(_small(d, *d.random.sample(formal, 2)) if d.sometimes() else d.pick(formal) for _ in range(count))
        graphs.append(Graph(formal, results, tuple(f"y{n}" for n in range(count)), name))
    return control_flow.If(_switch(d), given, then_branch=graphs[0], else_branch=graphs[1]).results


def scan(d: Any) -> tuple[Value, ...] | None:
    """A state that runs along an axis of x, in either direction, and a slice for each step."""
    x = d.source()
    if not x.type.is_static or x.type.rank < 2:
        return None
    axis = d.integer(0, x.type.rank - 1)
    if x.shape[axis] > 8:
        return None
    slice_type = x.type.with_shape(x.shape[:axis] + x.shape[axis + 1:])
    state, part, outer = (_formal(d, slice_type) for _ in range(3))
    following = arithmetic.Add(_small(d, part, outer), arithmetic.Max((state, outer)).output).output
    row = d.pick((state, outer, following, _small(d, following, part)))
    body = Graph((state, part, outer), (following, row), ("state", "row"), "step")
    ways = {"scan_input_axes": (axis,), "scan_input_directions": (d.integer(0, 1),), "scan_output_directions": (d.integer(0, 1),),
            "scan_output_axes": (d.integer(0, slice_type.rank),)}
    captured = reduction.ReduceMax(x, constant(np.array([axis], np.int64)), keepdims=0).output
    return control_flow.Scan((d.whole(*slice_type.shape), x), (captured,), body=body, num_scan_inputs=1, **ways).results


def loop(d: Any) -> tuple[Value, ...] | None:
    """A few iterations: as many as a number says, with a row for each, or until an input says that it is enough."""
    x = d.source()
    if not x.type.is_static or x.type.max_size > LARGEST:
        return None
    number, keep, state, outer = (_formal(d, t) for t in (TensorType(i64, ()), TensorType(bool_, ()), x.type, x.type))
    following, most = _small(d, state, outer), constant(np.array(d.integer(1, 4)))
    counted = d.sometimes()
    stop = comparison.Identity(keep).output if counted else comparison.Less(number, _enough(d, number)).output
    rows = (arithmetic.Neg(following).output,) if counted else ()
    body = Graph((number, keep, state, outer), (stop, following, *rows), ("keep", "state", "row")[:2 + len(rows)], "step")
    limit = most if counted or d.sometimes() else cast.Cast(_count(d), to=CODE_OF_DTYPE[i64]).output
    return control_flow.Loop(limit, None, (x,), (x,), body=body).results


def _enough(d: Any, number: Value) -> Value:
    """Once the iterations are so many, the loop ends."""
    return arithmetic.Sub(constant(np.array(d.integer(0, 3))), arithmetic.Min((number, constant(np.array(1)))).output).output


def _count(d: Any) -> Value:
    """A number from 0 to 4 that an input decides."""
    x = d.inputs[0]
    most = reduction.ReduceMax(x, constant(np.arange(x.type.rank, dtype=np.int64)), keepdims=0).output
    return arithmetic.Clip(most, *(constant(np.array(n, d.dtype.numpy)) for n in (0, 4))).output
