"""Every integer operator on every kind of target: machine code equals the interpreter, bit for bit."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import edgec
from edgec.backends.emulate import missing_tools
from edgec.backends.target import find
from edgec.errors import TypeMismatch, Unsupported
from edgec.graph import constant, graph_input
from edgec.graph_parser import parse_graph
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.onnx.support import REFUSED
from edgec.ops import OPERATORS as REGISTERED
from edgec.ops.quantization import QuantizeLinear
from edgec.passes.integers import integer_form
from edgec.testing.integers import OPERATORS, integer_operators
from edgec.testing.quantized import byte_inputs
from edgec.testing.whole_numbers import ANY
from edgec.types import TensorType, f32

# SSE4, AVX2, AVX-512 without VNNI, and whatever this computer has; plain NEON, dotprod, i8mm; armv7; DSP instructions, Helium;
# no floats, and neither floats nor long products.
TARGETS = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "native", "aarch64", "cortex-a76", "cortex-a710", "cortex-a7", "cortex-m4", "cortex-m55",
           "cortex-m3", "cortex-m0plus")


@pytest.mark.parametrize("names", [(), tuple(ANY)], ids=["quantized", "whole_numbers"])
@pytest.mark.parametrize("target", TARGETS)
def test_every_bit(target, names, request):
    """Operators of quantized models, and standard operators on integers of 8 to 64 bits; `--long` draws 40 graphs a target."""
    missing = missing_tools(find(target))
    if missing:
        pytest.skip(f"{target}: {', '.join(missing)} not installed")
    first = 100 * TARGETS.index(target)
    for seed in range(first, first + (40 if request.config.getoption("--long") else 1)):
        equal(integer_operators(seed, names), target, seed)


def equal(graph, target, seed):
    arrays = byte_inputs(graph, seed)
    expected = interpret(integer_form(graph), arrays)
    found = edgec.compile(graph, target, optimize="1", workers=0).run(arrays)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=f"{name} of graph {seed}")


# Families of operators that take integers and are drawn by other tests, or compute with floats whatever they take.
ELSEWHERE = {
    "control_flow": "test_control_flow.py", "run_time_control": "test_data_sizes.py", "sizes": "test_data_sizes.py",
    "selection": "test_selection.py", "boxes": "test_data_sizes.py", "text": "test_text.py", "text_bytes": "test_text.py",
    "sorting": "test_sorting.py", "uniqueness": "test_sorting.py", "trees": "test_classical.py", "random_numbers": "test_numbers.py", "spectrum": "test_sampled.py",
    "transformer_parts": "test_transformer_parts.py",
}
FLOATS = {"ReduceL2": "a root of a sum", "TfIdfVectorizer": "counts times weights"}


def integer_operators_of_the_registry():
    """Every contributed and own operator, and those of ONNX that take bytes or words, but for ELSEWHERE."""
    for (domain, name), cls in REGISTERED.items():
        if cls.__module__.rpartition(".")[2] not in ELSEWHERE and name not in FLOATS:
            if domain in ("com.microsoft", "edgec") or domain == "" and takes_integers(name):
                yield domain, name


def takes_integers(name):
    """Whether the ONNX schema has integers among the types of an operand that is more than a size or a place."""
    schema = onnx.defs.get_schema(name)
    types = {t.type_param_str: t.allowed_type_strs for t in schema.type_constraints}
    first = [types.get(p.type_str, [p.type_str]) for p in schema.inputs[:1]]
    return any(f"tensor({dtype})" in allowed for allowed in first for dtype in ("uint8", "int8", "int32"))


def drawn_operators(names, seeds=4):
    """(domain, name) of every operator that stands in the graphs of some seeds."""
    return {(op.domain, type(op).__name__) for seed in range(seeds) for op in integer_operators(seed, names).ops}


def test_every_integer_operator_is_drawn():
    drawn = drawn_operators([*OPERATORS, *ANY])
    assert not sorted(set(integer_operators_of_the_registry()) - drawn), "draw them in edgec/testing/integers.py or name them here"


def test_families_that_are_drawn_elsewhere_exist():
    here = Path(__file__).parents[1] / "ops"
    families = {cls.__module__.rpartition(".")[2] for cls in REGISTERED.values()}
    assert set(ELSEWHERE) <= families and set(FLOATS) <= {name for _, name in REGISTERED}
    assert not [path for path in ELSEWHERE.values() if not (here / path).exists()]


def test_every_quantized_operator_of_onnxruntime_is_known():
    """Those that it has kernels for on processors are compiled, or refused with a reason."""
    kernels = {k.op_name for k in onnxruntime.capi.onnxruntime_pybind11_state.get_all_opkernel_def()
               if k.domain == "com.microsoft" and k.provider == "CPUExecutionProvider"}
    marks = ("QLinear", "QGemm", "QAttention", "QEmbed", "QMoE", "Integer", "Quantize", "NBits", "Bnb4", "FpQ4", "Nhwc")
    quantized = {name for name in kernels if any(mark in name for mark in marks)}
    assert len(quantized) > 20
    assert not sorted(name for name in quantized if ("com.microsoft", name) not in {**REGISTERED, **REFUSED})


@pytest.mark.parametrize("name", [name for domain, name in REFUSED if domain == "com.microsoft"])
def test_others_are_refused_by_name(name):
    node = onnx.helper.make_node(name, ["x"], ["y"], domain="com.microsoft")
    value = lambda n: onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "one", [value("x")], [value("y")])
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]
    with pytest.raises(Unsupported, match=f"operator {name} of domain 'com.microsoft' is not supported: its|it "):
        load(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


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
