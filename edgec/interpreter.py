"""Run a graph in numpy: the oracle that every compiled form is compared with.

One loop over the ops in order, each computed by its own `reference`; nothing is fused, cached or reordered, and an array is dropped after
its last use. Every result is checked against the inferred type, with the symbolic dimensions bound from the actual inputs.

    results = interpret(load("model.onnx"), {"image": np.zeros((1, 3, 224, 224), np.float32)})    # {"scores": array}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgec.decomposition import expand
from edgec.errors import CompileError, Internal, ModelError, Unsupported, raise_all
from edgec.expr import Expr
from edgec.graph import Constant, Graph, Input, Op, Value, run_reference
from edgec.sweeps import evaluate_dim
from edgec.text_slots import plain_text
from edgec.types import TensorType

Bindings = dict[str, int]


def interpret(graph: Graph, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Results by output name, from arrays by input name; ModelError names every wrong name, dtype or shape."""
    return dict(zip(graph.output_names, run(graph, arrays)))


def run(graph: Graph, arrays: Sequence[Any] | Mapping[str, Any]) -> list[np.ndarray]:
    """The output arrays, from the input arrays in the order of `graph.inputs` (or by name).

    Raises ModelError when the arrays do not fit the input types or an operator refuses its values (an index out of range), Unsupported when
    an operator has no meaning in numpy, Internal when a result differs from its inferred type.
    """
    if isinstance(arrays, Mapping):
        arrays = _in_order(graph, arrays)
    arrays = [plain_text(np.asarray(a)) for a in arrays]
    bindings = bind_symbols(graph, arrays)
    graph = expand(graph, lambda op: not hasattr(op, "reference") and hasattr(op, "decompose"))
    known: dict[Value, np.ndarray] = dict(zip(graph.inputs, arrays))
    uses = _use_counts(graph)
    for op in graph.ops:
        if isinstance(op, Input):
            _require_known(op, known)
            continue
        known.update(zip(op.results, _run_op(op, [known[v] for v in op.operands], bindings)))
        _drop_dead(op, known, uses)
    return [known[v] for v in graph.outputs]


def _in_order(graph: Graph, arrays: Mapping[str, Any]) -> list[Any]:
    """Arrays given by name, in the order of the graph's inputs."""
    names = [v.name for v in graph.inputs]
    problems = [f"there is no input '{n}'" for n in arrays if n not in names]
    problems += [f"input '{n}' is missing" for n in names if n not in arrays]
    raise_all([ModelError(p, hint=_the_inputs(graph)) for p in problems])
    return [arrays[n] for n in names]


def bind_symbols(graph: Graph, arrays: Sequence[np.ndarray]) -> Bindings:
    """The number each symbolic dimension has in these inputs; ModelError when count, dtype or a shape does not fit."""
    if len(arrays) != len(graph.inputs):
        raise ModelError(f"{len(arrays)} arrays given for {len(graph.inputs)} inputs", hint=_the_inputs(graph))
    bindings: Bindings = {}
    errors: list[CompileError] = []
    for value, array in zip(graph.inputs, arrays):
        problem = _dtype_problem(value, array) or _shape_problem(value, array, bindings)
        if problem:
            errors.append(ModelError(f"input '{value.name}' must be {value.type}: {problem}", hint=_the_inputs(graph)))
    raise_all(errors)
    return bindings


def _dtype_problem(value: Value, array: np.ndarray) -> str:
    if array.dtype == value.type.dtype.numpy:
        return ""
    return f"the given array has element type {array.dtype} (use .astype(np.{value.type.dtype.numpy.name}))"


def _shape_problem(value: Value, array: np.ndarray, bindings: Bindings) -> str:
    """Why the array's shape does not fit, binding the symbols it decides on the way."""
    shape, wanted = array.shape, value.type.shape
    if len(shape) != len(wanted):
        return f"the given shape {list(shape)} has rank {len(shape)}"
    for axis, (size, dim) in enumerate(zip(shape, wanted)):
        if isinstance(dim, Expr) and dim.op == "var":
            if not dim.lo <= size <= dim.hi:
                return f"axis {axis} has {size} elements, allowed are {dim.lo} to {dim.hi}"
            dim = bindings.setdefault(dim.data, size)
        if isinstance(dim, int) and size != dim:
            return f"the given shape is {list(shape)}, axis {axis} must have {dim} elements"
    return ""


def _run_op(op: Op, operands: list[np.ndarray], bindings: Bindings) -> list[np.ndarray]:
    if not hasattr(op, "reference"):
        raise Unsupported(f"{type(op).__name__} has no meaning in numpy", loc=op.loc)
    try:
        with np.errstate(all="ignore"):
            results = [np.asarray(r) for r in run_reference(op, operands)]
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        shown = [f"operand %{v.name}: {v.type}" for v in op.operands]
        raise ModelError(f"{type(op).__name__} cannot be computed on these values: {error}", loc=op.loc, notes=shown) from error
    for (symbol, *_), number in zip(getattr(op, "computed_sizes", ()), results[0].ravel()):
        if isinstance(symbol, Expr):
            bindings[symbol.data] = int(number)
    return [_checked(value, array, bindings) for value, array in zip(op.results, results, strict=True)]


def _checked(value: Value, array: np.ndarray, bindings: Bindings) -> np.ndarray:
    if len(array.shape) == value.type.rank:
        _bind_new(value.type, array.shape, bindings)
    wanted = concrete_shape(value.type, bindings)
    if array.shape != wanted or array.dtype != value.type.dtype.numpy:
        raise Internal(f"{type(value.op).__name__} computed {array.dtype}{list(array.shape)} for result {value.op.results.index(value)} "
                       f"of type {value.type}, which is {list(wanted)} here", loc=value.loc)
    return array


def _bind_new(type_: TensorType, shape: Sequence[int], bindings: Bindings) -> None:
    """A symbol that no input decides (how often a Loop ran, a symbol of the graph around a subgraph) stands for the size that came out."""
    for size, dim in zip(shape, type_.shape):
        if isinstance(dim, Expr) and dim.op == "var":
            bindings.setdefault(dim.data, size)


def concrete_shape(type_: TensorType, bindings: Bindings) -> tuple[int, ...]:
    """The numbers of a shape when its symbols have these values."""
    return tuple(d if isinstance(d, int) else evaluate_dim(d, bindings) for d in type_.shape)


def _require_known(op: Op, known: dict[Value, np.ndarray]) -> None:
    if op.output not in known:
        raise Internal(f"the graph reads %{op.output.name}, which is not among its inputs", loc=op.loc)


def _use_counts(graph: Graph) -> Counter:
    counts: Counter = Counter(v for op in graph.ops for v in op.operands)
    counts.update(graph.outputs)
    return counts


def _drop_dead(op: Op, known: dict[Value, np.ndarray], uses: Counter) -> None:
    """Forget operands that nobody reads any more, and results that nobody reads at all."""
    for value in op.operands:
        uses[value] -= 1
    for value in (*op.operands, *op.results):
        if uses[value] == 0 and not isinstance(value.op, Constant):
            known.pop(value, None)


def _the_inputs(graph: Graph) -> str:
    return "the inputs are " + ", ".join(f"{v.name}: {v.type}" for v in graph.inputs)
