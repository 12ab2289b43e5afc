"""Small models written as LLVM IR, compiled part by part for any target and joined: what the tests of `edgec.backends` run.

`classifier` uses what object writers get wrong: constant pools, private tables, a jump table, calls and data across parts.
"""
from types import SimpleNamespace

import llvmlite.binding as llvm
import numpy as np
import pytest

from edgec.backends.codegen import compile_module
from edgec.backends.emulate import missing_tools
from edgec.backends.interface import Interface, Port, layout
from edgec.backends.join import DataSection, join
from edgec.backends.machine import create_machine
from edgec.backends.native import runs_here
from edgec.backends.soft_routines import soft_routines
from edgec.backends.target import Target, all_targets

SCALE = '''
define void @scale(ptr %x, ptr %w, ptr %to) nounwind {
  %v = load <4 x float>, ptr %x, align 4
  %b = load <4 x float>, ptr %w, align 4
  %m = fmul <4 x float> %v, <float 1.5, float -2.25, float 3.125, float 1048577.0>
  %s = fadd <4 x float> %m, %b
  store <4 x float> %s, ptr %to, align 4
  ret void
}
'''

# Case 3 reads a private table; the others differ enough that the switch stays a jump.
CHOOSE = '''
@table = private unnamed_addr constant [4 x float] [float 0.5, float 7.0, float -3.0, float 65536.0]
define float @choose(i32 %k, float %v) noinline nounwind {
  switch i32 %k, label %other [
    i32 0, label %c0  i32 1, label %c1  i32 2, label %c2  i32 3, label %c3  i32 4, label %c4  i32 5, label %c5 ]
c0:
  %r0 = fmul float %v, 3.1400001049041748046875
  ret float %r0
c1:
  %r1 = fadd float %v, 100.125
  ret float %r1
c2:
  %r2 = fneg float %v
  ret float %r2
c3:
  %bits = fptosi float %v to i32
  %low = and i32 %bits, 3
  %at = getelementptr [4 x float], ptr @table, i32 0, i32 %low
  %r3 = load float, ptr %at
  ret float %r3
c4:
  %r4 = fmul float %v, %v
  ret float %r4
c5:
  %r5 = fsub float 1.0, %v
  ret float %r5
other:
  ret float %v
}
'''

ENTRY = '''
@{p}_weights = external hidden constant [16 x i8]
declare void @scale(ptr, ptr, ptr)
declare float @choose(i32, float)
define i32 @{p}_run(ptr %c) nounwind {{
  %px = getelementptr i8, ptr %c, i32 {L.inputs[0]}
  %x = load ptr, ptr %px
  %pk = getelementptr i8, ptr %c, i32 {L.inputs[1]}
  %k = load ptr, ptr %pk
  %py = getelementptr i8, ptr %c, i32 {L.outputs[0]}
  %y = load ptr, ptr %py
  %pa = getelementptr i8, ptr %c, i32 {L.arena}
  %arena = load ptr, ptr %pa
  call void @scale(ptr %x, ptr @{p}_weights, ptr %arena)
  br label %loop
loop:
  %i = phi i32 [ 0, %0 ], [ %next, %loop ]
  %ka = getelementptr i32, ptr %k, i32 %i
  %ki = load i32, ptr %ka
  %sa = getelementptr float, ptr %arena, i32 %i
  %si = load float, ptr %sa
  %r = call float @choose(i32 %ki, float %si)
  %ya = getelementptr float, ptr %y, i32 %i
  store float %r, ptr %ya
  %next = add i32 %i, 1
  %more = icmp ult i32 %next, 4
  br i1 %more, label %loop, label %done
done:
  ret i32 0
}}
'''

DOUBLING = '''
define i32 @{p}_run(ptr %c) nounwind {{
  %size = load i32, ptr %c
  %short = icmp ult i32 %size, {L.size}
  br i1 %short, label %refuse, label %start
refuse:
  ret i32 -1
start:
  %px = getelementptr i8, ptr %c, i32 {L.inputs[0]}
  %x = load ptr, ptr %px
  %py = getelementptr i8, ptr %c, i32 {L.outputs[0]}
  %y = load ptr, ptr %py
  %pn = getelementptr i8, ptr %c, i32 {L.dims[0]}
  %rows = load i32, ptr %pn
  %n = mul i32 %rows, 3
  br label %loop
loop:
  %i = phi i32 [ 0, %start ], [ %next, %loop ]
  %xa = getelementptr i16, ptr %x, i32 %i
  %v = load i16, ptr %xa
  %d = add i16 %v, %v
  %ya = getelementptr i16, ptr %y, i32 %i
  store i16 %d, ptr %ya
  %next = add i32 %i, 1
  %more = icmp ult i32 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret i32 0
}}
'''

WEIGHTS = np.float32([10, 20, 30, 40])
POOL, TABLE = np.float32([1.5, -2.25, 3.125, 1048577]), np.float32([0.5, 7, -3, 65536])


def compile_part(target: Target, text: str) -> bytes:
    machine = create_machine(target)
    module = llvm.parse_assembly(f'target triple = "{machine.triple}"\ntarget datalayout = "{machine.target_data}"\n{text}')
    module.verify()
    return machine.emit_object(module)


def classifier_parts(target: Target, prefix: str = "net") -> tuple[Interface, list[bytes]]:
    interface = Interface(prefix, (Port("the x", "x", "f32", (4,)), Port("k", "k", "i32", (2, 2))), (Port("y", "y", "f32", (4, 1)),),
                          arena_bytes=16, weights_symbol=prefix + "_weights")
    entry = ENTRY.format(p=prefix, L=layout(interface, target.pointer_bits))
    parts = [compile_part(target, text) for text in (SCALE, CHOOSE, entry)]
    return interface, parts + [one.object for one in soft_routines(parts, target, lambda texts: routines(texts, target))]


def routines(texts: dict[str, str], target: Target) -> dict:
    """What cores without floats call, compiled as they are for models."""
    return {name: compile_module(text, target, "3") for name, text in texts.items()}


def classifier(target: Target, prefix: str = "net", weights=WEIGHTS) -> SimpleNamespace:
    """y[i] = choose(k[i], x[i] * POOL[i] + weights[i]), with its interface, object and target; `weights` may be longer than needed."""
    interface, parts = classifier_parts(target, prefix)
    obj = join(parts, [DataSection(interface.weights_symbol, weights, 64)], {interface.run_symbol})
    return SimpleNamespace(interface=interface, object=obj, target=target)


def classifier_reference(x: np.ndarray, k: np.ndarray) -> np.ndarray:
    v = x * POOL + WEIGHTS
    cases = {0: lambda v: v * np.float32(3.1400001), 1: lambda v: v + np.float32(100.125), 2: lambda v: -v, 3: lambda v: TABLE[int(v) & 3],
             4: lambda v: v * v, 5: lambda v: np.float32(1) - v}
    return np.float32([cases.get(int(case), lambda v: v)(each) for case, each in zip(k.ravel(), v)]).reshape(4, 1)


def doubling(target: Target) -> SimpleNamespace:
    """y = 2 * x for i16 x of shape (n, 3), n from 1 to 5."""
    interface = Interface("twice", (Port("x", "x", "i16", ("n", 3)),), (Port("y", "y", "i16", ("n", 3)),), (("n", 1, 5),))
    obj = join([compile_part(target, DOUBLING.format(p="twice", L=layout(interface, target.pointer_bits)))], [], {"twice_run"})
    return SimpleNamespace(interface=interface, object=obj, target=target)


def streaming(target: Target, elements: int) -> SimpleNamespace:
    """y = 2 * x for i16 x of so many elements, a multiple of 3."""
    elements -= elements % 3
    interface = Interface("twice", (Port("x", "x", "i16", (elements,)),), (Port("y", "y", "i16", (elements,)),))
    constant = DOUBLING.replace("%rows = load i32, ptr %pn", f"%rows = add i32 0, {elements // 3}").replace("{L.dims[0]}", "0")
    obj = join([compile_part(target, constant.format(p="twice", L=layout(interface, target.pointer_bits)))], [], {"twice_run"})
    return SimpleNamespace(interface=interface, object=obj, target=target)

# Some processors no emulator knows: code for them runs where they are.
RUNNABLE = [target for target in all_targets() if runs_here(target) or target.emulator and target.emulator.qemu]


@pytest.fixture(params=RUNNABLE, ids=lambda target: target.name)
def target(request) -> Target:
    """Every target in turn."""
    return request.param


@pytest.fixture
def models() -> SimpleNamespace:
    """The functions above, for tests (which cannot import a conftest)."""
    return SimpleNamespace(classifier=classifier, classifier_parts=classifier_parts, reference=classifier_reference,
                           doubling=doubling, streaming=streaming, compile_part=compile_part, weights=WEIGHTS)


@pytest.fixture
def samples() -> list[dict[str, np.ndarray]]:
    """Inputs of the classifier that reach every case."""
    random = np.random.default_rng(7)
    cases = np.int32([[0, 1, 2, 3], [3, 4, 5, 6], [3, 3, -1, 0]])
    return [{"the x": random.standard_normal(4).astype(np.float32) * 10, "k": k.reshape(2, 2)} for k in cases]


@pytest.fixture
def require_tools():
    """A function that skips the test, naming what is missing, when code for a target cannot be linked and run here."""
    def check(target: Target):
        missing = missing_tools(target)
        if missing:
            pytest.skip(f"{target.name}: {', '.join(missing)} not installed")
    return check
