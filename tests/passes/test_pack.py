"""Packed constants: a table in the order the loops read it, made from any layout, never larger than allowed."""

from dataclasses import replace

import numpy as np
import pytest

from edgec.backends.target import find
from edgec.compiler import lower
from edgec.edge_file import read_graph
from edgec.evaluate import evaluate
from edgec.expr import fresh, read, sum_over
from edgec.kernel import Axis, Buffer, Stage
from edgec.passes.nest import flatten
from edgec.passes.pack import Tables, pack
from edgec.passes.segments import Piece, Segment
from edgec.passes.tile import tile
from edgec.sweeps import walk
from edgec.types import f32

TARGET = find("x86-64-v3")


def convolution(order=(0, 1, 2)):
    """y[o, x] = sum_over(c, p; a[c, x + p] * w[o, c, p]), the weights' axes in any order: (nest, weights, tables, o, c, p)."""
    shape = tuple((20, 3, 5)[axis] for axis in order)
    data = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    w = Buffer("w", f32, shape, "constant", data=data)
    a, y = Buffer("a", f32, (3, 12), "input"), Buffer("y", f32, (20, 8), "output")
    o, x = Axis(fresh("o", 0, 19), 20), Axis(fresh("x", 0, 7), 8)
    value = sum_over(3, 5, lambda c, p: read(a, (c, x.var + p)) * read(w, [(o.var, c, p)[axis] for axis in order]))
    tables = Tables([y, a, w], [y])
    nest = flatten([Stage("y", (), value, y, (o.var, x.var))], (o, x), tables.params)
    return nest, np.transpose(data, np.argsort(order)), tables, nest.axes[0]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize("segment", [Segment(0, 2, Piece((8,), 8)), Segment(16, 1, Piece((4,), 4)), Segment(0, 1, Piece((8, 8), 5)),
                                     Segment(3, 4, Piece((4,), 3))], ids=str)
def test_a_table_holds_what_the_loops_read(order, segment):
    nest, weights, tables, o = convolution(order)
    (node, domain), = nest.domains.items()
    loops = {node: domain.axes[::-1]}
    packed = pack(nest, segment, o, loops, tables)
    (_, body), = ((n, d.body[0]) for n, d in packed.domains.items())
    load = next(n for n in walk(body) if n.op == "load" and n.data[0].constant)
    param = load.data[0]
    table = tables.data(param)
    c, p = domain.axes
    grid = {o.var: np.arange(segment.start, segment.start + segment.count * segment.piece.width).reshape(-1, 1, 1),
            c: np.arange(3).reshape(1, -1, 1), p: np.arange(5).reshape(1, 1, -1)}
    places = evaluate(load.args[0], grid, None)
    first = segment.start
    np.testing.assert_array_equal(table[places], weights[first:first + segment.count * segment.piece.width])
    assert table.size == segment.count * segment.piece.width * 15  # nothing is stored twice, nothing is padding


def test_equal_tables_are_made_once():
    nest, _, tables, o = convolution()
    (node, domain), = nest.domains.items()
    for _ in range(2):
        pack(nest, Segment(0, 2, Piece((8,), 8)), o, {node: domain.axes}, tables)
    assert sum(b.name.startswith("w.packed") for b in tables.params) == 1
    pack(nest, Segment(16, 1, Piece((4,), 4)), o, {node: domain.axes}, tables)
    assert sum(b.name.startswith("w.packed") for b in tables.params) == 2


def test_a_constant_that_does_not_vary_along_the_vector_is_left():
    nest, _, tables, o = convolution()
    (node, domain), = nest.domains.items()
    assert pack(nest, Segment(0, 1, Piece((8,), 8)), nest.axes[1], {node: domain.axes}, tables).domains[node].body == domain.body


def kernel_bytes(text: str, growth: float) -> tuple[int, int]:
    """(bytes of the constants the loops read, bytes of the model's weights)."""
    target = replace(TARGET, max_flash_growth=growth)
    graph = read_graph(text, "test")
    tiled = [tile(k, target) for k in lower(graph, target).steps]
    constants = dict.fromkeys(b for one in tiled for b in one.buffers if b.kind == "constant")
    weights = sum(op.output.array.nbytes for op in graph.ops if type(op).__name__ == "Constant")
    return sum(b.data.nbytes for b in constants), weights


CONVOLUTION = """graph g(%x: f32[1,24,9,9]) -> (%y) {
  @w: f32[45,24,3,3]
  @v: f32[16,45,1,1]
  %a = Conv(%x, @w) pads=[1,1,1,1] strides=[2,2] : f32[1,45,5,5]
  %y = Conv(%a, @v) : f32[1,16,5,5]
}"""


def test_packing_costs_no_flash():
    """The packed tables stand in place of the weights, not beside them."""
    assert kernel_bytes(CONVOLUTION, 1.0)[0] == kernel_bytes(CONVOLUTION, 1.0)[1]


def test_weights_shared_by_two_shapes_are_packed_for_both():
    found, weights = kernel_bytes("""graph g(%x: f32[1,16,9,9]) -> (%y, %z) {
      @w: f32[16,16,1,1]
      %y = Conv(%x, @w) : f32[1,16,9,9]
      %p = MaxPool(%y) kernel_shape=[3,3] strides=[3,3] : f32[1,16,3,3]
      %z = Conv(%p, @w) : f32[1,16,3,3]
    }""", 4.0)
    assert weights <= found <= 2 * weights


@pytest.mark.parametrize("outside", [True, False])
def test_a_table_is_read_from_its_beginning_to_its_end(outside):
    """Whether the loop over a batch of products stands around the tiles of vectors or inside them."""
    data = np.random.default_rng(1).standard_normal((3, 16, 5)).astype(np.float32)
    w = Buffer("w", f32, (3, 16, 5), "constant", data=data)
    a, y = Buffer("a", f32, (3, 4, 5), "input"), Buffer("y", f32, (3, 4, 16), "output")
    b, i, o = Axis(fresh("b", 0, 2), 3), Axis(fresh("i", 0, 3), 4), Axis(fresh("o", 0, 15), 16)
    value = sum_over(5, lambda c: read(a, (b.var, i.var, c)) * read(w, (b.var, o.var, c)))
    tables = Tables([y, a, w], [y])
    nest = flatten([Stage("y", (), value, y, (b.var, i.var, o.var))], (b, i, o), tables.params)
    (node, domain), = nest.domains.items()
    outer = (nest.axes[0],) if outside else ()
    packed = pack(nest, Segment(0, 2, Piece((8,), 8)), nest.axes[2], {node: domain.axes}, tables, outer=outer)
    load = next(n for d in packed.domains.values() for n in walk(*d.body) if n.op == "load" and n.data[0].constant)
    batch, tile_, c, lane = np.ogrid[:3, :2, :5, :8]
    places = np.broadcast_to(evaluate(load.args[0], {b.var: batch, domain.axes[0]: c, o.var: tile_ * 8 + lane}, None), (3, 2, 5, 8))
    walked = places if outside else places.swapaxes(0, 1)
    np.testing.assert_array_equal(walked.ravel(), np.arange(240))
    np.testing.assert_array_equal(tables.data(load.data[0])[places], data.reshape(3, 2, 8, 5).swapaxes(2, 3))
