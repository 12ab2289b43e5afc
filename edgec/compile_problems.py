"""What stands in the way of compiling a graph for a target, operator by operator.

The whole graph is lowered and compiled. Where that is refused, each operator is tried alone, its operands as inputs, so that every one that
the target cannot compute is named; what only the whole graph is refused for is told as it is.

    artifact, problems = compile_problems(graph, find("cortex-m4"))      # [Unsupported("cortex-m4 has no instruction for ...")]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgec.backends.artifact import Artifact
from edgec.backends.target import Target
from edgec.compiler import compile
from edgec.errors import CompileError, Unsupported, each_problem
from edgec.graph import Constant, Graph, Input, Op, graph_input
from edgec.onnx.known import known_array

WAYS = ("lower", "decompose", "update", "recurrence", "alternatives", "loops")


def compile_problems(graph: Graph, target: Target, **options: Any) -> tuple[Artifact | None, list[CompileError]]:
    """The artifact of a graph, or None and every problem; `options` are those of `edgec.compile`."""
    problems = [Unsupported(f"{type(op).__name__} runs in the interpreter only", loc=op.loc) for op in graph.ops if not compiles(op)]
    if problems:
        return None, problems + operator_problems(graph, lambda one: compile(one, target, **options))
    try:
        return compile(graph, target, **options), []
    except CompileError as error:
        alone = operator_problems(graph, lambda one: compile(one, target, **options))
        return None, alone or list(each_problem(error))


def compiles(op: Op) -> bool:
    """Whether an operator says how it is computed by loops."""
    return isinstance(op, (Input, Constant)) or any(hasattr(op, way) for way in WAYS)


def operator_problems(graph: Graph, attempt: Callable[[Graph], Any]) -> list[CompileError]:
    """The problems of the operators of a graph, each tried alone."""
    problems: list[CompileError] = []
    for op in graph.ops:
        one = alone(op) if compiles(op) else None
        if one is not None:
            try:
                attempt(one)
            except CompileError as error:
                problems += [_placed(problem, op) for problem in each_problem(error)][:1]
    return problems


def _placed(problem: CompileError, op: Op) -> CompileError:
    """A problem of a graph of one operator, at the operator's own place."""
    return problem if problem.loc == op.loc else type(problem)(problem.message, loc=op.loc, notes=problem.notes, hint=problem.hint)


def alone(op: Op) -> Graph | None:
    """The graph of an operator by itself: what is known beforehand stays, other operands are inputs; None where that is no operator."""
    if isinstance(op, (Input, Constant)):
        return None
    given = {v: v if _known(v) else graph_input(v.name, v.type, v.loc, tag=n) for n, v in enumerate(dict.fromkeys(op.operands))}
    try:
        made = op.with_operands([given[v] for v in op.operands])
    except CompileError:
        return None
    inputs = tuple(v for v in given.values() if isinstance(v.op, Input))
    return Graph(inputs, made.results, tuple(f"y{n}" for n in range(len(made.results))), type(op).__name__)


def _known(value: Any) -> bool:
    return value.is_constant or known_array(value) is not None
