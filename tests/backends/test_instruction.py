"""Instruction rows: LLVM emits the named instruction, and what it computes, on silicon or under emulation, is the row's meaning."""
from fractions import Fraction

import llvmlite.binding as llvm
import numpy as np
import pytest

from edgec.backends.codegen import compile_module
from edgec.backends.emulate import emulate
from edgec.backends.inspect_object import undefined_symbols
from edgec.backends.instruction import Meaning, Operand, call, meaning
from edgec.backends.interface import Interface, Port, layout
from edgec.backends.join_modules import join_modules
from edgec.backends.llvm_spelling import vector_attributes
from edgec.backends.machine import create_machine
from edgec.backends.native import Loaded, runs_here
from edgec.backends.target import Instruction, all_targets
from edgec.types import DTYPES

ROWS = [pytest.param(target, row, id=f"{target.name}-{row.name}-{row.meaning.split(' ')[0]}")
        for target in all_targets() for row in target.instructions]


def lanes_of(target, row) -> int:
    return target.lanes(DTYPES[row.meaning.split(":")[1].split("[")[0]].bits)


def operands_of(what: Meaning) -> tuple[Operand, ...]:
    return ((what.result,) if what.accumulates else ()) + what.operands


def model(target, row) -> tuple[Interface, str]:
    """A model that executes the row once: its operands are the inputs, its result the output. LLVM IR as text."""
    what = meaning(row, lanes_of(target, row))
    operands = operands_of(what)
    interface = Interface("row", tuple(Port(each.name, each.name, each.dtype, (each.lanes,)) for each in operands),
                          (Port("result", "result", what.result.dtype, (what.result.lanes,)),))
    where = layout(interface, target.pointer_bits)
    declaration, lines = call(row, {each.name: "%" + each.name for each in operands}, lanes_of(target, row))
    body = []
    for each, offset in zip(operands, where.inputs):
        body += [f"%{each.name}.at = getelementptr i8, ptr %context, i32 {offset}", f"%{each.name}.p = load ptr, ptr %{each.name}.at",
                 f"%{each.name} = load {each.llvm}, ptr %{each.name}.p, align {DTYPES[each.dtype].bytes}"]
    body += ["%out.at = getelementptr i8, ptr %context, i32 " + str(where.outputs[0]), "%out = load ptr, ptr %out.at", *lines,
             f"store {what.result.llvm} %r, ptr %out, align {DTYPES[what.result.dtype].bytes}", "ret i32 0"]
    return interface, declaration + "\ndefine i32 @row_run(ptr %context) nounwind" + vector_attributes(target) + " {\n  " + "\n  ".join(body) + "\n}\n"


def random_operand(operand: Operand, operation: str, random: np.random.Generator) -> np.ndarray:
    """Integers over the whole range; floats of mixed size, but for dot small integers whose products and sums are exact."""
    dtype = DTYPES[operand.dtype].numpy
    if operation in ("dot", "matmul") and dtype.kind not in "iu":
        return random.integers(-100, 100, operand.lanes).astype(dtype)
    if dtype.kind == "f":
        return (random.standard_normal(operand.lanes) * 10.0 ** random.integers(-2, 3, operand.lanes)).astype(dtype)
    low, high = (-2**20, 2**20) if dtype.itemsize == 4 else (np.iinfo(dtype).min + (dtype == np.int16), np.iinfo(dtype).max + 1)
    low = low if operand.above is None else operand.above + 1
    return random.integers(low, high, operand.lanes).astype(dtype)


def expected(what: Meaning, values: dict[str, np.ndarray]) -> np.ndarray:
    """The meaning in numpy and exact fractions."""
    dtype = DTYPES[what.result.dtype].numpy
    arguments = [values[operand.name] for operand in what.operands]
    match what.operation:
        case "dot":
            exact = np.float64 if dtype.kind == "f" else np.int64
            a, b = (each.astype(exact).reshape(what.result.lanes, what.group) for each in arguments)
            total = (a * b).sum(axis=1) + (values[what.result.name].astype(exact) if what.accumulates else 0)
            return total.astype(dtype)
        case "matmul":
            exact = np.float64 if dtype.kind == "f" else np.int64
            a, b = (each.astype(exact).reshape(operand.rows, what.group) for each, operand in zip(arguments, what.operands))
            return ((a @ b.T).ravel() + values[what.result.name].astype(exact)).astype(dtype)
        case "fma":
            exact = ([Fraction(float(each)) for each in triple] for triple in zip(*arguments))
            return np.array([float(a * b + c) for a, b, c in exact]).astype(dtype)
        case "saturate":
            return np.clip(arguments[0], DTYPES[what.result.dtype].low, DTYPES[what.result.dtype].high).astype(dtype)
        case "cast":
            return arguments[0].astype(dtype)
        case "pick":
            a, i, b = arguments
            return np.concatenate([a, b])[i % 128]
        case "nearest":
            return np.rint(arguments[0]).astype(dtype)
        case "sqrt":
            return np.sqrt(np.abs(arguments[0]))
    return {"round_half_even": np.rint, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc}[what.operation](arguments[0])


@pytest.mark.parametrize("target, row", ROWS)
def test_llvm_emits_the_instruction_and_nothing_is_undefined(target, row):
    machine = create_machine(target)
    _, text = model(target, row)
    module = llvm.parse_assembly(f'target triple = "{machine.triple}"\ntarget datalayout = "{machine.target_data}"\n{text}')
    module.verify()
    assembly = machine.emit_assembly(module)
    assert any(name in assembly for name in row.name.split("/")), assembly
    assert undefined_symbols(machine.emit_object(module)) == []

# Some processors no emulator knows: code for them runs where they are.
RUNNABLE = [target for target in all_targets()
            if runs_here(target) or target.emulator and target.emulator.qemu or target.object_format == "wasm"]


@pytest.mark.parametrize("target", RUNNABLE, ids=lambda target: target.name)
def test_rows_compute_what_they_mean(target, require_tools):
    require_tools(target)
    assert target.instructions or target.soft_floats
    for row in target.instructions:
        interface, text = model(target, row)
        obj = join_modules([compile_module(text, target)], [], {"row_run"}, target)
        what, random = meaning(row, lanes_of(target, row)), np.random.default_rng(3)
        samples = [{each.name: random_operand(each, what.operation, random) for each in operands_of(what)} for _ in range(4)]
        if what.operation == "sqrt":
            samples = [{name: np.abs(value) for name, value in sample.items()} for sample in samples]
        for sample, result in zip(samples, run(target, interface, obj, samples)):
            np.testing.assert_array_equal(result, expected(what, sample), err_msg=f"{row.name}: {row.meaning}")


def run(target, interface: Interface, obj: bytes, samples: list[dict]) -> list[np.ndarray]:
    if runs_here(target):
        with Loaded(obj, interface) as loaded:
            return [loaded.run(sample)["result"] for sample in samples]
    build = type("Built", (), {"interface": interface, "object": obj, "target": target})
    return [output["result"] for output in emulate(build, samples).outputs]


@pytest.mark.parametrize("text", ["", "r:f32[4] = fma", "r = fma(a:f32[4])", "r:f32 = fma(a:f32[4])"])
def test_malformed_meanings_are_refused(text):
    with pytest.raises(ValueError, match="cannot read the meaning"):
        meaning(Instruction("bad", frozenset(), "llvm.fma", text))
