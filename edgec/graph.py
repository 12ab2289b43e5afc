"""The graph language: what the model says. Typed, named, immutable SSA values made by operators.

    Graph    ::= inputs: (Value, ...)  outputs: (Value, ...)  output_names: (str, ...)
    Value    ::= op: Op, number: int           -- the number-th result of op; has .type, .name, .loc
    Op       ::= one class per operator: fields typed Value are operands, the rest are attributes

Ops are interned: building the same operation on the same operands twice gives the same object, so common subexpressions are one by
construction. A graph is its inputs and outputs; what they do not reach does not exist, and users are computed when asked.

    x = graph_input("x", TensorType(f32, (1, 10)));  Graph((x,), (Relu(x).output,), ("y",))
"""

from __future__ import annotations

import hashlib
import json
import typing
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from edgec.errors import CompileError, Loc, TypeMismatch
from edgec.expr import Expr
from edgec.types import TensorType, dtype_of, string

_interned: weakref.WeakValueDictionary[Any, Op] = weakref.WeakValueDictionary()


class Value:
    """One result of an operator. Identity is equality; `name` and `loc` are for people and do not take part in it."""

    __slots__ = ("__weakref__", "_elements", "loc", "name", "number", "op", "type")

    def __init__(self, op: Op, number: int, type_: TensorType, name: str, loc: Loc | None):
        self.op, self.number, self.type, self.name, self.loc = op, number, type_, name, loc

    @property
    def dtype(self):
        return self.type.dtype

    @property
    def shape(self) -> tuple:
        return self.type.shape

    @property
    def is_constant(self) -> bool:
        return isinstance(self.op, Constant)

    @property
    def array(self) -> np.ndarray:
        """The data of a constant."""
        return self.op.data

    @property
    def elements(self) -> tuple[Any, ...] | None:
        """The elements where known (numbers, or dimensions as index expressions): what shape arithmetic is made of."""
        if not hasattr(self, "_elements"):
            known = self.op.elements()
            self._elements = known[self.number] if isinstance(known, list) else known
        return self._elements

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type}"


_FIELDS: dict[type, tuple[Field, ...]] = {}


@dataclass(frozen=True)
class Field:
    """One declared field of an operator class."""

    name: str
    kind: str  # operand | optional | variadic | attribute
    default: Any
    required: bool


def _kind(annotation: Any) -> str:
    plain = isinstance(annotation, type) and not typing.get_args(annotation)
    text = annotation if isinstance(annotation, str) else annotation.__name__ if plain else str(annotation)
    text = text.replace(" ", "").replace("edgec.graph.", "")
    if text == "Value":
        return "operand"
    if text in ("Value|None", "Optional[Value]"):
        return "optional"
    return "variadic" if text.startswith("tuple[Value") else "attribute"


def fields_of(cls: type) -> tuple[Field, ...]:
    """The declared fields of an operator class in order, operands first, of each kind those of base classes first."""
    if cls not in _FIELDS:
        found: dict[str, Field] = {}
        for base in reversed(cls.__mro__):
            for name, annotation in vars(base).get("__annotations__", {}).items():
                if not name.startswith("_") and typing.get_origin(annotation) is not typing.ClassVar and "ClassVar" not in str(annotation):
                    kind = _kind(annotation)
                    has = hasattr(cls, name)
                    default = getattr(cls, name, None)
                    found[name] = Field(name, kind, default, not has and kind in ("operand", "attribute"))
        _FIELDS[cls] = tuple(sorted(found.values(), key=lambda field: field.kind == "attribute"))
    return _FIELDS[cls]


class Op:
    """Base of all operators. A subclass declares fields and writes `infer`, `reference` and one of lower / update / decompose / loops.

    class variables: `domain` ("" is ai.onnx), `since` (first opset edgec reads), `outputs` (how many results infer gives).
    Construction is `Add(a, b)`, `Concat((a, b), axis=1)`; equal operations are the same object.
    """

    domain: typing.ClassVar[str] = ""

    def __new__(cls, *args: Any, _name: str = "", _loc: Loc | None = None, **kwargs: Any) -> Op:
        values = cls._bind(args, kwargs)
        key = (cls, tuple(_key(values[f.name]) for f in fields_of(cls)))
        found = _interned.get(key)
        if found is None:
            found = object.__new__(cls)
            found.__dict__.update(values)
            found._infer(_name, _loc)
            _interned[key] = found
        return found

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """All work is done in __new__, since an interned object must not be initialised twice."""

    @classmethod
    def _bind(cls, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        fields = fields_of(cls)
        if len(args) > len(fields):
            raise TypeError(f"{cls.__name__} takes at most {len(fields)} fields")
        values = {f.name: f.default for f in fields}
        values.update(zip((f.name for f in fields), args))
        unknown = kwargs.keys() - values.keys()
        if unknown:
            raise TypeError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
        values.update(kwargs)
        for f in fields:
            if f.required and values[f.name] is None:
                raise TypeError(f"{cls.__name__} needs {f.name}")
            if isinstance(values[f.name], list):
                values[f.name] = tuple(values[f.name])
            elif f.kind == "variadic" and values[f.name] is None:
                values[f.name] = ()
        return values

    def _infer(self, name: str, loc: Loc | None) -> None:
        self._pending_loc = loc
        try:
            types = self.infer()
        except CompileError as error:
            raise error.at(loc) from None
        types = types if isinstance(types, tuple) else (types,)
        stem = name or type(self).__name__.lower()
        names = [stem] if len(types) == 1 else [f"{stem}.{n}" for n in range(len(types))]
        self.results = tuple(Value(self, n, t, m, loc) for n, (t, m) in enumerate(zip(types, names)))

    @property
    def output(self) -> Value:
        """The first result."""
        return self.results[0]

    @cached_property
    def operands(self) -> tuple[Value, ...]:
        """Every present operand in field order, variadic ones spread out."""
        found: list[Value] = []
        for f in fields_of(type(self)):
            value = getattr(self, f.name)
            if f.kind == "variadic":
                found.extend(v for v in value if v is not None)
            elif f.kind != "attribute" and value is not None:
                found.append(value)
        return tuple(found)

    @property
    def attributes(self) -> dict[str, Any]:
        """Attribute fields that differ from their default."""
        return {f.name: getattr(self, f.name) for f in fields_of(type(self))
                if f.kind == "attribute" and (f.required or _key(getattr(self, f.name)) != _key(f.default))}

    @property
    def loc(self) -> Loc | None:
        return self.results[0].loc

    def require(self, condition: Any, message: str, hint: str = "") -> None:
        """Raise a TypeMismatch that shows the operand types unless the condition holds."""
        if not condition:
            notes = [f"operand %{v.name}: {v.type}" for v in self.operands]
            raise TypeMismatch(f"{type(self).__name__}: {message}", loc=self._pending_loc, notes=notes, hint=hint)

    def with_operands(self, operands: Sequence[Value]) -> Op:
        """The same operation on other operands (same count, in `operands` order)."""
        queue = iter(operands)
        values = {}
        for f in fields_of(type(self)):
            value = getattr(self, f.name)
            if f.kind == "variadic":
                value = tuple(v if v is None else next(queue) for v in value)
            elif f.kind != "attribute" and value is not None:
                value = next(queue)
            values[f.name] = value
        return self._again(values)

    def with_attributes(self, **changed: Any) -> Op:
        """The same operation on the same operands with some attributes replaced."""
        return self._again({f.name: changed.get(f.name, getattr(self, f.name)) for f in fields_of(type(self))})

    def _again(self, values: Mapping[str, Any]) -> Op:
        """An operation of this class with all fields given, under this one's name."""
        name = self.results[0].name
        return type(self)(**values, _name=name if len(self.results) == 1 else name.rsplit(".", 1)[0], _loc=self.loc)

    def elements(self) -> Any:
        """Known elements of the result (see Value.elements): by default, computed when all operands are small and known numbers."""
        return default_elements(self)

    def infer(self) -> TensorType | tuple[TensorType, ...]:
        """The result type(s); problems go through `require`."""
        raise TypeError(f"{type(self).__name__} has no infer")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join('%' + v.name for v in self.operands)})"


def default_elements(op: Op) -> Any:
    """Run `reference` on operands whose elements are all plain numbers; None where that cannot be."""
    if not op.operands or not hasattr(op, "reference"):
        return None
    if any(not r.type.is_static or r.type.max_size > 64 for r in op.results):
        return None
    known = [_known_array(v) for v in op.operands]
    if any(a is None for a in known) or any(r.dtype is string for r in op.results):
        return None
    results = run_reference(op, known)
    return [tuple(x.item() for x in np.asarray(r).ravel()) for r in results]


def _known_array(value: Value) -> np.ndarray | None:
    if value.is_constant:
        return value.array
    if value.type.max_size > 64:
        return None
    elements = value.elements
    if elements is None or any(isinstance(e, Expr) for e in elements):
        return None
    return np.array(elements, dtype=value.type.dtype.numpy).reshape(value.type.shape)


def run_reference(op: Op, arrays: Sequence[Any]) -> tuple[Any, ...]:
    """Call `op.reference` with one argument per operand field (None where absent, a tuple for variadic); always a tuple of arrays."""
    queue = iter(arrays)
    arguments: list[Any] = []
    for f in fields_of(type(op)):
        value = getattr(op, f.name)
        if f.kind == "variadic":
            arguments.append(tuple(None if v is None else next(queue) for v in value))
        elif f.kind != "attribute":
            arguments.append(None if value is None else next(queue))
    result = op.reference(*arguments)
    return result if isinstance(result, tuple) else (result,)


class Input(Op):
    """A graph input, or a bound name of a subgraph; `tag` tells two inputs of the same name apart.

    `known` is the array it will be given, where a graph is made for one: shapes may follow from its elements.
    """

    name: str
    type: TensorType
    tag: int = 0
    known: Any = None

    def infer(self) -> TensorType:
        return self.type

    def elements(self) -> tuple[Any, ...] | None:
        return None if self.known is None or self.type.dtype is string else tuple(x.item() for x in self.known.ravel())


class Constant(Op):
    """A literal tensor; equal content is the same constant. `data` is a read-only numpy array."""

    data: Any

    def infer(self) -> TensorType:
        return TensorType(dtype_of(self.data.dtype), self.data.shape)

    def reference(self) -> np.ndarray:
        return self.data

    def elements(self) -> tuple[int, ...] | None:
        return tuple(x.item() for x in self.data.ravel()) if self.data.size <= 4096 and self.output.dtype is not string else None


def _key(value: Any) -> Any:
    """A hashable stand-in for a field value: arrays by content digest, graphs and values by identity."""
    if isinstance(value, np.ndarray):
        return digest(value)
    if isinstance(value, (Value, Graph)):
        return id(value)
    if isinstance(value, (tuple, list)):
        return tuple(_key(v) for v in value)
    if isinstance(value, float):
        return ("float", value.hex())
    return (type(value).__name__, value)


def digest(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    """What makes two constants equal: dtype, shape and the SHA-256 of the bytes (of strings, of a list of them)."""
    if array.dtype.kind == "O":
        return "string", array.shape, hashlib.sha256(json.dumps(array.tolist()).encode()).digest()
    return str(array.dtype), array.shape, hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"").digest()


def graph_input(name: str, type_: TensorType, loc: Loc | None = None, tag: int = 0, known: np.ndarray | None = None) -> Value:
    """A new graph input of the given name and type (and, where they are `known`, elements)."""
    return Input(name, type_, tag, known, _name=name, _loc=loc).output


def constant(data: Any, name: str = "const", loc: Loc | None = None) -> Value:
    """A constant value of a numpy array (copied, made read-only); text of any kind is of type string."""
    array = np.array(data, order="C")
    array = array.astype(object) if array.dtype.kind == "U" else array
    array.setflags(write=False)
    return Constant(array, _name=name, _loc=loc).output


@dataclass(frozen=True, eq=False)
class Graph:
    """Inputs and outputs; everything between is reached through the outputs.

    `states` are pairs (name of an input, name of an output) of what is kept between calls: the output of one is the input of the next.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    output_names: tuple[str, ...]
    name: str = "graph"
    states: tuple[tuple[str, str], ...] = ()

    @cached_property
    def ops(self) -> tuple[Op, ...]:
        """Every reachable op, operands before users, each once (a stable order: depth first from the outputs)."""
        return topological(self.outputs)

    @cached_property
    def users(self) -> dict[Value, tuple[Op, ...]]:
        """The ops that read each value (graph outputs are not counted)."""
        found: dict[Value, list[Op]] = {}
        for op in self.ops:
            for operand in dict.fromkeys(op.operands):
                found.setdefault(operand, []).append(op)
        return {value: tuple(ops) for value, ops in found.items()}

    @cached_property
    def symbols(self) -> tuple[Expr, ...]:
        """The symbolic dimensions of the inputs, by name."""
        found = {s for v in self.inputs for d in v.type.shape if isinstance(d, Expr) for s in d.free}
        return tuple(sorted(found, key=lambda s: s.data))

    def with_outputs(self, outputs: Iterable[Value]) -> Graph:
        return replace(self, outputs=tuple(outputs))


def topological(outputs: Sequence[Value]) -> tuple[Op, ...]:
    """Ops below the given values, operands first; iterative, so depth is no limit."""
    seen: set[int] = set()
    order: list[Op] = []
    stack: list[tuple[Op, bool]] = [(v.op, False) for v in reversed(outputs)]
    while stack:
        op, done = stack.pop()
        if done:
            order.append(op)
        elif id(op) not in seen:
            seen.add(id(op))
            stack.append((op, True))
            stack.extend((v.op, False) for v in reversed(op.operands) if id(v.op) not in seen)
    return tuple(order)


def map_graph(graph: Graph, visit: Callable[[Op, tuple[Value, ...]], Sequence[Value] | None]) -> Graph:
    """One bottom-up sweep: `visit(op, new_operands)` gives the new results, or None to rebuild the op on the new operands."""
    done: dict[Value, Value] = {v: v for v in graph.inputs}
    for op in graph.ops:
        operands = tuple(done[v] for v in op.operands)
        results = visit(op, operands)
        if results is None:
            same = all(a is b for a, b in zip(operands, op.operands))
            results = op.results if same else op.with_operands(operands).results
        done.update(zip(op.results, results))
    return graph.with_outputs(done[v] for v in graph.outputs)
