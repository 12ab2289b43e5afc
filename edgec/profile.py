"""Where the time of a model goes, kernel by kernel, beside what the machine could do at best; and why each kernel is walked as it is.

The whole model runs in order on real inputs, in a build that reads the clock between its kernels, so caches are as warm as they will be.
The least time of a kernel (its roofline) is the larger of its operations at the processor's peak and its bytes at the speed of the
memory they come from: weights from the level that holds the whole model's weights and arena, since they were last used one run ago;
activations, and weights in the later iterations of a loop, from the level that holds what the kernel touches.

    result = profile("model.onnx")
    print(result.table())
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edgec.accesses import buffer_reads
from edgec.backends.artifact import Artifact
from edgec.backends.native import Loaded, runs_here
from edgec.backends.target import Target
from edgec.backends.trace import MONOTONIC, PROCESSOR, Log
from edgec.cli.text_table import text_table
from edgec.compiler import lower, machine_for, optimise_graph
from edgec.drawn_inputs import drawn_inputs
from edgec.emission import emit
from edgec.graph import Graph
from edgec.kernel import Kernel, Program
from edgec.kernel_facts import KernelFacts, kernel_facts
from edgec.loops import expressions, statements
from edgec.machine_peak import peak_dots, peak_flops
from edgec.memory_speed import Level, memory_speed, speed_at
from edgec.model_file import load
from edgec.passes.explain import Explanation, explain
from edgec.passes.parallel import parallel
from edgec.passes.tile import Tiled, tile
from edgec.schedules import Schedules, known_schedules
from edgec.sweeps import walk
from edgec.text_ports import text_ports
from edgec.text_slots import DEFAULT_BYTES, ports_to_slots
from edgec.types import i32

SECONDS = 1.0   # how long the model is run
LEAST_RUNS = 7


@dataclass(frozen=True)
class Walk:
    """How one loop nest of a kernel is walked: what it stores, the schedule in words, why, and estimated cycles (0: not estimated)."""

    stores: str
    schedule: str
    reasons: tuple[str, ...]
    registers: int
    available: int
    cycles: float
    tiles: tuple[tuple[int, int, float, int], ...]  # rows, vectors, estimated cycles of a step, registers: the chosen one first


@dataclass(frozen=True)
class Row:
    """One kernel. Times are seconds of one call of the model; 0 where the target cannot run here."""

    name: str
    nodes: tuple[str, ...]      # of the model, as the file names them, with their operators
    facts: KernelFacts
    walks: tuple[Walk, ...]
    reads: tuple[str, ...]      # buffers
    writes: tuple[str, ...]
    seconds: float = 0.0        # the median of the runs
    least: float = 0.0
    compute_seconds: float = 0.0  # the operations at the processor's peak
    memory_seconds: float = 0.0   # the bytes at the memory's speed
    dotted: bool = False          # its products are dot products of integers
    parts: int = 0                # that threads can share it as; 0: it stays in the calling thread

    @property
    def roofline(self) -> float:
        """The least seconds this kernel could take."""
        return max(self.compute_seconds, self.memory_seconds)

    @property
    def lost(self) -> float:
        """Seconds above the roofline."""
        return max(0.0, self.seconds - self.roofline)

    @property
    def main(self) -> Walk | None:
        """The walk that takes most, by estimate."""
        return max(self.walks, key=lambda w: w.cycles, default=None)


@dataclass(frozen=True)
class Profile:
    """All kernels of one model in order, and the facts around them."""

    model: str
    target: str
    rows: tuple[Row, ...]
    whole: float = 0.0          # seconds of a whole call of the usual build, the median
    whole_least: float = 0.0
    whole_processor: float = 0.0  # of which this process had the processor
    runs: int = 0
    threads: int = 1            # of the whole calls; each kernel by itself is timed in one
    peak: float = 0.0           # operations per second of one core
    peak_dots: float = 0.0      # the same of dot products of integers; 0 without an instruction for them, or where nothing uses it
    levels: tuple[Level, ...] = field(default_factory=tuple)
    macs: int = 0
    flash_bytes: int = 0
    arena_bytes: int = 0

    @property
    def measured(self) -> bool:
        return bool(self.runs)

    @property
    def total(self) -> float:
        """Seconds of all kernels together."""
        return sum(r.seconds for r in self.rows)

    def table(self, order: str = "time", top: int | None = None) -> str:
        """The kernels as text, slowest first ("time"), most time above the roofline first ("lost") or in order of execution ("run")."""
        cells = [self._cells(n, r) for n, r in self._ordered(order)[:top]]
        return text_table(self._head(), cells, self._foot() if self.rows else None)

    def why(self, order: str = "time", top: int | None = None) -> str:
        """For each kernel of the table the model's nodes it computes, and the schedule and reasons of each of its loop nests."""
        blocks = []
        for number, row in self._ordered(order)[:top]:
            lines = [f"#{number} {row.name}", *([f"  from {', '.join(row.nodes)}"] if row.nodes else [])]
            lines += [f"  threads share it in {row.parts} parts"] if row.parts else []
            for each in row.walks:
                lines += [f"  {each.schedule}", *(f"    {reason}" for reason in each.reasons)]
            blocks.append("\n".join(lines))
        return "\n".join(blocks)

    def _ordered(self, order: str) -> list[tuple[int, Row]]:
        numbered = list(enumerate(self.rows))
        if order != "run" and self.measured:
            numbered.sort(key=lambda pair: -(pair[1].lost if order == "lost" else pair[1].seconds))
        return numbered

    def _head(self) -> list[str]:
        times = ["us", "share", "GFLOP/s", "of peak", "of roofline", "lost us"] if self.measured else []
        return ["#", "kernel", *times, "MACs", "bytes in", "out", "weights", "schedule"]

    def _cells(self, number: int, row: Row) -> list[Any]:
        facts, total = row.facts, self.total or 1.0
        times = [1e6 * row.seconds, f"{row.seconds / total:.1%}", 1e-9 * facts.operations / (row.seconds or 1.0),
                 f"{row.compute_seconds / (row.seconds or 1.0):.0%}", f"{row.roofline / (row.seconds or 1.0):.0%}", 1e6 * row.lost]
        words = row.main.schedule if row.main else ""
        more = f" (+{len(row.walks) - 1})" if len(row.walks) > 1 else ""
        return [number, shortened(row.name), *(times if self.measured else []), facts.macs, facts.read_bytes, facts.written_bytes,
                facts.weight_bytes, words + more]

    def _foot(self) -> list[Any]:
        def total(get: Callable[[KernelFacts], int]) -> int:
            return sum(get(r.facts) for r in self.rows)
        seconds = self.total or 1.0
        roof, computing, lost = (sum(times) for times in zip(*((r.roofline, r.compute_seconds, r.lost) for r in self.rows)))
        times = [1e6 * self.total, "100%", 1e-9 * total(lambda f: f.operations) / seconds,
                 f"{computing / seconds:.0%}", f"{roof / seconds:.0%}", 1e6 * lost]
        return ["", f"{len(self.rows)} kernels", *(times if self.measured else []), total(lambda f: f.macs), total(lambda f: f.read_bytes),
                total(lambda f: f.written_bytes), total(lambda f: f.weight_bytes), ""]

    def summary(self) -> str:
        """The lines above the table."""
        lines = [f"{self.model} on {self.target}: {self.macs:,} MACs in {len(self.rows)} kernels, {self.flash_bytes:,} bytes of code and "
                 f"weights, {self.arena_bytes:,} of arena"]
        if not self.measured:
            return lines[0] + "; nothing is timed, since this computer cannot run it"
        whole, least, busy = (f"{1e3 * s:.3f}" for s in (self.whole, self.whole_least, self.whole_processor))
        lines.append(f"median of {self.runs} runs: kernels {1e3 * self.total:.3f} ms together; a whole call of the usual build "
                     f"{'' if self.threads == 1 else f'with {self.threads} threads '}{whole} ms (least {least}, on the processor {busy})")
        speeds = ", ".join(f"{level.speed / 1e9:.0f} GB/s from {_size(level.size)}" for level in self.levels)
        dotted = f", {self.peak_dots / 1e9:.0f} GOP/s by dot products of integers" if self.peak_dots else ""
        return "\n".join([*lines, f"measured limits of one core: {self.peak / 1e9:.0f} GFLOP/s{dotted}; {speeds}"])

    def facts(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        rows = [asdict(r) | {"roofline_seconds": r.roofline, "lost_seconds": r.lost} for r in self.rows]
        return asdict(self) | {"rows": rows, "kernel_seconds": self.total}


def shortened(name: str, length: int = 36) -> str:
    """The end of a long name: the end is what tells layers apart."""
    return name if len(name) <= length else "..." + name[3 - length:]


def _size(count: int) -> str:
    return f"{count / (1 << 20):.3g} MB" if count >= 1 << 20 else f"{count / 1024:.3g} KB"


def profile(model: Any, target: str | Target = "native", *, inputs: Mapping[str, np.ndarray] | None = None,
            shapes: Mapping[str, Any] | None = None, bind: Mapping[str, Any] | None = None, seconds: float = SECONDS,
            passes: Sequence[str] = (), without: Sequence[str] = (), optimize: str = "3", schedules: Path | Schedules | None = None,
            precision: str = "f32", max_flash_growth: float | None = None, threads: int = 1, workers: int | None = None,
            cache: Path | None = None, progress: Callable[[int, int], None] | None = None, name: str = "",
            string_bytes: int = DEFAULT_BYTES, sizes: Mapping[str, int] | None = None) -> Profile:
    """Compile a model, run it for `seconds` and account for every kernel; only counts and schedules where it cannot run here.

    `inputs` are arrays by name (default: drawn, with open dimensions of the given `sizes`, else the largest), `threads` those of the whole
    calls (kernels are timed one by one, in one thread), `name` is what to call the model; the rest is as in `compile`. Raises CompileError.
    """
    graph = model if isinstance(model, Graph) else load(model, shapes, bind)
    machine = machine_for(target, optimize, max_flash_growth)
    lowered = optimise_graph(graph, machine, passes=passes, precision=precision, string_bytes=string_bytes)
    program = lower(lowered, machine, without=without)
    arrays = dict(inputs) if inputs is not None else drawn_inputs(graph, sizes=sizes)
    measured = known_schedules(schedules)
    with TemporaryDirectory(prefix="edgec-") as folder:  # both builds are of the same kernels: the second finds them in the cache

        def build(trace: bool) -> Artifact:
            return emit(program, machine, "model", optimize, schedules=measured, workers=workers, cache=cache or Path(folder),
                        progress=progress, trace=trace, texts=text_ports(graph))

        usual = build(False)
        bindings = _bindings(graph, arrays)
        rows = _rows(program, machine, bindings, measured)
        name = name or (str(model) if isinstance(model, (str, Path)) else graph.name)
        facts = usual.interface
        result = Profile(name, machine.name, tuple(rows), macs=sum(r.facts.macs for r in rows), flash_bytes=facts.flash_bytes,
                         arena_bytes=facts.arena_bytes, threads=threads)
        return _measured(result, program, usual, build(True), arrays, machine, seconds) if runs_here(machine) else result


def _bindings(graph: Graph, arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Sizes of symbolic dimensions, as the arrays have them."""
    found: dict[str, int] = {}
    for value in graph.inputs:
        for d, size in zip(value.type.shape, np.shape(arrays.get(value.name, np.empty(value.type.max_shape)))):
            if not isinstance(d, int) and d.op == "var":
                found[d.data] = size
    return found


def _rows(program: Program, target: Target, bindings: Mapping[str, int], measured: Schedules) -> list[Row]:
    """What is known of the kernels without running them."""
    pairs = [_row(kernel, target, bindings, measured) for kernel in program.steps]
    regions = parallel(program.steps, [one for _, one in pairs], target)
    parts = {region.first + n: region.parts for region in regions for n in range(len(region.kernels))}
    return [replace(row, parts=parts.get(n, 0)) for n, (row, _) in enumerate(pairs)]


def _row(kernel: Kernel, target: Target, bindings: Mapping[str, int], measured: Schedules) -> tuple[Row, Tiled]:
    walks: list[Walk] = []
    choose = measured.choose(kernel, target)

    def note(nest: Any, machine: Target) -> Any:
        explained = explain(nest, machine, choose(nest, machine))
        walks.append(_walk(nest, explained))
        return explained.schedule

    tiled = tile(kernel, target, choose=note)
    places = [loc for loc in kernel.origins or (kernel.loc,) if loc and loc.node]
    nodes = tuple(f"{loc.node} ({loc.op})" if loc.op else loc.node for loc in places)
    reads, writes = _touched(kernel)
    dotted = any(n.op in ("dot", "dot_block") and n.dtype is i32 for s in statements(tiled.loops.body) for n in walk(*expressions(s)))
    return Row(kernel.name, nodes, kernel_facts(kernel, bindings), tuple(walks), reads, writes, dotted=dotted), tiled


def _walk(nest: Any, e: Explanation) -> Walk:
    return Walk(nest.results[0].target.name, e.words, e.reasons, e.registers, e.available, e.cycles,
                tuple((t.rows, t.vectors, t.cycles, t.registers) for t in e.tiles[:8]))


def _touched(kernel: Kernel) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the root buffers that a kernel reads and stores, scratch and constants left out."""
    reads = dict.fromkeys(n.data.root.name for n in buffer_reads(kernel) if n.data.root.kind in ("input", "temporary", "output"))
    writes = dict.fromkeys(t.root.name for t in kernel.targets if t.root.kind != "scratch")
    return tuple(reads), tuple(writes)


# --------------------------------------------------------------------------------------------------------------- measuring

def _measured(result: Profile, program: Program, usual: Artifact, traced: Artifact, arrays: Mapping[str, np.ndarray], target: Target,
              seconds: float) -> Profile:
    log = Log(len(program.steps), usual.interface.state_bytes)
    with Loaded(usual.object, usual.interface, threads=result.threads) as plain, Loaded(traced.object, traced.interface) as timed:
        timed.set_state(log.address)
        arrays = ports_to_slots(usual.interface.inputs, arrays)
        plain.run(arrays)
        timed.run(arrays)
        wholes, on_processor, times = _runs(plain, timed, log, seconds)
    working_set = result.flash_bytes + result.arena_bytes
    peak, levels = peak_flops(target), memory_speed(target, working_set)
    dots = peak_dots(target) if any(row.dotted for row in result.rows) else 0.0
    # A short kernel is timed best by the quick clock, a long one by the clock that does not count other programs.
    medians, leasts = (np.minimum(*(best(found, axis=0) for found in times.values())) for best in (np.median, np.min))
    rows = tuple(_timed(row, float(m), float(least), peak, dots, levels, working_set)
                 for row, m, least in zip(result.rows, medians, leasts))
    return replace(result, rows=rows, whole=median(wholes), whole_least=min(wholes), whole_processor=median(on_processor), runs=len(wholes),
                   peak=peak, peak_dots=dots, levels=levels)


def _runs(plain: Loaded, timed: Loaded, log: Log, seconds: float) -> tuple[list[float], list[float], dict[int, list[np.ndarray]]]:
    """Calls of both builds in turn: seconds of whole calls by the clock and on the processor, and of each kernel by both clocks."""
    wholes: list[float] = []
    on_processor: list[float] = []
    times: dict[int, list[np.ndarray]] = {MONOTONIC: [], PROCESSOR: []}
    end = time.perf_counter() + seconds
    while len(wholes) < LEAST_RUNS or time.perf_counter() < end:
        timed.call()  # each build finds the caches as it left them itself
        for clock, found in times.items():
            log.clear(clock)
            timed.call()
            found.append(log.seconds.copy())
        plain.call()
        started, busy = time.perf_counter(), time.process_time()
        plain.call()
        on_processor.append(time.process_time() - busy)
        wholes.append(time.perf_counter() - started)
    return wholes, on_processor, times


def _timed(row: Row, seconds: float, least: float, peak: float, dots: float, levels: tuple[Level, ...], working_set: int) -> Row:
    facts = row.facts
    fresh = facts.weight_bytes / facts.repeats  # the other iterations of a loop find their weights in the cache
    again = facts.read_bytes + facts.written_bytes + facts.weight_bytes - fresh
    memory = again / speed_at(levels, facts.bytes) + fresh / speed_at(levels, working_set)
    return replace(row, seconds=seconds, least=least, memory_seconds=memory,
                   compute_seconds=_computing(row, peak, dots))


def _computing(row: Row, peak: float, dots: float) -> float:
    """Seconds of a kernel's operations: dot products of integers at their own peak."""
    products = 2 * row.facts.macs if row.dotted and dots else 0
    return (products / dots if products else 0.0) + (row.facts.operations - products) / peak
