"""Chains of elementwise operators that spell a Gelu or a HardSwish become that one operator.

Exporters write a Gelu as five to eight operators, in several orders. As one it takes about half of their instructions; and quantized one
by one they round as often, or stay f32 after the sums of a product, where one operator reads bytes and writes bytes. A chain is known by
what it computes: at POINTS it equals the operator's own reference. The pass looks for chains with an Erf or a Tanh, since those are what
one operator makes cheaper. Swish is left as it is: the opset that has it is newer than the runtimes that read a quantized file.

    mul(mul(x, add(erf(div(x, @1.414)), @1)), @0.5)  ->  gelu(x)
"""

from __future__ import annotations

import numpy as np

from edgec.errors import CompileError
from edgec.graph import Graph, Op, Value, constant, run_reference
from edgec.ops.activation import Gelu, HardSwish
from edgec.ops.arithmetic import Div, Mul
from edgec.ops.elementwise import Pointwise
from edgec.ops.transcendental import Erf, Tanh
from edgec.pipeline import graph_pass
from edgec.rewrite import rewrite, rule
from edgec.types import f32

POINTS = np.linspace(-12, 12, 4001, dtype=np.float32)
CLOSE = 2e-5  # f32 roundings of the few operators; the two forms of Gelu lie 5e-4 apart
LONGEST = 10  # operators of a chain


@rule
def known_function(op: Mul | Div):
    """f(x)  ->  gelu(x) or hardswish(x), where a chain of elementwise operators computes f"""
    if op.output.dtype is not f32:
        return None
    for x in _cone(op):
        made = _named(_chain(op, x), x)
        if made is not None:
            return made
    return None


@rule
def gelu(op: Mul):
    """f(x)  ->  gelu(x), where a chain of elementwise operators with an erf or a tanh computes f"""
    if op.output.dtype is not f32:
        return None
    for x in _cone(op):
        chain = _chain(op, x)
        if chain is not None and any(isinstance(each, (Erf, Tanh)) for each in chain):
            made = _named(chain, x)
            if made is not None:
                return made
    return None


@graph_pass("known-functions", before={"fuse": "a Gelu in one formula takes half the instructions of its parts"})
def known_functions(graph: Graph) -> Graph:
    """Chains of elementwise operators that compute a Gelu become one."""
    return rewrite(graph, gelu)


def _is_scalar(value: Value) -> bool:
    return value.is_constant and value.array.size == 1


def _cone(root: Op) -> list[Value]:
    """The values a chain that ends in `root` could begin at, nearest first: those read twice in it."""
    seen: list[Value] = []
    work, reads = [root], 0
    for op in work:
        for value in op.operands:
            if _is_scalar(value):
                continue
            reads += 1
            if value in seen:
                continue
            seen.append(value)
            if isinstance(value.op, Pointwise) and len(work) < LONGEST and value.op not in work:
                work.append(value.op)
    return [v for v in seen if v.dtype is f32 and v.shape == root.output.shape] if reads > len(seen) else []


def _chain(root: Op, x: Value) -> list[Op] | None:
    """The operators from x to root, operands first; None where another tensor is read, or where there are more than LONGEST."""
    found, work = {root}, [root]
    for op in work:
        if not isinstance(op, Pointwise) or op.output.dtype is not f32 or len(found) > LONGEST:
            return None
        fresh = {v.op for v in op.operands if v is not x and not _is_scalar(v)} - found
        found |= fresh
        work += fresh
    return _operands_first(found)


def _operands_first(operators: set[Op]) -> list[Op]:
    """Some operators in an order of evaluation."""
    order: list[Op] = []
    while len(order) < len(operators):
        order += [op for op in operators if op not in order and all(v.op not in operators or v.op in order for v in op.operands)]
    return order


def _named(chain: list[Op] | None, x: Value) -> Value | None:
    """The one operator that computes what the chain does."""
    values = None if chain is None or len(chain) < 3 else chain_results(chain, x, POINTS)
    if values is None:
        return None
    for made in (Gelu(x), Gelu(x, approximate="tanh"), HardSwish(x)):
        wanted = run_reference(made.with_operands([constant(POINTS)]), [POINTS])[0]
        if np.allclose(values, wanted, rtol=0, atol=CLOSE):
            return made.output
    return None


def chain_results(chain: list[Op], x: Value, points: np.ndarray) -> np.ndarray | None:
    """What a chain of operators on one value makes of a vector of its values, by their own reference; None where one takes no vector."""
    done = {x: constant(points)}
    try:
        for op in chain:
            operands = [done[v] if v in done else constant(v.array.reshape(())) for v in op.operands]
            made = op.with_operands(operands)
            with np.errstate(all="ignore"):
                done[op.output] = constant(run_reference(made, [v.array for v in operands])[0])
    except CompileError:
        return None
    return done[chain[-1].output].array
