"""What this processor can do at most: f32 multiply-adds from registers, with as many independent chains as the registers hold.

peak_flops(find("native"))      # 1.16e11 floating-point operations per second, one core
"""

from __future__ import annotations

import ctypes
import time

from edgec.backends.codegen import compile_module
from edgec.backends.join import join
from edgec.backends.native import place
from edgec.backends.target import Target

STEPS = 100_000
ROUNDS = 5


def peak_flops(target: Target) -> float:
    """Operations per second (a multiply-add is two) of one core, the best of a few short rounds."""
    lanes, chains = target.lanes(32), max(4, min(12, target.registers - 3))
    engine, address = place(join([compile_module(_text(target, lanes, chains), target).object], [], {"peak"}), "peak")
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(address)
    memory = (ctypes.c_float * (lanes * (chains + 2)))()
    best = min(_timed(lambda: function(ctypes.addressof(memory), STEPS)) for _ in range(ROUNDS))
    engine.close()
    return 2.0 * lanes * chains * STEPS / best


def _timed(call: object) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


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
