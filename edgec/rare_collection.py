"""Fewer rounds of Python's garbage collector while a model is compiled: expressions by the million live to the end and form no circles.

Reference counts free what is dropped; the collector, which looks through all that lives again and again, took a third of the time.

    @rarely_collected()
    def lower(graph, target): ...
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG = 100_000  # containers made, less those freed, before the collector looks at them


@contextmanager
def rarely_collected() -> Iterator[None]:
    """The collector waits for `YOUNG` new objects inside, and as before afterwards; nothing changes where it waits that long or is off."""
    before = gc.get_threshold()
    if not 0 < before[0] < YOUNG:
        yield
        return
    gc.set_threshold(YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
