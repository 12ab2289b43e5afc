"""Strings: Python, onnxruntime, interpreter and compiled code agree on drawn texts; what they cannot is refused by name."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings, strategies as st

from edgec import interpret
from edgec.cli.runs import run_compiled
from edgec.compiler import compile
from edgec.errors import CompileError
from edgec.graph import Graph, constant, graph_input
from edgec.graph_text import load_graph, parse_graph, print_graph, save_graph
from edgec.onnx.specialise import load_for
from edgec.ops.gather import Gather
from edgec.ops.joining import Concat, Expand, Tile
from edgec.ops.reshape import Reshape, Transpose
from edgec.ops.slicing import Slice
from edgec.ops.text import RegexFullMatch, StringConcat
from edgec.ops.text_bytes import TextCase, TextJoin, TextPieces, TextPlace
from edgec.text_slots import as_text, from_slots, to_slots
from edgec.types import TensorType, string, u8

WORDS = st.text("ab- é中\t", max_size=6)


def words(shape, letters=WORDS):
    """Object arrays of text."""
    count = int(np.prod(shape))
    return st.lists(letters, min_size=count, max_size=count).map(lambda found: as_text(found, shape))


def node_model(name, arrays, outputs, domain="", version=21, **attributes):
    """A model of one node."""
    node = onnx.helper.make_node(name, list(arrays), outputs, domain=domain, **attributes)
    inputs = [onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in arrays.items()]
    graph = onnx.helper.make_graph([node], "one", inputs, [onnx.ValueInfoProto(name=o) for o in outputs])
    imports = [onnx.helper.make_opsetid("", version)] + ([onnx.helper.make_opsetid(domain, 4)] if domain else [])
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()


def check(name, arrays, outputs=("z",), peer=True, **attributes):
    """Interpreter == compiled (and == onnxruntime); what they give."""
    model = node_model(name, arrays, list(outputs), **attributes)
    graph = load_for(model, arrays)
    found = interpret(graph, arrays)
    compiled = run_compiled(graph, arrays, optimize="0", workers=0)
    others = [compiled]
    if peer:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        others.append(dict(zip(outputs, session.run(None, arrays))))
    for key in outputs:
        for other in others:
            ours = found[key].astype(str) if found[key].dtype.kind == "O" else found[key]
            theirs = other[key].astype(str) if other[key].dtype.kind == "O" else other[key]
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype.kind == theirs.dtype.kind
    return found


@settings(max_examples=4, deadline=None)
@given(words((2, 3)), words((3,)))
def test_concat_equal_and_where(x, y):
    both = check("StringConcat", {"x": x, "y": y})["z"]
    assert both.tolist() == (x + y).tolist()
    check("Equal", {"x": x, "y": y})
    check("Where", {"c": np.array([True, False, True]), "x": x, "y": y})


@settings(max_examples=8, deadline=None)
@given(words((2, 2)), st.sampled_from(("-", "aa", "é", "中-", "aba", None)), st.sampled_from((None, 0, 1, 2)))
def test_split(x, delimiter, most):
    given_ = {k: v for k, v in {"delimiter": delimiter, "maxsplit": most}.items() if v is not None}
    found = check("StringSplit", {"x": x}, ("y", "n"), peer=False, **given_)
    for word, row, count in zip(x.ravel(), found["y"].reshape(4, -1), found["n"].ravel()):
        pieces = word.split(delimiter, -1 if most is None else most)
        assert row[:count].tolist() == pieces and not any(row[count:])


@settings(max_examples=5, deadline=None)
@given(words((4,), st.sampled_from(("a", "B", "b", "Ä", "ä", "яЯ", "", "ab", "Ấn"))), st.sampled_from(("NONE", "LOWER", "UPPER")),
       st.booleans(), st.booleans())
def test_normalizer(x, action, sensitive, flat):
    given_ = {"case_change_action": action, "is_case_sensitive": int(sensitive)}
    x = x if flat else x[None]
    check("StringNormalizer", {"x": x}, peer=False, **given_)
    found = check("StringNormalizer", {"x": x}, peer=False, stopwords=["b", "Ä", "яя"], **given_)["z"].ravel().tolist()
    stops = {"b", "Ä", "яя"} if sensitive else {"b", "ä", "яя"}
    left = [w for w in x.ravel() if (w if sensitive else w.lower()) not in stops]
    assert found == [{"NONE": w, "LOWER": w.lower(), "UPPER": w.upper()}[action] for w in left or [""]]


@settings(max_examples=4, deadline=None)
@given(words((5,), st.sampled_from(("a", "bb", "c", "", "é"))))
def test_lookups(x):
    label = {"domain": "ai.onnx.ml", "keys_strings": ["a", "é", "bb", "a", "longer than any"]}
    check("LabelEncoder", {"x": x}, values_int64s=[3, 4, 5, 6, 7], default_int64=-9, **label)
    check("LabelEncoder", {"x": x}, values_floats=[3.5, 4, 5, 6, 7], **label)
    check("LabelEncoder", {"x": x}, values_strings=["x", "", "é中", "y", "z"], default_string="nothing at all", **label)
    numbers = np.array([len(w) for w in x])
    check("LabelEncoder", {"x": numbers}, domain="ai.onnx.ml", keys_int64s=[0, 2], values_strings=["none", "二"])
    check("CategoryMapper", {"x": x}, domain="ai.onnx.ml", cats_int64s=[7, 8], cats_strings=["a", "é"], default_int64=5)
    check("CategoryMapper", {"x": numbers}, domain="ai.onnx.ml", cats_int64s=[1, 2], cats_strings=["a", "é"], default_string="?")
    check("OneHotEncoder", {"x": x}, domain="ai.onnx.ml", cats_strings=["a", "é", "zz"], zeros=1)


@settings(max_examples=4, deadline=None)
@given(words((2, 5), st.sampled_from(("a", "bb", "c", "é"))), st.sampled_from(("TF", "IDF", "TFIDF")), st.integers(0, 2))
def test_n_grams(x, mode, skips):
    check("TfIdfVectorizer", {"x": x}, mode=mode, min_gram_length=1, max_gram_length=2, max_skip_count=skips, ngram_counts=[0, 3],
          ngram_indexes=[0, 1, 2, 3, 4], pool_strings=["a", "bb", "é", "a", "bb", "bb", "bb"], weights=[1.0, 2.0, 0.5, 3.0, 1.5])


@settings(max_examples=4, deadline=None)
@given(words((2, 2), st.text("ab@.c", max_size=9)))
def test_regular_expressions(x):
    for pattern in (r"\w+@\w+\.c", "(a|b)*abb", "a?", r".*\b.*"):
        check("RegexFullMatch", {"x": x}, pattern=pattern)


@settings(max_examples=3, deadline=None)
@given(words((2, 3)))
def test_operators_that_move(x):
    value = graph_input("x", TensorType(string, (2, 3)))
    other = constant(np.array([["p", "longer"], ["", "é"]]))
    results = [Concat((value, other), axis=1).output, Transpose(value).output, Gather(value, constant(np.array([1, 0])), axis=1).output,
               Reshape(value, constant(np.array([3, 2]))).output, Expand(value, constant(np.array([2, 2, 3]))).output,
               Slice(value, constant(np.array([1])), constant(np.array([3])), constant(np.array([1]))).output,
               Tile(value, constant(np.array([1, 2]))).output]
    graph = Graph((value,), tuple(results), tuple(f"y{n}" for n in range(len(results))))
    found, compiled = interpret(graph, {"x": x}), run_compiled(graph, {"x": x}, optimize="0", workers=0)
    for name in found:
        assert found[name].tolist() == compiled[name].tolist(), name


@settings(max_examples=3, deadline=None)
@given(words((7,), st.sampled_from(("a", "b", "ab", "é", ""))), st.integers(0, 1))
def test_unique(x, ordered):
    check("Unique", {"x": x}, ("y", "first", "inverse", "counts"), peer=False, sorted=ordered)
    check("Unique", {"x": x[:6].reshape(3, 2)}, ("y", "first", "inverse", "counts"), peer=False, sorted=ordered, axis=0)
    found = interpret(load_for(node_model("Unique", {"x": x}, ["z"], sorted=1), {"x": x}), {"x": x})["z"]
    assert found.tolist() == sorted(set(x.tolist()))


@settings(max_examples=5, deadline=None)
@given(words((3,)), words((2,)), st.booleans())
def test_formulas_on_bytes_are_their_references(x, keys, upper):
    slots = to_slots(x, 20)
    value = graph_input("x", TensorType(u8, (3, 20)))
    marks = np.random.default_rng(len(x[0])).integers(0, 4, (3, 20)).astype(np.int32)
    ends = np.roll(marks, 3, 1)
    results = [TextPlace(value, constant(to_slots(keys, 20))).output, TextJoin(value, constant(to_slots(keys[:1], 24))).output,
               TextCase(value, upper=int(upper)).output]
    once = np.where(np.cumsum(marks == marks.max(1, keepdims=True), 1) == 1, marks, 0).astype(np.int32)
    results.append(TextPieces(value, constant(once), constant(np.where(once.any(), np.roll(once, 3, 1), ends)), pieces=4).output)
    graph = Graph((value,), tuple(results), ("place", "join", "case", "pieces"))
    found, compiled = interpret(graph, {"x": slots}), compile(graph, optimize="0", workers=0).run({"x": slots})
    for name in found:
        np.testing.assert_array_equal(found[name], compiled[name], name)


def test_an_open_dimension():
    model = node_model("StringConcat", {"x": as_text(["a"], (1,)), "y": as_text(["b"], (1,))}, ["z"])
    proto = onnx.load_from_string(model)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    artifact = compile(proto, bind={"n": "1..8"}, string_bytes=5, workers=0)
    for count in (1, 3, 8):
        found = artifact.run({"x": np.array(["é"] * count), "y": np.array(["hello"])})["z"]
        assert found.tolist() == ["éhello"] * count


def test_the_interface_says_how_a_slot_looks():
    model = node_model("StringConcat", {"x": as_text(["a"], (1,)), "y": as_text(["b"], (1,))}, ["z"])
    artifact = compile(model, string_bytes=12, workers=0)
    assert "slots of 12 bytes, UTF-8" in artifact.header and "STRING_BYTES 24" in artifact.header
    assert [p.get("string_bytes") for p in (*artifact.manifest["inputs"], *artifact.manifest["outputs"])] == [12, 12, 24]
    raw = {"x": to_slots(np.array(["ab"]), 12), "y": to_slots(np.array(["é"]), 12)}
    assert from_slots(artifact.loaded.run(raw)["z"]).tolist() == ["abé"]
    with pytest.raises(CompileError, match="needs 13 bytes, a slot has 12(?s:.*)--string-bytes 13"):
        artifact.run({"x": np.array(["a" * 13]), "y": np.array([""])})
    with pytest.raises(CompileError, match="zero byte"):
        artifact.run({"x": np.array(["a\0b"]), "y": np.array([""])})
    for size in (0, 1 << 21):
        with pytest.raises(CompileError, match=f"{size} bytes for a string"):
            compile(model, string_bytes=size, workers=0)


def test_slots_there_and_back():
    given_ = as_text(["", "a", "é中", "x" * 9], (2, 2))
    assert from_slots(to_slots(given_, 9)).tolist() == given_.tolist()
    assert from_slots(np.frombuffer("é".encode()[:1], np.uint8)[None]).tolist() == ["\ufffd"]


def test_text_of_graphs(tmp_path):
    value = graph_input("x", TensorType(string, (2,)))
    many = constant(as_text([f"word {n}" for n in range(40)], (40,)), "words")
    graph = Graph((value,), (StringConcat(value, constant(np.array(["a\"b", "é"]))).output, Concat((value, many), axis=0).output,
                             RegexFullMatch(value, pattern=r"a\d").output), ("y", "z", "w"))
    text, arrays = print_graph(graph)
    assert print_graph(parse_graph(text, arrays))[0] == text
    save_graph(graph, tmp_path / "graph.edge")
    assert print_graph(load_graph(tmp_path / "graph.edge"))[0] == text


def test_what_is_refused():
    x = as_text(["a b", "c"], (2,))
    model = node_model("StringSplit", {"x": x}, ["y", "n"])
    with pytest.raises(CompileError, match="number of pieces of %x is not known"):
        compile(model, workers=0)
    with pytest.raises(CompileError, match="Cast"):
        compile(node_model("Cast", {"x": x}, ["z"], to=1), workers=0)
