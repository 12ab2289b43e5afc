"""One ONNX node on its way into the graph: attributes read, operands checked against the schema, the operator class found and built.

A `Node` is what lies between NodeProto and Op: operands are already values, attributes plain Python (arrays for tensors, GraphProto for
subgraphs). `build(node)` binds operands by position and attributes by name.

    build(Node("Concat", "", 13, (a, b), {"axis": 1}, ("y",), loc))      # (Value,)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TypeProto

from edgec.errors import Loc, ModelError, TypeMismatch, Unsupported
from edgec.graph import Op, Value, fields_of
from edgec.onnx.tensor import CODE_OF_DTYPE, MAX_ELEMENTS, read_sparse_tensor, read_tensor
from edgec.ops import OPERATORS, Operators

NEWEST = onnx.defs.onnx_opset_version()
OLDEST = 1


@dataclass(frozen=True)
class Node:
    """An ONNX operation on values; `outputs` names its results, '' for one that nobody wants."""

    op: str
    domain: str
    opset: int
    inputs: tuple[Value | None, ...]
    attributes: dict[str, Any]
    outputs: tuple[str, ...]
    loc: Loc

    def input(self, position: int) -> Value | None:
        """The operand at a position, None when absent."""
        return self.inputs[position] if position < len(self.inputs) else None


@dataclass(frozen=True)
class Parameter:
    """A formal input of a schema: `types` are the element types its type variable allows."""

    name: str
    option: str  # Single | Optional | Variadic
    variable: str
    types: frozenset[str]
    homogeneous: bool


@dataclass(frozen=True)
class Signature:
    """What ONNX says about one operator in one opset."""

    inputs: tuple[Parameter, ...]
    outputs: int
    attributes: dict[str, tuple[str, bool, Any]] = field(default_factory=dict)  # name: (type, required, default)
    has_function: bool = False


@cache
def schema_of(domain: str, op: str, opset: int) -> Any:
    """The OpSchema in force at an opset, None where ONNX has no such operator."""
    try:
        schema = onnx.defs.get_schema(op, opset, domain)
    except onnx.defs.SchemaError:
        return None
    return None if schema.deprecated else schema


@cache
def signature(domain: str, op: str, opset: int) -> Signature | None:
    """The parts of a schema the reader needs, as plain data."""
    schema = schema_of(domain, op, opset)
    if schema is None:
        return None
    variables = {c.type_param_str: frozenset(c.allowed_type_strs) for c in schema.type_constraints}
    inputs = tuple(Parameter(p.name, p.option.name, p.type_str, variables.get(p.type_str, frozenset((p.type_str,))), p.is_homogeneous)
                   for p in schema.inputs)
    attributes = {n: (a.type.name, a.required, _default(a)) for n, a in schema.attributes.items()}
    return Signature(inputs, schema.max_output, attributes, schema.has_function or schema.has_context_dependent_function)


def _default(attribute: Any) -> Any:
    proto = attribute.default_value
    return _plain(onnx.helper.get_attribute_value(proto)) if proto.type else None


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return tuple(_plain(v) for v in value) if isinstance(value, (list, tuple)) or hasattr(value, "_values") else value


def read_attribute(proto: AttributeProto, folder: Path | None, loc: Loc) -> Any:
    """The value of an attribute in Python: float, int, str, array, tuples of these, or the GraphProto of a subgraph."""
    name = AttributeProto.AttributeType.Name(proto.type) if proto.type in AttributeProto.AttributeType.values() else str(proto.type)
    try:
        if name == "TENSOR":
            return read_tensor(proto.t, folder, loc)
        if name == "SPARSE_TENSOR":
            return read_sparse_tensor(proto.sparse_tensor, folder, loc)
        if name == "GRAPH":
            return proto.g
        if name == "TYPE_PROTO":
            return proto.tp
        if name in ("FLOAT", "INT", "STRING", "FLOATS", "INTS", "STRINGS"):
            field_name = name.lower() if name.endswith("S") else name[0].lower()  # floats, ints, strings; f, i, s
            value = getattr(proto, field_name)
            return _plain(tuple(value) if name.endswith("S") else value)
    except UnicodeDecodeError:
        raise ModelError(f"attribute '{proto.name}' is not valid UTF-8", loc=loc) from None
    raise Unsupported(f"attribute '{proto.name}' has the type {name}", loc=loc)


def check_attributes(op: str, protos: list[AttributeProto], known: Signature, loc: Loc) -> None:
    """ModelError for attributes the operator does not have, of the wrong type, given twice, or missing."""
    seen: set[str] = set()
    for proto in protos:
        if proto.name in seen:
            raise ModelError(f"attribute '{proto.name}' is given twice", loc=loc)
        seen.add(proto.name)
        if proto.name not in known.attributes:
            names = ", ".join(sorted(known.attributes)) or "none"
            raise ModelError(f"{op} has no attribute '{proto.name}'", loc=loc, hint=f"it has {names}")
        wanted = known.attributes[proto.name][0]
        if AttributeProto.AttributeType.values().count(proto.type) and AttributeProto.AttributeType.Name(proto.type) != wanted:
            found = AttributeProto.AttributeType.Name(proto.type).lower()
            raise ModelError(f"attribute '{proto.name}' must be of type {wanted.lower()}, it is {found}", loc=loc)
    missing = [n for n, (_, required, _) in known.attributes.items() if required and n not in seen]
    if missing:
        raise ModelError(f"{op} needs the attribute '{missing[0]}'", loc=loc)


def build(node: Node, captured: tuple[Value, ...] = (), operators: Operators = OPERATORS) -> tuple[Value, ...]:
    """The results of the operator class, one per result the node names; the node must be of the newest opset.

    `captured` are the outer values that subgraphs of the node read: the operand field of that name. An attribute field `outputs`, which
    ONNX does not have, gets the number of results that are asked for.
    """
    known = signature(node.domain, node.op, NEWEST if not node.domain else node.opset)
    if known is not None:
        check_presence(node, known)
        check_types(node, known)
    cls = operators[node.domain, node.op]
    fields = {**_operand_fields(cls, node), **_attribute_fields(cls, node, known)}
    if captured:
        fields["captured"] = captured
    made = cls(**fields, _name=next((n for n in node.outputs if n), node.op.lower()), _loc=node.loc)
    for value in made.results:
        if value.type.max_size > MAX_ELEMENTS:
            raise ModelError(f"{node.op} gives {value.type}: more than 2^31 elements", loc=node.loc, notes=shown(node))
    return _named_results(made, node)


def _named_results(op: Op, node: Node) -> tuple[Value, ...]:
    if len(node.outputs) > len(op.results):
        raise Unsupported(f"{node.op} gives {len(op.results)} of the {len(node.outputs)} results that are asked for", loc=node.loc)
    return tuple(named(value, name or value.name, node.loc) for value, name in zip(op.results, node.outputs))


def named(value: Value, name: str, loc: Loc) -> Value:
    """The value under the name and place it has in this model: an equal one of a model read before may carry that model's."""
    value.name, value.loc = name, loc
    return value


def _operand_fields(cls: type[Op], node: Node) -> dict[str, Any]:
    """ONNX inputs by position onto the operand fields in order; a variadic field takes what is left."""
    left = list(node.inputs)
    while left and left[-1] is None:
        left.pop()
    fields: dict[str, Any] = {}
    for f in fields_of(cls):
        if f.name == "captured":
            continue
        if f.kind == "variadic":
            fields[f.name], left = tuple(left), []
        elif f.kind != "attribute" and left:
            fields[f.name] = left.pop(0)
            if fields[f.name] is None and f.kind == "operand":
                raise ModelError(f"{node.op} needs its input '{f.name}'", loc=node.loc)
        elif f.kind == "operand":
            raise ModelError(f"{node.op} needs its input '{f.name}'", loc=node.loc)
    if left:
        raise Unsupported(f"{node.op} with {len(node.inputs)} inputs", loc=node.loc, notes=shown(node))
    return fields


def _attribute_fields(cls: type[Op], node: Node, known: Signature | None) -> dict[str, Any]:
    names = {f.name for f in fields_of(cls) if f.kind == "attribute"}
    for name, value in node.attributes.items():
        if name not in names and not (known and name in known.attributes and _same(value, known.attributes[name][2])):
            raise Unsupported(f"{node.op} with {name}={value}", loc=node.loc, hint=_nearest_form(node.op, name, known))
    found = {n: v for n, v in node.attributes.items() if n in names}
    return {**found, "outputs": max(1, len(node.outputs))} if "outputs" in names else found


def _nearest_form(op: str, name: str, known: Signature | None) -> str:
    default = known.attributes[name][2] if known and name in known.attributes else None
    return f"the nearest supported form is {op} with {name}={default}" if default is not None else f"leave {name} out"


def _same(a: Any, b: Any) -> bool:
    return not isinstance(a, np.ndarray) and a == b


def check_presence(node: Node, known: Signature) -> None:
    """ModelError for too many operands, or an absent one that the operator needs."""
    variadic = bool(known.inputs) and known.inputs[-1].option == "Variadic"
    if len(node.inputs) > len(known.inputs) and not variadic:
        raise ModelError(f"{node.op} takes at most {len(known.inputs)} inputs, {len(node.inputs)} are given", loc=node.loc)
    for n, parameter in enumerate(known.inputs):
        if parameter.option == "Single" and node.input(n) is None:
            raise ModelError(f"{node.op} needs its input '{parameter.name}'", loc=node.loc)


def check_types(node: Node, known: Signature) -> None:
    """TypeMismatch for operands of element types the schema does not allow; equal type variables want equal types."""
    bound: dict[str, tuple[str, Value]] = {}
    for n, value in enumerate(node.inputs):
        if value is not None:
            _check_type(node, known.inputs[min(n, len(known.inputs) - 1)], value, bound)


def _check_type(node: Node, parameter: Parameter, value: Value, bound: dict[str, tuple[str, Value]]) -> None:
    if onnx_type(value) not in parameter.types:
        allowed = ", ".join(sorted(t.removeprefix("tensor(").removesuffix(")") for t in parameter.types if t.startswith("tensor(")))
        raise TypeMismatch(f"{node.op}: input '{parameter.name}' cannot be {value.type}", loc=node.loc, notes=shown(node),
                           hint=f"ONNX allows {allowed}" if allowed else "")
    name, other = bound.setdefault(parameter.variable, (parameter.name, value))
    if parameter.homogeneous and other.dtype is not value.dtype:
        raise TypeMismatch(f"{node.op}: inputs '{name}' and '{parameter.name}' must have one element type: {other.dtype} and {value.dtype}",
                           loc=node.loc, notes=shown(node))


def onnx_type(value: Value) -> str:
    """The type as schemas spell it: `tensor(float)`."""
    name = onnx.TensorProto.DataType.Name(CODE_OF_DTYPE[value.dtype]).lower()
    return f"tensor({name})"


def type_proto(value: Value) -> TypeProto:
    """The TypeProto of a value; symbolic dimensions become names."""
    shape = [d if isinstance(d, int) else str(d) for d in value.shape]
    return onnx.helper.make_tensor_type_proto(CODE_OF_DTYPE[value.dtype], shape)


def shown(node: Node) -> list[str]:
    """The operands of a node as notes of an error."""
    return [f"operand %{v.name}: {v.type}" for v in node.inputs if v is not None]
