"""The bytes of a .tflite file as records. What a file can have wrong is found here, each with one ModelError.

The flatbuffer is taken apart by the PyPI package `tflite`, which trusts its input: offsets that lead out of the file end in its errors,
which become ours, and every count is held against the size of the file before anything is made of it. The format is the schema that
TensorFlow publishes (tensorflow/compiler/mlir/lite/schema/schema.fbs), version 3.

    model = read_model(Path("model.tflite").read_bytes(), "model.tflite")
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any

import ml_dtypes
import numpy as np

from edgec.errors import Loc, ModelError, Unsupported
from edgec.onnx.tensor import MAX_ELEMENTS
from edgec.tflite.records import Model, Operator, Quantization, Tensor
from edgec.types import DType, bf16, bool_, f16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64

IDENTIFIER, VERSION, INT4 = b"TFL3", 3, 17
DTYPES: dict[int, DType] = {0: f32, 1: f16, 2: i32, 3: u8, 4: i64, 6: bool_, 7: i16, 9: i8, 10: f64, 12: u64, 15: u32, 16: u16, INT4: i8,
                            18: bf16}
BROKEN = (struct.error, IndexError, KeyError, ValueError, TypeError, OverflowError, AttributeError, AssertionError)
MAX_RANK = 16


def read_model(data: bytes, file: str = "") -> Model:
    """The main subgraph of a TFLite file; ModelError where the file is broken, Unsupported for kinds of tensors edgec does not have."""
    schema = _schema()
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise ModelError("this is not a TFLite model: bytes 4 to 8 are not 'TFL3'", loc=Loc(file))
    try:
        model = schema.Model.GetRootAs(data, 0)
        if model.Version() != VERSION:
            raise Unsupported(f"the file is of schema version {model.Version()}; edgec reads {VERSION}", loc=Loc(file))
        return _File(schema, model, data, file).main()
    except BROKEN as error:
        raise ModelError(f"the file is broken or cut short: {error}", loc=Loc(file)) from None
    except MemoryError:
        raise ModelError("the model needs more memory than there is", loc=Loc(file)) from None


def _schema() -> Any:
    try:
        import tflite
    except ImportError:
        raise Unsupported("reading .tflite files needs the package tflite", hint='pip install "edgec[tflite]"') from None
    return tflite


class _File:
    """One file being read."""

    def __init__(self, schema: Any, model: Any, data: bytes, file: str):
        self.schema, self.model, self.data, self.file = schema, model, data, file

    def main(self) -> Model:
        """The first subgraph, which is the one that runs."""
        if self.count(self.model.SubgraphsLength) < 1:
            raise ModelError("the file holds no graph", loc=Loc(self.file))
        self.buffers = self.count(self.model.BuffersLength)
        graph = self.model.Subgraphs(0)
        tensors = [self.tensor(graph.Tensors(n), n) for n in range(self.count(graph.TensorsLength))]
        operators = tuple(self.operator(graph.Operators(n), n, tensors) for n in range(self.count(graph.OperatorsLength)))
        inputs = self.listed(graph.InputsAsNumpy(), tensors, "the inputs")
        outputs = self.listed(graph.OutputsAsNumpy(), tensors, "the outputs")
        if not outputs or None in outputs or None in inputs:
            raise ModelError("the graph has no outputs" if not outputs else "an input or output is left out", loc=Loc(self.file))
        return Model(inputs, outputs, operators, self.text(graph.Name()) or "graph")

    def count(self, length: Callable[[], int]) -> int:
        """How many entries a vector says it has, which cannot be more than there is room for."""
        found = length()
        if not 0 <= found <= len(self.data) // 4:
            raise ModelError(f"the file is broken: a list of {found} entries in {len(self.data)} bytes", loc=Loc(self.file))
        return found

    def text(self, value: bytes | None) -> str:
        return (value or b"").decode("utf-8", errors="strict")

    def tensor(self, found: Any, number: int) -> Tensor:
        """One tensor, with its data where the file has it."""
        name = self.text(found.Name()) or f"tensor_{number}"
        where = Loc(self.file, name, "tensor", number)
        shape = tuple(int(d) for d in _array(found.ShapeAsNumpy()))
        if len(shape) > MAX_RANK or any(d < 0 for d in shape) or prod(d for d in shape if d) > MAX_ELEMENTS:
            raise ModelError(f"the shape {list(shape)} is none that edgec can hold", loc=where)
        if found.Type() not in DTYPES:
            known = {v: k for k, v in vars(self.schema.TensorType).items() if isinstance(v, int)}
            raise Unsupported(f"the tensor has elements of type {known.get(found.Type(), found.Type())}", loc=where)
        if found.Sparsity() is not None:
            raise Unsupported("the tensor is stored as a sparse one", loc=where, hint="export the model with dense weights")
        dtype = DTYPES[found.Type()]
        data = self.constant(found, dtype, shape, where)
        open_axes = tuple(n for n, d in enumerate(_array(found.ShapeSignatureAsNumpy())) if d < 0)
        quantization = self.quantization(found.Quantization(), shape, where)
        return Tensor(number, name, dtype, shape, data, quantization, bool(found.IsVariable()), open_axes)

    def constant(self, found: Any, dtype: DType, shape: tuple[int, ...], where: Loc) -> np.ndarray | None:
        """The array of a tensor's buffer; None where the buffer is empty, which is what computed tensors have."""
        if not 0 <= found.Buffer() < self.buffers:
            raise ModelError(f"buffer {found.Buffer()} is not one of {self.buffers}", loc=where)
        buffer = self.model.Buffers(found.Buffer())
        raw = _array(buffer.DataAsNumpy(), np.uint8)
        if not raw.size and buffer.Offset() > 1:  # large models keep their data behind the flatbuffer
            raw = np.frombuffer(self.data, np.uint8)[buffer.Offset():buffer.Offset() + buffer.Size()]
        if not raw.size:
            return None
        size = prod(shape)
        wanted = (size + 1) // 2 if found.Type() == INT4 else size * dtype.bytes
        if raw.size != wanted:
            raise ModelError(f"{raw.size} bytes of data for a tensor {dtype}{list(shape)} of {wanted} bytes", loc=where)
        array = _nibbles(raw)[:size] if found.Type() == INT4 else np.frombuffer(raw.tobytes(), dtype.numpy.newbyteorder("<"))
        return array.astype(dtype.numpy, copy=False).reshape(shape)

    def quantization(self, found: Any, shape: tuple[int, ...], where: Loc) -> Quantization | None:
        """Scales and zero points, as many of each; None where there is no scale."""
        if found is None or not self.count(found.ScaleLength):
            return None
        scale, axis = np.array(_array(found.ScaleAsNumpy()), np.float32), found.QuantizedDimension()
        zero = np.array(_array(found.ZeroPointAsNumpy(), np.int64), np.int64)
        zero = np.zeros(scale.size, np.int64) if not zero.size else np.broadcast_to(zero, scale.shape)
        if not (np.isfinite(scale) & (scale >= 0)).all():
            raise ModelError("a scale is no positive number", loc=where)
        if scale.size > 1 and not (0 <= axis < len(shape) and shape[axis] == scale.size):
            raise ModelError(f"{scale.size} scales do not fit axis {axis} of the shape {list(shape)}", loc=where)
        return Quantization(scale, zero, axis if scale.size > 1 else 0)

    def operator(self, found: Any, number: int, tensors: Sequence[Tensor]) -> Operator:
        """One operator with its options."""
        if not 0 <= found.OpcodeIndex() < self.count(self.model.OperatorCodesLength):
            raise ModelError(f"operator #{number} is of kind {found.OpcodeIndex()}, which the file does not have", loc=Loc(self.file))
        code = self.model.OperatorCodes(found.OpcodeIndex())
        name = self.builtin_name(code)
        where = Loc(self.file, "", name, number)
        inputs = self.listed(found.InputsAsNumpy(), tensors, "the operands", where)
        outputs = self.listed(found.OutputsAsNumpy(), tensors, "the results", where)
        if None in outputs:
            raise ModelError("a result is left out", loc=where)
        return Operator(name, self.options(found), inputs, outputs, number)

    def builtin_name(self, code: Any) -> str:
        """The name of an operator; files of before 2020 number it in a byte."""
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = _names(self.schema.BuiltinOperator).get(number, f"number {number}")
        return f"custom {self.text(code.CustomCode())}" if name == "CUSTOM" else name

    def options(self, found: Any) -> dict[str, Any]:
        """The option values of an operator under their names in the schema."""
        kind, table = _names(self.schema.BuiltinOptions).get(found.BuiltinOptionsType(), "NONE"), found.BuiltinOptions()
        if kind == "NONE" or table is None:
            return {}
        options = getattr(self.schema, kind)()
        options.Init(table.Bytes, table.Pos)
        return {_snake(name): _plain(getattr(options, name)()) for name in _fields(type(options))}

    def listed(self, numbers: Any, tensors: Sequence[Tensor], what: str, where: Loc | None = None) -> tuple[Tensor | None, ...]:
        """Tensors by number; -1 is one that is left out."""
        found = [int(n) for n in _array(numbers)]
        if not all(-1 <= n < len(tensors) for n in found):
            raise ModelError(f"{what} are tensors {found}, but there are only {len(tensors)}", loc=where or Loc(self.file))
        return tuple(None if n < 0 else tensors[n] for n in found)


def _array(found: Any, dtype: Any = np.int32) -> np.ndarray:
    """A vector of the file; an absent one is empty (the package says 0)."""
    return found if isinstance(found, np.ndarray) else np.zeros(0, dtype)


def _nibbles(raw: np.ndarray) -> np.ndarray:
    """4-bit integers, the first in the low half of each byte, as i8."""
    halves = np.stack([raw & 15, raw >> 4], axis=-1).ravel()
    return halves.view(np.int8).astype(ml_dtypes.int4).astype(np.int8)


@cache
def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


@cache
def _fields(options: type) -> tuple[str, ...]:
    """The accessors of a table without arguments, vectors as arrays."""
    accessors = [n for n, member in vars(options).items() if callable(member) and n[0].isupper() and not n.startswith("GetRootAs")
                 and not n.endswith(("BufferHasIdentifier", "Length", "IsNone")) and n != "Init"]
    arrays = {n.removesuffix("AsNumpy") for n in accessors if n.endswith("AsNumpy")}
    return tuple(n for n in accessors if n not in arrays)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name.removesuffix("AsNumpy")).lower()


def _plain(value: Any) -> Any:
    return tuple(value.tolist()) if isinstance(value, np.ndarray) else value
