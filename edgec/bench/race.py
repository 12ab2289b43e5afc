"""Times runners against each other: all are loaded first, then every round goes around all of them.

    race([compiled_job("edgec", artifact), peer_job("openvino", "model.onnx", 1, ["y"])], {"x": x}, rounds=11)

Before each turn there is a short pause, in which the threads of the runner before, which may wait in a loop, fall asleep. A runner that
raises, crashes or hangs drops out with its reason; the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from edgec.bench.worker import Job, Lost, Report, Worker

ROUNDS = 11
ROUND_SECONDS = 0.06
PAUSE_SECONDS = 0.03


@dataclass
class Lane:
    """What one runner has achieved so far: the median seconds of each round by function, or why it dropped out."""

    name: str
    report: Report | None = None
    rounds: dict[str, list[float]] = field(default_factory=dict)
    reason: str = ""

    def outputs(self) -> Mapping[str, np.ndarray]:
        """Those of its first run. Raises Lost when it dropped out."""
        if self.reason or self.report is None:
            raise Lost(self.reason)
        return self.report.outputs


def race(
    jobs: Sequence[Job],
    arrays: Mapping[str, np.ndarray],
    rounds: int = ROUNDS,
    seconds: float = ROUND_SECONDS,
    pause: float = PAUSE_SECONDS,
    progress: Callable[[int, int], None] | None = None,
) -> list[Lane]:
    """A lane for each job, in order. `progress` gets the rounds done and their number. The starting runner changes from round to round."""
    lanes = [Lane(job.name) for job in jobs]
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(job, arrays)) for job in jobs]
        pairs = list(zip(lanes, workers))
        for lane, worker in pairs:
            _try(_load, lane, worker)
        for done in range(rounds):
            start = done % len(pairs) if pairs else 0
            for lane, worker in pairs[start:] + pairs[:start]:
                _try(_turn, lane, worker, seconds, pause)
            if progress:
                progress(done + 1, rounds)
    return lanes


def _try(step: Callable[..., None], lane: Lane, *arguments: Any) -> None:
    """One step of a lane that is still in; a lost runner keeps nothing but its reason."""
    if lane.reason:
        return
    try:
        step(lane, *arguments)
    except Lost as lost:
        lane.reason, lane.rounds = lost.message, {}


def _load(lane: Lane, worker: Worker) -> None:
    lane.report = worker.ask("load")
    lane.rounds = {name: [] for name in lane.report.calls}


def _turn(lane: Lane, worker: Worker, seconds: float, pause: float) -> None:
    time.sleep(pause)
    for name, medians in lane.rounds.items():
        medians.append(median(worker.ask("time", name, seconds)))
