"""Forward error bounds: how far two correct evaluations of one f32 graph may lie apart, element by element.

Every operator of `edgec.testing.graphs` has a rule that carries the bounds of its operands to its result and adds its own roundings
(N. J. Higham, "Accuracy and Stability of Numerical Algorithms", chapter 3): a sum of K products may be off by (K + 8) u sum|a||b|, with
u = 2^-24. Sums of whole numbers below 2^24 are exact in any order, so there the bound is 0. Integers are exact.

    assert_within(found, interpret(graph, arrays), error_bounds(graph, arrays))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgec.graph import Constant, Graph, Input, Op, run_reference
from edgec.interpreter import bind_symbols

UNIT = 2.0**-24
EXACT = 2.0**24
SLACK = 8       # roundings beside those of the sum itself: the epilogue, the merging of partial sums
POLYNOMIAL = 8  # units of our exp, tanh, sigmoid against the true value, argument reduction included

Array = np.ndarray


def error_bounds(graph: Graph, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The greatest |found - expected| of each output, by name, for any order of summation, with or without fused multiply-adds."""
    given = [np.asarray(arrays[v.name]) for v in graph.inputs]
    bind_symbols(graph, given)
    _, bounds = _followed(graph, given, [np.zeros(a.shape) for a in given])
    return {name: 2 * bound for name, bound in zip(graph.output_names, bounds)}


def _followed(graph: Graph, given: list[Array], off: list[Array]) -> tuple[list[Array], list[Array]]:
    """(results, their bounds) of a graph on inputs that are off by so much."""
    values: dict[Any, Array] = dict(zip(graph.inputs, given))
    errors: dict[Any, Array] = dict(zip(graph.inputs, off))
    for op in graph.ops:
        if isinstance(op, Input):
            continue
        xs, es = [values[v] for v in op.operands], [errors[v] for v in op.operands]
        with np.errstate(all="ignore"):
            results = [np.asarray(r) for r in run_reference(op, xs)]
            bounds = _rule(op)(op, xs, es, results)
            if type(op).__name__ == "Add" and op.output.dtype.is_float:
                bounds = [bounds[0] + _started(op, values, errors, results[0].shape)]
        values.update(zip(op.results, results))
        errors.update(zip(op.results, (np.zeros(r.shape) if r.dtype.kind in "iub" else b for r, b in zip(results, bounds))))
    return [values[v] for v in graph.outputs], [errors[v] for v in graph.outputs]


def assert_within(found: Mapping[str, Array], expected: Mapping[str, Array], bounds: Mapping[str, Array]) -> None:
    """Same names, dtypes and shapes; every element within its bound (where an overflow leaves none, anything goes)."""
    assert found.keys() == expected.keys()
    for name, right in expected.items():
        left = found[name]
        assert left.dtype == right.dtype and left.shape == right.shape, f"{name}: {left.dtype}{left.shape} {right.dtype}{right.shape}"
        a, b = left.astype(np.float64), right.astype(np.float64)
        with np.errstate(invalid="ignore"):
            far = ~((a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= bounds[name]) | ~np.isfinite(bounds[name]))
        if far.any():
            at = tuple(int(i[0]) for i in np.nonzero(far))
            raise AssertionError(f"{name}{list(at)} is {a[at]!r} instead of {b[at]!r}, off by {abs(a[at] - b[at])} where "
                                 f"{bounds[name][at]} is allowed; {int(far.sum())} of {far.size} elements are wrong")


Rule = Callable[[Op, list[Array], list[Array], list[Array]], list[Array]]


def _rule(op: Op) -> Rule:
    """The rule of an operator: by its name, else an elementwise one by the slope of its function."""
    if isinstance(op, Constant):
        return lambda op, xs, es, ys: [np.zeros(y.shape) for y in ys]
    for base in type(op).__mro__:
        if base.__name__ in RULES:
            return RULES[base.__name__]
    raise TypeError(f"no error bound is known for {type(op).__name__}")


def _run(op: Op, *arrays: Array) -> Array:
    """The operator on other numbers; their float type does not matter to numpy, and results are not rounded on purpose."""
    return np.asarray(run_reference(op, arrays)[0], np.float64)


def _move(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    """Operators that only move or choose elements: so do the errors. Operands that are no floats say where to."""
    if xs[0].dtype.kind != "f":
        return [np.zeros(y.shape) for y in ys]
    moved = [e.astype(x.dtype) if x.dtype.kind == "f" else x for x, e in zip(xs, es)]
    return [np.asarray(r, np.float64) * (1 + 4 * UNIT) for r in run_reference(op, moved)]


def _choose(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    """max, min, clip, relu: never farther apart than the farthest operand."""
    return [np.broadcast_to(_widest(es, y), y.shape) for y in ys]


def _widest(es: list[Array], y: Array) -> Array:
    total = np.zeros(y.shape)
    for e in es:
        total = np.maximum(total, np.broadcast_to(e, y.shape))
    return total


def _whole(*arrays: Array) -> bool:
    return all((np.floor(a) == a).all() for a in arrays)


def _sum(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    y, e = ys[0], sum(np.broadcast_to(e, ys[0].shape) for e in es)
    exact = e.max(initial=0) == 0 and _whole(*xs) and np.abs(y).max(initial=0) < EXACT
    return [e if exact else e + UNIT * (np.abs(y.astype(np.float64)) + e)]


def _started(op: Op, values: dict[Any, Array], errors: dict[Any, Array], shape: tuple[int, ...]) -> Array:
    """What more an Add may be off where a sum of products begins with its other term (`edgec.passes.first_terms`).

    Every partial sum is then rounded with the term in it, also where the products alone would add up exactly and cancel.
    """
    found = np.zeros(shape)
    for total, term in (op.operands, op.operands[::-1]):
        inside = _inside(total, values, errors)
        size = np.abs(values[term].astype(np.float64)) + errors[term]
        exact = _whole(values[total], values[term]) and max(errors[v].max(initial=0) for v in (total, term)) == 0
        if inside is not None and not exact:
            magnitude, terms = inside
            found = found + np.broadcast_to((terms + SLACK) * UNIT * (magnitude + size), shape)
    return found


def _inside(value: Any, values: dict[Any, Array], errors: dict[Any, Array]) -> tuple[Array, int] | None:
    """(the sum of magnitudes, the number of terms) of what is a sum of products, perhaps moved or with constants applied; else None."""
    op, kind = value.op, type(value.op).__name__
    sizes = [np.abs(values[v].astype(np.float64)) + errors[v] for v in op.operands if v in values and v.dtype.is_float]
    if kind in ("Conv", "MatMul", "Gemm"):
        return _run(op, *_f32(*sizes)) * (1 + 64 * UNIT), _terms(op, sizes)
    if kind == "ReduceSum":
        return _run(op, *_f32(sizes[0]), *(values[v] for v in op.operands[1:])) * (1 + 64 * UNIT), op.x.type.max_size
    parts = [_inside(v, values, errors) for v in op.operands] if kind in STILL_SUMS or RULES.get(kind) is _move else []
    if not any(parts) or kind in ("Add", "Sub", "Mul") and not any(v.is_constant for v in op.operands):
        return None
    terms = max(part[1] for part in parts if part)
    wide = [part[0] if part else np.abs(values[v]) if v.dtype.is_float else values[v] for v, part in zip(op.operands, parts)]
    if kind in ("Add", "Sub", "Mul"):
        return (wide[0] * wide[1] if kind == "Mul" else wide[0] + wide[1]), terms
    moved = [a.astype(v.dtype.numpy) for v, a in zip(op.operands, wide)]
    number = next(n for n, v in enumerate(op.results) if v is value)
    return np.asarray(run_reference(op, moved)[number], np.float64) * (1 + 4 * UNIT), terms


def _product(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    (a, b), (ea, eb), y = [x.astype(np.float64) for x in xs], es, ys[0]
    e = np.abs(a) * eb + np.abs(b) * ea + ea * eb
    exact = e.max(initial=0) == 0 and _whole(a, b) and np.abs(y).max(initial=0) < EXACT
    return [e if exact else e + UNIT * (np.abs(y.astype(np.float64)) + e)]


def _contraction(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    """Conv, MatMul, Gemm: linear in each operand. The reference on magnitudes gives sum|a||b|; its own f32 rounding is added back."""
    size = {f.shape for f in xs}
    wide = [np.abs(x.astype(np.float64)) for x in xs]
    a, b, rest = wide[0], wide[1], wide[2:]
    zero = [np.zeros_like(r) for r in rest]
    term = 1 + 64 * UNIT
    magnitude = _run(op, *_f32(a + es[0], b + es[1], *(r + e for r, e in zip(rest, es[2:])))) * term
    carried = _run(op, *_f32(es[0], b + es[1], *zero)) * term + _run(op, *_f32(a, es[1], *zero)) * term
    for position, e in enumerate(es[2:]):
        carried = carried + _run(op, *_f32(np.zeros_like(a), b, *(e if n == position else z for n, z in enumerate(zero)))) * term
    if carried.max(initial=0) == 0 and _whole(*xs) and magnitude.max(initial=0) < EXACT and getattr(op, "alpha", 1.0) == 1.0:
        return [np.zeros(ys[0].shape)]
    return [carried + (_terms(op, xs) + SLACK) * UNIT * magnitude] if size else []


def _terms(op: Op, xs: list[Array]) -> int:
    """How many products one result sums."""
    if type(op).__name__ == "Conv":
        return prod(xs[1].shape[1:])
    return xs[0].shape[0 if getattr(op, "transA", 0) else -1]


def _f32(*arrays: Array) -> list[Array]:
    """Magnitudes in the operators' type, rounded up."""
    return [np.nextafter(a.astype(np.float32), np.float32(np.inf)) * (a > 0) for a in arrays]


def _reduce(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    """Sums and means over axes or windows: errors are summed likewise, and every addition rounds."""
    x, rest = np.abs(xs[0].astype(np.float64)), xs[1:]
    carried = _run(op, *_f32(es[0]), *rest) * (1 + 64 * UNIT)
    magnitude = _run(op, *_f32(x + es[0]), *rest) * (1 + 64 * UNIT)
    count = prod(op.kernel_shape) if hasattr(op, "kernel_shape") else max(1, x.size // max(1, ys[0].size))
    if type(op).__name__ == "ReduceSum" and carried.max(initial=0) == 0 and _whole(x) and magnitude.max(initial=0) < EXACT:
        return [np.zeros(ys[0].shape)]
    return [carried + (count + SLACK) * UNIT * magnitude]


def _smooth(slope: float, units: int, scale: float = 1.0) -> Rule:
    """A function with |f'| <= slope, computed to `units` roundings of its value (or of `scale` where that is larger)."""
    def rule(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
        return [slope * es[0] + units * UNIT * np.maximum(np.abs(ys[0].astype(np.float64)), scale)]
    return rule


def _hard_swish(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    """x * clip(x/6 + 1/2, 0, 1): slope at most 3/2; the clipped factor is off by roundings of 1, which x multiplies."""
    return [1.5 * es[0] + 4 * UNIT * (np.abs(xs[0].astype(np.float64)) + es[0])]


def _factored(slope: float) -> Rule:
    """x times a factor from 0 to 1, |f'| <= slope: the factor is off by roundings of 1 or by what the operator documents."""
    def rule(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
        off = max(2 * POLYNOMIAL * UNIT, getattr(op, "off", 0.0))
        return [slope * es[0] + off * (np.abs(xs[0].astype(np.float64)) + es[0])]
    return rule


def _softmax(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    """Relative: both powers move by the largest error of the row, the argument x - max is rounded, the sum has K terms."""
    x = xs[0].astype(np.float64)
    reach = np.abs(x - x.max(axis=op.axis, keepdims=True))
    moved = 2 * es[0].max(axis=op.axis, keepdims=True) + UNIT * (reach + reach.max(axis=op.axis, keepdims=True))
    relative = np.expm1(2 * moved) + (x.shape[op.axis] + SLACK + 2 * POLYNOMIAL) * UNIT
    return [ys[0].astype(np.float64) * relative + 2.0**-126]


def _layer_norm(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    """Mean, differences, variance and inverse deviation in turn."""
    x, scale = (a.astype(np.float64) for a in xs[:2])
    axes = tuple(range(op.axis % x.ndim, x.ndim))
    count = prod(x.shape[a] for a in axes)
    mean = lambda a: a.mean(axis=axes, keepdims=True)
    e_mean = mean(es[0]) + (count + SLACK) * UNIT * mean(np.abs(x) + es[0])
    d = np.abs(x - mean(x))
    e_d = es[0] + e_mean + UNIT * (d + es[0] + e_mean)
    variance = mean(d * d)
    e_variance = mean(2 * d * e_d + e_d * e_d) + (count + SLACK) * UNIT * mean((d + e_d) ** 2)
    inverse = 1 / np.sqrt(variance + op.epsilon)
    room = np.maximum(variance + op.epsilon - e_variance, op.epsilon)
    e_inverse = 0.5 * e_variance / (room * np.sqrt(room)) + 2 * POLYNOMIAL * UNIT * inverse
    e = (d * e_inverse + e_d * (inverse + e_inverse)) * np.abs(scale) + SLACK * UNIT * (d + e_d) * (inverse + e_inverse) * np.abs(scale)
    return [e + SLACK * UNIT * np.abs(ys[0].astype(np.float64))]


def _instance_norm(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    """A layer norm of each channel of each image: the channel's scale is a number in front of it."""
    x = xs[0]
    flat = [a.reshape(*x.shape[:2], -1) for a in (x, es[0], ys[0])]
    scale = np.broadcast_to(xs[1][:, None], flat[0].shape)
    found = _layer_norm(SimpleNamespace(axis=2, epsilon=op.epsilon), [flat[0], scale], [flat[1]], [flat[2]])
    return [found[0].reshape(x.shape)]


def _where(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    return [np.where(xs[0], es[1], es[2])]


def _cast(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    """Exact of what is exact; what is off might be rounded to the next number."""
    return [np.where(es[0] > 0, np.inf, 0.0)]


def _resized(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    """Means of two to four neighbours, whose weights are products of two rounded ones."""
    moved, size = (_run(op, *_f32(a), *xs[1:]) for a in (es[0], np.abs(xs[0].astype(np.float64)) + es[0]))
    return [moved * (1 + 64 * UNIT)] if op.mode == "nearest" else [moved * (1 + 64 * UNIT) + 2 * SLACK * UNIT * size]


def _branch(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    return _followed(op.then_branch if xs[0].item() else op.else_branch, xs[1:], es[1:])[1]


def _loop(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    """The body again and again; operands are a trip count, states and captured values."""
    count, after = len(op.initial), 1 + len(op.initial)
    states, off, rows, trip, keep = xs[1:after], es[1:after], [], 0, True
    while keep and trip < xs[0].item():
        head = [np.array(trip), np.array(True)]
        found, bounds = _followed(op.body, [*head, *states, *xs[after:]], [np.zeros(()), np.zeros(()), *off, *es[after:]])
        keep, states, off, trip = bool(found[0].item()), found[1:1 + count], bounds[1:1 + count], trip + 1
        rows.append(bounds[1 + count:])
    return [*off, *(np.stack(row) for row in zip(*rows))]


def _scan(op: Op, xs: list[Array], es: list[Array], ys: list[Array]) -> list[Array]:
    """One scan input, in whatever direction, and captured values behind it."""
    form, count = op.recurrence(), len(op.initial_state_and_scan_inputs) - 1
    part = form.slices[0]
    order = range(xs[count].shape[part.axis])
    states, off, rows = xs[:count], es[:count], []
    for n in reversed(order) if part.backward else order:
        slices = [a.take(n, part.axis) for a in (xs[count], es[count])]
        found, bounds = _followed(op.body, [*states, slices[0], *xs[count + 1:]], [*off, slices[1], *es[count + 1:]])
        states, off = found[:count], bounds[:count]
        rows.append(bounds[count:])
    return [*off, *(np.stack(row[::-1] if each.backward else row, each.axis) for row, each in zip(zip(*rows), form.scans))]


STILL_SUMS = ("Add", "Sub", "Mul")  # of a sum and a constant, which passes fold into the weights

RULES: dict[str, Rule] = {
    **dict.fromkeys(("Concat", "Split", "Slice", "Pad", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Expand",
                     "Tile", "MaxPool", "GlobalMaxPool", "ReduceMax", "Gather"), _move),
    "InstanceNormalization": _instance_norm, "Where": _where, "Cast": _cast, "Resize": _resized,
    "If": _branch, "Loop": _loop, "Scan": _scan,
    **dict.fromkeys(("Less", "And"), lambda op, xs, es, ys: [np.zeros(ys[0].shape)]),
    **dict.fromkeys(("Relu", "Clip", "Max", "Min", "Neg", "Abs"), _choose),
    "ReduceMin": lambda op, xs, es, ys: [np.broadcast_to(es[0].max(initial=0), ys[0].shape)],
    "LeakyRelu": _smooth(1.0, 1, 0.0), "HardSigmoid": _smooth(0.25, 3), "Sigmoid": _smooth(0.25, POLYNOMIAL),
    **dict.fromkeys(("Tanh", "Elu", "Celu", "Sin", "Cos", "Atan", "Softsign"), _smooth(1.0, POLYNOMIAL)),
    "Selu": _smooth(1.7581, 2 * POLYNOMIAL), "Softplus": _smooth(1.0, 2 * POLYNOMIAL), "Erf": _smooth(1.1284, POLYNOMIAL),
    "Gelu": _factored(1.1291), "Swish": _factored(1.0999), "Mish": _factored(1.0885),
    "HardSwish": _hard_swish, "Add": _sum, "Sub": _sum, "Mul": _product, "Softmax": _softmax, "LayerNormalization": _layer_norm,
    **dict.fromkeys(("Conv", "MatMul", "Gemm"), _contraction),
    **dict.fromkeys(("ReduceSum", "ReduceMean", "AveragePool", "GlobalAveragePool"), _reduce),
}
