"""The public function of a model, PREFIX_run, in LLVM IR: checks the caller's context and calls the kernels in order.

    i32 @net_run(ptr %context):  size, dimensions and arena are checked; then  call @kernel(ptr ..., ptr ..., i64 %n)  per step
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Sequence

from edgec.backends.interface import BAD_ARENA, BAD_CONTEXT, BAD_DIMENSION, ContextLayout, Interface, layout


@dataclass(frozen=True)
class Place:
    """Where a kernel's parameter points: an input or output by number, or bytes into the arena, the weights or the caller's state."""

    kind: str  # input | output | arena | weights | state
    number: int


@dataclass(frozen=True)
class CallStep:
    """One call: the kernel's symbol, its pointers, and the index arguments it takes: a dimension's number or a loop's name."""

    symbol: str
    places: tuple[Place, ...]
    indices: tuple[int | str, ...] = ()


@dataclass(frozen=True)
class LoopStep:
    """Calls (or loops) repeated with `name` running from 0; the length is a number, or the number of a symbolic dimension."""

    name: str
    length: int
    symbolic: bool
    body: tuple["CallStep | LoopStep", ...]


def calls_of(steps: Sequence[CallStep | LoopStep]) -> list[CallStep]:
    """Every call below some steps, in order."""
    return [c for s in steps for c in ([s] if isinstance(s, CallStep) else calls_of(s.body))]


def entry_text(interface: Interface, steps: Sequence[CallStep | LoopStep], pointer_bits: int, symbol: str = "") -> str:
    """The LLVM module of PREFIX_run, or of another `symbol`; kernels and the weights symbol are left to be bound by joining."""
    where = layout(interface, pointer_bits)
    lines = [f"define i32 @{symbol or interface.run_symbol}(ptr captures(none) readonly %context) #0 {{", "entry:"]
    calls = calls_of(steps)
    lines += _checks(interface, where, pointer_bits)
    pointers = _pointers(interface, calls, where, lines)
    word = f"i{pointer_bits}"
    lines += ["  br label %start", "start:"]
    _emit_steps(steps, pointers, word, lines, "start")
    lines += ["  ret i32 0", "bad_context:", f"  ret i32 {BAD_CONTEXT}"]
    lines += ["bad_dimension:", f"  ret i32 {BAD_DIMENSION}"] if interface.dims else []
    lines += ["bad_arena:", f"  ret i32 {BAD_ARENA}"] if interface.arena_bytes else []
    kernels = {call.symbol: call for call in calls}
    declared = [f"declare void @{s}({', '.join(['ptr'] * len(c.places) + [word] * len(c.indices))})" for s, c in kernels.items()]
    if interface.weights_symbol:
        declared.append(f"@{interface.weights_symbol} = external hidden constant [0 x i8]")
    return "\n".join([*lines, "}", *declared, 'attributes #0 = { nounwind noredzone "no-builtins" "warn-stack-size"="0" }', ""])


def _emit_steps(steps: Sequence[CallStep | LoopStep], pointers: Mapping[Place, str], word: str, lines: list[str], label: str) -> str:
    """Append calls and loops; gives the label of the block they end in."""
    for step in steps:
        if isinstance(step, CallStep):
            indices = [f"{word} %dim{n}" if isinstance(n, int) else f"{word} %{n}" for n in step.indices]
            lines.append(f"  call void @{step.symbol}({', '.join([f'ptr {pointers[p]}' for p in step.places] + indices)})")
        else:
            label = _emit_loop(step, pointers, word, lines, label)
    return label


def _emit_loop(loop: LoopStep, pointers: Mapping[Place, str], word: str, lines: list[str], label: str) -> str:
    name, length = loop.name, f"%dim{loop.length}" if loop.symbolic else str(loop.length)
    lines += [f"  %{name}.some = icmp sgt {word} {length}, 0",
              f"  br i1 %{name}.some, label %{name}.head, label %{name}.after", f"{name}.head:",
              f"  %{name} = phi {word} [ 0, %{label} ], [ %{name}.next, %{name}.end ]"]
    _emit_steps(loop.body, pointers, word, lines, f"{name}.head")
    lines += [f"  br label %{name}.end", f"{name}.end:", f"  %{name}.next = add nuw nsw {word} %{name}, 1",
              f"  %{name}.more = icmp slt {word} %{name}.next, {length}",
              f"  br i1 %{name}.more, label %{name}.head, label %{name}.after", f"{name}.after:"]
    return f"{name}.after"


def _checks(interface: Interface, where: ContextLayout, bits: int) -> list[str]:
    needed = where.arena + bits // 8 if interface.arena_bytes else where.outputs[-1] + bits // 8
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
                  f"  %arena_bits = ptrtoint ptr %arena to i{bits}", f"  %rest = and i{bits} %arena_bits, {interface.arena_align - 1}",
                  f"  %crooked = icmp ne i{bits} %rest, 0", "  %missing = icmp eq ptr %arena, null", "  %unfit = or i1 %crooked, %missing",
                  "  br i1 %unfit, label %bad_arena, label %placed", "placed:"]
    return lines


def _pointers(interface: Interface, calls: Sequence[CallStep], where: ContextLayout, lines: list[str]) -> Mapping[Place, str]:
    """Emit one pointer per distinct place."""
    if interface.weights_symbol:
        lines += [f"  %given_at = getelementptr i8, ptr %context, i32 {where.weights}",
                  f"  %has_given = icmp ugt i32 %size, {where.weights}",
                  "  br i1 %has_given, label %with_given, label %with_weights", "with_given:", "  %given = load ptr, ptr %given_at",
                  "  %none = icmp eq ptr %given, null", f"  %chosen = select i1 %none, ptr @{interface.weights_symbol}, ptr %given",
                  "  br label %with_weights", "with_weights:",
                  f"  %weights = phi ptr [ %chosen, %with_given ], [ @{interface.weights_symbol}, %{_before_weights(interface)} ]"]
    found: dict[Place, str] = {}
    for place in dict.fromkeys(p for call in calls for p in call.places):
        name = f"%{place.kind}{place.number}"
        if place.kind == "weights" and not interface.weights_symbol or place.kind == "arena" and not interface.arena_bytes:
            found[place] = "null"  # a tensor without elements, never touched
            continue
        if place.kind == "state" and not any(p.kind == "state" for p in found):
            lines += [f"  %state_at = getelementptr i8, ptr %context, i32 {where.state}", "  %state = load ptr, ptr %state_at"]
        found[place] = name
        if place.kind in ("arena", "weights", "state"):
            lines.append(f"  {name} = getelementptr i8, ptr %{place.kind}, i64 {place.number}")
        else:
            offset = (where.inputs if place.kind == "input" else where.outputs)[place.number]
            lines += [f"  {name}_at = getelementptr i8, ptr %context, i32 {offset}", f"  {name} = load ptr, ptr {name}_at"]
    return found


def _before_weights(interface: Interface) -> str:
    if interface.arena_bytes:
        return "placed"
    return f"dim_ok{len(interface.dims) - 1}" if interface.dims else "sized"
