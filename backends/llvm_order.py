"""In which order the loads of a loop's body stand: the part of the code generator for processors that run code in its order.

Such a core lets no load finish before the sums that stand before it, so each group of loads behind sums waits once, and one instruction
that loads several vectors is worth its long latency. Here vectors of a dealt table are loaded together, two loads ahead of the sums that
take them, and all other loads of as many sums as registers allow stand in one group. LLVM's schedulers look no further than the next
label, so a label of no effect between groups keeps the order: `llvm.codeview.annotation` makes one and nothing else in an ELF object.

    acc = a[k] * w[k] + acc; ...     ->   load w0, a0 .. a7 | load w1 | sums with w0 | load w2 | sums with w1 | ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from edgec.backends.llvm_joined import Joined
from edgec.backends.llvm_pointers import Pointers
from edgec.backends.llvm_spelling import suffix, vec
from edgec.expr import Expr
from edgec.linear import coefficient, join, split
from edgec.loops import Let, Stmt, Store, flattened, iota
from edgec.sweeps import walk
from edgec.types import f32

Block = tuple[Any, Expr, int]  # a parameter, where a dealt load of it begins, to how many vectors it deals
SLOTS = 4   # dealt loads in registers at a time, of rows and of a table each one in use and one under way
APART = 8   # sums between two dealt loads, below which the second waits
AHEAD = 2   # tables' loads that are under way while sums take what an earlier one brought
LEAST_SUMS = 8   # in a row, below which order matters little
FENCE = "  call void @llvm.codeview.annotation(metadata !3)"
FENCE_DECLARED = "declare void @llvm.codeview.annotation(metadata)"
FENCE_NAME = "!3 = !{!\"order\"}\n"


@dataclass
class Step:
    """Sums in a row that take vectors of the same dealt load, if any."""

    block: tuple[Any, Expr] | None
    sums: list[Let] = field(default_factory=list)
    loads: list[Expr] = field(default_factory=list)     # the other loads that they are the first to use
    uses: set[Expr] = field(default_factory=set)        # and all that they use


class Order(Joined, Pointers):
    """The methods for loads of dealt tables and for their order of the class that emits values."""

    def _dealt(self, e: Expr) -> str:
        """One vector of a dealt table; its neighbours are loaded with it."""
        (param, _), (base, number) = e.data, dealt_place(e)
        found = self._lookup(("dealt", param, base, number), base)
        if found is None:
            self._deal(param, base, dealt_of(e, self.target))
            found = self._lookup(("dealt", param, base, number), base)
        return found

    def _deal(self, param: Any, base: Expr, dealt: int) -> None:
        lanes = self.target.lanes(param.dtype.bits)
        wide = vec(self.type(param.dtype), lanes * dealt)
        text = self.emit(f"load {wide}, ptr {self._dealt_address(param, base)}, align {param.dtype.bytes}")
        parts = self._dealt_out(wide, text, lanes, dealt) if param.constant else self._held_apart(param, wide, text, lanes, dealt)
        for number, part in enumerate(parts):
            self._remember(("dealt", param, base, number), base, part)

    def _dealt_out(self, wide: str, text: str, lanes: int, dealt: int) -> list[str]:
        orders = [", ".join(f"i32 {number + dealt * k}" for k in range(lanes)) for number in range(dealt)]
        return [self.emit(f"shufflevector {wide} {text}, {wide} poison, <{lanes} x i32> <{order}>") for order in orders]

    def _held_apart(self, param: Any, wide: str, text: str, lanes: int, dealt: int) -> list[str]:
        """The same where sums take single lanes: LLVM would load these from their places, one by one, if it saw through a shuffle."""
        one, name = vec(self.type(param.dtype), lanes), f"llvm.vector.deinterleave{dealt}.v{lanes * dealt}{suffix(wide)}"
        several = "{ " + ", ".join([one] * dealt) + " }"
        self.declare(name, several, [wide])
        whole = self.emit(f"call {several} @{name}({wide} {text})")
        return [self.emit(f"extractvalue {several} {whole}, {number}") for number in range(dealt)]

    def _dealt_address(self, param: Any, base: Expr) -> str:
        key = ("dealt address", param, base)
        found = self._lookup(key, base)
        if found is None:
            found = self.address(param, base)
            self._remember(key, base, found)
        return found

    # ---------------------------------------------------------------------------------------------------------------- order

    def _straight(self, body: Sequence[Stmt]) -> None:
        """Emit a body, where the target runs code in order: assignments with their loads in groups, then stores together."""
        for kind, run in groupby(flattened(body), key=type):
            statements = list(run)
            if kind is Store:
                self._stored(statements)
            elif kind is not Let or not (self._in_slots(statements) or self._in_groups(statements)):
                self._body(statements)

    def _stored(self, stores: Sequence[Store]) -> None:
        """Stores in a row, each of a value that is finished before the first, unless one reads what another changes."""
        values, written = [self.portable(s.value) for s in stores], {s.param for s in stores}
        if len(stores) > self.target.registers or any(not written.isdisjoint(self._sources(v)) for v in values):
            self._body(stores)
            return
        for value in values:
            self.value(value)
        self._boundary()
        self._body(stores)

    def _boundary(self) -> None:
        self.declared.setdefault("llvm.codeview.annotation", FENCE_DECLARED)
        self.lines.append(FENCE)

    def _in_groups(self, body: Sequence[Let]) -> bool:
        """Emit a row of sums with their loads in groups; False (and nothing) where it is something else."""
        lasting = self._lasting(body)
        loads = [[n for n in self._free_loads(s, body) if n not in lasting] for s in body]
        steps = _steps(list(zip(body, loads)))
        sums = sum(s.value.op == "mul_add" for s in body)
        if len(steps) < AHEAD or sums < LEAST_SUMS or any(n.dtype is not f32 for each in loads for n in each):
            return False
        groups = _groups(steps, self._room(body, steps) - len(lasting))
        blocks = [step.block for step in steps]
        first = 0
        self._addresses(blocks[:AHEAD])
        self._fetch(blocks[:1])
        for group in groups:
            self._group(group, blocks[first:first + len(group) + AHEAD], first == 0)
            first += len(group)
        self._boundary()
        return True

    def _in_slots(self, body: Sequence[Let]) -> bool:
        """Emit a row of sums all of whose operands come by dealt loads, each as soon as it finds registers; False: something else."""
        blocks = self._slotted(body)
        if blocks is None:
            return False
        slots, carried = self._slots(body), self._carried_uses(body, blocks)
        places = slot_places([(uses[0], uses[-1]) for uses in blocks.values()], slots, carried)
        due: dict[int, list[tuple[Block, int]]] = {}
        for (place, slot), block in zip(places, blocks):
            due.setdefault(place, []).append((block, self.target.registers - self.target.dealt_vectors * (slots - slot)))
        self._boundary()
        self._carry()
        if not carried:  # the first sums wait for loads: additions find the time behind these
            self._fetched(due.pop(0))
        for block in blocks:
            self._own_address(block)
        self._boundary()
        for number, statement in enumerate(body):
            self._fetched(due.get(number, ()))
            self._body([statement])
        self._boundary()
        return True

    def _slotted(self, body: Sequence[Stmt]) -> dict[Block, list[int]] | None:
        """The dealt loads that bring all operands of a row of sums, in order, with the sums that take them; None for something else."""
        blocks: dict[Block, list[int]] = {}
        for number, s in enumerate(body):
            if not isinstance(s, Let):
                return None
            for n in walk(self.portable(s.value)):
                if n.op == "load":
                    blocks.setdefault(_block(n, self.target), []).append(number)
        sums = {s.register for s in body if s.value.op == "mul_add"}
        moving = any(not param.constant for param, _, _ in blocks) and len(sums) >= LEAST_SUMS
        if not moving or any(dealt != self.target.dealt_vectors for _, _, dealt in blocks):
            return None
        return blocks if self._slots(body) >= SLOTS >= len(self._carried_uses(body, blocks)) else None

    def _slots(self, body: Sequence[Let]) -> int:
        """How many dealt loads find registers beside the sums."""
        sums = {s.register for s in body if s.value.op == "mul_add"}
        return (self.target.registers - len(sums)) // self.target.dealt_vectors

    def _fetched(self, blocks: Sequence[tuple[Block, int]]) -> None:
        """Dealt loads, each into the registers from a given one on."""
        for block, first in blocks:
            self._boundary()
            self._own_address(block)
            self._deal(*block)
            self._pin(block, first)
            self._boundary()

    def _carried_uses(self, body: Sequence[Let], blocks: Mapping[Block, list[int]]) -> list[int]:
        """The last sum that takes what each of the blocks was in the round before that this round loads for the next one."""
        block = {s.register: _block(s.value, self.target) for s in body if s.value.op == "load"}
        last: dict[Block, int] = {each: -1 for each in blocks if each in block.values()}
        for number, s in enumerate(body):
            last |= {block[n.data]: number for n in walk(s.value) if n.op == "get" and n.data in block}
        return list(last.values())

    def _own_address(self, block: Block) -> None:
        """The address of a dealt load in a register of its own: LLVM would step on to the next one behind the load, which waits."""
        param, base, _ = block
        key = ("own address", param, base)
        if self._lookup(key, base) is None:
            text = self.emit(f'call ptr asm "", "=r,0"(ptr {self._dealt_address(param, base)}) nounwind memory(none)')
            self._remember(("dealt address", param, base), base, text)
            self._remember(key, base, text)

    def _pin(self, block: Block, number: int) -> None:
        """No code: says that what a dealt load brings begins in a certain register."""
        param, base, dealt = block
        kind = self.type(param.dtype, self.target.lanes(param.dtype.bits))
        texts = [self._lookup(("dealt", param, base, n), base) for n in range(dealt)]
        names = [self.target.register_name.format(number + n) for n in range(dealt)]
        places = ",".join([*(f"={{{name}}}" for name in names), *map(str, range(dealt))])
        several = "{ " + ", ".join([kind] * dealt) + " }"
        whole = self.emit(f'call {several} asm "", "{places}"({", ".join(f"{kind} {text}" for text in texts)}) nounwind memory(none)')
        for n in range(dealt):
            self._remember(("dealt", param, base, n), base, self.emit(f"extractvalue {several} {whole}, {n}"))

    def _lasting(self, body: Sequence[Let]) -> set[Expr]:
        """Vectors of constants that no iteration of the innermost loop changes, where they find room beside the sums: LLVM keeps them."""
        loads = {n for s in body for n in self._free_loads(s, body) if n.data[0].constant and not n.data[0].dealt
                 and self.innermost is not None and self.innermost not in n.free}
        return loads if len(loads) <= (self.target.registers - len({s.register for s in body})) // 2 else set()

    def _group(self, group: list[Step], blocks: list[Any], begins: bool) -> None:
        """The loads of some steps, then their sums, before each but the last the dealt load that is needed two steps later."""
        self._boundary()
        for step in group:
            for load in step.loads:
                self.value(load)
        self._addresses(blocks[AHEAD:])
        self._boundary()
        self._fetch(blocks[1:AHEAD] if begins else ())
        for n, step in enumerate(group):
            self._body(step.sums)
            self._fetch(blocks[n + AHEAD:n + AHEAD + 1])

    def _addresses(self, blocks: Sequence[Any]) -> None:
        for block in filter(None, blocks):
            self._dealt_address(*block)

    def _fetch(self, blocks: Sequence[Any]) -> None:
        for param, base in filter(None, blocks):
            self._boundary()
            self._deal(param, base, param.dealt)
            self._boundary()

    def _free_loads(self, statement: Let, body: Sequence[Stmt]) -> list[Expr]:
        """The vectors and scalars a sum loads from places that the body does not change, in order of use."""
        changed = {s.register for s in body}
        loads = [n for n in walk(self.portable(statement.value)) if n.op == "load"]
        return [n for n in loads if changed.isdisjoint(self._sources(n.args[0]))]

    def _room(self, body: Sequence[Stmt], steps: Sequence[Step]) -> int:
        """Registers that neither sums nor dealt loads under way take."""
        dealt = AHEAD * self.target.dealt_vectors if any(step.block for step in steps) else 1
        return self.target.registers - len({s.register for s in body}) - dealt


def dealt_of(e: Expr, target: Any) -> int:
    """How many vectors the load of one deals elements out to: in a dealt table, or elsewhere where lanes are as many elements apart."""
    if e.data[0].dealt:
        return e.data[0].dealt
    apart = e.args[0].lanes == target.lanes(e.data[0].dtype.bits) and target.in_order and coefficient(e.args[0], iota(e.args[0].lanes))
    return apart if apart == target.dealt_vectors > 1 else 0


def _block(n: Expr, target: Any) -> Block:
    """The dealt load that brings a vector, or a load of something else, which deals to none."""
    dealt = dealt_of(n, target)
    return n.data[0], dealt_place(n)[0] if dealt else n, dealt


def slot_places(uses: Sequence[tuple[int, int]], slots: int, carried: Sequence[int] = ()) -> list[tuple[int, int]]:
    """In front of which sum each dealt load stands and in which slot of registers, given the first and the last sum that takes what it
    brings, in order of the first.

    That is where a slot is free, `APART` sums behind the load before, unless its own sums are near. `carried` are the last sums that take
    what the round before left in the first slots; the last loads bring the same for the next round into the same slots.
    """
    free, places, last = [*(end + 1 for end in carried), *[0] * (slots - len(carried))], list[tuple[int, int]](), -APART
    own = len(uses) - len(carried)

    def placed(slot: int, first: int, end: int) -> tuple[int, int]:
        nonlocal last
        last = min(first, max(free[slot], last, min(last + APART, first - APART)))
        free[slot] = end + 1
        return last, slot

    for first, end in uses[:own]:
        places.append(placed(min(range(slots), key=lambda n: free[n]), first, end))
    ahead = {n: placed(n, *uses[own + n]) for n in sorted(range(len(carried)), key=lambda n: free[n])}
    return [*places, *(ahead[n] for n in range(len(carried)))]


def dealt_place(e: Expr) -> tuple[Expr, int]:
    """Where the vectors begin that are loaded together with this load of a dealt table, and which of them it is."""
    dealt, lanes = e.data[0].dealt or coefficient(e.args[0], iota(e.lanes)), iota(e.lanes)
    constant, terms = split(e.args[0])
    number = constant % dealt
    return join(constant - number, {atom: c for atom, c in terms.items() if atom is not lanes}), number


def _steps(sums: Sequence[tuple[Let, list[Expr]]]) -> list[Step]:
    """Sums cut where they go on to vectors of another dealt load; without such loads each is a step by itself."""
    steps, seen = list[Step](), set[Any]()
    for statement, loads in sums:
        dealt = [(n.data[0], dealt_place(n)[0]) for n in loads if n.data[0].dealt]
        new = next((block for block in dealt if block not in seen), None)
        if not steps or new or not dealt:
            steps.append(Step(new))
        others = [n for n in loads if not n.data[0].dealt]
        steps[-1].sums.append(statement)
        steps[-1].loads += [n for n in others if n not in seen]
        steps[-1].uses.update(others)
        seen.update(dealt, others)
    return steps


def _groups(steps: Sequence[Step], room: int) -> list[list[Step]]:
    """Steps whose loads fit the registers together with earlier ones that they or later steps still use."""
    groups, loaded = list[list[Step]](), set[Expr]()
    for n, step in enumerate(steps):
        if not groups or len(loaded.union(step.loads)) > room:
            groups.append([])
            loaded &= set().union(*(later.uses for later in steps[n:]))
        groups[-1].append(step)
        loaded.update(step.loads)
    return groups
