"""Dot products of words: numpy's meaning, the written-out form, text, and machine code with and without an instruction."""

import ctypes
from dataclasses import replace

import numpy as np
import pytest

from edgec.backends.codegen import compile_module
from edgec.backends.llvm import module_text
from edgec.backends.llvm_dots import dot_row
from edgec.backends.target import all_targets, find
from edgec.errors import ModelError
from edgec.evaluate import evaluate
from edgec.expr import argument, const, dot, dot_block, word
from edgec.expr_parser import parse_expr
from edgec.expr_text import print_expr
from edgec.loops import Loops, Param, Store, load
from edgec.loops_interpreter import run_loops
from edgec.loops_verifier import loops_errors
from edgec.portable.expansion import expand
from edgec.sweeps import walk
from edgec.testing.arrows import Function
from edgec.types import DTYPES, WORDS, element_of, f32, i32, index, word_of

NATIVE = find("native")
PAIRS = [("bf16", "bf16", f32), ("f16", "f16", f32), ("u8", "i8", i32), ("i8", "i8", i32), ("i16", "i16", i32), ("u8", "u8", i32)]


def elements(dtype, count, seed):
    random = np.random.default_rng(seed)
    return random.integers(0 if dtype.kind == "u" else -100, 100, count).astype(dtype.numpy)


def words(array, bits=32):
    return np.ascontiguousarray(array).view(f"u{bits // 8}")


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("a, b, acc", PAIRS)
def test_meaning_and_written_out_form(a, b, acc, bits):
    a, b = DTYPES[a], DTYPES[b]
    group = bits // a.bits
    x, y = elements(a, 16 * group, 1), elements(b, 16 * group, 2)
    start = np.arange(16).astype(acc.numpy)
    env = {argument("acc", acc): start, argument("a", word_of(a, group)): words(x, bits), argument("b", word_of(b, group)): words(y, bits)}
    node = dot(*env)
    exact = start.astype(np.float64) + (x.astype(np.float64) * y.astype(np.float64)).reshape(16, group).sum(axis=1)
    np.testing.assert_array_equal(evaluate(node, env, None), exact)
    written = expand(node, frozenset(), False)
    assert "dot" not in {n.op for n in walk(written)}
    np.testing.assert_array_equal(evaluate(written, env, None), exact)


@pytest.mark.parametrize("name", WORDS)
def test_words_of_elements(name):
    element = element_of(WORDS[name])
    group = WORDS[name].bits // element.bits
    x = elements(element, 8 * group, 3).reshape(8, group)
    arguments = [argument(f"e{n}", element) for n in range(group)]
    found = evaluate(word(arguments), dict(zip(arguments, x.T)), None)
    np.testing.assert_array_equal(found, np.ascontiguousarray(x).view(WORDS[name].numpy).ravel())


def test_text_reads_back():
    p = Param("p", DTYPES["i8"], 64)
    node = dot(const(0, i32), load(p, 8, 4, 3, WORDS["i8x4"]), word([load(p, const(n, index)) for n in range(4)]))
    text = print_expr(node)
    assert text == "dot(0:i32, p[8 : 4 : 3 as i8x4], word(p[0], p[1], p[2], p[3]))"
    assert parse_expr(text, {}, {"p": p}) is node


@pytest.mark.parametrize("a, b, acc", [("u8", "i8", i32), ("i8", "i8", i32), ("bf16", "bf16", f32)])
def test_a_product_of_matrices(a, b, acc):
    a, b = DTYPES[a], DTYPES[b]
    group = 64 // a.bits
    x, y, start = elements(a, 2 * group, 1), elements(b, 3 * group, 2), np.arange(6).astype(acc.numpy)
    out = Param("out", acc, 6, True)
    p, q = Param("p", a, 2 * group), Param("q", b, 3 * group)
    node = dot_block(load(out, 0, 6), load(p, 0, 2, dtype=word_of(a, group)), load(q, 0, 3, dtype=word_of(b, group)))
    loops = Loops("product", (out, p, q), (), (Store(out, const(0, index), node),))
    assert node.lanes == 6 and loops_errors(loops) == []
    expected = start + (x.reshape(2, group).astype(np.float64) @ y.reshape(3, group).T.astype(np.float64)).ravel()
    run_loops(loops, [start, x, y])
    np.testing.assert_array_equal(start, expected)
    text = print_expr(node)
    assert text.startswith("dot_block(out[0 : 6], p[0 : 2 as") and parse_expr(text, {}, {"p": p, "q": q, "out": out}) is node


def test_a_matrix_of_another_number_of_lanes_is_refused():
    p, out = Param("p", DTYPES["i8"], 16), Param("out", i32, 8, True)
    words_of_p = load(p, 0, 2, dtype=WORDS["i8x8"])
    node = dot_block(load(out, 0, 8), words_of_p, words_of_p)
    found = loops_errors(Loops("product", (out, p), (), (Store(out, const(0, index), node),)))
    assert any("8 lanes are no matrix" in str(each) for each in found)


def test_a_word_of_too_few_elements_is_refused():
    with pytest.raises(ModelError, match="2 elements of i8 do not fill a word"):
        parse_expr("word(p[0], p[1])", {}, {"p": Param("p", DTYPES["i8"], 64)})


def loops_of(a, b, acc, lanes):
    x, y = Param("x", a, 64), Param("y", b, 64)
    out = Param("out", acc, 16, True)
    at = const(0, index)
    value = dot(load(out, at, lanes), load(x, at, lanes, dtype=word_of(a)), load(y, at, lanes, dtype=word_of(b)))
    return Loops("dots", (out, x, y), (), (Store(out, at, value),))


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("a, b, acc", PAIRS)
@pytest.mark.parametrize("rows", [True, False], ids=["rows", "written-out"])
def test_machine_code_is_the_interpreter(a, b, acc, lanes, rows):
    target = NATIVE if rows else replace(NATIVE, instructions=tuple(r for r in NATIVE.instructions if "dot(" not in r.meaning))
    a, b = DTYPES[a], DTYPES[b]
    loops = loops_of(a, b, acc, lanes)
    arrays = [np.arange(16).astype(acc.numpy), elements(a, 64, 4), elements(b, 64, 5)]
    expected = [x.copy() for x in arrays]
    run_loops(loops, expected)
    code = compile_module(module_text(loops, target, "kernel"), target, "1").object
    with Function(code, "kernel", [ctypes.c_void_p] * 3) as function:
        function(*(x.ctypes.data for x in arrays))
    np.testing.assert_array_equal(arrays[0], expected[0])


@pytest.mark.parametrize("target", all_targets(), ids=lambda t: t.name)
def test_rows_are_found_by_types_and_lanes(target):
    for row in target.instructions:
        if "acc:i32[4] += dot(a:i8[16], b:i8[16]" in row.meaning:
            node = loops_of(DTYPES["i8"], DTYPES["i8"], i32, 4).body[0].value
            assert dot_row(target, node).row is row
            assert dot_row(target, loops_of(DTYPES["i8"], DTYPES["u16"], i32, 4).body[0].value) is None
