"""Dynamic quantization: weights are integers, activations become them where they are read, by their extremes in that very call.

Nothing is calibrated. Every convolution and matrix product with constant weights reads its operand through DynamicQuantizeLinear, sums in
i32 (ConvInteger, MatMulInteger), and gives f32 again; everything between is f32. It suits what is bound by weights: large matrix products
and recurrent layers. An LSTM becomes onnxruntime's DynamicQuantizeLSTM, a GRU or RNN a Scan of such products.

    save(dynamic("model.onnx"), "model_dynamic.onnx")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgec.graph import Graph, Op, Value, constant, map_graph
from edgec.model_file import load
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.onnx.writer import model_proto
from edgec.ops.arithmetic import Add, Mul
from edgec.ops.cast import Cast
from edgec.ops.convolution import Conv
from edgec.ops.quantization import DynamicQuantizeLinear
from edgec.ops.quantized import ConvInteger, MatMulInteger
from edgec.ops.quantized_recurrent import DynamicQuantizeLSTM, dynamic_product
from edgec.ops.recurrent import LSTM, Recurrent
from edgec.quantize.cells import is_cell
from edgec.quantize.grid import weight_grid
from edgec.quantize.node_names import ops_named
from edgec.quantize.prepare import prepared
from edgec.quantize.recipe import is_layer
from edgec.types import f32


def dynamic(model: Any, *, shapes: Mapping[str, Any] | None = None, bind: Mapping[str, Any] | None = None,
            keep_float: tuple[str, ...] = (), per_channel: bool = True) -> Graph:
    """The graph with integer products whose activations are quantized as it runs; `keep_float` names nodes that stay f32."""
    original = model if isinstance(model, Graph) else load(model, shapes, bind)
    graph = prepared(original)
    kept = {op for name in keep_float for op in ops_named(original, graph, name)}

    def visit(op: Op, operands: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if is_cell(op) and op not in kept:
            return _cell(op.with_operands(operands), per_channel)
        fits = is_layer(op) and op.output.dtype is f32 and op not in kept and _can(op)
        return (_integers(op, operands[0], per_channel),) if fits else None
    return map_graph(graph, visit)


def save(graph: Graph, path: str | Path) -> None:
    """Write a graph as an ONNX file, whole or not at all."""
    from edgec.backends.artifact import write_files
    write_files({Path(path): model_proto(graph).SerializeToString()})


def _can(op: Op) -> bool:
    name = type(op).__name__
    if name == "Gemm":
        return op.alpha == op.beta == 1 and not op.transA and (op.c is None or op.c.is_constant)
    return name in ("Conv", "MatMul") and all(v.is_constant for v in op.operands[2:])


def _cell(op: Recurrent, per_channel: bool) -> tuple[Value, ...]:
    """A recurrent layer whose inputs and states are quantized as it runs."""
    def matrix(w: np.ndarray, columns: int) -> tuple[np.ndarray, ...]:
        """Integers, scales and zero points of weights, one a column (the last axis) where asked."""
        grid = weight_grid(w, w.ndim - 1 if per_channel else None)
        spread = lambda parameter: np.broadcast_to(parameter, columns).copy() if per_channel else parameter
        return grid.quantized(w), spread(grid.scale), spread(grid.zero_point)

    if not isinstance(op, LSTM) or op.layout:
        return _several(op.written(lambda a, w: dynamic_product(a, *map(constant, matrix(w.array, w.shape[1])))))
    parts = {}
    for name in ("w", "r"):
        rows = [matrix(each.T, each.shape[0]) for each in getattr(op, name).array]
        integers, scales, zeros = (constant(np.stack(column), f"{getattr(op, name).name}.{what}")
                                   for column, what in zip(zip(*rows), ("integers", "scale", "zero_point")))
        parts |= {name: integers, f"{name}_scale": scales, f"{name}_zero_point": zeros}
    kept = {n: v for n, v in op.attributes.items() if n != "layout"}
    return DynamicQuantizeLSTM(op.x, b=op.b, sequence_lens=op.sequence_lens, initial_h=op.initial_h, initial_c=op.initial_c, p=op.p,
                               **parts, **kept | {"hidden_size": op.hidden}).results


def _several(made: Value | tuple[Value, ...]) -> tuple[Value, ...]:
    return made if isinstance(made, tuple) else (made,)


def _integers(op: Op, x: Value, per_channel: bool) -> Value:
    """Cast(product of integers) * (scale of x * scale of w) + bias"""
    name, w = op.output.name, op.operands[1].array
    w = w.T if getattr(op, "transB", 0) else w
    convolution = isinstance(op, Conv)
    axis = 0 if convolution else w.ndim - 1
    grid = weight_grid(w, axis if per_channel and (convolution or w.ndim == 2) else None)
    spread = (-1, *[1] * (w.ndim - 2)) if convolution else (-1,)
    integers, scale, zero = DynamicQuantizeLinear(x, _name=f"{x.name}.quantized").results
    weights = constant(grid.quantized(w), f"{op.operands[1].name}.integers")
    total = ConvInteger(integers, weights, zero, **op.attributes).output if convolution else MatMulInteger(integers, weights, zero).output
    scales = constant(grid.scale.reshape(spread) if grid.scale.ndim else grid.scale, f"{op.operands[1].name}.scale")
    real = Mul(Cast(total, to=CODE_OF_DTYPE[f32]).output, Mul(scale, scales).output, _name=name).output
    bias = op.operands[2].array if len(op.operands) > 2 else None
    return real if bias is None else Add(real, constant(bias.reshape(spread) if bias.ndim == 1 else bias), _name=name).output
