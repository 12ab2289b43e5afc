"""Compiles and times candidates in a process of its own, so that one that crashes takes nobody along.

Fed pickled batches on standard input: (target, optimize, working set, candidates). Each is compiled and run once, then all are timed in
turn, processor time, the slow ones given up early. It answers ("ready", number) for each, then ("times", seconds of each).

    python -m edgec.tune_worker
"""

from __future__ import annotations

import ctypes
import gc
import pickle
import struct
import sys
import time
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from edgec.backends.native import aligned_buffer, place
from edgec.backends.repeated import Candidate, Parameter, repeated_object
from edgec.backends.target import Target
from edgec.types import DTYPES

BATCH_SECONDS = 0.002   # of one measurement
FIRST_ROUNDS, ROUNDS = 3, 12
SLOW = 1.15             # after the first rounds, whoever takes longer than this by the quickest is given up


class Timed:
    """One candidate in memory, with tables of pointers to its parameters."""

    def __init__(self, candidate: Candidate, target: Target, optimize: str, working_set: int):
        self.engine, address = place(repeated_object(candidate, target, "again", optimize), "again")
        self.function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t)(address)
        self.rows = candidate.copies(working_set)
        common = {n: filled(p) for n, p in enumerate(candidate.parameters) if not p.constant}
        self.memory = [[common[n] if n in common else filled(p) for n, p in enumerate(candidate.parameters)] for _ in range(self.rows)]
        addresses = [block.ctypes.data for row in self.memory for block in row]
        self.table = np.array(addresses or [0], np.uintp)
        self.best = float("inf")
        self.passes = 1

    def run(self) -> float:
        """Processor seconds of one call."""
        table = self.table.ctypes.data
        started = time.thread_time()
        for _ in range(self.passes):
            self.function(table, self.rows)
        return (time.thread_time() - started) / (self.passes * self.rows)

    def measure(self) -> None:
        """Once more, kept when it was the quickest; the first call brings its data back into the caches."""
        self.function(self.table.ctypes.data, 1)
        self.best = min(self.best, self.run())

    def calibrate(self) -> None:
        """Choose how many passes make one measurement, by the time of a warm one."""
        self.run()
        once = max(self.run() * self.rows, 1e-7)
        self.passes = max(1, int(BATCH_SECONDS / once))


def filled(parameter: Parameter) -> np.ndarray:
    """Memory of a parameter: floats normally distributed, integers 0 or 1, which every index allows."""
    block = aligned_buffer(max(parameter.size, 1))
    if parameter.size:
        dtype = DTYPES[parameter.dtype]
        generator = np.random.default_rng(parameter.size)
        numbers = generator.standard_normal(parameter.size // parameter.element)
        block.view(dtype.numpy)[...] = numbers.astype(dtype.numpy) if dtype.is_float else (numbers > 0).astype(dtype.numpy)
    return block


def race(timed: Sequence[Timed]) -> list[float]:
    """The least seconds of each, taken in turn."""
    for one in timed:
        one.calibrate()
    gc.collect()
    for _ in range(FIRST_ROUNDS):
        for one in timed:
            one.measure()
    quickest = min(one.best for one in timed)
    close = [one for one in timed if one.best <= SLOW * quickest]
    for _ in range(ROUNDS if len(close) > 1 else 0):
        for one in close:
            one.measure()
    return [one.best for one in timed]


def _serve(source: BinaryIO, sink: BinaryIO) -> None:
    while True:
        try:
            target, optimize, working_set, candidates = pickle.load(source)
        except EOFError:
            return
        timed = []
        for number, candidate in enumerate(candidates):
            one = Timed(candidate, target, optimize, working_set)
            one.run()
            timed.append(one)
            _answer(sink, ("ready", number))
        _answer(sink, ("times", race(timed)))
        for one in timed:
            one.engine.close()


def _answer(sink: BinaryIO, value: Any) -> None:
    data = pickle.dumps(value)
    sink.write(struct.pack("<Q", len(data)) + data)
    sink.flush()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
