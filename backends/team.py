"""The whole model as threads walk it together, each in calls of one function that claims what is left of every kernel, in LLVM IR.

    void @net_run_team(ptr %frame, i32 %slot, i32 %count):  claim a share;  call @kernel(ptr ..., i64 first, i64 last);  look for the others

Nobody waits for a thread that is absent, only for work that has begun. The steps between two meetings are a stage. Of each kernel that is
shared every thread has one share, claimed before it is begun; consecutive kernels that are not shared are one piece of work, first of all
the first thread's. Each thread claims its own shares in order, then looks for the others for a moment, then claims what they have not:
who comes never leaves shares that others take over. A stage is over when as many shares have been done as it has; the first thread
stays until all stages are, another one returns when it has waited long and is called again while the call lasts.

Why that is right. (1) Slot k has a number in the frame, the ticket of the last share claimed on its behalf. Tickets count the shared
steps of the call, those of loops each time around; share t of slot k is claimed by exchanging t - 1 for t, which one thread can do once.
Numbers only grow, so a thread that comes late, or walks the model again, fails at all that is over and changes nothing; nothing is ever
set back. (2) `done` counts what is done and only grows, too. A thread adds what it did (release) before it looks (acquire); all additions
are read-modify-writes, so who reads a sum has everything stored by all who made it, on weakly ordered processors as well. (3) A share of a
stage is claimed only by threads that have read the sum of all stages before it; a sum counts every share of those once, so it is reached
when all are done, not when threads arrive. (4) After one round over all slots a thread knows that every share of the stage is claimed: an
exchange fails only when the number is t or more. What is claimed is under way, so the wait ends. (5) Scratch memory goes by the thread
that works, not by whose share it is. (6) The frame lies on the caller's stack: the executor lets nobody in once the first thread has
returned, and waits for those who are in, who hold no share then and leave at the next look.

Of a long region the shares are the first three quarters; the rest is taken part by part by whoever gets there first, since processors
are seldom equally fast. Its counter only grows as well, by the number of these parts each time around.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgec.backends.interface import ContextLayout, Interface
from edgec.backends.regions import Frame, base_pointers, bounds_table, call_text, own_scratch, place_pointers, scratch_pointers, widened
from edgec.backends.steps import CallStep, LoopStep, Place, RegionStep, Step, calls_of, loops_of, places_of, regions_of

LONG = 12       # a region worth so many hand-overs is long
LEFT = 4        # one part in so many of a long region is left to whoever comes first
SOON = 1000     # a thread looks so often for the others before it takes what they have not claimed, about a microsecond
LOOKS = 10_000  # a thread looks so often before it rests or returns, some ten microseconds
STATE = ("due", "ticket", "leads", "finished", "round")  # a thread's own numbers


def team_text(interface: Interface, steps: Sequence[Step], name: str, where: ContextLayout, frame: Frame) -> str:
    """The function that each thread runs, the ones in which it looks for the others, and the tables of bounds."""
    calls, regions = calls_of(steps), regions_of(steps)
    lines = [f"define internal void @{name}(ptr %frame, i32 %slot, i32 %lent_threads) #0 {{", "entry:",
             *(f"  %{each} = alloca i32" for each in STATE), *(f"  store i32 0, ptr %{each}" for each in STATE),
             *base_pointers(interface, where, frame)]
    lines += frame.read([*(i for c in calls for i in c.indices if isinstance(i, int)), *(x.length for x in loops_of(steps) if x.symbolic)])
    pointers = place_pointers(interface, places_of(steps), where, lines)
    lines += own_scratch(interface, frame) if any(call.scratch for call in calls) else []
    lines += [f"  %many = icmp ugt i32 %lent_threads, {frame.threads}",
              f"  %count = select i1 %many, i32 {frame.threads}, i32 %lent_threads"]
    for parts in dict.fromkeys(region.parts for region in regions if region.lent >= LONG):
        lines += _tail(parts)
    lines += [line for n in range(len(regions)) for line in (f"  %base{n} = alloca i32", f"  store i32 0, ptr %base{n}")]
    lines += ["  %member = icmp ult i32 %slot, %count", "  br i1 %member, label %begin, label %leave", "begin:"]
    tables = {b: f"{name}_bounds{n}" for n, b in enumerate(dict.fromkeys(c.bounds for r in regions for c in r.calls))}
    _Team(name, frame, pointers, tables, lines).walk(steps, "begin")
    constants = [bounds_table(table, bounds) for bounds, table in tables.items()]
    return "\n".join([*lines, "  br label %leave", "leave:", "  ret void", "}", _looking(name, frame), _waiting(name, frame), *constants])


def emit_loop(loop: LoopStep, word: str, lines: list[str], label: str, body: Callable[[str], str], pointer: str = "") -> str:
    """Append a loop around what `body` appends behind a label; gives the label of the block it ends in. `pointer` is of its condition."""
    name, length = loop.name, f"%dim{loop.length}" if loop.symbolic else str(loop.length)
    lines += [f"  %{name}.some = icmp sgt {word} {length}, 0",
              f"  br i1 %{name}.some, label %{name}.head, label %{name}.after", f"{name}.head:",
              f"  %{name} = phi {word} [ 0, %{label} ], [ %{name}.next, %{name}.end ]"]
    if loop.condition is not None:
        lines += [f"  %{name}.byte = load i8, ptr {pointer}", f"  %{name}.goes = icmp ne i8 %{name}.byte, 0",
                  f"  br i1 %{name}.goes, label %{name}.body, label %{name}.after", f"{name}.body:"]
    body(f"{name}.head" if loop.condition is None else f"{name}.body")
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
        """Stage by stage; gives the label of the block they end in."""
        for stage in stages_of(steps):
            first = stage[0]
            if isinstance(first, LoopStep) and regions_of([first]):
                label = emit_loop(first, self.frame.word, self.lines, label, lambda start, body=first.body: self.walk(body, start))
            else:
                label = self.stage(stage)
        return label

    def stage(self, steps: Sequence[Step]) -> str:
        """A round over the slots, this thread's first; then nothing is left to claim, and what is not done is waited for."""
        name, pieces = self.next("stage"), _pieces(steps)
        self.lines += [
            f"  %{name}.ticket = load i32, ptr %ticket", f"  %{name}.leads = load i32, ptr %leads",
            f"  %{name}.before = load i32, ptr %due",
            "  store i32 0, ptr %round", f"  br label %{name}.round", f"{name}.round:", f"  %{name}.k = load i32, ptr %round",
            f"  %{name}.sum = add i32 %slot, %{name}.k", f"  %{name}.wrapped = sub i32 %{name}.sum, %count",
            f"  %{name}.beyond = icmp uge i32 %{name}.sum, %count",
            f"  %{name}.owner = select i1 %{name}.beyond, i32 %{name}.wrapped, i32 %{name}.sum",
            f"  %{name}.line = mul i32 %{name}.owner, {self.frame.claim(1) - self.frame.claim(0)}",
            f"  %{name}.claims = getelementptr i8, ptr %frame, i32 {self.frame.claim(0)}",
            f"  %{name}.claim = getelementptr i8, ptr %{name}.claims, i32 %{name}.line", "  store i32 0, ptr %finished"]
        shares = leads = 0
        tails: list[tuple[int, int]] = []
        for piece in pieces:
            if isinstance(piece, RegionStep):
                self.share(piece, name, shares)
                tails += [(self.regions, piece.parts)] if piece.lent >= LONG else []
                self.regions += 1
                shares += 1
            else:
                self.lead(piece, name, leads)
                leads += 1
        self.close(name, shares, leads, tails)
        return f"{name}.after"

    def close(self, name: str, shares: int, leads: int, tails: Sequence[tuple[int, int]]) -> None:
        """Tell what this round has done, then look whether the stage is over, help, or wait."""
        at, lines = f"%{name}", self.lines
        lines += [f"  {at}.shares = mul i32 %count, {shares}", f"  {at}.due0 = add i32 {at}.before, {at}.shares",
                  f"  {at}.due1 = add i32 {at}.due0, {leads}"]
        due = f"{at}.due1"
        for number, parts in tails:
            lines.append(f"  {at}.due_{number} = add i32 {due}, %free{parts}")
            due = f"{at}.due_{number}"
        lines += [
            f"  {at}.finished = load i32, ptr %finished", f"  {at}.first = icmp eq i32 {at}.k, 0",
            f"  {at}.looks = select i1 {at}.first, i32 {SOON}, i32 1",
            f"  {at}.over = call i1 @{self.name}_look(ptr %frame, i32 {at}.finished, i32 {due}, i32 {at}.looks)",
            f"  br i1 {at}.over, label %{name}.end, label %{name}.again", f"{name}.again:", f"  {at}.next = add i32 {at}.k, 1",
            f"  store i32 {at}.next, ptr %round", f"  {at}.more = icmp ult i32 {at}.next, %count",
            f"  br i1 {at}.more, label %{name}.round, label %{name}.wait", f"{name}.wait:",
            f"  {at}.waited = call i1 @{self.name}_wait(ptr %frame, i32 %slot, i32 {due})",
            f"  br i1 {at}.waited, label %{name}.end, label %leave", f"{name}.end:", f"  store i32 {due}, ptr %due",
            f"  {at}.ticket_after = add i32 {at}.ticket, {shares}", f"  store i32 {at}.ticket_after, ptr %ticket",
            f"  {at}.leads_after = add i32 {at}.leads, {leads}", f"  store i32 {at}.leads_after, ptr %leads"]
        for number, parts in tails:
            lines += [f"  {at}.base{number} = load i32, ptr %base{number}",
                      f"  {at}.later{number} = add i32 {at}.base{number}, %free{parts}",
                      f"  store i32 {at}.later{number}, ptr %base{number}"]
        lines += [f"  br label %{name}.after", f"{name}.after:"]

    def claim(self, name: str, place: str, tickets: str, number: int) -> None:
        """Go to the block `name` with the claim won and counted, or to `name`.lost."""
        at = f"%{name}"
        self.lines += [
            f"  {at}.old = add i32 {tickets}, {number}", f"  {at}.new = add i32 {tickets}, {number + 1}",
            f"  {at}.exchange = cmpxchg ptr {place}, i32 {at}.old, i32 {at}.new acquire monotonic, align 4",
            f"  {at}.won = extractvalue {{ i32, i1 }} {at}.exchange, 1", f"  br i1 {at}.won, label %{name}, label %{name}.lost", f"{name}:"]
        self.finish(at)

    def finish(self, at: str) -> None:
        """Count a piece of work that this thread does, and tells of at the end of its round."""
        self.lines += [f"  {at}.finished = load i32, ptr %finished", f"  {at}.one_more = add i32 {at}.finished, 1",
                       f"  store i32 {at}.one_more, ptr %finished"]

    def lead(self, steps: Sequence[Step], stage: str, number: int) -> None:
        """Consecutive kernels that are not shared: one thread does them in order, the first if it is there."""
        name = self.next("lead")
        self.lines += [f"  %{name}.mine = icmp eq i32 %{stage}.owner, 0",
                       f"  br i1 %{name}.mine, label %{name}.try, label %{name}.lost", f"{name}.try:",
                       f"  %{name}.at = getelementptr i8, ptr %frame, i32 {self.frame.leads}"]
        self.claim(name, f"%{name}.at", f"%{stage}.leads", number)
        self.whole(steps, name)
        self.lines += [f"  br label %{name}.lost", f"{name}.lost:"]

    def whole(self, steps: Sequence[Step], label: str) -> str:
        for step in steps:
            if isinstance(step, LoopStep):
                label = emit_loop(step, self.frame.word, self.lines, label, lambda start, body=step.body: self.whole(body, start))
            else:
                self.lines.append(call_text(step, [self.pointers[p] for p in step.places], (), self.frame.word))
        return label

    def share(self, region: RegionStep, stage: str, number: int) -> None:
        """The share of the round's slot: one call of each kernel; and of a long region the parts that nobody has taken yet."""
        name, parts, taking = self.next("share"), region.parts, region.lent >= LONG
        at = f"%{name}"
        self.claim(name, f"%{stage}.claim", f"%{stage}.ticket", number)
        self.lines += [
            f"  {at}.all = mul i32 %{stage}.owner, {parts}", f"  {at}.from = udiv i32 {at}.all, %count",
            f"  {at}.next_all = add i32 {at}.all, {parts}",
            f"  {at}.end = udiv i32 {at}.next_all, %count", f"  {at}.to = sub i32 {at}.end, {f'%tail{parts}' if taking else 0}",
            f"  {at}.some = icmp ult i32 {at}.from, {at}.to", f"  br i1 {at}.some, label %{name}.part, label %{name}.lost", f"{name}.part:"]
        self.part(region, f"{at}.from", f"{at}.to")
        self.lines += [f"  br label %{name}.lost", f"{name}.lost:"]
        if taking:
            self.take(region)

    def take(self, region: RegionStep) -> None:
        """Part j of those left over is number j / count among those of slot j % count. Who is late finds the counter past its last."""
        parts, name = region.parts, self.next("take")
        at, counter = f"%{name}", self.frame.taken(self.regions)
        self.lines += [
            f"  {at}.counter = getelementptr i8, ptr %frame, i32 {counter}", f"  {at}.base = load i32, ptr %base{self.regions}",
            f"  br label %{name}.look", f"{name}.look:", f"  {at}.seen = load atomic i32, ptr {at}.counter monotonic, align 4",
            f"  {at}.j = sub i32 {at}.seen, {at}.base", f"  {at}.more = icmp ult i32 {at}.j, %free{parts}",
            f"  br i1 {at}.more, label %{name}.try, label %{name}.over", f"{name}.try:", f"  {at}.following = add i32 {at}.seen, 1",
            f"  {at}.exchange = cmpxchg ptr {at}.counter, i32 {at}.seen, i32 {at}.following acquire monotonic, align 4",
            f"  {at}.won = extractvalue {{ i32, i1 }} {at}.exchange, 1", f"  br i1 {at}.won, label %{name}, label %{name}.look", f"{name}:",
            f"  {at}.owner = urem i32 {at}.j, %count", f"  {at}.k = udiv i32 {at}.j, %count", f"  {at}.behind = add i32 {at}.owner, 1",
            f"  {at}.all = mul i32 {at}.behind, {parts}", f"  {at}.end = udiv i32 {at}.all, %count",
            f"  {at}.start = sub i32 {at}.end, %tail{parts}", f"  {at}.one = add i32 {at}.start, {at}.k",
            f"  {at}.next = add i32 {at}.one, 1"]
        self.finish(at)
        self.part(region, f"{at}.one", f"{at}.next")
        self.lines += [f"  br label %{name}.look", f"{name}.over:"]

    def part(self, region: RegionStep, start: str, end: str) -> None:
        """A call of each kernel of a region for the parts from one below another."""
        for call in region.calls:
            self.number += 1
            own = scratch_pointers(call, self.number, self.pointers, self.lines)
            self.lines.append(call_text(call, own, (self.bound(call, start), self.bound(call, end)), self.frame.word))

    def bound(self, call: CallStep, part: str) -> str:
        """The position at which a part of a call begins."""
        name = f"%{self.next('bound')}"
        self.lines += [f"  {name}_at = getelementptr i32, ptr @{self.tables[call.bounds]}, i32 {part}",
                       f"  {name}_32 = load i32, ptr {name}_at", widened(name, f"{name}_32", self.frame.word)]
        return name

    def next(self, what: str) -> str:
        self.number += 1
        return f"{what}.{self.number}"


def stages_of(steps: Sequence[Step]) -> list[list[Step]]:
    """The steps from one meeting to the next; a loop around shared kernels is by itself, its body has stages of its own."""
    found: list[list[Step]] = []
    alone = True
    for step in steps:
        around = isinstance(step, LoopStep) and bool(regions_of([step]))
        if alone or around or any(call.waits for call in calls_of([step])):
            found.append([])
        found[-1].append(step)
        alone = around
    return found


def _pieces(steps: Sequence[Step]) -> list[RegionStep | list[Step]]:
    """The regions of a stage, and what is not shared between them, in order."""
    found: list[RegionStep | list[Step]] = []
    for step in steps:
        if isinstance(step, RegionStep):
            found.append(step)
        elif found and isinstance(found[-1], list):
            found[-1].append(step)
        else:
            found.append([step])
    return found


def _tail(parts: int) -> list[str]:
    """Of a long region of so many parts %tail24 are left over of each share, %free24 of all."""
    return [f"  %tail{parts}_of = mul i32 %count, {LEFT}", f"  %tail{parts} = udiv i32 {parts}, %tail{parts}_of",
            f"  %free{parts} = mul i32 %tail{parts}, %count"]


def _looking(name: str, frame: Frame) -> str:
    """Add what a thread has done, and look so many times whether as much is done as is due."""
    return "\n".join([
        f"define internal i1 @{name}_look(ptr %frame, i32 %finished, i32 %due, i32 %times) #1 {{", "entry:",
        f"  %at = getelementptr i8, ptr %frame, i32 {frame.done}", "  %none = icmp eq i32 %finished, 0",
        "  br i1 %none, label %look, label %tell", "tell:", "  %told = atomicrmw add ptr %at, i32 %finished acq_rel, align 4",
        "  br label %look", "look:", "  %looks = phi i32 [ 0, %entry ], [ 0, %tell ], [ %looks.next, %again ]",
        "  %done = load atomic i32, ptr %at acquire, align 4", "  %missing = sub i32 %done, %due", "  %wait = icmp slt i32 %missing, 0",
        "  br i1 %wait, label %again, label %end", "again:", "  %looks.next = add i32 %looks, 1",
        "  %patient = icmp ult i32 %looks.next, %times", "  br i1 %patient, label %look, label %end", "end:",
        "  %over = xor i1 %wait, true", "  ret i1 %over", "}"])


def _waiting(name: str, frame: Frame) -> str:
    """Look until everything due is done; the first thread rests in between, the others give up after a while."""
    return "\n".join([
        f"define internal i1 @{name}_wait(ptr %frame, i32 %slot, i32 %due) #1 {{", "entry:", "  %leads = icmp eq i32 %slot, 0",
        f"  %rest_at = getelementptr i8, ptr %frame, i32 {frame.rest}", "  %rest = load ptr, ptr %rest_at",
        f"  %lent_at = getelementptr i8, ptr %frame, i32 {frame.rest + frame.bytes}", "  %lent = load ptr, ptr %lent_at",
        "  %restless = icmp eq ptr %rest, null", "  br label %look", "look:",
        f"  %over = call i1 @{name}_look(ptr %frame, i32 0, i32 %due, i32 {LOOKS})", "  %patient = xor i1 %over, true",
        "  %stays = and i1 %patient, %leads", "  br i1 %stays, label %tired, label %end", "tired:",
        "  br i1 %restless, label %look, label %resting", "resting:", "  call void %rest(ptr %lent)", "  br label %look",
        "end:", "  ret i1 %over", "}"])
