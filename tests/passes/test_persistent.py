"""What is kept between calls: stored in place where that is safe, copied where it is not, and the same numbers either way."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings, strategies as st

from edgec.accesses import buffer_reads
from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import interpret
from edgec.ops.arithmetic import Add, Mul, Neg
from edgec.ops.joining import Concat
from edgec.ops.matmul import MatMul
from edgec.ops.reshape import Transpose
from edgec.ops.scatter import ScatterND, TensorScatter
from edgec.ops.slicing import Slice
from edgec.persistent_state import stepped, with_state
from edgec.program_interpreter import run_program
from edgec.program_parser import parse_program
from edgec.program_text import constants, print_program
from edgec.testing.graphs import graphs, whole_inputs
from edgec.types import TensorType, f32, i64

TARGET = find("cortex-m4")


def numbers(*values):
    return constant(np.array(values, np.int64))


def placed(graph, **pairs):
    return lower(optimise_graph(with_state(graph, pairs), TARGET), TARGET)


def assert_steps(graph, pairs, samples):
    """The placed program, its memory shared as planned, gives what the interpreter gives with outputs fed back."""
    graph = with_state(graph, pairs)
    program = lower(optimise_graph(graph, TARGET), TARGET)
    found = stepped(lambda arrays: run_program(program, arrays, arena=True), graph, samples)
    wanted = stepped(lambda arrays: interpret(graph, arrays), graph, samples)
    for ours, theirs in zip(found, wanted):
        for name, array in theirs.items():
            np.testing.assert_array_equal(ours[name], array)


def cache(update):
    """A cache of 8 rows of which a call changes one, and what attention would make of it."""
    past, at = graph_input("past", TensorType(f32, (1, 8, 4))), graph_input("at", TensorType(i64, (1,)))
    row = graph_input("row", TensorType(f32, (1, 1, 4)))
    present = update(past, at, row)
    scores = MatMul(row, Transpose(present, perm=(0, 2, 1)).output).output
    return Graph((past, at, row), (scores, present), ("scores", "present"), "cache")


def tensor_scatter(past, at, row):
    return TensorScatter(past, row, at, axis=1, mode="circular").output


def scatter_nd(past, at, row):
    from edgec.ops.reshape import Reshape
    place = Concat((numbers(0), at), axis=0).output
    return ScatterND(past, Reshape(place, numbers(1, 2)).output, Reshape(row, numbers(1, 4)).output).output


def rows(count):
    generator = np.random.default_rng(3)
    return [{"at": np.array([n % 8]), "row": generator.integers(-3, 4, (1, 1, 4)).astype(np.float32)} for n in range(count)]


def test_one_row_of_a_cache_is_written_in_place():
    for update in (tensor_scatter, scatter_nd):
        program = placed(cache(update), past="present")
        stores = [k for k in program.steps for t in k.targets if t.root.name == "past"]
        assert len(stores) == 1 and stores[0].stages[0].target.parent is program.inputs[0]
        assert int(np.prod([a.max_extent for a in (*stores[0].axes, *stores[0].stages[0].axes)])) == 4  # one row, not the cache
        assert_steps(cache(update), {"past": "present"}, rows(11))


def test_a_state_that_is_still_read_is_copied():
    """x @ x' needs all of the old value for each element of the new one."""
    x = graph_input("x", TensorType(f32, (4, 4)))
    graph = Graph((x,), (MatMul(x, Add(x, constant(np.eye(4, dtype=np.float32))).output).output,), ("y",), "square")
    program = placed(graph, x="y")
    writers = [k for k in program.steps if any(t.root.name == "x" for t in k.targets)]
    assert [k.stages[0].value.data.name for k in writers] == ["y.next"]
    x0 = np.arange(16, dtype=np.float32).reshape(4, 4) % 3
    np.testing.assert_array_equal(run_program(program, {"x": x0}, arena=True)["y"], interpret(graph, {"x": x0})["y"])


def test_an_elementwise_state_needs_no_copy():
    h, x = (graph_input(n, TensorType(f32, (3, 5))) for n in "hx")
    new = Add(Mul(h, h).output, x).output
    program = placed(Graph((h, x), (Neg(new).output, new), ("y", "hn"), "step"), h="hn")
    assert program.outputs[1].parent is program.inputs[0]
    assert not any(n.data.name.endswith(".next") for k in program.steps for n in buffer_reads(k))


def test_states_that_change_places():
    """Each new value is the other's old one: nobody may be overwritten before it is read."""
    a, b, x = (graph_input(n, TensorType(f32, (3,))) for n in "abx")
    for outputs in ((b, Add(a, x).output), (Add(b, x).output, a), (x, a), (b, x)):
        graph = Graph((a, b, x), (*outputs, Add(a, b).output), ("an", "bn", "y"), "swap")
        samples = [{"x": np.float32([n, 2 * n, -n])} for n in range(5)]
        assert_steps(graph, {"a": "an", "b": "bn"}, samples)


def test_a_window_that_slides():
    past, x = graph_input("past", TensorType(f32, (6, 2))), graph_input("x", TensorType(f32, (1, 2)))
    kept = Slice(past, numbers(1), numbers(6), numbers(0)).output
    graph = Graph((past, x), (Concat((kept, x), axis=0).output, Neg(past).output), ("window", "y"), "slide")
    assert_steps(graph, {"past": "window"}, [{"x": np.full((1, 2), n, np.float32)} for n in range(9)])


def test_pairs_are_printed_and_read_back():
    for program in (placed(cache(tensor_scatter), past="present"),):
        text = print_program(program)
        assert "keeps past = present" in text
        assert print_program(parse_program(text, constants(program))) == text
    graph = with_state(cache(tensor_scatter), {"past": "present"})
    from edgec.graph_text import parse_graph, print_graph
    assert parse_graph(*print_graph(graph)).states == (("past", "present"),)


@given(graphs(max_steps=4), st.data())
@settings(max_examples=25, deadline=None)
def test_any_graph_keeps_what_it_is_told_to(graph, data):
    """Each input from a value of its type: another input, itself, something made of it, or what the graph computes."""
    known = [v for op in graph.ops for v in op.results]
    made = {v: [v, Neg(v).output, Add(v, v).output, *(w for w in known if w.type == v.type)] for v in graph.inputs}
    new = [data.draw(st.sampled_from(made[v])) for v in graph.inputs]
    names = tuple(f"next{n}" for n in range(len(new)))
    whole = replace(graph, outputs=(*graph.outputs, *new), output_names=(*graph.output_names, *names))
    kept = {v.name: name for v, name in zip(graph.inputs, names) if data.draw(st.booleans())}
    arrays = whole_inputs(graph, 1, 3)
    samples = [arrays, {n: a for n, a in arrays.items() if n not in kept}, {n: a for n, a in arrays.items() if n not in kept}]
    program = lower(optimise_graph(with_state(whole, kept), TARGET), TARGET)
    plain = lower(optimise_graph(whole, TARGET), TARGET)
    found = stepped(lambda given: run_program(program, given, arena=True), with_state(whole, kept), samples)
    wanted = stepped(lambda given: run_program(plain, given), with_state(whole, kept), samples)
    for ours, theirs in zip(found, wanted):
        for name, array in theirs.items():
            assert np.array_equal(ours[name], array, equal_nan=True), name
