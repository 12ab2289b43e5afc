"""Times the compiled model beside other runtimes, all in one run: rounds go around all of them, so that a busy moment hits everyone.

A timed call sets the inputs, runs, and reads the outputs. The bare C call of the compiled model, without any of that, has its own row.

    result = bench("model.onnx", peers=["onnxruntime"], rounds=9)
    print(result.table())
"""

from __future__ import annotations

import gc
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from edgec.backends.native import Loaded, runs_here
from edgec.backends.target import find
from edgec.bench_memory import peak_bytes
from edgec.bench_peers import Runner, load_peer
from edgec.cli.text_table import text_table
from edgec.compiler import compile
from edgec.drawn_inputs import drawn_inputs
from edgec.errors import Unsupported
from edgec.graph import Graph
from edgec.layer_facts import layer_facts
from edgec.machine_peak import peak_flops
from edgec.onnx_reader import load

ROUND_SECONDS = 0.2  # how long one runner is called in one round, at least
LEAST_CALLS = 3


@dataclass(frozen=True)
class Row:
    """One runner: seconds of a call (median in each round), seconds to load, peak bytes of a process that does nothing else.

    The bare C call needs no such process: its peak is code, weights and arena.
    """

    name: str
    rounds: tuple[float, ...]
    load: float
    peak: int
    difference: float = 0.0  # of its outputs from the compiled model's, relative to the largest value

    @property
    def seconds(self) -> float:
        return median(self.rounds)


@dataclass(frozen=True)
class BenchResult:
    """All rows of one model, the compiled one first, and the facts around them."""

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

    def ratio(self, row: Row) -> tuple[float, float, float]:
        """How many times slower a row is than the compiled model: the median over the rounds, the least and the greatest."""
        ratios = [theirs / ours for theirs, ours in zip(row.rounds, self.rows[0].rounds)]
        return median(ratios), min(ratios), max(ratios)

    def table(self) -> str:
        """The rows as text."""
        head = ["runner", "ms", "least", "most", "GFLOP/s", "of peak", "times slower", "range", "load ms", "peak MB", "difference"]
        lines = [
            f"{self.model} on {self.target}, {self.threads} thread{'s' * (self.threads > 1)}: {self.macs:,} MACs, compiled in "
            f"{self.compile_seconds:.2f} s, {self.flash_bytes:,} bytes of code and weights, {self.arena_bytes:,} of arena"
        ]
        return "\n".join([*lines, text_table(head, [self._cells(row) for row in self.rows])])

    def _cells(self, row: Row) -> list[Any]:
        middle, least, most = self.ratio(row)
        peak = f"{row.peak / 1e6:.3g}" if row.peak else "-"
        return [
            row.name,
            1e3 * row.seconds,
            1e3 * min(row.rounds),
            1e3 * max(row.rounds),
            2e-9 * self.macs / row.seconds,
            f"{2 * self.macs / row.seconds / (self.peak * self.threads):.0%}",
            f"{middle:.2f}",
            f"{least:.2f} to {most:.2f}",
            1e3 * row.load,
            peak,
            f"{row.difference:.1e}",
        ]

    def facts(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return asdict(self) | {"rows": [asdict(row) | {"seconds": row.seconds, "ratio": self.ratio(row)} for row in self.rows]}


def bench(
    model: str | Path,
    peers: Sequence[str] = ("onnxruntime",),
    *,
    rounds: int = 9,
    threads: int = 1,
    memory: bool = True,
    round_seconds: float = ROUND_SECONDS,
    inputs: Mapping[str, np.ndarray] | None = None,
    shapes: Mapping[str, Any] | None = None,
    bind: Mapping[str, Any] | None = None,
    target: str = "native",
    **options: Any,
) -> BenchResult:
    """Compile a model, load the peers (`name` or `name=FILE`, see bench_peers) and time all of them in turn.

    `threads` is what each peer may use. Raises CompileError, Unsupported for a target that cannot run here or a peer that is not installed.
    """
    graph = load(model, shapes, bind)
    arrays = dict(inputs) if inputs is not None else drawn_inputs(graph)
    machine = find(target)
    if not runs_here(machine):
        raise Unsupported(f"{machine.name} cannot run on this computer, and an emulator's time means nothing")
    others = [_load(peer, str(model), threads, graph, arrays) for peer in peers]
    artifact, compiled_in = _timed(lambda: compile(graph, machine, **options))
    loaded, seconds = _timed(lambda: Loaded(artifact.object, artifact.interface))
    ours = Runner("edgec", loaded.run, seconds, ("edgec", artifact.object, artifact.interface))
    runners = [ours, *others]
    expected = ours.run(arrays)
    times = _rounds([lambda r=r: r.run(arrays) for r in runners] + [loaded.call], rounds, round_seconds)
    rows = [
        Row(r.name, tuple(t), r.load_seconds, peak_bytes(r.recipe, arrays) if memory else 0, _difference(r.run(arrays), expected))
        for r, t in zip(runners, times)
    ]
    macs, facts = sum(layer.macs for layer in layer_facts(graph)), artifact.interface
    rows.insert(1, Row("edgec, C call", tuple(times[-1]), seconds, facts.flash_bytes + facts.arena_bytes))
    return BenchResult(
        str(model),
        artifact.target.name,
        macs,
        compiled_in,
        facts.arena_bytes,
        artifact.manifest["live_bytes"],
        facts.flash_bytes,
        threads,
        peak_flops(machine),
        tuple(rows),
    )


def _load(peer: str, model: str, threads: int, graph: Graph, arrays: Mapping[str, np.ndarray]) -> Runner:
    runner = load_peer(peer, model, threads, list(graph.output_names))
    runner.run(arrays)
    return runner


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    return function(), time.perf_counter() - started


def _rounds(calls: Sequence[Callable[[], Any]], rounds: int, round_seconds: float) -> list[list[float]]:
    """For each call, the median seconds in every round. Every round takes the calls in the same order, one after the other."""
    found: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(rounds):
        for n, call in enumerate(calls):
            found[n].append(_round(call, round_seconds))
    return found


def _round(call: Callable[[], Any], round_seconds: float) -> float:
    """The median seconds of calls within one round; the first, which brings the model back into the caches, does not count."""
    gc.collect()
    call()
    seconds: list[float] = []
    clock = time.perf_counter
    end = clock() + round_seconds
    while len(seconds) < LEAST_CALLS or clock() < end:
        before = clock()
        call()
        seconds.append(clock() - before)
    return median(seconds)


def _difference(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The largest difference relative to the largest value; NaN where a peer has outputs of other shapes (another layout)."""
    if len(found) != len(expected):
        return float("nan")
    worst = 0.0
    for a, b in zip(found.values(), expected.values()):
        if np.shape(a) != b.shape:
            return float("nan")
        scale = float(np.abs(b.astype(np.float64)).max(initial=0)) or 1.0
        worst = max(worst, float(np.abs(np.asarray(a, np.float64) - b).max(initial=0)) / scale)
    return worst
