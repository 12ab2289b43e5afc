"""A build of a model that reads the clock between its kernels, for `edgec profile`: everything else in it is the same code.

Steps get a call of a small function before the first and after each; it adds the time since its last call to a slot of a log. The log is
the `state` of the context, behind what the model itself keeps there, so a traced build still has no writable data of its own.

    steps = traced(steps)                     # tick(log, start), conv(...), tick(log, slot 0), relu(...), tick(log, slot 1)
    log = Log(2); loaded.set_state(log.address); loaded.call(); log.seconds        # [1.2e-05, 3.1e-06]
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgec.backends.steps import CallStep, LoopStep, Place, RegionStep, SizeStep, Step

TICK = "edgec_tick"
MONOTONIC, PROCESSOR = time.CLOCK_MONOTONIC, time.CLOCK_THREAD_CPUTIME_ID
# Bytes into the log: the address of clock_gettime, which clock, its answer, when it was read last, the slots.
CLOCK, WHICH, ANSWER, LAST, SLOTS = 0, 8, 16, 32, 40
ALIGNMENT = 64  # of the state


def traced(steps: Sequence[Step], base: int = 0) -> tuple[CallStep | LoopStep, ...]:
    """The steps with the clock read before the first and after each call; slots are numbered as `calls_of` lists the calls.

    Regions become their calls: what is timed runs in one thread. `base` are the bytes of state in front of the log.
    """
    number = 0

    def within(some: Sequence[Step]) -> list[CallStep | LoopStep]:
        nonlocal number
        found: list[CallStep | LoopStep] = []
        for step in some:
            if isinstance(step, LoopStep):
                found.append(replace(step, body=tuple(within(step.body))))
            elif isinstance(step, SizeStep):
                found.append(step)
            elif isinstance(step, RegionStep):
                found += within(step.calls)
            else:
                number += 1
                found += [step, _tick(number, base)]
        return found

    return (_tick(0, base), *within(steps))


def _tick(slot: int, base: int) -> CallStep:
    return CallStep(TICK, (Place("state", base), Place("state", base + SLOTS + 8 * slot)))


def tick_text(pointer_bits: int) -> str:
    """The LLVM module of the function that reads the clock (clock_gettime of POSIX, whose two numbers are as wide as a pointer)."""
    word = f"i{pointer_bits}"
    widen = ["  %s = zext i32 %s0 to i64", "  %n = zext i32 %n0 to i64"] if pointer_bits == 32 else \
        ["  %s = add i64 %s0, 0", "  %n = add i64 %n0, 0"]
    return "\n".join([
        f"define void @{TICK}(ptr %log, ptr %slot) #0 {{", "  %clock = load ptr, ptr %log",
        f"  %which_at = getelementptr i8, ptr %log, i64 {WHICH}", "  %which = load i32, ptr %which_at",
        f"  %at = getelementptr i8, ptr %log, i64 {ANSWER}", "  %status = call i32 %clock(i32 %which, ptr %at)",
        f"  %s0 = load {word}, ptr %at", f"  %n_at = getelementptr i8, ptr %at, i64 {pointer_bits // 8}", f"  %n0 = load {word}, ptr %n_at",
        *widen, "  %m = mul i64 %s, 1000000000", "  %now = add i64 %m, %n", f"  %last_at = getelementptr i8, ptr %log, i64 {LAST}",
        "  %last = load i64, ptr %last_at", "  store i64 %now, ptr %last_at", "  %took = sub i64 %now, %last",
        "  %sum = load i64, ptr %slot", "  %more = add i64 %sum, %took", "  store i64 %more, ptr %slot", "  ret void", "}",
        'attributes #0 = { nounwind noredzone "no-builtins" "warn-stack-size"="0" }', ""])


class Log:
    """The memory a traced build writes its times to, for `kernels` calls, behind `base` bytes of state that are zero at first."""

    def __init__(self, kernels: int, base: int = 0):
        size = base // 8 + SLOTS // 8 + 1 + kernels
        block = np.zeros(size + ALIGNMENT // 8, np.int64)
        whole = block[-block.ctypes.data % ALIGNMENT // 8:][:size]
        self._words = whole[base // 8:]
        clock = ctypes.CDLL(None).clock_gettime
        self._words[CLOCK // 8] = ctypes.cast(clock, ctypes.c_void_p).value
        self.clear()
        self.address = whole.ctypes.data

    def clear(self, which: int = MONOTONIC) -> None:
        """Forget all times, and read this clock from now on: what passes, or what this thread has of the processor.

        The first is read in 25 ns, the second is a call of the system but does not count what other programs take.
        """
        self._words[SLOTS // 8:] = 0
        self._words[WHICH // 8] = which

    @property
    def seconds(self) -> np.ndarray:
        """Seconds of each kernel since the log was cleared."""
        return self._words[SLOTS // 8 + 1:] * 1e-9
