"""Weights under a canonical Huffman code: the bytes of the object, and the function that decodes them into the arena.

Constants are cut into segments: the bytes of small integers one after the other, those of floats in planes (the exponents' bytes are alike,
those of mantissas are not). A segment that the code does not shorten is kept as it is. Lengths of codes are at most 15 bits, so a table is
the number of codes of each length and the symbols in order. D. Huffman, "A method for the construction of minimum-redundancy codes", 1952.

    coded(blob, [(0, 4096, 1), (4096, 512, 4)])     # (start, bytes, bytes of an element) of each constant

    u32 segments; each: u32 count, start, step, bytes of symbols, bytes of bits; u16 counts[16]; symbols; bits
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Iterator, Sequence

import numpy as np

UNPACK = "edgec_unpack"
LONGEST = 15
HEADER = 20  # bytes before the counts
TABLE = HEADER + 32

TEXT = f"""\
define void @{UNPACK}(ptr noalias readonly captures(none) %coded, ptr noalias captures(none) %out) #0 {{
entry:
  %segments = load i32, ptr %coded, align 4
  %first = getelementptr i8, ptr %coded, i32 4
  br label %segment
segment:
  %left = phi i32 [ %segments, %entry ], [ %left.next, %next ]
  %at = phi ptr [ %first, %entry ], [ %at.next, %next ]
  %some = icmp ne i32 %left, 0
  br i1 %some, label %begin, label %done
begin:
  %count = load i32, ptr %at, align 4
  %start_at = getelementptr i8, ptr %at, i32 4
  %start = load i32, ptr %start_at, align 4
  %step_at = getelementptr i8, ptr %at, i32 8
  %step = load i32, ptr %step_at, align 4
  %symbol_bytes_at = getelementptr i8, ptr %at, i32 12
  %symbol_bytes = load i32, ptr %symbol_bytes_at, align 4
  %bit_bytes_at = getelementptr i8, ptr %at, i32 16
  %bit_bytes = load i32, ptr %bit_bytes_at, align 4
  %counts = getelementptr i8, ptr %at, i32 {HEADER}
  %symbols = getelementptr i8, ptr %at, i32 {TABLE}
  %bits = getelementptr i8, ptr %symbols, i32 %symbol_bytes
  %at.next = getelementptr i8, ptr %bits, i32 %bit_bytes
  %left.next = sub i32 %left, 1
  %target = getelementptr i8, ptr %out, i32 %start
  %plain16 = load i16, ptr %counts, align 2
  %plain = icmp ne i16 %plain16, 0
  br label %byte
byte:
  %n = phi i32 [ 0, %begin ], [ %n.next, %store ]
  %position = phi i32 [ 0, %begin ], [ %position.next, %store ]
  %more = icmp ult i32 %n, %count
  br i1 %more, label %symbol, label %next
symbol:
  br i1 %plain, label %copy, label %bit
copy:
  %copied_at = getelementptr i8, ptr %bits, i32 %n
  %copied = load i8, ptr %copied_at, align 1
  br label %store
bit:
  %length = phi i32 [ 1, %symbol ], [ %length.next, %longer ]
  %prefix = phi i32 [ 0, %symbol ], [ %prefix.next, %longer ]
  %least = phi i32 [ 0, %symbol ], [ %least.next, %longer ]
  %index = phi i32 [ 0, %symbol ], [ %index.next, %longer ]
  %where = phi i32 [ %position, %symbol ], [ %where.next, %longer ]
  %number = lshr i32 %where, 3
  %holder_at = getelementptr i8, ptr %bits, i32 %number
  %holder = load i8, ptr %holder_at, align 1
  %wide = zext i8 %holder to i32
  %turn = and i32 %where, 7
  %turned = lshr i32 %wide, %turn
  %one = and i32 %turned, 1
  %code = or i32 %prefix, %one
  %where.next = add i32 %where, 1
  %these_at = getelementptr i16, ptr %counts, i32 %length
  %these16 = load i16, ptr %these_at, align 2
  %these = zext i16 %these16 to i32
  %place = sub i32 %code, %least
  %found = icmp ult i32 %place, %these
  br i1 %found, label %decoded, label %longer
longer:
  %index.next = add i32 %index, %these
  %past = add i32 %least, %these
  %least.next = shl i32 %past, 1
  %prefix.next = shl i32 %code, 1
  %length.next = add i32 %length, 1
  br label %bit
decoded:
  %order = add i32 %index, %place
  %named_at = getelementptr i8, ptr %symbols, i32 %order
  %named = load i8, ptr %named_at, align 1
  br label %store
store:
  %value = phi i8 [ %copied, %copy ], [ %named, %decoded ]
  %position.next = phi i32 [ %position, %copy ], [ %where.next, %decoded ]
  %offset = mul i32 %n, %step
  %value_at = getelementptr i8, ptr %target, i32 %offset
  store i8 %value, ptr %value_at, align 1
  %n.next = add i32 %n, 1
  br label %byte
next:
  br label %segment
done:
  ret void
}}
attributes #0 = {{ nounwind noredzone "no-builtins" "warn-stack-size"="0" }}
"""


def coded(blob: bytes, constants: Sequence[tuple[int, int, int]]) -> bytes:
    """The bytes that `edgec_unpack` turns back into `blob`; `constants` as (start, bytes, bytes of an element), in order."""
    data, found, plain = np.frombuffer(blob, np.uint8), [], 0
    for start, size, item in constants:
        segments = [_segment(data[start + plane:start + size:item], start + plane, item) for plane in range(item)]
        if sum(map(len, segments)) < size:  # what lies before it stays as it is
            found += [*_plain(data, plain, start), *segments]
            plain = start + size
    found += _plain(data, plain, len(data))
    return struct.pack("<I", len(found)) + b"".join(found)


def _plain(data: np.ndarray, start: int, stop: int) -> Iterator[bytes]:
    """A segment of bytes as they are."""
    if start < stop:
        bits = _padded(data[start:stop].tobytes())
        yield struct.pack("<5I16H", stop - start, start, 1, 0, len(bits), 1, *[0] * 15) + bits


def _segment(values: np.ndarray, start: int, step: int) -> bytes:
    """The shorter of a segment under its own code and one of bytes as they are."""
    lengths = code_lengths(np.bincount(values, minlength=256))
    symbols = np.lexsort((np.arange(256), lengths))
    symbols = symbols[lengths[symbols] > 0]
    counts = np.bincount(lengths[symbols], minlength=LONGEST + 1)
    named, bits = _padded(symbols.astype(np.uint8).tobytes()), _padded(_bits(values, symbols, lengths, counts))
    if len(named) + len(bits) >= len(values):
        named, bits, counts = b"", _padded(values.tobytes()), np.eye(1, LONGEST + 1, dtype=int)[0]
    return struct.pack("<5I16H", len(values), start, step, len(named), len(bits), *counts.tolist()) + named + bits


def code_lengths(counts: np.ndarray) -> np.ndarray:
    """The bits of each symbol's code, 0 for symbols that do not occur; counts are evened out until none is longer than LONGEST."""
    present = np.flatnonzero(counts)
    lengths = np.zeros(len(counts), np.int64)
    if len(present) == 1:
        lengths[present] = 1
        return lengths
    weights = counts[present].astype(np.int64)
    while True:
        heap = [(int(w), n, [n]) for n, w in enumerate(weights)]
        heapq.heapify(heap)
        depth = np.zeros(len(present), np.int64)
        serial = len(heap)
        while len(heap) > 1:
            (a, _, left), (b, _, right) = heapq.heappop(heap), heapq.heappop(heap)
            depth[left + right] += 1
            heapq.heappush(heap, (a + b, serial, left + right))
            serial += 1
        if depth.max(initial=0) <= LONGEST:
            lengths[present] = depth
            return lengths
        weights = (weights + 1) // 2


def _bits(values: np.ndarray, symbols: np.ndarray, lengths: np.ndarray, counts: np.ndarray) -> bytes:
    """The codes of all values one after the other, each from its highest bit on, into bytes from their lowest bit on."""
    codes, code, at = np.zeros(256, np.int64), 0, 0
    for length in range(1, LONGEST + 1):
        for symbol in symbols[at:at + counts[length]]:
            codes[symbol], code = code, code + 1
        at, code = at + int(counts[length]), code << 1
    size = lengths[values]
    which = np.repeat(np.arange(len(values)), size)
    within = np.arange(len(which)) - np.repeat(np.cumsum(size) - size, size)
    return np.packbits(((codes[values][which] >> (size[which] - 1 - within)) & 1).astype(np.uint8), bitorder="little").tobytes()


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
