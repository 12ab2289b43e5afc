"""Operators of ai.onnx.ml that prepare features: CategoryMapper FeatureVectorizer Imputer LabelEncoder Normalizer OneHotEncoder Scaler.

Keys, labels and categories are numbers or text.

    Scaler(x, offset=(1.0,), scale=(2.0,)).output
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.expr import Expr, cast, compare, const, maximum, minimum, read, select, unary
from edgec.graph import Op, Value, constant
from edgec.lowering import Reader
from edgec.ops.accumulation import fold
from edgec.ops.arithmetic import Add
from edgec.ops.constant_table import table
from edgec.ops.gather import Gather
from edgec.ops.text import StringOp
from edgec.ops.text_bytes import place_among
from edgec.text_slots import as_text, bytes_needed, to_slots
from edgec.types import TensorType, dtype_of, f32, f64, i32, i64, index, string

NUMBERS = (f32, f64, i32, i64)


class FeatureOp(Op):
    """Base: one operand of numbers."""

    abstract = True
    domain = "ai.onnx.ml"
    x: Value

    def require_numbers(self) -> None:
        self.require(self.x.dtype in NUMBERS, f"the operand is {self.x.dtype}; {', '.join(map(str, NUMBERS))} are possible")


class Scaler(FeatureOp):
    """ONNX Scaler: (x - offset) * scale in f32, one pair for all or one a place of the last axis."""

    offset: tuple = ()
    scale: tuple = ()

    def infer(self) -> TensorType:
        self.require_numbers()
        for name in ("offset", "scale"):
            number = len(getattr(self, name))
            fits = number == 1 or self.x.type.rank > 0 and number == self.x.shape[-1]
            self.require(fits, f"{number} elements of {name} for {self.x.type}")
        return TensorType(f32, self.x.shape)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return ((x.astype(np.float64) - np.float64(self.offset)) * np.float64(self.scale)).astype(np.float32)

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        def parameter(values: tuple) -> Expr:
            return const(values[0], f32) if len(values) == 1 else read(table(np.float32(values)), (at[-1],))
        return (cast(x(*at), f32) - parameter(self.offset)) * parameter(self.scale)


class Normalizer(FeatureOp):
    """ONNX Normalizer: rows divided by their largest element (MAX), the sum of magnitudes (L1) or their length (L2), unless it is 0."""

    norm: str = "MAX"

    def infer(self) -> TensorType:
        self.require_numbers()
        self.require(self.norm in ("MAX", "L1", "L2"), f"norm is {self.norm!r}; MAX, L1 or L2 is needed")
        self.require(self.x.type.rank in (1, 2), f"needs one or two axes, it is {self.x.type}")
        return TensorType(f32, self.x.shape)

    def reference(self, x: np.ndarray) -> np.ndarray:
        rows = x.astype(np.float64)
        size = {"MAX": rows.max(-1), "L1": np.abs(rows).sum(-1), "L2": np.sqrt((rows * rows).sum(-1))}[self.norm][..., None]
        return (rows / np.where(size == 0, 1, size)).astype(np.float32)

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        def element(k: Expr) -> Expr:
            value = cast(x(*at[:-1], k), f32)
            return {"MAX": value, "L1": unary("abs", value), "L2": value * value}[self.norm]
        size = fold((self.x.shape[-1],), "max" if self.norm == "MAX" else "add", element)
        size = unary("sqrt", size) if self.norm == "L2" else size
        return cast(x(*at), f32) / select(compare("eq", size, const(0.0, f32)), const(1.0, f32), size)


class Imputer(FeatureOp):
    """ONNX Imputer: a value that stands for a missing one (NaN, say) replaced, everywhere or by column."""

    imputed_value_floats: tuple = ()
    imputed_value_int64s: tuple = ()
    replaced_value_float: float = 0.0
    replaced_value_int64: int = 0

    def infer(self) -> TensorType:
        self.require_numbers()
        self.require(self.x.type.rank > 0 and len(self._values) in (1, self.x.shape[-1]), f"{len(self._values)} values for {self.x.type}")
        return self.x.type

    @property
    def _values(self) -> tuple:
        return self.imputed_value_floats if self.x.dtype.is_float else self.imputed_value_int64s

    @property
    def _missing(self) -> Any:
        return self.replaced_value_float if self.x.dtype.is_float else self.replaced_value_int64

    def reference(self, x: np.ndarray) -> np.ndarray:
        missing = np.isnan(x) if np.isnan(self._missing) else x == x.dtype.type(self._missing)
        return np.where(missing, np.array(self._values, x.dtype), x)

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        value, dtype = x(*at), self.x.dtype
        missing = compare("ne", value, value) if np.isnan(self._missing) else compare("eq", value, const(self._missing, dtype))
        many = len(self._values) > 1
        other = read(table(np.array(self._values, dtype.numpy)), (at[-1],)) if many else const(self._values[0], dtype)
        return select(missing, other, value)


class OneHotEncoder(FeatureOp):
    """ONNX OneHotEncoder: 1 at the place of the element's category, else 0, along a new last axis."""

    cats_int64s: tuple = ()
    cats_strings: tuple = ()
    zeros: int = 1

    def infer(self) -> TensorType:
        if self.x.dtype is string:
            self.require(self.cats_strings, "needs cats_strings for strings")
            return TensorType(f32, (*self.x.shape, len(self.cats_strings)))
        self.require_numbers()
        return TensorType(f32, (*self.x.shape, len(self.cats_int64s)))

    def in_bytes(self, x: Value) -> Value:
        return OneHotEncoder(place_among(x, self.cats_strings), cats_int64s=tuple(range(len(self.cats_strings))), zeros=self.zeros).output

    def reference(self, x: np.ndarray) -> np.ndarray:
        if self.x.dtype is string:
            return (x[..., None] == np.array(self.cats_strings, object)).astype(np.float32)
        return (x.astype(np.int64)[..., None] == np.array(self.cats_int64s, np.int64)).astype(np.float32)

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        category = read(table(np.array(self.cats_int64s, np.int64)), (at[-1],))
        return select(compare("eq", cast(x(*at[:-1]), i64), category), const(1.0, f32), const(0.0, f32))


class LabelEncoder(FeatureOp):
    """ONNX LabelEncoder: the value beside each key, and a default for what is no key. NaN is a key like any other."""

    default_float: float = -0.0
    default_int64: int = -1
    default_string: str = "_Unused"
    default_tensor: Any = None
    keys_floats: tuple = ()
    keys_int64s: tuple = ()
    keys_strings: tuple = ()
    keys_tensor: Any = None
    values_floats: tuple = ()
    values_int64s: tuple = ()
    values_strings: tuple = ()
    values_tensor: Any = None

    def infer(self) -> TensorType:
        self.require(self._keys().size == self._values().size, f"{self._keys().size} keys, {self._values().size} values")
        self.require(dtype_of(self._keys().dtype) is self.x.dtype, f"keys of {dtype_of(self._keys().dtype)} for {self.x.type}")
        return TensorType(dtype_of(self._values().dtype), self.x.shape)

    def _keys(self) -> np.ndarray:
        if self.keys_tensor is not None:
            return np.asarray(self.keys_tensor).ravel()
        if self.keys_strings:
            return np.array(self.keys_strings, object)
        return np.array(self.keys_int64s, np.int64) if self.keys_int64s else np.array(self.keys_floats, np.float32)

    def _values(self) -> np.ndarray:
        if self.values_tensor is not None:
            return np.asarray(self.values_tensor).ravel()
        if self.values_strings:
            return np.array(self.values_strings, object)
        return np.array(self.values_int64s, np.int64) if self.values_int64s else np.array(self.values_floats, np.float32)

    def _default(self) -> Any:
        if self.default_tensor is not None:
            return np.asarray(self.default_tensor).ravel()[0]
        defaults = {"f": self.default_float, "O": self.default_string}
        return defaults.get(self._values().dtype.kind, self.default_int64)

    def in_bytes(self, x: Value) -> Value:
        """The values (of text, their slots) at the place of the key; the default stands before the first."""
        keys, values = self._keys(), self._values()
        if self.x.dtype is string:
            place = place_among(x, keys.tolist())
        else:
            numbers = np.arange(len(keys), dtype=np.int64)
            place = LabelEncoder(x, keys_tensor=keys, values_tensor=numbers, default_tensor=np.array([-1])).output
        found = np.array([self._default(), *values.tolist()], values.dtype)
        found = to_slots(found, bytes_needed(found)) if values.dtype.kind == "O" else found
        return Gather(constant(found), Add(place, constant(np.int64(1))).output).output

    def reference(self, x: np.ndarray) -> np.ndarray:
        result = np.full(x.shape, self._default(), self._values().dtype)
        for key, value in reversed(list(zip(self._keys(), self._values()))):  # the first of equal keys counts
            result[np.asarray(x == key) | (np.asarray(x != x) & (key != key))] = value
        return result

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        keys, value = table(self._keys()), x(*at)
        first = np.unique(self._keys(), return_index=True)[1]
        numbers = np.zeros(len(self._keys()), np.int32)
        numbers[first] = first + 1  # others add nothing
        places = table(numbers)

        def match(k: Expr) -> Expr:
            key = read(keys, (k,))
            same = compare("eq", value, key)
            same = same | (compare("ne", value, value) & compare("ne", key, key)) if value.dtype.is_float else same
            return select(same, read(places, (k,)), const(0, i32))
        place = cast(fold((len(self._keys()),), "add", match), index)
        values = np.concatenate([np.array([self._default()], self._values().dtype), self._values()])
        return read(table(values), (maximum(minimum(place, len(values) - 1), 0),))


class CategoryMapper(StringOp):
    """ONNX CategoryMapper: the number of each text, or the text of each number, and a default for what is in neither list."""

    domain = "ai.onnx.ml"
    cats_int64s: tuple = ()
    cats_strings: tuple = ()
    default_int64: int = -1
    default_string: str = "_Unused"

    def infer(self) -> TensorType:
        self.require(self.x.dtype in (string, i64), f"needs strings or i64, the operand is {self.x.type}")
        self.require(len(self.cats_int64s) == len(self.cats_strings),
                     f"{len(self.cats_int64s)} numbers for {len(self.cats_strings)} texts")
        return self.x.type.with_dtype(i64 if self.x.dtype is string else string)

    def reference(self, x: np.ndarray) -> np.ndarray:
        pairs = list(zip(self.cats_strings, self.cats_int64s))
        if self.x.dtype is string:
            known: dict[Any, Any] = dict(reversed(pairs))
            return np.array([known.get(w, self.default_int64) for w in x.ravel().tolist()], np.int64).reshape(x.shape)
        known = {number: word for word, number in reversed(pairs)}
        return as_text([known.get(n, self.default_string) for n in x.ravel().tolist()], x.shape)

    def decompose(self) -> Value:
        words, numbers = self.cats_strings, self.cats_int64s
        if self.x.dtype is string:
            return LabelEncoder(self.x, keys_strings=words, values_int64s=numbers, default_int64=self.default_int64).output
        return LabelEncoder(self.x, keys_int64s=numbers, values_strings=words, default_string=self.default_string).output


class FeatureVectorizer(Op):
    """ONNX FeatureVectorizer: the columns of all operands side by side, in f32."""

    domain = "ai.onnx.ml"
    x: tuple[Value | None, ...] = ()
    inputdimensions: tuple = ()

    def infer(self) -> TensorType:
        self.require(bool(self.x) and all(v is not None and v.type.rank in (1, 2) and v.dtype in NUMBERS for v in self.x),
                     "needs tensors of numbers with one or two axes")
        self.require(len(self.inputdimensions) == len(self.x), f"{len(self.inputdimensions)} inputdimensions for {len(self.x)} operands")
        rows = {v.shape[0] if v.type.rank == 2 else 1 for v in self.x}
        self.require(len(rows) == 1, f"operands have {sorted(map(str, rows))} rows")
        return TensorType(f32, (*rows, sum(self.inputdimensions)))

    def decompose(self) -> Value:
        from edgec.ops.cast import Cast
        from edgec.ops.joining import Concat
        from edgec.ops.reshape import Reshape
        from edgec.ops.slicing import Slice
        parts = []
        for value, size in zip(self.x, self.inputdimensions):
            flat = Reshape(Cast(value, to=1).output, constant(np.array([self.output.shape[0], -1]))).output
            parts.append(Slice(flat, constant(np.array([0])), constant(np.array([size])), constant(np.array([1]))).output)
        return Concat(tuple(parts), axis=1).output

    def reference(self, x: tuple[np.ndarray, ...]) -> np.ndarray:
        rows = [np.reshape(v, (-1, v.shape[-1]) if v.ndim > 1 else (1, -1))[:, :n] for v, n in zip(x, self.inputdimensions)]
        return np.concatenate([r.astype(np.float32) for r in rows], 1)
