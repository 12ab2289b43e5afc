"""Times the compiled model beside other runtimes, all in one run: rounds go around all of them, so that a busy moment hits everyone.

A timed call sets the inputs, runs, and reads the outputs. The bare C call of the compiled model, without any of that, has its own row.

    result = bench("model.onnx", peers=["onnxruntime"], rounds=11)
    print(result.table())
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgec.backends.native import runs_here
from edgec.backends.target import find
from edgec.bench.peers import checked_peer
from edgec.bench.race import PAUSE_SECONDS, ROUND_SECONDS, ROUNDS, Lane, race
from edgec.bench.result import WRONG, BenchResult, Row
from edgec.bench.worker import Job, compiled_job, peer_job
from edgec.compiler import compile
from edgec.drawn_inputs import drawn_inputs
from edgec.errors import Unsupported
from edgec.graph import Graph
from edgec.layer_facts import layer_facts
from edgec.machine_peak import peak_flops
from edgec.model_file import load
from edgec.persistent_state import with_state


def bench(
    model: str | Path,
    peers: Sequence[str] = ("onnxruntime",),
    *,
    rounds: int = ROUNDS,
    threads: int = 1,
    round_seconds: float = ROUND_SECONDS,
    pause_seconds: float = PAUSE_SECONDS,
    inputs: Mapping[str, np.ndarray] | None = None,
    shapes: Mapping[str, Any] | None = None,
    bind: Mapping[str, Any] | None = None,
    requant: str = "",
    ops: Sequence[str] = (),
    state: Mapping[str, str] | None = None,
    sizes: Mapping[str, int] | None = None,
    target: str = "native",
    others: Sequence[Job] = (),
    allowed: float = WRONG,
    expected: Mapping[str, np.ndarray] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> BenchResult:
    """Compile a model, load the peers (`name` or `name=FILE`, see peers) and the jobs `others`, and time all of them in turn.

    With `state` our own calls go on with what the last has left, all others get the same first state every time.
    Inputs that are not given are drawn; `sizes` are those of open dimensions (default: the largest).
    `threads` is what each may use, `allowed` the difference from `expected` (our own outputs, unless others are given, by name) up to which
    outputs are right, `options` go to `compile`.
    A runner that fails has a row with its reason. Raises CompileError, Unsupported for a target that cannot run here or a peer that is not
    installed, and Lost when the compiled model itself fails.
    """
    graph = with_state(load(model, shapes, bind, requant=requant, ops=ops), state or {})
    arrays = dict(inputs) if inputs is not None else drawn_inputs(graph, sizes=sizes)
    machine = find(target)
    if not runs_here(machine):
        raise Unsupported(f"{machine.name} cannot run on this computer, and an emulator's time means nothing")
    for peer in peers:
        checked_peer(peer, str(model))
    started = time.perf_counter()
    artifact = compile(graph, machine, **options)
    seconds = time.perf_counter() - started
    kept = [output for _, output in graph.states]
    names = (*(n for n in graph.output_names if n not in kept), *kept)
    opponents = [peer_job(peer, str(model), threads, names) for peer in peers]
    jobs = [compiled_job("edgec", artifact, threads, bare=True), *opponents, *others]
    lanes = race(jobs, arrays, rounds, round_seconds, pause_seconds, progress)
    if sizes and sizes.keys() <= (bind or {}).keys():  # what is counted is one call, at the sizes that are drawn
        graph = load(model, shapes, {**(bind or {}), **sizes}, requant=requant, ops=ops)
    return _result(str(model), graph, artifact, seconds, threads, rows_of(lanes, artifact.interface, allowed, expected))


def _result(model: str, graph: Graph, artifact: Any, seconds: float, threads: int, rows: tuple[Row, ...]) -> BenchResult:
    macs, facts = sum(layer.macs for layer in layer_facts(graph)), artifact.interface
    live, target = artifact.manifest["live_bytes"], artifact.target
    return BenchResult(model, target.name, macs, seconds, facts.arena_bytes, live, facts.flash_bytes, threads, peak_flops(target), rows)


def rows_of(lanes: Sequence[Lane], interface: Any, allowed: float = WRONG,
            expected: Mapping[str, np.ndarray] | None = None) -> tuple[Row, ...]:
    """A row for each lane, and after the first, which is the compiled model, one for its bare C call."""
    ours = lanes[0].outputs()
    right = ours if expected is None else {name: expected[name] for name in ours}
    rows = [replace(_row(lane, right), allowed=allowed) for lane in lanes]
    call = Row("edgec, C call", tuple(lanes[0].rounds["call"]), rows[0].load, interface.flash_bytes + interface.arena_bytes)
    return (rows[0], call, *rows[1:])


def _row(lane: Lane, expected: Mapping[str, np.ndarray]) -> Row:
    if lane.reason or lane.report is None:
        return Row(lane.name, (), difference=float("nan"), reason=lane.reason)
    report = lane.report
    return Row(lane.name, tuple(lane.rounds["run"]), report.load_seconds, report.peak_bytes, difference(report.outputs, expected))


def difference(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The largest difference relative to the largest value; NaN where a peer has outputs of other shapes (sizes of 1 aside)."""
    if len(found) != len(expected):
        return float("nan")
    worst = 0.0
    for a, b in zip(found.values(), expected.values()):
        if np.squeeze(a).shape != np.squeeze(b).shape:
            return float("nan")
        if a.dtype.kind in "UO" or b.dtype.kind in "UO":
            worst = max(worst, float(np.any(np.squeeze(a).astype(str) != np.squeeze(b).astype(str))))
            continue
        scale = float(np.abs(b.astype(np.float64)).max(initial=0)) or 1.0
        worst = max(worst, float(np.abs(np.squeeze(a).astype(np.float64) - np.squeeze(b)).max(initial=0)) / scale)
    return worst
