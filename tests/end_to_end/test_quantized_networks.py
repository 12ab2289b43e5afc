"""Random networks in QDQ form: machine code of every kind of target equals the interpreter, bit for bit."""

import numpy as np
import pytest

import edgec
from edgec.backends.emulate import missing_tools
from edgec.backends.target import find
from edgec.interpreter import interpret
from edgec.passes.integers import integer_form
from edgec.testing_quantized import byte_inputs, dynamic_product, quantized_network

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


def test_conversions_of_two_lanes():
    """LLVM has no pairs of i32 for Helium: it would call a routine."""
    edgec.compile(quantized_network(6), "cortex-m55", optimize="1", workers=0)


def test_products_are_integers_throughout():
    for seed in range(40):
        kinds = {type(op).__name__ for op in integer_form(quantized_network(seed)).ops}
        assert not kinds & {"Conv", "Gemm", "MatMul"}, seed
