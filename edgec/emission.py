"""Emission: the artifact of lowered programs. Kernels are tiled and compiled, joined with the function that calls them and the weights.

    emit(lower(graph, target), target, "net").object

An object may hold several programs: one for each level of a family of processors, chosen by what the processor has, or one for each of
several shapes of the inputs, chosen by the sizes of the call. Constants that are equal are stored once, whichever program reads them, and
so is code.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from edgec.backends.artifact import Artifact
from edgec.backends.coded_weights import TEXT as UNPACK_TEXT, coded
from edgec.backends.codegen import Compiled, compile_module
from edgec.backends.dispatch import dispatch_text, init_text, part_symbol, routine_sections, shapes_text
from edgec.backends.entry import entry_text
from edgec.backends.external import external_text, functions_of
from edgec.backends.inspect_object import section_sizes, undefined_symbols
from edgec.backends.interface import WEIGHT_ALIGN, Interface, Port, layout as layout_of_context
from edgec.backends.join import DataSection
from edgec.backends.join_modules import join_modules
from edgec.backends.llvm import module_text
from edgec.backends.soft_routines import soft_routines
from edgec.backends.steps import CallStep, LoopStep, Place, RegionStep, SizeStep, Step, calls_of, regions_of
from edgec.backends.target import Target
from edgec.backends.trace import TICK, tick_text, traced
from edgec.backends.workers import compile_modules
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
from edgec.program_ports import handed_out, interface_of, passed_buffers, state_offsets
from edgec.rare_collection import rarely_collected
from edgec.repeats import alone, outside
from edgec.schedules import Schedules, known_schedules
from edgec.several_shapes import merged
from edgec.stored_constants import stored_constants
from edgec.text_ports import NO_TEXTS, Texts

MANY_CALLS = 500  # in one function, with pointers that live across them: LLVM's register allocation takes the square of their number


def emit(program: Program, target: Target, prefix: str, optimize: str = "3", keep: Sequence[str] = (), **options: Any) -> Artifact:
    """The artifact of a program; `options` as in `emit_levels`."""
    return emit_levels([(program, target)], target, prefix, optimize, keep, **options)


@rarely_collected()
def emit_levels(parts: Sequence[tuple[Program, Target]], target: Target, prefix: str, optimize: str = "3", keep: Sequence[str] = (),
                trace: bool = False, schedules: Path | Schedules | None = None, compress: str = "", texts: Texts = NO_TEXTS,
                by_shape: bool = False, **options: Any) -> Artifact:
    """The artifact of one program, of a program for each level of `target`, or, `by_shape`, of one for each of several shapes: then the
    choice is made by what is called first.

    With `trace` it times its kernels, see `backends/trace.py`; `texts` are as `text_ports` finds them; `schedules` as in `compile`;
    `options` are `workers`, `cache` and `progress` as in `compile_modules`.
    """
    measured = known_schedules(schedules)
    tiled = [list(map(Tiling(machine, measured).tile, program.steps, alone(program.steps))) for program, machine in parts]
    together = [shared_loops(program, part, machine, lambda k, machine=machine: measured.choose(k, machine))
                for (program, machine), part in zip(parts, tiled)]
    parts = [(outside(program), machine) for program, machine in parts]
    blob, offsets = _weights([one for part in (*tiled, *(nests for _, nests in together)) for one in part])
    constants = sorted({(at, b.data.nbytes, b.data.itemsize) for b, at in offsets.items()})
    interfaces = [interface_of(program, prefix, bool(blob)).with_texts(*texts) for program, _ in parts]
    interface = merged(interfaces) if by_shape else interfaces[0]
    interface = replace(interface, functions=functions_of(parts[0][0].steps), arena_bytes=max(each.arena_bytes for each in interfaces))
    if len(parts) > 1 and not by_shape:
        interface = replace(interface, levels=tuple(level.macro for level in target.levels))
    interface = _decoding(interface, blob) if compress and blob else interface
    modules: list[Compiled] = []
    compiled: set[str] = set()
    stack = slot_bytes = 0
    for number, ((program, machine), part, (threaded, nests)) in enumerate(zip(parts, tiled, together)):
        stem = f"edgec_{number}_" if interface.levels else "edgec_"
        steps, texts, *scratch = _steps(program, machine, part, parallel(program.steps, part, machine), offsets, stem)
        team, more, *others = (steps, {}) if nests == part else \
            _steps(threaded, machine, nests, parallel(threaded.steps, nests, machine), offsets, stem)
        apart = machine.compact or bool(program.sizes)  # all threads together would each have to know the sizes that are computed
        slot_bytes, texts = max(slot_bytes, *scratch, *others), texts | ({} if apart else more)
        interface = replace(interface, slot_bytes=slot_bytes)
        if trace:
            steps, texts = traced(steps, interface.state_bytes), texts | {TICK: tick_text(machine.pointer_bits)}
        texts = {name: text for name, text in texts.items() if name not in compiled}
        compiled |= texts.keys()
        objects = list(compile_modules(texts, machine, optimize, keep, **options).values())
        symbol = part_symbol(interface, number) if len(parts) > 1 else interface.run_symbol
        text = entry_text(interface, steps, machine.pointer_bits, symbol, team=() if apart else team)
        entry = compile_module(text, machine, "0" if len(calls_of(steps)) > MANY_CALLS else optimize, keep)
        frames = entry.stack * (2 if regions_of([*steps, *team]) else 1)  # a region's own lies under PREFIX_run's
        stack = max(stack, frames + max((o.stack for o in objects), default=0))
        modules += [entry, *objects]
    if interface.decoded_at is not None:
        modules.append(compile_module(UNPACK_TEXT, target, optimize, keep))
        stack += modules[-1].stack
    modules += (soft := soft_routines([m.object for m in modules], target, lambda t: compile_modules(t, target, optimize, keep, **options)))
    stack += sum(one.stack for one in soft)  # one calls another
    stored = coded(blob, constants) if interface.decoded_at is not None else blob
    data = [DataSection(interface.weights_symbol, stored, WEIGHT_ALIGN)] if blob else []
    if interface.levels:
        texts = (dispatch_text(interface, target.pointer_bits), init_text(interface, target.levels, target.pointer_bits))
        modules = [*(compile_module(text, target, optimize, keep) for text in texts), *modules]
        data = [*routine_sections(target.routines), *data]
    if interface.variants:
        modules.insert(0, compile_module(shapes_text(interface, target.pointer_bits), target, optimize, keep))
    joined = join_modules(modules, data, interface.public_symbols, target)
    _require_closed(joined, target, {symbol for symbol, _ in interface.functions})
    interface = replace(interface, stack_bytes=stack, flash_bytes=_flash(joined))
    facts = manifest([program for program, _ in parts], interface, target) | {
        "constants": stored_constants(offsets), "constant_bytes": len(stored)}
    return Artifact(interface, target, joined, facts,
                    "\n".join(m.llvm for m in modules) if "llvm" in keep else None,
                    "\n".join(m.asm for m in modules) if "asm" in keep else None)


def _steps(program: Program, target: Target, tiled: Sequence[Tiled], regions: Sequence[Region], offsets: Mapping[Buffer, int],
           stem: str) -> tuple[tuple[Step, ...], dict[str, str], int]:
    """What the entry calls, the LLVM module of each distinct kernel by symbol, and the scratch bytes that each further slot of an executor
    needs; symbols begin with `stem`."""
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
    return _repeated(_gathered(program, calls, regions), names, lambda buffer: _place(buffer, program, offsets)), texts, slot_bytes


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


def _weights(tiled: Sequence[Tiled]) -> tuple[bytes, dict[Buffer, int]]:
    """All constants in one blob, each at a multiple of 64 bytes, equal contents once; and the offset of each."""
    pieces: list[bytes] = []
    offsets: dict[Buffer, int] = {}
    known: dict[bytes, int] = {}
    size = 0
    for buffer in dict.fromkeys(b for one in tiled for b in one.buffers if b.kind == "constant"):
        data = np.ascontiguousarray(buffer.data).tobytes()
        key = hashlib.sha256(data).digest()
        if key not in known:
            known[key] = size
            padding = -len(data) % WEIGHT_ALIGN
            pieces += [data, b"\0" * padding]
            size += len(data) + padding
        offsets[buffer] = known[key]
    return b"".join(pieces), offsets


def _decoding(interface: Interface, blob: bytes) -> Interface:
    """The interface of a model whose weights are decoded behind everything else in the arena."""
    at = -(-interface.arena_bytes // WEIGHT_ALIGN) * WEIGHT_ALIGN
    return replace(interface, decoded_at=at, arena_bytes=at + len(blob))


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


def _require_closed(joined: bytes, target: Target, known: Collection[str] = ()) -> None:
    """An object that needs more than the `known` is none of ours: some operation has neither an instruction nor an expansion here."""
    missing = [symbol for symbol in undefined_symbols(joined) if symbol not in known]
    if missing:
        raise Unsupported(f"{target.name} has no instruction for an operation of this model; LLVM would call {', '.join(missing)}",
                          hint="64-bit floats need a core that has them; convert the model to f32")


def _flash(joined: bytes) -> int:
    return sum(section_sizes(joined).values())


def manifest(programs: Sequence[Program], interface: Interface, target: Target) -> dict:
    """Plain facts for model.json; the kernels are those of the (lowest) level, memory is for all."""
    def port(p: Port) -> dict:
        text = {"string_bytes": p.shape[-1]} if p.text else {}
        return {"name": p.name, "c_name": p.c_name, "dtype": p.dtype, "shape": list(p.shape), **text}
    levels = {"levels": [level.target for level in target.levels]} if interface.levels else {}
    levels |= {"states": [port(s.port) | {"output": s.output, "offset": s.offset} for s in interface.states],
               "state_bytes": interface.state_bytes} if interface.states else {}
    return {"name": interface.prefix, "target": target.name, **levels, "inputs": [port(p) for p in interface.inputs],
            "outputs": [port(p) for p in interface.outputs], "arena_bytes": interface.arena_bytes,
            "live_bytes": max(p.live_bytes for p in programs), "arena_align": interface.arena_align, "stack_bytes": interface.stack_bytes,
            "flash_bytes": interface.flash_bytes, "context": asdict(layout_of_context(interface, target.pointer_bits)),
            "kernels": [k.name for k in programs[0].steps]}
