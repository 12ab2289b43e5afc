"""Files of measured schedules: read back as written, used where they fit, refused where they do not."""

from dataclasses import replace

import numpy as np
import pytest

from edgec.backends.target import find
from edgec.compiler import compile, lower
from edgec.edge_file import read_graph
from edgec.errors import ModelError
from edgec.loops_text import print_loops
from edgec.passes.candidates import candidates
from edgec.passes.schedule_text import print_schedule
from edgec.passes.tile import tile
from edgec.schedules import ESTIMATED, Entry, Schedules, kernel_digest, parse_schedules, read_schedules
from edgec.testing.graphs import whole_inputs

NATIVE = find("native")
TEXT = """graph g(%x: f32[40,64]) -> (%y) {
  @w: f32[64,48]
  %a = MatMul(%x, @w) : f32[40,48]
  %y = Softmax(%a) : f32[40,48]
}"""


def entries(choose=lambda number, found: found[number % len(found)]):
    """Some candidate of every nest, by kernel."""
    program, found = lower(read_graph(TEXT, "test"), NATIVE), Schedules()
    for kernel in program.steps:
        plans = []

        def note(nest, machine):
            some = candidates(nest, machine)
            plans.append(print_schedule(nest, choose(len(plans) + 3, some)))
            return some[0]

        tile(kernel, NATIVE, choose=note)
        key = kernel_digest(kernel, NATIVE)
        found = found.with_entry(Entry(key, "native", 3.15e-5, 2.5e-5, 41, f"layer/{kernel.name} 1", tuple(plans)))
    return program, found


def test_files_are_read_back():
    _, found = entries()
    again = parse_schedules(found.text())
    assert again.entries == found.entries and again.text() == found.text() and len(again.entries) == 2
    assert again.text().count("\nkernel ") == 2 and "31.5 -> 25.0 us, 41 tried, layer/a 1\n" in again.text()


def test_they_are_used():
    program, found = entries()
    assert found.used(program.steps, NATIVE) == 2 and found.used(program.steps, find("x86-64-v3")) == 0
    for kernel in program.steps:
        usual, other = (print_loops(tile(kernel, NATIVE, choose=s.choose(kernel, NATIVE)).loops) for s in (Schedules(), found))
        assert usual != other
        same = Schedules({k: replace(e, plans=(ESTIMATED,) * len(e.plans)) for k, e in found.entries.items()})
        assert print_loops(tile(kernel, NATIVE, choose=same.choose(kernel, NATIVE)).loops) == usual


def test_compiling_with_them_computes_the_same(tmp_path):
    graph, (_, found) = read_graph(TEXT, "test"), entries()
    (tmp_path / "g.tune.edge").write_text(found.text())
    usual, tuned = (compile(graph, optimize="1", schedules=s, cache=tmp_path / "cache") for s in (None, tmp_path / "g.tune.edge"))
    assert usual.object != tuned.object
    assert compile(graph, optimize="1", schedules=found, cache=tmp_path / "cache").object == tuned.object
    assert compile(graph, optimize="1", cache=tmp_path / "cache").object == usual.object
    arrays = whole_inputs(graph)
    np.testing.assert_allclose(tuned.run(arrays)["y"], usual.run(arrays)["y"], rtol=1e-5)


def test_entries_of_other_kernels_are_not_used(tmp_path):
    graph = read_graph(TEXT, "test")
    others = Schedules({"0" * 24: Entry("0" * 24, "native", 1.0, 1.0, 1, "other", ("nonsense",))})
    assert compile(graph, optimize="1", schedules=others).object == compile(graph, optimize="1").object


@pytest.mark.parametrize("plans, message", [(("vector i9 16",), "there is no axis 'i9'"), ((), "is no part"), (("rows i0 x1000 | outer i1",), "rows must be")])
def test_an_entry_that_does_not_fit_is_refused(plans, message):
    program, found = entries()
    wrong = Schedules({k: replace(e, plans=plans) for k, e in found.entries.items()}, "my.tune.edge")
    with pytest.raises(ModelError) as caught:
        tile(program.steps[0], NATIVE, choose=wrong.choose(program.steps[0], NATIVE))
    assert message in str(caught.value) and str(caught.value).startswith("my.tune.edge: kernel ") and "edgec tune" in str(caught.value)


@pytest.mark.parametrize("text", ["nonsense\n", "  vector i0 16\n", "kernel 12 native 1 -> 1 us, 1 tried, x\n", "# fine\n\nkernel\n"])
def test_what_is_no_file_of_schedules_is_told(text, tmp_path):
    (tmp_path / "f").write_text(text)
    with pytest.raises(ModelError, match=r"f:\d: this is neither a kernel nor a schedule"):
        read_schedules(tmp_path / "f")


def test_files_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, message in (("none", "cannot read the file: No such file"), ("binary", "this is no text file")):
        with pytest.raises(ModelError, match=message):
            read_schedules(tmp_path / name)
