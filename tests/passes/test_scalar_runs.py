"""Neighbouring scalars of a window come as vectors and are taken by lane: nothing else is read, and the sums stay what they were."""

import numpy as np
import pytest

from edgec.backends.emulate import missing_tools
from edgec.backends.target import all_targets, find
from edgec.compiler import lower
from edgec.expr import mul_add
from edgec.graph_parser import parse_graph
from edgec.loops import For, Let, Param, Register, Store, expressions, get, load, statements
from edgec.passes.scalar_runs import scalar_runs, vectors
from edgec.passes.tile import tile
from edgec.sweeps import walk
from edgec.testing.emulated import assert_exact
from edgec.types import f32

ARM = find("aarch64")
BY_LANE = [t for t in all_targets() if t.scalar_operand == "lane"]
# Channels, outputs, side, kernel, stride: rows that overlap and rows that do not, one scalar left over, sums cut at every border.
SIZES = [(3, 16, 9, 3, 2), (3, 32, 12, 3, 1), (3, 17, 15, 7, 2), (1, 16, 5, 5, 1), (2, 8, 7, 2, 2), (3, 16, 11, 3, 3), (4, 20, 6, 1, 1)]


def first_layer(channels: int, outputs: int, side: int, kernel: int, stride: int):
    rng, pad, out = np.random.default_rng(kernel), kernel // 2, (side + 2 * (kernel // 2) - kernel) // stride + 1
    weights = {"w": rng.integers(-4, 5, (outputs, channels, kernel, kernel)), "b": rng.integers(-9, 9, outputs)}
    return parse_graph(f"""graph g(%x: f32[1,{channels},{side},{side}]) -> (%y) {{
      @w: f32[{outputs},{channels},{kernel},{kernel}]
      @b: f32[{outputs}]
      %y = Conv(%x, @w, @b) pads=[{pad},{pad},{pad},{pad}] strides=[{stride},{stride}] : f32[1,{outputs},{out},{out}]
    }}""", {name: array.astype(np.float32) for name, array in weights.items()})


def sums(places: list[int], lanes: int = 4) -> list[Let]:
    x, w = Param("x", f32, 100), Param("w", f32, 4, constant=True)
    registers = [Register(f"acc{n}", f32, lanes) for n in range(len(places))]
    return [Let(r, mul_add(load(x, at), load(w, 0, lanes), get(r))) for r, at in zip(registers, places)]


def loads(body) -> set[tuple[int, int]]:
    """(place, lanes) of what is read of x."""
    found = [n for s in statements(body) for e in expressions(s) for n in walk(e) if n.op == "load" and n.data[0].name == "x"]
    return {(n.args[0].data, n.lanes) for n in found}


@pytest.mark.parametrize("places, expected", [
    ([0, 1, 2, 3], [(0, 4)]), (list(range(9)), [(0, 4), (4, 4)]), (list(range(7)), [(0, 4), (3, 4)]), ([5, 6], [(5, 2)]), ([5], []),
    ([0, 1, 2], [(0, 2)]), ([0, 2, 4, 6], []), ([0, 1, 7, 8, 9, 10], [(0, 2), (7, 4)])], ids=str)
def test_vectors_bring_runs_and_nothing_else(places, expected):
    assert list(vectors(places, 4)) == expected
    assert {start + n for start, size in expected for n in range(size)} <= set(places)


def test_neighbours_become_lanes_of_few_vectors():
    assert loads(scalar_runs(sums(list(range(9))), ARM)) == {(0, 4), (4, 4), (8, 1)}


@pytest.mark.parametrize("body, target", [(sums([0, 2, 4]), ARM), (sums([0, 1, 2, 3], 1), ARM), (sums([0, 1, 2, 3]), find("x86-64-v3"))],
                         ids=["apart", "scalar sums", "scalars come from memory"])
def test_what_stays(body, target):
    assert scalar_runs(body, target) == body


def test_a_store_between_sums_parts_their_loads():
    body = sums([0, 1, 2, 3])
    store = Store(Param("y", f32, 4, writable=True), load(Param("i", f32, 1), 0).args[0], get(body[0].register))
    assert loads(scalar_runs([*body[:2], store, *body[2:]], ARM)) == {(0, 2), (2, 2)}


def test_the_first_layer_reads_vectors_in_its_loops():
    loops = [tile(k, ARM).loops for k in lower(first_layer(3, 16, 9, 3, 2), ARM).steps]
    inner = [s for each in loops for s in statements(each.body) if isinstance(s, For) and not any(isinstance(x, For) for x in s.body)]
    found = {n.lanes for s in inner for x in s.body for e in expressions(x) for n in walk(e) if n.op == "load" and not n.data[0].constant}
    assert 4 in found


@pytest.mark.parametrize("target", BY_LANE, ids=lambda t: t.name)
def test_sums_are_exact_at_every_extent(target):
    assert not missing_tools(target)
    for sizes in SIZES:
        assert_exact(first_layer(*sizes), target, winograd=False)
