"""Arithmetic of shapes: broadcasting, axes, products that may hold symbols, and operands that must be known at compile time.

Used by `infer`, `elements` and `lower` of the operators; a dimension is an int or an index expression over bounded symbols.

    broadcast_shapes(op, (n, 1, 4), (3, 1))       # (n, 3, 4)
    exact_quotient((n, 3, 8), (4, n))             # 6
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, as_expr, dim, floordiv
from edgec.graph import Op, Value
from edgec.types import index

Dim = Any  # int or Expr
MAX_ELEMENTS = 4096  # of a tensor whose elements are tracked at compile time


def same_dim(a: Dim, b: Dim) -> bool:
    """Whether two dimensions are equal for sure."""
    return a == b if isinstance(a, int) and isinstance(b, int) else a is b


def same_shape(a: Sequence[Dim], b: Sequence[Dim]) -> bool:
    return len(a) == len(b) and all(map(same_dim, a, b))


def shape_text(shape: Sequence[Dim]) -> str:
    """A shape for a message: [n, 3]."""
    return f"[{', '.join(map(str, shape))}]"


def broadcast_shapes(op: Op, *shapes: Sequence[Dim]) -> tuple[Dim, ...]:
    """The numpy broadcast of shapes (ONNX "multidirectional broadcasting"); a TypeMismatch of `op` where sizes are not known to agree."""
    rank = max(map(len, shapes))
    result: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            if same_dim(result[axis], 1):
                result[axis] = size
            elif not same_dim(size, 1):
                are_numbers = isinstance(size, int) and isinstance(result[axis], int)
                op.require(same_dim(result[axis], size), f"shapes {' and '.join(map(shape_text, shapes))} do not broadcast: "
                           f"sizes {result[axis]} and {size} at axis {axis - rank}",
                           hint="" if are_numbers else "give the symbolic dimension a fixed size")
    return tuple(result)


def require_sizes(op: Op, shape: Sequence[Dim]) -> None:
    """A TypeMismatch of `op` for a negative size, Unsupported for one that may become negative."""
    op.require(all(isinstance(d, Expr) or d >= 0 for d in shape), f"shape {shape_text(shape)} has a negative size")
    for size in shape:
        if isinstance(size, Expr) and size.lo < 0:
            raise Unsupported(f"{type(op).__name__}: the size {size} may be negative", loc=op._pending_loc,
                              hint="raise the lower bound of the symbolic dimension, or give it a fixed size")


def require_elements(op: Op, size: Dim, axis: int) -> None:
    """A TypeMismatch of `op` for an empty axis, Unsupported for one that may become empty: what is read there must exist."""
    op.require(not same_dim(size, 0), f"axis {axis} is empty")
    if isinstance(size, Expr) and size.lo < 1:
        raise Unsupported(f"{type(op).__name__}: axis {axis} of size {size} may be empty", loc=op._pending_loc,
                          hint="raise the lower bound of the symbolic dimension, or give it a fixed size")


def normal_axis(op: Op, axis: int, rank: int, what: str = "axis") -> int:
    """The axis counted from the front; a TypeMismatch of `op` when outside [-rank, rank-1]."""
    op.require(-rank <= axis < rank, f"{what} {axis} is outside [{-rank}, {rank - 1}]")
    return axis % rank if rank else 0


def normal_axes(op: Op, axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Axes counted from the front; repeated ones are a TypeMismatch of `op`."""
    found = tuple(normal_axis(op, int(a), rank) for a in axes)
    op.require(len(set(found)) == len(found), f"axes {shape_text(axes)} name one axis twice")
    return found


def known(op: Op, value: Value, what: str) -> tuple[Dim, ...]:
    """The elements of an operand that decides a shape: ints and dimensions. Unsupported when they depend on data."""
    elements = value.elements
    if elements is None:
        raise Unsupported(f"{type(op).__name__}: {what} %{value.name} is not known at compile time", loc=op._pending_loc,
                          notes=[f"operand %{v.name}: {v.type}" for v in op.operands],
                          hint=f"give bounds for its whole numbers: --bind {value.name}=1..8")
    return elements


def known_numbers(op: Op, value: Value, what: str) -> tuple[int, ...]:
    """As `known`, and plain numbers."""
    elements = known(op, value, what)
    if any(isinstance(e, Expr) for e in elements):
        raise Unsupported(f"{type(op).__name__}: {what} depends on a symbolic dimension: {shape_text(elements)}", loc=op._pending_loc,
                          hint="give the dimension a fixed size")
    return elements


def product(dims: Sequence[Dim]) -> Dim:
    """The product of dimensions."""
    result: Dim = 1
    for d in dims:
        result = result * d
    return dim(result)


def factors(dims: Sequence[Dim]) -> tuple[int, list[Expr]]:
    """A product of dimensions as (number, symbolic factors in a fixed order)."""
    number, symbols = 1, []
    for d in dims:
        if isinstance(d, int):
            number *= d
        elif d.op == "linear":
            constant, coefficients = d.data
            common = math.gcd(constant, *coefficients)
            number *= common
            rest = floordiv(d, common)
            symbols.extend(rest.args if rest.op == "mul" else (rest,))
        else:
            symbols.extend(d.args if d.op == "mul" else (d,))
    return number, sorted(symbols, key=lambda e: e.serial) if number else []


def same_product(a: Sequence[Dim], b: Sequence[Dim]) -> bool:
    """Whether two shapes have equally many elements for sure."""
    return factors(a) == factors(b)


def exact_quotient(a: Sequence[Dim], b: Sequence[Dim]) -> Dim | None:
    """product(a) / product(b) where that is surely whole, else None. The symbols of b must stand in a."""
    (number, above), (divisor, below) = factors(a), factors(b)
    for symbol in below:
        if not any(symbol is s for s in above):
            return None
        above.remove(symbol)
    if divisor == 0 or number % divisor:
        return None
    return product([number // divisor, *above])


def as_index(d: Dim) -> Expr:
    """A dimension as an index expression."""
    return as_expr(d, index)


def moved_elements(op: Op, *arguments: Any) -> tuple[Dim, ...] | None:
    """The known elements of an operator that only moves elements: its own `reference` on arrays of dimensions.

    An argument that is a Value becomes an object array of its known elements (a tuple of Values likewise), anything else is passed on.
    None where elements are unknown, too many, or the result has no fixed shape.
    """
    if not op.output.type.is_static or op.output.type.max_size > MAX_ELEMENTS:
        return None
    arrays = [tuple(map(element_array, a)) if isinstance(a, tuple) else element_array(a) if isinstance(a, Value) else a for a in arguments]
    if any(x is None for a, given in zip(arrays, arguments) if given is not None for x in (a if isinstance(a, tuple) else (a,))):
        return None
    return tuple(np.asarray(op.reference(*arrays), object).ravel())


def element_array(value: Value) -> np.ndarray | None:
    """The known elements as an object array of the value's shape."""
    elements = value.elements
    if elements is None or not value.type.is_static or len(elements) != value.type.max_size:
        return None
    array = np.empty(len(elements), object)
    array[:] = elements
    return array.reshape(value.type.shape)
