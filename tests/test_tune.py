"""Tuning: the search with a clock of our own, the worker that survives its candidates, programs for other machines."""

import itertools
import math
import shutil
import time

import pytest

from edgec.backends.emulate import missing_tools
from edgec.backends.llvm import module_text
from edgec.backends.repeated import Candidate, Parameter
from edgec.backends.target import find
from edgec.candidate_timing import LocalTimer, RemoteTimer
from edgec.compiler import compile, lower
from edgec.edge_file import read_graph
from edgec.errors import Unsupported
from edgec.passes.tile import tile
from edgec.schedules import ESTIMATED, read_schedules
from edgec.tune import BATCH, _distinct, candidate, tune

NATIVE = find("native")
TEXT = """graph g(%x: f32[6,20]) -> (%y) {
  @t: f32[20,12]
  @u: f32[20,20]
  @v: f32[20,20]
  @w: f32[20,20]
  %a = MatMul(%x, @u) : f32[6,20]
  %b = MatMul(%a, @v) : f32[6,20]
  %c = MatMul(%b, @w) : f32[6,20]
  %d = MatMul(%c, @t) : f32[6,12]
  %y = Softmax(%d) : f32[6,12]
}"""


class Imagined:
    """Times by a rule instead of a clock, and notes what was asked."""

    def __init__(self, seconds):
        self.seconds, self.batches, self.seen = seconds, [], set()

    def time(self, candidates):
        self.batches.append(len(candidates))
        self.seen.update(c.text for c in candidates)
        return [self.seconds(c.text) for c in candidates]

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def by_length(text):
    """A machine that likes short code."""
    return len(text) * 1e-7


@pytest.fixture
def graph():
    return read_graph(TEXT, "test")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """(result, what was told, file, timer) of one run with all the time in the world."""
    timer, told, file = Imagined(by_length), [], tmp_path_factory.mktemp("tuned") / "g.edge"
    found = tune(read_graph(TEXT, "test"), file, seconds=1e6, timer=timer, report=lambda entry, count: told.append((entry, count)))
    return found, tuple(told), file, timer


def kernels_of(graph):
    return _distinct(lower(graph, NATIVE), NATIVE)


def test_the_best_of_all_candidates_is_found(graph, tuned):
    found, told, file, timer = tuned
    assert (found.known, found.left) == (0, 0) and found.entries == told
    assert found.after < 0.9 * found.before and max(timer.batches) <= 6
    written, kernels = read_schedules(file), kernels_of(graph)
    assert set(written.entries) == set(kernels)
    for key, (kernel, _) in kernels.items():
        entry = written.entries[key]
        assert entry.after <= entry.before == pytest.approx(by_length(candidate(kernel, NATIVE).text), abs=1e-7) and entry.tried >= 1
        chosen = tile(kernel, NATIVE, choose=written.choose(kernel, NATIVE))
        assert by_length(module_text(chosen.loops, NATIVE, "KERNEL", frozenset())) == pytest.approx(entry.after, abs=1e-7)
    assert compile(graph, optimize="1", schedules=file).object != compile(graph, optimize="1").object


def test_the_slowest_kernels_come_first(tuned):
    """An equal kernel is measured once and counts twice."""
    entries = tuned[0].entries
    shares = [entry.before * count for entry, count in entries]
    assert shares == sorted(shares, reverse=True) and sorted(count for _, count in entries) == [1, 1, 1, 2]


def test_a_second_run_goes_on_where_the_first_ended(graph, tuned, tmp_path):
    file = tmp_path / "g.edge"
    text = tuned[2].read_text()
    last = max(entry.key for entry, _ in tuned[0].entries if entry.tried == min(e.tried for e, _ in tuned[0].entries))
    file.write_text("\n\n".join(block for block in text.rstrip("\n").split("\n\n") if f"kernel {last}" not in block) + "\n")
    second = tune(graph, file, seconds=1e6, timer=Imagined(by_length))
    assert [entry.key for entry, _ in second.entries] == [last] and (second.known, second.left) == (3, 0)
    assert file.read_text() == text
    third = tune(graph, file, seconds=1e6, timer=Imagined(by_length))
    assert third.entries == () and third.known == 4 and third.left == 0 and file.read_text() == text
    again = tune(graph, file, seconds=0, timer=Imagined(by_length), again=True)
    assert again.entries and again.known == 0


def test_an_unfinished_search_goes_on_until_all_is_tried(graph, tuned, tmp_path):
    """Runs that have time for one race each come to the end that one long run comes to."""
    now, file, runs = itertools.count(), tmp_path / "g.edge", 0
    found = tune(graph, file, seconds=1, timer=Imagined(by_length), clock=lambda: 1e3 * next(now))
    assert len(found.entries) == 1 and found.entries[0][0].tried == BATCH and not found.entries[0][0].finished and found.known == 0
    assert "5 tried, unfinished, " in file.read_text()
    while found.known + len([e for e, _ in found.entries if e.finished]) < 4:
        found, runs = tune(graph, file, seconds=1, timer=Imagined(by_length), clock=lambda: 1e3 * next(now)), runs + 1
        assert len(found.entries) == 1 and runs < 200
    at_once = {entry.key: entry for entry, _ in tuned[0].entries}
    for key, entry in read_schedules(file).entries.items():
        assert entry.finished and entry.after <= 1.1 * at_once[key].after


def test_a_win_by_chance_is_not_kept(graph, tmp_path):
    """Whoever comes later in a batch seems quicker, but not in the last race."""
    class Chance(Imagined):
        def time(self, candidates):
            return [1.0] * 2 if len(candidates) == 2 else [1.0 - 0.1 * n for n in range(len(candidates))]

    tune(graph, tmp_path / "g.edge", seconds=0, timer=Chance(None))
    entry, = read_schedules(tmp_path / "g.edge").entries.values()
    assert set(entry.plans) == {ESTIMATED} and entry.before == entry.after and entry.tried >= BATCH


def test_candidates_that_do_not_run_are_never_best(graph, tmp_path):
    usual = {candidate(kernel, NATIVE).text for kernel, _ in kernels_of(graph).values()}
    tune(graph, tmp_path / "g.edge", seconds=0, timer=Imagined(lambda text: 1.0 if text in usual else math.inf))
    assert all(set(e.plans) == {ESTIMATED} for e in read_schedules(tmp_path / "g.edge").entries.values())


# ---------------------------------------------------------------------------------------------------------------- real clocks

def real(graph, target):
    """Every kernel as it is estimated to be best."""
    return [candidate(kernel, target) for kernel, _ in _distinct(lower(graph, target), target).values()]


def broken(body):
    return Candidate(f"define void @KERNEL(ptr %p) {{\nentry:\n{body}\n}}\n", (Parameter(64, "f32", 4, False),), ())


CRASH = broken("  call void @llvm.trap()\n  unreachable") # nobody survives this
HANG = broken("  br label %loop\nloop:\n  br label %loop")
REFUSED = broken("  this is no instruction")


def test_candidates_are_timed_here(graph):
    with LocalTimer(NATIVE, 1 << 20, "1") as timer:
        times = timer.time(real(graph, NATIVE))
    assert all(0 < t < 0.1 for t in times)


@pytest.mark.parametrize("bad", [CRASH, HANG, REFUSED], ids=["crash", "hang", "refused"])
def test_whatever_a_candidate_does_the_others_are_timed(graph, bad):
    if bad is CRASH:
        bad = Candidate(bad.text + "declare void @llvm.trap()\n", bad.parameters, bad.indices)
    good = real(graph, NATIVE)
    with LocalTimer(NATIVE, 1 << 20, "1", hangs=8.0) as timer:
        times = timer.time([good[0], bad, good[1]])
        assert math.isinf(times[1]) and math.isfinite(times[0]) and math.isfinite(times[2])
        assert all(map(math.isfinite, timer.time(good)))


@pytest.mark.parametrize("bad", [CRASH, HANG, REFUSED], ids=["crash", "hang", "refused"])
def test_whatever_a_candidate_does_elsewhere_the_others_are_timed(graph, bad):
    if bad is CRASH:
        bad = Candidate(bad.text + "declare void @llvm.trap()\n", bad.parameters, bad.indices)
    good = real(graph, NATIVE)
    with RemoteTimer(NATIVE, "{program}", 1 << 20, "1", hangs=8.0) as timer:
        times = timer.time([good[0], bad, good[1]])
    assert math.isinf(times[1]) and math.isfinite(times[0]) and math.isfinite(times[2])


def test_a_command_that_hangs_ends_with_all_that_it_started(graph, tmp_path):
    late = tmp_path / "late"
    with RemoteTimer(NATIVE, f"sh -c 'sleep 2; touch {late}'; {{program}}", 1 << 20, "1", hangs=0.5) as timer:
        with pytest.raises(Unsupported, match="did not time the program"):
            timer.time(real(graph, NATIVE)[:1])
    time.sleep(3)
    assert not late.exists()


@pytest.mark.parametrize("name, runner", [("native", "{program}"), ("aarch64", "qemu-aarch64 -L /usr/aarch64-linux-gnu {program}")])
def test_candidates_are_timed_by_a_command(graph, name, runner, tmp_path):
    target = find(name)
    assert not missing_tools(target) and shutil.which(target.emulator.gcc)
    with RemoteTimer(target, runner, 1 << 20, "1") as timer:
        assert all(0 < t < 1 for t in timer.time(real(graph, target)))
    found = tune(graph, tmp_path / "g.edge", target, seconds=0, runner=runner, optimize="1")
    assert len(found.entries) == 1 and found.entries[0][0].target == name and found.entries[0][0].tried >= 1


def test_weights_rotate_through_copies():
    """As many rows as it takes to touch what the model touches, but no more memory than the limit."""
    def rows(constant, working_set):
        return Candidate("", (Parameter(4096, "f32", 4, False), Parameter(constant, "f32", 4, True)), ()).copies(working_set)
    assert rows(1 << 20, 8 << 20) == 8 and rows(1 << 20, 1 << 30) == 16 and rows(64, 1 << 30) == 64 and rows(1 << 30, 1 << 20) == 1
    assert Candidate("", (), ()).copies(1 << 20) == 1


@pytest.mark.parametrize("target, runner, message", [
    ("native", "ssh board ./timing", "does not say where the program goes"), ("cortex-m4", "{program}", "needs an operating system"),
    ("aarch64", "", "cannot run on this computer"), ("native", "false {program}", "did not time the program")])
def test_what_cannot_be_timed_is_told(graph, target, runner, message, tmp_path):
    with pytest.raises(Unsupported, match=message):
        tune(graph, tmp_path / "g.edge", target, seconds=2.0, runner=runner, optimize="1")
    assert not (tmp_path / "g.edge").exists()
