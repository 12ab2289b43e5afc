"""A progress bar on standard error for work that tells what it is doing: only on a terminal, gone at the end.

    with task_progress() as report:
        report("calibrating", 3, 200)        # "calibrating ━━━━━ 3/200 0:00:12"
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def task_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A function that is told (what, done, total); each `what` has a line of its own."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, object] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)
        yield report
