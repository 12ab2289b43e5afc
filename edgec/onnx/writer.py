"""Graph -> ONNX model: the back door, for tools that change a model and hand it on (edgec.quantize).

Every operator has the name, operands and attributes that ONNX gives it, so writing is the reader backwards: constants become initialisers,
names are kept where they are unique, symbolic dimensions become named ones. The opset is the oldest from FIRST on that has every operator
in the form that is used. Operators of edgec's own, which ONNX has no word for, cannot be written.

    onnx.save(model_proto(load("model.onnx")), "same.onnx")
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from edgec.errors import Unsupported
from edgec.graph import Constant, Graph, Input, Op, Value, fields_of
from edgec.onnx.node import NEWEST, Signature, schema_of, signature, type_proto
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.types import SMALL, bf16

FIRST = 21  # scales of blocks, and 16- and 4-bit integers in QuantizeLinear and DequantizeLinear
DOMAINS = {"com.microsoft": 1, "ai.onnx.ml": 5}  # versions of the other domains; ONNX has no schemas of com.microsoft
ROUNDS_UP_SINCE = 22  # pools with ceil_mode have one place less where the last window would lie in the padding
IR_VERSION = 10  # of opset 21


def model_proto(graph: Graph, opset: int = FIRST) -> ModelProto:
    """The ONNX model of a graph, of `opset` or the oldest newer one that has all its operators.

    Unsupported where ONNX has no such operator.
    """
    ops = list(_all_ops(graph))
    problems = [op for op in ops if _signature(op, NEWEST) is None and op.domain != "com.microsoft" and not _is_custom(op)]
    if problems:
        raise Unsupported(f"ONNX has no operator {problems[0].domain}.{type(problems[0]).__name__}", loc=problems[0].loc)
    opset = next((n for n in range(opset, NEWEST) if all(_fits(op, n) for op in ops)), NEWEST)
    domains = sorted({op.domain for op in ops if op.domain})
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, DOMAINS.get(d, 1)) for d in domains]
    written = Writer(opset).graph(graph)
    version = max(IR_VERSION, helper.find_min_ir_version_for(imports, ignore_unknown=True))
    return helper.make_model(written, opset_imports=imports, producer_name="edgec", ir_version=version)


def _all_ops(graph: Graph) -> Iterable[Op]:
    """The operators of a graph and of the graphs it holds."""
    for op in graph.ops:
        if not isinstance(op, (Input, Constant)):
            yield op
            for value in op.attributes.values():
                if isinstance(value, Graph):
                    yield from _all_ops(value)


def _is_custom(op: Op) -> bool:
    """Whether the class is a user's, of a domain of its own: whoever reads the file is given the class again."""
    return bool(op.domain) and not type(op).__module__.startswith("edgec.")


def _signature(op: Op, opset: int) -> Signature | None:
    return signature(op.domain, type(op).__name__, opset if not op.domain else DOMAINS.get(op.domain, 1))


def _fits(op: Op, opset: int) -> bool:
    """Whether the operator has all that is used of it in this opset: its attributes, operands and their element types."""
    known, newest = _signature(op, opset), _signature(op, NEWEST)
    if op.domain:
        return True
    if known is None or getattr(op, "ceil_mode", 0) and opset < ROUNDS_UP_SINCE:
        return False
    if not (op.attributes.keys() & newest.attributes.keys()) <= known.attributes.keys():
        return False
    schema = schema_of("", type(op).__name__, opset)
    return _types_fit(_operands(op), schema.inputs) and _types_fit(op.results, schema.outputs)


def _types_fit(values: Sequence[Value | None], formal: Sequence[Any]) -> bool:
    """Whether there is a formal parameter for every value (the last may be one for many), and it takes the value's type."""
    if len(values) > len(formal) and not (formal and formal[-1].option.name == "Variadic"):
        return False
    return all(v is None or _type_name(v) in formal[min(n, len(formal) - 1)].types for n, v in enumerate(values))


def _type_name(value: Value) -> str:
    return f"tensor({onnx.TensorProto.DataType.Name(CODE_OF_DTYPE[value.dtype]).lower()})"


def _operands(op: Op) -> list[Value | None]:
    """The operands as ONNX orders them, without absent ones at the end and without what subgraphs capture."""
    found: list[Value | None] = []
    for f in fields_of(type(op)):
        value = getattr(op, f.name)
        if f.kind == "variadic" and f.name != "captured":
            found.extend(value)
        elif f.kind in ("operand", "optional"):
            found.append(value)
    while found and found[-1] is None:
        found.pop()
    return found


class Writer:
    """Writes the graphs of one model; its state is the names that are taken, and in `names` those of the values of one graph."""

    def __init__(self, opset: int):
        self.opset: int = opset
        self.taken: set[str] = set()
        self.names: dict[Value, str] = {}

    def graph(self, graph: Graph, captured: Sequence[str] = ()) -> GraphProto:
        """A graph; the last inputs of one that is an attribute are outer values, and have the names these have outside."""
        outside, self.names = self.names, {}
        formal = graph.inputs[:len(graph.inputs) - len(captured)]
        self.names.update(zip(graph.inputs[len(formal):], captured))
        self.names.update((v, self.free(v.name)) for v in formal)
        labels = self._output_names(graph)
        tensors = [_tensor(op.data, self.name(op.output)) for op in graph.ops if isinstance(op, Constant)]
        nodes = [self.node(op) for op in graph.ops if not isinstance(op, (Input, Constant))]
        nodes += [helper.make_node("Identity", [self.names[v]], [n]) for v, n in zip(graph.outputs, labels) if self.names[v] != n]
        inputs = [helper.make_value_info(self.names[v], type_proto(v)) for v in formal]
        outputs = [helper.make_value_info(n, type_proto(v)) for v, n in zip(graph.outputs, labels)]
        self.names = outside
        return helper.make_graph(nodes, graph.name, inputs, outputs, tensors)

    def _output_names(self, graph: Graph) -> list[str]:
        """The names of the outputs; a computed value takes the first of its own as its name."""
        labels = [self.free(wanted) for wanted in graph.output_names]
        for value, label in zip(graph.outputs, labels):
            if not isinstance(value.op, (Input, Constant)):
                self.names.setdefault(value, label)
        return labels

    def free(self, wanted: str) -> str:
        """The wanted name, or the next one nobody has."""
        name, number = wanted or "value", 0
        while name in self.taken:
            number += 1
            name = f"{wanted}_{number}"
        self.taken.add(name)
        return name

    def name(self, value: Value) -> str:
        """The name of a value in the graph that is being written."""
        if value not in self.names:
            self.names[value] = self.free(value.name)
        return self.names[value]

    def node(self, op: Op) -> NodeProto:
        """A node; its name is the one of the model it was read from."""
        known = _signature(op, self.opset)
        inputs = [self.names[v] if v is not None else "" for v in _operands(op)]
        outputs = [self.name(v) for v in op.results]
        made = helper.make_node(type(op).__name__, inputs, outputs, name=outputs[0], domain=op.domain)
        for name, value in op.attributes.items():
            absent = value is None or name == "outputs" or isinstance(value, tuple) and not value
            if known is None and not absent or known is not None and name in known.attributes:
                made.attribute.append(self.attribute(op, name, value, known))
            elif not absent:
                raise Unsupported(f"ONNX has no attribute {name} of {type(op).__name__}", loc=op.loc)
        return made

    def attribute(self, op: Op, name: str, value: Any, known: Signature | None) -> onnx.AttributeProto:
        """An attribute of the type that the schema says."""
        if isinstance(value, Graph):
            value = self.graph(value, [self.names[v] for v in op.captured])
        elif isinstance(value, np.ndarray):
            value = _tensor(value, "")
        kind = known.attributes[name][0] if known else None
        if kind in ("FLOAT", "FLOATS"):
            value = [float(v) for v in value] if kind == "FLOATS" else float(value)
        return helper.make_attribute(name, value, attr_type=getattr(onnx.AttributeProto, kind) if kind else None)


def _tensor(array: np.ndarray, name: str) -> onnx.TensorProto:
    if array.dtype == bf16.numpy or any(array.dtype == t.numpy for t in SMALL):
        code = next(c for t, c in CODE_OF_DTYPE.items() if t.numpy == array.dtype)
        return helper.make_tensor(name, code, array.shape, array.astype(np.float32).ravel())
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
