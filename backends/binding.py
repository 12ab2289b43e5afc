"""The arrays of one call, checked against an interface: names, element types, shapes, and the sizes of symbolic dimensions.

Shared by everything that runs a compiled model. A symbolic dimension has the size the arrays say; an input whose dimension is
an expression ("2 * n") must agree with it, and settles it when no input has the bare symbol.

    >>> bind(interface, {"x": numpy.zeros((3, 8), numpy.float32)}).dims
    (3,)
"""
import ast
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod

import numpy as np

from edgec.backends.interface import Interface, Kept, Port
from edgec.errors import TypeMismatch
from edgec.types import DTYPES

OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.floordiv, ast.Mod: operator.mod}
FUNCTIONS = {"EDGEC_MIN": min, "EDGEC_MAX": max}


@dataclass(frozen=True)
class Bound:
    """Dense input arrays in the interface's order, the value of each dimension, and the outputs' shapes and bytes that follow: at the
    most, where the model computes sizes of its own."""
    inputs: tuple[np.ndarray, ...]
    dims: tuple[int, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    output_bytes: tuple[int, ...]
    states: tuple[np.ndarray | None, ...] = ()      # new values of what is kept; None: as the last call has left it


def bind(interface: Interface, arrays: Mapping[str, np.ndarray], filled: Mapping[str, tuple[int, ...]] | None = None) -> Bound:
    """Check `arrays` against the inputs; `TypeMismatch` says which input is wrong and how. What is kept between calls may be given.

    `filled` are the shapes that the last call has left of what grows; it begins as small as it may be.
    """
    names, kept = [port.name for port in interface.inputs], [each.port for each in interface.states]
    if set(arrays) - {port.name for port in kept} != set(names):
        raise TypeMismatch(f"expected the inputs {', '.join(names) or 'none'}", notes=[f"given: {', '.join(arrays) or 'none'}"])
    given = [_dense(port, arrays[port.name]) if port.name in arrays else None for port in kept]
    inputs = tuple(_dense(port, arrays[port.name]) for port in interface.inputs)
    dims = _solve(interface, inputs, _growing(interface, given, filled or {}))
    states = tuple(None if array is None else _in_room(each, array, dims) for each, array in zip(interface.states, given))
    for port, array in zip(interface.inputs, inputs):
        expected = shape_of(port, dims)
        if array.shape != expected:
            raise TypeMismatch(f"input {port.name!r} has shape {list(array.shape)}, expected {list(expected)}", notes=_meaning(port, dims))
    if interface.variants and tuple(dims.values()) not in interface.variants:
        listed = [", ".join(f"{name} = {size}" for name, size in zip(dims, sizes)) for sizes in interface.variants]
        raise TypeMismatch("the object holds no code for these shapes", notes=[f"compiled for {'; '.join(listed)}"])
    shapes = tuple(_largest(port, interface, dims) for port in interface.outputs)
    sizes = tuple(prod(shape) * port.item_bytes for port, shape in zip(interface.outputs, shapes))
    return Bound(inputs, tuple(dims.values()), shapes, sizes, states)


def _growing(interface: Interface, given: Sequence[np.ndarray | None], filled: Mapping[str, tuple[int, ...]]
             ) -> list[tuple[int | str, int]]:
    """The sizes of what grows, as given or as the last call has left it."""
    pairs: list[tuple[int | str, int]] = []
    for kept, array in zip(interface.states, given):
        shape = array.shape if array is not None else filled.get(kept.port.name)
        pairs += zip(kept.before, shape) if shape is not None else ()
    lowest = {name: low for name, low, _ in interface.dims}
    return pairs + [(d, lowest[d]) for kept in interface.states for d in kept.before if isinstance(d, str)]


def _in_room(kept: Kept, array: np.ndarray, dims: Mapping[str, int]) -> np.ndarray:
    """An array that is kept, in the corner of all the room there is for it."""
    expected = tuple(evaluate(extent, dims) for extent in kept.before or kept.port.shape)
    if array.shape != expected:
        raise TypeMismatch(f"state {kept.port.name!r} has shape {list(array.shape)}, expected {list(expected)}")
    if not kept.before:
        return array
    room = np.zeros(kept.port.shape, array.dtype)
    room[tuple(map(slice, array.shape))] = array
    return room


def filled_after(interface: Interface, dims: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The shapes that a call of these dimensions leaves of what grows, by the names of the inputs."""
    values = dict(zip((name for name, _, _ in interface.dims), dims))
    return {kept.port.name: tuple(evaluate(extent, values) for extent in kept.after) for kept in interface.states if kept.after}


def bind_all(interface: Interface, samples: Sequence[Mapping[str, np.ndarray]]) -> list[Bound]:
    """Call after call, each on what the one before has left."""
    found: list[Bound] = []
    for sample in samples:
        found.append(bind(interface, sample, filled_after(interface, found[-1].dims) if found else None))
    return found


def shape_of(port: Port, dims: Mapping[str, int]) -> tuple[int, ...]:
    """The port's shape with every symbol replaced by its value."""
    return tuple(evaluate(extent, dims) for extent in port.shape)


def outputs_of(interface: Interface, bound: Bound, sizes: Sequence[int], held: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Outputs by name, and what is kept by the names of its outputs, from their memory after a call: `held` is that of every output, then
    that of every state; `sizes` came out of the call."""
    found, number = {}, len(interface.outputs)
    for port, memory in zip(interface.outputs, held[:number]):
        shape = computed_shape(port, interface, bound.dims, sizes)
        found[port.name] = np.frombuffer(memory, DTYPES[port.dtype].numpy)[:prod(shape)].reshape(shape).copy()
    for kept, memory in zip(interface.states, held[number:]):
        shape = filled_after(interface, bound.dims).get(kept.port.name, kept.port.shape)
        array = np.frombuffer(memory, DTYPES[kept.port.dtype].numpy).reshape(kept.port.shape)
        found[kept.output] = array[tuple(map(slice, shape))].copy()
    return found


def computed_shape(port: Port, interface: Interface, dims: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    """The shape of an output, given the dimensions of the call and the sizes that came out of it, both in the interface's order."""
    return shape_of(port, dict(zip((name for name, _, _ in (*interface.dims, *interface.sizes)), (*dims, *sizes))))


def _largest(port: Port, interface: Interface, dims: Mapping[str, int]) -> tuple[int, ...]:
    """An output's shape with the sizes that the model computes at whichever bounds make it largest."""
    corners = [dict(zip((n for n, _, _ in interface.sizes), ends)) for ends in product(*((a, b) for _, a, b in interface.sizes))]
    return tuple(max(sizes) for sizes in zip(*(shape_of(port, dims | corner) for corner in corners)))


def evaluate(extent: int | str, dims: Mapping[str, int]) -> int:
    """A dimension as a number: a C expression of + - * / %, EDGEC_MIN and EDGEC_MAX; no part that is divided may be negative."""
    return extent if isinstance(extent, int) else dims[extent] if extent in dims else _value(_parsed(extent), dims)


@cache
def _parsed(extent: str) -> ast.expr:
    return ast.parse(extent, mode="eval").body


def _value(node: ast.expr, dims: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name):
            return dims[name]
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATIONS[type(op)](_value(left, dims), _value(right, dims))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, dims)
        case ast.Call(func=ast.Name(id=name), args=args):
            return FUNCTIONS[name](*(_value(argument, dims) for argument in args))
    raise TypeMismatch(f"a dimension may be made of + - * / % and EDGEC_MIN, EDGEC_MAX, not of {ast.unparse(node)!r}")


def _dense(port: Port, array: np.ndarray) -> np.ndarray:
    array, dtype = np.asarray(array), DTYPES[port.dtype].numpy
    if array.dtype != dtype:
        raise TypeMismatch(f"input {port.name!r} has element type {array.dtype}, expected {dtype}")
    if array.ndim != len(port.shape):
        raise TypeMismatch(f"input {port.name!r} has {array.ndim} dimensions, expected {len(port.shape)}: {_shape_text(port)}")
    dense = array.flags.c_contiguous and array.flags.aligned
    return array if dense else np.array(array, order="C")     # ascontiguousarray turns () into (1,)


def _solve(interface: Interface, inputs: tuple[np.ndarray, ...], growing: list[tuple[int | str, int]]) -> dict[str, int]:
    """The value of each dimension: from a bare symbol first, else the one value in its range that makes an expression come out right."""
    extents = [pair for port, array in zip(interface.inputs, inputs) for pair in zip(port.shape, array.shape)]
    extents += growing
    known: dict[str, int] = {}
    for name, low, high in interface.dims:
        found = next((actual for extent, actual in extents if extent == name), None)
        if found is None:
            found = _search(name, low, high, extents, known)
        if not low <= found <= high:
            raise TypeMismatch(f"dimension {name} is {found}, expected {low} to {high}")
        known[name] = found
    return known


def _search(name: str, low: int, high: int, extents: list[tuple[int | str, int]], known: dict[str, int]) -> int:
    """The least value that fits every expression of it: one that divides leaves several, which another tells apart."""
    fitting: list[int] | None = None
    for extent, actual in extents:
        if isinstance(extent, str) and set(re.findall(r"\b[A-Za-z_]\w*", extent)) - FUNCTIONS.keys() - known.keys() == {name}:
            left = range(low, high + 1) if fitting is None else fitting
            fitting = [value for value in left if evaluate(extent, known | {name: value}) == actual]
            if not fitting:
                raise TypeMismatch(f"no {name} from {low} to {high} makes {extent} equal to {actual}")
    if fitting is None:
        raise TypeMismatch(f"the shapes of the inputs do not determine dimension {name}")
    return fitting[0]


def _shape_text(port: Port) -> str:
    return f"[{', '.join(map(str, port.shape))}]"


def _meaning(port: Port, dims: Mapping[str, int]) -> list[str]:
    return [f"declared as {_shape_text(port)} with {', '.join(f'{name} = {value}' for name, value in dims.items())}"] if dims else []
