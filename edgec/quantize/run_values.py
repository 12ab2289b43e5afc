"""Values of a graph on samples, in numpy or, where there is much to compute, by native code with the values as its outputs.

Small networks on few samples are interpreted, since compiling takes longer than that; so is what cannot be compiled. The choice depends on
the graph and the number of runs alone, so that the same data gives the same result everywhere.

    run = runner(graph, [conv.output, add.output], runs=200)
    run(sample)                                                  # [array, array]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgec.compiler import compile
from edgec.errors import CompileError
from edgec.graph import Graph, Op, Value
from edgec.interpreter import interpret
from edgec.named_arrays import as_bytes, from_bytes

Run = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]
INTERPRETED = 2 * 10**10  # multiply-adds in all: some ten seconds of numpy


def runner(graph: Graph, values: Sequence[Value], runs: int, threads: int = 1,
           progress: Callable[[int, int], None] | None = None) -> Run:
    """A function from a sample to the arrays of the values, made for so many runs."""
    wanted = [v for v in dict.fromkeys(values) if v not in graph.inputs and not v.is_constant]
    part = Graph(graph.inputs, tuple(wanted), tuple(f"value_{n}" for n in range(len(wanted))), graph.name)
    whole = whole_runner(part, runs, threads, progress) if wanted else lambda sample: {}

    def run(sample: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        arrays = whole(sample)
        found = {v: arrays[n] for v, n in zip(wanted, part.output_names)}
        return [sample[v.name] if v in graph.inputs else v.array if v.is_constant else found[v] for v in values]
    return run


def whole_runner(graph: Graph, runs: int, threads: int = 1,
                 progress: Callable[[int, int], None] | None = None) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """A function from a sample to the outputs of a graph by name."""
    if runs * sum(map(multiply_adds, graph.ops)) > INTERPRETED:
        try:
            loaded = compile(graph, optimize="1", progress=progress).load(threads)
            dtypes = {n: v.dtype for n, v in zip(graph.output_names, graph.outputs)}
            return lambda sample: from_bytes(loaded.run(as_bytes(sample)), dtypes)
        except CompileError:
            pass
    return lambda sample: interpret(graph, sample)


def multiply_adds(op: Op) -> int:
    """Multiply-adds of a product or recurrent layer at the upper bounds of its sizes; elements of the results of any other operator."""
    elements = sum(v.type.max_size for v in op.results)
    kind = type(op).__name__
    if kind in ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul"):
        return elements * int(op.operands[0].type.max_shape[0 if getattr(op, "transA", 0) else -1])
    if kind in ("LSTM", "GRU", "RNN"):
        return int(np.prod(op.results[0].type.max_shape[:-1], dtype=np.int64)) * (op.w.type.max_size + op.r.type.max_size) \
            // max(1, op.r.shape[0])
    transposed = kind in ("ConvTranspose", "ConvTransposeInteger", "QLinearConvTranspose")
    if transposed or kind in ("Conv", "ConvInteger", "QLinearConv"):
        x, w = op.x.type, op.w.type
        return (x.max_size if transposed else elements) * w.max_size // max(1, w.max_shape[0])
    return elements
