"""What this processor can read from memory at most, level by level: vector loads over blocks that fit each cache, and one that fits none.

    levels = memory_speed(find("native"), 40 << 20)
    speed_at(levels, 100_000)            # bytes per second where 100 kB are walked again and again
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass

import numpy as np

from edgec.backends.codegen import compile_module
from edgec.backends.join import join
from edgec.backends.native import aligned_buffer, place
from edgec.backends.target import Target

CHAINS = 8            # vectors loaded in one step
SECONDS = 0.004       # of one measurement, about
ROUNDS = 9
MOST = 256 << 20      # bytes of the largest block that is walked


@dataclass(frozen=True)
class Level:
    """Bytes that are walked again and again, and the bytes per second they arrive at."""

    size: int
    speed: float


def memory_speed(target: Target, working_set: int) -> tuple[Level, ...]:
    """The speed at half of each cache and at `working_set` bytes, smallest first."""
    caches = [c // 2 for c in (target.l1_bytes, target.l2_bytes, target.l3_bytes) if c // 2 < working_set]
    width = target.lanes(32) * 4 * CHAINS
    sizes = dict.fromkeys(max(width, size // width * width) for size in (*caches, min(working_set, MOST)))
    engine, address = place(join([compile_module(_text(target), target).object], [], {"walk"}), "walk")
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(address)
    found = tuple(Level(size, _speed(function, size)) for size in sizes)
    engine.close()
    return found


def speed_at(levels: tuple[Level, ...], size: int) -> float:
    """The speed of the smallest level that `size` bytes fit in."""
    return next((level.speed for level in levels if size <= level.size), levels[-1].speed)


def _speed(function: object, size: int) -> float:
    block = aligned_buffer(size + 64)
    block[:] = np.zeros(1, np.uint8)
    passes = max(1, int(SECONDS * 3e10 / size))
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.thread_time()  # other programs may take the processor away meanwhile
        function(block.ctypes.data, size, passes)
        best = min(best, time.thread_time() - started)
    return size * passes / best


def _text(target: Target) -> str:
    """walk(pointer, bytes, passes): adds up all vectors of a block, `passes` times, and stores the sums behind it."""
    lanes = target.lanes(32)
    kind, step = (f"<{lanes} x i32>" if lanes > 1 else "i32"), lanes * 4
    zero = "zeroinitializer" if lanes > 1 else "0"
    lines = ["define void @walk(ptr %p, i64 %n, i64 %passes) #0 {", "entry:", "  br label %again", "again:",
             "  %pass = phi i64 [ 0, %entry ], [ %pass.next, %walked ]"]
    lines += [f"  %o{c} = phi {kind} [ {zero}, %entry ], [ %y{c}, %walked ]" for c in range(CHAINS)]
    lines += ["  br label %loop", "loop:", "  %i = phi i64 [ 0, %again ], [ %i.next, %loop ]"]
    lines += [f"  %x{c} = phi {kind} [ %o{c}, %again ], [ %y{c}, %loop ]" for c in range(CHAINS)]
    for c in range(CHAINS):
        lines += [f"  %i{c} = add i64 %i, {c * step}", f"  %a{c} = getelementptr i8, ptr %p, i64 %i{c}",
                  f"  %v{c} = load volatile {kind}, ptr %a{c}, align 4", f"  %y{c} = xor {kind} %x{c}, %v{c}"]
    lines += [f"  %i.next = add i64 %i, {CHAINS * step}", "  %more = icmp slt i64 %i.next, %n", "  br i1 %more, label %loop, label %walked",
              "walked:", "  %pass.next = add i64 %pass, 1", "  %again.more = icmp slt i64 %pass.next, %passes",
              "  br i1 %again.more, label %again, label %done", "done:"]
    total = "%y0"
    for c in range(1, CHAINS):
        lines.append(f"  %t{c} = xor {kind} {total}, %y{c}")
        total = f"%t{c}"
    width = f' "prefer-vector-width"="{target.vector_bits}" "min-legal-vector-width"="{target.vector_bits}"' if target.vector_bits else ""
    lines += ["  %end = getelementptr i8, ptr %p, i64 %n", f"  store {kind} {total}, ptr %end, align 4", "  ret void", "}",
              f'attributes #0 = {{ nounwind "no-builtins"{width} }}', ""]
    return "\n".join(lines)
