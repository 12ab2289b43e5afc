"""Random chains of shape operators over symbolic sizes: shapes, elements and lowerings hold for every size."""

import math
import random

import numpy as np
import pytest

from edgec.errors import CompileError
from edgec.evaluate import evaluate, evaluate_op
from edgec.expr import Expr, var
from edgec.graph import Constant, Graph, Input, constant, graph_input, run_reference
from edgec.ops.arithmetic import Add, Div, Mod, Mul, Sub
from edgec.ops.comparison import Equal, Where
from edgec.ops.cumulative import CumSum
from edgec.ops.gather import Gather
from edgec.ops.generate import ConstantOfShape
from edgec.ops.joining import Concat, Expand, Split, Tile
from edgec.ops.reduction import ReduceMax, ReduceMean, ReduceProd, ReduceSum
from edgec.ops.reshape import Flatten, Reshape, Shape, Squeeze, Transpose, Unsqueeze
from edgec.ops.slicing import Pad, Slice
from edgec.types import TensorType, f32

N, M = var("n", 1, 6), var("m", 2, 5)
BOUNDS = (2 ** 63 - 1, -1, 2, -2 ** 63, 3)


def ints(*numbers):
    return constant(np.array(numbers, np.int64))


class Chain:
    """A growing list of values and of their shapes; `grow` appends one random operator, if it fits."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        sizes = [self.random.choice((1, 2, 3, 4, 6, N, N, M)) for _ in range(self.random.randint(1, 4))]
        self.input = graph_input("x", TensorType(f32, tuple(sizes)))
        self.values, self.shapes = [self.input], [Shape(self.input).output]

    def grow(self):
        x = self.random.choice(self.values)
        axis = self.random.randrange(-len(x.shape), len(x.shape)) if x.shape else 0
        name = self.random.choice([n for n in dir(self) if n.startswith("to_")])
        try:
            made = getattr(self, name)(x, axis)
        except CompileError:  # what does not fit is refused, never built wrongly
            return
        if made.type.max_size <= 3000:
            self.values.append(made)
            self.shapes.append(Shape(made).output)

    def some_shape(self):
        """A vector put together from pieces of shapes, numbers and arithmetic on both."""
        return Concat(tuple(self._piece(self.random.choice(self.shapes)) for _ in range(self.random.randint(1, 4))), axis=0).output

    def _piece(self, shape):
        kind = self.random.randrange(4) if shape.shape != (0,) else 0
        if kind == 0:
            return ints(self.random.choice((-1, 0, 1, 2, 3, 4, 6)))
        at = self.random.randrange(shape.shape[0])
        if kind == 1:
            return Slice(shape, ints(at), ints(at + 1)).output
        if kind == 2:
            return ReduceProd(shape, None, keepdims=1).output
        return self.random.choice((Mul, Add, Div, Sub, Mod))(Gather(shape, ints(at)).output, ints(self.random.choice((1, 2, 3)))).output

    def to_reshape(self, x, axis):
        return Reshape(x, self.some_shape()).output

    def to_same_elements(self, x, axis):
        return Reshape(x, ints(*self.random.choice(((0, -1), (-1,), (1, -1), (0, 0, -1))))).output

    def to_transpose(self, x, axis):
        return Transpose(x, tuple(self.random.sample(range(len(x.shape)), len(x.shape)))).output

    def to_slice(self, x, axis):
        bounds = [self.random.choice((ints(self.random.choice(BOUNDS)), self._piece(self.random.choice(self.shapes)))) for _ in range(2)]
        return Slice(x, *bounds, ints(axis), ints(self.random.choice((1, 2, -1, -2)))).output

    def to_concat(self, x, axis):
        fitting = [v for v in self.values if len(v.shape) == len(x.shape)]
        return Concat((x, self.random.choice(fitting)), axis=axis).output

    def to_split(self, x, axis):
        return self.random.choice(Split(x, None, axis=axis, num_outputs=2).results)

    def to_expand(self, x, axis):
        return Expand(x, self.some_shape()).output

    def to_expand_without_minus_one(self, x, axis):
        shape = self.some_shape()
        ones = ConstantOfShape(ints(shape.shape[0]), np.array([-1])).output
        return Expand(x, Where(Equal(shape, ones).output, ints(*[1] * shape.shape[0]), shape).output).output

    def to_tile(self, x, axis):
        return Tile(x, ints(*self.random.choices((1, 1, 2), k=len(x.shape)))).output

    def to_pad(self, x, axis):
        pads = self.random.choices((0, 0, 1, 2, -1), k=2 * len(x.shape))
        return Pad(x, ints(*pads), mode=self.random.choice(("constant", "edge", "wrap", "reflect"))).output

    def to_rank(self, x, axis):
        return self.random.choice((Unsqueeze(x, ints(axis)), Squeeze(x), Flatten(x, axis=axis))).output

    def to_sum(self, x, axis):
        return Add(x, self.random.choice(self.values)).output

    def to_reduction(self, x, axis):
        return self.random.choice((ReduceSum, ReduceMax, ReduceMean))(x, ints(axis), keepdims=self.random.randint(0, 1)).output

    def to_gather(self, x, axis):
        return Gather(x, ints(*self.random.choices((-1, 0), k=2)), axis=axis).output

    def to_running_sum(self, x, axis):
        return CumSum(x, ints(axis)).output


@pytest.mark.parametrize("seed", range(60))
def test_chains(seed):
    chain = Chain(seed)
    for _ in range(8):
        chain.grow()
    graph = Graph((chain.input,), (*chain.values, *chain.shapes), ("y",) * 2 * len(chain.values))
    for symbols in ({N: 1, M: 2}, {N: 2, M: 3}, {N: 6, M: 5}):
        follow(graph, symbols)


def number(size, symbols):
    return int(evaluate(size, symbols, None)) if isinstance(size, Expr) else size


def follow(graph, symbols):
    """Every op by its reference and by its lowering, held against what was inferred."""
    shape = [number(d, symbols) for d in graph.inputs[0].shape]
    known = {graph.inputs[0]: np.arange(1, 1 + math.prod(shape), dtype=np.float32).reshape(shape)}
    for op in graph.ops:
        if isinstance(op, Input):
            continue
        operands = [known[v] for v in op.operands]
        known.update(zip(op.results, run_reference(op, operands)))
        for value in op.results:
            array = known[value]
            assert array.shape == tuple(number(d, symbols) for d in value.shape) and array.dtype == value.dtype.numpy, (op, value)
            if value.elements is not None:
                assert [number(e, symbols) for e in value.elements] == array.ravel().tolist(), (op, value)
        if not isinstance(op, Constant):
            for value, found in zip(op.results, evaluate_op(op, operands, symbols=symbols)):
                np.testing.assert_allclose(found, known[value], rtol=1e-5, err_msg=str(op))
