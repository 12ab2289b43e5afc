"""Measures other schedules of a model's kernels, and keeps those that are faster.

Kernels come in the order of the time they take, each with its share of the time there is. Candidates (passes/candidates.py) race in small
batches against the best so far; around a new best its own neighbours are tried. What is kept has won a last race against the estimated
schedule by more than chance. Every finished kernel is written to the file at once, and one that is in the file is not measured again.

    tune("model.onnx", Path("model.tune.edge"), seconds=60)
    compile("model.onnx", schedules=Path("model.tune.edge"))
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.backends.artifact import write_files
from edgec.backends.llvm import module_text
from edgec.backends.native import runs_here
from edgec.backends.repeated import Candidate, Parameter
from edgec.backends.target import Target
from edgec.candidate_timing import LocalTimer, RemoteTimer, Timer
from edgec.compiler import lower, machine_for, optimise_graph
from edgec.errors import Unsupported
from edgec.graph import Graph
from edgec.kernel import Kernel, Program
from edgec.kernel_facts import kernel_facts
from edgec.model_file import load
from edgec.passes.candidates import candidates
from edgec.passes.nest import Nest
from edgec.passes.overlapped import overlapped
from edgec.passes.schedule import Schedule, schedule
from edgec.passes.schedule_text import parse_schedule, print_schedule
from edgec.passes.tile import tile
from edgec.schedules import ESTIMATED, Entry, Schedules, kernel_digest, read_schedules

BATCH = 5        # candidates that race against the best so far
WON = 0.98       # of the other's time: closer is chance
LEAST = 0.25     # seconds a kernel needs to be worth beginning with
MOST = 0.25      # of all the time: what one kernel may take beyond its share, so that the longest are finished

Clock = Callable[[], float]


@dataclass(frozen=True)
class Tuned:
    """What a run found: the entries of this model's kernels with how often each occurs, how many were known, how many are left."""

    entries: tuple[tuple[Entry, int], ...]
    known: int
    left: int

    @property
    def before(self) -> float:
        """Seconds of all measured kernels of one call of the model, by themselves, with the estimated schedules."""
        return sum(e.before * count for e, count in self.entries)

    @property
    def after(self) -> float:
        return sum(e.after * count for e, count in self.entries)


def tune(model: Any, file: Path, target: str | Target = "native", *, seconds: float = 60.0, runner: str = "", again: bool = False,
         shapes: Mapping[str, Any] | None = None, bind: Mapping[str, Any] | None = None, passes: Sequence[str] = (),
         without: Sequence[str] = (), optimize: str = "3", precision: str = "f32", max_flash_growth: float | None = None,
         report: Callable[[Entry, int], None] | None = None, timer: Timer | None = None, clock: Clock = time.monotonic) -> Tuned:
    """Measure for about `seconds` and write the schedules found to `file`, kernel by kernel; what it holds already is kept.

    However short the time, one race of one kernel is run, so that running it again and again comes to an end. An unfinished search goes
    on where it stood.

    `runner` is the command template of a `RemoteTimer`; without it candidates run here. `again` measures known kernels anew; `report` is
    told every entry and how often its kernel occurs. Raises CompileError.
    """
    graph = model if isinstance(model, Graph) else load(model, shapes, bind)
    machine = machine_for(target, optimize)
    program = lower(optimise_graph(graph, machine, passes=passes, precision=precision), machine, without=without)
    known = read_schedules(file) if file.exists() else Schedules(file=str(file))
    end = clock() + seconds
    with timer or _timer(machine, runner, optimize, _working_set(program)) as racing:
        kernels = _distinct(program, machine)
        begun = {} if again else known.entries
        wanted = {key: pair for key, pair in kernels.items() if key not in begun or not begun[key].finished}
        session = _Session(machine, racing, clock)
        order = session.by_share(wanted, end)
        found, done = known, []
        for n, (key, (kernel, count), share) in enumerate(order):
            now = clock()
            if done and now + LEAST > end:
                break
            budget = max((end - now) * share / sum(s for _, _, s in order[n:]), MOST * seconds)
            entry = session.tuned(key, kernel, min(now + budget, end), begun.get(key))
            found = found.with_entry(entry)
            done.append((entry, count))
            write_files({file: found.text().encode()})
            if report is not None:
                report(entry, count)
    return Tuned(tuple(done), len(kernels) - len(wanted), len(wanted) - len(done))


def _timer(target: Target, runner: str, optimize: str, working_set: int) -> Timer:
    if runner:
        return RemoteTimer(target, runner, working_set, optimize)
    if not runs_here(target):
        raise Unsupported(f"{target.name} cannot run on this computer", hint="give a command that runs a program on one: "
                          "--runner 'scp {program} board: && ssh board ./timing', --runner 'qemu-aarch64 {program}'")
    return LocalTimer(target, working_set, optimize)


def _working_set(program: Program) -> int:
    """Bytes that one call of the model touches, about."""
    return program.arena_bytes + sum(kernel_facts(kernel).weight_bytes // kernel_facts(kernel).repeats for kernel in program.steps)


def _distinct(program: Program, target: Target) -> dict[str, tuple[Kernel, int]]:
    """Every different kernel by its key, with how often one call of the model runs it."""
    found: dict[str, tuple[Kernel, int]] = {}
    for kernel in program.steps:
        key = kernel_digest(kernel, target)
        first, count = found.get(key, (kernel, 0))
        found[key] = (first, count + kernel_facts(kernel).repeats)
    return found


class _Session:
    """What it takes to measure: a target, somebody who times, and a clock."""

    def __init__(self, target: Target, timer: Timer, clock: Clock):
        self.target, self.timer, self.clock = target, timer, clock

    def by_share(self, kernels: Mapping[str, tuple[Kernel, int]], end: float) -> list[tuple[str, tuple[Kernel, int], float]]:
        """(key, (kernel, count), seconds in one call of the model), those that take most first; what time forbids to measure is left."""
        found = []
        keys = list(kernels)
        for start in range(0, len(keys), BATCH + 1):
            if found and self.clock() > end:
                break
            some = keys[start:start + BATCH + 1]
            times = self.timer.time([candidate(kernels[key][0], self.target) for key in some])
            found += [(key, kernels[key], t * kernels[key][1]) for key, t in zip(some, times) if math.isfinite(t) and t > 0]
        return sorted(found, key=lambda item: -item[2])

    def tuned(self, key: str, kernel: Kernel, end: float, begun: Entry | None = None) -> Entry:
        """The best schedules found until `end`; an unfinished search goes on where it stood."""
        return _Search(self, kernel, end, begun).entry(key)


class _Search:
    """The search for the best schedules of one kernel: nest by nest, the longest first, then around what has won."""

    def __init__(self, session: _Session, kernel: Kernel, end: float, begun: Entry | None = None):
        self.session, self.kernel, self.end = session, kernel, end
        self.nests: list[Nest] = []
        tile(kernel, session.target, choose=lambda nest, machine: self.nests.append(nest) or schedule(nest, machine))
        fits = begun is not None and len(begun.plans) == len(self.nests)
        self.plans = list(begun.plans) if fits else [ESTIMATED] * len(self.nests)
        self.tried = self.skipped = begun.tried if fits else 0
        self.raced, self.finished = False, True

    def entry(self, key: str) -> Entry:
        """All of it, as far as time allows."""
        order = sorted(range(len(self.nests)), key=lambda n: -_work(self.nests[n]))
        seen = [{print_schedule(nest, schedule(nest, self.session.target))} for nest in self.nests]
        for place in order:
            self._nest(place, None, seen[place])
        for place in order:
            if self.plans[place] != ESTIMATED:
                around = parse_schedule(self.plans[place], self.nests[place], self.session.target)
                self._nest(place, around, seen[place])
        before, after = self._final()
        return Entry(key, self.session.target.name, before, after, self.tried, self.kernel.name, tuple(self.plans), self.finished)

    def _nest(self, place: int, around: Schedule | None, seen: set[str]) -> None:
        """Race the candidates of one nest, the others as they are; as many as an earlier search tried are left out."""
        nest = self.nests[place]
        pool = [print_schedule(nest, plan) for plan in candidates(nest, self.session.target, around)]
        fresh = [text for text in pool if text not in seen]
        seen.update(pool)
        left, self.skipped = fresh[self.skipped:], max(0, self.skipped - len(fresh))
        for start in range(0, len(left), BATCH):
            if self.raced and self.session.clock() > self.end:
                self.finished = False
                return
            self._race(place, left[start:start + BATCH])

    def _race(self, place: int, some: Sequence[str]) -> None:
        sets = [self.plans, *([*self.plans[:place], plan, *self.plans[place + 1:]] for plan in some)]
        times = self.session.timer.time([candidate(self.kernel, self.session.target, plans) for plans in sets])
        self.tried, self.raced = self.tried + len(some), True
        best = min(range(len(sets)), key=times.__getitem__)
        if best and times[best] < WON * times[0]:
            self.plans = sets[best]

    def _final(self) -> tuple[float, float]:
        """Seconds as estimated and as found, in one race; a win that is gone was chance."""
        usual = [ESTIMATED] * len(self.nests)
        if self.plans == usual:
            alone, = self.session.timer.time([candidate(self.kernel, self.session.target)])
            return alone, alone
        before, after = self.session.timer.time([candidate(self.kernel, self.session.target, plans) for plans in (usual, self.plans)])
        if not after < WON * before:
            self.plans = usual
            after = before
        return before, after


def candidate(kernel: Kernel, target: Target, plans: Sequence[str] = ()) -> Candidate:
    """A kernel under the texts of a schedule for each of its nests (none: all as estimated), ready to be timed."""
    given = iter(plans)

    def choose(nest: Nest, machine: Any) -> Schedule:
        text = next(given, ESTIMATED)
        return schedule(nest, machine) if text == ESTIMATED else parse_schedule(text, nest, machine)

    tiled = tile(kernel, target, choose=choose)
    parameters = tuple(Parameter(b.memory_size * b.dtype.bytes, b.dtype.name, b.dtype.bytes, b.kind == "constant")
                       for b in (buffer.root for buffer in tiled.buffers))
    loops = {a.var for a in kernel.repeat}
    indices = tuple(0 if s in loops else s.hi for s in tiled.loops.symbols)
    return Candidate(module_text(overlapped(tiled.loops, target), target, "KERNEL", frozenset()), parameters, indices)


def _work(nest: Nest) -> int:
    """Points that are walked, reductions included."""
    steps = max((math.prod(e.data if e.op == "const" else e.hi for e in d.extents) for d in nest.domains.values()), default=1)
    return steps * math.prod(a.max_extent for a in nest.axes)
