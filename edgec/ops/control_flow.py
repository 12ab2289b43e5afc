"""Operators that hold graphs: If, Loop and Scan.

A subgraph reads nothing but its own inputs: the formal ones ONNX names, then one for each of the operator's `captured` operands (outer
values the subgraph uses). Scan is compiled to repeated kernels; Loop becomes Scan or While, If a choice or Branch: run_time_control.py.

    If(condition, captured=(a,), then_branch=Graph((a_in,), ...), else_branch=Graph((a_in,), ...))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, dim, fresh, maximum
from edgec.graph import Graph, Op, Value, constant, graph_input
from edgec.lowering import Recurrence, Slices, State
from edgec.ops.shape_arithmetic import normal_axis, same_dim, same_shape
from edgec.types import TensorType, bool_, i64

LITTLE = 512  # elements that two branches may read and write together to be computed both


def run_body(graph: Graph, arrays: Sequence[Any]) -> list[np.ndarray]:
    """The results of a subgraph on its inputs."""
    from edgec.interpreter import run  # the interpreter runs operators, this one operator runs the interpreter
    return run(graph, arrays)


def require_inputs(op: Op, graph: Graph, what: str, types: Sequence[TensorType], captured: Sequence[Value]) -> None:
    """The subgraph takes inputs of these types, then the captured values."""
    wanted = [*types, *(v.type for v in captured)]
    op.require(len(graph.inputs) == len(wanted), f"{what} has {len(graph.inputs)} inputs, it is given {len(wanted)}")
    for number, (value, type_) in enumerate(zip(graph.inputs, wanted)):
        fits = value.dtype is type_.dtype and same_shape(value.shape, type_.shape)
        op.require(fits, f"input {number} of {what}, %{value.name}, is {value.type}, it is given {type_}")


def require_switch(op: Op, value: Value | None, what: str) -> None:
    """A condition: one bool."""
    if value is not None:
        single = value.type.is_static and value.type.max_size == 1
        op.require(single and value.dtype is bool_, f"{what} is {value.type}; one bool is needed")


def truth(array: Any) -> bool:
    return bool(np.asarray(array).reshape(()))


class If(Op):
    """ONNX If: the results of then_branch where the condition holds, else those of else_branch (If-25).

    Where the branches differ in a size, the result has a dimension of its own, between the two.
    """

    cond: Value
    captured: tuple[Value, ...] = ()
    then_branch: Graph
    else_branch: Graph

    def infer(self) -> tuple[TensorType, ...]:
        require_switch(self, self.cond, "the condition")
        for graph, what in ((self.then_branch, "then_branch"), (self.else_branch, "else_branch")):
            require_inputs(self, graph, what, (), self.captured)
        pairs = list(zip(self.then_branch.outputs, self.else_branch.outputs))
        self.require(len(self.then_branch.outputs) == len(self.else_branch.outputs),
                     f"the branches give {len(self.then_branch.outputs)} and {len(self.else_branch.outputs)} results")
        return tuple(self._merged(number, a.type, b.type) for number, (a, b) in enumerate(pairs))

    def _merged(self, number: int, a: TensorType, b: TensorType) -> TensorType:
        self.require(a.dtype is b.dtype, f"result {number} is {a} in one branch, {b} in the other")
        if a.rank != b.rank:
            raise Unsupported(f"If: result {number} is {a} in one branch, {b} in the other", loc=self._pending_loc,
                              hint="make the condition known: with fixed shapes only the branch taken is read")
        return a.with_shape(tuple(m if same_dim(m, n) else between(m, n) for m, n in zip(a.shape, b.shape)))

    def reference(self, cond, captured):
        return tuple(run_body(self.then_branch if truth(cond) else self.else_branch, captured))

    def decompose(self) -> tuple[Value, ...]:
        """Branches of a few elements are both computed, and a choice made between their results; else only one is: Branch."""
        from edgec.ops.run_time_control import Branch
        for a, b in zip(self.then_branch.outputs, self.else_branch.outputs):
            if not same_shape(a.shape, b.shape):
                raise Unsupported(f"If: a result is {a.type} in one branch, {b.type} in the other, and its condition depends on data",
                                  loc=self.loc, hint="give both branches results of one shape")
        condition = as_scalar(self.cond)
        if work(self.then_branch) + work(self.else_branch) > LITTLE:
            return Branch(condition, self.captured, self.then_branch, self.else_branch).results
        from edgec.ops.comparison import Where
        then, other = (inlined(g, self.captured) for g in (self.then_branch, self.else_branch))
        return tuple(Where(condition, a, b).output for a, b in zip(then, other))


def as_scalar(value: Value) -> Value:
    """A tensor of one element without axes."""
    from edgec.ops.reshape import Reshape
    return value if not value.shape else Reshape(value, constant(np.zeros(0, np.int64))).output


def work(graph: Graph) -> int:
    """What a graph computes, in elements: those that its operators read and write; without an end where it holds graphs itself."""
    if any(isinstance(a, Graph) for op in graph.ops for a in op.attributes.values()):
        return LITTLE + 1
    return sum(v.type.max_size for op in graph.ops if op.operands for v in (*op.operands, *op.results))


def inlined(graph: Graph, values: Sequence[Value]) -> tuple[Value, ...]:
    """The results of a subgraph in place, on outer values."""
    done = dict(zip(graph.inputs, values))
    for op in graph.ops:
        if op.results[0] not in done:
            done.update(zip(op.results, op.with_operands([done[v] for v in op.operands]).results if op.operands else op.results))
    return tuple(done[v] for v in graph.outputs)


def between(a: Any, b: Any) -> Expr:
    """A dimension that is known to be one of two only when the model runs."""
    lows, highs = zip(*((d, d) if isinstance(d, int) else (d.lo, d.hi) for d in (a, b)))
    return fresh("size", min(lows), max(highs))


class Loop(Op):
    """ONNX Loop: run the body while the condition holds, at most m times (Loop-25).

    The body maps (iteration, condition, state...) to (condition, state..., scan results...); a scan result is stacked over the iterations.
    """

    m: Value | None = None
    cond: Value | None = None
    initial: tuple[Value, ...] = ()
    captured: tuple[Value, ...] = ()
    body: Graph

    def infer(self) -> tuple[TensorType, ...]:
        require_switch(self, self.cond, "the condition")
        self.require(self.m is None or self.m.dtype is i64 and self.m.type.max_size == 1, "the trip count must be one i64")
        types = [v.type for v in self.initial]
        require_inputs(self, self.body, "body", [TensorType(i64, ()), TensorType(bool_, ()), *types], self.captured)
        self.require(len(self.body.outputs) > len(types),
                     f"body gives {len(self.body.outputs)} results, a condition and {len(types)} states are needed")
        require_switch(self, self.body.outputs[0], "the condition that body gives")
        states, scans = self.body.outputs[1:len(types) + 1], self.body.outputs[len(types) + 1:]
        require_states(self, states, types)
        trips = self._trips() if scans else 0
        return (*types, *(v.type.with_shape((trips, *v.shape)) for v in scans))

    def _trips(self) -> Any:
        """How many iterations there are, as a dimension."""
        most = self.m.elements if self.m is not None else None
        if most is None:
            raise Unsupported("Loop: the number of iterations is not known at compile time, so its scan results have no size",
                              loc=self._pending_loc, hint="make the trip count a constant")
        count = dim(maximum(most[0], 0)) if isinstance(most[0], Expr) else max(most[0], 0)
        if never_stops(self.cond, self.body):
            return count
        return fresh("trips", 0, count.hi if isinstance(count, Expr) else count)

    @staticmethod
    def counted_before(m: Value | None, cond: Value | None, body: Graph) -> bool:
        """Whether the number of the iterations is known before the first one runs."""
        return m is not None and m.elements is not None and never_stops(cond, body)

    def decompose(self) -> tuple[Value, ...]:
        """A Scan over the numbers of the iterations where their count is known, else a While."""
        scans = self.body.outputs[1 + len(self.initial):]
        most = self.m.elements if self.m is not None else None
        if self.counted_before(self.m, self.cond, self.body):
            return self._as_scan()
        if scans:
            raise Unsupported("Loop: how many iterations there are only shows when it runs, and as many rows its scan results have",
                              loc=self.loc, hint="make the trip count a constant and the condition true")
        count = most[0] if most is not None and not isinstance(most[0], Expr) else None
        return self.initial if count is not None and count <= 0 else as_while(self, count)[1:]

    def _as_scan(self) -> tuple[Value, ...]:
        """The body over the numbers of its iterations."""
        from edgec.ops.generate import Range
        zero, one = (constant(np.array(n, np.int64)) for n in (0, 1))
        numbers = Range(zero, as_scalar(self.m), one).output
        number, _, *rest = self.body.inputs
        states, captured = rest[:len(self.initial)], rest[len(self.initial):]
        outputs = inlined(self.body, [number, constant(np.array(True)), *rest])[1:]
        body = Graph((*states, number, *captured), outputs, tuple(f"y{n}" for n in range(len(outputs))), self.body.name)
        return Scan((*self.initial, numbers), self.captured, body=body, num_scan_inputs=1).results

    def reference(self, m, cond, initial, captured):
        limit = np.inf if m is None else int(np.asarray(m).reshape(()))
        *states, _, rows = run_loop(self.body, limit, cond, initial, captured)
        scans = self.body.outputs[len(states) + 1:]
        return (*states, *(stacked([row[n] for row in rows], v.type) for n, v in enumerate(scans)))


def run_loop(body: Graph, limit: float, cond: Any, initial: Sequence[Any], captured: Sequence[Any]) -> tuple[Any, ...]:
    """The states after a loop has run, the number of its iterations, and the rows of scan results of each."""
    holds, states, rows = cond is None or truth(cond), list(initial), []
    while holds and len(rows) < limit:
        keep, *rest = run_body(body, [np.int64(len(rows)), np.bool_(True), *states, *captured])
        holds, states = truth(keep), rest[:len(states)]
        rows.append(rest[len(states):])
    return (*states, len(rows), rows)


def as_while(loop: Any, most: int | None) -> tuple[Value, ...]:
    """A loop's body under its condition: how often it ran, the states, scan results. The number of the iteration is a state like others,
    a trip count that is not `most` a part of the condition."""
    from edgec.ops.arithmetic import Add
    from edgec.ops.comparison import And, Less
    from edgec.ops.run_time_control import While
    zero, one, true = constant(np.array(0)), constant(np.array(1)), constant(np.array(True))
    number, _, *rest = loop.body.inputs
    keep, *following = inlined(loop.body, [number, true, *rest])  # states, then the rows of scan results
    keep, after = as_scalar(keep), Add(number, one).output
    condition = true if loop.cond is None else as_scalar(loop.cond)
    captured, formal = loop.captured, tuple(rest)
    if loop.m is not None and not loop.m.is_constant:
        limit = graph_input("limit", TensorType(i64, ()), tag=number.op.tag + 1)
        keep, condition = And(keep, Less(after, limit).output).output, And(condition, Less(zero, as_scalar(loop.m)).output).output
        captured, formal = (*captured, as_scalar(loop.m)), (*rest, limit)
    names = tuple(f"y{n}" for n in range(2 + len(following)))
    body = Graph((number, *formal), (keep, after, *following), names, loop.body.name)
    return While(condition, (zero, *loop.initial), captured, body, most or 0).results


def never_stops(cond: Value | None, body: Graph) -> bool:
    """Whether a loop's condition is true for sure: a constant, or handed through from the start."""
    started = cond is None or cond.is_constant and truth(cond.array)
    kept = through_identity(body.outputs[0])
    return started and (kept is body.inputs[1] or kept.is_constant and truth(kept.array))


class CountedLoop(Op):
    """edgec CountedLoop: a Loop of at most `room` iterations; how many there were, the states, and scan results of `room` rows, of which
    those after the last iteration hold anything."""

    domain = "edgec"
    m: Value
    cond: Value | None = None
    initial: tuple[Value, ...] = ()
    captured: tuple[Value, ...] = ()
    body: Graph
    room: int

    def infer(self) -> tuple[TensorType, ...]:
        types = Loop.infer(self)
        states = types[:len(self.initial)]
        return (TensorType(i64, ()), *states, *(v.type.with_shape((self.room, *v.shape)) for v in self._scans))

    @property
    def _scans(self) -> tuple[Value, ...]:
        return self.body.outputs[1 + len(self.initial):]

    def _trips(self) -> int:
        return self.room

    def reference(self, m, cond, initial, captured):
        *states, count, rows = run_loop(self.body, min(int(np.asarray(m).reshape(())), self.room), cond, initial, captured)
        scans = [stacked([row[n] for row in rows], v.type) for n, v in enumerate(self._scans)]
        filled = [np.concatenate([a, np.zeros((self.room - len(a), *a.shape[1:]), a.dtype)]) for a in scans]
        return (np.int64(count), *states, *filled)

    def decompose(self) -> tuple[Value, ...]:
        return as_while(self, self.room)


def through_identity(value: Value) -> Value:
    """The value that Identity operators hand on."""
    while type(value.op).__name__ == "Identity":
        value = value.op.operands[0]
    return value


def require_states(op: Op, given: Sequence[Value], types: Sequence[TensorType]) -> None:
    """The body hands on states of the types it takes; Unsupported when a state changes its shape."""
    for number, (value, type_) in enumerate(zip(given, types)):
        op.require(value.dtype is type_.dtype, f"state {number} is {type_}, body gives {value.type}")
        if not same_shape(value.shape, type_.shape):
            raise Unsupported(f"{type(op).__name__}: state {number} is {type_}, but body gives {value.type}", loc=op._pending_loc,
                              hint="a state must keep its shape")


def stacked(rows: Sequence[np.ndarray], element: TensorType, axis: int = 0) -> np.ndarray:
    """Arrays joined along a new axis; without any, an empty array of that element type (symbolic sizes at their least)."""
    if rows:
        return np.stack(rows, axis=axis)
    shape = [d if isinstance(d, int) else d.lo for d in element.shape]
    return np.zeros((*shape[:axis], 0, *shape[axis:]), element.dtype.numpy)


class Scan(Op):
    """ONNX Scan: run the body on one slice of every scan input after the other (Scan-25).

    The body maps (state..., slices...) to (state..., slices of the scan results...). Operands are the states, then num_scan_inputs tensors.
    """

    initial_state_and_scan_inputs: tuple[Value, ...] = ()
    captured: tuple[Value, ...] = ()
    body: Graph
    num_scan_inputs: int
    scan_input_axes: tuple = ()
    scan_input_directions: tuple = ()
    scan_output_axes: tuple = ()
    scan_output_directions: tuple = ()

    def infer(self) -> tuple[TensorType, ...]:
        given = self.initial_state_and_scan_inputs
        self.require(all(v is not None for v in given), "an operand is absent", hint="Scan-8 with sequence_lens has no newer form")
        self.require(0 < self.num_scan_inputs <= len(given), f"num_scan_inputs is {self.num_scan_inputs} of {len(given)} operands")
        types, inputs = [v.type for v in given[:-self.num_scan_inputs]], given[-self.num_scan_inputs:]
        axes = self._axes("scan_input_axes", [v.type.rank for v in inputs])
        length = inputs[0].shape[axes[0]]
        for value, axis in zip(inputs, axes):
            self.require(same_dim(value.shape[axis], length), f"scan inputs are {length} and {value.shape[axis]} long")
        slices = [v.type.with_shape(v.shape[:a] + v.shape[a + 1:]) for v, a in zip(inputs, axes)]
        require_inputs(self, self.body, "body", [*types, *slices], self.captured)
        self.require(len(self.body.outputs) >= len(types), f"body gives {len(self.body.outputs)} results for {len(types)} states")
        require_states(self, self.body.outputs, types)
        scans = self.body.outputs[len(types):]
        places = self._axes("scan_output_axes", [v.type.rank + 1 for v in scans])
        for name, count in (("scan_input_directions", len(inputs)), ("scan_output_directions", len(scans))):
            self.require(all(d in (0, 1) for d in self._per(getattr(self, name), count)), f"{name} must be 0 or 1")
        return (*types, *(v.type.with_shape((*v.shape[:a], length, *v.shape[a:])) for v, a in zip(scans, places)))

    def _axes(self, name: str, ranks: Sequence[int]) -> list[int]:
        """The axes that attribute `name` gives, one a tensor, counted from the front."""
        return [normal_axis(self, a, rank, f"{name} entry") for rank, a in zip(ranks, self._per(getattr(self, name), len(ranks)))]

    def _per(self, values: Sequence[int], count: int) -> tuple[int, ...]:
        """An attribute as one entry a tensor; absent means 0 for each."""
        self.require(len(values) in (0, count), f"{len(values)} axes or directions are given for {count} tensors")
        return tuple(values) or (0,) * count

    def recurrence(self) -> Recurrence:
        """What the compiler repeats."""
        given, count = self.initial_state_and_scan_inputs, self.num_scan_inputs
        initial, tensors = given[:-count], given[-count:]
        formal, states = self.body.inputs, len(initial)
        axes = self._axes("scan_input_axes", [v.type.rank for v in tensors])
        backward = self._per(self.scan_input_directions, count)
        results = self.results[states:]
        places = zip(results, self._axes("scan_output_axes", [v.type.rank for v in results]),
                     self._per(self.scan_output_directions, len(results)))
        return Recurrence(
            self.body, tensors[0].shape[axes[0]],
            tuple(State(a, b, c) for a, b, c in zip(initial, formal, self.results)),
            tuple(Slices(v, a, bool(d), f) for v, a, d, f in zip(tensors, axes, backward, formal[states:])),
            tuple(Slices(v, a, bool(d)) for v, a, d in places),
            tuple(zip(self.captured, formal[states + count:])))

    def reference(self, given, captured):
        states, inputs = list(given[:-self.num_scan_inputs]), given[-self.num_scan_inputs:]
        ways = zip(inputs, self._per(self.scan_input_axes, len(inputs)), self._per(self.scan_input_directions, len(inputs)))
        moved = [np.moveaxis(x, axis, 0)[::-1 if backward else 1] for x, axis, backward in ways]
        rows = []
        for slices in zip(*moved):
            results = run_body(self.body, [*states, *slices, *captured])
            states = results[:len(states)]
            rows.append(results[len(states):])
        scans = self.body.outputs[len(states):]
        places = zip(scans, self._per(self.scan_output_axes, len(scans)), self._per(self.scan_output_directions, len(scans)))
        return (*states, *(stacked([row[n] for row in (rows[::-1] if backward else rows)], v.type, axis % (v.type.rank + 1))
                           for n, (v, axis, backward) in enumerate(places)))
