"""Emission: the artifact of lowered programs. Kernels are tiled and compiled, joined with the function that calls them and the weights.

    emit(lower(graph, target), target, "net").object

An object may hold several programs: one for each level of a family of processors, chosen by what the processor has, or one for each of
several shapes of the inputs, chosen by the sizes of the call. Constants that are equal are stored once, whichever program reads them, and
so is code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgec.backends.artifact import Artifact
from edgec.backends.coded_weights import TEXT as UNPACK_TEXT, coded
from edgec.backends.codegen import Compiled, compile_module
from edgec.backends.dispatch import dispatch_text, init_text, part_symbol, routine_sections, shapes_text
from edgec.backends.entry import entry_text
from edgec.backends.external import functions_of
from edgec.backends.inspect_object import section_sizes, undefined_symbols
from edgec.backends.interface import WEIGHT_ALIGN, Interface, Port, layout as layout_of_context
from edgec.backends.join import DataSection
from edgec.backends.join_modules import join_modules
from edgec.backends.soft_routines import soft_routines
from edgec.backends.steps import calls_of, regions_of
from edgec.backends.target import Target
from edgec.backends.workers import compile_modules
from edgec.errors import Unsupported
from edgec.kernel import Buffer, Program
from edgec.passes.tile import Tiled
from edgec.program_ports import interface_of
from edgec.rare_collection import rarely_collected
from edgec.routine import Level, Routine, level_of, routine_of, timed
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
    levels = [level_of(program, machine, measured) for program, machine in parts]
    blob, offsets = _weights([*(one for level in levels for one in level.nests), *(one for level in levels for one in level.shared_nests)])
    interface = _interface(levels, target, prefix, blob, texts, by_shape, bool(compress))
    routines = [routine_of(level, offsets, f"edgec_{n}_" if interface.levels else "edgec_") for n, level in enumerate(levels)]
    interface = replace(interface, slot_bytes=max(routine.slot_bytes for routine in routines))
    routines = [timed(r, level, interface.state_bytes) if trace else r for r, level in zip(routines, levels)]
    build = Build(target, optimize, keep, options)
    for number, (level, routine) in enumerate(zip(levels, routines)):
        build.add_program(level, routine, interface, part_symbol(interface, number) if len(levels) > 1 else interface.run_symbol)
    build.add_beside(interface)
    constants = sorted({(at, b.data.nbytes, b.data.itemsize) for b, at in offsets.items()})
    stored = coded(blob, constants) if interface.decoded_at is not None else blob
    data = [DataSection(interface.weights_symbol, stored, WEIGHT_ALIGN)] if blob else []
    joined = join_modules(build.modules, [*(routine_sections(target.routines) if interface.levels else ()), *data],
                          interface.public_symbols, target)
    _require_closed(joined, target, {symbol for symbol, _ in interface.functions})
    interface = replace(interface, stack_bytes=build.stack, flash_bytes=_flash(joined))
    facts = manifest([level.program for level in levels], interface, target) | {
        "constants": stored_constants(offsets), "constant_bytes": len(stored)}
    return Artifact(interface, target, joined, facts, build.text("llvm"), build.text("asm"))


def _interface(levels: Sequence[Level], target: Target, prefix: str, blob: bytes, texts: Texts, by_shape: bool,
               compress: bool) -> Interface:
    """What the programs of an object show to its caller, before its code is known."""
    interfaces = [interface_of(level.program, prefix, bool(blob)).with_texts(*texts) for level in levels]
    interface = merged(interfaces) if by_shape else interfaces[0]
    interface = replace(interface, functions=functions_of(levels[0].program.steps), arena_bytes=max(i.arena_bytes for i in interfaces))
    if len(levels) > 1 and not by_shape:
        interface = replace(interface, levels=tuple(level.macro for level in target.levels))
    return _decoding(interface, blob) if compress and blob else interface


@dataclass
class Build:
    """The modules of an object as they are compiled, each text once, and the stack that the deepest call takes; `options` as in `emit`."""

    target: Target
    optimize: str
    keep: Sequence[str]
    options: Mapping[str, Any]
    modules: list[Compiled] = field(default_factory=list)
    stack: int = 0
    _known: set[str] = field(default_factory=set)

    def add_program(self, level: Level, routine: Routine, interface: Interface, symbol: str) -> None:
        """The kernels of a program, but for those of the programs before, and the function that calls them."""
        texts = {name: text for name, text in routine.texts.items() if name not in self._known}
        self._known |= texts.keys()
        kernels = list(compile_modules(texts, level.machine, self.optimize, self.keep, **self.options).values())
        text = entry_text(interface, routine.steps, level.machine.pointer_bits, symbol, team=routine.team)
        entry = compile_module(text, level.machine, "0" if len(calls_of(routine.steps)) > MANY_CALLS else self.optimize, self.keep)
        frames = entry.stack * (2 if regions_of([*routine.steps, *routine.team]) else 1)  # a region's own lies under PREFIX_run's
        self.stack = max(self.stack, frames + max((one.stack for one in kernels), default=0))
        self.modules += [entry, *kernels]

    def add_beside(self, interface: Interface) -> None:
        """What all programs need: decoding of weights, arithmetic the target lacks, the choice among levels or shapes."""
        if interface.decoded_at is not None:
            self.modules.append(self._module(UNPACK_TEXT))
            self.stack += self.modules[-1].stack
        soft = soft_routines([m.object for m in self.modules], self.target,
                             lambda texts: compile_modules(texts, self.target, self.optimize, self.keep, **self.options))
        self.stack += sum(one.stack for one in soft)  # one calls another
        bits, first = self.target.pointer_bits, []
        if interface.levels:
            first = [dispatch_text(interface, bits), init_text(interface, self.target.levels, bits)]
        if interface.variants:
            first.insert(0, shapes_text(interface, bits))
        self.modules = [*map(self._module, first), *self.modules, *soft]

    def _module(self, text: str) -> Compiled:
        return compile_module(text, self.target, self.optimize, self.keep)

    def text(self, kind: str) -> str | None:
        """The "llvm" or "asm" text of all modules, where it is kept."""
        return "\n".join(getattr(one, kind) for one in self.modules) if kind in self.keep else None


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
