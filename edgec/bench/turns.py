"""Functions of this process timed in turn; race.py times runtimes in processes of their own.

    ours, theirs = least_times([loaded.call, lambda: np.matmul(a, b)])
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

ROUNDS, ROUND = 25, 0.02


def least_times(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Seconds of processor time of each: the least of `ROUNDS` rounds, in each of which everyone runs for about `ROUND` seconds."""
    repeats = [max(1, round(ROUND / _mean(call, 1))) for call in calls]
    rounds = [[_mean(call, repeat) for call, repeat in zip(calls, repeats)] for _ in range(ROUNDS)]
    return [min(column) for column in zip(*rounds)]


def _mean(call: Callable[[], object], repeat: int) -> float:
    started = time.thread_time()
    for _ in range(repeat):
        call()
    return (time.thread_time() - started) / repeat
