"""A function on many items, each in a process that may die of it: a crash or a hang is one result, and the rest goes on.

    for item, result in run_isolated(f, items, workers=2, seconds=60): ...      # result is f(item), or Lost("crashed", "signal 11")
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any


@dataclass(frozen=True)
class Lost:
    """An item without a result: its process `crashed` or `hung`."""

    verdict: str
    reason: str


class _Worker:
    """One process at work on at most one item."""

    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any]):
        context = multiprocessing.get_context("fork")  # the items are handed over by being there
        self.pipe, end = context.Pipe()
        self.process = context.Process(target=_serve, args=(end, function, items), daemon=True)
        self.process.start()
        end.close()
        self.number, self.start = -1, 0.0

    def give(self, number: int) -> None:
        self.number, self.start = number, time.monotonic()
        self.pipe.send(number)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
    try:
        while True:
            pipe.send(function(items[pipe.recv()]))
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        return


def run_isolated(function: Callable[[Any], Any], items: Sequence[Any], workers: int, seconds: float) -> Iterator[tuple[int, Any]]:
    """(position, result) of every item as they are done; `seconds` is the most one item may take."""
    left = list(range(len(items)))[::-1]
    pool = [_Worker(function, items) for _ in range(min(workers, len(items)))]
    try:
        for worker in pool:
            worker.give(left.pop())
        while pool:
            wait([w.pipe for w in pool], timeout=1.0)
            for worker in list(pool):
                result = _result(worker, seconds)
                if result is None:
                    continue
                yield worker.number, result[0]
                if isinstance(result[0], Lost):
                    worker.stop()
                    pool.remove(worker)
                    worker = _Worker(function, items)
                    pool.append(worker)
                if left:
                    worker.give(left.pop())
                else:
                    worker.stop()
                    pool.remove(worker)
    finally:
        for worker in pool:
            worker.stop()


def _result(worker: _Worker, seconds: float) -> tuple[Any] | None:
    """What came of the worker's item, in a tuple; None while it works."""
    if worker.pipe.poll():
        try:
            return (worker.pipe.recv(),)
        except (EOFError, ConnectionResetError):
            worker.process.join(5)
            return (Lost("crashed", f"the process ended with status {worker.process.exitcode}"),)
    if time.monotonic() - worker.start > seconds:
        return (Lost("hung", f"no result after {seconds:.0f} s"),)
    return None
