"""Every integer operator on every kind of target: machine code equals the interpreter, bit for bit."""

import numpy as np
import pytest

import edgec
from edgec.backends.emulate import missing_tools
from edgec.backends.target import find
from edgec.errors import TypeMismatch
from edgec.graph import constant, graph_input
from edgec.graph_parser import parse_graph
from edgec.interpreter import interpret
from edgec.ops.quantization import QuantizeLinear
from edgec.passes.integers import integer_form
from edgec.testing_integers import OPERATORS, integer_operators
from edgec.testing_quantized import byte_inputs
from edgec.types import TensorType, f32

# SSE4, AVX2, AVX-512 without VNNI, and whatever this computer has; plain NEON, dotprod, i8mm; armv7; DSP instructions, Helium;
# no floats, and neither floats nor long products.
TARGETS = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "native", "aarch64", "cortex-a76", "cortex-a710", "cortex-a7", "cortex-m4", "cortex-m55",
           "cortex-m3", "cortex-m0plus")


@pytest.mark.parametrize("target", TARGETS)
def test_every_bit(target, request):
    """`--long` draws 40 graphs a target."""
    missing = missing_tools(find(target))
    if missing:
        pytest.skip(f"{target}: {', '.join(missing)} not installed")
    first = 100 * TARGETS.index(target)
    for seed in range(first, first + (40 if request.config.getoption("--long") else 1)):
        equal(integer_operators(seed), target, seed)


def equal(graph, target, seed):
    arrays = byte_inputs(graph, seed)
    expected = interpret(integer_form(graph), arrays)
    found = edgec.compile(graph, target, optimize="1", workers=0).run(arrays)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=f"{name} of graph {seed}")


@pytest.mark.parametrize("name, seed", [("quantize_axis", 12), ("quantize_block", 10), ("integer_pool", 38)])
def test_pairs_on_helium(name, seed):
    """LLVM has no pairs of i32 there: their saturating conversions and divisions would be calls of routines."""
    if missing_tools(find("cortex-m55")):
        pytest.skip("the emulator of the Cortex-M55 is not installed")
    equal(integer_operators(seed, [name]), "cortex-m55", seed)


SIXTEEN = """graph sixteen(%x: u8[8,16]) -> (%y) {
  @b: i8[16,1]
  %y = QLinearMatMul(%x, f32[]{0.02}, u8[]{0}, @b, f32[]{0.01}, i8[]{0}, f32[]{0.1}, u8[]{128}) : u8[8,1]
}"""


def test_sums_of_sixteen_products():
    """LLVM finds that vpdpbusd multiplies them, and would leave out to add its four lanes up."""
    equal(parse_graph(SIXTEEN, {"b": np.random.default_rng(1).integers(-128, 128, (16, 1)).astype(np.int8)}), "native", 2)


ENDS = """graph ends(%x: i8[9,24]) -> (%y) {
  @b: i8[24,40]
  %y = MatMulInteger(%x, @b) : i32[9,40]
}"""


@pytest.mark.parametrize("weight", [-128, -127, 127])
@pytest.mark.parametrize("target, name", [("aarch64", "sadalp"), ("cortex-a7", "vpadal")])
def test_sums_of_two_products_in_16_bits(target, name, weight):
    """Two products of -128 and -127 have room there; weights of -128, whose products would not, are multiplied otherwise."""
    if missing_tools(find(target)):
        pytest.skip(f"the emulator of {target} is not installed")
    graph = parse_graph(ENDS, {"b": np.full((24, 40), weight, np.int8)})
    found = edgec.compile(graph, target, optimize="1", workers=0, keep=("asm",))
    assert (name in found.asm) == (weight > -128)
    for value in (-128, 127):
        x = np.full((9, 24), value, np.int8)
        np.testing.assert_array_equal(found.run({"x": x})["y"], np.full((9, 40), 24 * value * weight, np.int32))


def test_graphs_hold_every_operator_and_use_the_range_of_their_type():
    """Outputs of bytes neither stand still nor sit at the ends of their range, or differences would go unseen."""
    graph = integer_operators(1)
    assert {name.rpartition("_")[0] for name in graph.output_names} == set(OPERATORS)
    outputs = interpret(integer_form(graph), byte_inputs(graph, 1))
    several = [a for a in outputs.values() if a.dtype.itemsize == 1 and a.size > 100]
    assert len(several) > 5 and sum(len(np.unique(a)) > 20 for a in several) > 0.5 * len(several)


def test_words_have_no_zero_point():
    x, one = graph_input("x", TensorType(f32, (3,))), constant(np.float32(1))
    with pytest.raises(TypeMismatch, match="a result of 32 bits needs a constant zero point of 0"):
        QuantizeLinear(x, one, constant(np.int32(1 << 20)))
