"""Operators on strings: StringConcat StringSplit StringNormalizer RegexFullMatch.

In graphs a string is Python's str; how compiled code does the same on bytes is what `in_bytes` says (see edgec.ops.text_bytes).

    StringConcat(x, y).output
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgec.automaton import Automaton, automaton
from edgec.errors import Unsupported
from edgec.graph import Op, Value, constant
from edgec.ops.arithmetic import Add, Mul
from edgec.ops.cast import Cast
from edgec.ops.comparison import And, Equal, Not, Or
from edgec.ops.cumulative import CumSum
from edgec.ops.gather import Gather
from edgec.ops.joining import Concat
from edgec.ops.known_values import known_value
from edgec.ops.reduction import ReduceMax
from edgec.ops.reshape import Reshape
from edgec.ops.selection import PlaceOf
from edgec.ops.shape_arithmetic import broadcast_shapes
from edgec.ops.slicing import Pad, Slice
from edgec.ops.text_bytes import TextCase, TextJoin, TextPieces, TextPlace, cased, run_automaton
from edgec.text_slots import as_text, bytes_needed, to_slots
from edgec.types import TensorType, bool_, i64, string

SPACES = b" \t\n\r\v\f"


class StringOp(Op):
    """Base: an operator on strings."""

    abstract = True
    x: Value

    def require_strings(self) -> None:
        self.require(self.x.dtype is string, f"needs strings, the operand is {self.x.type}")


class StringConcat(StringOp):
    """ONNX StringConcat: each text with the other one behind it; the operands broadcast."""

    y: Value

    def infer(self) -> TensorType:
        self.require_strings()
        return TensorType(string, broadcast_shapes(self, self.x.shape, self.y.shape))

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray(x + y, object)

    def in_bytes(self, x: Value, y: Value) -> Value:
        return TextJoin(x, y).output


class StringNormalizer(StringOp):
    """ONNX StringNormalizer: texts that are no stop words, in upper or lower case; one empty text where none is left.

    Letters change their case as edgec.TextCase says, whatever the locale.
    """

    case_change_action: str = "NONE"
    is_case_sensitive: int = 0
    locale: str = ""
    stopwords: tuple = ()

    def infer(self) -> TensorType:
        self.require_strings()
        self.require(self.case_change_action in ("NONE", "LOWER", "UPPER"), f"case_change_action is {self.case_change_action!r}")
        rows = self.x.shape[0] if self.x.type.rank == 2 else 1
        self.require(self.x.type.rank in (1, 2) and rows == 1, f"needs [c] or [1, c], the operand is {self.x.type}")
        return self.x.type.with_shape((*self.x.shape[:-1], self._number()))

    def _number(self) -> Any:
        """How many texts are left."""
        if not self.stopwords:
            return self.x.shape[-1]
        known = known_value(self.x)
        if known is None:
            raise Unsupported(f"StringNormalizer: how many of %{self.x.name} are stop words is not known at compile time",
                              loc=self._pending_loc, hint="leave the stop words to what comes before the model")
        return max(1, len(self._kept(known)))

    def _kept(self, x: np.ndarray) -> list[str]:
        return [word for word, stop in zip(x.ravel().tolist(), are_stops(x, self.stopwords, self.is_case_sensitive)) if not stop]

    def reference(self, x: np.ndarray) -> np.ndarray:
        words = self._kept(x)
        words = words if self.case_change_action == "NONE" else [cased(w, self.case_change_action == "UPPER") for w in words]
        return as_text(words or [""], (*x.shape[:-1], max(1, len(words))))

    def in_bytes(self, x: Value) -> Value:
        flat = Reshape(x, constant(np.array([-1, x.shape[-1]]))).output
        kept = self._chosen(flat) if self.stopwords else flat
        changed = kept if self.case_change_action == "NONE" else TextCase(kept, upper=int(self.case_change_action == "UPPER")).output
        return Reshape(changed, constant(np.array([*self.output.shape, x.shape[-1]]))).output

    def _chosen(self, x: Value) -> Value:
        """The rows u8[kept, B] that are no stop words: an empty one, behind all others, where there are too few."""
        place = place_among_stops(x, self.stopwords, self.is_case_sensitive)
        keep = Concat((Equal(place, constant(np.int64(-1))).output, constant(np.array([True]))), axis=0).output
        marks = CumSum(Cast(keep, to=7).output, constant(np.int64(0))).output
        number = self.output.shape[-1]
        found = PlaceOf(marks, keep, axis=0, count=number + 1).output
        rows = Concat((x, constant(np.zeros((1, x.shape[1]), np.uint8))), axis=0).output
        return Gather(rows, Slice(found, _numbers(1), _numbers(number + 1)).output).output


def _numbers(*numbers: int) -> Value:
    return constant(np.array(numbers, np.int64))


class RegexFullMatch(StringOp):
    """ONNX RegexFullMatch: whether the whole text matches a pattern in the syntax of RE2."""

    pattern: str

    def infer(self) -> TensorType:
        self.require_strings()
        automaton(self.pattern)
        return self.x.type.with_dtype(bool_)

    def reference(self, x: np.ndarray) -> np.ndarray:
        wanted = re.compile(self.pattern, re.ASCII)
        return np.array([wanted.fullmatch(word) is not None for word in x.ravel()], bool).reshape(x.shape)

    def in_bytes(self, x: Value) -> Value:
        machine = automaton(self.pattern)
        shape = constant(np.array(self.x.shape, np.int64))
        if not self.x.type.max_size:
            return constant(np.zeros(self.x.shape, bool))
        state, _ = run_automaton(Reshape(x, _numbers(-1, x.shape[-1])).output, machine)
        return Reshape(Gather(constant(machine.accepts), state).output, shape).output


def are_stops(x: np.ndarray, stopwords: Sequence[str], is_case_sensitive: int) -> list[bool]:
    """Whether each text is a stop word."""
    def key(word: str) -> str:
        return word if is_case_sensitive else cased(word, False)
    stops = {key(word) for word in stopwords}
    return [key(word) in stops for word in x.ravel().tolist()]


def place_among_stops(x: Value, stopwords: Sequence[str], is_case_sensitive: int) -> Value:
    """Which stop word each row u8[n, B] is, -1 for none: i64[n]."""
    words = as_text(stopwords, (len(stopwords),))
    if not is_case_sensitive:
        words = as_text([cased(w, False) for w in words], words.shape)
    keys = constant(to_slots(words, bytes_needed(words)))
    return TextPlace(x if is_case_sensitive else TextCase(x).output, keys).output


class StopWord(StringOp):
    """edgec StopWord: whether each text of a vector is one of the stop words."""

    domain = "edgec"
    is_case_sensitive: int = 0
    stopwords: tuple = ()

    def infer(self) -> TensorType:
        self.require_strings()
        return self.x.type.with_dtype(bool_)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.array(are_stops(x, self.stopwords, self.is_case_sensitive), bool).reshape(x.shape)

    def in_bytes(self, x: Value) -> Value:
        place = place_among_stops(x, self.stopwords, self.is_case_sensitive)
        return Not(Equal(place, constant(np.int64(-1))).output).output


class StringSplit(StringOp):
    """ONNX StringSplit: the pieces of each text between delimiters (or runs of ASCII white space, without one), and how many there are.

    The pieces stand along a new last axis, as long as the text with the most has them; "" follows the last. Where that is not known there
    is room for so many, which the user gives.
    """

    delimiter: str | None = None
    maxsplit: int | None = None
    room: int | None = None

    def infer(self) -> tuple[TensorType, TensorType]:
        self.require_strings()
        known = known_value(self.x) if self.room is None else None
        if known is None and self.room is None:
            raise Unsupported(f"StringSplit: the number of pieces of %{self.x.name} is not known at compile time",
                              loc=self._pending_loc, hint="say how many at the most, under the name of the result: --bind y=0..8")
        pieces = self.room if self.room is not None else max([0, *map(len, self._split(known))])
        return self.x.type.with_shape((*self.x.shape, pieces)), TensorType(i64, self.x.shape)

    def _split(self, x: np.ndarray) -> list[list[str]]:
        most = -1 if self.maxsplit is None else self.maxsplit
        return [[p.decode() for p in word.encode().split(self.delimiter.encode() if self.delimiter else None, most)]
                for word in x.ravel().tolist()]

    def reference(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = self._split(x)
        size = self.results[0].shape[-1]
        words = [piece for row in rows for piece in (*row[:size], *[""] * (size - len(row)))]
        return as_text(words, (*x.shape, size)), np.array([len(r) for r in rows], np.int64).reshape(x.shape)

    def in_bytes(self, x: Value) -> tuple[Value, Value]:
        pieces, width = self.results[0].shape[-1], x.shape[-1]
        if not self.results[0].type.max_size:
            return constant(np.zeros((*self.results[0].shape, width), np.uint8)), constant(np.zeros(self.x.shape, np.int64))
        flat = Pad(Reshape(x, _numbers(-1, width)).output, _numbers(0, 0, 0, 1)).output
        begins, stops = self._at_delimiters(flat) if self.delimiter else self._at_spaces(flat)
        cut = TextPieces(flat, begins, stops, pieces=pieces).output
        count = ReduceMax(begins, _numbers(1), keepdims=0).output
        shape = constant(np.array([*self.results[0].shape, width + 1]))
        lengths = Reshape(Cast(count, to=7).output, constant(np.array(self.x.shape, np.int64))).output
        return Slice(Reshape(cut, shape).output, _numbers(0), _numbers(width), _numbers(len(self.x.shape) + 1)).output, lengths

    def _numbered(self, marks: Value, first: int = 0) -> Value:
        """The how-manieth mark each one is (from 1 on), 0 where there is none, or past the last split."""
        whole = Cast(marks, to=6).output
        numbers = CumSum(whole, constant(np.int64(1))).output
        if self.maxsplit is not None and self.maxsplit >= 0:
            from edgec.ops.comparison import LessOrEqual
            allowed = LessOrEqual(numbers, constant(np.int32(self.maxsplit + first))).output
            whole = Mul(whole, Cast(allowed, to=6).output).output
        return Mul(numbers, whole).output

    def _at_delimiters(self, x: Value) -> tuple[Value, Value]:
        """Marks (begins, stops) of pieces: i32[n, B + 1]."""
        text, width = self.delimiter.encode(), x.shape[-1]
        if len(text) == 1:
            ends = Equal(x, constant(np.uint8(text[0]))).output
        else:
            ends = Equal(run_automaton(x, _finder(text))[1], constant(np.int32(len(text)))).output
        numbers = self._numbered(ends)
        begins = Slice(Pad(numbers, _numbers(0, 1, 0, 0)).output, _numbers(0), _numbers(width), _numbers(1)).output
        there = Cast(Not(Equal(begins, constant(np.int32(0))).output).output, to=6).output
        front = np.zeros((1, width), np.int32)
        front[0, 0] = 1
        begins = Add(Add(begins, there).output, constant(front)).output
        back = len(text) - 1
        stops = Slice(Pad(numbers, _numbers(0, 0, 0, back)).output, _numbers(back), _numbers(width + back), _numbers(1)).output
        return begins, stops

    def _at_spaces(self, x: Value) -> tuple[Value, Value]:
        width = x.shape[-1]
        space = Equal(x, constant(np.uint8(0))).output
        for byte in SPACES:
            space = Or(space, Equal(x, constant(np.uint8(byte))).output).output
        word = Not(space).output

        def moved(value: Value) -> Value:
            number = Pad(Cast(value, to=6).output, _numbers(0, 1, 0, 0)).output
            return Cast(Slice(number, _numbers(0), _numbers(width), _numbers(1)).output, to=9).output
        before = moved(word)
        return self._numbered(And(word, Not(before).output).output, first=1), self._numbered(And(space, before).output)


def _finder(text: bytes) -> Automaton:
    """The automaton that is in state len(text) behind every occurrence of a text, none overlapping the one before."""
    steps = np.zeros((len(text) + 1, 256), np.int32)
    for state in range(len(text) + 1):
        seen = text[:state] if state < len(text) else b""
        for byte in range(256):
            now = seen + bytes([byte])
            steps[state, byte] = next(n for n in range(min(len(now), len(text)), -1, -1) if now.endswith(text[:n]))
    return Automaton(steps, np.arange(256, dtype=np.int32), np.arange(len(text) + 1) == len(text))
