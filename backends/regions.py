"""The body of a region that threads share, as an executor calls it: one part of each kernel in order, in LLVM IR.

    void @net_run_region0(ptr %frame, i32 %part, i32 %slot):  call @kernel(ptr ..., i64 bounds[part], i64 bounds[part + 1])  per call

The frame lies on the stack of PREFIX_run: the caller's context, the address of the weights, and the sizes and loop counters that kernels
take. Scratch memory of the first slot is where a call without an executor has it; that of the others lies behind the arena.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgec.backends.interface import ContextLayout, Interface
from edgec.backends.steps import CallStep, Place, RegionStep, places_of

LINE = 64  # bytes between words that different threads write


@dataclass(frozen=True)
class Frame:
    """What a region needs of the function that lends it: two pointers, then a word for each index argument."""

    indices: tuple[int | str, ...]
    word: str
    counters: int = 0  # 32-bit numbers of parts taken so far
    threads: int = 1   # that have a share of their own
    given: int = 1 << 30  # dimensions below are known when the call begins, the others are computed

    @property
    def bytes(self) -> int:
        return int(self.word[1:]) // 8

    def at(self, index: int | str) -> int:
        """The byte offset of an index argument."""
        return self.bytes * (2 + self.indices.index(index))

    @property
    def rest(self) -> int:
        """The byte offset of the executor's function for who waits; its argument is the next word."""
        return self.bytes * (2 + len(self.indices))

    @property
    def done(self) -> int:
        """The byte offset of the number of shares done, which has a cache line to itself."""
        return self.rest + 2 * self.bytes + LINE

    @property
    def leads(self) -> int:
        """The byte offset of the number of claims on what is not shared."""
        return self.done + LINE

    def claim(self, slot: int) -> int:
        """The byte offset of the ticket of the last share claimed of a slot, in a cache line to itself."""
        return self.leads + LINE * (1 + slot)

    def taken(self, number: int) -> int:
        """The byte offset of one of the counters."""
        return self.claim(self.threads) + 4 * number

    def allocate(self) -> list[str]:
        return [f"  %frame = alloca [{self.taken(self.counters) + LINE} x i8], align {self.bytes}"]

    def fill(self, weights: str) -> list[str]:
        """Everything that is the same for the whole call."""
        members = ((self.bytes, f"ptr {weights}"), (self.rest, "ptr %resting"), (self.rest + self.bytes, "ptr %lent"))
        lines = ["  store ptr %context, ptr %frame", *self._set(members)]
        for n in (n for n in self.indices if isinstance(n, int) and n < self.given):
            lines += self._store(f"%frame_dim{n}", n)
        return lines

    def measured(self, dimension: int) -> list[str]:
        """A dimension that has just been computed."""
        return self._store(f"%frame_dim{dimension}", dimension) if dimension in self.indices else []

    def begin(self) -> list[str]:
        """What threads that run together count from."""
        places = (self.done, self.leads, *(self.claim(n) for n in range(self.threads)), *(self.taken(n) for n in range(self.counters)))
        return self._set([(place, "i32 0") for place in places])

    def _set(self, members: Sequence[tuple[int, str]]) -> list[str]:
        return [line for offset, value in members for line in (
            f"  %frame{offset} = getelementptr i8, ptr %frame, i32 {offset}", f"  store {value}, ptr %frame{offset}")]

    def update(self, region: RegionStep, name: str) -> list[str]:
        """The counters of the loops around a region."""
        lines: list[str] = []
        for loop in dict.fromkeys(i for call in region.calls for i in call.indices if isinstance(i, str)):
            lines += self._store(f"%{name}.{loop}", loop)
        return lines

    def _store(self, place: str, index: int | str) -> list[str]:
        return [f"  {place} = getelementptr i8, ptr %frame, i32 {self.at(index)}", f"  store {self.word} {index_name(index)}, ptr {place}"]

    def read(self, indices: Iterable[int | str]) -> list[str]:
        """Index arguments under the names they have in PREFIX_run."""
        lines: list[str] = []
        for i in dict.fromkeys(indices):
            name = index_name(i)
            lines += [f"  {name}_at = getelementptr i8, ptr %frame, i32 {self.at(i)}", f"  {name} = load {self.word}, ptr {name}_at"]
        return lines


def index_name(index: int | str) -> str:
    """The value of an index argument: a dimension's number or a loop's name."""
    return f"%dim{index}" if isinstance(index, int) else f"%{index}"


def call_text(call: CallStep, pointers: Sequence[str], limits: Sequence[str], word: str) -> str:
    """One call; `limits` are the positions to begin at and to end before, for a kernel that is cut."""
    indices = [f"{word} {value}" for value in (*map(index_name, call.indices), *limits)]
    return f"  call void @{call.symbol}({', '.join([f'ptr {p}' for p in pointers] + indices)})"


def place_pointers(interface: Interface, places: Sequence[Place], where: ContextLayout, lines: list[str]) -> Mapping[Place, str]:
    """Append one pointer per distinct place, from %context, %arena and %weights."""
    found: dict[Place, str] = {}
    for place in dict.fromkeys(places):
        name = f"%{place.kind}{place.number}"
        if place.kind == "weights" and not interface.weights_symbol or place.kind == "arena" and not interface.arena_bytes:
            found[place] = "null"  # a tensor without elements, never touched
            continue
        if place.kind == "state" and not any(p.kind == "state" for p in found):
            lines += [f"  %state_at = getelementptr i8, ptr %context, i32 {where.state}", "  %state = load ptr, ptr %state_at"]
        found[place] = name
        if place.kind in ("arena", "weights", "state"):
            lines.append(f"  {name} = getelementptr i8, ptr %{place.kind}, i64 {place.number}")
        else:
            offset = (where.inputs if place.kind == "input" else where.outputs)[place.number]
            lines += [f"  {name}_at = getelementptr i8, ptr %context, i32 {offset}", f"  {name} = load ptr, ptr {name}_at"]
    return found


def region_text(interface: Interface, region: RegionStep, name: str, where: ContextLayout, frame: Frame) -> str:
    """The function of one region, under a name, and the tables of its bounds."""
    lines = [f"define internal void @{name}(ptr readonly captures(none) %frame, i32 %part, i32 %slot) #0 {{", "entry:"]
    lines += base_pointers(interface, where, frame)
    lines += frame.read(i for call in region.calls for i in call.indices)
    pointers = place_pointers(interface, places_of(region.calls), where, lines)
    lines += own_scratch(interface, frame) if any(call.scratch for call in region.calls) else []
    lent = [region.lent_bounds(call) for call in region.calls]
    tables = {bounds: n for n, bounds in enumerate(dict.fromkeys(lent))}
    for bounds, n in tables.items():
        lines += _limits(f"{name}_bounds{n}", n, len(bounds), frame.word)
    for n, (call, bounds) in enumerate(zip(region.calls, lent)):
        own = scratch_pointers(call, n, pointers, lines)
        lines.append(call_text(call, own, (f"%first{tables[bounds]}", f"%last{tables[bounds]}"), frame.word))
    return "\n".join([*lines, "  ret void", "}", *(bounds_table(f"{name}_bounds{n}", bounds) for bounds, n in tables.items())])


def bounds_table(name: str, bounds: Sequence[int]) -> str:
    """Constant data: where parts begin, and where the last one ends."""
    return f"@{name} = internal unnamed_addr constant [{len(bounds)} x i32] [{', '.join(f'i32 {x}' for x in bounds)}]"


def base_pointers(interface: Interface, where: ContextLayout, frame: Frame) -> list[str]:
    """%context, %weights and %arena from the frame."""
    lines = ["  %context = load ptr, ptr %frame", f"  %weights_at = getelementptr i8, ptr %frame, i32 {frame.bytes}",
             "  %weights = load ptr, ptr %weights_at"]
    if interface.arena_bytes:
        lines += [f"  %arena_at = getelementptr i8, ptr %context, i32 {where.arena}", "  %arena = load ptr, ptr %arena_at"]
    return lines


def _limits(table: str, number: int, size: int, word: str) -> list[str]:
    """Where this part begins and ends in one table of bounds."""
    lines = []
    for end, offset in (("first", 0), ("last", 4)):
        lines += [f"  %{end}_at{number} = getelementptr i8, ptr @{table}, i32 {offset}",
                  f"  %{end}_of{number} = getelementptr [{size} x i32], ptr %{end}_at{number}, i32 0, i32 %part",
                  f"  %{end}32_{number} = load i32, ptr %{end}_of{number}",
                  widened(f"%{end}{number}", f"%{end}32_{number}", word)]
    return lines


def own_scratch(interface: Interface, frame: Frame) -> list[str]:
    """%own: the scratch memory of this slot, when it is not the first."""
    return ["  %is_further = icmp ne i32 %slot, 0", "  %before = sub i32 %slot, 1",
            widened("%before_word", "%before", frame.word),
            f"  %skipped = mul {frame.word} %before_word, {interface.slot_bytes}",
            f"  %behind = add {frame.word} %skipped, {interface.arena_bytes}",
            f"  %own = getelementptr i8, ptr %arena, {frame.word} %behind"]


def widened(name: str, value: str, word: str) -> str:
    """A 32-bit value as an index argument."""
    return f"  {name} = add i32 {value}, 0" if word == "i32" else f"  {name} = zext i32 {value} to {word}"


def scratch_pointers(call: CallStep, number: int, pointers: Mapping[Place, str], lines: list[str]) -> list[str]:
    """The pointers of a call, those of scratch memory in the slot's own."""
    found = [pointers[place] for place in call.places]
    for n, offset in call.scratch:
        lines += [f"  %own{number}_{n} = getelementptr i8, ptr %own, i64 {offset}",
                  f"  %scratch{number}_{n} = select i1 %is_further, ptr %own{number}_{n}, ptr {found[n]}"]
        found[n] = f"%scratch{number}_{n}"
    return found
