"""The inside of a worker: it reads a job from its pipe and answers questions until the pipe closes. Each answer is (value, reason).

    load              -> Report             load the model and run it once
    time NAME SECONDS -> list of seconds    call one of its functions again and again

What the runtimes print goes to a file, not into the answers.
"""

from __future__ import annotations

import gc
import importlib
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from edgec.bench.worker import Job, Report

LEAST_CALLS = 3
LONG_SECONDS = 0.03  # calls that take longer are timed at least twice instead
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def serve(pipe: Connection) -> None:
    """Answer until the other end closes."""
    job, arrays = pipe.recv()
    with suppress(OSError):
        CLEAR.write_text("5")  # the mark begins anew, without the message that brought the job, see proc(5)
    for module in job.modules:
        with suppress(Exception):  # a missing module is told when the job is loaded
            importlib.import_module(module)
    calls: dict[str, Callable[[], Any]] = {}
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        pipe.send(_answer(question, job, arrays, calls))


def _answer(question: tuple[Any, ...], job: Job, arrays: Mapping[str, Any], calls: dict[str, Callable[[], Any]]) -> tuple[Any, str]:
    try:
        if question[0] == "load":
            return _load(job, arrays, calls), ""
        return timed(calls[question[1]], question[2]), ""
    except Exception as error:  # whatever a runtime raises
        return None, str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _load(job: Job, arrays: Mapping[str, Any], calls: dict[str, Callable[[], Any]]) -> Report:
    module, _, name = job.function.partition(":")
    contestant = getattr(importlib.import_module(module), name)(*job.arguments)
    calls.update(contestant.start(arrays))
    outputs = calls["run"]()
    return Report(contestant.load_seconds, _high_water_mark(), outputs, tuple(calls))


def timed(call: Callable[[], Any], seconds: float) -> list[float]:
    """Seconds of each call for about `seconds`; the first, which brings the model back into the caches, does not count."""
    gc.collect()
    gc.disable()
    clock = time.perf_counter
    before = clock()
    call()
    now = clock()
    least, end, found = 2 if now - before > LONG_SECONDS else LEAST_CALLS, now + seconds, []
    while len(found) < least or now < end:
        before = clock()
        call()
        now = clock()
        found.append(now - before)
    gc.enable()
    return found


def _high_water_mark() -> int:
    """VmHWM; getrusage would count the parent's memory too, which a forked child begins with."""
    match = re.search(r"^VmHWM:\s*(\d+) kB", STATUS.read_text() if STATUS.exists() else "", re.MULTILINE)
    return 1024 * int(match[1]) if match else 0


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
