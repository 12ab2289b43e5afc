"""What If and Loop become where only the run decides: Branch and While, which are compiled to kernels under a condition.

Both hold graphs that read nothing but their inputs, and keep the shapes of their results whatever the condition says.

    Branch(condition, captured=(a, b), then_branch=Graph((a', b') -> y), else_branch=Graph((a', b') -> y))
    While(condition, initial=(s,), captured=(a,), body=Graph((s', a') -> (go on, s)))
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgec.graph import Graph, Op, Value
from edgec.lowering import Alternatives, Recurrence, Slices, State
from edgec.ops.control_flow import require_inputs, require_states, require_switch, run_body, stacked, truth
from edgec.types import TensorType

ENDLESS = (1 << 31) - 1  # iterations of a loop that only its condition ends


class Branch(Op):
    """edgec Branch: the results of then_branch where the condition holds, else those of else_branch; only one of them is computed."""

    domain = "edgec"
    condition: Value
    captured: tuple[Value, ...] = ()
    then_branch: Graph
    else_branch: Graph

    def infer(self) -> tuple[TensorType, ...]:
        require_switch(self, self.condition, "the condition")
        for graph, what in ((self.then_branch, "then_branch"), (self.else_branch, "else_branch")):
            require_inputs(self, graph, what, (), self.captured)
        types = tuple(v.type for v in self.then_branch.outputs)
        self.require(types == tuple(v.type for v in self.else_branch.outputs), "the branches give results of other types")
        return types

    def reference(self, condition, captured):
        return tuple(run_body(self.then_branch if truth(condition) else self.else_branch, captured))

    def alternatives(self) -> Alternatives:
        """What the compiler puts under a condition."""
        return Alternatives(self.condition, ((True, self.then_branch), (False, self.else_branch)), self.captured)


class While(Op):
    """edgec While: the states after the body has run as long as the condition held, at most `most` times (0: without an end).

    What the body gives after its states are rows of further results, which have `most` of them; those of no iteration hold anything.
    """

    domain = "edgec"
    condition: Value
    initial: tuple[Value, ...] = ()
    captured: tuple[Value, ...] = ()
    body: Graph
    most: int = 0

    def infer(self) -> tuple[TensorType, ...]:
        require_switch(self, self.condition, "the condition")
        types = [v.type for v in self.initial]
        require_inputs(self, self.body, "body", types, self.captured)
        self.require(len(self.body.outputs) >= 1 + len(types), f"body gives {len(self.body.outputs)} results for {len(types)} states")
        require_switch(self, self.body.outputs[0], "the condition that body gives")
        require_states(self, self.body.outputs[1:], types)
        self.require(not self._scans or self.most > 0, "rows of results need a number of iterations that is not passed")
        return (*types, *(v.type.with_shape((self.most, *v.shape)) for v in self._scans))

    @property
    def _scans(self) -> tuple[Value, ...]:
        return self.body.outputs[1 + len(self.initial):]

    def reference(self, condition, initial, captured):
        holds, states, trip = truth(condition), list(initial), 0
        rows: list[Sequence[np.ndarray]] = []
        while holds and (not self.most or trip < self.most):
            keep, *results = run_body(self.body, [*states, *captured])
            holds, states, trip = truth(keep), results[:len(states)], trip + 1
            rows.append(results[len(states):])
        scans = [stacked([row[n] for row in rows], v.type) for n, v in enumerate(self._scans)]
        return (*states, *(np.concatenate([a, np.zeros((self.most - len(a), *a.shape[1:]), a.dtype)]) for a in scans))

    def recurrence(self) -> Recurrence:
        """What the compiler repeats."""
        formal, count = self.body.inputs, len(self.initial)
        states = tuple(State(a, b, c) for a, b, c in zip(self.initial, formal, self.results))
        scans = tuple(Slices(v, 0, False) for v in self.results[count:])
        return Recurrence(self.body, self.most or ENDLESS, states, (), scans, pairs(self.captured, formal[count:]), self.condition)


def pairs(captured: Sequence[Value], formal: Sequence[Value]) -> tuple[tuple[Value, Value], ...]:
    """Outer values with the names a body has for them."""
    return tuple(zip(captured, formal))
