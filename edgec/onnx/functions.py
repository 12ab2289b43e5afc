"""Functions of ONNX: the ones a model brings along, and the bodies that operator schemas carry for composite operators.

Both are a list of nodes over formal names; the reader builds the nodes with the call's operands in place of the names and the call's
attributes in place of the references to them.

    body = schema_body(node)      # the Body of MeanVarianceNormalization, Celu ...; None where the schema has none
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto

from edgec.errors import ModelError, raise_all
from edgec.onnx.node import Node, schema_of, type_proto

MAX_DEPTH = 64
Key = tuple[str, str, str]  # domain, name, overload


@dataclass(frozen=True)
class Body:
    """A function ready to be built in place of a call; `attributes` answers the references of its nodes (None: not given)."""

    key: Key
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: Sequence[NodeProto]
    opsets: dict[str, int]
    attributes: dict[str, AttributeProto | None]


def domain_of(name: str) -> str:
    """A domain with its alias resolved: `ai.onnx` is ''."""
    return "" if name == "ai.onnx" else name


def opsets_of(imports: Sequence[Any]) -> dict[str, int]:
    """Domain -> version of a list of opset imports (the largest, where a domain is imported twice)."""
    found: dict[str, int] = {}
    for entry in imports:
        found[domain_of(entry.domain)] = max(entry.version, found.get(domain_of(entry.domain), 0))
    return found


def local_functions(model: ModelProto, file_loc: Any) -> dict[Key, FunctionProto]:
    """The functions of a model by key; ModelError for one defined twice."""
    found: dict[Key, FunctionProto] = {}
    problems = []
    for function in model.functions:
        key = (domain_of(function.domain), function.name, getattr(function, "overload", ""))
        if key in found:
            problems.append(ModelError(f"the function '{function.name}' of domain '{function.domain}' is defined twice", loc=file_loc))
        found[key] = function
    raise_all(problems)
    return found


def local_body(function: FunctionProto, key: Key, given: dict[str, AttributeProto], node: Node) -> Body:
    """The body of a model's own function for one call, its default attributes filled in."""
    if len(node.inputs) > len(function.input) or len(node.outputs) > len(function.output):
        raise ModelError(f"the function '{function.name}' has {len(function.input)} inputs and {len(function.output)} outputs, "
                         f"the call {len(node.inputs)} and {len(node.outputs)}", loc=node.loc)
    known = {**dict.fromkeys(function.attribute), **{a.name: a for a in function.attribute_proto}}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ModelError(f"the function '{function.name}' has no attribute '{unknown[0]}'", loc=node.loc)
    opsets = opsets_of(function.opset_import)
    return Body(key, tuple(function.input), tuple(function.output), function.node, opsets, {**known, **given})


def schema_body(node: Node) -> Body | None:
    """The body an operator's schema gives for a call with these operand types, None where it gives none."""
    schema = schema_of(node.domain, node.op, node.opset)
    if schema is None or not (schema.has_function or schema.has_context_dependent_function):
        return None
    call = call_proto(node)
    function = schema.function_body if schema.has_function else _context_dependent(schema, node, call)
    if function is None:
        return None
    defaults = {n: a.default_value if a.default_value.type else None for n, a in schema.attributes.items()}
    opsets = {**opsets_of(function.opset_import)} or {"": node.opset}
    return Body((node.domain, node.op, "schema"), tuple(function.input), tuple(function.output), function.node, opsets,
                {**defaults, **{a.name: a for a in call.attribute}})


def _context_dependent(schema: Any, node: Node, call: NodeProto) -> FunctionProto | None:
    types = [b"" if v is None else type_proto(v).SerializeToString() for v in node.inputs]
    try:
        data = schema.get_context_dependent_function(call.SerializeToString(), types)
    except RuntimeError as error:
        raise ModelError(f"ONNX gives no body for {node.op} here: {error}", loc=node.loc) from None
    return FunctionProto.FromString(data) if data else None


def call_proto(node: Node) -> NodeProto:
    """The NodeProto of a node, with made-up names for its operands."""
    names = ["" if v is None else f"operand{n}" for n, v in enumerate(node.inputs)]
    outputs = [name and f"result{n}" for n, name in enumerate(node.outputs)]
    call = onnx.helper.make_node(node.op, names, outputs, domain=node.domain)
    call.attribute.extend(_attribute_proto(n, v) for n, v in node.attributes.items())
    return call


def _attribute_proto(name: str, value: Any) -> AttributeProto:
    if isinstance(value, AttributeProto):
        return value
    if isinstance(value, GraphProto):
        return onnx.helper.make_attribute(name, value)
    if hasattr(value, "dtype"):
        value = onnx.numpy_helper.from_array(value, name)
    if value == ():
        return AttributeProto(name=name, type=AttributeProto.INTS)
    return onnx.helper.make_attribute(name, value)
