"""What this processor can do at most: multiply-adds from registers, with as many independent chains as the registers hold.

peak_flops(find("native"))      # 1.16e11 floating-point operations per second, one core
peak_dots(find("native"))       # 4.67e11 operations on bytes, by its widest dot product of integers; 0.0 where it has none
"""

from __future__ import annotations

import ctypes
import time

from edgec.backends.codegen import compile_module
from edgec.backends.instruction import LLVM_TYPES, Dot, call, dots
from edgec.backends.join import join
from edgec.backends.native import place
from edgec.backends.target import Target

STEPS = 100_000
ROUNDS = 5


def peak_flops(target: Target) -> float:
    """Operations per second (a multiply-add is two) of one core, the best of a few short rounds."""
    lanes, chains = target.lanes(32), _chains(target)
    return 2.0 * lanes * chains * STEPS / _best_time(target, _text(target, lanes, chains), lanes * (chains + 2))


def peak_dots(target: Target) -> float:
    """Operations per second (a product and its sum are two) of the row that multiplies most integers at once; 0.0 without such a row."""
    fitting = [d for d in dots(target.instructions) if d.acc == "i32" and d.lanes == target.lanes(32)]
    if not fitting:
        return 0.0
    widest, chains = max(fitting, key=lambda d: (d.group, d.adds)), _chains(target)
    products = 2.0 * widest.group * widest.lanes * chains * STEPS
    return products / _best_time(target, _dot_text(target, widest, chains), widest.lanes * (chains + 2))


def _chains(target: Target) -> int:
    return max(4, min(12, target.registers - 3))


def _best_time(target: Target, text: str, words: int) -> float:
    """Seconds of the quickest of a few rounds of STEPS steps over a memory of 32-bit words."""
    engine, address = place(join([compile_module(text, target).object], [], {"peak"}), "peak")
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(address)
    memory = (ctypes.c_float * words)()
    best = min(_timed(lambda: function(ctypes.addressof(memory), STEPS)) for _ in range(ROUNDS))
    engine.close()
    return best


def _timed(call: object) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _dot_text(target: Target, row: Dot, chains: int) -> str:
    """The same loop of dot products: every chain adds to its own accumulator, all read the same two vectors."""
    kind, count = f"<{row.lanes} x i32>" if row.lanes > 1 else "i32", row.lanes * row.group
    body, declared = ["  %next = add i64 %i, 1", "  %more = icmp slt i64 %next, %n"], ""
    for c in range(chains):
        a = "%a"
        if not row.adds:  # else nothing would change from step to step, and LLVM would multiply once
            a = f"%a{c}"
            body.append(f"  {a} = bitcast {kind} %x{c} to <{count} x {LLVM_TYPES[row.a]}>")
        values = {"acc": f"%x{c}", "a": a, "b": "%b"}
        declared, lines = call(row.row, values, result=f"%y{c}" if row.adds else f"%p{c}")
        body += ["  " + line for line in lines] + ([] if row.adds else [f"  %y{c} = add {kind} %x{c}, %p{c}"])
    loads = []
    for name, element, place_ in (("a", row.a, 0), ("b", row.b, row.lanes)):
        loads += [f"  %{name}.at = getelementptr i32, ptr %p, i64 {place_}",
                  f"  %{name} = load <{count} x {LLVM_TYPES[element]}>, ptr %{name}.at, align 4"]
    zero = "zeroinitializer" if row.lanes > 1 else "0"
    starts = [f"  %x{c} = phi {kind} [ {zero}, %entry ], [ %y{c}, %loop ]" for c in range(chains)]
    stores = [line for c in range(chains) for line in (f"  %s{c} = getelementptr i32, ptr %p, i64 {row.lanes * (c + 2)}",
                                                       f"  store {kind} %y{c}, ptr %s{c}, align 4")]
    return "\n".join([declared, "define void @peak(ptr %p, i64 %n) #0 {", "entry:", *loads, "  br label %loop", "loop:",
                      "  %i = phi i64 [ 0, %entry ], [ %next, %loop ]", *starts, *body, "  br i1 %more, label %loop, label %done", "done:",
                      *stores, "  ret void", "}", _attributes(target), ""])


def _attributes(target: Target) -> str:
    width = f'"prefer-vector-width"="{target.vector_bits}" "min-legal-vector-width"="{target.vector_bits}"' if target.vector_bits else ""
    return f'attributes #0 = {{ nounwind "no-builtins" {width} }}'


def _text(target: Target, lanes: int, chains: int) -> str:
    """A loop of `chains` independent accumulators, each multiplied and added to once a step."""
    kind = f"<{lanes} x float>" if lanes > 1 else "float"
    fma = f"llvm.fma.{f'v{lanes}' if lanes > 1 else ''}f32"
    lines = [
        "define void @peak(ptr %p, i64 %n) #0 {",
        "entry:",
        f"  %a = load {kind}, ptr %p, align 4",
        f"  %q = getelementptr float, ptr %p, i64 {lanes}",
        f"  %b = load {kind}, ptr %q, align 4",
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [ 0, %entry ], [ %next, %loop ]",
    ]
    lines += [f"  %x{c} = phi {kind} [ %a, %entry ], [ %y{c}, %loop ]" for c in range(chains)]
    for c in range(chains):
        if target.fma:
            lines.append(f"  %y{c} = call {kind} @{fma}({kind} %x{c}, {kind} %a, {kind} %b)")
        else:
            lines += [f"  %m{c} = fmul {kind} %x{c}, %a", f"  %y{c} = fadd {kind} %m{c}, %b"]
    lines += ["  %next = add i64 %i, 1", "  %more = icmp slt i64 %next, %n", "  br i1 %more, label %loop, label %done", "done:"]
    for c in range(chains):
        lines += [f"  %s{c} = getelementptr float, ptr %p, i64 {lanes * (c + 2)}", f"  store {kind} %y{c}, ptr %s{c}, align 4"]
    width = f'"prefer-vector-width"="{target.vector_bits}"' if target.vector_bits else ""
    return "\n".join(
        [
            *lines,
            "  ret void",
            "}",
            f"declare {kind} @{fma}({kind}, {kind}, {kind})",
            f'attributes #0 = {{ nounwind "no-builtins" {width} }}',
            "",
        ]
    )
