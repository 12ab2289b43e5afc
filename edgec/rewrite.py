"""Local rewriting of graphs: rules say what, one driver says how.

A rule is a function whose first parameter is annotated with the operator class(es) it looks at; its docstring is `before -> after`. It gets
an op whose operands are already rewritten and returns the value(s) in its place, or None; a result it leaves alone it returns as it is. A
second parameter `context` tells how often a value is used.

    @rule
    def double_negation(op: Neg):
        '''neg(neg(x))  ->  x'''
        return op.x.op.x if isinstance(op.x.op, Neg) else None

    graph = rewrite(graph, double_negation)
"""

from __future__ import annotations

import inspect
import types
import typing
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgec.errors import Internal
from edgec.graph import Graph, Op, Value

MAX_SWEEPS = 64
MAX_REWRITES_PER_OP = 64


@dataclass(frozen=True)
class Rule:
    """A rewriting: `apply(op, context)` for the given operator classes. Calling the rule calls the function it was made from."""

    name: str
    classes: tuple[type, ...]
    function: Callable[..., Any]
    takes_context: bool

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)

    @property
    def meaning(self) -> str:
        """The docstring: `before -> after`."""
        return inspect.getdoc(self.function) or ""

    def apply(self, op: Op, context: Context) -> tuple[Value, ...] | None:
        """The values in place of the results of op, None where the rule does not match; Internal when their types differ."""
        made = self.function(op, context) if self.takes_context else self.function(op)
        if made is None:
            return None
        values = made if isinstance(made, tuple) else (made,)
        if [v.type for v in values] != [v.type for v in op.results]:
            raise Internal(f"rule {self.name} turns {type(op).__name__} of {_types(op.results)} into {_types(values)}", loc=op.loc)
        return values


def _types(values: Sequence[Value]) -> str:
    return ", ".join(str(v.type) for v in values)


def rule(function: Callable[..., Any]) -> Rule:
    """Make a rule of a function; TypeError when its first parameter has no operator class or its docstring no `->`."""
    parameters = list(inspect.signature(function).parameters)
    annotation = typing.get_type_hints(function).get(parameters[0]) if parameters else None
    is_union = isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union
    classes = typing.get_args(annotation) if is_union else (annotation,)
    if not all(isinstance(c, type) and issubclass(c, Op) for c in classes):
        raise TypeError(f"the first parameter of rule {function.__name__} must be annotated with operator classes")
    if "->" not in (function.__doc__ or ""):
        raise TypeError(f"the docstring of rule {function.__name__} must say `before -> after`")
    return Rule(function.__name__, classes, function, len(parameters) > 1)


class Context:
    """What a rule may ask about the graph it works in."""

    def __init__(self, graph: Graph):
        self._uses: Counter = Counter(v for op in graph.ops for v in op.operands)
        self._uses.update(graph.outputs)

    def uses(self, value: Value) -> int:
        """How many operands and graph outputs read the value (never less than the truth; exact for the graph as the sweep found it)."""
        return self._uses[value]

    def carry(self, old: Sequence[Value], new: Sequence[Value]) -> None:
        """Note that uses of the old values are now uses of the new ones."""
        for a, b in zip(old, new):
            if a is not b:
                self._uses[b] += self._uses[a]

    def count(self, op: Op) -> None:
        """Note the uses that a new op makes of its operands."""
        self._uses.update(op.operands)


def rewrite(graph: Graph, *rules: Rule) -> Graph:
    """The graph with the rules applied wherever they match, until none does.

    Each sweep visits every op once, operands first, with a stack of its own; it costs time in proportion to the graph. Internal when the
    rules undo one another or grow the graph without end.
    """
    for _ in range(MAX_SWEEPS):
        swept = _Sweep(graph, rules).run()
        if all(a is b for a, b in zip(swept.outputs, graph.outputs)):
            return swept
        graph = swept
    raise Internal(f"the rules {', '.join(r.name for r in rules)} do not come to an end")


class _Sweep:
    """One memoised bottom-up pass: `results` maps an op to the values that stand for its results."""

    def __init__(self, graph: Graph, rules: Sequence[Rule]):
        self.graph, self.rules, self.context = graph, rules, Context(graph)
        self.results: dict[Op, tuple[Value, ...]] = {v.op: v.op.results for v in graph.inputs}
        self.replaced: dict[Op, tuple[Op, tuple[Value, ...]]] = {}  # op -> (rebuilt op, values not yet rewritten themselves)
        self.left = MAX_REWRITES_PER_OP * (len(graph.ops) + 1)
        self.by_class: dict[type, list[Rule]] = {}

    def run(self) -> Graph:
        for op in self.graph.ops:
            self._settle(op)
        return self.graph.with_outputs(self.results[v.op][v.number] for v in self.graph.outputs)

    def _settle(self, root: Op) -> None:
        """Find the results of an op, and of everything new that replaces it."""
        stack = [root]
        while stack:
            op = stack[-1]
            waiting = [] if op in self.results else self._step(op)
            if waiting:
                stack.extend(waiting)
            else:
                stack.pop()

    def _step(self, op: Op) -> list[Op]:
        """Advance one op: the ops it has to wait for, or none when its results are known."""
        if op not in self.replaced:
            waiting = self._unsettled(op.operands)
            if waiting:
                return waiting
            rebuilt = self._rebuilt(op)
            if rebuilt is not op and rebuilt in self.results:
                return self._finish(op, rebuilt, self.results[rebuilt])
            found = self._first_match(rebuilt)
            if found is None:
                return self._finish(op, rebuilt, rebuilt.results)
            self.replaced[op] = self.replaced[rebuilt] = (rebuilt, found)
            self._adopt(found, op)
        rebuilt, values = self.replaced[op]
        waiting = self._unsettled([v for v in values if v.op is not rebuilt])
        return waiting or self._finish(op, rebuilt, tuple(v if v.op is rebuilt else self.results[v.op][v.number] for v in values))

    def _unsettled(self, values: Sequence[Value]) -> list[Op]:
        """The ops to wait for; one that is being replaced itself waits for us."""
        waiting = list(dict.fromkeys(v.op for v in values if v.op not in self.results))
        for op in waiting:
            if op in self.replaced:
                raise Internal(f"the rules that rewrite {type(op).__name__} undo one another", loc=op.loc)
        return waiting

    def _rebuilt(self, op: Op) -> Op:
        operands = [self.results[v.op][v.number] for v in op.operands]
        return op if all(a is b for a, b in zip(operands, op.operands)) else op.with_operands(operands)

    def _first_match(self, op: Op) -> tuple[Value, ...] | None:
        kind = type(op)
        if kind not in self.by_class:
            self.by_class[kind] = [r for r in self.rules if issubclass(kind, r.classes)]
        for candidate in self.by_class[kind]:
            values = candidate.apply(op, self.context)
            if values is not None and not all(a is b for a, b in zip(values, op.results)):
                self.left -= 1
                if self.left < 0:
                    raise Internal(f"rule {candidate.name} grows the graph without end", loc=op.loc)
                return values
        return None

    def _finish(self, op: Op, rebuilt: Op, results: tuple[Value, ...]) -> list[Op]:
        self.results[op] = self.results[rebuilt] = results
        self.context.carry(op.results, results)
        return []

    def _adopt(self, values: Sequence[Value], old: Op) -> None:
        """New ops get the place of the op they replace, the values in its stead its names, and their operands one more use each."""
        stack = [v.op for v in values]
        for value, before in zip(values, old.results):
            if value.loc is None and value.op not in self.results:
                value.name = before.name
        seen: set[Op] = set()
        while stack:
            op = stack.pop()
            if op in seen or op in self.results:
                continue
            seen.add(op)
            self.context.count(op)
            for result in op.results:
                result.loc = result.loc or old.loc
            stack.extend(v.op for v in op.operands)
