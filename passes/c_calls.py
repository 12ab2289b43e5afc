"""The program of a graph that calls C functions: those of its segments one after the other, over the same buffers.

    joined_program(graph, lambda part: lowered(part))      # a Program whose steps for calls are marked (Kernel.external)

Below, a call is a kernel that reads its operands, which is what memory is planned by; its code is the call and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edgec.c_functions import Segment, segments
from edgec.errors import Unsupported
from edgec.graph import Graph, Value
from edgec.kernel import Buffer, ExternalCall, Kernel, Program
from edgec.passes.fuse import fuse
from edgec.passes.layout import replace_buffers


def joined_program(graph: Graph, lower: Callable[[Graph], Program]) -> Program:
    """The program of the whole graph, before liveness; `lower` gives that of a part without calls."""
    if len(set(graph.outputs)) < len(graph.outputs):
        raise Unsupported("an output that is given twice, in a model with C functions", hint="leave one of them out")
    buffers: dict[Value, Buffer] = {v: Buffer(v.name, v.dtype, v.shape, "input") for v in graph.inputs}
    ends = dict(zip(graph.outputs, graph.output_names))
    results: dict[Value, Buffer] = {}
    steps: list[Kernel] = []
    for part in segments(graph):
        program = fuse(part.graph) if part.call else lower(part.graph)
        if program.sizes:
            raise Unsupported("sizes that depend on data, in a model with C functions", hint="give every tensor a fixed size")
        renewed = replace_buffers(program, _common(part, program, buffers, ends, results)).steps
        if part.call:
            pointers = tuple(buffers[part.inputs[n]] for n in part.places) + (buffers[part.outputs[0]],)
            renewed = tuple(replace(k, external=ExternalCall(part.call, pointers)) for k in renewed)
        steps += renewed
    return Program(graph.name, tuple(buffers[v] for v in graph.inputs), tuple(results[v] for v in graph.outputs), tuple(steps))


def _common(part: Segment, program: Program, buffers: dict[Value, Buffer], ends: dict[Value, str],
            results: dict[Value, Buffer]) -> dict[Buffer, Buffer]:
    """The part's own inputs and outputs, and the whole program's buffer for each; new ones are noted in `buffers` and `results`."""
    new: dict[Buffer, Buffer] = {}
    for value, own in zip(part.inputs, program.inputs):
        if value not in buffers:  # what no part has computed is a constant
            buffers[value] = Buffer(value.name, value.dtype, value.shape, "constant", value.array)
        new[own] = buffers[value]
    for value, own in zip(part.outputs, program.outputs):
        made = replace(own, name=ends.get(value, value.name), kind="output" if value in ends else "temporary")
        new[own] = made
        buffers.setdefault(value, made)
        if value in ends:
            results[value] = made
    return _with_views(program, new)


def _with_views(program: Program, new: dict[Buffer, Buffer]) -> dict[Buffer, Buffer]:
    """Views of replaced buffers become views of the new ones."""
    from edgec.accesses import program_buffers
    for buffer in program_buffers(program):
        if buffer.parent is not None and buffer.parent in new:
            new[buffer] = replace(buffer, parent=new[buffer.parent])
    return new
