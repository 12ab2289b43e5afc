"""Integer operators against onnxruntime, one by one, each fed onnxruntime's own tensors.

onnxruntime writes the graph it has optimised, with integer kernels where it has some; that file is a model like any other. All tensors of
one run of it are kept. In edgec's integer form of the same file every value that has a name of theirs is computed from their tensors (by
way of values that have none, where operators were taken apart) and compared with theirs.

    compare_operators("model_int8.onnx", {"x": x})      # [Compared("QLinearConv", "y", 4096, 0, 0), ...]
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgec.graph import Constant, Graph, Input, run_reference
from edgec.onnx.reader import load
from edgec.passes.integers import integer_form

OWN_LAYOUT = ["NchwcTransformer"]  # blocked layouts for f32, in operators of their own domain


@dataclass(frozen=True)
class Compared:
    """One tensor of bytes: the onnxruntime kernel that made it, how many elements differ, and by how many quanta at most."""

    kernel: str
    name: str
    elements: int
    different: int
    largest: int


def optimised(path: Path, to: Path) -> onnx.ModelProto:
    """The model as onnxruntime's default session on this machine runs it."""
    session(path, optimized_model_filepath=str(to))
    return onnx.load(to)


def session(model: Any, level: str = "ORT_ENABLE_ALL", **options: Any) -> Any:
    """A session of one thread; `options` are fields of SessionOptions."""
    import onnxruntime
    chosen = onnxruntime.SessionOptions()
    chosen.log_severity_level, chosen.intra_op_num_threads, chosen.inter_op_num_threads = 4, 1, 1
    chosen.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    for name, value in options.items():
        setattr(chosen, name, value)
    given = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(given, chosen, providers=["CPUExecutionProvider"], disabled_optimizers=OWN_LAYOUT)


def all_tensors(model: onnx.ModelProto, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every tensor of one run of a model as it is."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    known = {o.name for o in shown.graph.output}
    names = dict.fromkeys(name for node in model.graph.node for name in node.output if name)
    shown.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    running = session(shown, "ORT_DISABLE_ALL")
    wanted = [o.name for o in running.get_outputs()]
    return {**arrays, **dict(zip(wanted, running.run(wanted, dict(arrays))))}


def compare_operators(path: Path, arrays: Mapping[str, np.ndarray], bind: Mapping[str, int] | None = None) -> list[Compared]:
    """Every tensor of 8-bit integers that onnxruntime and edgec's integer form of its optimised graph both have."""
    with tempfile.TemporaryDirectory() as folder:
        model = optimised(path, Path(folder) / "optimised.onnx")
    graph = integer_form(load(model, None, bind))
    return compared(graph, all_tensors(model, arrays), kernels(model))


def kernels(model: onnx.ModelProto) -> dict[str, str]:
    """The operator that makes each tensor; for a QuantizeLinear, the one whose real numbers it takes, with `(f32)`."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found = {}
    for name, node in makers.items():
        before = makers.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        plain = node.op_type != "QuantizeLinear" or before is None
        found[name] = node.op_type if plain else f"{before.op_type} (f32)"
    return found


def compared(graph: Graph, theirs: Mapping[str, np.ndarray], made_by: Mapping[str, str]) -> list[Compared]:
    """The operators of a graph in order, each on their tensors where they have one of that name and type."""
    values: dict[Any, np.ndarray] = {v: np.asarray(theirs[v.name]) for v in graph.inputs}
    found = []
    for op in graph.ops:
        if isinstance(op, Input):
            continue
        results = [op.data] if isinstance(op, Constant) else run_reference(op, [values[v] for v in op.operands])
        for value, ours in zip(op.results, results):
            their = theirs.get(value.name)
            same = their is not None and their.shape == np.shape(ours) and their.dtype == np.asarray(ours).dtype
            values[value] = their if same else np.asarray(ours)
            if same and value.dtype.bits == 8 and not isinstance(op, Constant):
                distance = np.abs(their.astype(int) - ours)
                found.append(Compared(made_by.get(value.name, ""), value.name, distance.size, int(np.count_nonzero(distance)),
                                      int(distance.max(initial=0))))
    return found
