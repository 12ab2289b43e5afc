"""Which layers are predicted to be slower in integers than in f32 on a target, by the compiler's own estimate of their kernels.

A layer is compiled twice up to its loops, as a network of its own: bytes in and out with requantisation, and f32. The cycles of the loops
are those that the compiler shares work among threads by (edgec.passes.cut). The float layer also pays for converting what it reads and
writes, so that it is worth staying f32 between neighbours of integers. Layers of equal shapes and attributes are looked at once.

    [p for p in predictions(recipe, find("cortex-m33")) if p.is_slower]      # Prediction(conv1, 41000.0 cycles in integers, 36000.0 in f32)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from edgec.backends.target import Target
from edgec.compiler import lower, optimise_graph
from edgec.graph import Graph, Op, Value, constant, graph_input, map_graph
from edgec.graph_text import print_graph
from edgec.ops.convolution import Conv, ConvTranspose
from edgec.ops.quantization import DequantizeLinear, QuantizeLinear
from edgec.ops.reshape import Transpose
from edgec.passes.cut import estimated_cycles
from edgec.passes.tile import tile
from edgec.quantize.grid import Grid, activation_grid, weight_grid
from edgec.quantize.insert import Weights, bias_integers
from edgec.quantize.node_names import node_name
from edgec.quantize.recipe import Recipe
from edgec.types import TensorType, f32

CONVERSION = 3.0  # operations on a vector of 32-bit elements for each conversion between bytes and f32


@dataclass(frozen=True, eq=False)
class Prediction:
    """Estimated cycles of one layer of bytes, and of the same layer in f32 with the conversions around it."""

    op: Op
    integer_cycles: float
    float_cycles: float

    @property
    def name(self) -> str:
        """The node's name."""
        return node_name(self.op)

    @property
    def is_slower(self) -> bool:
        """Whether the layer is predicted to lose by integers."""
        return self.integer_cycles > self.float_cycles


def predictions(recipe: Recipe, target: Target) -> list[Prediction]:
    """One for every convolution and matrix product with constant weights that the recipe makes one of integers, in its order."""
    known: dict[str, tuple[float, float]] = {}
    found = []
    for op in recipe.layers:
        real = _alone(op, integers=False)
        key, _ = print_graph(real)
        if key not in known:
            elements = sum(v.type.max_size for v in (op.operands[0], op.output))
            converted = CONVERSION * elements / target.lanes(32)
            known[key] = cycles(_alone(op, integers=True), target), cycles(real, target) + converted
        found.append(Prediction(op, *known[key]))
    return found


def cycles(graph: Graph, target: Target) -> float:
    """Estimated cycles of one call of a network on one thread."""
    program = lower(optimise_graph(graph, target), target)
    return sum(prod(a.max_extent for a in k.repeat) * estimated_cycles(tile(k, target), target) for k in program.steps)


def between_bytes(op: Op, integers: bool) -> Graph:
    """A layer as a network of bytes with channels innermost, as it lies between layers of integers: itself one, or in f32 with the
    conversions around it."""
    if integers:
        return _alone(op, True)
    real, grid = _alone(op, False), activation_grid(0.0, 1.0)
    given = graph_input("x", TensorType(grid.dtype, real.inputs[0].shape))
    result = map_graph(real, lambda each, operands: [_real(given, grid)] if each is real.inputs[0].op else None).outputs[0]
    y = QuantizeLinear(result, constant(grid.scale), constant(grid.zero_point), _name="bytes").output
    return Graph((given,), (y,), ("y",), "layer")


def _alone(op: Op, integers: bool) -> Graph:
    """A layer as a network, with channels innermost as they are inside of one; of bytes if asked for."""
    shape = op.operands[0].type.max_shape
    last = isinstance(op, (Conv, ConvTranspose))
    grid = activation_grid(0.0, 1.0)
    given = graph_input("x", TensorType(grid.dtype if integers else f32, (shape[0], *shape[2:], shape[1]) if last else shape))
    x = Transpose(given, (0, len(shape) - 1, *range(1, len(shape) - 1)), _name="first").output if last else given
    if integers:
        x = _real(x, grid)
    y = op.with_operands([x, *_constants(op, grid, integers)]).output
    if integers:
        y = QuantizeLinear(y, constant(grid.scale), constant(grid.zero_point), _name="bytes").output
    rank = y.type.rank
    result = Transpose(y, (0, *range(2, rank), 1), _name="last").output if last else y
    return Graph((given,), (result,), ("y",), "layer")


def _constants(op: Op, x_grid: Grid, integers: bool) -> list[Value | None]:
    """Weights and bias, behind their DequantizeLinear where they are integers."""
    w, rest = op.operands[1], [v.array if v is not None else None for v in op.operands[2:]]
    if not integers:
        return [constant(w.array, "w"), *(constant(v, "b") if v is not None else None for v in rest)]
    grid = weight_grid(w.array, None)
    whole = Weights(grid.quantized(w.array), grid, rest[0] if rest else None)
    bias = [] if whole.bias is None else [bias_integers(whole, x_grid)]
    return [_real(constant(whole.integers), grid), *(_real(constant(b), each) for b, each in bias)]


def _real(integers: Value, grid: Grid) -> Value:
    return DequantizeLinear(integers, constant(grid.scale), constant(grid.zero_point)).output
