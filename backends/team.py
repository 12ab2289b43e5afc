"""The whole model as threads walk it together, each in one call of one function: its part of every kernel that is shared, in LLVM IR.

    void @net_run_team(ptr %frame, i32 %slot, i32 %count):  call @kernel(ptr ..., i64 first, i64 last);  call @net_run_team_meet(...);  ...

Kernels that are not shared are the first thread's. All threads meet where one would touch what another may still be at: each adds one to a
number in the frame and looks until as many have as there are threads. Who looks long asks the executor's `rest` to let others run.

Of a long region each thread has the first three quarters of its share in one call; the rest is taken part by part by whoever gets there
first, since processors are seldom equally fast.
"""

from __future__ import annotations

from typing import Callable, Mapping, Sequence

from edgec.backends.interface import ContextLayout, Interface
from edgec.backends.regions import Frame, base_pointers, bounds_table, call_text, own_scratch, place_pointers, scratch_pointers, widened
from edgec.backends.steps import CallStep, LoopStep, Place, RegionStep, Step, calls_of, loops_of, regions_of

LONG = 12       # a region worth so many hand-overs is long
LEFT = 4        # one part in so many of a long region is left to whoever comes first
LOOKS = 10_000  # a thread looks so often for the others before it rests, some ten microseconds


def team_text(interface: Interface, steps: Sequence[Step], name: str, where: ContextLayout, frame: Frame) -> str:
    """The function that each thread runs, the one in which they meet, and the tables of bounds."""
    calls, regions = calls_of(steps), regions_of(steps)
    lines = [f"define internal void @{name}(ptr %frame, i32 %slot, i32 %count) #0 {{", "entry:", "  %due = alloca i32",
             "  store i32 0, ptr %due", *base_pointers(interface, where, frame)]
    lines += frame.read([*(i for c in calls for i in c.indices if isinstance(i, int)), *(x.length for x in loops_of(steps) if x.symbolic)])
    pointers = place_pointers(interface, calls, where, lines)
    lines += own_scratch(interface, frame) if any(call.scratch for call in calls) else []
    lines += ["  %leads = icmp eq i32 %slot, 0", "  %behind_slot = add i32 %slot, 1"]
    for parts in dict.fromkeys(region.parts for region in regions):
        lines += _share(parts)
    lines += [line for n in range(len(regions)) for line in (f"  %base{n} = alloca i32", f"  store i32 0, ptr %base{n}")]
    tables = {b: f"{name}_bounds{n}" for n, b in enumerate(dict.fromkeys(c.bounds for r in regions for c in r.calls))}
    team = _Team(name, frame, pointers, tables, lines)
    team.walk(steps, "entry")
    constants = [bounds_table(table, bounds) for bounds, table in tables.items()]
    return "\n".join([*lines, "  ret void", "}", _meeting(name, frame), *constants])


def emit_loop(loop: LoopStep, word: str, lines: list[str], label: str, body: Callable[[str], str]) -> str:
    """Append a loop around what `body` appends behind a label; gives the label of the block it ends in."""
    name, length = loop.name, f"%dim{loop.length}" if loop.symbolic else str(loop.length)
    lines += [f"  %{name}.some = icmp sgt {word} {length}, 0",
              f"  br i1 %{name}.some, label %{name}.head, label %{name}.after", f"{name}.head:",
              f"  %{name} = phi {word} [ 0, %{label} ], [ %{name}.next, %{name}.end ]"]
    body(f"{name}.head")
    lines += [f"  br label %{name}.end", f"{name}.end:", f"  %{name}.next = add nuw nsw {word} %{name}, 1",
              f"  %{name}.more = icmp slt {word} %{name}.next, {length}",
              f"  br i1 %{name}.more, label %{name}.head, label %{name}.after", f"{name}.after:"]
    return f"{name}.after"


class _Team:
    """Appends the steps of one thread to `lines`."""

    def __init__(self, name: str, frame: Frame, pointers: Mapping[Place, str], tables: Mapping[tuple[int, ...], str], lines: list[str]):
        self.name, self.frame, self.pointers, self.tables, self.lines = name, frame, pointers, tables, lines
        self.number = self.regions = 0

    def walk(self, steps: Sequence[Step], label: str) -> str:
        """Each step where it belongs; gives the label of the block they end in."""
        for step in steps:
            if not regions_of([step]):
                label = self.lead(step)
            elif isinstance(step, LoopStep):
                label = emit_loop(step, self.frame.word, self.lines, label, lambda start, body=step.body: self.walk(body, start))
            else:
                label = self.share(step)
        return label

    def lead(self, step: CallStep | LoopStep) -> str:
        """What the first thread does alone."""
        if any(call.waits for call in calls_of([step])):
            self.meet()
        name = self.next("lead")
        self.lines += [f"  br i1 %leads, label %{name}, label %{name}.after", f"{name}:"]
        self.whole([step], name)
        self.lines += [f"  br label %{name}.after", f"{name}.after:"]
        return f"{name}.after"

    def whole(self, steps: Sequence[Step], label: str) -> str:
        for step in steps:
            if isinstance(step, LoopStep):
                label = emit_loop(step, self.frame.word, self.lines, label, lambda start, body=step.body: self.whole(body, start))
            else:
                self.lines.append(call_text(step, [self.pointers[p] for p in step.places], (), self.frame.word))
        return label

    def share(self, region: RegionStep) -> str:
        """This thread's parts of a region: one call of each kernel, and for a long one the parts that nobody has taken yet."""
        if region.calls[0].waits:
            self.meet()
        name, parts, taking = self.next("share"), region.parts, region.lent >= LONG
        self.lines += [f"  br i1 %some{parts}, label %{name}, label %{name}.after", f"{name}:"]
        self.part(region, f"%from{parts}", f"%mine{parts}" if taking else f"%to{parts}")
        if taking:
            self.take(region, name)
        self.regions += 1
        self.lines += [f"  br label %{name}.after", f"{name}.after:"]
        return f"{name}.after"

    def take(self, region: RegionStep, name: str) -> None:
        """Part j of those left over is number j / count among those of thread j % count. Each thread takes until it gets none, so that the
        counter is then as many further as there were parts and threads."""
        parts, number, at = region.parts, self.regions, f"%{name}"
        counter = self.frame.taken(number)
        self.lines += [
            f"  {at}.counter = getelementptr i8, ptr %frame, i32 {counter}", f"  br label %{name}.take", f"{name}.take:",
            f"  {at}.taken = atomicrmw add ptr {at}.counter, i32 1 monotonic, align 4", f"  {at}.base = load i32, ptr %base{number}",
            f"  {at}.j = sub i32 {at}.taken, {at}.base", f"  {at}.more = icmp ult i32 {at}.j, %free{parts}",
            f"  br i1 {at}.more, label %{name}.part, label %{name}.over", f"{name}.part:",
            f"  {at}.owner = urem i32 {at}.j, %count", f"  {at}.k = udiv i32 {at}.j, %count", f"  {at}.behind = add i32 {at}.owner, 1",
            f"  {at}.all = mul i32 {at}.behind, {parts}", f"  {at}.end = udiv i32 {at}.all, %count",
            f"  {at}.start = sub i32 {at}.end, %tail{parts}", f"  {at}.one = add i32 {at}.start, {at}.k",
            f"  {at}.next = add i32 {at}.one, 1"]
        self.part(region, f"{at}.one", f"{at}.next")
        self.lines += [f"  br label %{name}.take", f"{name}.over:", f"  {at}.done = add i32 %free{parts}, %count",
                       f"  {at}.later = add i32 {at}.base, {at}.done", f"  store i32 {at}.later, ptr %base{number}"]

    def part(self, region: RegionStep, start: str, end: str) -> None:
        """A call of each kernel of a region for the parts from one below another."""
        for call in region.calls:
            own = scratch_pointers(call, self.number, self.pointers, self.lines)
            self.lines.append(call_text(call, own, (self.bound(call, start), self.bound(call, end)), self.frame.word))

    def bound(self, call: CallStep, part: str) -> str:
        """The position at which a part of a call begins."""
        name = f"%{self.next('bound')}"
        self.lines += [f"  {name}_at = getelementptr i32, ptr @{self.tables[call.bounds]}, i32 {part}",
                       f"  {name}_32 = load i32, ptr {name}_at", widened(name, f"{name}_32", self.frame.word)]
        return name

    def meet(self) -> None:
        self.lines.append(f"  call void @{self.name}_meet(ptr %frame, i32 %count, ptr %due)")

    def next(self, what: str) -> str:
        self.number += 1
        return f"{what}.{self.number}"


def _share(parts: int) -> list[str]:
    """Shares of so many parts: this thread's are those from %from24 below %to24 (%some24: there are any), the first of them, below %mine24,
    in any case; %tail24 are left over of each, %free24 of all."""
    return [f"  %from{parts}_all = mul i32 %slot, {parts}", f"  %from{parts} = udiv i32 %from{parts}_all, %count",
            f"  %to{parts}_all = mul i32 %behind_slot, {parts}", f"  %to{parts} = udiv i32 %to{parts}_all, %count",
            f"  %some{parts} = icmp ult i32 %from{parts}, %to{parts}", f"  %tail{parts}_of = mul i32 %count, {LEFT}",
            f"  %tail{parts} = udiv i32 {parts}, %tail{parts}_of", f"  %free{parts} = mul i32 %tail{parts}, %count",
            f"  %mine{parts} = sub i32 %to{parts}, %tail{parts}"]


def _meeting(name: str, frame: Frame) -> str:
    """Wait until `count` more threads have come here than at the last meeting."""
    return "\n".join([
        f"define internal void @{name}_meet(ptr %frame, i32 %count, ptr %due) #1 {{", "entry:",
        "  %before = load i32, ptr %due", "  %all = add i32 %before, %count", "  store i32 %all, ptr %due",
        f"  %arrived = getelementptr i8, ptr %frame, i32 {frame.arrived}",
        "  %came = atomicrmw add ptr %arrived, i32 1 acq_rel, align 4", "  br label %look", "look:",
        "  %looks = phi i32 [ 0, %entry ], [ %looks.next, %again ], [ 0, %resting ], [ 0, %tired ]",
        "  %now = load atomic i32, ptr %arrived acquire, align 4", "  %missing = sub i32 %now, %all", "  %wait = icmp slt i32 %missing, 0",
        "  br i1 %wait, label %again, label %end", "again:", "  %looks.next = add i32 %looks, 1",
        f"  %patient = icmp ult i32 %looks.next, {LOOKS}", "  br i1 %patient, label %look, label %tired", "tired:",
        f"  %rest_at = getelementptr i8, ptr %frame, i32 {frame.rest}", "  %rest = load ptr, ptr %rest_at",
        f"  %lent_at = getelementptr i8, ptr %frame, i32 {frame.rest + frame.bytes}", "  %lent = load ptr, ptr %lent_at",
        "  %restless = icmp eq ptr %rest, null", "  br i1 %restless, label %look, label %resting", "resting:",
        "  call void %rest(ptr %lent)", "  br label %look", "end:", "  ret void", "}"])
