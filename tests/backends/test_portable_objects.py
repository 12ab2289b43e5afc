"""Portable operations on every target: the object needs no other, and where it runs on this machine it computes the bits of the oracle."""

import ctypes

import llvmlite.binding as llvm
import numpy as np
import pytest

from edgec.backends.codegen import compile_module
from edgec.backends.inspect_object import undefined_symbols
from edgec.backends.join_modules import join_modules
from edgec.backends.llvm import module_text
from edgec.backends.llvm_values import native_operations
from edgec.backends.machine import create_machine
from edgec.backends.native import runs_here
from edgec.backends.soft_routines import soft_routines
from edgec.backends.target import all_targets
from edgec.evaluate import evaluate
from edgec.expr import argument, binary, const, unary, var
from edgec.loops import For, Loops, Param, Store, load
from edgec.portable.expansion import FUNCTIONS, UNARY, expand
from edgec.types import bool_, f32, index

COUNT = 1 << 14


def lanes(target):
    return max(1, target.vector_bits // 32)


def function_loops(target):
    """One kernel that stores every function of two arrays."""
    x, y, width, i = Param("x", f32, COUNT), Param("y", f32, COUNT), lanes(target), var("i", 0, COUNT // lanes(target) - 1)
    a, b = load(x, i * width, width), load(y, i * width, width)
    params = [Param(op, bool_ if op in ("isnan", "isinf") else f32, COUNT, True) for op in FUNCTIONS]
    stores = tuple(Store(p, i * width, unary(p.name, a) if p.name in UNARY else binary(p.name, a, b)) for p in params)
    loop = For(i, const(0, index), const(COUNT // width, index), 1, stores)
    return Loops("functions", (x, y, *params), (), (loop,))


@pytest.mark.parametrize("target", all_targets(), ids=lambda t: t.name)
def test_the_object_needs_no_other(target):
    compiled = compile_module(module_text(function_loops(target), target, "functions"), target, "1")
    routines = soft_routines([compiled.object], target, lambda texts: {n: compile_module(t, target, "1") for n, t in texts.items()})
    assert undefined_symbols(join_modules([compiled, *routines], [], {"functions"}, target)) == []


@pytest.mark.parametrize("target", [t for t in all_targets() if runs_here(t)], ids=lambda t: t.name)
def test_silicon_computes_the_bits_of_the_oracle(target):
    draw = np.random.default_rng(0)
    x = np.concatenate([draw.integers(0, 1 << 32, COUNT // 2, dtype=np.uint32).view(np.float32),
                        draw.uniform(-20, 20, COUNT // 2).astype(np.float32)])
    y = draw.permutation(x)
    found = {op: np.zeros(COUNT, np.bool_ if op in ("isnan", "isinf") else np.float32) for op in FUNCTIONS}
    module = llvm.parse_assembly(module_text(function_loops(target), target, "functions"))
    with llvm.create_mcjit_compiler(module, create_machine(target)) as engine:
        engine.finalize_object()
        arrays = [x, y, *found.values()]
        ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arrays))(engine.get_function_address("functions"))(*(a.ctypes.data for a in arrays))
    a, b = argument("a", f32), argument("b", f32)
    for op in FUNCTIONS:
        root = expand(unary(op, a) if op in UNARY else binary(op, a, b), native_operations(target), target.fma)
        np.testing.assert_array_equal(found[op], evaluate(root, {a: x, b: y}, None), err_msg=op)
