"""Weights under a Huffman code: what is decoded is what was coded, here and on a board, and a call may bring decoded weights along."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.coded_weights import LONGEST, code_lengths, coded
from edgec.backends.emulate import emulate
from edgec.backends.header import header
from edgec.backends.inspect_object import undefined_symbols, writable_sections
from edgec.compiler import compile
from edgec.errors import ModelError
from edgec.graph import Graph, constant, graph_input
from edgec.ops.activation import Relu
from edgec.ops.matmul import Gemm
from edgec.ops.quantization import DequantizeLinear
from edgec.types import TensorType, f32


def decoded(data: bytes, size: int) -> bytes:
    """What the format says, bit by bit."""
    words = lambda at, count: np.frombuffer(data, "<u4", count, at).tolist()
    out, at = bytearray(size), 4
    for _ in range(words(0, 1)[0]):
        count, start, step, symbol_bytes, bit_bytes = words(at, 5)
        counts = np.frombuffer(data, "<u2", 16, at + 20).tolist()
        symbols = data[at + 52:at + 52 + symbol_bytes]
        payload = data[at + 52 + symbol_bytes:at + 52 + symbol_bytes + bit_bytes]
        bits = iter(np.unpackbits(np.frombuffer(payload, np.uint8), bitorder="little").tolist())
        table, code, index = {}, 0, 0
        for length in range(1, LONGEST + 1):
            for symbol in symbols[index:index + counts[length]]:
                table[length, code], code = symbol, code + 1
            index, code = index + counts[length], code << 1
        for n in range(count):
            if counts[0]:
                out[start + n * step] = payload[n]
                continue
            length = code = 0
            while (length, code) not in table:
                length, code = length + 1, code << 1 | next(bits)
            out[start + n * step] = table[length, code]
        at += 52 + symbol_bytes + bit_bytes
    return bytes(out)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from([1, 2, 4]), st.sampled_from([0.3, 3.0, 60.0])), max_size=4), st.integers(0, 99))
def test_any_bytes(pieces, seed):
    rng, blob, constants = np.random.default_rng(seed), b"", []
    for count, item, spread in pieces:
        data = (rng.standard_normal(count * item) * spread).astype(np.int8).tobytes()
        constants.append((len(blob), len(data), item))
        blob += data + b"\0" * (-len(data) % 64)
    assert decoded(coded(blob, constants), len(blob)) == blob


def test_codes_are_short_where_symbols_are_frequent():
    counts = np.zeros(256, int)
    counts[:40] = [2 ** min(n, 40) for n in range(40)]
    lengths = code_lengths(counts)
    assert lengths.max() <= LONGEST and np.sum(2.0 ** -lengths[lengths > 0]) <= 1
    assert lengths[39] == 1 and np.all(np.diff(lengths[:40]) <= 0) and not lengths[40:].any()


def test_bytes_without_order_are_kept():
    blob = np.random.default_rng(0).integers(0, 256, 4096).astype(np.uint8).tobytes()
    assert len(coded(blob, [(0, 4096, 1)])) <= 4096 + 64


def network(dtype=None):
    """Two products; weights that gather around zero, as trained ones do."""
    rng = np.random.default_rng(3)
    x = graph_input("x", TensorType(f32, (1, 64)))

    def weights(a, b):
        w = rng.laplace(0, 0.05, (a, b)).astype(np.float32)
        if dtype is None:
            return constant(w)
        scale = np.abs(w).max(0) / 7
        return DequantizeLinear(constant(np.rint(w / scale).astype(np.int8).astype(dtype)), constant(scale), axis=1).output

    y = Relu(Gemm(x, weights(64, 200), constant(rng.standard_normal(200).astype(np.float32))).output).output
    return Graph((x,), (Gemm(y, weights(200, 96)).output,), ("y",), "net")


@pytest.mark.parametrize("target", ["native", "cortex-m4", "aarch64"])
@pytest.mark.parametrize("dtype", [None, ml_dtypes.int4], ids=["f32", "int4"])
def test_results_are_the_same_bits_from_fewer_bytes(target, dtype):
    x = {"x": np.random.default_rng(1).standard_normal((1, 64)).astype(np.float32)}
    plain, short = (compile(network(dtype), target, workers=0, compress=how) for how in ("", "huffman"))
    found = [(each.run(x) if target == "native" else emulate(each, [x]).outputs[0])["y"] for each in (plain, short)]
    np.testing.assert_array_equal(*found)
    assert short.manifest["constant_bytes"] < 0.93 * plain.manifest["constant_bytes"]
    assert short.interface.arena_bytes >= plain.interface.arena_bytes + plain.manifest["constant_bytes"]
    assert undefined_symbols(short.object) == [] and writable_sections(short.object) == []


def test_decoded_weights_serve_later_calls():
    artifact, x = compile(network(), "native", workers=0, compress="huffman"), {"x": np.ones((1, 64), np.float32)}
    with artifact.load() as loaded:
        first, again = loaded.run(x)["y"], loaded.run(x)["y"]
        np.testing.assert_array_equal(first, again)
        loaded._arena[artifact.interface.decoded_at:] = 0
        assert not loaded.run(x)["y"].any()  # nothing was decoded a second time
    assert f"DECODED_AT {artifact.interface.decoded_at}u" in header(artifact.interface)
    assert "DECODED_AT" not in header(compile(network(), "native", workers=0).interface)


def test_several_levels_share_coded_weights():
    x = {"x": np.ones((1, 64), np.float32)}
    plain, short = (compile(network(), "x86-64", multiversion=True, workers=0, compress=how) for how in ("", "huffman"))
    np.testing.assert_array_equal(plain.run(x)["y"], short.run(x)["y"])


def test_other_codes_are_refused():
    with pytest.raises(ModelError, match="weights cannot be compressed by 'zip'"):
        compile(network(), compress="zip")


def test_facts_name_what_constants_are_stored_as():
    facts = compile(network(ml_dtypes.int4), "cortex-m4", workers=0).manifest
    rows = {row["encoding"]: row for row in facts["constants"]}
    assert rows["4 bits"]["values"] > 0.95 * (64 * 200 + 200 * 96) and rows["4 bits"]["bytes"] == rows["4 bits"]["values"] // 2
    assert rows["f32"]["bytes"] == 4 * rows["f32"]["values"] >= 4 * (200 + 200 + 96)
