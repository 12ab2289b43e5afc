"""Random graphs, also as hypothesis strategies: small networks of convolutions, pools, contractions, norms, joins, cuts, choices, branches
and loops.

Extents lie around tile sizes (1, 2, one less, equal and one more than a vector, two vectors and a rest). Weights are small whole numbers,
so that on the inputs of `whole_inputs` every sum is exact and a tap too many or too few shows in the last bit.

    @given(graphs())
    def test_my_pass(graph): ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from edgec.evaluate import evaluate
from edgec.expr import var
from edgec.graph import Graph, Value, constant, graph_input, topological
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops import (
    activation,
    arithmetic,
    cast,
    comparison,
    convolution,
    gather,
    joining,
    matmul,
    normalization,
    pooling,
    reduction,
    reshape,
    resize,
    slicing,
    softmax,
    transcendental,
)
from edgec.testing import control_flow as testing_control_flow
from edgec.types import TensorType, bf16, f16, f32, f64, i8, i32, i64

CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 36)
SIDES = (1, 2, 3, 4, 5, 7, 8, 9, 13, 15, 17)
MAX_ELEMENTS = 3000   # of one tensor
MAX_PRODUCTS = 40000  # multiply-adds of one operator


def whole_inputs(graph: Graph, seed: int = 0, size: int = 3) -> dict[str, np.ndarray]:
    """Inputs by name: whole numbers from -4 to 4; every symbol has the given size, within its bounds."""
    generator = np.random.default_rng(seed)
    return {v.name: generator.integers(-4, 5, concrete(v.shape, size)).astype(v.dtype.numpy) for v in graph.inputs}


def normal_inputs(graph: Graph, seed: int = 0, size: int = 3) -> dict[str, np.ndarray]:
    """Inputs by name, normally distributed (integers: rounded)."""
    generator = np.random.default_rng(seed)
    return {v.name: (2 * generator.standard_normal(concrete(v.shape, size))).astype(v.dtype.numpy) for v in graph.inputs}


def concrete(shape: Sequence[Any], size: int) -> tuple[int, ...]:
    """A shape with `size` for its symbols, within their bounds."""
    def number(d: Any) -> int:
        return d if isinstance(d, int) else int(evaluate(d, {s: min(max(size, s.lo), s.hi) for s in d.free}, None))
    return tuple(map(number, shape))


def graphs(max_steps: int = 6, dtype: Any = f32, choices: Sequence[str] = (), symbolic: bool = False) -> st.SearchStrategy[Graph]:
    """Graphs as `random_graph` makes them, drawn and shrunk by hypothesis."""
    return st.randoms(use_true_random=False).map(lambda random: random_graph(random, max_steps, dtype, choices, symbolic))


def random_graph(random: Random, max_steps: int = 6, dtype: Any = f32, choices: Sequence[str] = (), symbolic: bool = False) -> Graph:
    """A graph of one or two inputs and 1 to `max_steps` operators; `choices` restricts them, `symbolic` leaves the first size open."""
    state = _Drawing(random, dtype, symbolic)
    wanted = random.randint(1, max_steps)
    for _ in range(3 * wanted):  # a step may find no operands
        if len(state.known) - len(state.inputs) < wanted:
            state.step(state.pick(list(choices) or list(STEPS)))
    return state.graph()


class _Drawing:
    """A graph being drawn: `known` are the values an operator may read, the newest last."""

    def __init__(self, random: Random, dtype: Any, symbolic: bool):
        self.random, self.dtype, self.symbolic, self.tags = random, dtype, symbolic, 0
        self.inputs: list[Value] = []
        self.known: list[Value] = []
        self.input()

    def pick(self, options: Sequence[Any]) -> Any:
        return self.random.choice(list(options))

    def integer(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def sometimes(self, one_in: int = 2) -> bool:
        return self.random.randint(1, one_in) == 1

    def input(self, shape: tuple[int, ...] | None = None) -> Value:
        shape = shape or self.opened(self.matrix() if self.sometimes(4) else self.image())
        made = graph_input(f"x{len(self.inputs)}", TensorType(self.dtype, shape))
        self.inputs.append(made)
        self.known.append(made)
        return made

    def opened(self, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return (var("n", 1, 4), *shape[1:]) if self.symbolic else shape

    def fixed_axis(self, x: Value, least: int = 1) -> int | None:
        """An axis whose size is a number, at least so large."""
        fitting = [axis for axis, size in enumerate(x.shape) if isinstance(size, int) and size >= least]
        return self.pick(fitting) if fitting else None

    def image(self) -> tuple[int, ...]:
        n, c, y = self.pick((1, 1, 1, 2)), self.pick(CHANNELS), self.pick(SIDES)
        return n, c, y, self.pick([x for x in SIDES if n * c * y * x <= MAX_ELEMENTS])

    def matrix(self) -> tuple[int, ...]:
        lead = self.pick(((), (), (2,), (3, 1)))
        return (*lead, self.pick(SIDES), self.pick(CHANNELS))

    def whole(self, *shape: int) -> Value:
        """A constant of whole numbers from -2 to 2, some of them 0."""
        seed = self.integer(0, 999)
        return constant(np.random.default_rng(seed).integers(-2, 3, shape).astype(self.dtype.numpy), "w")

    def source(self, *ranks: int) -> Value | None:
        """One of the newest values with one of the ranks."""
        fitting = [v for v in self.known[-4:] if not ranks or v.type.rank in ranks]
        return self.pick(fitting) if fitting else None

    def contracted(self, *ranks: int) -> Value | None:
        """The same, where all sizes but the first are numbers."""
        x = self.source(*ranks)
        return x if x is not None and x.type.rank > 1 and all(isinstance(size, int) for size in x.shape[1:]) else None

    def step(self, name: str) -> None:
        """One operator, when its operands are there and its result is not too large."""
        made = STEPS[name](self)
        for value in made if isinstance(made, tuple) else (made,):
            if value is not None and 0 < value.type.max_size <= MAX_ELEMENTS:
                self.known.append(value)

    def graph(self) -> Graph:
        """The values that nobody reads, the newest first, and perhaps one that is read; inputs that are not read stay inputs."""
        computed = [v for v in reversed(self.known) if v not in self.inputs]
        read = {operand for v in computed for op in topological((v,)) for operand in op.operands}
        outputs = [v for v in computed if v not in read][:3] or self.known[-1:]
        if self.sometimes(4):
            outputs.append(self.pick(self.known))
        return Graph(tuple(self.inputs), tuple(outputs), tuple(f"y{n}" for n in range(len(outputs))), "drawn")


# -------------------------------------------------------------------------------------------------------------- operators

def _window(d: _Drawing, x: Value) -> dict[str, tuple[int, ...]]:
    """Kernel, strides, dilations and pads of a sliding window that fits the value; padding is smaller than the window."""
    kernel, strides, dilations, begin, end = [], [], [], [], []
    for size in x.shape[2:]:
        k, dilation = d.pick((1, 2, 3, 3, 3, 5)), d.pick((1, 1, 1, 2))
        reach = (k - 1) * dilation
        low, high = d.integer(0, min(reach, 2)), d.integer(0, min(reach, 2))
        if size + low + high < reach + 1:
            k, dilation, low, high = 1, 1, 0, 0
        for part, number in zip((kernel, strides, dilations, begin, end), (k, d.pick((1, 1, 1, 2, 3)), dilation, low, high)):
            part.append(number)
    return {"kernel_shape": tuple(kernel), "strides": tuple(strides), "dilations": tuple(dilations), "pads": (*begin, *end)}


def _conv(d: _Drawing) -> Value | None:
    x = d.contracted(4)
    if x is None:
        return None
    channels, window = x.shape[1], _window(d, x)
    group = d.pick([g for g in {1, 2, 3, channels} if channels % g == 0])
    made = group * d.pick([c for c in (1, 1, 2, 3, *CHANNELS) if c * group <= 40] or [1])
    inner = channels // group * prod(window["kernel_shape"])
    if x.type.max_size // channels * made * inner > MAX_PRODUCTS:
        made, inner = group, channels // group * prod(window["kernel_shape"])
    if x.type.max_size // channels * made * inner > MAX_PRODUCTS:
        return None
    bias = d.whole(made) if d.sometimes() else None
    return convolution.Conv(x, d.whole(made, channels // group, *window["kernel_shape"]), bias, group=group, **window).output


def _pointwise_conv(d: _Drawing) -> Value | None:
    x = d.contracted(4)
    made = d.pick(CHANNELS)
    if x is None or x.type.max_size * made > MAX_PRODUCTS:
        return None
    return convolution.Conv(x, d.whole(made, x.shape[1], 1, 1), d.whole(made) if d.sometimes() else None).output


def _pool(d: _Drawing) -> Value | None:
    x = d.contracted(4)
    if x is None:
        return None
    window = _window(d, x)
    if d.sometimes():
        return pooling.MaxPool(x, **window).output
    return pooling.AveragePool(x, count_include_pad=d.integer(0, 1), **window).output


def _global_pool(d: _Drawing) -> Value | None:
    x = d.contracted(4)
    return None if x is None else d.pick((pooling.GlobalAveragePool, pooling.GlobalMaxPool))(x).output


def _excite(d: _Drawing) -> Value | None:
    """Squeeze and excite: the channels of x scaled by a function of their means."""
    x = d.contracted(4)
    if x is None:
        return None
    inner = d.pick((1, 3, 8))
    squeezed = convolution.Conv(pooling.GlobalAveragePool(x).output, d.whole(inner, x.shape[1], 1, 1)).output
    opened = convolution.Conv(activation.Relu(squeezed).output, d.whole(x.shape[1], inner, 1, 1)).output
    return arithmetic.Mul(x, activation.HardSigmoid(opened).output).output


def _matmul(d: _Drawing) -> Value | None:
    x = d.contracted()
    if x is None:
        return None
    columns = d.pick(CHANNELS)
    if x.type.max_size * columns > MAX_PRODUCTS:
        return None
    return matmul.MatMul(x, d.whole(x.shape[-1], columns)).output


def _gemm(d: _Drawing) -> Value | None:
    x = d.contracted(2)
    columns = d.pick(CHANNELS)
    if x is None or x.type.max_size * columns > MAX_PRODUCTS:
        return None
    transposed = d.integer(0, 1)
    w = d.whole(columns, x.shape[1]) if transposed else d.whole(x.shape[1], columns)
    return matmul.Gemm(x, w, d.whole(columns) if d.sometimes() else None, transB=transposed).output


def _product(d: _Drawing) -> Value | None:
    """A contraction of two computed values, as in attention: x @ transpose(x)."""
    x = d.source()
    if x is None or x.type.rank < 2 or x.type.max_size * x.type.max_shape[-2] > MAX_PRODUCTS:
        return None
    order = (*range(x.type.rank - 2), x.type.rank - 1, x.type.rank - 2)
    other = reshape.Transpose(activation.Relu(x).output if d.sometimes() else x, perm=order).output
    return matmul.MatMul(x, other).output


def _unary(d: _Drawing) -> Value:
    x = d.source()
    if d.dtype is not f32:
        return d.pick((arithmetic.Neg, arithmetic.Abs))(x).output
    kind = d.pick((activation.Relu, activation.Relu, activation.LeakyRelu, activation.HardSwish, activation.HardSigmoid, activation.Sigmoid,
                   transcendental.Tanh, arithmetic.Neg, arithmetic.Abs))
    return kind(x).output


def _smooth(d: _Drawing) -> Value | None:
    """The functions that are less common."""
    x = d.source()
    if d.dtype is not f32:
        return None
    gelu = lambda x: activation.Gelu(x, approximate=d.pick(("none", "tanh")))
    return d.pick((gelu, gelu, activation.Swish, activation.Mish, activation.Elu, activation.Celu, activation.Selu, activation.Softplus,
                   activation.Softsign, transcendental.Erf, transcendental.Sin, transcendental.Cos, transcendental.Atan))(x).output


def _clip(d: _Drawing) -> Value:
    x = d.source()
    low, high = (constant(np.array(n, d.dtype.numpy)) for n in (d.pick((0, -8)), d.pick((6, 8))))
    return arithmetic.Clip(x, low, high).output


def _add(d: _Drawing) -> Value:
    """Two values of one shape (a residual connection), or one with a broadcast constant."""
    x = d.source()
    same = [v for v in d.known if v.shape == x.shape]
    if d.sometimes():
        return arithmetic.Add(x, d.pick(same)).output
    shape = tuple(d.pick((1, n)) if isinstance(n, int) else 1 for n in x.shape)
    operands = _operands(d, x, d.whole(*shape))
    return d.pick((arithmetic.Add, arithmetic.Sub, arithmetic.Mul, lambda *each: arithmetic.Max(each)))(*operands).output


def _operands(d: _Drawing, x: Value, w: Value) -> tuple[Value, Value]:
    return (x, w) if d.sometimes() else (w, x)


def _softmax(d: _Drawing) -> Value | None:
    x = d.source()
    return None if d.dtype is not f32 else softmax.Softmax(x, axis=d.integer(-x.type.rank, x.type.rank - 1)).output


def _layer_norm(d: _Drawing) -> Value | None:
    x = d.contracted(2, 3)
    if x is None or d.dtype is not f32:
        return None
    return normalization.LayerNormalization(x, d.whole(x.shape[-1]), d.whole(x.shape[-1]), epsilon=1.0).output


def _reduce(d: _Drawing) -> Value | None:
    x = d.source()
    axes = sorted(d.random.sample(range(x.type.rank), d.integer(1, x.type.rank)))
    if len(axes) == x.type.rank:
        return None
    kind = d.pick((reduction.ReduceSum, reduction.ReduceMax, reduction.ReduceMin))
    return kind(x, constant(np.array(axes, np.int64)), keepdims=d.integer(0, 1)).output


def _concat(d: _Drawing) -> Value | None:
    x = d.source()
    axis = d.integer(0, x.type.rank - 1)
    fits = lambda v: v.type.rank == x.type.rank and all(a == b or n == axis for n, (a, b) in enumerate(zip(v.shape, x.shape)))
    fitting = list(filter(fits, d.known))
    parts = [d.pick(fitting) for _ in range(d.integer(1, 2))]
    return joining.Concat(tuple([x, *parts]), axis=axis).output


def _split(d: _Drawing) -> tuple[Value, ...] | None:
    x = d.source()
    axis = d.fixed_axis(x, 2)
    if axis is None:
        return None
    at = d.integer(1, x.shape[axis] - 1)
    return joining.Split(x, constant(np.array([at, x.shape[axis] - at], np.int64)), axis=axis).results


def _slice(d: _Drawing) -> Value | None:
    x = d.source()
    axis = d.fixed_axis(x)
    if axis is None:
        return None
    start, step = d.integer(0, x.shape[axis] - 1), d.pick((1, 1, 2, -1))
    end = x.shape[axis] if step > 0 else -x.shape[axis] - 1
    return slicing.Slice(x, *(constant(np.array([n], np.int64)) for n in (start, end, axis, step))).output


def _pad(d: _Drawing) -> Value:
    x = d.source()
    pads = [d.pick((0, 0, 1, 2)) for _ in range(2 * x.type.rank)]
    return slicing.Pad(x, constant(np.array(pads, np.int64)), constant(np.array(d.pick((0, 0, 3)), d.dtype.numpy))).output


def _reshape(d: _Drawing) -> Value | None:
    """All elements in another shape: flattened, or regrouped as channels and positions."""
    x = d.source()
    rank = x.type.rank
    if not x.type.is_static:
        return reshape.Reshape(x, constant(np.array((0, -1), np.int64))).output if isinstance(prod(x.shape[1:]), int) else None
    at = d.integer(0, rank)
    shapes = [(prod(x.shape[:at]), prod(x.shape[at:])), (*x.shape[:1], prod(x.shape[1:]), 1, 1), (1, *x.shape[-2:], prod(x.shape[:-2]))]
    return reshape.Reshape(x, constant(np.array(d.pick(shapes), np.int64))).output


def _transpose(d: _Drawing) -> Value:
    x = d.source()
    return reshape.Transpose(x, perm=tuple(d.random.sample(range(x.type.rank), x.type.rank))).output


def _instance_norm(d: _Drawing) -> Value | None:
    x = d.contracted(3, 4)
    if x is None or d.dtype is not f32:
        return None
    return normalization.InstanceNormalization(x, d.whole(x.shape[1]), d.whole(x.shape[1]), epsilon=1.0).output


def _gather(d: _Drawing) -> Value | None:
    """Slices in another order, some twice, some counted from the end."""
    x = d.source()
    axis = d.fixed_axis(x)
    if axis is None:
        return None
    shape = d.pick(((), (1,), (3,), (2, 2)))
    places = [d.integer(-x.shape[axis], x.shape[axis] - 1) for _ in range(prod(shape))]
    return gather.Gather(x, constant(np.array(places, np.int64).reshape(shape)), axis=axis).output


def _expand(d: _Drawing) -> Value | None:
    x = d.source()
    if not x.type.is_static:
        return None
    shape = (*d.pick(((), (2,), (1, 3))), *(d.pick((1, 4)) if n == 1 else n for n in x.shape))
    return joining.Expand(x, constant(np.array(shape, np.int64))).output


def _where(d: _Drawing) -> Value:
    """A choice by an input or by a mask: what is computed may be rounded in more than one way, and a choice by it go two ways."""
    x = d.source()
    other = d.pick([v for v in d.known if v.shape == x.shape])
    alike = [v for v in d.inputs if v.shape == x.shape]
    if alike and d.sometimes():
        mask = comparison.Less(d.pick(alike), constant(np.array(d.integer(-2, 2), d.dtype.numpy))).output
    else:
        shape = tuple(d.pick((1, n)) if isinstance(n, int) else 1 for n in x.shape)
        mask = constant(np.random.default_rng(d.integer(0, 999)).integers(0, 2, shape).astype(bool))
    return comparison.Where(mask, *_operands(d, x, other)).output


def _cast(d: _Drawing) -> Value:
    """An input as another type and back: of what is computed, a rounding could go two ways."""
    x = d.pick(d.inputs)
    between = d.pick((i64, f64, i32, i8) if d.dtype is i32 else (f16, bf16, f64, i32))
    if between is i8:
        x = arithmetic.Clip(x, *(constant(np.array(n, d.dtype.numpy)) for n in (-100, 100))).output
    narrow = cast.Cast(x, to=CODE_OF_DTYPE[between]).output
    return cast.Cast(narrow, to=CODE_OF_DTYPE[d.dtype]).output


def _resize(d: _Drawing) -> Value | None:
    x = d.contracted(4)
    if x is None or not x.type.is_static:
        return None
    scales = constant(np.array([1, 1, d.pick((1, 2)), d.pick((1, 2, 3))], np.float32))
    mode = d.pick(("nearest", "linear"))
    return resize.Resize(x, None, scales, mode=mode, coordinate_transformation_mode=d.pick(("asymmetric", "half_pixel"))).output


def _input(d: _Drawing) -> None:
    if len(d.inputs) < 2:
        d.input(d.source().shape if d.sometimes() else None)


STEPS: dict[str, Callable[[_Drawing], Any]] = {
    "conv": _conv, "pointwise_conv": _pointwise_conv, "pool": _pool, "global_pool": _global_pool, "excite": _excite, "matmul": _matmul,
    "gemm": _gemm, "product": _product, "unary": _unary, "clip": _clip, "add": _add, "softmax": _softmax, "layer_norm": _layer_norm,
    "smooth": _smooth,
    "reduce": _reduce, "concat": _concat, "split": _split, "slice": _slice, "pad": _pad, "reshape": _reshape, "transpose": _transpose,
    "input": _input, "instance_norm": _instance_norm, "gather": _gather, "expand": _expand, "where": _where, "cast": _cast,
    "resize": _resize, "if": testing_control_flow.branches, "scan": testing_control_flow.scan,
    "loop": testing_control_flow.loop,
}
CONTROL_FLOW = ("if", "scan", "loop")
INTEGER_STEPS = ("matmul", "product", "unary", "clip", "add", "reduce", "concat", "split", "slice", "pad", "reshape", "transpose", "input",
                 "gather", "expand", "where", "cast", "if", "scan", "loop")


def integer_graphs(max_steps: int = 6) -> st.SearchStrategy[Graph]:
    """Graphs over i32, where every arrow is exact (sums wrap)."""
    return graphs(max_steps, i32, INTEGER_STEPS)


def random_integer_graph(random: Random, max_steps: int = 6) -> Graph:
    """The same, from a random generator."""
    return random_graph(random, max_steps, i32, INTEGER_STEPS)
