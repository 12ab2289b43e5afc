"""The shapes of model inputs: what the file says, what the user gives (`--shape`, `--bind`), and what stays symbolic.

    parse_shape("input=1..8x42")      # ("input", ("1..8", 42))
    parse_bind("N=1..8")              # ("N", "1..8")

An open dimension becomes a number or a bounded symbol. A named one (`N`) is the same everywhere in the model, so a size given for it at
one input holds for all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from math import prod
from typing import Any

from onnx import ValueInfoProto

from edgec.errors import CompileError, Loc, ModelError, Unsupported, raise_all
from edgec.expr import Expr, var
from edgec.onnx.tensor import MAX_ELEMENTS, dtype_of_code
from edgec.types import TensorType

Size = Any  # an int, or a range as text: "1..8"


def parse_shape(text: str) -> tuple[str, tuple[Size, ...] | list[tuple[Size, ...]]]:
    """The value of `--shape`: an input name and its sizes, numbers or ranges, separated by x. A scalar is `name=`; several shapes, with
    commas between them, are a list."""
    name, equals, sizes = text.rpartition("=")
    if not equals or not name:
        raise ModelError(f"cannot read the shape '{text}'", hint="write it as input=1x3x224x224, or with a range as input=1..8x42")
    found = [tuple(parse_size(s, text) for s in each.split("x")) if each else () for each in sizes.split(",")]
    return name, found if len(found) > 1 else found[0]


def parse_bind(text: str) -> tuple[str, Size]:
    """The value of `--bind`: the name of a dimension and its size, a number or a range; or of a value and its sizes, separated by x."""
    name, equals, size = text.rpartition("=")
    if not equals or not name:
        raise ModelError(f"cannot read '{text}'", hint="write it as N=1, or with a range as N=1..8")
    sizes = tuple(parse_size(s, text) for s in size.split("x"))
    return name, sizes if len(sizes) > 1 else sizes[0]


def parse_size(size: Any, context: str = "") -> Size:
    """A size in its normal form: an int, or 'lo..hi' with lo < hi."""
    text = str(size).strip()
    match = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text, re.ASCII)
    low, high = (int(match[1]), int(match[2] or match[1])) if match and len(text) < 40 else (1, 0)
    if low > high:
        place = f" in '{context}'" if context not in ("", text) else ""
        raise ModelError(f"'{text}'{place} is not a size", hint="write a number or a range lo..hi")
    if high > MAX_ELEMENTS:
        raise ModelError(f"the size {text} is more than 2^31")
    return low if low == high else f"{low}..{high}"


def input_types(infos: Sequence[ValueInfoProto], shapes: Mapping[str, Sequence[Size]], bind: Mapping[str, Size],
                file: str, values: Collection[str] = ()) -> list[TensorType]:
    """The type of every model input, each dimension a number or a symbol; every problem is reported at once.

    `bind` may also bound numbers that the model computes, under the names of `values`: those are not looked at here.
    """
    problems: list[CompileError] = []
    names = [i.name for i in infos]
    for name in shapes:
        if name not in names:
            hint = "the inputs are " + ", ".join(names)
            problems.append(ModelError(f"--shape names '{name}', which is not an input", loc=Loc(file), hint=hint))
    shapes = {n: tuple(parse_size(s) for s in sizes) for n, sizes in shapes.items()}
    problems += _unused_bindings(infos, bind, file, values)
    sizes = {n: parse_size(s) for n, s in bind.items() if n in open_names(infos)}
    sizes = _sizes_given_by_shapes(infos, shapes, sizes, problems, file)
    types = [_input_type(i, shapes.get(i.name), sizes, problems, Loc(file)) for i in infos]
    raise_all(problems)
    return types


def open_names(infos: Sequence[ValueInfoProto]) -> list[str]:
    """The names of open dimensions, sorted."""
    return sorted({d.dim_param for i in infos for d in i.type.tensor_type.shape.dim if d.dim_param})


def unused_binding(name: str, names: Sequence[str], file: str) -> ModelError:
    """What to say of a size given for nothing."""
    listed = ("the open dimensions are " + ", ".join(names)) if names else "the model has no named open dimension"
    return ModelError(f"--bind names '{name}', which is not an open dimension of an input, nor a size that data decides", loc=Loc(file),
                      hint=listed)


def _unused_bindings(infos: Sequence[ValueInfoProto], bind: Mapping[str, Size], file: str, values: Collection[str]) -> list[CompileError]:
    names = open_names(infos)
    return [unused_binding(n, names, file) for n in bind if n not in names and n not in values and "/" not in n]


def _sizes_given_by_shapes(infos, shapes, sizes: Mapping[str, Size], problems: list[CompileError], file: str) -> dict[str, Size]:
    """The bindings, and what `--shape` says about named dimensions; two different sizes for one name are an error."""
    found = dict(sizes)
    for info in infos:
        dims = info.type.tensor_type.shape.dim
        for dim, size in zip(dims, shapes.get(info.name, ())):
            if dim.dim_param and found.setdefault(dim.dim_param, size) != size:
                message = f"dimension '{dim.dim_param}' is given as {found[dim.dim_param]} and, at input '{info.name}', as {size}"
                problems.append(ModelError(message, loc=Loc(file)))
    return found


def _input_type(info: ValueInfoProto, given, sizes, problems: list[CompileError], loc: Loc) -> TensorType | None:
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        if kind is None:
            problems.append(ModelError(f"input '{info.name}' has no type", loc=loc))
        else:
            problems.append(Unsupported(f"input '{info.name}' is a {kind.removesuffix('_type')}, not a tensor", loc=loc))
        return None
    tensor = info.type.tensor_type
    try:
        dtype = dtype_of_code(tensor.elem_type, f"input '{info.name}'", loc)
        shape = _input_shape(info, given, sizes, problems, loc)
    except CompileError as error:
        problems.append(error)
        return None
    size = prod(d.hi if isinstance(d, Expr) else d for d in shape if not isinstance(d, int) or d > 0)
    if size > MAX_ELEMENTS:
        problems.append(ModelError(f"input '{info.name}' has the shape {list(shape)}: more than 2^31 elements", loc=loc))
    return TensorType(dtype, shape)


def _input_shape(info: ValueInfoProto, given, sizes, problems: list[CompileError], loc: Loc) -> tuple[Any, ...]:
    tensor, name = info.type.tensor_type, info.name
    if not tensor.HasField("shape"):
        if given is None:
            raise ModelError(f"input '{name}' has no shape in the model", loc=loc, hint=f"give it: --shape {name}=1x3x224x224")
        return tuple(_dimension(f"{name}_{n}", s) for n, s in enumerate(given))
    if given is not None and len(given) != len(tensor.shape.dim):
        raise ModelError(f"--shape gives input '{name}' rank {len(given)}, in the model it has rank {len(tensor.shape.dim)}", loc=loc)
    shape = []
    for n, dim in enumerate(tensor.shape.dim):
        size = given[n] if given is not None else sizes.get(dim.dim_param) if dim.dim_param else None
        shape.append(_resolve(info, n, dim, size, problems, loc))
    return tuple(shape)


def _resolve(info: ValueInfoProto, axis: int, dim, size: Size | None, problems: list[CompileError], loc: Loc) -> Any:
    """One dimension of the file with the size the user gave for it, if any."""
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        if size not in (None, dim.dim_value):
            message = f"--shape gives axis {axis} of input '{info.name}' as {size}, in the model it is {dim.dim_value}"
            problems.append(ModelError(message, loc=loc))
        return dim.dim_value
    if size is None:
        problems.append(_open_dimension(info, axis, dim.dim_param, loc))
        return 1
    return _dimension(dim.dim_param or f"{info.name}_{axis}", size)


def _open_dimension(info: ValueInfoProto, axis: int, name: str, loc: Loc) -> ModelError:
    def shape_with(size: str) -> str:
        dims = info.type.tensor_type.shape.dim
        return "x".join(size if n == axis else str(d.dim_value) if d.HasField("dim_value") else "1" for n, d in enumerate(dims))
    if name:
        hint = f"--bind {name}=1, a range --bind {name}=1..8, or --shape {info.name}={shape_with('1')}"
    else:
        hint = f"--shape {info.name}={shape_with('1')}, or with a range --shape {info.name}={shape_with('1..8')}"
    return ModelError(f"axis {axis} of input '{info.name}' is open ({name or 'it has no name'}); say how large it is", loc=loc, hint=hint)


def _dimension(name: str, size: Size) -> Any:
    """A number, or the symbol of a range; its name is made a C identifier, since it becomes a struct member."""
    if isinstance(size, int):
        return size
    low, high = map(int, size.split(".."))
    symbol = re.sub(r"\W", "_", name, flags=re.ASCII)
    return var(f"_{symbol}" if symbol[:1].isdigit() else symbol, low, high)
