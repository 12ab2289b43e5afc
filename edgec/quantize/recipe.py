"""Which operators compute with integers, and which values therefore lie on a grid.

Convolutions and matrix products are what quantization is for. Sums, products, pools, tables (activations) and concatenations become
integers only where what they read comes from integers and all that reads them wants integers: normalisations, softmax and the ends of a
network stay f32. Operators that only move elements (reshapes, slices, maxima ...) follow what they move, on one grid. A Relu or Clip with
bounds belongs to the operator before it: there is no rounding in between.

    recipe = recipe_of(graph);  recipe.quantized, recipe.values
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgec.graph import Graph, Op, Value
from edgec.ops.activation import (
    Celu,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Mish,
    Relu,
    Selu,
    Sigmoid,
    Softplus,
    Softsign,
    Swish,
    ThresholdedRelu,
)
from edgec.ops.arithmetic import Add, Clip, Mul
from edgec.ops.convolution import Conv, ConvTranspose
from edgec.ops.depth_space import DepthToSpace, SpaceToDepth
from edgec.ops.gather import Gather
from edgec.ops.joining import Concat, Expand, Split, Tile
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from edgec.ops.reduction import ReduceMean
from edgec.ops.reshape import Flatten, Reshape, Squeeze, Transpose, Unsqueeze
from edgec.ops.resize import Resize
from edgec.ops.slicing import Pad, Slice
from edgec.ops.transcendental import Tanh
from edgec.quantize.cells import is_cell, states_of
from edgec.types import f32

PRODUCTS = (Conv, ConvTranspose, Gemm, MatMul)
TABLES = (Celu, Clip, Elu, Gelu, HardSigmoid, HardSwish, LeakyRelu, Mish, Relu, Selu, Sigmoid, Softplus, Softsign, Swish, Tanh,
          ThresholdedRelu)
POOLS = (AveragePool, GlobalAveragePool, ReduceMean)
FOLLOWERS = (Add, Mul, Concat, *POOLS, *TABLES)
MOVES = (DepthToSpace, Expand, Flatten, Gather, GlobalMaxPool, MaxPool, Pad, Reshape, Resize, Slice, SpaceToDepth, Split, Squeeze, Tile,
         Transpose, Unsqueeze)
FLOAT, WIDE, BYTE = 32, 16, 8  # levels: bits of the activations an operator reads


@dataclass(frozen=True, eq=False)
class Recipe:
    """`quantized` operators read integers; `results` has the value where each one's result ends (behind an absorbed activation);
    `values` maps every value on a grid to the value whose range makes that grid; `bits` has the bits of the grids, by the latter."""

    graph: Graph
    quantized: tuple[Op, ...]
    results: Mapping[Op, Value]
    values: Mapping[Value, Value]
    bits: Mapping[Value, int]

    @property
    def layers(self) -> tuple[Op, ...]:
        """The convolutions and matrix products with constant weights among them."""
        return tuple(op for op in self.quantized if is_layer(op))

    @property
    def cells(self) -> tuple[Op, ...]:
        """The recurrent layers among them."""
        return tuple(op for op in self.quantized if is_cell(op))

    @property
    def rounded(self) -> tuple[Op, ...]:
        """The operators with weights of their own to be rounded."""
        return (*self.layers, *self.cells)

    @property
    def observed(self) -> tuple[Value, ...]:
        """The values whose ranges make grids, in the order of the data flow, then those that recurrent layers keep to themselves."""
        return tuple(dict.fromkeys([*self.values.values(), *(v for op in self.cells for v in states_of(op))]))

    @property
    def candidates(self) -> tuple[Value, ...]:
        """The values whose ranges could make grids in a mixture of precisions: all that no operator only moves there."""
        return tuple(dict.fromkeys([*self.observed, *(v for v in self.values if not is_move(v.op))]))


def is_layer(op: Op) -> bool:
    """Whether an operator has constant weights as its second operand."""
    return isinstance(op, PRODUCTS) and op.operands[1].is_constant and not op.operands[0].is_constant


def data_of(op: Op) -> tuple[Value, ...]:
    """The operands that are data: all but weights, biases and what only says shapes."""
    if isinstance(op, (*MOVES, *POOLS, *TABLES)) or is_layer(op) or is_cell(op):
        return (op.operands[0],)
    return tuple(v for v in op.operands[:2] if not v.is_constant) if isinstance(op, (Gemm, MatMul)) else \
        tuple(v for v in op.operands if not v.is_constant)


def is_move(op: Op) -> bool:
    """Whether every element of the result is an element of the data (or 0, or lies between elements)."""
    if not isinstance(op, MOVES) or op.operands[0].dtype is not f32 or op.operands[0].is_constant:
        return False
    if isinstance(op, Pad):
        fill = op.constant_value
        return op.mode != "constant" or fill is None or fill.is_constant and not fill.array.any()
    return not (isinstance(op, Resize) and op.mode == "cubic") and not (isinstance(op, MaxPool) and len(op.results) > 1)


def recipe_of(graph: Graph, levels: Mapping[Op, int] | None = None) -> Recipe:
    """The recipe of a prepared graph; `levels` gives operators 16-bit activations (WIDE) or leaves them alone (FLOAT)."""
    levels = levels or {}
    absorbed = _absorbed(graph)
    results = {op: absorbed[op].output if op in absorbed else op.output for op in graph.ops
               if isinstance(op, (*PRODUCTS, *FOLLOWERS)) or is_cell(op)}
    inside = set(absorbed.values())
    chosen = {op for op in graph.ops if op not in inside and _can(op) and levels.get(op, BYTE) < FLOAT}
    chosen = _settled(graph, chosen, results, inside)
    values = _values(graph, chosen, results)
    bits = _bits(chosen, values, levels)
    return Recipe(graph, tuple(op for op in graph.ops if op in chosen), {op: results[op] for op in chosen}, values, bits)


def _can(op: Op) -> bool:
    if is_cell(op):
        return True
    if op.output.dtype is not f32 or not isinstance(op, (*PRODUCTS, *FOLLOWERS)) or not data_of(op):
        return False
    if isinstance(op, Gemm):
        vector = op.c is None or op.c.is_constant and op.c.type.rank == 1
        return vector and op.alpha == op.beta == 1 and not op.transA and (is_layer(op) or op.c is None)
    if isinstance(op, (Conv, ConvTranspose)):
        return is_layer(op) and (op.b is None or op.b.is_constant)
    return True


def _absorbed(graph: Graph) -> dict[Op, Op]:
    """The Relu or Clip behind a product or sum that is its only reader."""
    found = {}
    for op in graph.ops:
        if isinstance(op, (*PRODUCTS, Add, Mul)) and op.output not in graph.outputs:
            users = graph.users.get(op.output, ())
            if len(users) == 1 and (isinstance(users[0], Relu) or isinstance(users[0], Clip) and _bounded(users[0])):
                found[op] = users[0]
    return found


def _bounded(op: Clip) -> bool:
    return all(v is None or v.is_constant for v in op.operands[1:]) and op.x is op.operands[0]


def _settled(graph: Graph, chosen: set[Op], results: Mapping[Op, Value], inside: set[Op]) -> set[Op]:
    """The largest set of operators in which every follower reads from integers and is read by integers only."""
    ends = set(graph.outputs)
    while True:
        # Values that come out of integers, and, with moves, those that do or are inputs.
        made = {results[op] for op in chosen if not is_cell(op)}
        carried = set(made) | {v for v in graph.inputs if v.dtype is f32}
        wanted: dict[Value, bool] = {}
        for op in graph.ops:
            if is_move(op) and op.operands[0] in carried:
                carried.update(op.results)
                made.update(op.results if op.operands[0] in made else ())
        for op in reversed(graph.ops):
            for value in op.results:
                wanted[value] = value not in ends and bool(graph.users.get(value)) and all(
                    user in chosen and value in data_of(user) or is_move(user) and all(wanted[r] for r in user.results)
                    for user in graph.users[value])

        def stays(op: Op) -> bool:
            reads = data_of(op)
            return not isinstance(op, FOLLOWERS) or (all(v in carried for v in reads) and any(v in made for v in reads)
                                                     and wanted[results[op]])
        left = {op for op in chosen if stays(op)}
        if left == chosen:
            return chosen
        chosen = left


def _values(graph: Graph, chosen: set[Op], results: Mapping[Op, Value]) -> dict[Value, Value]:
    """Every value that is put on a grid, with the value whose range that grid has, in the order of the data flow."""
    needed: set[Value] = {v for op in chosen for v in data_of(op)}
    for op in reversed(graph.ops):
        if is_move(op) and any(v in needed for v in op.results):
            needed.add(op.operands[0])
    joined: dict[Value, Value] = {}  # what is only written to be concatenated has the grid of the concatenation
    for op in reversed(graph.ops):
        target = op.output if isinstance(op, Concat) and op in chosen else joined.get(op.results[0]) if is_move(op) else None
        if target is not None:
            single = [v for v in data_of(op) if graph.users[v] == (op,) and v not in graph.outputs]
            joined.update((v, joined.get(target, target)) for v in single if v in needed)
    leaders: dict[Value, Value] = {}
    for op in graph.ops:
        for value in op.results:
            if is_move(op) and op.operands[0] in needed:
                needed.add(value)
                leaders[value] = leaders[op.operands[0]]
            elif value in needed and not value.is_constant:
                leaders[value] = joined.get(value, value)
    return {v: leader for v, leader in leaders.items() if v in needed}


def _bits(chosen: set[Op], values: Mapping[Value, Value], levels: Mapping[Op, int]) -> dict[Value, int]:
    """The bits of every grid: the most that an operator that reads it asks for."""
    found = {leader: BYTE for leader in values.values()}
    for op in chosen:
        for value in data_of(op):
            if value in values:
                found[values[value]] = max(found[values[value]], levels.get(op, BYTE))
        for value in states_of(op) if is_cell(op) else ():
            found[value] = max(found.get(value, BYTE), levels.get(op, BYTE))
    return found
