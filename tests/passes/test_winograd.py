"""Winograd: exact matrices, what is recognised, and the three-stage kernel against the plain one, tiles overhanging or not."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.target import find
from edgec.compiler import machine_for
from edgec.emission import emit
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import run
from edgec.kernel import Program
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Add
from edgec.ops.convolution import Conv
from edgec.passes.fuse import fuse
from edgec.passes.layout import layout
from edgec.passes.liveness import liveness
from edgec.passes.winograd import BETTER, WORTH, winograd
from edgec.passes.winograd_convolution import recognise
from edgec.passes.winograd_cost import direct, forms
from edgec.passes.winograd_matrices import POINTS, matrices
from edgec.passes.winograd_stages import rewrite
from edgec.program_interpreter import run_program
from edgec.sweeps import walk
from edgec.types import TensorType, f32

V4 = find("x86-64-v4")


def weights(seed: int, *shape: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def network(channels: int, out: int, height: int, width: int, pads=(1, 1, 1, 1), residual: bool = False, **attributes) -> Graph:
    """A pointwise convolution (which makes channels neighbours in memory), then a 3x3 one with bias, relu and maybe a residual."""
    x = graph_input("x", TensorType(f32, (1, 3, height, width)))
    first = Conv(x, constant(weights(0, channels, 3, 1, 1))).output
    y = Conv(first, constant(weights(1, out, channels // attributes.get("group", 1), 3, 3)), constant(weights(2, out)), pads=pads, **attributes).output
    y = Add(y, Conv(x, constant(weights(3, out, 3, 1, 1))).output).output if residual else y
    last = Conv(Relu(y).output, constant(weights(4, 2, out, 1, 1))).output
    return Graph((x,), (last,), ("y",), "net")


def candidates(graph: Graph) -> list:
    return [found for kernel in layout(fuse(graph)).steps if (found := recognise(kernel)) is not None]


def forced(graph: Graph, m: int, band: int = 1) -> Program:
    """The program with every recognised convolution in the form F(m, 3), `band` rows of tiles a block, whatever it costs."""
    program = layout(fuse(graph))
    return program.with_steps(rewrite(found, m, band) if (found := recognise(k)) else k for k in program.steps)


@pytest.mark.parametrize("m", POINTS)
def test_matrices_are_exact(m):
    """A^T ((G w) * (B^T d)) is the correlation of d with w, in rational numbers."""
    at, g, bt = matrices(m, 3)
    d, w = [Fraction(3 * n * n - 7 * n + 1) for n in range(m + 2)], [Fraction(2), Fraction(-5), Fraction(3)]
    products = [sum(a * b for a, b in zip(row, w)) * sum(a * b for a, b in zip(other, d)) for row, other in zip(g, bt)]
    assert [sum(a * b for a, b in zip(row, products)) for row in at] == [sum(d[i + k] * w[k] for k in range(3)) for i in range(m)]


def test_a_plain_convolution_is_recognised():
    found, = candidates(network(8, 16, 12, 12))
    assert found.channel[1] == 8 and found.out.extent == 16 and found.size == 3 and [a.extent for a in found.rows] == [12, 12]


@pytest.mark.parametrize("attributes", [{"strides": (2, 2)}, {"dilations": (2, 2), "pads": (2, 2, 2, 2)}, {"group": 8}, {"group": 2}])
def test_others_are_not(attributes):
    assert not candidates(network(8, 8, 12, 12, **attributes))


@settings(max_examples=16)
@given(m=st.sampled_from(sorted(POINTS)), band=st.integers(1, 3), height=st.integers(5, 15), width=st.integers(5, 15), channels=st.integers(2, 6), out=st.integers(2, 6),
       pads=st.tuples(*[st.integers(0, 2)] * 4), residual=st.booleans())
def test_the_stages_compute_the_same(m, band, height, width, channels, out, pads, residual):
    residual = residual and pads == (1, 1, 1, 1)
    graph = network(channels, out, height, width, pads, residual)
    program = forced(graph, m, band)
    assert any(len(k.stages) > 16 for k in program.steps)
    x = weights(9, 1, 3, height, width)
    expected, = run(graph, [x])
    np.testing.assert_allclose(run_program(program, {"x": x})["y"], expected, rtol=0, atol=2e-5 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize("size, m, band", [(8, 4, 2), (14, 4, 1), (14, 5, 2), (12, 6, 1), (13, 6, 3), (9, 3, 2)])
def test_native_code_agrees(size, m, band):
    graph, x = network(24, 40, size, size, residual=True), weights(9, 1, 3, size, size)
    expected, = run(graph, [x])
    found = emit(liveness(forced(graph, m, band)), find("native"), "net", optimize="1", workers=0).run({"x": x})["y"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * float(np.abs(expected).max()))


def test_cost_decides():
    """Many channels pay, few or a tiny map do not, and a core without room for larger weights keeps the direct form."""
    def stages(graph: Graph, target: str) -> int:
        return max(len(k.stages) for k in winograd(layout(fuse(graph)), find(target)).steps)
    assert stages(network(64, 64, 28, 28), "x86-64-v4") > 16
    assert stages(network(64, 64, 28, 28), "cortex-m4") == 1
    assert stages(network(64, 64, 28, 28), "cortex-m55") == 1
    assert stages(network(4, 4, 28, 28), "x86-64-v4") == 1
    assert stages(network(16, 32, 4, 4), "x86-64-v4") == 1


def chosen(graph: Graph, target) -> list[int]:
    """m of every kernel of the program, 0 for those in direct form."""
    m_of = {(m + 2) ** 2: m for m in POINTS}
    tables = [{b for s in k.stages for n in walk(s.value) if n.op == "read" and (b := n.data).name.endswith(".u")}
              for k in winograd(layout(fuse(graph)), target).steps]
    return [m_of[found.pop().shape[0]] if found else 0 for found in tables]


def constant_bytes(program: Program) -> int:
    reads = {n.data.root for k in program.steps for s in k.stages for n in walk(s.value) if n.op == "read"}
    return sum(b.bytes for b in reads if b.kind == "constant")


@pytest.mark.parametrize("size, m", [(48, 6), (56, 4), (20, 5), (16, 4), (10, 5)])
def test_the_size_of_tiles_follows_the_map(size, m):
    """Tiles that leave little over win; larger ones only by a clear margin."""
    assert max(chosen(network(64, 64, size, size), replace(V4, max_flash_growth=9.0))) == m


@pytest.mark.parametrize("growth", [1.0, 1.5, 2.0, 3.0, 4.0, 8.0])
def test_all_weights_together_stay_within_the_bound(growth):
    graph = network(64, 64, 28, 28, residual=True)
    before, after = layout(fuse(graph)), winograd(layout(fuse(graph)), replace(V4, max_flash_growth=growth))
    assert constant_bytes(after) <= growth * constant_bytes(before)
    assert (max(chosen(graph, replace(V4, max_flash_growth=growth))) > 0) == (growth >= 2)


def test_what_saves_most_for_its_bytes_comes_first():
    """Of two convolutions with room for one, the one on the larger map, whose weights are the smaller part of its work."""
    x = graph_input("x", TensorType(f32, (1, 3, 48, 48)))
    wide = Relu(Conv(Conv(x, constant(weights(0, 64, 3, 1, 1))).output, constant(weights(1, 64, 64, 3, 3)), pads=(1, 1, 1, 1)).output).output
    narrow = Conv(Relu(Conv(wide, constant(weights(2, 64, 64, 1, 1)), strides=(4, 4)).output).output, constant(weights(3, 64, 64, 3, 3)),
                  pads=(1, 1, 1, 1)).output
    graph = Graph((x,), (Conv(Relu(narrow).output, constant(weights(4, 2, 64, 1, 1))).output,), ("y",), "net")
    little, plenty = (chosen(graph, replace(V4, max_flash_growth=growth)) for growth in (1.5, 9.0))
    assert sum(m > 0 for m in little) == 1 and sum(m > 0 for m in plenty) == 2
    assert little.index(max(little)) == next(n for n, m in enumerate(plenty) if m)


def test_estimates_count_weights_that_do_not_stay_in_cache():
    found, = candidates(network(256, 256, 14, 14))
    alone, crowded = (forms(found, V4, (2, 4, 6), resident) for resident in (0, 1 << 28))
    assert alone[0].cycles < crowded[0].cycles and all(a.cycles <= b.cycles and a.bytes == b.bytes for a, b in zip(alone, crowded))
    assert [f.bytes // direct(found, V4).bytes for f in alone] == [1, 1, 4, 7]
    assert WORTH < 1 and BETTER < 1


def test_patches_that_fill_more_than_the_registers_cost_more_in_order():
    """A 55 x 55 map is eleven tiles of F(5,3) a side, none of them ragged: in order, patches of 49 values cost more than that saves."""
    found, = candidates(network(16, 64, 55, 55))
    ordered, free = (forms(found, replace(find("cortex-a53"), in_order=each), (2, 4, 5, 6)) for each in (True, False))
    assert ordered[:3] == free[:3] and all(a.cycles > b.cycles for a, b in zip(ordered[3:], free[3:]))
    assert [min(each, key=lambda form: form.cycles).m for each in (ordered, free)] == [4, 5]


def test_no_growth_means_no_winograd():
    assert machine_for("x86-64-v4", "s").max_flash_growth == 1.0 and machine_for("x86-64-v4", "s", 4.0).max_flash_growth == 4.0
    assert set(chosen(network(64, 64, 28, 28), machine_for("x86-64-v4", "s"))) == {0}
