"""The public function of a model, PREFIX_run, in LLVM IR: checks the caller's context and calls the kernels in order.

    i32 @net_run(ptr %context):  size, dimensions and arena are checked; then  call @kernel(ptr ..., ptr ..., i64 %n)  per step

A region of kernels that are cut into parts is called whole, or, where the caller lends an executor, part by part: see regions.py. An
executor whose threads run together runs everything in one function of all threads instead: see team.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgec.backends.coded_weights import UNPACK
from edgec.backends.interface import (
    BAD_ARENA,
    BAD_CONTEXT,
    BAD_DIMENSION,
    BAD_EXECUTOR,
    BAD_STATE,
    ContextLayout,
    ExecutorLayout,
    Interface,
    layout,
)
from edgec.backends.regions import Frame, call_text, place_pointers, region_text
from edgec.backends.steps import CallStep, Place, RegionStep, SizeStep, Step, calls_of, loops_of, measures, places_of, regions_of
from edgec.backends.team import emit_loop, team_text


def entry_text(interface: Interface, steps: Sequence[Step], pointer_bits: int, symbol: str = "", *,
               team: Sequence[Step] | None = None) -> str:
    """The LLVM module of PREFIX_run, or of another `symbol`; kernels and the weights symbol are left to be bound by joining.

    `team` are the steps as threads together walk them, by default the same; where there are none there is no function of all threads, which
    is half of the code: every region is handed over by itself.
    """
    where = layout(interface, pointer_bits)
    symbol = symbol or interface.run_symbol
    team = steps if team is None else team
    found, shared = regions_of(steps), regions_of(team)
    # Threads that run together would each have to know what a condition says, or a size is, before others have done what decides it.
    together = bool(shared) and not any(loop.condition for loop in loops_of(team)) and not measures(team)
    calls = [*calls_of(steps), *(calls_of(team) if together else ())]
    lent = bool(found) or together
    kept = "" if lent else "captures(none) "
    lines = [f"define i32 @{symbol}(ptr {kept}{'' if interface.sizes else 'readonly '}%context) #0 {{", "entry:"]
    word = f"i{pointer_bits}"
    lengths = [loop.length for loop in (*loops_of(steps), *loops_of(team)) if loop.symbolic]
    frame = Frame(tuple(dict.fromkeys([*(i for c in calls for i in c.indices), *lengths])), word, len(shared),
                  max((region.parts for region in shared), default=1), len(interface.dims))
    lines += frame.allocate() if lent else []
    lines += _checks(interface, where, pointer_bits)
    _weights(interface, where, lines)
    pointers = place_pointers(interface, places_of(steps), where, lines)
    lines += ["  br label %start", "start:"]
    label = "start"
    if lent:
        label = _find_executor(where, pointer_bits, lines)
        lines += frame.fill("%weights" if interface.weights_symbol else "null")
        lines += ["  %singly = icmp eq ptr %together, null", "  br i1 %singly, label %apart, label %team", "team:",
                  *frame.begin(), f"  call void %together(ptr %lent, ptr @{symbol}_team, ptr %frame)", "  ret i32 0", "apart:"] \
            if together else ["  br label %apart", "apart:"]
        label = "apart"
    _emit_steps(steps, _Names(pointers, word, symbol, frame, found, where.sizes), lines, label)
    lines += ["  ret i32 0", "bad_context:", f"  ret i32 {BAD_CONTEXT}"]
    lines += ["bad_dimension:", f"  ret i32 {BAD_DIMENSION}"] if interface.dims or measures(steps) else []
    lines += ["bad_arena:", f"  ret i32 {BAD_ARENA}"] if interface.arena_bytes else []
    lines += ["bad_state:", f"  ret i32 {BAD_STATE}"] if interface.state_bytes else []
    lines += ["bad_executor:", f"  ret i32 {BAD_EXECUTOR}"] if lent else []
    bodies = [region_text(interface, region, f"{symbol}_region{number}", where, frame)
              for number, region in enumerate(found) if region.lent > 1]
    bodies += [team_text(interface, team, f"{symbol}_team", where, frame)] if together else []
    kernels = {call.symbol: call for call in calls}
    declared = [f"declare void @{s}({', '.join(['ptr'] * len(c.places) + [word] * (len(c.indices) + 2 * bool(c.bounds)))})"
                for s, c in kernels.items()]
    if interface.weights_symbol:
        declared.append(f"@{interface.weights_symbol} = external hidden constant [0 x i8]")
    if interface.decoded_at is not None:
        declared.append(f"declare void @{UNPACK}(ptr, ptr)")
    return "\n".join([*lines, "}", *bodies, *declared, 'attributes #0 = { nounwind noredzone "no-builtins" "warn-stack-size"="0" }',
                      'attributes #1 = { nounwind noinline noredzone "no-builtins" "warn-stack-size"="0" }', ""])


@dataclass(frozen=True)
class _Names:
    """What the statements of PREFIX_run are written with."""

    pointers: Mapping[Place, str]
    word: str
    symbol: str
    frame: Frame
    regions: Sequence[RegionStep]
    sizes: Sequence[int] = ()  # byte offsets of the members of the outputs that hold computed sizes


def _emit_steps(steps: Sequence[Step], names: _Names, lines: list[str], label: str) -> str:
    """Append calls, regions and loops; gives the label of the block they end in."""
    for step in steps:
        if isinstance(step, CallStep):
            limits = ("0", str(step.bounds[-1])) if step.bounds else ()
            lines.append(call_text(step, [names.pointers[p] for p in step.places], limits, names.word))
        elif isinstance(step, SizeStep):
            label = _emit_size(step, names, lines)
        elif isinstance(step, RegionStep):
            label = _emit_region(step, names, lines, label)
        else:
            label = emit_loop(step, names.word, lines, label, lambda start, body=step.body: _emit_steps(body, names, lines, start),
                              names.pointers[step.condition] if step.condition else "")
    return label


def _emit_size(step: SizeStep, names: _Names, lines: list[str]) -> str:
    """Read a number that a kernel has stored, refuse it outside of its bounds, hand it out; from here on it is a dimension."""
    at, kind, wide = f"%size{len(lines)}", f"i{step.bits}", int(names.word[1:])
    lines += [f"  {at}.at = getelementptr i8, ptr %arena, i32 {step.offset}", f"  {at} = load {kind}, ptr {at}.at, align {step.bits // 8}",
              f"  {at}.above = sub {kind} {at}, {step.low}", f"  {at}.bad = icmp ugt {kind} {at}.above, {step.high - step.low}",
              f"  br i1 {at}.bad, label %bad_dimension, label {at}.good", f"{at[1:]}.good:"]
    if step.dimension is not None:
        to = "trunc" if step.bits > wide else "sext"
        lines += [f"  %dim{step.dimension} = " + (f"{to} {kind} {at} to {names.word}" if step.bits != wide else f"add {kind} {at}, 0"),
                  *(names.frame.measured(step.dimension) if names.regions else [])]
    if step.member is not None:
        told = f"trunc {kind} {at} to i32" if step.bits > 32 else f"add {kind} {at}, 0"
        lines += [f"  {at}.told = {told}", f"  {at}.member = getelementptr i8, ptr %context, i32 {names.sizes[step.member]}",
                  f"  store i32 {at}.told, ptr {at}.member, align 4"]
    return f"{at[1:]}.good"


def _emit_region(region: RegionStep, names: _Names, lines: list[str], label: str) -> str:
    """Lend the region to the executor if there is one and the region is worth it, else run it whole."""
    if region.lent < 2:
        return _emit_steps(region.calls, names, lines, label)
    number = next(n for n, each in enumerate(names.regions) if each is region)
    name = f"region{number}"
    lines += [f"  br i1 %alone, label %{name}.whole, label %{name}.parts", f"{name}.parts:"]
    lines += names.frame.update(region, name)
    lines += [f"  call void %parallel_for(ptr %lent, ptr @{names.symbol}_{name}, ptr %frame, i32 {region.lent})",
              f"  br label %{name}.after", f"{name}.whole:"]
    _emit_steps(region.calls, names, lines, f"{name}.whole")
    lines += [f"  br label %{name}.after", f"{name}.after:"]
    return f"{name}.after"


def _find_executor(where: ContextLayout, bits: int, lines: list[str]) -> str:
    """Append the choice of %parallel_for, %lent, %alone, %together and %resting, from a context that knows of executors and holds a sound
    one; the last two are null where it has none."""
    members = ExecutorLayout(bits)
    lines += [f"  %knows = icmp uge i32 %size, {where.executor + bits // 8}",
              "  br i1 %knows, label %known, label %chosen_executor", "known:",
              f"  %executor_at = getelementptr i8, ptr %context, i32 {where.executor}", "  %executor = load ptr, ptr %executor_at",
              "  %no_executor = icmp eq ptr %executor, null", "  br i1 %no_executor, label %chosen_executor, label %lending", "lending:",
              "  %executor_size = load i32, ptr %executor", f"  %executor_small = icmp ult i32 %executor_size, {members.size}",
              "  br i1 %executor_small, label %bad_executor, label %executor_sized", "executor_sized:",
              f"  %slots_at = getelementptr i8, ptr %executor, i32 {members.slots}", "  %slots = load i32, ptr %slots_at",
              f"  %function_at = getelementptr i8, ptr %executor, i32 {members.parallel_for}", "  %function = load ptr, ptr %function_at",
              f"  %lent_at = getelementptr i8, ptr %executor, i32 {members.context}", "  %lent_context = load ptr, ptr %lent_at",
              "  %no_slots = icmp eq i32 %slots, 0", "  %no_function = icmp eq ptr %function, null",
              "  %unsound = or i1 %no_slots, %no_function",
              "  br i1 %unsound, label %bad_executor, label %executor_sound", "executor_sound:",
              f"  %executor_whole = icmp uge i32 %executor_size, {members.whole}",
              "  br i1 %executor_whole, label %members, label %chosen_executor", "members:",
              f"  %together_at = getelementptr i8, ptr %executor, i32 {members.together}", "  %together_of = load ptr, ptr %together_at",
              f"  %rest_at = getelementptr i8, ptr %executor, i32 {members.rest}", "  %rest_of = load ptr, ptr %rest_at",
              "  br label %chosen_executor", "chosen_executor:",
              *(f"  %{name} = phi ptr [ null, %start ], [ null, %known ], [ {first}, %executor_sound ], [ {second}, %members ]"
                for name, first, second in (("parallel_for", "%function", "%function"), ("lent", "%lent_context", "%lent_context"),
                                            ("together", "null", "%together_of"), ("resting", "null", "%rest_of"))),
              "  %alone = icmp eq ptr %parallel_for, null"]
    return "chosen_executor"


def _checks(interface: Interface, where: ContextLayout, bits: int) -> list[str]:
    needed = _needed(interface, where) + bits // 8
    lines = ["  %size = load i32, ptr %context, align 4", f"  %small = icmp ult i32 %size, {needed}",
             "  br i1 %small, label %bad_context, label %sized", "sized:"]
    for n, (_, low, high) in enumerate(interface.dims):
        lines += [f"  %dim_at{n} = getelementptr i8, ptr %context, i32 {where.dims[n]}",
                  f"  %dim32_{n} = load i32, ptr %dim_at{n}, align 4",
                  f"  %offset{n} = sub i32 %dim32_{n}, {low}", f"  %out{n} = icmp ugt i32 %offset{n}, {high - low}",
                  f"  br i1 %out{n}, label %bad_dimension, label %dim_ok{n}", f"dim_ok{n}:",
                  f"  %dim{n} = zext i32 %dim32_{n} to i{bits}" if bits > 32 else f"  %dim{n} = add i32 %dim32_{n}, 0"]
    if interface.arena_bytes:
        lines += [f"  %arena_at = getelementptr i8, ptr %context, i32 {where.arena}", "  %arena = load ptr, ptr %arena_at",
                  *_fit("arena", interface.arena_align, bits), "  br i1 %unfit_arena, label %bad_arena, label %placed", "placed:"]
    if interface.state_bytes:
        lines += [f"  %given_state_at = getelementptr i8, ptr %context, i32 {where.state}",
                  "  %given_state = load ptr, ptr %given_state_at", *_fit("given_state", interface.arena_align, bits),
                  "  br i1 %unfit_given_state, label %bad_state, label %kept", "kept:"]
    return lines


def _needed(interface: Interface, where: ContextLayout) -> int:
    """The offset of the last member of the context that a call cannot do without."""
    if interface.state_bytes:
        return where.state
    return where.arena if interface.arena_bytes else where.outputs[-1] if where.outputs else where.arena


def _fit(name: str, align: int, bits: int) -> list[str]:
    """%unfit_NAME: whether a pointer is null or not aligned."""
    return [f"  %{name}_bits = ptrtoint ptr %{name} to i{bits}", f"  %{name}_rest = and i{bits} %{name}_bits, {align - 1}",
            f"  %{name}_crooked = icmp ne i{bits} %{name}_rest, 0", f"  %{name}_missing = icmp eq ptr %{name}, null",
            f"  %unfit_{name} = or i1 %{name}_crooked, %{name}_missing"]


def _weights(interface: Interface, where: ContextLayout, lines: list[str]) -> None:
    """Append the choice of %weights: those the caller has put elsewhere, or the object's own, decoded where they are coded."""
    if interface.decoded_at is not None:
        lines += [f"  %given_at = getelementptr i8, ptr %context, i32 {where.weights}",
                  f"  %has_given = icmp ugt i32 %size, {where.weights}", "  br i1 %has_given, label %with_given, label %unpack",
                  "with_given:", "  %given = load ptr, ptr %given_at", "  %none = icmp eq ptr %given, null",
                  "  br i1 %none, label %unpack, label %with_weights", "unpack:",
                  f"  %decoded = getelementptr i8, ptr %arena, i32 {interface.decoded_at}",
                  f"  call void @{UNPACK}(ptr @{interface.weights_symbol}, ptr %decoded)", "  br label %with_weights", "with_weights:",
                  "  %weights = phi ptr [ %given, %with_given ], [ %decoded, %unpack ]"]
    elif interface.weights_symbol:
        lines += [f"  %given_at = getelementptr i8, ptr %context, i32 {where.weights}",
                  f"  %has_given = icmp ugt i32 %size, {where.weights}",
                  "  br i1 %has_given, label %with_given, label %with_weights", "with_given:", "  %given = load ptr, ptr %given_at",
                  "  %none = icmp eq ptr %given, null", f"  %chosen = select i1 %none, ptr @{interface.weights_symbol}, ptr %given",
                  "  br label %with_weights", "with_weights:",
                  f"  %weights = phi ptr [ %chosen, %with_given ], [ @{interface.weights_symbol}, %{_before_weights(interface)} ]"]


def _before_weights(interface: Interface) -> str:
    if interface.state_bytes:
        return "kept"
    if interface.arena_bytes:
        return "placed"
    return f"dim_ok{len(interface.dims) - 1}" if interface.dims else "sized"
