"""compile(model, target) -> Artifact: the whole data flow, top to bottom.

    graph    = load -> graph passes             what the model says
    program  = fuse -> chain -> layout -> ... -> liveness     what each element is, and where it lies (PROGRAM_PASSES)
    loops    = tile(kernel) for every kernel    what the machine does
    artifact = LLVM -> object, joined with the weights
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgec.backends.artifact import Artifact
from edgec.backends.c_names import prefix as c_prefix
from edgec.backends.target import Target, all_targets, find
from edgec.backends.workers import own_code, recall, remember
from edgec.c_functions import externals
from edgec.emission import emit_levels
from edgec.errors import ModelError, Unsupported
from edgec.graph import Graph
from edgec.graph_text import print_graph
from edgec.kernel import Program
from edgec.model_file import load
from edgec.passes.bands import bands
from edgec.passes.byte_tables import byte_tables
from edgec.passes.c_calls import joined_program
from edgec.passes.cells import cells
from edgec.passes.chain import chain
from edgec.passes.channel_blocks import channel_blocks
from edgec.passes.codebooks import codebooks
from edgec.passes.fold_constants import fold_constants
from edgec.passes.fuse import fuse
from edgec.passes.images import images
from edgec.passes.input_order import input_order
from edgec.passes.joined_taps import joined_taps
from edgec.passes.layout import layout
from edgec.passes.liveness import liveness
from edgec.passes.pack_operands import pack_operands
from edgec.passes.persistent import persistent
from edgec.passes.scales import scales
from edgec.passes.sequences import sequences
from edgec.passes.stages import stages
from edgec.passes.views import views
from edgec.passes.walks import walks
from edgec.passes.winograd import winograd
from edgec.passes.word_operands import word_operands
from edgec.persistent_state import with_state
from edgec.pipeline import insert_passes, load_passes, parse_pipeline, registered, run_pipeline
from edgec.rare_collection import rarely_collected
from edgec.schedules import Schedules, known_schedules
from edgec.several_shapes import one_by_one
from edgec.text_ports import text_ports
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
    (byte_tables, "functions of bytes are whole once kernels are made; a chain or a layout sees the read of a table"),
    (chain, "tensors that are wanted row by row vanish before they get a layout"),
    (input_order, "the layout may choose the order of a copy, never that of an input"),
    (layout, "strides must be known before anything looks at unit steps or shares memory"),
    (views, "a copy that keeps its unit stride under the chosen layouts goes; what is left is real work"),
    (stages, "reductions are hoisted out of loops that do not change them, once no kernel will be removed any more"),
    (word_operands, "products of two computed tensors of bytes are known by the stages that make their factors"),
    (images, "the sizes of what kernels hand on are known, and those of one image count for the passes below"),
    (winograd, "a convolution is recognised in its final layout, while it is still one stage"),
    (joined_taps, "taps of windows that are left as they are become one axis with their channels"),
    (pack_operands, "products of two run-time tensors are what the passes before have left as one stage"),
    (bands, "what is still one stage may share bands of rows with what it reads"),
    (walks, "what is one point only now that bands and blocks are known can be shared walk by walk"),
    (cells, "the kernels of a loop that are left may store side by side, which needs all of them to be final"),
    (sequences, "what a loop repeats becomes one kernel once all that changes the number of kernels is done"),
    (persistent, "what is kept between calls is stored in place once nothing moves in the order of kernels any more"),
    (channel_blocks, "buffers may lie in blocks of channels once nothing looks at how dimensions follow one another any more"),
    (liveness, "places in the arena come last, when all buffers and scratch are known"),
)
OPTIONAL = frozenset({"bands", "byte_tables", "cells", "chain", "channel_blocks", "images", "joined_taps", "views", "packed",
                      "scales", "stages", "walks", "winograd", "pack_operands", "sequences", "word_operands"})
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
    """Compile an ONNX or TFLite file (or bytes, ModelProto, Graph, a list of Graphs of several shapes) for a target.

    `shapes` and `bind` close open dimensions as in `load`, where a list of several shapes makes one object for them all; `prefix` names
    the C symbols (default: the model's name); `optimize` is 0..3 or s; `passes` are files with custom passes, `without` names optional
    program passes (OPTIONAL) to leave out, as `winograd=False` does that one; `state` names inputs and the outputs they are kept from
    between calls; `max_flash_growth` bounds the weights relative to the model's (`machine_for`); `multiversion` puts code for every level
    of the target into the object, chosen at run time; `schedules` are measured ones or their file; `keep` holds "llvm" and "asm" to keep
    those texts; `precision` (f32, bf16, f16) is that of the operands of contractions, see docs/precision.md; `requant` and `ops` as in
    `load`; `string_bytes` are those of a string of the inputs (edgec.text_slots); `compress` (huffman) codes the weights, which a call
    decodes into the arena; `workers`, `cache` and `progress` as in `compile_modules`. Raises CompileError.
    """
    graphs = _graphs(model, lambda each: load(model, each, bind, requant=requant, ops=ops), shapes)
    graph, *others = graphs = [with_state(each, state) if state else each for each in graphs]
    machine = machine_for(target, optimize, max_flash_growth)
    without = tuple(without) if winograd else (*without, "winograd")
    if prefix and c_prefix(prefix) != prefix:
        raise ModelError(f"the prefix '{prefix}' is no C name", hint=f"use {c_prefix(prefix)}")
    name = prefix or _prefix(model, graph)
    if others and multiversion:
        raise Unsupported("several shapes and several levels in one object", hint="compile an object for each shape, or for each level")
    machines = _levels(machine, optimize, max_flash_growth) if multiversion else (machine,)
    measured = known_schedules(schedules)
    if compress not in COMPRESSIONS:
        raise ModelError(f"weights cannot be compressed by '{compress}'", hint="choose huffman, or leave them as they are")
    choices = (optimize, passes, without, keep, multiversion, precision, compress, measured.text(), string_bytes)
    key = _artifact_key(graphs, machine, name, *choices) if cache is not None else ""
    known = recall(cache, key) if cache is not None else None
    if known is not None:
        return known
    options: Any = {"passes": passes, "precision": precision, "string_bytes": string_bytes}
    parts = [(lower(optimise_graph(one, each, **options), each, without=without), each) for one in graphs for each in machines]
    artifact = emit_levels(parts, machine, name, optimize, keep, schedules=measured, compress=compress, texts=text_ports(graph),
                           by_shape=bool(others), workers=workers, cache=cache, progress=progress)
    if cache is not None and len(artifact.object) <= CACHED_BYTES:
        remember(cache, key, artifact)
    return artifact


def _graphs(model: Any, read: Callable[[dict[str, Any]], Graph], shapes: Mapping[str, Any] | None) -> list[Graph]:
    """One graph for each of the shapes, or those given."""
    if isinstance(model, (Graph, list)):
        return [model] if isinstance(model, Graph) else model
    return [read(each) for each in one_by_one(shapes)]


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


def _artifact_key(graphs: Sequence[Graph], target: Target, *options: Any) -> str:
    """The SHA-256 of what an artifact depends on: the graphs with their constants, the target, the options, custom passes, our own code."""
    parts = [target.text(), repr(options), own_code()]
    for text, arrays in map(print_graph, graphs):
        parts += [text, *(f"{name} {hashlib.sha256(np.ascontiguousarray(array)).hexdigest()}" for name, array in arrays.items())]
    parts += [Path(file).read_text(encoding="utf-8") for file in options[2] if Path(file).is_file()]
    # The user's operators: the digest of their file is in the name.
    parts += sorted({f"{type(op).__module__}.{type(op).__name__}" for graph in graphs for op in graph.ops})
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@rarely_collected()
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


@rarely_collected()
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


def _prefix(model: Any, graph: Graph) -> str:
    stem = Path(model).stem if isinstance(model, (str, Path)) else graph.name
    return c_prefix(stem)
