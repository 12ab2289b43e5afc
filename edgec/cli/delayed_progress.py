"""A spinner on standard error for what takes long: only on a terminal, only after two seconds, gone without a trace at the end.

    with delayed_progress("compiling model.onnx") as report:
        compile(model, progress=report)                     # report(done, total) shows "compiling model.onnx: 3 of 20"
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

DELAY = 2.0  # seconds


@contextmanager
def delayed_progress(title: str, delay: float = DELAY) -> Iterator[Callable[[int, int], None]]:
    """A function that is told (done, total); the spinner shows it from `delay` seconds on."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    status = Console(stderr=True).status(title)
    timer = threading.Timer(delay, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda done, total: status.update(f"{title}: {done} of {total}")
    finally:
        timer.cancel()
        timer.join()
        status.stop()
