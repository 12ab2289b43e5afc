"""The text of Programs: printed in one canonical way, so that a kernel's text is also its key in the compile cache; and read back.

    program ::= program NAME(input, ...) -> (output, ...)   symbols n in 1..8   keeps INPUT = OUTPUT, ...   buffer*
                arena BYTES live BYTES   kernel*
    buffer  ::= KIND NAME: dtype[shape] [order 0,2,1] [pad 16] [view of NAME offset N strides s,...] [= @constant] [at arena offset]
    kernel  ::= kernel NAME(axis < extent, ...) [block 8] [repeat (axis < extent [while BUFFER], ...)]   schedule ...   vars r0<3, ...
                statement*
    statement ::= %number = expr                                          -- a part that several expressions share
                | store NAME(axis < extent, ...) TARGET[index, ...] = expr [where index < extent, ...]
                | merge NAME(axis < extent, ...) TARGET[index, ...] combine = expr [where index < extent, ...]

Axes are named i0, i1, ... and reduction variables r0, r1, ... in order of appearance; `vars` declares those that a shared part uses
before their stage or reduction is seen. Loops around kernels are named t0, t1, ...; neighbours with the same one are its body. Data of
constants stands beside the text, see `constants`.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgec.accesses import kernel_buffers, kernel_roots, program_buffers, stage_roots
from edgec.expr import Expr
from edgec.expr_text import Printer, bound_variable, declaration, identifier
from edgec.kernel import Axis, Buffer, Kernel, Program, Size, Stage
from edgec.sweeps import walk

Names = dict[Any, str]


def print_program(program: Program) -> str:
    """The whole program as text; `edgec.program_parser.parse_program(text, constants(program))` reads it back."""
    buffers = program_buffers(program)
    names = unique_names(buffers)
    ports = [", ".join(identifier(names[b]) for b in side) for side in (program.inputs, program.outputs)]
    lines = [f"program {identifier(program.name)}({ports[0]}) -> ({ports[1]})"]
    if program.symbols:
        lines.append("symbols " + ", ".join(declaration(s, identifier(s.data)) for s in program.symbols))
    if program.states:
        lines.append("keeps " + ", ".join(f"{identifier(names[a])} = {identifier(names[b])}" for a, b in program.states))
    lines += [_buffer(b, names) + (f" at {program.arena[b]}" if b in program.arena else "") for b in buffers]
    lines += [_size(size, names) for size in program.sizes]
    if program.arena:
        lines.append(f"arena {program.arena_bytes} live {program.live_bytes}")
    repeats = numbered("t", (a.var for kernel in program.steps for a in kernel.repeat), {s.data for s in program.symbols})
    return "\n".join(lines) + "\n" + "".join("\n" + print_kernel(kernel, names, repeats) for kernel in program.steps)


def constants(program: Program) -> dict[str, np.ndarray]:
    """The data of the constants by the names they have in the text."""
    buffers = program_buffers(program)
    names = unique_names(buffers)
    return {names[b]: b.data for b in buffers if b.data is not None}


def kernel_key(kernel: Kernel) -> str:
    """Everything that determines the code of a kernel, and no name: equal for equal kernels of different layers and models."""
    buffers = program_buffers(Program("", (), (), (kernel,)))
    names = {b: f"b{n}" for n, b in enumerate(buffers)}
    symbols = sorted({v for root in kernel_roots(kernel) for v in root.free} - set(_variables(kernel)), key=lambda v: v.data)
    lines = ["symbols " + ", ".join(declaration(s, identifier(s.data)) for s in symbols)] if symbols else []
    lines += [_buffer(b, names, data=False) for b in buffers]
    return "\n".join(lines) + "\n" + print_kernel(_nameless(kernel), names, title="kernel")


def print_kernel(kernel: Kernel, names: Names | None = None, repeats: Mapping[Expr, str] | None = None, title: str = "") -> str:
    """One kernel as text; `names` are those of its buffers (by default their own, made unique), `repeats` those of the loops around it."""
    given = names or unique_names(kernel_buffers(kernel))
    variables = _variables(kernel, repeats)
    printer = Printer(kernel_roots(kernel), variables, lambda source: identifier(given[source]))
    axes = _axes(kernel.axes, printer)
    body = [line for stage in kernel.stages for line in _stage(stage, printer, given)]
    block = f" block {kernel.block}" if kernel.block else ""
    around = f" repeat ({_loops(kernel.repeat, printer, given)})" if kernel.repeat else ""
    header = [f"{title or 'kernel ' + identifier(kernel.name)}({axes}){block}{around}"]
    if kernel.schedule is not None:
        header.append("  schedule " + _schedule(kernel.schedule, variables))
    early = {v for node in printer.shared for v in node.free if v in variables} - {a.var for a in (*kernel.axes, *kernel.repeat)}
    if early:
        header.append("  vars " + ", ".join(declaration(v, variables[v]) for v in variables if v in early))
    return "\n".join(header + ["  " + line for line in body]) + "\n"


def unique_names(objects: Iterable[Any]) -> Names:
    """The objects' own names, a number added where two have the same."""
    found: Names = {}
    taken: set[str] = set()
    for each in objects:
        name, n = each.name, 1
        while name in taken:
            n += 1
            name = f"{each.name}.{n}"
        taken.add(name)
        found[each] = name
    return found


def _size(size: Size, names: Names) -> str:
    symbol = identifier(size.symbol.data) if isinstance(size.symbol, Expr) else size.symbol
    return f"size {symbol} = {identifier(names[size.buffer])}[{size.element}] in {size.low}..{size.high}"


def _buffer(buffer: Buffer, names: Names, data: bool = True) -> str:
    text = f"{buffer.kind} {identifier(names[buffer])}: {buffer.dtype}[{', '.join(map(str, buffer.shape))}]"
    if buffer.order:
        text += f" order {', '.join(map(str, buffer.order))}"
    if buffer.pad:
        text += f" pad {buffer.pad}"
    if buffer.parent is not None:
        strides = ", ".join(map(str, buffer.view_strides))
        text += f" view of {identifier(names[buffer.parent])} offset {buffer.offset} strides [{strides}]"
    return text + (f" = @{identifier(names[buffer])}" if data and buffer.data is not None else "")


def _variables(kernel: Kernel, repeats: Mapping[Expr, str] | None = None) -> dict[Expr, str]:
    """Names of the kernel's axes and of the variables of its reductions, in order of appearance; symbols keep theirs."""
    nodes = walk(*kernel_roots(kernel))
    around = [a.var for a in kernel.repeat]
    axes = dict.fromkeys(a.var for a in (*kernel.axes, *(a for stage in kernel.stages for a in stage.axes)))
    bound = {v for node in nodes if node.op == "reduce" for v in node.args[:node.data[1]]}
    free = [node for node in nodes if node.op == "var" and node not in axes and node not in around]
    taken = {v.data for v in free if v not in bound}
    return ({v: repeats[v] for v in around} if repeats else numbered("t", around, taken)) | numbered("i", axes, taken) | \
        numbered("r", [v for v in free if v in bound], taken)


def numbered(stem: str, objects: Iterable[Any], taken: Container[str]) -> dict[Any, str]:
    """Names stem0, stem1, ... in order, those that are taken left out."""
    names = (name for n in itertools.count() if (name := f"{stem}{n}") not in taken)
    return dict(zip(dict.fromkeys(objects), names))


def _axes(axes: tuple[Axis, ...], printer: Printer) -> str:
    extents = [a.extent if isinstance(a.extent, int) else printer.inline(a.extent) for a in axes]
    return ", ".join(f"{bound_variable(a.var, printer.names[a.var], a.extent)} < {extent}" for a, extent in zip(axes, extents))


def _loops(axes: tuple[Axis, ...], printer: Printer, names: Names) -> str:
    """Axes around a kernel, with their conditions."""
    ends = [f" while {identifier(names.get(a.condition, a.condition.name))}" if a.condition is not None else "" for a in axes]
    return ", ".join(_axes((a,), printer) + end for a, end in zip(axes, ends))


def _stage(stage: Stage, printer: Printer, names: Names) -> list[str]:
    lines = printer.prepare(*stage_roots(stage))
    head = f"{'merge' if stage.combine else 'store'} {identifier(stage.name)}({_axes(stage.axes, printer)})"
    indices = ", ".join(map(printer.text, stage.indices))
    guards = ", ".join(f"{printer.text(i)} < {printer.text(e)}" for i, e in stage.guards)
    text = f"{head} {identifier(names[stage.target])}[{indices}] {stage.combine}".rstrip()
    return [*lines, f"{text} = {printer.text(stage.value)}" + (f" where {guards}" if guards else "")]


def _nameless(kernel: Kernel) -> Kernel:
    """The kernel with its stages named by their places."""
    return replace(kernel, stages=tuple(replace(stage, name=f"s{n}") for n, stage in enumerate(kernel.stages)))


def _schedule(schedule: Any, variables: dict[Expr, str]) -> str:
    """The schedule's repr in one line, variables by their printed names."""
    text = " ".join(repr(schedule).split())
    for variable in sorted(variables, key=lambda v: -len(v.data)):
        text = text.replace(variable.data, variables[variable]) if "." in variable.data else text
    return text
