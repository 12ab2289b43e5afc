"""ONNX model -> Graph: the front door. Bad files end here, each with one CompileError that names the place.

A model is read in the order of its data flow: unknown operators are reported all at once (edgec.onnx.support), input types settled
(edgec.onnx.shapes), names checked (edgec.onnx.order); then each live node becomes a Node (edgec.onnx.node), is lifted to the newest opset
(edgec.onnx.upgrade) and built, or its function body is built in its place (edgec.onnx.functions).

    graph = load("model.onnx", shapes={"image": (1, 3, 224, 224)}, bind={"N": "1..8"})
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto

from edgec.errors import CompileError, Loc, ModelError, Unsupported, raise_all
from edgec.graph import Graph, Value, constant, graph_input
from edgec.onnx import subgraphs as onnx_subgraphs
from edgec.onnx.functions import MAX_DEPTH, Body, Key, domain_of, local_body, local_functions, opsets_of, schema_body
from edgec.onnx.known import known_array
from edgec.onnx.node import NEWEST, OLDEST, Node, build, check_attributes, check_presence, named, read_attribute, shown, signature
from edgec.onnx.order import live_order
from edgec.onnx.sequences import Items, build_sequences, flat_results, is_about_sequences, opened, require_values
from edgec.onnx.shapes import Size, input_types, open_names as open_names_of
from edgec.onnx.sizes import DataSizes, build_sized
from edgec.onnx.support import operator_problem, unsupported_operators
from edgec.onnx.tensor import dtype_of_code, read_sparse_tensor, read_tensor
from edgec.onnx.upgrade import upgrade
from edgec.ops import OPERATORS, Operators
from edgec.rare_collection import rarely_collected


@rarely_collected()
def load(model: str | os.PathLike | bytes | ModelProto, shapes: Mapping[str, Sequence[Size]] | None = None,
         bind: Mapping[str, Size] | None = None, known: Mapping[str, np.ndarray] | None = None,
         operators: Operators | None = None, reader: Callable[..., Reader] | None = None) -> Graph:
    """The graph of an ONNX file (or its bytes, or a ModelProto), of any opset.

    `shapes` gives the shape of an input (`{"x": (1, 3, 224, 224)}`, a range as text: `("1..8", 42)`), `bind` the size or range of a named
    open dimension, `known` the array of an input that decides shapes: the graph then is one for that array. `operators` are all that are
    known, by domain and name (default: edgec's own), `reader` a class in the place of Reader. ModelError for a broken file or open
    dimensions, Unsupported for what edgec cannot express, TypeMismatch from the operators.
    """
    proto, file, folder = _open(model)
    try:
        make = partial(reader or Reader, operators=OPERATORS if operators is None else operators)
        return _read_model(proto, file, folder, make, shapes or {}, bind or {}, known or {})
    except RecursionError:
        raise ModelError("the model is nested too deeply", loc=Loc(file)) from None
    except MemoryError:
        raise ModelError("the model needs more memory than there is", loc=Loc(file)) from None


def open_names(model: str | os.PathLike | bytes | ModelProto) -> list[str]:
    """The named open dimensions of a model's inputs, sorted: what `bind` of `load` may give a size."""
    return open_names_of(_open(model)[0].graph.input)


def _open(model: Any) -> tuple[ModelProto, str, Path | None]:
    """(model, its name in messages, the folder of its external data)."""
    if isinstance(model, ModelProto):
        return model, "", None
    file, folder = ("", None) if isinstance(model, bytes) else (os.fspath(model), Path(model).parent)
    try:
        data = model if isinstance(model, bytes) else Path(model).read_bytes()
        return ModelProto.FromString(data), file, folder
    except OSError as error:
        raise ModelError(f"cannot read the file: {error.strerror or error}", loc=Loc(file)) from None
    except (DecodeError, RuntimeError, ValueError):
        raise ModelError("this is not an ONNX model, or it is cut short: the protobuf data cannot be decoded", loc=Loc(file)) from None


def _read_model(model: ModelProto, file: str, folder: Path | None, make: Callable[..., Reader], *given: Any) -> Graph:
    place = Loc(file)
    _require_text(model, place)
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise ModelError("the file holds no graph", loc=place, hint="is it an ONNX model?")
    if not model.graph.output:
        raise ModelError("the graph has no outputs", loc=place)
    opsets = opsets_of(model.opset_import) if model.opset_import else {"": 1}
    if not OLDEST <= opsets.get("", NEWEST) <= NEWEST:
        hint = "convert it with onnx.version_converter.convert_version" if opsets[""] < OLDEST else "install a newer onnx package"
        raise Unsupported(f"the model is of opset {opsets['']}; edgec reads {OLDEST} to {NEWEST}", loc=place, hint=hint)
    functions = local_functions(model, place)
    reader = make(file, folder, functions)
    reader.unsupported(unsupported_operators(model.graph, opsets, functions, file, reader.operators))
    return reader.model_graph(model.graph, opsets, *given)


def _require_text(model: ModelProto, place: Loc) -> None:
    """Every string of the file is valid UTF-8 (protobuf hands out bytes where it is not)."""
    stack: list[Any] = [model]
    while stack:
        for described, value in stack.pop().ListFields():
            if described.type == described.TYPE_MESSAGE:
                stack.extend([value] if hasattr(value, "ListFields") else value)
            elif described.type == described.TYPE_STRING:
                texts = [value] if isinstance(value, (str, bytes)) else value
                if any(isinstance(t, bytes) for t in texts):
                    raise ModelError(f"the field '{described.full_name}' holds text that is not valid UTF-8", loc=place)


@dataclass
class Scope:
    """The names in force while one graph or function body is read: `public` are better names for results, `calls` the functions around."""

    opsets: dict[str, int]
    values: dict[str, Value | None] = field(default_factory=dict)
    tensors: dict[str, Any] = field(default_factory=dict)  # initialisers not read yet
    parent: Scope | None = None
    captures: dict[Value, Value] | None = None  # outer value -> input of the subgraph; None: outer values are used as they are
    attributes: dict[str, AttributeProto | None] = field(default_factory=dict)
    prefix: str = ""
    public: dict[str, str] = field(default_factory=dict)
    calls: tuple[Key, ...] = ()
    place: Loc | None = None  # of the call, inside a function body

    def has(self, name: str) -> bool:
        return name in self.values or name in self.tensors or (self.parent is not None and self.parent.has(name))

    def label(self, name: str) -> str:
        return self.public.get(name) or self.prefix + name

    def inner(self, **changes: Any) -> Scope:
        """The scope of a graph inside this one."""
        return replace(self, values={}, tensors={}, parent=self, captures=None, public={}, **changes)


class Reader:
    """Reads the graphs of one model; its state is the file's place and functions, and a counter that keeps subgraph inputs apart."""

    def __init__(self, file: str, folder: Path | None, functions: dict[Key, Any], operators: Operators):
        self.file, self.folder, self.functions, self.operators, self.tags = file, folder, functions, operators, 0
        self.sizes = DataSizes({}, ())

    def unsupported(self, problems: list[CompileError]) -> None:
        """What to do about operators that nobody knows."""
        raise_all(problems)

    def model_graph(self, graph: GraphProto, opsets: dict[str, int], shapes: Mapping[str, Any], bind: Mapping[str, Any],
                    known: Mapping[str, np.ndarray]) -> Graph:
        place = Loc(self.file)
        scope = Scope(opsets)
        self.declare_tensors(graph, scope, place)
        infos = whole = [i for i in graph.input if i.name not in scope.tensors]
        _unique([i.name for i in graph.input], "graph input", place)
        _unique([o.name for o in graph.output], "graph output", place)
        forms = [opened(i, shapes) for i in infos]
        infos = [each for parts, _ in forms for each in parts]
        self.sizes = DataSizes(bind, open_names_of(infos))
        values = {*(i.name for i in infos), *(name for node in graph.node for name in node.output)}
        types = input_types(infos, {n: s for n, s in shapes.items() if not n.endswith("#len")}, bind, self.file, values)
        inputs = [named(graph_input(i.name, t, known=known.get(i.name)), i.name, Loc(self.file, i.name, "input"))
                  for i, t in zip(infos, types)]
        tensors = {i.name: self.sizes.bounded(v, i.name) for i, v in zip(infos, inputs)}
        scope.values.update((i.name, make(tensors)) for i, (_, make) in zip(whole, forms))
        outputs = self.body(graph.node, scope, [o.name for o in graph.output], place)
        self.check_outputs(graph, outputs)
        self.sizes.check(place)
        pairs = [pair for o, v in zip(graph.output, outputs) for pair in flat_results(o.name, v)]
        names, values = [n for n, _ in pairs], [v for _, v in pairs]
        return Graph(tuple(inputs), tuple(values), tuple(names), graph.name or "graph")

    def declare_tensors(self, graph: GraphProto, scope: Scope, place: Loc) -> None:
        named = [(t.name, t) for t in graph.initializer] + [(t.values.name, t) for t in graph.sparse_initializer]
        _unique([name for name, _ in named], "initialiser", place)
        scope.tensors.update(named)

    def check_outputs(self, graph: GraphProto, outputs: Sequence[Value]) -> None:
        for info, value in zip(graph.output, outputs):
            if value is None and info.type.WhichOneof("value") != "optional_type":
                raise ModelError(f"the output '{info.name}' is an operand that is not given", loc=Loc(self.file))
            code = info.type.tensor_type.elem_type if isinstance(value, Value) else 0
            if code and dtype_of_code(code, f"output '{info.name}'", Loc(self.file)) is not value.dtype:
                declared = dtype_of_code(code, "", None)
                raise ModelError(f"output '{info.name}' is declared {declared}, its node computes {value.type}", loc=value.loc)

    def body(self, nodes: Sequence[NodeProto], scope: Scope, wanted: Sequence[str], place: Loc) -> list[Value]:
        """Read the nodes that the wanted names depend on; the values of these names."""
        def where(n: int) -> Loc:
            return self._loc(nodes[n], n, scope)
        defined = [*scope.values, *scope.tensors]
        for n in live_order(nodes, defined, wanted, scope.parent.has if scope.parent else lambda name: False, where, place):
            results = self.node(nodes[n], scope, where(n))
            scope.values.update((name, self.sizes.bounded(value, scope.label(name)))
                                for name, value in zip(nodes[n].output, results) if name)
        return [self.value(name, scope, place) for name in wanted]

    def _loc(self, node: NodeProto, index: int, scope: Scope) -> Loc:
        name = node.name or next(filter(None, node.output), "")
        return Loc(self.file, scope.prefix + name, node.op_type, scope.place.index if scope.place else index)

    def value(self, name: str, scope: Scope, loc: Loc) -> Value | None:
        """The value of a name: read from an initialiser, or captured from an enclosing graph, the first time it is used."""
        if name not in scope.values:
            if name in scope.tensors:
                tensor = scope.tensors[name]
                read = read_sparse_tensor if isinstance(tensor, SparseTensorProto) else read_tensor
                array = read(tensor, self.folder, Loc(self.file))
                scope.values[name] = named(constant(array), scope.label(name), Loc(self.file, name, "initialiser"))
            elif scope.parent is None:
                raise ModelError(f"the name '{name}' is not defined here", loc=loc)
            else:
                outer = self.value(name, scope.parent, loc)
                scope.values[name] = outer if scope.captures is None else self._capture(outer, scope)
        return scope.values[name]

    def _capture(self, outer: Value | None, scope: Scope) -> Value | None:
        """An outer value inside a subgraph: a constant as it is, anything else as one more input."""
        if isinstance(outer, Items):
            return Items(tuple(self._capture(v, scope) for v in outer.items))
        known = None if outer is None else known_array(outer)
        if outer is None or known is not None:
            return outer if outer is None or outer.is_constant else constant(known, outer.name, outer.loc)
        if outer not in scope.captures:
            scope.captures[outer] = self.subgraph_input(outer.name, outer.type, outer.loc)
        return scope.captures[outer]

    def subgraph_input(self, name: str, type_: Any, loc: Loc | None) -> Value:
        """An input of a subgraph, distinct from every other."""
        self.tags += 1
        return graph_input(name, type_, loc, tag=self.tags)

    def node(self, proto: NodeProto, scope: Scope, loc: Loc) -> Sequence[Value]:
        """The results of one node."""
        domain = domain_of(proto.domain)
        key = (domain, proto.op_type, getattr(proto, "overload", ""))
        attributes = _resolved_attributes(proto, scope)
        inputs = tuple(self.value(name, scope, loc) if name else None for name in proto.input)
        outputs = _trimmed(tuple(scope.label(name) if name else "" for name in proto.output))
        opset = scope.opsets.get(domain, NEWEST if domain == "" else 1)
        node = Node(proto.op_type, domain, opset, inputs, {}, outputs, loc)
        if key in self.functions:
            return self.call(local_body(self.functions[key], key, {a.name: a for a in attributes}, node), node, scope)
        known = signature(domain, proto.op_type, opset)
        if known is not None:
            check_attributes(proto.op_type, attributes, known, loc)
            if not is_about_sequences(node):
                check_presence(node, known)
        node = replace(node, attributes={a.name: read_attribute(a, self.folder, loc) for a in attributes})
        return self.guarded(node, scope)

    def guarded(self, node: Node, scope: Scope) -> Sequence[Value]:
        """The results of a node; what an operator did not foresee in a malformed node is a ModelError as well."""
        try:
            if is_about_sequences(node):
                return build_sequences(self, node, scope)
            if any(isinstance(v, GraphProto) for v in node.attributes.values()):
                return onnx_subgraphs.build_with_subgraphs(self, node, scope)
            return self.build(node, scope)
        except CompileError as error:
            raise error.at(node.loc) from None
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ModelError(f"{node.op} cannot be built from these operands and attributes: {error}", loc=node.loc,
                             notes=shown(node)) from error

    def build(self, node: Node, scope: Scope) -> Sequence[Value]:
        """A node by its operator class, after upgrades, or by the function body of its schema."""
        require_values(node)
        if not node.domain and node.op == "Constant":
            return (named(constant(_constant_array(node)), node.outputs[0], node.loc),)

        def emit(op: str, *inputs: Value | None, **attributes: Any) -> Value:
            return self.build(Node(op, "", NEWEST, inputs, attributes, (f"{node.outputs[0]}.{op.lower()}",), node.loc), scope)[0]
        newer = upgrade(node, emit)
        if not isinstance(newer, Node):
            return newer
        sized = build_sized(newer, self.sizes)
        if sized is not None:
            return sized
        if (newer.domain, newer.op) in self.operators:
            return build(newer, operators=self.operators)
        body = schema_body(newer)
        if body is None:
            problem = operator_problem(newer.domain, newer.op, {**scope.opsets, "": NEWEST}, node.loc, self.operators)
            raise problem or Unsupported(f"operator {newer.op} is not supported with these operands", loc=node.loc)
        return self.call(body, newer, scope)

    def call(self, body: Body, node: Node, scope: Scope) -> Sequence[Value]:
        """A function body in place of a call."""
        if body.key in scope.calls or len(scope.calls) >= MAX_DEPTH:
            raise ModelError(f"the function '{body.key[1]}' calls itself", loc=node.loc)
        inner = Scope(body.opsets, attributes=body.attributes, prefix=f"{node.loc.node or node.op}/", calls=(*scope.calls, body.key),
                      place=node.loc)
        inner.values.update((name, node.input(n)) for n, name in enumerate(body.inputs))
        inner.public = {name: label for name, label in zip(body.outputs, node.outputs) if label}
        wanted = [name for name, label in zip(body.outputs, node.outputs) if label]
        values = iter(self.body(body.nodes, inner, wanted, node.loc))
        return [next(values) if label else None for label in node.outputs]


def _unique(names: Sequence[str], what: str, place: Loc) -> None:
    seen: set[str] = set()
    problems: list[CompileError] = []
    for name in names:
        if not name or name in seen:
            problems.append(ModelError(f"the {what} '{name}' is defined twice" if name else f"a {what} has no name", loc=place))
        seen.add(name)
    raise_all(problems)


def _trimmed(names: tuple[str, ...]) -> tuple[str, ...]:
    """Result names without the absent ones at the end."""
    count = max((n for n, name in enumerate(names, 1) if name), default=0)
    return names[:count]


def _resolved_attributes(proto: NodeProto, scope: Scope) -> list[AttributeProto]:
    """The attributes of a node, references to the attributes of the enclosing function replaced (and dropped where those are not given)."""
    found = []
    for attribute in proto.attribute:
        given = scope.attributes.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
        if given is not None and given is not attribute:
            given = AttributeProto.FromString(given.SerializeToString())
            given.name = attribute.name
        if given is not None:
            found.append(given)
    return found


def _constant_array(node: Node) -> np.ndarray:
    """The tensor of a Constant node, in any of its forms."""
    forms = {"value": None, "sparse_value": None, "value_float": np.float32, "value_floats": np.float32,
             "value_int": np.int64, "value_ints": np.int64, "value_string": object, "value_strings": object}
    given = list(node.attributes)
    if len(given) != 1:
        raise ModelError(f"a Constant needs one value, it has {len(given)}", loc=node.loc)
    value = node.attributes[given[0]]
    return value if forms[given[0]] is None else np.array(value, forms[given[0]])
