"""The choice between levels at run time, in LLVM IR: PREFIX_init asks the processor, PREFIX_run goes by what the context says.

    i32 @net_init(ptr %context):  context->isa = number of the widest level whose checks all hold
    i32 @net_run(ptr %context):   switch on context->isa: call @net_run_0, @net_run_1, ...; the lowest where the context has no such member

With several shapes PREFIX_run compares the dimensions in the context with those of each.

Nothing is written but the caller's context, so any number of threads may ask at once.
"""
from collections.abc import Sequence

from edgec.backends.interface import BAD_CONTEXT, BAD_DIMENSION, BAD_ISA, Interface, layout
from edgec.backends.join import DataSection
from edgec.backends.levels import Check, Level, Routine

ATTRIBUTES = 'attributes #0 = { nounwind noredzone "no-builtins" "no-jump-tables"="true" "warn-stack-size"="0" }'


def part_symbol(interface: Interface, number: int) -> str:
    """The run function of one level, or for one of several shapes."""
    return f"{interface.run_symbol}_{number}"


def dispatch_text(interface: Interface, pointer_bits: int) -> str:
    """The LLVM module of PREFIX_run where there are several levels: an isa that is none of theirs is refused."""
    mode = "" if interface.sizes else "readonly "
    count, isa = len(interface.levels), layout(interface, pointer_bits).isa
    lines = [f"define i32 @{interface.run_symbol}(ptr captures(none) {mode}%context) #0 {{", "entry:",
             "  %size = load i32, ptr %context, align 4", f"  %knows = icmp uge i32 %size, {isa + 4}",
             "  br i1 %knows, label %told, label %run0", "told:", f"  %isa_at = getelementptr i8, ptr %context, i32 {isa}",
             "  %isa = load i32, ptr %isa_at, align 4",
             f"  switch i32 %isa, label %bad_isa [ {' '.join(f'i32 {n}, label %run{n}' for n in range(count))} ]"]
    for n in range(count):
        lines += [f"run{n}:", f"  %status{n} = tail call i32 @{part_symbol(interface, n)}(ptr %context)", f"  ret i32 %status{n}"]
    lines += ["bad_isa:", f"  ret i32 {BAD_ISA}", "}"]
    lines += [f"declare i32 @{part_symbol(interface, n)}(ptr captures(none) {mode})" for n in range(count)]
    return "\n".join([*lines, ATTRIBUTES, ""])


def shapes_text(interface: Interface, pointer_bits: int) -> str:
    """The LLVM module of PREFIX_run where there are several shapes: dimensions that are those of none are refused."""
    where = layout(interface, pointer_bits)
    word = pointer_bits // 8
    needed = max(where.dims, default=0) + 4
    lines = [f"define i32 @{interface.run_symbol}(ptr %context) #0 {{", "entry:", "  %size = load i32, ptr %context, align 4",
             f"  %small = icmp ult i32 %size, {-(-needed // word) * word}", "  br i1 %small, label %bad_context, label %sized", "sized:"]
    for n, offset in enumerate(where.dims):
        lines += [f"  %at{n} = getelementptr i8, ptr %context, i32 {offset}", f"  %dim{n} = load i32, ptr %at{n}, align 4"]
    lines.append("  br label %try0")
    for n, sizes in enumerate(interface.variants):
        lines += [f"try{n}:", f"  %is{n}_0 = icmp eq i32 %dim0, {sizes[0]}"]
        for k, size in enumerate(sizes[1:], 1):
            lines += [f"  %equal{n}_{k} = icmp eq i32 %dim{k}, {size}", f"  %is{n}_{k} = and i1 %is{n}_{k - 1}, %equal{n}_{k}"]
        lines += [f"  br i1 %is{n}_{len(sizes) - 1}, label %run{n}, label %try{n + 1}", f"run{n}:",
                  f"  %status{n} = tail call i32 @{part_symbol(interface, n)}(ptr %context)", f"  ret i32 %status{n}"]
    count = len(interface.variants)
    lines += [f"try{count}:", f"  ret i32 {BAD_DIMENSION}", "bad_context:", f"  ret i32 {BAD_CONTEXT}", "}"]
    lines += [f"declare i32 @{part_symbol(interface, n)}(ptr)" for n in range(count)]
    return "\n".join([*lines, ATTRIBUTES, ""])


def init_text(interface: Interface, levels: Sequence[Level], pointer_bits: int) -> str:
    """The LLVM module of PREFIX_init: the level's number is stored as soon as its checks hold, and the next level is tried."""
    isa = layout(interface, pointer_bits).isa
    lines = [f"define i32 @{interface.init_symbol}(ptr captures(none) %context) #0 {{", "entry:", "  %answer = alloca [4 x i32], align 16",
             "  %size = load i32, ptr %context, align 4", f"  %small = icmp ult i32 %size, {isa + 4}",
             "  br i1 %small, label %bad_context, label %sized", "sized:", f"  %isa = getelementptr i8, ptr %context, i32 {isa}"]
    for number, level in enumerate(levels):
        for k, check in enumerate(level.checks):
            lines += _check(f"{number}_{k}", check, "done" if number else "bad_isa")
        lines.append(f"  store i32 {number}, ptr %isa, align 4")
    lines += ["  br label %done", "done:", "  ret i32 0", "bad_context:", f"  ret i32 {BAD_CONTEXT}"]
    lines += ["bad_isa:", f"  ret i32 {BAD_ISA}"] if levels[0].checks else []
    routines = dict.fromkeys(check.routine for level in levels for check in level.checks)
    return "\n".join([*lines, "}", *(f"declare void @{_symbol(name)}(i32, i32, ptr)" for name in routines), ATTRIBUTES, ""])


def routine_sections(routines: Sequence[Routine]) -> list[DataSection]:
    """The machine code of the routines, each in a section of its own."""
    return [DataSection(_symbol(r.name), r.code, 16, f".text.{_symbol(r.name)}", code=True) for r in routines]


def _check(name: str, check: Check, otherwise: str) -> list[str]:
    first, second = check.arguments
    return [f"  call void @{_symbol(check.routine)}(i32 {first}, i32 {second}, ptr %answer)",
            f"  %at{name} = getelementptr i32, ptr %answer, i32 {check.word}", f"  %word{name} = load i32, ptr %at{name}, align 4",
            f"  %part{name} = and i32 %word{name}, {check.mask}", f"  %has{name} = icmp uge i32 %part{name}, {check.least}",
            f"  br i1 %has{name}, label %passed{name}, label %{otherwise}", f"passed{name}:"]


def _symbol(routine: str) -> str:
    return f"edgec_{routine}"
