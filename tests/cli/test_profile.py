"""`edgec profile`: a row for every kernel, counts and reasons, the page. The times themselves are nobody's business here."""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgec import profile_page as page_module
from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.graph import Constant, Input
from edgec.memory_speed import memory_speed, speed_at
from edgec.onnx.reader import load

QUICK = ("--seconds", "0.01", "--without", "winograd")  # which does with fewer multiplications than the model says


@pytest.fixture
def kernels(digits):
    return lower(optimise_graph(load(digits), find("native")), find("native")).steps


def test_every_kernel_has_a_row(edgec, cache, digits, samples, kernels, tmp_path):
    result = edgec("profile", digits, *QUICK, *cache, "--inputs", samples[0], "--json", tmp_path / "p.json", "--order", "run")
    assert result.status == 0
    lines = result.out.splitlines()
    assert "on native" in lines[0] and f"{len(kernels)} kernels" in lines[0] and "GFLOP/s" in lines[2]
    rows = lines[5:5 + len(kernels)]
    assert [row.split()[0] for row in rows] == [str(n) for n in range(len(kernels))]
    facts = json.loads((tmp_path / "p.json").read_text())
    assert [r["name"] for r in facts["rows"]] == [k.name for k in kernels]
    assert facts["macs"] == 97_088 and all(r["seconds"] > 0 and r["roofline_seconds"] > 0 for r in facts["rows"])
    assert facts["runs"] >= 7 and facts["whole"] > 0 and facts["peak"] > 1e8 and len(facts["levels"]) >= 1
    assert abs(sum(r["seconds"] for r in facts["rows"]) - facts["kernel_seconds"]) < 1e-12


def test_every_node_of_the_model_is_somebodys(edgec, cache, digits, tmp_path):
    edgec("profile", digits, *QUICK, *cache, "--json", tmp_path / "p.json")
    named = {node.split(" (")[0] for row in json.loads((tmp_path / "p.json").read_text())["rows"] for node in row["nodes"]}
    graph = optimise_graph(load(digits), find("native"))
    computed = {op.loc.node for op in graph.ops if not isinstance(op, (Input, Constant))}
    assert len(computed) >= 9 and computed == named


def test_why(edgec, cache, digits):
    result = edgec("profile", digits, *QUICK, *cache, "--why", "--top", "2")
    blocks = result.out.split("\n#")[2:]  # after the head of the table
    assert len(blocks) == 2 and all("from " in b and "vectors along i" in b for b in blocks)


def test_threads(edgec, cache, tmp_path):
    """One large product is cut into parts, the small one is not."""
    model = helper.make_model(helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Softmax", ["a"], ["y"], axis=0)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [512, 400])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [512, 512])],
        [numpy_helper.from_array(np.ones((400, 512), np.float32), "w")]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    result = edgec("profile", tmp_path / "m.onnx", *QUICK, *cache, "--threads", "2", "--why", "--order", "run", "--json", tmp_path / "p.json")
    assert result.status == 0 and "with 2 threads" in result.out
    facts = json.loads((tmp_path / "p.json").read_text())
    assert facts["threads"] == 2 and facts["rows"][0]["parts"] > 1
    assert f"threads share it in {facts['rows'][0]['parts']} parts" in result.out


def test_orders(edgec, cache, digits, tmp_path):
    for order, column in (("time", 2), ("lost", 7)):
        out = edgec("profile", digits, *QUICK, *cache, "--order", order).out.splitlines()
        rows = out[5:out.index(out[4], 5)]
        values = [float(re.split(r"\s{2,}", row.strip())[column].replace(",", "")) for row in rows]
        assert values == sorted(values, reverse=True)


def test_a_target_that_cannot_run_here_gets_counts_only(edgec, cache, digits):
    result = edgec("profile", digits, *QUICK, *cache, "--target", "cortex-m4")
    assert result.status == 0 and "cannot run it" in result.out and "roofline" not in result.out and "97,088" in result.out


def test_open_dimensions_take_the_size_of_the_inputs(edgec, cache, digits_dyn, tmp_path):
    np.savez(tmp_path / "in.npz", image=np.zeros((3, 1, 8, 8), np.float32))
    edgec("profile", digits_dyn, *QUICK, *cache, "--bind", "N=1..8", "--inputs", tmp_path / "in.npz", "--json", tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text())["macs"] == 3 * 97_088


# --------------------------------------------------------------------------------------------------------------------- page

class Balanced(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.seen.append((tag, dict(attributes)))

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("target", ["native", "cortex-m4"])
def test_the_page_stands_alone(edgec, cache, digits, tmp_path, target, kernels):
    result = edgec("profile", digits, *QUICK, *cache, "--target", target, "--html", tmp_path / "p.html")
    assert result.status == 0
    text = (tmp_path / "p.html").read_text()
    parsed = Balanced()
    parsed.feed(text)
    assert not parsed.open
    links = [value for _, attributes in parsed.seen for name, value in attributes.items() if name in ("href", "src", "xlink:href")]
    assert links and all(link.startswith("#k") for link in links) and "http" not in text and "@import" not in text
    ids = {a["id"] for _, a in parsed.seen if "id" in a}
    assert {link[1:] for link in links} <= ids
    body = re.search(r"<tbody>.*</tbody>", text, re.DOTALL).group(0)
    table = ElementTree.fromstring(body)
    assert len(table) == len({link for link in links}) and "97,088" in text and "packed weights" in text
    for drawing in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(drawing)
    assert ('id="timeline"' in text) == (target == "native") and 'id="graph"' in text


def test_names_are_escaped():
    from edgec.kernel_facts import KernelFacts
    from edgec.profile import Profile, Row
    row = Row("<b>&\"k", ("a<b (Conv)",), KernelFacts(1, 2, 3, 4, 5), (), (), ())
    text = page_module.profile_page(Profile("m<x>", "t", (row,)))
    assert "<b>&" not in text and "m&lt;x&gt;" in text and "a&lt;b (Conv)" in text
    ElementTree.fromstring(re.search(r"<tbody>.*</tbody>", text, re.DOTALL).group(0))


def test_a_missing_template_library_is_told(monkeypatch, edgec, cache, digits, tmp_path):
    import sys
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = edgec("profile", digits, *QUICK, *cache, "--html", tmp_path / "p.html")
    assert result.status == 1 and "pip install 'edgec[report]'" in result.err and not (tmp_path / "p.html").exists()


def test_buffers_link_writers_to_later_readers():
    from edgec.kernel_facts import KernelFacts
    from edgec.profile import Row

    def row(reads, writes):
        return Row("k", (), KernelFacts(0, 0, 0, 0, 0), (), tuple(reads), tuple(writes))
    rows = (row("x", "a"), row("a", "b"), row("ab", "a"), row("a", "y"))
    assert page_module._edges(rows) == {(0, 1), (0, 2), (1, 2), (0, 3), (2, 3)}


def test_memory_is_slower_further_out():
    levels = memory_speed(find("native"), 64 << 20)
    assert [level.size for level in levels] == sorted(level.size for level in levels)
    assert all(level.speed > 1e8 for level in levels)
    assert speed_at(levels, 1) == levels[0].speed and speed_at(levels, 1 << 40) == levels[-1].speed
