"""The text of graphs: what prints parses back to the very same values."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.dim_text import parse_type
from edgec.errors import CompileError, ModelError
from edgec.expr import maximum, minimum, var
from edgec.graph import Graph, Op, Value, constant, graph_input
from edgec.graph_text import constant_text, load_graph, parse_graph, print_graph, save_graph
from edgec.ops.activation import LeakyRelu, Relu
from edgec.ops.arithmetic import Add, Clip
from edgec.testing.patterns import patterns
from edgec.types import DTYPES, TensorType, f32
from edgec.verifier import verify

N, M = var("n", 1, 8), var("m", 2, 9)


def same(a: Graph, b: Graph) -> bool:
    return (a.inputs, a.outputs, a.output_names, a.name) == (b.inputs, b.outputs, b.output_names, b.name)


@settings(max_examples=60, deadline=None)
@given(patterns(symbolic=True) | patterns())
def test_parse_of_print_is_the_same_graph(graph):
    text, arrays = print_graph(graph)
    again = parse_graph(text, arrays)
    assert same(again, graph)
    assert print_graph(again)[0] == text


@given(st.integers(0, 3).flatmap(lambda rank: st.tuples(*[st.integers(0, 3)] * rank)), st.sampled_from(sorted(set(DTYPES) - {"index"})),
       st.randoms(use_true_random=False))
def test_small_constants_are_exact(shape, dtype, random):
    if int(np.prod(shape)) > 16:
        return
    array = np.frombuffer(random.randbytes(int(np.prod(shape)) * DTYPES[dtype].bytes), np.uint8)
    array = (array & 1).astype(bool).reshape(shape) if dtype == "bool" else array.view(DTYPES[dtype].numpy).reshape(shape)
    value = constant(array)
    graph = Graph((), (value,), ("y",))
    assert parse_graph(*print_graph(graph)).outputs[0] is value


def test_a_nan_that_text_would_change_is_written_beside():
    odd = np.array([0x7FC00001], np.uint32).view(np.float32)
    assert constant_text(odd) is None and constant_text(np.float32([np.nan, np.inf, -np.inf])) == "f32[3]{nan,inf,-inf}"


def test_names_are_told_apart():
    x = graph_input("x", TensorType(f32, (2,)))
    first = LeakyRelu(x, alpha=0.123, _name="odd name").output
    second = Add(first, x, _name="odd name").output
    graph = Graph((x,), (second, first), ("1", "two words"))
    text, arrays = print_graph(graph)
    assert '%"odd name" = ' in text and '%"odd name.1" = ' in text and '"1"=' in text
    assert same(parse_graph(text, arrays), graph)


def test_absent_operands():
    x = graph_input("x", TensorType(f32, (2,)))
    for op in (Clip(x), Clip(x, None, constant(np.float32(1))), Clip(x, constant(np.float32(1)))):
        graph = Graph((x,), (op.output,), ("y",))
        assert same(parse_graph(*print_graph(graph)), graph)
    assert "Clip(%x, _, f32[]{1.0})" in print_graph(Graph((x,), (Clip(x, None, constant(np.float32(1))).output,), ("y",)))[0]


@pytest.mark.parametrize("dim", [N, N + 1, N * 3 - 1, N * M, (N + M) // 2, minimum(N, 4), maximum(N + M, 9), N % 3, -1 + M])
def test_dimensions(dim):
    x, z = graph_input("x", TensorType(f32, (N, M))), graph_input("z", TensorType(f32, (dim,)))
    graph = Graph((x, z), (x, z), ("x", "z"))
    assert same(parse_graph(*print_graph(graph)), graph)


@pytest.mark.parametrize("text", ["f32[", "f32[2", "f33[2]", "f32[2.5]", "f32[n]", "f32[n<8]", "f32[__import__('os')]", "f32[n<=8,n<=9]",
                                  "f32['2']", "f32[(2,3)]", "f32[1//0]", "f32[" + "(" * 3000 + "]"])
def test_types_that_are_none(text):
    with pytest.raises(ModelError):
        parse_type(text, {})


class Held(Op):
    """An operator with every kind of attribute."""

    x: Value
    many: tuple[Value | None, ...] = ()
    last: Value | None = None
    body: Graph
    table: np.ndarray
    number: float = 0.5
    words: tuple[str, ...] = ()
    flag: bool = False
    maybe: int | None = 3

    def infer(self):
        return self.x.type


def test_every_kind_of_attribute(monkeypatch):
    from edgec import graph_parser
    monkeypatch.setitem(graph_parser.OPERATORS, ("", "Held"), Held)
    x, inner = graph_input("x", TensorType(f32, (2,))), graph_input("x", TensorType(f32, (2,)), tag=3)
    body = Graph((inner,), (Relu(inner).output,), ("r",), "body")
    table = np.arange(100, dtype=np.int32)
    op = Held(x, (x, None, x), None, body, table, number=1e-5, words=("a b", '"'), flag=True, maybe=None)
    text, arrays = print_graph(Graph((x,), (op.output,), ("y",)))
    assert "body=graph body(%x#3: f32[2]) -> (r=%relu) {" in text and "[%x, _, %x]" in text
    made = parse_graph(text, arrays).outputs[0].op
    assert (made.number, made.words, made.flag, made.maybe, made.many) == (1e-5, ("a b", '"'), True, None, (x, None, x))
    assert made.body.outputs == body.outputs and np.array_equal(made.table, table)
    assert print_graph(parse_graph(text, arrays))[0] == text


def test_files(tmp_path):
    x = graph_input("x", TensorType(f32, (40,)))
    wide = constant(np.arange(40, dtype=np.float32))
    brain = constant(np.arange(40).astype(ml_dtypes.bfloat16))
    graph = Graph((x,), (Add(x, wide).output, brain), ("y", "b"))
    save_graph(graph, tmp_path / "g.edge")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g.edge", "g.npz"]
    assert same(load_graph(tmp_path / "g.edge"), graph)
    with pytest.raises(ModelError, match="cannot read"):
        load_graph(tmp_path / "none.edge")


def test_constants_that_do_not_fit():
    text = "graph g() -> (y=@w) {\n  @w: f32[2]\n}"
    with pytest.raises(ModelError, match="@w is not given"):
        parse_graph(text)
    with pytest.raises(ModelError, match="declared f32\\[2\\], given is float32\\[3\\]"):
        parse_graph(text, {"w": np.zeros(3, np.float32)})


@given(st.text(alphabet='graph(%x: f32[2]) -> {}=,"#@_y<1\n', max_size=60))
def test_any_text_is_a_graph_or_an_error(text):
    try:
        parse_graph(text)
    except ModelError:
        pass


@settings(max_examples=100, deadline=None)
@given(patterns(steps=3), st.data())
def test_damaged_text_is_a_graph_or_an_error(graph, data):
    text, arrays = print_graph(graph)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 9)))
    damage = data.draw(st.sampled_from(["", "%", ")", "}", "9", '"', " x"]))
    try:
        made = parse_graph(text[:start] + damage + text[end:], arrays)
    except CompileError:
        return
    assert not any("may have" in str(problem) for problem in verify(made))
