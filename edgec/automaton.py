"""Regular expressions as tables: a deterministic automaton over the bytes of UTF-8 that tells whether a whole text matches.

Syntax as in RE2: no look-around, no references to groups; \\w \\d \\s and \\b are those of ASCII, `.` is anything but a line feed,
`$` the end.
Parsed by Python's own parser, made into a nondeterministic automaton (K. Thompson, CACM 11, 1968) and from that, set by set, into tables.

    automaton("a+b").matches("aab")      # True
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from re import _parser
from typing import Any

import numpy as np

from edgec.errors import ModelError, Unsupported

Ranges = list[tuple[int, int]]

MOST_STATES = 1 << 14
LAST = 0x10FFFF  # code point
WORD: Ranges = [(48, 57), (65, 90), (95, 95), (97, 122)]
CATEGORIES: dict[str, Ranges] = {"WORD": WORD, "DIGIT": [(48, 57)], "SPACE": [(9, 13), (32, 32)]}
START, INSIDE, OUTSIDE, END = "start", "inside a word", "outside of words", "end"


@dataclass(frozen=True, eq=False)
class Automaton:
    """From state 0, byte b leads from state s to `steps[s, kinds[b]]`; a text matches where it ends in a state that `accepts`.

    i32[states, kinds], i32[256], bool[states]. Byte 0 stands behind the end of a text and changes nothing.
    """

    steps: np.ndarray
    kinds: np.ndarray
    accepts: np.ndarray

    def matches(self, text: str) -> bool:
        """Whether the whole text matches."""
        state = 0
        for byte in text.encode():
            state = self.steps[state, self.kinds[byte]]
        return bool(self.accepts[state])


def automaton(pattern: str) -> Automaton:
    """The automaton of a pattern; ModelError where it is malformed, Unsupported where no automaton can tell, or only a huge one."""
    try:
        parsed = _parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ModelError(f"the pattern {pattern!r} is malformed: {error}") from None
    if parsed.state.flags & ~(re.UNICODE | re.ASCII | re.IGNORECASE | re.DOTALL):
        raise Unsupported(f"the pattern {pattern!r} with other flags than i, s and a")
    net = _Net(pattern, bool(parsed.state.flags & re.IGNORECASE), bool(parsed.state.flags & re.DOTALL))
    start = net.node()
    net.final = net.sequence(parsed, start)
    return _Subsets(net, start).automaton()


@dataclass
class _Net:
    """The nondeterministic automaton: by node, moves on a range of bytes, and moves on nothing that may want something of the place."""

    pattern: str
    ignores_case: bool
    dot_is_all: bool
    moves: list[list[tuple[int, int, int]]] = field(default_factory=list)
    jumps: list[list[tuple[str, int]]] = field(default_factory=list)
    final: int = 0

    def node(self) -> int:
        self.moves.append([])
        self.jumps.append([])
        if len(self.moves) > 16 * MOST_STATES:
            raise Unsupported(f"the pattern {self.pattern!r} is too large for an automaton", hint="write smaller repetitions")
        return len(self.moves) - 1

    def sequence(self, items: Any, start: int) -> int:
        """Items one after the other from a node; the node behind them."""
        for name, argument in items:
            start = self.item(str(name), argument, start)
        return start

    def item(self, name: str, argument: Any, start: int) -> int:
        match name:
            case "LITERAL":
                return self.one_of([(argument, argument)], start)
            case "NOT_LITERAL":
                return self.one_of(_others([(argument, argument)]), start)
            case "ANY":
                return self.one_of([(1, LAST)] if self.dot_is_all else [(1, 9), (11, LAST)], start)
            case "IN":
                return self.one_of(_members(argument), start)
            case "BRANCH":
                return self.branches(argument[1], start)
            case "SUBPATTERN" if not argument[1] and not argument[2]:
                return self.sequence(argument[3], start)
            case "MAX_REPEAT" | "MIN_REPEAT":
                return self.repeated(*argument, start)
            case "AT":
                return self.linked(start, self.node(), str(argument))
        raise Unsupported(f"the pattern {self.pattern!r} needs more than an automaton ({name.lower().replace('_', ' ')})",
                          hint="RE2 has no look-around and no references to groups")

    def linked(self, start: int, end: int, condition: str = "") -> int:
        self.jumps[start].append((condition, end))
        return end

    def branches(self, choices: Sequence[Any], start: int) -> int:
        end = self.node()
        for choice in choices:
            self.linked(self.sequence(choice, self.linked(start, self.node())), end)
        return end

    def repeated(self, least: int, most: Any, items: Any, start: int) -> int:
        for _ in range(least):
            start = self.sequence(items, start)
        if most is _parser.MAXREPEAT:
            loop = self.linked(start, self.node())
            self.linked(self.sequence(items, loop), loop)
            return self.linked(loop, self.node())
        end = self.node()
        for _ in range(most - least):
            self.linked(start, end)
            start = self.sequence(items, start)
        return self.linked(start, end)

    def one_of(self, ranges: Ranges, start: int) -> int:
        """One character of some ranges of code points."""
        end = self.node()
        for low, high in _both_cases(ranges) if self.ignores_case else ranges:
            for steps in utf8_ranges(max(low, 1), high):
                here = start
                for number, (first, last) in enumerate(steps, 1):
                    there = end if number == len(steps) else self.node()
                    self.moves[here].append((first, last, there))
                    here = there
        return end


def _members(items: Any) -> Ranges:
    """The code points of a class in brackets."""
    found: Ranges = []
    for name, argument in items:
        match str(name):
            case "LITERAL":
                found.append((argument, argument))
            case "RANGE":
                found.append(argument)
            case "CATEGORY":
                kind = str(argument).removeprefix("CATEGORY_")
                ranges = CATEGORIES[kind.removeprefix("NOT_")]
                found += _others(ranges) if kind.startswith("NOT_") else ranges
    return _others(found) if items and str(items[0][0]) == "NEGATE" else found


def _others(ranges: Ranges) -> Ranges:
    """The code points outside of some ranges, but 0."""
    found, start = [], 1
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = max(start, high + 1)
    return [*found, (start, LAST)] if start <= LAST else found


def _both_cases(ranges: Ranges) -> Ranges:
    """ASCII letters in both cases."""
    found = list(ranges)
    for low, high in ranges:
        for first, last, move in ((65, 90, 32), (97, 122, -32)):
            if max(low, first) <= min(high, last):
                found.append((max(low, first) + move, min(high, last) + move))
    return found


def utf8_ranges(low: int, high: int) -> Iterator[list[tuple[int, int]]]:
    """Ranges of bytes, one after the other, that spell the code points low to high (both included), in as many pieces as it takes."""
    if low > high:
        return
    for top in (0x7F, 0x7FF, 0xFFFF):
        if low <= top < high:
            yield from utf8_ranges(low, top)
            yield from utf8_ranges(top + 1, high)
            return
    first, last = (chr(c).encode("utf-8", "surrogatepass") for c in (low, high))
    for place in range(1, len(first)):
        mask = (1 << 6 * place) - 1
        if low & ~mask != high & ~mask:
            cut = (low | mask) + 1 if low & mask else high & ~mask if high & mask != mask else None
            if cut is not None:
                yield from utf8_ranges(low, cut - 1)
                yield from utf8_ranges(cut, high)
                return
    yield list(zip(first, last))


class _Subsets:
    """The construction of subsets: a state is the nodes that may be reached, and what stood before them where a condition asks for it."""

    def __init__(self, net: _Net, start: int):
        self.net = net
        self.asks = any(condition for jumps in net.jumps for condition, _ in jumps)
        self.kinds, self.samples = self._kinds()
        first = (frozenset([start]), START if self.asks else OUTSIDE)
        self.states, self.numbers = [first], {first: 0}

    def _kinds(self) -> tuple[np.ndarray, list[int]]:
        """(the kind of each byte, a byte of each kind but 0): bytes of one kind are in the same ranges."""
        cuts = {1, 128, *(c for low, high in WORD for c in (low, high + 1))}
        cuts |= {c for moves in self.net.moves for low, high, _ in moves for c in (low, high + 1)}
        edges = sorted(c for c in cuts if 0 < c < 256)
        return np.searchsorted(edges, np.arange(256), "right").astype(np.int32), edges

    def automaton(self) -> Automaton:
        rows = []
        while len(rows) < len(self.states):
            state = self.states[len(rows)]
            rows.append([len(rows), *(self._number(self._after(state, byte)) for byte in self.samples)])
        accepts = [self.net.final in self._closure(nodes, before, END) for nodes, before in self.states]
        return Automaton(np.array(rows, np.int32), self.kinds, np.array(accepts))

    def _number(self, state: tuple[frozenset[int], str]) -> int:
        if state not in self.numbers:
            if len(self.states) >= MOST_STATES:
                raise Unsupported(f"the pattern {self.net.pattern!r} needs more than {MOST_STATES} states", hint="write a simpler pattern")
            self.numbers[state] = len(self.states)
            self.states.append(state)
        return self.numbers[state]

    def _after(self, state: tuple[frozenset[int], str], byte: int) -> tuple[frozenset[int], str]:
        inside = INSIDE if any(low <= byte <= high for low, high in WORD) else OUTSIDE
        nodes = self._closure(*state, inside)
        reached = frozenset(end for node in nodes for low, high, end in self.net.moves[node] if low <= byte <= high)
        return reached, inside if self.asks and reached else OUTSIDE

    def _closure(self, nodes: frozenset[int], before: str, after: str) -> set[int]:
        found, work = set(nodes), list(nodes)
        while work:
            for condition, end in self.net.jumps[work.pop()]:
                if end not in found and _holds(condition, before, after):
                    found.add(end)
                    work.append(end)
        return found


def _holds(condition: str, before: str, after: str) -> bool:
    """Whether a place between two bytes is what a condition asks for."""
    match condition.removeprefix("AT_"):
        case "":
            return True
        case "BEGINNING" | "BEGINNING_STRING":
            return before == START
        case "END" | "END_STRING":
            return after == END
    at_edge = (before == INSIDE) != (after == INSIDE)
    return at_edge if condition == "AT_BOUNDARY" else not at_edge
