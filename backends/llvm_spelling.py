"""How LLVM IR spells vector types, the type suffix of an intrinsic's name, masks and literals.

    vec("float", 8)                   # '<8 x float>'
    number(const(1.0, f32))           # '0x3FF0000000000000': LLVM writes a float as the double of the same value
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgec.backends.target import Target
from edgec.expr import Expr
from edgec.types import bool_


def vec(element: str, lanes: int) -> str:
    """A vector type; one lane is the element itself."""
    return element if lanes == 1 else f"<{lanes} x {element}>"


def suffix(kind: str, lanes: int = 1) -> str:
    """The part of an overloaded intrinsic's name that says an element type (with lanes when more than one)."""
    element = kind.strip("<>").split(" x ")[-1]
    short = {"float": "f32", "double": "f64", "half": "f16", "bfloat": "bf16"}.get(element, element)
    return f"v{lanes}{short}" if lanes > 1 else short


def mask(lanes: int, active: int) -> str:
    """The constant that is true in the first `active` lanes."""
    return f"<{lanes} x i1> <" + ", ".join(f"i1 {'true' if k < active else 'false'}" for k in range(lanes)) + ">"


def number(e: Expr) -> str:
    """A literal as LLVM reads it without rounding."""
    if e.dtype is bool_:
        return "true" if e.data else "false"
    if not e.dtype.is_float:
        return str(e.data)
    if e.dtype.name == "bf16":
        return f"0xR{int(np.float32(e.data).view(np.uint32)) >> 16:04X}"
    if e.dtype.name == "f16":
        return f"0xH{int(np.float16(e.data).view(np.uint16)):04X}"
    return f"0x{int(np.float64(e.data).view(np.uint64)):016X}"


def one_by_one(emit: Callable[[str], str], kinds: Sequence[str], values: Sequence[str], result: str, compute: Callable[..., str]) -> str:
    """A vector of the results of `compute` on the lanes of vectors: pairs of i32 are none for Helium, LLVM would make them pairs of i64,
    whose division and conversions are calls of routines."""
    made = "poison"
    lanes, element = result.strip("<>").split(" x ")
    for lane in range(int(lanes)):
        singles = [emit(f"extractelement {kind} {value}, i32 {lane}") for kind, value in zip(kinds, values)]
        made = emit(f"insertelement {result} {made}, {element} {compute(*singles)}, i32 {lane}")
    return made


def to_integer(emit: Callable[[str], str], sign: str, source: str, x: str, kind: str) -> str:
    """Floats that are known to fit in an integer type."""
    if not (kind == "<2 x i32>" and source == "<2 x float>"):
        return emit(f"fpto{sign}i {source} {x} to {kind}")
    return one_by_one(emit, [source], [x], kind, lambda one: emit(f"fpto{sign}i float {one} to i32"))


def vector_attributes(target: Target) -> str:
    """What a function's attributes say of the vectors it may use: how long they are, where the instruction set leaves that open."""
    if target.vector_scale:
        return f" vscale_range({target.vector_scale},{target.vector_scale})"
    bits = target.vector_bits
    return f' "prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}"' if bits > 256 else ""
