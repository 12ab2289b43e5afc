"""TensorProto -> numpy array: raw bytes, typed fields, sparse tensors and external data, each with its length checked.

External data lies in the model's own folder and nowhere else: no absolute path, no `..`, no symbolic link that leads out of it.

    array = read_tensor(proto, folder=Path("models"), loc=loc)
"""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

import numpy as np
from onnx import SparseTensorProto, TensorProto

from edgec.errors import Loc, ModelError, Unsupported
from edgec.types import (
    SMALL,
    DType,
    bf16,
    bool_,
    f4e2m1,
    f8e4m3fn,
    f8e4m3fnuz,
    f8e5m2,
    f8e5m2fnuz,
    f8e8m0,
    f16,
    f32,
    f64,
    i2,
    i4,
    i8,
    i16,
    i32,
    i64,
    string,
    u2,
    u4,
    u8,
    u16,
    u32,
    u64,
)

MAX_ELEMENTS = 1 << 31
DTYPE_OF_CODE: dict[int, DType] = {
    TensorProto.FLOAT: f32, TensorProto.DOUBLE: f64, TensorProto.FLOAT16: f16, TensorProto.BFLOAT16: bf16,
    TensorProto.INT8: i8, TensorProto.INT16: i16, TensorProto.INT32: i32, TensorProto.INT64: i64,
    TensorProto.UINT8: u8, TensorProto.UINT16: u16, TensorProto.UINT32: u32, TensorProto.UINT64: u64, TensorProto.BOOL: bool_,
    TensorProto.INT4: i4, TensorProto.UINT4: u4, TensorProto.INT2: i2, TensorProto.UINT2: u2, TensorProto.FLOAT4E2M1: f4e2m1,
    TensorProto.FLOAT8E4M3FN: f8e4m3fn, TensorProto.FLOAT8E4M3FNUZ: f8e4m3fnuz, TensorProto.FLOAT8E5M2: f8e5m2,
    TensorProto.FLOAT8E5M2FNUZ: f8e5m2fnuz, TensorProto.FLOAT8E8M0: f8e8m0, TensorProto.STRING: string,
}
CODE_OF_DTYPE = {dtype: code for code, dtype in DTYPE_OF_CODE.items()}


def dtype_of_code(code: int, what: str, loc: Loc | None) -> DType:
    """The element type of an ONNX data type number; Unsupported (or ModelError for a number ONNX does not have) naming `what`."""
    if code in DTYPE_OF_CODE:
        return DTYPE_OF_CODE[code]
    if code == TensorProto.UNDEFINED or code not in TensorProto.DataType.values():
        raise ModelError(f"{what} has the element type number {code}, which ONNX does not define", loc=loc)
    raise Unsupported(f"{what} has element type {TensorProto.DataType.Name(code).lower()}", loc=loc,
                      hint="supported are " + ", ".join(str(t) for t in CODE_OF_DTYPE))


def read_tensor(proto: TensorProto, folder: Path | None, loc: Loc | None) -> np.ndarray:
    """The array of an initialiser or tensor attribute; ModelError where data and shape disagree, Unsupported for other element types."""
    what = f"tensor '{proto.name}'" if proto.name else "a tensor"
    dtype = dtype_of_code(proto.data_type, what, loc)
    shape = _checked_shape(proto.dims, what, loc)
    if proto.HasField("segment"):
        raise Unsupported(f"{what} is stored in segments", loc=loc)
    if dtype is string:
        return _strings(proto, shape, what, loc)
    if dtype in SMALL:
        return _small_tensor(proto, dtype, shape, what, loc)
    if proto.data_location == TensorProto.EXTERNAL:
        data = _external_bytes(proto, prod(shape) * dtype.bytes, folder, what, loc)
    elif proto.HasField("raw_data"):
        data = proto.raw_data
    else:
        return _typed_data(proto, dtype, shape, what, loc)
    if len(data) != prod(shape) * dtype.bytes:
        raise ModelError(f"{what} of type {dtype}{list(shape)} needs {prod(shape) * dtype.bytes} bytes and has {len(data)}", loc=loc)
    if dtype is bf16:  # numpy knows no byte order of it
        return np.frombuffer(data, "<u2").astype(np.uint16).view(dtype.numpy).reshape(shape)
    return np.frombuffer(data, dtype.numpy.newbyteorder("<")).astype(dtype.numpy, copy=False).reshape(shape)


def _strings(proto: TensorProto, shape: tuple[int, ...], what: str, loc: Loc | None) -> np.ndarray:
    """Text, as Python's str."""
    if proto.data_location == TensorProto.EXTERNAL or len(proto.string_data) != prod(shape):
        raise ModelError(f"{what} of type string{list(shape)} needs {prod(shape)} strings and has {len(proto.string_data)}", loc=loc)
    try:
        words = [text.decode("utf-8") for text in proto.string_data]
    except UnicodeDecodeError:
        raise ModelError(f"{what} holds text that is not valid UTF-8", loc=loc) from None
    found = np.empty(len(words), object)
    found[:] = words
    return found.reshape(shape)


def _small_tensor(proto: TensorProto, dtype: DType, shape: tuple[int, ...], what: str, loc: Loc | None) -> np.ndarray:
    """Elements of 8 bits or less, several to a byte (the first in the lowest bits) where they have fewer than 8."""
    if proto.data_location == TensorProto.EXTERNAL:
        raise Unsupported(f"{what} of type {dtype} has external data", loc=loc, hint="keep it in the model")
    data = np.frombuffer(proto.raw_data, np.uint8) if proto.HasField("raw_data") else np.array(proto.int32_data, np.int64).astype(np.uint8)
    each = 8 // dtype.bits
    if len(data) != -(-prod(shape) // each):
        raise ModelError(f"{what} of type {dtype}{list(shape)} needs {-(-prod(shape) // each)} bytes and has {len(data)}", loc=loc)
    parts = (data[:, None] >> (np.arange(each) * dtype.bits)) & ((1 << dtype.bits) - 1)
    return parts.astype(np.uint8).reshape(-1)[:prod(shape)].view(dtype.numpy).reshape(shape)


def _checked_shape(dims: list[int], what: str, loc: Loc | None) -> tuple[int, ...]:
    shape = tuple(dims)
    if any(d < 0 for d in shape):
        raise ModelError(f"{what} has a negative dimension: {list(shape)}", loc=loc)
    if prod(d for d in shape if d) > MAX_ELEMENTS:
        raise ModelError(f"{what} has the shape {list(shape)}: more than 2^31 elements", loc=loc)
    return shape


def _typed_data(proto: TensorProto, dtype: DType, shape: tuple[int, ...], what: str, loc: Loc | None) -> np.ndarray:
    """The typed fields: 8 and 16 bit integers, bool, f16 and bf16 (as bits) share int32_data; u32 and u64 share uint64_data."""
    field = {f32: "float_data", f64: "double_data", i64: "int64_data", u32: "uint64_data", u64: "uint64_data"}.get(dtype, "int32_data")
    values = getattr(proto, field)
    if len(values) != prod(shape):
        raise ModelError(f"{what} of type {dtype}{list(shape)} needs {prod(shape)} elements and has {len(values)}", loc=loc)
    if dtype in (f16, bf16):
        return (np.array(values, np.int64) & 0xFFFF).astype(np.uint16).view(dtype.numpy).reshape(shape)
    wide = np.array(values, {"float_data": np.float32, "double_data": np.float64, "uint64_data": np.uint64}.get(field, np.int64))
    if dtype.is_integer and wide.size and not dtype.low <= int(wide.min()) <= int(wide.max()) <= dtype.high:
        raise ModelError(f"{what} has elements outside the range of {dtype}", loc=loc)
    return wide.astype(dtype.numpy).reshape(shape)


def _external_bytes(proto: TensorProto, expected: int, folder: Path | None, what: str, loc: Loc | None) -> bytes:
    """The bytes of external data; the file must lie in the model's folder and hold the whole range."""
    entries = {e.key: e.value for e in proto.external_data}
    path = _external_path(entries.get("location", ""), folder, what, loc)
    try:
        offset = int(entries.get("offset", "0") or 0)
        length = int(entries.get("length", "") or expected)
    except ValueError:
        raise ModelError(f"{what}: offset and length of external data must be numbers: {entries}", loc=loc) from None
    if length != expected:
        raise ModelError(f"{what} needs {expected} bytes, its external data has {length}", loc=loc)
    size = path.stat().st_size
    if offset < 0 or offset + length > size:
        raise ModelError(f"{what}: bytes {offset} to {offset + length} lie outside '{path.name}' of {size} bytes", loc=loc)
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(length)


def _external_path(location: str, folder: Path | None, what: str, loc: Loc | None) -> Path:
    if folder is None:
        raise ModelError(f"{what} has external data; load the model from its file, not from memory", loc=loc)
    if not location or "\0" in location or os.path.isabs(location) or "\\" in location or ":" in location or ".." in location.split("/"):
        raise ModelError(f"{what}: external data must lie in the model's own folder, not at '{location}'", loc=loc)
    root = folder.resolve()
    path = (root / location).resolve()
    if not path.is_relative_to(root):
        raise ModelError(f"{what}: external data '{location}' leads out of the model's folder", loc=loc)
    if not path.is_file():
        raise ModelError(f"{what}: there is no external data file '{location}' beside the model", loc=loc)
    return path


def read_sparse_tensor(proto: SparseTensorProto, folder: Path | None, loc: Loc | None) -> np.ndarray:
    """The dense array of a sparse tensor (indices linear, shape [nnz], or per axis, shape [nnz, rank])."""
    what = f"sparse tensor '{proto.values.name}'" if proto.values.name else "a sparse tensor"
    shape = _checked_shape(proto.dims, what, loc)
    values, indices = read_tensor(proto.values, folder, loc), read_tensor(proto.indices, folder, loc)
    fits = values.ndim == 1 and indices.dtype == np.int64 and indices.shape in ((len(values),), (len(values), len(shape)))
    if not fits:
        raise ModelError(f"{what}: {values.shape} values and {indices.shape} indices do not describe the shape {list(shape)}", loc=loc)
    dense = np.zeros(shape, values.dtype)
    try:
        linear = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
        dense.reshape(-1)[linear] = values
    except (IndexError, ValueError):
        raise ModelError(f"{what} has an index outside the shape {list(shape)}", loc=loc) from None
    if linear.size and linear.min() < 0:
        raise ModelError(f"{what} has a negative index", loc=loc)
    return dense
