"""Lets what is kept between calls lie in one place: the output that is the next call's input becomes a view of that input.

Stores go straight into the state wherever nobody reads the old value after them, or only the kernel itself where it stores; a copy of the
old value to the new one is then nothing at all, so a step that writes one row of a cache touches that row. Kernels that store what nobody
else reads may be moved to the end for that. Where the old value is still wanted, the new one goes to memory of its own and is copied at
the end.

    input h, output hn, kept:   hn[i] = h[i];  hn[at] = x   ->   hn is a view of h;  hn[at] = x
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgec.accesses import buffer_reads, program_buffers
from edgec.expr import dim, fresh, read
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.passes.layout import replace_buffers
from edgec.passes.liveness import takes_place_of
from edgec.repeats import loops
from edgec.sweeps import substitute, walk


def persistent(program: Program, target: Any = None) -> Program:
    """The program with every output that is kept as a view of its input."""
    sources = {source for source, _ in program.states}
    for source, result in program.states:
        orders = (program.steps, _postponed(program.steps, result, sources - {source}))
        found = next((steps for order in orders if (steps := _in_place(order, source, result)) is not None), None)
        program = _apart(program, source, result) if found is None else _moved(program.with_steps(found), result, _view(source, result))
    return program


def _view(source: Buffer, result: Buffer) -> Buffer:
    return replace(result, parent=source.root, offset=0, view_strides=source.strides, order=(), pad=0)


def _in_place(steps: Sequence[Kernel], source: Buffer, result: Buffer) -> tuple[Kernel, ...] | None:
    """The steps without copies of the old value, if they may store into it; else None."""
    kept = tuple(_without_copy(k, source, result) for k in steps if not _is_copy(k, source, result))
    first, last = list(range(len(kept))), list(range(len(kept)))
    for loop in loops(kept):
        for n in range(loop.first, loop.last + 1):
            first[n], last[n] = min(first[n], loop.first), max(last[n], loop.last)
    reads, writes = [n for n, k in enumerate(kept) if _reads(k, source)], [n for n, k in enumerate(kept) if _stores(k, result)]
    own = {n for n in writes if not kept[n].repeat and source.root in takes_place_of(kept[n])}
    safe = all(last[r] < first[w] or r == w and r in own for r in reads for w in writes)
    return kept if safe else None


def _is_copy(kernel: Kernel, source: Buffer, result: Buffer) -> bool:
    """Whether all it does is to store elements of the source at their places in the result."""
    stage = kernel.stages[0]
    plain = len(kernel.stages) == 1 and not stage.combine and stage.target.root is result
    value = stage.value
    return plain and value.op == "read" and isinstance(value.data, Buffer) and value.data is source and \
        value.data.flat(value.args) is stage.target.flat(stage.indices)


def _without_copy(kernel: Kernel, source: Buffer, result: Buffer) -> Kernel:
    """A kernel that appends to what is kept without the part that is there already: only the points behind it are walked.

        y[i] = select(i < P, x[i], new[i - P])      ->      y[i + P] = new[i]
    """
    stage = kernel.stages[0]
    if len(kernel.stages) != 1 or stage.target.root is not result or stage.combine or stage.guards or stage.value.op != "select":
        return kernel
    there, old, new = stage.value.args
    axis = next((a for a in (*kernel.axes, *stage.axes) if there.op == "lt" and there.args[0] is a.var), None)
    if axis is None or old.op not in ("read", "inside"):
        return kernel
    reads = [node for node in walk(old) if node.op == "read"]
    same = len(reads) == 1 and reads[0].data is source and tuple(reads[0].args) == tuple(stage.indices)
    first = there.args[1]
    if not same or first.lo < 0 or not any(d is first for d in source.shape):
        return kernel
    extent = dim(axis.extent - first)
    shorter = Axis(fresh("i", 0, max(0, (extent if isinstance(extent, int) else extent.hi) - 1)), extent)
    moved = {axis.var: shorter.var + first}
    axes = [tuple(shorter if a is axis else a for a in side) for side in (kernel.axes, stage.axes)]
    value, *indices = (substitute(e, moved) for e in (new, *stage.indices))
    return replace(kernel, axes=axes[0], stages=(replace(stage, axes=axes[1], value=value, indices=tuple(indices)),))


def _reads(kernel: Kernel, root: Buffer) -> bool:
    return any(node.data.root is root.root for node in buffer_reads(kernel))


def _stores(kernel: Kernel, root: Buffer) -> bool:
    return any(target.root is root for target in kernel.targets)


def _postponed(steps: Sequence[Kernel], result: Buffer, others: set[Buffer]) -> tuple[Kernel, ...]:
    """The steps with those that store the result last, where nobody reads it, and they no other state."""
    late = [k for k in steps if _stores(k, result)]
    movable = all(not k.repeat and {t.root for t in k.targets} == {result} and not any(_reads(k, other) for other in others) for k in late)
    if not movable or any(_reads(k, result) for k in steps if not _stores(k, result)):
        return tuple(steps)
    return (*(k for k in steps if not _stores(k, result)), *late)


def _apart(program: Program, source: Buffer, result: Buffer) -> Program:
    """The new value in memory of its own, copied into the old one's at the end."""
    new, view = replace(result, kind="temporary", name=f"{result.name}.next"), _view(source, result)
    axes = tuple(Axis(fresh("i", 0, max((d if isinstance(d, int) else d.hi) - 1, 0)), d) for d in result.shape)
    at = tuple(axis.var for axis in axes)
    moved = _moved(program, result, new, view)
    return moved.with_steps((*moved.steps, Kernel(result.name, axes, (Stage(result.name, (), read(new, at), view, at),))))


def _moved(program: Program, result: Buffer, new: Buffer, port: Buffer | None = None) -> Program:
    """The program with another buffer for a result and for the views into it; `port` is what is handed out, if that is not it."""
    found = {result: new}
    for buffer in program_buffers(program):
        if buffer.parent in found:  # parents come before their views
            found[buffer] = replace(buffer, parent=found[buffer.parent])
    port = port or new
    outputs = tuple(port if b is result else found.get(b, b) for b in program.outputs)
    states = tuple((a, port if b is result else b) for a, b in program.states)
    return replace(replace_buffers(program, found), outputs=outputs, states=states)
