"""Pipelines: text, options, constraints, hooks and passes from a user's file."""

from __future__ import annotations

import numpy as np
import pytest

from edgec import graph_pass
from edgec.errors import Internal, ModelError
from edgec.graph import Graph, graph_input
from edgec.graph_text import load_graph
from edgec.ops.activation import Relu
from edgec.ops.comparison import Identity
from edgec.pipeline import (
    dump_hook,
    insert_passes,
    load_passes,
    order_problems,
    parse_pipeline,
    passes_in,
    print_pipeline,
    registered,
    run_pipeline,
    time_hook,
    verify_hook,
)
from edgec.types import TensorType, f32

X = graph_input("x", TensorType(f32, (2,)))
GRAPH = Graph((X,), (Relu(Identity(X).output).output,), ("y",))


@graph_pass("first", before={"second": "it is the first"})
def first(graph, *, flag=False, count=3, ratio=0.5, mode="plain", any=None):
    """Changes nothing."""
    return graph


@graph_pass("second", after=["first"])
def second(graph, target, *, depth=1):
    """Changes nothing, but looks at the target."""
    assert target == "cpu"
    return graph


PASSES = {"first": first, "second": second}


def test_text_and_options():
    text = "first{flag=true,count=7,ratio=0.25,mode=fast,any=[1, 2]},second,first"
    with pytest.raises(ModelError):
        parse_pipeline(text, PASSES)  # a list holds a comma
    steps = parse_pipeline(" first{ flag , count=7,ratio=0.25 ,mode=fast,any=none-such} , second,first", PASSES)
    assert dict(steps[0].options) == {"flag": True, "count": 7, "ratio": 0.25, "mode": "fast", "any": "none-such"}
    assert print_pipeline(steps) == "first{flag=true,count=7,ratio=0.25,mode=fast,any=none-such},second,first"
    assert parse_pipeline(print_pipeline(steps), PASSES) == steps and parse_pipeline("", PASSES) == []


@pytest.mark.parametrize("text, expected", [
    ("third", "there is no pass 'third'"), ("first,", "cannot read"), ("first second", "cannot read"), ("first{count=x}", "cannot be 'x'"),
    ("first{flag=maybe}", "cannot be 'maybe'"), ("first{size=3}", "no option 'size'"), ("first{count=1,count=2}", "given twice"),
    ("first{count=1", "cannot read"), (",first", "cannot read"), ("first{count}", "cannot be 'true'"),
])
def test_bad_text(text, expected):
    with pytest.raises(ModelError, match=expected):
        parse_pipeline(text, PASSES)


def test_passes_know_their_options_and_meaning():
    assert dict(second.options) == {"depth": 1} and second.takes_target and not first.takes_target
    assert first.meaning == "Changes nothing."


def test_every_registered_pass_is_named_as_its_file_and_function():
    assert {"fold-constants", "simplify", "decompose"} <= registered().keys()
    for name, found in registered().items():
        assert found.function.__module__ == f"edgec.passes.{name.replace('-', '_')}" and found.function.__name__ == name.replace("-", "_")
        assert "\n" not in found.meaning and found.meaning.endswith(".")


def test_order():
    wrong = parse_pipeline("second,first", PASSES)
    assert order_problems(wrong) == ["second must come after first", "first must come before second: it is the first"]
    assert order_problems(parse_pipeline("first,second,first", PASSES)) == []
    assert order_problems(parse_pipeline("second", PASSES)) == []


def test_custom_passes_find_their_place():
    early, late = graph_pass("early", before=["first"])(lambda graph: graph), graph_pass("late", after=["second"])(lambda graph: graph)
    between = graph_pass("between", after=["first"], before=["second"])(lambda graph: graph)
    steps = insert_passes(parse_pipeline("first,second", PASSES), [late, between, early])
    assert print_pipeline(steps) == "early,first,between,second,late"
    impossible = graph_pass("impossible", after=["second"], before=["first"])(lambda graph: graph)
    with pytest.raises(ModelError, match="impossible must come after second"):
        insert_passes(parse_pipeline("first,second", PASSES), [impossible])
    one, two = graph_pass("one", before=["two"])(lambda g: g), graph_pass("two", before=["one"])(lambda g: g)
    with pytest.raises(ModelError, match="contradict"):
        insert_passes([], [one, two])


def test_hooks(tmp_path):
    times = []
    steps = parse_pipeline("fold-constants,simplify", registered())
    result = run_pipeline(GRAPH, steps, hooks=(verify_hook, dump_hook(tmp_path), time_hook(times)))
    assert result.outputs == (Relu(X).output,)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01-fold-constants.edge", "02-simplify.edge"]
    assert load_graph(tmp_path / "01-fold-constants.edge").outputs == GRAPH.outputs
    assert [name for name, _ in times] == ["fold-constants", "simplify"] and all(t >= 0 for _, t in times)


def test_targets_are_handed_on():
    assert run_pipeline(GRAPH, parse_pipeline("first,second", PASSES), target="cpu") is GRAPH


def test_errors_name_the_step():
    @graph_pass("breaking")
    def breaking(graph, *, hard=True):
        """Returns a graph whose outputs have no names."""
        return Graph(graph.inputs, graph.outputs, ())
    with pytest.raises(Internal, match="in pass breaking\\{hard=false\\}"):
        run_pipeline(GRAPH, parse_pipeline("breaking{hard=false}", {"breaking": breaking}), hooks=(verify_hook,))


CUSTOM = '''
import edgec
from edgec.ops.activation import Relu

@edgec.rule
def no_relu(op: Relu):
    """relu(x)  ->  x"""
    return op.x

@edgec.graph_pass("no-relu", before=["simplify"])
def no_relu_pass(graph):
    """Drops every relu."""
    return edgec.rewrite(graph, no_relu)
'''


def test_passes_from_a_file(tmp_path):
    path = tmp_path / "my_passes.py"
    path.write_text(CUSTOM)
    steps = insert_passes(parse_pipeline("fold-constants,simplify", registered()), load_passes(path))
    assert print_pipeline(steps) == "fold-constants,no-relu,simplify"
    assert run_pipeline(GRAPH, steps).outputs == (X,)


@pytest.mark.parametrize("text, expected", [("x = 1\n", "defines no pass"), ("1/0\n", "ZeroDivisionError"), ("def (\n", "SyntaxError")])
def test_files_without_passes(tmp_path, text, expected):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(ModelError, match=expected):
        load_passes(tmp_path / "bad.py")


def test_missing_files(tmp_path):
    for name in ("none.py", "none.txt", ""):
        with pytest.raises(ModelError, match="cannot load passes"):
            load_passes(tmp_path / name)


def test_imported_passes_are_not_the_modules_own():
    from edgec.passes import simplify as module
    assert [p.name for p in passes_in(module)] == ["simplify"]
    assert passes_in(np) == []
