"""Check a graph from scratch and report every problem: types as inferred anew, a closed and acyclic body, names told apart.

    problems = verify(graph)      # [] for a sound graph; raise_all(problems) raises them as one error
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from edgec.errors import CompileError, Internal
from edgec.expr import Expr
from edgec.graph import Constant, Graph, Input, Op
from edgec.types import TensorType


def verify(graph: Graph) -> list[CompileError]:
    """Every problem of a graph and the graphs inside it, in order; each is Internal, since the reader lets no such graph in."""
    problems: list[CompileError] = []
    work = [(graph, frozenset())]
    while work:
        current, outer = work.pop()
        problems += [*_signature(current), *_order(current), *_symbols(current, outer)]
        for op in current.ops:
            problems += _op(op)
            work += [(a, outer | set(current.symbols)) for a in op.attributes.values() if isinstance(a, Graph)]
    return problems


def _signature(graph: Graph) -> Iterator[CompileError]:
    """Inputs are Input ops, every input that is read is listed, outputs have one name each."""
    for value in graph.inputs:
        if not isinstance(value.op, Input):
            yield Internal(f"the graph input %{value.name} is the result of {type(value.op).__name__}", loc=value.loc)
    for op in graph.ops:
        if isinstance(op, Input) and op.output not in graph.inputs:
            yield Internal(f"%{op.name} is read and is not among the inputs of graph '{graph.name}'", loc=op.loc)
    if len(graph.outputs) != len(graph.output_names):
        yield Internal(f"graph '{graph.name}' has {len(graph.outputs)} outputs and {len(graph.output_names)} names")
    yield from _repeated([v.op.name for v in graph.inputs if isinstance(v.op, Input) and not v.op.tag], "input", graph)
    yield from _repeated(graph.output_names, "output", graph)


def _repeated(names: Sequence[str], what: str, graph: Graph) -> Iterator[CompileError]:
    for name, count in Counter(names).items():
        if count > 1 or not name:
            yield Internal(f"graph '{graph.name}' has {count} {what}s called '{name}'")


def _order(graph: Graph) -> Iterator[CompileError]:
    """Operands come before their users; where a cycle was made by force, no order has this."""
    seen: set[Op] = set()
    for op in graph.ops:
        late = [v for v in op.operands if v.op not in seen]
        if late:
            yield Internal(f"{type(op).__name__} reads %{late[0].name}, which depends on it", loc=op.loc)
        seen.add(op)


def _op(op: Op) -> Iterator[CompileError]:
    """The recorded types are the inferred ones, symbols come from the inputs, constants cannot be written to."""
    try:
        inferred = op.infer()
    except CompileError as error:
        yield error.at(op.loc)
        return
    inferred = inferred if isinstance(inferred, tuple) else (inferred,)
    recorded = tuple(v.type for v in op.results)
    if len(inferred) != len(recorded) or not all(map(same_type, recorded, inferred)):
        yield Internal(f"{type(op).__name__} is recorded as {recorded}, its operands give {inferred}", loc=op.loc)
    if isinstance(op, Constant) and op.data.flags.writeable:
        yield Internal(f"the constant %{op.output.name} can be written to", loc=op.loc)

def same_type(a: TensorType, b: TensorType) -> bool:
    """Equal types, where a size that only shows when the model runs is a new symbol each time it is inferred: equal bounds will do."""
    def same(m: object, n: object) -> bool:
        new = isinstance(m, Expr) and isinstance(n, Expr) and is_born(m) and is_born(n)
        return m == n or new and (m.lo, m.hi) == (n.lo, n.hi)
    return a.dtype is b.dtype and a.rank == b.rank and all(map(same, a.shape, b.shape))


def is_born(dim: Expr) -> bool:
    """Whether a dimension is a symbol made by `fresh`, for a size that a node decides when the model runs."""
    return dim.op == "var" and "." in dim.data


def _symbols(graph: Graph, outer: frozenset[Expr]) -> Iterator[CompileError]:
    """Every symbol of a type is one of an input, of an enclosing graph, or made by a node above; no extent can be negative."""
    known = outer | set(graph.symbols) | {s for op in graph.ops for s, *_ in getattr(op, "computed_sizes", ()) if isinstance(s, Expr)}
    for value in (v for op in graph.ops for v in op.results):
        for dim in value.type.shape:
            if isinstance(dim, Expr) and is_born(dim):
                known |= {dim}
            elif isinstance(dim, Expr) and not dim.free <= known:
                yield Internal(f"%{value.name}: {value.type} has a symbol that no input has", loc=value.loc)
            if (dim if isinstance(dim, int) else dim.lo) < 0:
                yield Internal(f"%{value.name}: {value.type} may have a negative extent", loc=value.loc)
