"""What a program shows of itself to C: its ports, the sizes of its symbols, and where its state lies.

    interface_of(program, "net", has_weights=True)      # Interface("net", inputs=(Port("x", "x", "f32", ("N", 4)),), ...)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgec.backends.c_dims import c_expression
from edgec.backends.c_names import identifiers
from edgec.backends.interface import WEIGHT_ALIGN, Interface, Kept, Port
from edgec.expr import Expr
from edgec.kernel import Buffer, Program


def handed_out(program: Program) -> list[Expr]:
    """The symbols of computed sizes that the shapes of outputs depend on."""
    free = {v for b in program.outputs for d in b.shape if isinstance(d, Expr) for v in d.free}
    return [s.symbol for s in program.sizes if s.symbol in free]


def passed_buffers(program: Program) -> tuple[list[Buffer], list[Buffer]]:
    """The inputs and outputs of a call, without what is kept between calls."""
    kept = {b for pair in program.states for b in pair}
    return [b for b in program.inputs if b not in kept], [b for b in program.outputs if b not in kept]


def state_offsets(program: Program) -> dict[Buffer, int]:
    """Where in the caller's state each input that is kept lies, in bytes."""
    found, size = {}, 0
    for source, _ in program.states:
        found[source.root] = size
        size += -(-source.root.bytes // WEIGHT_ALIGN) * WEIGHT_ALIGN
    return found


def interface_of(program: Program, prefix: str, has_weights: bool) -> Interface:
    """The interface of a program, its names as C identifiers."""
    sources, results = passed_buffers(program)
    given, told = program.given, handed_out(program)
    members = identifiers([b.name for b in sources] + [s.data for s in given])  # they share one struct
    stems = [s.data.partition(".")[0] for s in told]
    computed = [stem if stems.count(stem) == 1 else s.data for stem, s in zip(stems, told)]
    after = identifiers([b.name for b in results] + computed, members[len(sources):])
    names = dict(zip((*given, *told), (*members[len(sources):], *after[len(results):])))
    inputs = tuple(_port(b, c, names) for b, c in zip(sources, members))
    outputs = tuple(_port(b, c, names) for b, c in zip(results, after))
    offsets = state_offsets(program)
    kept = zip(program.states, identifiers([a.name for a, _ in program.states]))
    states = tuple(_kept(a, b, c, names, offsets[a.root]) for (a, b), c in kept)
    return Interface(prefix, inputs, outputs, tuple((names[s], s.lo, s.hi) for s in given), program.arena_bytes,
                     weights_symbol=f"{prefix}_weights" if has_weights else "", states=states,
                     sizes=tuple((names[s], s.lo, s.hi) for s in told))


def _kept(source: Buffer, result: Buffer, c_name: str, names: Mapping[Expr, str], offset: int) -> Kept:
    """What lies in the state: where it grows, all the room there is, and what of it counts before a call and after it."""
    whole = _port(replace(source.root, name=source.name), c_name, names)
    grows = source.parent is not None
    before, after = ((_port(b, c_name, names).shape if grows else ()) for b in (source, result))
    return Kept(whole, result.name, offset, before, after)


def _port(buffer: Buffer, c_name: str, names: Mapping[Expr, str]) -> Port:
    shape = tuple(d if isinstance(d, int) else c_expression(d, names) for d in buffer.shape)
    return Port(buffer.name, c_name, buffer.dtype.name, shape)
