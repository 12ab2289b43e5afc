"""Random networks in QDQ form: machine code of every kind of target equals the interpreter, bit for bit."""

import numpy as np
import pytest

import edgec
from edgec.backends.emulate import missing_tools
from edgec.backends.target import find
from edgec.edge_file import read_graph
from edgec.interpreter import interpret
from edgec.passes.integers import integer_form
from edgec.testing.quantized import byte_inputs, dynamic_product, quantized_network
from edgec.types import i16

# SSE4, AVX2, AVX-512 with and without VNNI; plain NEON, dotprod, i8mm; armv7; DSP instructions, Helium.
TARGETS = {"x86-64-v2": 2, "x86-64-v3": 2, "x86-64-v4": 2, "native": 4, "aarch64": 1, "cortex-a76": 1, "cortex-a710": 1, "cortex-a7": 1,
           "cortex-m4": 2, "cortex-m55": 2}
MAKERS = {"network": quantized_network, "dynamic": dynamic_product}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("target, number", [(t, n) for t, count in TARGETS.items() for n in range(count)])
def test_every_bit(target, number, maker, request):
    """`--long` draws 40 networks a target."""
    missing = missing_tools(find(target))
    if missing:
        pytest.skip(f"{target}: {', '.join(missing)} not installed")
    place = list(TARGETS).index(target)
    for seed in range(100 * place + number, 100 * place + (40 if request.config.getoption("--long") else number + 1)):
        graph = MAKERS[maker](seed)
        arrays = byte_inputs(graph, seed)
        expected = interpret(integer_form(graph), arrays)
        found = edgec.compile(graph, target, optimize="1", workers=0).run(arrays)
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=f"{maker} {seed}")


TWO_CHANNELS = """graph two(%x: f32[1,2]) -> (%y) {
  %q = QuantizeLinear(%x, f32[]{0.1}, u8[]{99}) : u8[1,2]
  %y = Cast(%q) to=6 : i32[1,2]
}"""


def test_conversions_of_two_lanes():
    """LLVM has no pairs of i32 for Helium: it would call a routine, and an object with an open symbol is refused."""
    found = edgec.compile(read_graph(TWO_CHANNELS, "test"), "cortex-m55", optimize="1", workers=0, keep=("llvm",))
    assert "to <2 x i32>" not in found.llvm
    values = np.float32([[-2.0, 3.14]])
    np.testing.assert_array_equal(found.run({"x": values})["y"], interpret(read_graph(TWO_CHANNELS, "test"), {"x": values})["y"])


def test_products_are_integers_throughout():
    """Of 16 bits those whose result is quantized again, of bytes all."""
    for seed in range(40):
        graph = quantized_network(seed)
        kinds = {type(op).__name__ for op in integer_form(graph).ops}
        assert graph.inputs[0].dtype is i16 or not kinds & {"Conv", "Gemm", "MatMul"}, seed
