"""Graphs whose sizes make the compiler take each of its choices, drawn at random, and what it chose: for tests that none goes untested.

A family is one kind of kernel on machines that make the choice interesting (caches of a few KB let small tensors be large); extents are
drawn around tiles and vectors.

    case = drawn_case("product", Random(7))             # Case(graph, target)
    made = compiled_case(case)                           # its program, its loops, and the choices: {"masked", "rows 5", "pass layout", ...}
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np

from edgec.backends.instruction import dots, matrices, wide_row
from edgec.backends.target import Target, all_targets, find
from edgec.compiler import PROGRAM_PASSES, optimise_graph
from edgec.graph import Graph, Value, constant, graph_input
from edgec.graph_parser import parse_graph
from edgec.kernel import Kernel, Program
from edgec.loops import If, Prefetch, Store, expressions, statements
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Add, Mul, Neg
from edgec.ops.convolution import Conv
from edgec.ops.gather import Gather
from edgec.ops.joining import Concat
from edgec.ops.matmul import MatMul
from edgec.ops.pooling import GlobalAveragePool, MaxPool
from edgec.ops.quantization import DequantizeLinear, QuantizeLinear
from edgec.ops.quantized import ConvInteger, MatMulInteger, QLinearConv
from edgec.ops.recurrent import GRU, LSTM
from edgec.ops.reshape import Transpose
from edgec.ops.scatter import ScatterElements, TensorScatter
from edgec.ops.softmax import Softmax
from edgec.passes.cut import cuttable
from edgec.passes.halves import multiplies_halves
from edgec.passes.in_order import channel_block
from edgec.passes.liveness import liveness
from edgec.passes.nest import Nest
from edgec.passes.precision import precision
from edgec.passes.schedule import Schedule, schedule
from edgec.passes.tile import Tiled, tile
from edgec.passes.winograd_matrices import POINTS
from edgec.persistent_state import with_state
from edgec.program_text import print_program
from edgec.sweeps import walk
from edgec.types import DType, TensorType, f32, i8, i64, u8

NATIVE = find("native")


@dataclass(frozen=True)
class Case:
    """A graph for a machine; `runs` says that this computer can run its code."""

    graph: Graph
    target: Target
    runs: bool = True


@dataclass(frozen=True)
class Made:
    """What became of a case: program, loops of each kernel, names of the choices."""

    program: Program
    tiled: tuple[Tiled, ...]
    choices: frozenset[str]


# ------------------------------------------------------------------------------------------------------------------- what is chosen

def compiled_case(case: Case) -> Made:
    """Program and loops as the compiler makes them, and every choice on the way."""
    found: set[str] = set()
    program: Any = optimise_graph(case.graph, case.target)
    text = ""
    for step, _ in PROGRAM_PASSES:
        program = step(program) if step is liveness else step(program, case.target)
        before, text = text, print_program(program)
        found |= {f"pass {step.__name__}"} if before and text != before else set()

    def choose(nest: Nest, target: Any) -> Schedule:
        plan = schedule(nest, target)
        found.update(of_schedule(nest, plan))
        return plan
    tiled = tuple(tile(kernel, case.target, choose=choose) for kernel in program.steps)
    for kernel, one in zip(program.steps, tiled):
        found.update((*of_kernel(kernel), *of_loops(one, case.target)))
    return Made(program, tiled, frozenset(found))


def of_schedule(nest: Nest, plan: Schedule) -> set[str]:
    """Names for the value of each field of a schedule."""
    vector = "update" if nest.is_update else "scalars" if plan.vector is None else "columns of scalars" if max(
        n for s in plan.segments for n in s.piece.lanes) == 1 else "vectors"
    pieces = {"masked" if s.piece.active < s.piece.lanes[-1] else "pieces" if len(set(s.piece.lanes)) > 1 else "whole vectors"
              for s in plan.segments}
    found = {f"vector: {vector}", *(f"segments: {p}" for p in pieces), f"outer: {bool(plan.outer)}", f"middle: {bool(plan.middle)}",
             f"block: {bool(plan.block)}"}
    found.add(f"reduce_vector: {'none' if plan.reduce_vector is None else 'with columns' if plan.vector is not None else 'alone'}")
    if nest.domains:
        points = plan.rows * max((len(s.piece.lanes) for s in plan.segments), default=1)
        found |= {f"row: {plan.row is not None}", f"rows: {'one' if plan.rows == 1 else 'several'}", f"partials: {plan.partials}",
                  f"segments: {'several' if points > plan.rows else 'one'} vectors a tile"}
        found.add(f"unroll: {'one' if plan.unroll == 1 else 'several'}")
    return found


def of_kernel(kernel: Kernel) -> set[str]:
    """What passes over programs chose for a kernel: the form of a convolution, stages in a band, blocks of points, loops around it."""
    tables = {n.data for s in kernel.stages for n in walk(s.value) if n.op == "read" and n.data.name.endswith(".u")}
    found = {f"F({m},3)" for m in POINTS for table in tables if table.shape[0] == (m + 2) ** 2}
    return found | ({"blocks of points"} if kernel.block else set()) | ({"repeat"} if kernel.repeat else set())


def of_loops(one: Tiled, target: Any) -> set[str]:
    """What the loops of a kernel are made with."""
    body = list(statements(one.loops.body))
    ops = {n.op for s in body for n in walk(*expressions(s))}
    found = {f"loops: {op}" for op in ("dot", "dot_block", "horizontal", "lane", "inside", "bitcast") if op in ops}
    sums = {n.dtype.name for s in body for n in walk(*expressions(s)) if n.op == "mul_add"}
    cut = cuttable(one, target)
    return found | {name for name, there in {
        "loops: prefetch": any(isinstance(s, Prefetch) for s in body), "loops: test": any(isinstance(s, If) for s in body),
        "loops: masked store": any(isinstance(s, Store) and s.active for s in body),
        "loops: dealt": any(p.dealt > 1 for p in one.loops.params), "loops: sums of halves": "f16" in sums,
        "threads: cut": cut is not None and cut.positions > 1, "threads: across": cut is not None and cut.across,
        "threads: several loops": cut is not None and cut.depth > 1}.items() if there}


# ---------------------------------------------------------------------------------------------------------------------- families

def drawn_case(family: str, random: Random) -> Case:
    """A case of one of FAMILIES."""
    return FAMILIES[family](random)


def around(random: Random, size: int) -> int:
    """An extent at which tilings go wrong."""
    return random.choice([n for n in (1, 2, size - 1, size, size + 1, 2 * size + 3) if n > 0])


def x86(random: Random, **changes: Any) -> Target:
    """This computer with other vectors: none, narrow and wide ones, with masks and without."""
    bits, registers, masks, operand = random.choice(((0, 16, False, "register"), (128, 16, False, "memory"), (128, 32, False, "lane"),
                                                     (256, 16, False, "memory"), (512, 32, True, "memory")))
    bits = min(bits, NATIVE.vector_bits)
    return replace(NATIVE, vector_bits=bits, registers=registers, masks=masks, scalar_operand=operand, **changes)


def whole(random: Random, *shape: int, dtype: DType = f32, low: int = -2, high: int = 3) -> Value:
    """Constant whole numbers."""
    numbers = np.random.default_rng(random.randrange(1 << 32)).integers(low, high, shape)
    return constant(numbers.astype(dtype.numpy))


def first_target(holds: Callable[[Target], Any]) -> Target:
    """The first machine of which something holds."""
    return next(t for t in all_targets() if holds(t))


# Machines by what adds products of bytes up: small matrices, whole vectors, words in lanes of vectors, words of scalars, nothing.
DOT_PRODUCTS: dict[str, Callable[[Target], Any]] = {
    "matrices": lambda t: matrices(t.instructions), "vectors": lambda t: wide_row(t.instructions, "i8", "i8"),
    "lanes": lambda t: t.vector_bits == 128 and dots(t.instructions) and not t.in_order,
    "scalars": lambda t: not t.vector_bits and dots(t.instructions), "none": lambda t: t.vector_bits and not dots(t.instructions),
}


def given(name: str, *shape: int, dtype: DType = f32) -> Value:
    return graph_input(name, TensorType(dtype, shape))


def one(y: Value, *inputs: Value) -> Graph:
    return Graph(inputs, (y,), ("y",), "net")


def scale(value: float) -> Value:
    return constant(np.float32(value))


def _product(random: Random) -> Case:
    """Matrices times weights, rows and columns around tiles, sums from short ones to such as take several at once."""
    rows, columns, inner = around(random, random.choice((6, 12, 14))), around(random, 16), random.choice((1, 2, 9, 16, 33, 70, 200))
    x = given("x", rows, inner)
    return Case(one(Add(MatMul(x, whole(random, inner, columns)).output, whole(random, columns)).output, x), x86(random))


def _vector_product(random: Random) -> Case:
    """One column or one row: sums fill the vectors, or have several accumulators each."""
    inner, (rows, columns) = random.choice((7, 16, 33, 64, 130, 300)), random.choice(((3, 1), (1, 1), (1, around(random, 16)), (9, 1)))
    x = given("x", rows, inner)
    return Case(one(MatMul(x, whole(random, inner, columns)).output, x), x86(random))


def _small_caches(random: Random) -> Case:
    """More rows, and more weights, than caches hold: loops in blocks, and weights asked for ahead."""
    rows, columns, inner = random.choice((24, 40, 63)), random.choice((48, 64, 100)), random.choice((64, 128))
    target = x86(random, l1_bytes=1 << 10, l2_bytes=random.choice((4, 8)) << 10, prefetches=True)
    x = given("x", random.choice((1, 3)), rows, inner)
    return Case(one(MatMul(x, whole(random, inner, columns)).output, x), target)


def _wide_map(random: Random) -> Case:
    """A convolution over a map that is larger than the caches, of rows longer than a tile."""
    channels, side = random.choice((8, 16)), random.choice((23, 30, 41))
    x = given("x", 1, 3, side, side)
    y = Conv(Conv(x, whole(random, channels, 3, 1, 1)).output, whole(random, random.choice((33, 64, 100)), channels, 3, 3), pads=(1,) * 4,
             strides=random.choice(((1, 1), (2, 2)))).output
    return Case(one(Neg(y).output, x), x86(random, l1_bytes=1 << 10, l2_bytes=4 << 10))


def _window(random: Random) -> Case:
    """Convolutions, by channel or not, and pools, with borders; every tap written out, or loops over them."""
    channels, side, kernel, stride = random.choice((1, 3, 5, 16)), around(random, 9) + 4, random.choice((1, 3, 5)), random.choice((1, 2))
    x = given("x", 1, channels, 6, side)
    options = {"pads": (kernel // 2,) * 4, "strides": (stride, stride)}
    y = random.choice((
        lambda: Conv(x, whole(random, around(random, 16), channels, kernel, kernel), **options).output,
        lambda: Conv(x, whole(random, channels, 1, kernel, kernel), group=channels, **options).output,
        lambda: MaxPool(x, kernel_shape=(kernel, kernel), **options).output,
        lambda: GlobalAveragePool(Relu(x).output).output))()
    return Case(one(y, x), x86(random))


def _winograd(random: Random) -> Case:
    """Maps that tiles of 2 to 6 fit best, and some more or less."""
    channels, side = random.choice((32, 64)), random.choice((4, 6, 8, 9, 10, 12, 15, 16, 18, 20, 24, 48))
    x = given("x", 1, 3, side, side + random.choice((0, 0, 1)))
    y = Conv(x, whole(random, channels, 3, 1, 1)).output
    y = Relu(Conv(y, whole(random, channels, channels, 3, 3), whole(random, channels), pads=(1,) * 4).output).output
    return Case(one(Conv(y, whole(random, 4, channels, 1, 1)).output, x),
                replace(NATIVE, max_flash_growth=random.choice((2.0, 4.0, 9.0)), l2_bytes=random.choice((NATIVE.l2_bytes, 1 << 16))))


def _mobile(random: Random) -> Case:
    """Expand, window by channel, project, on a cache that holds a share of the expanded tensor: bands; a batch: image by image."""
    channels, side, images, stride = random.choice((8, 16)), random.choice((12, 16, 21)), random.choice((1, 1, 3)), random.choice((1, 2))
    x = given("x", images, 4, side, side)
    wide = Relu(Conv(x, whole(random, channels, 4, 1, 1)).output).output
    deep = Conv(wide, whole(random, channels, 1, 3, 3), group=channels, strides=(stride, stride), pads=(1,) * 4).output
    y = Conv(Relu(deep).output, whole(random, 4, channels, 1, 1)).output
    return Case(one(Concat((y, Neg(y).output), axis=1).output, x), x86(random, l2_bytes=images * channels * side * side * 4 * 2 // 5))


def _attention(random: Random) -> Case:
    """Scores, softmax and weighted sum of floats."""
    heads, rows, keys, depth = random.choice((1, 2)), around(random, 16), around(random, 20), random.choice((4, 8, 16))
    q, k, v = given("q", heads, rows, depth), given("k", heads, keys, depth), given("v", heads, keys, depth)
    scores = MatMul(q, Transpose(k, perm=(0, 2, 1)).output).output
    weights = Softmax(Mul(scores, scale(0.125)).output, axis=-1).output
    return Case(one(MatMul(weights, v).output, q, k, v), x86(random))


def _attention_in_bytes(random: Random) -> Case:
    """The same on bytes, whose products are of words."""
    heads, rows, keys, depth = random.choice((1, 2)), random.choice((20, 33, 64)), random.choice((16, 19, 32)), random.choice((8, 12, 32))
    arrays = [given(name, 1, rows if name == "q" else keys, heads, depth, dtype=u8) for name in "qkv"]
    real = [DequantizeLinear(a, scale(0.02), constant(np.uint8(128))).output for a in arrays]
    q, k, v = (Transpose(r, perm=p).output for r, p in zip(real, ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3))))
    grid = scale(1 / 255), constant(np.uint8(0))
    weights = QuantizeLinear(Softmax(Mul(MatMul(q, k).output, scale(0.2)).output, axis=-1).output, *grid).output
    y = QuantizeLinear(MatMul(DequantizeLinear(weights, *grid).output, v).output, scale(0.01), constant(np.uint8(120))).output
    return Case(one(y, *arrays), NATIVE)


def _two_tensors(random: Random) -> Case:
    """A product of two inputs, the second one stored across: its panels are copied into order."""
    m, k, n = around(random, 12) + 8, random.choice((9, 16, 24)), random.choice((17, 31, 64, 81, 197))
    a, b = given("a", 2, m, k), given("b", 2, n, k)
    target = x86(random, l1_bytes=1 << 10, l2_bytes=4 << 10) if random.random() < 0.5 else x86(random)
    return Case(one(MatMul(a, Transpose(b, perm=(0, 2, 1)).output).output, a, b), target)


def _recurrent(random: Random) -> Case:
    """Steps of a sequence; with a small cache every other one goes backward."""
    steps, hidden, kind = random.choice((2, 5, 6)), around(random, 16), random.choice((LSTM, GRU))
    gates = 4 if kind is LSTM else 3
    x = given("x", steps, 1, 6)
    y = kind(x, whole(random, 1, gates * hidden, 6), whole(random, 1, gates * hidden, hidden), hidden_size=hidden, outputs=1).results[0]
    return Case(one(y, x), replace(x86(random), l1_bytes=random.choice((256, NATIVE.l1_bytes))))


def _softmax(random: Random) -> Case:
    """Rows that are reduced twice: stages of one kernel, in blocks of rows; one row of some length: kernel by kernel."""
    rows, length = random.choice(((1, 3000), (1, 9000), (around(random, 8), around(random, 32)), (3, 300)))
    x = given("x", rows, length)
    return Case(one(Softmax(x, axis=-1).output, x), x86(random))


def _bytes(random: Random) -> Case:
    """Convolutions and products of bytes: dot products of words where the machine has some."""
    channels, side, kernel = random.choice((3, 4, 7, 16, 33)), random.choice((3, 5, 6)), random.choice((1, 3))
    if random.random() < 0.3:
        x = given("x", around(random, 6), around(random, 32), dtype=u8)
        return Case(one(MatMulInteger(x, whole(random, x.shape[1], around(random, 16), dtype=i8, low=-128, high=128)).output, x), NATIVE)
    x, dtype = given("x", 1, channels, side, side, dtype=u8), random.choice((i8, u8))
    w = whole(random, random.choice((24, 33)), channels, kernel, kernel, dtype=dtype, low=dtype.low, high=dtype.high + 1)
    return Case(one(ConvInteger(x, w, constant(np.uint8(random.randrange(256))), pads=(kernel // 2,) * 4).output, x), NATIVE)


def _bytes_elsewhere(random: Random) -> Case:
    """The same on machines whose dot products are of scalars, of whole vectors, of small matrices, or of none."""
    target = first_target(random.choice(list(DOT_PRODUCTS.values())))
    channels, outputs = random.choice((3, 9, 16, 17)), random.choice((2, 5, 8, 9))
    side, kernel = random.choice((3, 5)), random.choice((1, 3))
    x, zero = given("x", 1, side, side, 3, dtype=i8), constant(np.int8(3))
    grid = scale(0.02), constant(np.int8(0))
    v = whole(random, channels, 3, 1, 1, dtype=i8, low=-127, high=128)
    first = QLinearConv(Transpose(x, perm=(0, 3, 1, 2)).output, scale(0.02), zero, v, *grid, scale(0.04), zero).output
    depth = random.random() < 0.3
    group = channels if depth else 1
    w = whole(random, channels if depth else outputs, channels // group, kernel, kernel, dtype=i8, low=-127, high=128)
    y = QLinearConv(first, scale(0.04), zero, w, *grid, scale(0.5), zero, pads=(kernel // 2,) * 4, group=group).output
    last = QLinearConv(y, scale(0.5), zero, whole(random, 2, y.shape[1], 1, 1, dtype=i8), *grid, scale(0.1), zero).output
    return Case(one(last, x), target, runs=False)


def _tables_of_bytes(random: Random) -> Case:
    """Functions of one byte, as tables where vectors pick from those."""
    x = given("x", random.choice((1, 15, 63, 64, 65, 300)), dtype=i8)
    real = DequantizeLinear(x, scale(0.03), constant(np.int8(5))).output
    return Case(one(QuantizeLinear(real, scale(0.05), constant(np.uint8(100))).output, x), NATIVE)


def _few_bits(random: Random) -> Case:
    """Weights of four bits with scales, or of a codebook."""
    inner, columns = random.choice((33, 64)), random.choice((2, 15, 16, 17, 35))
    x = given("x", random.choice((1, 3)), inner)
    if random.random() < 0.5:
        book = constant(np.arange(16, dtype=np.float32) - 8)
        w = Gather(book, whole(random, inner, columns, dtype=u8, low=0, high=16)).output  # folded where it is small
    else:
        w = DequantizeLinear(whole(random, inner, columns, dtype=i8, low=-8, high=8), whole(random, columns, low=1, high=4), axis=1).output
    return Case(one(MatMul(x, w).output, x), x86(random))


def _in_order(random: Random) -> Case:
    """Networks on a core that runs code in its order: buffers in blocks of channels, dealt loads."""
    channels, outputs, side = random.choice((8, 10, 16)), random.choice((9, 16, 17)), random.choice((4, 5, 7))
    x = given("x", 1, 3, side, side)
    y = Conv(Relu(Conv(x, whole(random, channels, 3, 1, 1)).output).output, whole(random, outputs, channels, 1, 1)).output
    y = MaxPool(y, kernel_shape=(2, 2)).output
    return Case(one(y, x), first_target(lambda t: channel_block(t) > 1), runs=False)


def _halves(random: Random) -> Case:
    """Products of f16, summed up in f16 for a few of them."""
    x = given("x", around(random, 4), random.choice((31, 32, 33, 70)))
    target = first_target(multiplies_halves)
    graph = one(MatMul(Relu(x).output, whole(random, x.shape[1], around(random, 8))).output, x)
    return Case(precision(graph, target, to="f16"), target, runs=False)


def _state(random: Random) -> Case:
    """A cache of rows that is kept between calls: one is stored in place, and read again."""
    rows, width = around(random, 8), random.choice((3, 4, 17))
    past, at, row = given("past", 1, rows, width), given("at", 1, dtype=i64), given("row", 1, 1, width)
    present = TensorScatter(past, row, at, axis=1, mode="circular").output
    scores = MatMul(row, Transpose(present, perm=(0, 2, 1)).output).output
    graph = Graph((past, at, row), (scores, present), ("scores", "present"), "cache")
    return Case(with_state(graph, {"past": "present"}), x86(random))


def _merged(random: Random) -> Case:
    """Sums at places that data says: points may meet, and go one by one."""
    rows, columns = around(random, 8), around(random, 4)
    x, updates = given("x", 5, columns), given("updates", rows, columns)
    places = whole(random, rows, columns, dtype=i64, low=0, high=5)
    return Case(one(ScatterElements(x, places, updates, axis=0, reduction="add").output, x, updates), x86(random))


def _wide_channels(random: Random) -> Case:
    """Channels outside, pixels inside: threads number the loops across."""
    text = """graph g(%x: f32[1,CH,8,8]) -> (%y) {
      @u: f32[CH,CH,1,1]
      @w: f32[CH,CH,3,3]
      %a = Conv(%x, @u) : f32[1,CH,8,8]
      %b = Conv(%a, @w) pads=[1,1,1,1] : f32[1,CH,8,8]
      %y = Relu(%b) : f32[1,CH,8,8]
    }"""
    channels = random.choice((48, 64, 65))
    arrays = {name: whole(random, channels, channels, k, k).array for name, k in (("u", 1), ("w", 3))}
    return Case(parse_graph(text.replace("CH", str(channels)), arrays), replace(x86(random), max_flash_growth=1.0))


FAMILIES: dict[str, Callable[[Random], Case]] = {
    "product": _product, "vector_product": _vector_product, "small_caches": _small_caches, "wide_map": _wide_map, "window": _window,
    "winograd": _winograd, "mobile": _mobile, "attention": _attention, "attention_in_bytes": _attention_in_bytes,
    "two_tensors": _two_tensors, "recurrent": _recurrent, "softmax": _softmax, "bytes": _bytes, "bytes_elsewhere": _bytes_elsewhere,
    "tables_of_bytes": _tables_of_bytes, "few_bits": _few_bits, "in_order": _in_order, "halves": _halves, "state": _state,
    "merged": _merged, "wide_channels": _wide_channels,
}
