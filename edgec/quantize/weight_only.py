"""weight_only(model, calib) -> WeightOnly: weights in 8, 4, 3 or 2 bits or by a codebook; activations and all arithmetic stay f32.

    made = weight_only("model.onnx", "calib.npz", weights="int4", rounding="gptq");  made.save("model_w4.onnx")

A weight becomes an integer behind a DequantizeLinear, with a scale for each output channel, or for each block of `block` inputs of a matrix
product; 3- and 2-bit ones are int4 in ONNX, of which compiled code stores no more bits than their values need. With codebook:N it becomes
an index into N values (Gather), scaled by channel. With calibration data, rounding follows what the layer's products become, and biases
take up the mean of what is left; of less than 8 bits, the smallest layers that together have a small share of the weights get 8, and with
`min_sqnr` as many outputs of others as it takes (see wide_rows).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgec.errors import ModelError
from edgec.graph import Graph, Op, Value, constant, map_graph
from edgec.onnx.reader import load
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.onnx.writer import model_proto
from edgec.ops.arithmetic import Mul
from edgec.ops.cast import Cast
from edgec.ops.convolution import Conv, ConvTranspose
from edgec.ops.gather import Gather
from edgec.ops.joining import Concat
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.quantization import DequantizeLinear
from edgec.ops.recurrent import GRU, LSTM, RNN
from edgec.quantize import calibration_data
from edgec.quantize.equalization import Rounded, equalized
from edgec.quantize.node_names import node_name, ops_named
from edgec.quantize.paired_moments import LEAST as SPLIT, PairedMoments
from edgec.quantize.prepare import prepared
from edgec.quantize.product_rounding import Solved, levels_of, solved
from edgec.quantize.product_rows import RECURRENT, is_product, matrices_of, rows_of, weight_places, weights_of
from edgec.quantize.quality import least_sqnr
from edgec.quantize.reconstruction import Codebook, Levels, Uniform
from edgec.quantize.run_values import whole_runner
from edgec.quantize.streams import Streams, known_array, samples_taken
from edgec.quantize.weight_levels import Method
from edgec.quantize.wide_rows import WideRows, noise_alone
from edgec.types import f32, i4, i8, i32

EIGHT = 0.05  # share of the weights that gets 8 bits where fewer are asked for, unless told otherwise
TRIES, CLOSE = 4, 0.02  # networks made to find the share of weights in 8 bits that a budget takes, and how near it is found
CLOSER, ENOUGH = 0.3, 0.8  # dB above the budget that are aimed at, and that are no reason to look further
NEARLY = 0.85  # the share of 8 bits behind which all get them
HELD, JUDGES = 3, 48  # every third sample judges, and no more than so many
LEAST = 256  # weights; smaller tensors stay f32
Samples = Sequence[Mapping[str, np.ndarray]]
Progress = Callable[[str, int, int], None]
ROUNDINGS = ("nearest", "adaround", "gptq")
PLACES = (((Conv, ConvTranspose, Gemm, MatMul), (1,)), ((LSTM, GRU, RNN), (1, 2)), ((Gather,), (0,)))  # operands that are weights
AXIS = {ConvTranspose: 1, Gather: 0, LSTM: 1, GRU: 1, RNN: 1}  # of output channels, in weights that are only ever rounded to nearest


@dataclass(frozen=True)
class Layer:
    """What became of one weight tensor: its number of weights, bits of each (where it is no whole number some have 8), and signal to noise
    of the layer's products in dB (of the weights where there is no data)."""

    name: str
    weights: int
    bits: int | float
    signal_to_noise: float


@dataclass(frozen=True, eq=False)
class WeightOnly:
    """The graph with weights in few bits, the float one it was made of, what became of each layer, and where there was a budget the signal
    to noise in dB on samples while they rounded nothing, of the output with least."""

    graph: Graph
    original: Graph
    layers: tuple[Layer, ...]
    sqnr: float | None = None

    @property
    def model(self) -> Any:
        """The ONNX model, of opset 21 or newer."""
        return model_proto(self.graph)

    def save(self, path: str | Path) -> None:
        """Write the ONNX file, whole or not at all."""
        from edgec.backends.artifact import write_files
        write_files({Path(path): self.model.SerializeToString()})


def method_of(weights: str = "int8", block: int = 0, rounding: str = "nearest", power_of_two: bool = False) -> Method:
    """A method by its names on the command line: weights int8, int4, int3, int2 or codebook:N; ModelError for others."""
    kind, _, count = weights.partition(":")
    if kind == "codebook" and count.isdigit() and 2 <= int(count) <= 256:
        bits, values = 8, int(count)
    elif weights in ("int8", "int4", "int3", "int2"):
        bits, values = int(weights[3:]), 0
    else:
        raise ModelError(f"weights cannot become '{weights}'", hint="choose int8, int4, int3, int2 or codebook:N with N from 2 to 256")
    if rounding not in ROUNDINGS:
        raise ModelError(f"there is no rounding method '{rounding}'", hint="there are " + ", ".join(ROUNDINGS))
    problems = {"a codebook has no blocks": values and block, "a codebook has no powers of two": values and power_of_two,
                "adaround rounds up or down to integers, which a codebook has not": values and rounding == "adaround",
                f"a block of {block} inputs is none": block < 0 or block == 1}
    for problem, found in problems.items():
        if found:
            raise ModelError(problem, hint="leave one of the two out" if values else "give 2 or more, or 0 for one scale a channel")
    return Method(bits, values, block, rounding, power_of_two)


def weight_only(model: Any, calib: Any = None, *, weights: str = "int8", block: int = 0, rounding: str = "nearest",
                power_of_two: bool = False, eight: float = EIGHT, min_sqnr: float | None = None, keep_float: Sequence[str] = (),
                equalize: str = "none", shapes: Mapping[str, Any] | None = None, bind: Mapping[str, Any] | None = None,
                progress: Callable[[str, int, int], None] = lambda what, done, total: None) -> WeightOnly:
    """The network of an ONNX file (or bytes, ModelProto, Graph) with weights in few bits, see `method_of` for the names.

    `calib` are samples of its inputs (see edgec.quantize.calibration_data); only rounding to nearest does without. `eight` is the share of
    the weights, smallest layers first, that gets 8 bits by other methods; with `min_sqnr`, in dB, as many outputs of the other layers get
    8 bits as it takes for every output of the network to have it on samples that are held back. `keep_float` names nodes whose weights stay
    f32, `equalize` moves scales of channels first (edgec.quantize.equalization). ModelError for names that there are not and for data that
    does not fit.
    """
    method = method_of(weights, block, rounding, power_of_two)
    if not 0 <= eight <= 1:
        raise ModelError(f"a share of {eight:g} of the weights does not lie between 0 and 1")
    if min_sqnr is not None and (rounding == "nearest" or method.stored_bits >= 8):
        raise ModelError("a budget chooses between fewer bits and 8, rounded by data", hint="give int4 weights and gptq rounding, say")
    if calib is None and rounding != "nearest":
        raise ModelError(f"{rounding} rounding needs samples of the inputs", hint="give calibration data, or round to nearest")
    original = model if isinstance(model, Graph) else load(model, shapes, bind)
    given = None if calib is None else calibration_data.samples(original, calib)
    graph = prepared(original)
    if given and equalize != "none":
        graph = equalized(graph, given, Rounded(method.bits), equalize)
    kept = {op for name in keep_float for op in ops_named(original, graph, name)}
    chosen = [op for op in graph.ops if _places(op) and op not in kept]
    methods = _methods(method, chosen, eight)
    return _made(original, graph, methods, given, progress)[0] if min_sqnr is None \
        else _within(original, graph, methods, given, min_sqnr, progress)


def _made(original: Graph, graph: Graph, methods: Mapping[Op, Method], given: Samples | None, progress: Progress,
          known: Known | None = None) -> tuple[WeightOnly, Known]:
    """The network with every operator rounded by its method, and what else was found; `known` was found when it was made before."""
    streams = None if given is None else Streams(graph, given)
    made = _Rewriting(methods, streams, lambda done: progress("rounding weights", done, len(methods)), known or Known())
    changed = map_graph(graph, made.visit)
    progress("rounding weights", len(methods), len(methods))
    return WeightOnly(changed, original, tuple(made.layers)), Known(made.dampings, made.errors, made.known.wide)


def _within(original: Graph, graph: Graph, methods: Mapping[Op, Method], given: Samples, least: float, progress: Progress) -> WeightOnly:
    """The network with as few outputs of layers in 8 bits as keep the budget on the samples that are held back from rounding; of few, all
    samples do both. Which ones, and about how many, follows from the noise of each; making networks corrects how many. What is found is
    then rounded for all samples, where rounding takes more of them."""
    apart = len(given) >= 2 * HELD
    rounds = [s for n, s in enumerate(given) if n % HELD != HELD - 1] if apart else given
    judges = list(given[HELD - 1::HELD] if apart else given)[:JUDGES]
    exact = _outputs(graph, judges)

    def made(known: Known | None = None) -> tuple[WeightOnly, Known]:
        found, seen = _made(original, graph, methods, rounds, progress, known)
        return replace(found, sqnr=least_sqnr(exact, _outputs(found.graph, judges))), seen

    found, known = made()
    if found.sqnr < least:
        found, wide = _searched(made, _rows(graph, methods, known, given), found, known, least)
        known = replace(known, wide=wide)
    if samples_taken(graph, len(given)) == samples_taken(graph, len(rounds)):
        return found
    return replace(_made(original, graph, methods, given, progress, known)[0], sqnr=found.sqnr)


def _searched(made: Callable[[Known], tuple[WeightOnly, Known]], rows: WideRows, found: WeightOnly, known: Known,
              least: float) -> tuple[WeightOnly, Mapping[Op, np.ndarray]]:
    """The network with about as few outputs in 8 bits as `least` dB take, and which they are, from one with none."""
    start, gained = found.sqnr, 1.0  # dB for each that was predicted
    low, high, best, wide = 0.0, 1.0, None, rows.chosen(1.0)
    for tried in itertools.count():
        predicted = (least + CLOSER - start) / gained
        share = rows.share_for(10 ** (-predicted / 10))
        share = share if low + CLOSE <= share <= high - CLOSE else (low + high) / 2
        if low > NEARLY or high - low < 2 * CLOSE or best is not None and (tried >= TRIES or best.sqnr < least + ENOUGH):
            break
        chosen = rows.chosen(share)
        found, _ = made(replace(known, wide=chosen))
        low, high, best, wide = (low, share, found, chosen) if found.sqnr >= least else (share, high, best, wide)
        gained = float(np.clip((found.sqnr - start) / max(rows.gain_of(share), 0.1), 0.2, 2.0))
    return best or made(replace(known, wide=wide))[0], wide


def _rows(graph: Graph, methods: Mapping[Op, Method], known: Known, samples: Samples) -> WideRows:
    """The rows of all layers in few bits, those of a layer that cannot be divided together, and their noise."""
    narrow = [op for op, method in methods.items() if method.stored_bits < 8]
    errors = {op: known.errors[op] if _has_rows(op, methods[op]) and op in known.errors else
              np.full((1, 1), np.sum(known.errors[op]) if op in known.errors else 1.0) for op in narrow}
    sizes = {op: sum(op.operands[n].type.max_size for n in _places(op)) // errors[op].size for op in narrow}
    return WideRows(noise_alone(graph, {op: _to_nearest(op, methods[op]) for op in narrow}, samples), errors, sizes)


def _to_nearest(op: Op, method: Method) -> dict[int, np.ndarray]:
    """The weights of an operator rounded to nearest, by place."""
    streamless = _Rewriting({op: replace(method, rounding="nearest")}, None, lambda done: None, Known())
    made = streamless.rounded(op, list(op.operands))
    return {n: known_array(made.operands[n]) for n in _places(op)}


def _has_rows(op: Op, method: Method) -> bool:
    """Whether outputs can have different bits: a matrix for each group, one scale an output."""
    return isinstance(op, (Conv, Gemm, MatMul)) and is_product(op) and not method.values and not method.block


def _outputs(graph: Graph, samples: Samples) -> list[list[np.ndarray]]:
    run = whole_runner(graph, len(samples))
    return [list(run(sample).values()) for sample in samples]


def _methods(method: Method, chosen: Sequence[Op], eight: float) -> dict[Op, Method]:
    """The method of every operator. With fewer than 8 bits, rounded by data, the smallest get 8 bits, as many as together have the share
    `eight` of the weights at most: layers add about the same noise each, so that the smallest save least by few bits."""
    found = dict.fromkeys(chosen, method)
    if method.rounding == "nearest" or method.stored_bits >= 8:
        return found
    sizes = {op: sum(op.operands[n].type.max_size for n in _places(op)) for op in chosen}
    left = eight * sum(sizes.values())
    for op in sorted(chosen, key=sizes.__getitem__):
        left -= sizes[op]
        if left < 0:
            break
        found[op] = replace(method, bits=8, values=0, block=0)
    return found


def _places(op: Op) -> list[int]:
    """Which operands are weights to be rounded."""
    places = next((at for kinds, at in PLACES if isinstance(op, kinds)), ())
    large = [n for n in places if op.operands[n].is_constant and op.operands[n].dtype is f32 and op.operands[n].type.max_size >= LEAST]
    return [n for n in large if op.operands[n].type.rank >= 2 and not (isinstance(op, Gather) and op.operands[1].is_constant)]


@dataclass(frozen=True, eq=False)
class Known:
    """What was found when a network was made, and serves when it is made again: the dampings of layers, the errors of their outputs (see
    Solved); and which outputs bool[groups, outputs] of operators in few bits are to have 8."""

    dampings: Mapping[Op, float | None] = field(default_factory=dict)
    errors: Mapping[Op, np.ndarray] = field(default_factory=dict)
    wide: Mapping[Op, np.ndarray] = field(default_factory=dict)


class _Rewriting:
    """Gives every chosen operator its weights in few bits; with samples, for the inputs that those before it really give."""

    def __init__(self, methods: Mapping[Op, Method], streams: Streams | None, report: Callable[[int], None], known: Known):
        self.methods, self.streams, self.report, self.known = methods, streams, report, known
        self.dampings: dict[Op, float | None] = {}
        self.errors: dict[Op, np.ndarray] = {}
        self.layers: list[Layer] = []

    def visit(self, op: Op, operands: Sequence[Value]) -> Sequence[Value] | None:
        found = self.rounded(op, list(operands)) if op in self.methods else None
        if self.streams:
            self.streams.advance(op, found)
        return None if found is None else found.results

    def rounded(self, op: Op, operands: list[Value]) -> Op:
        """An operator on weights in few bits."""
        wide = self.known.wide.get(op)
        self.method = replace(self.methods[op], bits=8, values=0, block=0) if wide is not None and wide.all() else self.methods[op]
        self.wide = wide if wide is not None and wide.any() and not wide.all() else None
        self.report(len({layer.name for layer in self.layers}))
        if is_product(op) and (self.streams or not isinstance(op, RECURRENT)):
            return self.product(op, operands)
        for place in _places(op):
            operands[place] = self.nearest(op, op.operands[place])
        return op.with_operands(operands)

    def nearest(self, op: Op, weights: Value) -> Value:
        """Weights rounded to nearest, with a scale for each place of one axis."""
        w = weights.array.astype(np.float64)
        axis = AXIS.get(type(op), w.ndim - 1)
        moved = np.moveaxis(w, axis, -1)
        matrix = moved.reshape(-1, w.shape[axis])
        levels = levels_of(replace(self.method, block=0), matrix)
        codes = levels.codes(matrix)
        self.note(op, matrix, levels.real(codes), None, w.size)
        restored = np.moveaxis(codes.reshape(moved.shape), -1, axis)
        return self.stored(weights.name, restored, levels, axis, [-1 if n == axis else 1 for n in range(w.ndim)])

    def product(self, op: Op, operands: list[Value]) -> Op:
        """A product on rounded weights, its bias corrected by what the means of its inputs give."""
        w = matrices_of(op, [op.operands[n].array for n in weight_places(op)])
        biased, halves = _takes_bias(op), self.moments(op)
        method = self.method if isinstance(op, RECURRENT) or len(w) == 1 else replace(self.method, block=0)
        found = solved(op, method, w, halves, self.known.dampings.get(op), self.wide)
        self.dampings[op] = found.damping
        if found.errors is not None:
            self.errors[op] = found.errors
        self.note(op, w, found.real, sum(halves[1:], halves[0]).moment if halves else None, w.size)
        for place, value in zip(weight_places(op), self.assembled(op, method, found)):
            operands[place] = value
        if not halves or not biased:
            return op.with_operands(operands)
        return _with_bias(op, operands, sum(halves[1:], halves[0]).shift(w, found.real))

    def moments(self, op: Op) -> list[PairedMoments]:
        """Those of the even and the odd samples, of few samples those of all; empty without samples."""
        if not self.streams:
            return []
        pairs = self.streams.operands(op)
        found = [PairedMoments(_takes_bias(op)) for _ in range(2 if len(pairs) >= SPLIT else 1)]
        for number, (near, exact) in enumerate(pairs):
            rows = rows_of(op, exact)
            same = all(a is b for a, b in zip(near, exact))
            found[number % len(found)].see(rows if same else rows_of(op, near), rows)
        return found

    def assembled(self, op: Op, method: Method, found: Solved) -> list[Value]:
        """The values that stand for the weights, of their shapes."""
        arrays = weights_of(op, found.codes)
        names = [op.operands[n].name for n in weight_places(op)]
        if isinstance(found.levels, Codebook):
            scales = weights_of(op, np.broadcast_to(found.levels.scale, found.codes.shape))
            return [self.stored(n, a, replace(found.levels, scale=_outer(op, s)), 0, _outer(op, s).shape)
                    for n, a, s in zip(names, arrays, scales)]
        scales = weights_of(op, np.broadcast_to(found.levels.scale, found.codes.shape))
        if self.wide is not None:
            return [self.of_two_widths(op, names[0], arrays[0], _outer(op, scales[0]).reshape(-1))]
        return [self.integers(n, a, *_scales(op, s, method.block)) for n, a, s in zip(names, arrays, scales)]

    def of_two_widths(self, op: Op, name: str, codes: np.ndarray, scale: np.ndarray) -> Value:
        """Weights of which some outputs have 8 bits: two tensors, and the outputs put in their order."""
        axis, wide = _outer_axis(op), self.wide.reshape(-1)
        parts = [(self.method.bits, np.flatnonzero(~wide)), (8, np.flatnonzero(wide))]
        values = [self.integers(f"{name}.{bits}", np.take(codes, at, axis), scale[at], axis, 0, bits) for bits, at in parts]
        order = np.argsort(np.concatenate([at for _, at in parts]))
        return Gather(Concat(tuple(values), axis=axis).output, constant(order.astype(np.int64), f"{name}.order"), axis=axis).output

    def stored(self, name: str, codes: np.ndarray, levels: Levels, axis: int, shape: Sequence[int]) -> Value:
        if isinstance(levels, Uniform):
            return self.integers(name, codes, levels.scale[0], axis, 0)
        book = constant(levels.values.astype(np.float32), f"{name}.codebook")
        index = Cast(constant(codes.astype(np.uint8), f"{name}.indices"), to=CODE_OF_DTYPE[i32]).output
        return Mul(Gather(book, index).output, constant(levels.scale.reshape(shape).astype(np.float32), f"{name}.scale")).output

    def integers(self, name: str, codes: np.ndarray, scale: np.ndarray, axis: int, block: int, bits: int = 0) -> Value:
        dtype = i8 if (bits or self.method.bits) == 8 else i4
        return DequantizeLinear(constant(codes.astype(np.int8).astype(dtype.numpy), f"{name}.integers"),
                                constant(scale.astype(np.float32), f"{name}.scale"), axis=axis, block_size=block).output

    def note(self, op: Op, weights: np.ndarray, real: np.ndarray, moment: np.ndarray | None, count: int) -> None:
        """Add a line to the table: the noise in the products, or in the weights."""
        error = real - weights
        noise, signal = (float(np.sum(a * a if moment is None else a * (moment @ a))) for a in (error, weights))
        ratio = 10 * float(np.log10(max(signal, 1e-300) / max(noise, 1e-300)))
        bits = self.method.stored_bits
        self.layers.append(Layer(node_name(op), count, bits if self.wide is None else bits + (8 - bits) * float(self.wide.mean()), ratio))


def _takes_bias(op: Op) -> bool:
    """Whether a constant bias of one number an output is or can be given."""
    if isinstance(op, RECURRENT):
        return op.b is not None and op.b.is_constant
    if isinstance(op, MatMul):
        return False
    return len(op.operands) < 3 or op.operands[2].is_constant and op.operands[2].type.rank == 1


def _with_bias(op: Op, operands: list[Value], shift: np.ndarray) -> Op:
    """The operator with its bias moved by f64[groups, K, outputs] summed over K."""
    if isinstance(op, RECURRENT):
        inputs = op.operands[1].shape[2]
        moved = np.concatenate([shift[:, :inputs].sum(1), shift[:, inputs:].sum(1)], 1)
        operands[3] = constant((op.b.array + moved).astype(np.float32), f"{op.output.name}.bias")
        return op.with_operands(operands)
    moved = shift.sum(1).reshape(-1)
    old = op.operands[2].array if len(op.operands) > 2 else np.zeros(len(moved))
    operands[2:] = [constant((old + moved).astype(np.float32), f"{op.output.name}.bias")]
    return type(op)(*operands, **op.attributes, _name=op.output.name, _loc=op.loc)


def _scales(op: Op, spread: np.ndarray, block: int) -> tuple[np.ndarray, int, int]:
    """Scale, axis and block size of a DequantizeLinear, from the scale of every weight."""
    if isinstance(op, RECURRENT):
        size = block if 0 < block < spread.shape[2] else spread.shape[2]
        return (spread[0, :, 0], 1, 0) if len(spread) == 1 and size == spread.shape[2] else (spread[:, :, ::size], 2, size)
    outer = _outer_axis(op)
    inner = 1 - outer
    if block and block < spread.shape[inner]:
        return np.take(spread, range(0, spread.shape[inner], block), inner), inner, block
    return _outer(op, spread).reshape(-1), outer, 0


def _outer_axis(op: Op) -> int:
    """The axis of outputs in the weights of a convolution or matrix product."""
    return 0 if isinstance(op, Conv) or getattr(op, "transB", 0) else 1


def _outer(op: Op, spread: np.ndarray) -> np.ndarray:
    """One scale an output of weights, in a shape that broadcasts, from the scale of every weight."""
    if isinstance(op, RECURRENT):
        return spread[:, :, :1]
    return spread[:1] if _outer_axis(op) else spread[(slice(None), *[slice(0, 1)] * (spread.ndim - 1))]
