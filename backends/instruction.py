"""Reading an instruction row: what it computes, and which call of LLVM does it.

    meaning  := result ("=" | "+=") operation "(" operand ("," operand)* ["," "group=" number] ")"
    result, operand := name ":" dtype "[" lanes "]" [" > " number]     one lane is a scalar
                                                                       elements that are above a number: the row is wrong for others
    lanes    := number | "*" | rows "," columns                        * is any number; rows of a matrix follow each other
    llvm     := (step ";")* name [arguments]                           without arguments: the accumulator, if any, then the operands
                                                                       a name may be one of PLAIN where steps stand before
    step     := name ":" LLVM type "=" name arguments                  what several instructions compute together
    arguments := "(" argument ("," argument)* ")"
    argument := operand's or step's name [":" LLVM type to bitcast it to] | number (an i32 constant)
                                                         a type of more lanes of the same element: the operand is its low ones

    >>> meaning(row).group           # acc:i32[4] += dot(a:i8[16], b:i8[16], group=4)
    4

A matrix times another whose columns are given as rows is matmul: acc:i32[2,2] += matmul(a:i8[2,8], b:i8[2,8]), the group is a row.
"""
import re
from dataclasses import dataclass, replace
from functools import cache

from edgec.backends.target import Instruction, Target

LLVM_TYPES = {"f64": "double", "f32": "float", "f16": "half", "bf16": "bfloat", "i64": "i64", "i32": "i32", "i16": "i16", "i8": "i8",
              "u64": "i64", "u32": "i32", "u16": "i16", "u8": "i8"}
SUFFIXES = {"double": "f64", "float": "f32", "half": "f16", "bfloat": "bf16"}
OVERLOADED = frozenset({"fma", "round_half_even", "floor", "ceil", "trunc", "sqrt"})     # generic intrinsics: their names end in the type
# Steps that call nothing: low and high are halves of a vector, even and odd every other element, join makes one vector of two; what is
# held is a sum that LLVM does not reorder.
PLAIN = ("bitcast", "add", "low", "high", "even", "odd", "join", "held")
MATMUL = "matmul"
NEAREST = "nearest"     # the nearest integer, halves to even: the intrinsic's name ends in both types


@dataclass(frozen=True)
class Operand:
    """A named vector of some element type."""

    name: str
    dtype: str
    lanes: int                              # 0: any
    above: int | None = None                # what all its elements have to be above
    rows: int = 1                           # of a matrix

    def with_lanes(self, lanes: int) -> "Operand":
        """This operand with a number for "any"."""
        return replace(self, lanes=self.lanes or lanes)

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
    parts = re.fullmatch(r"(\w+:\w+\[[\d*,]+\]) (\+?=) (\w+)\((.*)\)", row.meaning)
    if not parts:
        raise ValueError(f"{row.name}: cannot read the meaning {row.meaning!r}")
    result, assign, operation, inside = parts.groups()
    group = re.search(r", group=(\d+)$", inside)
    operands = tuple(_operand(text).with_lanes(lanes) for text in inside.removesuffix(group.group() if group else "").split(", "))
    together = int(group.group(1)) if group else operands[0].lanes // operands[0].rows if operation == MATMUL else 1
    return Meaning(_operand(result).with_lanes(lanes), assign == "+=", operation, operands, together)


def _operand(text: str) -> Operand:
    name, dtype, rows, lanes, above = re.fullmatch(r"(\w+):(\w+)\[(?:(\d+),)?(\d+|\*)\](?: > (-?\d+))?", text).groups()
    return Operand(name, dtype, 0 if lanes == "*" else int(lanes) * int(rows or 1), int(above) if above else None, int(rows or 1))


@dataclass(frozen=True)
class Dot:
    """A dot-product row: `acc[lane] += sum over the group of a * b`, element types by name; `adds` says that it adds by itself.

    `calls` is how many instructions take both operands: more than one where these are taken apart before. `above` is what the elements
    of `a` have to be above. A row of several `rows` multiplies matrices: one word for each of them, and one for each of the lanes.
    """
    row: Instruction
    acc: str
    a: str
    b: str
    group: int
    lanes: int
    adds: bool
    calls: int = 1
    above: int | None = None
    rows: int = 1


@cache
def dots(rows: tuple[Instruction, ...]) -> tuple[Dot, ...]:
    """The dot-product rows that fill each lane of a 32-bit accumulator from one 32-bit word of either operand, in the rows' order."""
    found = []
    for row in rows:
        what = meaning(row)
        if what.operation == "dot" and what.operands[0].lanes == what.result.lanes * what.group and _word_bits(what) == 32:
            a, b = what.operands
            found.append(Dot(row, what.result.dtype, a.dtype, b.dtype, what.group, what.result.lanes, what.accumulates, _calls(row),
                             a.above))
    return tuple(found)


@cache
def matrices(rows: tuple[Instruction, ...]) -> tuple[Dot, ...]:
    """The rows that add a product of two matrices to a third one, whose rows and columns are words of 64 bits."""
    found = [(row, meaning(row)) for row in rows]
    return tuple(Dot(row, what.result.dtype, *(each.dtype for each in what.operands), what.group, what.operands[1].rows, True,
                     rows=what.operands[0].rows)
                 for row, what in found if what.operation == MATMUL and what.accumulates and _word_bits(what) == 64)


@cache
def wide_row(rows: tuple[Instruction, ...], a: str, b: str) -> tuple[Instruction, int, str] | None:
    """The row that adds all products of two vectors to a scalar, how many, and the type it takes the elements in: theirs or i16."""
    for kind in (a, "i16") if a == b else ("i16",):
        for row in rows:
            what = meaning(row)
            takes = what.operation == "dot" and what.accumulates and what.result.lanes == 1 and _word_bits(what) > 32
            if takes and all(each.dtype == kind for each in what.operands) and {a, b} <= {kind, "i8", "u8"}:
                return row, what.group, kind
    return None


def _calls(row: Instruction) -> int:
    """How often the row's last instruction occurs in it."""
    last = row.llvm.rpartition("; ")[2].partition("(")[0]
    return sum(step.rpartition(" = ")[2].partition("(")[0] == last for step in row.llvm.split("; "))


def _word_bits(what: Meaning) -> int:
    return int(what.operands[0].dtype.lstrip("bfiu")) * what.group


def call(row: Instruction, values: dict[str, str], lanes: int = 0, result: str = "%r",
         alike: frozenset[str] = frozenset()) -> tuple[str, list[str]]:
    """The declarations ("" for a plain LLVM instruction) and the lines that compute `result` from the values of the operands by name.

    An open row's intrinsic gets its type suffix: llvm.fma with four lanes is llvm.fma.v4f32. Operands in `alike` have equal lanes.
    """
    what = meaning(row, lanes)
    operands = {operand.name: operand for operand in ((what.result,) if what.accumulates else ()) + what.operands}
    *steps, last = row.llvm.split("; ")
    if not last.startswith("llvm.") and "(" not in last:
        source, = what.operands
        return "", [f"{result} = {last} {source.llvm} {values[source.name]} to {what.result.llvm}"]
    known = {name: (operand.llvm, values[name]) for name, operand in operands.items()}
    lines, declared = list[str](), list[str]()
    for text in steps:
        head, _, invoked = text.partition(" = ")
        name, _, kind = head.partition(":")
        known[name] = kind, f"{result}.{name}"
        _invoke(invoked, list(operands), known, kind, known[name][1], lines, declared)
    suffix = _suffix(what.result) if what.operation in OVERLOADED else ""
    if what.operation == NEAREST:
        suffix = _suffix(what.result) + _suffix(*what.operands)
    _invoke(last, list(operands), known, what.result.llvm, result, lines, declared, suffix, alike)
    return "\n".join(dict.fromkeys(declared)), lines


def _invoke(text: str, operands: list[str], known: dict[str, tuple[str, str]], kind: str, result: str, lines: list[str],
            declared: list[str], suffix: str = "", alike: frozenset[str] = frozenset()) -> None:
    """One call of an intrinsic: its declaration, the casts of its arguments and the call; `known` has the types and texts of names."""
    name, _, listed = text.partition("(")
    arguments = [each.strip() for each in listed.rstrip(")").split(",")] if listed else operands
    types, passed = list[str](), list[str]()
    for place, argument in enumerate(arguments):
        if argument.isdigit():
            types, passed = types + ["i32"], passed + [f"i32 {argument}"]
            continue
        source, _, cast = argument.partition(":")
        given, value = known[source]
        if cast and cast != given:
            lines.append(f"{result}.{place}.{source} = {_as_type(given, value, cast, source in alike)}")
            given, value = cast, f"{result}.{place}.{source}"
        types, passed = types + [given], passed + [f"{given} {value}"]
    if name in PLAIN:
        return lines.append(f"{result} = {_plain(name, passed, kind)}")
    lines.append(f"{result} = call {kind} @{name}{suffix}({', '.join(passed)})")
    declared.append(f"declare {kind} @{name}{suffix}({', '.join(types)})")


def _plain(name: str, passed: list[str], kind: str) -> str:
    """A step of PLAIN as an instruction; arguments are texts with their types."""
    if name == "bitcast":
        return f"bitcast {passed[0]} to {kind}"
    if name == "add":
        return f"add {passed[0]}, {passed[1].rpartition(' ')[2]}"
    if name == "held":
        return f'call {kind} asm "", "=w,0"({passed[0]}) nounwind memory(none)'
    vector, count = passed[0].rpartition(" ")[0], int(re.match(r"<(\d+) x ", kind)[1])
    step, first = 2 if name in ("even", "odd") else 1, {"high": count, "odd": 1}.get(name, 0)
    order = ", ".join(f"i32 {first + step * k}" for k in range(count))
    return f"shufflevector {passed[0]}, {passed[1] if name == 'join' else vector + ' poison'}, <{count} x i32> <{order}>"


def _as_type(kind: str, value: str, wanted: str, alike: bool) -> str:
    """The instruction that makes a value another type: by its bits, or as the low lanes of a longer vector (all, where they are alike)."""
    lanes, wide = (int(re.match(r"<(\d+) x ", t)[1]) if t[0] == "<" else 1 for t in (kind, wanted))
    if lanes == 1 or kind.partition(" x ")[2] != wanted.partition(" x ")[2]:
        return f"bitcast {kind} {value} to {wanted}"
    order = ", ".join(f"i32 {k % lanes}" if k < lanes or alike else "i32 poison" for k in range(wide))
    return f"shufflevector {kind} {value}, {kind} poison, <{wide} x i32> <{order}>"


def _suffix(result: Operand) -> str:
    element = LLVM_TYPES[result.dtype]
    return "." + (f"v{result.lanes}" if result.lanes != 1 else "") + SUFFIXES.get(element, element)


def widening_multiply_add(target: Target, narrow: str, lanes: int = 0) -> Instruction | None:
    """The row that adds products of `narrow` elements to f32 vectors of so many lanes (0: any) without rounding them; None without one."""
    rows = [row for row in target.instructions if _adds_products(meaning(row), narrow) and lanes in (0, meaning(row).result.lanes)]
    return rows[0] if rows else None


def _adds_products(what: Meaning, narrow: str) -> bool:
    return (what.operation == "dot" and what.group == 1 and what.result.dtype == "f32"
            and all(operand.dtype == narrow for operand in what.operands))


@cache
def multiplies_bytes(rows: tuple[Instruction, ...]) -> bool:
    """Whether a row multiplies vectors of signed bytes to 16 bits without adding them up."""
    found = [what for what in map(meaning, rows) if what.operation == "dot" and what.group == 1 and not what.accumulates]
    return any((what.result.dtype, *(operand.dtype for operand in what.operands)) == ("i16", "i8", "i8") for what in found)


@cache
def widening_multiply(rows: tuple[Instruction, ...]) -> Instruction | None:
    """The row that multiplies vectors of i16 to i32 without adding them up; None where there is none."""
    for row in rows:
        what = meaning(row)
        types = (what.result.dtype, *(operand.dtype for operand in what.operands))
        if what.operation == "dot" and not what.accumulates and what.group == 1 and types == ("i32", "i16", "i16"):
            return row
    return None
