"""weight_only(model, calib) -> WeightOnly: weights in 8, 4, 3 or 2 bits or by a codebook; activations and all arithmetic stay f32.

    made = weight_only("model.onnx", "calib.npz", weights="int4", rounding="gptq");  made.save("model_w4.onnx")

A weight becomes an integer behind a DequantizeLinear, with a scale for each output channel, or for each block of `block` inputs of a matrix
product; 3- and 2-bit ones are int4 in ONNX, of which compiled code stores no more bits than their values need. With codebook:N it becomes
an index into N values (Gather), scaled by channel. With calibration data, rounding follows what the layer's products become, and biases
take up the mean of what is left; by a method that learns from it, the first and last layers of less than 8 bits get 8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from edgec.errors import ModelError
from edgec.graph import Graph, Op, Value, constant, map_graph
from edgec.onnx_reader import load
from edgec.onnx_tensor import CODE_OF_DTYPE
from edgec.onnx_writer import model_proto
from edgec.ops.arithmetic import Mul
from edgec.ops.cast import Cast
from edgec.ops.convolution import Conv, ConvTranspose
from edgec.ops.gather import Gather
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.quantization import DequantizeLinear
from edgec.ops.recurrent import GRU, LSTM, RNN
from edgec.quantize import calibration_data
from edgec.quantize.adaround import adaround
from edgec.quantize.codebook import codebook, largest
from edgec.quantize.gptq import gptq
from edgec.quantize.input_moments import Moments, input_moments
from edgec.quantize.node_names import node_name, ops_named
from edgec.quantize.prepare import prepared
from edgec.quantize.reconstruction import Codebook, Levels, Reconstruction, Uniform, descended
from edgec.types import f32, i4, i8, i32

LEAST = 256  # weights; smaller tensors stay f32
SHRINKS = np.linspace(0.4, 1.1, 36)  # of the scale that just covers all weights of a channel
ROUNDINGS = ("nearest", "adaround", "gptq")
PLACES = (((Conv, ConvTranspose, Gemm, MatMul), (1,)), ((LSTM, GRU, RNN), (1, 2)), ((Gather,), (0,)))  # operands that are weights
AXIS = {ConvTranspose: 1, Gather: 0, LSTM: 1, GRU: 1, RNN: 1}  # of output channels, in weights that are only ever rounded to nearest


@dataclass(frozen=True)
class Method:
    """What weights become: integers of `bits`, or one of `values` of a codebook; rounded how, with how many inputs to a scale."""

    bits: int = 8
    values: int = 0
    block: int = 0
    rounding: str = "nearest"
    power_of_two: bool = False

    @property
    def stored_bits(self) -> int:
        """Bits of a weight in compiled code."""
        return (self.values - 1).bit_length() if self.values else self.bits


@dataclass(frozen=True)
class Layer:
    """What became of one weight tensor: its number of weights, bits of each, and signal to noise of the layer's products in dB
    (of the weights where there is no data)."""

    name: str
    weights: int
    bits: int
    signal_to_noise: float


@dataclass(frozen=True, eq=False)
class WeightOnly:
    """The graph with weights in few bits, the float one it was made of, and what became of each layer."""

    graph: Graph
    original: Graph
    layers: tuple[Layer, ...]

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
                power_of_two: bool = False, keep_float: Sequence[str] = (), shapes: Mapping[str, Any] | None = None,
                bind: Mapping[str, Any] | None = None, threads: int = 1,
                progress: Callable[[str, int, int], None] = lambda what, done, total: None) -> WeightOnly:
    """The network of an ONNX file (or bytes, ModelProto, Graph) with weights in few bits, see `method_of` for the names.

    `calib` are samples of its inputs (see edgec.quantize.calibration_data); only rounding to nearest does without. `keep_float` names
    nodes whose weights stay f32. ModelError for names that there are not and for data that does not fit.
    """
    method = method_of(weights, block, rounding, power_of_two)
    if calib is None and rounding != "nearest":
        raise ModelError(f"{rounding} rounding needs samples of the inputs", hint="give calibration data, or round to nearest")
    original = model if isinstance(model, Graph) else load(model, shapes, bind)
    graph = prepared(original)
    kept = {op for name in keep_float for op in ops_named(original, graph, name)}
    chosen = [op for op in graph.ops if _places(op) and op not in kept]
    products = [op for op in chosen if _is_product(op)]
    moments = input_moments(graph, products, calibration_data.samples(original, calib), threads, progress) if calib is not None else {}
    made = _Rewriting(_methods(method, chosen), moments, lambda done: progress("rounding weights", done, len(chosen)))
    changed = map_graph(graph, made.visit)
    return WeightOnly(changed, original, tuple(made.layers))


def _methods(method: Method, chosen: Sequence[Op]) -> dict[Op, Method]:
    """The method of every operator. With fewer than 8 bits, rounded by data, the first and the last of three or more get 8 bits: what they
    lose nothing mends, and they are small in most networks."""
    found = dict.fromkeys(chosen, method)
    if len(chosen) > 2 and method.rounding != "nearest" and method.bits < 8:
        found.update(dict.fromkeys((chosen[0], chosen[-1]), replace(method, bits=8)))
    return found


def _is_product(op: Op) -> bool:
    """A product of data with one constant matrix, or one a group of channels."""
    return isinstance(op, Conv) or isinstance(op, (Gemm, MatMul)) and op.operands[1].type.rank == 2


def _places(op: Op) -> list[int]:
    """Which operands are weights to be rounded."""
    places = next((at for kinds, at in PLACES if isinstance(op, kinds)), ())
    large = [n for n in places if op.operands[n].is_constant and op.operands[n].dtype is f32 and op.operands[n].type.max_size >= LEAST]
    return [n for n in large if op.operands[n].type.rank >= 2 and not (isinstance(op, Gather) and op.operands[1].is_constant)]


class _Rewriting:
    """Gives every chosen operator its weights in few bits."""

    def __init__(self, methods: Mapping[Op, Method], moments: Mapping[Op, Moments], report: Callable[[int], None]):
        self.methods, self.moments, self.report = methods, moments, report
        self.layers: list[Layer] = []

    def visit(self, op: Op, operands: Sequence[Value]) -> Sequence[Value] | None:
        if op not in self.methods:
            return None
        self.method = self.methods[op]
        self.report(len({layer.name for layer in self.layers}))
        if _is_product(op):
            return self.product(op, list(operands)).results
        operands = list(operands)
        for place in _places(op):
            operands[place] = self.nearest(op, op.operands[place])
        return op.with_operands(operands).results

    def nearest(self, op: Op, weights: Value) -> Value:
        """Weights rounded to nearest, with a scale for each place of one axis."""
        w = weights.array.astype(np.float64)
        axis = AXIS.get(type(op), w.ndim - 1)
        moved = np.moveaxis(w, axis, -1)
        matrix = moved.reshape(-1, w.shape[axis])
        levels, codes = _rounded(replace(self.method, rounding="nearest", block=0), matrix, None)
        self.note(op, matrix, levels.real(codes), None, w.size)
        restored = np.moveaxis(codes.reshape(moved.shape), -1, axis)
        shape = [-1 if n == axis else 1 for n in range(w.ndim)]
        return self.stored(weights.name, restored, levels, axis, shape)

    def product(self, op: Op, operands: list[Value]) -> Op:
        """A Conv, Gemm or MatMul on rounded weights, its bias corrected by what the mean of its inputs gives."""
        w, moments = op.operands[1], self.moments.get(op)
        biased = moments is not None and not isinstance(op, MatMul) and (len(op.operands) < 3 or op.operands[2].is_constant)
        biased = biased and (len(op.operands) < 3 or op.operands[2].type.rank == 1)
        matrices = _matrices(op, w.array.astype(np.float64))
        hessians = [None] * len(matrices) if moments is None else list(moments.covariance if biased else moments.second)
        one_tap = all(extent == 1 for extent in w.shape[2:])
        method = self.method if one_tap and len(matrices) == 1 else replace(self.method, block=0)
        book = _shared_book(method, matrices, hessians)
        found = [(m, *_rounded(method, m, h, book)) for m, h in zip(matrices, hessians)]
        self.note(op, *(np.concatenate(parts, 1) for parts in zip(*((m, lv.real(c)) for m, lv, c in found))),
                  None if moments is None else moments.covariance if biased else moments.second, w.type.max_size)
        operands[1] = self.assembled(op, w, found)
        if biased:
            shift = np.concatenate([moments.mean[n] @ (m - lv.real(c)) for n, (m, lv, c) in enumerate(found)])
            old = op.operands[2].array if len(op.operands) > 2 else np.zeros(len(shift))
            operands[2:] = [constant((old + shift).astype(np.float32), f"{op.output.name}.bias")]
        return type(op)(*operands, **op.attributes, _name=op.output.name, _loc=op.loc)

    def assembled(self, op: Op, w: Value, found: Sequence[tuple[np.ndarray, Levels, np.ndarray]]) -> Value:
        """The value that stands for the weights, of their shape, from the codes of each group."""
        transposed = isinstance(op, Conv) or bool(getattr(op, "transB", 0))
        codes = np.concatenate([c.T for _, _, c in found]).reshape(w.shape) if transposed else found[0][2]
        levels = _joined([lv for _, lv, _ in found])
        axis = 0 if transposed else 1
        shape = [-1 if n == axis else 1 for n in range(len(w.shape))]
        if isinstance(levels, Uniform) and len(levels.scale) > 1:
            scale = levels.scale[::self.method.block]
            blocks = (scale.T if transposed else scale).reshape([*(scale.T if transposed else scale).shape, *[1] * (len(w.shape) - 2)])
            return self.integers(w.name, codes, blocks, 1 - axis, self.method.block)
        return self.stored(w.name, codes, levels, axis, shape)

    def stored(self, name: str, codes: np.ndarray, levels: Levels, axis: int, shape: Sequence[int]) -> Value:
        if isinstance(levels, Uniform):
            return self.integers(name, codes, levels.scale[0], axis, 0)
        book = constant(levels.values.astype(np.float32), f"{name}.codebook")
        index = Cast(constant(codes.astype(np.uint8), f"{name}.indices"), to=CODE_OF_DTYPE[i32]).output
        return Mul(Gather(book, index).output, constant(levels.scale[0].reshape(shape).astype(np.float32), f"{name}.scale")).output

    def integers(self, name: str, codes: np.ndarray, scale: np.ndarray, axis: int, block: int) -> Value:
        dtype = i8 if self.method.bits == 8 else i4
        return DequantizeLinear(constant(codes.astype(np.int8).astype(dtype.numpy), f"{name}.integers"),
                                constant(scale.astype(np.float32), f"{name}.scale"), axis=axis, block_size=block).output

    def note(self, op: Op, weights: np.ndarray, real: np.ndarray, moment: np.ndarray | None, count: int) -> None:
        """Add a line to the table: the noise in the products of all groups, or in the weights."""
        error = real - weights
        if moment is None:
            noise, signal = np.sum(error**2), np.sum(weights**2)
        else:
            parts = [np.split(a, len(moment), 1) for a in (error, weights)]
            noise, signal = (sum(float(np.sum(a * (m @ a))) for a, m in zip(p, moment)) for p in parts)
        ratio = 10 * float(np.log10(max(signal, 1e-300) / max(noise, 1e-300)))
        self.layers.append(Layer(node_name(op), count, self.method.stored_bits, ratio))


def _matrices(op: Op, w: np.ndarray) -> list[np.ndarray]:
    """The weights as one matrix [K, outputs] for each group of channels."""
    if isinstance(op, Conv):
        return [part.reshape(len(part), -1).T for part in np.split(w, op.group)]
    return [w.T if getattr(op, "transB", 0) else w]


def _joined(levels: Sequence[Levels]) -> Levels:
    """The levels of all groups side by side; they share one codebook."""
    first = levels[0]
    scale = np.concatenate([each.scale for each in levels], 1)
    return replace(first, scale=scale) if isinstance(first, Codebook) else replace(first, scale=scale, zero=np.zeros_like(scale))


def _shared_book(method: Method, matrices: Sequence[np.ndarray], moments: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """The values of the one codebook of all groups of a layer; None where there is none."""
    if not method.values:
        return None
    ones = [np.ones(m.shape) if h is None else np.broadcast_to(np.diag(h)[:, None], m.shape) for m, h in zip(matrices, moments)]
    return codebook(np.concatenate(matrices, 1), method.values, np.concatenate(ones, 1)).values


def _rounded(method: Method, matrix: np.ndarray, moment: np.ndarray | None, book: np.ndarray | None = None) -> tuple[Levels, np.ndarray]:
    """Levels for a matrix of weights [K, outputs], and the code of each weight."""
    importance = None if moment is None else np.diag(moment)
    levels: Levels
    if method.values:
        levels = codebook(matrix, method.values) if book is None else Codebook(book, largest(matrix))
    else:
        levels = uniform_levels(matrix, method.bits, importance, method.block, method.power_of_two)
    if method.rounding == "nearest" or moment is None:
        return levels, levels.codes(matrix)
    problem = Reconstruction(matrix, moment)
    codes = gptq(problem, levels) if method.rounding == "gptq" else adaround(problem, levels)
    if isinstance(levels, Codebook) or method.power_of_two or len(levels.scale) > 1:
        return levels, codes
    return _refitted(problem, levels, codes)


def _refitted(problem: Reconstruction, levels: Uniform, codes: np.ndarray) -> tuple[Uniform, np.ndarray]:
    """Scales that fit the codes best (least squares, channel by channel), and codes that fit those; kept while the error falls."""
    for _ in range(3):
        steps = codes - levels.zero
        bent = problem.damped @ steps
        size = np.sum(bent * steps, 0)
        scale = np.where(size > 0, np.sum(bent * problem.weights, 0) / np.where(size > 0, size, 1), levels.scale[0])
        other = replace(levels, scale=np.where(scale > 0, scale, levels.scale[0])[None])
        found = descended(problem, other, codes)
        if problem.error(other.real(found)) >= problem.error(levels.real(codes)):
            break
        levels, codes = other, found
    return levels, codes


def uniform_levels(matrix: np.ndarray, bits: int, importance: np.ndarray | None = None, block: int = 0,
                   power_of_two: bool = False) -> Uniform:
    """Scales for weights f64[K, outputs] with the least weighted square error of rounding to nearest, among SHRINKS of the full range."""
    rows = len(matrix)
    size = block if block and block < rows else rows
    padded = np.zeros((-(-rows // size) * size, matrix.shape[1]))
    padded[:rows] = matrix
    parts = padded.reshape(-1, size, matrix.shape[1])
    weigh = np.zeros(len(padded))
    weigh[:rows] = 1.0 if importance is None else importance + 1e-12 * (importance.max(initial=0.0) or 1.0)
    weigh = weigh.reshape(-1, size, 1)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    full = np.abs(parts).max(1, initial=0.0, keepdims=True) / (high + 0.5)
    full = np.where(full > 0, full, 1.0)
    best, least = full, np.full(full.shape, np.inf)
    for shrink in SHRINKS if bits < 8 or power_of_two else (1.0,):
        scale = (full * shrink).astype(np.float32).astype(np.float64)
        scale = 2.0 ** np.round(np.log2(scale)) if power_of_two else scale
        error = np.sum((np.clip(np.rint(parts / scale), low, high) * scale - parts) ** 2 * weigh, 1, keepdims=True)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    spread = best[:, 0] if size == rows else np.repeat(best[:, 0], size, 0)[:rows]
    return Uniform(spread, np.zeros_like(spread), low, high)
