"""Routines: what the entry of one program calls, step by step, and the LLVM module of each distinct kernel.

    program, tiled kernels, where constants lie  ->  Routine(steps, team, texts by symbol, scratch of an executor's slot)

A program is walked in one of two ways, by one thread or by threads that take part in all of its kernels; both are made here, and what the
two have in common is code once. Equal code is one function; kernels that are alike share the writing of it, too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from edgec.backends.external import external_text
from edgec.backends.interface import WEIGHT_ALIGN
from edgec.backends.llvm import module_text
from edgec.backends.steps import CallStep, LoopStep, Place, RegionStep, SizeStep, Step
from edgec.backends.target import Target
from edgec.backends.trace import TICK, tick_text, traced
from edgec.errors import Unsupported
from edgec.expr import Expr
from edgec.kernel import Axis, Buffer, Kernel, Program
from edgec.kernels_alike import Tiling
from edgec.loops import Loops
from edgec.passes.cut import Cuttable, ranged
from edgec.passes.meetings import meetings
from edgec.passes.overlapped import overlapped
from edgec.passes.parallel import Region, parallel
from edgec.passes.shared_loops import shared_loops
from edgec.passes.tile import Tiled
from edgec.program_ports import handed_out, passed_buffers, state_offsets
from edgec.repeats import alone, outside
from edgec.schedules import Schedules


@dataclass(frozen=True)
class Level:
    """A program and the machine its code is for: loops of each kernel for one thread, and those by which threads walk it together."""

    program: Program  # with only those repeats that stand around several steps
    machine: Target
    nests: list[Tiled]
    together: Program
    shared_nests: list[Tiled]

    @property
    def has_team(self) -> bool:
        """Whether threads may walk all of it together; each would have to know the sizes that are computed."""
        return not (self.machine.compact or self.program.sizes)


def level_of(program: Program, machine: Target, measured: Schedules) -> Level:
    """The loops of a program's kernels on a machine, as measured schedules have it or else by estimate."""
    nests = list(map(Tiling(machine, measured).tile, program.steps, alone(program.steps)))
    together, shared_nests = shared_loops(program, nests, machine, lambda kernel: measured.choose(kernel, machine))
    return Level(outside(program), machine, nests, together, shared_nests)


@dataclass(frozen=True)
class Routine:
    """What an entry calls in one thread (`steps`) and in threads together (`team`), and the module of each distinct kernel by symbol."""

    steps: tuple[Step, ...]
    team: tuple[Step, ...]
    texts: dict[str, str]
    slot_bytes: int  # scratch that each further slot of an executor needs


def routine_of(level: Level, offsets: Mapping[Buffer, int], stem: str) -> Routine:
    """The routine of a program whose constants lie at `offsets`; symbols begin with `stem`."""
    one = _routine(level.program, level.machine, level.nests, offsets, stem)
    if not level.has_team:
        return one
    if level.shared_nests == level.nests:
        return replace(one, team=one.steps)
    shared = _routine(level.together, level.machine, level.shared_nests, offsets, stem)
    return Routine(one.steps, shared.steps, one.texts | shared.texts, max(one.slot_bytes, shared.slot_bytes))


def timed(routine: Routine, level: Level, state_bytes: int) -> Routine:
    """The routine with the time taken around each of the steps of one thread."""
    return replace(routine, steps=traced(routine.steps, state_bytes), texts=routine.texts | {TICK: tick_text(level.machine.pointer_bits)})


def _routine(program: Program, target: Target, tiled: Sequence[Tiled], offsets: Mapping[Buffer, int], stem: str) -> Routine:
    regions = parallel(program.steps, tiled, target)
    texts: dict[str, str] = {}
    known: dict[tuple, tuple[Loops, str]] = {}
    cut: dict[int, Tiled] = {}
    names: dict[Expr, int | str] = {s: n for n, s in enumerate(program.symbols)}
    for axis in dict.fromkeys(a for kernel in program.steps for a in kernel.repeat):
        names[axis.var] = f"loop{len(names)}"
    parts = {region.first + n: one for region in regions for n, one in enumerate(region.kernels)}
    waits = meetings(program, regions)
    calls, slot_bytes = [], 0
    for step, one in enumerate(tiled):
        bounds = parts[step].bounds if step in parts else ()
        indices = tuple(names[s] for s in one.loops.symbols)
        one = _ranged(parts[step].cut, cut) if bounds else one
        places = tuple(_place(b.root, program, offsets) for b in one.buffers)
        scratch, size = _slot(one) if bounds else ((), 0)
        slot_bytes = max(slot_bytes, size)
        symbol = _symbol(program.steps[step], one, places, target, texts, stem, known)
        calls.append(CallStep(symbol, places, indices, bounds, scratch, step in waits))
    steps = _repeated(_gathered(program, calls, regions), names, lambda buffer: _place(buffer, program, offsets))
    return Routine(steps, (), texts, slot_bytes)


def _ranged(kernel: Cuttable, known: dict[int, Tiled]) -> Tiled:
    """The loops over a range of positions; kernels that are alike have them in common."""
    one = kernel.tiled
    found = known[id(one.loops.body)] = known.get(id(one.loops.body)) or ranged(kernel)
    return replace(found, loops=replace(found.loops, name=one.loops.name), buffers=one.buffers)


def _slot(one: Tiled) -> tuple[tuple[tuple[int, int], ...], int]:
    """Where each scratch buffer lies in the memory of an executor's slot, as (parameter, byte offset), and the bytes of all."""
    found, size = [], 0
    for number, buffer in enumerate(one.buffers):
        if buffer.root.kind == "scratch":
            found.append((number, size))
            size += -(-buffer.root.bytes // WEIGHT_ALIGN) * WEIGHT_ALIGN
    return tuple(found), size


Repeated = tuple[tuple[Axis, ...], CallStep | RegionStep | SizeStep]  # a step and the loops around it


def _gathered(program: Program, calls: Sequence[CallStep], regions: Sequence[Region]) -> list[Repeated]:
    """The calls in order, each under its kernel's repeats; those of a region as one step."""
    of_region = {step: region for region in regions for step in range(region.first, region.last + 1)}
    found: list[Repeated] = []
    for step, (kernel, call) in enumerate(zip(program.steps, calls)):
        region = of_region.get(step)
        if region is None:
            found.append((kernel.repeat, call))
            found += [(kernel.repeat, size) for size in _size_steps(program, kernel)]
        elif step == region.first:
            found.append((kernel.repeat, RegionStep(tuple(calls[region.first:region.last + 1]), region.lent)))
    return found


def _size_steps(program: Program, kernel: Kernel) -> list[SizeStep]:
    """What is read after a kernel that has computed sizes."""
    told = handed_out(program)
    return [SizeStep(program.symbols.index(s.symbol) if isinstance(s.symbol, Expr) else None,
                     program.arena[s.buffer] + s.element * s.buffer.dtype.bytes, s.buffer.dtype.bits, s.low, s.high,
                     told.index(s.symbol) if s.symbol in told else None) for s in program.sizes_of(kernel)]


def _repeated(calls: list[Repeated], names: Mapping[Expr, int | str], place: Callable[[Buffer], Place]) -> tuple[Step, ...]:
    """Calls with neighbours of one repeat gathered into a loop."""
    steps: list[Step] = []
    for axis, group in groupby(calls, key=lambda pair: pair[0][0] if pair[0] else None):
        if axis is None:
            steps.extend(call for _, call in group)
            continue
        body = _repeated([(repeat[1:], call) for repeat, call in group], names, place)
        if not isinstance(axis.extent, int) and axis.extent not in names:
            raise Unsupported(f"a recurrence runs {axis.extent} times; a number or one symbolic dimension is needed")
        symbolic = not isinstance(axis.extent, int)
        condition = place(axis.condition) if axis.condition is not None else None
        steps.append(LoopStep(str(names[axis.var]), names[axis.extent] if symbolic else axis.extent, symbolic, body, condition))
    return tuple(steps)


def _symbol(kernel: Kernel, one: Tiled, places: Sequence[Place], target: Target, texts: dict[str, str], stem: str,
            known: dict[tuple, tuple[Loops, str]]) -> str:
    """The symbol of a kernel's code: equal code is one function. A result in the place of an operand is the one case of shared memory.

    `known` are the loops that have been written, which kernels that are alike have in common.
    """
    several = {place for place, count in Counter(places).items() if count > 1}
    shared = frozenset(p for p, place in zip(one.loops.params, places) if place in several)
    key = (kernel.external, id(one.loops.body), one.loops.params, one.loops.symbols, shared)
    if not one.loops.body or key not in known:
        roots = [b.root for b in one.buffers]
        loops = overlapped(one.loops, target)
        text = external_text("KERNEL", kernel.external, roots) if kernel.external else module_text(loops, target, "KERNEL", shared)
        symbol = stem + hashlib.sha256(text.encode()).hexdigest()[:16]
        texts.setdefault(symbol, text.replace("@KERNEL(", f"@{symbol}("))
        known[key] = one.loops, symbol
    return known[key][1]


def _place(buffer: Buffer, program: Program, offsets: Mapping[Buffer, int]) -> Place:
    if buffer.kind == "constant":
        return Place("weights", offsets[buffer])
    kept, (inputs, outputs) = state_offsets(program), passed_buffers(program)
    if buffer in kept:
        return Place("state", kept[buffer])
    if buffer in inputs:
        return Place("input", inputs.index(buffer))
    if buffer in outputs:
        return Place("output", outputs.index(buffer))
    return Place("arena", program.arena[buffer])
