"""What a benchmark found: a row for each runner, ratios round by round, a table for the terminal, plain data for a file.

    Row("x", rounds=(2e-3, 2e-3, 3e-3)).ratio(Row("edgec", (1e-3, 2e-3, 1e-3)))      # (2.0, 1.0, 3.0)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import isnan, nan
from statistics import median
from typing import Any

from edgec.bench.intervals import median_interval
from edgec.cli.text_table import text_table

WRONG = 1e-2  # outputs that differ by more, relative to the largest, are not the same computation


@dataclass(frozen=True)
class Row:
    """One runner: seconds of a call (median in each round), seconds to load, peak bytes of a process that does nothing else.

    A runner that failed has no rounds, but the reason. The bare C call needs no such process: its peak is code, weights and arena.
    """

    name: str
    rounds: tuple[float, ...]
    load: float = 0.0
    peak: int = 0
    difference: float = 0.0  # of its outputs from those expected, relative to the largest value; NaN for outputs of other shapes
    reason: str = ""
    allowed: float = WRONG  # the difference up to which its outputs count as right

    @property
    def seconds(self) -> float:
        """The median over the rounds; infinite for a runner that failed."""
        return median(self.rounds) if self.rounds else float("inf")

    @property
    def right(self) -> bool:
        """Whether it ran, and to the same outputs."""
        return bool(self.rounds) and self.difference <= self.allowed

    def ratio(self, ours: Row) -> tuple[float, float, float]:
        """How many times as long as `ours` it takes, round by round: the median and its 95 % interval."""
        return median_interval([theirs / our for theirs, our in zip(self.rounds, ours.rounds)])


@dataclass(frozen=True)
class BenchResult:
    """All rows of one model, the compiled one first, then its bare C call, and the facts around them."""

    model: str
    target: str
    macs: int
    compile_seconds: float
    arena_bytes: int
    live_bytes: int
    flash_bytes: int
    threads: int
    peak: float  # floating-point operations per second that one core can do at most, measured in the same run
    rows: tuple[Row, ...] = field(default_factory=tuple)

    def best(self, names: Sequence[str]) -> Row | None:
        """Among the rows of these names whose outputs are right, the one with the lowest median."""
        return min((row for row in self.rows if row.name in names and row.right), key=lambda row: row.seconds, default=None)

    def table(self) -> str:
        """The rows as text, and below them why runners are missing."""
        head = ["runner", "ms", "least", "most", "GFLOP/s", "of peak", "times slower", "95 % interval", "load ms", "peak MB", "difference"]
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        first = (
            f"{self.model} on {self.target}, {threads}: {self.macs:,} MACs, compiled in {self.compile_seconds:.2f} s, "
            f"{self.flash_bytes:,} bytes of code and weights, {self.arena_bytes:,} of arena"
        )
        reasons = [f"{row.name}: {row.reason}" for row in self.rows if row.reason]
        return "\n".join([first, text_table(head, [self._cells(row) for row in self.rows]), *reasons])

    def _cells(self, row: Row) -> list[Any]:
        if not row.rounds:
            return [row.name, *["-"] * 10]
        middle, least, most = row.ratio(self.rows[0])
        rate = 2 * self.macs / row.seconds
        times = [1e3 * row.seconds, 1e3 * min(row.rounds), 1e3 * max(row.rounds)]
        ratio = [f"{middle:.2f}", f"{least:.2f} to {most:.2f}"]
        peak = f"{row.peak / 1e6:.3g}" if row.peak else "-"
        share = f"{rate / (self.peak * self.threads):.0%}"
        return [row.name, *times, 1e-9 * rate, share, *ratio, 1e3 * row.load, peak, f"{row.difference:.1e}"]

    def facts(self) -> dict[str, Any]:
        """Plain data for a JSON file, which `result_of` reads; what is not a number is null there."""
        return asdict(self) | {"rows": [self._row_facts(row) for row in self.rows]}

    def _row_facts(self, row: Row) -> dict[str, Any]:
        ratio = {"ratio": row.ratio(self.rows[0])} if row.rounds else {}
        return asdict(row) | {"difference": None if isnan(row.difference) else row.difference} | ratio


def result_of(facts: Mapping[str, Any]) -> BenchResult:
    """The result that `facts` was made from."""
    return BenchResult(**dict(facts) | {"rows": tuple(_row_of(row) for row in facts["rows"])})


def _row_of(facts: Mapping[str, Any]) -> Row:
    given = {each.name: facts[each.name] for each in fields(Row) if each.name in facts}
    difference = nan if facts["difference"] is None else facts["difference"]
    return Row(**given | {"rounds": tuple(facts["rounds"]), "difference": difference})
