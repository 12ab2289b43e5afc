"""The build that reads the clock: the same results, a time for every kernel, loops and all."""

import numpy as np

from edgec.backends.native import Loaded
from edgec.backends.steps import CallStep, LoopStep, Place, calls_of
from edgec.backends.target import find
from edgec.backends.trace import TICK, Log, traced
from edgec.compiler import lower
from edgec.edge_file import read_graph
from edgec.emission import emit
from edgec.testing.graphs import whole_inputs

NATIVE = find("native")
TEXT = """graph g(%x: f32[32,48]) -> (%y) {
  @w: f32[48,64]
  @v: f32[64,8]
  %a = MatMul(%x, @w) : f32[32,64]
  %b = Softmax(%a) : f32[32,64]
  %y = MatMul(%b, @v) : f32[32,8]
}"""


def test_the_clock_is_read_before_the_first_call_and_after_each():
    a, b, c = (CallStep(n, (Place("arena", 0),)) for n in "abc")
    steps = traced([a, LoopStep("t", 3, False, (b, c))])
    assert [s.symbol for s in calls_of(steps)] == [TICK, "a", TICK, "b", TICK, "c", TICK]
    slots = [s.places[1].number for s in calls_of(steps) if s.symbol == TICK]
    assert np.diff(slots).tolist() == [8, 8, 8] and isinstance(steps[-1], LoopStep)


def test_a_traced_build_computes_the_same_and_times_every_kernel():
    graph = read_graph(TEXT, "test")
    program, arrays = lower(graph, NATIVE), whole_inputs(graph)
    usual, timed = (emit(program, NATIVE, "g", "1", trace=trace) for trace in (False, True))
    log = Log(len(program.steps))
    with Loaded(timed.object, timed.interface) as model:
        model.set_state(log.address)
        found = model.run(arrays)
        log.clear()
        model.call()
        once = log.seconds.copy()
        for _ in range(20):
            model.call()
        many = log.seconds
    for name, array in usual.run(arrays).items():
        np.testing.assert_array_equal(found[name], array)
    assert once.shape == (len(program.steps),) and (once > 0).all() and (many > once).all()


def test_the_usual_build_has_no_clock():
    program = lower(read_graph(TEXT, "test"), NATIVE)
    assert TICK.encode() not in emit(program, NATIVE, "g", "1").object
    assert TICK.encode() in emit(program, NATIVE, "g", "1", trace=True).object
