"""Reading an instruction row: what it computes, and which call of LLVM does it.

    meaning  := result ("=" | "+=") operation "(" operand ("," operand)* ["," "group=" number] ")"
    result, operand := name ":" dtype "[" (lanes | "*") "]"           * is any number of lanes; one lane is a scalar
    llvm     := name | name "(" argument ("," argument)* ")"          without arguments: the accumulator, if any, then the operands
    argument := operand's name [":" LLVM type to bitcast it to] | number (an i32 constant)

    >>> meaning(row).group           # acc:i32[4] += dot(a:i8[16], b:i8[16], group=4)
    4
"""
import re
from dataclasses import dataclass
from functools import cache

from edgec.backends.target import Instruction

LLVM_TYPES = {"f64": "double", "f32": "float", "f16": "half", "bf16": "bfloat", "i64": "i64", "i32": "i32", "i16": "i16", "i8": "i8",
              "u64": "i64", "u32": "i32", "u16": "i16", "u8": "i8"}
SUFFIXES = {"double": "f64", "float": "f32", "half": "f16", "bfloat": "bf16"}
OVERLOADED = frozenset({"fma", "round_half_even", "floor", "ceil", "trunc", "sqrt"})     # generic intrinsics: their names end in the type


@dataclass(frozen=True)
class Operand:
    """A named vector of some element type."""

    name: str
    dtype: str
    lanes: int                              # 0: any

    def with_lanes(self, lanes: int) -> "Operand":
        """This operand with a number for "any"."""
        return Operand(self.name, self.dtype, self.lanes or lanes)

    @property
    def llvm(self) -> str:
        """Its LLVM type; a single lane is a scalar."""
        element = LLVM_TYPES[self.dtype]
        return element if self.lanes == 1 else f"<{self.lanes} x {element}>"


@dataclass(frozen=True)
class Meaning:
    """result = operation(operands), or result += ...; `group` neighbouring products go into one lane of the result."""
    result: Operand
    accumulates: bool
    operation: str
    operands: tuple[Operand, ...]
    group: int = 1


def meaning(row: Instruction, lanes: int = 0) -> Meaning:
    """The row's meaning, with `lanes` wherever it leaves the number open; ValueError for a malformed row."""
    parts = re.fullmatch(r"(\w+:\w+\[[\d*]+\]) (\+?=) (\w+)\((.*)\)", row.meaning)
    if not parts:
        raise ValueError(f"{row.name}: cannot read the meaning {row.meaning!r}")
    result, assign, operation, inside = parts.groups()
    group = re.search(r", group=(\d+)$", inside)
    operands = tuple(_operand(text).with_lanes(lanes) for text in inside.removesuffix(group.group() if group else "").split(", "))
    return Meaning(_operand(result).with_lanes(lanes), assign == "+=", operation, operands, int(group.group(1)) if group else 1)


def _operand(text: str) -> Operand:
    name, dtype, lanes = re.fullmatch(r"(\w+):(\w+)\[(\d+|\*)\]", text).groups()
    return Operand(name, dtype, 0 if lanes == "*" else int(lanes))


@dataclass(frozen=True)
class Dot:
    """A dot-product row: `acc[lane] += sum over the group of a * b`, element types by name; `adds` says that it adds by itself."""
    row: Instruction
    acc: str
    a: str
    b: str
    group: int
    lanes: int
    adds: bool


@cache
def dots(rows: tuple[Instruction, ...]) -> tuple[Dot, ...]:
    """The dot-product rows that fill each lane of a 32-bit accumulator from one 32-bit word of either operand, in the rows' order."""
    found = []
    for row in rows:
        what = meaning(row)
        if what.operation == "dot" and what.operands[0].lanes == what.result.lanes * what.group and _word_bits(what) == 32:
            a, b = what.operands
            found.append(Dot(row, what.result.dtype, a.dtype, b.dtype, what.group, what.result.lanes, what.accumulates))
    return tuple(found)


def _word_bits(what: Meaning) -> int:
    return int(what.operands[0].dtype.lstrip("bfiu")) * what.group


def call(row: Instruction, values: dict[str, str], lanes: int = 0, result: str = "%r") -> tuple[str, list[str]]:
    """The declaration ("" for a plain LLVM instruction) and the lines that compute `result` from the values of the operands by name.

    An open row's intrinsic gets its type suffix: llvm.fma with four lanes is llvm.fma.v4f32.
    """
    what = meaning(row, lanes)
    operands = {operand.name: operand for operand in ((what.result,) if what.accumulates else ()) + what.operands}
    name, _, listed = row.llvm.partition("(")
    arguments = [text.strip() for text in listed.rstrip(")").split(",")] if listed else list(operands)
    if not name.startswith("llvm."):
        source, = what.operands
        return "", [f"{result} = {name} {source.llvm} {values[source.name]} to {what.result.llvm}"]
    lines, types, passed = [], [], []
    for argument in arguments:
        if argument.isdigit():
            types, passed = types + ["i32"], passed + [f"i32 {argument}"]
            continue
        operand, _, cast = argument.partition(":")
        kind, value = operands[operand].llvm, values[operand]
        if cast and cast != kind:
            lines.append(f"{result}.{operand} = bitcast {kind} {value} to {cast}")
            kind, value = cast, f"{result}.{operand}"
        types, passed = types + [kind], passed + [f"{kind} {value}"]
    full = name + _suffix(what.result) if what.operation in OVERLOADED else name
    lines.append(f"{result} = call {what.result.llvm} @{full}({', '.join(passed)})")
    return f"declare {what.result.llvm} @{full}({', '.join(types)})", lines


def _suffix(result: Operand) -> str:
    element = LLVM_TYPES[result.dtype]
    return "." + (f"v{result.lanes}" if result.lanes != 1 else "") + SUFFIXES.get(element, element)
