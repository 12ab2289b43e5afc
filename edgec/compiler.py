"""compile(model, target) -> Artifact: the whole data flow, top to bottom.

    graph    = load -> graph passes             what the model says
    program  = fuse -> chain -> layout -> ... -> liveness     what each element is, and where it lies (PROGRAM_PASSES)
    loops    = tile(kernel) for every kernel    what the machine does
    artifact = LLVM -> object, joined with the weights
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Callable, Collection, Mapping, Sequence

import numpy as np

from edgec.backends.artifact import Artifact
from edgec.backends.c_names import prefix as c_prefix
from edgec.backends.coded_weights import TEXT as UNPACK_TEXT, coded
from edgec.backends.codegen import Compiled, compile_module
from edgec.backends.dispatch import dispatch_text, init_text, level_symbol, routine_sections
from edgec.backends.entry import entry_text
from edgec.backends.external import external_text, functions_of
from edgec.backends.inspect_object import section_sizes, undefined_symbols
from edgec.backends.interface import WEIGHT_ALIGN, Interface, Port, layout as layout_of_context
from edgec.backends.join import DataSection
from edgec.backends.join_modules import join_modules
from edgec.backends.llvm import module_text
from edgec.backends.soft_routines import soft_routines
from edgec.backends.steps import CallStep, LoopStep, Place, RegionStep, SizeStep, Step
from edgec.backends.target import Target, all_targets, find
from edgec.backends.trace import TICK, tick_text, traced
from edgec.backends.workers import compile_modules, own_code, recall, remember
from edgec.c_functions import externals
from edgec.errors import ModelError, Unsupported
from edgec.expr import Expr
from edgec.graph import Graph
from edgec.graph_text import print_graph
from edgec.kernel import Axis, Buffer, Kernel, Program
from edgec.model_file import load
from edgec.passes.bands import bands
from edgec.passes.c_calls import joined_program
from edgec.passes.chain import chain
from edgec.passes.codebooks import codebooks
from edgec.passes.cut import ranged
from edgec.passes.fold_constants import fold_constants
from edgec.passes.fuse import fuse
from edgec.passes.images import images
from edgec.passes.layout import layout
from edgec.passes.liveness import liveness
from edgec.passes.meetings import meetings
from edgec.passes.pack_operands import pack_operands
from edgec.passes.parallel import Region, parallel
from edgec.passes.persistent import persistent
from edgec.passes.scales import scales
from edgec.passes.sequences import sequences
from edgec.passes.stages import stages
from edgec.passes.tile import Tiled, tile
from edgec.passes.views import views
from edgec.passes.walks import walks
from edgec.passes.winograd import winograd
from edgec.passes.word_operands import word_operands
from edgec.persistent_state import with_state
from edgec.pipeline import insert_passes, load_passes, parse_pipeline, registered, run_pipeline
from edgec.program_ports import handed_out, interface_of, passed_buffers, state_offsets
from edgec.repeats import alone, outside
from edgec.schedules import Schedules, read_schedules
from edgec.stored_constants import stored_constants
from edgec.text_ports import NO_TEXTS, Texts, text_ports
from edgec.text_slots import DEFAULT_BYTES

# Graph passes in order: constants first, so that rules see numbers, but not those that are integers with a scale before the pass integers
# has seen them; bytes for text and for what is smaller than one while operators still know it; folding and simplifying again after
# decompose, which leaves new constants and identities. Functions that are spelled out are known once constants are folded.
GRAPH_PASSES = ("fold-constants{keep_dequantize=true},integers,fold-constants,simplify,known-functions,strings,storage,decompose,"
                "fold-constants,simplify")

# Program passes in order, each with the reason it stands where it does.
PROGRAM_PASSES: tuple[tuple[Callable[..., Program], str], ...] = (
    (fuse, "from here on there are no operators, only kernels over buffers"),
    (scales, "sums are rid of the scales of weights before anything looks at what they multiply"),
    (codebooks, "and vectors choose from small tables before anything looks at how reads step through memory"),
    (chain, "tensors that are wanted row by row vanish before they get a layout"),
    (layout, "strides must be known before anything looks at unit steps or shares memory"),
    (views, "a copy that keeps its unit stride under the chosen layouts goes; what is left is real work"),
    (stages, "reductions are hoisted out of loops that do not change them, once no kernel will be removed any more"),
    (word_operands, "products of two computed tensors of bytes are known by the stages that make their factors"),
    (images, "the sizes of what kernels hand on are known, and those of one image count for the passes below"),
    (winograd, "a convolution is recognised in its final layout, while it is still one stage"),
    (pack_operands, "products of two run-time tensors are what the passes before have left as one stage"),
    (bands, "what is still one stage may share bands of rows with what it reads"),
    (walks, "what is one point only now that bands and blocks are known can be shared walk by walk"),
    (sequences, "what a loop repeats becomes one kernel once all that changes the number of kernels is done"),
    (persistent, "what is kept between calls is stored in place once nothing moves in the order of kernels any more"),
    (liveness, "places in the arena come last, when all buffers and scratch are known"),
)
OPTIONAL = frozenset({"bands", "chain", "images", "views", "packed", "scales", "stages", "walks", "winograd", "pack_operands", "sequences",
                      "word_operands"})
COMPRESSIONS = ("", "huffman")
MOST_STRING_BYTES = 1 << 20
CACHED_BYTES = 64 << 20  # larger objects are put together again from their cached kernels


def compile(model: Any, target: str | Target = "native", *, shapes: Mapping[str, Any] | None = None, bind: Mapping[str, Any] | None = None,
            prefix: str | None = None, optimize: str = "3", passes: Sequence[str] = (), without: Sequence[str] = (),
            winograd: bool = True, max_flash_growth: float | None = None, multiversion: bool = False,
            schedules: Path | Schedules | None = None, keep: Sequence[str] = (), precision: str = "f32", compress: str = "",
            workers: int | None = None, cache: Path | None = None, requant: str = "",
            ops: Sequence[str] = (), state: Mapping[str, str] | None = None, string_bytes: int = DEFAULT_BYTES,
            progress: Callable[[int, int], None] | None = None) -> Artifact:
    """Compile an ONNX or TFLite file (or bytes, ModelProto, Graph) for a target.

    `shapes` and `bind` close open dimensions as in `load`; `prefix` names the C symbols (default: the model's name); `optimize` is 0..3 or
    s; `passes` are files with custom passes, `without` names optional program passes (OPTIONAL) to leave out, as `winograd=False` does
    that one; `state` names inputs and the outputs they are kept from between calls; `max_flash_growth` bounds the weights relative to the
    model's (`machine_for`); `multiversion` puts code for every level of the target into the object, chosen at run time; `schedules` are
    measured ones or their file; `keep` holds "llvm" and "asm" to keep those texts; `precision` (f32, bf16, f16) is that of the operands of
    contractions, see docs/precision.md; `requant` and `ops` as in `load`; `string_bytes` are those of a string of the inputs
    (edgec.text_slots); `compress` (huffman) codes the weights, which a call decodes into the arena; `workers`, `cache` and `progress` as in
    `compile_modules`. Raises CompileError.
    """
    graph = model if isinstance(model, Graph) else load(model, shapes, bind, requant=requant, ops=ops)
    graph = with_state(graph, state) if state else graph
    machine = machine_for(target, optimize, max_flash_growth)
    without = tuple(without) if winograd else (*without, "winograd")
    if prefix and c_prefix(prefix) != prefix:
        raise ModelError(f"the prefix '{prefix}' is no C name", hint=f"use {c_prefix(prefix)}")
    name = prefix or _prefix(model, graph)
    machines = _levels(machine, optimize, max_flash_growth) if multiversion else (machine,)
    measured = known_schedules(schedules)
    if compress not in COMPRESSIONS:
        raise ModelError(f"weights cannot be compressed by '{compress}'", hint="choose huffman, or leave them as they are")
    choices = (optimize, passes, without, keep, multiversion, precision, compress, measured.text(), string_bytes)
    key = _artifact_key(graph, machine, name, *choices) if cache is not None else ""
    known = recall(cache, key) if cache is not None else None
    if known is not None:
        return known
    options: Any = {"passes": passes, "precision": precision, "string_bytes": string_bytes}
    programs = [lower(optimise_graph(graph, each, **options), each, without=without) for each in machines]
    artifact = emit_levels(list(zip(programs, machines)), machine, name, optimize, keep, schedules=measured, compress=compress,
                           texts=text_ports(graph), workers=workers, cache=cache, progress=progress)
    if cache is not None and len(artifact.object) <= CACHED_BYTES:
        remember(cache, key, artifact)
    return artifact


def known_schedules(given: Path | Schedules | None) -> Schedules:
    """Measured schedules: those of a file, those given, or none."""
    return given if isinstance(given, Schedules) else read_schedules(given) if given is not None else Schedules()


def machine_for(target: str | Target, optimize: str = "3", max_flash_growth: float | None = None) -> Target:
    """The target, its bound on the growth of weights replaced by the one asked for: by default its own, 1 when optimising for size.

    For size the schedules are others as well, see docs/schedules.md.
    """
    machine = target if isinstance(target, Target) else find(target)
    if optimize == "s":
        machine = replace(machine, compact=True, max_flash_growth=1.0)
    if max_flash_growth is None:
        return machine
    if not 1.0 <= max_flash_growth < math.inf:
        raise ModelError(f"weights cannot grow to {max_flash_growth:g} times their size", hint="give 1 (no growth) or more")
    return replace(machine, max_flash_growth=float(max_flash_growth))


def _levels(target: Target, optimize: str, max_flash_growth: float | None) -> tuple[Target, ...]:
    """The targets that one object for `target` holds code for."""
    if not target.levels:
        families = [t.name for t in all_targets() if t.levels]
        raise Unsupported(f"{target.name} is one machine, not several levels of one", hint=f"compile for {' or '.join(families)}")
    return tuple(machine_for(level.target, optimize, max_flash_growth) for level in target.levels)


def _artifact_key(graph: Graph, target: Target, *options: Any) -> str:
    """The SHA-256 of what an artifact depends on: the graph with its constants, the target, the options, custom passes, our own code."""
    text, arrays = print_graph(graph)
    parts = [text, target.text(), repr(options), own_code()]
    parts += [f"{name} {hashlib.sha256(np.ascontiguousarray(array)).hexdigest()}" for name, array in arrays.items()]
    parts += [Path(file).read_text(encoding="utf-8") for file in options[2] if Path(file).is_file()]
    parts += sorted({f"{type(op).__module__}.{type(op).__name__}" for op in graph.ops})  # the user's: the digest of their file is in it
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def optimise_graph(graph: Graph, target: Target, text: str = GRAPH_PASSES, *, passes: Sequence[str] = (),
                   precision: str = "f32", string_bytes: int = DEFAULT_BYTES) -> Graph:
    """The graph after the default graph passes, those of the files `passes` and, last, the narrowing of contractions to `precision`.

    A string of the inputs has `string_bytes`.
    """
    if not 1 <= string_bytes <= MOST_STRING_BYTES:
        raise ModelError(f"{string_bytes} bytes for a string", hint=f"1 to {MOST_STRING_BYTES} are possible")
    custom = [each for file in passes for each in load_passes(file)]
    text = text.replace("strings", f"strings{{bytes={string_bytes}}}")
    text += f",precision{{to={precision}}}" if precision != "f32" else ""
    return run_pipeline(graph, insert_passes(parse_pipeline(text, registered()), custom), target)


def lower(graph: Graph, target: Target, *, without: Sequence[str] = ()) -> Program:
    """The program of a graph, with layouts and arena offsets; `without` names passes of OPTIONAL to leave out.

    Weights that the model stores in fewer bits than it computes with are decoded where they are read, so the object is no larger than the
    model; without "packed" they are decoded here.
    """
    unknown = set(without) - OPTIONAL
    if unknown:
        raise ModelError(f"cannot leave out {', '.join(sorted(unknown))}", hint=f"optional passes are {', '.join(sorted(OPTIONAL))}")
    graph = fold_constants(graph, grow=True) if "packed" in without else graph

    def lowered(part: Graph) -> Program:
        """Everything but places in memory, which calls of C functions share with what lies between them."""
        found: Any = part
        for step, _ in PROGRAM_PASSES:
            found = step(found, target) if step.__name__ not in without and step is not liveness else found
        return found
    return liveness(joined_program(graph, lowered) if externals(graph) else lowered(graph))


def emit(program: Program, target: Target, prefix: str, optimize: str = "3", keep: Sequence[str] = (), **options: Any) -> Artifact:
    """The artifact of a program; `options` as in `emit_levels`."""
    return emit_levels([(program, target)], target, prefix, optimize, keep, **options)


def emit_levels(parts: Sequence[tuple[Program, Target]], target: Target, prefix: str, optimize: str = "3", keep: Sequence[str] = (),
                trace: bool = False, schedules: Path | Schedules | None = None, compress: str = "", texts: Texts = NO_TEXTS,
                **options: Any) -> Artifact:
    """The artifact of one program, or of a program for each level of `target`: then the choice is made by what is called first.

    With `trace` it times its kernels, see `backends/trace.py`; `texts` are as `text_ports` finds them; `schedules` as in `compile`;
    `options` are `workers`, `cache` and `progress` as in `compile_modules`.
    """
    measured = known_schedules(schedules)
    tiled = [[tile(k, machine, choose=measured.choose(k, machine), inside=n) for k, n in zip(program.steps, alone(program.steps))]
             for program, machine in parts]
    parts = [(outside(program), machine) for program, machine in parts]
    blob, offsets = _weights([one for part in tiled for one in part])
    constants = sorted({(at, b.data.nbytes, b.data.itemsize) for b, at in offsets.items()})
    interface = interface_of(parts[0][0], prefix, bool(blob)).with_texts(*texts)
    interface = replace(interface, functions=functions_of(parts[0][0].steps))
    if len(parts) > 1:
        levels, arena = tuple(level.macro for level in target.levels), max(program.arena_bytes for program, _ in parts)
        interface = replace(interface, levels=levels, arena_bytes=arena)
    interface = _decoding(interface, blob) if compress and blob else interface
    modules: list[Compiled] = []
    stack = slot_bytes = 0
    for number, ((program, machine), part) in enumerate(zip(parts, tiled)):
        regions = parallel(program.steps, part, machine) if not program.sizes else []  # every thread would have to read them
        steps, texts, scratch = _steps(program, machine, part, regions, offsets, f"edgec_{number}_" if interface.levels else "edgec_")
        slot_bytes = max(slot_bytes, scratch)
        interface = replace(interface, slot_bytes=slot_bytes)
        if trace:
            steps, texts = traced(steps, interface.state_bytes), texts | {TICK: tick_text(machine.pointer_bits)}
        objects = list(compile_modules(texts, machine, optimize, keep, **options).values())
        symbol = level_symbol(interface, number) if interface.levels else interface.run_symbol
        text = entry_text(interface, steps, machine.pointer_bits, symbol, team=not machine.compact)
        entry = compile_module(text, machine, optimize, keep)
        frames = entry.stack * (2 if regions else 1)  # a region's own lies under PREFIX_run's
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
    names: dict[Expr, int | str] = {s: n for n, s in enumerate(program.symbols)}
    for axis in dict.fromkeys(a for kernel in program.steps for a in kernel.repeat):
        names[axis.var] = f"loop{len(names)}"
    parts = {region.first + n: one for region in regions for n, one in enumerate(region.kernels)}
    waits = meetings(program, regions)
    calls, slot_bytes = [], 0
    for step, one in enumerate(tiled):
        bounds = parts[step].bounds if step in parts else ()
        indices = tuple(names[s] for s in one.loops.symbols)
        one = ranged(parts[step].cut) if bounds else one
        places = tuple(_place(b.root, program, offsets) for b in one.buffers)
        scratch, size = _slot(one) if bounds else ((), 0)
        slot_bytes = max(slot_bytes, size)
        symbol = _symbol(program.steps[step], one, places, target, texts, stem)
        calls.append(CallStep(symbol, places, indices, bounds, scratch, step in waits))
    return _repeated(_gathered(program, calls, regions), names, lambda buffer: _place(buffer, program, offsets)), texts, slot_bytes


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
            found += [((), size) for size in _size_steps(program, kernel)]
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


def _symbol(kernel: Kernel, one: Tiled, places: Sequence[Place], target: Target, texts: dict[str, str], stem: str) -> str:
    """The symbol of a kernel's code: equal code is one function. A result in the place of an operand is the one case of shared memory."""
    shared = frozenset(p for p, place in zip(one.loops.params, places) if list(places).count(place) > 1)
    roots = [b.root for b in one.buffers]
    text = external_text("KERNEL", kernel.external, roots) if kernel.external else module_text(one.loops, target, "KERNEL", shared)
    symbol = stem + hashlib.sha256(text.encode()).hexdigest()[:16]
    texts.setdefault(symbol, text.replace("@KERNEL(", f"@{symbol}("))
    return symbol


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


def _prefix(model: Any, graph: Graph) -> str:
    stem = Path(model).stem if isinstance(model, (str, Path)) else graph.name
    return c_prefix(stem)
