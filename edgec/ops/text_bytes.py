"""Work on the bytes of text: what the operators on strings become in compiled code. A text is a slot u8[..., B], zeros behind its end.

The pass `strings` asks an operator on strings for this form (its method `in_bytes`).

    TextPlace(slots, keys).output       # i64[...]: which of the keys each text is, -1 for none
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from edgec.automaton import Automaton
from edgec.expr import Expr, as_expr, binary, cast, compare, const, maximum, minimum, read, select
from edgec.graph import Graph, Op, Value, constant, graph_input
from edgec.lowering import Reader
from edgec.ops.accumulation import fold
from edgec.ops.constant_table import table
from edgec.ops.shape_arithmetic import broadcast_shapes
from edgec.text_slots import as_text, bytes_needed, from_slots, to_slots
from edgec.types import TensorType, i32, i64, index, u8


class TextOp(Op):
    """Base: an operator on slots."""

    abstract = True
    domain = "edgec"
    x: Value

    def require_slots(self) -> None:
        fits = self.x.dtype is u8 and self.x.type.rank > 0 and isinstance(self.x.shape[-1], int)
        self.require(fits, f"needs slots of bytes, the operand is {self.x.type}")


class TextPlace(TextOp):
    """edgec TextPlace: the place among the rows of `keys` of the first one that each text equals, -1 where there is none."""

    keys: Value

    def infer(self) -> TensorType:
        self.require_slots()
        self.require(self.keys.dtype is u8 and self.keys.type.rank == 2, f"needs rows of bytes, the keys are {self.keys.type}")
        return TensorType(i64, self.x.shape[:-1])

    def reference(self, x: np.ndarray, keys: np.ndarray) -> np.ndarray:
        places = {key: n for n, key in reversed(list(enumerate(from_slots(keys))))}
        return np.array([places.get(word, -1) for word in from_slots(x).ravel()], np.int64).reshape(x.shape[:-1])

    def lower(self, at: tuple[Expr, ...], x: Reader, keys: Reader) -> Expr:
        count, width = keys.shape
        size = max(width, x.shape[-1])
        outside = const(0, u8)

        def rank(k: Expr) -> Expr:
            def differs(b: Expr) -> Expr:
                ours = x(*at, b, fill=outside) if x.shape[-1] < size else x(*at, b)
                theirs = keys(k, b, fill=outside) if width < size else keys(k, b)
                return select(compare("ne", ours, theirs), const(1, i32), const(0, i32))
            same = compare("eq", fold((size,), "max", differs), const(0, i32))
            return select(same, cast(as_expr(count, index) - k, i32), const(0, i32))  # the first counts most
        most = cast(fold((count,), "max", rank), i64) if count else const(0, i64)
        return select(compare("eq", most, const(0, i64)), const(-1, i64), const(count, i64) - most)


class TextJoin(TextOp):
    """edgec TextJoin: a text and behind it another; the slots are as long as both."""

    y: Value

    def infer(self) -> TensorType:
        self.require_slots()
        lead = broadcast_shapes(self, self.x.shape[:-1], self.y.shape[:-1])
        return TensorType(u8, (*lead, self.x.shape[-1] + self.y.shape[-1]))

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        first, second = np.broadcast_arrays(from_slots(x), from_slots(y))
        words = as_text([a + b for a, b in zip(first.ravel(), second.ravel())], first.shape)
        return to_slots(words, x.shape[-1] + y.shape[-1])

    def lower(self, at: tuple[Expr, ...], x: Reader, y: Reader) -> Expr:
        def of(reader: Reader, byte: Expr, fill: Expr | None = None) -> Expr:
            tail = at[len(at) - reader.rank:-1] if reader.rank > 1 else ()
            return reader(*(0 if size == 1 else i for i, size in zip(tail, reader.shape)), byte, fill=fill)

        def counts(byte: Expr) -> Expr:
            return select(compare("ne", of(x, byte), const(0, u8)), const(1, i32), const(0, i32))
        length = cast(fold((x.shape[-1],), "add", counts), index)
        mine, theirs = of(x, at[-1], const(0, u8)), of(y, at[-1] - length, const(0, u8))
        return select(at[-1] < length, mine, theirs)


class TextCase(TextOp):
    """edgec TextCase: letters in upper or lower case, where both have as many bytes: of code points below 800 (hex), and 1E00 to 1EFF."""

    upper: int = 0

    def infer(self) -> TensorType:
        self.require_slots()
        return self.x.type

    def reference(self, x: np.ndarray) -> np.ndarray:
        words = from_slots(x)
        return to_slots(as_text([cased(word, bool(self.upper)) for word in words.ravel()], words.shape), x.shape[-1])

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        def byte(step: int) -> Expr:
            return cast(x(*at[:-1], at[-1] + step, fill=const(0, u8)) if step else x(*at), i32)

        def within(value: Expr, low: int, high: int) -> Expr:
            return compare("lt", const(low - 1, i32), value) & compare("lt", value, const(high + 1, i32))
        other, before, here, after = byte(-2), byte(-1), byte(0), byte(1)
        two, three = _case_tables(bool(self.upper))
        tail, lead = within(here, 0x80, 0xBF), within(here, 0xC0, 0xDF)
        plain = read(table(two), (cast(minimum(here, const(0x7F, i32)), index),))
        pair = read(table(two), (_code(select(lead, here, before), select(lead, after, here), 0x1F),))
        triple = read(table(three), (_code(select(tail & compare("eq", other, const(0xE1, i32)), before, here),
                                           select(tail & compare("eq", other, const(0xE1, i32)), here, after), 0x03),))
        of_block = within(before, 0xB8, 0xBB) & compare("eq", other, const(0xE1, i32))   # the third byte
        middle = compare("eq", before, const(0xE1, i32)) & within(here, 0xB8, 0xBB)       # the second
        found = select(lead, binary("shr", pair, const(6, i32)) | const(0xC0, i32), here)
        found = select(tail & within(before, 0xC0, 0xDF), pair & const(0x3F, i32) | const(0x80, i32), found)
        found = select(middle, binary("shr", triple, const(6, i32)) | const(0xB8, i32), found)
        found = select(tail & of_block, triple & const(0x3F, i32) | const(0x80, i32), found)
        return cast(select(within(here, 0, 0x7F), plain, found), u8)


def _code(lead: Expr, tail: Expr, mask: int) -> Expr:
    """The place in a table of 64 columns that two bytes name."""
    code = (lead & const(mask, i32)) * 64 + (tail & const(0x3F, i32))
    return cast(maximum(minimum(code, const(64 * (mask + 1) - 1, i32)), const(0, i32)), index)


@cache
def _case_tables(upper: bool) -> tuple[np.ndarray, np.ndarray]:
    """(the other case of code points below 800 hex, that of 1E00 to 1EFF less 1E00), i32[2048] and i32[256]."""
    def number(code: int) -> int:
        return ord(cased(chr(code), upper))
    return np.array([number(c) for c in range(0x800)], np.int32), np.array([number(0x1E00 + c) - 0x1E00 for c in range(256)], np.int32)


def cased(text: str, upper: bool) -> str:
    """A text in upper or lower case, letter by letter; one whose other case has more or fewer bytes, or is more than one, stays."""
    def one(letter: str) -> str:
        other = letter.upper() if upper else letter.lower()
        block = 0x1E00 <= ord(letter) <= 0x1EFF and len(other) == 1 and 0x1E00 <= ord(other) <= 0x1EFF
        small = ord(letter) < 0x800 and len(other) == 1 and len(other.encode()) == len(letter.encode())
        return other if small or block else letter
    return "".join(map(one, text))


class TextPieces(TextOp):
    """edgec TextPieces: pieces of texts: the k-th goes from where `begins` is k + 1 to before where `stops` is; "" where there is none."""

    begins: Value
    stops: Value
    pieces: int

    def infer(self) -> TensorType:
        self.require_slots()
        marks = (i32, 2, self.x.shape[1])
        fits = self.x.type.rank == 2 and all((v.dtype, v.type.rank, v.shape[1]) == marks for v in (self.begins, self.stops))
        self.require(fits, "needs [texts, bytes], and marks i32 beside each byte")
        return TensorType(u8, (self.x.shape[0], self.pieces, self.x.shape[1]))

    def reference(self, x: np.ndarray, begins: np.ndarray, stops: np.ndarray) -> np.ndarray:
        result = np.zeros((len(x), self.pieces, x.shape[1]), np.uint8)
        for row, (first, last) in enumerate(zip(begins, stops)):
            for piece in range(self.pieces):
                start, end = np.flatnonzero(first == piece + 1), np.flatnonzero(last == piece + 1)
                if len(start):
                    cut = x[row, start[0]:end[0] if len(end) else None]
                    result[row, piece, :len(cut)] = cut
        return result

    def lower(self, at: tuple[Expr, ...], x: Reader, begins: Reader, stops: Reader) -> Expr:
        row, piece, byte = at
        width, wanted = x.shape[1], cast(piece, i32) + 1

        def place(marks: Reader) -> Expr:
            """Where the mark stands, the width where it does not."""
            def one(b: Expr) -> Expr:
                return select(compare("eq", marks(row, b), wanted), as_expr(width, index) - b, const(0, index))
            return as_expr(width, index) - fold((width,), "max", one)
        there = place(begins) + byte
        return select(there < place(stops), x(row, there, fill=const(0, u8)), const(0, u8))


def run_automaton(x: Value, machine: Automaton) -> tuple[Value, Value]:
    """(the state after the last byte i32[n], the state after every byte i32[n, B]) of texts u8[n, B]."""
    from edgec.ops.arithmetic import Add, Mul
    from edgec.ops.cast import Cast
    from edgec.ops.control_flow import Scan
    from edgec.ops.gather import Gather
    from edgec.ops.generate import ConstantOfShape
    from edgec.ops.reshape import Shape
    rows, width = machine.steps.shape
    state, byte = graph_input("state", TensorType(i32, x.shape[:1])), graph_input("byte", TensorType(u8, x.shape[:1]))
    kind = Gather(constant(machine.kinds), Cast(byte, to=6).output).output
    place = Add(Mul(state, constant(np.int32(width))).output, kind).output
    after = Gather(constant(machine.steps.reshape(-1)), place).output
    start = ConstantOfShape(Shape(x, start=0, end=1).output, value=np.zeros(1, np.int32)).output
    body = Graph((state, byte), (after, after), ("state", "after"), "automaton")
    return Scan((start, x), body=body, num_scan_inputs=1, scan_input_axes=(1,), scan_output_axes=(1,)).results


def place_among(x: Value, words: Sequence[str]) -> Value:
    """Which of the words each slot of bytes holds, -1 for none: i64[...]."""
    keys = as_text(list(words), (len(words),))
    return TextPlace(x, constant(to_slots(keys, bytes_needed(keys)))).output
