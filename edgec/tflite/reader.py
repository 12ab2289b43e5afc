"""TFLite model -> Graph. Quantized tensors keep their integers; operators on them become what ONNX would say, or TFLite's own arithmetic.

Without `requant` an operator on quantized tensors is DequantizeLinear, the operator on real numbers, QuantizeLinear, which graph passes
make integer operators of; operators that only move elements of one scale stay on the integers. With `requant="tflite"` the operators of
`edgec.tflite.fixed` take their place, which compute bit for bit what TFLite's reference kernels do.

    graph = load("model.tflite", requant="tflite")
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorShapeProto, ValueInfoProto

from edgec.errors import CompileError, Loc, ModelError, Unsupported, raise_all
from edgec.graph import Graph, Value, constant, graph_input
from edgec.onnx.node import named
from edgec.onnx.shapes import Size, input_types
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.tflite.converters import MOVES, REAL
from edgec.tflite.file import BROKEN, read_model
from edgec.tflite.fixed.operators import FIXED
from edgec.tflite.node import Node, is_quantized
from edgec.tflite.records import Model, Operator, Tensor
from edgec.types import TensorType

REQUANT = ("tflite",)


def load(model: str | os.PathLike | bytes, shapes: Mapping[str, Sequence[Size]] | None = None, bind: Mapping[str, Size] | None = None,
         known: Mapping[str, np.ndarray] | None = None, requant: str = "") -> Graph:
    """The graph of a .tflite file (or its bytes).

    `shapes` gives the sizes of inputs that the file leaves open (1 otherwise); there are no names to `bind`. `requant` is "" or "tflite".
    ModelError for a broken file, Unsupported for what edgec cannot express, TypeMismatch from the operators.
    """
    if requant not in ("", *REQUANT):
        raise ModelError(f"there is no requantisation '{requant}'", hint=f"it can be {', '.join(REQUANT)}, or left out")
    file = "" if isinstance(model, bytes) else os.fspath(model)
    try:
        found = read_model(model if isinstance(model, bytes) else Path(model).read_bytes(), file)
    except OSError as error:
        raise ModelError(f"cannot read the file: {error.strerror or error}", loc=Loc(file)) from None
    try:
        return _Reader(found, file, requant).graph(shapes or {}, bind or {}, known or {})
    except MemoryError:
        raise ModelError("the model needs more memory than there is", loc=Loc(file)) from None


def unsupported(model: Model, file: str, requant: str) -> list[CompileError]:
    """An error for each kind of operator that edgec has no form of."""
    found: dict[str, CompileError] = {}
    for operator in model.operators:
        place = Loc(file, operator.outputs[0].name if operator.outputs else "", operator.name, operator.index)
        if operator.name not in REAL and operator.name not in MOVES:
            hint = "docs/tflite.md lists the operators that are supported"
            found.setdefault(operator.name, Unsupported(f"the operator {operator.name} is not supported", loc=place, hint=hint))
        elif requant and _is_quantized(operator) and operator.name not in FIXED and operator.name not in MOVES:
            hint = "compile without --requant: the operator then computes with real numbers"
            message = f"{operator.name} has no form in TFLite's integer arithmetic here"
            found.setdefault(operator.name, Unsupported(message, loc=place, hint=hint))
    return list(found.values())


def _is_quantized(operator: Operator) -> bool:
    return any(map(is_quantized, operator.outputs)) or any(is_quantized(t) for t in operator.inputs if t is not None and t.data is None)


def _one_scale(operator: Operator) -> bool:
    """Whether all quantized tensors of an operator are of one scale, so that their integers can be moved as they are."""
    all_ = [t for t in (*operator.inputs, *operator.outputs) if t is not None and is_quantized(t)]
    return len({t.dtype for t in all_}) <= 1 and all(t.quantization.same_as(all_[0].quantization) for t in all_)


class _Reader:
    """The values of the tensors that are known so far, by number; problems are collected, and what has one is taken as the file says."""

    def __init__(self, model: Model, file: str, requant: str):
        self.model, self.file, self.requant = model, file, requant
        self.values: dict[int, Value] = {}
        self.problems = unsupported(model, file, requant)
        self.refused = {problem.loc.op for problem in self.problems if problem.loc}  # operators, each told of once
        self.unknown: set[int] = set()  # tensors of which the file does not say enough

    def graph(self, shapes: Mapping[str, Any], bind: Mapping[str, Any], known: Mapping[str, np.ndarray]) -> Graph:
        names = _unique([t.name for t in self.model.inputs])
        types = input_types([_described(t, name, name in shapes) for t, name in zip(self.model.inputs, names)], shapes, bind, self.file)
        inputs = [named(graph_input(n, t, known=known.get(n)), n, Loc(self.file, n, "input")) for n, t in zip(names, types)]
        self.values.update((t.number, v) for t, v in zip(self.model.inputs, inputs))
        for operator in self.model.operators:
            if operator.name in self.refused or any(t is not None and t.number in self.unknown for t in operator.inputs):
                self._stand_in(operator)
                continue
            try:
                self.operator(operator)
            except CompileError as error:
                self.problems.append(error)
                self._stand_in(operator)
        raise_all(self.problems)
        outputs = tuple(self.value(t, Loc(self.file)) for t in self.model.outputs)
        return Graph(tuple(inputs), outputs, tuple(_unique([t.name for t in self.model.outputs])), self.model.name)

    def _stand_in(self, operator: Operator) -> None:
        """Values of the types that the file tells, in place of results; sizes of one choice of open ones tell nothing."""
        for tensor in operator.outputs:
            if self._open():
                self.unknown.add(tensor.number)
            else:
                type_ = TensorType(tensor.dtype, tuple(tensor.shape))
                self.values[tensor.number] = graph_input(_short(tensor.name), type_, Loc(self.file, tensor.name), tag=1 + tensor.number)

    def value(self, tensor: Tensor, place: Loc) -> Value:
        """The value of a tensor: computed before, or a constant."""
        if tensor.number not in self.values:
            if tensor.data is None and 0 not in tensor.shape:
                raise ModelError(f"the tensor '{tensor.name}' is used before it is computed", loc=place)
            data = np.zeros(tensor.shape, tensor.dtype.numpy) if tensor.data is None else tensor.data
            self.values[tensor.number] = named(constant(data), _short(tensor.name), Loc(self.file, tensor.name, "constant"))
        return self.values[tensor.number]

    def operator(self, operator: Operator) -> None:
        """The values of an operator's results."""
        place = Loc(self.file, operator.outputs[0].name if operator.outputs else "", operator.name, operator.index)
        try:
            values = tuple(None if t is None else self.value(t, place) for t in operator.inputs)
            results = self.results(operator, values, place)
        except CompileError as error:
            raise error.at(place) from None
        except BROKEN as error:
            raise ModelError(f"{operator.name} cannot be built from these operands and options: {error}", loc=place) from error
        for tensor, value in zip(operator.outputs, results):
            self._require_type(tensor, value, place)
            known = value in self.values.values()  # an operator that changes nothing leaves the name that the value has
            self.values[tensor.number] = value if known else named(value, _short(tensor.name), place)

    def results(self, operator: Operator, values: tuple[Value | None, ...], place: Loc) -> Sequence[Value]:
        """By TFLite's arithmetic, by moving integers, or by real numbers."""
        if self.requant and operator.name in FIXED and _is_quantized(operator):
            return _sequence(FIXED[operator.name](Node(operator, values, True, place)))
        if operator.name in MOVES and _one_scale(operator):
            return _sequence(MOVES[operator.name](Node(operator, values, True, place)))
        node = Node(operator, values, False, place)
        real = _sequence((REAL.get(operator.name) or MOVES[operator.name])(node))
        return [node.quantized(v, t) if is_quantized(t) and v.dtype.is_float else v for v, t in zip(real, operator.outputs)]

    def _require_type(self, tensor: Tensor, value: Value, place: Loc) -> None:
        """The file and edgec agree on what an operator computes."""
        rank = tensor.shape and len(tensor.shape) != value.type.rank
        sizes = not tensor.open_axes and any(isinstance(d, int) and d != s for d, s in zip(value.shape, tensor.shape))
        if tensor.dtype is not value.dtype or rank or (sizes and not self._open()):
            said = f"{tensor.dtype}{list(tensor.shape)}"
            raise ModelError(f"the file says that the result is {said}, the operator computes {value.type}", loc=place)

    def _open(self) -> bool:
        """Whether sizes in the file are those of one choice of open ones."""
        return any(t.open_axes for t in self.model.inputs)


def _described(tensor: Tensor, name: str, given: bool) -> ValueInfoProto:
    """An input as ONNX describes it; a size is open where the file says so and `shapes` gives the input."""
    info = ValueInfoProto(name=name)
    info.type.tensor_type.elem_type = CODE_OF_DTYPE[tensor.dtype]
    dims = [TensorShapeProto.Dimension() if given and n in tensor.open_axes else TensorShapeProto.Dimension(dim_value=d)
            for n, d in enumerate(tensor.shape)]
    info.type.tensor_type.shape.CopyFrom(TensorShapeProto(dim=dims))
    return info


def _sequence(results: Value | Sequence[Value]) -> Sequence[Value]:
    return (results,) if isinstance(results, Value) else results


def _short(name: str) -> str:
    """The first of the names that a converter has joined by semicolons."""
    return name.split(";")[0] or name


def _unique(names: Sequence[str]) -> list[str]:
    """Names that are all different: a second one of a kind gets a number."""
    found: list[str] = []
    for name in names:
        number, candidate = 1, name
        while candidate in found:
            number, candidate = number + 1, f"{name}_{number}"
        found.append(candidate)
    return found
